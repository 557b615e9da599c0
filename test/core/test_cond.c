/* test/core/test_cond.c: conditions (Q11, Q2, X1). */
#include "test/support/rules.h"

/* A place for one thing, with a mutex and two conditions. */
struct box {
	thrum_mutex mutex;
	thrum_cond filled, emptied;
	int things, max;
};

static struct box *open_box(struct box *b, int max)
{
	*b = (struct box){ .max = max };
	TH_CHECK_EQ(thrum_mutex_init(&b->mutex), 0);
	TH_CHECK_EQ(thrum_cond_init(&b->filled), 0);
	TH_CHECK_EQ(thrum_cond_init(&b->emptied), 0);
	return b;
}

static void lock(struct box *b) { TH_CHECK_EQ(thrum_mutex_lock(&b->mutex), 0); }
static void unlock(struct box *b) { TH_CHECK_EQ(thrum_mutex_unlock(&b->mutex), 0); }

/* One wait for a thing. */
struct taker {
	struct box *box;
	th_counter *order; /* may be NULL */
	int code, rank, things;
	long long at_ms;
};
static int take(struct taker *t)
{
	struct box *b = t->box;

	t->code = thrum_mutex_lock(&b->mutex);
	if (t->code < 0)
		return t->code;
	while (b->things == 0 && t->code == 0)
		t->code = thrum_cond_wait(&b->filled, &b->mutex);
	t->things = b->things; /* the mutex is ours, whatever happened */
	if (t->code == 0)
		b->things--;
	t->at_ms = th_now_ms();
	if (t->order)
		t->rank = th_count(t->order, 1);
	TH_CHECK_EQ(thrum_mutex_unlock(&b->mutex), 0);
	return t->code;
}
THRUM_FX(take, struct taker);

static void start(thrum_scope *s, thrum_task *t, struct taker *taker)
{
	TH_CHECK_EQ(thrum_spawn(s, t, take_fx(taker)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}

TH_FIBER_TEST(JUMP, cond, wait_lets_go_of_the_mutex_and_has_it_again_Q11)
{
	struct box b;
	struct taker t = { .box = open_box(&b, 1), .code = 1 };
	long long begin = th_now_ms();
	thrum_scope s;
	thrum_task task;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &task, &t);
	lock(&b); /* free, since the taker waits */
	b.things = 1;
	TH_CHECK_EQ(thrum_cond_signal(&b.filled), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(4)), 0);
	unlock(&b);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(t.code, 0);
	TH_CHECK_EQ(t.at_ms - begin, 5); /* not before the mutex was free */
	return 0;
}

enum { WAITERS = 5 };

TH_FIBER_TEST(JUMP, cond, signals_end_waits_in_order_Q2)
{
	struct box b;
	struct taker t[WAITERS];
	thrum_task task[WAITERS];
	th_counter order = { 0 };
	thrum_scope s;

	open_box(&b, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		t[i] = (struct taker){ .box = &b, .order = &order };
		start(&s, &task[i], &t[i]);
	}
	for (int i = 0; i < WAITERS; i++) {
		lock(&b);
		b.things = 1;
		TH_CHECK_EQ(thrum_cond_signal(&b.filled), 0);
		unlock(&b);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
		TH_CHECK_EQ(th_counted(&order), i + 1); /* one each */
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(t[i].rank, i + 1);
	return 0;
}

TH_FIBER_TEST(JUMP, cond, broadcast_ends_all_waits_Q11)
{
	struct box b;
	struct taker t[WAITERS];
	thrum_task task[WAITERS];
	thrum_scope s;

	open_box(&b, WAITERS);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		t[i] = (struct taker){ .box = &b };
		start(&s, &task[i], &t[i]);
	}
	lock(&b);
	b.things = WAITERS;
	TH_CHECK_EQ(thrum_cond_broadcast(&b.filled), 0);
	unlock(&b);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(b.things, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, cond, signal_without_waiters_is_forgotten_Q11)
{
	struct box b;
	struct taker t = { .box = open_box(&b, 1) };

	TH_CHECK_EQ(thrum_cond_signal(&b.filled), 0);
	TH_CHECK_EQ(thrum_cond_broadcast(&b.filled), 0);
	TH_CHECK_EQ(thrum_timeout(take_fx(&t), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(t.code, -ECANCELED);
	return 0;
}

/* The mutex is held for 10 ms when the cancel comes: the waiter has to wait for it, and does. */
TH_FIBER_TEST(JUMP, cond, cancelled_wait_has_the_mutex_again_Q11)
{
	struct box b;
	struct taker t = { .box = open_box(&b, 1), .code = 1 };
	long long begin = th_now_ms();
	thrum_task task;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &task, &t);
	lock(&b);
	thrum_task_cancel(&task);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	b.things = 7;
	unlock(&b);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(t.code, -ECANCELED);
	TH_CHECK_EQ(t.at_ms - begin, 11);
	TH_CHECK_EQ(t.things, 7); /* and saw what was written under it */
	lock(&b);
	unlock(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, cond, cancelled_wait_uses_no_signal_up_Q11)
{
	struct box b;
	struct taker first = { .box = open_box(&b, 1), .code = 1 }, second = { .box = &b, .code = 1 };
	thrum_task task[2];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &task[0], &first);
	start(&s, &task[1], &second);
	lock(&b);
	thrum_task_cancel(&task[0]);
	b.things = 1;
	TH_CHECK_EQ(thrum_cond_signal(&b.filled), 0);
	unlock(&b);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(first.code, -ECANCELED);
	TH_CHECK_EQ(second.code, 0);
	return 0;
}

static int wait_cancelled(struct box *b)
{
	int code;

	TH_CHECK_EQ(thrum_mutex_try_lock(&b->mutex), 0);
	code = thrum_cond_wait(&b->filled, &b->mutex);
	TH_CHECK_EQ(thrum_mutex_unlock(&b->mutex), 0);
	return code;
}
THRUM_FX(wait_cancelled, struct box);

TH_FIBER_TEST(JUMP, cond, wait_in_a_cancelled_scope_keeps_the_mutex_Q11)
{
	struct box b;

	TH_CHECK_EQ(th_call_cancelled(wait_cancelled_fx(open_box(&b, 1))), -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, cond, wait_without_the_mutex_is_refused_Q10)
{
	struct box b;

	open_box(&b, 1);
	TH_CHECK_EQ(thrum_cond_wait(&b.filled, &b.mutex), -EPERM);
	return 0;
}

/* --- many at once: a bounded buffer, with impatient users --- */

enum { PAIRS = 3, THINGS = 400 };

static int change(struct box *b, int by, thrum_cond *wait, thrum_cond *tell)
{
	int r = thrum_mutex_lock(&b->mutex);

	if (r < 0)
		return r;
	while (r == 0 && (by > 0 ? b->things == b->max : b->things == 0))
		r = thrum_cond_wait(wait, &b->mutex);
	if (r == 0) {
		b->things += by;
		TH_CHECK(b->things >= 0 && b->things <= b->max);
		TH_CHECK_EQ(thrum_cond_signal(tell), 0);
	} /* else no signal was used up: nobody waits in vain */
	TH_CHECK_EQ(thrum_mutex_unlock(&b->mutex), 0);
	return r;
}
static int put_one(struct box *b) { return change(b, 1, &b->emptied, &b->filled); }
static int get_one(struct box *b) { return change(b, -1, &b->filled, &b->emptied); }
THRUM_FX(put_one, struct box);
THRUM_FX(get_one, struct box);

static int often(struct box *b, thrum_fx fx)
{
	(void)b;
	for (int done = 0; done < THINGS;) {
		int code = thrum_timeout(fx, thrum_ms(1 + done % 3));
		TH_CHECK(code == 0 || code == -ETIMEDOUT);
		done += code == 0;
		if (done % 7 == 0)
			TH_CHECK_EQ(thrum_sleep(thrum_ms(done % 3)), 0);
	}
	return 0;
}
static int put_often(struct box *b) { return often(b, put_one_fx(b)); }
static int get_often(struct box *b) { return often(b, get_one_fx(b)); }
THRUM_FX(put_often, struct box);
THRUM_FX(get_often, struct box);

TH_FIBER_TEST(JUMP, cond, bounded_buffer_with_users_that_give_up_Q11)
{
	struct box b;
	thrum_fx fx[2 * PAIRS];

	open_box(&b, 2);
	for (int i = 0; i < PAIRS; i++) {
		fx[2 * i] = put_often_fx(&b);
		fx[2 * i + 1] = get_often_fx(&b);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, 2 * PAIRS), 0);
	TH_CHECK_EQ(b.things, 0);
	return 0;
}

TH_TEST(cond, is_for_fibers_X1)
{
	struct box b;

	open_box(&b, 1);
	TH_CHECK_EQ(thrum_cond_wait(&b.filled, &b.mutex), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_cond_signal(&b.filled), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_cond_broadcast(&b.filled), THRUM_ENOTFIBER);
}
