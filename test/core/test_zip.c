/* zip_par and zip_settle: rules Z1 to Z12; what Z7 says of values is in test_drop.c. */
#include "test/support/rules.h"

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2) };

static thrum_stats stats(void)
{
	thrum_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &st), 0);
	return st;
}

/* --- Z1: few effects --- */

TH_FIBER_TEST(JUMP, zip, of_none_succeeds_at_once_Z1)
{
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par_n(NULL, 0), 0);
	TH_CHECK_EQ(th_ms_since(t0), 0);
	return 0;
}

static int zip_of_none(void *unused)
{
	(void)unused;
	return thrum_zip_par_n(NULL, 0);
}

TH_FIBER_TEST(JUMP, zip, of_none_is_a_checkpoint_Z1)
{
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ zip_of_none, NULL }), -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, of_one_runs_in_the_caller_Z1)
{
	struct th_step a = { .ms = 10 };
	uint64_t spawns = stats().spawns;
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(stats().spawns, spawns);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, of_one_has_the_same_rules_Z1)
{
	struct th_step fails = { .ms = 10, .code = E_FIRST }, waits = { .ms = 100 };
	thrum_fx waits_fx = th_step_fx(&waits);
	thrum_zip_par_op one = { &waits_fx, 1 };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&fails)), E_FIRST);
	TH_CHECK_EQ(th_cancel_after(20, thrum_zip_par_fx(&one)).code, -ECANCELED);
	return 0;
}

/* --- Z2 --- */

TH_FIBER_TEST(JUMP, zip, results_by_index_whatever_the_order_Z2)
{
	struct th_step s[6];
	thrum_fx fx[6];
	int codes[6];

	for (int i = 0; i < 6; i++) {
		s[i] = (struct th_step){ .ms = 10 * ((i * 5) % 6 + 1), .code = THRUM_APP(i) };
		fx[i] = th_step_fx(&s[i]);
	}
	TH_CHECK_EQ(thrum_zip_settle_n(fx, 6, codes), 0);
	for (int i = 0; i < 6; i++)
		TH_CHECK_EQ(codes[i], THRUM_APP(i));
	return 0;
}

TH_FIBER_TEST(JUMP, zip, all_run_at_once_Z2)
{
	struct th_step a = { .ms = 30 }, b = { .ms = 20 }, c = { .ms = 10 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 30);
	TH_CHECK_EQ(a.ended + b.ended + c.ended, 3);
	return 0;
}

/* --- Z3: progress --- */

static int get(thrum_chan *c)
{
	int item;
	int r = thrum_chan_recv(c, &item);

	return r < 0 ? r : item;
}
THRUM_FX(get, thrum_chan);

static int put(thrum_chan *c)
{
	return thrum_chan_send(c, &(int){ 0 });
}
THRUM_FX(put, thrum_chan);

TH_FIBER_TEST(JUMP, zip, siblings_may_wait_for_each_other_Z3)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_zip_par(get_fx(&c), put_fx(&c)), 0);
	TH_CHECK_EQ(thrum_zip_par(put_fx(&c), get_fx(&c)), 0);
	TH_CHECK_EQ(thrum_zip_par(get_fx(&c), get_fx(&c), get_fx(&c), put_fx(&c), put_fx(&c), put_fx(&c)), 0);
	thrum_chan_fini(&c);
	return 0;
}

static int yield_until_set(th_counter *flag)
{
	int code = 0;

	while (code == 0 && !th_counted(flag))
		code = thrum_yield();
	return code;
}
THRUM_FX(yield_until_set, th_counter);

static int set(th_counter *flag)
{
	th_count(flag, 1);
	return 0;
}
THRUM_FX(set, th_counter);

TH_FIBER_TEST(JUMP, zip, a_yielding_child_lets_its_siblings_start_Z3)
{
	th_counter flag = { 0 };

	TH_CHECK_EQ(thrum_zip_par(yield_until_set_fx(&flag), yield_until_set_fx(&flag), set_fx(&flag)), 0);
	return 0;
}

static int spin_until_set(th_counter *flag)
{
	while (!th_counted(flag))
		;
	return 0;
}
THRUM_FX(spin_until_set, th_counter);

/* Child 0 never suspends: another worker has to steal the rest. */
TH_FIBER_TEST(JUMP, zip, siblings_are_stealable_before_child_0_runs_Z3)
{
	th_counter flag = { 0 };

	if (thrum_workers() < 2)
		return 0;
	TH_CHECK_EQ(thrum_zip_par(spin_until_set_fx(&flag), thrum_succeed(), set_fx(&flag)), 0);
	return 0;
}

/* --- Z4: fail fast (D1, M5) --- */

TH_FIBER_TEST(JUMP, zip, first_failure_at_any_index_cancels_siblings_Z4)
{
	for (int bad = 0; bad < 5; bad++) {
		struct th_step s[5];
		thrum_fx fx[5];
		thrum_time t0 = thrum_now();

		for (int i = 0; i < 5; i++) {
			s[i] = (struct th_step){ .ms = i == bad ? 10 : 500, .code = i == bad ? E_FIRST : 0 };
			fx[i] = th_step_fx(&s[i]);
		}
		TH_CHECK_EQ(thrum_zip_par_n(fx, 5), E_FIRST);
		TH_CHECK_EQ(th_ms_since(t0), 10);
		for (int i = 0; i < 5; i++) {
			TH_CHECK_EQ(s[i].ended, 1);
			TH_CHECK_EQ(s[i].got, i == bad ? E_FIRST : -ECANCELED);
		}
	}
	return 0;
}

TH_FIBER_TEST(JUMP, zip, first_in_completion_order_not_in_index_order_Z4)
{
	struct th_step a = { .ms = 20, .code = E_LATER }, b = { .ms = 10, .code = E_FIRST }, c = { .ms = 5 };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_FIRST);
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK_EQ(c.got, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, siblings_learn_who_failed_Z4)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 500 }, c = { .ms = 10, .code = E_FIRST };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_FIRST);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(a.reason.index, 2);
	TH_CHECK_EQ(a.reason.code, E_FIRST);
	TH_CHECK_EQ(b.reason.index, 2);
	TH_CHECK_EQ(c.reason.kind, 0); /* who failed was not cancelled */
	return 0;
}

/* The cancel goes out when the body fails, not when its finalizers have run. */
static int nap_100(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_ms(100));
}

static int fails_with_a_slow_finalizer(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_acquire_release(thrum_succeed(), (thrum_fx){ nap_100, NULL }), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0); /* the sibling has started when this is over */
	return E_FIRST;
}

TH_FIBER_TEST(JUMP, zip, cancel_does_not_wait_for_the_failing_childs_finalizers_Z4)
{
	struct th_step a = { .ms = 500 };
	long long t0 = th_now_ms();

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), (thrum_fx){ fails_with_a_slow_finalizer, NULL }), E_FIRST);
	TH_CHECK_EQ(a.at_ms - t0, 10);
	TH_CHECK_EQ(th_now_ms() - t0, 110);
	return 0;
}

/* --- Z5: children that had not started --- */

TH_ONE_WORKER_TEST(JUMP, zip, unstarted_child_never_runs_Z5)
{
	struct th_step a = { 0 }, b = { 0 };

	TH_CHECK_EQ(thrum_zip_par(thrum_fail(E_FIRST), th_step_fx(&a), th_step_fx(&b)), E_FIRST);
	TH_CHECK_EQ(a.runs + b.runs, 0);
	return 0;
}

/* Child 0 suspends, child 1 fails: child 2 has not started by then. */
TH_ONE_WORKER_TEST(JUMP, zip, unstarted_child_never_runs_though_others_do_Z5)
{
	struct th_step a = { .ms = 10 }, c = { .ms = 10 };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), thrum_fail(E_FIRST), th_step_fx(&c)), E_FIRST);
	TH_CHECK_EQ(a.runs, 1);
	TH_CHECK_EQ(c.runs, 0);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, zip, argument_of_an_unstarted_child_is_dropped_once_Z5)
{
	struct th_step body = { 0 };
	th_counter dropped = { 0 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, th_step_fx(&body), THRUM_SPAWN_OPTS(.drop = set_fx(&dropped))), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(body.runs, 0);
	TH_CHECK_EQ(th_counted(&dropped), 1);
	return 0;
}

/* --- Z6: which failure is the result --- */

/* Cancelled, it fails with another code on its way out. */
static int fails_in_cleanup(struct th_step *s)
{
	int code = th_step(s);

	return code == -ECANCELED ? E_LATER : code;
}
THRUM_FX(fails_in_cleanup, struct th_step);

TH_FIBER_TEST(JUMP, zip, first_failure_stays_primary_Z6)
{
	struct th_step a = { .ms = 500 }, c = { .ms = 500 };
	struct th_step b = { .ms = 10, .code = E_FIRST };

	TH_CHECK_EQ(thrum_zip_par(fails_in_cleanup_fx(&a), th_step_fx(&b), fails_in_cleanup_fx(&c)), E_FIRST);
	TH_CHECK_EQ(a.got, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, interrupts_by_its_own_cancel_are_dropped_Z6)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 500 }, c = { .ms = 10, .code = E_FIRST, .cleanup_ms = 50 };

	/* The interrupted ones end first. */
	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_FIRST);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, a_real_failure_goes_before_an_interrupt_Z6)
{
	struct th_step a = { .ms = 10, .code = -ECANCELED }, b = { .ms = 500 };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), fails_in_cleanup_fx(&b)), E_LATER);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, only_interrupts_make_an_interrupt_Z6)
{
	struct th_step a = { .ms = 10, .code = -ECANCELED }, b = { .ms = 500 };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b)), -ECANCELED);
	return 0;
}

/* --- Z8: the parent is cancelled (D3) --- */

TH_FIBER_TEST(JUMP, zip, cancelled_from_outside_cancels_and_awaits_all_Z8) /* D3 */
{
	struct th_step a = { .ms = 500, .cleanup_ms = 5 }, b = { .ms = 500, .cleanup_ms = 25 }, c = { .ms = 5 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b), th_step_fx(&c) };
	thrum_zip_par_op op = { fx, 3 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, thrum_zip_par_fx(&op));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 35);
	TH_CHECK_EQ(a.ended + b.ended + c.ended, 3);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_DEADLINE); /* the parent's reason */
	TH_CHECK_EQ(b.reason.kind, THRUM_CANCEL_DEADLINE);
	return 0;
}

static int nap_shielded(int *ms)
{
	return thrum_shield((thrum_fx){ th_nap_, ms });
}
THRUM_FX(nap_shielded, int);

TH_FIBER_TEST(JUMP, zip, success_of_all_stands_though_cancelled_Z8)
{
	int ms = 50;
	const thrum_fx fx[] = { nap_shielded_fx(&ms), thrum_succeed(), nap_shielded_fx(&ms) };
	thrum_zip_par_op op = { fx, 3 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, thrum_zip_par_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.at_ms - t0, 50);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, a_real_failure_in_cleanup_is_primary_Z8)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 500, .cleanup_ms = 10 };
	const thrum_fx fx[] = { th_step_fx(&a), fails_in_cleanup_fx(&b) };
	thrum_zip_par_op op = { fx, 2 };
	struct th_outside o = th_cancel_after(10, thrum_zip_par_fx(&op));

	TH_CHECK_EQ(o.code, E_LATER);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, started_when_already_cancelled_runs_nothing_Z8)
{
	struct th_step a = { 0 }, b = { 0 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	thrum_zip_par_op op = { fx, 2 };

	TH_CHECK_EQ(th_call_cancelled(thrum_zip_par_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(a.runs + b.runs, 0);
	return 0;
}

/* --- Z9, Z10 --- */

TH_FIBER_TEST(JUMP, zip, a_shielded_child_delays_it_Z9)
{
	int ms = 5000;
	struct th_step b = { .ms = 10, .code = E_FIRST };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(nap_shielded_fx(&ms), th_step_fx(&b)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 5000);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, a_child_that_ends_in_interrupt_fails_it_Z10)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 10, .code = -ECANCELED };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b)), -ECANCELED);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(thrum_check(), 0); /* nobody cancelled the caller */
	return 0;
}

/* --- Z11: settle --- */

TH_FIBER_TEST(JUMP, zip, settle_cancels_nobody_Z11)
{
	struct th_step a = { .ms = 100 }, b = { .ms = 10, .code = E_FIRST }, c = { .ms = 20, .code = -ECANCELED };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b), th_step_fx(&c), thrum_fail(E_LATER) };
	int codes[4] = { 99, 99, 99, 99 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_settle_n(fx, 4, codes), 0);
	TH_CHECK_EQ(th_ms_since(t0), 100);
	TH_CHECK_EQ(codes[0], 0);
	TH_CHECK_EQ(codes[1], E_FIRST);
	TH_CHECK_EQ(codes[2], -ECANCELED);
	TH_CHECK_EQ(codes[3], E_LATER);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, settle_cancelled_from_outside_still_fills_the_codes_Z11)
{
	struct th_step a = { .ms = 100 }, b = { .ms = 5, .code = E_FIRST }, c = { .ms = 5 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b), th_step_fx(&c) };
	int codes[3] = { 99, 99, 99 };
	thrum_zip_settle_op op = { fx, 3, codes };
	struct th_outside o = th_cancel_after(10, thrum_zip_settle_fx(&op));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(codes[0], -ECANCELED);
	TH_CHECK_EQ(codes[1], E_FIRST);
	TH_CHECK_EQ(codes[2], 0);
	return 0;
}

TH_FIBER_TEST(JUMP, zip, settle_of_none_succeeds_Z11)
{
	TH_CHECK_EQ(thrum_zip_settle_n(NULL, 0, NULL), 0);
	return 0;
}

/* --- Z12 --- */

static int count_slowly(th_counter *c)
{
	int code = thrum_sleep(thrum_ms(10));

	th_count(c, 1);
	return code;
}
THRUM_FX(count_slowly, th_counter);

TH_FIBER_TEST(JUMP, zip, same_effect_twice_runs_twice_Z12)
{
	th_counter c = { 0 };
	thrum_fx fx = count_slowly_fx(&c);
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(fx, fx, fx), 0);
	TH_CHECK_EQ(th_counted(&c), 3);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	return 0;
}
