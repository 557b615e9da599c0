/* test/core/test_mutex.c: mutexes (Q10, K10, X1). */
#include "test/support/child.h"
#include "test/support/rules.h"

/* One who locks, stays `ms`, and unlocks. */
struct visit {
	thrum_mutex *mutex;
	int ms;
	th_counter *inside, *order; /* may be NULL */
	int code, unlock_code, rank;
};
static int visit(struct visit *v)
{
	v->code = thrum_mutex_lock(v->mutex);
	if (v->code < 0)
		return v->code;
	if (v->inside)
		TH_CHECK_EQ(th_count(v->inside, 1), 1);
	if (v->order)
		v->rank = th_count(v->order, 1);
	if (v->ms > 0)
		(void)thrum_sleep(thrum_ms(v->ms));
	if (v->inside)
		th_count(v->inside, -1);
	v->unlock_code = thrum_mutex_unlock(v->mutex);
	return 0;
}
THRUM_FX(visit, struct visit);

static thrum_mutex *open_mutex(thrum_mutex *m)
{
	TH_CHECK_EQ(thrum_mutex_init(m), 0);
	return m;
}

TH_FIBER_TEST(JUMP, mutex, locks_and_unlocks_Q10)
{
	thrum_mutex m;

	open_mutex(&m);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_mutex_lock(&m), 0);
		TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	}
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	return 0;
}

static int lock_again(void *m) { return thrum_mutex_lock(m); }
static int unlock_it(void *m) { return thrum_mutex_unlock(m); }

TH_FIBER_TEST(JUMP, mutex, is_not_recursive_Q10)
{
	thrum_mutex m;

	TH_CHECK_EQ(thrum_mutex_lock(open_mutex(&m)), 0);
	TH_CHECK_EQ(thrum_mutex_lock(&m), -EDEADLK);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), -EDEADLK);
	TH_CHECK_EQ(thrum_shield((thrum_fx){ lock_again, &m }), -EDEADLK); /* the same one, a level deeper */
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ lock_again, &m }, thrum_sec(1)), -EDEADLK);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), -EPERM);
	return 0;
}

TH_FIBER_TEST(JUMP, mutex, only_the_owner_unlocks_Q10)
{
	thrum_mutex m;
	thrum_scope s;
	thrum_task t;
	struct visit other = { .mutex = open_mutex(&m), .ms = 10 };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, visit_fx(&other)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), -EPERM);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), -EAGAIN);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(other.unlock_code, 0);
	return 0;
}

static int try_it(void *m)
{
	return thrum_mutex_try_lock(m);
}

/* One worker and nothing between: the join runs the child as a call on this stack. */
TH_ONE_WORKER_TEST(JUMP, mutex, child_inside_its_parents_join_is_not_its_parent_K10)
{
	thrum_mutex m;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_mutex_lock(open_mutex(&m)), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ unlock_it, &m }, THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_join(&t), -EPERM);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ try_it, &m }, THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_join(&t), -EAGAIN); /* another owns it: no recursion */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	return 0;
}

static int unlock_at_the_end(void *m)
{
	thrum_scope s;
	thrum_deferred d;
	int code;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	code = thrum_mutex_lock(m);
	if (code == 0)
		TH_CHECK_EQ(thrum_defer(&s, &d, (thrum_fx){ unlock_it, m }), 0);
	(void)thrum_sleep(thrum_ms(5));
	return thrum_scope_close(&s);
}

TH_FIBER_TEST(JUMP, mutex, finalizer_unlocks_for_its_owner_K10)
{
	thrum_mutex m;
	thrum_fx fx = { unlock_at_the_end, open_mutex(&m) };

	TH_CHECK_EQ(thrum_zip_par(fx, fx, fx), 0);
	TH_CHECK_EQ(thrum_mutex_lock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	return 0;
}

enum { VISITORS = 6 };

TH_FIBER_TEST(JUMP, mutex, handed_over_in_order_Q2)
{
	thrum_mutex m;
	thrum_scope s;
	thrum_task t[VISITORS];
	struct visit v[VISITORS];
	th_counter order = { 0 };

	TH_CHECK_EQ(thrum_mutex_lock(open_mutex(&m)), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < VISITORS; i++) {
		v[i] = (struct visit){ .mutex = &m, .order = &order };
		TH_CHECK_EQ(thrum_spawn(&s, &t[i], visit_fx(&v[i])), 0);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	}
	TH_CHECK_EQ(th_counted(&order), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < VISITORS; i++)
		TH_CHECK_EQ(v[i].rank, i + 1);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, mutex, unlocking_hands_over_before_anybody_can_slip_in_Q2)
{
	thrum_mutex m;
	thrum_scope s;
	thrum_task t;
	struct visit waiting = { .mutex = open_mutex(&m), .ms = 3 };

	TH_CHECK_EQ(thrum_mutex_lock(&m), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, visit_fx(&waiting)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), -EAGAIN);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, mutex, waiting_is_cancellable_and_leaves_nothing_Q10)
{
	thrum_mutex m;
	thrum_scope s;
	thrum_task first, second;
	struct visit a = { .mutex = open_mutex(&m), .code = 1 }, b = { .mutex = &m, .code = 1 };

	TH_CHECK_EQ(thrum_mutex_lock(&m), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &first, visit_fx(&a)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &second, visit_fx(&b)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	thrum_task_cancel(&first);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0); /* passes over the first, who may not have noticed yet */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.code, -ECANCELED);
	TH_CHECK_EQ(b.code, 0);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	return 0;
}

static int hold_through_a_cancel(void *m)
{
	int code;

	TH_CHECK_EQ(thrum_mutex_lock(m), 0);
	code = thrum_sleep(thrum_sec(1));
	TH_CHECK_EQ(thrum_mutex_lock(m), -ECANCELED); /* a cancel point even where it would not wait */
	TH_CHECK_EQ(thrum_mutex_unlock(m), 0);        /* still its own, and no cancel point */
	return code;
}

TH_FIBER_TEST(JUMP, mutex, holding_is_not_affected_by_a_cancel_Q10)
{
	thrum_mutex m;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ hold_through_a_cancel, open_mutex(&m) }, thrum_ms(3)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), 0);
	return 0;
}

/* --- ending as an owner --- */

static void end_as_owner(void *m)
{
	_exit(TH_RUN(JUMP, ((thrum_fx){ lock_again, m })) & 127);
}

TH_TEST(mutex, who_ends_while_he_owns_one_aborts_Q10)
{
	struct th_said said;
	thrum_mutex m;
	int status = th_child(end_as_owner, open_mutex(&m), &said);

	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK(strstr(said.text, "ended while it held a mutex"));
}

/* --- many at once --- */

enum { CROWD = 8, ROUNDS = 500 };

struct crowd {
	thrum_mutex mutex;
	th_counter inside, got;
	long plain; /* guarded by the mutex alone: a sanitizer sees if it is not */
};
static int enter_and_count(struct crowd *c)
{
	int r = thrum_mutex_lock(&c->mutex);

	if (r < 0)
		return r;
	TH_CHECK_EQ(th_count(&c->inside, 1), 1);
	c->plain++;
	if (c->plain % 16 == 0)
		(void)thrum_yield();
	th_count(&c->inside, -1);
	TH_CHECK_EQ(thrum_mutex_unlock(&c->mutex), 0);
	th_count(&c->got, 1);
	return 0;
}
THRUM_FX(enter_and_count, struct crowd);
static int enter_often(struct crowd *c)
{
	for (int i = 0; i < ROUNDS; i++) {
		int code = i % 4 ? enter_and_count(c) : thrum_timeout(enter_and_count_fx(c), thrum_us(1));
		TH_CHECK(code == 0 || code == -ETIMEDOUT);
	}
	return 0;
}
THRUM_FX(enter_often, struct crowd);

TH_FIBER_TEST(REAL, mutex, one_at_a_time_with_many_that_give_up_Q10)
{
	struct crowd c = { .plain = 0 };
	thrum_fx fx[CROWD];

	open_mutex(&c.mutex);
	for (int i = 0; i < CROWD; i++)
		fx[i] = enter_often_fx(&c);
	TH_CHECK_EQ(thrum_zip_par_n(fx, CROWD), 0);
	TH_CHECK_EQ(c.plain, th_counted(&c.got));
	TH_CHECK(c.plain >= CROWD * ROUNDS * 3 / 4);
	return 0;
}

TH_TEST(mutex, is_for_fibers_X1)
{
	thrum_mutex m;

	open_mutex(&m);
	TH_CHECK_EQ(thrum_mutex_lock(&m), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_mutex_try_lock(&m), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_mutex_unlock(&m), THRUM_ENOTFIBER);
}
