/* core/wait.h: waiting in an object: what semaphores, mutexes, conditions, latches, barriers, promises and
 * channels share.
 *
 * An object is a lock, some state and queues of waiters. To wait, a fiber suspends; on its worker's stack park()
 * arms it for cancels and then, in one section under the object's lock, either takes what it came for or queues
 * it. So nothing is missed between look and wait, and nobody can wake a fiber whose context is not saved.
 *
 *   event     under the object's lock: take a waiter out of the queue, claim it, write its results, note its fiber
 *             in a th_wakes; after the unlock: th_wake_all(). The object is not touched after the unlock.
 *   success   th_wait() true: the fiber does not touch the object again, so whoever got what it waited for may end
 *             the object, if no other call on it is in progress.
 *   cancel    th_wait() false: the fiber takes the lock once, by th_wait_leave() or in a section of its own that also
 *             takes the waiter out; after it no event can hold it. */
#ifndef TH_WAIT_H
#define TH_WAIT_H
#include "hooks.h"
#include "lock.h"
#include "waiter.h"

/* Fibers that somebody has won the right to wake, in the order in which he did; linked through their `next`. */
struct th_wakes {
	struct th_fiber *head, *tail;
};

static inline void th_wakes_add(struct th_wakes *l, struct th_fiber *f)
{
	f->next = NULL;
	*(l->tail ? &l->tail->next : &l->head) = f;
	l->tail = f;
}

/* Without locks. Any thread: each of these fibers is parked until its own turn, so its runtime lives until then
 * (3.10). */
void th_wake_all(const struct th_wakes *l);

struct th_wait {
	struct th_waiter waiter; /* first: the queue links it */
	struct th_lock *lock;    /* the object's */
	struct th_waitq *queue;
	/* Under the lock, on the worker's stack. True: there is nothing to wait for, and what there was has been
	 * taken. */
	bool (*take)(struct th_wait *w);
	struct th_wakes wakes;   /* what take() woke: woken once the lock is free */
	bool cancellable, taken;
};

/* Suspend until an event claims the waiter, or take() succeeds, or a cancel claims it: then false. */
bool th_wait(struct th_fiber *f, struct th_wait *w);
/* After a false: out of the queue, if it is still in it. */
void th_wait_leave(struct th_wait *w);

/* Under the lock: the first waiter that no cancel has claimed, claimed and noted for its wake; NULL if there is
 * none. */
struct th_wait *th_wait_claim(struct th_waitq *q, struct th_wakes *wakes);
/* All of them. */
void th_wait_claim_all(struct th_waitq *q, struct th_wakes *wakes);
/* Under the lock: the first waiter that no cancel has claimed, left where it is. */
struct th_wait *th_wait_first(struct th_waitq *q);

#endif
