/* test/core/test_sem.c: semaphores (Q7-Q9, X1). */
#include <limits.h>
#include <pthread.h>
#include "test/support/rules.h"

static thrum_sem *open_sem(thrum_sem *s, unsigned permits)
{
	TH_CHECK_EQ(thrum_sem_init(s, permits), 0);
	return s;
}

/* How many are free. Nobody waits. */
static unsigned free_permits(thrum_sem *s)
{
	unsigned n = 0;

	while (thrum_sem_try_acquire(s, 1) == 0)
		n++;
	TH_CHECK_EQ(thrum_sem_release(s, n), 0);
	return n;
}

/* One who wants n permits and keeps them. */
struct want {
	thrum_sem *sem;
	unsigned n;
	th_counter *order; /* may be NULL */
	int code, rank;    /* rank 0: still waiting */
	th_counter done;
};
static int acquire(struct want *w)
{
	w->code = thrum_sem_acquire(w->sem, w->n);
	w->rank = w->order ? th_count(w->order, 1) : 0;
	th_count(&w->done, 1);
	return w->code;
}
THRUM_FX(acquire, struct want);

/* Start a child and let it come as far as it can: on the jump clock a sleep ends when nothing else can run. */
static void settle(void)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}
static void start(thrum_scope *s, thrum_task *t, struct want *w)
{
	TH_CHECK_EQ(thrum_spawn(s, t, acquire_fx(w)), 0);
	settle();
}

TH_FIBER_TEST(JUMP, sem, permits_are_taken_and_given_Q7)
{
	thrum_sem s;

	open_sem(&s, 3);
	TH_CHECK_EQ(thrum_sem_acquire(&s, 2), 0);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 2), -EAGAIN);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), 0);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), -EAGAIN);
	TH_CHECK_EQ(thrum_sem_acquire(&s, 0), 0); /* nothing is always there */
	TH_CHECK_EQ(thrum_sem_release(&s, 3), 0);
	TH_CHECK_EQ(free_permits(&s), 3);
	thrum_sem_fini(&s);
	return 0;
}

enum { WAITERS = 6 };

TH_FIBER_TEST(JUMP, sem, waiters_are_served_in_order_Q2)
{
	thrum_sem s;
	thrum_scope scope;
	thrum_task t[WAITERS];
	th_counter order = { 0 };
	struct want w[WAITERS];

	open_sem(&s, 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	for (int i = 0; i < WAITERS; i++) {
		w[i] = (struct want){ .sem = &s, .n = 1, .order = &order };
		start(&scope, &t[i], &w[i]);
	}
	for (int i = 0; i < WAITERS; i++) {
		TH_CHECK_EQ(th_counted(&order), i);
		TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
		settle();
	}
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(w[i].rank, i + 1);
	thrum_sem_fini(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, sem, large_request_at_the_head_is_not_starved_Q8)
{
	thrum_sem s;
	thrum_scope scope;
	thrum_task t[2];
	th_counter order = { 0 };
	struct want large = { .sem = open_sem(&s, 1), .n = 3, .order = &order };
	struct want small = { .sem = &s, .n = 1, .order = &order };

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t[0], &large);
	start(&scope, &t[1], &small);                      /* one is free, but not for him */
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), -EAGAIN); /* nor for who does not wait */
	TH_CHECK_EQ(th_counted(&order), 0);
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
		settle();
	}
	TH_CHECK_EQ(th_counted(&large.done), 1);
	TH_CHECK_EQ(th_counted(&small.done), 0);
	TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(large.rank, 1);
	TH_CHECK_EQ(small.rank, 2);
	TH_CHECK_EQ(free_permits(&s), 0);
	thrum_sem_fini(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, sem, cancelled_large_request_lets_those_that_fit_go_Q9)
{
	thrum_sem s;
	thrum_scope scope;
	thrum_task t[4];
	struct want large = { .sem = open_sem(&s, 2), .n = 3 };
	struct want a = { .sem = &s, .n = 1 }, b = { .sem = &s, .n = 1 }, c = { .sem = &s, .n = 1 };

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t[0], &large);
	start(&scope, &t[1], &a);
	start(&scope, &t[2], &b);
	start(&scope, &t[3], &c);
	TH_CHECK_EQ(th_counted(&a.done), 0);
	thrum_task_cancel(&t[0]);
	settle();
	TH_CHECK_EQ(large.code, -ECANCELED);
	TH_CHECK_EQ(th_counted(&a.done), 1);
	TH_CHECK_EQ(th_counted(&b.done), 1);
	TH_CHECK_EQ(th_counted(&c.done), 0); /* two were free, and no more */
	TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(c.code, 0);
	TH_CHECK_EQ(free_permits(&s), 0);
	thrum_sem_fini(&s);
	return 0;
}

/* The one at the head is cancelled, and before it has run to say so, permits come. */
TH_ONE_WORKER_TEST(JUMP, sem, cancelled_head_is_passed_over_at_once_Q9)
{
	thrum_sem s;
	thrum_scope scope;
	thrum_task t[2];
	struct want large = { .sem = open_sem(&s, 1), .n = 5 }, small = { .sem = &s, .n = 2 };

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t[0], &large);
	start(&scope, &t[1], &small);
	thrum_task_cancel(&t[0]);
	TH_CHECK_EQ(thrum_sem_release(&s, 2), 0); /* one is left over from these */
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 2), -EAGAIN);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(small.code, 0);
	thrum_sem_fini(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, sem, cancelled_request_takes_nothing_Q7)
{
	thrum_sem s;
	struct want w = { .sem = open_sem(&s, 2), .n = 3 };

	TH_CHECK_EQ(thrum_timeout(acquire_fx(&w), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(w.code, -ECANCELED);
	TH_CHECK_EQ(free_permits(&s), 2);
	w.n = 1;
	TH_CHECK_EQ(th_call_cancelled(acquire_fx(&w)), -ECANCELED); /* a cancel point, also where it need not wait */
	TH_CHECK_EQ(free_permits(&s), 2);
	thrum_sem_fini(&s);
	return 0;
}

TH_FIBER_TEST(JUMP, sem, more_than_there_ever_were_can_be_waited_for_Q8)
{
	thrum_sem s;
	thrum_scope scope;
	thrum_task t;
	struct want w = { .sem = open_sem(&s, 1), .n = UINT_MAX };

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, &w);
	TH_CHECK_EQ(thrum_sem_release(&s, UINT_MAX - 1), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(w.code, 0);
	thrum_sem_fini(&s);
	return 0;
}

TH_TEST(sem, too_many_permits_are_refused_Q7)
{
	thrum_sem s;

	open_sem(&s, UINT_MAX - 1);
	TH_CHECK_EQ(thrum_sem_release(&s, 2), -EOVERFLOW);
	TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
	TH_CHECK_EQ(thrum_sem_release(&s, 1), -EOVERFLOW);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, UINT_MAX), 0);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), -EAGAIN);
	thrum_sem_fini(&s);
}

/* --- many at once --- */

enum { USERS = 6, ROUNDS = 300, PERMITS = 3 };

struct shared {
	thrum_sem sem;
	th_counter in_use, max, got;
};
struct user {
	struct shared *shared;
	unsigned n;
	int patience_ms;
};
static int use(struct user *u)
{
	int r = thrum_sem_acquire(&u->shared->sem, u->n);

	if (r < 0)
		return r;
	th_count_max(&u->shared->max, th_count(&u->shared->in_use, (int)u->n));
	th_count(&u->shared->got, 1);
	(void)thrum_sleep(thrum_ms(1 + (int)u->n % 2));
	th_count(&u->shared->in_use, -(int)u->n);
	TH_CHECK_EQ(thrum_sem_release(&u->shared->sem, u->n), 0);
	return 0;
}
THRUM_FX(use, struct user);
static int use_often(struct user *u)
{
	for (int i = 0; i < ROUNDS; i++) {
		int code = thrum_timeout(use_fx(u), thrum_ms(u->patience_ms));
		TH_CHECK(code == 0 || code == -ETIMEDOUT);
	}
	return 0;
}
THRUM_FX(use_often, struct user);

TH_FIBER_TEST(JUMP, sem, permits_are_conserved_when_many_give_up_Q7)
{
	struct shared shared = { .in_use = { 0 } };
	struct user u[USERS];
	thrum_fx fx[USERS];

	open_sem(&shared.sem, PERMITS);
	for (int i = 0; i < USERS; i++) {
		u[i] = (struct user){ &shared, 1 + (unsigned)i % PERMITS, 1 + i };
		fx[i] = use_often_fx(&u[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, USERS), 0);
	TH_CHECK(th_counted(&shared.max) <= PERMITS);
	TH_CHECK(th_counted(&shared.got) > 0);
	TH_CHECK_EQ(free_permits(&shared.sem), PERMITS);
	thrum_sem_fini(&shared.sem);
	return 0;
}

/* --- plain threads --- */

TH_TEST(sem, plain_thread_may_try_and_release_X1)
{
	thrum_sem s;

	open_sem(&s, 1);
	TH_CHECK_EQ(thrum_sem_acquire(&s, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), 0);
	TH_CHECK_EQ(thrum_sem_try_acquire(&s, 1), -EAGAIN);
	TH_CHECK_EQ(thrum_sem_release(&s, 1), 0);
	thrum_sem_fini(&s);
}

enum { WAKES = 200 };

static int acquire_often(struct want *w)
{
	for (int i = 0; i < WAKES; i++)
		TH_CHECK_EQ(thrum_sem_acquire(w->sem, w->n), 0);
	return 0;
}
THRUM_FX(acquire_often, struct want);

static void *release_often(void *sem)
{
	for (int i = 0; i < WAKES; i++)
		TH_CHECK_EQ(thrum_sem_release(sem, 1), 0);
	return NULL;
}

TH_TEST(sem, plain_threads_wake_waiters_and_the_runtime_may_close_after_the_last_X1)
{
	for (int round = 0; round < 20; round++) {
		thrum_sem s;
		struct want w = { .sem = open_sem(&s, 0), .n = 1 };
		thrum_handle h;
		pthread_t thread;
		thrum_rt *rt;

		TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
		TH_CHECK_EQ(thrum_rt_start(rt, &h, acquire_often_fx(&w)), 0);
		TH_CHECK_EQ(pthread_create(&thread, NULL, release_often, &s), 0);
		TH_CHECK_EQ(thrum_handle_wait(&h), 0);
		TH_CHECK_EQ(thrum_rt_close(rt), 0); /* the last release may not have come back yet */
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
		thrum_sem_fini(&s);
	}
}
