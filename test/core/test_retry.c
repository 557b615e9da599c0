/* retry and repeat: rules Y1 to Y3 and Y6 to Y8. */
#include "test/support/rules.h"
#include <string.h>

enum { E_DOWN = THRUM_APP(1), E_OTHER = THRUM_APP(2) };

/* Fails with `code` until attempt number `good`, each attempt taking `ms`; 0 = never succeeds. */
struct flaky {
	int ms, code, good, value;
	int runs;
	long long began_ms[16]; /* of each attempt, since the test's start */
	thrum_time t0;
};
static int flaky(struct flaky *f)
{
	int code;

	if (f->runs < 16)
		f->began_ms[f->runs] = th_ms_since(f->t0);
	f->runs++;
	code = f->ms > 0 ? thrum_sleep(thrum_ms(f->ms)) : 0;
	if (code < 0)
		return code;
	return f->good && f->runs >= f->good ? f->value : f->code;
}
THRUM_FX(flaky, struct flaky);

static struct flaky flaky_now(int ms, int code, int good)
{
	return (struct flaky){ .ms = ms, .code = code, .good = good, .t0 = thrum_now() };
}

/* --- Y1, Y3, Y8: attempts and codes --- */

TH_FIBER_TEST(JUMP, retry, n_further_attempts_then_the_last_failure_Y3_Y8)
{
	for (uint64_t n = 0; n < 4; n++) {
		struct flaky f = flaky_now(5, E_DOWN, 0);
		thrum_schedule s = thrum_recurs(n);
		uint64_t attempts = 99;
		thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s, .ret_attempts = &attempts };

		TH_CHECK_EQ(thrum_call(thrum_retry_fx(&op)), E_DOWN);
		TH_CHECK_EQ(f.runs, n + 1);
		TH_CHECK_EQ(attempts, n + 1);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, retry, the_cause_tells_how_many_attempts_there_were_Y8)
{
	struct flaky f = flaky_now(0, E_DOWN, 0);
	thrum_schedule s = thrum_recurs(4);
	char text[200];

	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &s), E_DOWN);
	TH_CHECK_EQ(thrum_last_cause()->code, E_DOWN);
	TH_CHECK_EQ(thrum_last_cause()->attempts, 5);
	(void)thrum_cause_text(thrum_last_cause(), text, sizeof text);
	TH_CHECK(strstr(text, "after 5 attempts") != NULL);
	return 0;
}

static int fail_with_its_number(int *n)
{
	return THRUM_APP(++*n);
}
THRUM_FX(fail_with_its_number, int);

TH_FIBER_TEST(JUMP, retry, the_last_failure_counts_not_the_first_Y8)
{
	thrum_schedule s = thrum_recurs(2);
	int n = 0;

	TH_CHECK_EQ(thrum_retry(fail_with_its_number_fx(&n), &s), THRUM_APP(3));
	return 0;
}

TH_FIBER_TEST(JUMP, retry, the_cause_says_how_often_it_was_tried_Y8)
{
	struct flaky f = flaky_now(5, E_DOWN, 0), other = flaky_now(5, E_OTHER, 0);
	thrum_schedule s = thrum_recurs(2);

	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &s), E_DOWN);
	TH_CHECK_EQ(thrum_last_cause()->code, E_DOWN);
	TH_CHECK_EQ(thrum_last_cause()->attempts, 3);
	TH_CHECK_EQ(thrum_repeat(flaky_fx(&other), &s), E_OTHER); /* its runs are no attempts to get over a failure */
	TH_CHECK_EQ(thrum_last_cause()->attempts, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, stops_at_the_first_success_Y3)
{
	struct flaky f = flaky_now(0, E_DOWN, 3);
	thrum_schedule s = thrum_recurs(9);
	uint64_t attempts = 0;
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s, .ret_attempts = &attempts };

	f.value = 7;
	TH_CHECK_EQ(thrum_call(thrum_retry_fx(&op)), 7);
	TH_CHECK_EQ(f.runs, 3);
	TH_CHECK_EQ(attempts, 3);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, waits_the_delays_of_its_schedule_Y6) /* D20 */
{
	struct flaky f = flaky_now(5, E_DOWN, 0);
	thrum_schedule s = thrum_intersect(thrum_exponential(thrum_ms(10), thrum_ms(40)), thrum_recurs(4));
	const long long want[] = { 0, 15, 40, 85, 130 };

	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &s), E_DOWN);
	TH_CHECK_EQ(f.runs, 5);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(f.began_ms[i], want[i]);
	TH_CHECK_EQ(th_ms_since(f.t0), 135);
	return 0;
}

/* The expression that users write, and exactly the delays that its random numbers give. */
TH_ONE_WORKER_TEST(JUMP, retry, with_jitter_in_one_expression_Y5)
{
	struct flaky f = { .code = E_DOWN };
	thrum_schedule s = thrum_up_to_count(thrum_jittered(thrum_exponential(thrum_ms(10), thrum_sec(1)), 0.2), 3);
	int64_t t0 = thrum_now().ns, took;

	f.runs = 16; /* no times: they are no whole milliseconds */
	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &s), E_DOWN);
	took = thrum_now().ns - t0;
	TH_CHECK_EQ(f.runs, 16 + 4);
	TH_CHECK(took >= 56 * 1000000 && took <= 84 * 1000000);
	return 0;
}

/* D21: a schedule that was an object with a state gave two concurrent retries 2 attempts each. */
TH_FIBER_TEST(JUMP, retry, concurrent_retries_share_a_schedule_Y1_D21)
{
	struct flaky a = flaky_now(1, E_DOWN, 0), b = flaky_now(1, E_OTHER, 0);
	thrum_schedule s = thrum_recurs(2);
	thrum_retry_op ops[] = { { .fx = flaky_fx(&a), .schedule = &s }, { .fx = flaky_fx(&b), .schedule = &s } };
	const thrum_fx fx[] = { thrum_retry_fx(&ops[0]), thrum_retry_fx(&ops[1]) };
	int codes[2];

	TH_CHECK_EQ(thrum_zip_settle_n(fx, 2, codes), 0);
	TH_CHECK_EQ(codes[0], E_DOWN);
	TH_CHECK_EQ(codes[1], E_OTHER);
	TH_CHECK_EQ(a.runs, 3);
	TH_CHECK_EQ(b.runs, 3);
	return 0;
}

/* --- Y2: what is retried --- */

static int die(int *runs)
{
	++*runs;
	return THRUM_EDIED;
}
THRUM_FX(die, int);

TH_FIBER_TEST(JUMP, retry, defects_pass_Y2)
{
	thrum_schedule s = thrum_recurs(3);
	int runs = 0;

	TH_CHECK_EQ(thrum_retry(die_fx(&runs), &s), THRUM_EDIED);
	TH_CHECK_EQ(runs, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, interrupts_pass_Y2)
{
	struct flaky own = flaky_now(0, -ECANCELED, 0), f = flaky_now(100, E_DOWN, 0);
	thrum_schedule s = thrum_recurs(3);
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s };
	struct th_outside o;

	TH_CHECK_EQ(thrum_retry(flaky_fx(&own), &s), -ECANCELED);
	TH_CHECK_EQ(own.runs, 1);
	o = th_cancel_after(150, thrum_retry_fx(&op)); /* in the second attempt */
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(f.runs, 2);
	TH_CHECK_EQ(th_ms_since(f.t0), 150);
	return 0;
}

static bool not_code(void *code, int got)
{
	return got != *(int *)code;
}

TH_FIBER_TEST(JUMP, retry, if_the_code_is_one_to_retry_Y2)
{
	thrum_schedule s = thrum_recurs(9);
	int n = 0, final = THRUM_APP(3);

	TH_CHECK_EQ(thrum_retry_if(fail_with_its_number_fx(&n), &s, not_code, &final), THRUM_APP(3));
	TH_CHECK_EQ(n, 3);
	TH_CHECK_EQ(thrum_retry_if(fail_with_its_number_fx(&n), &s, NULL, NULL), THRUM_APP(13));
	return 0;
}

TH_FIBER_TEST(JUMP, retry, while_and_until_see_the_failure_Y9)
{
	thrum_schedule s;
	int n = 0, final = THRUM_APP(3);

	s = thrum_while_(thrum_spaced(thrum_ms(1)), not_code, &final);
	TH_CHECK_EQ(thrum_retry(fail_with_its_number_fx(&n), &s), THRUM_APP(3));
	TH_CHECK_EQ(n, 3);
	return 0;
}

/* --- Y6: a scope for each attempt; the delay --- */

/* An attempt that acquires, notes whether the one before was released, and fails. */
struct holder {
	int acquired, released, held_max, release_code;
	long long released_ms[4];
	thrum_time t0;
};
static int acquire(struct holder *h)
{
	int held = ++h->acquired - h->released;

	h->held_max = held > h->held_max ? held : h->held_max;
	return 0;
}
static int release(struct holder *h)
{
	h->released_ms[h->released++ % 4] = th_ms_since(h->t0);
	return h->release_code;
}
THRUM_FX(acquire, struct holder);
THRUM_FX(release, struct holder);
static int hold_and_fail(struct holder *h)
{
	int code = thrum_acquire_release(acquire_fx(h), release_fx(h));

	return code < 0 ? code : E_DOWN;
}
THRUM_FX(hold_and_fail, struct holder);
static int hold(struct holder *h)
{
	return thrum_acquire_release(acquire_fx(h), release_fx(h));
}
THRUM_FX(hold, struct holder);

TH_FIBER_TEST(JUMP, retry, releases_before_the_delay_Y6_A8)
{
	struct holder h = { .t0 = thrum_now() };
	thrum_schedule s = thrum_up_to_count(thrum_spaced(thrum_ms(100)), 2);

	TH_CHECK_EQ(thrum_retry(hold_and_fail_fx(&h), &s), E_DOWN);
	TH_CHECK_EQ(h.acquired, 3);
	TH_CHECK_EQ(h.released, 3);
	TH_CHECK_EQ(h.held_max, 1);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(h.released_ms[i], 100 * i);
	return 0;
}

/* A5: the use succeeded, the release did not: the attempt failed, and is retried. */
TH_FIBER_TEST(JUMP, retry, a_failed_release_is_a_failed_attempt_A5)
{
	struct holder h = { .t0 = thrum_now(), .release_code = E_OTHER };
	thrum_schedule s = thrum_recurs(1);

	TH_CHECK_EQ(thrum_retry(hold_fx(&h), &s), E_OTHER);
	TH_CHECK_EQ(h.acquired, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, a_cancel_ends_the_delay_Y6)
{
	struct flaky f = flaky_now(5, E_DOWN, 0);
	thrum_schedule s = thrum_spaced(thrum_min(1));
	thrum_scope scope;
	thrum_task t;
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s };

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, thrum_retry_fx(&op)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(50)), 0);
	thrum_scope_cancel(&scope);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(f.runs, 1);
	TH_CHECK_EQ(th_ms_since(f.t0), 50);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, is_a_cancel_point_G3)
{
	struct flaky f = flaky_now(0, 0, 0);
	thrum_schedule s = thrum_recurs(0);
	uint64_t attempts = 99;
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s, .ret_attempts = &attempts };

	TH_CHECK_EQ(th_call_cancelled(thrum_retry_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(f.runs, 0);
	TH_CHECK_EQ(attempts, 0);
	return 0;
}

struct canceller {
	thrum_scope *scope;
	int code, runs;
};
static int cancel_the_scope(struct canceller *c)
{
	c->runs++;
	thrum_scope_cancel(c->scope);
	return c->code;
}
THRUM_FX(cancel_the_scope, struct canceller);

/* ①: the attempt succeeded, and then the cancel does not take that back. A failure is not retried. */
TH_FIBER_TEST(JUMP, retry, a_success_beats_the_cancel_and_a_failure_does_not)
{
	for (int i = 0; i < 2; i++) {
		thrum_schedule s = thrum_recurs(5);
		thrum_scope scope;
		struct canceller c = { &scope, i == 0 ? 7 : E_DOWN, 0 };

		TH_CHECK_EQ(thrum_scope_open(&scope), 0);
		TH_CHECK_EQ(thrum_retry(cancel_the_scope_fx(&c), &s), i == 0 ? 7 : -ECANCELED);
		TH_CHECK_EQ(thrum_scope_close(&scope), 0);
		TH_CHECK_EQ(c.runs, 1);
	}
	return 0;
}

/* --- Y7: deadlines --- */

/* Attempts of 5 ms begin at 0, 35, 65, …: with 90 ms the third ends at 75 and the fourth could begin at 105. */
TH_FIBER_TEST(JUMP, retry, gives_up_when_the_delay_reaches_the_deadline_Y7)
{
	struct flaky f = flaky_now(5, E_DOWN, 0);
	thrum_schedule s = thrum_spaced(thrum_ms(30));
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s };

	TH_CHECK_EQ(thrum_timeout(thrum_retry_fx(&op), thrum_ms(90)), E_DOWN);
	TH_CHECK_EQ(f.runs, 3);
	TH_CHECK_EQ(th_ms_since(f.t0), 75);
	return 0;
}

/* Exactly reached is too late; one nanosecond more and it is not. */
TH_FIBER_TEST(JUMP, retry, the_deadline_itself_is_too_late_Y7)
{
	for (int ns = 0; ns < 2; ns++) {
		struct flaky f = flaky_now(0, E_DOWN, 0);
		thrum_schedule s = thrum_up_to_count(thrum_spaced(thrum_ms(10)), 1);
		thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s };

		TH_CHECK_EQ(thrum_timeout(thrum_retry_fx(&op), thrum_ns(10000000 + ns)), E_DOWN);
		TH_CHECK_EQ(f.runs, 1 + ns);
	}
	return 0;
}

/* A deadline outside a shield does not apply inside (T4). */
TH_FIBER_TEST(JUMP, retry, goes_on_behind_a_shield_Y7)
{
	struct flaky f = flaky_now(5, E_DOWN, 3);
	thrum_schedule s = thrum_spaced(thrum_ms(30));
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &s };
	thrum_shield_op shield = { thrum_retry_fx(&op) };

	TH_CHECK_EQ(thrum_timeout(thrum_shield_fx(&shield), thrum_ms(20)), 0);
	TH_CHECK_EQ(f.runs, 3);
	TH_CHECK_EQ(th_ms_since(f.t0), 75);
	return 0;
}

/* The deadline of an attempt is the attempt's: it does not keep the next from its turn. */
TH_FIBER_TEST(JUMP, retry, a_timeout_of_each_attempt_is_a_failure_to_retry_T2)
{
	struct flaky f = flaky_now(50, E_DOWN, 0);
	thrum_schedule s = thrum_up_to_count(thrum_spaced(thrum_ms(30)), 2);
	thrum_timeout_op limited = { flaky_fx(&f), thrum_ms(20) };

	TH_CHECK_EQ(thrum_retry(thrum_timeout_fx(&limited), &s), -ETIMEDOUT);
	TH_CHECK_EQ(f.runs, 3);
	TH_CHECK_EQ(th_ms_since(f.t0), 20 + 30 + 20 + 30 + 20);
	return 0;
}

/* --- repeat --- */

TH_FIBER_TEST(JUMP, repeat, n_more_runs_and_the_last_success_Y3)
{
	struct flaky f = flaky_now(5, E_DOWN, 1);
	thrum_schedule s = thrum_intersect(thrum_recurs(3), thrum_spaced(thrum_ms(10)));
	uint64_t runs = 0;
	thrum_repeat_op op = { .fx = flaky_fx(&f), .schedule = &s, .ret_runs = &runs };

	f.value = 7;
	TH_CHECK_EQ(thrum_call(thrum_repeat_fx(&op)), 7);
	TH_CHECK_EQ(runs, 4);
	TH_CHECK_EQ(f.runs, 4);
	TH_CHECK_EQ(th_ms_since(f.t0), 50);
	return 0;
}

static int succeed_twice(int *n)
{
	return ++*n < 3 ? *n : E_DOWN;
}
THRUM_FX(succeed_twice, int);

TH_FIBER_TEST(JUMP, repeat, ends_at_a_failure_Y2)
{
	thrum_schedule s = thrum_recurs(9);
	int n = 0;

	TH_CHECK_EQ(thrum_repeat(succeed_twice_fx(&n), &s), E_DOWN);
	TH_CHECK_EQ(n, 3);
	return 0;
}

TH_FIBER_TEST(JUMP, repeat, until_a_code_is_seen_Y9)
{
	thrum_schedule s;
	int n = 0, two = 2;

	s = thrum_while_(thrum_spaced(thrum_ms(1)), not_code, &two);
	TH_CHECK_EQ(thrum_repeat(succeed_twice_fx(&n), &s), 2);
	TH_CHECK_EQ(n, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, repeat, releases_before_the_delay_Y6)
{
	struct holder h = { .t0 = thrum_now() };
	thrum_schedule s = thrum_up_to_count(thrum_spaced(thrum_ms(100)), 2);

	TH_CHECK_EQ(thrum_repeat(hold_fx(&h), &s), 0);
	TH_CHECK_EQ(h.released, 3);
	TH_CHECK_EQ(h.held_max, 1);
	TH_CHECK_EQ(h.released_ms[0], 0);
	TH_CHECK_EQ(h.released_ms[1], 100);
	return 0;
}

/* A repeat has no error to give back: its deadline ends it as any other effect's. */
TH_FIBER_TEST(JUMP, repeat, runs_into_its_deadline_T2)
{
	struct flaky f = flaky_now(0, 0, 1);
	thrum_schedule s = thrum_spaced(thrum_ms(30));
	thrum_repeat_op op = { .fx = flaky_fx(&f), .schedule = &s };

	TH_CHECK_EQ(thrum_timeout(thrum_repeat_fx(&op), thrum_ms(100)), -ETIMEDOUT);
	TH_CHECK_EQ(f.runs, 4);
	TH_CHECK_EQ(th_ms_since(f.t0), 100);
	return 0;
}

/* Without a delay it is a cancel point all the same (hazard 68). */
TH_FIBER_TEST(JUMP, repeat, for_ever_without_delay_can_be_cancelled_G3)
{
	thrum_scope scope;
	struct canceller c = { &scope, 0, 0 };
	thrum_schedule s = thrum_spaced(thrum_ms(0));

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_repeat(cancel_the_scope_fx(&c), &s), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(c.runs, 1);
	return 0;
}

static int begins_uncancelled(int *runs)
{
	TH_CHECK_EQ(thrum_check(), 0);
	++*runs;
	return 0;
}
static int cancel(struct canceller *c)
{
	thrum_scope_cancel(c->scope);
	return 0;
}
THRUM_FX(begins_uncancelled, int);
THRUM_FX(cancel, struct canceller);

/* L3: the delay was over, so its sleep succeeded, though a cancel came meanwhile: no attempt begins after it. */
TH_ONE_WORKER_TEST(JUMP, repeat, no_run_begins_cancelled_G4)
{
	thrum_schedule s = thrum_spaced(thrum_ms(0));
	int runs = 0;
	thrum_repeat_op op = { .fx = begins_uncancelled_fx(&runs), .schedule = &s };
	thrum_scope scope;
	struct canceller c = { &scope, 0, 0 };
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, thrum_repeat_fx(&op)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ns(0)), 0); /* it has begun */
	TH_CHECK_EQ(thrum_go(&scope, cancel_fx(&c)), 0);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK(runs > 0);
	return 0;
}

/* --- nesting, misuse --- */

TH_FIBER_TEST(JUMP, retry, nests_and_each_run_begins_anew_E4)
{
	struct flaky f = flaky_now(0, E_DOWN, 0);
	thrum_schedule inner = thrum_recurs(2), outer = thrum_up_to_count(thrum_spaced(thrum_ms(10)), 3);
	thrum_retry_op op = { .fx = flaky_fx(&f), .schedule = &inner };

	TH_CHECK_EQ(thrum_retry(thrum_retry_fx(&op), &outer), E_DOWN);
	TH_CHECK_EQ(f.runs, 12);
	TH_CHECK_EQ(th_ms_since(f.t0), 30);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, deep_nesting_does_not_overflow_E5)
{
	enum { DEPTH = 2000 };
	static thrum_retry_op ops[DEPTH];
	struct flaky f = flaky_now(0, E_DOWN, 1);
	thrum_schedule s = thrum_recurs(0);
	thrum_fx fx = flaky_fx(&f);

	for (int i = 0; i < DEPTH; i++) {
		ops[i] = (thrum_retry_op){ .fx = fx, .schedule = &s };
		fx = thrum_retry_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(fx), 0);
	TH_CHECK_EQ(f.runs, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, retry, misuse_has_a_code_E6)
{
	const thrum_fx none = { NULL, NULL };
	struct flaky f = flaky_now(0, E_DOWN, 0);
	thrum_schedule ok = thrum_recurs(1), bad = thrum_spaced(thrum_ms(-1)), big = ok;

	for (int i = 0; i < THRUM_SCHEDULE_NODES; i++)
		big = thrum_up_to_count(big, 1);
	TH_CHECK_EQ(thrum_retry(none, &ok), -EINVAL);
	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &bad), -EINVAL);
	TH_CHECK_EQ(thrum_retry(flaky_fx(&f), &big), -E2BIG);
	TH_CHECK_EQ(thrum_repeat(none, &ok), -EINVAL);
	TH_CHECK_EQ(thrum_repeat(flaky_fx(&f), NULL), -EINVAL);
	TH_CHECK_EQ(f.runs, 0);
	return 0;
}

TH_TEST(retry, on_a_plain_thread_is_refused_X1)
{
	thrum_schedule s = thrum_recurs(1);

	TH_CHECK_EQ(thrum_retry(thrum_succeed(), &s), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_repeat(thrum_succeed(), &s), THRUM_ENOTFIBER);
}

static int first_says_why(int *n)
{
	return (*n)++ == 0 ? thrum_failed(E_DOWN, "first") : E_DOWN;
}
THRUM_FX(first_says_why, int);

/* The cause is the last attempt's, not what an earlier one with the same code had said. */
TH_FIBER_TEST(JUMP, retry, the_cause_is_the_last_attempts_Y8)
{
	thrum_schedule s = thrum_recurs(1);
	int n = 0;

	TH_CHECK_EQ(thrum_retry(first_says_why_fx(&n), &s), E_DOWN);
	TH_CHECK_EQ(n, 2);
	TH_CHECK(!thrum_last_cause()->what);
	return 0;
}
