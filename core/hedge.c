/* core/hedge.c: hedged requests: one entrant, and after each delay without a result one more; the first success
 * wins.
 *
 * A chain, like the runners of core/fan.c. Whoever runs entrant i has first spawned a *starter* for entrant i + 1,
 * whose record lies in its frame; it joins it last:
 *
 *     caller     spawn starter 1 ► entrant 0 ──────────────────────► join ┐
 *     starter 1  wait for the delay ► spawn starter 2 ► entrant 1 ──► join ┐
 *     starter 2                       wait … ► …                           ▼
 *
 * So nothing is allocated, at most one more starter than entrants exists, and an entrant that does not suspend costs
 * nothing beyond itself: the starter is cancelled before it began.
 *
 * A starter waits by sleeping in a scope of its own. An entrant that fails lets the next one start at once: it
 * cancels that scope. When no starter waits just then (the next one is between its spawn and its sleep), the
 * failure is left as a credit: the next starter that comes to wait takes it and does not. So each failure starts
 * one entrant. */
#include "clock.h"
#include "hooks.h"
#include "scope.h"
#include <errno.h>
#include <thrum/clock.h>
#include <thrum/retry.h>

struct hedge {
	thrum_scope scope;
	const thrum_fx *fx;
	size_t n;
	thrum_dur delay;

	struct th_lock lock;      /* of what follows */
	thrum_scope *waiting;     /* a starter sleeps in it */
	size_t credits;           /* failures that found no starter waiting */
	bool won;
	size_t winner;
	size_t failed;
	int first_failure;
	struct th_cause *failures;
};

/* Entrant i's turn to come. */
struct starter {
	struct th_task task;
	struct hedge *hedge;
	size_t i;
	thrum_time at;
};

/* As win() and first_success() of core/race.c: the one place where the race is decided (R2, R5). */
static void win(struct hedge *h, size_t i, int code)
{
	thrum_reason why = { .kind = THRUM_CANCEL_RACE_LOST, .code = code, .index = i };
	bool first;

	th_lock(&h->lock);
	first = !h->won;
	if (first) {
		h->won = true;
		h->winner = i;
	}
	th_unlock(&h->lock);
	if (first)
		thrum_scope_cancel_why(&h->scope, &why);
}

static void fail(struct th_fiber *f, struct hedge *h, int code, struct th_cause *cause)
{
	th_lock(&h->lock);
	h->failed++;
	if (h->first_failure == 0 || h->first_failure == -ECANCELED)
		h->first_failure = code; /* an interrupt never hides a failure (G1) */
	if (cause || code != -ECANCELED)
		h->failures = th_cause_add(f->home->causes, THRUM_CAUSE_BOTH, h->failures, cause, h->first_failure);
	if (h->waiting) {
		thrum_scope_cancel_at_(h->waiting, NULL, 0); /* under the lock: it may be closed from then on */
		h->waiting = NULL;
	} else {
		h->credits++;
	}
	th_unlock(&h->lock);
}

/* May this starter skip its wait? Else the wait can be ended through `scope`. */
static bool begin_wait(struct hedge *h, thrum_scope *scope)
{
	bool skip;

	th_lock(&h->lock);
	skip = h->credits > 0;
	if (skip)
		h->credits--;
	else
		h->waiting = scope;
	th_unlock(&h->lock);
	return skip;
}

static void end_wait(struct hedge *h, thrum_scope *scope)
{
	th_lock(&h->lock);
	if (h->waiting == scope)
		h->waiting = NULL;
	th_unlock(&h->lock);
}

/* The delay, or a failure before it is over. False: the hedge is cancelled. */
static bool wait_for_turn(struct th_fiber *f, const struct starter *s)
{
	struct th_outcome out;
	thrum_scope scope;

	th_scope_open(f, th_scope_of(&scope));
	if (!begin_wait(s->hedge, &scope)) {
		(void)thrum_sleep_until(s->at);
		end_wait(s->hedge, &scope);
	}
	th_scope_close(f, th_scope_of(&scope), &out);
	(void)th_scope_rule(f, th_scope_of(&scope), &out, 0);
	return !th_cancelled(f);
}

static void run_from(struct th_fiber *f, struct hedge *h, size_t i);

static int starter(void *arg)
{
	struct starter *s = arg;
	struct th_fiber *f = th_self();

	if (wait_for_turn(f, s))
		run_from(f, s->hedge, s->i);
	return 0;
}

/* Refused when the hedge is cancelled: then nobody is needed. */
static bool spawn_starter(struct th_fiber *f, struct hedge *h, size_t i, struct starter *s)
{
	if (i >= h->n)
		return false;
	th_task_init(&s->task, (thrum_fx){ starter, s });
	s->task.runner = true;
	s->hedge = h;
	s->i = i;
	s->at = thrum_time_add(th_clock_now(f), h->delay);
	return th_spawn(f, th_scope_of(&h->scope), &s->task, 0) == 0;
}

/* Entrant i here, those after it on the starter's fiber. */
static void run_from(struct th_fiber *f, struct hedge *h, size_t i)
{
	struct th_task entrant;
	struct starter next;
	bool spawned = spawn_starter(f, h, i + 1, &next);
	int code;

	th_task_init(&entrant, h->fx[i]);
	entrant.isolated = true;
	entrant.item = true;
	code = th_child_call(f, th_scope_of(&h->scope), &entrant, i);
	if (code >= 0)
		win(h, i, code);
	else
		fail(f, h, code, entrant.cause);
	if (spawned)
		(void)thrum_join((thrum_task *)(void *)&next.task);
}

static int result(const struct hedge *h, const struct th_outcome *out)
{
	if (h->won)
		return (int)h->winner;
	if (out->child)
		return out->child; /* no stack for a starter: -ENOMEM */
	/* Not all have failed if a cancel ended one, or came before the last one's turn. */
	return out->interrupted || h->failed < h->n ? -ECANCELED : h->first_failure;
}

static bool any_null(const thrum_fx *fx, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fx[i].run)
			return true;
	return false;
}

int thrum_hedge_n(const thrum_fx *fx, size_t n, thrum_dur delay)
{
	struct hedge h = { .fx = fx, .n = n, .delay = delay };
	struct th_fiber *f = th_self();
	struct th_outcome out;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (n == 0 || n > INT32_MAX || !fx || any_null(fx, n))
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	th_lock_init(&h.lock);
	th_scope_open(f, th_scope_of(&h.scope));
	run_from(f, &h, 0);
	th_scope_close(f, th_scope_of(&h.scope), &out);
	r = result(&h, &out);
	out.cause = th_cause_join(f->home->causes, THRUM_CAUSE_BOTH, out.cause, h.failures, r);
	return th_scope_rule(f, th_scope_of(&h.scope), &out, r);
}

static int hedge_op(void *arg)
{
	const thrum_hedge_op *op = arg;
	int r = thrum_hedge_n(op->fx, op->n, op->delay);

	if (r >= 0 && op->ret_index)
		*op->ret_index = r;
	return r < 0 ? r : 0;
}

thrum_fx thrum_hedge_fx(thrum_hedge_op *op) { return (thrum_fx){ hedge_op, op }; }
