/* test/support/rules.h: what the tests of the rules share: a body that runs in a fiber on a chosen clock, virtual time,
 * counters, and a few effects.
 *
 * Worker count: never set here, THRUM_WORKERS decides. So bodies of different effects may run at the same time on
 * different threads: what they share is a counter (th_count), what one of them writes is read after it was joined. On
 * the jump clock two sleeps of different length end in order, and the second only once the first's fiber waits again. */
#ifndef TH_RULES_H
#define TH_RULES_H
#include <errno.h>
#include <thrum.h>
#include "test.h"

/* Run fx as a program of its own; its code. TH_RUN(JUMP, fx), TH_RUN(TEST, fx), TH_RUN(REAL, fx). */
#define TH_RUN(clock_, fx_) thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_##clock_), (fx_))

/* A test whose body is a fiber: TH_FIBER_TEST(JUMP, suite, name) { ...; return 0; }. TH_ONE_WORKER_TEST: always with
 * one worker, for what is only certain when no other may steal. */
#define TH_FIBER_TEST_(suite_, name_, ...)                                                                       \
	static int fiber_##suite_##_##name_(void *unused_);                                                      \
	TH_TEST(suite_, name_)                                                                                   \
	{                                                                                                        \
		const thrum_fx fx_ = { fiber_##suite_##_##name_, NULL };                                         \
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(__VA_ARGS__), fx_), 0);                                         \
	}                                                                                                        \
	static int fiber_##suite_##_##name_(void *unused_ __attribute__((unused)))
#define TH_FIBER_TEST(clock_, suite_, name_) TH_FIBER_TEST_(suite_, name_, .clock = THRUM_CLOCK_##clock_)
#define TH_ONE_WORKER_TEST(clock_, suite_, name_)                                                                \
	TH_FIBER_TEST_(suite_, name_, .clock = THRUM_CLOCK_##clock_, .workers = 1)

/* Milliseconds of the runtime's clock since `t`; on a virtual clock a part of one fails the test. */
static inline long long th_ms_since(thrum_time t)
{
	long long ns = thrum_time_sub(thrum_now(), t).ns;
	TH_CHECK_EQ(ns % 1000000, 0);
	return ns / 1000000;
}

static inline long long th_now_ms(void)
{
	return thrum_now().ns / 1000000;
}

/* Counters that several fibers touch. th_count returns the value after the addition. */
typedef struct th_counter {
	int x_value;
} th_counter;

static inline int th_count(th_counter *c, int by)
{
	return __atomic_add_fetch(&c->x_value, by, __ATOMIC_ACQ_REL);
}
static inline int th_counted(const th_counter *c)
{
	return __atomic_load_n(&c->x_value, __ATOMIC_ACQUIRE);
}
static inline void th_count_max(th_counter *c, int value)
{
	int max = th_counted(c);
	while (value > max && !__atomic_compare_exchange_n(&c->x_value, &max, value, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

/* An effect that sleeps `ms` of virtual time and ends with `code`, or with what the sleep ended with; cleanup_ms: it
 * then sleeps so long shielded, whatever happened. What it saw is read when it was joined. */
struct th_step {
	int ms, code, cleanup_ms;
	int runs, ended;       /* bodies started, bodies that left */
	int got;               /* what the last one returned */
	thrum_reason reason;   /* why it was cancelled; kind 0: it was not */
	long long at_ms;       /* th_now_ms() when it left */
};

static inline int th_nap_(void *ms)
{
	return thrum_sleep(thrum_ms(*(const int *)ms));
}
static inline int th_step(struct th_step *s)
{
	int code;

	__atomic_fetch_add(&s->runs, 1, __ATOMIC_RELAXED);
	code = s->ms > 0 ? thrum_sleep(thrum_ms(s->ms)) : 0;
	if (code == 0)
		code = s->code;
	if (thrum_cancel_reason())
		s->reason = *thrum_cancel_reason();
	if (s->cleanup_ms > 0)
		TH_CHECK_EQ(thrum_shield((thrum_fx){ th_nap_, &s->cleanup_ms }), 0);
	s->got = code;
	s->at_ms = th_now_ms();
	__atomic_fetch_add(&s->ended, 1, __ATOMIC_RELAXED);
	return code;
}
THRUM_FX(th_step, struct th_step);

/* Run `fx` in a scope that is already cancelled (explicitly); what it returned. */
static inline int th_call_cancelled(thrum_fx fx)
{
	thrum_scope s;
	int code;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	code = thrum_call(fx);
	(void)thrum_scope_close(&s);
	return code;
}

/* Run `fx`, cancelled from outside by a deadline after `ms`; what it returned, what the next checkpoint says, and when. */
struct th_outside {
	thrum_fx fx;
	int code, check;
	long long at_ms;
};
static inline int th_outside_body(struct th_outside *o)
{
	o->code = thrum_call(o->fx);
	o->check = thrum_check();
	o->at_ms = th_now_ms();
	return o->code;
}
THRUM_FX(th_outside_body, struct th_outside);

static inline struct th_outside th_cancel_after(int ms, thrum_fx fx)
{
	struct th_outside o = { fx, 0, 0, 0 };

	(void)thrum_timeout(th_outside_body_fx(&o), thrum_ms(ms));
	return o;
}

#endif
