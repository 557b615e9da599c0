/* core/hub.c: broadcast hubs: one lock, a list of subscribers with a queue each, and one line of publishers.
 *
 * An item is copied once, before the lock, into a block that all queues share; whoever lets go of it last frees it.
 * `full` counts the subscribers that would block. As long as it is 0 a publish goes to everybody in one section; else
 * the publisher stands in line, and whoever brings it down to 0, by a receive or a leave, delivers for those in line
 * until it rises again. So while somebody waits in line it is never 0: nobody overtakes (Q2), all subscribers see one
 * order, and a publisher whose wait a cancel ended has reached nobody. All in line wait for the same thing, so one
 * that leaves the line holds up nobody.
 *
 * Items are numbered. A subscriber knows which number comes next, so it sees what it has lost, by either policy and
 * exactly where, without a count that could go wrong.
 *
 * A waiting receiver's queue is empty, so there is room for the item even if a cancel takes the receiver first. */
#include "assert.h"
#include "node.h"
#include "wait.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/hub.h>

struct item {
	struct item *next;      /* among those let go of */
	uint64_t number;
	size_t refs;            /* queues that it is in; under the lock */
	bool taken;             /* somebody has received it */
	_Alignas(16) char bytes[];
};

struct hub {
	struct th_lock lock;
	bool closed;
	size_t item_bytes;
	struct sub *subs;       /* those that get items */
	size_t subscribed;      /* those that have not been unsubscribed */
	size_t full;            /* of `subs`: those that block */
	uint64_t number;        /* of the next item */
	struct th_waitq publishers;
	void (*drop)(void *item, void *arg);
	void *drop_arg;
};
_Static_assert(sizeof(struct hub) <= sizeof(thrum_hub), "thrum_hub holds a hub");

struct sub {
	struct hub *hub;
	struct sub *next, *prev;
	struct item **ring;
	size_t capacity, count, head;
	uint64_t expected;      /* number of the item after the last one received */
	uint64_t end;           /* once it is not open: the number that it did not get any more */
	struct th_waitq receivers;
	uint8_t overflow;
	bool open;              /* it is in the hub's list */
};
_Static_assert(sizeof(struct sub) <= sizeof(thrum_sub), "thrum_sub holds a sub");

/* What is to be done once the lock is free; the hub may be gone by then. */
struct after {
	struct th_wakes wakes;
	struct item *dead, **dead_tail;
	void (*drop)(void *item, void *arg);
	void *drop_arg;
};

struct hub_wait {
	struct th_wait wait;    /* first */
	struct hub *hub;
	struct sub *sub;        /* a receiver's */
	struct item *item;      /* a publisher's */
	void *slot;             /* a receiver's, and */
	size_t item_bytes;
	uint64_t missed;
	int code;               /* written by the claimer, or by take() */
	struct after after;
};

static struct hub *of(thrum_hub *h)
{
	return (struct hub *)(void *)h;
}

static struct sub *sub_of(thrum_sub *s)
{
	return (struct sub *)(void *)s;
}

/* --- opening and ending --- */

int thrum_hub_init_with(thrum_hub *public, const thrum_hub_opts *o)
{
	struct hub *h = of(public);

	if (!o || o->size != sizeof *o || o->item_bytes == 0 || o->item_bytes > SIZE_MAX - sizeof(struct item))
		return -EINVAL;
	memset(h, 0, sizeof *h);
	th_lock_init(&h->lock);
	h->item_bytes = o->item_bytes;
	h->drop = o->drop;
	h->drop_arg = o->drop_arg;
	return 0;
}

int thrum_hub_init(thrum_hub *h, size_t item_bytes)
{
	thrum_hub_opts o = { .size = sizeof o, .item_bytes = item_bytes };

	return thrum_hub_init_with(h, &o);
}

void thrum_hub_fini(thrum_hub *public)
{
	struct hub *h = of(public);

	TH_ASSERT(h->subscribed == 0);
	TH_ASSERT(!h->publishers.head);
	memset(h, 0, sizeof *h);
}

/* --- after the lock --- */

static void after_init(struct after *a, const struct hub *h)
{
	a->wakes = (struct th_wakes){ NULL, NULL };
	a->dead = NULL;
	a->dead_tail = &a->dead;
	a->drop = h->drop;
	a->drop_arg = h->drop_arg;
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

/* Free what was let go of; what nobody has taken is dropped first (G10). */
static void bury(struct after *a)
{
	struct th_fiber *f = th_self();

	while (a->dead) {
		struct item *i = a->dead;
		struct drop d = { a->drop, a->drop_arg, i->bytes };

		a->dead = i->next;
		if (d.drop && !i->taken && f)
			(void)th_run_shielded(f, (thrum_fx){ run_drop, &d }, f->exit_code);
		else if (d.drop && !i->taken)
			(void)run_drop(&d);
		free(i);
	}
	a->dead_tail = &a->dead;
}

static void finish(struct after *a)
{
	th_wake_all(&a->wakes);
	bury(a);
}

/* --- under the lock: one queue --- */

static bool blocks(const struct sub *s)
{
	return s->open && s->overflow == THRUM_OVERFLOW_BLOCK && s->count == s->capacity;
}

static void let_go(struct item *i, struct after *a)
{
	if (i->refs > 0)
		return;
	i->next = NULL;
	*a->dead_tail = i;
	a->dead_tail = &i->next;
}

static void push(struct sub *s, struct item *i)
{
	TH_DASSERT(s->count < s->capacity);
	s->ring[(s->head + s->count++) % s->capacity] = i;
	i->refs++;
	s->hub->full += blocks(s);
}

static struct item *pop(struct sub *s)
{
	struct item *i = s->ring[s->head];

	s->hub->full -= blocks(s);
	s->head = (s->head + 1) % s->capacity;
	s->count--;
	i->refs--;
	return i;
}

/* What lies between the last item received and number `next`. */
static uint64_t missed_before(struct sub *s, uint64_t next, uint64_t expected)
{
	uint64_t missed = next - s->expected;

	s->expected = expected;
	return missed;
}

static void hand_over(struct sub *s, struct item *i, struct hub_wait *to)
{
	memcpy(to->slot, i->bytes, to->item_bytes);
	to->missed = missed_before(s, i->number, i->number + 1);
	to->code = to->missed ? THRUM_SUB_MISSED : 0;
	i->taken = true;
}

static void tell_closed(struct sub *s, struct hub_wait *to)
{
	to->missed = missed_before(s, s->end, s->end);
	to->code = THRUM_ECLOSED;
}

static struct hub_wait *claim(struct th_waitq *q, struct after *a)
{
	return (struct hub_wait *)(void *)th_wait_claim(q, &a->wakes);
}

/* --- under the lock: publishing --- */

/* Does this one get it? Not one that drops new ones and is full. */
static bool give(struct sub *s, struct item *i, struct after *a)
{
	struct hub_wait *receiver = claim(&s->receivers, a);

	if (receiver) {
		hand_over(s, i, receiver);
		return true;
	}
	if (s->count == s->capacity) {
		TH_DASSERT(s->overflow != THRUM_OVERFLOW_BLOCK);
		if (s->overflow == THRUM_OVERFLOW_DROP_NEW)
			return false;
		let_go(pop(s), a);
	}
	push(s, i);
	return true;
}

/* Nobody blocks. The item is the hub's from here on. */
static int deliver(struct hub *h, struct item *i, struct after *a)
{
	int n = 0;

	i->number = h->number++;
	for (struct sub *s = h->subs; s; s = s->next)
		n += give(s, i, a) && n < INT_MAX;
	let_go(i, a); /* nobody keeps it: all who got it were waiting */
	return n;
}

static int publish_locked(struct hub *h, struct item *i, struct after *a)
{
	if (h->closed)
		return THRUM_ECLOSED;
	return h->full > 0 ? -EAGAIN : deliver(h, i, a);
}

/* There may be room: for those in line. */
static void serve(struct hub *h, struct after *a)
{
	struct hub_wait *w;

	while (h->full == 0 && (w = claim(&h->publishers, a)) != NULL)
		w->code = deliver(h, w->item, a);
}

/* --- under the lock: receiving, leaving --- */

static int recv_locked(struct sub *s, struct hub_wait *w)
{
	struct item *i;

	if (s->count == 0 && s->open)
		return -EAGAIN;
	if (s->count == 0) {
		tell_closed(s, w);
		return w->code;
	}
	i = pop(s);
	hand_over(s, i, w);
	let_go(i, &w->after);
	serve(s->hub, &w->after);
	return w->code;
}

static void leave(struct sub *s, struct after *a)
{
	struct hub *h = s->hub;
	struct hub_wait *receiver;

	h->full -= blocks(s);
	s->open = false;
	s->end = h->number;
	*(s->prev ? &s->prev->next : &h->subs) = s->next;
	if (s->next)
		s->next->prev = s->prev;
	while ((receiver = claim(&s->receivers, a)) != NULL)
		tell_closed(s, receiver);
	serve(h, a);
}

/* --- subscribing --- */

static bool join(struct sub *s)
{
	struct hub *h = s->hub;
	bool open;

	th_lock(&h->lock);
	open = !h->closed;
	if (open) {
		s->open = true;
		s->expected = h->number;
		s->next = h->subs;
		if (s->next)
			s->next->prev = s;
		h->subs = s;
		h->subscribed++;
	}
	th_unlock(&h->lock);
	return open;
}

int thrum_hub_subscribe(thrum_hub *h, thrum_sub *public, size_t capacity, unsigned overflow)
{
	struct sub *s = sub_of(public);

	if (capacity == 0 || capacity > SIZE_MAX / sizeof(struct item *) || overflow > THRUM_OVERFLOW_DROP_OLD)
		return -EINVAL;
	memset(s, 0, sizeof *s);
	s->ring = malloc(capacity * sizeof(struct item *));
	if (!s->ring)
		return -ENOMEM;
	s->hub = of(h);
	s->capacity = capacity;
	s->overflow = (uint8_t)overflow;
	if (join(s))
		return 0;
	free(s->ring);
	memset(s, 0, sizeof *s);
	return THRUM_ECLOSED;
}

int thrum_sub_close(thrum_sub *public)
{
	struct sub *s = sub_of(public);
	struct hub *h = s->hub;
	struct after after;
	bool was_open;

	after_init(&after, h);
	th_lock(&h->lock);
	was_open = s->open;
	if (was_open)
		leave(s, &after);
	th_unlock(&h->lock);
	finish(&after);
	return was_open ? 0 : THRUM_ECLOSED;
}

void thrum_hub_unsubscribe(thrum_sub *public)
{
	struct sub *s = sub_of(public);
	struct item **ring = s->ring;
	struct hub *h = s->hub;
	struct after after;

	after_init(&after, h);
	th_lock(&h->lock);
	if (s->open)
		leave(s, &after);
	while (s->count > 0)
		let_go(pop(s), &after);
	s->ring = NULL;
	h->subscribed--;
	th_unlock(&h->lock);
	free(ring);
	finish(&after);
}

/* --- trying and waiting --- */

static bool take(struct th_wait *wait)
{
	struct hub_wait *w = (struct hub_wait *)(void *)wait;

	w->code = w->item ? publish_locked(w->hub, w->item, &w->after) : recv_locked(w->sub, w);
	wait->wakes = w->after.wakes;
	return w->code != -EAGAIN;
}

static void wait_init(struct hub_wait *w, struct hub *h, struct th_waitq *queue)
{
	memset(w, 0, sizeof *w);
	w->wait = (struct th_wait){ .lock = &h->lock, .queue = queue, .take = take, .cancellable = true };
	w->hub = h;
	w->item_bytes = h->item_bytes;
	after_init(&w->after, h);
}

/* One try; then, if `f` is not NULL, a wait. */
static int try_or_wait(struct th_fiber *f, struct hub_wait *w)
{
	bool done;

	th_lock(w->wait.lock);
	done = take(&w->wait);
	th_unlock(w->wait.lock);
	th_wake_all(&w->after.wakes);
	w->after.wakes = (struct th_wakes){ NULL, NULL };
	if (!done && f && !th_wait(f, &w->wait)) {
		th_wait_leave(&w->wait);
		w->code = -ECANCELED;
	}
	return w->code;
}

static struct item *new_item(const struct hub *h, const void *bytes)
{
	struct item *i = malloc(sizeof *i + h->item_bytes);

	if (!i)
		return NULL;
	i->refs = 0;
	i->taken = false;
	memcpy(i->bytes, bytes, h->item_bytes);
	return i;
}

static int publish(struct th_fiber *f, struct hub *h, const void *bytes)
{
	struct hub_wait w;
	int r;

	wait_init(&w, h, &h->publishers);
	w.item = new_item(h, bytes);
	if (!w.item)
		return -ENOMEM;
	r = try_or_wait(f, &w);
	if (r < 0)
		free(w.item);
	bury(&w.after);
	return r;
}

int thrum_hub_publish(thrum_hub *h, const void *item)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!item)
		return -EINVAL;
	return th_cancel_point(f) ? -ECANCELED : publish(f, of(h), item);
}

int thrum_hub_try_publish(thrum_hub *h, const void *item)
{
	return item ? publish(NULL, of(h), item) : -EINVAL;
}

static int receive(struct th_fiber *f, struct sub *s, void *slot, uint64_t *ret_missed)
{
	struct hub_wait w;
	int r;

	wait_init(&w, s->hub, &s->receivers);
	w.sub = s;
	w.slot = slot;
	r = try_or_wait(f, &w);
	if (ret_missed && (r >= 0 || r == THRUM_ECLOSED))
		*ret_missed = w.missed;
	bury(&w.after);
	return r;
}

int thrum_sub_recv(thrum_sub *s, void *ret_item, uint64_t *ret_missed)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!ret_item)
		return -EINVAL;
	return th_cancel_point(f) ? -ECANCELED : receive(f, sub_of(s), ret_item, ret_missed);
}

int thrum_sub_try_recv(thrum_sub *s, void *ret_item, uint64_t *ret_missed)
{
	return ret_item ? receive(NULL, sub_of(s), ret_item, ret_missed) : -EINVAL;
}

/* --- the rest --- */

size_t thrum_sub_len(thrum_sub *public)
{
	struct sub *s = sub_of(public);
	size_t count;

	th_lock(&s->hub->lock);
	count = s->count;
	th_unlock(&s->hub->lock);
	return count;
}

int thrum_hub_close(thrum_hub *public)
{
	struct hub *h = of(public);
	struct hub_wait *publisher;
	struct after after;
	bool was_closed;

	after_init(&after, h);
	th_lock(&h->lock);
	was_closed = h->closed;
	h->closed = true;
	while ((publisher = claim(&h->publishers, &after)) != NULL)
		publisher->code = THRUM_ECLOSED;
	while (h->subs)
		leave(h->subs, &after);
	th_unlock(&h->lock);
	finish(&after);
	return was_closed ? THRUM_ECLOSED : 0;
}
