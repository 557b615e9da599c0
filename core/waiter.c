/* core/waiter.c: queues of waiters; the claim itself is in the header. */
#include "waiter.h"
#include "assert.h"
#include <stddef.h>

void th_waitq_push(struct th_waitq *q, struct th_waiter *w)
{
	TH_DASSERT(!w->queued);
	w->next = NULL;
	w->prev = q->tail;
	*(q->tail ? &q->tail->next : &q->head) = w;
	q->tail = w;
	w->queued = true;
}

void th_waitq_remove(struct th_waitq *q, struct th_waiter *w)
{
	if (!w->queued)
		return;
	*(w->prev ? &w->prev->next : &q->head) = w->next;
	*(w->next ? &w->next->prev : &q->tail) = w->prev;
	w->queued = false;
}

struct th_waiter *th_waitq_claim(struct th_waitq *q)
{
	struct th_waiter *w;

	while ((w = q->head) != NULL) {
		th_waitq_remove(q, w);
		if (th_waiter_claim(w, TH_WAIT_DONE)) {
			w->chosen = true;
			return w;
		}
		/* A cancel was first, or another case of its select. Its fiber will find itself no longer queued. */
	}
	return NULL;
}
