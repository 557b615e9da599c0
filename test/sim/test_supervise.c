/* test/sim/test_supervise.c: supervision under seeds and cancels: never two runs of a child at once, whatever ends
 * them; a group is down before any of it starts again; everything has ended when the supervisor returns. */
#include "../support/sim_run.h"
#include <errno.h>

enum { N = 3, E_DOWN = THRUM_APP(1) };

struct worker {
	int bad;                /* so many runs fail, then one succeeds */
	int ms;
	int runs, alive;
	struct worker *all;     /* the children of a group that is restarted as one, else NULL */
};

static int take(struct worker *w)
{
	TH_CHECK_EQ(sim_add(&w->alive, 1), 1); /* never two at once */
	sim_add(&sim_counts.held, 1);
	sim_add(&sim_counts.acquired, 1);
	return 0;
}
static int give(struct worker *w)
{
	if (w->ms > 2)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	sim_add(&w->alive, -1);
	sim_add(&sim_counts.held, -1);
	sim_add(&sim_counts.released, 1);
	return 0;
}
THRUM_FX(take, struct worker);
THRUM_FX(give, struct worker);

static int worker(struct worker *w)
{
	int run = sim_add(&w->runs, 1), code;

	sim_enter();
	/* Of a group those that come after it have ended, and are not started yet. */
	for (struct worker *o = w + 1; w->all && o < w->all + N; o++)
		TH_CHECK_EQ(sim_add(&o->alive, 0), 0);
	code = thrum_acquire_release(take_fx(w), give_fx(w));
	if (code == 0 && w->ms)
		code = thrum_sleep(thrum_ms(w->ms - 1));
	return sim_leave(code < 0 ? code : run <= w->bad ? E_DOWN : 0);
}
THRUM_FX(worker, struct worker);

static void draw(struct worker *w, thrum_child_spec *specs, const thrum_schedule *s)
{
	for (int i = 0; i < N; i++) {
		w[i] = (struct worker){ .bad = (int)sim_choose(3), .ms = (int)sim_choose(5) };
		specs[i] = (thrum_child_spec){ .fx = worker_fx(&w[i]), .restart = THRUM_RESTART_TRANSIENT };
		if (sim_choose(2))
			specs[i].schedule = s;
	}
}

static void check_all_ended(const struct worker *w)
{
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK_EQ(sim_counts.held, 0);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(w[i].alive, 0);
}

/* Who is cancelled returns a failure that it could no longer answer with a restart (G1). */
static int result(int r)
{
	TH_CHECK(r == 0 || (sim_cancelled_run() && (r == -ECANCELED || r == E_DOWN)));
	return r == E_DOWN ? -ECANCELED : r;
}

/* One for one: each child runs exactly as often as it fails, and once more. */
SIM_TEST(supervise, each_is_restarted_for_itself_D28)
{
	const thrum_schedule s = thrum_exponential(thrum_ms(1), thrum_ms(2));
	struct worker w[N];
	thrum_child_spec specs[N];
	int r;

	(void)unused;
	draw(w, specs, &s);
	r = thrum_supervise(specs, N, THRUM_SUPERVISOR_OPTS(.max_restarts = THRUM_UNBOUNDED));
	check_all_ended(w);
	for (int i = 0; i < N; i++)
		TH_CHECK(r == 0 ? w[i].runs == w[i].bad + 1 : w[i].runs <= w[i].bad + 1);
	return result(r);
}

/* One for all: it goes on until a round in which nobody fails; each round begins when the last one has ended. */
SIM_TEST(supervise, group_goes_down_before_it_comes_up)
{
	const thrum_schedule s = thrum_spaced(thrum_ms(1));
	struct worker w[N];
	thrum_child_spec specs[N];
	int r;

	(void)unused;
	draw(w, specs, &s);
	for (int i = 0; i < N; i++)
		w[i].all = w;
	r = thrum_supervise(specs, N, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_ONE_FOR_ALL, .max_restarts = THRUM_UNBOUNDED));
	check_all_ended(w);
	for (int i = 0; i < N && r == 0; i++)
		TH_CHECK(w[i].runs > w[i].bad);
	return result(r);
}

/* Rest for one, with a limit: it ends well, or gives up with the failure after as many restarts as it may. */
SIM_TEST(supervise, gives_up_after_the_limit)
{
	const thrum_schedule s = thrum_spaced(thrum_ms(1));
	struct worker w[N];
	thrum_child_spec specs[N];
	size_t limit = 1 + sim_choose(3);
	int r, bad = 0;

	(void)unused;
	draw(w, specs, &s);
	r = thrum_supervise(specs, N, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE, .max_restarts = limit));
	check_all_ended(w);
	for (int i = 0; i < N; i++)
		bad += w[i].runs < w[i].bad ? w[i].runs : w[i].bad;
	/* A run that is stopped may have failed before: so at least. */
	if (r == E_DOWN && !sim_cancelled_run())
		TH_CHECK((size_t)bad > limit);
	else if (r == -ECANCELED)
		TH_CHECK(sim_cancelled_run());
	else if (r != E_DOWN)
		TH_CHECK_EQ(r, 0);
	return r == E_DOWN ? 0 : r;
}

/* A supervisor that gives up is restarted by the one around it, from nothing. */
SIM_TEST(supervise, nested_ones_escalate)
{
	struct worker w[N];
	thrum_child_spec specs[N], outer;
	thrum_supervise_op op = { specs, N, THRUM_SUPERVISOR_OPTS(.strategy = sim_choose(3), .max_restarts = 1) };
	int r;

	(void)unused;
	draw(w, specs, NULL);
	outer = (thrum_child_spec){ .fx = thrum_supervise_fx(&op), .restart = THRUM_RESTART_TRANSIENT };
	r = thrum_supervise(&outer, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = THRUM_UNBOUNDED));
	check_all_ended(w);
	for (int i = 0; i < N && r == 0; i++)
		TH_CHECK(w[i].runs > w[i].bad);
	return result(r);
}
