/* sched/sim/faults.h: what is made to go wrong in a simulated run, once and at a counted place: a cancel, an allocation, an
 * operation. Chosen by the sweeps of sched/sim/sweep.c, not by chance; io/sim/sim.h lists the options. */
#ifndef TH_SIM_FAULTS_H
#define TH_SIM_FAULTS_H
#include "../../io/sim/sim.h"

void th_faults_begin(const struct th_sim_opts *opts);
void th_faults_end(struct th_sim_report *r);
/* The k-th errno, as a positive number, that the kernel may give for an operation of that kind (io/op.h); 0: no more. */
int th_faults_legal(unsigned kind, unsigned k);

#endif
