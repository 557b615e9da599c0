/* core/wait.c: waiting in an object. The protocol is in the header. */
#include "wait.h"
#include "node.h"

void th_wake_all(const struct th_wakes *l)
{
	struct th_fiber *f = l->head;

	while (f) {
		struct th_fiber *next = f->next; /* th_wake puts it into another list */
		th_wake(f);
		f = next;
	}
}

/* On the worker's stack. The fiber cannot run before this returns, whoever claims it: it only ever runs on this
 * worker. */
static void park(struct th_fiber *f, void *arg)
{
	struct th_wait *w = arg;

	if (w->cancellable && !th_node_arm(f, &w->waiter)) {
		if (th_waiter_claim(&w->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	th_lock(w->lock);
	w->taken = w->take(w);
	if (!w->taken)
		th_waitq_push(w->queue, &w->waiter);
	th_unlock(w->lock);
	th_wake_all(&w->wakes);
	/* A cancel may have come between: what was taken stays taken, so only the wake is theirs. */
	if (w->taken && th_waiter_claim(&w->waiter, TH_WAIT_DONE))
		th_wake(f);
}

bool th_wait(struct th_fiber *f, struct th_wait *w)
{
	th_waiter_init(&w->waiter, f);
	w->taken = false;
	w->wakes = (struct th_wakes){ NULL, NULL };
	th_suspend(park, w);
	if (w->cancellable)
		th_node_disarm(f, &w->waiter);
	return w->taken || !th_waiter_cancelled(&w->waiter);
}

void th_wait_leave(struct th_wait *w)
{
	th_lock(w->lock);
	th_waitq_remove(w->queue, &w->waiter);
	th_unlock(w->lock);
}

struct th_wait *th_wait_claim(struct th_waitq *q, struct th_wakes *wakes)
{
	struct th_waiter *w = th_waitq_claim(q);

	if (w)
		th_wakes_add(wakes, w->fiber);
	return (struct th_wait *)(void *)w;
}

void th_wait_claim_all(struct th_waitq *q, struct th_wakes *wakes)
{
	while (th_wait_claim(q, wakes))
		;
}

struct th_wait *th_wait_first(struct th_waitq *q)
{
	while (q->head && th_waiter_cancelled(q->head))
		th_waitq_remove(q, q->head);
	return (struct th_wait *)(void *)q->head;
}
