/* hedged requests: a race with staggered starts, so rules R1 to R9 where they apply. */
#include "test/support/rules.h"

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2), N = 4 };

/* An entrant that notes when it began, and how it ended. */
struct entrant {
	struct th_step step;
	long long began_ms; /* since t0; -1: never */
	thrum_time t0;
};
static int entrant(struct entrant *e)
{
	e->began_ms = th_ms_since(e->t0);
	return th_step(&e->step);
}
THRUM_FX(entrant, struct entrant);

struct field {
	struct entrant e[N];
	thrum_fx fx[N];
	thrum_time t0;
};

/* n entrants, of ms[i] and code[i]. */
static void line_up(struct field *f, int n, const int *ms, const int *code)
{
	f->t0 = thrum_now();
	for (int i = 0; i < n; i++) {
		f->e[i] = (struct entrant){ .step = { .ms = ms[i], .code = code[i] }, .began_ms = -1, .t0 = f->t0 };
		f->fx[i] = entrant_fx(&f->e[i]);
	}
}
#define LINE_UP(f, n, ms, code) line_up((f), (n), (const int[])ms, (const int[])code)
#define L(...) { __VA_ARGS__ }

static void check_began(const struct field *f, int n, const long long *ms)
{
	for (int i = 0; i < n; i++)
		TH_CHECK_EQ(f->e[i].began_ms, ms[i]);
}
#define CHECK_BEGAN(f, ...) \
	check_began((f), sizeof((const long long[]){ __VA_ARGS__ }) / sizeof(long long),                          \
		    (const long long[]){ __VA_ARGS__ })

/* --- when entrants start --- */

TH_FIBER_TEST(JUMP, hedge, a_quick_answer_starts_nobody_else)
{
	struct field f;

	LINE_UP(&f, 3, L(9, 0, 0), L(0, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(10)), 0);
	CHECK_BEGAN(&f, 0, -1, -1);
	TH_CHECK_EQ(th_ms_since(f.t0), 9);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, the_next_starts_after_each_delay)
{
	struct field f;

	LINE_UP(&f, 4, L(1000, 1000, 7, 1000), L(0, 0, 5, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 4, thrum_ms(10)), 2);
	CHECK_BEGAN(&f, 0, 10, 20, -1);
	TH_CHECK_EQ(th_ms_since(f.t0), 27);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, the_first_may_still_win_R1)
{
	struct field f;

	LINE_UP(&f, 2, L(15, 1000), L(0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 2, thrum_ms(10)), 0);
	CHECK_BEGAN(&f, 0, 10);
	TH_CHECK_EQ(f.e[1].step.got, -ECANCELED);
	TH_CHECK_EQ(th_ms_since(f.t0), 15);
	return 0;
}

/* The failure at 3 starts the second; the third comes one delay after that, not at 20. */
TH_FIBER_TEST(JUMP, hedge, a_failure_starts_the_next_at_once)
{
	struct field f;

	LINE_UP(&f, 3, L(3, 1000, 4), L(E_FIRST, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(10)), 2);
	CHECK_BEGAN(&f, 0, 3, 13);
	TH_CHECK_EQ(th_ms_since(f.t0), 17);
	return 0;
}

/* Two fail at the same moment: two start at that moment. */
TH_FIBER_TEST(JUMP, hedge, each_failure_starts_one)
{
	struct field f;

	LINE_UP(&f, 4, L(15, 5, 1000, 8), L(E_FIRST, E_LATER, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 4, thrum_ms(10)), 3);
	CHECK_BEGAN(&f, 0, 10, 15, 15);
	TH_CHECK_EQ(th_ms_since(f.t0), 23);
	return 0;
}

/* Entrants that fail without suspending: the next one's starter has not even begun to wait. */
TH_FIBER_TEST(JUMP, hedge, failures_that_do_not_suspend_start_the_next_at_once)
{
	struct field f;

	LINE_UP(&f, 4, L(0, 0, 0, 0), L(E_FIRST, E_LATER, E_LATER, 9));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 4, thrum_min(10)), 3);
	CHECK_BEGAN(&f, 0, 0, 0, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, a_delay_of_nothing_is_a_race)
{
	struct field f;

	LINE_UP(&f, 3, L(30, 10, 20), L(0, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(0)), 1);
	CHECK_BEGAN(&f, 0, 0, 0);
	LINE_UP(&f, 3, L(30, 10, 20), L(0, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(-5)), 1);
	CHECK_BEGAN(&f, 0, 0, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, a_delay_for_ever_waits_for_failures)
{
	struct field f;

	LINE_UP(&f, 3, L(30, 10, 20), L(E_FIRST, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, THRUM_FOREVER), 1);
	CHECK_BEGAN(&f, 0, 30, -1);
	TH_CHECK_EQ(th_ms_since(f.t0), 40);
	return 0;
}

/* --- R2, R4, R5: results --- */

TH_FIBER_TEST(JUMP, hedge, losers_are_awaited_and_learn_who_won_R2)
{
	struct field f;

	LINE_UP(&f, 3, L(1000, 1000, 5), L(0, 0, 0));
	f.e[0].step.cleanup_ms = 40;
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(10)), 2);
	TH_CHECK_EQ(th_ms_since(f.t0), 25 + 40);
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(f.e[i].step.ended, 1);
		TH_CHECK_EQ(f.e[i].step.got, -ECANCELED);
		TH_CHECK_EQ(f.e[i].step.reason.kind, THRUM_CANCEL_RACE_LOST);
		TH_CHECK_EQ(f.e[i].step.reason.index, 2);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, all_fail_is_the_first_failure_in_completion_order_R5)
{
	struct field f;

	LINE_UP(&f, 3, L(50, 5, 5), L(E_LATER, E_FIRST, E_LATER));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 3, thrum_ms(10)), E_FIRST);
	CHECK_BEGAN(&f, 0, 10, 15);
	TH_CHECK_EQ(th_ms_since(f.t0), 50);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, an_interrupt_hides_no_failure_G1)
{
	struct field f;

	LINE_UP(&f, 2, L(1, 1), L(-ECANCELED, E_FIRST));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 2, thrum_ms(10)), E_FIRST);
	LINE_UP(&f, 1, L(1), L(-ECANCELED));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 1, thrum_ms(10)), -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, of_one_is_a_plain_run_R4)
{
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	struct field f;

	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	LINE_UP(&f, 1, L(10), L(7));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 1, thrum_ms(1)), 0);
	LINE_UP(&f, 1, L(10), L(E_FIRST));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 1, thrum_ms(1)), E_FIRST);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.fibers, before.fibers);
	return 0;
}

/* An answer that did not have to wait costs no fiber: the starter is cancelled before it begins. */
TH_ONE_WORKER_TEST(JUMP, hedge, an_answer_at_once_takes_no_fiber)
{
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	struct field f;

	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	LINE_UP(&f, 4, L(0, 0, 0, 0), L(3, 0, 0, 0));
	TH_CHECK_EQ(thrum_hedge_n(f.fx, 4, thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.fibers, before.fibers);
	return 0;
}

/* --- R9: cancelled from outside --- */

TH_FIBER_TEST(JUMP, hedge, a_cancel_ends_all_and_waits_R9)
{
	struct field f;
	thrum_hedge_op op = { f.fx, 3, thrum_ms(10), NULL };
	struct th_outside o;

	LINE_UP(&f, 3, L(1000, 1000, 1000), L(0, 0, 0));
	f.e[1].step.cleanup_ms = 30;
	o = th_cancel_after(15, thrum_hedge_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(th_ms_since(f.t0), 45);
	CHECK_BEGAN(&f, 0, 10, -1);
	TH_CHECK_EQ(f.e[0].step.got, -ECANCELED);
	TH_CHECK_EQ(f.e[1].step.got, -ECANCELED);
	return 0;
}

/* ①: the winner has won; the cancel comes while the loser cleans up. */
TH_FIBER_TEST(JUMP, hedge, a_committed_winner_survives_the_cancel_R9)
{
	struct field f;
	int index = -1;
	thrum_hedge_op op = { f.fx, 2, thrum_ms(10), &index };
	struct th_outside o;

	LINE_UP(&f, 2, L(1000, 5), L(0, 0));
	f.e[0].step.cleanup_ms = 30;
	o = th_cancel_after(20, thrum_hedge_fx(&op));
	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.check, -ECANCELED);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(th_ms_since(f.t0), 45);
	return 0;
}

/* One has failed, the others never had their turn: they have not all failed. */
TH_FIBER_TEST(JUMP, hedge, a_cancel_is_not_taken_for_the_failure_of_all_R9)
{
	struct field f;
	thrum_hedge_op op = { f.fx, 2, thrum_ms(10), NULL };
	struct th_outside o;

	LINE_UP(&f, 2, L(15, 1000), L(E_FIRST, 0));
	o = th_cancel_after(20, thrum_hedge_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, is_a_cancel_point_G3)
{
	struct field f;
	thrum_hedge_op op = { f.fx, 2, thrum_ms(10), NULL };

	LINE_UP(&f, 2, L(0, 0), L(0, 0));
	TH_CHECK_EQ(th_call_cancelled(thrum_hedge_fx(&op)), -ECANCELED);
	CHECK_BEGAN(&f, -1, -1);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, runs_in_a_race_and_in_itself_M3)
{
	struct field f, g;
	int index = -1;
	thrum_hedge_op inner = { f.fx, 2, thrum_ms(10), &index };
	const thrum_fx outer[] = { thrum_never(), thrum_hedge_fx(&inner) };

	LINE_UP(&f, 2, L(1000, 5), L(0, 0));
	LINE_UP(&g, 1, L(500), L(0));
	TH_CHECK_EQ(thrum_hedge_n(outer, 2, thrum_ms(1)), 1);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(th_ms_since(f.t0), 1 + 10 + 5);
	LINE_UP(&f, 2, L(1000, 5), L(0, 0));
	TH_CHECK_EQ(thrum_race(g.fx[0], thrum_hedge_fx(&inner)), 1);
	TH_CHECK_EQ(th_ms_since(f.t0), 15);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, a_long_row_of_failures_does_not_overflow_E5)
{
	enum { MANY = 3000 };
	static thrum_fx fx[MANY];

	for (int i = 0; i < MANY; i++)
		fx[i] = thrum_fail(E_FIRST);
	TH_CHECK_EQ(thrum_hedge_n(fx, MANY, thrum_min(1)), E_FIRST);
	return 0;
}

TH_FIBER_TEST(JUMP, hedge, misuse_has_a_code_R3_E6)
{
	const thrum_fx fx[] = { thrum_succeed(), { NULL, NULL } };

	TH_CHECK_EQ(thrum_hedge_n(fx, 0, thrum_ms(1)), -EINVAL);
	TH_CHECK_EQ(thrum_hedge_n(NULL, 1, thrum_ms(1)), -EINVAL);
	TH_CHECK_EQ(thrum_hedge_n(fx, 2, thrum_ms(1)), -EINVAL);
	return 0;
}

TH_TEST(hedge, on_a_plain_thread_is_refused_X1)
{
	const thrum_fx fx[] = { thrum_succeed() };

	TH_CHECK_EQ(thrum_hedge_n(fx, 1, thrum_ms(1)), THRUM_ENOTFIBER);
}
