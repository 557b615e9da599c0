/* circuit breakers: closed, open, half open, on virtual time; which outcomes count. */
#include "test/support/rules.h"

enum { E_DOWN = THRUM_APP(1), E_NOT_FOUND = THRUM_APP(2) };

/* The service behind it. */
struct service {
	int ms, code;
	th_counter calls, inside, inside_max;
};
static int serve(struct service *s)
{
	int code = s->code, r;

	th_count(&s->calls, 1);
	th_count_max(&s->inside_max, th_count(&s->inside, 1));
	r = s->ms > 0 ? thrum_sleep(thrum_ms(s->ms)) : 0;
	th_count(&s->inside, -1);
	return r < 0 ? r : code;
}
THRUM_FX(serve, struct service);

static int call(thrum_breaker *b, int code)
{
	struct service s = { .code = code };

	return thrum_breaker_call(b, serve_fx(&s));
}

static thrum_breaker_stats stats(thrum_breaker *b)
{
	thrum_breaker_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_breaker_read(b, &st), 0);
	return st;
}

static unsigned state(thrum_breaker *b)
{
	return stats(b).state;
}

static thrum_breaker *open_breaker(thrum_breaker *b, const thrum_breaker_opts *o)
{
	TH_CHECK_EQ(thrum_breaker_init(b, o), 0);
	return b;
}

/* Opens after two failures in a row, for a second. */
static const thrum_breaker_opts TWO = { .size = sizeof TWO, .failures = 2, .cool_down = { 1000000000 } };

/* --- closed to open --- */

TH_FIBER_TEST(JUMP, breaker, opens_after_so_many_failures_in_a_row)
{
	thrum_breaker b;

	open_breaker(&b, THRUM_BREAKER_OPTS(.failures = 3));
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call(&b, 7), 7); /* the row begins anew */
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN); /* the call that opens it returns its own failure */
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
	TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, open_leaves_the_service_in_peace)
{
	struct service s = { .code = E_DOWN };
	thrum_breaker b;
	thrum_time t0 = thrum_now();

	open_breaker(&b, &TWO);
	for (int i = 0; i < 10; i++)
		TH_CHECK_EQ(thrum_breaker_call(&b, serve_fx(&s)), i < 2 ? E_DOWN : THRUM_EOPEN);
	TH_CHECK_EQ(th_counted(&s.calls), 2);
	TH_CHECK_EQ(th_ms_since(t0), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, the_defaults_are_5_failures_and_10_seconds)
{
	thrum_breaker b;

	open_breaker(&b, NULL);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(9999)), 0);
	TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(call(&b, 0), 0);
	return 0;
}

/* Half of the last 4, and not before there were 4. */
TH_FIBER_TEST(JUMP, breaker, opens_when_too_many_of_the_last_have_failed)
{
	thrum_breaker b;

	open_breaker(&b, THRUM_BREAKER_OPTS(.window = 4, .percent = 50));
	for (int i = 0; i < 9; i++) /* 1 in 4 */
		TH_CHECK_EQ(call(&b, i % 4 ? 0 : E_DOWN), i % 4 ? 0 : E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN); /* … ok ok fail fail */
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);

	open_breaker(&b, THRUM_BREAKER_OPTS(.window = 4));
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, 0), 0); /* 3 of 4 */
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, the_widest_window_is_64_calls)
{
	thrum_breaker b;

	open_breaker(&b, THRUM_BREAKER_OPTS(.window = 64, .percent = 100));
	TH_CHECK_EQ(call(&b, 0), 0);
	for (int i = 0; i < 63; i++)
		TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
	return 0;
}

/* --- half open --- */

TH_FIBER_TEST(JUMP, breaker, a_probe_that_succeeds_closes_it)
{
	thrum_breaker b;

	open_breaker(&b, &TWO);
	(void)call(&b, E_DOWN);
	(void)call(&b, E_DOWN);
	TH_CHECK_EQ(stats(&b).probe_at.ns, thrum_now().ns + 1000000000);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(999)), 0);
	TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(call(&b, 0), 0);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN); /* and the count began anew */
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, a_probe_that_fails_opens_it_for_another_cool_down)
{
	thrum_breaker b;

	open_breaker(&b, &TWO);
	(void)call(&b, E_DOWN);
	(void)call(&b, E_DOWN);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1000)), 0);
		TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN); /* one suffices */
		TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(999)), 0);
		TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
		TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	}
	TH_CHECK_EQ(stats(&b).opened, 7);
	return 0;
}

enum { CROWD = 16 };
struct caller {
	thrum_breaker *b;
	struct service *s;
	int code;
};
static int call_through(struct caller *c)
{
	c->code = thrum_breaker_call(c->b, serve_fx(c->s));
	return 0;
}
THRUM_FX(call_through, struct caller);

/* However many come at once. */
TH_FIBER_TEST(JUMP, breaker, one_probe_at_a_time)
{
	struct service down = { .code = E_DOWN }, up = { .ms = 10 };
	struct caller crowd[CROWD];
	int passed = 0;
	thrum_breaker b;

	open_breaker(&b, &TWO);
	(void)thrum_breaker_call(&b, serve_fx(&down));
	(void)thrum_breaker_call(&b, serve_fx(&down));
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	for (int i = 0; i < CROWD; i++)
		crowd[i] = (struct caller){ &b, &up, 1 };
	TH_CHECK_EQ(thrum_for_each_par(crowd, CROWD, call_through, THRUM_UNBOUNDED), 0);
	for (int i = 0; i < CROWD; i++) {
		passed += crowd[i].code == 0;
		TH_CHECK(crowd[i].code == 0 || crowd[i].code == THRUM_EOPEN);
	}
	TH_CHECK_EQ(passed, 1);
	TH_CHECK_EQ(th_counted(&up.calls), 1);
	TH_CHECK_EQ(stats(&b).refused, CROWD - 1);
	TH_CHECK_EQ(thrum_for_each_par(crowd, CROWD, call_through, THRUM_UNBOUNDED), 0); /* closed: all pass */
	TH_CHECK_EQ(th_counted(&up.calls), 1 + CROWD);
	TH_CHECK_EQ(th_counted(&up.inside_max), CROWD);
	return 0;
}

/* --- what counts --- */

/* A call that is cancelled after `ms`; its code. */
static int call_and_give_up(thrum_breaker *b, int ms)
{
	struct service slow = { .ms = 60000 };
	thrum_breaker_op op = { b, serve_fx(&slow) };
	struct th_outside o = th_cancel_after(ms, thrum_breaker_fx(&op));

	return o.code;
}

TH_FIBER_TEST(JUMP, breaker, a_cancelled_call_is_no_failure)
{
	thrum_breaker b;

	open_breaker(&b, &TWO);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(call_and_give_up(&b, 10), -ECANCELED);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(stats(&b).cancelled, 5);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call_and_give_up(&b, 10), -ECANCELED); /* nor a success: the row goes on */
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, a_cancelled_probe_leaves_its_place_to_the_next)
{
	thrum_breaker b;

	open_breaker(&b, &TWO);
	(void)call(&b, E_DOWN);
	(void)call(&b, E_DOWN);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(call_and_give_up(&b, 10), -ECANCELED);
		TH_CHECK_EQ(state(&b), THRUM_BREAKER_HALF_OPEN);
	}
	TH_CHECK_EQ(call(&b, 0), 0);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	return 0;
}

/* A time limit inside is a failure of the service, one outside a caller that gave up. */
TH_FIBER_TEST(JUMP, breaker, a_timeout_inside_counts_and_one_outside_does_not)
{
	struct service slow = { .ms = 60000 };
	thrum_timeout_op limited = { serve_fx(&slow), thrum_ms(10) };
	thrum_breaker b;
	thrum_breaker_op op = { &b, serve_fx(&slow) };

	open_breaker(&b, &TWO);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_timeout(thrum_breaker_fx(&op), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_breaker_call(&b, thrum_timeout_fx(&limited)), -ETIMEDOUT);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN);
	return 0;
}

static bool is_down(void *calls, int code)
{
	++*(int *)calls;
	return code == E_DOWN;
}

/* A failure that is not the service's is an answer of it: it ends a row, and closes a half open breaker. */
TH_FIBER_TEST(JUMP, breaker, failures_that_do_not_count_are_successes)
{
	int asked = 0;
	thrum_breaker b;

	open_breaker(&b, THRUM_BREAKER_OPTS(.failures = 2, .cool_down = thrum_sec(1), .counts = is_down,
					    .arg = &asked));
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(call(&b, E_NOT_FOUND), E_NOT_FOUND);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(call(&b, E_NOT_FOUND), E_NOT_FOUND);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	TH_CHECK_EQ(call(&b, E_DOWN), E_DOWN);
	TH_CHECK_EQ(asked, 9);
	TH_CHECK_EQ(stats(&b).failures, 3);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	TH_CHECK_EQ(call(&b, E_NOT_FOUND), E_NOT_FOUND);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	return 0;
}

/* Three calls begin while it is closed. The failing two open it; the third ends much later: a success while it is
 * open, or while a probe is under way, and changes nothing. */
TH_FIBER_TEST(JUMP, breaker, an_answer_from_an_earlier_state_changes_nothing)
{
	struct service good = { .ms = 500 }, bad = { .ms = 10, .code = E_DOWN };
	struct service better = { .ms = 1300 }, probe = { .ms = 900 };
	thrum_breaker b;
	struct caller crowd[] = { { &b, &good, 1 }, { &b, &bad, 1 }, { &b, &bad, 1 }, { &b, &better, 1 } };
	struct caller prober = { &b, &probe, 1 };
	thrum_scope s;

	open_breaker(&b, &TWO);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(thrum_go(&s, call_through_fx(&crowd[i])), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(600)), 0);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_OPEN); /* `good` ended at 500 */
	TH_CHECK_EQ(thrum_sleep(thrum_ms(410)), 0); /* 1010: the cool-down is over */
	TH_CHECK_EQ(thrum_go(&s, call_through_fx(&prober)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(400)), 0);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_HALF_OPEN); /* `better` ended at 1300 */
	TH_CHECK_EQ(call(&b, 0), THRUM_EOPEN);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(crowd[0].code + crowd[3].code + prober.code, 0);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, can_be_reset_by_hand)
{
	struct service bad = { .ms = 10, .code = E_DOWN };
	thrum_breaker b;
	struct caller late = { &b, &bad, 1 };
	thrum_scope s;

	open_breaker(&b, &TWO);
	(void)call(&b, E_DOWN);
	(void)call(&b, E_DOWN);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, call_through_fx(&late)), 0); /* a probe, that will fail */
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	thrum_breaker_reset(&b);
	TH_CHECK_EQ(call(&b, 0), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(late.code, E_DOWN);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	return 0;
}

/* --- around it --- */

TH_FIBER_TEST(JUMP, breaker, is_a_cancel_point_G3)
{
	struct service s = { .code = 0 };
	thrum_breaker b;
	thrum_breaker_op op = { &b, serve_fx(&s) };

	open_breaker(&b, &TWO);
	TH_CHECK_EQ(th_call_cancelled(thrum_breaker_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(th_counted(&s.calls), 0);
	return 0;
}

static bool not_open(void *unused, int code)
{
	(void)unused;
	return code != THRUM_EOPEN;
}

/* Retry around a breaker: it stops when the breaker opens, or goes on until it lets a probe through. */
TH_FIBER_TEST(JUMP, breaker, stands_under_a_retry_Y2)
{
	struct service s = { .code = E_DOWN };
	thrum_breaker b;
	thrum_breaker_op op = { &b, serve_fx(&s) };
	thrum_schedule often = thrum_up_to_count(thrum_spaced(thrum_ms(100)), 50);
	thrum_time t0 = thrum_now();

	open_breaker(&b, &TWO);
	TH_CHECK_EQ(thrum_retry_if(thrum_breaker_fx(&op), &often, not_open, NULL), THRUM_EOPEN);
	TH_CHECK_EQ(th_counted(&s.calls), 2);
	TH_CHECK_EQ(th_ms_since(t0), 200);
	s.code = 0;
	TH_CHECK_EQ(thrum_retry(thrum_breaker_fx(&op), &often), 0);
	TH_CHECK_EQ(th_ms_since(t0), 1100);
	return 0;
}

TH_FIBER_TEST(JUMP, breaker, misuse_has_a_code)
{
	const thrum_fx none = { NULL, NULL };
	thrum_breaker_stats st = { .size = 1 };
	thrum_breaker_opts o = { .size = 1 };
	thrum_breaker b;

	TH_CHECK_EQ(thrum_breaker_init(&b, &o), -EINVAL);
	TH_CHECK_EQ(thrum_breaker_init(&b, THRUM_BREAKER_OPTS(.window = 65)), -EINVAL);
	TH_CHECK_EQ(thrum_breaker_init(&b, THRUM_BREAKER_OPTS(.window = 5, .percent = 101)), -EINVAL);
	TH_CHECK_EQ(thrum_breaker_init(&b, THRUM_BREAKER_OPTS(.percent = 50)), -EINVAL);
	TH_CHECK_EQ(thrum_breaker_init(&b, THRUM_BREAKER_OPTS(.cool_down = thrum_ms(-1))), -EINVAL);
	open_breaker(&b, NULL);
	TH_CHECK_EQ(thrum_breaker_call(&b, none), -EINVAL);
	TH_CHECK_EQ(thrum_breaker_read(&b, &st), -EINVAL);
	TH_CHECK(thrum_strerror(THRUM_EOPEN) != thrum_strerror(-8000)); /* it has a text of its own */
	return 0;
}

TH_TEST(breaker, on_a_plain_thread_only_calls_are_refused_X1)
{
	thrum_breaker b;

	open_breaker(&b, NULL);
	TH_CHECK_EQ(thrum_breaker_call(&b, thrum_succeed()), THRUM_ENOTFIBER);
	TH_CHECK_EQ(state(&b), THRUM_BREAKER_CLOSED);
	thrum_breaker_reset(&b);
}
