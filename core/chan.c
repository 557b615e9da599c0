/* core/chan.c: channels: a ring of items by value, and two queues of waiting fibers, behind one lock.
 *
 * A send hands its item straight to the first waiting receiver, and a receive that frees a place takes the item of
 * the first waiting sender into it: nobody who comes later can slip in between (Q2). Whether a waiter got its item
 * or its cancel is the claim on its th_waiter (Q4); the item is copied by the claimer, under the lock, before the
 * wake. Of two different fibers never one waits to send while the other waits to receive.
 *
 * An unbounded channel's ring doubles when it is full: allocated without the lock, moved under it. It never shrinks.
 * Items that nobody takes go to the channel's `drop`, without the lock (G10, Q5). */
#include "chan.h"
#include "assert.h"
#include "node.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct chan {
	struct th_lock lock;
	bool closed;
	uint8_t overflow;               /* THRUM_OVERFLOW_* */
	size_t item_bytes, capacity;    /* capacity: THRUM_CHAN_UNBOUNDED, or as many as there is room for */
	size_t room, count, head;       /* room: places in the ring */
	char *ring;
	struct th_waitq senders, receivers;
	void (*drop)(void *item, void *arg);
	void *drop_arg;
};
_Static_assert(sizeof(struct chan) <= sizeof(thrum_chan), "thrum_chan holds a chan");

enum {
	NEEDS_ROOM = 1,      /* of send_locked(): let the ring grow, then try again */
	ROOM_MIN = 16,       /* the first ring of an unbounded channel */
	BATCH = 64,          /* items moved in one section: others want the lock too */
	SMALL_BYTES = 256    /* dropped items up to this size are copied to the stack */
};

static struct chan *of(thrum_chan *c)
{
	return (struct chan *)(void *)c;
}

/* --- opening and ending --- */

static bool makes_sense(const thrum_chan_opts *o)
{
	if (!o || o->size != sizeof *o || o->item_bytes == 0 || o->overflow > THRUM_OVERFLOW_DROP_OLD)
		return false;
	if (o->capacity == THRUM_CHAN_UNBOUNDED)
		return o->overflow == THRUM_OVERFLOW_BLOCK; /* it does not overflow */
	return o->capacity > 0 || o->overflow != THRUM_OVERFLOW_DROP_OLD; /* a rendezvous has no old items */
}

int thrum_chan_init_with(thrum_chan *public, const thrum_chan_opts *o)
{
	struct chan *c = of(public);
	size_t bytes = 0;

	if (!makes_sense(o))
		return -EINVAL;
	if (o->capacity != THRUM_CHAN_UNBOUNDED && __builtin_mul_overflow(o->item_bytes, o->capacity, &bytes))
		return -EINVAL;
	memset(c, 0, sizeof *c);
	th_lock_init(&c->lock);
	c->overflow = (uint8_t)o->overflow;
	c->item_bytes = o->item_bytes;
	c->capacity = o->capacity;
	c->room = bytes ? o->capacity : 0;
	c->drop = o->drop;
	c->drop_arg = o->drop_arg;
	c->ring = bytes ? malloc(bytes) : NULL;
	return bytes && !c->ring ? -ENOMEM : 0;
}

int thrum_chan_init(thrum_chan *c, size_t item_bytes, size_t capacity)
{
	thrum_chan_opts o = { .size = sizeof o, .item_bytes = item_bytes, .capacity = capacity };

	return thrum_chan_init_with(c, &o);
}

struct drop {
	void (*drop)(void *item, void *arg);
	void *arg, *item;
};

static int run_drop(void *arg)
{
	struct drop *d = arg;

	d->drop(d->item, d->arg);
	return 0;
}

/* Without locks; on a fiber shielded, so that a drop may suspend in a cancelled scope too (G10). */
static void drop_item(const struct chan *c, void *item)
{
	struct drop d = { c->drop, c->drop_arg, item };
	struct th_fiber *f = th_self();

	if (!d.drop)
		return;
	if (f)
		(void)th_run_shielded(f, (thrum_fx){ run_drop, &d }, f->exit_code);
	else
		(void)run_drop(&d);
}

static char *place(struct chan *c, size_t i)
{
	return c->ring + (c->head + i) % c->room * c->item_bytes;
}

void thrum_chan_fini(thrum_chan *public)
{
	struct chan *c = of(public);

	TH_ASSERT(!c->senders.head && !c->receivers.head);
	for (size_t i = 0; i < c->count; i++)
		drop_item(c, place(c, i));
	free(c->ring);
	memset(c, 0, sizeof *c);
}

/* --- under the lock --- */

static void ring_put(struct chan *c, const void *item)
{
	memcpy(place(c, c->count), item, c->item_bytes);
	c->count++;
}

static void ring_take(struct chan *c, void *slot)
{
	if (slot)
		memcpy(slot, place(c, 0), c->item_bytes);
	c->head = (c->head + 1) % c->room;
	c->count--;
}

static struct th_chan_wait *claim(struct th_waitq *q, struct th_wakes *wakes)
{
	return (struct th_chan_wait *)(void *)th_wait_claim(q, wakes);
}

static int send_locked(struct chan *c, const void *item, struct th_wakes *wakes)
{
	struct th_chan_wait *r;

	if (c->closed)
		return THRUM_ECLOSED;
	r = claim(&c->receivers, wakes);
	if (r) {
		memcpy(r->slot, item, c->item_bytes);
		r->code = 0;
		return 0;
	}
	if (c->count == c->capacity)
		return -EAGAIN;
	if (c->count == c->room)
		return NEEDS_ROOM;
	ring_put(c, item);
	return 0;
}

static int recv_locked(struct chan *c, void *slot, struct th_wakes *wakes)
{
	struct th_chan_wait *s;

	if (c->count > 0) {
		ring_take(c, slot);
		s = claim(&c->senders, wakes);
		if (s)
			ring_put(c, s->item);
	} else {
		s = claim(&c->senders, wakes); /* a rendezvous */
		if (!s)
			return c->closed ? THRUM_ECLOSED : -EAGAIN;
		memcpy(slot, s->item, c->item_bytes);
	}
	if (s)
		s->code = 0;
	return 0;
}

/* --- an unbounded channel's room --- */

/* Under the lock: the items into a larger ring, in order. */
static void move_to(struct chan *c, char *ring, size_t room)
{
	size_t first = c->room - c->head; /* items up to the end of the old ring; the rest begins at its start */

	if (c->count > 0) {
		TH_DASSERT(c->count == c->room);
		memcpy(ring, place(c, 0), first * c->item_bytes);
		memcpy(ring + first * c->item_bytes, c->ring, c->head * c->item_bytes);
	}
	c->ring = ring;
	c->room = room;
	c->head = 0;
}

static int grow(struct chan *c)
{
	size_t room, larger, bytes;
	char *ring;

	th_lock(&c->lock);
	room = c->room;
	th_unlock(&c->lock);
	if (__builtin_mul_overflow(room, 2, &larger))
		return -ENOMEM;
	if (larger == 0)
		larger = ROOM_MIN;
	if (__builtin_mul_overflow(larger, c->item_bytes, &bytes))
		return -ENOMEM;
	ring = malloc(bytes);
	if (!ring)
		return -ENOMEM;
	th_lock(&c->lock);
	if (c->room == room && c->count == room) { /* else somebody made room meanwhile */
		char *old = c->ring;
		move_to(c, ring, larger);
		ring = old;
	}
	th_unlock(&c->lock);
	free(ring);
	return 0;
}

/* --- overflow --- */

/* Room for one item that goes to the channel's drop, if it has one: on the stack if the item is small. */
struct spare {
	char small[SMALL_BYTES];
	void *item;
};

static bool spare_open(struct spare *s, const struct chan *c)
{
	s->item = !c->drop ? NULL : c->item_bytes <= SMALL_BYTES ? s->small : malloc(c->item_bytes);
	return s->item || !c->drop;
}

static void spare_close(struct spare *s)
{
	if (s->item != s->small)
		free(s->item);
}

static int send_once(struct chan *c, const void *item)
{
	struct th_wakes wakes = { NULL, NULL };
	int r;

	th_lock(&c->lock);
	r = send_locked(c, item, &wakes);
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	return r;
}

/* In place of the oldest, which goes to `victim`. Returns 0 if there was room after all. */
static int push_out(struct chan *c, const void *item, void *victim)
{
	struct th_wakes wakes = { NULL, NULL };
	int r;

	th_lock(&c->lock);
	r = send_locked(c, item, &wakes);
	if (r == -EAGAIN) {
		ring_take(c, victim);
		ring_put(c, item);
		r = THRUM_CHAN_DROPPED;
	}
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	return r;
}

/* It is full, and its policy is to drop. */
static int send_dropping(struct chan *c, const void *item)
{
	struct spare spare;
	int r = THRUM_CHAN_DROPPED;

	if (!spare_open(&spare, c))
		return -ENOMEM;
	if (c->overflow == THRUM_OVERFLOW_DROP_OLD)
		r = push_out(c, item, spare.item);
	else if (spare.item)
		memcpy(spare.item, item, c->item_bytes);
	if (r == THRUM_CHAN_DROPPED)
		drop_item(c, spare.item);
	spare_close(&spare);
	return r;
}

/* --- trying and waiting --- */

/* Send without waiting; -EAGAIN if the policy is to wait. */
static int send_now(struct chan *c, const void *item)
{
	int r;

	while ((r = send_once(c, item)) == NEEDS_ROOM) {
		r = grow(c);
		if (r < 0)
			return r;
	}
	return r == -EAGAIN && c->overflow != THRUM_OVERFLOW_BLOCK ? send_dropping(c, item) : r;
}

static int recv_now(struct chan *c, void *slot)
{
	struct th_wakes wakes = { NULL, NULL };
	int r;

	th_lock(&c->lock);
	r = recv_locked(c, slot, &wakes);
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	return r;
}

static bool take(struct th_wait *wait)
{
	struct th_chan_wait *w = (struct th_chan_wait *)(void *)wait;

	if (w->item)
		w->code = send_locked(of(w->chan), w->item, &wait->wakes);
	else
		w->code = recv_locked(of(w->chan), w->slot, &wait->wakes);
	TH_DASSERT(w->code != NEEDS_ROOM); /* who can make room does not wait */
	return w->code != -EAGAIN;
}

void th_chan_wait_init(struct th_chan_wait *w, thrum_chan *public, const void *item, void *slot)
{
	struct chan *c = of(public);

	w->wait = (struct th_wait){ .lock = &c->lock, .take = take, .cancellable = true };
	w->wait.queue = item ? &c->senders : &c->receivers;
	w->chan = public;
	w->item = item;
	w->slot = slot;
}

bool th_chan_send_never_waits(thrum_chan *public)
{
	const struct chan *c = of(public);

	return c->overflow != THRUM_OVERFLOW_BLOCK || c->capacity == THRUM_CHAN_UNBOUNDED;
}

static int wait_in_chan(struct th_fiber *f, thrum_chan *c, const void *item, void *slot)
{
	struct th_chan_wait w;

	th_chan_wait_init(&w, c, item, slot);
	if (th_wait(f, &w.wait))
		return w.code;
	th_wait_leave(&w.wait);
	return -ECANCELED;
}

int thrum_chan_send(thrum_chan *c, const void *item)
{
	struct th_fiber *f = th_self();
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!item)
		return -EINVAL;
	if (th_cancel_point(f))
		return -ECANCELED;
	r = send_now(of(c), item);
	return r == -EAGAIN ? wait_in_chan(f, c, item, NULL) : r;
}

int thrum_chan_recv(thrum_chan *c, void *ret_item)
{
	struct th_fiber *f = th_self();
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!ret_item)
		return -EINVAL;
	if (th_cancel_point(f))
		return -ECANCELED;
	r = recv_now(of(c), ret_item);
	return r == -EAGAIN ? wait_in_chan(f, c, NULL, ret_item) : r;
}

int thrum_chan_try_send(thrum_chan *c, const void *item) { return item ? send_now(of(c), item) : -EINVAL; }
int thrum_chan_try_recv(thrum_chan *c, void *ret_item) { return ret_item ? recv_now(of(c), ret_item) : -EINVAL; }

/* --- many items --- */

/* Send up to n items in one section, until one does not go; *ret_n have gone. Returns what the last one returned. */
static int send_batch(struct chan *c, const char *items, size_t n, size_t *ret_n)
{
	struct th_wakes wakes = { NULL, NULL };
	size_t i = 0;
	int r = 0;

	th_lock(&c->lock);
	while (i < n && i < BATCH && (r = send_locked(c, items + i * c->item_bytes, &wakes)) == 0)
		i++;
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	*ret_n = i;
	return r;
}

static int recv_batch(struct chan *c, char *items, size_t n, size_t *ret_n)
{
	struct th_wakes wakes = { NULL, NULL };
	size_t i = 0;
	int r = 0;

	th_lock(&c->lock);
	while (i < n && i < BATCH && (r = recv_locked(c, items + i * c->item_bytes, &wakes)) == 0)
		i++;
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	*ret_n = i;
	return r;
}

static int send_all(struct th_fiber *f, thrum_chan *public, const char *items, size_t n, size_t *done)
{
	struct chan *c = of(public);
	int r = 0, dropped = 0;

	do {
		size_t went;

		if (th_cancel_point(f))
			return -ECANCELED;
		if (n == 0)
			break;
		r = send_batch(c, items + *done * c->item_bytes, n - *done, &went);
		*done += went;
		if (r == 0 || r == THRUM_ECLOSED)
			continue;
		r = send_now(c, items + *done * c->item_bytes); /* makes room, or drops */
		if (r == -EAGAIN)
			r = wait_in_chan(f, public, items + *done * c->item_bytes, NULL);
		*done += r >= 0;
		dropped |= r > 0;
	} while (r >= 0 && *done < n);
	return r < 0 ? r : dropped ? THRUM_CHAN_DROPPED : 0;
}

int thrum_chan_send_many(thrum_chan *c, const void *items, size_t n, size_t *ret_done)
{
	struct th_fiber *f = th_self();
	size_t done = 0;
	int r;

	if (!f)
		r = THRUM_ENOTFIBER;
	else if (!items && n > 0)
		r = -EINVAL;
	else
		r = send_all(f, c, items, n, &done);
	if (ret_done)
		*ret_done = done;
	return r;
}

static int recv_some(struct th_fiber *f, thrum_chan *public, char *items, size_t min, size_t max, size_t *done)
{
	struct chan *c = of(public);
	int r = 0;

	if (th_cancel_point(f))
		return -ECANCELED;
	while (r == 0 && *done < max) {
		size_t came;

		r = recv_batch(c, items + *done * c->item_bytes, max - *done, &came);
		*done += came;
		if (r == -EAGAIN && *done < min) {
			r = wait_in_chan(f, public, NULL, items + *done * c->item_bytes);
			*done += r == 0;
		}
	}
	return *done >= min ? 0 : r;
}

int thrum_chan_recv_many(thrum_chan *c, void *ret_items, size_t min, size_t max, size_t *ret_done)
{
	struct th_fiber *f = th_self();
	size_t done = 0;
	int r;

	if (!f)
		r = THRUM_ENOTFIBER;
	else if (min > max || (!ret_items && max > 0))
		r = -EINVAL;
	else
		r = recv_some(f, c, ret_items, min, max, &done);
	if (ret_done)
		*ret_done = done;
	return r;
}

/* --- the rest --- */

size_t thrum_chan_len(thrum_chan *public)
{
	struct chan *c = of(public);
	size_t count;

	th_lock(&c->lock);
	count = c->count;
	th_unlock(&c->lock);
	return count;
}

int thrum_chan_close(thrum_chan *public)
{
	struct chan *c = of(public);
	struct th_wakes wakes = { NULL, NULL };
	struct th_chan_wait *w;
	bool was_closed;

	th_lock(&c->lock);
	was_closed = c->closed;
	c->closed = true;
	while ((w = claim(&c->senders, &wakes)) != NULL || (w = claim(&c->receivers, &wakes)) != NULL)
		w->code = THRUM_ECLOSED;
	th_unlock(&c->lock);
	th_wake_all(&wakes);
	return was_closed ? THRUM_ECLOSED : 0;
}
