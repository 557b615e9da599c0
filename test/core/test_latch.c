/* test/core/test_latch.c: latches (Q15, X1). */
#include <pthread.h>
#include <sched.h>
#include "test/support/rules.h"

struct waiter {
	thrum_latch *latch;
	int code;
	long long at_ms;
};
static int await(struct waiter *w)
{
	w->code = thrum_latch_wait(w->latch);
	w->at_ms = th_now_ms();
	return w->code;
}
THRUM_FX(await, struct waiter);

static thrum_latch *open_latch(thrum_latch *l, unsigned n)
{
	TH_CHECK_EQ(thrum_latch_init(l, n), 0);
	return l;
}

TH_FIBER_TEST(JUMP, latch, opens_when_all_have_arrived_and_stays_open_Q15)
{
	enum { WAITERS = 4 };
	thrum_latch l;
	thrum_scope s;
	struct waiter w[WAITERS];
	long long begin = th_now_ms();

	open_latch(&l, 3);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		w[i] = (struct waiter){ .latch = &l };
		TH_CHECK_EQ(thrum_go(&s, await_fx(&w[i])), 0);
	}
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_latch_try_wait(&l), -EAGAIN);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
		TH_CHECK_EQ(thrum_latch_arrive(&l), 0);
	}
	TH_CHECK_EQ(thrum_latch_wait(&l), 0);
	TH_CHECK_EQ(thrum_latch_try_wait(&l), 0);
	TH_CHECK_EQ(thrum_latch_arrive(&l), -EALREADY);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(w[i].at_ms - begin, 3);
	return 0;
}

TH_FIBER_TEST(JUMP, latch, of_zero_is_open_Q15)
{
	thrum_latch l;

	TH_CHECK_EQ(thrum_latch_wait(open_latch(&l, 0)), 0);
	TH_CHECK_EQ(thrum_latch_arrive(&l), -EALREADY);
	TH_CHECK_EQ(thrum_latch_wait(&l), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, latch, wait_is_a_cancel_point_Q15)
{
	thrum_latch l;
	struct waiter w = { .latch = open_latch(&l, 1) };

	TH_CHECK_EQ(thrum_timeout(await_fx(&w), thrum_ms(3)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_latch_arrive(&l), 0); /* the waiter has gone, the arrival counts */
	TH_CHECK_EQ(thrum_latch_wait(&l), 0);
	TH_CHECK_EQ(th_call_cancelled(await_fx(&w)), -ECANCELED);
	return 0;
}

/* The latch lies in the waiter's frame; plain threads arrive. */
struct shared {
	th_counter known;
	thrum_latch *latch;
};
enum { THREADS = 4 };
static int await_in_frame(struct shared *x)
{
	thrum_latch l;

	x->latch = open_latch(&l, THREADS);
	th_count(&x->known, 1);
	return thrum_latch_wait(&l);
}
THRUM_FX(await_in_frame, struct shared);
static void *arrive(void *arg)
{
	struct shared *x = arg;

	while (!th_counted(&x->known))
		sched_yield();
	TH_CHECK_EQ(thrum_latch_arrive(x->latch), 0);
	return NULL;
}

TH_TEST(latch, plain_threads_arrive_X1)
{
	for (int round = 0; round < 30; round++) {
		struct shared x = { .known = { 0 } };
		pthread_t thread[THREADS];

		for (int i = 0; i < THREADS; i++)
			TH_CHECK_EQ(pthread_create(&thread[i], NULL, arrive, &x), 0);
		TH_CHECK_EQ(TH_RUN(REAL, await_in_frame_fx(&x)), 0);
		for (int i = 0; i < THREADS; i++)
			TH_CHECK_EQ(pthread_join(thread[i], NULL), 0);
	}
}

TH_TEST(latch, plain_thread_may_not_wait_X1)
{
	thrum_latch l;

	TH_CHECK_EQ(thrum_latch_wait(open_latch(&l, 0)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_latch_try_wait(&l), 0);
}
