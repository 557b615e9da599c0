/* core/scope.c: opening, closing, deadlines, finalizers. The protocol is in scope.h. */
#include "scope.h"
#include "assert.h"
#include "clock.h"
#include "deep.h"
#include "hooks.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct th_scope) <= sizeof(thrum_scope), "thrum_scope holds a th_scope");
_Static_assert(sizeof(struct th_deferred) <= sizeof(thrum_deferred), "thrum_deferred holds a th_deferred");

void th_scope_init(struct th_scope *s, struct th_task *owner, struct th_node *parent)
{
	memset(s, 0, sizeof *s);
	th_node_init(&s->node, parent ? TH_NODE_SCOPE : TH_NODE_ROOT);
	s->owner = owner;
	if (parent)
		th_node_link(&s->node, parent);
}

void th_scope_open(struct th_fiber *f, struct th_scope *s)
{
	th_scope_init(s, f->task, f->node);
	f->node = &s->node;
}

int thrum_scope_open(thrum_scope *s)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	th_scope_open(f, th_scope_of(s));
	return 0;
}

/* --- close --- */

static void park_closer(struct th_fiber *f, void *arg)
{
	struct th_scope *s = arg;
	bool empty;

	th_lock(&s->node.lock);
	empty = s->pending == 0;
	if (!empty)
		s->closer = f;
	th_unlock(&s->node.lock);
	if (empty)
		th_wake(f);
}

static bool has_children(struct th_scope *s)
{
	bool any;

	th_lock(&s->node.lock);
	any = s->pending > 0;
	th_unlock(&s->node.lock);
	return any;
}

static void set_closing(struct th_scope *s)
{
	th_lock(&s->node.lock);
	s->closing = true;
	th_unlock(&s->node.lock);
}

/* Not a cancel point: a parent never returns before its children (S1). */
static void wait_for_children(struct th_fiber *f, struct th_scope *s)
{
	while (th_help(f, s, NULL))
		;
	while (has_children(s))
		th_suspend(park_closer, s);
}

void th_scope_close(struct th_fiber *f, struct th_scope *s, struct th_outcome *out)
{
	int so_far;

	set_closing(s);
	wait_for_children(f, s);
	so_far = s->body_code ? s->body_code : s->code;
	if (so_far == 0 && th_cancelled(f))
		so_far = -ECANCELED;
	out->finalizer = th_node_finalize(f, &s->node, so_far);
	th_clock_disarm(f->home, &s->deadline);
	if (s->token)
		th_token_unlink(f, s);
	TH_ASSERT(f->node == &s->node);
	f->node = s->node.parent;
	th_node_unlink(&s->node); /* after this no cancel can reach it, so its fields are still */

	out->body = s->body_code;
	out->child = s->code;
	out->interrupted = s->interrupted;
	out->by_us = th_node_cancelled(&s->node) && s->node.own;
	/* A cancel around it outranks its own deadline, also one that came later: the outermost wins (T4). */
	out->deadline = out->by_us && s->node.reason.kind == THRUM_CANCEL_DEADLINE && !th_cancelled(f);
}

/* A cancel that comes from inside the program's own scope: what it ended is as wished, not a failure. */
static bool is_quiet(const struct th_scope *s)
{
	unsigned kind = s->node.reason.kind;

	return kind != THRUM_CANCEL_DEADLINE && kind != THRUM_CANCEL_TOKEN && kind < THRUM_CANCEL_SHUTDOWN;
}

static int verdict(const struct th_scope *s, const struct th_outcome *o)
{
	if (o->body)
		return o->body;
	if (o->child)
		return o->child;
	if (o->deadline)
		return -ETIMEDOUT;
	if (o->finalizer)
		return o->finalizer;
	if (o->interrupted && !(o->by_us && is_quiet(s)))
		return -ECANCELED;
	return 0;
}

static int may_close(struct th_fiber *f, struct th_scope *s)
{
	if (s->owner == f->task && s->node.parent && f->node == &s->node)
		return 0;
	if (!th_node_encloses(&s->node, f->node))
		return -EPERM;
	if (s->owner != f->task || s->closing)
		return -EDEADLK;
	th_abort(__FILE__, __LINE__, "scope %p is closed while scope %p inside it is still open (S11)", (void *)s,
		 (void *)f->node);
}

int thrum_scope_close(thrum_scope *public)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);
	struct th_outcome out;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	r = may_close(f, s);
	if (r < 0)
		return r;
	th_scope_close(f, s, &out);
	return verdict(s, &out);
}

/* --- failing and cancelling --- */

int thrum_scope_fail(thrum_scope *public, int code)
{
	struct th_scope *s = th_scope_of(public);
	thrum_reason why = { .kind = THRUM_CANCEL_BODY, .code = code };

	if (code >= 0)
		return -EINVAL;
	if (!th_self())
		return THRUM_ENOTFIBER;
	th_lock(&s->node.lock);
	if (code == -ECANCELED && th_node_cancelled(&s->node))
		s->interrupted = true; /* the echo of a cancel, which decides */
	else if (s->body_code == 0)
		s->body_code = code;
	th_unlock(&s->node.lock);
	th_node_cancel(&s->node, &why);
	return 0;
}

void thrum_scope_cancel(thrum_scope *s)
{
	thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT };

	thrum_scope_cancel_why(s, &why);
}

void thrum_scope_cancel_why(thrum_scope *s, const thrum_reason *why)
{
	th_node_cancel(&th_scope_of(s)->node, why);
}

const thrum_reason *thrum_cancel_reason(void)
{
	struct th_fiber *f = th_self();

	if (!f || !th_load_acq(&f->node->x_cancelled)) /* N2 */
		return NULL;
	return &f->node->reason;
}

/* --- deadlines --- */

static void deadline_passed(struct th_timer *t)
{
	struct th_scope *s = th_container(t, struct th_scope, deadline);
	thrum_reason why = { .kind = THRUM_CANCEL_DEADLINE, .code = -ETIMEDOUT };

	th_node_cancel(&s->node, &why);
}

int thrum_scope_deadline(thrum_scope *public, thrum_dur from_now)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);
	int64_t at;

	if (!f)
		return THRUM_ENOTFIBER;
	if (s->owner != f->task)
		return -EPERM;
	if (th_load_acq(&s->node.x_cancelled) && s->node.own && s->node.reason.kind == THRUM_CANCEL_DEADLINE)
		return -EALREADY; /* it never un-fires */
	th_clock_disarm(f->home, &s->deadline);
	at = thrum_time_add(th_clock_now(f->home), from_now).ns;
	th_store_rlx(&s->node.x_deadline_ns, at);
	if (from_now.ns <= 0) {
		deadline_passed(&s->deadline);
	} else if (at != INT64_MAX) {
		s->deadline.at_ns = at;
		s->deadline.fire = deadline_passed;
		th_clock_arm(f->home, &s->deadline);
	}
	return 0;
}

thrum_time thrum_deadline(void)
{
	struct th_fiber *f = th_self();
	thrum_time nearest = { INT64_MAX };

	for (struct th_node *n = f ? f->node : NULL; n && n->kind != TH_NODE_SHIELD; n = n->parent) {
		int64_t at = th_load_rlx(&n->x_deadline_ns);
		if (at < nearest.ns)
			nearest.ns = at;
	}
	return nearest;
}

int thrum_scope_link(thrum_scope *public, thrum_token *token)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);

	if (!f)
		return THRUM_ENOTFIBER;
	if (s->owner != f->task)
		return -EPERM;
	if (s->token)
		return -EALREADY;
	return th_token_link(f, s, token);
}

/* --- finalizers, checkpoints, shields --- */

int thrum_defer(thrum_scope *public, thrum_deferred *storage, thrum_fx fx)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);
	struct th_deferred *d = (struct th_deferred *)(void *)storage;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run)
		return -EINVAL;
	d->fx = fx;
	d->pool = NULL;
	th_init(&d->x_node, NULL);
	if (th_node_defer(&s->node, d, &s->closing))
		return 0;
	(void)th_run_shielded(f, fx, -ECANCELED);
	return THRUM_ECLOSED;
}

int thrum_exit_code(void)
{
	struct th_fiber *f = th_self();

	return f ? f->exit_code : 0;
}

int thrum_check(void)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	th_poll_if_due();
	return th_cancelled(f) ? -ECANCELED : 0;
}

static void requeue(struct th_fiber *f, void *unused)
{
	(void)unused;
	th_wake(f);
}

int thrum_yield(void)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	th_suspend(requeue, NULL);
	return 0;
}

int thrum_shield(thrum_fx fx)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	return th_run_shielded(f, fx, f->exit_code);
}

int thrum_die_at_(const char *why, const char *file, unsigned line)
{
	fprintf(stderr, "thrum: died: %s (%s:%u)\n", why ? why : "no reason given", file, line);
	return THRUM_EDIED;
}
