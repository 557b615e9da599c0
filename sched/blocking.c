/* sched/blocking.c: thrum_blocking(): jobs that block, on threads of their own (X9).
 *
 *   A job; every arrow is taken under the pool's lock, so start and cancel exclude each other:
 *
 *           submit             take             run_job
 *     NEW ──────────► QUEUED ──────────► RUNNING ──────────► DONE         its code is the call's
 *      │                │  │                │
 *      │    cancel_job  │  │ fail_queued    │ cancel_job, if it may be abandoned
 *      └─────► GONE ◄───┘  └──► DONE        └──────────► ABANDONED        the thread drops its result
 *              it never runs    no thread could be made
 *
 *   Whoever takes a job out of QUEUED or RUNNING, but for take, wakes its fiber, once. A cancel that finds the job RUNNING
 *   and not to be abandoned, or DONE, does nothing: the call waits, and the result stands.
 *
 *   A thread:    start_blocker ──► takes jobs ◄──────────────────────► IDLE ── nobody called for IDLE_NS, or closing ──► ended
 *                                  until the queue is empty   call_idle
 *   A job that is queued finds an idle thread to call (the one that fell idle last), or room for a new one, or all threads
 *   at work; and a thread falls idle only when it has seen the queue empty under the same lock. So none is forgotten.
 *   A thread that ends joins the one that ended before it: at most one is unjoined, and the last is joined by the close.
 *
 *   Memory. A job lies in the frame of its call, which does not return while the job runs. One that may be abandoned is a
 *   block of the runtime's records: given back by the call, or, once ABANDONED, by the thread. The waiter always lies in the
 *   frame; a canceller reaches it, and through it the job, under the node's lock, which the call takes before it returns.
 *
 *   Virtual clocks (C3). A call counts as an operation in flight of its worker: raised before the job is queued, lowered by
 *   its own fiber when that runs again, so there is no moment at which the job has ended, its fiber is not yet ready and
 *   nothing is counted. An abandoned job has no such fiber: it is counted in the clock's x_outside from the cancel on, and
 *   the thread that lowers that has a worker look again.
 *
 *   tag  where                                     order    pairs  shape  because
 *   B1   x_called: load and store                  relaxed  –      –      under the lock; the futex itself only compares
 *   B2   x_blockers: store, all but the close's    relaxed  –      –      under the lock
 *   B3   close: load x_blockers                    acquire  B2     –      only to see it reach 0; what the threads wrote comes
 *                                                                         with the lock, and with the join
 *   B4   x_outside: raise                          relaxed  –      –      before th_wake(): the fiber, and so its worker's next
 *                                                                         sleep, comes after it
 *   B5   x_outside: lower, then th_poke            relaxed  I2     SB     the fence of th_poke() (idle.c, I1): a worker that
 *                                                                         announced before is called, one that announces
 *                                                                         after sees the lower count */
#include "blocking.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/pool.h"
#include "../core/scope.h"
#include "../core/tsan.h"
#include "worker.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <thrum/io.h>
#include <unistd.h>

#define IDLE_NS INT64_C(1000000000) /* starting a thread costs some 20 us: one start in a second is nothing */

enum job_state { JOB_NEW, JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_GONE, JOB_ABANDONED };

struct th_job {
	struct th_blocking *pool;
	struct th_fiber *fiber;
	thrum_fx fx;
	thrum_fx drop;              /* of an abandoned job: the thread runs it */
	bool may_abandon;
	enum job_state state;
	int code;                   /* in DONE */
	struct th_job *next, *prev; /* in the queue */
};

/* One call, in the caller's frame. */
struct call {
	struct th_waiter waiter;
	struct th_job *job;
	bool abandoned;             /* then the job is the thread's */
};

struct th_blocker {
	struct th_blocking *pool;
	uintptr_t thread;           /* set by itself */
	th_atomic_u32 x_called;     /* what an idle one sleeps on */
	struct th_blocker *next;    /* idle */
	struct th_blocker *next_of_all;
};

void th_blocking_init(struct th_blocking *p, struct thrum_rt *rt, unsigned blockers_max)
{
	p->rt = rt;
	p->blockers_max = blockers_max;
	th_lock_init(&p->lock);
	p->head = p->tail = NULL;
	p->idle = p->all = p->ended = NULL;
	p->closing = false;
	th_init(&p->x_blockers, 0);
	th_init(&p->x_jobs, 0);
}

size_t th_blocking_record_bytes(void)
{
	return sizeof(struct th_job);
}

/* --- the queue, under the lock --- */

static void enqueue(struct th_blocking *p, struct th_job *job)
{
	job->next = NULL;
	job->prev = p->tail;
	*(p->tail ? &p->tail->next : &p->head) = job;
	p->tail = job;
	job->state = JOB_QUEUED;
}

static void unqueue(struct th_blocking *p, struct th_job *job)
{
	*(job->prev ? &job->prev->next : &p->head) = job->next;
	*(job->next ? &job->next->prev : &p->tail) = job->prev;
}

static struct th_job *take(struct th_blocking *p)
{
	struct th_job *job = p->head;

	if (!job)
		return NULL;
	unqueue(p, job);
	job->state = JOB_RUNNING;
	th_store_rlx(&p->x_jobs, th_load_rlx(&p->x_jobs) + 1);
	return job;
}

/* --- a thread --- */

static void abandoned_job_ended(struct th_job *job)
{
	struct thrum_rt *rt = job->pool->rt;
	bool foreign;

	if (job->drop.run)
		(void)job->drop.run(job->drop.arg);
	th_pool_give(rt->records, job);
	foreign = th_foreign_enter(rt);
	th_clock_outside(&rt->clock, -1); /* B5 */
	if (th_clock_is_virtual(&rt->clock))
		th_poke(&rt->workers[0]); /* B5 */
	th_foreign_leave(rt, foreign);
}

/* Run a job and come back with the lock; the fiber that is to be woken. */
static struct th_fiber *run_job(struct th_blocking *p, struct th_job *job)
{
	int code = job->fx.run(job->fx.arg);

	th_lock(&p->lock);
	if (job->state == JOB_RUNNING) {
		job->code = code;
		job->state = JOB_DONE;
		return job->fiber;
	}
	th_unlock(&p->lock);
	abandoned_job_ended(job);
	th_lock(&p->lock);
	return NULL;
}

/* Under the lock. */
static void fall_idle(struct th_blocking *p, struct th_blocker *b)
{
	th_store_rlx(&b->x_called, 0); /* B1 */
	b->next = p->idle;
	p->idle = b;
}

/* Under the lock, which it leaves meanwhile. False: nobody called, it is time to end. */
static bool wait_for_call(struct th_blocking *p, struct th_blocker *b)
{
	struct th_blocker **at;
	bool expired = false;

	while (!expired && !th_load_rlx(&b->x_called)) { /* B1 */
		th_unlock(&p->lock);
		expired = th_word_wait_for(&b->x_called, 0, IDLE_NS);
		th_lock(&p->lock);
	}
	if (th_load_rlx(&b->x_called)) /* B1: if only at the last moment */
		return true;
	for (at = &p->idle; *at != b;)
		at = &(*at)->next;
	*at = b->next;
	return false;
}

/* Under the lock, which it leaves meanwhile: run jobs, until it is time to end. A thread falls idle in the same section that
 * ends its job: a fiber that comes back at once with its next job finds it. */
static void serve(struct th_blocking *p, struct th_blocker *b)
{
	struct th_fiber *done = NULL;
	struct th_job *job;

	for (;;) {
		job = take(p);
		if (!job && p->closing) {
			TH_ASSERT(!done);
			return;
		}
		if (!job)
			fall_idle(p, b);
		th_unlock(&p->lock);
		if (done)
			th_wake(done);
		done = NULL;
		if (job) {
			done = run_job(p, job);
			continue;
		}
		th_lock(&p->lock);
		if (!wait_for_call(p, b))
			return;
	}
}

/* Under the lock: this thread counts no more. Returns the one that it must join. */
static struct th_blocker *leave_pool(struct th_blocking *p, struct th_blocker *b)
{
	struct th_blocker **at = &p->all, *before = p->ended;

	while (*at != b)
		at = &(*at)->next_of_all;
	*at = b->next_of_all;
	p->ended = b;
	th_store_rlx(&p->x_blockers, th_load_rlx(&p->x_blockers) - 1); /* B2 */
	return before;
}

static void join_blocker(struct th_blocker *b)
{
	if (!b)
		return;
	th_thread_join_id(b->thread);
	th_tsan_acquire(b);
	free(b);
}

static void *blocker_main(void *arg)
{
	struct th_blocker *b = arg, *before;
	struct th_blocking *p = b->pool;

	b->thread = th_thread_id();
	th_lock(&p->lock);
	b->next_of_all = p->all;
	p->all = b;
	serve(p, b);
	before = leave_pool(p, b);
	th_unlock(&p->lock);
	th_word_wake(&p->x_blockers, INT_MAX); /* the pool is there until this thread was joined */
	join_blocker(before);
	th_tsan_release(b); /* pthread_join says the same; the simulation has no such call */
	return NULL;
}

/* --- a job on its way to a thread --- */

static void wake_failed(struct th_fiber *f)
{
	while (f) {
		struct th_fiber *next = f->next; /* th_wake puts it into another list */
		th_wake(f);
		f = next;
	}
}

/* Under the lock: there is no thread and none can be made. Returns the fibers to be woken. */
static struct th_fiber *fail_queued(struct th_blocking *p, int code)
{
	struct th_fiber *fibers = NULL;
	struct th_job *job;

	while ((job = p->head) != NULL) {
		unqueue(p, job);
		job->code = code;
		job->state = JOB_DONE;
		job->fiber->next = fibers;
		fibers = job->fiber;
	}
	return fibers;
}

/* The caller has counted it in. Without it the queued jobs wait for another thread, if there is one. */
static void start_blocker(struct th_blocking *p)
{
	struct th_blocker *b = malloc(sizeof *b);
	struct th_fiber *failed = NULL;
	uint32_t left;
	int r = -ENOMEM;

	if (b) {
		b->pool = p;
		th_init(&b->x_called, 0);
		r = th_thread_start_fn(blocker_main, b);
	}
	if (r == 0)
		return;
	free(b);
	th_lock(&p->lock);
	left = th_load_rlx(&p->x_blockers) - 1;
	th_store_rlx(&p->x_blockers, left); /* B2 */
	if (left == 0)
		failed = fail_queued(p, r);
	th_unlock(&p->lock);
	wake_failed(failed);
}

/* Under the lock. */
static struct th_blocker *call_idle(struct th_blocking *p)
{
	struct th_blocker *b = p->idle;

	if (b) {
		p->idle = b->next;
		th_store_rlx(&b->x_called, 1); /* B1 */
	}
	return b;
}

static void submit(struct th_blocking *p, struct th_job *job)
{
	struct th_blocker *called = NULL;
	bool start = false;

	th_lock(&p->lock);
	if (job->state == JOB_NEW) {
		enqueue(p, job);
		called = call_idle(p);
		start = !called && th_load_rlx(&p->x_blockers) < p->blockers_max;
		if (start)
			th_store_rlx(&p->x_blockers, th_load_rlx(&p->x_blockers) + 1); /* B2 */
	}
	th_unlock(&p->lock);
	if (called)
		th_word_wake(&called->x_called, 1); /* it may have gone by now: only the address is used */
	if (start)
		start_blocker(p);
}

/* --- the call --- */

/* By a canceller, under the node's lock. After ours is open again an abandoned job may be gone. */
static void cancel_job(struct th_waiter *w)
{
	struct call *c = th_container(w, struct call, waiter);
	struct th_job *job = c->job;
	struct th_blocking *p = job->pool;
	bool wake = true;

	th_lock(&p->lock);
	if (job->state == JOB_QUEUED) {
		unqueue(p, job);
		job->state = JOB_GONE;
	} else if (job->state == JOB_NEW) {
		job->state = JOB_GONE;
	} else if (job->state == JOB_RUNNING && job->may_abandon) {
		job->state = JOB_ABANDONED;
		c->abandoned = true;
		th_clock_outside(&p->rt->clock, 1); /* B4 */
	} else {
		wake = false;
	}
	th_unlock(&p->lock);
	if (wake)
		th_wake(w->fiber);
}

/* On the worker's stack. */
static void park_call(struct th_fiber *f, void *arg)
{
	struct call *c = arg;

	th_bump(&f->home->x_inflight);
	if (th_node_arm(f, &c->waiter)) {
		submit(c->job->pool, c->job);
	} else {
		c->job->state = JOB_GONE;
		th_wake(f);
	}
}

static int wait_for_job(struct th_fiber *f, struct th_job *job, bool *ret_abandoned)
{
	struct call c = { .job = job };

	th_waiter_init(&c.waiter, f);
	c.waiter.on_cancel = cancel_job;
	th_suspend(park_call, &c);
	th_node_disarm(f, &c.waiter);
	th_store_rlx(&f->home->x_inflight, th_load_rlx(&f->home->x_inflight) - 1);
	*ret_abandoned = c.abandoned;
	return c.abandoned || job->state == JOB_GONE ? -ECANCELED : job->code;
}

static int run_in_record(struct th_fiber *f, thrum_fx fx, thrum_fx drop)
{
	struct thrum_rt *rt = f->home->rt;
	struct th_job *job;
	bool abandoned = false;
	int code = -ECANCELED;

	if (!th_cancelled(f)) {
		job = th_pool_take(rt->records);
		if (!job)
			return -ENOMEM;
		*job = (struct th_job){ .pool = &rt->blocking, .fiber = f, .fx = fx, .drop = drop, .may_abandon = true };
		code = wait_for_job(f, job, &abandoned);
		if (!abandoned)
			th_pool_give(rt->records, job);
	}
	/* The thread drops what it runs; all else that ends with this code is dropped here, so that the code alone says
	 * whose the argument is. */
	if (code == -ECANCELED && !abandoned && drop.run)
		(void)th_run_shielded(f, drop, -ECANCELED);
	return code;
}

static int run_in_frame(struct th_fiber *f, thrum_fx fx)
{
	struct th_job job = { .pool = &f->home->rt->blocking, .fiber = f, .fx = fx };
	bool abandoned;

	return th_cancelled(f) ? -ECANCELED : wait_for_job(f, &job, &abandoned);
}

int thrum_blocking_with(thrum_fx fx, const thrum_blocking_opts *o)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run || (o && o->size != sizeof *o) || (o && o->drop.run && !o->abandon))
		return -EINVAL;
	if (f->home->rt->pid != getpid())
		return -ECHILD; /* its threads did not come along (X10) */
	return o && o->abandon ? run_in_record(f, fx, o->drop) : run_in_frame(f, fx);
}

int thrum_blocking(thrum_fx fx)
{
	return thrum_blocking_with(fx, NULL);
}

/* --- the pool as a whole --- */

bool th_blocking_inside(struct th_blocking *p)
{
	uintptr_t me = th_thread_id();
	struct th_blocker *b;

	th_lock(&p->lock);
	for (b = p->all; b && b->thread != me;)
		b = b->next_of_all;
	th_unlock(&p->lock);
	return b != NULL;
}

void th_blocking_close(struct th_blocking *p)
{
	struct th_blocker *b;
	uint32_t left;

	th_lock(&p->lock);
	TH_ASSERT(!p->head);
	p->closing = true;
	while ((b = call_idle(p)) != NULL)
		th_word_wake(&b->x_called, 1);
	th_unlock(&p->lock);
	while ((left = th_load_acq(&p->x_blockers)) > 0) /* B3 */
		th_word_wait(&p->x_blockers, left);
	th_lock(&p->lock);
	b = p->ended;
	th_unlock(&p->lock);
	join_blocker(b);
}
