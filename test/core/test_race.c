/* race and race_first: rules R1 to R11. R6 holds the winner only: where the second success goes comes with `drop`. */
#include "test/support/rules.h"
#include <string.h>
#include <unistd.h>

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2) };

/* --- R1: first success, first completion (D2) --- */

TH_FIBER_TEST(JUMP, race, first_success_wins_over_an_earlier_failure_R1) /* D2 */
{
	struct th_step a = { .ms = 10, .code = E_FIRST }, b = { .ms = 50 }, c = { .ms = 500 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 1);
	TH_CHECK_EQ(th_ms_since(t0), 50);
	TH_CHECK_EQ(c.got, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, race, returns_the_winners_index_whatever_its_code_R1)
{
	struct th_step a = { .ms = 20, .code = 7 }, b = { .ms = 20 }, c = { .ms = 10, .code = 7 };

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 2);
	return 0;
}

TH_FIBER_TEST(JUMP, race, first_completion_may_be_a_failure_R1)
{
	struct th_step a = { .ms = 50 }, b = { .ms = 10, .code = E_FIRST };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	int index = -1;
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race_first_n(fx, 2, &index), E_FIRST);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(a.got, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, race, first_completion_may_be_a_success_R1)
{
	struct th_step a = { .ms = 50, .code = E_FIRST }, b = { .ms = 10, .code = 7 };

	TH_CHECK_EQ(thrum_race_first(th_step_fx(&a), th_step_fx(&b)), 7);
	TH_CHECK_EQ(a.got, -ECANCELED);
	return 0;
}

/* --- R2: one winner; losers are cancelled and awaited --- */

TH_FIBER_TEST(JUMP, race, losers_are_awaited_R2)
{
	struct th_step a = { .ms = 500, .cleanup_ms = 30 }, b = { .ms = 10 }, c = { .ms = 500, .cleanup_ms = 90 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 1);
	TH_CHECK_EQ(th_ms_since(t0), 100);
	TH_CHECK_EQ(a.ended + c.ended, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, race, losers_learn_who_won_R2)
{
	struct th_step a = { .ms = 500 }, b = { .ms = 500 }, c = { .ms = 10 };

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 2);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_RACE_LOST);
	TH_CHECK_EQ(a.reason.index, 2);
	TH_CHECK_EQ(b.reason.kind, THRUM_CANCEL_RACE_LOST);
	TH_CHECK_EQ(c.reason.kind, 0);
	return 0;
}

struct ticket {
	int code;
	th_counter *finished;
};
static int draw(struct ticket *t)
{
	int code = thrum_sleep(thrum_ms(10));

	th_count(t->finished, 1);
	return code < 0 ? code : t->code;
}
THRUM_FX(draw, struct ticket);

/* All are due at the same moment: whoever commits first, code and index are the same entrant's. */
TH_FIBER_TEST(JUMP, race, a_tie_has_one_winner_R2)
{
	enum { N = 16 };
	th_counter finished = { 0 };
	struct ticket t[N];
	thrum_fx fx[N];

	for (int i = 0; i < N; i++) {
		t[i] = (struct ticket){ 100 + i, &finished };
		fx[i] = draw_fx(&t[i]);
	}
	for (int round = 1; round <= 20; round++) {
		int index = -1;
		int code = thrum_race_first_n(fx, N, &index);
		TH_CHECK(index >= 0 && index < N);
		TH_CHECK_EQ(code, 100 + index);
		TH_CHECK_EQ(th_counted(&finished), N * round);
	}
	return 0;
}

/* --- R3, R4: few entrants --- */

TH_FIBER_TEST(JUMP, race, of_none_is_an_error_R3)
{
	const thrum_fx fx[] = { thrum_succeed() };
	int index = -1;

	TH_CHECK_EQ(thrum_race_n(fx, 0), -EINVAL);
	TH_CHECK_EQ(thrum_race_first_n(fx, 0, &index), -EINVAL);
	TH_CHECK_EQ(thrum_race_n(NULL, 0), -EINVAL);
	TH_CHECK_EQ(index, -1);
	return 0;
}

TH_FIBER_TEST(JUMP, race, of_one_is_a_plain_run_R4)
{
	struct th_step ok = { .ms = 10, .code = 7 }, bad = { .ms = 10, .code = E_FIRST };
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &before), 0);
	TH_CHECK_EQ(thrum_race(th_step_fx(&ok)), 0);
	TH_CHECK_EQ(thrum_race_first(th_step_fx(&ok)), 7);
	TH_CHECK_EQ(thrum_race(th_step_fx(&bad)), E_FIRST);
	TH_CHECK_EQ(thrum_race_first(th_step_fx(&bad)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 40);
	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &after), 0);
	TH_CHECK_EQ(after.fibers, before.fibers);
	return 0;
}

/* --- R5: all fail --- */

TH_FIBER_TEST(JUMP, race, all_fail_is_the_first_failure_in_completion_order_R5)
{
	struct th_step a = { .ms = 30, .code = E_LATER }, b = { .ms = 10, .code = E_FIRST };
	struct th_step c = { .ms = 20, .code = E_LATER };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 30);
	TH_CHECK_EQ(a.ended + b.ended + c.ended, 3);
	return 0;
}

/* G1: the primary is the first that is not an interrupt. */
TH_FIBER_TEST(JUMP, race, a_real_failure_goes_before_an_interrupt_R5)
{
	struct th_step a = { .ms = 10, .code = -ECANCELED }, b = { .ms = 20, .code = E_FIRST };
	struct th_step c = { .ms = 30, .code = E_LATER };

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_FIRST);
	return 0;
}

/* --- R6: a second success --- */

/* Cancelled, it succeeds all the same, with a code of its own. */
static int succeeds_late(struct th_step *s)
{
	(void)th_step(s);
	return 8;
}
THRUM_FX(succeeds_late, struct th_step);

TH_FIBER_TEST(JUMP, race, second_success_does_not_change_the_winner_R6)
{
	struct th_step a = { .ms = 500, .cleanup_ms = 10 }, b = { .ms = 10, .code = 7 };
	const thrum_fx fx[] = { succeeds_late_fx(&a), th_step_fx(&b) };
	int index = -1;

	TH_CHECK_EQ(thrum_race_n(fx, 2), 1);
	TH_CHECK_EQ(thrum_race_first_n(fx, 2, &index), 7);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(a.ended, 2);
	return 0;
}

/* --- R7: failures beside a success --- */

static int fails_late(struct th_step *s)
{
	(void)th_step(s);
	return E_LATER;
}
THRUM_FX(fails_late, struct th_step);

TH_FIBER_TEST(JUMP, race, failures_before_and_after_do_not_touch_the_result_R7)
{
	struct th_step a = { .ms = 5, .code = E_FIRST }, b = { .ms = 10 }, c = { .ms = 500, .cleanup_ms = 10 };

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), fails_late_fx(&c)), 1);
	TH_CHECK_EQ(thrum_race_first(th_step_fx(&b), fails_late_fx(&c)), 0);
	return 0;
}

static int dies(void *unused)
{
	(void)unused;
	return thrum_die("on purpose");
}

static int race_with_a_death(struct th_step *winner)
{
	return thrum_race((thrum_fx){ dies, NULL }, th_step_fx(winner));
}
THRUM_FX(race_with_a_death, struct th_step);

/* What fx wrote to stderr. */
static int with_stderr(char *text, size_t size, thrum_fx fx)
{
	FILE *to = tmpfile();
	int old = dup(STDERR_FILENO), code;
	ssize_t n;

	TH_CHECK(to && old >= 0 && dup2(fileno(to), STDERR_FILENO) >= 0);
	code = thrum_call(fx);
	TH_CHECK(dup2(old, STDERR_FILENO) >= 0);
	n = pread(fileno(to), text, size - 1, 0);
	TH_CHECK(n >= 0);
	text[n] = '\0';
	close(old);
	fclose(to);
	return code;
}

TH_FIBER_TEST(JUMP, race, a_death_is_reported_and_the_winner_stays_R7)
{
	static char text[512]; /* a fiber's stack is small */
	struct th_step b = { .ms = 10 };

	TH_CHECK_EQ(with_stderr(text, sizeof text, race_with_a_death_fx(&b)), 1);
	TH_CHECK(strstr(text, "on purpose") != NULL);
	return 0;
}

/* --- R8: an entrant that interrupts itself --- */

TH_FIBER_TEST(JUMP, race, self_interrupt_is_a_failure_R8)
{
	struct th_step a = { .ms = 10, .code = -ECANCELED }, b = { .ms = 50 }, c = a;

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b)), 1);
	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&c)), -ECANCELED);
	TH_CHECK_EQ(thrum_check(), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, race, self_interrupt_is_a_first_completion_R8)
{
	struct th_step a = { .ms = 10, .code = -ECANCELED }, b = { .ms = 50 };
	const thrum_fx fx[] = { th_step_fx(&b), th_step_fx(&a) };
	int index = -1;
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race_first_n(fx, 2, &index), -ECANCELED);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(b.got, -ECANCELED);
	return 0;
}

/* --- R9: the parent is cancelled (D3) --- */

TH_FIBER_TEST(JUMP, race, cancelled_from_outside_cancels_and_awaits_all_R9) /* D3 */
{
	for (int first = 0; first < 2; first++) {
		struct th_step a = { .ms = 500, .cleanup_ms = 15 }, b = { .ms = 500 };
		const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
		int index = -1;
		thrum_race_op op = { fx, 2, &index };
		long long t0 = th_now_ms();
		struct th_outside o = th_cancel_after(10, first ? thrum_race_first_fx(&op) : thrum_race_fx(&op));

		TH_CHECK_EQ(o.code, -ECANCELED);
		TH_CHECK_EQ(o.at_ms - t0, 25);
		TH_CHECK_EQ(index, -1);
		TH_CHECK_EQ(a.ended + b.ended, 2);
		TH_CHECK_EQ(b.reason.kind, THRUM_CANCEL_DEADLINE);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, race, a_committed_winner_survives_the_cancel_R9)
{
	struct th_step a = { .ms = 500, .cleanup_ms = 50 }, b = { .ms = 10 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	int index = -1;
	thrum_race_op op = { fx, 2, &index };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(30, thrum_race_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(index, 1);
	TH_CHECK_EQ(o.at_ms - t0, 60);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, race, started_when_already_cancelled_runs_nothing_R9)
{
	struct th_step a = { 0 }, b = { 0 };
	const thrum_fx fx[] = { th_step_fx(&a), th_step_fx(&b) };
	thrum_race_op op = { fx, 2, NULL };

	TH_CHECK_EQ(th_call_cancelled(thrum_race_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled(thrum_race_first_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(a.runs + b.runs, 0);
	return 0;
}

static int cancel_it(thrum_scope *s)
{
	thrum_scope_cancel(s);
	return thrum_sleep(thrum_ms(500));
}
THRUM_FX(cancel_it, thrum_scope);

/* The cancel arrives while the entrants are being started. */
TH_FIBER_TEST(JUMP, race, cancel_at_the_start_does_not_hang_R9)
{
	struct th_step b = { .ms = 500 }, c = { .ms = 500 };
	thrum_scope s;
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_race(cancel_it_fx(&s), th_step_fx(&b), th_step_fx(&c)), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(t0), 0);
	TH_CHECK_EQ(b.runs, b.ended);
	return 0;
}

/* --- R10: in shielded regions --- */

struct shielded_race {
	struct th_step a, b;
	int winner;
};
static int shielded_race(struct shielded_race *r)
{
	return r->winner = thrum_race(th_step_fx(&r->a), th_step_fx(&r->b));
}
THRUM_FX(shielded_race, struct shielded_race);

TH_FIBER_TEST(JUMP, race, works_in_a_shield_R10)
{
	struct shielded_race r = { .a = { .ms = 500 }, .b = { .ms = 10 }, .winner = -1 };
	thrum_shield_op op = { shielded_race_fx(&r) };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), 1);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(r.a.got, -ECANCELED);
	TH_CHECK_EQ(r.a.reason.kind, THRUM_CANCEL_RACE_LOST);
	return 0;
}

static int shielded_race_first(struct shielded_race *r)
{
	return r->winner = thrum_race_first(th_step_fx(&r->a), th_step_fx(&r->b));
}
THRUM_FX(shielded_race_first, struct shielded_race);

TH_FIBER_TEST(JUMP, race, race_first_works_in_a_shield_R10)
{
	struct shielded_race r = { .a = { .ms = 500 }, .b = { .ms = 10, .code = E_FIRST } };
	thrum_shield_op op = { shielded_race_first_fx(&r) };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(th_call_cancelled(thrum_shield_fx(&op)), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(r.a.got, -ECANCELED);
	return 0;
}

/* A finalizer is shielded, too; here of a scope that is cancelled. */
TH_FIBER_TEST(JUMP, race, works_in_a_finalizer_R10)
{
	struct shielded_race r = { .a = { .ms = 500 }, .b = { .ms = 10 }, .winner = -1 };
	thrum_time t0 = thrum_now();
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, shielded_race_fx(&r)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(r.winner, 1);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	TH_CHECK_EQ(r.a.reason.kind, THRUM_CANCEL_RACE_LOST);
	return 0;
}

/* --- R11: start order --- */

struct starter {
	th_counter *started;
	int place;
};
static int take_place(struct starter *s)
{
	s->place = th_count(s->started, 1);
	return thrum_sleep(thrum_ms(10));
}
THRUM_FX(take_place, struct starter);

/* Only the start order of one worker can be seen: two may start two entrants at once. */
TH_ONE_WORKER_TEST(JUMP, race, starts_in_index_order_R11)
{
	th_counter started = { 0 };
	struct starter s[8];
	thrum_fx fx[8];

	for (int i = 0; i < 8; i++) {
		s[i] = (struct starter){ &started, 0 };
		fx[i] = take_place_fx(&s[i]);
	}
	TH_CHECK(thrum_race_n(fx, 8) >= 0);
	for (int i = 0; i < 8; i++)
		TH_CHECK_EQ(s[i].place, i + 1);
	return 0;
}
