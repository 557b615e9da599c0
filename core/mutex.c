/* core/mutex.c: mutexes that suspend the fiber. Handed over in the order of arrival.
 *
 * The owner is a child, not a fiber: a child that its parent runs on the parent's own stack is somebody else
 * (K10). It is told apart by its record's address, which another child may get once it has ended; so one that ends
 * as an owner is stopped there and then (th_task_end looks at `mutexes`), else a stranger could unlock, or be told
 * that he holds the lock already. */
#include "mutex.h"
#include "assert.h"
#include "cycle.h"
#include "scope.h"
#include <errno.h>
#include <string.h>

struct mutex {
	struct th_lock lock;
	struct th_task *owner; /* under the lock, like the rest */
	struct th_waitq queue;
};
_Static_assert(sizeof(struct mutex) <= sizeof(thrum_mutex), "thrum_mutex holds a mutex");

struct mutex_wait {
	struct th_wait wait;  /* first */
	struct mutex *mutex;
	struct th_task *task;
	struct th_edge edge;  /* to the owner; under the lock while queued */
	struct th_circle circle;
	bool deadlock;        /* waiting would close a circle (debug builds) */
};

static struct mutex *of(thrum_mutex *m)
{
	return (struct mutex *)(void *)m;
}

int thrum_mutex_init(thrum_mutex *public)
{
	struct mutex *m = of(public);

	memset(m, 0, sizeof *m);
	th_lock_init(&m->lock);
	return 0;
}

static bool take(struct th_wait *wait)
{
	struct mutex_wait *w = (struct mutex_wait *)(void *)wait;

	if (!w->mutex->owner) {
		w->mutex->owner = w->task;
		return true;
	}
	if (!wait->cancellable) /* a condition's: it cannot be refused the lock */
		return false;
	w->edge.to = w->mutex->owner;
	w->edge.waiter = &wait->waiter;
	w->deadlock = th_cycle_find(wait->waiter.fiber, &w->edge, &w->circle) < 0;
	return w->deadlock;
}

/* 0; -EAGAIN: another has it; -EDEADLK: `task` has. Nobody waits while it is free: it is handed over. */
static int try_lock(struct mutex *m, struct th_task *task)
{
	int r = 0;

	th_lock(&m->lock);
	if (!m->owner)
		m->owner = task;
	else
		r = m->owner == task ? -EDEADLK : -EAGAIN;
	th_unlock(&m->lock);
	if (r == 0)
		task->mutexes++;
	return r;
}

static int wait_for(struct mutex *m, struct th_fiber *f, bool cancellable)
{
	struct mutex_wait w = {
		.wait = { .lock = &m->lock, .queue = &m->queue, .take = take, .cancellable = cancellable },
		.mutex = m, .task = f->task,
	};
	bool ended = th_wait(f, &w.wait);

	if (w.deadlock)
		return th_cycle_tell(f, &w.circle);
	if (cancellable)
		th_cycle_leave(f); /* before leaving the queue: whoever finds us there retargets us */
	if (!ended) {
		th_wait_leave(&w.wait);
		return -ECANCELED;
	}
	f->task->mutexes++;
	return 0;
}

int thrum_mutex_lock(thrum_mutex *public)
{
	struct th_fiber *f = th_self();
	struct mutex *m = of(public);
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	r = try_lock(m, f->task);
	if (r == -EAGAIN)
		r = wait_for(m, f, true);
	return r;
}

int thrum_mutex_try_lock(thrum_mutex *m)
{
	struct th_fiber *f = th_self();

	return f ? try_lock(of(m), f->task) : THRUM_ENOTFIBER;
}

void th_mutex_relock(thrum_mutex *public, struct th_fiber *f)
{
	int r = try_lock(of(public), f->task);

	TH_ASSERT(r != -EDEADLK);
	if (r < 0)
		(void)wait_for(of(public), f, false);
}

/* Under the lock. */
static bool is_owner(const struct mutex *m, const struct th_fiber *f)
{
	return m->owner == f->task;
}

bool th_mutex_is_mine(thrum_mutex *public, struct th_fiber *f)
{
	struct mutex *m = of(public);
	bool mine;

	th_lock(&m->lock);
	mine = is_owner(m, f);
	th_unlock(&m->lock);
	return mine;
}

/* Under the lock: whom those in line wait for. */
static void set_target(struct mutex *m, struct th_task *owner)
{
	if (!TH_DEBUG)
		return;
	for (struct th_waiter *w = m->queue.head; w; w = w->next)
		th_cycle_retarget(&((struct mutex_wait *)(void *)w)->edge, owner);
}

/* Under the lock: to the first in line, or to nobody. */
static void hand_over(struct mutex *m, struct th_wakes *wakes)
{
	struct mutex_wait *next;

	set_target(m, NULL); /* also of those that are claimed, or were cancelled, just now */
	next = (struct mutex_wait *)(void *)th_wait_claim(&m->queue, wakes);
	m->owner = next ? next->task : NULL;
	set_target(m, m->owner);
}

bool th_mutex_release(thrum_mutex *public, struct th_fiber *f, struct th_wakes *wakes)
{
	struct mutex *m = of(public);
	bool mine;

	th_lock(&m->lock);
	mine = is_owner(m, f);
	if (mine)
		hand_over(m, wakes);
	th_unlock(&m->lock);
	f->task->mutexes -= mine;
	return mine;
}

int thrum_mutex_unlock(thrum_mutex *m)
{
	struct th_wakes wakes = { NULL, NULL };
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!th_mutex_release(m, f, &wakes))
		return -EPERM;
	th_wake_all(&wakes);
	return 0;
}
