/* core/chan.c: channels: a ring of items by value, and two queues of waiting fibers, behind one lock.
 *
 * A send hands its item straight to the first waiting receiver, and a receive that frees a place takes the item of the
 * first waiting sender into it: nobody who comes later can slip in between (Q2). Whether a waiter got its item or its
 * cancel is the claim on its th_waiter (Q4); the item is copied by the claimer, under the lock, before the wake.
 * At any time at most one of the two queues holds waiters that are not cancelled. */
#include "assert.h"
#include "hooks.h"
#include "node.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/sync.h>

struct chan {
	struct th_lock lock;
	bool closed;
	size_t item_bytes, capacity, count, head;
	char *ring;
	struct th_waitq senders, receivers;
};
_Static_assert(sizeof(struct chan) <= sizeof(thrum_chan), "thrum_chan holds a chan");

struct chan_wait {
	struct th_waiter waiter; /* first: the queue links it */
	struct chan *chan;
	struct th_waitq *queue;
	const void *item;        /* a sender's */
	void *slot;              /* a receiver's */
	int code;                /* written by the claimer */
};

static struct chan *of(thrum_chan *c)
{
	return (struct chan *)(void *)c;
}

int thrum_chan_init(thrum_chan *public, size_t item_bytes, size_t capacity)
{
	struct chan *c = of(public);
	size_t bytes;

	if (item_bytes == 0 || __builtin_mul_overflow(item_bytes, capacity, &bytes))
		return -EINVAL;
	memset(c, 0, sizeof *c);
	th_lock_init(&c->lock);
	c->item_bytes = item_bytes;
	c->capacity = capacity;
	c->ring = bytes ? malloc(bytes) : NULL;
	return bytes && !c->ring ? -ENOMEM : 0;
}

void thrum_chan_fini(thrum_chan *public)
{
	struct chan *c = of(public);

	TH_ASSERT(!c->senders.head && !c->receivers.head);
	free(c->ring);
	memset(c, 0, sizeof *c);
}

/* --- under the lock; what they return is to be woken after it --- */

static void ring_put(struct chan *c, const void *item)
{
	memcpy(c->ring + (c->head + c->count) % c->capacity * c->item_bytes, item, c->item_bytes);
	c->count++;
}

static void ring_take(struct chan *c, void *slot)
{
	memcpy(slot, c->ring + c->head * c->item_bytes, c->item_bytes);
	c->head = (c->head + 1) % c->capacity;
	c->count--;
}

static struct chan_wait *claim(struct th_waitq *q)
{
	return (struct chan_wait *)(void *)th_waitq_claim(q);
}

static int send_locked(struct chan *c, const void *item, struct th_fiber **wake)
{
	struct chan_wait *r;

	if (c->closed)
		return THRUM_ECLOSED;
	r = claim(&c->receivers);
	if (r) {
		memcpy(r->slot, item, c->item_bytes);
		r->code = 0;
		*wake = r->waiter.fiber;
		return 0;
	}
	if (c->count == c->capacity)
		return -EAGAIN;
	ring_put(c, item);
	return 0;
}

static int recv_locked(struct chan *c, void *slot, struct th_fiber **wake)
{
	struct chan_wait *s;

	if (c->count > 0) {
		ring_take(c, slot);
		s = claim(&c->senders);
		if (s)
			ring_put(c, s->item);
	} else {
		s = claim(&c->senders); /* a rendezvous */
		if (!s)
			return c->closed ? THRUM_ECLOSED : -EAGAIN;
		memcpy(slot, s->item, c->item_bytes);
	}
	if (s) {
		s->code = 0;
		*wake = s->waiter.fiber;
	}
	return 0;
}

/* --- trying and waiting --- */

static int try_once(struct chan *c, const void *item, void *slot)
{
	struct th_fiber *wake = NULL;
	int r;

	th_lock(&c->lock);
	r = item ? send_locked(c, item, &wake) : recv_locked(c, slot, &wake);
	th_unlock(&c->lock);
	if (wake)
		th_wake(wake);
	return r;
}

/* On the worker's stack. The try is made again under the lock that queues the waiter, so nothing is missed between. */
static void park_in_chan(struct th_fiber *f, void *arg)
{
	struct chan_wait *w = arg;
	struct chan *c = w->chan;
	struct th_fiber *wake = NULL;
	bool mine = false;
	int r;

	if (!th_node_arm(f, &w->waiter)) {
		if (th_waiter_claim(&w->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	th_lock(&c->lock);
	if (w->item)
		r = send_locked(c, w->item, &wake);
	else
		r = recv_locked(c, w->slot, &wake);
	if (r == -EAGAIN) {
		th_waitq_push(w->queue, &w->waiter);
	} else {
		/* The try succeeded and a cancel may have come first: the success stands, so only the wake is theirs. */
		w->code = r;
		mine = th_waiter_claim(&w->waiter, TH_WAIT_DONE);
	}
	th_unlock(&c->lock);
	if (wake)
		th_wake(wake);
	if (mine)
		th_wake(f);
}

static int wait_in_chan(struct th_fiber *f, struct chan *c, const void *item, void *slot)
{
	struct chan_wait w = { .chan = c, .item = item, .slot = slot, .code = -ECANCELED };

	w.queue = item ? &c->senders : &c->receivers;
	th_waiter_init(&w.waiter, f);
	th_suspend(park_in_chan, &w);
	th_node_disarm(f, &w.waiter);
	th_lock(&c->lock); /* after it no claimer of this channel can hold our waiter */
	th_waitq_remove(w.queue, &w.waiter);
	th_unlock(&c->lock);
	return w.code;
}

static int exchange(struct chan *c, const void *item, void *slot)
{
	struct th_fiber *f = th_self();
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	r = try_once(c, item, slot);
	return r == -EAGAIN ? wait_in_chan(f, c, item, slot) : r;
}

int thrum_chan_send(thrum_chan *c, const void *item) { return item ? exchange(of(c), item, NULL) : -EINVAL; }
int thrum_chan_recv(thrum_chan *c, void *ret_item) { return ret_item ? exchange(of(c), NULL, ret_item) : -EINVAL; }
int thrum_chan_try_send(thrum_chan *c, const void *item) { return item ? try_once(of(c), item, NULL) : -EINVAL; }
int thrum_chan_try_recv(thrum_chan *c, void *ret_item) { return ret_item ? try_once(of(c), NULL, ret_item) : -EINVAL; }

int thrum_chan_close(thrum_chan *public)
{
	struct chan *c = of(public);
	struct th_fiber *wake = NULL;
	struct chan_wait *w;
	bool was_closed;

	th_lock(&c->lock);
	was_closed = c->closed;
	c->closed = true;
	while ((w = claim(&c->senders)) != NULL || (w = claim(&c->receivers)) != NULL) {
		w->code = THRUM_ECLOSED;
		w->waiter.fiber->next = wake;
		wake = w->waiter.fiber;
	}
	th_unlock(&c->lock);
	while (wake) {
		struct th_fiber *next = wake->next;
		th_wake(wake);
		wake = next;
	}
	return was_closed ? THRUM_ECLOSED : 0;
}
