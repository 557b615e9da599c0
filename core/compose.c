/* core/compose.c: the combinators over one or two effects, all as the caller, in its place: timeout, or_else, then, bracket,
 * acquire_release. */
#include "assert.h"
#include "deep.h"
#include "oracle.h"
#include "pool.h"
#include "scope.h"
#include <errno.h>
#include <thrum/combine.h>

/* --- timeout --- */

/* Run fx in a scope with a deadline. What fx came back with stands; only the echo of the cancel is translated (T3, T7), to
 * `expired`. */
static int run_limited(struct th_fiber *f, thrum_fx fx, thrum_dur limit, int expired, bool *ret_expired)
{
	thrum_scope scope;
	struct th_outcome out;
	int code;
	bool echo;

	th_scope_open(f, th_scope_of(&scope));
	(void)thrum_scope_deadline(&scope, limit);
	code = th_call_deep(fx);
	echo = code == -ECANCELED && th_cancelled(f);
	if (code < 0)
		(void)thrum_scope_fail_at_(&scope, code, NULL, 0);
	th_scope_close(f, th_scope_of(&scope), &out);
	*ret_expired = echo && out.deadline;
	if (*ret_expired)
		code = expired;
	if (out.finalizer && (code >= 0 || (echo && !*ret_expired))) /* a cancel hides no failure (G1) */
		code = out.finalizer;
	return th_scope_rule(f, th_scope_of(&scope), &out, code);
}

static int may_start(struct th_fiber *f, thrum_fx fx)
{
	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run)
		return -EINVAL;
	return th_cancelled(f) ? -ECANCELED : 0;
}

static int limited(struct th_fiber *f, thrum_fx fx, thrum_dur limit, int expired, bool *ret_expired)
{
	if (limit.ns > 0)
		return run_limited(f, fx, limit, expired, ret_expired);
	*ret_expired = true; /* T5: not started */
	if (expired < 0)
		th_cause_set(f, expired, th_cause_leaf(f->home->causes, expired, NULL));
	return expired;
}

int thrum_timeout_opt(thrum_fx fx, thrum_dur limit, bool *ret_timed_out)
{
	struct th_fiber *f = th_self();
	bool expired;
	int code = may_start(f, fx);

	if (code < 0)
		return code;
	code = limited(f, fx, limit, 0, &expired);
	if (ret_timed_out)
		*ret_timed_out = expired;
	return code;
}

int thrum_timeout(thrum_fx fx, thrum_dur limit)
{
	struct th_fiber *f = th_self();
	bool expired;
	int r = may_start(f, fx);

	return r < 0 ? r : limited(f, fx, limit, -ETIMEDOUT, &expired);
}

/* --- sequence and fallback --- */

int thrum_then(thrum_fx first, thrum_fx next)
{
	struct th_fiber *f = th_self();
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!first.run || !next.run)
		return -EINVAL;
	code = th_call_deep(first);
	if (code >= 0)
		code = th_cancelled(f) ? -ECANCELED : th_call_deep(next);
	return th_cause_pass(f, code);
}

static int fall_back(struct th_fiber *f, int failed, thrum_fx fallback)
{
	bool late = th_cancelled(f);
	struct th_cause *original = th_cause_take(f, failed);
	int code = th_call_deep(fallback);

	if (late && code == -ECANCELED) { /* it came to nothing but the cancel, which hides no failure that came after it (G1) */
		th_cause_set(f, failed, original);
		return failed;
	}
	if (code >= 0)
		th_cause_free(f->home->causes, original);
	else
		th_cause_after(f, original, code);
	return code;
}

int thrum_or_else(thrum_fx fx, thrum_fx fallback)
{
	struct th_fiber *f = th_self();
	struct th_cause_kept kept;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run || !fallback.run)
		return -EINVAL;
	kept = th_cause_keep(f);
	code = th_call_deep(fx);
	if (code < 0 && code != -ECANCELED && code != THRUM_EDIED)
		code = fall_back(f, code, fallback);
	return th_cause_settle(f, &kept, code);
}

/* --- resources --- */

static int acquire_with(struct th_fiber *f, thrum_fx acquire, bool shielded)
{
	return shielded ? th_call_shielded(f, acquire, 0) : th_call_deep(acquire);
}

/* use came to `code`, as `used` tells, and then the release failed: with what it failed is added to a failure, and stands instead
 * of a success, or of the echo of a cancel, which hides no failure (A5, G1). */
static int add_release(struct th_fiber *f, struct th_cause *used, int code, bool echo, int released)
{
	struct th_cause *later = th_cause_take(f, released);

	if (echo) {
		th_cause_free(f->home->causes, used);
		used = NULL;
	}
	if (code >= 0 || echo)
		code = released;
	th_cause_set(f, code, th_cause_join(f->home->causes, THRUM_CAUSE_THEN, used, later, code));
	return code;
}

static int bracket(thrum_fx acquire, thrum_fx use, thrum_fx release, bool shielded)
{
	struct th_fiber *f = th_self();
	struct th_cause *used;
	int code, released;
	bool echo;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!acquire.run || !use.run || !release.run)
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	code = acquire_with(f, acquire, shielded);
	if (code < 0)
		return th_cause_pass(f, code);
	th_oracle_acquired(&used);
	code = th_cancelled(f) ? -ECANCELED : th_call_deep(use);
	echo = code == -ECANCELED && th_cancelled(f);
	used = code < 0 ? th_cause_take(f, code) : NULL;
	released = th_run_shielded(f, release, code);
	th_oracle_released(&used);
	if (released < 0)
		return add_release(f, used, code, echo, released);
	if (code < 0)
		th_cause_set(f, code, used);
	return code;
}

int thrum_bracket(thrum_fx acquire, thrum_fx use, thrum_fx release)
{
	return bracket(acquire, use, release, true);
}

int thrum_bracket_interruptible(thrum_fx acquire, thrum_fx use, thrum_fx release)
{
	return bracket(acquire, use, release, false);
}

/* The node whose closing ends "the nearest scope": shields and what is restored below them are no scopes. */
static struct th_node *nearest_scope(struct th_fiber *f)
{
	struct th_node *n = f->node;

	while (n->kind == TH_NODE_SHIELD || n->kind == TH_NODE_RESTORED)
		n = n->parent;
	return n;
}

static int acquire_release(thrum_fx acquire, thrum_fx release, bool shielded)
{
	struct th_fiber *f = th_self();
	struct th_deferred *d;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!acquire.run || !release.run)
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	d = th_pool_take(f->home->records); /* before acquire: registering cannot fail (A9) */
	if (!d)
		return -ENOMEM;
	code = acquire_with(f, acquire, shielded);
	if (code < 0) {
		th_pool_give(f->home->records, d);
		return th_cause_pass(f, code);
	}
	th_oracle_acquired(d);
	d->fx = release;
	d->pool = f->home->records;
	th_node_defer(nearest_scope(f), d, NULL);
	return th_cause_pass(f, th_cancelled(f) ? -ECANCELED : code);
}

int thrum_acquire_release(thrum_fx acquire, thrum_fx release)
{
	return acquire_release(acquire, release, true);
}

int thrum_acquire_release_interruptible(thrum_fx acquire, thrum_fx release)
{
	return acquire_release(acquire, release, false);
}

/* --- as values --- */

static int timeout_op(void *arg)
{
	const thrum_timeout_op *op = arg;

	return thrum_timeout(op->fx, op->limit);
}

static int or_else_op(void *arg)
{
	const thrum_or_else_op *op = arg;

	return thrum_or_else(op->fx, op->fallback);
}

static int then_op(void *arg)
{
	const thrum_then_op *op = arg;

	return thrum_then(op->first, op->next);
}

static int bracket_op(void *arg)
{
	const thrum_bracket_op *op = arg;

	return thrum_bracket(op->acquire, op->use, op->release);
}

static int acquire_release_op(void *arg)
{
	const thrum_acquire_release_op *op = arg;

	return thrum_acquire_release(op->acquire, op->release);
}

static int shield_op(void *arg)
{
	const thrum_shield_op *op = arg;

	return thrum_shield(op->fx);
}

thrum_fx thrum_timeout_fx(thrum_timeout_op *op) { return (thrum_fx){ timeout_op, op }; }
thrum_fx thrum_or_else_fx(thrum_or_else_op *op) { return (thrum_fx){ or_else_op, op }; }
thrum_fx thrum_then_fx(thrum_then_op *op) { return (thrum_fx){ then_op, op }; }
thrum_fx thrum_bracket_fx(thrum_bracket_op *op) { return (thrum_fx){ bracket_op, op }; }
thrum_fx thrum_acquire_release_fx(thrum_acquire_release_op *op) { return (thrum_fx){ acquire_release_op, op }; }
thrum_fx thrum_shield_fx(thrum_shield_op *op) { return (thrum_fx){ shield_op, op }; }
