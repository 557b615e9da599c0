/* thrum/retry.h: running an effect again, and keeping away from a service that is down or must be spared:
 * schedules, retry, repeat, hedged requests, circuit breakers, rate limiters. All of it on the fiber's clock, so
 * that a test clock tests it.
 *
 *     thrum_schedule s = thrum_up_to_count(thrum_jittered(thrum_exponential(thrum_ms(10), thrum_sec(1)), 0.2), 5);
 *     int code = thrum_retry(fetch_fx(&f), &s); */
#ifndef THRUM_RETRY_H
#define THRUM_RETRY_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* --- schedules ---
 *
 * When to go on, and after which delay: a constant value, copied like a number, that any number of runs may use at
 * once; what a run has counted lies in the run (Y1). Combinators take and return schedules by value and allocate
 * nothing: a schedule holds the whole expression, up to THRUM_SCHEDULE_NODES constructors and combinators (each
 * call is one). More than that, or a bad argument (negative length of time, jitter outside 0..1, no predicate, a
 * schedule that is itself bad), makes a schedule that every run refuses with -E2BIG or -EINVAL; so does
 * thrum_schedule_start(). A schedule of zeros is bad too.
 *
 * Any thread; nothing suspends. Predicates and their arguments are borrowed as long as the schedule is in use. */
enum { THRUM_SCHEDULE_NODES = 16 };

/* Something about a code: of the attempt that has just ended, negative or not. Runs on the fiber that runs the
 * schedule, between two attempts; it may call anything, and suspend. */
typedef bool thrum_code_test(void *arg, int code);

/* The fields are the library's. */
typedef union thrum_schedule_arg_ {
	int64_t ns;
	uint64_t count;
	double fraction;
	thrum_code_test *test;
	void *arg;
} thrum_schedule_arg_;
typedef struct thrum_schedule_node_ {
	thrum_schedule_arg_ a, b;
	uint32_t kind;
	uint32_t left; /* of two operands, where the first one ends; the other ends right before this node */
} thrum_schedule_node_;
typedef struct thrum_schedule {
	thrum_schedule_node_ node_[THRUM_SCHEDULE_NODES]; /* operands before operators: the last one is the whole */
	uint32_t n_;
	int error_;
} thrum_schedule;

/* n times more, without delay: n + 1 attempts in all, for 0 one (Y3). */
THRUM_API thrum_schedule thrum_recurs(uint64_t n);
/* For ever, `d` after the end of each attempt. */
THRUM_API thrum_schedule thrum_spaced(thrum_dur d);
/* For ever, at start + d, start + 2 d, ... An attempt that runs over is followed by the next at once, and the times
 * that it ran over are left out: they do not pile up. */
THRUM_API thrum_schedule thrum_fixed_rate(thrum_dur d);
/* For ever: base, 2 base, 4 base, ... but never more than cap, however many (Y4). */
THRUM_API thrum_schedule thrum_exponential(thrum_dur base, thrum_dur cap);
/* For ever: base, base, 2 base, 3 base, 5 base, ... but never more than cap. */
THRUM_API thrum_schedule thrum_fibonacci(thrum_dur base, thrum_dur cap);

/* Each delay times a random factor from 1 - fraction to 1 + fraction (Y5: 0.2 is usual), drawn from
 * thrum_random(). It is the capped delay of a capped schedule that is varied, so it may exceed the cap by the
 * fraction. */
THRUM_API thrum_schedule thrum_jittered(thrum_schedule s, double fraction);
/* Goes on while either does, after the shorter delay. */
THRUM_API thrum_schedule thrum_union(thrum_schedule a, thrum_schedule b);
/* Goes on while both do, after the longer delay. */
THRUM_API thrum_schedule thrum_intersect(thrum_schedule a, thrum_schedule b);
/* `a` until it ends, then `b` from its beginning. */
THRUM_API thrum_schedule thrum_and_then(thrum_schedule a, thrum_schedule b);
/* Ends instead of letting an attempt begin later than `limit` after the start of the run; after thrum_and_then(), of
 * its turn. */
THRUM_API thrum_schedule thrum_up_to(thrum_schedule s, thrum_dur limit);
/* Ends after n times. */
THRUM_API thrum_schedule thrum_up_to_count(thrum_schedule s, uint64_t n);
/* Ends at the first code for which test(arg, code) is false; true. */
THRUM_API thrum_schedule thrum_while_(thrum_schedule s, thrum_code_test *test, void *arg);
THRUM_API thrum_schedule thrum_until_(thrum_schedule s, thrum_code_test *test, void *arg);

/* One run of a schedule, to write loops of one's own with; retry and repeat are written so. Caller storage. */
typedef struct thrum_schedule_run {
	uint64_t opaque_[2 + 2 * THRUM_SCHEDULE_NODES];
} thrum_schedule_run;
/* Begin: now is the start. Borrows `s` as long as `run` is used. Fiber. 0; -EINVAL, -E2BIG: it is a bad schedule;
 * THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_schedule_start(thrum_schedule_run *run, const thrum_schedule *s);
/* An attempt has ended with `code`: again? True: *ret_delay from now on. False: it has ended, and stays so. The
 * fiber that began; does not suspend (unless a test does). */
THRUM_API bool thrum_schedule_next(thrum_schedule_run *run, int code, thrum_dur *ret_delay);

/* --- retry and repeat ---
 *
 * Fiber; suspend; cancel points. Borrow what they are given until they return. Each attempt runs in a scope of its
 * own, which is closed before the delay: what it acquired with thrum_acquire_release() is released by then (Y6). */

/* Run `fx`; as long as it fails and the schedule goes on, wait and run it again. Returns what the last attempt
 * came back with (Y8): 0 or more, or the last failure. Only failures are retried: a defect (THRUM_EDIED) and
 * -ECANCELED pass (Y2), or what a release failed with after that. A cancel ends the delay: -ECANCELED. Where a
 * deadline applies (thrum_deadline()) and the delay would reach it, the last failure is returned at once (Y7).
 * -EINVAL for an effect without a function or no schedule; -EINVAL, -E2BIG for a bad schedule; then nothing ran. */
THRUM_API int thrum_retry(thrum_fx fx, const thrum_schedule *schedule);
/* The same; a failure for which retryable(arg, code) is false passes too. */
THRUM_API int thrum_retry_if(thrum_fx fx, const thrum_schedule *schedule, thrum_code_test *retryable, void *arg);
/* Run `fx`; as long as it succeeds and the schedule goes on, wait and run it again. Returns the last success, or
 * the first failure, which ends it. thrum_recurs(n): n + 1 runs. A deadline does not end it early: it had no error
 * to give back. */
THRUM_API int thrum_repeat(thrum_fx fx, const thrum_schedule *schedule);

/* As values; see thrum/combine.h. Unused fields are zero. */
typedef struct thrum_retry_op {
	thrum_fx fx;
	const thrum_schedule *schedule;
	thrum_code_test *retryable;  /* NULL: every failure is */
	void *arg;                   /* of retryable */
	/* May be NULL. The number of the attempt that runs, from 1; in the end how many ran, whatever came of it (Y8). */
	uint64_t *ret_attempts;
} thrum_retry_op;
typedef struct thrum_repeat_op {
	thrum_fx fx;
	const thrum_schedule *schedule;
	uint64_t *ret_runs;          /* may be NULL; as ret_attempts */
} thrum_repeat_op;
THRUM_API thrum_fx thrum_retry_fx(thrum_retry_op *op);
THRUM_API thrum_fx thrum_repeat_fx(thrum_repeat_op *op);

/* --- hedged requests --- */

/* A race with staggered starts: fx[0] now; as long as there is no success, the next one `delay` after the one
 * before it was started, or at once when one fails. The first success wins, the others are cancelled and awaited.
 * Returns the winner's index; the first failure if all fail; -EINVAL for 0 effects; cancelled from outside before
 * there is a winner: -ECANCELED. delay <= 0: a plain
 * race. THRUM_FOREVER: the next one only after a failure. Fiber; suspends; cancel point; borrows the effects until it
 * returns. What an entrant brought that succeeded too late is in its argument. */
THRUM_API int thrum_hedge_n(const thrum_fx *fx, size_t n, thrum_dur delay);

typedef struct thrum_hedge_op {
	const thrum_fx *fx;
	size_t n;
	thrum_dur delay;
	int *ret_index; /* may be NULL */
} thrum_hedge_op;
THRUM_API thrum_fx thrum_hedge_fx(thrum_hedge_op *op); /* as an effect: 0 on success, the index in *ret_index */

/* --- circuit breaker ---
 *
 *             .failures in a row, or .percent of the last .window calls
 *   CLOSED ──────────────────────────────────────────────────────────────► OPEN ◄──────────┐
 *     ▲                                                                      │ .cool_down  │ the probe failed
 *     └────────────────────── the probe succeeded ──────── HALF_OPEN ◄───────┘  is over ───┘
 *
 * CLOSED: calls pass, their outcomes count. OPEN: calls are refused with THRUM_EOPEN, the effect does not run.
 * HALF_OPEN: one call at a time passes, the probe; the others are refused. The count begins anew with every state:
 * a call that began under an earlier state and ends late changes nothing. A success, and a failure for which
 * .counts says no, is a success of the service. A call that ends with -ECANCELED counts as nothing, and a probe
 * that does so leaves its place to the next call. So a time limit belongs inside, where it is a failure of the
 * service: breaker(timeout(fx)); outside it is a caller that gave up. And a probe needs one: as long as it runs,
 * everybody else is refused. */
enum { THRUM_BREAKER_CLOSED = 0, THRUM_BREAKER_OPEN = 1, THRUM_BREAKER_HALF_OPEN = 2 };

typedef struct thrum_breaker_opts {
	size_t size;               /* set by THRUM_BREAKER_OPTS */
	unsigned failures;         /* open after so many in a row; 0 = 5, or with .window: no matter how many */
	unsigned window;           /* and when of the last so many calls, at most 64, ... 0 = do not look at them */
	unsigned percent;          /* ... so many in a hundred have failed, once there were .window of them; 0 = 50 */
	thrum_dur cool_down;       /* how long it stays open; 0 = 10 s */
	thrum_code_test *counts;   /* is this code, < 0, a failure of the service? NULL: every one is */
	void *arg;                 /* of counts */
} thrum_breaker_opts;
#define THRUM_BREAKER_OPTS(...) (&(thrum_breaker_opts){ .size = sizeof(thrum_breaker_opts), __VA_ARGS__ })

typedef struct thrum_breaker {
	uint64_t opaque_[24];
} thrum_breaker;

/* Any thread. NULL `o`: the defaults; it is copied, what it points to is borrowed. It owns nothing: there is no fini.
 * 0; -EINVAL for bad options. */
THRUM_API THRUM_MUST_CHECK int thrum_breaker_init(thrum_breaker *b, const thrum_breaker_opts *o);
/* Run `fx` in the caller's place, or refuse it. Any number of fibers of one runtime at once. Fiber; suspends if fx
 * does; cancel point. Returns fx's code; THRUM_EOPEN, then fx has not run; -EINVAL for an effect without a function. */
THRUM_API int thrum_breaker_call(thrum_breaker *b, thrum_fx fx);
/* Close it by hand, and begin to count anew. Any thread. */
THRUM_API void thrum_breaker_reset(thrum_breaker *b);

typedef struct thrum_breaker_stats {
	size_t size;               /* set by the caller */
	unsigned state;            /* THRUM_BREAKER_*; OPEN until the first call after the cool-down */
	thrum_time probe_at;       /* in OPEN: when the cool-down is over */
	uint64_t passed;           /* calls that were let through */
	uint64_t refused;          /* THRUM_EOPEN */
	uint64_t failures;         /* that counted */
	uint64_t cancelled;        /* ended with -ECANCELED: counted as nothing */
	uint64_t opened;           /* times that it opened */
} thrum_breaker_stats;
/* Any thread. 0; -EINVAL for another size. */
THRUM_API int thrum_breaker_read(thrum_breaker *b, thrum_breaker_stats *ret_stats);

/* thrum_breaker_call() as a value; see thrum/combine.h. */
typedef struct thrum_breaker_op {
	thrum_breaker *breaker;
	thrum_fx fx;
} thrum_breaker_op;
THRUM_API thrum_fx thrum_breaker_fx(thrum_breaker_op *op);

/* --- rate limiter ---
 *
 * A bucket of at most `burst` tokens, full at first, into which `tokens` flow `per` length of time, evenly, on the
 * fiber's clock. The account is exact: whole numbers of nanoseconds, nothing is lost to rounding however long it
 * runs, nor to a waiter that is woken late: the next ones catch up. Nothing runs in the background: whoever comes
 * looks at the clock. An object belongs to one runtime. */
typedef struct thrum_limiter {
	uint64_t opaque_[16];
} thrum_limiter;

/* Any thread. It owns nothing: there is no fini; no fiber may wait in it when its storage goes.
 * 0; -EINVAL for tokens, per or burst of zero or less, or more than can be counted: burst * per beyond 292 years, after what
 * tokens and per have in common was divided out. */
THRUM_API THRUM_MUST_CHECK int thrum_limiter_init(thrum_limiter *l, uint64_t tokens, thrum_dur per, uint64_t burst);
/* Take n tokens, waiting for them if need be. Waiters are served in order, none is overtaken, a large one is not
 * starved by small ones. Fiber; suspends; cancel point: on -ECANCELED nothing was taken, and the next waiter has
 * its turn. 0; -ECANCELED; -EINVAL for n > burst: it could never be had; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_limiter_acquire(thrum_limiter *l, uint64_t n);
/* Without waiting: -EAGAIN instead, also when others wait. Fiber (the clock is the fiber's); no cancel point. Otherwise the
 * codes of thrum_limiter_acquire(). */
THRUM_API THRUM_MUST_CHECK int thrum_limiter_try_acquire(thrum_limiter *l, uint64_t n);
/* Whole tokens in the bucket now, also if others wait for them. Fiber; 0 elsewhere. */
THRUM_API uint64_t thrum_limiter_available(thrum_limiter *l);

#ifdef __cplusplus
}
#endif
#endif
