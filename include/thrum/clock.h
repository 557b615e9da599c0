/* thrum/clock.h: sleeping and telling the time, on the runtime's clock: the monotonic one, or a test clock that moves
 * only when a test says so. */
#ifndef THRUM_CLOCK_H
#define THRUM_CLOCK_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/rt.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Sleep. Fiber; suspends; cancel point. Never early. <= 0 yields once (L1). Sleeps that end at the same time end in the
 * order in which they began (L6). Returns 0; -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API int thrum_sleep(thrum_dur d);
THRUM_API int thrum_sleep_until(thrum_time t);

/* Fiber: the runtime's clock, or the test clock that this part of the program runs on. Elsewhere: CLOCK_MONOTONIC. */
THRUM_API thrum_time thrum_now(void);

/* Move the test clock of `rt` (NULL: this fiber's). First everything runnable runs until nothing can; then the clock
 * steps to each deadline within `d` in order, and everything runs out again at each (C1).
 *   caller    a fiber of `rt` (suspends, not a cancel point; does not count as runnable, C4) or a plain thread (blocks)
 *   reports   who runs, when it has not come to its end after .stuck_ms of real time (C7)
 *   returns   0; -EINVAL if d < 0 (C2) or the clock is not THRUM_CLOCK_TEST; THRUM_ECLOSED to a thread when the runtime is
 *             shut down, before or meanwhile */
THRUM_API int thrum_clock_advance(thrum_rt *rt, thrum_dur d);

/* --- a test clock for a part of the program, whatever clock the runtime has --- */

/* Caller storage. The address is the identity: do not copy. It outlives every fiber that runs on it. */
typedef struct thrum_test_clock {
	uint64_t opaque_[24];
} thrum_test_clock;

/* A clock that stands still. Any thread. Nothing to free. */
THRUM_API void thrum_test_clock_init(thrum_test_clock *c);

/* Run `fx`, in the caller's place and in a scope of its own, so that all times and deadlines that are set in it, or in
 * children that it spawns, are on `c`: thrum_sleep(), thrum_now(), timeouts, scope deadlines. Deadlines set around it stay on
 * the clock around it, and reach it as ever. It is a fiber local: see thrum/context.h for who inherits it.
 *   caller    a fiber; suspends if `fx` does; a cancel point only as far as `fx` is
 *   returns   fx's code; what thrum_local_with() returns */
THRUM_API int thrum_with_test_clock(thrum_test_clock *c, thrum_fx fx);

/* Move it, as thrum_clock_advance() moves a runtime's: first everything runnable in the whole runtime runs until nothing can;
 * then the clock steps to each deadline within `d` in order, and everything runs out again at each (C1). So it waits as long
 * as anything else in the runtime keeps running; it does not wait for other clocks, descriptors or other runtimes. `c` is in
 * use in one runtime at a time.
 *   caller    a fiber, on this clock or another; suspends; not a cancel point; does not count as runnable (C4)
 *   returns   0; -EINVAL if d < 0 (C2); THRUM_ENOTFIBER */
THRUM_API int thrum_test_clock_advance(thrum_test_clock *c, thrum_dur d);

/* thrum_with_test_clock() as a value. Borrowed while the effect may run. */
typedef struct thrum_test_clock_op {
	thrum_test_clock *clock;
	thrum_fx fx;
} thrum_test_clock_op;
THRUM_API thrum_fx thrum_with_test_clock_fx(thrum_test_clock_op *op);

#ifdef __cplusplus
}
#endif
#endif
