/* Tasks, handles and scopes whose storage outlives the scope, or the runtime, that they belonged to: cancelling and waiting for
 * what has ended is nothing (K5), whoever does it. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include "test/support/child.h"
#include "test/support/rules.h"

static int yield_once(void *unused)
{
	(void)unused;
	return thrum_yield();
}
THRUM_FX(yield_once, void);

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}
THRUM_FX(nothing, void);

/* --- tasks and scopes --- */

struct left {
	thrum_scope scope;
	thrum_task light, heavy;
};

static int leave_all(struct left *l)
{
	TH_CHECK_EQ(thrum_scope_open(&l->scope), 0);
	TH_CHECK_EQ(thrum_spawn(&l->scope, &l->light, nothing_fx(NULL)), 0);
	TH_CHECK_EQ(thrum_join(&l->light), 0);
	TH_CHECK_EQ(thrum_spawn_with(&l->scope, &l->heavy, yield_once_fx(NULL), NULL), 0);
	TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_join(&l->heavy), 0);
	return thrum_scope_close(&l->scope);
}
THRUM_FX(leave_all, struct left);

static void cancel_all(struct left *l)
{
	thrum_task_cancel(&l->light);
	thrum_task_cancel(&l->heavy);
	thrum_scope_cancel(&l->scope);
}

static int cancel_them(struct left *l)
{
	cancel_all(l);
	return thrum_check();
}
THRUM_FX(cancel_them, struct left);

TH_TEST(outlive, what_has_ended_is_cancelled_after_its_runtime_has_closed_K5)
{
	static struct left l;

	for (int i = 0; i < 20; i++) {
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), leave_all_fx(&l)), 0);
		cancel_all(&l);
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), cancel_them_fx(&l)), 0); /* in another runtime */
	}
}

/* --- a scope that is used again --- */

static thrum_scope again;
static th_counter reports;

static void count_reports(const thrum_report *r, void *unused)
{
	(void)unused;
	th_count(&reports, r->kind == THRUM_REPORT_SLOW_SCOPE);
}

static int cancelled_after_each_close(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_scope_open(&again), 0);
		TH_CHECK_EQ(thrum_check(), 0);
		TH_CHECK_EQ(thrum_scope_close(&again), 0);
		thrum_scope_cancel(&again); /* by somebody who does not know yet */
		TH_CHECK_EQ(thrum_sleep(thrum_sec(3600)), 0);
	}
	return 0;
}
THRUM_FX(cancelled_after_each_close, void);

TH_TEST(outlive, closed_scope_is_not_watched_S10)
{
	const thrum_opts o = { .size = sizeof o, .workers = 1, .clock = THRUM_CLOCK_JUMP, .observe = count_reports };

	TH_CHECK_EQ(thrum_run(&o, cancelled_after_each_close_fx(NULL)), 0);
	TH_CHECK_EQ(th_counted(&reports), 0);
}

enum { ROUNDS = 3000 };
static th_counter round_now; /* even: the scope is open, or about to be; odd: the canceller has been told */

static void *cancel_each_round(void *unused)
{
	for (int i = 0; i < ROUNDS; i++) {
		while (th_counted(&round_now) < 2 * i + 1)
			sched_yield();
		thrum_scope_cancel(&again);
		th_count(&round_now, 1);
	}
	return unused;
}

static int close_while_it_is_cancelled(void *unused)
{
	(void)unused;
	for (int i = 0; i < ROUNDS; i++) {
		TH_CHECK_EQ(thrum_scope_open(&again), 0);
		th_count(&round_now, 1);
		for (int spin = 0; spin < i % 200; spin++)
			(void)thrum_errno();
		(void)thrum_scope_close(&again);
		while (th_counted(&round_now) < 2 * i + 2)
			sched_yield();
	}
	return 0;
}
THRUM_FX(close_while_it_is_cancelled, void);

TH_TEST(outlive, scope_is_cancelled_by_a_thread_as_it_closes_G11)
{
	pthread_t thread;

	TH_CHECK_EQ(pthread_create(&thread, NULL, cancel_each_round, NULL), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), close_while_it_is_cancelled_fx(NULL)), 0);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* --- a handle of another runtime --- */

struct other {
	thrum_rt *rt;
	thrum_handle handle;
	thrum_latch go;
	th_counter waits, busy;
	int code;
};

static int return_seven(struct other *o)
{
	TH_CHECK_EQ(thrum_latch_wait(&o->go), 0);
	return 7;
}
THRUM_FX(return_seven, struct other);

static int wait_for_it(struct other *o)
{
	th_count(&o->waits, 1);
	o->code = thrum_handle_wait(&o->handle);
	return 0;
}
THRUM_FX(wait_for_it, struct other);

/* Runs once the other one has parked, and keeps it from going on. */
static int keep_busy(struct other *o)
{
	th_count(&o->busy, 1);
	while (th_counted(&o->busy) == 1)
		sched_yield();
	return 0;
}
THRUM_FX(keep_busy, struct other);

TH_TEST(outlive, fiber_waits_for_a_handle_whose_runtime_closes_first_X7)
{
	struct other o = { .code = 0 };
	thrum_handle waiter, busy;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_latch_init(&o.go, 1), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1), &rt), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1), &o.rt), 0);
	TH_CHECK_EQ(thrum_rt_start(o.rt, &o.handle, return_seven_fx(&o)), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &waiter, wait_for_it_fx(&o)), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &busy, keep_busy_fx(&o)), 0); /* after it: starts are FIFO */
	while (!th_counted(&o.busy))
		sched_yield();
	TH_CHECK_EQ(th_counted(&o.waits), 1);
	TH_CHECK_EQ(thrum_latch_arrive(&o.go), 0);
	TH_CHECK_EQ(thrum_handle_wait(&o.handle), 7);
	TH_CHECK_EQ(thrum_rt_close(o.rt), 0);
	th_count(&o.busy, 1);
	TH_CHECK_EQ(thrum_handle_wait(&waiter), 0);
	TH_CHECK_EQ(o.code, 7);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

static void *cancel_handle(void *handle)
{
	thrum_handle_cancel(handle);
	return NULL;
}

static int end_at_once(void *unused)
{
	(void)unused;
	return THRUM_APP(2);
}
THRUM_FX(end_at_once, void);

TH_TEST(outlive, handle_is_cancelled_by_a_thread_while_its_runtime_closes_K5)
{
	for (int i = 0; i < 300; i++) {
		pthread_t thread;
		thrum_handle h;
		thrum_rt *rt;
		int code;

		TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1), &rt), 0);
		TH_CHECK_EQ(thrum_rt_start(rt, &h, end_at_once_fx(NULL)), 0);
		TH_CHECK_EQ(pthread_create(&thread, NULL, cancel_handle, &h), 0);
		code = thrum_handle_wait(&h);
		TH_CHECK(code == THRUM_APP(2) || code == -ECANCELED);
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	}
}

/* --- shutting down while others are inside --- */

static void *shut_down(void *rt)
{
	TH_CHECK_EQ(thrum_rt_shutdown(rt), 0);
	return NULL;
}

static thrum_rt *shut;
static th_counter is_up;

static int wait_for_the_end(void *unused)
{
	(void)unused;
	shut = thrum_rt_self();
	th_count(&is_up, 1);
	(void)thrum_sleep(THRUM_FOREVER);
	return 0;
}
THRUM_FX(wait_for_the_end, void);

static void *shut_down_when_up(void *unused)
{
	while (!th_counted(&is_up))
		sched_yield();
	return shut_down(shut) ? NULL : unused;
}

TH_TEST(outlive, thread_shuts_down_what_another_one_runs_S7)
{
	for (int i = 0; i < 300; i++) {
		pthread_t thread;

		th_count(&is_up, -th_counted(&is_up));
		TH_CHECK_EQ(pthread_create(&thread, NULL, shut_down_when_up, NULL), 0);
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1 + (unsigned)i % 2), wait_for_the_end_fx(NULL)), 0);
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	}
}

static void *advance_by_a_second(void *rt)
{
	return (void *)(intptr_t)thrum_clock_advance(rt, thrum_sec(1));
}

static int yield_until_cancelled(th_counter *up)
{
	th_count(up, 1);
	while (thrum_yield() == 0)
		continue;
	return 0;
}
THRUM_FX(yield_until_cancelled, th_counter);

/* A fiber that always has something to do holds the advance back. */
TH_TEST(outlive, advance_is_told_of_a_shutdown)
{
	th_counter up = { 0 };
	pthread_t thread;
	thrum_handle h;
	thrum_rt *rt;
	void *code;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 2, .clock = THRUM_CLOCK_TEST), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, yield_until_cancelled_fx(&up)), 0);
	while (!th_counted(&up))
		sched_yield();
	TH_CHECK_EQ(pthread_create(&thread, NULL, advance_by_a_second, rt), 0);
	TH_CHECK_EQ(thrum_rt_shutdown(rt), 0);
	TH_CHECK_EQ(pthread_join(thread, &code), 0);
	TH_CHECK_EQ((intptr_t)code, THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), THRUM_ECLOSED); /* and afterwards */
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- the caller's thread --- */

static int set_signal_stack(void *stack)
{
	const stack_t mine = { .ss_sp = stack, .ss_size = (size_t)1 << 16 };

	TH_CHECK_EQ(sigaltstack(&mine, NULL), 0);
	return 0;
}

TH_TEST(outlive, signal_stack_that_the_program_sets_stays)
{
	const stack_t off = { .ss_flags = SS_DISABLE };
	void *stack = malloc((size_t)1 << 16);
	stack_t now;

	TH_CHECK(stack != NULL);
	TH_CHECK_EQ(sigaltstack(&off, NULL), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ set_signal_stack, stack }), 0);
	TH_CHECK_EQ(sigaltstack(NULL, &now), 0);
	TH_CHECK(now.ss_sp == stack && !(now.ss_flags & SS_DISABLE));
	TH_CHECK_EQ(sigaltstack(&off, NULL), 0);
	free(stack);
}

/* --- a token that two runtimes link in turn --- */

enum { LINKS = TH_SLOW ? 20000 : 300000 };
static thrum_token token;

static int link_and_unlink(void *unused)
{
	(void)unused;
	for (int i = 0; i < LINKS; i++) {
		thrum_scope s;
		int r;

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		r = thrum_scope_link(&s, &token);
		TH_CHECK(r == 0 || r == -EBUSY);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
	}
	return 0;
}
THRUM_FX(link_and_unlink, void);

static int link_alone(void *unused)
{
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	thrum_token_cancel(&token);
	while (thrum_yield() == 0)
		continue;
	return thrum_scope_close(&s);
}
THRUM_FX(link_alone, void);

static void *run_links(void *unused)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), link_and_unlink_fx(NULL)), 0);
	return unused;
}

TH_TEST(outlive, token_serves_one_runtime_at_a_time)
{
	pthread_t thread;

	thrum_token_init(&token);
	TH_CHECK_EQ(pthread_create(&thread, NULL, run_links, NULL), 0);
	(void)run_links(NULL);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), link_alone_fx(NULL)), 0);
}

/* --- what a canceller did before --- */

static int written; /* plain: ThreadSanitizer sees whether its reader comes after its writer */
static thrum_scope told;

static void *write_and_cancel(void *by_token)
{
	written = 7;
	if (by_token)
		thrum_token_cancel(&token);
	else
		thrum_scope_cancel(&told);
	return NULL;
}

static int read_when_cancelled(void *by_token)
{
	pthread_t thread;

	written = 0;
	TH_CHECK_EQ(thrum_scope_open(&told), 0);
	TH_CHECK_EQ(pthread_create(&thread, NULL, write_and_cancel, by_token), 0);
	while (by_token ? !thrum_token_cancelled(&token) : thrum_yield() == 0)
		sched_yield();
	TH_CHECK_EQ(written, 7);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	(void)thrum_scope_close(&told);
	return 0;
}

TH_TEST(outlive, who_is_told_of_a_cancel_sees_what_came_before_it_G13)
{
	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ read_when_cancelled, NULL }), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ read_when_cancelled, &token }), 0);
}
