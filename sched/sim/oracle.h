/* sched/sim/oracle.h: the books of a simulated run, for sched/sim/threads.c; core/oracle.h is what is written into them. */
#ifndef TH_SIM_ORACLE_H
#define TH_SIM_ORACLE_H
#include "../../io/sim/sim.h"

void th_oracle_begin(void);
void th_oracle_end(struct th_sim_report *r);

#endif
