/* core/task.c: the life of a child, from admission to its end. The protocol is in scope.h. */
#include "scope.h"
#include "assert.h"
#include "cycle.h"
#include "deep.h"
#include "hooks.h"
#include "light.h"
#include "locals.h"
#include "meter.h"
#include "pool.h"
#include "tsan.h"
#include <errno.h>
#include <string.h>
#include <thrum/rt.h>

/* All behind the node. Compilers clear 64 bytes by a few wide stores, but more of them by an instruction that takes longer
 * to begin than all of these. */
static void clear(struct th_task *t)
{
	enum { BYTES = sizeof *t - offsetof(struct th_task, fx), PIECE = 64 };
	char *at = (char *)&t->fx;

	_Static_assert(BYTES > 2 * PIECE && BYTES <= 3 * PIECE, "three pieces");
	memset(at, 0, PIECE);
	memset(at + PIECE, 0, PIECE);
	memset(at + 2 * PIECE, 0, BYTES - 2 * PIECE);
}

void th_task_init(struct th_task *t, thrum_fx fx)
{
	clear(t);
	th_node_init(&t->node, TH_NODE_TASK, NULL);
	t->fx = fx;
}

static size_t next_number(struct th_scope *s, struct th_task *t, struct th_home *h)
{
	if (t->spawner != s->owner)
		th_light_share(s, h);
	return th_light_number(s);
}

int th_scope_admit(struct th_scope *s, struct th_task *t, struct th_home *h)
{
	int r = 0;

	th_lock(&s->node.lock);
	if (s->closing && !s->takes_late) {
		r = THRUM_ECLOSED;
	} else if (th_node_cancelled(&s->node)) {
		s->interrupted |= !t->runner;
		r = -ECANCELED;
	} else {
		t->scope = s;
		t->index = next_number(s, t, h);
		s->pending++;
		s->daemons += t->daemon;
		th_node_link_locked(&t->node, &s->node);
	}
	th_unlock(&s->node.lock);
	return r;
}

/* The body, or a finalizer, of a child failed: its siblings learn it now, before the child has been wound up (Z4).
 * An interrupt never hides a failure that comes later (G1: primary = first that is not an interrupt). */
static void fail_scope(struct th_pool *causes, struct th_task *t, int code, struct th_cause *c)
{
	struct th_scope *s = t->scope;
	thrum_reason why = { .kind = THRUM_CANCEL_SIBLING, .code = code, .index = t->index, .by = t, .name = t->name };

	th_lock(&s->node.lock);
	if (s->code == 0 || (s->code == -ECANCELED && code != -ECANCELED))
		s->code = code;
	s->cause = th_cause_add(causes, THRUM_CAUSE_BOTH, s->cause, c, s->code);
	th_unlock(&s->node.lock);
	th_node_cancel(&s->node, &why);
}

/* The child failed, as `c` tells (NULL: no memory for it). The tree is the scope's from here on, an isolated child's
 * stays with the caller. */
static void fail(struct th_pool *causes, struct th_task *t, int code, struct th_cause *c)
{
	th_cause_from_child(c, t->index, t->name);
	if (!t->isolated)
		fail_scope(causes, t, code, c);
}

/* -ECANCELED of a cancelled child is the echo of that cancel, no failure. */
static bool is_echo(struct th_task *t, int code)
{
	return code == -ECANCELED && th_node_cancelled(&t->node);
}

/* Claim every joiner; returns their fibers as a list. Under the scope's lock. */
static struct th_fiber *claim_joiners(struct th_task *t)
{
	struct th_fiber *fibers = NULL;
	struct th_waiter *w;

	while ((w = th_waitq_claim(&t->joiners)) != NULL) {
		w->fiber->next = fibers;
		fibers = w->fiber;
	}
	return fibers;
}

static void wake_all(struct th_fiber *f)
{
	while (f) {
		struct th_fiber *next = f->next; /* th_wake puts it into another list */
		th_wake(f);
		f = next;
	}
}

void th_task_wake_joiners(struct th_task *t)
{
	struct th_fiber *joiners;

	th_lock(&t->scope->node.lock);
	joiners = claim_joiners(t);
	th_unlock(&t->scope->node.lock);
	wake_all(joiners);
}

/* Nobody but a joiner hears of the failure of a handle. Under the scope's lock. */
static void keep_handle(struct th_scope *s, struct th_task *t, int code)
{
	if (s->unseen++ == 0) {
		s->first_unseen.code = code;
		s->first_unseen.index = t->index;
		s->first_unseen.name = t->name;
	}
	if (t->pool)
		return; /* nobody can join it */
	t->unseen = true;
	t->node.prev = NULL;
	t->node.next = s->failed;
	if (s->failed)
		s->failed->prev = &t->node;
	s->failed = &t->node;
}

static void finish(struct th_pool *causes, struct th_task *t, int code)
{
	struct th_scope *s = t->scope;
	struct th_fiber *joiners, *closer = NULL;
	struct th_pool *pool = t->pool;
	th_atomic_u32 *done_word = t->done_word;
	bool echo = is_echo(t, code);
	struct th_cause *nobodys = NULL;

	if (pool || done_word) {
		nobodys = t->cause;
		t->cause = NULL;
	}
	th_locals_drop(t->locals); /* its body and finalizers have ended; after the unlock `t` may be gone */
	th_lock(&s->node.lock);
	th_node_unlink_locked(&t->node);
	if (code < 0 && !echo && t->isolated && !t->item && !done_word)
		keep_handle(s, t, code);
	/* One that was cancelled by itself ended as somebody wished; a runner is no child of the user's. */
	s->interrupted |= echo && !t->node.own && !t->runner;
	TH_ASSERT(s->pending > 0);
	s->pending--;
	s->daemons -= t->daemon;
	joiners = claim_joiners(t);
	t->code = code;
	th_store_rel(&t->x_done, true);
	if (done_word)
		th_store_rel(done_word, 1); /* a waiting thread may free the task from here on */
	if (th_scope_awaits_nobody(s)) {
		closer = s->closer;
		s->closer = NULL;
	}
	th_unlock(&s->node.lock);

	th_cause_free(causes, nobodys);
	if (done_word)
		th_word_wake(done_word, INT32_MAX);
	if (pool)
		th_pool_give(pool, t);
	wake_all(joiners);
	if (closer)
		th_wake(closer);
}

/* The child's finalizers failed after its body: that belongs to what is known of the child already. */
static void fail_later(struct th_pool *causes, struct th_task *t, struct th_cause *c, struct th_cause *later)
{
	if (!c) {
		th_cause_free(causes, later);
		return;
	}
	th_lock(&t->scope->node.lock); /* in whose tree `c` lies */
	th_cause_extend(causes, c, later);
	th_unlock(&t->scope->node.lock);
}

/* The child comes to the echo of a cancel: it has not failed, but the failures that were only remembered in it (an entrant's of a
 * race that went on, an attempt's) are told with whatever else its scope tells. */
static struct th_cause *keep_failures(struct th_pool *causes, struct th_task *t, struct th_cause *c)
{
	struct th_scope *s = t->scope;

	th_cause_from_child(c, t->index, t->name);
	if (!c || (t->isolated && t->item))
		return c;
	if (t->isolated) { /* its record holds failures only */
		th_cause_free(causes, c);
		return NULL;
	}
	th_lock(&s->node.lock);
	s->cause = th_cause_join(causes, THRUM_CAUSE_BOTH, s->cause, c, s->code ? s->code : -ECANCELED);
	th_unlock(&s->node.lock);
	return NULL;
}

/* Run the child's finalizers; its code. *ret_cause: why, if it failed. */
static int wind_up(struct th_fiber *f, struct th_task *t, int code, struct th_cause **ret_cause)
{
	struct th_pool *causes = f->home->causes;
	struct th_cause *c = NULL, *later;
	bool failed = code < 0 && !is_echo(t, code);
	int final;

	if (failed) {
		c = th_cause_take(f, code);
		fail(causes, t, code, c);
	} else if (code < 0) {
		c = keep_failures(causes, t, th_cause_take_failures(f));
	}
	final = th_node_finalize(f, &t->node, code, &later);
	if (later && failed) {
		fail_later(causes, t, c, later);
	} else if (final < 0 && !failed) { /* also of a cancelled child: it really failed, in its cleanup (Z8) */
		code = final;
		c = th_cause_join(causes, THRUM_CAUSE_THEN, c, later, code);
		fail(causes, t, code, c);
	}
	*ret_cause = c;
	return code;
}

/* Instead of its body. */
static void drop(struct th_fiber *f, const struct th_task *t, int code)
{
	if (t->drop.run)
		(void)th_run_shielded(f, t->drop, code);
}

static int run_body(struct th_fiber *f, struct th_task *t)
{
	if (!th_cancelled(f))
		return th_call_deep(t->fx);
	drop(f, t, -ECANCELED);
	return -ECANCELED;
}

void th_task_begin(struct th_fiber *f, struct th_task *t, struct th_caller *ret_outside)
{
	*ret_outside = (struct th_caller){ f->node, f->task, f->exit_code, { 0, 0 } };
	th_meter_begin(f, t, &ret_outside->path);
	th_store_rlx(&t->node.x_home, f->home); /* N5 */
	th_gate_shut(f->home);
	f->node = &t->node;
	f->task = t;
	f->exit_code = 0;
}

void th_task_end(struct th_fiber *f, struct th_task *t, const struct th_caller *outside, int code)
{
	struct th_cause *cause;

	if (f->node != &t->node)
		th_abort(__FILE__, __LINE__, "child %zu%s%s of scope %p returned with a scope still open: %p (S11)", t->index,
			 t->name ? " " : "", t->name ? t->name : "", (void *)t->scope, (void *)f->node);
	code = wind_up(f, t, code, &cause);
	if (t->failed)
		th_cause_clear(f);
	t->cause = t->isolated ? cause : NULL;
	if (t->pool || t->done_word) /* nobody can ask for it, and it goes while there is somebody whose it was */
		th_cause_clear(f);
	if (t->mutexes > 0)
		th_abort(__FILE__, __LINE__, "child %zu%s%s of scope %p ended while it held a mutex (Q10)", t->index,
			 t->name ? " " : "", t->name ? t->name : "", (void *)t->scope);
	th_meter_end(f, t, &outside->path);
	f->task = outside->task;
	f->exit_code = outside->exit_code;
	f->node = outside->node;
	if (f->node)
		th_node_enter(f, f->node);
	th_cycle_return(outside->task);
	finish(f->home->causes, t, code);
}

void th_task_run(struct th_fiber *f, struct th_task *t)
{
	struct th_edge edge = { .to = t, .until_end = true };
	struct th_caller outside;

	th_tsan_acquire(t);
	th_cycle_call(f->task, &edge);
	th_task_begin(f, t, &outside);
	th_task_end(f, t, &outside, run_body(f, t));
}

void th_task_drop(struct th_fiber *f, struct th_task *t, int code)
{
	struct th_caller outside;

	th_tsan_acquire(t);
	th_task_begin(f, t, &outside);
	drop(f, t, code);
	if (t->refused.run)
		(void)t->refused.run(t->refused.arg);
	th_task_end(f, t, &outside, code);
}

void th_task_refuse(struct th_home *h, struct th_task *t, int code)
{
	struct th_cause *c = th_cause_leaf(h->causes, code, NULL);

	fail(h->causes, t, code, c);
	t->cause = t->isolated ? c : NULL;
	if (t->refused.run)
		(void)t->refused.run(t->refused.arg);
	finish(h->causes, t, code);
}

int th_child_call(struct th_fiber *f, struct th_scope *s, struct th_task *t, size_t index)
{
	int r = th_scope_admit(s, t, f->home);

	if (r < 0)
		return r;
	t->index = index;
	th_meter_called(s, t, index);
	t->locals = th_locals_share(f->task->locals); /* K9 */
	th_task_run(f, t); /* its storage is ours and nobody else joins it, so the code is still there */
	return t->code;
}

/* --- spawn --- */

int th_spawn(struct th_fiber *f, struct th_scope *s, struct th_task *t, unsigned worker)
{
	int r;

	t->spawner = f->task;
	r = th_scope_admit(s, t, f->home);
	if (r < 0)
		return r;
	th_meter_spawn(f, t);
	t->locals = th_locals_share(f->task->locals); /* K9; nobody can start or end it yet */
	th_bump(&f->home->x_spawns);
	th_push(f, t, worker);
	return 0;
}

int thrum_go(thrum_scope *s, thrum_fx fx)
{
	return thrum_spawn_with(s, NULL, fx, NULL);
}

/* A body that will not run: its argument is handed to `drop` at once (S6). */
static void drop_unstarted(struct th_fiber *f, const thrum_spawn_opts *o)
{
	if (o && o->drop.run)
		(void)th_run_shielded(f, o->drop, -ECANCELED);
}

int thrum_spawn_with(thrum_scope *s, thrum_task *public, thrum_fx fx, const thrum_spawn_opts *o)
{
	struct th_fiber *f = th_self();
	struct th_task *t = th_task_of(public);
	struct th_pool *pool = NULL;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run || (o && o->size != sizeof *o) || (o && o->worker > thrum_workers()))
		return -EINVAL;
	if (o && !th_is_stack_size(o->stack_bytes))
		return -EINVAL;
	if (!t) {
		pool = f->home->records;
		t = th_pool_take(pool);
		if (!t)
			return -ENOMEM;
	}
	th_task_init(t, fx);
	t->pool = pool;
	if (o) {
		t->name = o->name;
		t->isolated = o->isolated;
		t->daemon = o->daemon;
		t->stack_bytes = (uint32_t)o->stack_bytes;
		t->drop = o->drop;
	}
	r = th_spawn(f, th_scope_of(s), t, o ? o->worker : 0);
	if (r < 0) {
		if (pool)
			th_pool_give(pool, t);
		drop_unstarted(f, o);
	}
	return r;
}

/* --- join --- */

struct join {
	struct th_waiter waiter;
	struct th_task *task;
	bool cancellable;
};

/* A root's record is touched last by the store to its word; its scope may go with the runtime as soon as that is there. */
static bool root_done(struct th_task *t, int *ret_code)
{
	if (!th_load_acq(t->done_word))
		return false;
	*ret_code = t->code;
	return true;
}

bool th_task_done(struct th_task *t, int *ret_code)
{
	bool done;

	if (t->done_word)
		return root_done(t, ret_code);
	th_lock(&t->scope->node.lock);
	done = th_load_acq(&t->x_done);
	if (done)
		*ret_code = t->code;
	th_unlock(&t->scope->node.lock);
	return done;
}

/* Take the lock of its scope; false: it has ended, and with it perhaps the runtime in which a root's scope lies. */
static bool enter_scope(struct th_task *t)
{
	if (t->done_word) {
		th_outside_enter();
		if (th_load_acq(t->done_word)) {
			th_outside_leave();
			return false;
		}
	}
	th_lock(&t->scope->node.lock);
	return true;
}

static void leave_scope(struct th_task *t)
{
	th_unlock(&t->scope->node.lock);
	if (t->done_word)
		th_outside_leave();
}

/* On the worker's stack: the fiber is parked, so it may be woken from the moment it is registered. */
static void park_joiner(struct th_fiber *f, void *arg)
{
	struct join *j = arg;
	struct th_scope *s = j->task->scope;
	bool wake = false;

	if (j->cancellable && !th_node_arm(f, &j->waiter)) {
		if (th_waiter_claim(&j->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	if (!enter_scope(j->task)) {
		if (th_waiter_claim(&j->waiter, TH_WAIT_DONE))
			th_wake(f);
		return;
	}
	if (j->cancellable) /* neither the opener nor, since that is who spawns light children, the spawner of one */
		th_light_share(s, f->home);
	if (th_load_acq(&j->task->x_done)) /* A7 */
		wake = th_waiter_claim(&j->waiter, TH_WAIT_DONE);
	else
		th_waitq_push(&j->task->joiners, &j->waiter);
	leave_scope(j->task);
	if (wake)
		th_wake(f);
}

/* 0: look again; -EDEADLK. */
static int wait_for(struct th_fiber *f, struct th_task *t, bool cancellable)
{
	struct join j = { .task = t, .cancellable = cancellable };
	struct th_edge edge = { .to = t, .waiter = &j.waiter, .until_end = true };

	th_waiter_init(&j.waiter, f);
	if (th_cycle_enter(f, &edge) < 0)
		return -EDEADLK;
	th_suspend(park_joiner, &j);
	th_cycle_leave(f);
	if (!cancellable)
		return 0;
	th_node_disarm(f, &j.waiter);
	if (th_waiter_cancelled(&j.waiter) && enter_scope(t)) { /* what has ended has nobody in its queue */
		th_waitq_remove(&t->joiners, &j.waiter);
		leave_scope(t);
	}
	return 0;
}

/* The spawner cannot be sent away: the child that is still to run may lie in its frame. */
static int deadlocked(struct th_fiber *f, struct th_task *t)
{
	if (t->spawner == f->task && t->scope->owner != f->task) /* no root: nobody has spawned it */
		th_abort(__FILE__, __LINE__, "the spawner of child %zu%s%s waits for it in a circle (K6)", t->index,
			 t->name ? " " : "", t->name ? t->name : "");
	return -EDEADLK;
}

/* The failure of an isolated child has reached somebody (K7): it is this fiber's last cause now. */
static int observe(struct th_fiber *f, struct th_task *t, int code)
{
	struct th_scope *s = t->scope;
	struct th_cause *c;

	if (code >= 0 || !t->isolated)
		return code;
	if (t->done_word) {
		th_cause_set(f, code, NULL); /* nobody's: finish() */
		return code;
	}
	th_lock(&s->node.lock);
	c = t->cause;
	t->cause = NULL;
	if (t->unseen) {
		t->unseen = false;
		s->unseen--;
		*(t->node.prev ? &t->node.prev->next : &s->failed) = t->node.next;
		if (t->node.next)
			t->node.next->prev = t->node.prev;
	}
	th_unlock(&s->node.lock);
	th_cause_set(f, code, c);
	return code;
}

/* Nobody has opened a root's, which may be gone. */
static bool opened_scope_of(const struct th_task *t, const struct th_task *by)
{
	return !t->done_word && t->scope->owner == by;
}

int th_join(struct th_task *t)
{
	struct th_fiber *f = th_self();
	bool mine;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_task_done(t, &code)) {
		th_meter_join(f, &t->path);
		return observe(f, t, code);
	}
	/* Who opened the scope lives outside its children; for anybody else it takes a walk as long as the nesting is deep. */
	if (!opened_scope_of(t, f->task) && th_node_encloses(&t->node, f->node))
		return -EDEADLK;
	/* Whoever opened the scope or spawned the child may hold its storage in a frame: that one waits for the end,
	 * come what may. */
	mine = opened_scope_of(t, f->task) || t->spawner == f->task;
	while (!th_task_done(t, &code)) {
		if (mine && th_help(f, t->scope, t))
			continue;
		if (!mine && th_cancel_point(f))
			return -ECANCELED;
		if (wait_for(f, t, !mine) < 0)
			return deadlocked(f, t);
	}
	th_meter_join(f, &t->path);
	return observe(f, t, code);
}

void (thrum_task_cancel)(thrum_task *t)
{
	thrum_task_cancel_at_(t, NULL, 0);
}

void thrum_task_cancel_at_(thrum_task *public, const char *file, unsigned line)
{
	thrum_reason why = th_reason(THRUM_CANCEL_EXPLICIT, 0, file, line);
	struct th_task *t = th_task_of(public);
	bool inside;

	if (th_load_acq(&t->x_done))
		return; /* K5 */
	inside = th_is_home(th_load_rlx(&t->node.x_home)); /* NULL, of one that has not begun: as outside */
	if (!inside)
		th_outside_enter();
	if (!th_load_acq(&t->x_done))
		th_node_cancel(&t->node, &why);
	if (!inside)
		th_outside_leave();
}

_Static_assert(sizeof(struct th_task) <= sizeof(thrum_task), "thrum_task holds a th_task");
