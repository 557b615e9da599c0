/* core/limiter.c: rate limiters: a token bucket and one queue.
 *
 * The level is kept in units of which a token is `per` and a nanosecond brings `rate` (both divided by what they
 * have in common): whole numbers, so the account is exact for ever.
 *
 * Only one waiter looks at the clock: the one whose *turn* it is sleeps until its tokens are there, takes them, and
 * passes the turn on. The others wait for the turn, in order (Q2, Q8). A turn that was handed to a waiter is passed
 * on also when that waiter is cancelled, in whichever wait; the tokens lie in the bucket until they are taken, so a
 * cancel can neither lose nor leak any (Q7, Q9).
 *
 * While somebody has the turn the bucket does not run over: what flows in between the right moment and the waking of
 * the sleeper is for those behind it. With a burst of one it would be lost each time, and the rate never reached.
 *
 *             begin: nobody has it               has its tokens, or is cancelled: pass_on
 *    (free) ───────────────────────► had by one ──────────────────────────────────────────► (free), or had by the
 *                                                                            first waiter that no cancel has taken */
#include "assert.h"
#include "clock.h"
#include "hooks.h"
#include "node.h"
#include <errno.h>
#include <string.h>
#include <thrum/clock.h>
#include <thrum/retry.h>

struct limiter {
	struct th_lock lock;
	bool begun;            /* at its first use: only then there is a clock */
	bool turn_taken;
	uint64_t burst;        /* constant */
	int64_t per, rate, max;/* units of a token, units of a nanosecond, units of a full bucket; constant */
	int64_t level, at_ns;  /* at that time; beyond max only while the turn is taken */
	struct th_waitq waiters;
};
_Static_assert(sizeof(struct limiter) <= sizeof(thrum_limiter), "thrum_limiter holds a limiter");

static struct limiter *of(thrum_limiter *l)
{
	return (struct limiter *)(void *)l;
}

static uint64_t common(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

int thrum_limiter_init(thrum_limiter *public, uint64_t tokens, thrum_dur per, uint64_t burst)
{
	struct limiter *l = of(public);
	uint64_t divisor;

	if (tokens == 0 || tokens > INT64_MAX || per.ns <= 0 || burst == 0)
		return -EINVAL;
	memset(l, 0, sizeof *l);
	th_lock_init(&l->lock);
	divisor = common(tokens, (uint64_t)per.ns);
	l->rate = (int64_t)(tokens / divisor);
	l->per = per.ns / (int64_t)divisor;
	l->burst = burst;
	if (__builtin_mul_overflow(burst, l->per, &l->max))
		return -EINVAL;
	l->level = l->max;
	return 0;
}

/* --- the account; under the lock --- */

static void refill(struct limiter *l, int64_t now_ns)
{
	int64_t most = l->turn_taken ? INT64_MAX : l->max, elapsed = now_ns - l->at_ns;

	if (!l->begun) {
		l->begun = true;
		l->at_ns = now_ns;
		return;
	}
	if (elapsed <= 0) /* another worker's reading of the clock came in between */
		return;
	l->level = elapsed > (most - l->level) / l->rate ? most : l->level + elapsed * l->rate;
	l->at_ns = now_ns;
}

static bool take(struct limiter *l, uint64_t n, int64_t now_ns)
{
	int64_t units = (int64_t)n * l->per; /* n <= burst, so at most max */

	refill(l, now_ns);
	if (l->level < units)
		return false;
	l->level -= units;
	return true;
}

/* When there will be what take() has just missed: rounded up, so never too early. */
static thrum_time due(const struct limiter *l, uint64_t n)
{
	int64_t missing = (int64_t)n * l->per - l->level;
	thrum_time at = { l->at_ns };

	TH_DASSERT(missing > 0);
	return thrum_time_add(at, thrum_ns(missing / l->rate + (missing % l->rate != 0)));
}

/* --- the turn --- */

struct turn_wait {
	struct th_waiter waiter; /* first: the queue links it */
	struct limiter *limiter;
};

static void park_for_turn(struct th_fiber *f, void *arg)
{
	struct turn_wait *w = arg;
	struct limiter *l = w->limiter;
	bool mine = false;

	if (!th_node_arm(f, &w->waiter)) {
		if (th_waiter_claim(&w->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	th_lock(&l->lock);
	if (l->turn_taken)
		th_waitq_push(&l->waiters, &w->waiter);
	else
		mine = th_waiter_claim(&w->waiter, TH_WAIT_DONE);
	if (mine)
		l->turn_taken = true;
	th_unlock(&l->lock);
	if (mine)
		th_wake(f);
}

/* True: the turn is the caller's to pass on. */
static bool wait_for_turn(struct th_fiber *f, struct limiter *l)
{
	struct turn_wait w = { .limiter = l };

	th_waiter_init(&w.waiter, f);
	th_suspend(park_for_turn, &w);
	th_node_disarm(f, &w.waiter);
	th_lock(&l->lock); /* after it no claimer of this limiter can hold our waiter */
	th_waitq_remove(&l->waiters, &w.waiter);
	th_unlock(&l->lock);
	return !th_waiter_cancelled(&w.waiter);
}

static void pass_on(struct limiter *l)
{
	struct th_waiter *next;

	th_lock(&l->lock);
	next = th_waitq_claim(&l->waiters);
	if (!next) {
		l->turn_taken = false;
		if (l->level > l->max)
			l->level = l->max;
	}
	th_unlock(&l->lock);
	if (next)
		th_wake(next->fiber);
}

/* --- acquiring --- */

/* Takes them if they are there and nobody waits for them. Else, if the caller would wait: the turn, if it is free. */
static bool begin(struct limiter *l, uint64_t n, int64_t now_ns, bool waits, bool *ret_turn)
{
	bool taken;

	*ret_turn = false;
	th_lock(&l->lock);
	taken = !l->turn_taken && take(l, n, now_ns);
	if (!taken && !l->turn_taken && waits) {
		l->turn_taken = true;
		*ret_turn = true;
	}
	th_unlock(&l->lock);
	return taken;
}

/* The turn is the caller's. */
static int wait_for_tokens(struct th_fiber *f, struct limiter *l, uint64_t n)
{
	int r = 0;

	while (r == 0) {
		thrum_time at = { 0 };
		bool taken;

		th_lock(&l->lock);
		taken = take(l, n, th_clock_now(f).ns);
		if (!taken)
			at = due(l, n);
		th_unlock(&l->lock);
		if (taken)
			return 0;
		r = thrum_sleep_until(at);
	}
	return r;
}

int thrum_limiter_acquire(thrum_limiter *public, uint64_t n)
{
	struct th_fiber *f = th_self();
	struct limiter *l = of(public);
	bool turn;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (n > l->burst)
		return -EINVAL;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (n == 0 || begin(l, n, th_clock_now(f).ns, true, &turn))
		return 0;
	if (!turn && !wait_for_turn(f, l))
		return -ECANCELED;
	r = wait_for_tokens(f, l, n);
	pass_on(l);
	return r;
}

int thrum_limiter_try_acquire(thrum_limiter *public, uint64_t n)
{
	struct th_fiber *f = th_self();
	struct limiter *l = of(public);
	bool turn;

	if (!f)
		return THRUM_ENOTFIBER;
	if (n > l->burst)
		return -EINVAL;
	return n == 0 || begin(l, n, th_clock_now(f).ns, false, &turn) ? 0 : -EAGAIN;
}

uint64_t thrum_limiter_available(thrum_limiter *public)
{
	struct th_fiber *f = th_self();
	struct limiter *l = of(public);
	int64_t level;

	if (!f)
		return 0;
	th_lock(&l->lock);
	refill(l, th_clock_now(f).ns);
	level = l->level < l->max ? l->level : l->max;
	th_unlock(&l->lock);
	return (uint64_t)(level / l->per);
}
