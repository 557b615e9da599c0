/* core/latch.c: latches: closed until n have arrived, then open for good. */
#include "node.h"
#include "wait.h"
#include <errno.h>
#include <string.h>
#include <thrum/sync.h>

struct latch {
	struct th_lock lock;
	unsigned missing;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct latch) <= sizeof(thrum_latch), "thrum_latch holds a latch");

struct latch_wait {
	struct th_wait wait; /* first */
	struct latch *latch;
};

static struct latch *of(thrum_latch *l)
{
	return (struct latch *)(void *)l;
}

int thrum_latch_init(thrum_latch *public, unsigned n)
{
	struct latch *l = of(public);

	memset(l, 0, sizeof *l);
	th_lock_init(&l->lock);
	l->missing = n;
	return 0;
}

int thrum_latch_arrive(thrum_latch *public)
{
	struct th_wakes wakes = { NULL, NULL };
	struct latch *l = of(public);
	bool was_open;

	th_lock(&l->lock);
	was_open = l->missing == 0;
	if (!was_open && --l->missing == 0)
		th_wait_claim_all(&l->queue, &wakes);
	th_unlock(&l->lock);
	th_wake_all(&wakes);
	return was_open ? -EALREADY : 0;
}

/* Looked at under the lock, even if it is long open: who has seen it open may end it, and the last to arrive may
 * not be out of its section yet. */
static bool is_open(struct latch *l)
{
	bool open;

	th_lock(&l->lock);
	open = l->missing == 0;
	th_unlock(&l->lock);
	return open;
}

static bool take(struct th_wait *wait)
{
	return ((struct latch_wait *)(void *)wait)->latch->missing == 0;
}

int thrum_latch_wait(thrum_latch *public)
{
	struct th_fiber *f = th_self();
	struct latch *l = of(public);
	struct latch_wait w = {
		.wait = { .lock = &l->lock, .queue = &l->queue, .take = take, .cancellable = true }, .latch = l,
	};

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (is_open(l) || th_wait(f, &w.wait))
		return 0;
	th_wait_leave(&w.wait);
	return -ECANCELED;
}

int thrum_latch_try_wait(thrum_latch *l)
{
	return is_open(of(l)) ? 0 : -EAGAIN;
}
