/* test/guide/guide.h: the guide's fetch_data() on the test clock, and the counts by which a test sees a leak.
 *
 * Every body enters the census and leaves it by one of three doors. A combinator that returns before a body left, or
 * that loses one, leaves `alive` above 0. The counters are atomic because bodies run on any worker; the tests read them
 * when everything has been joined. Worker count: THRUM_WORKERS decides. */
#ifndef TEST_GUIDE_H
#define TEST_GUIDE_H
#include <errno.h>
#include <thrum.h>
#include "test/support/test.h"

struct census {
	int x_started, x_finished, x_failed, x_cancelled;
	int x_alive, x_alive_max;
};

static inline void census_enter(struct census *c)
{
	__atomic_fetch_add(&c->x_started, 1, __ATOMIC_RELAXED);
	int alive = __atomic_add_fetch(&c->x_alive, 1, __ATOMIC_ACQ_REL);
	int max = __atomic_load_n(&c->x_alive_max, __ATOMIC_RELAXED);
	while (alive > max && !__atomic_compare_exchange_n(&c->x_alive_max, &max, alive, false, __ATOMIC_ACQ_REL,
							   __ATOMIC_RELAXED))
		;
}

/* Leave with `code` and pass it on. */
static inline int census_leave(struct census *c, int code)
{
	int *door = code >= 0 ? &c->x_finished : code == -ECANCELED ? &c->x_cancelled : &c->x_failed;
	__atomic_fetch_add(door, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&c->x_alive, 1, __ATOMIC_ACQ_REL);
	return code;
}

/* Exactly these bodies ended by each door, and none is still inside. */
#define CHECK_CENSUS(c, finished, failed, cancelled)                                                             \
	do {                                                                                                     \
		TH_CHECK_EQ(__atomic_load_n(&(c)->x_alive, __ATOMIC_ACQUIRE), 0);                                \
		TH_CHECK_EQ(__atomic_load_n(&(c)->x_finished, __ATOMIC_RELAXED), finished);                      \
		TH_CHECK_EQ(__atomic_load_n(&(c)->x_failed, __ATOMIC_RELAXED), failed);                          \
		TH_CHECK_EQ(__atomic_load_n(&(c)->x_cancelled, __ATOMIC_RELAXED), cancelled);                    \
		TH_CHECK_EQ(__atomic_load_n(&(c)->x_started, __ATOMIC_RELAXED), (finished) + (failed) + (cancelled)); \
	} while (0)

/* fetch_data(name, delay): sleeps, then succeeds with `value` in place, or fails with `code`. */
struct fetch {
	struct census *census;
	thrum_dur delay;
	int code;  /* what it ends with */
	int value; /* what it fetches */
	int got;   /* the value, once fetched */
};
static inline int fetch_data(struct fetch *f)
{
	census_enter(f->census);
	int code = thrum_sleep(f->delay);
	if (code < 0)
		return census_leave(f->census, code);
	if (f->code >= 0)
		f->got = f->value;
	return census_leave(f->census, f->code);
}
THRUM_FX(fetch_data, struct fetch);

/* Virtual milliseconds since `t`; a part of one fails the test. */
static inline long long ms_since(thrum_time t)
{
	long long ns = thrum_time_sub(thrum_now(), t).ns;
	TH_CHECK_EQ(ns % 1000000, 0);
	return ns / 1000000;
}

static inline int on_jump_clock(thrum_fx fx)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), fx);
}

/* The body of a test, in a fiber on the jump clock: GUIDE_TEST(suite, name) { ... return 0; } */
#define GUIDE_TEST(suite_, name_)                                                                                \
	static int fiber_##suite_##_##name_(void *unused_);                                                      \
	TH_TEST(suite_, name_)                                                                                   \
	{                                                                                                        \
		TH_CHECK_EQ(on_jump_clock((thrum_fx){ fiber_##suite_##_##name_, NULL }), 0);                     \
	}                                                                                                        \
	static int fiber_##suite_##_##name_(void *unused_ __attribute__((unused)))
#endif
