/* test/core/test_own_clock.c: a test clock for a part of the program (C1, C2, C4, T4, T10), as thrum/clock.h describes it. */
#include <string.h>
#include "test/support/rules.h"

/* A child on the clock that sleeps `ms`, `times` over, and notes when it woke, on its clock. */
enum { TIMES = 10 };
struct sleeper {
	int ms, times;
	th_counter woken;
	thrum_time at[TIMES];
	int code;
	char letter;
	char *journal;
	int *n;
};
static int sleeper(struct sleeper *s)
{
	for (int i = 0; i < s->times; i++) {
		s->code = thrum_sleep(thrum_ms(s->ms));
		if (s->code < 0)
			return s->code;
		s->at[i] = thrum_now();
		th_count(&s->woken, 1);
		if (s->journal)
			s->journal[__atomic_fetch_add(s->n, 1, __ATOMIC_ACQ_REL)] = s->letter;
	}
	return 0;
}
THRUM_FX(sleeper, struct sleeper);

static thrum_test_clock *started(thrum_test_clock *c)
{
	thrum_test_clock_init(c);
	return c;
}

/* A child of `s` that runs fx on the clock. */
struct on {
	thrum_test_clock_op op;
	thrum_task task;
};
static void start_on(struct on *on, thrum_scope *s, thrum_test_clock *c, thrum_fx fx)
{
	on->op = (thrum_test_clock_op){ c, fx };
	TH_CHECK_EQ(thrum_spawn(s, &on->task, thrum_with_test_clock_fx(&on->op)), 0);
}

static int tell_time(void *ret)
{
	*(thrum_time *)ret = thrum_now();
	return 0;
}
static thrum_time time_on(thrum_test_clock *c)
{
	thrum_time t = { 0 };

	TH_CHECK_EQ(thrum_with_test_clock(c, (thrum_fx){ tell_time, &t }), 0);
	return t;
}

TH_FIBER_TEST(JUMP, own_clock, stands_still_until_it_is_moved)
{
	struct sleeper one = { .ms = 3600000, .times = 1 };
	thrum_time start = thrum_now(), own;
	thrum_test_clock c;
	thrum_scope s;
	struct on on;

	own = time_on(started(&c));
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start_on(&on, &s, &c, sleeper_fx(&one));
	TH_CHECK_EQ(thrum_sleep(thrum_min(1000)), 0); /* the runtime's clock jumps past it */
	TH_CHECK_EQ(th_counted(&one.woken), 0);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(INT64_C(3600000) * 1000000 - 1)), 0);
	TH_CHECK_EQ(th_counted(&one.woken), 0);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(1)), 0);
	TH_CHECK_EQ(th_counted(&one.woken), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_time_sub(one.at[0], own).ns, INT64_C(3600000) * 1000000);
	TH_CHECK_EQ(thrum_time_sub(time_on(&c), own).ns, INT64_C(3600000) * 1000000);
	TH_CHECK_EQ(th_ms_since(start), 60000000); /* which has not moved with it */
	return 0;
}

/* C1: what is woken runs until it waits again; sleeps that begin inside the step count. */
static int every_deadline(void *unused)
{
	char journal[32] = "";
	int n = 0;
	struct sleeper a = { .ms = 20, .times = 5, .letter = 'a', .journal = journal, .n = &n };
	struct sleeper b = { .ms = 31, .times = 3, .letter = 'b', .journal = journal, .n = &n };
	thrum_test_clock c;
	thrum_scope s;
	struct on on[2];
	thrum_time own = time_on(started(&c));

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start_on(&on[0], &s, &c, sleeper_fx(&a));
	start_on(&on[1], &s, &c, sleeper_fx(&b));
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ms(99)), 0);
	TH_CHECK(strcmp(journal, "abaabab") == 0);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(thrum_time_sub(a.at[i], own).ns, INT64_C(20000000) * (i + 1));
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ms(1)), 0);
	TH_CHECK(strcmp(journal, "abaababa") == 0);
	return thrum_scope_close(&s);
}

TH_TEST(own_clock, steps_to_each_deadline_in_order_C1)
{
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ every_deadline, NULL })), 0);
	TH_CHECK_EQ(TH_RUN(TEST, ((thrum_fx){ every_deadline, NULL })), 0);
	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ every_deadline, NULL })), 0);
}

/* C1: everything runs out at each step, also what the woken one waits for elsewhere. */
struct echo {
	thrum_chan to, from;
};
static int echo(struct echo *e)
{
	int n;

	while (thrum_chan_recv(&e->to, &n) == 0)
		if (thrum_yield() < 0 || thrum_chan_send(&e->from, &n) < 0)
			return -ECANCELED;
	return 0;
}
THRUM_FX(echo, struct echo);

struct asker {
	struct echo *echo;
	th_counter rounds;
};
static int asker(struct asker *a)
{
	for (int i = 0; i < TIMES; i++) {
		int n = i, back = -1;

		if (thrum_sleep(thrum_sec(1)) < 0 || thrum_chan_send(&a->echo->to, &n) < 0 ||
		    thrum_chan_recv(&a->echo->from, &back) < 0)
			return -ECANCELED;
		TH_CHECK_EQ(back, i);
		th_count(&a->rounds, 1);
	}
	return thrum_chan_close(&a->echo->to);
}
THRUM_FX(asker, struct asker);

TH_FIBER_TEST(REAL, own_clock, everything_in_the_runtime_runs_out_at_each_step_C1)
{
	struct echo e;
	struct asker a = { &e, { 0 } };
	thrum_test_clock c;
	thrum_scope s;
	struct on on;

	started(&c);
	TH_CHECK_EQ(thrum_chan_init(&e.to, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_chan_init(&e.from, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, echo_fx(&e)), 0); /* not on the clock */
	start_on(&on, &s, &c, asker_fx(&a));
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_sec(TIMES - 1)), 0);
	TH_CHECK_EQ(th_counted(&a.rounds), TIMES - 1);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_sec(1)), 0);
	TH_CHECK_EQ(th_counted(&a.rounds), TIMES);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&e.to);
	thrum_chan_fini(&e.from);
	return 0;
}

/* Items of a fan are on it too, on whatever worker they run. */
static int run_fan(void *sleepers)
{
	return thrum_for_each_par((struct sleeper *)sleepers, TIMES, sleeper, THRUM_UNBOUNDED);
}

TH_FIBER_TEST(REAL, own_clock, children_and_items_inherit_it_K9)
{
	struct sleeper items[TIMES];
	thrum_test_clock c;
	thrum_scope s;
	struct on on;

	started(&c);
	for (int i = 0; i < TIMES; i++)
		items[i] = (struct sleeper){ .ms = 60000, .times = 1 };
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start_on(&on, &s, &c, (thrum_fx){ run_fan, items });
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_min(1)), 0);
	for (int i = 0; i < TIMES; i++)
		TH_CHECK_EQ(th_counted(&items[i].woken), 1);
	return thrum_scope_close(&s);
}

/* --- deadlines --- */

TH_FIBER_TEST(REAL, own_clock, timeout_inside_is_on_it_T10)
{
	struct sleeper day = { .ms = 86400000, .times = 1 };
	thrum_timeout_op limited = { sleeper_fx(&day), thrum_min(1) };
	thrum_test_clock c;
	thrum_scope s;
	struct on on;

	started(&c);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start_on(&on, &s, &c, thrum_timeout_fx(&limited));
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(59999999999)), 0);
	TH_CHECK_EQ(day.code, 0);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(1)), 0);
	TH_CHECK_EQ(thrum_join(&on.task), -ETIMEDOUT);
	TH_CHECK_EQ(day.code, -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

TH_FIBER_TEST(JUMP, own_clock, deadline_around_reaches_in_T4)
{
	struct sleeper day = { .ms = 86400000, .times = 1 };
	thrum_time start = thrum_now();
	thrum_test_clock c;
	thrum_test_clock_op op = { started(&c), sleeper_fx(&day) };

	TH_CHECK_EQ(thrum_timeout(thrum_with_test_clock_fx(&op), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 5);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_min(10000)), 0); /* no timer is left behind */
	return 0;
}

struct told {
	thrum_time before, inside;
	thrum_dur limit;
	thrum_scope *around;
};
static int tell_in_scope(void *told)
{
	((struct told *)told)->inside = thrum_deadline();
	return 0;
}
static int tell_deadlines(void *arg)
{
	struct told *t = arg;

	t->before = thrum_deadline();
	return thrum_timeout((thrum_fx){ tell_in_scope, t }, t->limit);
}

TH_FIBER_TEST(JUMP, own_clock, only_deadlines_on_this_clock_are_told_T4)
{
	struct told t = { .limit = thrum_min(60) };
	thrum_time outside, own;
	thrum_test_clock c;
	thrum_scope s;

	own = time_on(started(&c));
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(1)), 0);
	outside = thrum_deadline();
	TH_CHECK_EQ(thrum_with_test_clock(&c, (thrum_fx){ tell_deadlines, &t }), 0);
	TH_CHECK_EQ(t.before.ns, INT64_MAX);
	TH_CHECK_EQ(thrum_time_sub(t.inside, own).ns, thrum_min(60).ns);
	TH_CHECK_EQ(thrum_deadline().ns, outside.ns);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int move_deadline(void *arg)
{
	struct told *t = arg;

	return thrum_scope_deadline(t->around, t->limit);
}

/* Set on one clock, moved on another, taken back on the first. */
TH_FIBER_TEST(JUMP, own_clock, deadline_stays_on_the_clock_it_was_set_on)
{
	thrum_scope s;
	struct told t = { .around = &s, .limit = thrum_min(1) };
	thrum_time start = thrum_now();
	thrum_test_clock c;

	started(&c);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_with_test_clock(&c, (thrum_fx){ move_deadline, &t }), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_min(5)), 0); /* the first one is gone */
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_sec(59)), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_with_test_clock(&c, (thrum_fx){ move_deadline, &t }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_min(2)), 0); /* nothing fires in a frame that is gone */
	TH_CHECK_EQ(th_ms_since(start), 300000);
	return 0;
}

/* --- several --- */

static int nest(void *arg)
{
	thrum_test_clock *c = arg;
	thrum_time first = thrum_now();

	TH_CHECK_EQ(thrum_test_clock_advance(&c[0], thrum_sec(2)), 0); /* its own: not counted as runnable (C4) */
	TH_CHECK_EQ(thrum_time_sub(thrum_now(), first).ns, thrum_sec(2).ns);
	TH_CHECK_EQ(thrum_test_clock_advance(&c[1], thrum_sec(30)), 0);
	TH_CHECK_EQ(thrum_time_sub(thrum_now(), first).ns, thrum_sec(2).ns);
	TH_CHECK_EQ(thrum_time_sub(time_on(&c[1]), first).ns, thrum_sec(30).ns);
	TH_CHECK_EQ(thrum_time_sub(thrum_now(), first).ns, thrum_sec(2).ns);
	return 0;
}

TH_FIBER_TEST(JUMP, own_clock, clocks_are_moved_one_by_one_and_from_inside_C4)
{
	thrum_time start = thrum_now();
	thrum_test_clock c[2];

	started(&c[0]);
	started(&c[1]);
	TH_CHECK_EQ(thrum_with_test_clock(&c[0], (thrum_fx){ nest, c }), 0);
	TH_CHECK_EQ(th_ms_since(start), 0);
	return 0;
}

/* Several fibers move the same clock: one after another, and each learns of its own. */
static int move_by_one(void *clock)
{
	return thrum_test_clock_advance(clock, thrum_ms(1));
}

TH_FIBER_TEST(REAL, own_clock, several_may_move_it)
{
	thrum_test_clock c;
	thrum_time own = time_on(started(&c));
	thrum_fx fx = { move_by_one, &c };
	long long moved;

	TH_CHECK_EQ(thrum_zip_par(fx, fx, fx), 0);
	moved = thrum_time_sub(time_on(&c), own).ns;
	TH_CHECK(moved >= 1000000 && moved <= 3000000);
	return 0;
}

/* --- the edges --- */

TH_FIBER_TEST(JUMP, own_clock, never_goes_back_and_zero_lets_everything_run_C2)
{
	struct sleeper one = { .ms = 0, .times = 3 };
	thrum_test_clock c;
	thrum_scope s;
	struct on on;

	started(&c);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(-1)), -EINVAL);
	TH_CHECK_EQ(thrum_test_clock_advance(NULL, thrum_ns(1)), -EINVAL);
	TH_CHECK_EQ(thrum_with_test_clock(NULL, thrum_succeed()), -EINVAL);
	TH_CHECK_EQ(thrum_with_test_clock(&c, (thrum_fx){ NULL, NULL }), -EINVAL);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start_on(&on, &s, &c, sleeper_fx(&one));
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ns(0)), 0);
	TH_CHECK_EQ(th_counted(&one.woken), 3);
	return thrum_scope_close(&s);
}

TH_TEST(own_clock, outside_a_fiber_is_ENOTFIBER)
{
	thrum_test_clock c;

	started(&c);
	TH_CHECK_EQ(thrum_test_clock_advance(&c, thrum_ms(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_with_test_clock(&c, thrum_succeed()), THRUM_ENOTFIBER);
}

static int sleep_for_ever(void *ret_code)
{
	thrum_test_clock c;
	struct sleeper one = { .ms = 1, .times = 1 };
	int code;

	code = thrum_with_test_clock(started(&c), sleeper_fx(&one));
	*(int *)ret_code = code;
	return code;
}

TH_TEST(own_clock, nobody_left_to_move_it_is_a_deadlock_C6)
{
	int code = 0;

	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ sleep_for_ever, &code })), -EDEADLK);
	TH_CHECK_EQ(code, -ECANCELED);
}
