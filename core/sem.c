/* core/sem.c: semaphores. Waiters stand in one line; whoever is first gets his permits first, however many he
 * wants, so a large request is not starved by small ones (Q8). Permits are handed over under the lock by whoever
 * releases them, and when a waiter that was first gives up, those behind him are looked at again (Q9). A request
 * is served whole or not at all, so one that is cancelled has nothing to give back (Q7). */
#include "assert.h"
#include "node.h"
#include "wait.h"
#include <errno.h>
#include <string.h>
#include <thrum/sync.h>

struct sem {
	struct th_lock lock;
	unsigned permits;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct sem) <= sizeof(thrum_sem), "thrum_sem holds a sem");

struct sem_wait {
	struct th_wait wait; /* first */
	struct sem *sem;
	unsigned n;
};

static struct sem *of(thrum_sem *s)
{
	return (struct sem *)(void *)s;
}

int thrum_sem_init(thrum_sem *public, unsigned permits)
{
	struct sem *s = of(public);

	memset(s, 0, sizeof *s);
	th_lock_init(&s->lock);
	s->permits = permits;
	return 0;
}

void thrum_sem_fini(thrum_sem *public)
{
	struct sem *s = of(public);

	TH_ASSERT(!s->queue.head);
	memset(s, 0, sizeof *s);
}

/* Under the lock: give permits to the line from its front, as far as they reach. */
static void serve(struct sem *s, struct th_wakes *wakes)
{
	struct sem_wait *w;

	while ((w = (struct sem_wait *)(void *)th_wait_first(&s->queue)) != NULL && w->n <= s->permits) {
		th_waitq_remove(&s->queue, &w->wait.waiter);
		if (th_waiter_claim(&w->wait.waiter, TH_WAIT_DONE)) {
			s->permits -= w->n;
			th_wakes_add(wakes, w->wait.waiter.fiber);
		}
	}
}

/* Under the lock. Serving comes first: the one who was first may have been cancelled a moment ago. */
static bool acquire_locked(struct sem *s, unsigned n, struct th_wakes *wakes)
{
	serve(s, wakes);
	if (n > s->permits || (n > 0 && s->queue.head))
		return false;
	s->permits -= n;
	return true;
}

static bool try_acquire(struct sem *s, unsigned n)
{
	struct th_wakes wakes = { NULL, NULL };
	bool got;

	th_lock(&s->lock);
	got = acquire_locked(s, n, &wakes);
	th_unlock(&s->lock);
	th_wake_all(&wakes);
	return got;
}

static bool take(struct th_wait *wait)
{
	struct sem_wait *w = (struct sem_wait *)(void *)wait;

	return acquire_locked(w->sem, w->n, &wait->wakes);
}

/* A waiter that gave up: it may have been the one who kept the others waiting. */
static void give_up(struct sem *s, struct sem_wait *w)
{
	struct th_wakes wakes = { NULL, NULL };

	th_lock(&s->lock);
	th_waitq_remove(&s->queue, &w->wait.waiter);
	serve(s, &wakes);
	th_unlock(&s->lock);
	th_wake_all(&wakes);
}

int thrum_sem_acquire(thrum_sem *public, unsigned n)
{
	struct th_fiber *f = th_self();
	struct sem *s = of(public);
	struct sem_wait w = {
		.wait = { .lock = &s->lock, .queue = &s->queue, .take = take, .cancellable = true }, .sem = s, .n = n,
	};

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (try_acquire(s, n) || th_wait(f, &w.wait))
		return 0;
	give_up(s, &w);
	return -ECANCELED;
}

int thrum_sem_try_acquire(thrum_sem *s, unsigned n)
{
	return try_acquire(of(s), n) ? 0 : -EAGAIN;
}

int thrum_sem_release(thrum_sem *public, unsigned n)
{
	struct th_wakes wakes = { NULL, NULL };
	struct sem *s = of(public);
	unsigned sum;
	bool fits;

	th_lock(&s->lock);
	fits = !__builtin_add_overflow(s->permits, n, &sum);
	if (fits) {
		s->permits = sum;
		serve(s, &wakes);
	}
	th_unlock(&s->lock);
	th_wake_all(&wakes);
	return fits ? 0 : -EOVERFLOW;
}
