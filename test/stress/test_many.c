/* test/stress/test_many.c: 100,000 fibers parked at once, each on a guarded stack; a million children through one scope;
 * many workers on few processors. */
#include "stress.h"

enum { MANY = TH_SANITIZED ? 5000 : 100000 }; /* ThreadSanitizer knows 8,128 fibers at most */
/* One page of stack per parked fiber, and its record; a second page is allowed for. */
enum { BYTES_PER_FIBER = 3 * 4096 };

struct crowd {
	thrum_chan gate;
	th_counter parked, left;
	size_t base;
};

static int wait_at_gate(struct crowd *c)
{
	int item, code;

	th_count(&c->parked, 1);
	code = thrum_chan_recv(&c->gate, &item);
	th_count(&c->left, 1);
	return code == THRUM_ECLOSED ? 0 : code;
}
THRUM_FX(wait_at_gate, struct crowd);

static void check_crowd(struct crowd *c)
{
	size_t used = resident_bytes() - c->base;

	TH_CHECK_EQ(th_counted(&c->left), 0);
	TH_CHECK(stats_of(NULL).fibers_live >= MANY);
	say("per parked fiber", (long long)(used / MANY), "bytes");
	if (!TH_SANITIZED)
		TH_CHECK(used / MANY <= BYTES_PER_FIBER);
}

static int park_at_gate(struct crowd *c)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(thrum_go(&s, wait_at_gate_fx(c)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* on the jump clock: when all have parked */
	TH_CHECK_EQ(th_counted(&c->parked), MANY);
	check_crowd(c);
	TH_CHECK_EQ(thrum_chan_close(&c->gate), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_counted(&c->left), MANY);
	return 0;
}
THRUM_FX(park_at_gate, struct crowd);

TH_TEST(many, fibers_wait_in_one_channel_at_once)
{
	struct crowd c = { .base = resident_bytes() };

	TH_CHECK_EQ(thrum_chan_init(&c.gate, sizeof(int), 0), 0);
	TH_CHECK_EQ(TH_RUN(JUMP, park_at_gate_fx(&c)), 0);
	thrum_chan_fini(&c.gate);
}

static int sleep_long(struct crowd *c)
{
	int code;

	th_count(&c->parked, 1);
	code = thrum_sleep(thrum_sec(10));
	th_count(&c->left, 1);
	return code;
}
THRUM_FX(sleep_long, struct crowd);

static int sleep_all(struct crowd *c)
{
	thrum_time start = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(thrum_go(&s, sleep_long_fx(c)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(th_counted(&c->parked), MANY);
	check_crowd(c);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(start), 10000);
	return 0;
}
THRUM_FX(sleep_all, struct crowd);

TH_TEST(many, fibers_sleep_at_once_L6)
{
	struct crowd c = { .base = resident_bytes() };

	TH_CHECK_EQ(TH_RUN(JUMP, sleep_all_fx(&c)), 0);
	TH_CHECK_EQ(th_counted(&c.left), MANY);
}

static int cancel_all(struct crowd *c)
{
	thrum_time start = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(thrum_go(&s, sleep_long_fx(c)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(start), 1);
	return 0;
}
THRUM_FX(cancel_all, struct crowd);

TH_TEST(many, one_cancel_ends_them_all_G11)
{
	struct crowd c = { .base = 0 };

	TH_CHECK_EQ(TH_RUN(JUMP, cancel_all_fx(&c)), 0);
	TH_CHECK_EQ(th_counted(&c.left), MANY);
}

/* --- memory of a scope that lives for ever --- */

enum { WAVE = 1000, WAVES = TH_SANITIZED ? 50 : 1000, WARM = 10, GROWTH_MAX = 1 << 20 };

static int brief(th_counter *n)
{
	th_count(n, 1);
	return thrum_yield();
}
THRUM_FX(brief, th_counter);

static int wave_after_wave(void *unused)
{
	th_counter n = { 0 };
	uint64_t stacks = 0;
	size_t base = 0;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int wave = 0; wave < WAVES; wave++) {
		if (wave == WARM) {
			base = resident_bytes();
			stacks = stats_of(NULL).stacks_mapped;
		}
		for (int i = 0; i < WAVE; i++)
			TH_CHECK_EQ(thrum_go(&s, brief_fx(&n)), 0);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* the wave has gone */
	}
	TH_CHECK_EQ(th_counted(&n), WAVE * WAVES);
	say("stacks", (long long)stats_of(NULL).stacks_mapped, "mapped");
	say("grown by", (long long)(resident_bytes() - base), "bytes");
	TH_CHECK(stats_of(NULL).stacks_mapped <= stacks + WAVE);
	if (!TH_SANITIZED)
		TH_CHECK((long long)(resident_bytes() - base) < GROWTH_MAX);
	return thrum_scope_close(&s);
}

TH_TEST(many, million_children_through_one_scope_leave_memory_flat_S9)
{
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ wave_after_wave, NULL })), 0);
}

/* --- more workers than processors --- */

enum { WORKERS = 16, LEAVES = TH_SANITIZED ? 2000 : 20000 };

static int leaf(uint32_t *x)
{
	for (int i = 0; i < 200; i++)
		*x = *x * 1664525u + 1013904223u;
	return *x % 16 == 0 ? thrum_yield() : 0;
}
THRUM_FX(leaf, uint32_t);

static int fan_out(void *unused)
{
	static uint32_t leaves[LEAVES];
	uint32_t want;

	(void)unused;
	for (uint32_t i = 0; i < LEAVES; i++)
		leaves[i] = i;
	TH_CHECK_EQ(thrum_workers(), WORKERS);
	TH_CHECK_EQ(thrum_for_each_par(leaves, LEAVES, leaf, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(thrum_for_each_par(leaves, LEAVES, leaf, 7), 0);
	for (uint32_t i = 0; i < LEAVES; i++) {
		want = i;
		for (int k = 0; k < 400; k++)
			want = want * 1664525u + 1013904223u;
		TH_CHECK_EQ(leaves[i], want);
	}
	return 0;
}

TH_TEST(many, fan_out_over_more_workers_than_processors_F7)
{
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = WORKERS), (thrum_fx){ fan_out, NULL }), 0);
}

/* Binary tree of spawns and joins, stolen by many. */
struct node {
	int depth;
	uint64_t leaves;
};
static int grow(struct node *n);
THRUM_FX(grow, struct node);

static int grow(struct node *n)
{
	struct node kids[2] = { { n->depth - 1, 0 }, { n->depth - 1, 0 } };
	int code;

	if (n->depth == 0) {
		n->leaves = 1;
		return 0;
	}
	code = thrum_zip_par(grow_fx(&kids[0]), grow_fx(&kids[1]));
	n->leaves = kids[0].leaves + kids[1].leaves;
	return code;
}

TH_TEST(many, tree_of_joins_over_more_workers_than_processors_Z3)
{
	struct node root = { TH_SANITIZED ? 12 : 16, 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = WORKERS), grow_fx(&root)), 0);
	TH_CHECK_EQ(root.leaves, 1u << root.depth);
}
