/* sched/sim/choices.h: every choice of a simulated run, and where it comes from.
 *
 * A run is a sequence of choices, those of each kind numbered from 1, each a number below some n. The kindest answer is 0, whatever
 * is asked: the running thread goes on, the first one of several, a full transfer, no fault. So a run is known by the choices
 * that were not 0, and becomes simpler as more of them are. */
#ifndef TH_SIM_CHOICES_H
#define TH_SIM_CHOICES_H
#include "../../io/sim/sim.h"

void th_choices_begin(const struct th_sim_opts *opts);
/* Which of the n others, by their numbers, goes on instead of thread `current`; -1: none does. `current` < 0: one must. */
int th_choices_thread(const unsigned *others, unsigned n, int current);
/* A preemption point: false if the running thread goes on anyway, so that nobody has to look who else could. */
bool th_choices_may_switch(void);
uint64_t th_choices_made(void);
uint64_t th_choices_fingerprint(void);

#endif
