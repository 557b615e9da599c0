/* Effects as values, then, or_else: rules E1 to E7 (of E3 the codes; the Cause is a later matter). */
#include "test/support/rules.h"
#include <string.h>

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2) };

static int bump(th_counter *c)
{
	th_count(c, 1);
	return 0;
}
THRUM_FX(bump, th_counter);

/* --- E1: sequences --- */

TH_FIBER_TEST(JUMP, effects, then_runs_in_order_and_returns_the_last_code_E1)
{
	struct th_step a = { .ms = 10, .code = 3 }, b = { .ms = 10, .code = 4 };

	TH_CHECK_EQ(thrum_then(th_step_fx(&a), th_step_fx(&b)), 4);
	TH_CHECK_EQ(b.at_ms - a.at_ms, 10);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, then_stops_at_a_failure_E1)
{
	th_counter c = { 0 };

	TH_CHECK_EQ(thrum_then(thrum_fail(E_FIRST), bump_fx(&c)), E_FIRST);
	TH_CHECK_EQ(th_counted(&c), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, sequences_run_in_the_callers_fiber_E1)
{
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	struct th_step a = { .ms = 10 }, b = { .ms = 10 };
	thrum_or_else_op op = { th_step_fx(&a), thrum_fail(E_FIRST) };

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &before), 0);
	TH_CHECK_EQ(thrum_then(thrum_or_else_fx(&op), th_step_fx(&b)), 0);
	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &after), 0);
	TH_CHECK_EQ(after.fibers, before.fibers);
	TH_CHECK_EQ(after.spawns, before.spawns);
	return 0;
}

static int cancel_scope(thrum_scope *s)
{
	thrum_scope_cancel(s);
	return 0;
}
THRUM_FX(cancel_scope, thrum_scope);

TH_FIBER_TEST(JUMP, effects, then_checks_before_the_next_effect_E1)
{
	th_counter c = { 0 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_then(cancel_scope_fx(&s), bump_fx(&c)), -ECANCELED);
	TH_CHECK_EQ(th_counted(&c), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, call_and_or_else_have_no_hidden_checkpoint_E1)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_or_else(cancel_scope_fx(&s), thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_call(thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- E2, E3: fallbacks --- */

TH_FIBER_TEST(JUMP, effects, or_else_catches_a_failure_E2)
{
	th_counter c = { 0 };

	TH_CHECK_EQ(thrum_or_else(thrum_fail(E_FIRST), bump_fx(&c)), 0);
	TH_CHECK_EQ(thrum_or_else(thrum_fail(-EIO), bump_fx(&c)), 0);
	TH_CHECK_EQ(thrum_or_else(thrum_fail(THRUM_ECLOSED), bump_fx(&c)), 0);
	TH_CHECK_EQ(th_counted(&c), 3);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, or_else_leaves_a_success_alone_E2)
{
	struct th_step a = { .code = 5 };
	th_counter c = { 0 };

	TH_CHECK_EQ(thrum_or_else(th_step_fx(&a), bump_fx(&c)), 5);
	TH_CHECK_EQ(th_counted(&c), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, or_else_does_not_catch_a_cancel_E2)
{
	th_counter c = { 0 };
	thrum_or_else_op op = { thrum_never(), bump_fx(&c) };
	struct th_outside o = th_cancel_after(10, thrum_or_else_fx(&op));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.check, -ECANCELED); /* and it is still there */
	TH_CHECK_EQ(th_counted(&c), 0);
	return 0;
}

static int die_quietly(void *unused)
{
	(void)unused;
	return THRUM_EDIED; /* what thrum_die() returns */
}

TH_FIBER_TEST(JUMP, effects, or_else_does_not_catch_a_defect_E2)
{
	th_counter c = { 0 };

	TH_CHECK_EQ(thrum_or_else((thrum_fx){ die_quietly, NULL }, bump_fx(&c)), THRUM_EDIED);
	TH_CHECK_EQ(th_counted(&c), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, success_of_the_fallback_replaces_E3)
{
	struct th_step b = { .code = 5 };

	TH_CHECK_EQ(thrum_or_else(thrum_fail(E_FIRST), th_step_fx(&b)), 5);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, failure_of_the_fallback_is_the_new_primary_E3)
{
	thrum_or_else_op inner = { thrum_fail(E_FIRST), thrum_fail(E_LATER) };

	TH_CHECK_EQ(thrum_call(thrum_or_else_fx(&inner)), E_LATER);
	TH_CHECK_EQ(thrum_or_else(thrum_or_else_fx(&inner), thrum_succeed()), 0); /* a chain goes on (M10) */
	return 0;
}

/* --- E4, E7: an effect is a value --- */

TH_FIBER_TEST(JUMP, effects, an_effect_runs_as_often_as_wanted_E4)
{
	th_counter c = { 0 };
	thrum_then_op twice = { bump_fx(&c), bump_fx(&c) };
	thrum_timeout_op limited = { thrum_then_fx(&twice), thrum_ms(10) };
	thrum_fx fx = thrum_timeout_fx(&limited);

	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_call(fx), 0);
	TH_CHECK_EQ(thrum_zip_par(fx, fx, fx), 0); /* also at once */
	TH_CHECK_EQ(th_counted(&c), 12);
	return 0;
}

static int count_and_nap(th_counter *c)
{
	th_count(c, 1);
	return thrum_sleep(thrum_ms(20));
}
THRUM_FX(count_and_nap, th_counter);

/* Its deadline counts anew each time: no state is left in the value. */
TH_FIBER_TEST(JUMP, effects, a_timeout_value_counts_from_each_start_E4)
{
	th_counter c = { 0 };
	thrum_timeout_op limited = { count_and_nap_fx(&c), thrum_ms(30) };
	thrum_fx fx = thrum_timeout_fx(&limited);

	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_call(fx), 0);
	TH_CHECK_EQ(th_counted(&c), 3);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, running_does_not_consume_or_change_a_value_E7)
{
	th_counter c = { 0 };
	const thrum_fx fx[] = { bump_fx(&c), bump_fx(&c) };
	thrum_zip_par_op zip = { fx, 2 }, zip_before = zip;
	thrum_bracket_op bracket = { bump_fx(&c), thrum_zip_par_fx(&zip), bump_fx(&c) }, bracket_before = bracket;

	TH_CHECK_EQ(thrum_call(thrum_bracket_fx(&bracket)), 0);
	TH_CHECK_EQ(thrum_call(thrum_bracket_fx(&bracket)), 0);
	TH_CHECK_EQ(memcmp(&zip, &zip_before, sizeof zip), 0);
	TH_CHECK_EQ(memcmp(&bracket, &bracket_before, sizeof bracket), 0);
	TH_CHECK_EQ(th_counted(&c), 8);
	return 0;
}

/* --- E5: depth --- */

enum { DEEP = 20000 };

static thrum_then_op then_ops[DEEP];

TH_FIBER_TEST(JUMP, effects, a_long_chain_of_then_does_not_overflow_E5)
{
	th_counter c = { 0 };
	thrum_fx chain = bump_fx(&c);

	for (int i = 0; i < DEEP; i++) { /* then(a, then(b, …)) */
		then_ops[i] = (thrum_then_op){ bump_fx(&c), chain };
		chain = thrum_then_fx(&then_ops[i]);
	}
	TH_CHECK_EQ(thrum_call(chain), 0);
	TH_CHECK_EQ(th_counted(&c), DEEP + 1);

	chain = bump_fx(&c);
	for (int i = 0; i < DEEP; i++) { /* then(then(…, b), a) */
		then_ops[i] = (thrum_then_op){ chain, bump_fx(&c) };
		chain = thrum_then_fx(&then_ops[i]);
	}
	TH_CHECK_EQ(thrum_call(chain), 0);
	TH_CHECK_EQ(th_counted(&c), 2 * (DEEP + 1));
	return 0;
}

TH_FIBER_TEST(JUMP, effects, a_long_chain_of_or_else_does_not_overflow_E5)
{
	static thrum_or_else_op ops[DEEP];
	thrum_fx chain = thrum_fail(E_FIRST);

	for (int i = 0; i < DEEP; i++) {
		ops[i] = (thrum_or_else_op){ chain, thrum_fail(THRUM_APP(i)) };
		chain = thrum_or_else_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(chain), THRUM_APP(DEEP - 1));

	chain = thrum_succeed();
	for (int i = 0; i < DEEP; i++) {
		ops[i] = (thrum_or_else_op){ thrum_fail(E_FIRST), chain };
		chain = thrum_or_else_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(chain), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, nested_combinators_of_any_kind_do_not_overflow_E5)
{
	enum { N = 500 };
	static struct {
		thrum_timeout_op timeout;
		thrum_shield_op shield;
		thrum_bracket_op bracket;
		thrum_zip_par_op zip;
		thrum_race_op race;
		thrum_fx of_zip[2], of_race[1];
	} nest[N];
	th_counter c = { 0 };
	thrum_fx fx = bump_fx(&c);

	for (int i = 0; i < N; i++) {
		nest[i].timeout = (thrum_timeout_op){ fx, thrum_sec(1) };
		nest[i].shield = (thrum_shield_op){ thrum_timeout_fx(&nest[i].timeout) };
		nest[i].bracket = (thrum_bracket_op){ bump_fx(&c), thrum_shield_fx(&nest[i].shield), bump_fx(&c) };
		nest[i].of_zip[0] = thrum_bracket_fx(&nest[i].bracket);
		nest[i].of_zip[1] = bump_fx(&c);
		nest[i].zip = (thrum_zip_par_op){ nest[i].of_zip, 2 };
		nest[i].of_race[0] = thrum_zip_par_fx(&nest[i].zip);
		nest[i].race = (thrum_race_op){ nest[i].of_race, 1, NULL };
		fx = thrum_race_fx(&nest[i].race);
	}
	TH_CHECK_EQ(thrum_call(fx), 0);
	TH_CHECK_EQ(th_counted(&c), 3 * N + 1);
	return 0;
}

/* --- E6: no function --- */

TH_FIBER_TEST(JUMP, effects, an_effect_without_a_function_is_refused_E6)
{
	const thrum_fx none = { NULL, NULL };
	th_counter c = { 0 };
	thrum_fx good = bump_fx(&c);
	const thrum_fx both[] = { good, none };
	int codes[2] = { 99, 99 };
	thrum_scope s;
	thrum_task t;
	thrum_deferred d;

	TH_CHECK_EQ(thrum_call(none), -EINVAL);
	TH_CHECK_EQ(thrum_zip_par_n(both, 2), -EINVAL);
	TH_CHECK_EQ(thrum_zip_settle_n(both, 2, codes), -EINVAL);
	TH_CHECK_EQ(thrum_race_n(both, 2), -EINVAL);
	TH_CHECK_EQ(thrum_race_first_n(both, 2, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_zip_par_n(NULL, 1), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_n(NULL, codes, 2, sizeof *codes, 1), -EINVAL);
	TH_CHECK_EQ(thrum_then(good, none), -EINVAL);
	TH_CHECK_EQ(thrum_then(none, good), -EINVAL);
	TH_CHECK_EQ(thrum_or_else(good, none), -EINVAL);
	TH_CHECK_EQ(thrum_or_else(none, good), -EINVAL);
	TH_CHECK_EQ(thrum_timeout(none, thrum_ms(1)), -EINVAL);
	TH_CHECK_EQ(thrum_bracket(good, none, good), -EINVAL);
	TH_CHECK_EQ(thrum_bracket(good, good, none), -EINVAL);
	TH_CHECK_EQ(thrum_acquire_release(good, none), -EINVAL);
	TH_CHECK_EQ(thrum_shield(none), -EINVAL);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, none), -EINVAL);
	TH_CHECK_EQ(thrum_go(&s, none), -EINVAL);
	TH_CHECK_EQ(thrum_defer(&s, &d, none), -EINVAL);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_counted(&c), 0); /* refused before anything ran */
	TH_CHECK_EQ(codes[0], 99);
	return 0;
}

TH_FIBER_TEST(JUMP, effects, a_failure_must_be_negative_E6)
{
	TH_CHECK_EQ(thrum_call(thrum_fail(E_FIRST)), E_FIRST);
	TH_CHECK_EQ(thrum_call(thrum_fail(0)), -EINVAL);
	TH_CHECK_EQ(thrum_call(thrum_fail(7)), -EINVAL);
	return 0;
}
