/* test/sim/test_retry.c: retry, hedged requests, circuit breakers and rate limiters under seeds and cancels:
 * whatever the schedule, the counts are right, nothing outlives a call, and the outcome is one that the rules
 * allow. */
#include "../support/sim_run.h"
#include <errno.h>

enum { E_DOWN = THRUM_APP(1) };

/* --- retry --- */

struct attempts {
	int runs, good, open;
};

static int take(struct attempts *a)
{
	a->open++;
	sim_add(&sim_counts.held, 1);
	sim_add(&sim_counts.acquired, 1);
	return 0;
}
static int give(struct attempts *a)
{
	a->open--;
	sim_add(&sim_counts.held, -1);
	sim_add(&sim_counts.released, 1);
	return 0;
}
THRUM_FX(take, struct attempts);
THRUM_FX(give, struct attempts);

static int attempt(struct attempts *a)
{
	int code;

	TH_CHECK_EQ(a->open, 0); /* the attempt before has released (Y6) */
	a->runs++;
	code = thrum_acquire_release(take_fx(a), give_fx(a));
	if (code == 0)
		code = thrum_sleep(thrum_ms((int)sim_choose(3)));
	if (code < 0)
		return code;
	return a->runs >= a->good ? a->runs : E_DOWN;
}
THRUM_FX(attempt, struct attempts);

/* Y1, Y3, Y6: retries beside each other share a schedule; each makes its attempts, none is left over, whatever it is
 * cancelled in. */
SIM_TEST(retry, attempts_are_counted_and_closed_Y3_Y6)
{
	const thrum_schedule doubling = thrum_exponential(thrum_ms(1), thrum_ms(4));
	const thrum_schedule s = thrum_intersect(thrum_jittered(doubling, 0.5), thrum_recurs(3));
	struct attempts a[2] = { { .good = 1 + (int)sim_choose(6) }, { .good = 1 + (int)sim_choose(6) } };
	thrum_retry_op ops[2];
	thrum_fx fx[2];
	int codes[2], r;

	(void)unused;
	for (int i = 0; i < 2; i++) {
		ops[i] = (thrum_retry_op){ .fx = attempt_fx(&a[i]), .schedule = &s };
		fx[i] = thrum_retry_fx(&ops[i]);
	}
	r = thrum_zip_settle_n(fx, 2, codes);
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(a[i].open, 0);
		if (codes[i] == -ECANCELED)
			TH_CHECK(sim_cancelled_run() && a[i].runs <= 4);
		else if (a[i].good <= 4)
			TH_CHECK(codes[i] == a[i].good && a[i].runs == a[i].good);
		else
			TH_CHECK(codes[i] == E_DOWN && a[i].runs == 4);
	}
	return r;
}

/* --- hedged requests --- */

enum { N = 4 };

struct entrant {
	int ms, code, began, done;
	int lost_to; /* the entrant that won, as this one was told; -1: it was not */
};

static int entrant(struct entrant *e)
{
	const thrum_reason *why;
	int r;

	sim_enter();
	e->began++;
	r = e->ms ? thrum_sleep(thrum_ms(e->ms - 1)) : 0;
	why = thrum_cancel_reason();
	if (r < 0 && why && why->kind == THRUM_CANCEL_RACE_LOST)
		e->lost_to = (int)why->index;
	if (r == 0)
		e->done = 1;
	return sim_leave(r < 0 ? r : e->code);
}
THRUM_FX(entrant, struct entrant);

/* R1, R2, R5, R9: a success wins, and all who were told so were told the same; without one all have failed, each
 * after it ran once; nobody outlives the call. */
SIM_TEST(retry, hedged_requests_have_one_winner_R1_R2_R5)
{
	struct entrant e[N];
	thrum_fx fx[N];
	size_t n = 1 + sim_choose(N);
	int r;

	(void)unused;
	for (size_t i = 0; i < n; i++) {
		e[i] = (struct entrant){ .ms = (int)sim_choose(5), .lost_to = -1 };
		e[i].code = sim_choose(3) ? THRUM_APP((int)i) : 0;
		fx[i] = entrant_fx(&e[i]);
	}
	r = thrum_hedge_n(fx, n, thrum_ms((int)sim_choose(4)));
	TH_CHECK_EQ(sim_counts.alive, 0);
	for (size_t i = 0; i < n; i++) {
		TH_CHECK(e[i].began <= 1);
		TH_CHECK(e[i].lost_to == -1 || e[i].lost_to == r);
		TH_CHECK(r >= 0 || r == -ECANCELED || (e[i].done && e[i].code < 0));
	}
	if (r >= 0)
		TH_CHECK((size_t)r < n && e[r].done && e[r].code == 0);
	else if (r == -ECANCELED)
		TH_CHECK(sim_cancelled_run());
	else
		TH_CHECK(r == e[-r + THRUM_APP(0)].code);
	return r == -ECANCELED ? r : 0;
}

/* All but the last fail, and only failures start anybody: each failure is noticed, wherever the next starter just
 * is. */
SIM_TEST(retry, hedged_failures_start_the_next)
{
	struct entrant e[N];
	thrum_fx fx[N];
	int r;

	(void)unused;
	for (int i = 0; i < N; i++) {
		e[i] = (struct entrant){ .ms = (int)sim_choose(3), .lost_to = -1 };
		e[i].code = i < N - 1 ? THRUM_APP(i) : 0;
		fx[i] = entrant_fx(&e[i]);
	}
	r = thrum_hedge_n(fx, N, THRUM_FOREVER);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(r, N - 1);
	TH_CHECK(r == N - 1 || r == -ECANCELED);
	return r == -ECANCELED ? r : 0;
}

/* --- circuit breakers --- */

struct guarded {
	thrum_breaker breaker;
	int probes, probes_max; /* inside at once, while it was half open */
};

static unsigned state_of(struct guarded *g)
{
	thrum_breaker_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_breaker_read(&g->breaker, &st), 0);
	return st.state;
}

struct caller {
	struct guarded *g;
	int calls;
	int code;
};

static int probe(struct caller *c)
{
	int r, probes = sim_add(&c->g->probes, 1);

	if (probes > sim_add(&c->g->probes_max, 0))
		__atomic_store_n(&c->g->probes_max, probes, __ATOMIC_RELAXED);
	TH_CHECK_EQ(state_of(c->g), THRUM_BREAKER_HALF_OPEN); /* as long as the probe runs */
	r = thrum_sleep(thrum_ms((int)sim_choose(3)));
	TH_CHECK_EQ(state_of(c->g), THRUM_BREAKER_HALF_OPEN);
	sim_add(&c->g->probes, -1);
	return r < 0 ? r : E_DOWN;
}
THRUM_FX(probe, struct caller);

/* Every probe fails, is cancelled by a time limit outside, or from outside all. */
static int knock(struct caller *c)
{
	thrum_breaker_op op = { &c->g->breaker, probe_fx(c) };

	for (int i = 0; i < c->calls; i++) {
		if (sim_choose(2))
			c->code = thrum_timeout(thrum_breaker_fx(&op), thrum_ms(1));
		else
			c->code = thrum_call(thrum_breaker_fx(&op));
		TH_CHECK(c->code == E_DOWN || c->code == THRUM_EOPEN || c->code == -ETIMEDOUT || c->code == -ECANCELED);
		if (c->code == -ECANCELED || thrum_sleep(thrum_ms((int)sim_choose(3))) < 0)
			return 0;
	}
	return 0;
}
THRUM_FX(knock, struct caller);

static int down(void *unused)
{
	(void)unused;
	return E_DOWN;
}

/* One probe at a time, whoever comes, and whichever is cancelled; and the place is free again in the end. */
SIM_TEST(retry, breakers_have_one_probe_at_a_time)
{
	struct guarded g = { .probes = 0 };
	struct caller c[3];
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_breaker_init(&g.breaker, THRUM_BREAKER_OPTS(.failures = 1, .cool_down = thrum_ms(1))), 0);
	r = thrum_breaker_call(&g.breaker, (thrum_fx){ down, NULL });
	if (r == E_DOWN)
		r = thrum_sleep(thrum_ms(1));
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		c[i] = (struct caller){ .g = &g, .calls = 3 };
	r = thrum_for_each_par(c, 3, knock, THRUM_UNBOUNDED);
	TH_CHECK(g.probes == 0 && g.probes_max <= 1);
	if (r < 0)
		return r;
	if (thrum_sleep(thrum_ms(1)) < 0)
		return -ECANCELED;
	r = thrum_breaker_call(&g.breaker, thrum_succeed()); /* whoever was cancelled has left the place */
	TH_CHECK(r == 0 || (r == -ECANCELED && sim_cancelled_run()));
	return r;
}

/* --- rate limiters --- */

struct taker {
	thrum_limiter *limiter;
	int *taken; /* by all */
	int n, limit_ms;
	int code;
};

static int take_tokens(void *arg)
{
	struct taker *t = arg;
	int r = thrum_limiter_acquire(t->limiter, (uint64_t)t->n);

	if (r == 0)
		sim_add(t->taken, t->n);
	return r;
}

static int take_some(struct taker *t)
{
	const thrum_fx fx = { take_tokens, t };

	t->code = t->limit_ms ? thrum_timeout(fx, thrum_ms(t->limit_ms)) : thrum_call(fx);
	return 0;
}
THRUM_FX(take_some, struct taker);

/* On the virtual clock, so that the account can be checked to the token: what is gone is what was taken, in
 * whatever order takers come, give up and are cancelled; nobody waits for ever; and tokens never come faster than
 * they flow. */
SIM_TEST_WITH(retry, limiters_neither_lose_nor_leak_Q7_Q9, .clock = THRUM_CLOCK_JUMP)
{
	enum { BURST = 3, TAKERS = 4 };
	struct taker t[TAKERS];
	thrum_limiter l;
	int taken = 0, r;
	int64_t ms;
	thrum_time t0 = thrum_now();

	(void)unused;
	TH_CHECK_EQ(thrum_limiter_init(&l, 1, thrum_ms(1), BURST), 0);
	TH_CHECK_EQ(thrum_limiter_try_acquire(&l, BURST), 0);
	for (int i = 0; i < TAKERS; i++) {
		t[i] = (struct taker){ .limiter = &l, .taken = &taken, .n = 1 + (int)sim_choose(BURST) };
		t[i].limit_ms = sim_choose(3) ? 0 : 1 + (int)sim_choose(6);
	}
	r = thrum_for_each_par(t, TAKERS, take_some, THRUM_UNBOUNDED);
	ms = thrum_time_sub(thrum_now(), t0).ns / 1000000;
	TH_CHECK(taken <= ms);
	TH_CHECK((int)thrum_limiter_available(&l) == (ms - taken < BURST ? ms - taken : BURST));
	for (int i = 0; i < TAKERS && r == 0 && !sim_cancelled_run(); i++)
		TH_CHECK(t[i].code == 0 || (t[i].limit_ms && t[i].code == -ETIMEDOUT));
	if (r == 0)
		TH_CHECK_EQ(thrum_limiter_try_acquire(&l, 0), 0);
	r = r < 0 ? r : thrum_limiter_acquire(&l, BURST); /* nobody has taken the turn away */
	TH_CHECK(r == 0 || (r == -ECANCELED && sim_cancelled_run()));
	return r;
}
