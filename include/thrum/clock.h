/* thrum/clock.h: sleeping and telling the time, on the runtime's clock: the monotonic one, or a test clock that moves
 * only when a test says so. */
#ifndef THRUM_CLOCK_H
#define THRUM_CLOCK_H
#include <thrum/base.h>
#include <thrum/rt.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Sleep. Fiber; suspends; cancel point. Never early. <= 0 yields once (L1). Sleeps that end at the same time end in the
 * order in which they began (L6). Returns 0; -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API int thrum_sleep(thrum_dur d);
THRUM_API int thrum_sleep_until(thrum_time t);

/* Fiber: the runtime's clock. Elsewhere: CLOCK_MONOTONIC. */
THRUM_API thrum_time thrum_now(void);

/* Move the test clock of `rt` (NULL: this fiber's). First everything runnable runs until nothing can; then the clock
 * steps to each deadline within `d` in order, and everything runs out again at each (C1).
 *   caller    a fiber of `rt` (suspends, not a cancel point; does not count as runnable, C4) or a plain thread (blocks)
 *   returns   0; -EINVAL if d < 0 (C2) or the clock is not THRUM_CLOCK_TEST */
THRUM_API int thrum_clock_advance(thrum_rt *rt, thrum_dur d);

#ifdef __cplusplus
}
#endif
#endif
