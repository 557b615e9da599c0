/* test/sim/test_rpool.c: pools of resources under seeds and cancels (Q14). */
#include "../support/sim_run.h"
#include <errno.h>

enum { N = 4, MAX = 2, BROKEN = THRUM_APP(1), FAILED = THRUM_APP(2), THINGS = 64 };

struct thing {
	int users, live;
};

struct world {
	thrum_pool pool;
	int alive, made, ended, lent;
	bool steady; /* nothing fails and nothing goes bad */
	struct thing things[THINGS];
};

static int pause_a_little(void)
{
	switch (sim_choose(3)) {
	case 0: return 0;
	case 1: return thrum_yield();
	default: return thrum_sleep(thrum_us(1));
	}
}

static int make(void *ctx, void **ret)
{
	struct world *w = ctx;
	struct thing *t;
	int r;

	TH_CHECK(sim_add(&w->alive, 1) <= MAX);
	r = pause_a_little();
	if (r == 0 && !w->steady && sim_choose(4) == 0)
		r = FAILED;
	if (r < 0) {
		sim_add(&w->alive, -1);
		return r;
	}
	t = &w->things[sim_add(&w->made, 1) - 1];
	TH_CHECK_EQ(sim_add(&t->live, 1), 1);
	*ret = t;
	return 0;
}

static int pause_fx_run(void *unused)
{
	(void)unused;
	return pause_a_little();
}

static void end(void *ctx, void *res)
{
	struct world *w = ctx;
	struct thing *t = res;

	TH_CHECK_EQ(sim_add(&t->users, 0), 0);
	TH_CHECK_EQ(sim_add(&t->live, -1), 0);
	TH_CHECK_EQ(pause_a_little(), 0); /* shielded */
	sim_add(&w->ended, 1);
	sim_add(&w->alive, -1);
}

static bool is_good(void *ctx, void *res)
{
	struct world *w = ctx;

	TH_CHECK_EQ(sim_add(&((struct thing *)res)->users, 0), 0);
	return pause_a_little() == 0 && (w->steady || sim_choose(4));
}

/* One user at a time, of something alive. */
static int use(void *res, void *arg)
{
	struct thing *t = res;
	struct world *w = arg;
	int r;

	TH_CHECK_EQ(sim_add(&t->users, 1), 1);
	TH_CHECK_EQ(sim_add(&t->live, 0), 1);
	TH_CHECK(sim_add(&w->lent, 1) <= MAX);
	r = pause_a_little();
	if (!w->steady && sim_choose(4) == 0)
		TH_CHECK_EQ(thrum_pool_invalidate(&w->pool, res), 0);
	sim_add(&w->lent, -1);
	TH_CHECK_EQ(sim_add(&t->users, -1), 0);
	return r < 0 ? r : !w->steady && sim_choose(4) == 0 ? BROKEN : 0;
}

static int get_and_put(struct world *w)
{
	void *res;
	int r = thrum_pool_get(&w->pool, &res);

	if (r < 0)
		return r;
	r = use(res, w);
	TH_CHECK_EQ(thrum_pool_put(&w->pool, res), 0);
	return r;
}

static int acquire_and_use(void *arg)
{
	struct world *w = arg;
	void *res;
	int r = thrum_pool_acquire(&w->pool, &res);

	return r < 0 ? r : use(res, w);
}

static int borrow(void *arg)
{
	struct world *w = arg;

	switch (sim_choose(3)) {
	case 0: return get_and_put(w);
	case 1: return thrum_pool_use(&w->pool, use, w);
	default: return thrum_timeout((thrum_fx){ acquire_and_use, w }, thrum_us(1 + sim_choose(20)));
	}
}

/* What may come of it without a fault of the pool's; only a cancel from outside ends the user. */
static int visit(struct world *w)
{
	for (int i = 0; i < 2; i++) {
		thrum_fx fx = { borrow, w };
		int r = sim_choose(3) ? thrum_call(fx) : thrum_timeout(fx, thrum_us(1 + sim_choose(3)));

		if (r == -ECANCELED)
			return r;
		TH_CHECK(r == 0 || r == -ETIMEDOUT || r == BROKEN || r == FAILED || r == THRUM_ECLOSED);
		TH_CHECK(r == 0 || !w->steady || r == -ETIMEDOUT || r == THRUM_ECLOSED);
	}
	return 0;
}
THRUM_FX(visit, struct world);

static void open_world(struct world *w)
{
	*w = (struct world){ .steady = sim_choose(2) };
	TH_CHECK_EQ(thrum_pool_init(&w->pool, THRUM_POOL_OPTS(.create = make, .destroy = end, .validate = is_good, .ctx = w,
							      .max = MAX, .min = sim_choose(2),
							      .idle = thrum_us(sim_choose(3)))), 0);
}

static thrum_pool_stats stats(struct world *w)
{
	thrum_pool_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_pool_read(&w->pool, &s), 0);
	return s;
}

static void close_world(struct world *w)
{
	TH_CHECK_EQ(thrum_pool_close(&w->pool), 0);
	TH_CHECK_EQ(w->alive, 0);
	TH_CHECK_EQ(w->made, w->ended);
	TH_CHECK_EQ(stats(w).alive, 0);
}

/* Q14: however the uses end and the creates fail, never more are alive than may be, each has one user, all come back,
 * and nobody waits for a place that is free. */
SIM_TEST_WITH(rpool, everything_comes_back_Q14, .clock = THRUM_CLOCK_REAL)
{
	struct world w;
	thrum_fx fx[N];
	int r;

	(void)unused;
	open_world(&w);
	for (int i = 0; i < N; i++)
		fx[i] = visit_fx(&w);
	r = thrum_zip_par_n(fx, N);
	TH_CHECK_EQ(stats(&w).alive, stats(&w).idle);
	TH_CHECK_EQ((int)stats(&w).idle, w.alive);
	close_world(&w);
	return r;
}

static int shut_down(struct world *w)
{
	int r = pause_a_little();

	TH_CHECK_EQ(thrum_pool_shutdown(&w->pool), 0);
	return r;
}
static int close_it(struct world *w)
{
	int r = thrum_shield((thrum_fx){ pause_fx_run, NULL });

	TH_CHECK_EQ(thrum_pool_close(&w->pool), 0);
	TH_CHECK_EQ(sim_add(&w->alive, 0), 0); /* it has waited */
	TH_CHECK_EQ(sim_add(&w->lent, 0), 0);
	return r;
}
THRUM_FX(shut_down, struct world);
THRUM_FX(close_it, struct world);

/* Q14: a shutdown at any moment wakes all who wait, and a close waits for all that is lent. */
SIM_TEST_WITH(rpool, shutdown_leaves_nobody_waiting_Q14, .clock = THRUM_CLOCK_REAL)
{
	struct world w;
	int r;

	(void)unused;
	open_world(&w);
	if (sim_choose(2))
		r = thrum_zip_par(visit_fx(&w), visit_fx(&w), visit_fx(&w), shut_down_fx(&w));
	else
		r = thrum_zip_par(visit_fx(&w), visit_fx(&w), visit_fx(&w), close_it_fx(&w), close_it_fx(&w));
	close_world(&w);
	return r;
}

struct line {
	struct world w;
	int failing;
};

static int fail_to_make(void *ctx, void **ret)
{
	struct line *l = ctx;

	(void)ret;
	TH_CHECK_EQ(sim_add(&l->w.alive, 1), 1);
	int r = pause_a_little();
	sim_add(&l->w.alive, -1);
	sim_add(&l->failing, 1);
	return r < 0 ? r : FAILED;
}
static int get_none(struct line *l)
{
	void *res;
	int r = thrum_pool_get(&l->w.pool, &res);

	TH_CHECK(r == FAILED || r == -ECANCELED);
	return r == FAILED ? 0 : r;
}
THRUM_FX(get_none, struct line);

/* Q14: each failed create hands the place on, so all who wait hear of a failure of their own. */
SIM_TEST_WITH(rpool, failed_creates_leave_nobody_waiting_Q14, .clock = THRUM_CLOCK_REAL)
{
	struct line l = { .failing = 0 };
	thrum_fx fx[N];
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_pool_init(&l.w.pool, THRUM_POOL_OPTS(.create = fail_to_make, .ctx = &l, .max = 1)), 0);
	for (int i = 0; i < N; i++)
		fx[i] = get_none_fx(&l);
	r = thrum_zip_par_n(fx, N);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(l.failing, N);
	TH_CHECK_EQ(stats(&l.w).alive, 0);
	TH_CHECK_EQ(thrum_pool_close(&l.w.pool), 0);
	return r;
}
