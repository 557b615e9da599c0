/* Workers without work, and more workers than processors. */
#include <sched.h>
#include <time.h>
#include "test/support/child.h"
#include "test/support/rules.h"

static long long cpu_us(void)
{
	struct timespec t;

	TH_CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static thrum_stats stats(void)
{
	thrum_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &st), 0);
	return st;
}

/* --- work for everybody --- */

struct tree {
	int depth;
	th_counter *leaves;
};
static int grow(struct tree *t);
THRUM_FX(grow, struct tree);
static int grow(struct tree *t)
{
	struct tree below = { t->depth - 1, t->leaves };

	if (t->depth == 0) {
		th_count(t->leaves, 1);
		return 0;
	}
	return thrum_zip_par(grow_fx(&below), grow_fx(&below));
}

static int count_item(th_counter *c)
{
	th_count(c, 1);
	return 0;
}
THRUM_FX(count_item, th_counter);

static int yield_often(th_counter *c)
{
	for (int i = 0; i < 20; i++) {
		TH_CHECK_EQ(thrum_yield(), 0);
		th_count(c, 1);
	}
	return 0;
}
THRUM_FX(yield_often, th_counter);

/* Forks, items, fibers that yield, and sleeps beside each other. */
static int work_of_all_kinds(void)
{
	enum { DEPTH = 10, ITEMS = 5000, FIBERS = 200 };
	th_counter leaves = { 0 }, items = { 0 }, yields = { 0 };
	struct tree tree = { DEPTH, &leaves };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < FIBERS; i++)
		TH_CHECK_EQ(thrum_go(&s, yield_often_fx(&yields)), 0);
	TH_CHECK_EQ(grow(&tree), 0);
	TH_CHECK_EQ(thrum_for_each_par_n(count_item_run_, &items, ITEMS, 0, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_counted(&leaves), 1 << DEPTH);
	TH_CHECK_EQ(th_counted(&items), ITEMS);
	TH_CHECK_EQ(th_counted(&yields), FIBERS * 20);
	return 0;
}

/* --- nothing to do --- */

/* From a millisecond after the last work on, no worker runs. The bound is for what a machine does by itself: a worker that
 * went on looking would take all of the time. */
TH_FIBER_TEST(REAL, idle, workers_without_work_take_no_processor)
{
	long long before, used;
	thrum_stats was, is;

	TH_CHECK_EQ(work_of_all_kinds(), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	was = stats();
	before = cpu_us();
	TH_CHECK_EQ(thrum_sleep(thrum_ms(200)), 0);
	used = cpu_us() - before;
	is = stats();
	if (used > 20000)
		th_check_failed(__FILE__, __LINE__, "%lld us of 200 ms", used);
	TH_CHECK(is.parks - was.parks <= 2 * thrum_workers() + 2); /* nor does one get up and lie down again */
	return 0;
}

/* --- more workers than processors --- */

static int run_all_kinds(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(work_of_all_kinds(), 0);
	return 0;
}

enum { MANY = TH_TSAN_BUILD ? 16 : 64 };

TH_TEST(idle, many_more_workers_than_processors)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = MANY), (thrum_fx){ run_all_kinds, NULL }), 0);
}

TH_TEST(idle, many_workers_on_one_processor)
{
	cpu_set_t all, one;
	size_t first = 0;

	TH_CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	while (!CPU_ISSET(first, &all))
		first++;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	TH_CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 0), (thrum_fx){ run_all_kinds, NULL }), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = MANY), (thrum_fx){ run_all_kinds, NULL }), 0);
	TH_CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

/* A fiber that computes on and on keeps its worker; others are served by the rest, whoever got them first. */
struct hog {
	th_counter stop, done;
};
static int compute(struct hog *h)
{
	while (!th_counted(&h->stop))
		;
	return 0;
}
THRUM_FX(compute, struct hog);

static int stop_hog(struct hog *h)
{
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	th_count(&h->done, 1);
	th_count(&h->stop, 1);
	return 0;
}
THRUM_FX(stop_hog, struct hog);

static int hog_and_others(struct hog *h)
{
	return thrum_zip_par(compute_fx(h), stop_hog_fx(h));
}
THRUM_FX(hog_and_others, struct hog);

/* The forker looks up no more. */
TH_TEST(idle, what_lies_behind_a_computing_effect_is_taken)
{
	struct hog h = { { 0 }, { 0 } };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), hog_and_others_fx(&h)), 0);
	TH_CHECK_EQ(th_counted(&h.done), 1);
}
