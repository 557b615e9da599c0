/* core/meter.h: work and span of a program (thrum/meter.h), followed while it runs on one worker.
 *
 * Every fiber knows how long the longest chain of strands is that led to where it is: its path. A strand lasts from
 * th_meter_go() to th_meter_stop(); its length goes into the worker's work and the fiber's path. Where strands fork the
 * path is handed on, where they join the longer one wins:
 *
 *   a child begins with the path that its spawner had, an effect of a fork or a fan with that of the scope's opening
 *   a scope remembers the longest path with which a child has ended; its closer goes on with that, if it is longer
 *   a joiner goes on with the child's, a fiber that is woken with the waker's
 *
 * All of it belongs to the one worker's thread, so nothing here is atomic; nothing here is done unless the runtime is
 * metered. What is called inside the library between stop and go counts for nobody; stopping what has stopped is nothing. */
#ifndef TH_METER_H
#define TH_METER_H
#include "scope.h"
#include <thrum/meter.h>

/* The chain goes on on this fiber: user's code is about to run, or has come to something of ours. */
void th_meter_go(struct th_fiber *f);
void th_meter_stop(struct th_fiber *f);

void th_meter_open(struct th_fiber *f, struct th_scope *s);                /* its children begin here */
void th_meter_spawn(struct th_fiber *f, struct th_task *t);
void th_meter_called(struct th_scope *s, struct th_task *t, size_t index); /* an effect of a fork or fan */
void th_meter_begin(struct th_fiber *f, struct th_task *t, struct th_path *ret_outside);
void th_meter_end(struct th_fiber *f, struct th_task *t, const struct th_path *outside);
void th_meter_join(struct th_fiber *f, const struct th_path *path);        /* that has come to its end */
void th_meter_wake(struct th_fiber *by, struct th_fiber *f);

/* `path`: the longest of all that have ended. */
void th_meter_result(const struct th_meter *m, const struct th_path *path, thrum_meter *ret_meter);

static inline bool th_metered(const struct th_fiber *f) { return f->home->meter.on; }

#endif
