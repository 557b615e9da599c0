/* sched/sim/shrink.h: from a run that fails to a simpler one that fails. */
#ifndef TH_SIM_SHRINK_H
#define TH_SIM_SHRINK_H
#include "world.h"

/* Does that plan still fail, in the same way? Made by the caller: in a process of its own. */
typedef bool th_fails_fn(void *arg, const struct th_plan *p);

/* `p` has the choices that were made; they are taken back one by one and in groups, and what is left is in `picks`, of which
 * there are p->sim.n_picks. At most so many tries. */
void th_shrink(struct th_plan *p, struct th_sim_pick *picks, unsigned tries, th_fails_fn *fails, void *arg);

#endif
