/* test/sim/test_items.c: the items of thrum_for_each_par under seeds and cancels. As long as they are calls a runner takes
 * them by the chunk (core/fan.c); each of these does something drawn: nothing, so that it stays a call; or it calls into the
 * library, blocks, forks, fails, so that it comes into the tree and those behind it go to others. */
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>

enum { ITEMS = 160 };
enum act { NOTHING, CHECK, YIELD, SLEEP, IDENTITY, FORK, FORK_DEEP, ACTS };

struct item {
	enum act act;
	int code;       /* that it returns */
	int began, ended, forked;
	const void *id; /* while it runs, if it has asked */
};
static struct item items[ITEMS];

static void draw(unsigned acts_1_in, unsigned fails_1_in)
{
	memset(items, 0, sizeof items);
	for (int i = 0; i < ITEMS; i++) {
		if (sim_choose(acts_1_in) == 0)
			items[i].act = (enum act)(1 + sim_choose(ACTS - 1));
		if (fails_1_in && sim_choose(fails_1_in) == 0)
			items[i].code = THRUM_APP(i);
	}
}

static const void *id_of(const struct item *x) { return __atomic_load_n(&x->id, __ATOMIC_RELAXED); }

/* K10: two that run at the same time differ. */
static void note_identity(struct item *x)
{
	const void *id = thrum_self_id();

	__atomic_store_n(&x->id, id, __ATOMIC_RELAXED);
	for (int i = 0; i < ITEMS; i++)
		TH_CHECK(&items[i] == x || id_of(&items[i]) != id);
}

static int count_fork(struct item *x)
{
	sim_add(&x->forked, 1);
	return 0;
}
THRUM_FX(count_fork, struct item);

static int sleep_and_count(struct item *x)
{
	int r = thrum_sleep(thrum_ns(sim_choose(3) * TH_SIM_TICK_NS));

	sim_add(&x->forked, 1);
	return r;
}
THRUM_FX(sleep_and_count, struct item);

static int fork_twice(struct item *x)
{
	return thrum_zip_par(count_fork_fx(x), sleep_and_count_fx(x));
}
THRUM_FX(fork_twice, struct item);

static int act(struct item *x)
{
	switch (x->act) {
	case CHECK: return thrum_check();
	case YIELD: return thrum_yield();
	case SLEEP: return thrum_sleep(thrum_ns((1 + sim_choose(3)) * TH_SIM_TICK_NS));
	case IDENTITY: note_identity(x); return 0;
	case FORK: return thrum_zip_par(count_fork_fx(x), count_fork_fx(x));
	case FORK_DEEP: return thrum_zip_par(fork_twice_fx(x), count_fork_fx(x), fork_twice_fx(x));
	default: return 0;
	}
}

static int run(struct item *x)
{
	int r;

	sim_enter();
	TH_CHECK_EQ(sim_add(&x->began, 1), 1);
	r = act(x);
	if (id_of(x))
		TH_CHECK(thrum_self_id() == id_of(x));
	__atomic_store_n(&x->id, (const void *)NULL, __ATOMIC_RELAXED);
	x->ended++;
	return sim_leave(r < 0 ? r : x->code);
}
THRUM_FX(run, struct item);

/* G1: the cause tells which child it was that failed first. */
static void check_cause(int r)
{
	const thrum_cause *c = thrum_last_cause();

	while (c && c->first)
		c = c->first;
	if (c) /* else there was no memory for it */
		TH_CHECK(c->code == r && c->index == (size_t)(THRUM_APP(0) - r));
}

static int run_items(size_t n, size_t parallelism, bool by_address)
{
	int r = by_address ? thrum_for_each_par_n(run_run_, items, n, sizeof *items, parallelism)
			   : thrum_for_each_par(items, n, run, parallelism);

	TH_CHECK_EQ(sim_counts.alive, 0); /* S1 */
	TH_CHECK((size_t)sim_counts.alive_max <= parallelism); /* F4 */
	for (size_t i = 0; i < n; i++) {
		const struct item *x = &items[i];
		int forks = x->act == FORK ? 2 : x->act == FORK_DEEP ? 5 : 0;
		TH_CHECK_EQ(x->began, x->ended);
		if (r == 0)
			TH_CHECK(x->began == 1 && x->code == 0 && x->forked == forks); /* F1 */
	}
	if (r == -ECANCELED)
		TH_CHECK(sim_cancelled_run()); /* Z6: nothing in here cancels */
	else if (r < 0)
		TH_CHECK(THRUM_APP(0) >= r && r > THRUM_APP((int)n) && items[THRUM_APP(0) - r].code == r); /* F6 */
	if (r < 0 && r != -ECANCELED)
		check_cause(r);
	return r == -ECANCELED ? r : 0;
}

static size_t draw_parallelism(void)
{
	size_t p = 1 + sim_choose(5);

	return p == 5 ? THRUM_UNBOUNDED : p;
}

SIM_TEST(items, that_are_mostly_calls_F1_F4_K10)
{
	(void)unused;
	draw(1 + sim_choose(40), 0);
	return run_items(1 + sim_choose(ITEMS), draw_parallelism(), sim_choose(2));
}

/* Nobody takes any of them from their runner but by what it leaves to a worker that sleeps. */
SIM_TEST(items, that_are_all_calls_F1_F4)
{
	(void)unused;
	draw(1u << 30, 0);
	return run_items(ITEMS, sim_choose(2) ? THRUM_UNBOUNDED : 2, sim_choose(2));
}

SIM_TEST(items, of_which_some_fail_F6_G1)
{
	(void)unused;
	draw(1 + sim_choose(40), 20);
	return run_items(1 + sim_choose(ITEMS), draw_parallelism(), sim_choose(2));
}

/* --- one that blocks keeps no other one from starting --- */

struct link {
	thrum_latch *mine; /* NULL: a call */
	thrum_latch *next; /* NULL: waits for nobody */
};

static int wait_for_next(struct link *l)
{
	sim_enter();
	if (l->mine)
		(void)thrum_latch_arrive(l->mine);
	return sim_leave(l->next ? thrum_latch_wait(l->next) : 0);
}
THRUM_FX(wait_for_next, struct link);

/* After calls enough that a runner takes many at a time: each waits for the one behind it, as many as may be alive. */
SIM_TEST(items, that_wait_for_those_behind_them_F5)
{
	enum { WAIT = 4 };
	struct link links[ITEMS] = { 0 };
	thrum_latch latches[WAIT];
	size_t first = sim_choose(ITEMS - WAIT);
	size_t parallelism = sim_choose(2) ? WAIT : THRUM_UNBOUNDED;

	(void)unused;
	for (int i = 0; i < WAIT; i++) {
		TH_CHECK_EQ(thrum_latch_init(&latches[i], 1), 0);
		links[first + (size_t)i].mine = &latches[i];
		links[first + (size_t)i].next = i + 1 < WAIT ? &latches[i + 1] : NULL;
	}
	return thrum_for_each_par(links, ITEMS, wait_for_next, parallelism);
}

/* --- a cancel from elsewhere reaches what only calls --- */

struct ticks {
	thrum_scope scope;
	int left;             /* without a thief it ends */
	int stopped, seen;    /* the scope is cancelled; items that began after that */
};

static int tick(struct ticks *t)
{
	t->seen += __atomic_load_n(&t->stopped, __ATOMIC_RELAXED);
	return thrum_workers() == 1 && --t->left < 0 ? THRUM_APP(2) : 0;
}
THRUM_FX(tick, struct ticks);

static int stop(struct ticks *t)
{
	thrum_scope_cancel(&t->scope);
	__atomic_store_n(&t->stopped, 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(stop, struct ticks);

static int tick_for_ever(struct ticks *t)
{
	int r = thrum_for_each_par_n(tick_run_, t, (size_t)1 << 40, 0, 1);

	TH_CHECK(r < 0);
	return r;
}
THRUM_FX(tick_for_ever, struct ticks);

SIM_TEST(items, do_not_start_once_the_scope_is_cancelled_F6_F8)
{
	struct ticks t = { .left = 50 };
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&t.scope), 0);
	(void)thrum_scope_fail(&t.scope, thrum_zip_par(tick_for_ever_fx(&t), stop_fx(&t)));
	r = thrum_scope_close(&t.scope);
	TH_CHECK(t.seen <= 1); /* which had looked before */
	TH_CHECK(r == 0 || r == THRUM_APP(2) || sim_cancelled_run());
	return r == -ECANCELED ? r : 0;
}
