/* sched/watch.h: the watching thread: one for a runtime, beside its workers, asleep but for a few looks a second.
 *
 *   real clock     from the start of the runtime: fibers that do not suspend (X8), cancelled scopes that do not close (S10)
 *   virtual clock  from the first thrum_clock_advance() on: advances that do not end (C7). Scopes are looked at by whoever
 *                  moves the clock.
 * Without it a runtime works as well: when the thread cannot be had, only reports are missing. Not in the simulation. */
#ifndef TH_SCHED_WATCH_H
#define TH_SCHED_WATCH_H
#include "worker.h"

#ifdef TH_SIM
static inline void th_monitor_start(struct thrum_rt *rt) { (void)rt; }
static inline void th_monitor_stop(struct thrum_rt *rt) { (void)rt; }
static inline void th_monitor_advance_begins(struct thrum_rt *rt) { (void)rt; }
static inline void th_monitor_advance_ended(struct thrum_rt *rt) { (void)rt; }
#else
/* Start it, if something is to be watched and it does not run yet. Any thread. */
void th_monitor_start(struct thrum_rt *rt);
/* End and join it. By whoever closes the runtime. */
void th_monitor_stop(struct thrum_rt *rt);
/* Around a thrum_clock_advance(). */
void th_monitor_advance_begins(struct thrum_rt *rt);
void th_monitor_advance_ended(struct thrum_rt *rt);
#endif

#endif
