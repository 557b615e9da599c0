/* core/scope.c: opening, closing, deadlines, finalizers. The protocol is in scope.h. */
#include "scope.h"
#include "assert.h"
#include "clock.h"
#include "deep.h"
#include "hooks.h"
#include "light.h"
#include "meter.h"
#include "report.h"
#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct th_scope) <= sizeof(thrum_scope), "thrum_scope holds a th_scope");
_Static_assert(sizeof(struct th_deferred) <= sizeof(thrum_deferred), "thrum_deferred holds a th_deferred");

void th_scope_init(struct th_scope *s, struct th_home *home, struct th_task *owner, struct th_node *parent)
{
	memset(&s->owner, 0, sizeof *s - offsetof(struct th_scope, owner)); /* all behind the node */
	th_node_init(&s->node, parent ? TH_NODE_SCOPE : TH_NODE_ROOT, home);
	s->home = home;
	s->owner = owner;
	if (parent)
		th_node_link(&s->node, parent);
}

void th_scope_open(struct th_fiber *f, struct th_scope *s)
{
	th_scope_init(s, f->home, f->task, f->node);
	th_meter_open(f, s);
	th_node_enter(f, &s->node);
}

int thrum_scope_open(thrum_scope *s)
{
	return thrum_scope_open_with(s, NULL);
}

int th_scope_open_own(thrum_scope *s)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	th_scope_open(f, th_scope_of(s));
	th_scope_of(s)->light = f->home->light;
	th_store_rlx(&th_scope_of(s)->x_alone, f->home->light);
	return 0;
}

int thrum_scope_open_with(thrum_scope *s, const thrum_scope_opts *o)
{
	int r;

	if (o && o->size != sizeof *o && th_self())
		return -EINVAL;
	r = th_scope_open_own(s);
	if (r < 0)
		return r;
	th_scope_of(s)->opened = true;
	if (o)
		th_scope_of(s)->parallel = o->parallel_finalizers;
	return 0;
}

/* --- close --- */

static void park_closer(struct th_fiber *f, void *arg)
{
	struct th_scope *s = arg;
	bool empty;

	th_lock(&s->node.lock);
	empty = th_scope_awaits_nobody(s);
	if (!empty)
		s->closer = f;
	th_unlock(&s->node.lock);
	if (empty)
		th_wake(f);
}

static bool awaits_children(struct th_scope *s)
{
	bool any;

	th_lock(&s->node.lock);
	any = !th_scope_awaits_nobody(s);
	th_unlock(&s->node.lock);
	return any;
}

/* From here on nobody spawns into it, or has a finalizer for it, but who is waited for. True: there is nobody to wait for, and
 * nothing to run. */
static bool begin_close(struct th_scope *s)
{
	bool empty;

	th_lock(&s->node.lock);
	s->closing = true;
	empty = s->pending == 0 && s->coming + th_load_rlx(&s->x_out) == 0 && !s->node.finalizers;
	s->node.closed = empty;
	th_unlock(&s->node.lock);
	return empty;
}

/* Only daemons are left: cancel them, each by itself, since the scope has not failed (S2). False: there are none; then, without
 * finalizers, the scope has closed. */
static bool end_daemons(struct th_scope *s)
{
	const thrum_reason why = { .kind = THRUM_CANCEL_DAEMON };
	bool any;

	th_lock(&s->node.lock);
	s->ends_daemons = true;
	any = s->pending > 0;
	s->node.closed = !any && !s->node.finalizers;
	for (struct th_node *kid = s->node.kids; kid; kid = kid->next)
		th_node_cancel(kid, &why);
	th_unlock(&s->node.lock);
	return any;
}

/* Not a cancel point: a parent never returns before its children (S1). */
static void wait_for_children(struct th_fiber *f, struct th_scope *s)
{
	while (th_help(f, s, NULL))
		;
	th_light_expect(s);
	while (awaits_children(s))
		th_suspend(park_closer, s);
	if (end_daemons(s))
		while (awaits_children(s))
			th_suspend(park_closer, s);
}

/* Handles that failed and that nobody joined: told once, here, since from now on nobody can (K7). */
static void report_unseen(struct th_fiber *f, struct th_scope *s)
{
	const thrum_report what = { .kind = THRUM_REPORT_UNOBSERVED_FAILURE, .code = s->first_unseen.code,
				    .name = s->first_unseen.name, .index = s->first_unseen.index };

	th_report(f->home->observer, &what, "%zu failed %s that nobody joined; the first: child %zu%s%s: %s (%d)", s->unseen,
		  s->unseen == 1 ? "child" : "children", what.index, what.name ? " " : "", what.name ? what.name : "",
		  thrum_strerror(what.code), what.code);
	for (struct th_node *n = s->failed; n; n = n->next) {
		struct th_task *t = th_container(n, struct th_task, node);
		th_cause_free(f->home->causes, t->cause);
		t->cause = NULL;
	}
	s->failed = NULL;
}

static void finalize(struct th_fiber *f, struct th_scope *s, struct th_outcome *out)
{
	int so_far = s->body_code ? s->body_code : s->code;

	if (so_far == 0 && th_cancelled(f))
		so_far = -ECANCELED;
	out->finalizer = (s->parallel ? th_finalize_par : th_node_finalize)(f, &s->node, so_far, &out->later);
}

void th_scope_close(struct th_fiber *f, struct th_scope *s, struct th_outcome *out)
{
	bool empty = begin_close(s);
	int primary;

	out->finalizer = 0;
	out->later = NULL;
	if (!empty)
		wait_for_children(f, s);
	th_meter_join(f, &s->longest);
	if (!s->node.closed) { /* which nobody else sets */
		finalize(f, s, out);
		th_node_close(&s->node);
	}
	th_clock_disarm(f->home, &s->deadline);
	if (s->token)
		th_token_unlink(f, s);
	th_watch_remove(&s->node);
	TH_ASSERT(f->node == &s->node);
	th_node_enter(f, s->node.parent);
	if (s->unseen)
		report_unseen(f, s);
	th_node_unlink(&s->node); /* after this no cancel can reach it, so its fields are still */

	out->body = s->body_code;
	out->child = s->code;
	primary = out->body ? out->body : out->child;
	out->cause = th_cause_join(f->home->causes, THRUM_CAUSE_BOTH, s->body_cause, s->cause, primary);
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

int th_scope_rule(struct th_fiber *f, struct th_scope *s, struct th_outcome *o, int code)
{
	struct th_pool *pool = f->home->causes;
	struct th_cause *c = o->cause;

	if (code >= 0) {
		th_cause_free(pool, c);
		th_cause_free(pool, o->later);
		return code;
	}
	if ((!c && code != o->finalizer) || (c && code == -ECANCELED && c->c.code != code)) /* a cancel, or the own deadline */
		c = th_cause_join(pool, THRUM_CAUSE_BOTH, c,
				  th_cause_leaf(pool, code, th_node_cancelled(&s->node) ? &s->node.reason : NULL), code);
	else if (c && o->deadline) /* failed while the deadline wound it up (T7) */
		c = th_cause_join(pool, THRUM_CAUSE_THEN, th_cause_leaf(pool, -ETIMEDOUT, NULL), c, code);
	th_cause_set(f, code, th_cause_join(pool, THRUM_CAUSE_THEN, c, o->later, code));
	return code;
}

int th_scope_rule_all(struct th_fiber *f, struct th_scope *s, struct th_outcome *o)
{
	int code = 0;

	if (o->child)
		code = o->child;
	else if (o->interrupted)
		code = -ECANCELED;
	return th_scope_rule(f, s, o, code);
}

int th_scope_end(struct th_fiber *f, struct th_scope *s, int code)
{
	struct th_outcome out;

	if (code < 0)
		(void)thrum_scope_fail_at_((thrum_scope *)(void *)s, code, NULL, 0);
	th_scope_close(f, s, &out);
	if (!out.body && out.finalizer) /* after a success, or the echo of a cancel, which hides no failure (G1) */
		code = out.finalizer;
	return th_scope_rule(f, s, &out, code);
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
	return th_scope_rule(f, s, &out, verdict(s, &out));
}

/* --- failing and cancelling --- */

thrum_reason th_reason(unsigned kind, int code, const char *file, unsigned line)
{
	struct th_fiber *f = th_self();
	thrum_reason why = { .kind = kind, .code = code, .file = file, .line = line };

	if (f) {
		why.by = f->task;
		why.name = f->task->name;
	}
	return why;
}

const void *thrum_self_id(void)
{
	struct th_fiber *f = th_self();

	return f ? f->task : NULL;
}

static void add_body_cause(struct th_fiber *f, struct th_scope *s, struct th_cause *c)
{
	th_lock(&s->node.lock);
	s->body_cause = th_cause_join(f->home->causes, THRUM_CAUSE_BOTH, s->body_cause, c, s->body_code);
	th_unlock(&s->node.lock);
}

int (thrum_scope_fail)(thrum_scope *s, int code)
{
	return thrum_scope_fail_at_(s, code, NULL, 0);
}

int thrum_scope_fail_at_(thrum_scope *public, int code, const char *file, unsigned line)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);
	thrum_reason why = th_reason(THRUM_CANCEL_BODY, code, file, line);
	bool echo, again;

	if (code >= 0)
		return -EINVAL;
	if (!f)
		return THRUM_ENOTFIBER;
	th_lock(&s->node.lock);
	echo = code == -ECANCELED && th_node_cancelled(&s->node);
	again = s->body_code != 0 || s->code == code; /* said before, or what join returned: the child's cause is there */
	s->interrupted |= echo; /* the echo of a cancel, which decides */
	if (!echo && s->body_code == 0)
		s->body_code = code;
	th_unlock(&s->node.lock);
	if (echo)
		add_body_cause(f, s, th_cause_take_failures(f));
	else
		add_body_cause(f, s, again && f->task->failed != code ? NULL : th_cause_take(f, code));
	th_node_cancel(&s->node, &why);
	return 0;
}

void (thrum_scope_cancel)(thrum_scope *s)
{
	thrum_scope_cancel_at_(s, NULL, 0);
}

void thrum_scope_cancel_at_(thrum_scope *s, const char *file, unsigned line)
{
	thrum_reason why = th_reason(THRUM_CANCEL_EXPLICIT, 0, file, line);

	thrum_scope_cancel_why(s, &why);
}

static bool has_closed(struct th_scope *s)
{
	bool closed;

	th_lock(&s->node.lock);
	closed = s->node.closed;
	th_unlock(&s->node.lock);
	return closed;
}

void thrum_scope_cancel_why(thrum_scope *public, const thrum_reason *why)
{
	struct th_scope *s = th_scope_of(public);

	if (th_is_home(s->home)) {
		th_node_cancel(&s->node, why);
		return;
	}
	th_outside_enter();
	if (!has_closed(s))
		th_node_cancel(&s->node, why);
	th_outside_leave();
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
	at = thrum_time_add(th_clock_now(f), from_now).ns;
	th_store_rlx(&s->x_deadline_clock, th_clock_of(f));
	th_store_rlx(&s->node.x_deadline_ns, at);
	if (from_now.ns <= 0) {
		deadline_passed(&s->deadline);
	} else if (at != INT64_MAX) {
		s->deadline.at_ns = at;
		s->deadline.fire = deadline_passed;
		th_clock_arm(f, &s->deadline);
	}
	return 0;
}

/* Times of different clocks do not compare. `n` has a deadline, so it is a scope, or restored below one. */
static bool is_on_clock_of(struct th_fiber *f, struct th_node *n)
{
	return n->kind == TH_NODE_RESTORED ||
	       th_load_rlx(&th_container(n, struct th_scope, node)->x_deadline_clock) == th_clock_of(f);
}

int64_t th_deadline_from(struct th_fiber *f, struct th_node *n)
{
	int64_t nearest_ns = INT64_MAX;

	for (; n && n->kind != TH_NODE_SHIELD; n = n->parent) {
		int64_t at_ns = th_load_rlx(&n->x_deadline_ns);
		if (at_ns < nearest_ns && is_on_clock_of(f, n))
			nearest_ns = at_ns;
	}
	return nearest_ns;
}

thrum_time thrum_deadline(void)
{
	struct th_fiber *f = th_self();

	return (thrum_time){ f ? th_deadline_from(f, f->node) : INT64_MAX };
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
	struct th_fiber *f = th_here();

	if (!f)
		return THRUM_ENOTFIBER;
	th_poll_if_due();
	return th_look_up(f) ? 0 : -ECANCELED;
}

int thrum_yield(void)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	th_yield(f);
	return 0;
}

int thrum_shield(thrum_fx fx)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	return th_cause_pass(f, th_call_shielded(f, fx, f->exit_code));
}

int thrum_die_at_(const char *why, const char *file, unsigned line)
{
	thrum_report what = { .kind = THRUM_REPORT_DIED, .code = THRUM_EDIED, .file = file, .line = line };

	th_report(th_observer_here(), &what, "died: %s (%s:%u)", why ? why : "no reason given", file, line);
	return thrum_failed_at_(THRUM_EDIED, why, NULL, NULL, file, line);
}
