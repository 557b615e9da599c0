/* test/core/test_timers.c: the timers against a reference model (a plain array), ties, and the ends of the range. */
#include "core/timers.h"
#include "test/support/test.h"
#include <stdint.h>
#include <time.h>

enum { N = 10000 };

static struct th_timers set;
static struct th_timer timers[N];

static void fresh(void)
{
	th_timers_init(&set);
	for (int i = 0; i < N; i++)
		timers[i] = (struct th_timer){ 0 };
}

static void arm(int i, int64_t at_ns)
{
	timers[i].at_ns = at_ns;
	th_timers_add(&set, &timers[i]);
}

static uint64_t rng;

static uint64_t next_random(void) /* xorshift64* */
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1du;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(next_random() >> 32) % n;
}

TH_TEST(timers, empty_set_has_no_deadline)
{
	fresh();
	TH_CHECK_EQ(th_timers_next_ns(&set), INT64_MAX);
	TH_CHECK(th_timers_take_due(&set, INT64_MAX) == NULL);
	TH_CHECK_EQ(set.count, 0);
}

TH_TEST(timers, nothing_is_due_before_its_deadline)
{
	fresh();
	arm(0, 100);
	TH_CHECK(th_timers_take_due(&set, 99) == NULL);
	TH_CHECK(timers[0].armed);
	TH_CHECK(th_timers_take_due(&set, 100) == &timers[0]);
	TH_CHECK(!timers[0].armed);
}

TH_TEST(timers, nearest_deadline_is_first_whatever_the_order_of_arming)
{
	static const int64_t at[] = { 5, 3, 9, 1, 7 }, sorted[] = { 1, 3, 5, 7, 9 };

	fresh();
	for (int i = 0; i < 5; i++)
		arm(i, at[i]);
	for (int i = 0; i < 5; i++) {
		TH_CHECK_EQ(th_timers_next_ns(&set), sorted[i]);
		TH_CHECK_EQ(th_timers_take_due(&set, 10)->at_ns, sorted[i]);
	}
}

TH_TEST(timers, equal_deadlines_are_taken_in_order_of_arming_L6)
{
	fresh();
	for (int i = 0; i < N; i++)
		arm(i, 42);
	for (int i = 0; i < N; i++)
		TH_CHECK(th_timers_take_due(&set, 42) == &timers[i]);
}

TH_TEST(timers, arming_again_goes_behind_equal_deadlines_L6)
{
	fresh();
	arm(0, 42);
	arm(1, 42);
	arm(2, 42);
	th_timers_remove(&set, &timers[0]);
	arm(0, 42);
	TH_CHECK(th_timers_take_due(&set, 42) == &timers[1]);
	TH_CHECK(th_timers_take_due(&set, 42) == &timers[2]);
	TH_CHECK(th_timers_take_due(&set, 42) == &timers[0]);
}

TH_TEST(timers, removing_an_unarmed_timer_does_nothing_L3)
{
	fresh();
	arm(0, 1);
	arm(1, 2);
	th_timers_remove(&set, &timers[2]);
	th_timers_remove(&set, &timers[1]);
	th_timers_remove(&set, &timers[1]);
	TH_CHECK_EQ(set.count, 1);
	TH_CHECK(th_timers_take_due(&set, 5) == &timers[0]);
	th_timers_remove(&set, &timers[0]);
	TH_CHECK_EQ(set.count, 0);
}

TH_TEST(timers, ends_of_the_range_are_ordered)
{
	fresh();
	arm(0, INT64_MAX);
	arm(1, 0);
	arm(2, INT64_MIN);
	arm(3, INT64_MAX - 1);
	arm(4, INT64_MIN + 1);
	TH_CHECK(th_timers_take_due(&set, INT64_MIN) == &timers[2]);
	TH_CHECK(th_timers_take_due(&set, INT64_MIN) == NULL);
	TH_CHECK(th_timers_take_due(&set, 0) == &timers[4]);
	TH_CHECK(th_timers_take_due(&set, 0) == &timers[1]);
	TH_CHECK(th_timers_take_due(&set, INT64_MAX - 1) == &timers[3]);
	TH_CHECK(th_timers_take_due(&set, INT64_MAX - 1) == NULL);
	TH_CHECK(th_timers_take_due(&set, INT64_MAX) == &timers[0]);
}

/* The reference: scan all. */
static struct th_timer *model_first(int n)
{
	struct th_timer *first = NULL;

	for (int i = 0; i < n; i++) {
		struct th_timer *t = &timers[i];

		if (t->armed && (!first || t->at_ns < first->at_ns || (t->at_ns == first->at_ns && t->seq < first->seq)))
			first = t;
	}
	return first;
}

static void random_step(int n, int64_t *now, size_t *live)
{
	int i = (int)below((uint32_t)n);

	if (below(3) > 0) {
		if (timers[i].armed) {
			th_timers_remove(&set, &timers[i]);
			--*live;
		} else {
			arm(i, *now + below(50));
			++*live;
		}
	} else {
		struct th_timer *want = model_first(n);

		*now += below(4);
		if (want && want->at_ns > *now)
			want = NULL;
		TH_CHECK(th_timers_take_due(&set, *now) == want);
		*live -= want != NULL;
		TH_CHECK(!want || !want->armed);
	}
}

TH_TEST(timers, random_operations_agree_with_a_scan)
{
	const char *env = getenv("THRUM_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);
	enum { LIVE = 64 };
	int64_t now = 0;
	size_t live = 0;

	printf("THRUM_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout); /* a failing check aborts */
	rng = seed * 2 + 1;
	fresh();
	for (int step = 0; step < 100000; step++) {
		random_step(LIVE, &now, &live);
		struct th_timer *first = model_first(LIVE);

		TH_CHECK_EQ(set.count, live);
		TH_CHECK_EQ(th_timers_next_ns(&set), first ? first->at_ns : INT64_MAX);
	}
}

/* The first removal meets a root with 9,999 children, and the list of them must not become a depth of calls. */
TH_TEST(timers, ten_thousand_live_timers_are_armed_and_disarmed)
{
	rng = 1;
	fresh();
	for (int i = 0; i < N; i++)
		arm(i, i);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < N; i++) {
			th_timers_remove(&set, &timers[i]);
			arm(i, below(1000000));
		}
		TH_CHECK_EQ(set.count, N);
	}

	int64_t last = 0;

	for (int i = 0; i < N; i++) {
		struct th_timer *t = th_timers_take_due(&set, INT64_MAX);

		TH_CHECK(t && t->at_ns >= last);
		last = t->at_ns;
	}
	TH_CHECK(set.root == NULL);
}
