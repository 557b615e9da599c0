/* sched/sim/timeline.h: what happens in a simulated run, a line each, on stderr; for the one run that is shown. */
#ifndef TH_SIM_TIMELINE_H
#define TH_SIM_TIMELINE_H
#include "../../core/fiber.h"
#include <stdbool.h>

/* Static: looked at in places that a run passes a million times. */
extern bool th_timeline_on;

__attribute__((format(printf, 1, 2))) void th_timeline(const char *fmt, ...);
void th_timeline_node(struct th_node *n, const char *what);
/* The running thread is preempted at that address of the program, and its fiber `f`, if it runs one. */
void th_timeline_preempted(struct th_fiber *f, const void *at);
/* Who writes and when; in sched/sim/threads.c. */
void th_sim_who(char *buf, unsigned size);

#endif
