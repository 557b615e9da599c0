/* core/breaker.c: circuit breakers. The model is in the public header; here is who may change what.
 *
 * Everything is under the lock, which is held neither while the effect runs nor while the user's test does. A call
 * takes a ticket: the number of the state that let it pass. What it reports counts only if that state still lasts,
 * so a call that began before the breaker opened cannot close it, nor fail a probe that is not its own. */
#include "clock.h"
#include "deep.h"
#include "lock.h"
#include "node.h"
#include <errno.h>
#include <string.h>
#include <thrum/retry.h>

enum { FAILURES = 5, PERCENT = 50, COOL_DOWN_S = 10, WINDOW_MAX = 64 };

struct breaker {
	struct th_lock lock;
	thrum_breaker_opts opts;  /* constant, defaults filled in */
	unsigned state;
	bool probing;             /* in HALF_OPEN: the one call is under way */
	uint64_t ticket;          /* counts the states it has been in */
	uint64_t history;         /* of the last 64 calls of this state, newest lowest: 1 = failed */
	unsigned seen, row;       /* calls in the history, up to WINDOW_MAX; failures in a row */
	thrum_time probe_at;
	uint64_t passed, refused, failures, cancelled, opened;
};
_Static_assert(sizeof(struct breaker) <= sizeof(thrum_breaker), "thrum_breaker holds a breaker");

static struct breaker *of(thrum_breaker *b)
{
	return (struct breaker *)(void *)b;
}

static int resolve(const thrum_breaker_opts *given, thrum_breaker_opts *o)
{
	if (given && given->size != sizeof *given)
		return -EINVAL;
	if (given)
		*o = *given;
	if (o->window > WINDOW_MAX || o->percent > 100 || o->cool_down.ns < 0 || (o->percent && !o->window))
		return -EINVAL;
	if (o->failures == 0 && o->window == 0)
		o->failures = FAILURES;
	if (o->percent == 0)
		o->percent = PERCENT;
	if (o->cool_down.ns == 0)
		o->cool_down = thrum_sec(COOL_DOWN_S);
	return 0;
}

int thrum_breaker_init(thrum_breaker *public, const thrum_breaker_opts *o)
{
	struct breaker *b = of(public);

	memset(b, 0, sizeof *b);
	th_lock_init(&b->lock);
	return resolve(o, &b->opts);
}

/* --- under the lock --- */

static void enter(struct breaker *b, unsigned state)
{
	b->state = state;
	b->ticket++;
	b->probing = false;
	b->history = 0;
	b->seen = b->row = 0;
}

static void trip(struct breaker *b, thrum_time now)
{
	enter(b, THRUM_BREAKER_OPEN);
	b->probe_at = thrum_time_add(now, b->opts.cool_down);
	b->opened++;
}

static bool admit(struct breaker *b, thrum_time now)
{
	if (b->state == THRUM_BREAKER_OPEN && now.ns >= b->probe_at.ns)
		enter(b, THRUM_BREAKER_HALF_OPEN);
	if (b->state == THRUM_BREAKER_OPEN || b->probing) {
		b->refused++;
		return false;
	}
	b->probing = b->state == THRUM_BREAKER_HALF_OPEN;
	b->passed++;
	return true;
}

static bool is_too_much(const struct breaker *b)
{
	const thrum_breaker_opts *o = &b->opts;
	unsigned failed;

	if (o->failures && b->row >= o->failures)
		return true;
	if (o->window == 0 || b->seen < o->window)
		return false;
	failed = (unsigned)__builtin_popcountll(b->history & UINT64_MAX >> (WINDOW_MAX - o->window));
	return failed * 100 >= o->percent * o->window;
}

static void count(struct breaker *b, bool failed)
{
	b->history = b->history << 1 | failed;
	b->seen += b->seen < WINDOW_MAX;
	b->row = failed ? b->row + 1 : 0;
}

/* A call of the present state has ended. */
static void report(struct breaker *b, bool failed, thrum_time now)
{
	if (b->state == THRUM_BREAKER_HALF_OPEN) {
		if (failed)
			trip(b, now);
		else
			enter(b, THRUM_BREAKER_CLOSED);
		return;
	}
	count(b, failed);
	if (is_too_much(b))
		trip(b, now);
}

/* --- calls --- */

static void ended(struct breaker *b, uint64_t ticket, int code, thrum_time now)
{
	const thrum_breaker_opts *o = &b->opts;
	bool failed = code < 0 && code != -ECANCELED && (!o->counts || o->counts(o->arg, code));

	th_lock(&b->lock);
	b->failures += failed;
	b->cancelled += code == -ECANCELED;
	if (ticket == b->ticket) {
		if (code == -ECANCELED)
			b->probing = false;
		else
			report(b, failed, now);
	}
	th_unlock(&b->lock);
}

int thrum_breaker_call(thrum_breaker *public, thrum_fx fx)
{
	struct th_fiber *f = th_self();
	struct breaker *b = of(public);
	uint64_t ticket;
	bool passes;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run)
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	th_lock(&b->lock);
	passes = admit(b, th_clock_now(f));
	ticket = b->ticket;
	th_unlock(&b->lock);
	if (!passes)
		return THRUM_EOPEN;
	code = th_call_deep(fx);
	ended(b, ticket, code, th_clock_now(f));
	return code;
}

void thrum_breaker_reset(thrum_breaker *public)
{
	struct breaker *b = of(public);

	th_lock(&b->lock);
	enter(b, THRUM_BREAKER_CLOSED);
	th_unlock(&b->lock);
}

int thrum_breaker_read(thrum_breaker *public, thrum_breaker_stats *ret_stats)
{
	struct breaker *b = of(public);

	if (ret_stats->size != sizeof *ret_stats)
		return -EINVAL;
	th_lock(&b->lock);
	*ret_stats = (thrum_breaker_stats){ .size = sizeof *ret_stats, .state = b->state, .probe_at = b->probe_at,
					    .passed = b->passed, .refused = b->refused, .failures = b->failures,
					    .cancelled = b->cancelled, .opened = b->opened };
	th_unlock(&b->lock);
	return 0;
}

static int breaker_op(void *arg)
{
	const thrum_breaker_op *op = arg;

	return thrum_breaker_call(op->breaker, op->fx);
}

thrum_fx thrum_breaker_fx(thrum_breaker_op *op) { return (thrum_fx){ breaker_op, op }; }
