/* rate limiters: a token bucket on virtual time: exact account, first in first out (Q2, Q7 to Q9 as for semaphores). */
#include "test/support/rules.h"

static thrum_limiter *open_limiter(thrum_limiter *l, uint64_t tokens, thrum_dur per, uint64_t burst)
{
	TH_CHECK_EQ(thrum_limiter_init(l, tokens, per, burst), 0);
	return l;
}

static void drain(thrum_limiter *l, uint64_t n)
{
	TH_CHECK_EQ(thrum_limiter_try_acquire(l, n), 0);
}

/* One acquire, as a child. */
struct taker {
	thrum_limiter *l;
	uint64_t n;
	int code;
	long long at_ms; /* since t0 */
	thrum_time t0;
	thrum_task task;
};
static int acquire(struct taker *t)
{
	t->code = thrum_limiter_acquire(t->l, t->n);
	t->at_ms = th_ms_since(t->t0);
	return 0;
}
THRUM_FX(acquire, struct taker);

/* Start a child and let it come as far as it can: on the jump clock a sleep ends when nothing else can run. */
static void start(thrum_scope *s, struct taker *t)
{
	TH_CHECK_EQ(thrum_spawn(s, &t->task, acquire_fx(t)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}

/* --- the account --- */

TH_FIBER_TEST(JUMP, limiter, begins_full_and_refills_evenly)
{
	thrum_limiter l;
	thrum_time t0 = thrum_now();

	open_limiter(&l, 10, thrum_sec(1), 3);
	for (int i = 0; i < 8; i++) {
		TH_CHECK_EQ(thrum_limiter_acquire(&l, 1), 0);
		TH_CHECK_EQ(th_ms_since(t0), i < 3 ? 0 : 100 * (i - 2));
	}
	return 0;
}

TH_FIBER_TEST(JUMP, limiter, never_holds_more_than_its_burst)
{
	thrum_limiter l;

	open_limiter(&l, 10, thrum_sec(1), 3);
	TH_CHECK_EQ(thrum_limiter_available(&l), 3);
	drain(&l, 3);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(299)), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 2);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 3);
	TH_CHECK_EQ(thrum_sleep(thrum_min(60 * 24 * 365)), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 3);
	drain(&l, 3);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 1), -EAGAIN);
	return 0;
}

/* 7 a second is 142,857,142.857… ns each: token k is there at the first whole nanosecond at or after k * 10^9 / 7,
 * and after a million of them still is. */
TH_FIBER_TEST(JUMP, limiter, does_not_drift)
{
	enum { STEPS = 1000000 };
	thrum_limiter l;
	int64_t t0 = thrum_now().ns;

	open_limiter(&l, 7, thrum_sec(1), 1);
	drain(&l, 1);
	for (int64_t k = 1; k <= 50; k++) {
		TH_CHECK_EQ(thrum_limiter_acquire(&l, 1), 0);
		TH_CHECK_EQ(thrum_now().ns - t0, (k * 1000000000 + 6) / 7);
	}
	open_limiter(&l, 7, thrum_sec(1), STEPS);
	drain(&l, STEPS);
	t0 = thrum_now().ns;
	for (int64_t k = 1; k <= STEPS; k *= 10) { /* one account, read often or seldom */
		TH_CHECK_EQ(thrum_limiter_acquire(&l, (uint64_t)(k - k / 10)), 0);
		TH_CHECK_EQ(thrum_now().ns - t0, (k * 1000000000 + 6) / 7);
	}
	return 0;
}

/* Looking at it often loses nothing to rounding: a token each 3 ns, looked at each 2. */
TH_FIBER_TEST(JUMP, limiter, keeps_the_parts_of_a_token)
{
	thrum_limiter l;

	open_limiter(&l, 1, thrum_ns(3), 1000);
	drain(&l, 1000);
	for (int i = 1; i <= 300; i++) {
		TH_CHECK_EQ(thrum_sleep(thrum_ns(2)), 0);
		TH_CHECK_EQ(thrum_limiter_available(&l), 2 * i / 3);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, limiter, rates_of_any_size)
{
	thrum_limiter l;
	thrum_time t0 = thrum_now();

	open_limiter(&l, 1, thrum_min(60), 2); /* two an hour at most */
	drain(&l, 2);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 2), 0);
	TH_CHECK_EQ(th_ms_since(t0), 2 * 3600000);
	open_limiter(&l, INT64_MAX, thrum_ns(1), 5); /* a nanosecond is enough for all */
	drain(&l, 5);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 1), -EAGAIN);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 5), 0);
	open_limiter(&l, 1000000000, thrum_sec(1), INT64_MAX); /* reduces to 1 a nanosecond */
	drain(&l, INT64_MAX);
	TH_CHECK_EQ(thrum_sleep(thrum_ns(12345)), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 12345);
	return 0;
}

/* --- Q2, Q8: in order --- */

TH_FIBER_TEST(JUMP, limiter, waiters_are_served_in_order_Q2_Q8)
{
	thrum_limiter l;
	thrum_time t0 = thrum_now();
	struct taker t[3];
	thrum_scope s;

	open_limiter(&l, 10, thrum_sec(1), 5);
	drain(&l, 5);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++) {
		t[i] = (struct taker){ .l = &l, .n = i == 1 ? 5 : 1, .code = 1, .t0 = t0 };
		start(&s, &t[i]);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(t[0].at_ms, 100);
	TH_CHECK_EQ(t[1].at_ms, 600);
	TH_CHECK_EQ(t[2].at_ms, 700);
	return 0;
}

/* The small one that comes later does not slip past the large one, though its token is there. */
TH_FIBER_TEST(JUMP, limiter, nobody_slips_past_a_waiter_Q2_Q8)
{
	thrum_limiter l;
	struct taker large = { .l = &l, .n = 5, .code = 1, .t0 = thrum_now() };
	thrum_scope s;

	open_limiter(&l, 10, thrum_sec(1), 5);
	drain(&l, 5);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &large);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(300)), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 3);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 1), -EAGAIN);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 1), 0);
	TH_CHECK_EQ(th_ms_since(large.t0), 600);
	TH_CHECK_EQ(large.at_ms, 500);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- Q7, Q9: cancels --- */

/* Three wait; one is cancelled at 150 ms: what the others get when. */
static void cancel_one(int which, const long long *at_ms)
{
	thrum_limiter l;
	struct taker t[3];
	thrum_time t0 = thrum_now();
	thrum_scope s;

	open_limiter(&l, 10, thrum_sec(1), 5);
	drain(&l, 5);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++) {
		t[i] = (struct taker){ .l = &l, .n = i == 0 ? 3 : 1, .code = 1, .t0 = t0 };
		start(&s, &t[i]);
	}
	TH_CHECK_EQ(thrum_sleep_until(thrum_time_add(t0, thrum_ms(150))), 0);
	thrum_task_cancel(&t[which].task);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(t[i].code, i == which ? -ECANCELED : 0);
		TH_CHECK_EQ(t[i].at_ms, at_ms[i]);
	}
	/* All that flowed in and was not taken is there. */
	TH_CHECK_EQ(thrum_sleep_until(thrum_time_add(t0, thrum_ms(600))), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), which == 0 ? 4 : 2);
}

/* The head wants 3, and 1.5 are there: the next takes 1 at once, the third 1 at 200 ms. */
TH_FIBER_TEST(JUMP, limiter, a_cancelled_head_lets_the_next_go_Q9)
{
	cancel_one(0, (const long long[]){ 150, 150, 200 });
	return 0;
}

TH_FIBER_TEST(JUMP, limiter, a_cancelled_waiter_loses_and_leaks_nothing_Q7)
{
	cancel_one(1, (const long long[]){ 300, 150, 400 });
	cancel_one(2, (const long long[]){ 300, 400, 150 });
	return 0;
}

struct give_up {
	thrum_limiter *l;
	uint64_t n;
};
static int take_n(struct give_up *g)
{
	return thrum_limiter_acquire(g->l, g->n);
}
THRUM_FX(take_n, struct give_up);

TH_FIBER_TEST(JUMP, limiter, is_a_cancel_point_also_when_it_need_not_wait_G3)
{
	thrum_limiter l;
	struct give_up g = { open_limiter(&l, 10, thrum_sec(1), 5), 1 };
	struct give_up nothing = { &l, 0 };

	TH_CHECK_EQ(th_call_cancelled(take_n_fx(&g)), -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled(take_n_fx(&nothing)), -ECANCELED);
	TH_CHECK_EQ(thrum_limiter_available(&l), 5);
	TH_CHECK_EQ(thrum_timeout(take_n_fx(&g), thrum_ms(1)), 0);
	g.n = 5;
	TH_CHECK_EQ(thrum_timeout(take_n_fx(&g), thrum_ms(1)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_limiter_available(&l), 4);
	return 0;
}

/* --- many --- */

enum { CROWD = 50 };

static int take_one(struct taker *t)
{
	return thrum_limiter_acquire(t->l, t->n);
}
THRUM_FX(take_one, struct taker);

/* Whatever the order: together they take exactly as long as their tokens do. */
TH_FIBER_TEST(JUMP, limiter, a_crowd_takes_as_long_as_its_tokens)
{
	thrum_limiter l;
	struct taker t[CROWD];
	thrum_time t0 = thrum_now();
	uint64_t sum = 0;

	open_limiter(&l, 1000, thrum_sec(1), 4);
	for (int i = 0; i < CROWD; i++) {
		t[i] = (struct taker){ .l = &l, .n = 1 + (uint64_t)i % 4 };
		sum += t[i].n;
	}
	TH_CHECK_EQ(thrum_for_each_par(t, CROWD, take_one, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(th_ms_since(t0), sum - 4);
	TH_CHECK_EQ(thrum_limiter_available(&l), 0);
	return 0;
}

/* --- misuse --- */

TH_FIBER_TEST(JUMP, limiter, misuse_has_a_code)
{
	thrum_limiter l;

	TH_CHECK_EQ(thrum_limiter_init(&l, 0, thrum_sec(1), 1), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, UINT64_MAX, thrum_sec(1), 1), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_sec(0), 1), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_sec(-1), 1), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_sec(1), 0), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_sec(1), UINT64_MAX), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_ns(2), INT64_MAX / 2 + 1), -EINVAL);
	open_limiter(&l, 10, thrum_sec(1), 3);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 4), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 4), -EINVAL);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 0), 0);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 0), 0);
	TH_CHECK_EQ(thrum_limiter_available(&l), 3);
	return 0;
}

TH_TEST(limiter, a_plain_thread_has_no_clock_for_it_X1)
{
	thrum_limiter l;

	open_limiter(&l, 10, thrum_sec(1), 3);
	TH_CHECK_EQ(thrum_limiter_acquire(&l, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_limiter_available(&l), 0);
}
