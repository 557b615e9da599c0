/* test/sim/test_fork.c: trees of forks (thrum/fork.h) under seeds and cancels. Each effect of a tree does something drawn:
 * nothing, so that it stays a call; or a call into the library at its begin, between its forks or at its end, so that it and
 * all around it come into the tree then; it blocks, fails, acquires. Thieves may come at any access. Whatever happens, a
 * fork returns after all its effects, with a code that the rules allow, and each effect ran once or not at all. */
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>

enum { NODES = 40, KIDS = 6, DEPTH = 3 };
enum act { NOTHING, CHECK, YIELD, SLEEP, IDENTITY, ACQUIRE, SCOPE, FAIL, ACTS };

struct node {
	enum act first, last;
	int code;              /* of FAIL */
	size_t n;
	struct node *kid[KIDS];
	int began, ended, held, result;
	const void *id;        /* while it runs, if it has asked */
};

static struct node nodes[NODES];
static size_t drawn;

static enum act draw_act(unsigned calls_1_in)
{
	return sim_choose(calls_1_in) == 0 ? (enum act)(1 + sim_choose(ACTS - 1)) : NOTHING;
}

static struct node *draw(unsigned depth, unsigned calls_1_in)
{
	struct node *x = &nodes[drawn];

	x->code = THRUM_APP((int)drawn++);
	x->first = draw_act(calls_1_in);
	x->last = draw_act(2 * calls_1_in);
	if (depth == 0 || sim_choose(4) == 0)
		return x;
	for (size_t n = 1 + sim_choose(KIDS); x->n < n && drawn < NODES - DEPTH;)
		x->kid[x->n++] = draw(depth - 1, calls_1_in);
	return x;
}

/* Read by others, whatever they run beside. */
static const void *id_of(const struct node *x) { return __atomic_load_n(&x->id, __ATOMIC_RELAXED); }
static void set_id(struct node *x, const void *id) { __atomic_store_n(&x->id, id, __ATOMIC_RELAXED); }

/* K10: two that run at the same time differ. */
static void note_identity(struct node *x)
{
	const void *id = thrum_self_id();

	set_id(x, id);
	for (size_t i = 0; i < drawn; i++)
		TH_CHECK(&nodes[i] == x || id_of(&nodes[i]) != id);
	TH_CHECK(thrum_self_id() == id);
}

static int hold(void *arg)
{
	((struct node *)arg)->held++;
	return thrum_sleep(thrum_ns(sim_choose(2) * TH_SIM_TICK_NS));
}

static int let_go(void *arg)
{
	((struct node *)arg)->held--;
	return 0;
}

static int in_scope(void)
{
	thrum_scope s;
	thrum_task t;
	int r;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	r = thrum_spawn(&s, &t, thrum_succeed());
	if (r == 0 && sim_choose(2))
		r = thrum_join(&t);
	if (r < 0)
		(void)thrum_scope_fail(&s, r);
	return thrum_scope_close(&s);
}

static int act(struct node *x, enum act what)
{
	switch (what) {
	case CHECK: return thrum_check();
	case YIELD: return thrum_yield();
	case SLEEP: return thrum_sleep(thrum_ns((1 + sim_choose(3)) * TH_SIM_TICK_NS));
	case IDENTITY: note_identity(x); return 0;
	case ACQUIRE: return thrum_acquire_release((thrum_fx){ hold, x }, (thrum_fx){ let_go, x });
	case SCOPE: return in_scope();
	case FAIL: return x->code;
	default: return 0;
	}
}

static int run(struct node *x);
THRUM_FX(run, struct node);

static int fork_kids(struct node *x)
{
	thrum_fx fx[KIDS];

	if (x->n == 2)
		return thrum_zip_par(run_fx(x->kid[0]), run_fx(x->kid[1]));
	if (x->n == 3)
		return thrum_zip_par(run_fx(x->kid[0]), run_fx(x->kid[1]), run_fx(x->kid[2]));
	for (size_t i = 0; i < x->n; i++)
		fx[i] = run_fx(x->kid[i]);
	return thrum_zip_par_n(fx, x->n);
}

/* The failure of one of those below, which really failed. */
static bool is_from_below(const struct node *x, int code)
{
	if (code == x->code && (x->first == FAIL || x->last == FAIL))
		return true;
	for (size_t i = 0; i < x->n; i++)
		if (is_from_below(x->kid[i], code))
			return true;
	return false;
}

static void check_kids(const struct node *x, int r)
{
	for (size_t i = 0; i < x->n; i++) {
		const struct node *k = x->kid[i];
		TH_CHECK(k->began <= 1 && k->began == k->ended); /* Z5, S1 */
		TH_CHECK_EQ(k->held, 0);                         /* A8 */
		if (r == 0)
			TH_CHECK(k->began == 1 && k->result == 0);
	}
	if (r < 0 && r != -ECANCELED)
		TH_CHECK(is_from_below(x, r) || (r == -ETIMEDOUT && sim_cancelled_inside())); /* Z4 */
	if (r < 0) {
		const thrum_cause *why = thrum_last_cause();
		TH_CHECK(!why || why->code == r); /* G1 */
	}
}

static int run(struct node *x)
{
	int r;

	sim_enter();
	TH_CHECK_EQ(x->began++, 0);
	r = act(x, x->first);
	if (r == 0 && x->n > 0) {
		r = fork_kids(x);
		check_kids(x, r);
	}
	if (id_of(x))
		TH_CHECK(thrum_self_id() == id_of(x));
	if (r == 0)
		r = act(x, x->last);
	set_id(x, NULL);
	x->result = r;
	x->ended++;
	return sim_leave(r);
}

struct tree {
	unsigned calls_1_in;
	bool may_be_cancelled;
};

static int run_tree(struct tree *t)
{
	thrum_fx top[2];
	int r;

	memset(nodes, 0, sizeof nodes);
	drawn = 0;
	top[0] = run_fx(draw(DEPTH, t->calls_1_in));
	top[1] = run_fx(draw(DEPTH - 1, t->calls_1_in));
	r = thrum_zip_par(top[0], top[1]);
	TH_CHECK_EQ(sim_counts.alive, 0);
	for (size_t i = 0; i < drawn; i++)
		TH_CHECK(nodes[i].began == nodes[i].ended && nodes[i].held == 0);
	if (r == -ECANCELED)
		TH_CHECK(t->may_be_cancelled || sim_cancelled_run()); /* Z6: nothing in here cancels */
	return r == -ECANCELED ? r : 0;
}
THRUM_FX(run_tree, struct tree);

/* Most effects stay calls: what thieves and cancels meet is a running forker. */
SIM_TEST(fork, trees_that_rarely_block_Z4_Z5_K10)
{
	(void)unused;
	return run_tree(&(struct tree){ 12, false });
}

SIM_TEST(fork, trees_that_often_block_Z4_Z5_K10)
{
	(void)unused;
	return run_tree(&(struct tree){ 2, false });
}

SIM_TEST(fork, trees_that_never_block_Z2)
{
	(void)unused;
	return run_tree(&(struct tree){ 1u << 30, false });
}

/* A cancel that comes whenever the time is up, not only where the root suspends. */
SIM_TEST_WITH(fork, trees_in_limited_time_T3_T7, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	struct tree t = { 2 + sim_choose(6), true };
	int r = thrum_timeout(run_tree_fx(&t), thrum_ns((1 + sim_choose(6)) * TH_SIM_TICK_NS));

	(void)unused;
	return r == -ETIMEDOUT ? 0 : r;
}

/* A thief's effect fails while the forker forks on and on: it learns of it without any call. Without a thief it ends. */
static int work_on(int *forks)
{
	while (thrum_workers() > 1 || *forks < 50) {
		int r = thrum_zip_par(thrum_succeed(), thrum_succeed());
		if (r < 0)
			return r;
		++*forks;
	}
	return 0;
}
THRUM_FX(work_on, int);

static int fail_at_once(void *unused)
{
	(void)unused;
	return THRUM_APP(1);
}

SIM_TEST(fork, a_stolen_failure_stops_the_forker_Z4)
{
	int forks = 0, r = thrum_zip_par(work_on_fx(&forks), (thrum_fx){ fail_at_once, NULL });

	(void)unused;
	TH_CHECK(r == THRUM_APP(1) || (r == -ECANCELED && sim_cancelled_run()));
	return r == -ECANCELED ? r : 0;
}

/* --- roots that come while a call is on its way to another stack --- */

struct sinker {
	thrum_handle handle;
	int left;
};
static int sink(void *arg)
{
	struct sinker *s = arg;
	volatile char room[2048]; /* so that few levels use a stack up */

	room[0] = 0;
	return s->left-- == 0 ? 0 : thrum_or_else((thrum_fx){ sink, s }, thrum_fail(THRUM_APP(1))) + room[0];
}

SIM_TEST_WITH(fork, calls_on_fresh_stacks_are_not_lost_when_roots_come_E5, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	struct sinker roots[3] = { 0 }, own = { .left = 200 };

	(void)unused;
	for (int i = 0; i < 3; i++) {
		roots[i].left = 200;
		TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &roots[i].handle, (thrum_fx){ sink, &roots[i] }), 0);
	}
	TH_CHECK_EQ(sink(&own), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_handle_wait(&roots[i].handle), 0);
	return 0;
}
