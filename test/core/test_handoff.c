/* race_in and timeout_in: rules R12 and T8. The named scope takes what is still running; the caller does not wait. */
#include "test/support/rules.h"

enum { E_ONE = THRUM_APP(1), E_TWO = THRUM_APP(2) };

static thrum_scope *opened(thrum_scope *s)
{
	TH_CHECK_EQ(thrum_scope_open(s), 0);
	return s;
}

TH_FIBER_TEST(JUMP, handoff, race_in_returns_before_the_losers_have_ended_R12)
{
	struct th_step wins = { .ms = 10 }, loses = { .ms = 100, .cleanup_ms = 50 };
	thrum_fx fx[] = { th_step_fx(&loses), th_step_fx(&wins) };
	thrum_time t0 = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_race_in(opened(&s), fx, 2), 1);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(__atomic_load_n(&loses.ended, __ATOMIC_ACQUIRE), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0); /* which waits for it */
	TH_CHECK_EQ(loses.ended, 1);
	TH_CHECK_EQ(loses.reason.kind, THRUM_CANCEL_RACE_LOST);
	TH_CHECK_EQ(th_ms_since(t0), 60);
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, race_in_copies_the_array_of_effects_R12)
{
	struct th_step wins = { .ms = 10 }, loses = { .ms = 100, .cleanup_ms = 50 };
	thrum_fx fx[] = { th_step_fx(&loses), th_step_fx(&wins) };
	thrum_scope s;

	TH_CHECK_EQ(thrum_race_in(opened(&s), fx, 2), 1);
	fx[0] = fx[1] = (thrum_fx){ 0 };
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(loses.ended, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, race_in_that_all_lose_has_the_first_failure_R12)
{
	struct th_step a = { .ms = 20, .code = E_ONE }, b = { .ms = 10, .code = E_TWO };
	thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	thrum_scope s;

	TH_CHECK_EQ(thrum_race_in(opened(&s), fx, 2), E_TWO);
	TH_CHECK_EQ(thrum_last_cause()->kind, THRUM_CAUSE_BOTH);
	TH_CHECK_EQ(thrum_last_cause()->first->index, 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0); /* the caller had it */
	return 0;
}

struct racing {
	thrum_scope *scope;
	struct th_step step;
	int code;
};
static int race_of_one(struct racing *r)
{
	thrum_fx fx = th_step_fx(&r->step);

	r->code = thrum_race_in(r->scope, &fx, 1);
	return r->code < 0 ? r->code : 0;
}
THRUM_FX(race_of_one, struct racing);

TH_FIBER_TEST(JUMP, handoff, a_cancelled_caller_leaves_at_once_and_cancels_R12)
{
	struct racing r = { .step = { .ms = 100, .cleanup_ms = 50 } };
	thrum_time t0 = thrum_now();
	thrum_scope s;

	r.scope = opened(&s);
	TH_CHECK_EQ(th_cancel_after(10, race_of_one_fx(&r)).code, -ECANCELED);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(t0), 60);
	TH_CHECK_EQ(r.step.ended, 1);
	TH_CHECK_EQ(r.step.reason.kind, THRUM_CANCEL_DEADLINE); /* why the caller left */
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, cancelling_the_named_scope_ends_the_race_R12)
{
	struct racing r = { .step = { .ms = 100 } };
	thrum_scope s, outer;
	thrum_task t;

	opened(&outer);
	r.scope = opened(&s);
	TH_CHECK_EQ(thrum_spawn_with(&outer, &t, race_of_one_fx(&r), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	TH_CHECK_EQ(r.code, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, a_scope_that_takes_nothing_refuses_before_anything_starts_R12)
{
	struct th_step never = { .ms = 1 };
	thrum_fx fx = th_step_fx(&never);
	thrum_scope s;

	thrum_scope_cancel(opened(&s));
	TH_CHECK_EQ(thrum_shield((thrum_fx){ NULL, NULL }), -EINVAL);
	TH_CHECK_EQ(thrum_race_in(&s, &fx, 1), -ECANCELED);
	TH_CHECK_EQ(thrum_race_in(&s, &fx, 0), -EINVAL);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(never.runs, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, timeout_in_returns_at_its_limit_T8)
{
	struct th_step slow = { .ms = 100, .cleanup_ms = 50 };
	thrum_time t0 = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_timeout_in(opened(&s), th_step_fx(&slow), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(thrum_last_cause()->code, -ETIMEDOUT);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(t0), 60);
	TH_CHECK_EQ(slow.reason.kind, THRUM_CANCEL_DEADLINE);
	return 0;
}

TH_FIBER_TEST(JUMP, handoff, timeout_in_gives_what_came_in_time_T8)
{
	struct th_step fine = { .ms = 5 }, fails = { .ms = 5, .code = E_ONE };
	thrum_scope s;

	opened(&s);
	TH_CHECK_EQ(thrum_timeout_in(&s, th_step_fx(&fine), thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_timeout_in(&s, th_step_fx(&fails), thrum_ms(10)), E_ONE);
	TH_CHECK_EQ(thrum_last_cause()->code, E_ONE);
	TH_CHECK_EQ(thrum_timeout_in(&s, th_step_fx(&fine), thrum_ms(0)), -ETIMEDOUT); /* not started */
	TH_CHECK_EQ(fine.runs, 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(handoff, on_a_plain_thread_is_refused_X1)
{
	thrum_fx fx = thrum_succeed();
	thrum_scope s;

	TH_CHECK_EQ(thrum_race_in(&s, &fx, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_timeout_in(&s, fx, thrum_ms(1)), THRUM_ENOTFIBER);
}

/* --- K7: what comes after the caller has left --- */

static int fails_when_cancelled(struct th_step *s)
{
	int code = th_step(s);

	return code == -ECANCELED ? E_TWO : code;
}
THRUM_FX(fails_when_cancelled, struct th_step);

static void hear(const thrum_report *report, void *arg)
{
	th_count(arg, report->kind == THRUM_REPORT_UNOBSERVED_FAILURE && report->code == E_TWO ? 1 : 100);
}

static int time_out_a_failure(void *unused)
{
	struct th_step slow = { .ms = 100, .cleanup_ms = 50 };
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_timeout_in(opened(&s), fails_when_cancelled_fx(&slow), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(handoff, a_late_failure_is_reported_when_the_named_scope_closes_K7)
{
	th_counter heard = { 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .observe = hear, .observe_arg = &heard),
			      (thrum_fx){ time_out_a_failure, NULL }), 0);
	TH_CHECK_EQ(th_counted(&heard), 1);
}

static int fail_in_time(void *unused)
{
	struct th_step fails = { .ms = 5, .code = E_TWO };
	thrum_fx fx = th_step_fx(&fails);
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_timeout_in(opened(&s), fx, thrum_ms(10)), E_TWO);
	TH_CHECK_EQ(thrum_race_in(&s, &fx, 1), E_TWO);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(handoff, a_failure_that_the_caller_has_is_not_reported_K7)
{
	th_counter heard = { 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .observe = hear, .observe_arg = &heard),
			      (thrum_fx){ fail_in_time, NULL }), 0);
	TH_CHECK_EQ(th_counted(&heard), 0);
}
