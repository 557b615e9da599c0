/* test/core/test_token.c: cancel switches from foreign threads and signal handlers (G2, X1). */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#include "test/support/rules.h"

/* A fiber that waits for ever in a scope linked to a token. */
struct linked {
	thrum_token *token;
	th_counter in;
	int code, closed;
	thrum_reason reason;
};
static int wait_linked(struct linked *l)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, l->token), 0);
	th_count(&l->in, 1);
	l->code = thrum_call(thrum_never());
	if (thrum_cancel_reason())
		l->reason = *thrum_cancel_reason();
	TH_CHECK_EQ(thrum_scope_fail(&s, l->code), 0);
	l->closed = thrum_scope_close(&s);
	return thrum_check();
}
THRUM_FX(wait_linked, struct linked);

static void await(const th_counter *c, int value)
{
	while (th_counted(c) < value)
		sched_yield();
}

static void check_cancelled(const struct linked *l)
{
	TH_CHECK_EQ(l->code, -ECANCELED);
	TH_CHECK_EQ(l->reason.kind, THRUM_CANCEL_TOKEN);
	TH_CHECK_EQ(l->closed, -ECANCELED);
}

TH_TEST(token, foreign_thread_cancels_a_parked_fiber_X1)
{
	thrum_token token;
	struct linked l = { .token = &token };
	thrum_handle h;
	thrum_rt *rt;

	thrum_token_init(&token);
	TH_CHECK(!thrum_token_cancelled(&token));
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, wait_linked_fx(&l)), 0);
	await(&l.in, 1);
	thrum_token_cancel(&token);
	TH_CHECK(thrum_token_cancelled(&token));
	TH_CHECK_EQ(thrum_handle_wait(&h), 0); /* only the linked scope was cancelled */
	check_cancelled(&l);
	thrum_token_cancel(&token); /* again: nothing */
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* A fiber that never waits sees it at its checks. */
static int check_linked(struct linked *l)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, l->token), 0);
	th_count(&l->in, 1);
	while ((l->code = thrum_check()) == 0)
		;
	return thrum_scope_close(&s);
}
THRUM_FX(check_linked, struct linked);

TH_TEST(token, foreign_thread_cancels_a_busy_fiber_X1)
{
	thrum_token token;
	struct linked l = { .token = &token };
	thrum_handle h;
	thrum_rt *rt;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, check_linked_fx(&l)), 0);
	await(&l.in, 1);
	thrum_token_cancel(&token);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0); /* nothing was interrupted, nothing failed */
	TH_CHECK_EQ(l.code, -ECANCELED);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_FIBER_TEST(JUMP, token, cancelled_before_the_link_cancels_at_once_G2)
{
	thrum_token token;
	thrum_scope s;

	thrum_token_init(&token);
	thrum_token_cancel(&token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_cancel_reason()->kind, THRUM_CANCEL_TOKEN);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, token, cancel_after_the_close_reaches_nothing_G2)
{
	thrum_scope s, later;
	thrum_token token;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_scope_open(&later), 0);
	thrum_token_cancel(&token);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_scope_close(&later), 0);
	return 0;
}

TH_TEST(token, of_a_closed_runtime_may_be_cancelled_G2)
{
	thrum_token token;
	struct linked l = { .token = &token };
	thrum_handle h;
	thrum_rt *rt;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, wait_linked_fx(&l)), 0);
	await(&l.in, 1);
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_handle_wait(&h), -ECANCELED);
	TH_CHECK_EQ(l.reason.kind, THRUM_CANCEL_EXPLICIT); /* of the one around the linked scope */
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	thrum_token_cancel(&token);
	TH_CHECK(thrum_token_cancelled(&token));
}

TH_TEST(token, one_token_cancels_two_scopes_G2)
{
	thrum_token token;
	struct linked a = { .token = &token }, b = { .token = &token };
	thrum_handle ha, hb;
	thrum_rt *rt;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &ha, wait_linked_fx(&a)), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &hb, wait_linked_fx(&b)), 0);
	await(&a.in, 1);
	await(&b.in, 1);
	thrum_token_cancel(&token);
	TH_CHECK_EQ(thrum_handle_wait(&ha), 0);
	TH_CHECK_EQ(thrum_handle_wait(&hb), 0);
	check_cancelled(&a);
	check_cancelled(&b);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* The one that stays linked is still reached when the other has gone. */
TH_TEST(token, closing_one_scope_leaves_the_other_linked_G2)
{
	thrum_token token;
	struct linked a = { .token = &token }, b = { .token = &token };
	thrum_handle ha, hb;
	thrum_rt *rt;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &ha, wait_linked_fx(&a)), 0);
	await(&a.in, 1);
	TH_CHECK_EQ(thrum_rt_start(rt, &hb, wait_linked_fx(&b)), 0);
	await(&b.in, 1);
	thrum_handle_cancel(&hb);
	TH_CHECK_EQ(thrum_handle_wait(&hb), -ECANCELED);
	thrum_token_cancel(&token);
	TH_CHECK_EQ(thrum_handle_wait(&ha), 0);
	check_cancelled(&a);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_FIBER_TEST(JUMP, token, scope_takes_one_token_from_its_opener_G2)
{
	thrum_token a, b;
	thrum_scope s;

	thrum_token_init(&a);
	thrum_token_init(&b);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &a), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &b), -EALREADY);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

struct child_link {
	thrum_scope *scope;
	thrum_token token;
	int code;
};
static int link_as_child(void *arg)
{
	struct child_link *c = arg;

	c->code = thrum_scope_link(c->scope, &c->token);
	return 0;
}

TH_FIBER_TEST(JUMP, token, only_the_opener_links_G2)
{
	thrum_scope s;
	struct child_link c = { .scope = &s };
	thrum_task t;

	thrum_token_init(&c.token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ link_as_child, &c }), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(c.code, -EPERM);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- signal handlers --- */

static thrum_token signal_token;

static void on_signal(int sig)
{
	(void)sig;
	thrum_token_cancel(&signal_token);
}

static void catch_signal(void)
{
	struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	thrum_token_init(&signal_token);
	TH_CHECK_EQ(sigaction(SIGUSR1, &a, NULL), 0);
}

TH_TEST(token, signal_handler_of_a_plain_thread_cancels_X1)
{
	struct linked l = { .token = &signal_token };
	thrum_handle h;
	thrum_rt *rt;

	catch_signal();
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, wait_linked_fx(&l)), 0);
	await(&l.in, 1);
	TH_CHECK_EQ(raise(SIGUSR1), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	check_cancelled(&l);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* Ctrl-C's way: the handler lands on worker 0, which may be asleep, in the scheduler or in a fiber. */
static int signal_and_wait(struct linked *l)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, l->token), 0);
	TH_CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	l->code = thrum_call(thrum_never());
	return thrum_scope_close(&s);
}
THRUM_FX(signal_and_wait, struct linked);

TH_TEST(token, signal_handler_on_a_worker_cancels_X1)
{
	for (int i = 0; i < 50; i++) {
		struct linked l = { .token = &signal_token };

		catch_signal();
		TH_CHECK_EQ(thrum_run(NULL, signal_and_wait_fx(&l)), 0);
		TH_CHECK_EQ(l.code, -ECANCELED);
	}
}

/* --- the race between linking, cancelling and closing --- */

enum { RACES = 500 };

struct racer {
	thrum_token tokens[RACES];
	th_counter turn;
};
static void *cancel_each(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < RACES; i++) {
		await(&r->turn, i + 1);
		thrum_token_cancel(&r->tokens[i]);
	}
	return NULL;
}

/* Linked for ever: a cancel that is missed hangs. Every other one closes at once instead: it must not be reached. */
static int link_each(struct racer *r)
{
	for (int i = 0; i < RACES; i++) {
		thrum_scope s;

		th_count(&r->turn, 1);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_scope_link(&s, &r->tokens[i]), 0);
		if (i % 2)
			TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(thrum_check(), 0);
	}
	return 0;
}
THRUM_FX(link_each, struct racer);

TH_TEST(token, cancel_that_races_the_link_is_not_missed_G2)
{
	static struct racer r;
	pthread_t thread;

	r.turn = (th_counter){ 0 };
	for (int i = 0; i < RACES; i++)
		thrum_token_init(&r.tokens[i]);
	TH_CHECK_EQ(pthread_create(&thread, NULL, cancel_each, &r), 0);
	TH_CHECK_EQ(thrum_run(NULL, link_each_fx(&r)), 0);
	pthread_join(thread, NULL);
}
