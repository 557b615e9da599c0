/* core/handoff.c: the forms that do not wait: race_in and timeout_in hand what is still running to a scope that lives
 * longer, by name (R12, T8).
 *
 * What they run is one child of that scope from the start, the host: it runs the race, or the effect, as ever and waits for all
 * of it. The caller waits for the host's news only:
 *
 *          host: decided, or ended                  WAITING ──tell──► TOLD      the caller has the result
 *          caller: cancelled, or its time is up        └──leave──► LEFT         the host is cancelled; its failure is nobody's,
 *                                                                                so it becomes that of an isolated child (K7)
 *
 * Both steps are under the lock of the block that they share, and so is the cancel of the host: it has not ended yet while
 * it may still tell. The block goes with the last of the two. */
#include "assert.h"
#include "deep.h"
#include "hooks.h"
#include "pool.h"
#include "scope.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/combine.h>

struct handoff {
	struct th_lock lock;
	int refs;
	bool told, left;
	struct th_task *host;      /* NULL once it can no longer be cancelled */
	struct th_waiter *waiter;
	int code;                  /* the host's news, once told */
	struct th_cause *cause;
	struct th_pool *causes;
	size_t n;                  /* effects; 0: one, without a race */
	thrum_fx fx[];
};

static void unref(struct handoff *h)
{
	bool last;

	th_lock(&h->lock);
	last = --h->refs == 0;
	th_unlock(&h->lock);
	if (!last)
		return;
	th_cause_free(h->causes, h->cause);
	free(h);
}

/* --- the host --- */

/* False: the caller has left, or was told before. */
static bool tell(struct handoff *h, int code, struct th_cause *cause)
{
	struct th_fiber *wake = NULL;
	bool first;

	th_lock(&h->lock);
	first = !h->told && !h->left;
	if (first) {
		h->told = true;
		h->code = code;
		h->cause = cause;
		if (h->waiter && th_waiter_claim(h->waiter, TH_WAIT_DONE))
			wake = h->waiter->fiber;
	}
	th_unlock(&h->lock);
	if (wake)
		th_wake(wake);
	return first;
}

static void won(void *arg, size_t i)
{
	(void)tell(arg, (int)i, NULL);
}

/* Its code is its own only if the caller has left without one. */
static int host(void *arg)
{
	struct handoff *h = arg;
	struct th_fiber *f = th_self();
	struct th_cause *cause;
	int code;

	code = h->n > 0 ? th_race_telling(h->fx, h->n, won, h) : th_call_deep(h->fx[0]);
	th_lock(&h->lock);
	h->host = NULL; /* from here on nobody cancels it */
	th_unlock(&h->lock);
	cause = code < 0 ? th_cause_take(f, code) : NULL;
	if (tell(h, code, cause))
		code = 0;
	else if (cause)
		th_cause_set(f, code, cause);
	unref(h);
	return code < 0 ? code : 0;
}

/* The host's body never ran: cancelled before, or no stack for it. */
static int host_never_ran(struct handoff *h, int code)
{
	th_lock(&h->lock);
	h->host = NULL;
	th_unlock(&h->lock);
	(void)tell(h, code, NULL);
	unref(h);
	return 0;
}

static int host_cancelled(void *arg)
{
	return host_never_ran(arg, -ECANCELED);
}

static int host_refused(void *arg)
{
	return host_never_ran(arg, -ENOMEM);
}

/* --- the caller --- */

struct news_wait {
	struct th_waiter waiter;
	struct handoff *handoff;
};

static void park_for_news(struct th_fiber *f, void *arg)
{
	struct news_wait *w = arg;
	struct handoff *h = w->handoff;
	bool wake = false;

	if (!th_node_arm(f, &w->waiter)) {
		if (th_waiter_claim(&w->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	th_lock(&h->lock);
	if (h->told)
		wake = th_waiter_claim(&w->waiter, TH_WAIT_DONE);
	else
		h->waiter = &w->waiter;
	th_unlock(&h->lock);
	if (wake)
		th_wake(f);
}

/* Wait for the news, or for a cancel: then leave, and have the host cancelled for the same reason. */
static int wait_or_leave(struct th_fiber *f, struct handoff *h)
{
	struct news_wait w = { .handoff = h };
	int code = -ECANCELED;

	th_waiter_init(&w.waiter, f);
	th_suspend(park_for_news, &w);
	th_node_disarm(f, &w.waiter);
	th_lock(&h->lock);
	h->waiter = NULL;
	if (h->told) {
		code = h->code; /* it came: success beats cancel */
	} else {
		h->left = true;
		if (h->host)
			th_node_cancel(&h->host->node, &f->node->reason);
	}
	th_unlock(&h->lock);
	return code;
}

static struct handoff *new_handoff(struct th_fiber *f, const thrum_fx *fx, size_t n)
{
	struct handoff *h;
	size_t bytes;

	if (__builtin_mul_overflow(n ? n : 1, sizeof *fx, &bytes) || __builtin_add_overflow(bytes, sizeof *h, &bytes))
		return NULL;
	h = malloc(bytes);
	if (!h)
		return NULL;
	*h = (struct handoff){ .refs = 2, .n = n, .causes = f->home->causes };
	th_lock_init(&h->lock);
	memcpy(h->fx, fx, (n ? n : 1) * sizeof *fx);
	return h;
}

static int spawn_host(struct th_fiber *f, struct th_scope *s, struct handoff *h)
{
	struct th_pool *pool = f->home->records;
	struct th_task *t = th_pool_take(pool);
	int r = -ENOMEM;

	if (t) {
		th_task_init(t, (thrum_fx){ host, h });
		t->pool = pool;
		t->isolated = true;
		t->drop = (thrum_fx){ host_cancelled, h };
		t->refused = (thrum_fx){ host_refused, h };
		h->host = t;
		r = th_spawn(f, s, t, 0);
	}
	if (r < 0) {
		if (t)
			th_pool_give(pool, t);
		free(h);
	}
	return r;
}

static int check(struct th_fiber *f, struct th_scope *s, const thrum_fx *fx, size_t n)
{
	if (!f)
		return THRUM_ENOTFIBER;
	if (!s || !fx || n == 0 || n > INT32_MAX)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!fx[i].run)
			return -EINVAL;
	return th_cancelled(f) ? -ECANCELED : 0;
}

/* The result of a host that was told; its cause becomes the caller's. */
static int settle_up(struct th_fiber *f, struct handoff *h, int code)
{
	if (code < 0) {
		th_cause_set(f, code, h->told ? h->cause : NULL);
		if (h->told)
			h->cause = NULL;
	}
	unref(h);
	return code;
}

int thrum_race_in(thrum_scope *losers, const thrum_fx *fx, size_t n)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(losers);
	struct handoff *h;
	int r = check(f, s, fx, n);

	if (r < 0)
		return r;
	h = new_handoff(f, fx, n);
	r = h ? spawn_host(f, s, h) : -ENOMEM;
	return r < 0 ? r : settle_up(f, h, wait_or_leave(f, h));
}

int thrum_timeout_in(thrum_scope *late, thrum_fx fx, thrum_dur limit)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(late);
	struct th_outcome out;
	struct handoff *h;
	thrum_scope timer;
	int r = check(f, s, &fx, 1);

	if (r < 0)
		return r;
	if (limit.ns <= 0)
		return thrum_timeout(fx, limit);
	h = new_handoff(f, &fx, 0);
	r = h ? spawn_host(f, s, h) : -ENOMEM;
	if (r < 0)
		return r;
	th_scope_open(f, th_scope_of(&timer));
	(void)thrum_scope_deadline(&timer, limit);
	r = wait_or_leave(f, h);
	th_scope_close(f, th_scope_of(&timer), &out);
	if (!h->told && out.deadline)
		r = -ETIMEDOUT;
	(void)th_scope_rule(f, th_scope_of(&timer), &out, 0);
	return settle_up(f, h, r);
}
