/* schedules: rules Y1, Y3, Y4, Y5, Y9, and the random numbers that jitter is drawn from. */
#include "test/support/rules.h"
#include <math.h>

enum { MS = 1000000, OVER = -1 };

/* Ask `s` until it ends, at most n times, sleeping each delay; delays in ns, then OVER. The attempts take no time. */
static void play(const thrum_schedule *s, int64_t *delays, int n)
{
	thrum_schedule_run run;
	thrum_dur delay;

	TH_CHECK_EQ(thrum_schedule_start(&run, s), 0);
	for (int i = 0; i < n; i++) {
		delays[i] = OVER;
		if (!thrum_schedule_next(&run, THRUM_APP(1), &delay))
			return;
		delays[i] = delay.ns;
		TH_CHECK_EQ(thrum_sleep(delay), 0);
	}
}

/* CHECK_DELAYS(schedule, in ms…): exactly these, in this order. End with OVER if it ends there. */
#define CHECK_DELAYS(s, ...)                                                                                     \
	do {                                                                                                     \
		const int64_t want_[] = { __VA_ARGS__ };                                                         \
		enum { n_ = sizeof want_ / sizeof *want_ };                                                      \
		const thrum_schedule s_ = (s);                                                                   \
		int64_t got_[n_];                                                                                \
		play(&s_, got_, n_);                                                                             \
		for (int i_ = 0; i_ < n_; i_++)                                                                  \
			TH_CHECK_EQ(got_[i_], want_[i_] == OVER ? OVER : want_[i_] * MS);                        \
	} while (0)

/* --- Y3, Y4: the elementary ones --- */

TH_FIBER_TEST(JUMP, schedule, recurs_is_so_many_more_Y3)
{
	CHECK_DELAYS(thrum_recurs(0), OVER);
	CHECK_DELAYS(thrum_recurs(3), 0, 0, 0, OVER);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, spaced_goes_on_Y3)
{
	CHECK_DELAYS(thrum_spaced(thrum_ms(7)), 7, 7, 7, 7);
	CHECK_DELAYS(thrum_spaced(thrum_ms(0)), 0, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, exponential_begins_with_base_and_stays_at_cap_Y4)
{
	CHECK_DELAYS(thrum_exponential(thrum_ms(10), thrum_ms(100)), 10, 20, 40, 80, 100, 100);
	CHECK_DELAYS(thrum_exponential(thrum_ms(10), thrum_ms(5)), 5, 5);
	CHECK_DELAYS(thrum_exponential(thrum_ms(0), thrum_ms(5)), 0, 0, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, fibonacci_begins_with_base_and_stays_at_cap_Y4)
{
	CHECK_DELAYS(thrum_fibonacci(thrum_ms(10), thrum_ms(100)), 10, 10, 20, 30, 50, 80, 100, 100);
	CHECK_DELAYS(thrum_fibonacci(thrum_ms(10), thrum_ms(5)), 5, 5);
	CHECK_DELAYS(thrum_fibonacci(thrum_ms(0), thrum_ms(5)), 0, 0, 0);
	return 0;
}

/* Ask 2,000 times without sleeping: the delays never shrink, and end at `cap`. */
static void check_never_short(thrum_schedule s, int64_t cap)
{
	thrum_schedule_run run;
	thrum_dur delay;
	int64_t last = 0;

	TH_CHECK_EQ(thrum_schedule_start(&run, &s), 0);
	for (int i = 0; i < 2000; i++) {
		TH_CHECK(thrum_schedule_next(&run, -EIO, &delay));
		TH_CHECK(delay.ns >= last && delay.ns <= cap);
		last = delay.ns;
	}
	TH_CHECK_EQ(last, cap);
}

/* D22: effectpy's 1024th step raised OverflowError; others came out with a delay of 1 ms. */
TH_FIBER_TEST(JUMP, schedule, step_1024_is_the_cap_D22)
{
	check_never_short(thrum_exponential(thrum_ns(1), THRUM_FOREVER), INT64_MAX);
	check_never_short(thrum_exponential(thrum_ns(3), THRUM_FOREVER), INT64_MAX);
	check_never_short(thrum_exponential(thrum_ms(10), thrum_sec(1)), 1000 * MS);
	check_never_short(thrum_fibonacci(thrum_ns(1), THRUM_FOREVER), INT64_MAX);
	check_never_short(thrum_fibonacci(thrum_sec(3), thrum_min(60)), 3600000LL * MS);
	check_never_short(thrum_jittered(thrum_spaced(THRUM_FOREVER), 1), INT64_MAX);
	return 0;
}

/* An attempt that takes `ms[i]`, then a question; the delays in ms. */
static void play_rate(thrum_schedule s, const int *ms, const int *want, int n)
{
	thrum_schedule_run run;
	thrum_dur delay;

	TH_CHECK_EQ(thrum_schedule_start(&run, &s), 0);
	for (int i = 0; i < n; i++) {
		TH_CHECK_EQ(thrum_sleep(thrum_ms(ms[i])), 0);
		TH_CHECK(thrum_schedule_next(&run, 0, &delay));
		TH_CHECK_EQ(delay.ns, (int64_t)want[i] * MS);
		TH_CHECK_EQ(thrum_sleep(delay), 0);
	}
}

TH_FIBER_TEST(JUMP, schedule, fixed_rate_keeps_to_its_grid_Y4)
{
	/* begins at          0  10  20  45  50  60  95  100 */
	const int takes[] = { 3, 10, 25, 1,  9,  35, 1 };
	const int want[] = {  7, 0,  0,  4,  1,  0,  4 };

	play_rate(thrum_fixed_rate(thrum_ms(10)), takes, want, 7);
	CHECK_DELAYS(thrum_fixed_rate(thrum_ms(10)), 10, 10, 10);
	CHECK_DELAYS(thrum_fixed_rate(thrum_ms(0)), 0, 0);
	return 0;
}

/* --- Y9: the algebra --- */

#define DOUBLING thrum_exponential(thrum_ms(1), thrum_sec(1))

TH_FIBER_TEST(JUMP, schedule, union_goes_on_while_either_does_after_the_shorter_delay_Y9)
{
	const thrum_schedule twice_7 = thrum_up_to_count(thrum_spaced(thrum_ms(7)), 2);
	const thrum_schedule three_5 = thrum_up_to_count(thrum_spaced(thrum_ms(5)), 3);

	CHECK_DELAYS(thrum_union(twice_7, three_5), 5, 5, 5, OVER);
	CHECK_DELAYS(thrum_union(three_5, twice_7), 5, 5, 5, OVER);
	CHECK_DELAYS(thrum_union(thrum_recurs(1), twice_7), 0, 7, OVER);
	CHECK_DELAYS(thrum_union(DOUBLING, thrum_spaced(thrum_ms(6))), 1, 2, 4, 6, 6);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, intersect_goes_on_while_both_do_after_the_longer_delay_Y9)
{
	CHECK_DELAYS(thrum_intersect(thrum_spaced(thrum_ms(7)), thrum_recurs(2)), 7, 7, OVER);
	CHECK_DELAYS(thrum_intersect(thrum_recurs(2), thrum_spaced(thrum_ms(7))), 7, 7, OVER);
	CHECK_DELAYS(thrum_intersect(DOUBLING, thrum_spaced(thrum_ms(6))), 6, 6, 6, 8, 16);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, and_then_is_one_after_the_other_Y9)
{
	const thrum_schedule e = thrum_up_to_count(thrum_exponential(thrum_ms(1), thrum_sec(1)), 3);

	CHECK_DELAYS(thrum_and_then(thrum_recurs(2), e), 0, 0, 1, 2, 4, OVER);
	CHECK_DELAYS(thrum_and_then(e, e), 1, 2, 4, 1, 2, 4, OVER);
	CHECK_DELAYS(thrum_and_then(thrum_recurs(0), thrum_recurs(1)), 0, OVER);
	CHECK_DELAYS(thrum_and_then(thrum_and_then(e, thrum_recurs(1)), thrum_spaced(thrum_ms(9))), 1, 2, 4, 0, 9, 9);
	return 0;
}

/* The second part's clock begins when its turn does. */
TH_FIBER_TEST(JUMP, schedule, and_then_starts_the_clock_of_the_second_anew_Y9)
{
	const thrum_schedule first = thrum_up_to_count(thrum_spaced(thrum_ms(50)), 2);
	const thrum_schedule five = thrum_spaced(thrum_ms(5));

	CHECK_DELAYS(thrum_and_then(first, thrum_up_to(five, thrum_ms(12))), 50, 50, 5, 5, OVER);
	CHECK_DELAYS(thrum_and_then(first, thrum_union(thrum_up_to(five, thrum_ms(6)), thrum_recurs(3))),
		     50, 50, 0, 0, 0, 5, OVER);
	CHECK_DELAYS(thrum_and_then(first, thrum_fixed_rate(thrum_ms(30))), 50, 50, 30, 30);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, up_to_lets_none_begin_later_Y9)
{
	CHECK_DELAYS(thrum_up_to(thrum_spaced(thrum_ms(10)), thrum_ms(30)), 10, 10, 10, OVER);
	CHECK_DELAYS(thrum_up_to(thrum_spaced(thrum_ms(10)), thrum_ms(29)), 10, 10, OVER);
	CHECK_DELAYS(thrum_up_to(thrum_exponential(thrum_ms(10), thrum_sec(9)), thrum_ms(100)), 10, 20, 40, OVER);
	CHECK_DELAYS(thrum_up_to(thrum_spaced(THRUM_FOREVER), thrum_min(9)), OVER);
	CHECK_DELAYS(thrum_up_to(thrum_recurs(1), thrum_ms(0)), 0, OVER);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, up_to_count_ends_after_so_many_Y9)
{
	CHECK_DELAYS(thrum_up_to_count(thrum_spaced(thrum_ms(10)), 2), 10, 10, OVER);
	CHECK_DELAYS(thrum_up_to_count(thrum_spaced(thrum_ms(10)), 0), OVER);
	CHECK_DELAYS(thrum_up_to_count(thrum_recurs(1), 5), 0, OVER);
	return 0;
}

static bool is(void *code, int got)
{
	return got == *(int *)code;
}

/* Feed codes; count how often it goes on. */
static int goes_on(thrum_schedule s, const int *codes, int n)
{
	thrum_schedule_run run;
	thrum_dur delay;
	int yes = 0;

	TH_CHECK_EQ(thrum_schedule_start(&run, &s), 0);
	for (int i = 0; i < n; i++)
		yes += thrum_schedule_next(&run, codes[i], &delay);
	return yes;
}

TH_FIBER_TEST(JUMP, schedule, while_and_until_look_at_the_code_Y9)
{
	const int codes[] = { -5, -5, 7, -5, -5 };
	const thrum_schedule often = thrum_spaced(thrum_ms(1));
	int five = -5, seven = 7;

	TH_CHECK_EQ(goes_on(thrum_while_(often, is, &five), codes, 5), 2);
	TH_CHECK_EQ(goes_on(thrum_until_(often, is, &seven), codes, 5), 2);
	TH_CHECK_EQ(goes_on(thrum_while_(often, is, &seven), codes, 5), 0);
	return 0;
}

/* What ended is over, also where the rest goes on without it: the third -5 does not wake it. */
TH_FIBER_TEST(JUMP, schedule, an_ended_part_stays_ended_Y9)
{
	const int codes[] = { -5, 7, -5 };
	thrum_schedule_run run;
	thrum_schedule s;
	thrum_dur delay;
	int five = -5;

	s = thrum_union(thrum_while_(thrum_spaced(thrum_ms(1)), is, &five), thrum_spaced(thrum_ms(9)));
	TH_CHECK_EQ(thrum_schedule_start(&run, &s), 0);
	for (int i = 0; i < 3; i++) {
		TH_CHECK(thrum_schedule_next(&run, codes[i], &delay));
		TH_CHECK_EQ(delay.ns, (i == 0 ? 1 : 9) * MS);
	}
	return 0;
}

/* --- Y1: a value --- */

TH_FIBER_TEST(JUMP, schedule, runs_of_one_schedule_do_not_touch_each_other_Y1)
{
	const thrum_schedule s = thrum_intersect(thrum_exponential(thrum_ms(1), thrum_sec(1)), thrum_recurs(2));
	thrum_schedule_run a, b;
	thrum_dur delay;

	TH_CHECK_EQ(thrum_schedule_start(&a, &s), 0);
	TH_CHECK_EQ(thrum_schedule_start(&b, &s), 0);
	for (int i = 0; i < 2; i++) {
		TH_CHECK(thrum_schedule_next(&a, 0, &delay));
		TH_CHECK_EQ(delay.ns, (1 << i) * MS);
		TH_CHECK(thrum_schedule_next(&b, 0, &delay));
		TH_CHECK_EQ(delay.ns, (1 << i) * MS);
	}
	TH_CHECK(!thrum_schedule_next(&a, 0, &delay));
	TH_CHECK(!thrum_schedule_next(&b, 0, &delay));
	return 0;
}

/* The parts were copied: changing the variables they came from changes nothing. */
TH_FIBER_TEST(JUMP, schedule, combinators_copy_their_parts_Y1)
{
	thrum_schedule part = thrum_recurs(1), whole = thrum_and_then(part, part);

	part = thrum_recurs(9);
	CHECK_DELAYS(whole, 0, 0, OVER);
	CHECK_DELAYS(part, 0, 0, 0);
	return 0;
}

/* --- bad ones --- */

static int start(thrum_schedule s)
{
	thrum_schedule_run run;

	return thrum_schedule_start(&run, &s);
}

TH_FIBER_TEST(JUMP, schedule, bad_arguments_are_refused_at_the_start)
{
	const thrum_schedule zero = { .n_ = 0 }, ok = thrum_recurs(1), bad = thrum_spaced(thrum_ms(-1));
	thrum_schedule_run run;

	TH_CHECK_EQ(thrum_schedule_start(&run, NULL), -EINVAL);
	TH_CHECK_EQ(start(zero), -EINVAL);
	TH_CHECK_EQ(start(bad), -EINVAL);
	TH_CHECK_EQ(start(thrum_fixed_rate(thrum_ns(-1))), -EINVAL);
	TH_CHECK_EQ(start(thrum_exponential(thrum_ms(-1), thrum_sec(1))), -EINVAL);
	TH_CHECK_EQ(start(thrum_exponential(thrum_ms(1), thrum_sec(-1))), -EINVAL);
	TH_CHECK_EQ(start(thrum_fibonacci(thrum_ms(-1), thrum_sec(1))), -EINVAL);
	TH_CHECK_EQ(start(thrum_jittered(ok, -0.1)), -EINVAL);
	TH_CHECK_EQ(start(thrum_jittered(ok, 1.01)), -EINVAL);
	TH_CHECK_EQ(start(thrum_jittered(ok, (double)NAN)), -EINVAL);
	TH_CHECK_EQ(start(thrum_up_to(ok, thrum_ms(-1))), -EINVAL);
	TH_CHECK_EQ(start(thrum_while_(ok, NULL, NULL)), -EINVAL);
	TH_CHECK_EQ(start(thrum_until_(ok, NULL, NULL)), -EINVAL);
	TH_CHECK_EQ(start(thrum_union(ok, bad)), -EINVAL);
	TH_CHECK_EQ(start(thrum_union(zero, ok)), -EINVAL);
	TH_CHECK_EQ(start(thrum_jittered(bad, 0.2)), -EINVAL);
	TH_CHECK_EQ(start(thrum_jittered(ok, 1)), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, schedule, the_bound_on_nodes_is_exact)
{
	thrum_schedule s = thrum_recurs(1);

	for (int i = 1; i < THRUM_SCHEDULE_NODES; i++)
		s = thrum_up_to_count(s, 100);
	TH_CHECK_EQ(start(s), 0);
	TH_CHECK_EQ(start(thrum_up_to_count(s, 100)), -E2BIG);
	TH_CHECK_EQ(start(thrum_union(s, thrum_recurs(1))), -E2BIG);
	TH_CHECK_EQ(start(thrum_union(thrum_recurs(1), s)), -E2BIG);
	CHECK_DELAYS(s, 0, OVER);

	s = thrum_recurs(1);
	for (int i = 1; i < THRUM_SCHEDULE_NODES / 2; i++)
		s = thrum_and_then(s, thrum_recurs(1));
	CHECK_DELAYS(s, 0, 0, 0, 0, 0, 0, 0, 0, OVER);
	TH_CHECK_EQ(start(thrum_union(s, thrum_spaced(thrum_ms(1)))), -E2BIG);
	return 0;
}

TH_TEST(schedule, a_plain_thread_has_no_clock_to_run_on_X1)
{
	thrum_schedule s = thrum_recurs(1);
	thrum_schedule_run run;

	TH_CHECK_EQ(thrum_schedule_start(&run, &s), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_random(), 0);
}

/* --- Y5: jitter and its random numbers --- */

enum { DRAWS = 1000 };

struct draws {
	int64_t delay[DRAWS];
};

static int draw_delays(struct draws *d)
{
	const thrum_schedule s = thrum_jittered(thrum_spaced(thrum_ms(100)), 0.2);
	thrum_schedule_run run;
	thrum_dur delay;

	TH_CHECK_EQ(thrum_schedule_start(&run, &s), 0);
	for (int i = 0; i < DRAWS; i++) {
		TH_CHECK(thrum_schedule_next(&run, 0, &delay));
		d->delay[i] = delay.ns;
	}
	return 0;
}
THRUM_FX(draw_delays, struct draws);

static void draw_with(uint64_t seed, struct draws *d)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .workers = 1, .seed = seed), draw_delays_fx(d)), 0);
}

/* Within the bounds, near both of them, and even on the average. */
TH_TEST(schedule, jitter_fills_its_range_Y5)
{
	static struct draws d;
	int64_t min = INT64_MAX, max = 0, sum = 0;

	draw_with(1, &d);
	for (int i = 0; i < DRAWS; i++) {
		int64_t delay = d.delay[i];
		min = delay < min ? delay : min;
		max = delay > max ? delay : max;
		sum += delay;
	}
	TH_CHECK(min >= 80 * MS && min < 81 * MS);
	TH_CHECK(max <= 120 * MS && max > 119 * MS);
	TH_CHECK(sum / DRAWS > 98 * MS && sum / DRAWS < 102 * MS);
}

TH_TEST(schedule, jitter_is_the_same_for_the_same_seed_Y5)
{
	static struct draws a, b, c;
	int same = 0;

	draw_with(7, &a);
	draw_with(7, &b);
	draw_with(8, &c);
	for (int i = 0; i < DRAWS; i++) {
		TH_CHECK_EQ(a.delay[i], b.delay[i]);
		same += a.delay[i] == c.delay[i];
	}
	TH_CHECK(same < 10);
}

TH_FIBER_TEST(JUMP, schedule, jitter_of_nothing_changes_nothing_Y5)
{
	CHECK_DELAYS(thrum_jittered(thrum_exponential(thrum_ms(10), thrum_ms(20)), 0), 10, 20, 20);
	return 0;
}

struct numbers {
	uint64_t a, b;
};
static int draw_two(struct numbers *n)
{
	n->a = thrum_random();
	n->b = thrum_random();
	return 0;
}
THRUM_FX(draw_two, struct numbers);

TH_TEST(random, numbers_come_again_with_their_seed_Y5)
{
	struct numbers n[3];

	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .seed = i < 2 ? 42 : 43), draw_two_fx(&n[i])), 0);
	TH_CHECK(n[0].a == n[1].a && n[0].b == n[1].b);
	TH_CHECK(n[0].a != n[0].b && n[0].a != n[2].a && n[0].b != n[2].a && n[0].a != n[2].b);
}

struct placed {
	struct numbers n[2];
};
static int draw_on_both(struct placed *p)
{
	thrum_scope s;
	thrum_task t[2];

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (unsigned i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_spawn_with(&s, &t[i], draw_two_fx(&p->n[i]), THRUM_SPAWN_OPTS(.worker = i + 1)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(draw_on_both, struct placed);

/* Each worker has a stream of its own: not the same, and not the same moved by one. */
TH_TEST(random, workers_draw_different_numbers_Y5)
{
	struct placed p;

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2, .seed = 42), draw_on_both_fx(&p)), 0);
	TH_CHECK(p.n[0].a != p.n[1].a && p.n[0].a != p.n[1].b && p.n[0].b != p.n[1].a && p.n[0].b != p.n[1].b);
}
