/* Shields: rules U1, U3, U4, U5. Masks with a restore (U2) are a later matter. Where a shielded effect is "cancelled from
 * outside", a deadline around the shield fires while it runs (th_cancel_after). */
#include "test/support/rules.h"

enum { E_FIRST = THRUM_APP(1) };

/* --- U1: nested regions, each a shield against what is outside (D9) --- */

TH_FIBER_TEST(JUMP, shield, a_cancel_from_outside_does_not_reach_in_U1) /* D9 */
{
	struct th_step a = { .ms = 50, .code = 7 };
	thrum_shield_op op = { th_step_fx(&a) };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, thrum_shield_fx(&op));

	TH_CHECK_EQ(o.code, 7);
	TH_CHECK_EQ(o.at_ms - t0, 50);
	TH_CHECK_EQ(a.reason.kind, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, shield, also_when_it_was_cancelled_before_U1)
{
	struct th_step a = { .ms = 50, .code = 7 };
	thrum_shield_op op = { th_step_fx(&a) };

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 7);
	return 0;
}

static int nap_10(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_ms(10));
}
static const thrum_fx nap_10_fx = { nap_10, NULL };

static int nested(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_shield(nap_10_fx), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	return 0;
}

static int nested_twice(void *unused)
{
	const thrum_fx fx = { nested, NULL };

	(void)unused;
	TH_CHECK_EQ(thrum_shield(fx), 0);
	return thrum_check();
}

TH_FIBER_TEST(JUMP, shield, the_end_of_an_inner_region_does_not_end_the_outer_U1)
{
	const thrum_fx fx = { nested_twice, NULL };
	thrum_shield_op op = { fx };

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 0);
	return 0;
}

static int scopes_inside(void *unused)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 10, .code = E_FIRST };
	thrum_time t0 = thrum_now();
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_timeout(thrum_never(), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b)), E_FIRST);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(thrum_race_first(th_step_fx(&a), th_step_fx(&b)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 30);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return thrum_check();
}

TH_FIBER_TEST(JUMP, shield, scopes_inside_can_be_cancelled_U1)
{
	const thrum_fx fx = { scopes_inside, NULL };
	thrum_shield_op op = { fx };

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 0);
	return 0;
}

static int see_no_cancel(void *unused)
{
	(void)unused;
	TH_CHECK(thrum_cancel_reason() == NULL);
	TH_CHECK_EQ(thrum_deadline().ns, INT64_MAX);
	return 0;
}

TH_FIBER_TEST(JUMP, shield, neither_reason_nor_deadline_are_seen_inside_U1)
{
	const thrum_fx fx = { see_no_cancel, NULL };
	thrum_shield_op op = { fx };

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 0);
	TH_CHECK_EQ(thrum_timeout(thrum_shield_fx(&op), thrum_ms(10)), 0);
	return 0;
}

/* --- U3: the end of a region --- */

static int cancel_scope(thrum_scope *s)
{
	thrum_scope_cancel(s);
	return 7;
}
THRUM_FX(cancel_scope, thrum_scope);

TH_FIBER_TEST(JUMP, shield, its_end_is_no_checkpoint_but_the_next_one_sees_the_cancel_U3)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_shield(cancel_scope_fx(&s)), 7);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_EXPLICIT);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, shield, a_cancel_that_came_meanwhile_is_seen_afterwards_U3)
{
	thrum_shield_op op = { nap_10_fx };
	struct th_outside o = th_cancel_after(5, thrum_shield_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

/* --- U4: children of a region --- */

TH_FIBER_TEST(JUMP, shield, children_inherit_it_U4)
{
	struct th_step a = { .ms = 50 }, b = { .ms = 60 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	thrum_zip_par_op zip = { fx, 2 };
	thrum_shield_op op = { thrum_zip_par_fx(&zip) };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, thrum_shield_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.at_ms - t0, 60);
	TH_CHECK_EQ(a.got + b.got, 0);
	return 0;
}

struct family {
	struct th_step a, b;
};
static int cancelled_from_inside(struct family *f)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, th_step_fx(&f->a)), 0);
	TH_CHECK_EQ(thrum_go(&s, th_step_fx(&f->b)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), 0);
	thrum_scope_cancel(&s);
	return thrum_scope_close(&s);
}
THRUM_FX(cancelled_from_inside, struct family);

TH_FIBER_TEST(JUMP, shield, a_scope_inside_reaches_its_children_U4)
{
	struct family f = { { .ms = 500 }, { .ms = 5 } };
	thrum_shield_op op = { cancelled_from_inside_fx(&f) };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, thrum_shield_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.at_ms - t0, 20);
	TH_CHECK_EQ(f.a.got, -ECANCELED);
	TH_CHECK_EQ(f.a.reason.kind, THRUM_CANCEL_EXPLICIT);
	TH_CHECK_EQ(f.b.got, 0);
	return 0;
}

/* A child that is spawned after the cancel from outside lives in the region too: it starts. */
TH_FIBER_TEST(JUMP, shield, children_spawned_after_the_cancel_start_U4)
{
	struct th_step a = { .ms = 5 }, b = { .ms = 5 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	thrum_zip_par_op zip = { fx, 2 };
	thrum_shield_op op = { thrum_zip_par_fx(&zip) };

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 0);
	TH_CHECK_EQ(a.ended + b.ended, 2);
	return 0;
}

/* --- U5: regions inside finalizers --- */

static int finalizer(th_counter *ran)
{
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_shield(nap_10_fx), 0);
	TH_CHECK_EQ(thrum_check(), 0); /* the end of that region lets nothing in */
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	th_count(ran, 1);
	return 0;
}
THRUM_FX(finalizer, th_counter);

TH_FIBER_TEST(JUMP, shield, a_region_inside_a_finalizer_lets_no_cancel_in_U5)
{
	th_counter ran = { 0 };
	thrum_bracket_op op = { thrum_succeed(), thrum_never(), finalizer_fx(&ran) };
	struct th_outside o = th_cancel_after(10, thrum_bracket_fx(&op));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(th_counted(&ran), 1);
	return 0;
}
