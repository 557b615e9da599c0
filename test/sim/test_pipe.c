/* test/sim/test_pipe.c: pipelines, and for_each_par over an iterator, under seeds and cancels: whatever the schedule,
 * each item that was made has come to its end once or was dropped once. */
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>

enum { N = 6, E_STAGE = THRUM_APP(1) };

static int pause_a_little(void)
{
	switch (sim_choose(4)) {
	case 0: return thrum_yield();
	case 1: return thrum_sleep(thrum_us(1 + sim_choose(3)));
	default: return thrum_check();
	}
}

/* What became of each item. Fibers of several virtual workers count here. */
struct world {
	int n, made, pulling, last, in_order;
	int arrived[N], dropped[N];
	int fail_stage, fail_at;   /* fail_stage -1: nothing fails */
	int failed;
	size_t batch;              /* no batch is smaller, but for the last one of all; 0: any may be */
	int part_as_whole;
};

static int fails(struct world *w, int stage, int id)
{
	if (w->fail_stage != stage || w->fail_at != id)
		return 0;
	w->failed = 1;
	return E_STAGE;
}

static void draw(struct world *w, int stages)
{
	memset(w, 0, sizeof *w);
	w->n = (int)sim_choose(N + 1);
	w->fail_stage = (int)sim_choose((uint32_t)(2 * stages)) - stages;
	w->fail_at = (int)sim_choose(N);
	w->last = -1;
	w->in_order = 1;
}

static int check_world(const struct world *w, int r)
{
	int arrived = 0;

	for (int i = 0; i < N; i++) {
		TH_CHECK_EQ(w->arrived[i] + w->dropped[i], i < w->made);
		arrived += w->arrived[i];
	}
	if (r == 0) {
		TH_CHECK(arrived == w->n && !w->failed); /* D24: never a part for the whole */
		TH_CHECK_EQ(w->made, w->n);
	} else if (r == E_STAGE) {
		TH_CHECK(w->failed);
	} else {
		TH_CHECK(r == -ECANCELED && sim_cancelled_run() && !w->failed);
	}
	return r == -ECANCELED ? r : 0;
}

static void drop_id(struct world *w, int id)
{
	(void)thrum_yield();
	sim_add(&w->dropped[id], 1);
}

/* --- for_each_par over an iterator --- */

struct item {
	struct world *world;
	int id;
};

struct iter {
	struct world *world;
	struct item items[N];
};

static int next(void *arg, void **ret_item)
{
	struct iter *i = arg;
	struct world *w = i->world;
	int r;

	TH_CHECK_EQ(sim_add(&w->pulling, 1), 1); /* F5 */
	r = pause_a_little();
	if (r == 0)
		r = fails(w, 0, w->made);
	if (r == 0 && w->made < w->n) {
		i->items[w->made] = (struct item){ w, w->made };
		*ret_item = &i->items[w->made++];
		r = 1;
	}
	sim_add(&w->pulling, -1);
	return r;
}

static int run_item(void *arg)
{
	struct item *i = arg;
	int r;

	sim_enter();
	r = pause_a_little();
	if (r == 0)
		r = fails(i->world, 1, i->id);
	sim_add(&i->world->arrived[i->id], 1); /* whatever it ended with: it ran */
	return sim_leave(r);
}

static void drop_item(void *arg)
{
	struct item *i = arg;

	drop_id(i->world, i->id);
}

static void told(void *arg, size_t index, int code, void *ctx)
{
	struct world *w = ctx;

	(void)code;
	TH_CHECK_EQ(((struct item *)arg)->id, index);
	TH_CHECK_EQ(sim_add(&w->last, 1), 0); /* one at a time (F10) */
	(void)thrum_yield();
	sim_add(&w->last, -1);
}

SIM_TEST(pipe, for_each_from_conserves_items_F5_F6_F10_G10)
{
	size_t p = 1 + sim_choose(4);
	struct world w;
	struct iter i = { .world = &w };
	int r;

	(void)unused;
	draw(&w, 2);
	r = thrum_for_each_par_from(next, &i, run_item, p == 4 ? THRUM_UNBOUNDED : p,
				    THRUM_FAN_OPTS(.drop = drop_item, .done = told, .done_ctx = &w));
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (p < 4)
		TH_CHECK(sim_counts.alive_max <= (int)p);
	return check_world(&w, r);
}

/* --- pipelines --- */

static int make(void *arg, void *in, void *out)
{
	struct world *w = arg;
	int r = pause_a_little();

	(void)in;
	if (r == 0)
		r = fails(w, 0, w->made);
	if (r < 0 || w->made == w->n)
		return r;
	*(struct item *)out = (struct item){ w, w->made++ };
	return 1;
}

static void drop(void *arg, void *item)
{
	(void)arg;
	drop_id(((struct item *)item)->world, ((struct item *)item)->id);
}

static int map(void *arg, void *in, void *out)
{
	struct item *i = in;
	int r = pause_a_little();

	(void)arg;
	if (r == 0)
		r = fails(i->world, 1, i->id);
	if (r == 0)
		*(struct item *)out = *i;
	return r;
}

static int emit_one(void *arg, void *in, void *emitter)
{
	struct item *i = in;
	int r = pause_a_little();

	(void)arg;
	if (r == 0)
		r = fails(i->world, 1, i->id);
	return r == 0 ? thrum_emit(emitter, in) : r;
}

static int arrive(void *arg, void *in, void *out)
{
	struct item *i = in;
	struct world *w = i->world;
	int r = pause_a_little();

	(void)arg, (void)out;
	if (r == 0)
		r = fails(w, 2, i->id);
	if (r < 0)
		return r;
	w->in_order &= i->id > w->last;
	w->last = i->id;
	sim_add(&w->arrived[i->id], 1);
	return 0;
}

static thrum_stage source(struct world *w)
{
	return (thrum_stage){ .kind = THRUM_STAGE_SOURCE, .run = make, .arg = w, .out_bytes = sizeof(struct item),
			      .buffer = sim_choose(3), .drop = drop };
}

/* A map, or a flat_map of one each, at random. */
static thrum_stage middle(bool ordered)
{
	bool flat = sim_choose(2);
	thrum_stage s = { .kind = flat ? THRUM_STAGE_FLAT_MAP : THRUM_STAGE_MAP, .run = flat ? emit_one : map,
			  .out_bytes = sizeof(struct item), .parallelism = 1 + sim_choose(3), .ordered = ordered,
			  .buffer = sim_choose(2), .drop = drop };

	if (ordered && sim_choose(2))
		s.window = s.parallelism + sim_choose(3);
	if (flat && ordered)
		s.ahead = sim_choose(2);
	return s;
}

SIM_TEST(pipe, stages_conserve_items_and_keep_order_D23_D24_G10)
{
	bool ordered = sim_choose(2);
	struct world w;
	int r;

	(void)unused;
	draw(&w, 3);
	thrum_stage p[] = { source(&w), middle(ordered), { .kind = THRUM_STAGE_EACH, .run = arrive } };
	r = thrum_pipeline(p, 3, NULL);
	if (ordered)
		TH_CHECK(w.in_order);
	return check_world(&w, r);
}

static int make_at_once(void *arg, void *in, void *out)
{
	struct world *w = arg;

	(void)in;
	if (w->made == w->n)
		return 0;
	*(struct item *)out = (struct item){ w, w->made++ };
	return 1;
}

struct emission {
	void *emitter, *item;
};

static int emit(struct emission *e) { return thrum_emit(e->emitter, e->item); }
THRUM_FX(emit, struct emission);

/* The second loses its patience just as its turn comes, then waits again. The turn is not lost: the others wait for it. */
static int emit_or_lose_patience(void *arg, void *in, void *emitter)
{
	static const unsigned sleep_us[] = { 1, 0, 1000, 0 };
	struct emission e = { emitter, in };
	int id = ((struct item *)in)->id, r;

	(void)arg;
	if (id == 1) {
		r = thrum_timeout(emit_fx(&e), thrum_us(1));
		return r == -ETIMEDOUT ? thrum_emit(emitter, in) : r;
	}
	r = thrum_sleep(thrum_us(sleep_us[id]));
	return r == 0 ? thrum_emit(emitter, in) : r;
}

SIM_TEST_WITH(pipe, a_turn_outlives_the_wait_for_it, .clock = THRUM_CLOCK_JUMP, .switch_1_in = 100, .root_only = true)
{
	struct world w = { .n = 4, .fail_stage = -1, .last = -1, .in_order = 1 };
	int r;

	(void)unused;
	thrum_stage p[] = { { .kind = THRUM_STAGE_SOURCE, .run = make_at_once, .arg = &w, .out_bytes = sizeof(struct item),
			      .buffer = 4, .drop = drop },
			    { .kind = THRUM_STAGE_FLAT_MAP, .run = emit_or_lose_patience, .out_bytes = sizeof(struct item),
			      .parallelism = 3, .ordered = true, .window = 3, .buffer = 4, .drop = drop },
			    { .kind = THRUM_STAGE_EACH, .run = arrive } };
	r = thrum_pipeline(p, 3, NULL);
	TH_CHECK(w.in_order);
	return check_world(&w, r);
}

static int arrive_all(void *arg, void *in, void *out)
{
	struct world *w = arg;
	thrum_batch *b = in;
	int r = pause_a_little();

	(void)out;
	if (b->n < w->batch)
		sim_add(&w->part_as_whole, 1);
	for (size_t i = 0; r == 0 && i < b->n; i++)
		sim_add(&w->arrived[thrum_batch_items(b, struct item)[i].id], 1);
	return r;
}

/* On the jump clock: a batch that waits for time meets items, the end and cancels at the same moment. */
SIM_TEST_WITH(pipe, batches_conserve_items_D24_G10, .clock = THRUM_CLOCK_JUMP)
{
	struct world w;
	int r;

	(void)unused;
	draw(&w, 1);
	thrum_stage p[] = { source(&w),
			    { .kind = THRUM_STAGE_BATCH, .count = 1 + sim_choose(3), .within = thrum_us(sim_choose(4)),
			      .buffer = sim_choose(2) },
			    { .kind = THRUM_STAGE_EACH, .run = arrive_all, .arg = &w, .parallelism = 1 + sim_choose(2) } };
	w.batch = p[1].within.ns ? 0 : p[1].count;
	r = thrum_pipeline(p, 3, NULL);
	TH_CHECK(!w.failed || !w.part_as_whole);
	return check_world(&w, r);
}

/* The stages before a take are cancelled in the middle of whatever they do, and that is no failure. */
SIM_TEST(pipe, take_leaves_nothing_behind_G10)
{
	size_t count = 1 + sim_choose(3);
	int arrived = 0, r;
	struct world w;

	(void)unused;
	draw(&w, 1);
	w.fail_stage = -1;
	w.n = N;
	thrum_stage p[] = { source(&w), middle(true), { .kind = THRUM_STAGE_TAKE, .count = count, .buffer = sim_choose(2) },
			    { .kind = THRUM_STAGE_EACH, .run = arrive } };
	r = thrum_pipeline(p, 4, NULL);
	for (int i = 0; i < N; i++) {
		TH_CHECK_EQ(w.arrived[i] + w.dropped[i], i < w.made);
		arrived += w.arrived[i];
	}
	TH_CHECK(w.in_order);
	if (r == 0)
		TH_CHECK_EQ(arrived, count);
	else
		TH_CHECK(r == -ECANCELED && sim_cancelled_run());
	return r;
}
