/* core/barrier.c: barriers. The last of n to come lets the others go and begins the next generation.
 *
 *   arrived   0 … n-1 of this generation are there ── the n-th comes: trip ──► all are told, arrived = 0
 *
 * Whether a waiter that a cancel claimed had come is decided by trip(), under the lock, not by the claim: if it was told,
 * so were the others that it was there, hence it was (success beats cancel); else it is taken out of the count as if it had
 * never come. A claim cannot decide that, since the n-th would have to win all n-1 or none.
 *
 * One that was told may find the barrier gone: the others ended it. To learn it, it has to take the lock first, so locks
 * outlive barriers: a few are shared by all. A section is a few dozen instructions for each waiter. */
#include "node.h"
#include "wait.h"
#include <errno.h>
#include <string.h>
#include <thrum/sync.h>

struct barrier {
	unsigned parties, arrived;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct barrier) <= sizeof(thrum_barrier), "thrum_barrier holds a barrier");

struct barrier_wait {
	struct th_wait wait; /* first */
	struct barrier *barrier;
	bool last, told;     /* it let the others go; it was let go, though a cancel may have been first */
};

#ifdef TH_SIM
enum { LOCKS = 1 };  /* which barriers share one must not depend on where they lie: runs are to be replayed */
#else
enum { LOCKS = 64 };
#endif

static struct {
	_Alignas(64) struct th_lock lock; /* zero: free */
} locks[LOCKS];

static struct barrier *of(thrum_barrier *b)
{
	return (struct barrier *)(void *)b;
}

static struct th_lock *lock_of(const struct barrier *b)
{
	uint64_t h = (uint64_t)(uintptr_t)b * UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio: Knuth 6.4 */

	return &locks[(h >> 32) % LOCKS].lock;
}

int thrum_barrier_init(thrum_barrier *public, unsigned n)
{
	struct barrier *b = of(public);

	memset(b, 0, sizeof *b);
	b->parties = n;
	return 0;
}

static void let_all_go(struct barrier *b, struct th_wakes *wakes)
{
	struct th_waiter *w;

	while ((w = b->queue.head) != NULL) {
		th_waitq_remove(&b->queue, w);
		((struct barrier_wait *)(void *)w)->told = true;
		if (th_waiter_claim(w, TH_WAIT_DONE)) /* else a cancel wakes it, and it sees */
			th_wakes_add(wakes, w->fiber);
	}
}

/* Under the lock: if the caller is the last, let everybody go. */
static bool trip(struct barrier *b, struct th_wakes *wakes)
{
	if (b->parties > 0 && b->arrived < b->parties - 1)
		return false;
	b->arrived = 0;
	let_all_go(b, wakes);
	return true;
}

static bool try_trip(struct barrier *b)
{
	struct th_wakes wakes = { NULL, NULL };
	bool tripped;

	th_lock(lock_of(b));
	tripped = trip(b, &wakes);
	th_unlock(lock_of(b));
	th_wake_all(&wakes);
	return tripped;
}

static bool take(struct th_wait *wait)
{
	struct barrier_wait *w = (struct barrier_wait *)(void *)wait;

	w->last = trip(w->barrier, &wait->wakes);
	if (!w->last)
		w->barrier->arrived++;
	return w->last;
}

/* A cancel woke it. Told, it does not touch the barrier; nor if it had not come. */
static int leave(struct barrier_wait *w)
{
	struct th_lock *lock = w->wait.lock;
	bool told;

	th_lock(lock);
	told = w->told;
	if (w->wait.waiter.queued) {
		th_waitq_remove(w->wait.queue, &w->wait.waiter);
		w->barrier->arrived--;
	}
	th_unlock(lock);
	return told ? 0 : -ECANCELED;
}

int thrum_barrier_wait(thrum_barrier *public)
{
	struct th_fiber *f = th_self();
	struct barrier *b = of(public);
	struct barrier_wait w = {
		.wait = { .lock = lock_of(b), .queue = &b->queue, .take = take, .cancellable = true }, .barrier = b,
	};

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (try_trip(b))
		return THRUM_BARRIER_LAST;
	if (!th_wait(f, &w.wait))
		return leave(&w);
	return w.last ? THRUM_BARRIER_LAST : 0;
}
