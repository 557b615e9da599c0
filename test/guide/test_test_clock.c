/* The guide's tests on the test clock: work in the background, time moved from a plain thread (M19-M21, M25, C1). */
#include "test/guide/guide.h"

/* Wait one second of virtual time and say how long it took. */
struct operation {
	struct census census;
	thrum_dur length, took;
};
static int operation(struct operation *o)
{
	census_enter(&o->census);
	thrum_time start = thrum_now();
	int code = thrum_sleep(o->length);
	o->took = thrum_time_sub(thrum_now(), start);
	return census_leave(&o->census, code);
}
THRUM_FX(operation, struct operation);

static thrum_rt *open_test_clock(void)
{
	thrum_rt *rt = NULL;
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	return rt;
}

static int ended(struct census *c)
{
	return __atomic_load_n(&c->x_started, __ATOMIC_ACQUIRE) - __atomic_load_n(&c->x_alive, __ATOMIC_ACQUIRE);
}

TH_TEST(guide_test_clock, an_operation_takes_exactly_one_second)
{
	struct operation o = { .length = thrum_sec(1) };
	thrum_rt *rt = open_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, operation_fx(&o)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(o.took.ns, thrum_sec(1).ns);
	CHECK_CENSUS(&o.census, 1, 0, 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* advance() returns when nothing can run any more, so the test may look: not a nanosecond early, none late. */
TH_TEST(guide_test_clock, not_a_nanosecond_early_C1)
{
	struct operation o = { .length = thrum_sec(1) };
	thrum_rt *rt = open_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, operation_fx(&o)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(0)), 0); /* lets it start */
	TH_CHECK_EQ(__atomic_load_n(&o.census.x_started, __ATOMIC_ACQUIRE), 1);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(999999999)), 0);
	TH_CHECK_EQ(ended(&o.census), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(1)), 0);
	TH_CHECK_EQ(ended(&o.census), 1);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(o.took.ns, thrum_sec(1).ns);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

struct contest {
	struct operation fast, slow;
	int winner;
};
static int contest(struct contest *k)
{
	return k->winner = thrum_race(operation_fx(&k->fast), operation_fx(&k->slow));
}
THRUM_FX(contest, struct contest);

TH_TEST(guide_test_clock, fast_wins_the_race_at_one_second)
{
	struct contest k = { { .length = thrum_sec(1) }, { .length = thrum_sec(2) }, -1 };
	thrum_rt *rt = open_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, contest_fx(&k)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), 0);
	TH_CHECK_EQ(ended(&k.slow.census), 1); /* the loser has been cancelled by now, not at two seconds */
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(k.winner, 0);
	TH_CHECK_EQ(k.fast.took.ns, thrum_sec(1).ns);
	TH_CHECK_EQ(k.slow.took.ns, thrum_sec(1).ns);
	CHECK_CENSUS(&k.fast.census, 1, 0, 0);
	CHECK_CENSUS(&k.slow.census, 0, 0, 1);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* One step over the deadline: the timeout fires at five seconds, not at six (T10). */
TH_TEST(guide_test_clock, timeout_of_five_seconds_after_advance_of_six_T10)
{
	struct operation o = { .length = thrum_sec(3600) };
	thrum_timeout_op limited = { operation_fx(&o), thrum_sec(5) };
	thrum_rt *rt = open_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, thrum_timeout_fx(&limited)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(6)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), -ETIMEDOUT);
	TH_CHECK_EQ(o.took.ns, thrum_sec(5).ns);
	CHECK_CENSUS(&o.census, 0, 0, 1);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_TEST(guide_test_clock, timeout_that_is_met_keeps_the_result)
{
	struct operation o = { .length = thrum_sec(4) };
	thrum_timeout_op limited = { operation_fx(&o), thrum_sec(5) };
	thrum_rt *rt = open_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, thrum_timeout_fx(&limited)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(6)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(o.took.ns, thrum_sec(4).ns);
	CHECK_CENSUS(&o.census, 1, 0, 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_TEST(guide_test_clock, time_does_not_go_back_C2)
{
	thrum_rt *rt = open_test_clock();

	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(-1)), -EINVAL);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}
