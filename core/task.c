/* core/task.c: the life of a child, from admission to its end. The protocol is in scope.h. */
#include "scope.h"
#include "assert.h"
#include "deep.h"
#include "hooks.h"
#include "pool.h"
#include "tsan.h"
#include <errno.h>
#include <string.h>
#include <thrum/rt.h>

void th_task_init(struct th_task *t, thrum_fx fx)
{
	memset(t, 0, sizeof *t);
	th_node_init(&t->node, TH_NODE_TASK);
	t->fx = fx;
}

int th_scope_admit(struct th_scope *s, struct th_task *t)
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
		t->index = s->spawned++;
		s->pending++;
		th_node_link_locked(&t->node, &s->node);
	}
	th_unlock(&s->node.lock);
	return r;
}

/* The body, or a finalizer, of a child failed: its siblings learn it now, before the child has been wound up (Z4).
 * An interrupt never hides a failure that comes later (G1: primary = first that is not an interrupt). */
static void fail_scope(struct th_scope *s, struct th_task *t, int code)
{
	thrum_reason why = { .kind = THRUM_CANCEL_SIBLING, .code = code, .index = t->index };

	th_lock(&s->node.lock);
	if (s->code == 0 || (s->code == -ECANCELED && code != -ECANCELED))
		s->code = code;
	th_unlock(&s->node.lock);
	th_node_cancel(&s->node, &why);
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

static void finish(struct th_task *t, int code)
{
	struct th_scope *s = t->scope;
	struct th_fiber *joiners, *closer = NULL;
	struct th_pool *pool = t->pool;
	th_atomic_u32 *done_word = t->done_word;
	bool echo = is_echo(t, code);

	th_lock(&s->node.lock);
	th_node_unlink_locked(&t->node);
	/* One that was cancelled by itself ended as somebody wished; a runner is no child of the user's. */
	s->interrupted |= echo && !t->node.own && !t->runner;
	joiners = claim_joiners(t);
	t->code = code;
	t->done = true;
	if (done_word)
		th_store_rel(done_word, 1); /* a waiting thread may free the task from here on */
	TH_ASSERT(s->pending > 0);
	if (--s->pending == 0) {
		closer = s->closer;
		s->closer = NULL;
	}
	th_unlock(&s->node.lock);

	if (done_word)
		th_word_wake(done_word, INT32_MAX);
	if (pool)
		th_pool_give(pool, t);
	wake_all(joiners);
	if (closer)
		th_wake(closer);
}

static int run_body(struct th_fiber *f, struct th_task *t)
{
	if (!th_cancelled(f))
		return th_call_deep(t->fx);
	if (t->drop.run)
		(void)th_run_shielded(f, t->drop, -ECANCELED);
	return -ECANCELED;
}

void th_task_run(struct th_fiber *f, struct th_task *t)
{
	struct th_node *outside = f->node;
	struct th_task *caller = f->task;
	int outer_exit = f->exit_code;
	int code, final;

	th_tsan_acquire(t);
	f->node = &t->node;
	f->task = t;
	f->exit_code = 0;
	code = run_body(f, t);
	if (f->node != &t->node)
		th_abort(__FILE__, __LINE__, "child %zu%s%s of scope %p returned with a scope still open: %p (S11)", t->index,
			 t->name ? " " : "", t->name ? t->name : "", (void *)t->scope, (void *)f->node);
	if (code < 0 && !t->isolated && !is_echo(t, code))
		fail_scope(t->scope, t, code);
	final = th_node_finalize(f, &t->node, code);
	if (code >= 0 && final < 0) {
		code = final;
		if (!t->isolated)
			fail_scope(t->scope, t, code);
	}
	f->node = outside;
	f->task = caller;
	f->exit_code = outer_exit;
	finish(t, code);
}

void th_task_refuse(struct th_task *t, int code)
{
	if (!t->isolated)
		fail_scope(t->scope, t, code);
	finish(t, code);
}

int th_child_call(struct th_fiber *f, struct th_scope *s, struct th_task *t, size_t index)
{
	int r = th_scope_admit(s, t);

	if (r < 0)
		return r;
	t->index = index;
	th_task_run(f, t); /* its storage is ours and nobody else joins it, so the code is still there */
	return t->code;
}

/* --- spawn --- */

int th_spawn(struct th_fiber *f, struct th_scope *s, struct th_task *t, unsigned worker)
{
	int r;

	t->spawner = f->task;
	r = th_scope_admit(s, t);
	if (r < 0)
		return r;
	th_bump(&f->home->x_spawns);
	th_push(f, t, worker);
	return 0;
}

int thrum_spawn(thrum_scope *s, thrum_task *t, thrum_fx fx)
{
	return thrum_spawn_with(s, t, fx, NULL);
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
	if (o && (o->daemon || o->stack_bytes))
		return -ENOTSUP;
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

bool th_task_done(struct th_task *t, int *ret_code)
{
	bool done;

	th_lock(&t->scope->node.lock);
	done = t->done;
	if (done)
		*ret_code = t->code;
	th_unlock(&t->scope->node.lock);
	return done;
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
	th_lock(&s->node.lock);
	if (j->task->done)
		wake = th_waiter_claim(&j->waiter, TH_WAIT_DONE);
	else
		th_waitq_push(&j->task->joiners, &j->waiter);
	th_unlock(&s->node.lock);
	if (wake)
		th_wake(f);
}

static void wait_for(struct th_fiber *f, struct th_task *t, bool cancellable)
{
	struct join j = { .task = t, .cancellable = cancellable };

	th_waiter_init(&j.waiter, f);
	th_suspend(park_joiner, &j);
	if (!cancellable)
		return;
	th_node_disarm(f, &j.waiter);
	if (th_waiter_cancelled(&j.waiter)) {
		th_lock(&t->scope->node.lock);
		th_waitq_remove(&t->joiners, &j.waiter);
		th_unlock(&t->scope->node.lock);
	}
}

int thrum_join(thrum_task *public)
{
	struct th_fiber *f = th_self();
	struct th_task *t = th_task_of(public);
	bool mine;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_task_done(t, &code))
		return code;
	/* Who opened the scope lives outside its children; for anybody else it takes a walk as long as the nesting is deep. */
	if (t->scope->owner != f->task && th_node_encloses(&t->node, f->node))
		return -EDEADLK;
	/* Whoever opened the scope or spawned the child may hold its storage in a frame: that one waits for the end,
	 * come what may. */
	mine = t->scope->owner == f->task || t->spawner == f->task;
	while (!th_task_done(t, &code)) {
		if (mine && th_help(f, t->scope, t))
			continue;
		if (!mine && th_cancelled(f))
			return -ECANCELED;
		wait_for(f, t, !mine);
	}
	return code;
}

void thrum_task_cancel(thrum_task *t)
{
	thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT };

	th_node_cancel(&th_task_of(t)->node, &why);
}

_Static_assert(sizeof(struct th_task) <= sizeof(thrum_task), "thrum_task holds a th_task");
