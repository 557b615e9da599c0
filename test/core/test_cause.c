/* Causes: rules G1, G2, Z6, R5, S3, A5, E2, E3, T7, as the text of the tree. */
#include "test/support/child.h"
#include "test/support/rules.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { E_ONE = THRUM_APP(1), E_TWO = THRUM_APP(2), E_THREE = THRUM_APP(3) };
#define APP(n) "an error of the application " #n

static void check_text(const thrum_cause *cause, const char *want, const char *file, int line)
{
	char text[2048];

	(void)thrum_cause_text(cause, text, sizeof text);
	if (strcmp(text, want) != 0)
		th_check_failed(file, line, "the cause is\n%s\nnot\n%s", text, want);
}
#define CHECK_CAUSE(want) check_text(thrum_last_cause(), (want), __FILE__, __LINE__)

/* --- G1: kinds and primary --- */

TH_FIBER_TEST(JUMP, cause, none_before_anything_failed_G1)
{
	struct th_step a = { .ms = 1 }, b = { .ms = 1 };

	TH_CHECK(!thrum_last_cause());
	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b)), 0);
	TH_CHECK(!thrum_last_cause());
	return 0;
}

TH_TEST(cause, none_on_a_plain_thread_G1)
{
	TH_CHECK(!thrum_last_cause());
	TH_CHECK_EQ(thrum_failed(E_ONE, "no fiber"), E_ONE);
	TH_CHECK(!thrum_last_cause());
	TH_CHECK_EQ(thrum_catch_cause(thrum_succeed(), NULL, NULL), THRUM_ENOTFIBER);
}

TH_FIBER_TEST(JUMP, cause, of_one_failing_child_is_a_leaf_with_its_number_G1)
{
	struct th_step fine = { .ms = 30 }, fails = { .ms = 10, .code = E_ONE };

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&fine), th_step_fx(&fails)), E_ONE);
	CHECK_CAUSE("child 1: " APP(1));
	TH_CHECK_EQ(thrum_last_cause()->kind, THRUM_CAUSE_FAIL);
	TH_CHECK_EQ(thrum_last_cause()->code, E_ONE);
	TH_CHECK_EQ(thrum_last_cause()->index, 1);
	return 0;
}

/* Cancelled, but its clean-up fails. */
static int fails_late(struct th_step *s)
{
	int code = th_step(s);

	return code == -ECANCELED ? E_TWO : code;
}
THRUM_FX(fails_late, struct th_step);

TH_FIBER_TEST(JUMP, cause, both_has_failures_of_the_teardown_in_completion_order_Z6) /* D6 D27 */
{
	struct th_step fails = { .ms = 10, .code = E_ONE }, slow = { .ms = 100, .cleanup_ms = 20 };
	struct th_step slower = { .ms = 100, .cleanup_ms = 30 }, echo = { .ms = 100 };

	TH_CHECK_EQ(thrum_zip_par(fails_late_fx(&slower), th_step_fx(&echo), fails_late_fx(&slow), th_step_fx(&fails)),
		    E_ONE);
	CHECK_CAUSE("both: " APP(1) "\n"
		    "  child 3: " APP(1) "\n"
		    "  child 2: " APP(2) "\n"
		    "  child 0: " APP(2));
	return 0;
}

static int release_fails(void *unused)
{
	(void)unused;
	return thrum_failed(E_THREE, "cannot release");
}

static int holds_and_fails_late(struct th_step *s)
{
	int r = thrum_acquire_release(thrum_succeed(), (thrum_fx){ release_fails, NULL });

	return r < 0 ? r : th_step(s);
}
THRUM_FX(holds_and_fails_late, struct th_step);

TH_FIBER_TEST(JUMP, cause, a_childs_finalizer_belongs_to_the_child_S3)
{
	struct th_step fails = { .ms = 10, .code = E_ONE }, later = { .ms = 100 };
	char text[512];

	TH_CHECK_EQ(thrum_zip_par(holds_and_fails_late_fx(&fails), fails_late_fx(&later)), E_ONE);
	(void)thrum_cause_text(thrum_last_cause(), text, sizeof text);
	TH_CHECK(strstr(text, "both: " APP(1) "\n  child 0: then: " APP(1) "\n    " APP(1) "\n    " APP(3)
			      ": cannot release (") == text);
	TH_CHECK(strstr(text, "\n  child 1: " APP(2)));
	return 0;
}

/* A cancelled child whose own clean-up fails has really failed (Z8). */
TH_FIBER_TEST(JUMP, cause, a_cancelled_child_that_fails_to_release_is_the_primary_Z8)
{
	struct th_step waits = { .ms = 100 };
	thrum_fx fx = holds_and_fails_late_fx(&waits);
	thrum_zip_par_op op = { &fx, 1 };

	TH_CHECK_EQ(th_cancel_after(10, thrum_zip_par_fx(&op)).code, E_THREE);
	return 0;
}

static int dies(void *unused)
{
	(void)unused;
	return thrum_die("bad state");
}

TH_FIBER_TEST(JUMP, cause, of_a_defect_says_what_and_where_G1)
{
	TH_CHECK_EQ(thrum_zip_par(((thrum_fx){ dies, NULL })), THRUM_EDIED);
	TH_CHECK_EQ(thrum_last_cause()->kind, THRUM_CAUSE_DIE);
	TH_CHECK(strcmp(thrum_last_cause()->what, "bad state") == 0);
	TH_CHECK(strstr(thrum_last_cause()->file, "test_cause.c"));
	TH_CHECK(thrum_last_cause()->line > 0);
	return 0;
}

static int nested(void *arg)
{
	return thrum_zip_par(th_step_fx(arg), thrum_never());
}

TH_FIBER_TEST(JUMP, cause, passes_up_through_nested_scopes_unchanged_G1)
{
	struct th_step fails = { .ms = 10, .code = E_ONE };

	TH_CHECK_EQ(thrum_zip_par(thrum_never(), (thrum_fx){ nested, &fails }), E_ONE);
	CHECK_CAUSE("child 0: " APP(1)); /* the innermost child */
	return 0;
}

static void count_drop(void *counter)
{
	th_count(counter, 1);
}

static int fails_with_payload(th_counter *dropped)
{
	return thrum_failed_with(E_ONE, "with a payload", dropped, count_drop);
}
THRUM_FX(fails_with_payload, th_counter);

TH_FIBER_TEST(JUMP, cause, a_payload_is_dropped_once_with_its_cause_G1)
{
	th_counter dropped = { 0 };

	TH_CHECK_EQ(thrum_zip_par(fails_with_payload_fx(&dropped)), E_ONE);
	TH_CHECK(thrum_last_cause()->detail == &dropped);
	TH_CHECK_EQ(th_counted(&dropped), 0);
	TH_CHECK_EQ(thrum_zip_par(thrum_fail(E_TWO)), E_TWO);
	TH_CHECK_EQ(th_counted(&dropped), 1);
	TH_CHECK_EQ(thrum_or_else(fails_with_payload_fx(&dropped), thrum_succeed()), 0);
	TH_CHECK_EQ(th_counted(&dropped), 2);
	TH_CHECK_EQ(thrum_failed(7, "not negative"), -EINVAL);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, children_have_causes_of_their_own_K10)
{
	struct th_step fails = { .code = E_ONE }, fine = { .ms = 0 };
	thrum_or_else_op caught = { thrum_fail(E_TWO), th_step_fx(&fine) };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&fails)), E_ONE);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, thrum_or_else_fx(&caught)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_CAUSE("child 0: " APP(1));
	return 0;
}

/* --- G2: who cancelled, and where --- */

static int waits(const void **ret_id)
{
	*ret_id = thrum_self_id();
	return thrum_call(thrum_never());
}
THRUM_FX(waits, const void *);

struct canceller {
	thrum_scope *scope;
	const void *id;
	unsigned line;
};
static int cancels(struct canceller *c)
{
	c->id = thrum_self_id();
	c->line = __LINE__ + 1;
	thrum_scope_cancel(c->scope);
	return 0;
}
THRUM_FX(cancels, struct canceller);

TH_FIBER_TEST(JUMP, cause, an_interrupt_names_its_canceller_with_place_G2)
{
	const void *waiter_id = NULL;
	thrum_scope outer, inner;
	struct canceller c = { &outer, NULL, 0 };
	thrum_task waiter, canceller;
	const thrum_cause *why;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_spawn(&inner, &waiter, waits_fx(&waiter_id)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&inner, &canceller, cancels_fx(&c), THRUM_SPAWN_OPTS(.name = "killer")), 0);
	TH_CHECK_EQ(thrum_join(&canceller), 0);
	TH_CHECK_EQ(thrum_scope_close(&inner), -ECANCELED);
	why = thrum_last_cause();
	TH_CHECK_EQ(why->kind, THRUM_CAUSE_INTERRUPT);
	TH_CHECK_EQ(why->reason.kind, THRUM_CANCEL_EXPLICIT);
	TH_CHECK(strcmp(why->reason.name, "killer") == 0);
	TH_CHECK(why->reason.by == c.id && c.id != waiter_id && c.id != thrum_self_id());
	TH_CHECK(strstr(why->reason.file, "test_cause.c"));
	TH_CHECK_EQ(why->reason.line, c.line);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	return 0;
}

/* --- R5 --- */

TH_FIBER_TEST(JUMP, cause, of_a_lost_race_has_all_failures_in_order_R5)
{
	struct th_step a = { .ms = 30, .code = E_ONE }, b = { .ms = 10, .code = E_TWO }, c = { .ms = 20, .code = E_THREE };

	TH_CHECK_EQ(thrum_race(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), E_TWO);
	CHECK_CAUSE("both: " APP(2) "\n"
		    "  child 1: " APP(2) "\n"
		    "  child 2: " APP(3) "\n"
		    "  child 0: " APP(1));
	return 0;
}

TH_FIBER_TEST(JUMP, cause, race_first_keeps_the_completers_cause_R5)
{
	struct th_step fails = { .ms = 10, .code = E_ONE };

	TH_CHECK_EQ(thrum_race_first(thrum_never(), th_step_fx(&fails)), E_ONE);
	CHECK_CAUSE("child 1: " APP(1));
	return 0;
}

/* --- S1, S3: scopes --- */

static int fail_with(int *code)
{
	return *code;
}
THRUM_FX(fail_with, int);

TH_FIBER_TEST(JUMP, cause, body_then_finalizers_in_run_order_S3)
{
	int one = E_ONE, three = E_THREE;
	thrum_deferred first, second, third;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &first, fail_with_fx(&one)), 0);
	TH_CHECK_EQ(thrum_defer(&s, &second, thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_defer(&s, &third, fail_with_fx(&three)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, E_TWO), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), E_TWO);
	CHECK_CAUSE("then: " APP(2) "\n"
		    "  " APP(2) "\n"
		    "  then: " APP(3) "\n"
		    "    " APP(3) "\n"
		    "    " APP(1));
	return 0;
}

TH_FIBER_TEST(JUMP, cause, body_and_child_failing_are_told_together_S1)
{
	struct th_step late = { .ms = 100 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, fails_late_fx(&late), THRUM_SPAWN_OPTS(.name = "late")), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, E_ONE), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), E_ONE);
	CHECK_CAUSE("both: " APP(1) "\n"
		    "  " APP(1) "\n"
		    "  child 0 \"late\": " APP(2));
	return 0;
}

TH_FIBER_TEST(JUMP, cause, a_joined_failure_passed_on_is_told_once_S1)
{
	struct th_step fails = { .ms = 1, .code = E_ONE };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, th_step_fx(&fails)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, thrum_join(&t)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), E_ONE);
	CHECK_CAUSE("child 0: " APP(1));
	return 0;
}

/* --- A5 --- */

TH_FIBER_TEST(JUMP, cause, use_then_release_A5) /* D27 */
{
	TH_CHECK_EQ(thrum_bracket(thrum_succeed(), thrum_fail(E_ONE), thrum_fail(E_TWO)), E_ONE);
	CHECK_CAUSE("then: " APP(1) "\n"
		    "  " APP(1) "\n"
		    "  " APP(2));
	TH_CHECK_EQ(thrum_bracket(thrum_succeed(), thrum_succeed(), thrum_fail(E_TWO)), E_TWO);
	CHECK_CAUSE(APP(2));
	return 0;
}

/* --- E2, E3 --- */

TH_FIBER_TEST(JUMP, cause, a_failing_fallback_keeps_what_came_before_E3)
{
	TH_CHECK_EQ(thrum_or_else(thrum_fail(E_ONE), thrum_fail(E_TWO)), E_TWO);
	CHECK_CAUSE("then: " APP(2) "\n"
		    "  " APP(1) "\n"
		    "  " APP(2));
	return 0;
}

struct seen {
	unsigned kind, reason;
	int code;
};
static int look(const thrum_cause *cause, void *arg)
{
	struct seen *seen = arg;

	*seen = (struct seen){ cause->kind, cause->reason.kind, cause->code };
	return 0;
}

static int catch_never(struct seen *seen)
{
	int r = thrum_catch_cause(thrum_never(), look, seen);

	return r < 0 ? r : thrum_check(); /* seen, not undone */
}
THRUM_FX(catch_never, struct seen);

TH_FIBER_TEST(JUMP, cause, catch_cause_sees_every_kind_of_end_E2)
{
	struct seen seen = { 0, 0, 0 };

	TH_CHECK_EQ(thrum_catch_cause(thrum_fail(E_ONE), look, &seen), 0);
	TH_CHECK_EQ(seen.kind, THRUM_CAUSE_FAIL);
	TH_CHECK_EQ(seen.code, E_ONE);
	TH_CHECK_EQ(thrum_catch_cause((thrum_fx){ dies, NULL }, look, &seen), 0);
	TH_CHECK_EQ(seen.kind, THRUM_CAUSE_DIE);
	seen.kind = 0;
	TH_CHECK_EQ(thrum_catch_cause(thrum_succeed(), look, &seen), 0);
	TH_CHECK_EQ(seen.kind, 0);
	TH_CHECK_EQ(thrum_catch_cause((thrum_fx){ NULL, NULL }, look, &seen), -EINVAL);
	TH_CHECK_EQ(thrum_catch_cause(thrum_succeed(), NULL, &seen), -EINVAL);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, catch_cause_does_not_undo_a_cancel_E2)
{
	struct seen seen = { 0, 0, 0 };
	struct th_outside o = th_cancel_after(10, catch_never_fx(&seen));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(seen.kind, THRUM_CAUSE_INTERRUPT);
	TH_CHECK_EQ(seen.reason, THRUM_CANCEL_DEADLINE);
	return 0;
}

static int fail_too(const thrum_cause *cause, void *code)
{
	(void)cause;
	return *(int *)code;
}

static int pass_on(const thrum_cause *cause, void *unused)
{
	(void)unused;
	return cause->code;
}

TH_FIBER_TEST(JUMP, cause, a_failing_handler_keeps_what_came_before_E3)
{
	int two = E_TWO;

	TH_CHECK_EQ(thrum_catch_cause(thrum_fail(E_ONE), fail_too, &two), E_TWO);
	CHECK_CAUSE("then: " APP(2) "\n"
		    "  " APP(1) "\n"
		    "  " APP(2));
	TH_CHECK_EQ(thrum_catch_cause((thrum_fx){ dies, NULL }, pass_on, NULL), THRUM_EDIED);
	TH_CHECK_EQ(thrum_last_cause()->kind, THRUM_CAUSE_DIE); /* told once */
	TH_CHECK(strcmp(thrum_last_cause()->what, "bad state") == 0);
	return 0;
}

/* --- T7 --- */

TH_FIBER_TEST(JUMP, cause, failing_after_the_deadline_tells_of_both_T7)
{
	struct th_step late = { .ms = 100 };

	TH_CHECK_EQ(thrum_timeout(fails_late_fx(&late), thrum_ms(10)), E_TWO);
	CHECK_CAUSE("then: " APP(2) "\n"
		    "  Connection timed out\n"
		    "  " APP(2));
	TH_CHECK_EQ(thrum_timeout(thrum_never(), thrum_ms(10)), -ETIMEDOUT);
	CHECK_CAUSE("Connection timed out");
	TH_CHECK_EQ(thrum_timeout(thrum_never(), thrum_ms(0)), -ETIMEDOUT);
	CHECK_CAUSE("Connection timed out");
	return 0;
}

/* --- K7: the failure of a handle --- */

TH_FIBER_TEST(JUMP, cause, join_of_a_handle_gives_its_cause_K7)
{
	struct th_step fails = { .ms = 1, .code = E_ONE };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, th_step_fx(&fails), THRUM_SPAWN_OPTS(.isolated = true, .name = "h")), 0);
	TH_CHECK_EQ(thrum_join(&t), E_ONE);
	CHECK_CAUSE("child 0 \"h\": " APP(1));
	TH_CHECK_EQ(thrum_join(&t), E_ONE); /* again, K8 */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- Z8, A5: a release that fails after a cancel is no echo --- */

static struct th_step forever = { .ms = 1000 };

static int holds(void *unused)
{
	(void)unused;
	return holds_and_fails_late(&forever);
}
static const thrum_fx holding = { holds, NULL };

static int in_timeout(void *unused)
{
	(void)unused;
	return thrum_timeout(holding, thrum_ms(500));
}

static int in_bracket(void *unused)
{
	(void)unused;
	return thrum_bracket(thrum_succeed(), thrum_never(), (thrum_fx){ release_fails, NULL });
}

static int in_race(void *unused)
{
	(void)unused;
	return thrum_race(holding, thrum_never());
}

static int in_hedge(void *unused)
{
	const thrum_fx fx[] = { holding, thrum_never() };

	(void)unused;
	return thrum_hedge_n(fx, 2, thrum_ms(1));
}

static int in_a_race_of_races(void *unused)
{
	(void)unused;
	return thrum_race((thrum_fx){ in_race, NULL }, thrum_never());
}

static int in_scope(void *unused)
{
	thrum_scope s;
	int code;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	code = in_race(NULL);
	TH_CHECK_EQ(thrum_scope_fail(&s, code), 0);
	return thrum_scope_close(&s);
}

static int in_bracket_in_retry(void *unused)
{
	thrum_schedule soon = thrum_spaced(thrum_ms(1));

	(void)unused;
	return thrum_retry((thrum_fx){ in_bracket, NULL }, &soon);
}

static int in_or_else(void *unused)
{
	(void)unused;
	return thrum_or_else((thrum_fx){ in_timeout, NULL }, thrum_never());
}

static int in_retry(void *unused)
{
	thrum_schedule soon = thrum_spaced(thrum_ms(1));

	(void)unused;
	return thrum_retry(holding, &soon);
}

static int in_local(void *unused)
{
	static const thrum_local key = THRUM_LOCAL_INIT("key", NULL);

	(void)unused;
	return thrum_local_with(&key, &forever, holding);
}

/* Beside a sibling that fails and cancels it. */
static void check_release_is_told_beside(int (*run)(void *), int line)
{
	struct th_step fails = { .ms = 10, .code = E_ONE };
	char text[512];

	TH_CHECK_EQ(thrum_zip_par((thrum_fx){ run, NULL }, th_step_fx(&fails)), E_ONE);
	(void)thrum_cause_text(thrum_last_cause(), text, sizeof text);
	if (!strstr(text, "child 0: " APP(3) ": cannot release"))
		th_check_failed(__FILE__, line, "the release's failure is lost:\n%s", text);
}
#define CHECK_RELEASE_IS_TOLD_BESIDE(run) check_release_is_told_beside((run), __LINE__)

/* And cancelled from outside, where it is the result. */
static void check_release_is_told(int (*run)(void *), int line)
{
	thrum_scope s;
	thrum_task t;
	int code;

	check_release_is_told_beside(run, line);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, ((thrum_fx){ run, NULL })), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_scope_cancel(&s);
	code = thrum_join(&t);
	if (code != E_THREE || thrum_scope_close(&s) != E_THREE)
		th_check_failed(__FILE__, line, "cancelled: %d, not what the release failed with", code);
}
#define CHECK_RELEASE_IS_TOLD(run) check_release_is_told((run), __LINE__)

TH_FIBER_TEST(JUMP, cause, of_a_release_in_a_cancelled_timeout_is_told_Z8)
{
	CHECK_RELEASE_IS_TOLD(in_timeout);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_the_release_of_a_cancelled_bracket_is_told_A5)
{
	CHECK_RELEASE_IS_TOLD(in_bracket);
	return 0;
}

/* A race that is cancelled says so (R9), but what its entrants failed with is told. */
TH_FIBER_TEST(JUMP, cause, of_the_entrants_of_a_cancelled_race_is_told_R9)
{
	CHECK_RELEASE_IS_TOLD_BESIDE(in_race);
	CHECK_RELEASE_IS_TOLD_BESIDE(in_hedge);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_the_entrants_of_a_race_that_is_one_itself_is_told_R9)
{
	CHECK_RELEASE_IS_TOLD_BESIDE(in_a_race_of_races);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_the_entrants_of_a_race_in_a_cancelled_scope_is_told_R9)
{
	CHECK_RELEASE_IS_TOLD_BESIDE(in_scope);
	return 0;
}

static int cancel_a_race(int *ret_code)
{
	struct th_step fails = { .ms = 5, .code = E_ONE };

	*ret_code = thrum_race(th_step_fx(&fails), thrum_never());
	CHECK_CAUSE("both: Operation canceled\n"
		    "  child 0: " APP(1) "\n"
		    "  interrupted: its time was up");
	TH_CHECK_EQ(thrum_last_cause()->code, -ECANCELED);
	return *ret_code;
}
THRUM_FX(cancel_a_race, int);

TH_FIBER_TEST(JUMP, cause, of_a_cancelled_race_says_so_beside_its_failures_R9)
{
	int code = 0;

	TH_CHECK_EQ(thrum_timeout(cancel_a_race_fx(&code), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(code, -ECANCELED);
	CHECK_CAUSE("then: Connection timed out\n"
		    "  Connection timed out\n"
		    "  child 0: " APP(1));
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_the_attempt_before_a_cancel_is_told_Y8)
{
	CHECK_RELEASE_IS_TOLD_BESIDE(in_bracket_in_retry);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_a_release_in_a_cancelled_retry_is_told_Y8)
{
	CHECK_RELEASE_IS_TOLD(in_retry);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_a_release_in_a_cancelled_binding_is_told_Z8)
{
	CHECK_RELEASE_IS_TOLD(in_local);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_a_release_before_a_cancelled_fallback_is_told_E2)
{
	CHECK_RELEASE_IS_TOLD(in_or_else);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, of_a_release_after_a_limit_that_may_pass_is_told_A5)
{
	bool timed_out = false;

	TH_CHECK_EQ(thrum_timeout_opt(holding, thrum_ms(10), &timed_out), E_THREE);
	TH_CHECK(timed_out);
	TH_CHECK_EQ(thrum_last_cause()->code, E_THREE);
	return 0;
}

/* --- what came before a call --- */

/* It fails once, then no more. */
static int fails_at_first(int *runs)
{
	return (*runs)++ == 0 ? thrum_failed(E_ONE, "at first") : 0;
}
THRUM_FX(fails_at_first, int);

static void check_stays(int code, const thrum_cause *before, th_counter *dropped, int line)
{
	if (code != 0 || thrum_last_cause() != before || before->detail != dropped || th_counted(dropped) != 0)
		th_check_failed(__FILE__, line, "%d: the cause of before is gone", code);
}
#define CHECK_STAYS(call) check_stays((call), before, &dropped, __LINE__)

TH_FIBER_TEST(JUMP, cause, stays_when_a_call_succeeds_in_the_end_G1)
{
	thrum_schedule again = thrum_recurs(1);
	th_counter dropped = { 0 };
	const thrum_cause *before;
	struct seen seen;
	int runs = 0;

	TH_CHECK_EQ(thrum_zip_par(fails_with_payload_fx(&dropped)), E_ONE);
	before = thrum_last_cause();
	CHECK_STAYS(thrum_retry(thrum_succeed(), &again));
	CHECK_STAYS(thrum_retry(fails_at_first_fx(&runs), &again));
	TH_CHECK_EQ(runs, 2);
	CHECK_STAYS(thrum_repeat(thrum_succeed(), &again));
	CHECK_STAYS(thrum_or_else(thrum_fail(E_ONE), thrum_succeed()));
	CHECK_STAYS(thrum_or_else(thrum_fail(E_TWO), thrum_succeed()));
	CHECK_STAYS(thrum_catch_cause(thrum_fail(E_ONE), look, &seen));
	CHECK_STAYS(thrum_catch_cause((thrum_fx){ dies, NULL }, look, &seen));
	runs = 0;
	CHECK_STAYS(thrum_supervise(&(thrum_child_spec){ .fx = fails_at_first_fx(&runs), .restart = THRUM_RESTART_TRANSIENT }, 1, NULL));
	TH_CHECK_EQ(runs, 2);
	TH_CHECK_EQ(thrum_retry(thrum_fail(E_TWO), &again), E_TWO);
	CHECK_CAUSE(APP(2) " after 2 attempts");
	TH_CHECK_EQ(th_counted(&dropped), 1);
	return 0;
}

TH_FIBER_TEST(JUMP, cause, stays_when_a_limit_that_may_pass_has_passed_G1)
{
	static th_counter dropped; /* the cause goes after this frame */
	const thrum_cause *before;

	TH_CHECK_EQ(thrum_zip_par(fails_with_payload_fx(&dropped)), E_ONE);
	before = thrum_last_cause();
	CHECK_STAYS(thrum_timeout_opt(thrum_never(), thrum_ms(1), NULL));
	CHECK_STAYS(thrum_timeout_opt(thrum_never(), thrum_ms(0), NULL));
	return 0;
}

TH_FIBER_TEST(JUMP, cause, is_of_the_call_that_failed_not_of_one_before_G1)
{
	const thrum_fx fine = thrum_succeed(), bad = thrum_fail(E_TWO);

	for (int i = 0; i < 4; i++) {
		TH_CHECK_EQ(thrum_zip_par(thrum_fail(E_ONE)), E_ONE);
		TH_CHECK_EQ(i == 0   ? thrum_then(bad, fine)
			    : i == 1 ? thrum_bracket(bad, fine, fine)
			    : i == 2 ? thrum_acquire_release(bad, fine)
				     : thrum_shield(bad),
			    E_TWO);
		CHECK_CAUSE(APP(2));
	}
	return 0;
}

/* --- N8: no failure is lost to a lack of memory --- */

static void use_up_memory(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_AS, &none);
	for (size_t size = 1 << 20; size >= 64; size /= 2)
		for (void *volatile p = malloc(size); p; p = malloc(size))
			;
}

enum { ENTRANTS = 200 };

static int fail_without_memory(thrum_fx *fx)
{
	size_t told = 0;

	use_up_memory();
	TH_CHECK_EQ(thrum_race_n(fx, ENTRANTS), E_ONE);
	for (const thrum_cause *c = thrum_last_cause()->first; c; c = c->next)
		told++;
	TH_CHECK(told >= 32); /* what is reserved */
	TH_CHECK_EQ(told + thrum_last_cause()->omitted, ENTRANTS);
	TH_CHECK_EQ(thrum_zip_par(thrum_fail(E_TWO)), E_TWO);
	CHECK_CAUSE(APP(2)); /* no node for it: the race has them until now */
	TH_CHECK_EQ(thrum_or_else(thrum_fail(E_TWO), thrum_fail(E_THREE)), E_THREE);
	CHECK_CAUSE("then: " APP(3) "\n  " APP(2) "\n  " APP(3)); /* the reserve is back */
	return 0;
}
THRUM_FX(fail_without_memory, thrum_fx);

static void run_without_memory(void *unused)
{
	thrum_fx fx[ENTRANTS];

	(void)unused;
	for (int i = 0; i < ENTRANTS; i++)
		fx[i] = thrum_fail(E_ONE);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), fail_without_memory_fx(fx)), 0);
}

TH_TEST(cause, without_memory_parts_are_counted_N8)
{
	struct th_said said;

	if (TH_UNLIMITED)
		return;
	TH_CHECK_CHILD_OK(th_child(run_without_memory, NULL, &said), &said);
}

/* --- text --- */

TH_FIBER_TEST(JUMP, cause, text_is_cut_like_snprintf)
{
	char text[8];
	size_t whole;

	TH_CHECK_EQ(thrum_or_else(thrum_fail(E_ONE), thrum_fail(E_TWO)), E_TWO);
	whole = thrum_cause_text(thrum_last_cause(), NULL, 0);
	TH_CHECK(whole > 60);
	TH_CHECK_EQ(thrum_cause_text(thrum_last_cause(), text, sizeof text), whole);
	TH_CHECK(strcmp(text, "then: a") == 0);
	TH_CHECK_EQ(thrum_cause_text(NULL, text, sizeof text), 0);
	TH_CHECK(strcmp(text, "") == 0);
	return 0;
}

/* Fallbacks nested without end: the tree is as deep, and neither its text nor its end costs stack. */
struct chain {
	thrum_or_else_op ops[20000];
};

TH_FIBER_TEST(JUMP, cause, of_any_depth_is_shown_and_freed_E5)
{
	struct chain *c = malloc(sizeof *c);
	thrum_fx fx = thrum_fail(E_ONE);
	char *text = malloc(1 << 20);

	TH_CHECK(c && text);
	for (size_t i = 0; i < 20000; i++) {
		c->ops[i] = (thrum_or_else_op){ i % 2 ? thrum_fail(E_ONE) : fx, i % 2 ? fx : thrum_fail(E_TWO) };
		fx = thrum_or_else_fx(&c->ops[i]);
	}
	TH_CHECK(thrum_call(fx) < 0);
	TH_CHECK(thrum_cause_text(thrum_last_cause(), text, 1 << 20) > 0);
	free(text);
	free(c);
	return 0;
}
