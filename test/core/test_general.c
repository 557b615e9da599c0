/* Cancelling in general: rules G2, G3, G4, G11, G12, G13 and K10. What io adds (G5 to G9) is tested in test/io. */
#include "test/support/rules.h"
#include <pthread.h>

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2) };

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}
static const thrum_fx nothing_fx = { nothing, NULL };

static thrum_stats stats(void)
{
	thrum_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &st), 0);
	return st;
}

/* --- G2: tokens move one way, the first reason stays --- */

TH_FIBER_TEST(JUMP, general, first_reason_stays_G2)
{
	const thrum_reason first = { .kind = THRUM_CANCEL_EXPLICIT, .code = E_FIRST, .index = 7 };
	const thrum_reason later = { .kind = THRUM_CANCEL_BODY, .code = E_LATER };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK(thrum_cancel_reason() == NULL);
	thrum_scope_cancel_why(&s, &first);
	thrum_scope_cancel_why(&s, &later);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_cancel_reason()->code, E_FIRST);
	TH_CHECK_EQ(thrum_cancel_reason()->index, 7);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(thrum_cancel_reason() == NULL);
	return 0;
}

TH_FIBER_TEST(JUMP, general, a_second_cancel_wakes_nobody_again_G2)
{
	struct th_step a = { .ms = 500, .cleanup_ms = 50 };
	long long t0 = th_now_ms();
	thrum_scope s;
	int ms = 10;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, th_step_fx(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_shield((thrum_fx){ th_nap_, &ms }), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.at_ms - t0, 60);
	return 0;
}

TH_FIBER_TEST(JUMP, general, a_later_cancel_of_an_outer_scope_does_not_change_the_inner_reason_G2)
{
	const thrum_reason inner_why = { .kind = THRUM_CANCEL_BODY, .code = E_FIRST };
	thrum_scope outer, inner;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	thrum_scope_cancel_why(&inner, &inner_why);
	thrum_scope_cancel(&outer);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_BODY);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_EXPLICIT);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, general, inner_scopes_show_the_outer_reason_G2)
{
	const thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT, .code = E_FIRST };
	thrum_scope outer, before, after;

	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&before), 0);
	thrum_scope_cancel_why(&outer, &why);
	TH_CHECK_EQ(thrum_cancel_reason()->code, E_FIRST);
	TH_CHECK_EQ(thrum_scope_open(&after), 0); /* born cancelled */
	TH_CHECK_EQ(thrum_cancel_reason()->code, E_FIRST);
	(void)thrum_scope_close(&after);
	(void)thrum_scope_close(&before);
	(void)thrum_scope_close(&outer);
	return 0;
}

TH_FIBER_TEST(JUMP, general, reasons_tell_what_happened_G2)
{
	struct th_step a = { .ms = 500 };
	thrum_token token;
	thrum_scope s;

	(void)th_cancel_after(10, th_step_fx(&a));
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_DEADLINE);

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, th_step_fx(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, E_FIRST), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), E_FIRST);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_BODY);
	TH_CHECK_EQ(a.reason.code, E_FIRST);

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	TH_CHECK_EQ(thrum_go(&s, th_step_fx(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_token_cancel(&token);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(a.reason.kind, THRUM_CANCEL_TOKEN);
	return 0;
}

/* --- G3: which calls are checkpoints --- */

/* None of these would have to wait. */
static int every_checkpoint(thrum_chan *c)
{
	const thrum_fx fx[] = { nothing_fx };
	thrum_bracket_op bracket = { nothing_fx, nothing_fx, nothing_fx };
	int item = 1, code;

	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_yield(), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(0)), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(-1)), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep_until((thrum_time){ 0 }), -ECANCELED);
	TH_CHECK_EQ(thrum_chan_send(c, &item), -ECANCELED);
	TH_CHECK_EQ(thrum_chan_recv(c, &item), -ECANCELED);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	TH_CHECK_EQ(thrum_zip_par_n(fx, 1), -ECANCELED);
	TH_CHECK_EQ(thrum_zip_settle_n(fx, 1, &code), -ECANCELED);
	TH_CHECK_EQ(thrum_race_n(fx, 1), -ECANCELED);
	TH_CHECK_EQ(thrum_race_first_n(fx, 1, NULL), -ECANCELED);
	TH_CHECK_EQ(thrum_for_each_par_n(nothing, &item, 1, 1, 1), -ECANCELED);
	TH_CHECK_EQ(thrum_for_each_par_n(nothing, NULL, 0, 1, 1), -ECANCELED);
	TH_CHECK_EQ(thrum_timeout(nothing_fx, thrum_ms(1)), -ECANCELED);
	TH_CHECK_EQ(thrum_call(thrum_bracket_fx(&bracket)), -ECANCELED);
	TH_CHECK_EQ(thrum_acquire_release(nothing_fx, nothing_fx), -ECANCELED);
	return 0;
}
THRUM_FX(every_checkpoint, thrum_chan);

TH_FIBER_TEST(JUMP, general, every_blocking_call_is_a_checkpoint_G3)
{
	thrum_chan c;
	int item = 5;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 2), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), 0); /* room and an item */
	TH_CHECK_EQ(th_call_cancelled(every_checkpoint_fx(&c)), 0);
	item = 0;
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), 0); /* still there, and nothing was added */
	TH_CHECK_EQ(item, 5);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), -EAGAIN);
	thrum_chan_fini(&c);
	return 0;
}

static int no_checkpoints(thrum_chan *c)
{
	int item = 3;

	TH_CHECK_EQ(thrum_chan_try_send(c, &item), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(c, &item), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(c, &item), -EAGAIN);
	TH_CHECK_EQ(thrum_shield(nothing_fx), 0);
	TH_CHECK_EQ(thrum_chan_close(c), 0);
	TH_CHECK_EQ(thrum_chan_try_send(c, &item), THRUM_ECLOSED);
	return 0;
}
THRUM_FX(no_checkpoints, thrum_chan);

TH_FIBER_TEST(JUMP, general, try_calls_are_no_checkpoints_G3)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 1), 0);
	TH_CHECK_EQ(th_call_cancelled(no_checkpoints_fx(&c)), 0);
	thrum_chan_fini(&c);
	return 0;
}

/* A loop whose only thrum call is thrum_check() can be stopped. */
static int spin(th_counter *turns)
{
	int code;

	while ((code = thrum_check()) == 0)
		th_count(turns, 1);
	return code;
}
THRUM_FX(spin, th_counter);

static int wait_for_turns(th_counter *turns)
{
	while (th_counted(turns) < 100)
		;
	return E_FIRST;
}
THRUM_FX(wait_for_turns, th_counter);

TH_FIBER_TEST(JUMP, general, check_stops_a_busy_loop_G3)
{
	th_counter turns = { 0 };

	if (thrum_workers() < 2)
		return 0;
	TH_CHECK_EQ(thrum_zip_par(spin_fx(&turns), wait_for_turns_fx(&turns)), E_FIRST);
	return 0;
}

static int spin_yielding(thrum_chan *started)
{
	int code = thrum_chan_send(started, &(int){ 0 });

	while (code == 0)
		code = thrum_yield();
	return code;
}
THRUM_FX(spin_yielding, thrum_chan);

TH_FIBER_TEST(JUMP, general, yield_stops_a_busy_loop_G3)
{
	thrum_chan started;
	thrum_scope s;
	thrum_task t;
	int item;

	TH_CHECK_EQ(thrum_chan_init(&started, sizeof item, 0), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, spin_yielding_fx(&started)), 0);
	TH_CHECK_EQ(thrum_chan_recv(&started, &item), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&started);
	return 0;
}

/* --- G4: a cancel stays --- */

TH_FIBER_TEST(JUMP, general, swallowing_a_cancel_does_not_undo_it_G4) /* D29 */
{
	thrum_scope s, inner;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), -ECANCELED);
	(void)thrum_scope_close(&inner);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* Handles whatever comes, cancels too, and goes on for ever. */
static int handle_everything(const thrum_cause *cause, void *handled)
{
	TH_CHECK_EQ(cause->kind, THRUM_CAUSE_INTERRUPT);
	th_count(handled, 1);
	return 0;
}
static int never_give_up(th_counter *handled)
{
	int code;

	do
		code = thrum_catch_cause(thrum_never(), handle_everything, handled);
	while (code == 0 && thrum_check() == 0);
	return 0; /* and that is no success of its own: it was cancelled before it came here */
}
THRUM_FX(never_give_up, th_counter);

TH_FIBER_TEST(JUMP, general, who_handles_everything_is_cancelled_all_the_same_G4) /* D29 */
{
	th_counter handled = { 0 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, never_give_up_fx(&handled)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(th_counted(&handled), 1); /* once, not again and again */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int swallow_twice(th_counter *cancelled)
{
	for (int i = 0; i < 2; i++)
		if (thrum_sleep(thrum_ms(500)) == -ECANCELED)
			th_count(cancelled, 1);
	return 0;
}
THRUM_FX(swallow_twice, th_counter);

TH_FIBER_TEST(JUMP, general, a_woken_fiber_is_cancelled_at_each_later_call_G4)
{
	th_counter cancelled = { 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_timeout(swallow_twice_fx(&cancelled), thrum_ms(10)), 0);
	TH_CHECK_EQ(th_counted(&cancelled), 2);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	return 0;
}

TH_FIBER_TEST(JUMP, general, a_cancel_ends_with_its_scope_G4)
{
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(th_call_cancelled(thrum_never()), -ECANCELED);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 10);
	return 0;
}

/* --- G11: a cancel runs no user code --- */

/* Set while this thread is inside a cancelling call. Not inlined: the address must not be kept over a suspension. Atomic:
 * to ThreadSanitizer the fibers of a thread are threads. */
static _Thread_local bool tls_cancelling;
static void __attribute__((noinline)) set_cancelling(bool on)
{
	__atomic_store_n(&tls_cancelling, on, __ATOMIC_RELAXED);
}
static bool __attribute__((noinline)) is_cancelling(void)
{
	return __atomic_load_n(&tls_cancelling, __ATOMIC_RELAXED);
}

static int look(th_counter *calls)
{
	TH_CHECK(!is_cancelling());
	th_count(calls, 1);
	return 0;
}
THRUM_FX(look, th_counter);

static int wait_then_look(th_counter *calls)
{
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, look_fx(calls)), 0);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	look(calls);
	return thrum_scope_close(&s);
}
THRUM_FX(wait_then_look, th_counter);

TH_FIBER_TEST(JUMP, general, cancel_runs_no_user_code_G11)
{
	th_counter calls = { 0 };
	thrum_scope s;
	thrum_task waiting, unstarted;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &waiting, wait_then_look_fx(&calls)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &unstarted, thrum_never(), THRUM_SPAWN_OPTS(.drop = look_fx(&calls))), 0);
	set_cancelling(true);
	thrum_scope_cancel(&s);
	set_cancelling(false);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(th_counted(&calls) >= 2); /* and the drop, if nobody had started it */
	return 0;
}

TH_FIBER_TEST(JUMP, general, cancelling_one_child_runs_no_user_code_G11)
{
	th_counter calls = { 0 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, wait_then_look_fx(&calls)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	set_cancelling(true);
	thrum_task_cancel(&t);
	set_cancelling(false);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(th_counted(&calls), 2);
	return 0;
}

static void *cancel_token(void *token)
{
	set_cancelling(true);
	thrum_token_cancel(token);
	set_cancelling(false);
	return NULL;
}

TH_FIBER_TEST(REAL, general, cancelling_a_token_runs_no_user_code_G11)
{
	th_counter calls = { 0 };
	pthread_t thread;
	thrum_token token;
	thrum_scope s;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	TH_CHECK_EQ(thrum_go(&s, wait_then_look_fx(&calls)), 0);
	TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(pthread_create(&thread, NULL, cancel_token, &token), 0);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	return 0;
}

/* --- G12: delivered once --- */

TH_FIBER_TEST(JUMP, general, nothing_is_redelivered_to_a_shielded_fiber_G12)
{
	struct th_step a = { .ms = 10, .cleanup_ms = 1000 };
	struct th_outside o;
	uint64_t suspends = stats().suspends;

	o = th_cancel_after(5, th_step_fx(&a)); /* waits twice, once for each sleep */
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(stats().suspends - suspends, 2);
	return 0;
}

/* Woken by its own scope's cancel, it cleans up; the cancel of the scope around it does not wake it again. */
static int clean_up_slowly(long long *slept_ms)
{
	long long t0 = th_now_ms();
	int ms = 50;

	TH_CHECK_EQ(thrum_timeout(thrum_never(), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_shield((thrum_fx){ th_nap_, &ms }), 0);
	*slept_ms = th_now_ms() - t0;
	return thrum_check();
}
THRUM_FX(clean_up_slowly, long long);

TH_FIBER_TEST(JUMP, general, a_cancel_from_outside_does_not_wake_a_shielded_sleep_G12)
{
	long long slept_ms = 0;

	TH_CHECK_EQ(th_cancel_after(20, clean_up_slowly_fx(&slept_ms)).code, -ECANCELED);
	TH_CHECK_EQ(slept_ms, 60);
	return 0;
}

/* --- G13: what happens before what. Plain fields: ThreadSanitizer is the judge. --- */

struct baton {
	int to_child, from_child;
};
static int carry(struct baton *b)
{
	b->from_child = b->to_child + 1;
	return 0;
}
THRUM_FX(carry, struct baton);

TH_FIBER_TEST(JUMP, general, spawn_and_join_order_plain_writes_G13)
{
	for (int i = 0; i < 200; i++) {
		struct baton b = { .to_child = i };
		unsigned worker = (unsigned)i % thrum_workers() + 1;
		thrum_scope s;
		thrum_task t;

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn_with(&s, &t, carry_fx(&b), THRUM_SPAWN_OPTS(.worker = worker)), 0);
		if (i % 3)
			TH_CHECK_EQ(thrum_join(&t), 0);
		if (i % 3 == 1)
			TH_CHECK_EQ(b.from_child, i + 1);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(b.from_child, i + 1);
	}
	return 0;
}

static int send_batons(thrum_chan *c)
{
	static struct baton batons[100];
	int code = 0;

	for (int i = 0; code == 0 && i < 100; i++) {
		struct baton *b = &batons[i];
		b->to_child = i;
		code = thrum_chan_send(c, &b);
	}
	return code;
}
THRUM_FX(send_batons, thrum_chan);

static int receive_batons(thrum_chan *c)
{
	for (int i = 0; i < 100; i++) {
		struct baton *b = NULL;
		TH_CHECK_EQ(thrum_chan_recv(c, &b), 0);
		TH_CHECK_EQ(b->to_child, i);
		b->to_child = -1;
	}
	return 0;
}
THRUM_FX(receive_batons, thrum_chan);

TH_FIBER_TEST(JUMP, general, send_and_receive_order_plain_writes_G13)
{
	for (size_t capacity = 0; capacity < 4; capacity++) {
		thrum_chan c;
		TH_CHECK_EQ(thrum_chan_init(&c, sizeof(struct baton *), capacity), 0);
		TH_CHECK_EQ(thrum_zip_par(send_batons_fx(&c), receive_batons_fx(&c)), 0);
		thrum_chan_fini(&c);
	}
	return 0;
}

struct order {
	thrum_token token;
	int value;
};
static void *write_then_cancel(void *arg)
{
	struct order *o = arg;

	o->value = 42;
	thrum_token_cancel(&o->token);
	return NULL;
}

TH_FIBER_TEST(REAL, general, token_cancel_and_its_effect_order_plain_writes_G13)
{
	struct order o = { .value = 0 };
	pthread_t thread;
	thrum_scope s;

	thrum_token_init(&o.token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &o.token), 0);
	TH_CHECK_EQ(pthread_create(&thread, NULL, write_then_cancel, &o), 0);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	TH_CHECK_EQ(o.value, 42);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	return 0;
}

struct letter {
	thrum_promise sent;
	int value;
};
static int write_letter(struct letter *l)
{
	l->value = 42;
	return thrum_promise_set(&l->sent, 0, l);
}
THRUM_FX(write_letter, struct letter);

static int read_letter(struct letter *l)
{
	void *got = NULL;

	TH_CHECK_EQ(thrum_promise_await(&l->sent, &got), 0);
	TH_CHECK_EQ(((struct letter *)got)->value, 42);
	return 0;
}
THRUM_FX(read_letter, struct letter);

TH_FIBER_TEST(JUMP, general, set_and_await_order_plain_writes_G13)
{
	for (int i = 0; i < 100; i++) {
		struct letter l = { .value = 0 };

		TH_CHECK_EQ(thrum_promise_init(&l.sent), 0);
		TH_CHECK_EQ(thrum_zip_par(read_letter_fx(&l), write_letter_fx(&l), read_letter_fx(&l)), 0);
	}
	return 0;
}

TH_TEST(general, start_and_wait_order_plain_writes_G13)
{
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	for (int i = 0; i < 100; i++) {
		struct baton b = { .to_child = i };
		thrum_handle h;

		TH_CHECK_EQ(thrum_rt_start(rt, &h, carry_fx(&b)), 0);
		TH_CHECK_EQ(thrum_handle_wait(&h), 0);
		TH_CHECK_EQ(b.from_child, i + 1);
	}
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- K10: a child on its parent's stack is somebody else. With one worker a join runs it there: as a call that comes into the
 * tree when it asks for more, or, spawned with options, as a child that has been there from the start. --- */

static int spawn_either_way(thrum_scope *s, thrum_task *t, thrum_fx fx, bool in_tree)
{
	return in_tree ? thrum_spawn_with(s, t, fx, NULL) : thrum_spawn(s, t, fx);
}

static int meddle(thrum_scope *of_parent)
{
	TH_CHECK_EQ(thrum_scope_deadline(of_parent, thrum_ms(1)), -EPERM);
	TH_CHECK_EQ(thrum_scope_close(of_parent), -EDEADLK);
	return thrum_check();
}
THRUM_FX(meddle, thrum_scope);

TH_ONE_WORKER_TEST(JUMP, general, inline_child_does_not_own_the_parents_scope_K10)
{
	uint64_t inline_runs = stats().inline_runs;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int in_tree = 0; in_tree < 2; in_tree++) {
		TH_CHECK_EQ(spawn_either_way(&s, &t, meddle_fx(&s), in_tree), 0);
		TH_CHECK_EQ(thrum_join(&t), 0);
	}
	TH_CHECK_EQ(stats().inline_runs, inline_runs + 2);
	TH_CHECK_EQ(thrum_zip_par(meddle_fx(&s)), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int cancel_myself(thrum_task *me)
{
	thrum_task_cancel(me);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_EXPLICIT);
	return thrum_check();
}
THRUM_FX(cancel_myself, thrum_task);

TH_ONE_WORKER_TEST(JUMP, general, inline_child_has_its_own_token_K10)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, cancel_myself_fx(&t)), 0);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK(thrum_cancel_reason() == NULL);
	(void)thrum_scope_close(&s);
	return 0;
}

static int join_task(thrum_task *t) { return thrum_join(t); }
THRUM_FX(join_task, thrum_task);

static int cancel_and_check(thrum_scope *s)
{
	thrum_scope_cancel(s);
	return thrum_check();
}
THRUM_FX(cancel_and_check, thrum_scope);

/* The shield that its parent stands in while it joins is not the child's. */
TH_ONE_WORKER_TEST(JUMP, general, inline_child_has_its_own_shield_depth_K10)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, cancel_and_check_fx(&s)), 0);
	TH_CHECK_EQ(thrum_shield(join_task_fx(&t)), -ECANCELED);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int see_exit_code(void *unused)
{
	(void)unused;
	return thrum_exit_code();
}

static int finalizer_with_child(void *unused)
{
	const thrum_fx fx = { see_exit_code, NULL };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_exit_code(), E_FIRST);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int in_tree = 0; in_tree < 2; in_tree++) {
		TH_CHECK_EQ(spawn_either_way(&s, &t, fx, in_tree), 0);
		TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(thrum_exit_code(), E_FIRST);
	}
	return thrum_scope_close(&s);
}

TH_ONE_WORKER_TEST(JUMP, general, inline_child_has_its_own_exit_code_K10)
{
	const thrum_fx finalizer = { finalizer_with_child, NULL };
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, finalizer), 0);
	TH_CHECK_EQ(thrum_scope_fail(&s, E_FIRST), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), E_FIRST);
	return 0;
}

/* --- counters of a worker --- */

static int yield_once(void *unused)
{
	(void)unused;
	return thrum_yield();
}

TH_FIBER_TEST(JUMP, general, counters_of_the_workers_add_up)
{
	thrum_stats all = { .size = sizeof all }, one = { .size = sizeof one }, sum = { 0 };

	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_zip_par((thrum_fx){ yield_once, NULL }, thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &all), 0);
	for (unsigned i = 1; i <= thrum_workers(); i++) {
		TH_CHECK_EQ(thrum_stats_read_worker(NULL, i, &one), 0);
		sum.spawns += one.spawns;
		sum.fibers += one.fibers;
		sum.suspends += one.suspends;
	}
	TH_CHECK_EQ(sum.spawns, all.spawns);
	TH_CHECK_EQ(sum.fibers, all.fibers);
	TH_CHECK_EQ(sum.suspends, all.suspends);
	TH_CHECK_EQ(thrum_stats_read_worker(NULL, 0, &one), -EINVAL);
	TH_CHECK_EQ(thrum_stats_read_worker(NULL, thrum_workers() + 1, &one), -EINVAL);
	return 0;
}
