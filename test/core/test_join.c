/* test/core/test_join.c: children and handles: spawning, joining, cancelling (K1-K6, K8, K10, isolated K7). */
#include "test/support/rules.h"

static thrum_fx step(struct th_step *s) { return th_step_fx(s); }

/* --- K1 --- */

TH_TEST(join, fork_needs_a_fiber_and_its_scope_K1)
{
	struct th_step s = { 0 };
	thrum_scope scope = { { 0 } };
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&scope), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, step(&s)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_go(&scope, step(&s)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.runs, 0);
}

TH_FIBER_TEST(JUMP, join, child_without_storage_is_awaited_as_well_K1)
{
	struct th_step s = { .ms = 20, .cleanup_ms = 20 };
	thrum_time start = thrum_now();
	thrum_scope scope;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, step(&s)), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.ended, 1);
	TH_CHECK_EQ(th_ms_since(start), 40);
	return 0;
}

TH_FIBER_TEST(JUMP, join, spawn_checks_what_it_is_given_K1)
{
	struct th_step s = { 0 };
	thrum_spawn_opts old = { .size = sizeof old - 1 };
	thrum_scope scope;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, (thrum_fx){ 0 }), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_with(&scope, &t, step(&s), &old), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_with(&scope, &t, step(&s), THRUM_SPAWN_OPTS(.worker = thrum_workers() + 1)), -EINVAL);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.runs, 0);
	return 0;
}

/* --- K2 --- */

TH_FIBER_TEST(JUMP, join, returns_the_code_and_leaves_the_joiner_alone_K2)
{
	struct th_step good = { .code = 5 }, bad = { .ms = 1, .code = THRUM_APP(1) };
	thrum_task tg, tb;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &tg, step(&good)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &tb, step(&bad), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_join(&tb), THRUM_APP(1));
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_join(&tg), 5);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, join, returns_the_childs_code_in_a_cancelled_scope_K2)
{
	struct th_step bad = { .code = THRUM_APP(1) };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&bad)), 0);
	TH_CHECK_EQ(thrum_join(&t), THRUM_APP(1));
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_SIBLING);
	TH_CHECK_EQ(thrum_join(&t), THRUM_APP(1)); /* ended long ago, and the scope is cancelled */
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(1));
	return 0;
}

/* Its storage may lie in the opener's frame: the join waits in a cancelled scope too. */
TH_FIBER_TEST(JUMP, join, of_the_opener_is_no_cancel_point_K2)
{
	struct th_step slow = { .ms = 100, .cleanup_ms = 30 };
	thrum_time start = thrum_now();
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&slow)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(th_ms_since(start), 40);
	TH_CHECK_EQ(slow.ended, 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- K3: cancelling who waits --- */

struct waiter {
	thrum_task *target;
	int code, checked;
	long long at_ms;
};
static int wait_for_target(struct waiter *w)
{
	w->code = thrum_join(w->target);
	w->checked = thrum_check();
	w->at_ms = th_now_ms();
	return w->code;
}
THRUM_FX(wait_for_target, struct waiter);

TH_FIBER_TEST(JUMP, join, cancelling_the_waiter_spares_the_target_and_is_seen_K3) /* D16 */
{
	struct th_step slow = { .ms = 100, .code = 3 };
	thrum_task target, waiting;
	struct waiter w = { &target, 0, 0, 0 };
	long long start = th_now_ms();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &target, step(&slow)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &waiting, wait_for_target_fx(&w), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	thrum_task_cancel(&waiting);
	TH_CHECK_EQ(thrum_join(&waiting), -ECANCELED);
	TH_CHECK_EQ(w.checked, -ECANCELED);
	TH_CHECK_EQ(w.at_ms - start, 10);
	TH_CHECK_EQ(thrum_join(&target), 3);
	TH_CHECK_EQ(slow.at_ms - start, 100);
	TH_CHECK_EQ(slow.reason.kind, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int wait_for_handle(void *handle)
{
	return thrum_handle_wait(handle);
}

TH_FIBER_TEST(JUMP, join, cancelled_handle_wait_lets_the_effect_go_on_K3)
{
	struct th_step slow = { .ms = 100, .code = 3 };
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, step(&slow)), 0);
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ wait_for_handle, &h }, thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(slow.ended, 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 3);
	TH_CHECK_EQ(slow.got, 3);
	return 0;
}

/* --- K4, K5: cancelling a child --- */

TH_FIBER_TEST(JUMP, join, interrupter_waits_for_the_cleanup_and_so_does_a_second_K4)
{
	struct th_step slow = { .ms = 100, .cleanup_ms = 40 };
	thrum_task target, second;
	struct waiter w = { &target, 0, 0, 0 };
	long long start = th_now_ms();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &target, step(&slow)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_task_cancel(&target);
	TH_CHECK_EQ(th_now_ms() - start, 10); /* it did not wait */
	TH_CHECK_EQ(thrum_spawn_with(&s, &second, wait_for_target_fx(&w), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_task_cancel(&target);
	TH_CHECK_EQ(thrum_join(&target), -ECANCELED);
	TH_CHECK_EQ(th_now_ms() - start, 50);
	TH_CHECK_EQ(thrum_join(&second), -ECANCELED);
	TH_CHECK_EQ(w.at_ms - start, 50);
	TH_CHECK_EQ(slow.reason.kind, THRUM_CANCEL_EXPLICIT);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, join, cancelling_one_child_spares_the_others_K4)
{
	struct th_step a = { .ms = 100 }, b = { .ms = 100 };
	thrum_task ta, tb;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ta, step(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &tb, step(&b)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_task_cancel(&ta);
	TH_CHECK_EQ(thrum_join(&ta), -ECANCELED);
	TH_CHECK_EQ(thrum_join(&tb), 0);
	TH_CHECK_EQ(b.reason.kind, 0);
	(void)thrum_scope_close(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, join, cancel_of_the_finished_does_nothing_K5)
{
	struct th_step a = { .code = 4 };
	thrum_handle h;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&a)), 0);
	TH_CHECK_EQ(thrum_join(&t), 4);
	thrum_task_cancel(&t);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), 4);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);

	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, step(&a)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 4);
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_handle_wait(&h), 4);
	TH_CHECK_EQ(thrum_check(), 0);
	return 0;
}

/* --- cancelled before the start --- */

static int spawn_and_cancel(void *arg)
{
	struct th_step *s = arg; /* body, drop */
	thrum_scope scope;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn_with(&scope, &t, step(&s[0]), THRUM_SPAWN_OPTS(.drop = step(&s[1]))), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	(void)thrum_scope_close(&scope);
	return 0;
}

TH_TEST(join, child_cancelled_before_its_start_drops_instead_of_running_Z5)
{
	struct th_step s[2] = { { 0 }, { .ms = 10 } };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), (thrum_fx){ spawn_and_cancel, s }), 0);
	TH_CHECK_EQ(s[0].runs, 0);
	TH_CHECK_EQ(s[1].ended, 1); /* shielded: its sleep was not cancelled */
	TH_CHECK_EQ(s[1].got, 0);
}

static int start_and_cancel(void *arg)
{
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, step(arg)), 0);
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_handle_wait(&h), -ECANCELED);
	return 0;
}

TH_TEST(join, handle_cancelled_before_its_start_ends_with_ECANCELED_Z5)
{
	struct th_step s = { 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), (thrum_fx){ start_and_cancel, &s }), 0);
	TH_CHECK_EQ(s.runs, 0);
}

/* --- K6: oneself --- */

struct selfish {
	thrum_task *self, *parent;
	int joined_self, joined_parent, before, after;
};
static int join_ancestors(struct selfish *f)
{
	f->joined_parent = thrum_join(f->parent);
	f->joined_self = thrum_join(f->self);
	return 0;
}
THRUM_FX(join_ancestors, struct selfish);

static int parent_of_selfish(struct selfish *f)
{
	thrum_task child;
	thrum_scope s;
	int code;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	f->self = &child;
	TH_CHECK_EQ(thrum_spawn(&s, &child, join_ancestors_fx(f)), 0);
	code = thrum_join(&child);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return code;
}
THRUM_FX(parent_of_selfish, struct selfish);

TH_FIBER_TEST(JUMP, join, of_oneself_or_an_ancestor_is_EDEADLK_K6)
{
	struct selfish f = { .joined_self = 0 };
	thrum_task t;
	thrum_scope s;

	f.parent = &t;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, parent_of_selfish_fx(&f)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(f.joined_self, -EDEADLK);
	TH_CHECK_EQ(f.joined_parent, -EDEADLK);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int cancel_oneself(struct selfish *f)
{
	f->before = thrum_check();
	thrum_task_cancel(f->self);
	f->after = thrum_check();
	return f->after;
}
THRUM_FX(cancel_oneself, struct selfish);

TH_FIBER_TEST(JUMP, join, self_interrupt_shows_at_the_next_checkpoint_K6)
{
	struct selfish f = { .before = -1 };
	thrum_scope s;
	thrum_task t;

	f.self = &t;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, cancel_oneself_fx(&f)), 0);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(f.before, 0);
	TH_CHECK_EQ(f.after, -ECANCELED);
	TH_CHECK_EQ(thrum_check(), 0); /* it was inline perhaps, and yet not us */
	(void)thrum_scope_close(&s);
	return 0;
}

/* --- K7: isolated --- */

TH_FIBER_TEST(JUMP, join, isolated_failure_stays_with_the_child_K7)
{
	struct th_step bad = { .ms = 1, .code = THRUM_APP(1) }, other = { .ms = 50 };
	thrum_task tb, to;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &tb, step(&bad), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &to, step(&other)), 0);
	TH_CHECK_EQ(thrum_join(&to), 0);
	TH_CHECK_EQ(thrum_join(&tb), THRUM_APP(1));
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, join, failure_of_a_plain_child_cancels_the_scope_K7)
{
	struct th_step bad = { .ms = 1, .code = THRUM_APP(1) }, other = { .ms = 50 };
	thrum_time start = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, step(&bad)), 0);
	TH_CHECK_EQ(thrum_go(&s, step(&other)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(50)), -ECANCELED); /* the body of the scope too */
	TH_CHECK_EQ(th_ms_since(start), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(1));
	TH_CHECK_EQ(other.got, -ECANCELED);
	return 0;
}

/* --- K8: many joiners --- */

enum { JOINERS = 10 };

TH_FIBER_TEST(JUMP, join, many_joiners_get_the_code_and_it_stays_until_the_close_K8)
{
	struct th_step slow = { .ms = 20, .code = 9 };
	thrum_task target, joiners[JOINERS];
	struct waiter w[JOINERS];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &target, step(&slow)), 0);
	for (int i = 0; i < JOINERS; i++) {
		w[i] = (struct waiter){ &target, 0, 0, 0 };
		TH_CHECK_EQ(thrum_spawn(&s, &joiners[i], wait_for_target_fx(&w[i])), 0);
	}
	TH_CHECK_EQ(thrum_join(&target), 9);
	for (int i = 0; i < JOINERS; i++) {
		TH_CHECK_EQ(thrum_join(&joiners[i]), 9);
		TH_CHECK_EQ(w[i].code, 9);
	}
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_join(&target), 9);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- K10: a child that runs on the joiner's stack is somebody else --- */

struct inline_child {
	struct th_step release;
	thrum_task *self;
	int exit_code, cancelled;
	uintptr_t stack_at;
};
static int note_identity(void *arg)
{
	struct inline_child *c = arg;
	struct th_step ok = { 0 };

	c->stack_at = (uintptr_t)__builtin_frame_address(0);
	c->exit_code = thrum_exit_code();
	TH_CHECK_EQ(thrum_acquire_release(step(&ok), step(&c->release)), 0);
	TH_CHECK_EQ(thrum_join(c->self), -EDEADLK);
	thrum_task_cancel(c->self);
	c->cancelled = thrum_check();
	return 0;
}

/* In a finalizer, where the exit code is not 0: the child's own is. */
static int join_inline(void *arg)
{
	struct inline_child *c = arg;
	thrum_stats before = { .size = sizeof before }, after = before;
	thrum_scope s;
	thrum_task t;

	c->self = &t;
	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ note_identity, c }), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(c->release.ended, 1); /* its resource did not wait for our scope */
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_exit_code(), THRUM_APP(1));
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.inline_runs - before.inline_runs, 1);
	TH_CHECK_EQ(after.fibers, before.fibers);
	TH_CHECK((uintptr_t)__builtin_frame_address(0) - c->stack_at < 64 * 1024); /* it was on our stack */
	return thrum_scope_close(&s);
}

static int finalize_with_inline_child(void *arg)
{
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, (thrum_fx){ join_inline, arg }), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, THRUM_APP(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), THRUM_APP(1));
	return 0;
}

TH_TEST(join, inline_child_has_an_identity_of_its_own_K10)
{
	struct inline_child c = { .exit_code = -1 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP),
			      (thrum_fx){ finalize_with_inline_child, &c }), 0);
	TH_CHECK_EQ(c.exit_code, 0);
	TH_CHECK_EQ(c.cancelled, -ECANCELED);
}

/* --- handles --- */

TH_TEST(join, starts_are_first_in_first_out_K8)
{
	struct th_step s[20] = { 0 };
	thrum_handle h[20];
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), &rt), 0);
	for (int i = 0; i < 20; i++) {
		s[i].code = i;
		TH_CHECK_EQ(thrum_rt_start(rt, &h[i], step(&s[i])), 0);
	}
	TH_CHECK_EQ(thrum_handle_wait(&h[19]), 19);
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(s[i].ended, 1);
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(thrum_handle_wait(&h[i]), i);
	TH_CHECK_EQ(thrum_rt_run(rt, thrum_fail(-EIO)), -EIO);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* Others that are always ready do not keep a child from starting: scope.h, "it starts when the caller suspends". */
static int yield_until_started(void *unused)
{
	struct th_step child = { 0 };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&child)), 0);
	for (int i = 0; i < 100000 && __atomic_load_n(&child.ended, __ATOMIC_ACQUIRE) == 0; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(__atomic_load_n(&child.ended, __ATOMIC_ACQUIRE), 1);
	return thrum_scope_close(&s);
}

TH_TEST(join, child_starts_while_its_spawner_only_yields_K1)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), (thrum_fx){ yield_until_started, NULL }), 0);
}
