/* core/mutex.h: what a condition needs of a mutex. */
#ifndef TH_MUTEX_H
#define TH_MUTEX_H
#include "wait.h"
#include <thrum/sync.h>

/* Does the running effect own it? */
bool th_mutex_is_mine(thrum_mutex *m, struct th_fiber *f);
/* Let go of it; the next owner goes into `wakes`. False: `f` does not own it. Also on the worker's stack, when `f` is
 * parked. */
bool th_mutex_release(thrum_mutex *m, struct th_fiber *f, struct th_wakes *wakes);
/* Lock it come what may: not a cancel point, nor ended by one. */
void th_mutex_relock(thrum_mutex *m, struct th_fiber *f);

#endif
