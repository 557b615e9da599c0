/* core/cond.c: conditions. A waiter stands in the condition's line before it lets go of the mutex, so a signal
 * given under the mutex finds it. However its wait ends, it has the mutex again when thrum_cond_wait() returns
 * (Q11). Locks nest from condition to mutex. */
#include "mutex.h"
#include "node.h"
#include <errno.h>
#include <string.h>

struct cond {
	struct th_lock lock;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct cond) <= sizeof(thrum_cond), "thrum_cond holds a cond");

struct cond_wait {
	struct th_wait wait; /* first */
	thrum_mutex *mutex;
	bool let_go;         /* not so if a cancel came before the wait began */
};

static struct cond *of(thrum_cond *c)
{
	return (struct cond *)(void *)c;
}

int thrum_cond_init(thrum_cond *public)
{
	struct cond *c = of(public);

	memset(c, 0, sizeof *c);
	th_lock_init(&c->lock);
	return 0;
}

/* The fiber is queued in this same section: whoever gets the mutex now and signals waits for the condition's lock. */
static bool let_go_of_the_mutex(struct th_wait *wait)
{
	struct cond_wait *w = (struct cond_wait *)(void *)wait;

	w->let_go = th_mutex_release(w->mutex, wait->waiter.fiber, &wait->wakes);
	return false;
}

int thrum_cond_wait(thrum_cond *public, thrum_mutex *m)
{
	struct th_fiber *f = th_self();
	struct cond *c = of(public);
	struct cond_wait w = {
		.wait = { .lock = &c->lock, .queue = &c->queue, .take = let_go_of_the_mutex, .cancellable = true },
		.mutex = m,
	};
	bool signalled;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!th_mutex_is_mine(m, f))
		return -EPERM;
	if (th_cancel_point(f))
		return -ECANCELED;
	signalled = th_wait(f, &w.wait);
	if (!signalled)
		th_wait_leave(&w.wait);
	if (w.let_go)
		th_mutex_relock(m, f);
	return signalled ? 0 : -ECANCELED;
}

static int wake(struct cond *c, void (*claim)(struct th_waitq *q, struct th_wakes *wakes))
{
	struct th_wakes wakes = { NULL, NULL };

	if (!th_self())
		return THRUM_ENOTFIBER;
	th_lock(&c->lock);
	claim(&c->queue, &wakes);
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	return 0;
}

static void claim_one(struct th_waitq *q, struct th_wakes *wakes)
{
	(void)th_wait_claim(q, wakes);
}

int thrum_cond_signal(thrum_cond *c) { return wake(of(c), claim_one); }
int thrum_cond_broadcast(thrum_cond *c) { return wake(of(c), th_wait_claim_all); }
