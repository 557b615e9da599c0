/* core/clock.c: clocks, sleeping and thrum_clock_advance's queue. See the header. */
#include "clock.h"
#include "assert.h"
#include "hooks.h"
#include "locals.h"
#include "scope.h"
#include "tsan.h"
#include <errno.h>
#include <string.h>
#include <thrum/clock.h>
#include <time.h>

/* A virtual clock starts away from zero, so that "no time set" and "the beginning" differ. */
enum { VIRTUAL_START_S = 1 };

/* Moving the clock to it was all: the mover then looks at the scopes. */
static void fire_watch(struct th_timer *t)
{
	(void)t;
}

void th_clock_init(struct th_clock *c, unsigned kind)
{
	memset(c, 0, sizeof *c);
	c->kind = kind;
	th_lock_init(&c->lock);
	th_timers_init(&c->timers);
	th_init(&c->x_now_ns, VIRTUAL_START_S * INT64_C(1000000000));
	c->advances_tail = &c->advances;
	th_init(&c->x_outside, 0);
	c->watch.fire = fire_watch;
}

bool th_clock_is_virtual(const struct th_clock *c)
{
	return c->kind != THRUM_CLOCK_REAL;
}

/* The relaxed reading: who posted an advance has announced its own sleep since, or is awake and will. */
bool th_clock_wants_rest(struct th_clock *c)
{
	return th_clock_is_virtual(c) || th_load_rlx(&c->x_advances) > 0;
}

static const thrum_local own_clock = THRUM_LOCAL_INIT("test clock", NULL);

struct th_clock *th_clock_of(struct th_fiber *f)
{
	struct th_clock *own = th_locals_get(f->task->locals, &own_clock);

	return own ? own : f->home->clock;
}

static int64_t now_on(struct th_clock *c, struct th_home *h)
{
	return th_clock_is_virtual(c) ? th_load_rlx(&c->x_now_ns) : th_backend_now(h);
}

thrum_time th_clock_now(struct th_fiber *f)
{
	return (thrum_time){ now_on(th_clock_of(f), f->home) };
}

void th_clock_arm(struct th_fiber *f, struct th_timer *t)
{
	struct th_clock *c = t->clock = th_clock_of(f);

	if (!th_clock_is_virtual(c)) {
		TH_TSAN_PRIVATE_BEGIN();
		th_timers_add(&f->home->timers, t);
		TH_TSAN_PRIVATE_END();
		return;
	}
	th_lock(&c->lock);
	th_timers_add(&c->timers, t);
	th_unlock(&c->lock);
}

void th_clock_disarm(struct th_home *h, struct th_timer *t)
{
	struct th_clock *c = t->clock;

	if (!c)
		return;
	if (!th_clock_is_virtual(c)) {
		TH_TSAN_PRIVATE_BEGIN();
		th_timers_remove(&h->timers, t);
		TH_TSAN_PRIVATE_END();
		return;
	}
	/* The lock even for a timer that is not armed: its fire() may be running on another worker. */
	th_lock(&c->lock);
	th_timers_remove(&c->timers, t);
	th_unlock(&c->lock);
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

bool th_clock_post(struct th_clock *c, struct th_advance *a)
{
	bool open;

	th_lock(&c->lock);
	open = !c->closed;
	if (open) {
		a->next = NULL;
		*c->advances_tail = a;
		c->advances_tail = &a->next;
		th_store_rlx(&c->x_advances, th_load_rlx(&c->x_advances) + 1);
	}
	th_unlock(&c->lock);
	return open;
}

void th_clock_outside(struct th_clock *c, int by)
{
	(void)th_add_rlx(&c->x_outside, (uint64_t)(int64_t)by);
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

/* Take the oldest advance out and tell whoever waits for it. It lies on the waiter's stack, and the clock that it moved may
 * lie there too: both may go as soon as the waiter is told. */
static void end_advance(struct th_clock *c, int code)
{
	struct th_advance *a = c->advances;
	struct th_fiber *fiber = a->fiber;
	th_atomic_u32 *done_word = a->done_word;

	a->code = code;
	c->advances = a->next;
	if (!c->advances)
		c->advances_tail = &c->advances;
	th_store_rlx(&c->x_advances, th_load_rlx(&c->x_advances) - 1);
	if (fiber) {
		th_wake(fiber);
	} else {
		th_store_rel(done_word, 1);
		th_word_wake(done_word, 1);
	}
}

void th_clock_close(struct th_clock *c)
{
	th_lock(&c->lock);
	c->closed = true;
	while (c->advances) {
		TH_ASSERT(!c->advances->fiber);
		end_advance(c, THRUM_ECLOSED);
	}
	th_unlock(&c->lock);
}

/* Under the lock, everything asleep: what is to be done? */
static enum th_quiescent decide(struct th_clock *c, const struct th_quiescence *q, uint64_t inflight)
{
	if (c->advances)
		return TH_CLOCK_MOVED;
	if (inflight > 0 || !th_clock_is_virtual(c))
		return TH_CLOCK_IDLE;
	if (c->kind == THRUM_CLOCK_JUMP && th_timers_next_ns(&c->timers) != INT64_MAX)
		return TH_CLOCK_MOVED;
	/* On a test clock also with timers: nobody is left to advance it (C4). */
	return q->can_be_stuck ? TH_CLOCK_STUCK : TH_CLOCK_IDLE;
}

/* To the next deadline of `c`, but not beyond `limit_ns`. True if there is none up to there. Under its lock. */
static bool step(struct th_clock *c, int64_t limit_ns)
{
	int64_t next = th_timers_next_ns(&c->timers);
	bool last = c->timers.count == 0 || next > limit_ns;

	move_to(c, last ? limit_ns : next);
	return last;
}

static void move(struct th_clock *c)
{
	struct th_advance *a = c->advances;
	bool last;

	if (!a) {
		move_to(c, th_timers_next_ns(&c->timers));
		return;
	}
	if (a->clock != c)
		th_lock(&a->clock->lock);
	last = step(a->clock, a->target_ns);
	if (a->clock != c)
		th_unlock(&a->clock->lock);
	if (last)
		end_advance(c, 0);
}

static void set_watch(struct th_clock *c, int64_t at_ns)
{
	th_timers_remove(&c->timers, &c->watch);
	if (at_ns == INT64_MAX)
		return;
	c->watch.at_ns = at_ns;
	th_timers_add(&c->timers, &c->watch);
}

enum th_quiescent th_clock_quiescent(struct th_clock *c, const struct th_quiescence *q)
{
	enum th_quiescent r = TH_CLOCK_IDLE;
	uint64_t inflight = 0;

	th_lock(&c->lock);
	/* x_outside is read last: a call that abandons its job raises it before it lowers x_inflight. */
	if (q->holds(q->arg, &inflight)) {
		set_watch(c, q->watch_ns(q->arg));
		r = decide(c, q, inflight + th_load_rlx(&c->x_outside));
	}
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
		th_clock_arm(f, &s->timer);
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
	if (t.ns <= th_clock_now(f).ns)
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
	return thrum_sleep_until(thrum_time_add(th_clock_now(f), d));
}

thrum_time thrum_now(void)
{
	struct th_fiber *f = th_self();
	struct timespec ts;
	thrum_time t;

	if (f)
		return th_clock_now(f);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	t.ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	return t;
}

/* --- a test clock for a part of the tree --- */

static struct th_clock *of(thrum_test_clock *c)
{
	return (struct th_clock *)(void *)c;
}
_Static_assert(sizeof(struct th_clock) <= sizeof(thrum_test_clock), "thrum_test_clock holds a th_clock");

void thrum_test_clock_init(thrum_test_clock *c)
{
	th_clock_init(of(c), THRUM_CLOCK_TEST);
}

int thrum_with_test_clock(thrum_test_clock *c, thrum_fx fx)
{
	return c ? thrum_local_with(&own_clock, c, fx) : -EINVAL;
}

/* On the worker's stack: the asking fiber is parked and does not count as runnable (C4). */
static void post_own(struct th_fiber *f, void *arg)
{
	th_clock_post(f->home->clock, arg);
}

int thrum_test_clock_advance(thrum_test_clock *c, thrum_dur d)
{
	struct th_advance a = { .clock = of(c), .fiber = th_self() };
	thrum_time now;

	if (!a.fiber)
		return THRUM_ENOTFIBER;
	if (!c || d.ns < 0)
		return -EINVAL;
	now.ns = th_load_rlx(&a.clock->x_now_ns);
	a.target_ns = thrum_time_add(now, d).ns;
	th_suspend(post_own, &a);
	return 0;
}

static int test_clock_op(void *arg)
{
	const thrum_test_clock_op *op = arg;

	return thrum_with_test_clock(op->clock, op->fx);
}

thrum_fx thrum_with_test_clock_fx(thrum_test_clock_op *op) { return (thrum_fx){ test_clock_op, op }; }
