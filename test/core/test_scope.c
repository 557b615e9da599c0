/* test/core/test_scope.c: opening, closing, failing, finalizers (S1, S3-S9, S11) and what the header of scope.h says. */
#include "core/scope.h"
#include "test/support/child.h"
#include "test/support/rules.h"

/* What happened, in order; for code that runs serially. */
struct journal {
	char text[16];
	int n;
};
struct entry {
	struct journal *journal;
	char letter;
	int ms, code, exit_code;
};
static int write_entry(struct entry *e)
{
	e->exit_code = thrum_exit_code();
	if (e->ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(e->ms)), 0);
	e->journal->text[e->journal->n++] = e->letter;
	return e->code;
}
THRUM_FX(write_entry, struct entry);

#define CHECK_JOURNAL(j, want) TH_CHECK(strcmp((j)->text, (want)) == 0)

static thrum_fx step(struct th_step *s) { return th_step_fx(s); }

/* --- S1: the order of a close --- */

TH_FIBER_TEST(JUMP, scope, close_waits_for_children_then_finalizes_last_first_S1)
{
	struct journal j = { 0 };
	struct entry child = { &j, 'c', 20, 0, 0 }, f1 = { &j, '1', 10, 0, 0 }, f2 = { &j, '2', 5, 0, 0 };
	thrum_time start = thrum_now();
	thrum_deferred d1, d2;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d1, write_entry_fx(&f1)), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d2, write_entry_fx(&f2)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, write_entry_fx(&child)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_JOURNAL(&j, "c21");
	TH_CHECK_EQ(th_ms_since(start), 35); /* one after another */
	return 0;
}

TH_FIBER_TEST(JUMP, scope, normal_close_cancels_no_child_S1)
{
	struct th_step a = { .ms = 30 }, b = { .ms = 30 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	TH_CHECK_EQ(thrum_go(&s, step(&b)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.ended + b.ended, 2);
	TH_CHECK_EQ(a.got, 0);
	TH_CHECK_EQ(b.got, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, body_failure_cancels_children_and_is_the_result_S1)
{
	struct th_step a = { .ms = 100 };
	thrum_time start = thrum_now();
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, THRUM_APP(4)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(4));
	TH_CHECK_EQ(th_ms_since(start), 10);
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_BODY);
	TH_CHECK_EQ(a.reason.code, THRUM_APP(4));
	return 0;
}

TH_FIBER_TEST(JUMP, scope, body_failure_is_primary_over_a_childs_S1)
{
	struct th_step bad = { .ms = 5, .code = THRUM_APP(1) };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&bad)), 0);
	TH_CHECK_EQ(thrum_join(&t), THRUM_APP(1));
	TH_CHECK_EQ(thrum_scope_fail(&s, THRUM_APP(2)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(2));
	return 0;
}

/* A child's failure cancels its siblings when its body's code is known, before it has been wound up. */
TH_FIBER_TEST(JUMP, scope, sibling_is_cancelled_before_the_failed_child_finalizes_S1)
{
	struct journal j = { 0 };
	struct entry release = { &j, 'r', 50, 0, 0 };
	struct th_step ok = { 0 }, fail = { .code = THRUM_APP(1) }, other = { .ms = 100 };
	thrum_acquire_release_op resource = { step(&ok), write_entry_fx(&release) };
	thrum_then_op failing = { thrum_acquire_release_fx(&resource), step(&fail) };
	thrum_time start = thrum_now();
	thrum_task a, b;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &b, step(&other)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &a, thrum_then_fx(&failing)), 0);
	TH_CHECK_EQ(thrum_join(&b), -ECANCELED);
	TH_CHECK_EQ(th_ms_since(start), 10);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(1));
	TH_CHECK_EQ(th_ms_since(start), 60);
	TH_CHECK_EQ(other.reason.kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(other.reason.code, THRUM_APP(1));
	TH_CHECK_EQ(other.reason.index, 1);
	return 0;
}

/* --- how a close reports --- */

TH_FIBER_TEST(JUMP, scope, cancelled_by_itself_closes_with_0_G2)
{
	struct th_step a = { .ms = 100 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_EXPLICIT);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, cancelled_by_itself_reports_a_real_failure_G1)
{
	struct th_step a = { .ms = 100, .cleanup_ms = 1 };
	struct journal j = { 0 };
	struct entry bad = { &j, 'f', 0, THRUM_APP(8), 0 };
	thrum_deferred d;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, write_entry_fx(&bad)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(8));
	return 0;
}

static int close_around_a_sleeper(void *ret_code)
{
	struct th_step a = { .ms = 100 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	*(int *)ret_code = thrum_scope_close(&s);
	TH_CHECK_EQ(a.ended, 1);
	return *(int *)ret_code;
}

TH_FIBER_TEST(JUMP, scope, cancelled_from_outside_closes_with_ECANCELED_T3)
{
	int code = 0;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ close_around_a_sleeper, &code }, thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(code, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, opened_in_a_cancelled_one_is_born_cancelled_G4)
{
	thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT, .code = THRUM_APP(77), .index = 5 };
	thrum_scope outer, inner;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	thrum_scope_cancel_why(&outer, &why);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_cancel_reason()->code, THRUM_APP(77));
	TH_CHECK_EQ(thrum_cancel_reason()->index, 5);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK(thrum_cancel_reason() == NULL);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, fail_takes_failures_only_G1)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, 0), -EINVAL);
	TH_CHECK_EQ(thrum_scope_fail(&s, 1), -EINVAL);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, -EIO), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, -EBADF), 0); /* the first stays */
	TH_CHECK_EQ(thrum_scope_close(&s), -EIO);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, fail_with_the_echo_of_its_cancel_lets_the_cancel_decide_G1)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_fail(&s, thrum_check()), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, -ECANCELED), 0); /* nobody cancelled it: a failure like any other */
	TH_CHECK_EQ(thrum_scope_close(&s), -ECANCELED);
	return 0;
}

/* --- S3: every finalizer runs --- */

TH_FIBER_TEST(JUMP, scope, all_finalizers_run_though_some_fail_S3) /* D14, D26 */
{
	struct journal j = { 0 };
	struct entry f[3] = { { &j, '1', 0, THRUM_APP(1), 0 }, { &j, '2', 0, 0, 0 }, { &j, '3', 0, THRUM_APP(3), 0 } };
	thrum_deferred d[3];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], write_entry_fx(&f[i])), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(3)); /* the first that failed, in run order */
	CHECK_JOURNAL(&j, "321");
	return 0;
}

TH_FIBER_TEST(JUMP, scope, failure_of_the_body_is_primary_over_finalizers_S3)
{
	struct journal j = { 0 };
	struct entry f = { &j, '1', 0, THRUM_APP(1), 0 };
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, write_entry_fx(&f)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, THRUM_APP(5)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(5));
	TH_CHECK_EQ(f.exit_code, THRUM_APP(5));
	return 0;
}

/* --- S4: shielded, with the scope's exit --- */

struct closing {
	struct entry f1, f2;
	thrum_deferred d1, d2;
	int code;
};
static int close_with_slow_finalizers(struct closing *c)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &c->d1, write_entry_fx(&c->f1)), 0);
	TH_CHECK_EQ(thrum_defer(&s, &c->d2, write_entry_fx(&c->f2)), 0);
	c->code = thrum_scope_close(&s);
	return c->code;
}
THRUM_FX(close_with_slow_finalizers, struct closing);

TH_FIBER_TEST(JUMP, scope, cancel_during_a_finalizer_stops_none_S4) /* D14 */
{
	struct journal j = { 0 };
	struct closing c = { .f1 = { &j, '1', 20, 0, 0 }, .f2 = { &j, '2', 20, 0, 0 } };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(close_with_slow_finalizers_fx(&c), thrum_ms(10)), 0); /* T7 */
	CHECK_JOURNAL(&j, "21");
	TH_CHECK_EQ(th_ms_since(start), 40);
	TH_CHECK_EQ(c.f2.exit_code, 0);          /* not cancelled yet when it began */
	TH_CHECK_EQ(c.f1.exit_code, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, finalizer_learns_of_a_childs_failure_S4)
{
	struct journal j = { 0 };
	struct th_step bad = { .code = THRUM_APP(6) };
	struct entry f = { &j, 'f', 0, 0, 0 };
	thrum_deferred d;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, write_entry_fx(&f)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&bad)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(6));
	TH_CHECK_EQ(f.exit_code, THRUM_APP(6));
	TH_CHECK_EQ(thrum_exit_code(), 0);
	return 0;
}

static int open_with_deadline(void *ret_code)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(50)), -ECANCELED);
	*(int *)ret_code = thrum_scope_close(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, finalizer_may_open_a_scope_with_a_deadline_S4)
{
	thrum_deferred d;
	thrum_scope s;
	int code = 0;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, (thrum_fx){ open_with_deadline, &code }), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(code, -ETIMEDOUT);
	return 0;
}

/* --- S5, S6: a scope that is closing or cancelled takes nothing more --- */

struct late {
	thrum_scope *scope;
	struct entry entry;
	struct th_step body, dropped;
	thrum_deferred d;
	thrum_task t;
	int defer_code, spawn_code, go_code;
};
static int come_late(struct late *l)
{
	l->defer_code = thrum_defer(l->scope, &l->d, write_entry_fx(&l->entry));
	l->spawn_code = thrum_spawn_with(l->scope, &l->t, step(&l->body), THRUM_SPAWN_OPTS(.drop = step(&l->dropped)));
	l->go_code = thrum_go(l->scope, step(&l->body));
	return 0;
}
THRUM_FX(come_late, struct late);

/* A child that does it 10 ms after the close began. */
static int come_late_child(struct late *l)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	return come_late(l);
}
THRUM_FX(come_late_child, struct late);

static void check_late(const struct late *l, const struct journal *j)
{
	TH_CHECK_EQ(l->defer_code, THRUM_ECLOSED);
	CHECK_JOURNAL(j, "f"); /* it ran, there and then */
	TH_CHECK_EQ(l->entry.exit_code, -ECANCELED);
	TH_CHECK_EQ(l->spawn_code, THRUM_ECLOSED);
	TH_CHECK_EQ(l->go_code, THRUM_ECLOSED);
	TH_CHECK_EQ(l->body.runs, 0);
	TH_CHECK_EQ(l->dropped.runs, 1);
}

TH_FIBER_TEST(JUMP, scope, closing_scope_refuses_children_and_runs_late_finalizers_S5_S6)
{
	struct journal j = { 0 };
	thrum_scope s;
	struct late l = { .scope = &s, .entry = { &j, 'f', 0, 0, 0 } };
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, come_late_child_fx(&l)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_late(&l, &j);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, finalizer_comes_too_late_as_well_S5_S6)
{
	struct journal j = { 0 };
	thrum_scope s;
	struct late l = { .scope = &s, .entry = { &j, 'f', 0, 0, 0 } };
	thrum_deferred d;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, come_late_fx(&l)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_late(&l, &j);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, cancelled_scope_refuses_children_S6)
{
	struct journal j = { 0 };
	thrum_scope s;
	struct late l = { .scope = &s, .entry = { &j, 'f', 0, 0, 0 } };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(come_late(&l), 0);
	TH_CHECK_EQ(l.defer_code, 0); /* a finalizer is taken until the scope closes */
	TH_CHECK_EQ(l.spawn_code, -ECANCELED);
	TH_CHECK_EQ(l.go_code, -ECANCELED);
	TH_CHECK_EQ(l.body.runs, 0);
	TH_CHECK_EQ(l.dropped.runs, 1);
	CHECK_JOURNAL(&j, "");
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_JOURNAL(&j, "f");
	return 0;
}

TH_FIBER_TEST(JUMP, scope, closed_scope_takes_nothing_any_more_S5_S6)
{
	struct journal j = { 0 };
	thrum_scope s;
	struct late l = { .scope = &s, .entry = { &j, 'f', 0, 0, 0 } };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(come_late(&l), 0);
	TH_CHECK_EQ(l.defer_code, THRUM_ECLOSED);
	CHECK_JOURNAL(&j, "f");
	TH_CHECK_EQ(l.spawn_code, THRUM_ECLOSED);
	TH_CHECK_EQ(l.go_code, THRUM_ECLOSED);
	TH_CHECK_EQ(l.body.runs, 0);
	TH_CHECK_EQ(l.dropped.runs, 1);
	return 0;
}

/* --- S7: who closes --- */

struct closer {
	thrum_scope *scope;
	int code;
};
static int try_to_close(struct closer *c)
{
	c->code = thrum_scope_close(c->scope);
	return 0;
}
THRUM_FX(try_to_close, struct closer);

TH_FIBER_TEST(JUMP, scope, another_fiber_may_not_close_S7) /* D15 */
{
	thrum_scope outer, inner;
	struct closer c = { &inner, 0 };
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_spawn(&outer, &t, try_to_close_fx(&c)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(c.code, -EPERM);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, its_own_child_may_not_close_S7)
{
	thrum_scope s;
	struct closer c = { &s, 0 };
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, try_to_close_fx(&c)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0); /* also when it runs on the opener's stack */
	TH_CHECK_EQ(c.code, -EDEADLK);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int let_a_child_close(struct closer *c)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, try_to_close_fx(c)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(let_a_child_close, struct closer);

/* Whoever lives inside, however far down: it would wait for itself. */
TH_FIBER_TEST(JUMP, scope, its_childrens_children_may_not_close_S7)
{
	thrum_scope s;
	struct closer c = { &s, 0 };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, let_a_child_close_fx(&c)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(c.code, -EDEADLK);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, items_of_its_openers_combinators_may_not_close_S7)
{
	thrum_scope s;
	struct closer c = { &s, 0 };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_zip_par(try_to_close_fx(&c), thrum_succeed()), 0);
	TH_CHECK_EQ(c.code, -EDEADLK);
	TH_CHECK_EQ(thrum_race(let_a_child_close_fx(&c)), 0);
	TH_CHECK_EQ(c.code, -EDEADLK);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, a_second_close_is_refused_S7)
{
	struct journal j = { 0 };
	struct entry f = { &j, 'f', 0, 0, 0 };
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, write_entry_fx(&f)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), -EPERM);
	CHECK_JOURNAL(&j, "f");
	return 0;
}

TH_FIBER_TEST(JUMP, scope, its_own_finalizer_may_not_close_S7)
{
	thrum_scope s;
	struct closer c = { &s, 0 };
	thrum_deferred d;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, try_to_close_fx(&c)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(c.code, -EDEADLK);
	return 0;
}

/* --- S8: taking a finalizer back --- */

TH_FIBER_TEST(JUMP, scope, undefer_is_true_once_and_then_it_does_not_run_S8)
{
	struct journal j = { 0 };
	struct entry f[3] = { { &j, '1', 0, 0, 0 }, { &j, '2', 0, 0, 0 }, { &j, '3', 0, 0, 0 } };
	thrum_deferred d[3];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], write_entry_fx(&f[i])), 0);
	TH_CHECK(thrum_undefer(&d[1]));
	TH_CHECK(!thrum_undefer(&d[1]));
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_JOURNAL(&j, "31");
	TH_CHECK(!thrum_undefer(&d[0]));
	return 0;
}

struct taker {
	thrum_deferred own, other;
	bool took_own, took_other;
};
static int take_back(void *arg)
{
	struct taker *t = arg;

	t->took_own = thrum_undefer(&t->own);
	t->took_other = thrum_undefer(&t->other);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, running_finalizer_takes_back_others_but_not_itself_S8)
{
	struct journal j = { 0 };
	struct entry f = { &j, '1', 0, 0, 0 };
	struct taker t = { .took_own = true };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &t.other, write_entry_fx(&f)), 0);
	TH_CHECK_EQ(thrum_defer(&s, &t.own, (thrum_fx){ take_back, &t }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(!t.took_own);
	TH_CHECK(t.took_other);
	CHECK_JOURNAL(&j, "");
	return 0;
}

/* Its storage stays: only then may one who does not live in the scope reach for it. */
enum { RACES = 300 };
struct undefer_race {
	thrum_scope scope;
	thrum_deferred d;
	int taken, ran;
};
static struct undefer_race undefer_races[RACES];

static int count_up(void *n)
{
	++*(int *)n;
	return 0;
}
static int undefer_all(void *unused)
{
	(void)unused;
	for (int i = 0; i < RACES; i++) {
		undefer_races[i].taken = thrum_undefer(&undefer_races[i].d);
		if (i % 3 == 0)
			TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}
static int close_all(void *unused)
{
	(void)unused;
	for (int i = RACES; i-- > 0;) {
		TH_CHECK_EQ(thrum_scope_close(&undefer_races[i].scope), 0);
		if (i % 5 == 0)
			TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}
static int open_all_then_race(void *unused)
{
	thrum_scope outer;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	for (int i = 0; i < RACES; i++) {
		struct undefer_race *r = &undefer_races[i];
		r->ran = r->taken = 0;
		TH_CHECK_EQ(thrum_scope_open(&r->scope), 0);
		TH_CHECK_EQ(thrum_defer(&r->scope, &r->d, (thrum_fx){ count_up, &r->ran }), 0);
	}
	TH_CHECK_EQ(thrum_spawn(&outer, &t, (thrum_fx){ undefer_all, NULL }), 0);
	TH_CHECK_EQ(close_all(unused), 0);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, undefer_racing_a_close_either_takes_it_or_it_runs_S8)
{
	TH_CHECK_EQ(open_all_then_race(NULL), 0);
	for (int i = 0; i < RACES; i++)
		TH_CHECK_EQ(undefer_races[i].ran + undefer_races[i].taken, 1);
	return 0;
}

/* --- S9: nothing stays behind in a scope that lives for ever --- */

TH_FIBER_TEST(JUMP, scope, ended_children_and_closed_scopes_are_unlinked_S9)
{
	struct th_step quick = { 0 };
	thrum_scope s, inner;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 1000; i++) {
		TH_CHECK_EQ(thrum_scope_open(&inner), 0);
		TH_CHECK_EQ(thrum_scope_close(&inner), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, step(&quick)), 0);
		TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(thrum_shield(step(&quick)), 0);
	}
	TH_CHECK(th_scope_of(&s)->node.kids == NULL);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- S11: misnesting ends the process and names both scopes --- */

struct misnested {
	thrum_scope outer, inner;
};
static int close_outer_first(void *arg)
{
	struct misnested *m = arg;

	TH_CHECK_EQ(thrum_scope_open(&m->outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&m->inner), 0);
	return thrum_scope_close(&m->outer);
}
static int leave_open(void *arg)
{
	struct misnested *m = arg;

	return thrum_scope_open(&m->inner);
}
static int run_leave_open(void *arg)
{
	struct misnested *m = arg;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&m->outer), 0);
	TH_CHECK_EQ(thrum_spawn_with(&m->outer, &t, (thrum_fx){ leave_open, m }, THRUM_SPAWN_OPTS(.name = "untidy")), 0);
	return thrum_scope_close(&m->outer);
}
static int leave_open_in_shield(void *arg)
{
	return thrum_shield((thrum_fx){ leave_open, arg });
}

static void run_jump(void *fx)
{
	int r = TH_RUN(JUMP, *(thrum_fx *)fx);

	_exit(r == 0 ? 0 : 1);
}

static void check_aborts(int (*run)(void *), const char *word)
{
	static struct misnested m;
	thrum_fx fx = { run, &m };
	struct th_said said;
	char outer[32], inner[32];
	int status = th_child(run_jump, &fx, &said);

	snprintf(outer, sizeof outer, "%p", (void *)&m.outer);
	snprintf(inner, sizeof inner, "%p", (void *)&m.inner);
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (!word)
		return;
	TH_CHECK(strstr(said.text, word) != NULL);
	TH_CHECK(strstr(said.text, outer) != NULL);
	TH_CHECK(strstr(said.text, inner) != NULL);
}

TH_TEST(scope, closing_the_outer_first_aborts_naming_both_S11)
{
	check_aborts(close_outer_first, "scope");
}

TH_TEST(scope, child_that_leaves_a_scope_open_aborts_naming_both_S11)
{
	check_aborts(run_leave_open, "untidy");
}

TH_TEST(scope, shielded_effect_that_leaves_a_scope_open_aborts_S11)
{
	check_aborts(leave_open_in_shield, NULL);
}

/* --- bad options --- */

TH_FIBER_TEST(JUMP, scope, unsupported_spawn_options_are_refused_and_run_nothing_E6)
{
	struct th_step body = { 0 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, step(&body), THRUM_SPAWN_OPTS(.stack_bytes = (16 << 10) - 1)), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, step(&body), THRUM_SPAWN_OPTS(.stack_bytes = (1 << 30) + 1)), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, step(&body), THRUM_SPAWN_OPTS(.worker = thrum_workers() + 1)), -EINVAL);
	TH_CHECK_EQ(body.runs, 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, step(&body), THRUM_SPAWN_OPTS(.movable = true)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(body.runs, 1);
	return 0;
}

/* --- S2: daemons --- */

static int exit_code_of(void *ret_code)
{
	*(int *)ret_code = thrum_exit_code();
	return 0;
}

TH_FIBER_TEST(JUMP, scope, daemons_are_cancelled_when_the_others_have_ended_S2)
{
	struct th_step daemon = { .ms = 1000, .cleanup_ms = 5 }, child = { .ms = 20 };
	thrum_time t0 = thrum_now();
	thrum_task d, c;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &d, th_step_fx(&daemon), THRUM_SPAWN_OPTS(.daemon = true)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &c, th_step_fx(&child)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0); /* no failure */
	TH_CHECK_EQ(daemon.ended, 1);
	TH_CHECK_EQ(daemon.got, -ECANCELED);
	TH_CHECK_EQ(daemon.reason.kind, THRUM_CANCEL_DAEMON);
	TH_CHECK_EQ(th_ms_since(t0), 25); /* awaited, clean-up included */
	TH_CHECK_EQ(child.got, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, finalizers_of_a_scope_with_daemons_see_no_failure_S2)
{
	int exit_code = 1;
	thrum_deferred fin;
	thrum_scope s;
	thrum_task d;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &fin, (thrum_fx){ exit_code_of, &exit_code }), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &d, thrum_never(), THRUM_SPAWN_OPTS(.daemon = true)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(exit_code, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, a_failing_daemon_fails_its_scope_S2)
{
	struct th_step daemon = { .ms = 5, .code = THRUM_APP(4) }, child = { .ms = 20 };
	thrum_scope s;
	thrum_task c;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, th_step_fx(&daemon), THRUM_SPAWN_OPTS(.daemon = true)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &c, th_step_fx(&child)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(4));
	TH_CHECK_EQ(child.got, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, many_daemons_and_one_that_ends_early_S2)
{
	struct th_step quick = { .ms = 2 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(thrum_spawn_with(&s, NULL, i == 7 ? th_step_fx(&quick) : thrum_never(),
					     THRUM_SPAWN_OPTS(.daemon = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	TH_CHECK_EQ(quick.got, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- S12: finalizers all at once, on request --- */

TH_FIBER_TEST(JUMP, scope, parallel_finalizers_run_at_once_S12)
{
	struct th_step f[3] = { { .ms = 10 }, { .ms = 30, .code = THRUM_APP(1) }, { .ms = 20, .code = THRUM_APP(2) } };
	thrum_deferred d[3];
	thrum_time t0 = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open_with(&s, THRUM_SCOPE_OPTS(.parallel_finalizers = true)), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], th_step_fx(&f[i])), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(2)); /* the first that failed */
	TH_CHECK_EQ(th_ms_since(t0), 30);
	TH_CHECK_EQ(thrum_last_cause()->kind, THRUM_CAUSE_BOTH);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(f[i].ended, 1);
	return 0;
}

static int close_cancelled_with_parallel_finalizers(void *arg)
{
	struct th_step *f = arg;
	thrum_deferred d[2];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open_with(&s, THRUM_SCOPE_OPTS(.parallel_finalizers = true)), 0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], th_step_fx(&f[i])), 0);
	(void)thrum_sleep(thrum_ms(100));
	return thrum_scope_close(&s);
}

TH_FIBER_TEST(JUMP, scope, parallel_finalizers_are_shielded_S12)
{
	struct th_step f[2] = { { .ms = 10 }, { .ms = 10 } };

	TH_CHECK_EQ(th_cancel_after(5, (thrum_fx){ close_cancelled_with_parallel_finalizers, f }).check, -ECANCELED);
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(f[i].got, 0);
		TH_CHECK_EQ(f[i].ended, 1);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, scope, parallel_finalizers_get_the_exit_code_S12)
{
	int codes[2] = { 1, 1 };
	thrum_deferred d[2];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open_with(&s, THRUM_SCOPE_OPTS(.parallel_finalizers = true)), 0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], (thrum_fx){ exit_code_of, &codes[i] }), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, -EIO), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), -EIO);
	TH_CHECK_EQ(codes[0], -EIO);
	TH_CHECK_EQ(codes[1], -EIO);
	return 0;
}

TH_FIBER_TEST(JUMP, scope, open_with_unknown_options_is_refused)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open_with(&s, &(thrum_scope_opts){ .parallel_finalizers = true }), -EINVAL);
	return 0;
}
