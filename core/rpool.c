/* core/rpool.c: pools of resources. (core/pool.c has the runtime's own fixed blocks.)
 *
 * A pool has `max` places. A place is free, or it counts as alive and belongs to one party:
 *
 *           take                       fill                         settle
 *   FREE ──────────► EMPTY, somebody's ─────► FULL, somebody's ─────────────► FULL, idle
 *     ▲                │   ▲                       │     ▲                       │   take, or sweep
 *     └─────settle─────┘   └───────destroy─────────┘     └───────────────────────┘
 *
 * Whoever has a place to himself makes, validates or destroys what is in it without the lock (X5); nobody else
 * touches it. When he is done, settle() gives the place, full or empty, to the first who waits: an empty one is the
 * right to make one. So a failed create wakes the next waiter, who tries in his turn, and never more than `max` are
 * alive. Where somebody waits, nothing is idle or free: nobody can overtake (Q2).
 *
 * After shutdown a place that is settled empty is free for good; the section that frees the last one takes the
 * memory and claims the closers, and nobody touches the pool after it. */
#include "assert.h"
#include "clock.h"
#include "node.h"
#include "pool.h"
#include "wait.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/combine.h>
#include <thrum/pool.h>

struct place {
	struct rpool *pool;
	void *res;                    /* while it is full */
	struct place *next, *prev;    /* of the idle ones, the last one back first; next: of the free ones */
	struct place *chained;        /* of its bucket, while it is full */
	int64_t idle_since_ns;
	uint8_t at;                   /* IN_HAND, LENT, HELD, IDLE */
	bool full, bad;
};

/* LENT: the borrower may give it back by its address, or let another one do so. HELD: it comes back by itself, at the end of a
 * use or of a scope, which knows its place; several places may have the same address. */
enum { IN_HAND = 0, LENT, HELD, IDLE };

struct rpool {
	struct th_lock lock;
	bool closed;
	/* Constant. */
	int (*create)(void *ctx, void **ret_res);
	void (*destroy)(void *ctx, void *res);
	bool (*validate)(void *ctx, void *res);
	void *ctx;
	size_t max, min, bucket_mask;
	int64_t idle_ns;              /* INT64_MAX: for ever */
	/* Under the lock. */
	struct place *places, **buckets; /* one block of memory; NULL once the pool has ended */
	size_t alive, full, idle, touched; /* touched: places that were ever used */
	struct place *free, *idle_newest, *idle_oldest;
	struct th_waitq waiters, closers;
	uint64_t created, failed, destroyed;
};
_Static_assert(sizeof(struct rpool) <= sizeof(thrum_pool), "thrum_pool holds an rpool");

/* What is to be done once the lock is free; the pool may be gone by then. */
struct after {
	struct th_wakes wakes;
	void *memory;
};

struct pool_wait {
	struct th_wait wait; /* first */
	struct rpool *pool;
	struct place *place; /* written by the claimer, or by take() */
	int code;
};

static struct rpool *of(thrum_pool *p)
{
	return (struct rpool *)(void *)p;
}

/* --- opening --- */

static bool makes_sense(const thrum_pool_opts *o)
{
	return o && o->size == sizeof *o && o->create && o->max > 0 && o->min <= o->max && o->idle.ns >= 0;
}

/* The places, then a power of two of buckets, at least as many. */
static int get_memory(struct rpool *p)
{
	size_t buckets = 1, bytes;

	if (p->max > SIZE_MAX / 2 / (sizeof(struct place) + 2 * sizeof(struct place *)))
		return -ENOMEM;
	while (buckets < p->max)
		buckets *= 2;
	bytes = p->max * sizeof(struct place);
	p->places = calloc(1, bytes + buckets * sizeof(struct place *));
	if (!p->places)
		return -ENOMEM;
	p->buckets = (struct place **)(void *)(p->places + p->max);
	p->bucket_mask = buckets - 1;
	return 0;
}

int thrum_pool_init(thrum_pool *public, const thrum_pool_opts *o)
{
	struct rpool *p = of(public);

	if (!makes_sense(o))
		return -EINVAL;
	memset(p, 0, sizeof *p);
	th_lock_init(&p->lock);
	p->create = o->create;
	p->destroy = o->destroy;
	p->validate = o->validate;
	p->ctx = o->ctx;
	p->max = o->max;
	p->min = o->min;
	p->idle_ns = o->idle.ns > 0 ? o->idle.ns : INT64_MAX;
	return get_memory(p);
}

/* --- under the lock: finding, lines --- */

static struct place **bucket_of(struct rpool *p, const void *res)
{
	uint64_t h = (uint64_t)(uintptr_t)res * UINT64_C(0x9e3779b97f4a7c15); /* 2^64 / golden ratio: Knuth 6.4 */

	return &p->buckets[(h >> 32) & p->bucket_mask];
}

/* NULL: the pool does not have it there. */
static struct place *find(struct rpool *p, const void *res, int at)
{
	struct place *s = p->buckets ? *bucket_of(p, res) : NULL;

	while (s && (s->res != res || s->at != at))
		s = s->chained;
	return s;
}

static void fill(struct place *s, void *res)
{
	struct place **bucket = bucket_of(s->pool, res);

	TH_DASSERT(!s->full);
	s->res = res;
	s->full = true;
	s->bad = false;
	s->chained = *bucket;
	*bucket = s;
	s->pool->full++;
}

static void *empty(struct place *s)
{
	struct place **at = bucket_of(s->pool, s->res);

	TH_DASSERT(s->full && s->at == IN_HAND);
	while (*at != s)
		at = &(*at)->chained;
	*at = s->chained;
	s->full = false;
	s->pool->full--;
	return s->res;
}

static void idle_push(struct rpool *p, struct place *s, int64_t now_ns)
{
	s->idle_since_ns = now_ns;
	s->prev = NULL;
	s->next = p->idle_newest;
	*(s->next ? &s->next->prev : &p->idle_oldest) = s;
	p->idle_newest = s;
	s->at = IDLE;
	p->idle++;
}

static struct place *idle_remove(struct rpool *p, struct place *s)
{
	*(s->prev ? &s->prev->next : &p->idle_newest) = s->next;
	*(s->next ? &s->next->prev : &p->idle_oldest) = s->prev;
	s->at = IN_HAND;
	p->idle--;
	return s;
}

static struct place *new_place(struct rpool *p)
{
	struct place *s = p->free;

	TH_DASSERT(p->alive < p->max);
	if (s) {
		p->free = s->next;
	} else {
		s = &p->places[p->touched++];
		s->pool = p;
	}
	p->alive++;
	return s;
}

static void end_if_over(struct rpool *p, struct after *after)
{
	if (!p->closed || p->alive > 0)
		return;
	after->memory = p->places;
	p->places = NULL;
	p->buckets = NULL;
	th_wait_claim_all(&p->closers, &after->wakes);
}

/* --- under the lock: places change hands --- */

static int take_locked(struct rpool *p, struct place **ret_place)
{
	if (p->closed)
		return THRUM_ECLOSED;
	if (p->idle_newest)
		*ret_place = idle_remove(p, p->idle_newest);
	else if (p->alive < p->max)
		*ret_place = new_place(p);
	else
		return -EAGAIN;
	return 0;
}

/* A place that its party has done with. False: it has to be emptied first, and is still the caller's. */
static bool settle_locked(struct place *s, int64_t now_ns, struct after *after)
{
	struct rpool *p = s->pool;
	struct pool_wait *w;

	s->at = IN_HAND;
	if (s->full && (p->closed || s->bad))
		return false;
	w = (struct pool_wait *)(void *)th_wait_claim(&p->waiters, &after->wakes);
	if (w) {
		w->place = s;
		w->code = 0;
	} else if (s->full) {
		idle_push(p, s, now_ns);
	} else {
		s->next = p->free;
		p->free = s;
		p->alive--;
		end_if_over(p, after);
	}
	return true;
}

/* --- without the lock, with a place to oneself --- */

static void finish(const struct after *after)
{
	free(after->memory);
	th_wake_all(&after->wakes);
}

static int64_t now_ns(struct th_fiber *f, const struct rpool *p)
{
	return f && p->idle_ns < INT64_MAX ? th_clock_now(f).ns : 0;
}

struct destroy {
	struct rpool *pool;
	void *res;
};

static int run_destroy(void *arg)
{
	struct destroy *d = arg;

	d->pool->destroy(d->pool->ctx, d->res);
	return 0;
}

/* It leaves an empty place, still the caller's. `f` is NULL on a plain thread. */
static void destroy(struct th_fiber *f, struct place *s)
{
	struct rpool *p = s->pool;
	struct destroy d = { .pool = p };

	th_lock(&p->lock);
	d.res = empty(s);
	p->destroyed++;
	th_unlock(&p->lock);
	if (p->destroy && f)
		(void)th_run_shielded(f, (thrum_fx){ run_destroy, &d }, f->exit_code);
	else if (p->destroy)
		(void)run_destroy(&d);
}

/* The caller's touch of the pool ends with it, unless he knows what keeps it. */
static void settle(struct th_fiber *f, struct place *s)
{
	struct after after = { .memory = NULL };
	struct rpool *p = s->pool;
	int64_t now = now_ns(f, p);
	bool settled;

	th_lock(&p->lock);
	settled = settle_locked(s, now, &after);
	th_unlock(&p->lock);
	finish(&after);
	if (settled)
		return;
	destroy(f, s);
	settle(f, s);
}

/* Make one in an empty place. On a code the place has gone on. */
static int create(struct th_fiber *f, struct place *s)
{
	struct rpool *p = s->pool;
	void *res = NULL;
	int code = th_cancelled(f) ? -ECANCELED : p->create(p->ctx, &res);
	bool failed = code < 0 && code != -ECANCELED;

	th_lock(&p->lock);
	if (code >= 0)
		fill(s, res);
	p->created += code >= 0;
	p->failed += failed;
	th_unlock(&p->lock);
	if (code >= 0)
		return 0;
	settle(f, s);
	return code;
}

/* Have something good in it. On a code the place has gone on. */
static int furnish(struct th_fiber *f, struct place *s)
{
	struct rpool *p = s->pool;

	if (s->full) {
		if (!p->validate || p->validate(p->ctx, s->res))
			return 0;
		if (th_cancelled(f)) { /* it may be the cancel that made it look bad: the next one will see */
			settle(f, s);
			return -ECANCELED;
		}
		destroy(f, s);
	}
	return create(f, s);
}

/* --- idle for too long --- */

static struct place *take_expired(struct rpool *p, int64_t now)
{
	struct place *s;

	th_lock(&p->lock);
	s = p->idle_oldest;
	if (s && now - s->idle_since_ns >= p->idle_ns && p->full > p->min)
		idle_remove(p, s);
	else
		s = NULL;
	th_unlock(&p->lock);
	return s;
}

/* How many were destroyed. Where somebody waits, nothing is idle, so nobody waits for this. */
static int sweep(struct th_fiber *f, struct rpool *p)
{
	struct place *s;
	int n = 0;

	if (p->idle_ns == INT64_MAX)
		return 0;
	while ((s = take_expired(p, now_ns(f, p))) != NULL) {
		destroy(f, s);
		settle(f, s);
		n += n < INT_MAX;
	}
	return n;
}

int thrum_pool_trim(thrum_pool *p)
{
	struct th_fiber *f = th_self();

	return f ? sweep(f, of(p)) : THRUM_ENOTFIBER;
}

/* --- borrowing --- */

static bool take(struct th_wait *wait)
{
	struct pool_wait *w = (struct pool_wait *)(void *)wait;

	w->code = take_locked(w->pool, &w->place);
	return w->code != -EAGAIN;
}

static int wait_for_place(struct th_fiber *f, struct rpool *p, struct place **ret_place)
{
	struct pool_wait w = {
		.wait = { .lock = &p->lock, .queue = &p->waiters, .take = take, .cancellable = true }, .pool = p,
	};

	if (th_wait(f, &w.wait)) {
		*ret_place = w.place;
		return w.code;
	}
	th_wait_leave(&w.wait);
	return -ECANCELED;
}

static void lend(struct place *s, int at)
{
	th_lock(&s->pool->lock);
	s->at = (uint8_t)at;
	th_unlock(&s->pool->lock);
}

/* LENT or HELD. */
static int borrow(struct th_fiber *f, struct rpool *p, int at, struct place **ret_place)
{
	struct place *s = NULL;
	int r;

	if (th_cancel_point(f))
		return -ECANCELED;
	(void)sweep(f, p);
	th_lock(&p->lock);
	r = take_locked(p, &s);
	th_unlock(&p->lock);
	if (r == -EAGAIN)
		r = wait_for_place(f, p, &s);
	if (r == 0)
		r = furnish(f, s);
	if (r < 0)
		return r;
	lend(s, at);
	*ret_place = s;
	return 0;
}

/* The place is borrowed, so the pool cannot end before it is settled. */
static void give_back(struct th_fiber *f, struct place *s)
{
	(void)sweep(f, s->pool);
	settle(f, s);
}

int thrum_pool_get(thrum_pool *p, void **ret_res)
{
	struct th_fiber *f = th_self();
	struct place *s;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!ret_res)
		return -EINVAL;
	r = borrow(f, of(p), LENT, &s);
	if (r == 0)
		*ret_res = s->res;
	return r;
}

int thrum_pool_put(thrum_pool *public, void *res)
{
	struct th_fiber *f = th_self();
	struct rpool *p = of(public);
	struct place *s;

	if (!f)
		return THRUM_ENOTFIBER;
	th_lock(&p->lock);
	s = find(p, res, LENT);
	if (s)
		s->at = IN_HAND; /* a second put does not find it */
	th_unlock(&p->lock);
	if (!s)
		return -EINVAL;
	give_back(f, s);
	return 0;
}

struct use {
	struct rpool *pool;
	struct place *place;
	int (*use)(void *res, void *arg);
	void *arg;
};

static int use_begin(void *arg)
{
	struct use *u = arg;

	return borrow(th_self(), u->pool, HELD, &u->place);
}

static int use_run(void *arg)
{
	struct use *u = arg;

	return u->use(u->place->res, u->arg);
}

static int use_end(void *arg)
{
	struct use *u = arg;

	give_back(th_self(), u->place);
	return 0;
}

int thrum_pool_use(thrum_pool *p, int (*use)(void *res, void *arg), void *arg)
{
	struct use u = { .pool = of(p), .use = use, .arg = arg };

	if (!th_self())
		return THRUM_ENOTFIBER;
	if (!use)
		return -EINVAL;
	return thrum_bracket_interruptible((thrum_fx){ use_begin, &u }, (thrum_fx){ use_run, &u }, (thrum_fx){ use_end, &u });
}

/* What a scope holds; a block of the runtime's. */
struct held {
	struct rpool *pool;
	struct place *place; /* NULL: not borrowed */
};

static int held_begin(void *arg)
{
	struct held *h = arg;

	return borrow(th_self(), h->pool, HELD, &h->place);
}

static int held_end(void *arg)
{
	struct th_fiber *f = th_self();
	struct held *h = arg;
	struct place *s = h->place;

	th_pool_give(f->home->records, h);
	give_back(f, s);
	return 0;
}

int thrum_pool_acquire(thrum_pool *p, void **ret_res)
{
	struct th_fiber *f = th_self();
	struct held *h;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!ret_res)
		return -EINVAL;
	h = th_pool_take(f->home->records);
	if (!h)
		return -ENOMEM;
	*h = (struct held){ .pool = of(p) };
	r = thrum_acquire_release_interruptible((thrum_fx){ held_begin, h }, (thrum_fx){ held_end, h });
	if (r >= 0)
		*ret_res = h->place->res;
	else if (!h->place)
		th_pool_give(f->home->records, h);
	return r;
}

static int use_op(void *arg)
{
	const thrum_pool_use_op *op = arg;

	return thrum_pool_use(op->pool, op->use, op->arg);
}

thrum_fx thrum_pool_use_fx(thrum_pool_use_op *op)
{
	return (thrum_fx){ use_op, op };
}

/* --- making some ahead, giving one up --- */

static int take_missing(struct rpool *p, struct place **ret_place)
{
	int r = 0;

	*ret_place = NULL;
	th_lock(&p->lock);
	if (p->closed)
		r = THRUM_ECLOSED;
	else if (p->alive < p->min)
		*ret_place = new_place(p);
	th_unlock(&p->lock);
	return r;
}

int thrum_pool_warm(thrum_pool *p)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	for (;;) {
		struct place *s;
		int r = th_cancelled(f) ? -ECANCELED : take_missing(of(p), &s);

		if (r < 0 || !s)
			return r;
		r = create(f, s);
		if (r < 0)
			return r;
		settle(f, s);
	}
}

int thrum_pool_invalidate(thrum_pool *public, void *res)
{
	struct th_fiber *f = th_self();
	struct rpool *p = of(public);
	struct place *s, *idle;

	if (!f)
		return THRUM_ENOTFIBER;
	th_lock(&p->lock);
	idle = s = find(p, res, IDLE);
	if (idle)
		idle_remove(p, idle);
	else if ((s = find(p, res, LENT)) != NULL || (s = find(p, res, HELD)) != NULL || (s = find(p, res, IN_HAND)) != NULL)
		s->bad = true; /* settle() will see */
	th_unlock(&p->lock);
	if (idle) {
		destroy(f, idle);
		settle(f, idle);
	}
	return s ? 0 : -EINVAL;
}

/* --- the end --- */

static bool begin_shutdown(struct rpool *p)
{
	struct after after = { .memory = NULL };
	struct pool_wait *w;
	bool first;

	th_lock(&p->lock);
	first = !p->closed;
	p->closed = true;
	while ((w = (struct pool_wait *)(void *)th_wait_claim(&p->waiters, &after.wakes)) != NULL)
		w->code = THRUM_ECLOSED;
	end_if_over(p, &after);
	th_unlock(&p->lock);
	finish(&after);
	return first;
}

static struct place *take_idle(struct rpool *p)
{
	struct place *s;

	th_lock(&p->lock);
	s = p->idle_newest;
	if (s)
		idle_remove(p, s);
	th_unlock(&p->lock);
	return s;
}

int thrum_pool_shutdown(thrum_pool *public)
{
	struct th_fiber *f = th_self();
	struct rpool *p = of(public);
	bool first = begin_shutdown(p);
	struct place *s;

	while ((s = take_idle(p)) != NULL) {
		destroy(f, s);
		settle(f, s);
	}
	return first ? 0 : THRUM_ECLOSED;
}

static bool is_over(struct th_wait *wait)
{
	return ((struct pool_wait *)(void *)wait)->pool->alive == 0;
}

int thrum_pool_close(thrum_pool *public)
{
	struct th_fiber *f = th_self();
	struct rpool *p = of(public);
	struct pool_wait w = { .wait = { .lock = &p->lock, .queue = &p->closers, .take = is_over }, .pool = p };
	bool over;

	(void)thrum_pool_shutdown(public);
	th_lock(&p->lock);
	over = p->alive == 0;
	th_unlock(&p->lock);
	if (over)
		return 0;
	if (!f)
		return THRUM_ENOTFIBER;
	(void)th_wait(f, &w.wait);
	return 0;
}

int thrum_pool_read(thrum_pool *public, thrum_pool_stats *ret)
{
	struct rpool *p = of(public);

	if (!ret || ret->size != sizeof *ret)
		return -EINVAL;
	th_lock(&p->lock);
	ret->alive = p->alive;
	ret->idle = p->idle;
	ret->created = p->created;
	ret->failed = p->failed;
	ret->destroyed = p->destroyed;
	th_unlock(&p->lock);
	return 0;
}
