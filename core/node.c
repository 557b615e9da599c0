/* core/node.c: the cancel tree. The protocol is in the header. */
#include "node.h"
#include "assert.h"
#include "cause.h"
#include "deep.h"
#include "hooks.h"
#include "oracle.h"
#include "pool.h"
#include "watch.h"
#include <string.h>

void th_node_init(struct th_node *n, enum th_node_kind kind, struct th_home *home)
{
	memset(n, 0, offsetof(struct th_node, reason)); /* which says nothing before x_cancelled does */
	th_lock_init(&n->lock);
	n->kind = (uint8_t)kind;
	th_init(&n->x_cancelled, 0);
	th_init(&n->x_deadline_ns, INT64_MAX);
	th_init(&n->x_home, home);
}

static void set_reason(struct th_node *n, const thrum_reason *why, bool own)
{
	n->reason = *why;
	n->own = own;
	th_store_rel(&n->x_cancelled, 1); /* N1 */
}

static void add_kid(struct th_node *parent, struct th_node *n)
{
	n->parent = parent;
	n->prev = NULL;
	n->next = parent->kids;
	if (n->next)
		n->next->prev = n;
	parent->kids = n;
}

void th_node_link_locked(struct th_node *n, struct th_node *parent)
{
	add_kid(parent, n);
	if (th_node_cancelled(parent) && n->kind != TH_NODE_SHIELD)
		set_reason(n, &parent->reason, false);
}

void th_node_link_late_locked(struct th_node *n, struct th_node *parent)
{
	th_lock(&n->lock);
	add_kid(parent, n);
	if (th_node_cancelled(parent) && !th_node_cancelled(n))
		set_reason(n, &parent->reason, false);
	th_unlock(&n->lock);
}

void th_node_link(struct th_node *n, struct th_node *parent)
{
	th_lock(&parent->lock);
	th_node_link_locked(n, parent);
	th_unlock(&parent->lock);
}

void th_node_unlink_locked(struct th_node *n)
{
	TH_DASSERT(n->kids == NULL);
	th_oracle_ended(n);
	*(n->prev ? &n->prev->next : &n->parent->kids) = n->next;
	if (n->next)
		n->next->prev = n->prev;
}

void th_node_unlink(struct th_node *n)
{
	struct th_node *parent = n->parent;

	th_lock(&parent->lock);
	th_node_unlink_locked(n);
	th_unlock(&parent->lock);
}

/* The fiber that stands in `n` may run forks that look at their gate only. */
static void shut_gate(struct th_node *n)
{
	struct th_home *h;

	th_fence_seq(); /* N4 */
	h = th_load_rlx(&n->x_home);
	if (h)
		th_lane_want(h->lane, TH_WANT_CANCEL);
}

/* Wake or warn the fiber parked in `n`. The caller holds n->lock, which keeps the waiter alive. */
static void cancel_waiter(struct th_node *n)
{
	struct th_waiter *w = n->waiter;

	if (!w) {
		shut_gate(n);
		return;
	}
	if (w->on_cancel) {
		w->on_cancel(w);
	} else if (th_waiter_claim(w, TH_WAIT_CANCELLED)) {
		n->waiter = NULL;
		th_wake(w->fiber);
	}
}

/* The first of `kid` and its later siblings that the walk must enter, locked. The parent's lock is held. A kid that was
 * cancelled before is skipped with all below it: whoever cancelled it walks there. */
static struct th_node *enter(struct th_node *kid)
{
	for (; kid; kid = kid->next) {
		if (kid->kind == TH_NODE_SHIELD || th_node_cancelled(kid))
			continue;
		th_lock(&kid->lock);
		if (!th_node_cancelled(kid))
			return kid;
		th_unlock(&kid->lock);
	}
	return NULL;
}

void th_node_close(struct th_node *n)
{
	th_lock(&n->lock);
	n->closed = true;
	th_unlock(&n->lock);
}

static struct th_lock outsiders;

void th_outside_enter(void) { th_lock(&outsiders); }
void th_outside_leave(void) { th_unlock(&outsiders); }

void th_outside_settle(void)
{
	th_outside_enter();
	th_outside_leave();
}

void th_node_cancel(struct th_node *top, const thrum_reason *why)
{
	struct th_node *at = top, *kid;

	th_watch_add(top);
	th_lock(&top->lock);
	if (th_node_cancelled(top) || top->closed) {
		bool late = top->closed;
		th_unlock(&top->lock);
		if (late)
			th_watch_remove(top); /* listed behind the closer's back, perhaps */
		return;
	}
	set_reason(top, why, true);
	cancel_waiter(top);
	kid = enter(top->kids);
	for (;;) {
		if (kid) {
			set_reason(kid, why, false);
			cancel_waiter(kid);
			at = kid;
			kid = enter(at->kids);
			continue;
		}
		if (at == top)
			break;
		struct th_node *done = at, *next = done->next; /* stable: we hold the parent's lock */
		at = done->parent;
		th_unlock(&done->lock);
		kid = enter(next);
	}
	th_unlock(&top->lock);
}

bool th_node_arm(struct th_fiber *f, struct th_waiter *w)
{
	struct th_node *n = f->node;
	bool live;

	th_lock(&n->lock);
	live = !th_node_cancelled(n);
	if (live)
		n->waiter = w;
	th_unlock(&n->lock);
	return live;
}

void th_node_disarm(struct th_fiber *f, struct th_waiter *w)
{
	struct th_node *n = f->node;

	th_lock(&n->lock);
	if (n->waiter == w)
		n->waiter = NULL;
	th_unlock(&n->lock);
}

bool th_node_encloses(const struct th_node *n, const struct th_node *inner)
{
	while (inner && inner != n)
		inner = inner->parent;
	return inner == n;
}

bool th_node_defer(struct th_node *n, struct th_deferred *d, const bool *closing)
{
	bool open;

	th_lock(&n->lock);
	open = !closing || !*closing;
	if (open) {
		th_store_rel(&d->x_node, n);
		d->prev = NULL;
		d->next = n->finalizers;
		if (d->next)
			d->next->prev = d;
		n->finalizers = d;
		th_oracle_registered(d, n);
	}
	th_unlock(&n->lock);
	return open;
}

/* Under n->lock. */
static void take_out(struct th_node *n, struct th_deferred *d)
{
	*(d->prev ? &d->prev->next : &n->finalizers) = d->next;
	if (d->next)
		d->next->prev = d->prev;
	th_store_rel(&d->x_node, NULL);
}

bool thrum_undefer(thrum_deferred *public)
{
	struct th_deferred *d = (struct th_deferred *)(void *)public;
	struct th_node *n = th_load_acq(&d->x_node);
	bool mine;

	if (!n)
		return false;
	th_lock(&n->lock);
	mine = th_load_rlx(&d->x_node) == n; /* the closing fiber may have taken it meanwhile */
	if (mine) {
		take_out(n, d);
		th_oracle_withdrawn(d);
	}
	th_unlock(&n->lock);
	return mine;
}

static int run_shielded(struct th_fiber *f, thrum_fx fx, int exit_code, bool always)
{
	struct th_node shield, *outside = f->node;
	int outer_exit = f->exit_code;
	int code;

	th_node_init(&shield, TH_NODE_SHIELD, f->home);
	th_node_link(&shield, outside);
	th_node_enter(f, &shield);
	f->exit_code = exit_code;
	code = always ? th_call_always(fx) : th_call_deep(fx);
	TH_ASSERT(f->node == &shield);
	th_node_enter(f, outside);
	f->exit_code = outer_exit;
	th_node_unlink(&shield);
	return code;
}

int th_run_shielded(struct th_fiber *f, thrum_fx fx, int exit_code) { return run_shielded(f, fx, exit_code, true); }

int th_call_shielded(struct th_fiber *f, thrum_fx fx, int exit_code) { return run_shielded(f, fx, exit_code, false); }

bool th_node_take_finalizer(struct th_node *n, thrum_fx *ret_fx)
{
	struct th_deferred *d;
	struct th_pool *pool;

	th_lock(&n->lock);
	d = n->finalizers;
	if (d) {
		take_out(n, d);
		th_oracle_taken(d, n, d->fx);
	}
	th_unlock(&n->lock);
	if (!d)
		return false;
	*ret_fx = d->fx; /* from here on the storage is the user's again, or goes back to the pool */
	pool = d->pool;
	if (pool)
		th_pool_give(pool, d);
	return true;
}

int th_node_finalize(struct th_fiber *f, struct th_node *n, int exit_code, struct th_cause **ret_cause)
{
	int first = 0;
	thrum_fx fx;

	*ret_cause = NULL;
	while (th_node_take_finalizer(n, &fx)) {
		int code = th_run_shielded(f, fx, exit_code);
		th_oracle_ran(n, fx);
		if (code >= 0)
			continue;
		if (first == 0)
			first = code;
		*ret_cause = th_cause_add(f->home->causes, THRUM_CAUSE_THEN, *ret_cause, th_cause_take(f, code), first);
	}
	return first;
}
