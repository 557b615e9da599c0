/* sched/sim/search.h: which runs are made: in a child process that ends with the first one that fails. */
#ifndef TH_SIM_SEARCH_H
#define TH_SIM_SEARCH_H
#include "world.h"

typedef void th_search_fn(const struct th_world *w);

/* The plan of seed number i: its workers, and whether they are shuffled. */
struct th_plan th_plan_of_seed(const struct th_world *w, uint64_t i);
th_search_fn th_search_seeds, th_search_bounded; /* thrum_test_search() */
/* The runs of the plan with at most `depth` choices that are not 0, as long as there are `runs` left. */
void th_search_few(const struct th_world *w, const struct th_plan *p, unsigned depth, uint64_t runs);
th_search_fn th_sweep_cancel, th_sweep_memory, th_sweep_io;

#endif
