/* core/clock.c: clocks, sleeping and thrum_clock_advance's queue. See the header. */
#include "clock.h"
#include "assert.h"
#include "hooks.h"
#include "node.h"
#include "tsan.h"
#include <errno.h>
#include <string.h>
#include <thrum/clock.h>
#include <time.h>

/* A virtual clock starts away from zero, so that "no time set" and "the beginning" differ. */
enum { VIRTUAL_START_S = 1 };

void th_clock_init(struct th_clock *c, unsigned kind)
{
	memset(c, 0, sizeof *c);
	c->kind = kind;
	th_lock_init(&c->lock);
	th_timers_init(&c->timers);
	th_init(&c->x_now_ns, VIRTUAL_START_S * INT64_C(1000000000));
	c->advances_tail = &c->advances;
}

bool th_clock_is_virtual(const struct th_clock *c)
{
	return c->kind != THRUM_CLOCK_REAL;
}

thrum_time th_clock_now(struct th_home *h)
{
	thrum_time t;

	t.ns = th_clock_is_virtual(h->clock) ? th_load_rlx(&h->clock->x_now_ns) : th_backend_now(h);
	return t;
}

void th_clock_arm(struct th_home *h, struct th_timer *t)
{
	if (!th_clock_is_virtual(h->clock)) {
		TH_TSAN_PRIVATE_BEGIN();
		th_timers_add(&h->timers, t);
		TH_TSAN_PRIVATE_END();
		return;
	}
	th_lock(&h->clock->lock);
	th_timers_add(&h->clock->timers, t);
	th_unlock(&h->clock->lock);
}

void th_clock_disarm(struct th_home *h, struct th_timer *t)
{
	if (!th_clock_is_virtual(h->clock)) {
		TH_TSAN_PRIVATE_BEGIN();
		th_timers_remove(&h->timers, t);
		TH_TSAN_PRIVATE_END();
		return;
	}
	/* The lock even for a timer that is not armed: its fire() may be running on another worker. */
	th_lock(&h->clock->lock);
	th_timers_remove(&h->clock->timers, t);
	th_unlock(&h->clock->lock);
}

int64_t th_clock_fire_due(struct th_home *h)
{
	struct th_timer *t;

	if (th_clock_is_virtual(h->clock) || h->timers.count == 0)
		return INT64_MAX;
	int64_t now = th_backend_now(h);
	while ((t = th_timers_take_due(&h->timers, now)) != NULL)
		t->fire(t);
	return th_timers_next_ns(&h->timers);
}

/* --- the virtual clock --- */

void th_clock_post(struct th_clock *c, struct th_advance *a)
{
	th_lock(&c->lock);
	a->next = NULL;
	*c->advances_tail = a;
	c->advances_tail = &a->next;
	th_unlock(&c->lock);
}

/* Under the lock. */
static void move_to(struct th_clock *c, int64_t to_ns)
{
	struct th_timer *t;

	if (to_ns > th_load_rlx(&c->x_now_ns))
		th_store_rlx(&c->x_now_ns, to_ns);
	while ((t = th_timers_take_due(&c->timers, th_load_rlx(&c->x_now_ns))) != NULL)
		t->fire(t);
}

static void finish_advance(struct th_clock *c, struct th_advance *a)
{
	struct th_fiber *fiber = a->fiber;
	th_atomic_u32 *done_word = a->done_word;

	move_to(c, a->target_ns);
	c->advances = a->next;
	if (!c->advances)
		c->advances_tail = &c->advances;
	/* `a` lies on the waiter's stack: it may go as soon as the waiter is told. */
	if (fiber) {
		th_wake(fiber);
	} else {
		th_store_rel(done_word, 1);
		th_word_wake(done_word, 1);
	}
}

/* Under the lock, everything asleep: what is to be done? */
static enum th_quiescent decide(struct th_clock *c, const struct th_quiescence *q, uint64_t inflight)
{
	if (c->advances)
		return TH_CLOCK_MOVED;
	if (inflight > 0)
		return TH_CLOCK_IDLE;
	if (c->kind == THRUM_CLOCK_JUMP && th_timers_next_ns(&c->timers) != INT64_MAX)
		return TH_CLOCK_MOVED;
	/* On a test clock also with timers: nobody is left to advance it (C4). */
	return q->can_be_stuck ? TH_CLOCK_STUCK : TH_CLOCK_IDLE;
}

static void move(struct th_clock *c)
{
	int64_t next = th_timers_next_ns(&c->timers);

	if (c->advances && (c->timers.count == 0 || next > c->advances->target_ns))
		finish_advance(c, c->advances);
	else
		move_to(c, next);
}

enum th_quiescent th_clock_quiescent(struct th_clock *c, const struct th_quiescence *q)
{
	enum th_quiescent r = TH_CLOCK_IDLE;
	uint64_t inflight = 0;

	th_lock(&c->lock);
	if (q->holds(q->arg, &inflight))
		r = decide(c, q, inflight);
	if (r != TH_CLOCK_IDLE)
		q->get_up(q->arg);
	if (r == TH_CLOCK_MOVED)
		move(c);
	th_unlock(&c->lock);
	return r;
}

/* --- sleeping --- */

struct sleep {
	struct th_waiter waiter;
	struct th_timer timer;
};

static void wake_sleeper(struct th_timer *t)
{
	struct sleep *s = th_container(t, struct sleep, timer);

	if (th_waiter_claim(&s->waiter, TH_WAIT_DONE))
		th_wake(s->waiter.fiber);
}

static void park_sleeper(struct th_fiber *f, void *arg)
{
	struct sleep *s = arg;

	if (th_node_arm(f, &s->waiter))
		th_clock_arm(f->home, &s->timer);
	else if (th_waiter_claim(&s->waiter, TH_WAIT_CANCELLED))
		th_wake(f);
}

int thrum_sleep_until(thrum_time t)
{
	struct th_fiber *f = th_self();
	struct sleep s = { .timer = { .at_ns = t.ns, .fire = wake_sleeper } };

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	if (t.ns <= th_clock_now(f->home).ns)
		return thrum_yield();
	th_waiter_init(&s.waiter, f);
	th_suspend(park_sleeper, &s);
	th_node_disarm(f, &s.waiter);
	th_clock_disarm(f->home, &s.timer);
	return th_waiter_cancelled(&s.waiter) ? -ECANCELED : 0;
}

int thrum_sleep(thrum_dur d)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	return thrum_sleep_until(thrum_time_add(th_clock_now(f->home), d));
}

thrum_time thrum_now(void)
{
	struct th_fiber *f = th_self();
	struct timespec ts;
	thrum_time t;

	if (f)
		return th_clock_now(f->home);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	t.ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	return t;
}
