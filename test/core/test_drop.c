/* What nobody takes, and what nobody asks for: rules G10, Z7, R6, R7, K7, and the variants of F10. */
#include "test/support/rules.h"
#include <stdlib.h>
#include <string.h>

enum { E_ONE = THRUM_APP(1) };

/* An effect that makes a value after `ms`, or fails with `code`; what happened to the value. */
struct maker {
	struct th_step step;
	int value, dropped, merged;
	th_counter *drops;
	int suspends; /* drop sleeps so many ms */
};

static int make(struct maker *m)
{
	int code = th_step(&m->step);

	if (code >= 0)
		m->value = 7;
	return code;
}
THRUM_FX(make, struct maker);

static void drop(void *arg)
{
	struct maker *m = arg;

	TH_CHECK_EQ(thrum_check(), 0); /* shielded */
	TH_CHECK_EQ(m->value, 7);
	if (m->suspends)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(m->suspends)), 0);
	m->value = 0;
	m->dropped++;
}

static void combine(void *winner, void *also)
{
	struct maker *w = winner, *m = also;

	TH_CHECK(w != m);
	w->merged += m->value;
	m->value = 0;
}

/* Ends well though it was cancelled: success beats cancel. */
static int make_anyway(struct maker *m)
{
	(void)th_step(&m->step);
	m->value = 7;
	return 0;
}
THRUM_FX(make_anyway, struct maker);

/* --- Z7 --- */

TH_FIBER_TEST(JUMP, drop, values_of_a_failed_zip_are_dropped_once_Z7)
{
	struct maker m[4] = { { .step.ms = 5 }, { .step = { .ms = 20, .code = E_ONE } }, { .step.ms = 10, .suspends = 3 },
			      { .step.ms = 50 } };
	thrum_fx fx[4];

	for (int i = 0; i < 4; i++)
		fx[i] = make_fx(&m[i]);
	TH_CHECK_EQ(thrum_zip_par_with(fx, 4, THRUM_FAN_OPTS(.drop = drop)), E_ONE);
	TH_CHECK_EQ(m[0].dropped, 1);
	TH_CHECK_EQ(m[1].dropped, 0);
	TH_CHECK_EQ(m[2].dropped, 1);
	TH_CHECK_EQ(m[3].dropped, 0);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(m[i].value, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, drop, values_of_a_zip_that_succeeds_stay_Z7)
{
	struct maker m[2] = { { .step.ms = 5 }, { .step.ms = 2 } };
	thrum_fx fx[2] = { make_fx(&m[0]), make_fx(&m[1]) };

	TH_CHECK_EQ(thrum_zip_par_with(fx, 2, THRUM_FAN_OPTS(.drop = drop)), 0);
	TH_CHECK_EQ(m[0].value + m[1].value, 14);
	return 0;
}

struct cancelled_zip {
	struct maker m[2];
};
static int zip_two(struct cancelled_zip *z)
{
	thrum_fx fx[2] = { make_fx(&z->m[0]), make_fx(&z->m[1]) };

	return thrum_zip_par_with(fx, 2, THRUM_FAN_OPTS(.drop = drop));
}
THRUM_FX(zip_two, struct cancelled_zip);

TH_FIBER_TEST(JUMP, drop, values_of_a_cancelled_zip_are_dropped_shielded_Z7)
{
	struct cancelled_zip z = { { { .step.ms = 5, .suspends = 20 }, { .step.ms = 100 } } };

	TH_CHECK_EQ(th_cancel_after(10, zip_two_fx(&z)).code, -ECANCELED);
	TH_CHECK_EQ(z.m[0].dropped, 1);
	TH_CHECK_EQ(z.m[1].dropped, 0);
	return 0;
}

enum { MANY = 3000 };

TH_FIBER_TEST(JUMP, drop, values_of_many_items_are_each_dropped_once_Z7)
{
	struct maker *m = calloc(MANY, sizeof *m);

	TH_CHECK(m != NULL);
	m[MANY - 1].step.code = E_ONE;
	m[MANY - 1].step.ms = 50; /* after all the others */
	TH_CHECK_EQ(thrum_for_each_par_with(make_run_, m, MANY, sizeof *m, 4, THRUM_FAN_OPTS(.drop = drop, .grain = 7)), E_ONE);
	for (int i = 0; i < MANY - 1; i++)
		TH_CHECK_EQ(m[i].dropped, 1);
	TH_CHECK_EQ(m[MANY - 1].dropped, 0);
	free(m);
	return 0;
}

TH_FIBER_TEST(JUMP, drop, options_that_a_call_does_not_know_are_refused)
{
	thrum_fx fx = thrum_succeed();
	int codes[1];

	TH_CHECK_EQ(thrum_zip_par_with(&fx, 1, THRUM_FAN_OPTS(.combine = combine)), -EINVAL);
	TH_CHECK_EQ(thrum_zip_par_with(&fx, 1, THRUM_FAN_OPTS(.codes = codes)), -EINVAL);
	TH_CHECK_EQ(thrum_race_with(&fx, 1, THRUM_FAN_OPTS(.codes = codes)), -EINVAL);
	TH_CHECK_EQ(thrum_race_with(&fx, 1, THRUM_FAN_OPTS(.grain = 2)), -EINVAL);
	TH_CHECK_EQ(thrum_race_with(&fx, 1, &(thrum_fan_opts){ .drop = drop }), -EINVAL); /* without its size */
	return 0;
}

TH_TEST(drop, options_on_a_plain_thread_drop_nothing_X1)
{
	thrum_fx fx = thrum_succeed();

	TH_CHECK_EQ(thrum_zip_par_with(&fx, 1, THRUM_FAN_OPTS(.drop = drop)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_race_with(&fx, 1, THRUM_FAN_OPTS(.drop = drop)), THRUM_ENOTFIBER);
}

/* --- R6 --- */

TH_FIBER_TEST(JUMP, drop, a_second_success_of_a_race_is_dropped_R6)
{
	struct maker m[3] = { { .step.ms = 100 }, { .step.ms = 10 }, { .step.ms = 100 } };
	thrum_fx fx[3] = { make_anyway_fx(&m[0]), make_fx(&m[1]), make_fx(&m[2]) };

	TH_CHECK_EQ(thrum_race_with(fx, 3, THRUM_FAN_OPTS(.drop = drop)), 1);
	TH_CHECK_EQ(m[0].dropped, 1);
	TH_CHECK_EQ(m[1].dropped, 0);
	TH_CHECK_EQ(m[1].value, 7);
	TH_CHECK_EQ(m[2].dropped, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, drop, a_second_success_of_a_race_is_combined_R6)
{
	struct maker m[3] = { { .step.ms = 100 }, { .step.ms = 10 }, { .step.ms = 100 } };
	thrum_fx fx[3] = { make_anyway_fx(&m[0]), make_fx(&m[1]), make_anyway_fx(&m[2]) };

	TH_CHECK_EQ(thrum_race_with(fx, 3, THRUM_FAN_OPTS(.drop = drop, .combine = combine)), 1);
	TH_CHECK_EQ(m[1].value + m[1].merged, 21);
	TH_CHECK_EQ(m[0].value + m[2].value, 0);
	TH_CHECK_EQ(m[0].dropped + m[1].dropped + m[2].dropped, 0);
	return 0;
}

/* --- F10 --- */

TH_FIBER_TEST(JUMP, drop, for_each_settles_into_codes_F10)
{
	struct maker m[5] = { { .step.ms = 5 } };
	int codes[5];

	for (int i = 0; i < 5; i++)
		m[i].step = (struct th_step){ .ms = 10 - i, .code = i % 2 ? THRUM_APP(i) : 0 };
	TH_CHECK_EQ(thrum_for_each_par_with(make_run_, m, 5, sizeof *m, 2, THRUM_FAN_OPTS(.codes = codes)), 0);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(codes[i], i % 2 ? THRUM_APP(i) : 0);
	return 0;
}

struct ordered {
	int *log, *n, index;
};
static int log_index(struct ordered *o)
{
	o->log[(*o->n)++] = o->index;
	return thrum_sleep(thrum_ms(1));
}
THRUM_FX(log_index, struct ordered);

/* Two runners, three neighbours each: 0 and 3 start together. */
TH_ONE_WORKER_TEST(JUMP, drop, for_each_hands_out_grains_F10)
{
	const int want[] = { 0, 3, 1, 4, 2, 5, 6, 7 };
	struct ordered items[8];
	int log[8], n = 0;

	for (int i = 0; i < 8; i++)
		items[i] = (struct ordered){ log, &n, i };
	TH_CHECK_EQ(thrum_for_each_par_with(log_index_run_, items, 8, sizeof *items, 2, THRUM_FAN_OPTS(.grain = 3)), 0);
	TH_CHECK_EQ(n, 8);
	TH_CHECK(memcmp(log, want, sizeof want) == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, drop, a_failing_item_ends_its_grain_F6)
{
	struct maker m[8] = { { .step = { .ms = 1, .code = E_ONE } } };

	TH_CHECK_EQ(thrum_for_each_par_with(make_run_, m, 8, sizeof *m, 1, THRUM_FAN_OPTS(.grain = 100)), E_ONE);
	for (int i = 1; i < 8; i++)
		TH_CHECK_EQ(m[i].step.runs, 0);
	return 0;
}

/* --- R7, K7: reports --- */

struct heard {
	th_counter count;
	unsigned kind;
	int code;
	size_t index;
	char text[300];
};

static void hear(const thrum_report *report, void *arg)
{
	struct heard *h = arg;

	h->kind = report->kind;
	h->code = report->code;
	h->index = report->index;
	strncpy(h->text, report->text, sizeof h->text - 1);
	th_count(&h->count, 1);
}

static struct heard run_and_hear(int (*body)(void *))
{
	struct heard h = { .kind = 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .observe = hear, .observe_arg = &h),
			      (thrum_fx){ body, NULL }), 0);
	return h;
}

static int race_with_a_failure(void *unused)
{
	struct th_step fails = { .ms = 1, .code = E_ONE }, wins = { .ms = 10 };

	(void)unused;
	TH_CHECK_EQ(thrum_race(th_step_fx(&wins), th_step_fx(&fails)), 0);
	return 0;
}

TH_TEST(drop, a_failure_in_a_race_that_is_won_is_heard_of_R7)
{
	struct heard h = run_and_hear(race_with_a_failure);

	TH_CHECK_EQ(th_counted(&h.count), 1);
	TH_CHECK_EQ(h.kind, THRUM_REPORT_LOST_RACE_FAILURE);
	TH_CHECK_EQ(h.code, E_ONE);
	TH_CHECK_EQ(h.index, 1);
}

static int race_without_a_failure(void *unused)
{
	struct th_step loses = { .ms = 20 }, wins = { .ms = 10 };

	(void)unused;
	TH_CHECK_EQ(thrum_race(th_step_fx(&wins), th_step_fx(&loses)), 0);
	return 0;
}

TH_TEST(drop, a_loser_that_was_cancelled_is_no_failure_R7)
{
	struct heard h = run_and_hear(race_without_a_failure);

	TH_CHECK_EQ(th_counted(&h.count), 0);
}

static int race_with_a_fallback(void *unused)
{
	struct th_step fallback = { .ms = 20 }, wins = { .ms = 10 };
	thrum_or_else_op falls_back = { thrum_fail(E_ONE), th_step_fx(&fallback) };

	(void)unused;
	TH_CHECK_EQ(thrum_race(th_step_fx(&wins), thrum_or_else_fx(&falls_back)), 0);
	return 0;
}

TH_TEST(drop, what_a_loser_remembered_is_not_reported_R7)
{
	struct heard h = run_and_hear(race_with_a_fallback);

	TH_CHECK_EQ(th_counted(&h.count), 0);
}

static int leave_handles_alone(void *unused)
{
	struct th_step a = { .ms = 1, .code = E_ONE }, b = { .ms = 2, .code = THRUM_APP(2) }, c = { .ms = 3, .code = -EIO };
	thrum_task seen, unseen;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &seen, th_step_fx(&a), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &unseen, th_step_fx(&b), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, th_step_fx(&c), THRUM_SPAWN_OPTS(.isolated = true, .name = "go")), 0);
	TH_CHECK_EQ(thrum_join(&seen), E_ONE);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(drop, handles_that_nobody_joined_are_reported_once_at_close_K7)
{
	struct heard h = run_and_hear(leave_handles_alone);

	TH_CHECK_EQ(th_counted(&h.count), 1);
	TH_CHECK_EQ(h.kind, THRUM_REPORT_UNOBSERVED_FAILURE);
	TH_CHECK_EQ(h.code, THRUM_APP(2)); /* of the first */
	TH_CHECK_EQ(h.index, 1);
	TH_CHECK(strstr(h.text, "2 failed children that nobody joined") == h.text);
}

static int join_all_handles(void *unused)
{
	struct th_step a = { .ms = 1, .code = E_ONE }, b = { .ms = 2, .code = THRUM_APP(2) };
	thrum_task t[3];
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t[0], th_step_fx(&a), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t[1], th_step_fx(&b), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t[2], thrum_never(), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	TH_CHECK_EQ(thrum_join(&t[1]), THRUM_APP(2));
	TH_CHECK_EQ(thrum_join(&t[0]), E_ONE);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0); /* the third was cancelled: no failure */
	return 0;
}

TH_TEST(drop, handles_that_were_joined_are_not_reported_K7)
{
	struct heard h = run_and_hear(join_all_handles);

	TH_CHECK_EQ(th_counted(&h.count), 0);
}
