/* test/core/test_promise.c: promises (Q12, X1, X7). */
#include <pthread.h>
#include <sched.h>
#include "test/support/rules.h"

static thrum_promise *open_promise(thrum_promise *p)
{
	TH_CHECK_EQ(thrum_promise_init(p), 0);
	return p;
}

struct reader {
	thrum_promise *promise;
	int code;
	void *value;
	long long at_ms;
};
static int await(struct reader *r)
{
	r->code = thrum_promise_await(r->promise, &r->value);
	r->at_ms = th_now_ms();
	return r->code == -ECANCELED ? r->code : 0;
}
THRUM_FX(await, struct reader);

enum { READERS = 6 };

TH_FIBER_TEST(JUMP, promise, first_set_wins_and_all_waiters_have_it_Q12)
{
	thrum_promise p;
	thrum_scope s;
	struct reader r[READERS], late = { .promise = &p };
	long long begin = th_now_ms();
	int a, b;

	open_promise(&p);
	TH_CHECK_EQ(thrum_promise_try_await(&p, &late.value), -EAGAIN);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < READERS; i++) {
		r[i] = (struct reader){ .promise = &p, .code = -1 };
		TH_CHECK_EQ(thrum_go(&s, await_fx(&r[i])), 0);
	}
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	TH_CHECK_EQ(thrum_promise_set(&p, 3, &a), 0);
	TH_CHECK_EQ(thrum_promise_set(&p, 4, &b), -EALREADY);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(await(&late), 0);
	for (int i = 0; i < READERS; i++) {
		TH_CHECK_EQ(r[i].code, 3);
		TH_CHECK(r[i].value == &a);
		TH_CHECK_EQ(r[i].at_ms - begin, 5);
	}
	TH_CHECK_EQ(late.code, 3);
	TH_CHECK(late.value == &a);
	late.value = NULL;
	TH_CHECK_EQ(thrum_promise_try_await(&p, &late.value), 3);
	TH_CHECK(late.value == &a);
	return 0;
}

TH_FIBER_TEST(JUMP, promise, failure_is_a_result_without_a_value_Q12)
{
	thrum_promise p;
	void *value = &p;
	int other;

	TH_CHECK_EQ(thrum_promise_set(open_promise(&p), THRUM_APP(2), &other), 0);
	TH_CHECK_EQ(thrum_promise_await(&p, &value), THRUM_APP(2));
	TH_CHECK(value == &p); /* untouched */
	open_promise(&p);
	TH_CHECK_EQ(thrum_promise_set(&p, 0, &other), 0);
	TH_CHECK_EQ(thrum_promise_await(&p, NULL), 0);
	return 0;
}

static int set_it(void *p) { return thrum_promise_set(p, 0, p); }

TH_FIBER_TEST(JUMP, promise, set_is_not_cancellable_and_await_is_Q12)
{
	thrum_promise p;
	struct reader r = { .promise = open_promise(&p), .value = NULL };

	TH_CHECK_EQ(thrum_timeout(await_fx(&r), thrum_ms(3)), -ETIMEDOUT);
	TH_CHECK_EQ(r.code, -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ set_it, &p }), 0);
	TH_CHECK_EQ(th_call_cancelled(await_fx(&r)), -ECANCELED); /* a cancel point, though it need not wait */
	TH_CHECK(r.value == NULL);
	TH_CHECK_EQ(await(&r), 0);
	TH_CHECK(r.value == &p);
	return 0;
}

/* --- plain threads --- */

struct setter {
	thrum_promise *promise;
	th_counter *wins;
	int code;
};
static void *set_from_a_thread(void *arg)
{
	struct setter *s = arg;
	int r = thrum_promise_set(s->promise, s->code, s);

	TH_CHECK(r == 0 || r == -EALREADY);
	if (r == 0)
		th_count(s->wins, 1);
	return NULL;
}

TH_TEST(promise, plain_threads_set_and_exactly_one_wins_Q12_X1)
{
	enum { SETTERS = 3 };
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	for (int round = 0; round < 30; round++) {
		thrum_promise p;
		struct reader r[READERS];
		struct setter s[SETTERS];
		thrum_handle h[READERS];
		pthread_t thread[SETTERS];
		th_counter wins = { 0 };

		open_promise(&p);
		for (int i = 0; i < READERS; i++) {
			r[i] = (struct reader){ .promise = &p };
			TH_CHECK_EQ(thrum_rt_start(rt, &h[i], await_fx(&r[i])), 0);
		}
		for (int i = 0; i < SETTERS; i++) {
			s[i] = (struct setter){ &p, &wins, 10 + i };
			TH_CHECK_EQ(pthread_create(&thread[i], NULL, set_from_a_thread, &s[i]), 0);
		}
		for (int i = 0; i < SETTERS; i++)
			TH_CHECK_EQ(pthread_join(thread[i], NULL), 0);
		for (int i = 0; i < READERS; i++)
			TH_CHECK_EQ(thrum_handle_wait(&h[i]), 0);
		TH_CHECK_EQ(th_counted(&wins), 1);
		for (int i = 0; i < READERS; i++) {
			TH_CHECK_EQ(r[i].code, r[0].code);
			TH_CHECK(r[i].value == &s[r[i].code - 10]);
		}
	}
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* The promise lies in the frame of who awaits it, and ends with it; the setter is a plain thread. */
struct in_frame {
	th_counter known;
	thrum_promise *promise;
};
static int await_in_frame(struct in_frame *x)
{
	thrum_promise p;
	void *value = NULL;

	open_promise(&p);
	x->promise = &p;
	th_count(&x->known, 1);
	TH_CHECK_EQ(thrum_promise_await(&p, &value), 0);
	TH_CHECK(value == x);
	return 0;
}
THRUM_FX(await_in_frame, struct in_frame);
static void *set_in_frame(void *arg)
{
	struct in_frame *x = arg;

	while (!th_counted(&x->known))
		sched_yield();
	TH_CHECK_EQ(thrum_promise_set(x->promise, 0, x), 0);
	return NULL;
}

TH_TEST(promise, waiter_and_runtime_may_go_while_the_setter_is_still_on_its_way_out_Q12_X7)
{
	for (int round = 0; round < 50; round++) {
		struct in_frame x = { .known = { 0 } };
		pthread_t thread;

		TH_CHECK_EQ(pthread_create(&thread, NULL, set_in_frame, &x), 0);
		TH_CHECK_EQ(TH_RUN(REAL, await_in_frame_fx(&x)), 0);
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	}
}

/* A shutdown cancels the waiters while a plain thread sets: each ends one way or the other, and nothing is woken
 * late. */
TH_TEST(promise, set_from_a_plain_thread_during_a_shutdown_X7)
{
	for (int round = 0; round < 50; round++) {
		thrum_promise p;
		struct reader r[READERS];
		thrum_handle h[READERS];
		th_counter wins = { 0 };
		struct setter s = { open_promise(&p), &wins, 0 };
		pthread_t thread;
		thrum_rt *rt;

		TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
		for (int i = 0; i < READERS; i++) {
			r[i] = (struct reader){ .promise = &p };
			TH_CHECK_EQ(thrum_rt_start(rt, &h[i], await_fx(&r[i])), 0);
		}
		TH_CHECK_EQ(pthread_create(&thread, NULL, set_from_a_thread, &s), 0);
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
		for (int i = 0; i < READERS; i++) {
			int code = thrum_handle_wait(&h[i]);
			TH_CHECK(code == 0 || code == -ECANCELED);
		}
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
		TH_CHECK_EQ(th_counted(&wins), 1);
	}
}

TH_TEST(promise, plain_thread_may_set_and_look_but_not_await_X1)
{
	thrum_promise p;
	void *value = NULL;

	open_promise(&p);
	TH_CHECK_EQ(thrum_promise_await(&p, &value), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_promise_try_await(&p, &value), -EAGAIN);
	TH_CHECK_EQ(thrum_promise_set(&p, 0, &p), 0);
	TH_CHECK_EQ(thrum_promise_await(&p, &value), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_promise_try_await(&p, &value), 0);
	TH_CHECK(value == &p);
}
