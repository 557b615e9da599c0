/* for_each_par over an iterator: rules F2 to F6, F8 and F9; and the callback of F10, which it shares with the form over
 * an array. */
#include <string.h>
#include "test/support/rules.h"

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2), E_PULL = THRUM_APP(3), MANY = 1000 };

struct line;
struct item {
	struct line *line;
	int ms, code, cleanup_ms;
	int runs, got, drops, dones;
};

/* Items that are pulled in turn, each pull taking pull_ms. */
struct line {
	struct item *items;
	size_t n, at;
	int pull_ms, code;         /* code: after the last one, instead of the end */
	th_counter pulls, pulling, pulling_most, pulled_alive, pulled_most, alive, most;
	long long last_pull_ms;
};

static int next(void *iter, void **ret_item)
{
	struct line *l = iter;
	int r = 1;

	th_count(&l->pulls, 1);
	th_count_max(&l->pulling_most, th_count(&l->pulling, 1));
	if (l->pull_ms > 0)
		r = thrum_sleep(thrum_ms(l->pull_ms));
	if (r >= 0 && l->at == l->n) {
		r = l->code;
	} else if (r >= 0) {
		*ret_item = &l->items[l->at++];
		th_count_max(&l->pulled_most, th_count(&l->pulled_alive, 1));
		r = 1;
	}
	l->last_pull_ms = th_now_ms();
	th_count(&l->pulling, -1);
	return r;
}

static int nap(void *ms)
{
	return thrum_sleep(thrum_ms(*(int *)ms));
}

static int work(void *arg)
{
	struct item *i = arg;

	i->runs++;
	th_count_max(&i->line->most, th_count(&i->line->alive, 1));
	i->got = i->ms > 0 ? thrum_sleep(thrum_ms(i->ms)) : 0;
	if (i->got == 0)
		i->got = i->code;
	if (i->cleanup_ms > 0)
		TH_CHECK_EQ(thrum_shield((thrum_fx){ nap, &i->cleanup_ms }), 0);
	th_count(&i->line->alive, -1);
	th_count(&i->line->pulled_alive, -1);
	return i->got;
}

static void drop(void *arg)
{
	struct item *i = arg;

	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* shielded */
	i->drops++;
	th_count(&i->line->pulled_alive, -1);
}

static struct line *line(struct line *l, struct item *items, size_t n, int ms)
{
	*l = (struct line){ .items = items, .n = n };
	for (size_t i = 0; i < n; i++)
		items[i] = (struct item){ .line = l, .ms = ms, .got = 99 };
	return l;
}

static int run_line(struct line *l, size_t parallelism)
{
	return thrum_for_each_par_from(next, l, work, parallelism, THRUM_FAN_OPTS(.drop = drop));
}

/* --- F2, F3: nothing to do, bad arguments --- */

TH_FIBER_TEST(JUMP, for_each_from, of_no_items_succeeds_F2)
{
	struct line l;

	TH_CHECK_EQ(run_line(line(&l, NULL, 0, 0), 3), 0);
	TH_CHECK_EQ(th_counted(&l.pulls), 1);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_from, bad_arguments_are_refused_F3)
{
	struct item items[1];
	int codes[1];
	struct line l;

	line(&l, items, 1, 0);
	TH_CHECK_EQ(run_line(&l, 0), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_from(NULL, &l, work, 1, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_from(next, &l, NULL, 1, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_from(next, &l, work, 1, THRUM_FAN_OPTS(.codes = codes)), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_from(next, &l, work, 1, THRUM_FAN_OPTS(.grain = 2)), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par_from(next, &l, work, 1, &(thrum_fan_opts){ .drop = drop }), -EINVAL);
	TH_CHECK_EQ(th_counted(&l.pulls), 0);
	return 0;
}

TH_TEST(for_each_from, is_for_fibers_X1)
{
	struct line l;

	TH_CHECK_EQ(run_line(line(&l, NULL, 0, 0), 1), THRUM_ENOTFIBER);
}

/* --- F4, F5: lazily, by one, no more than the bound --- */

TH_FIBER_TEST(JUMP, for_each_from, each_item_runs_once_in_time_F4)
{
	static const int most[] = { 1, 2, 3, 10, 10 }, rounds[] = { 10, 5, 4, 1, 1 };
	static const size_t bound[] = { 1, 2, 3, 10, THRUM_UNBOUNDED };

	for (int k = 0; k < 5; k++) {
		thrum_time t0 = thrum_now();
		struct item items[10];
		struct line l;

		TH_CHECK_EQ(run_line(line(&l, items, 10, 10), bound[k]), 0);
		TH_CHECK_EQ(th_counted(&l.most), most[k]);
		TH_CHECK_EQ(th_counted(&l.pulls), 11);
		TH_CHECK_EQ(th_ms_since(t0), 10 * rounds[k]);
		for (int i = 0; i < 10; i++)
			TH_CHECK_EQ(items[i].runs, 1);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_from, one_pulls_at_a_time_though_pulls_wait_F5)
{
	thrum_time t0 = thrum_now();
	struct item items[10];
	struct line l;

	line(&l, items, 10, 35)->pull_ms = 10;
	TH_CHECK_EQ(run_line(&l, 8), 0);
	TH_CHECK_EQ(th_counted(&l.pulling_most), 1);
	TH_CHECK_EQ(th_counted(&l.pulls), 11);
	TH_CHECK_EQ(th_counted(&l.most), 4); /* 35 ms of work, an item each 10 ms */
	TH_CHECK_EQ(th_ms_since(t0), 10 * 10 + 35);
	return 0;
}

/* An item that is pulled counts: who pulls has a place free. */
TH_FIBER_TEST(JUMP, for_each_from, no_more_items_are_pulled_than_can_run_F5)
{
	static struct item items[MANY];
	struct line l;

	TH_CHECK_EQ(run_line(line(&l, items, MANY, 3), 5), 0);
	TH_CHECK_EQ(th_counted(&l.pulled_most), 5);
	TH_CHECK_EQ(th_counted(&l.pulled_alive), 0);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, for_each_from, at_most_as_many_fibers_as_the_bound_F5)
{
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	static struct item items[MANY];
	struct line l;

	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	TH_CHECK_EQ(run_line(line(&l, items, MANY, 3), 5), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK(after.fibers - before.fibers <= 4); /* the caller is the fifth */
	return 0;
}

/* Items that do not suspend: one fiber does it all, however unbounded. */
TH_ONE_WORKER_TEST(JUMP, for_each_from, unbounded_takes_no_more_fibers_than_it_needs_F5)
{
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	static struct item items[MANY];
	struct line l;

	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	TH_CHECK_EQ(run_line(line(&l, items, MANY, 0), THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.fibers - before.fibers, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_from, a_failing_iterator_cancels_first_and_is_the_result_F5)
{
	thrum_time t0 = thrum_now();
	struct item items[2];
	struct line l;

	line(&l, items, 2, 500)->code = E_PULL;
	l.pull_ms = 10;
	items[0].cleanup_ms = items[1].cleanup_ms = 5;
	TH_CHECK_EQ(run_line(&l, 4), E_PULL);
	TH_CHECK_EQ(th_ms_since(t0), 3 * 10 + 5);
	TH_CHECK_EQ(items[0].got, -ECANCELED);
	TH_CHECK_EQ(items[1].got, -ECANCELED);
	TH_CHECK_EQ(th_counted(&l.pulls), 3);
	TH_CHECK(thrum_last_cause() && thrum_last_cause()->code == E_PULL);
	TH_CHECK_EQ(thrum_last_cause()->index, 2);
	return 0;
}

static int tidy(void *arg)
{
	return ((struct line *)arg)->code;
}

/* It gives an item, but what it acquired for itself cannot be released: a failure, and the item is not lost. */
static int next_that_cannot_tidy(void *iter, void **ret_item)
{
	struct line *l = iter;

	TH_CHECK_EQ(thrum_acquire_release(thrum_succeed(), (thrum_fx){ tidy, l }), 0);
	*ret_item = &l->items[l->at++];
	th_count(&l->pulled_alive, 1);
	return 1;
}

TH_FIBER_TEST(JUMP, for_each_from, an_item_of_a_pull_that_failed_after_all_is_dropped_G10)
{
	struct item items[1];
	struct line l;

	line(&l, items, 1, 0)->code = E_PULL;
	TH_CHECK_EQ(thrum_for_each_par_from(next_that_cannot_tidy, &l, work, 2, THRUM_FAN_OPTS(.drop = drop)), E_PULL);
	TH_CHECK_EQ(items[0].drops, 1);
	TH_CHECK_EQ(items[0].runs, 0);
	return 0;
}

/* --- F6: the first failure --- */

TH_FIBER_TEST(JUMP, for_each_from, first_failure_pulls_no_more_and_cancels_the_running_F6)
{
	thrum_time t0 = thrum_now();
	struct item items[8];
	struct line l;

	line(&l, items, 8, 500);
	items[0].ms = 10;
	items[1] = (struct item){ .line = &l, .ms = 15, .code = E_FIRST };
	items[2].code = E_LATER;
	TH_CHECK_EQ(run_line(&l, 2), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 15);
	TH_CHECK_EQ(th_counted(&l.pulls), 3);
	TH_CHECK_EQ(items[0].got, 0);
	TH_CHECK_EQ(items[2].got, -ECANCELED);
	return 0;
}

/* One waits to pull, one pulls and does not let itself be disturbed, one fails: the item comes too late to be run. */
static int stubborn_next(void *iter, void **ret_item)
{
	struct line *l = iter;
	int ms = 30;

	th_count(&l->pulls, 1);
	if (l->at == 1)
		TH_CHECK_EQ(thrum_shield((thrum_fx){ nap, &ms }), 0);
	*ret_item = &l->items[l->at++];
	th_count(&l->pulled_alive, 1);
	return 1;
}

TH_FIBER_TEST(JUMP, for_each_from, an_item_pulled_but_never_run_is_dropped_G10_F6)
{
	thrum_time t0 = thrum_now();
	struct item items[3];
	struct line l;

	line(&l, items, 3, 10);
	items[0].code = E_FIRST;
	TH_CHECK_EQ(thrum_for_each_par_from(stubborn_next, &l, work, 3, THRUM_FAN_OPTS(.drop = drop)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 31);
	TH_CHECK_EQ(th_counted(&l.pulls), 2);
	TH_CHECK_EQ(items[1].runs, 0);
	TH_CHECK_EQ(items[1].drops, 1);
	TH_CHECK_EQ(items[0].drops, 0); /* it ran */
	return 0;
}

/* --- F8, F9: from outside --- */

static int run_line_by_3(struct line *l)
{
	return run_line(l, 3);
}
static int run_line_by_1(struct line *l)
{
	return run_line(l, 1);
}
THRUM_FX(run_line_by_3, struct line);
THRUM_FX(run_line_by_1, struct line);

TH_FIBER_TEST(JUMP, for_each_from, cancelled_from_outside_cancels_and_awaits_F8)
{
	static struct item items[MANY];
	long long t0 = th_now_ms();
	struct th_outside o;
	struct line l;

	line(&l, items, MANY, 10);
	for (int i = 0; i < MANY; i++)
		items[i].cleanup_ms = 2;
	o = th_cancel_after(30, run_line_by_3_fx(&l));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 32);
	TH_CHECK_EQ(th_counted(&l.pulls), 9);
	TH_CHECK_EQ(th_counted(&l.pulled_alive), 0);
	return 0;
}

/* Whoever waits to pull learns of the cancel too. */
TH_FIBER_TEST(JUMP, for_each_from, waiting_to_pull_can_be_cancelled_F8)
{
	long long t0 = th_now_ms();
	struct item items[3];
	struct th_outside o;
	struct line l;

	line(&l, items, 3, 1)->pull_ms = 20;
	o = th_cancel_after(50, run_line_by_3_fx(&l));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 50);
	TH_CHECK_EQ(items[0].got + items[1].got, 0);
	TH_CHECK_EQ(items[2].runs, 0);
	return 0;
}

/* All that ran succeeded, shielded; but the iterator had not said that this was all. */
TH_FIBER_TEST(JUMP, for_each_from, a_cancel_before_the_end_is_no_success_F8)
{
	struct item items[1];
	struct line l;

	line(&l, items, 1, 0);
	items[0].cleanup_ms = 30;
	TH_CHECK_EQ(th_cancel_after(10, run_line_by_3_fx(&l)).code, 0); /* one of the other two has seen the end */
	line(&l, items, 1, 0);
	items[0].cleanup_ms = 30;
	l.pull_ms = 20;
	TH_CHECK_EQ(th_cancel_after(25, run_line_by_3_fx(&l)).code, -ECANCELED);
	TH_CHECK_EQ(items[0].got, 0);
	line(&l, items, 1, 0); /* nobody else pulls, and whoever would be next is stopped before it asks */
	items[0].cleanup_ms = 30;
	TH_CHECK_EQ(th_cancel_after(10, run_line_by_1_fx(&l)).code, -ECANCELED);
	TH_CHECK_EQ(items[0].got, 0);
	TH_CHECK_EQ(th_counted(&l.pulls), 1);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_from, started_when_already_cancelled_pulls_nothing_F9)
{
	struct item items[1];
	struct line l;

	line(&l, items, 1, 0);
	TH_CHECK_EQ(th_call_cancelled(run_line_by_3_fx(&l)), -ECANCELED);
	TH_CHECK_EQ(th_counted(&l.pulls), 0);
	return 0;
}

/* --- F10: told of each as it is done --- */

struct told {
	th_counter inside, most;
	int ms, n;
	size_t index[16];
	int code[16];
	void *arg[16];
};

static void tell(void *arg, size_t index, int code, void *ctx)
{
	struct told *t = ctx;

	th_count_max(&t->most, th_count(&t->inside, 1));
	if (t->ms > 0)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(t->ms)), 0); /* shielded */
	t->index[t->n] = index;
	t->code[t->n] = code;
	t->arg[t->n++] = arg;
	th_count(&t->inside, -1);
}

static struct told told_of(struct line *l, const int *ms, int n, bool from, int tell_ms)
{
	struct told t = { .ms = tell_ms };
	thrum_fan_opts *o = THRUM_FAN_OPTS(.done = tell, .done_ctx = &t);
	int r;

	for (int i = 0; i < n; i++)
		l->items[i].ms = ms[i];
	if (from)
		r = thrum_for_each_par_from(next, l, work, 3, o);
	else
		r = thrum_for_each_par_with(work, l->items, (size_t)n, sizeof *l->items, 3, o);
	TH_CHECK_EQ(r, 0);
	TH_CHECK_EQ(t.n, n);
	TH_CHECK_EQ(th_counted(&t.most), 1);
	return t;
}

TH_FIBER_TEST(JUMP, for_each_done, tells_in_the_order_of_completion_F10)
{
	static const int ms[] = { 50, 20, 10, 20, 5 }; /* 3 starts at 10, 4 at 20: 2 1 4 3 0 */
	static const size_t want[] = { 2, 1, 4, 3, 0 };

	for (int from = 0; from < 2; from++) {
		struct item items[5];
		struct told t;
		struct line l;

		t = told_of(line(&l, items, 5, 0), ms, 5, from, 0);
		for (int i = 0; i < 5; i++) {
			TH_CHECK_EQ(t.index[i], want[i]);
			TH_CHECK(t.arg[i] == &items[want[i]]);
			TH_CHECK_EQ(t.code[i], 0);
		}
	}
	return 0;
}

/* They end all at once; each telling takes a while. */
TH_FIBER_TEST(JUMP, for_each_done, tells_one_at_a_time_F10)
{
	static const int ms[] = { 10, 10, 10, 10, 10, 10 };

	for (int from = 0; from < 2; from++) {
		thrum_time t0 = thrum_now();
		struct item items[6];
		struct line l;

		told_of(line(&l, items, 6, 0), ms, 6, from, 7);
		TH_CHECK_EQ(th_ms_since(t0), 10 + 6 * 7);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_done, tells_of_failures_and_interrupts_but_not_of_what_never_ran_F10)
{
	for (int from = 0; from < 2; from++) {
		struct told t = { .ms = 3 };
		thrum_fan_opts *o = THRUM_FAN_OPTS(.done = tell, .done_ctx = &t);
		struct item items[6];
		struct line l;
		int r;

		line(&l, items, 6, 100);
		items[1].ms = 10;
		items[1].code = E_FIRST;
		if (from)
			r = thrum_for_each_par_from(next, &l, work, 3, o);
		else
			r = thrum_for_each_par_with(work, items, 6, sizeof *items, 3, o);
		TH_CHECK_EQ(r, E_FIRST);
		TH_CHECK_EQ(t.n, 3);
		for (int i = 0; i < 3; i++)
			TH_CHECK_EQ(t.code[i], t.index[i] == 1 ? E_FIRST : -ECANCELED);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_done, goes_with_settling_F10)
{
	struct item items[3];
	struct told t = { 0 };
	struct line l;
	int codes[3];

	line(&l, items, 3, 10);
	items[1].code = E_FIRST;
	TH_CHECK_EQ(thrum_for_each_par_with(work, items, 3, sizeof *items, 1,
					    THRUM_FAN_OPTS(.done = tell, .done_ctx = &t, .codes = codes)), 0);
	TH_CHECK_EQ(t.n, 3);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(t.index[i], i);
		TH_CHECK_EQ(t.code[i], i == 1 ? E_FIRST : 0);
		TH_CHECK_EQ(codes[i], t.code[i]);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, for_each_done, is_not_for_zips_and_races)
{
	thrum_fx fx = thrum_succeed();

	TH_CHECK_EQ(thrum_zip_par_with(&fx, 1, THRUM_FAN_OPTS(.done = tell)), -EINVAL);
	TH_CHECK_EQ(thrum_race_with(&fx, 1, THRUM_FAN_OPTS(.done = tell)), -EINVAL);
	return 0;
}
