/* sched/sim/plan.h: what a run of a program under test is made of: its seed, its workers, what goes wrong in it, and its choices.
 * A plan can be written down in a line and read again (thrum_test_report.replay):
 *
 *   NAME seed=7 workers=2 [shuffled] [coarse] [pct=3/5000] [cancel=12/within/scope [again=3/before/root]]
 *   [allocation=4] [operation=3/104] [choices=17:1,w203:2]
 *
 * In the list an s stands before the number of a choice of the scheduler's, a w before one of the world's. With a list of
 * choices, which may be empty, all others are 0; without one they come from the seed. */
#ifndef TH_SIM_PLAN_H
#define TH_SIM_PLAN_H
#include "../../io/sim/sim.h"
#include <stddef.h>

struct th_plan {
	unsigned workers;
	bool shuffle;           /* thrum_opts.shuffle; the program's own options may say so, too */
	struct th_sim_opts sim; /* but for record */
};

/* Returns the length, as snprintf() does. */
size_t th_plan_write(const struct th_plan *p, const char *name, char *buf, size_t size);
/* `picks` has room for `max`. False: that is no plan, or one of another name; ret_other tells these apart. */
bool th_plan_read(struct th_plan *p, const char *name, const char *text, struct th_sim_pick *picks, size_t max, bool *ret_other);

#endif
