/* test/core/test_timeout.c: deadlines: thrum_timeout, thrum_timeout_opt, thrum_scope_deadline (T1-T12). */
#include <malloc.h>
#include "test/support/rules.h"

static thrum_fx step(struct th_step *s) { return th_step_fx(s); }

/* --- T1: when it counts from --- */

TH_FIBER_TEST(JUMP, timeout, counts_from_the_start_of_the_body_not_from_building_T1)
{
	struct th_step s = { .ms = 15 };
	thrum_timeout_op op = { step(&s), thrum_ms(20) };
	thrum_fx limited = thrum_timeout_fx(&op);

	TH_CHECK_EQ(thrum_sleep(thrum_ms(100)), 0);
	TH_CHECK_EQ(thrum_call(limited), 0);
	s.ms = 25;
	thrum_time start = thrum_now();
	TH_CHECK_EQ(thrum_call(limited), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 20);
	return 0;
}

/* --- T2: expiry is a failure --- */

TH_FIBER_TEST(JUMP, timeout, expiry_is_a_failure_that_or_else_catches_T2)
{
	struct th_step slow = { .ms = 100 }, fallback = { .code = 0 };
	thrum_timeout_op op = { step(&slow), thrum_ms(10) };

	TH_CHECK_EQ(thrum_or_else(thrum_timeout_fx(&op), step(&fallback)), 0);
	TH_CHECK_EQ(fallback.runs, 1);
	TH_CHECK_EQ(slow.got, -ECANCELED);
	TH_CHECK_EQ(slow.reason.kind, THRUM_CANCEL_DEADLINE);
	return 0;
}

/* D25: a value and a timeout look different. */
TH_FIBER_TEST(JUMP, timeout, opt_tells_a_value_from_a_timeout_T2) /* D25 */
{
	struct th_step quick = { .ms = 1 }, slow = { .ms = 100 }, bad = { .code = THRUM_APP(1) };
	bool timed_out = true;

	TH_CHECK_EQ(thrum_timeout_opt(step(&quick), thrum_ms(10), &timed_out), 0);
	TH_CHECK(!timed_out);
	TH_CHECK_EQ(thrum_timeout_opt(step(&slow), thrum_ms(10), &timed_out), 0);
	TH_CHECK(timed_out);
	TH_CHECK_EQ(thrum_timeout_opt(step(&bad), thrum_ms(10), &timed_out), THRUM_APP(1));
	TH_CHECK(!timed_out);
	TH_CHECK_EQ(thrum_timeout_opt(step(&slow), thrum_ms(10), NULL), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, a_body_that_fails_with_ETIMEDOUT_itself_has_not_timed_out_T2)
{
	struct th_step s = { .code = -ETIMEDOUT };
	bool timed_out = true;

	TH_CHECK_EQ(thrum_timeout_opt(step(&s), thrum_ms(10), &timed_out), -ETIMEDOUT);
	TH_CHECK(!timed_out);
	return 0;
}

/* --- T3, T4: nesting --- */

struct nested {
	struct th_step *body;
	int inner_ms, inner_code, handler_runs;
};

static int nested_inner(struct nested *n)
{
	return n->inner_code = thrum_timeout(step(n->body), thrum_ms(n->inner_ms));
}
THRUM_FX(nested_inner, struct nested);

static int nested_handler(struct nested *n)
{
	n->handler_runs++;
	return 0;
}
THRUM_FX(nested_handler, struct nested);

static int nested_caught(struct nested *n)
{
	return thrum_or_else(nested_inner_fx(n), nested_handler_fx(n));
}
THRUM_FX(nested_caught, struct nested);

TH_FIBER_TEST(JUMP, timeout, outer_deadline_passes_inner_as_cancel_T3)
{
	struct th_step s = { .ms = 100 };
	struct nested n = { &s, 50, 0, 0 };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(nested_caught_fx(&n), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 10);
	TH_CHECK_EQ(n.inner_code, -ECANCELED);
	TH_CHECK_EQ(n.handler_runs, 0);
	TH_CHECK_EQ(s.reason.kind, THRUM_CANCEL_DEADLINE);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, inner_deadline_is_a_failure_inside_outer_T3)
{
	struct th_step s = { .ms = 100 };
	struct nested n = { &s, 10, 0, 0 };

	TH_CHECK_EQ(thrum_timeout(nested_caught_fx(&n), thrum_ms(50)), 0);
	TH_CHECK_EQ(n.inner_code, -ETIMEDOUT);
	TH_CHECK_EQ(n.handler_runs, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, of_two_that_expire_at_once_the_outermost_wins_T4)
{
	struct th_step s = { .ms = 100 };
	struct nested n = { &s, 10, 0, 0 };

	TH_CHECK_EQ(thrum_timeout(nested_caught_fx(&n), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(n.inner_code, -ECANCELED);
	TH_CHECK_EQ(n.handler_runs, 0);
	return 0;
}

/* The inner one expires first, but by the time its body has cleaned up the outer one has too. */
TH_FIBER_TEST(JUMP, timeout, outermost_wins_also_over_one_that_expired_before_T4)
{
	struct th_step s = { .ms = 100, .cleanup_ms = 50 };
	struct nested n = { &s, 10, 0, 0 };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(nested_caught_fx(&n), thrum_ms(20)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 60);
	TH_CHECK_EQ(n.inner_code, -ECANCELED);
	TH_CHECK_EQ(n.handler_runs, 0);
	return 0;
}

struct seen {
	int64_t plain, shielded, limited;
};

static int read_shielded(void *seen)
{
	((struct seen *)seen)->shielded = thrum_deadline().ns;
	return 0;
}
static int read_limited(void *seen)
{
	((struct seen *)seen)->limited = thrum_deadline().ns;
	return 0;
}
static int read_deadlines(void *arg)
{
	struct seen *seen = arg;

	seen->plain = thrum_deadline().ns;
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ read_limited, seen }, thrum_ms(90)), 0);
	return thrum_shield((thrum_fx){ read_shielded, seen });
}

TH_FIBER_TEST(JUMP, timeout, effective_deadline_is_the_nearest_up_to_a_shield_T4)
{
	struct seen seen = { 0 };
	int64_t at = thrum_time_add(thrum_now(), thrum_ms(20)).ns;

	TH_CHECK_EQ(thrum_deadline().ns, INT64_MAX);
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ read_deadlines, &seen }, thrum_ms(20)), 0);
	TH_CHECK_EQ(seen.plain, at);
	TH_CHECK_EQ(seen.limited, at); /* the outer one is nearer than 90 ms */
	TH_CHECK_EQ(seen.shielded, INT64_MAX);
	TH_CHECK_EQ(thrum_deadline().ns, INT64_MAX);
	return 0;
}

/* --- T5, T6: the ends of the range --- */

TH_FIBER_TEST(JUMP, timeout, limit_of_nothing_does_not_start_the_body_T5) /* D25 */
{
	struct th_step s = { .ms = 1 };
	bool timed_out = false;

	TH_CHECK_EQ(thrum_timeout(step(&s), thrum_ns(0)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_timeout(step(&s), thrum_ns(-1)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_timeout(step(&s), thrum_ns(INT64_MIN)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_timeout_opt(step(&s), thrum_ns(0), &timed_out), 0);
	TH_CHECK(timed_out);
	TH_CHECK_EQ(s.runs, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, infinite_or_overflowing_limit_is_no_deadline_T6)
{
	struct th_step s = { .ms = 1000 * 3600 };
	struct seen seen = { 0 };

	TH_CHECK_EQ(thrum_timeout(step(&s), THRUM_FOREVER), 0);
	TH_CHECK_EQ(thrum_timeout(step(&s), thrum_ns(INT64_MAX - 1)), 0);
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ read_limited, &seen }, thrum_ns(INT64_MAX - 1)), 0);
	TH_CHECK_EQ(seen.limited, INT64_MAX);
	return 0;
}

/* A timer in the year 2554 would let the jump clock go there. */
TH_TEST(timeout, infinite_limit_arms_no_timer_T6)
{
	thrum_timeout_op op = { thrum_never(), THRUM_FOREVER };

	TH_CHECK_EQ(TH_RUN(JUMP, thrum_timeout_fx(&op)), -EDEADLK);
}

/* --- T7: what the body comes back with --- */

static int swallow_and_return(void *code)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(100)), -ECANCELED);
	return *(const int *)code;
}

TH_FIBER_TEST(JUMP, timeout, body_that_ends_with_a_value_after_expiry_keeps_it_T7)
{
	int value = 7;
	bool timed_out = true;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ swallow_and_return, &value }, thrum_ms(10)), 7);
	TH_CHECK_EQ(thrum_timeout_opt((thrum_fx){ swallow_and_return, &value }, thrum_ms(10), &timed_out), 7);
	TH_CHECK(!timed_out);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, failure_while_tearing_down_is_primary_T7)
{
	int code = THRUM_APP(3);

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ swallow_and_return, &code }, thrum_ms(10)), THRUM_APP(3));
	return 0;
}

/* --- T8: waits for the body --- */

TH_FIBER_TEST(JUMP, timeout, waits_for_the_cleanup_of_the_body_T8)
{
	struct th_step s = { .ms = 100, .cleanup_ms = 40 };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(step(&s), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 50);
	TH_CHECK_EQ(s.ended, 1);
	return 0;
}

/* --- T9: what it costs --- */

static int count_fibers(void *ret_fibers)
{
	thrum_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_stats_read(NULL, &s), 0);
	*(uint64_t *)ret_fibers = s.fibers + s.spawns;
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, takes_no_fiber_and_no_memory_T9)
{
	uint64_t before, after;
	size_t used;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ count_fibers, &before }, thrum_sec(1)), 0);
	used = mallinfo2().uordblks;
	for (int i = 0; i < 1000; i++)
		TH_CHECK_EQ(thrum_timeout((thrum_fx){ count_fibers, &after }, thrum_sec(1)), 0);
	TH_CHECK_EQ(mallinfo2().uordblks, used); /* 0 under sanitizers */
	TH_CHECK_EQ(after, before);
	return 0;
}

/* A timer left behind would let the clock jump before the deadlock is told. */
static int meet_a_deadline(void *ret_stuck_ms)
{
	struct th_step quick = { .ms = 1 };

	TH_CHECK_EQ(thrum_timeout(th_step_fx(&quick), thrum_sec(10)), 0);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	*(long long *)ret_stuck_ms = th_now_ms() - quick.at_ms;
	return 0;
}

TH_TEST(timeout, met_deadline_leaves_no_timer_T9)
{
	long long stuck_ms = -1;

	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ meet_a_deadline, &stuck_ms })), -EDEADLK);
	TH_CHECK_EQ(stuck_ms, 0);
}

/* --- T10: whose clock --- */

struct on_test_clock {
	struct th_step body;
	th_counter ended;
};
static int expire_on_test_clock(struct on_test_clock *o)
{
	int code = thrum_timeout(step(&o->body), thrum_sec(5));

	th_count(&o->ended, 1);
	return code;
}
THRUM_FX(expire_on_test_clock, struct on_test_clock);

TH_TEST(timeout, fires_to_the_nanosecond_on_the_test_clock_T10) /* D20 */
{
	struct on_test_clock o = { .body = { .ms = 3600000 } };
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, expire_on_test_clock_fx(&o)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(4999999999)), 0);
	TH_CHECK_EQ(th_counted(&o.ended), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(1)), 0);
	TH_CHECK_EQ(th_counted(&o.ended), 1);
	TH_CHECK_EQ(thrum_handle_wait(&h), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- T11: inside shields --- */

static int limited_sleep(void *code)
{
	struct th_step s = { .ms = 100 };

	*(int *)code = thrum_timeout(step(&s), thrum_ms(10));
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, works_on_its_own_body_inside_a_shield_T11)
{
	int code = 0;
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_shield((thrum_fx){ limited_sleep, &code }), 0);
	TH_CHECK_EQ(code, -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 10);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, works_inside_a_shield_in_a_cancelled_scope_T11)
{
	thrum_scope s;
	int code = 0;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_shield((thrum_fx){ limited_sleep, &code }), 0);
	TH_CHECK_EQ(code, -ETIMEDOUT);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, in_a_cancelled_scope_does_not_start_G3)
{
	struct th_step body = { .ms = 1 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_timeout(step(&body), thrum_ms(10)), -ECANCELED);
	TH_CHECK_EQ(thrum_timeout_opt(step(&body), thrum_ms(10), NULL), -ECANCELED);
	TH_CHECK_EQ(body.runs, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- T12: moving it; and what a scope with a deadline does --- */

TH_FIBER_TEST(JUMP, timeout, deadline_may_be_moved_later_T12)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(30)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, deadline_may_be_moved_earlier_T12)
{
	thrum_time start = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(100)), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(50)), -ECANCELED);
	TH_CHECK_EQ(th_ms_since(start), 10);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, deadline_may_be_taken_away_T12)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, THRUM_FOREVER), 0);
	TH_CHECK_EQ(thrum_deadline().ns, INT64_MAX);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, deadline_that_fired_stays_fired_T12)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ns(0)), 0); /* fires at once */
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_sec(10)), -EALREADY);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_DEADLINE);
	TH_CHECK_EQ(thrum_cancel_reason()->code, -ETIMEDOUT);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

static int set_deadline(void *scope)
{
	return thrum_scope_deadline(scope, thrum_ms(1)) == -EPERM ? 0 : -EINVAL;
}

TH_FIBER_TEST(JUMP, timeout, only_the_opener_sets_a_deadline_T12)
{
	thrum_task t;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ set_deadline, &s }), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, timeout, deadline_of_a_scope_cancels_its_children_T9)
{
	struct th_step a = { .ms = 100 }, b = { .ms = 5 };
	thrum_time start = thrum_now();
	thrum_task ta, tb;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ta, step(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &tb, step(&b)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 10);
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_DEADLINE);
	TH_CHECK_EQ(b.got, 0);
	return 0;
}
