/* Supervision (D28): who is restarted, when, with whom; when the supervisor gives up; how it ends. */
#include "test/support/child.h"
#include "test/support/rules.h"
#include <string.h>

enum { E_DOWN = THRUM_APP(1), E_OTHER = THRUM_APP(2), RUNS = 24 };

/* Virtual clocks begin at 1 s. */
static long long ms_so_far(void)
{
	return th_now_ms() - 1000;
}

/* What one run does: sleep `ms` (0: not at all; -1: until it is cancelled), end with `code`. */
struct act {
	int ms, code;
};
/* A child that plays one act per run, the last one again and again; each run holds something while it lasts. */
struct worker {
	const struct act *acts;
	int n;
	int cleanup_ms, cleanup_code; /* on the way out of a cancelled run */
	int runs, alive, releases;
	long long began_ms[RUNS], ended_ms[RUNS];
	const void *ids[RUNS];
	thrum_reason reason;          /* of the last cancel */
	th_counter *order;            /* counts begins and ends of all */
	int begin_no[RUNS], end_no[RUNS];
};

static int take(struct worker *w)
{
	TH_CHECK_EQ(w->alive++, 0); /* never two at once */
	return 0;
}
static int give(struct worker *w)
{
	if (w->cleanup_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(w->cleanup_ms)), 0);
	w->ended_ms[(w->runs - 1) % RUNS] = ms_so_far();
	if (w->order)
		w->end_no[(w->runs - 1) % RUNS] = th_count(w->order, 1);
	w->releases++;
	w->alive--;
	return thrum_exit_code() == -ECANCELED ? w->cleanup_code : 0;
}
THRUM_FX(take, struct worker);
THRUM_FX(give, struct worker);

static int worker(struct worker *w)
{
	int i = w->runs++, code;
	const struct act *act = &w->acts[i < w->n ? i : w->n - 1];

	w->began_ms[i % RUNS] = ms_so_far();
	w->ids[i % RUNS] = thrum_self_id();
	if (w->order)
		w->begin_no[i % RUNS] = th_count(w->order, 1);
	code = thrum_acquire_release(take_fx(w), give_fx(w));
	if (code == 0 && act->ms)
		code = act->ms < 0 ? thrum_call(thrum_never()) : thrum_sleep(thrum_ms(act->ms));
	if (thrum_cancel_reason())
		w->reason = *thrum_cancel_reason();
	return code < 0 ? code : act->code;
}
THRUM_FX(worker, struct worker);

/* Did run `i` of these begin in order? Each was about to when the next was started; but on several workers the first may be
 * interrupted just there, and the next one get ahead. */
static bool began_in_order(const struct worker *w, int n, int i)
{
	for (int k = 1; k < n && thrum_workers() == 1; k++)
		if (w[k - 1].begin_no[i] >= w[k].begin_no[i])
			return false;
	return true;
}

#define ACTS(...)                                                                                                \
	.acts = (const struct act[]){ __VA_ARGS__ },                                                             \
	.n = sizeof((const struct act[]){ __VA_ARGS__ }) / sizeof(struct act)
#define TIMES(w_, ...)                                                                                           \
	do {                                                                                                     \
		const long long want_[] = { __VA_ARGS__ };                                                       \
		TH_CHECK_EQ((w_).runs, sizeof want_ / sizeof *want_);                                            \
		for (int i_ = 0; i_ < (w_).runs; i_++)                                                           \
			TH_CHECK_EQ((w_).began_ms[i_], want_[i_]);                                               \
		TH_CHECK_EQ((w_).releases, (w_).runs);                                                           \
	} while (0)

static thrum_child_spec of_kind(struct worker *w, unsigned restart)
{
	return (thrum_child_spec){ .fx = worker_fx(w), .restart = restart };
}

/* --- who is restarted --- */

TH_FIBER_TEST(JUMP, supervise, permanent_always_transient_after_failures_temporary_never_D28)
{
	struct worker p = { ACTS({ 5, 0 }, { 5, E_DOWN }, { 5, 7 }, { -1, 0 }) };
	struct worker t = { ACTS({ 1, E_DOWN }, { 1, E_OTHER }, { 1, 3 }) };
	struct worker once = { ACTS({ 2, 0 }) };
	thrum_child_spec specs[] = { of_kind(&p, THRUM_RESTART_PERMANENT), of_kind(&t, THRUM_RESTART_TRANSIENT),
				     of_kind(&once, THRUM_RESTART_TEMPORARY) };
	thrum_supervise_op op = { specs, 3, THRUM_SUPERVISOR_OPTS(.max_restarts = 5) };

	TH_CHECK_EQ(thrum_timeout(thrum_supervise_fx(&op), thrum_ms(100)), -ETIMEDOUT);
	TIMES(p, 0, 5, 10, 15);
	TIMES(t, 0, 1, 2);
	TIMES(once, 0);
	TH_CHECK_EQ(ms_so_far(), 100);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, returns_0_when_all_have_ended_for_good)
{
	struct worker a = { ACTS({ 30, 4 }) }, b = { ACTS({ 10, E_DOWN }, { 50, 0 }) };
	thrum_child_spec specs[] = { of_kind(&a, THRUM_RESTART_TRANSIENT), of_kind(&b, THRUM_RESTART_TRANSIENT) };

	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), 0);
	TH_CHECK_EQ(ms_so_far(), 60);
	TH_CHECK_EQ(thrum_supervise(NULL, 0, NULL), 0);
	return 0;
}

static int die_once(int *runs)
{
	return ++*runs == 1 ? thrum_failed(THRUM_EDIED, "planted") : 0;
}
static int cancel_itself_once(int *runs)
{
	return ++*runs == 1 ? -ECANCELED : 0;
}
THRUM_FX(die_once, int);
THRUM_FX(cancel_itself_once, int);

TH_FIBER_TEST(JUMP, supervise, defects_and_interrupts_of_its_own_are_failures)
{
	int died = 0, cancelled = 0;
	const thrum_child_spec specs[] = { { .fx = die_once_fx(&died), .restart = THRUM_RESTART_TRANSIENT },
					   { .fx = cancel_itself_once_fx(&cancelled), .restart = THRUM_RESTART_TRANSIENT } };

	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), 0);
	TH_CHECK_EQ(died, 2);
	TH_CHECK_EQ(cancelled, 2);
	return 0;
}

/* --- when: schedules --- */

TH_FIBER_TEST(JUMP, supervise, waits_the_delays_of_the_schedule)
{
	struct worker w = { ACTS({ 5, E_DOWN }, { 5, E_DOWN }, { 5, E_DOWN }, { 5, E_DOWN }, { 5, 0 }) };
	const thrum_schedule s = thrum_exponential(thrum_ms(10), thrum_ms(40));
	const thrum_child_spec spec = { .fx = worker_fx(&w), .restart = THRUM_RESTART_TRANSIENT, .schedule = &s };

	TH_CHECK_EQ(thrum_supervise(&spec, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = 9)), 0);
	TIMES(w, 0, 15, 40, 85, 130);
	return 0;
}

/* Each child has a run of the schedule of its own, each supervisor too. */
TH_FIBER_TEST(JUMP, supervise, children_share_a_schedule_Y1)
{
	struct worker a = { ACTS({ 5, E_DOWN }, { 5, E_DOWN }, { 5, 0 }) }, b = a;
	const thrum_schedule s = thrum_exponential(thrum_ms(10), thrum_ms(40));
	thrum_child_spec specs[] = { of_kind(&a, THRUM_RESTART_TRANSIENT), of_kind(&b, THRUM_RESTART_TRANSIENT) };

	specs[0].schedule = specs[1].schedule = &s;
	TH_CHECK_EQ(thrum_supervise(specs, 2, THRUM_SUPERVISOR_OPTS(.max_restarts = 9)), 0);
	TIMES(a, 0, 15, 40);
	TIMES(b, 0, 15, 40);
	TH_CHECK_EQ(thrum_supervise(specs, 2, THRUM_SUPERVISOR_OPTS(.max_restarts = 9)), 0);
	TH_CHECK_EQ(a.runs, 4);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, schedule_begins_anew_after_a_good_run)
{
	struct worker w = { ACTS({ 5, E_DOWN }, { 5, E_DOWN }, { 99, E_DOWN }, { 100, E_DOWN }, { 5, E_DOWN }, { 5, 0 }) };
	const thrum_schedule s = thrum_exponential(thrum_ms(10), thrum_sec(1));
	const thrum_child_spec spec = { .fx = worker_fx(&w), .restart = THRUM_RESTART_TRANSIENT, .schedule = &s,
					.reset_after = thrum_ms(100) };

	TH_CHECK_EQ(thrum_supervise(&spec, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = 9)), 0);
	/* delays 10, 20, 40 (99 ms were not enough), 10, 20 */
	TIMES(w, 0, 15, 40, 40 + 99 + 40, 179 + 100 + 10, 289 + 5 + 20);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, schedule_that_ends_gives_up)
{
	struct worker w = { ACTS({ 5, E_OTHER }, { 5, E_DOWN }) };
	const thrum_schedule s = thrum_recurs(2);
	const thrum_child_spec spec = { .fx = worker_fx(&w), .name = "flaky", .schedule = &s };

	TH_CHECK_EQ(thrum_supervise(&spec, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = THRUM_UNBOUNDED)), E_DOWN);
	TIMES(w, 0, 5, 10);
	TH_CHECK(thrum_last_cause());
	TH_CHECK_EQ(thrum_last_cause()->code, E_DOWN);
	TH_CHECK_EQ(thrum_last_cause()->attempts, 3);
	TH_CHECK_EQ(thrum_last_cause()->index, 0);
	TH_CHECK_EQ(strcmp(thrum_last_cause()->name, "flaky"), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, delay_of_one_keeps_nobody_else)
{
	struct worker a = { ACTS({ 5, E_DOWN }, { 5, 0 }) }, b = { ACTS({ 10, E_DOWN }, { 10, E_DOWN }, { 10, 0 }) };
	const thrum_schedule slow = thrum_spaced(thrum_ms(100));
	thrum_child_spec specs[] = { of_kind(&a, THRUM_RESTART_TRANSIENT), of_kind(&b, THRUM_RESTART_TRANSIENT) };

	specs[0].schedule = &slow;
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), 0);
	TIMES(a, 0, 105);
	TIMES(b, 0, 10, 20);
	return 0;
}

/* --- the limit --- */

TH_FIBER_TEST(JUMP, supervise, one_restart_too_many_gives_up)
{
	for (size_t n = 1; n < 4; n++) {
		struct worker w = { ACTS({ 10, E_DOWN }) };
		const thrum_child_spec spec = of_kind(&w, THRUM_RESTART_PERMANENT);

		TH_CHECK_EQ(thrum_supervise(&spec, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = n)), E_DOWN);
		TH_CHECK_EQ(w.runs, n + 1);
		TH_CHECK_EQ(thrum_last_cause()->attempts, n + 1);
	}
	return 0;
}

/* The defaults: 3 within 5 s, and one that is 5 s old still counts. */
TH_FIBER_TEST(JUMP, supervise, restarts_count_for_a_period)
{
	struct worker slow = { ACTS({ 1667, E_DOWN }, { 1667, E_DOWN }, { 1667, E_DOWN }, { 1667, E_DOWN }, { 1667, 0 }) };
	struct worker quick = { ACTS({ 1, E_DOWN }, { 1000, E_DOWN }, { 1000, E_DOWN }, { 3000, E_DOWN }) };
	struct worker slower = { ACTS({ 1, E_DOWN }, { 1000, E_DOWN }, { 1000, E_DOWN }, { 3001, E_DOWN }, { 1, 0 }) };
	thrum_child_spec spec = of_kind(&slow, THRUM_RESTART_TRANSIENT);

	TH_CHECK_EQ(thrum_supervise(&spec, 1, NULL), 0);
	TH_CHECK_EQ(slow.runs, 5);
	spec = of_kind(&quick, THRUM_RESTART_TRANSIENT);
	TH_CHECK_EQ(thrum_supervise(&spec, 1, NULL), E_DOWN);
	TH_CHECK_EQ(quick.runs, 4);
	spec = of_kind(&slower, THRUM_RESTART_TRANSIENT);
	TH_CHECK_EQ(thrum_supervise(&spec, 1, NULL), 0);
	TH_CHECK_EQ(slower.runs, 5);
	spec = of_kind(&slow, THRUM_RESTART_TRANSIENT);
	slow.runs = 0;
	TH_CHECK_EQ(thrum_supervise(&spec, 1, THRUM_SUPERVISOR_OPTS(.period = THRUM_FOREVER)), E_DOWN);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, limit_is_of_all_children_together)
{
	struct worker a = { ACTS({ 10, E_DOWN }, { -1, 0 }) }, b = { ACTS({ 20, E_DOWN }, { -1, 0 }) },
		      c = { ACTS({ 30, E_OTHER }, { -1, 0 }) };
	const thrum_child_spec specs[] = { of_kind(&a, 0), of_kind(&b, 0), of_kind(&c, 0) };

	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.max_restarts = 2)), E_OTHER);
	TIMES(a, 0, 10);
	TIMES(b, 0, 20);
	TIMES(c, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, permanent_success_too_often_is_ECHILD)
{
	struct worker w = { ACTS({ 10, 0 }) };
	const thrum_child_spec spec = { .fx = worker_fx(&w), .name = "brief" };

	TH_CHECK_EQ(thrum_supervise(&spec, 1, NULL), -ECHILD);
	TH_CHECK_EQ(w.runs, 4);
	TH_CHECK_EQ(thrum_last_cause()->code, -ECHILD);
	TH_CHECK_EQ(thrum_last_cause()->attempts, 4);
	TH_CHECK_EQ(strcmp(thrum_last_cause()->name, "brief"), 0);
	return 0;
}

/* A child that ends as soon as it begins takes nobody's turn. */
TH_FIBER_TEST(JUMP, supervise, busy_restarts_starve_nobody)
{
	struct worker busy = { ACTS({ 0, E_DOWN }) }, other = { ACTS({ 10, 0 }) };
	const thrum_child_spec specs[] = { of_kind(&busy, 0), of_kind(&other, THRUM_RESTART_TRANSIENT) };
	thrum_supervise_op op = { specs, 2, THRUM_SUPERVISOR_OPTS(.max_restarts = 10000) };

	TH_CHECK_EQ(thrum_call(thrum_supervise_fx(&op)), E_DOWN);
	TH_CHECK_EQ(busy.runs, 10001);
	TH_CHECK_EQ(other.runs, 1);
	return 0;
}

/* --- with whom: groups --- */

static void init_three(struct worker *w, thrum_child_spec *specs, th_counter *order)
{
	for (int i = 0; i < 3; i++) {
		w[i].order = order;
		w[i].cleanup_ms = 10;
		specs[i] = (thrum_child_spec){ .fx = worker_fx(&w[i]), .restart = THRUM_RESTART_TRANSIENT };
	}
}

TH_FIBER_TEST(JUMP, supervise, one_for_all_stops_last_first_and_starts_in_order)
{
	struct worker w[] = { { ACTS({ -1, 0 }, { 5, 0 }) },
			      { ACTS({ 20, E_DOWN }, { 5, 0 }) },
			      { ACTS({ -1, 0 }, { 5, 0 }) } };
	const thrum_schedule s = thrum_spaced(thrum_ms(100));
	thrum_child_spec specs[3];
	th_counter order = { 0 };

	init_three(w, specs, &order);
	specs[1].schedule = &s;
	specs[1].name = "culprit";
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_ONE_FOR_ALL)), 0);
	/* 1 ends at 30, 2 at 40, 0 at 50; all are started 100 ms after the end of 1. */
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(w[i].runs, 2);
		TH_CHECK_EQ(w[i].began_ms[1], 130);
	}
	TH_CHECK_EQ(w[1].ended_ms[0], 30);
	TH_CHECK_EQ(w[2].ended_ms[0], 40);
	TH_CHECK_EQ(w[0].ended_ms[0], 50);
	TH_CHECK(began_in_order(w, 3, 0) && began_in_order(w, 3, 1));
	TH_CHECK_EQ(w[0].reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(w[0].reason.index, 1);
	TH_CHECK_EQ(w[0].reason.code, E_DOWN);
	TH_CHECK_EQ(strcmp(w[0].reason.name, "culprit"), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, rest_for_one_restarts_those_after_it)
{
	struct worker w[] = { { ACTS({ 500, 0 }) }, { ACTS({ 20, E_DOWN }, { 5, 0 }) }, { ACTS({ -1, 0 }, { 5, 0 }) } };
	thrum_child_spec specs[3];

	init_three(w, specs, NULL);
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE)), 0);
	TIMES(w[0], 0);
	TIMES(w[1], 0, 40);
	TIMES(w[2], 0, 40);
	return 0;
}

/* A group that waits is joined by one in front of it: no delay is cut short, and they start in order. */
TH_FIBER_TEST(JUMP, supervise, waiting_group_is_taken_along)
{
	struct worker w[] = { { ACTS({ 50, E_DOWN }, { 5, 0 }) },
			      { ACTS({ 20, E_DOWN }, { 5, 0 }) },
			      { ACTS({ -1, 0 }, { 5, 0 }) } };
	const thrum_schedule s = thrum_spaced(thrum_ms(100));
	thrum_child_spec specs[3];
	th_counter order = { 0 };

	init_three(w, specs, &order);
	specs[1].schedule = &s;
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE)), 0);
	TIMES(w[0], 0, 130);
	TIMES(w[1], 0, 130);
	TIMES(w[2], 0, 130);
	TH_CHECK(began_in_order(w, 3, 1));
	return 0;
}

/* As in OTP: a transient child that had succeeded is started again with its group, a temporary one is not. */
TH_FIBER_TEST(JUMP, supervise, group_takes_transients_along_and_leaves_temporaries)
{
	struct worker w[] = { { ACTS({ 5, 0 }) }, { ACTS({ 20, E_DOWN }, { 5, 0 }) }, { ACTS({ -1, 0 }) } };
	thrum_child_spec specs[3];

	init_three(w, specs, NULL);
	specs[2].restart = THRUM_RESTART_TEMPORARY;
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_ONE_FOR_ALL)), 0);
	TIMES(w[0], 0, 40);
	TIMES(w[1], 0, 40);
	TIMES(w[2], 0);
	return 0;
}

/* The first fails before the others are started. A temporary one, too, starts in its turn, after what it needs. */
TH_ONE_WORKER_TEST(JUMP, supervise, group_waits_with_those_it_has_not_started)
{
	struct worker w[] = { { ACTS({ 0, E_DOWN }, { 0, E_DOWN }, { 5, 0 }) }, { ACTS({ 5, 0 }) }, { ACTS({ 5, 0 }) } };
	const thrum_schedule s = thrum_spaced(thrum_ms(100));
	thrum_child_spec specs[3];

	init_three(w, specs, NULL);
	w[0].cleanup_ms = 0;
	specs[0].schedule = &s;
	specs[1].restart = THRUM_RESTART_TEMPORARY;
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE)), 0);
	TIMES(w[0], 0, 100, 200);
	TIMES(w[1], 200);
	TIMES(w[2], 200);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, group_counts_once)
{
	struct worker w[] = { { ACTS({ -1, 0 }, { -1, 0 }, { 5, 0 }) }, { ACTS({ 20, E_DOWN }, { 20, E_DOWN }, { 5, 0 }) },
			      { ACTS({ -1, 0 }, { -1, 0 }, { 5, 0 }) } };
	thrum_child_spec specs[3];

	init_three(w, specs, NULL);
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_ONE_FOR_ALL, .max_restarts = 2)), 0);
	return 0;
}

/* Children that fail at the same moment: the others have ended by themselves when they are to be stopped. */
TH_FIBER_TEST(JUMP, supervise, failures_at_once_are_one_restart_of_a_group)
{
	struct worker w[] = { { ACTS({ 20, E_DOWN }, { 5, 0 }) },
			      { ACTS({ 20, E_DOWN }, { 5, 0 }) },
			      { ACTS({ 20, E_DOWN }, { 5, 0 }) } };
	thrum_child_spec specs[3];

	init_three(w, specs, NULL);
	TH_CHECK_EQ(thrum_supervise(specs, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_ONE_FOR_ALL, .max_restarts = 1)), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(w[i].runs, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, runs_begin_in_order)
{
	enum { N = 50 };
	static const struct act act = { 0, 0 };
	static struct worker w[N];
	static thrum_child_spec specs[N];
	th_counter order = { 0 };

	memset(w, 0, sizeof w);
	for (int i = 0; i < N; i++) {
		w[i] = (struct worker){ .acts = &act, .n = 1, .order = &order };
		specs[i] = of_kind(&w[i], THRUM_RESTART_TRANSIENT);
	}
	TH_CHECK_EQ(thrum_supervise(specs, N, NULL), 0);
	TH_CHECK(began_in_order(w, N, 0));
	return 0;
}

/* --- giving up --- */

TH_FIBER_TEST(JUMP, supervise, gives_up_last_first_and_tells_all_failures)
{
	struct worker w[] = { { ACTS({ -1, 0 }) }, { ACTS({ 20, E_DOWN }) }, { ACTS({ -1, 0 }), .cleanup_code = E_OTHER } };
	const thrum_schedule s = thrum_recurs(0);
	thrum_child_spec specs[3];
	const thrum_cause *c;

	init_three(w, specs, NULL);
	specs[1].schedule = &s;
	TH_CHECK_EQ(thrum_supervise(specs, 3, NULL), E_DOWN);
	TH_CHECK_EQ(w[1].ended_ms[0], 30);
	TH_CHECK_EQ(w[2].ended_ms[0], 40);
	TH_CHECK_EQ(w[0].ended_ms[0], 50);
	TH_CHECK_EQ(w[0].reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(w[0].reason.index, 1);
	c = thrum_last_cause();
	TH_CHECK(c && c->kind == THRUM_CAUSE_THEN && c->code == E_DOWN);
	TH_CHECK(c->first->code == E_DOWN && c->first->index == 1 && c->first->attempts == 1);
	TH_CHECK(c->first->next->code == E_OTHER && c->first->next->index == 2 && !c->first->next->next);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, supervisors_nest_and_escalate)
{
	struct worker deep = { ACTS({ 10, E_DOWN }) }, beside = { ACTS({ -1, 0 }) };
	const thrum_child_spec inner[] = { { .fx = worker_fx(&deep), .name = "deep" }, of_kind(&beside, 0) };
	thrum_supervise_op op = { inner, 2, THRUM_SUPERVISOR_OPTS(.max_restarts = 1) };
	const thrum_child_spec outer = { .fx = thrum_supervise_fx(&op), .name = "inner" };
	const thrum_cause *c;

	TH_CHECK_EQ(thrum_supervise(&outer, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = 2)), E_DOWN);
	TH_CHECK_EQ(deep.runs, 6); /* 2 in each of 3 */
	TH_CHECK_EQ(beside.runs, 3);
	TH_CHECK_EQ(beside.releases, 3);
	c = thrum_last_cause();
	TH_CHECK(c && c->code == E_DOWN && c->attempts == 3);
	TH_CHECK(c->first && !c->first->next);
	TH_CHECK(c->first->attempts == 2 && strcmp(c->first->name, "deep") == 0);
	return 0;
}

/* --- cancel --- */

TH_FIBER_TEST(JUMP, supervise, cancel_ends_all_children_and_delays)
{
	struct worker w[] = { { ACTS({ -1, 0 }) }, { ACTS({ 20, E_DOWN }) }, { ACTS({ -1, 0 }) } };
	const thrum_schedule s = thrum_spaced(thrum_sec(10));
	thrum_child_spec specs[3];
	thrum_supervise_op op = { specs, 3, NULL };
	struct th_outside o;

	init_three(w, specs, NULL);
	specs[1].schedule = &s;
	o = th_cancel_after(100, thrum_supervise_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms, 1110);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(w[i].runs + w[i].releases, 2);
	TH_CHECK_EQ(th_call_cancelled(thrum_supervise_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(w[0].runs, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, success_of_all_beats_cancel)
{
	struct worker w = { ACTS({ 100, 0 }), .cleanup_ms = 10 };
	const thrum_child_spec spec = of_kind(&w, THRUM_RESTART_TRANSIENT);
	thrum_supervise_op op = { &spec, 1, NULL };
	struct th_outside o = th_cancel_after(105, thrum_supervise_fx(&op)); /* while it releases */

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, supervise, failure_in_a_wind_up_is_not_hidden_by_cancel_G1)
{
	struct worker w = { ACTS({ -1, 0 }), .cleanup_code = E_OTHER };
	const thrum_child_spec spec = of_kind(&w, 0);
	thrum_supervise_op op = { &spec, 1, NULL };

	TH_CHECK_EQ(th_cancel_after(100, thrum_supervise_fx(&op)).code, E_OTHER);
	TH_CHECK_EQ(w.runs, 1);
	return 0;
}

/* --- identity, resources --- */

TH_FIBER_TEST(JUMP, supervise, run_has_released_all_before_the_next_begins)
{
	struct worker w = { ACTS({ 10, E_DOWN }, { 10, E_DOWN }, { 10, 0 }), .cleanup_ms = 7 };
	const thrum_child_spec spec = of_kind(&w, THRUM_RESTART_TRANSIENT);

	TH_CHECK_EQ(thrum_supervise(&spec, 1, NULL), 0);
	TIMES(w, 0, 17, 34);
	TH_CHECK(w.ids[0] && w.ids[0] != thrum_self_id());
	return 0;
}

/* --- reports --- */

struct seen {
	thrum_report last;
	char text[256];
	int restarts, unobserved;
};
static void observe(const thrum_report *r, void *arg)
{
	struct seen *s = arg;

	s->last = *r;
	s->last.cause = NULL;
	snprintf(s->text, sizeof s->text, "%s", r->text);
	if (r->kind == THRUM_REPORT_RESTARTED && r->cause && r->cause->code == r->code)
		s->restarts++;
	if (r->kind == THRUM_REPORT_UNOBSERVED_FAILURE)
		s->unobserved++;
}

static int fail_twice(void *unused)
{
	struct worker w = { ACTS({ 10, E_DOWN }, { 10, E_DOWN }, { 10, 0 }) };
	const thrum_child_spec spec = { .fx = worker_fx(&w), .name = "flaky", .restart = THRUM_RESTART_TRANSIENT };

	(void)unused;
	return thrum_supervise(&spec, 1, NULL);
}

static int fail_for_good(void *unused)
{
	struct worker w = { ACTS({ 10, E_DOWN }) };
	const thrum_child_spec spec = { .fx = worker_fx(&w), .name = "brief", .restart = THRUM_RESTART_TEMPORARY };

	(void)unused;
	return thrum_supervise(&spec, 1, NULL);
}

TH_TEST(supervise, restarts_are_reported_to_the_observer)
{
	struct seen seen = { .restarts = 0 };
	thrum_fx fx = { fail_twice, NULL };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .observe = observe, .observe_arg = &seen), fx), 0);
	TH_CHECK_EQ(seen.restarts, 2);
	TH_CHECK_EQ(seen.last.code, E_DOWN);
	TH_CHECK_EQ(seen.last.index, 0);
	TH_CHECK(strstr(seen.text, "child 0 flaky") && strstr(seen.text, "restart 2, in 0 us"));
}

TH_TEST(supervise, temporary_failures_are_reported)
{
	struct seen seen = { .restarts = 0 };
	thrum_fx fx = { fail_for_good, NULL };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .observe = observe, .observe_arg = &seen), fx), 0);
	TH_CHECK_EQ(seen.unobserved, 1);
	TH_CHECK_EQ(seen.last.code, E_DOWN);
}

static void fail_twice_alone(void *unused)
{
	(void)unused;
	if (TH_RUN(JUMP, ((thrum_fx){ fail_twice, NULL })) != 0)
		_exit(1);
}

TH_TEST(supervise, restarts_are_silent_without_an_observer)
{
	struct th_said said;
	int status = th_child(fail_twice_alone, NULL, &said);

	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK_EQ(strlen(said.text), 0);
}

/* --- arguments --- */

TH_FIBER_TEST(JUMP, supervise, bad_arguments_start_nothing)
{
	struct worker w = { ACTS({ 0, 0 }) };
	const thrum_schedule bad = thrum_spaced(thrum_ms(-1));
	thrum_child_spec specs[] = { of_kind(&w, THRUM_RESTART_TEMPORARY), of_kind(&w, THRUM_RESTART_TEMPORARY) };

	TH_CHECK_EQ(thrum_supervise(NULL, 1, NULL), -EINVAL);
	specs[1].fx.run = NULL;
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), -EINVAL);
	specs[1] = of_kind(&w, 3);
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), -EINVAL);
	specs[1] = of_kind(&w, 0);
	specs[1].schedule = &bad;
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), -EINVAL);
	specs[1].schedule = NULL;
	specs[1].reset_after = thrum_ms(-1);
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), -EINVAL);
	specs[1].reset_after.ns = 0;
	specs[1].stack_bytes = 1;
	TH_CHECK_EQ(thrum_supervise(specs, 2, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_supervise(specs, 1, THRUM_SUPERVISOR_OPTS(.strategy = 3)), -EINVAL);
	TH_CHECK_EQ(thrum_supervise(specs, 1, THRUM_SUPERVISOR_OPTS(.period = thrum_ms(-1))), -EINVAL);
	TH_CHECK_EQ(thrum_supervise(specs, 1, &(thrum_supervisor_opts){ .size = 1 }), -EINVAL);
	TH_CHECK_EQ(thrum_supervise(specs, 1, THRUM_SUPERVISOR_OPTS(.max_restarts = THRUM_UNBOUNDED / 2)), -EINVAL);
	TH_CHECK_EQ(w.runs, 0);
	return 0;
}

TH_TEST(supervise, is_for_fibers)
{
	TH_CHECK_EQ(thrum_supervise(NULL, 0, NULL), THRUM_ENOTFIBER);
}
