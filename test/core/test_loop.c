/* thrum/loop.h: parallel_for and reduce. Rules of zip_par hold for their parts: the first failure stops the rest (F6), n = 0
 * is a checkpoint (F2), a parent's cancel as Z8. */
#include "test/support/rules.h"
#include <stdlib.h>
#include <string.h>
#include <thrum/loop.h>

enum { N = 10007 };

struct counted {
	th_counter seen[N], parts;
	size_t longest;
};

static int count_each(size_t begin, size_t end, void *arg)
{
	struct counted *c = arg;

	TH_CHECK(begin < end && end <= N);
	for (size_t i = begin; i < end; i++)
		th_count(&c->seen[i], 1);
	th_count(&c->parts, 1);
	return 0;
}

static void each_once(struct counted *c)
{
	for (size_t i = 0; i < N; i++)
		TH_CHECK_EQ(th_counted(&c->seen[i]), 1);
}

TH_FIBER_TEST(JUMP, loop, each_index_once_F1)
{
	static struct counted c;

	memset(&c, 0, sizeof c);
	TH_CHECK_EQ(thrum_parallel_for(N, count_each, &c), 0);
	each_once(&c);
	TH_CHECK_EQ(th_counted(&c.parts), 1001); /* of ten indices */
	return 0;
}

TH_FIBER_TEST(JUMP, loop, grain_is_the_length_of_a_part_F10)
{
	static struct counted c;

	memset(&c, 0, sizeof c);
	TH_CHECK_EQ(thrum_parallel_for_grain(N, 5000, count_each, &c), 0);
	each_once(&c);
	TH_CHECK_EQ(th_counted(&c.parts), 3);
	memset(&c, 0, sizeof c);
	TH_CHECK_EQ(thrum_parallel_for_grain(N, SIZE_MAX, count_each, &c), 0);
	TH_CHECK_EQ(th_counted(&c.parts), 1);
	return 0;
}

static int never_called(size_t begin, size_t end, void *unused)
{
	(void)begin, (void)end, (void)unused;
	TH_CHECK(false);
	return 0;
}

static int loop_over_none(void *unused)
{
	(void)unused;
	return thrum_parallel_for(0, never_called, NULL);
}

static int loop_over_some(void *unused)
{
	(void)unused;
	return thrum_parallel_for(N, never_called, NULL);
}

TH_FIBER_TEST(JUMP, loop, over_nothing_is_a_checkpoint_F2)
{
	TH_CHECK_EQ(loop_over_none(NULL), 0);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ loop_over_none, NULL }), -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ loop_over_some, NULL }), -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, loop, bad_calls_are_refused_E6)
{
	thrum_reducer none = { 0 };
	long sum;

	TH_CHECK_EQ(thrum_parallel_for(1, NULL, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_reduce(1, NULL, &sum), -EINVAL);
	TH_CHECK_EQ(thrum_reduce(1, &none, &sum), -EINVAL);
	return 0;
}

static void begin_nothing(void *part, void *unused) { (void)part, (void)unused; }
static int combine_nothing(void *part, void *next, void *unused) { (void)part, (void)next, (void)unused; return 0; }
static int fold_nothing(void *part, size_t b, size_t e, void *unused) { (void)part, (void)b, (void)e, (void)unused; return 0; }

TH_TEST(loop, plain_threads_are_ENOTFIBER_X1)
{
	thrum_reducer how = { 8, begin_nothing, fold_nothing, combine_nothing, NULL, 0 };
	long sum;

	TH_CHECK_EQ(thrum_parallel_for(1, never_called, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_reduce(1, &how, &sum), THRUM_ENOTFIBER);
}

struct failing {
	size_t at;
	th_counter after;
};

static int fail_at(size_t begin, size_t end, void *arg)
{
	struct failing *f = arg;

	if (begin <= f->at && f->at < end)
		return THRUM_APP(7);
	if (begin > f->at)
		th_count(&f->after, 1);
	return thrum_check(); /* others may be told by their own check */
}

TH_FIBER_TEST(JUMP, loop, first_failure_stops_the_rest_F6)
{
	struct failing f = { .at = 0 };
	int r = thrum_parallel_for(N, fail_at, &f);

	TH_CHECK_EQ(r, THRUM_APP(7));
	if (thrum_workers() == 1)
		TH_CHECK_EQ(th_counted(&f.after), 0);
	TH_CHECK(thrum_last_cause() && thrum_last_cause()->code == THRUM_APP(7));
	return 0;
}

static int sleep_in_part(size_t begin, size_t end, void *unused)
{
	(void)begin, (void)end, (void)unused;
	return thrum_sleep(thrum_ms(10));
}

static int loop_of_sleeps(void *unused)
{
	(void)unused;
	return thrum_parallel_for(64, sleep_in_part, NULL);
}

TH_FIBER_TEST(JUMP, loop, parts_that_block_wait_side_by_side_Z3)
{
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(loop_of_sleeps(NULL), 0);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	return 0;
}

TH_FIBER_TEST(JUMP, loop, cancel_reaches_all_parts_Z8)
{
	TH_CHECK_EQ(th_cancel_after(5, (thrum_fx){ loop_of_sleeps, NULL }).code, -ECANCELED);
	return 0;
}

/* --- reduce --- */

/* A string of the indices in order: associative, far from commutative. */
struct text {
	size_t first, next;
	uint64_t hash;
	bool any;
};

static void begin_text(void *part, void *unused)
{
	(void)unused;
	*(struct text *)part = (struct text){ .any = false };
}

static int fold_text(void *part, size_t begin, size_t end, void *unused)
{
	struct text *t = part;

	(void)unused;
	TH_CHECK(!t->any);
	*t = (struct text){ .first = begin, .next = end, .any = true };
	for (size_t i = begin; i < end; i++)
		t->hash += i * i;
	return 0;
}

static int combine_text(void *part, void *next, void *unused)
{
	struct text *a = part, *b = next;

	(void)unused;
	if (!a->any) {
		*a = *b;
	} else {
		TH_CHECK_EQ(a->next, b->first); /* what follows, nothing else */
		a->next = b->next;
		a->hash += b->hash;
	}
	return 0;
}

TH_FIBER_TEST(JUMP, loop, reduce_combines_in_order_of_indices_F1)
{
	thrum_reducer how = { sizeof(struct text), begin_text, fold_text, combine_text, NULL, 0 };
	uint64_t sum = 0;
	struct text all;

	for (size_t n = 0; n < 3000; n += 97) {
		TH_CHECK_EQ(thrum_reduce(n, &how, &all), 0);
		TH_CHECK_EQ(all.any, n > 0);
		if (n > 0)
			TH_CHECK(all.first == 0 && all.next == n);
	}
	how.grain = 1; /* 10,007 parts would be more than are kept */
	TH_CHECK_EQ(thrum_reduce(N, &how, &all), 0);
	for (size_t i = 0; i < N; i++)
		sum += i * i;
	TH_CHECK_EQ(all.hash, sum);
	return 0;
}

static void begin_sum(void *part, void *unused)
{
	(void)unused;
	*(double *)part = 0;
}

static int fold_sum(void *part, size_t begin, size_t end, void *unused)
{
	double *sum = part;

	(void)unused;
	for (size_t i = begin; i < end; i++)
		*sum += 1.0 / (double)(i + 1);
	return 0;
}

static int combine_sum(void *part, void *next, void *unused)
{
	(void)unused;
	*(double *)part += *(double *)next;
	return 0;
}

static int sum_up(double *ret_sum)
{
	thrum_reducer how = { sizeof(double), begin_sum, fold_sum, combine_sum, NULL, 0 };

	return thrum_reduce(100000, &how, ret_sum);
}
THRUM_FX(sum_up, double);

TH_TEST(loop, floating_point_sums_do_not_depend_on_the_workers)
{
	double sums[4];

	for (unsigned w = 1; w <= 4; w++)
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = w), sum_up_fx(&sums[w - 1])), 0);
	for (int i = 1; i < 4; i++)
		TH_CHECK(memcmp(&sums[0], &sums[i], sizeof sums[0]) == 0);
	TH_CHECK(sums[0] > 12.0901 && sums[0] < 12.0902);
}

static int fail_to_combine(void *part, void *next, void *unused)
{
	(void)part, (void)next, (void)unused;
	return THRUM_APP(3);
}

TH_FIBER_TEST(JUMP, loop, failing_combine_is_the_result_F6)
{
	thrum_reducer how = { sizeof(double), begin_sum, fold_sum, fail_to_combine, NULL, 0 };
	double sum;

	TH_CHECK_EQ(thrum_reduce(100, &how, &sum), THRUM_APP(3));
	return 0;
}

/* --- a part is a child, also where it is the only one --- */

struct lone {
	const void *caller;
	int taken, given;
};

static int take(struct lone *l)
{
	l->taken++;
	return 0;
}
static int give(struct lone *l)
{
	l->given++;
	return 0;
}
THRUM_FX(take, struct lone);
THRUM_FX(give, struct lone);

static int be_a_child(size_t begin, size_t end, void *arg)
{
	struct lone *l = arg;

	(void)begin, (void)end;
	TH_CHECK(thrum_self_id() != l->caller);
	TH_CHECK_EQ(thrum_acquire_release(take_fx(l), give_fx(l)), 0);
	TH_CHECK(l->taken > l->given);
	return 7; /* a success */
}

static int fail_at_once(size_t begin, size_t end, void *unused)
{
	(void)begin, (void)end, (void)unused;
	return THRUM_APP(4);
}

static int fold_as_a_child(void *part, size_t begin, size_t end, void *arg)
{
	(void)part;
	return be_a_child(begin, end, arg);
}

static void begin_empty(void *part, void *unused)
{
	(void)part, (void)unused;
}

static int combine_well(void *part, void *next, void *unused)
{
	(void)part, (void)next, (void)unused;
	return 7;
}

TH_ONE_WORKER_TEST(JUMP, loop, parts_run_as_children_whatever_their_number_K10_A8)
{
	struct lone l = { thrum_self_id(), 0, 0 };
	thrum_reducer how = { 1, begin_empty, fold_as_a_child, combine_well, &l, 0 };
	char sum;

	for (int n = 1; n <= 3; n++) {
		TH_CHECK_EQ(thrum_parallel_for((size_t)n, be_a_child, &l), 0);
		TH_CHECK_EQ(thrum_parallel_for_grain((size_t)n, 10, be_a_child, &l), 0);
		TH_CHECK_EQ(thrum_reduce((size_t)n, &how, &sum), 0);
		TH_CHECK_EQ(l.given, l.taken);
	}
	TH_CHECK_EQ(l.taken, 6 + 3 + 6);
	return 0;
}

TH_FIBER_TEST(JUMP, loop, cause_of_a_lone_part_is_its_own)
{
	TH_CHECK_EQ(thrum_race(thrum_fail(-ENOENT)), -ENOENT);
	TH_CHECK_EQ(thrum_parallel_for(1, fail_at_once, NULL), THRUM_APP(4));
	TH_CHECK(thrum_last_cause() && thrum_last_cause()->code == THRUM_APP(4));
	return 0;
}
