/* Pipelines. Where no rule of its own is named: D23 (bounded and really parallel), D24 (an error is never lost, nor a
 * part taken for the whole), G10 (each item reaches its end or is dropped, once), Z4, Z8. */
#include <string.h>
#include "test/support/child.h"
#include "test/support/rules.h"

enum { E_STAGE = THRUM_APP(1), E_OTHER = THRUM_APP(2), MANY = 10000 };

/* An item knows where it came from; what happens to it is counted by its number. */
struct thing {
	int id;
	int hops;
};

/* A source of n things, and what became of them. */
struct world {
	int n, at;
	int source_ms, fail_at, code;      /* fail_at: the source fails with code instead of making this one */
	int pause_at, pause_ms;            /* before it makes that one */
	th_counter dropped[MANY], arrived[MANY];
	th_counter made, arrivals, drops, alive, most_ahead;
	int order[MANY];                   /* in which they arrived; sink of parallelism 1 */
	long long at_ms[MANY];
};

static int make(void *arg, void *in, void *out)
{
	struct world *w = arg;
	struct thing *t = out;

	TH_CHECK(in == NULL);
	if (w->source_ms > 0) {
		int r = thrum_sleep(thrum_ms(w->source_ms));
		if (r < 0)
			return r;
	}
	if (w->pause_ms > 0 && w->at == w->pause_at) {
		int r = thrum_sleep(thrum_ms(w->pause_ms));
		if (r < 0)
			return r;
	}
	if (w->code < 0 && w->at == w->fail_at)
		return w->code;
	if (w->at == w->n)
		return 0;
	*t = (struct thing){ .id = w->at++ };
	th_count_max(&w->most_ahead, th_count(&w->made, 1) - th_counted(&w->arrivals));
	return 1;
}

static void drop(void *arg, void *item)
{
	struct world *w = arg;

	TH_CHECK_EQ(thrum_yield(), 0); /* shielded */
	th_count(&w->dropped[((struct thing *)item)->id], 1);
	th_count(&w->drops, 1);
}

static int arrive(void *arg, void *in, void *out)
{
	struct world *w = arg;
	struct thing *t = in;
	int place = th_count(&w->arrivals, 1) - 1;

	TH_CHECK(out == NULL);
	w->order[place] = t->id;
	w->at_ms[place] = th_now_ms();
	th_count(&w->arrived[t->id], 1);
	return 0;
}

static struct world *world(int n)
{
	static struct world w;

	memset(&w, 0, sizeof w);
	w.n = n;
	return &w;
}

/* Each thing that was made has arrived or was dropped, once. */
static void check_conserved(const struct world *w)
{
	TH_CHECK_EQ(th_counted(&w->arrivals) + th_counted(&w->drops), th_counted(&w->made));
	for (int i = 0; i < th_counted(&w->made); i++)
		TH_CHECK_EQ(th_counted(&w->arrived[i]) + th_counted(&w->dropped[i]), 1);
}

static void check_all_arrived_in_order(const struct world *w)
{
	TH_CHECK_EQ(th_counted(&w->arrivals), w->n);
	TH_CHECK_EQ(th_counted(&w->drops), 0);
	for (int i = 0; i < w->n; i++)
		TH_CHECK_EQ(w->order[i], i);
}

/* A stage that takes ms[id % 4] for each thing, and may fail at one. */
struct step {
	struct world *world;     /* whose drop takes what it makes; NULL: none */
	int ms[4], first_ms;     /* first_ms: of the first thing, if not 0 */
	int fail_at, code;
	th_counter alive, most, runs;
};

static int step(void *arg, void *in, void *out)
{
	struct step *s = arg;
	struct thing *t = in;
	int ms = t->id == 0 && s->first_ms ? s->first_ms : s->ms[t->id % 4], r = 0;

	th_count(&s->runs, 1);
	th_count_max(&s->most, th_count(&s->alive, 1));
	if (ms > 0)
		r = thrum_sleep(thrum_ms(ms));
	th_count(&s->alive, -1);
	if (r == 0 && s->code < 0 && t->id == s->fail_at)
		r = s->code;
	if (r < 0)
		return r;
	if (out)
		*(struct thing *)out = (struct thing){ t->id, t->hops + 1 };
	return 1; /* also: a filter keeps it */
}

static void drop_step(void *arg, void *item)
{
	if (((struct step *)arg)->world)
		drop(((struct step *)arg)->world, item);
}

/* SOURCE(world, ...), MAP(step, ...), SINK(world, ...) */
#define SOURCE(...) SOURCE_(__VA_ARGS__, .name = "source")
#define MAP(...) MAP_(__VA_ARGS__, .name = "map")
#define SINK(...) SINK_(__VA_ARGS__, .name = "sink")
#define SOURCE_(w_, ...) { .kind = THRUM_STAGE_SOURCE, .run = make, .arg = (w_), .out_bytes = sizeof(struct thing), \
			   .drop = drop, __VA_ARGS__ }
#define MAP_(s_, ...) { .kind = THRUM_STAGE_MAP, .run = step, .arg = (s_), .out_bytes = sizeof(struct thing), \
			.drop = drop_step, __VA_ARGS__ }
#define SINK_(w_, ...) { .kind = THRUM_STAGE_EACH, .run = arrive, .arg = (w_), __VA_ARGS__ }
#define RUN(stages_) thrum_pipeline((stages_), sizeof(stages_) / sizeof(*(stages_)), NULL)
#define RUN_WITH(stages_, ...) \
	thrum_pipeline((stages_), sizeof(stages_) / sizeof(*(stages_)), THRUM_PIPELINE_OPTS(__VA_ARGS__))

/* --- from end to end --- */

TH_FIBER_TEST(JUMP, pipe, items_arrive_in_order)
{
	static const int n[] = { 0, 1, 2, 10, MANY };
	static const size_t buffer[] = { 0, 1, 16 };

	for (int k = 0; k < 5; k++)
		for (int b = 0; b < 3; b++) {
			struct world *w = world(n[k]);
			struct step s = { 0 };
			uint64_t passed[3];
			thrum_stage p[] = { SOURCE(w, .buffer = buffer[b]), MAP(&s, .buffer = buffer[b]), SINK(w) };

			TH_CHECK_EQ(RUN_WITH(p, .passed = passed), 0);
			check_all_arrived_in_order(w);
			for (int i = 0; i < 3; i++)
				TH_CHECK_EQ(passed[i], n[k]);
		}
	return 0;
}

static int keep_odd(void *arg, void *in, void *out)
{
	(void)arg;
	TH_CHECK(out == NULL);
	return ((struct thing *)in)->id % 2;
}

TH_FIBER_TEST(JUMP, pipe, filter_drops_what_it_leaves_out)
{
	struct world *w = world(100);
	thrum_stage p[] = { SOURCE(w), { .kind = THRUM_STAGE_FILTER, .run = keep_odd }, SINK(w) };
	uint64_t passed[3];

	TH_CHECK_EQ(RUN_WITH(p, .passed = passed), 0);
	check_conserved(w);
	TH_CHECK_EQ(passed[1], 50);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(th_counted(&w->arrived[i]), i % 2);
	return 0;
}

static int add_up(void *arg, void *in, void *out)
{
	long long *sum = arg;

	TH_CHECK(out == NULL);
	*sum += ((struct thing *)in)->id;
	return 0;
}

static int emit_as_many(void *arg, void *in, void *emitter)
{
	struct thing *t = in;
	int r = 0;

	(void)arg;
	for (int i = 0; r == 0 && i < t->id; i++)
		r = thrum_emit(emitter, t);
	return r;
}

TH_FIBER_TEST(JUMP, pipe, flat_map_makes_none_or_many_and_fold_adds_up)
{
	struct world *w = world(30);
	long long sum = 0;
	uint64_t passed[3];
	thrum_stage p[] = { SOURCE(w),
			    { .kind = THRUM_STAGE_FLAT_MAP, .run = emit_as_many, .out_bytes = sizeof(struct thing),
			      .parallelism = 3 },
			    { .kind = THRUM_STAGE_FOLD, .run = add_up, .arg = &sum } };

	TH_CHECK_EQ(RUN_WITH(p, .passed = passed), 0);
	TH_CHECK_EQ(passed[1], 29 * 30 / 2);
	TH_CHECK_EQ(sum, 29 * 30 * 59 / 6);
	return 0;
}

/* --- parallel stages --- */

TH_FIBER_TEST(JUMP, pipe, stages_are_parallel_within_their_bound_D23)
{
	struct world *w = world(12);
	struct step a = { .ms = { 10, 10, 10, 10 } }, b = { .ms = { 30, 30, 30, 30 } };
	thrum_time t0 = thrum_now();
	thrum_stage p[] = { SOURCE(w, .buffer = 4), MAP(&a, .buffer = 4), MAP(&b, .parallelism = 3), SINK(w) };

	TH_CHECK_EQ(RUN(p), 0);
	TH_CHECK_EQ(th_counted(&a.most), 1);
	TH_CHECK_EQ(th_counted(&b.most), 3);
	TH_CHECK_EQ(th_ms_since(t0), 12 * 10 + 30);
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, ordered_stages_keep_the_order_however_long_each_takes)
{
	static const size_t parallel[] = { 1, 2, 3, 4, 7 };

	for (int k = 0; k < 5; k++) {
		struct world *w = world(400);
		struct step a = { .ms = { 40, 10, 30, 0 } }, b = { .ms = { 0, 5, 20, 15 } };
		thrum_stage p[] = { SOURCE(w), MAP(&a, .parallelism = parallel[k], .ordered = true, .buffer = 2),
				    { .kind = THRUM_STAGE_FILTER, .run = step, .arg = &b, .parallelism = 4, .ordered = true },
				    SINK(w) };

		TH_CHECK_EQ(RUN(p), 0);
		check_all_arrived_in_order(w);
		TH_CHECK(th_counted(&a.most) <= (int)parallel[k]);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, unordered_stages_pass_on_as_they_finish)
{
	static const int want[] = { 3, 1, 2, 0 };
	struct world *w = world(4);
	struct step a = { .ms = { 40, 10, 30, 5 } };
	thrum_stage p[] = { SOURCE(w), MAP(&a, .parallelism = 4), SINK(w) };

	TH_CHECK_EQ(RUN(p), 0);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(w->order[i], want[i]);
	return 0;
}

/* The first of four takes long. Those behind it wait for their turn: without a window they keep the places; with one others
 * go on in them, as many as the window has room for. */
TH_FIBER_TEST(JUMP, pipe, a_window_lets_others_run_while_one_is_late)
{
	static const size_t window[] = { 0, 2, 4, 8, 100 };
	static const int want_ms[] = { 80, 80, 70, 60, 60 };

	for (int k = 0; k < 5; k++) {
		struct world *w = world(9);
		struct step a = { .ms = { 10, 10, 10, 10 }, .first_ms = 40 };
		thrum_time t0 = thrum_now();
		thrum_stage p[] = { SOURCE(w), MAP(&a, .parallelism = 2, .ordered = true, .window = window[k]), SINK(w) };

		TH_CHECK_EQ(RUN(p), 0);
		check_all_arrived_in_order(w);
		TH_CHECK_EQ(th_counted(&a.most), 2);
		TH_CHECK_EQ(th_ms_since(t0), want_ms[k]);
	}
	return 0;
}

static int emit_slowly(void *arg, void *in, void *emitter)
{
	struct thing *t = in;
	int r = 0;

	(void)arg;
	for (int i = 0; r == 0 && i < 3; i++) {
		r = thrum_sleep(thrum_ms(t->id == 0 ? 20 : 10));
		t->hops = i;
		if (r == 0)
			r = thrum_emit(emitter, t);
	}
	return r;
}

struct log {
	int n;
	struct thing things[64];
};
static int note(void *arg, void *in, void *out)
{
	struct log *l = arg;

	(void)out;
	l->things[l->n++] = *(struct thing *)in;
	return 0;
}

/* Three from each of four, two at a time. How far the second may run ahead of the first is .ahead. */
TH_FIBER_TEST(JUMP, pipe, ordered_flat_map_puts_aside_what_comes_early)
{
	static const size_t ahead[] = { 0, 1, 2, 3, 10 };
	static const int want_ms[] = { 120, 100, 90, 90, 90 };

	for (int k = 0; k < 5; k++) {
		struct world *w = world(4);
		struct log l = { 0 };
		thrum_time t0 = thrum_now();
		thrum_stage p[] = { SOURCE(w),
				    { .kind = THRUM_STAGE_FLAT_MAP, .run = emit_slowly, .out_bytes = sizeof(struct thing),
				      .parallelism = 2, .ordered = true, .ahead = ahead[k] },
				    { .kind = THRUM_STAGE_FOLD, .run = note, .arg = &l } };

		TH_CHECK_EQ(RUN(p), 0);
		TH_CHECK_EQ(l.n, 12);
		for (int i = 0; i < 12; i++)
			TH_CHECK(l.things[i].id == i / 3 && l.things[i].hops == i % 3);
		TH_CHECK_EQ(th_ms_since(t0), want_ms[k]);
	}
	return 0;
}

/* --- back-pressure --- */

static int stuck(void *arg, void *in, void *out)
{
	(void)arg, (void)in, (void)out;
	return thrum_sleep(thrum_sec(100));
}

/* The sink takes nothing. Then the source is ahead by what all buffers and places hold, and not by one more. */
TH_FIBER_TEST(JUMP, pipe, source_is_ahead_by_what_the_stages_hold_and_no_more)
{
	static const struct {
		size_t buffer, parallelism, window;
		bool ordered;
	} c[] = { { 0, 1, 0, false }, { 1, 1, 0, false }, { 5, 3, 0, false }, { 0, 3, 0, true }, { 5, 3, 0, true },
		  { 2, 2, 7, true } };

	for (int k = 0; k < 6; k++)
		for (size_t sinks = 1; sinks < 4; sinks += 2) {
			struct world *w = world(MANY);
			struct step a = { .world = w };
			size_t held = c[k].window ? c[k].window : c[k].parallelism;
			thrum_stage p[] = { SOURCE(w, .buffer = c[k].buffer),
					    MAP(&a, .buffer = c[k].buffer, .parallelism = c[k].parallelism,
						.window = c[k].window, .ordered = c[k].ordered),
					    { .kind = THRUM_STAGE_EACH, .run = stuck, .parallelism = sinks } };
			thrum_pipeline_op op = { p, 3, NULL };

			TH_CHECK_EQ(thrum_timeout(thrum_pipeline_fx(&op), thrum_sec(1)), -ETIMEDOUT);
			TH_CHECK_EQ(th_counted(&w->made), 1 + 2 * c[k].buffer + held + sinks);
			check_conserved(w);
		}
	return 0;
}

static int arrive_slowly(void *arg, void *in, void *out)
{
	int r = thrum_sleep(thrum_ms(1));

	return r < 0 ? r : arrive(arg, in, out);
}

TH_FIBER_TEST(JUMP, pipe, slow_sink_bounds_how_far_the_source_runs_ahead)
{
	struct world *w = world(1000);
	struct step a = { 0 };
	thrum_time t0 = thrum_now();
	thrum_stage p[] = { SOURCE(w, .buffer = 3), MAP(&a, .parallelism = 4, .ordered = true, .buffer = 2),
			    { .kind = THRUM_STAGE_EACH, .run = arrive_slowly, .arg = w } };

	TH_CHECK_EQ(RUN(p), 0);
	check_all_arrived_in_order(w);
	TH_CHECK_EQ(th_ms_since(t0), 1000);
	TH_CHECK_EQ(th_counted(&w->most_ahead), 1 + 3 + 4 + 2 + 1);
	return 0;
}

/* --- failures --- */

/* D24: the error of the source at item 3 of 6 is the result, and the fold's part is not taken for the whole. */
TH_FIBER_TEST(JUMP, pipe, error_of_the_source_is_the_result_D24)
{
	static const int at[] = { 0, 1, 3, 5 };

	for (int k = 0; k < 4; k++) {
		struct world *w = world(6);
		struct step a = { .world = w };
		size_t stage = 99;
		thrum_stage p[] = { SOURCE(w), MAP(&a), SINK(w) };

		w->fail_at = at[k];
		w->code = E_STAGE;
		TH_CHECK_EQ(RUN_WITH(p, .ret_stage = &stage), E_STAGE);
		TH_CHECK_EQ(stage, 0);
		TH_CHECK_EQ(th_counted(&w->made), at[k]);
		check_conserved(w);
		TH_CHECK(thrum_last_cause() && thrum_last_cause()->code == E_STAGE);
	}
	return 0;
}

/* The stage that fails at one item, by its place in the pipeline. */
static void run_failing(int which, size_t parallelism, bool ordered, bool arrives)
{
	struct world *w = world(50);
	struct step s[4] = { { .world = w }, { .world = w }, { .world = w }, { .world = w } };
	size_t stage = 99;
	thrum_stage p[] = {
		SOURCE(w, .buffer = 2),
		MAP(&s[0], .parallelism = parallelism, .ordered = ordered),
		{ .kind = THRUM_STAGE_FILTER, .run = step, .arg = &s[1], .parallelism = parallelism, .ordered = ordered,
		  .buffer = 3 },
		{ .kind = THRUM_STAGE_THROTTLE, .spacing = thrum_ms(1) },
		MAP(&s[2], .parallelism = parallelism, .ordered = ordered, .buffer = 2),
		{ .kind = THRUM_STAGE_EACH, .run = arrives ? arrive : step, .arg = arrives ? (void *)w : &s[3] },
	};
	static const size_t place[] = { 1, 2, 4, 5 };

	s[which].fail_at = 20;
	s[which].code = E_STAGE;
	TH_CHECK_EQ(RUN_WITH(p, .ret_stage = &stage), E_STAGE);
	TH_CHECK_EQ(stage, place[which]);
	if (arrives)
		check_conserved(w);
	if (arrives && ordered)
		TH_CHECK(th_counted(&w->arrivals) <= 20);
}

TH_FIBER_TEST(JUMP, pipe, error_of_any_stage_is_the_result_D24)
{
	for (size_t parallelism = 1; parallelism <= 4; parallelism += 3)
		for (int ordered = 0; ordered < 2; ordered++)
			for (int which = 0; which < 4; which++)
				run_failing(which, parallelism, ordered, which < 3);
	return 0;
}

static int emit_then_fail(void *arg, void *in, void *emitter)
{
	int r = thrum_emit(emitter, in);

	(void)arg;
	return r < 0 ? r : ((struct thing *)in)->id == 3 ? E_STAGE : 0;
}

TH_FIBER_TEST(JUMP, pipe, error_of_a_flat_map_after_it_emitted_D24)
{
	struct world *w = world(6);
	size_t stage = 99;
	thrum_stage p[] = { SOURCE(w),
			    { .kind = THRUM_STAGE_FLAT_MAP, .run = emit_then_fail, .out_bytes = sizeof(struct thing) },
			    { .kind = THRUM_STAGE_BATCH, .count = 10 }, { .kind = THRUM_STAGE_EACH, .run = stuck } };

	TH_CHECK_EQ(RUN_WITH(p, .ret_stage = &stage), E_STAGE);
	TH_CHECK_EQ(stage, 1);
	return 0;
}

/* What others do while they are wound up does not hide the first. */
TH_FIBER_TEST(JUMP, pipe, first_failure_is_the_result_Z4)
{
	struct world *w = world(50);
	struct step a = { .ms = { 3, 3, 3, 3 }, .fail_at = 7, .code = E_STAGE, .world = w };
	struct step b = { .ms = { 5, 5, 5, 5 }, .fail_at = 9, .code = E_OTHER, .world = w };
	thrum_stage p[] = { SOURCE(w), MAP(&a), MAP(&b), SINK(w) };

	TH_CHECK_EQ(RUN(p), E_STAGE);
	TH_CHECK(th_counted(&w->arrivals) < 7);
	check_conserved(w);
	return 0;
}

static int release_fails(void *arg)
{
	(void)arg;
	return E_OTHER;
}
static int finds_no_release(void *arg, void *in, void *out)
{
	(void)arg, (void)in, (void)out;
	return thrum_acquire_release(thrum_succeed(), (thrum_fx){ release_fails, NULL });
}

TH_FIBER_TEST(JUMP, pipe, what_a_function_acquired_is_released_after_each_item)
{
	struct world *w = world(3);
	thrum_stage p[] = { SOURCE(w), { .kind = THRUM_STAGE_EACH, .run = finds_no_release } };
	uint64_t passed[2];

	TH_CHECK_EQ(RUN_WITH(p, .passed = passed), E_OTHER);
	TH_CHECK_EQ(passed[1], 1); /* the item was taken; its finalizer failed, before the next one */
	return 0;
}

/* --- cancelled from outside --- */

static struct th_outside cancel_after(int ms, const thrum_stage *stages, size_t n)
{
	thrum_pipeline_op op = { stages, n, NULL };

	return th_cancel_after(ms, thrum_pipeline_fx(&op));
}

/* The cancel finds the pipeline waiting at this or that stage. */
TH_FIBER_TEST(JUMP, pipe, cancelled_at_any_stage_nothing_is_lost_Z8_G10)
{
	for (int which = 0; which < 5; which++) {
		struct world *w = world(100);
		struct step a = { .world = w }, b = { .world = w };
		long long t0 = th_now_ms();
		struct th_outside o;
		thrum_stage p[] = {
			SOURCE(w, .buffer = 2),
			MAP(&a, .parallelism = 3, .ordered = which % 2, .buffer = 1),
			{ .kind = THRUM_STAGE_THROTTLE, .spacing = which == 2 ? thrum_sec(1) : thrum_ms(1) },
			{ .kind = THRUM_STAGE_FILTER, .run = step, .arg = &b, .parallelism = 2 },
			SINK(w),
		};

		w->source_ms = which == 0 ? 500 : 0;
		for (int i = 0; i < 4; i++) {
			a.ms[i] = which == 1 ? 500 : 0;
			b.ms[i] = which == 3 ? 500 : 0;
		}
		if (which == 4)
			p[4].run = arrive_slowly;
		o = cancel_after(20, p, 5);
		TH_CHECK_EQ(o.code, -ECANCELED);
		TH_CHECK_EQ(o.at_ms - t0, 20);
		check_conserved(w);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, started_when_already_cancelled_runs_nothing_F9)
{
	struct world *w = world(3);
	thrum_stage p[] = { SOURCE(w), SINK(w) };
	thrum_pipeline_op op = { p, 2, NULL };

	TH_CHECK_EQ(th_call_cancelled(thrum_pipeline_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(th_counted(&w->made), 0);
	return 0;
}

/* --- batch --- */

struct batches {
	struct world *world;
	int n, sizes[64];
	long long at_ms[64];
	int ms;
};
static int arrive_batch(void *arg, void *in, void *out)
{
	struct batches *b = arg;
	thrum_batch *batch = in;
	int r = b->ms ? thrum_sleep(thrum_ms(b->ms)) : 0;

	if (r < 0)
		return r;
	b->at_ms[b->n] = th_now_ms();
	b->sizes[b->n++] = (int)batch->n;
	for (size_t i = 0; i < batch->n; i++)
		(void)arrive(b->world, &thrum_batch_items(batch, struct thing)[i], out);
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, batch_by_count_and_the_rest_at_the_end)
{
	for (int n = 0; n < 12; n++) {
		struct world *w = world(n);
		struct batches b = { .world = w };
		thrum_stage p[] = { SOURCE(w, .buffer = (size_t)n % 3), { .kind = THRUM_STAGE_BATCH, .count = 4 },
				    { .kind = THRUM_STAGE_EACH, .run = arrive_batch, .arg = &b } };

		TH_CHECK_EQ(RUN(p), 0);
		check_all_arrived_in_order(w);
		TH_CHECK_EQ(b.n, (n + 3) / 4);
		for (int i = 0; i < b.n; i++)
			TH_CHECK_EQ(b.sizes[i], i == n / 4 ? n % 4 : 4);
	}
	return 0;
}

/* A thing each 10 ms, 25 ms from the first: three of them; they go at 35, 65+... */
TH_FIBER_TEST(JUMP, pipe, batch_by_time_goes_so_long_after_its_first)
{
	struct world *w = world(8);
	struct batches b = { .world = w };
	long long t0 = th_now_ms();
	static const int sizes[] = { 3, 3, 2 }, at_ms[] = { 35, 65, 90 }; /* firsts at 10, 40, 70; the end is at 90 */
	thrum_stage p[] = { SOURCE(w), { .kind = THRUM_STAGE_BATCH, .count = 100, .within = thrum_ms(25) },
			    { .kind = THRUM_STAGE_EACH, .run = arrive_batch, .arg = &b } };

	w->source_ms = 10;
	TH_CHECK_EQ(RUN(p), 0);
	check_all_arrived_in_order(w);
	TH_CHECK_EQ(b.n, 3);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(b.sizes[i], sizes[i]);
		TH_CHECK_EQ(b.at_ms[i] - t0, at_ms[i]);
	}
	return 0;
}

static void drop_batch(void *arg, void *item)
{
	thrum_batch *batch = item;

	TH_CHECK(batch->n >= 1 && batch->n <= 4);
	for (size_t i = 0; i < batch->n; i++)
		drop(arg, &thrum_batch_items(batch, struct thing)[i]);
}

/* By its own drop, or each item by that of the stage before; begun or full, in the stage or in the buffer. */
TH_FIBER_TEST(JUMP, pipe, batches_that_nobody_takes_are_dropped_G10)
{
	for (int own = 0; own < 2; own++)
		for (int ms = 5; ms < 100; ms += 10) {
			struct world *w = world(100);
			struct batches b = { .world = w, .ms = 30 };
			thrum_stage p[] = { SOURCE(w, .buffer = 1),
					    { .kind = THRUM_STAGE_BATCH, .count = 4, .within = thrum_ms(25), .buffer = 2,
					      .arg = w, .drop = own ? drop_batch : NULL },
					    { .kind = THRUM_STAGE_EACH, .run = arrive_batch, .arg = &b } };

			w->source_ms = 3;
			TH_CHECK_EQ(cancel_after(ms, p, 3).code, -ECANCELED);
			check_conserved(w);
		}
	return 0;
}

/* --- throttle --- */

TH_FIBER_TEST(JUMP, pipe, throttle_spaces_exactly)
{
	struct world *w = world(5);
	long long t0 = th_now_ms();
	thrum_stage p[] = { SOURCE(w, .buffer = 10), { .kind = THRUM_STAGE_THROTTLE, .spacing = thrum_ms(7) }, SINK(w) };

	TH_CHECK_EQ(RUN(p), 0);
	check_all_arrived_in_order(w);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(w->at_ms[i] - t0, 7 * i);
	w = world(5); /* slower than that: not held up, and nothing is saved up */
	w->source_ms = 10;
	p[0].arg = p[2].arg = w;
	t0 = th_now_ms();
	TH_CHECK_EQ(RUN(p), 0);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(w->at_ms[i] - t0, 10 * (i + 1));
	w = world(6); /* after a pause too */
	w->pause_at = 3;
	w->pause_ms = 100;
	p[0].arg = p[2].arg = w;
	t0 = th_now_ms();
	TH_CHECK_EQ(RUN(p), 0);
	for (int i = 0; i < 6; i++)
		TH_CHECK_EQ(w->at_ms[i] - t0, 7 * (i % 3) + (i < 3 ? 0 : 100));
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, throttle_by_a_limiter)
{
	static const int at_ms[] = { 0, 0, 0, 10, 20, 30 };
	struct world *w = world(6);
	long long t0 = th_now_ms();
	thrum_limiter limiter;
	thrum_stage p[] = { SOURCE(w), { .kind = THRUM_STAGE_THROTTLE, .limiter = &limiter }, SINK(w) };

	TH_CHECK_EQ(thrum_limiter_init(&limiter, 100, thrum_sec(1), 3), 0);
	TH_CHECK_EQ(RUN(p), 0);
	for (int i = 0; i < 6; i++)
		TH_CHECK_EQ(w->at_ms[i] - t0, at_ms[i]);
	return 0;
}

/* --- take --- */

TH_FIBER_TEST(JUMP, pipe, take_ends_what_comes_before_it)
{
	for (int take = 1; take < 8; take++) {
		struct world *w = world(MANY);
		struct step a = { .world = w, .ms = { 1, 2, 3, 0 } };
		thrum_time t0 = thrum_now();
		thrum_stage p[] = { SOURCE(w, .buffer = 3), MAP(&a, .parallelism = 3, .ordered = true, .buffer = 1),
				    { .kind = THRUM_STAGE_TAKE, .count = (size_t)take, .buffer = 1 }, SINK(w) };

		TH_CHECK_EQ(RUN(p), 0);
		TH_CHECK_EQ(th_counted(&w->arrivals), take);
		for (int i = 0; i < take; i++)
			TH_CHECK_EQ(w->order[i], i);
		check_conserved(w);
		TH_CHECK(th_ms_since(t0) < 20);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, take_does_not_wait_for_a_source_that_waits)
{
	struct world *w = world(3);
	long long t0 = th_now_ms();
	thrum_stage p[] = { SOURCE(w), { .kind = THRUM_STAGE_TAKE, .count = 2 }, SINK(w) };

	w->source_ms = 50;
	TH_CHECK_EQ(RUN(p), 0);
	TH_CHECK_EQ(th_now_ms() - t0, 100);
	TH_CHECK_EQ(th_counted(&w->arrivals), 2);
	w = world(2); /* fewer than it would take */
	p[0].arg = p[2].arg = w;
	p[1].count = 5;
	TH_CHECK_EQ(RUN(p), 0);
	check_all_arrived_in_order(w);
	return 0;
}

/* --- merge --- */

/* One of several: each tells its things with its own number. */
struct tap {
	int number, n, at, ms, code;
};
static int drip(void *arg, void *in, void *out)
{
	struct tap *t = arg;
	int r = t->ms ? thrum_sleep(thrum_ms(t->ms)) : 0;

	(void)in;
	if (r < 0)
		return r;
	if (t->at == t->n)
		return t->code;
	*(struct thing *)out = (struct thing){ t->number, t->at++ };
	return 1;
}

enum { TAPS = 6 };

/* D23: six sources of 20 ms, two at a time: 60 ms, in order or not. Where the order is kept, what comes early needs room. */
TH_FIBER_TEST(JUMP, pipe, merge_is_bounded_and_really_parallel_D23_D3)
{
	static const struct {
		size_t parallelism, ahead;
		bool ordered;
		int ms;
	} c[] = { { 1, 0, false, 120 }, { 2, 0, false, 60 }, { 3, 0, false, 40 }, { 0, 0, false, 20 },
		  { 2, 4, true, 60 }, { 3, 4, true, 40 }, { 0, 4, true, 20 }, { 1, 0, true, 120 } };

	for (int k = 0; k < 8; k++) {
		struct tap taps[TAPS];
		thrum_stage sources[TAPS];
		struct log l = { 0 };
		thrum_time t0 = thrum_now();
		int seen[TAPS] = { 0 };
		thrum_stage p[] = { { .kind = THRUM_STAGE_MERGE, .sources = sources, .count = TAPS,
				      .out_bytes = sizeof(struct thing), .parallelism = c[k].parallelism, .ordered = c[k].ordered, .ahead = c[k].ahead },
				    { .kind = THRUM_STAGE_FOLD, .run = note, .arg = &l } };

		for (int i = 0; i < TAPS; i++) {
			taps[i] = (struct tap){ .number = i, .n = 3, .ms = 5 };
			sources[i] = (thrum_stage){ .kind = THRUM_STAGE_SOURCE, .run = drip, .arg = &taps[i] };
		}
		TH_CHECK_EQ(RUN(p), 0);
		TH_CHECK_EQ(th_ms_since(t0), c[k].ms);
		TH_CHECK_EQ(l.n, 3 * TAPS);
		for (int i = 0; i < l.n; i++) {
			TH_CHECK_EQ(l.things[i].hops, seen[l.things[i].id]++);
			if (c[k].ordered)
				TH_CHECK_EQ(l.things[i].id, i / 3);
		}
	}
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, error_of_one_of_the_sources_ends_the_others_D24)
{
	struct tap taps[3] = { { 0, 100, 0, 5, 0 }, { 1, 2, 0, 5, E_STAGE }, { 2, 100, 0, 5, 0 } };
	thrum_stage sources[3];
	struct log l = { 0 };
	thrum_time t0 = thrum_now();
	thrum_stage p[] = { { .kind = THRUM_STAGE_MERGE, .sources = sources, .count = 3, .out_bytes = sizeof(struct thing) },
			    { .kind = THRUM_STAGE_FOLD, .run = note, .arg = &l } };

	for (int i = 0; i < 3; i++)
		sources[i] = (thrum_stage){ .kind = THRUM_STAGE_SOURCE, .run = drip, .arg = &taps[i] };
	TH_CHECK_EQ(RUN(p), E_STAGE);
	TH_CHECK_EQ(th_ms_since(t0), 15);
	return 0;
}

/* --- channels, nesting --- */

static int feed(void *arg)
{
	thrum_chan *c = arg;
	int r = 0;

	for (int i = 0; r == 0 && i < 10; i++) {
		struct thing t = { .id = i };
		r = thrum_chan_send(c, &t);
	}
	return r < 0 ? r : thrum_chan_close(c);
}

struct relay {
	thrum_chan *from, *to;
};
static int relay(void *arg)
{
	struct relay *l = arg;
	thrum_stage p[] = { { .kind = THRUM_STAGE_SOURCE, .run = thrum_from_chan, .arg = l->from,
			      .out_bytes = sizeof(struct thing) },
			    { .kind = THRUM_STAGE_EACH, .run = thrum_to_chan, .arg = l->to } };
	int r = RUN(p);

	return r < 0 ? r : thrum_chan_close(l->to);
}
struct drainage {
	thrum_chan *from;
	struct world *world;
};
static int drain(void *arg)
{
	struct drainage *d = arg;
	thrum_stage p[] = { { .kind = THRUM_STAGE_SOURCE, .run = thrum_from_chan, .arg = d->from,
			      .out_bytes = sizeof(struct thing) },
			    SINK(d->world) };

	return RUN(p);
}

TH_FIBER_TEST(JUMP, pipe, channels_are_sources_and_sinks)
{
	struct world *w = world(10);
	thrum_chan a, b;
	struct relay l = { &a, &b };
	struct drainage d = { &b, w };

	TH_CHECK_EQ(thrum_chan_init(&a, sizeof(struct thing), 2), 0);
	TH_CHECK_EQ(thrum_chan_init(&b, sizeof(struct thing), 0), 0);
	TH_CHECK_EQ(thrum_zip_par(((thrum_fx){ feed, &a }), ((thrum_fx){ relay, &l }), ((thrum_fx){ drain, &d })), 0);
	check_all_arrived_in_order(w);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

/* --- what makes no sense --- */

TH_FIBER_TEST(JUMP, pipe, what_makes_no_sense_is_refused)
{
	struct world *w = world(3);
	struct step a = { 0 };
	thrum_limiter limiter;
	const thrum_stage source = SOURCE(w), map = MAP(&a), sink = SINK(w);
	const thrum_stage bare = { .kind = THRUM_STAGE_SOURCE, .run = make };
	const thrum_stage middle[] = {
		{ 0 },
		source,
		sink,
		{ .kind = 99, .run = step, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_MAP, .run = step },
		{ .kind = THRUM_STAGE_MAP, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .count = 1 },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .window = 4 },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .window = 4, .parallelism = 5, .ordered = true },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .ahead = 4, .ordered = true },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .parallelism = THRUM_UNBOUNDED },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .buffer = THRUM_CHAN_UNBOUNDED },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .sources = &bare },
		{ .kind = THRUM_STAGE_MAP, .run = step, .out_bytes = 8, .spacing = thrum_ms(1) },
		{ .kind = THRUM_STAGE_FLAT_MAP, .run = step, .out_bytes = 8, .parallelism = 2, .ahead = 4 },
		{ .kind = THRUM_STAGE_FLAT_MAP, .run = step, .out_bytes = SIZE_MAX / 2, .parallelism = 2, .ordered = true,
		  .ahead = 4 },
		{ .kind = THRUM_STAGE_FILTER, .run = step, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_FILTER },
		{ .kind = THRUM_STAGE_BATCH },
		{ .kind = THRUM_STAGE_BATCH, .count = SIZE_MAX / 2 },
		{ .kind = THRUM_STAGE_BATCH, .count = 2, .parallelism = 2 },
		{ .kind = THRUM_STAGE_BATCH, .count = 2, .within = thrum_ms(-1) },
		{ .kind = THRUM_STAGE_TAKE },
		{ .kind = THRUM_STAGE_TAKE, .count = 1, .within = thrum_ms(1) },
		{ .kind = THRUM_STAGE_THROTTLE },
		{ .kind = THRUM_STAGE_THROTTLE, .spacing = thrum_ms(1), .limiter = &limiter },
		{ .kind = THRUM_STAGE_MERGE, .sources = &bare, .count = 1, .out_bytes = 8 },
	};
	const thrum_stage merges[] = {
		{ .kind = THRUM_STAGE_MERGE, .count = 1, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_MERGE, .sources = &bare, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_MERGE, .sources = &map, .count = 1, .out_bytes = 8 },
		{ .kind = THRUM_STAGE_MERGE, .sources = &bare, .count = 1 },
		{ .kind = THRUM_STAGE_SOURCE, .run = make, .out_bytes = 8, .parallelism = 2 },
	};
	const thrum_stage last[] = {
		{ .kind = THRUM_STAGE_FOLD, .run = add_up, .parallelism = 2 },
		{ .kind = THRUM_STAGE_EACH, .run = add_up, .parallelism = 2, .ordered = true },
		{ .kind = THRUM_STAGE_EACH, .run = add_up, .buffer = 1 },
		{ .kind = THRUM_STAGE_EACH, .run = add_up, .out_bytes = 1 },
		{ .kind = THRUM_STAGE_EACH },
	};

	for (size_t i = 0; i < sizeof middle / sizeof *middle; i++) {
		thrum_stage p[] = { source, middle[i], sink };
		TH_CHECK_EQ(RUN(p), -EINVAL);
	}
	for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
		thrum_stage p[] = { merges[i], sink };
		TH_CHECK_EQ(RUN(p), -EINVAL);
	}
	for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
		thrum_stage p[] = { source, last[i] };
		TH_CHECK_EQ(RUN(p), -EINVAL);
	}
	TH_CHECK_EQ(thrum_pipeline(NULL, 2, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pipeline(&source, 1, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pipeline(&source, 0, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pipeline((thrum_stage[]){ source, map }, 2, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pipeline((thrum_stage[]){ source, sink }, 2, &(thrum_pipeline_opts){ .size = 1 }), -EINVAL);
	TH_CHECK_EQ(th_counted(&w->made), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, pipe, without_memory_nothing_starts)
{
	struct world *w = world(3);
	struct step a = { 0 };
	thrum_stage p[] = { SOURCE(w), MAP(&a, .buffer = SIZE_MAX / 64), SINK(w) };

	if (TH_SANITIZED)
		return 0; /* there a malloc of that size ends the process */
	TH_CHECK_EQ(RUN(p), -ENOMEM);
	TH_CHECK_EQ(th_counted(&w->made), 0);
	return 0;
}

TH_TEST(pipe, is_for_fibers_X1)
{
	struct world *w = world(3);
	thrum_stage p[] = { SOURCE(w), SINK(w) };

	TH_CHECK_EQ(RUN(p), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_emit(w, w), THRUM_ENOTFIBER);
}
