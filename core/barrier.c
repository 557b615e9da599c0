/* core/barrier.c: barriers. The last of n to come lets the others go and begins the next generation.
 *
 *   arrived   0 … n-1 of this generation are there ── the n-th comes: trip ──► generation + 1, arrived = 0
 *
 * Whether a waiter that a cancel claimed had come is decided by the generation, under the lock, not by the claim:
 * had its generation tripped by then, the others were told that it was there, so it was (success beats cancel);
 * else it is taken out of the count as if it had never come. A claim cannot decide that, since the n-th would have
 * to win all n-1 or none. */
#include "node.h"
#include "wait.h"
#include <errno.h>
#include <string.h>
#include <thrum/sync.h>

struct barrier {
	struct th_lock lock;
	unsigned parties, arrived;
	uint64_t generation;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct barrier) <= sizeof(thrum_barrier), "thrum_barrier holds a barrier");

struct barrier_wait {
	struct th_wait wait; /* first */
	struct barrier *barrier;
	uint64_t generation; /* in which it came */
	bool came, tripped;  /* not so if a cancel came before the wait began; it was the last */
};

static struct barrier *of(thrum_barrier *b)
{
	return (struct barrier *)(void *)b;
}

int thrum_barrier_init(thrum_barrier *public, unsigned n)
{
	struct barrier *b = of(public);

	memset(b, 0, sizeof *b);
	th_lock_init(&b->lock);
	b->parties = n;
	return 0;
}

/* Under the lock: if the caller is the last, let everybody go. */
static bool trip(struct barrier *b, struct th_wakes *wakes)
{
	if (b->parties > 0 && b->arrived < b->parties - 1)
		return false;
	b->arrived = 0;
	b->generation++;
	th_wait_claim_all(&b->queue, wakes);
	return true;
}

static bool try_trip(struct barrier *b)
{
	struct th_wakes wakes = { NULL, NULL };
	bool tripped;

	th_lock(&b->lock);
	tripped = trip(b, &wakes);
	th_unlock(&b->lock);
	th_wake_all(&wakes);
	return tripped;
}

static bool take(struct th_wait *wait)
{
	struct barrier_wait *w = (struct barrier_wait *)(void *)wait;
	struct barrier *b = w->barrier;

	w->tripped = trip(b, &wait->wakes);
	if (w->tripped)
		return true;
	b->arrived++;
	w->generation = b->generation;
	w->came = true;
	return false;
}

static int leave(struct barrier *b, struct barrier_wait *w)
{
	int r = -ECANCELED;

	th_lock(&b->lock);
	th_waitq_remove(&b->queue, &w->wait.waiter);
	if (w->came && w->generation != b->generation)
		r = 0;
	else if (w->came)
		b->arrived--;
	th_unlock(&b->lock);
	return r;
}

int thrum_barrier_wait(thrum_barrier *public)
{
	struct th_fiber *f = th_self();
	struct barrier *b = of(public);
	struct barrier_wait w = {
		.wait = { .lock = &b->lock, .queue = &b->queue, .take = take, .cancellable = true }, .barrier = b,
	};

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (try_trip(b))
		return THRUM_BARRIER_LAST;
	if (!th_wait(f, &w.wait))
		return leave(b, &w);
	return w.tripped ? THRUM_BARRIER_LAST : 0;
}
