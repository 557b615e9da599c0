/* test/core/test_rpool.c: pools of resources (Q14, with A4-A8, Q2, X1). */
#include <string.h>
#include "test/support/rules.h"

/* What is lent. */
struct thing {
	int number, uses;
	bool bad, gone;
};

enum { THINGS = 64 };

/* Where things are made, and how. */
struct shop {
	th_counter alive, alive_max, made, ended, asked;
	int create_ms, create_code, fail_first; /* the first so many creates fail with create_code */
	int destroy_ms, validate_ms;
	struct thing things[THINGS];
};

static int make(void *ctx, void **ret)
{
	struct shop *s = ctx;
	int n = th_count(&s->made, 1) - 1, r;

	th_count_max(&s->alive_max, th_count(&s->alive, 1));
	r = s->create_ms ? thrum_sleep(thrum_ms(s->create_ms)) : 0;
	if (r == 0 && n < s->fail_first)
		r = s->create_code;
	if (r < 0) {
		th_count(&s->alive, -1);
		return r;
	}
	s->things[n % THINGS] = (struct thing){ .number = n };
	*ret = &s->things[n % THINGS];
	return 0;
}

static void end(void *ctx, void *res)
{
	struct thing *t = res;
	struct shop *s = ctx;

	TH_CHECK(!t->gone);
	t->gone = true;
	if (s->destroy_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(s->destroy_ms)), 0); /* shielded */
	th_count(&s->ended, 1);
	th_count(&s->alive, -1);
}

static bool good(void *ctx, void *res)
{
	struct shop *s = ctx;

	th_count(&s->asked, 1);
	return (!s->validate_ms || thrum_sleep(thrum_ms(s->validate_ms)) == 0) && !((struct thing *)res)->bad;
}

static thrum_pool *open_pool(thrum_pool *p, struct shop *s, size_t max)
{
	TH_CHECK_EQ(thrum_pool_init(p, THRUM_POOL_OPTS(.create = make, .destroy = end, .ctx = s, .max = max)), 0);
	return p;
}

/* Everything that was made is destroyed. */
static void close_pool(thrum_pool *p, struct shop *s)
{
	TH_CHECK_EQ(thrum_pool_close(p), 0);
	TH_CHECK_EQ(th_counted(&s->alive), 0);
}

static struct thing *get(thrum_pool *p)
{
	void *res = NULL;

	TH_CHECK_EQ(thrum_pool_get(p, &res), 0);
	TH_CHECK(!((struct thing *)res)->gone);
	return res;
}

static thrum_pool_stats stats(thrum_pool *p)
{
	thrum_pool_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_pool_read(p, &s), 0);
	return s;
}

/* One who borrows for a while. */
struct user {
	thrum_pool *pool;
	int ms, code;          /* how long, and what his use then ends with */
	bool invalidates;
	th_counter *order;     /* may be NULL */
	int rank, got, number; /* rank: 0 while he has nothing */
	int exit_code;
	th_counter done;
};

static int with_thing(void *res, void *arg)
{
	struct thing *t = res;
	struct user *u = arg;
	int r;

	TH_CHECK(!t->gone);
	TH_CHECK_EQ(__atomic_add_fetch(&t->uses, 1, __ATOMIC_RELAXED), 1);
	u->number = t->number;
	u->rank = u->order ? th_count(u->order, 1) : 1;
	r = u->ms ? thrum_sleep(thrum_ms(u->ms)) : 0;
	if (u->invalidates)
		TH_CHECK_EQ(thrum_pool_invalidate(u->pool, res), 0);
	TH_CHECK_EQ(__atomic_sub_fetch(&t->uses, 1, __ATOMIC_RELAXED), 0);
	return r < 0 ? r : u->code;
}
static int use(struct user *u)
{
	u->got = thrum_pool_use(u->pool, with_thing, u);
	th_count(&u->done, 1);
	return u->got;
}
THRUM_FX(use, struct user);

/* The same, whose failure is nobody's. */
static int visit(struct user *u)
{
	(void)use(u);
	return 0;
}
THRUM_FX(visit, struct user);

/* On the jump clock a sleep ends when nothing else can run. */
static void settle(void)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}
static void start(thrum_scope *s, thrum_task *t, struct user *u)
{
	TH_CHECK_EQ(thrum_spawn(s, t, visit_fx(u)), 0);
	settle();
}

/* --- borrowing --- */

TH_FIBER_TEST(JUMP, rpool, made_on_demand_and_the_last_one_back_goes_first_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a, *b;
	thrum_pool p;

	open_pool(&p, &shop, 3);
	TH_CHECK_EQ(th_counted(&shop.made), 0);
	a = get(&p);
	b = get(&p);
	TH_CHECK(a != b);
	TH_CHECK_EQ(stats(&p).alive, 2);
	TH_CHECK_EQ(thrum_pool_put(&p, b), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(stats(&p).idle, 2);
	TH_CHECK(get(&p) == a);
	TH_CHECK(get(&p) == b);
	TH_CHECK_EQ(th_counted(&shop.made), 2);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, b), 0);
	close_pool(&p, &shop);
	TH_CHECK_EQ(stats(&p).created, 2);
	TH_CHECK_EQ(stats(&p).destroyed, 2);
	return 0;
}

enum { USERS = 6 };

TH_FIBER_TEST(JUMP, rpool, waiters_are_served_in_order_and_never_too_many_are_alive_Q14_Q2)
{
	struct shop shop = { .create_ms = 0 };
	th_counter order = { 0 };
	struct user u[USERS];
	thrum_task t[USERS];
	thrum_scope s;
	thrum_pool p;

	open_pool(&p, &shop, 2);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < USERS; i++) {
		u[i] = (struct user){ .pool = &p, .ms = 100, .order = &order };
		start(&s, &t[i], &u[i]);
	}
	TH_CHECK_EQ(th_counted(&order), 2);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < USERS; i++)
		TH_CHECK_EQ(u[i].rank, i + 1);
	TH_CHECK_EQ(th_counted(&shop.made), 2);
	TH_CHECK_EQ(th_counted(&shop.alive_max), 2);
	close_pool(&p, &shop);
	return 0;
}

/* What comes back goes to the one who waits, not to the one who comes at that moment. */
TH_ONE_WORKER_TEST(JUMP, rpool, nobody_overtakes_a_waiter_Q2)
{
	struct shop shop = { .create_ms = 0 };
	struct user waiter = { .ms = 10 }, late = { .ms = 0 };
	th_counter order = { 0 };
	thrum_task t[2];
	struct thing *a;
	thrum_scope s;
	thrum_pool p;

	waiter.pool = late.pool = open_pool(&p, &shop, 1);
	waiter.order = late.order = &order;
	a = get(&p);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t[0], &waiter);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0); /* the waiter has not run yet */
	TH_CHECK_EQ(stats(&p).idle, 0);
	TH_CHECK_EQ(use(&late), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(waiter.rank, 1);
	TH_CHECK_EQ(late.rank, 2);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, cancelled_waiter_takes_nothing_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct user w = { .ms = 0 };
	struct thing *a;
	thrum_pool p;

	w.pool = open_pool(&p, &shop, 1);
	a = get(&p);
	TH_CHECK_EQ(thrum_timeout(use_fx(&w), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(w.got, -ECANCELED);
	TH_CHECK_EQ(w.rank, 0);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(th_call_cancelled(use_fx(&w)), -ECANCELED); /* a cancel point, also where it need not wait */
	TH_CHECK_EQ(w.rank, 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	close_pool(&p, &shop);
	return 0;
}

/* It was given to the waiter, then he was cancelled: he has it all the same, and the use gives it back unused. */
TH_ONE_WORKER_TEST(JUMP, rpool, cancel_after_the_hand_over_skips_the_use_A1)
{
	struct shop shop = { .create_ms = 0 };
	struct user w = { .ms = 0 };
	struct thing *a;
	thrum_scope s;
	thrum_task t;
	thrum_pool p;

	w.pool = open_pool(&p, &shop, 1);
	a = get(&p);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, &w);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(w.got, -ECANCELED);
	TH_CHECK_EQ(w.rank, 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	close_pool(&p, &shop);
	return 0;
}

/* --- making --- */

TH_FIBER_TEST(JUMP, rpool, failed_create_frees_the_place_and_wakes_the_next_Q14) /* zio#8820 */
{
	struct shop shop = { .create_ms = 10, .create_code = THRUM_APP(3), .fail_first = 2 };
	struct user u[3];
	thrum_task t[3];
	thrum_scope s;
	thrum_pool p;

	open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++) {
		u[i] = (struct user){ .pool = &p };
		start(&s, &t[i], &u[i]);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(u[0].got, THRUM_APP(3));
	TH_CHECK_EQ(u[1].got, THRUM_APP(3));
	TH_CHECK_EQ(u[2].got, 0);
	TH_CHECK_EQ(u[2].number, 2);
	TH_CHECK_EQ(th_counted(&shop.alive_max), 1);
	TH_CHECK_EQ(stats(&p).failed, 2);
	TH_CHECK_EQ(stats(&p).alive, 1);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, cancelled_create_frees_the_place_Q14)
{
	struct shop shop = { .create_ms = 100 };
	struct user first = { .ms = 0 }, next = { .ms = 0 };
	thrum_scope s;
	thrum_task t[2];
	thrum_pool p;

	first.pool = next.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t[0], &first);
	start(&s, &t[1], &next);
	thrum_task_cancel(&t[0]);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(first.got, -ECANCELED);
	TH_CHECK_EQ(next.got, 0);
	TH_CHECK_EQ(th_counted(&shop.made), 2);
	TH_CHECK_EQ(stats(&p).failed, 0);
	close_pool(&p, &shop);
	return 0;
}

/* Who was given a free place, and a cancel with it, does not begin to make one. */
TH_ONE_WORKER_TEST(JUMP, rpool, create_is_not_begun_when_cancelled_Q14)
{
	struct shop shop = { .create_code = THRUM_APP(3), .fail_first = 1 };
	struct user w = { .ms = 0 };
	void *broken;
	thrum_scope s;
	thrum_task t;
	thrum_pool p;

	w.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_pool_get(&p, &broken), THRUM_APP(3));
	shop.destroy_ms = 10;
	struct thing *a = get(&p);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, &w);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, a), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0); /* destroyed; its place is the waiter's */
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(w.got, -ECANCELED);
	TH_CHECK_EQ(th_counted(&shop.made), 2);
	TH_CHECK_EQ(stats(&p).alive, 0);
	close_pool(&p, &shop);
	return 0;
}

/* Nobody is kept waiting by somebody else's create: it runs without the lock. */
TH_FIBER_TEST(JUMP, rpool, several_are_made_at_once_Q14)
{
	struct shop shop = { .create_ms = 100 };
	struct user u[3];
	thrum_fx fx[3];
	thrum_time t0 = thrum_now();
	thrum_pool p;

	open_pool(&p, &shop, 3);
	for (int i = 0; i < 3; i++) {
		u[i] = (struct user){ .pool = &p, .ms = 10 };
		fx[i] = use_fx(&u[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, 3), 0);
	TH_CHECK_EQ(th_ms_since(t0), 110);
	TH_CHECK_EQ(th_counted(&shop.alive_max), 3);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, warm_makes_what_is_missing_Q14)
{
	struct shop shop = { .create_code = THRUM_APP(4), .fail_first = 1 };
	struct thing *a;
	thrum_pool p;

	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .destroy = end, .ctx = &shop, .max = 4, .min = 2)), 0);
	TH_CHECK_EQ(thrum_pool_warm(&p), THRUM_APP(4));
	TH_CHECK_EQ(thrum_pool_warm(&p), 0);
	TH_CHECK_EQ(stats(&p).idle, 2);
	TH_CHECK_EQ(thrum_pool_warm(&p), 0);
	TH_CHECK_EQ(stats(&p).alive, 2);
	a = get(&p);
	TH_CHECK_EQ(a->number, 2); /* the last one made */
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	close_pool(&p, &shop);
	TH_CHECK_EQ(thrum_pool_warm(&p), THRUM_ECLOSED);
	return 0;
}

/* --- giving back --- */

TH_FIBER_TEST(JUMP, rpool, use_gives_back_whatever_comes_of_it_Q14_A4_A7)
{
	struct shop shop = { .create_ms = 0 };
	struct user ok = { .code = 7 }, bad = { .code = THRUM_APP(1) }, dead = { .code = THRUM_EDIED }, slow = { .ms = 100 };
	thrum_pool p;

	ok.pool = bad.pool = dead.pool = slow.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(use(&ok), 7);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(use(&bad), THRUM_APP(1));
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(use(&dead), THRUM_EDIED);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(thrum_timeout(use_fx(&slow), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(slow.rank, 1);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(th_counted(&shop.made), 1);
	close_pool(&p, &shop);
	return 0;
}

static int take_and_go_on(struct user *u)
{
	void *res = NULL;
	int r = thrum_pool_acquire(u->pool, &res);

	if (r < 0)
		return r;
	u->number = ((struct thing *)res)->number;
	TH_CHECK_EQ(stats(u->pool).idle, 0);
	r = u->ms ? thrum_sleep(thrum_ms(u->ms)) : 0;
	if (u->invalidates)
		TH_CHECK_EQ(thrum_pool_invalidate(u->pool, res), 0);
	return r < 0 ? r : u->code;
}
THRUM_FX(take_and_go_on, struct user);

TH_FIBER_TEST(JUMP, rpool, acquired_lives_until_the_nearest_scope_closes_A8)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .code = THRUM_APP(1) }, slow = { .ms = 100 }, ok = { .code = 0 };
	struct user items[5];
	thrum_pool p;

	u.pool = slow.pool = ok.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&u), thrum_ms(10)), THRUM_APP(1));
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&slow), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&ok), thrum_ms(10)), 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	for (int i = 0; i < 5; i++)
		items[i] = (struct user){ .pool = &p, .ms = 10 };
	TH_CHECK_EQ(thrum_for_each_par(items, 5, take_and_go_on, 5), 0); /* each item is a scope */
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK_EQ(th_counted(&shop.made), 1);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, acquire_that_gets_nothing_leaves_nothing_A3)
{
	struct shop shop = { .create_code = THRUM_APP(5), .fail_first = 1 };
	struct user u = { .ms = 0 };
	struct thing *a;
	thrum_pool p;

	u.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&u), thrum_ms(10)), THRUM_APP(5));
	TH_CHECK_EQ(stats(&p).alive, 0);
	a = get(&p);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&u), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_call_cancelled(take_and_go_on_fx(&u)), -ECANCELED);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, only_what_is_borrowed_comes_back_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a, other;
	thrum_pool p;

	open_pool(&p, &shop, 2);
	TH_CHECK_EQ(thrum_pool_put(&p, &other), -EINVAL);
	a = get(&p);
	TH_CHECK_EQ(thrum_pool_put(&p, &other), -EINVAL);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, a), -EINVAL);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, &other), -EINVAL);
	TH_CHECK_EQ(stats(&p).idle, 1);
	close_pool(&p, &shop);
	TH_CHECK_EQ(thrum_pool_put(&p, a), -EINVAL);
	return 0;
}

static int put_what_is_used(void *res, void *pool)
{
	TH_CHECK_EQ(thrum_pool_put(pool, res), -EINVAL);
	return 0;
}
static int put_what_is_acquired(thrum_pool *p)
{
	void *res;

	TH_CHECK_EQ(thrum_pool_acquire(p, &res), 0);
	TH_CHECK_EQ(thrum_pool_put(p, res), -EINVAL);
	return 0;
}
THRUM_FX(put_what_is_acquired, thrum_pool);
TH_FIBER_TEST(JUMP, rpool, what_comes_back_by_itself_is_not_put_Q14)
{
	struct shop shop = { .create_ms = 0 };
	thrum_pool p;

	open_pool(&p, &shop, 2);
	TH_CHECK_EQ(thrum_pool_use(&p, put_what_is_used, &p), 0);
	TH_CHECK_EQ(thrum_timeout(put_what_is_acquired_fx(&p), thrum_ms(10)), 0);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK(get(&p) != get(&p));
	TH_CHECK_EQ(thrum_pool_shutdown(&p), 0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_pool_put(&p, &shop.things[i]), 0);
	close_pool(&p, &shop);
	return 0;
}

/* Resources may be any pointers, also NULL and all the same: each put gives one back. */
static int make_nothing(void *ctx, void **ret)
{
	th_count(ctx, 1);
	*ret = NULL;
	return 5; /* a success */
}
TH_FIBER_TEST(JUMP, rpool, equal_resources_are_told_apart_by_number_only_Q14)
{
	th_counter made = { 0 };
	void *res = &made;
	thrum_pool p;

	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make_nothing, .ctx = &made, .max = 3)), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_pool_get(&p, &res), 0);
	TH_CHECK(res == NULL);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_pool_put(&p, NULL), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, NULL), -EINVAL);
	TH_CHECK_EQ(stats(&p).idle, 3);
	TH_CHECK_EQ(thrum_pool_close(&p), 0);
	TH_CHECK_EQ(th_counted(&made), 3);
	return 0;
}

/* Of equal ones a put gives back one that was got, not one that is used. */
static int put_two(void *res, void *pool)
{
	TH_CHECK_EQ(thrum_pool_put(pool, res), 0);
	TH_CHECK_EQ(thrum_pool_put(pool, res), -EINVAL);
	TH_CHECK_EQ(stats(pool).idle, 1);
	return 0;
}
TH_FIBER_TEST(JUMP, rpool, equal_resources_of_a_get_and_of_a_use_Q14)
{
	th_counter made = { 0 };
	thrum_pool p;
	void *res;

	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make_nothing, .ctx = &made, .max = 2)), 0);
	TH_CHECK_EQ(thrum_pool_get(&p, &res), 0);
	TH_CHECK_EQ(thrum_pool_use(&p, put_two, &p), 0);
	TH_CHECK_EQ(stats(&p).idle, 2);
	TH_CHECK_EQ(thrum_pool_close(&p), 0);
	return 0;
}

/* --- bad ones --- */

TH_FIBER_TEST(JUMP, rpool, invalid_one_is_destroyed_when_it_comes_back_and_made_anew_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .invalidates = true }, acq = { .invalidates = true };
	struct thing *a, *b;
	thrum_pool p;

	u.pool = acq.pool = open_pool(&p, &shop, 1);
	a = get(&p);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, a), 0);
	TH_CHECK(!a->gone); /* the borrower's until he gives it back */
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK(a->gone);
	TH_CHECK_EQ(stats(&p).alive, 0);
	b = get(&p);
	TH_CHECK_EQ(b->number, 1);
	TH_CHECK_EQ(thrum_pool_put(&p, b), 0);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, b), 0); /* idle */
	TH_CHECK(b->gone);
	TH_CHECK_EQ(stats(&p).alive, 0);
	TH_CHECK_EQ(use(&u), 0);
	TH_CHECK_EQ(stats(&p).alive, 0);
	TH_CHECK_EQ(thrum_timeout(take_and_go_on_fx(&acq), thrum_ms(10)), 0);
	TH_CHECK_EQ(stats(&p).alive, 0);
	TH_CHECK_EQ(th_counted(&shop.made), 4);
	TH_CHECK_EQ(th_counted(&shop.ended), 4);
	close_pool(&p, &shop);
	return 0;
}

/* One that is being destroyed still counts: the next is made when it is gone. */
TH_FIBER_TEST(JUMP, rpool, destroyed_one_counts_until_it_is_gone_Q14)
{
	struct shop shop = { .destroy_ms = 50 };
	struct user u[2];
	thrum_time t0 = thrum_now();
	thrum_fx fx[2];
	thrum_pool p;

	open_pool(&p, &shop, 1);
	for (int i = 0; i < 2; i++) {
		u[i] = (struct user){ .pool = &p, .ms = 10, .invalidates = true };
		fx[i] = use_fx(&u[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, 2), 0);
	TH_CHECK_EQ(th_ms_since(t0), 120);
	TH_CHECK_EQ(th_counted(&shop.alive_max), 1);
	TH_CHECK_EQ(th_counted(&shop.made), 2);
	close_pool(&p, &shop);
	return 0;
}

/* Its failure is told, though what was borrowed is destroyed after it, and fails inside. */
static void end_noisily(void *ctx, void *res)
{
	(void)thrum_then(thrum_fail(THRUM_APP(9)), thrum_succeed());
	end(ctx, res);
}
TH_FIBER_TEST(JUMP, rpool, failure_of_the_use_is_the_cause_A5)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .code = THRUM_APP(2), .invalidates = true };
	thrum_pool p;

	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .destroy = end_noisily, .ctx = &shop, .max = 1)), 0);
	u.pool = &p;
	TH_CHECK_EQ(use(&u), THRUM_APP(2));
	TH_CHECK(thrum_last_cause());
	TH_CHECK_EQ(thrum_last_cause()->code, THRUM_APP(2));
	close_pool(&p, &shop);
	return 0;
}

static thrum_pool *open_validating(thrum_pool *p, struct shop *s)
{
	TH_CHECK_EQ(thrum_pool_init(p, THRUM_POOL_OPTS(.create = make, .destroy = end, .validate = good, .ctx = s,
						       .max = 1)), 0);
	return p;
}

TH_FIBER_TEST(JUMP, rpool, what_has_gone_bad_meanwhile_is_replaced_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a, *b;
	thrum_pool p;

	open_validating(&p, &shop);
	a = get(&p);
	TH_CHECK_EQ(th_counted(&shop.asked), 0); /* new ones are good */
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK(get(&p) == a);
	TH_CHECK_EQ(th_counted(&shop.asked), 1);
	a->bad = true;
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK(!a->gone);
	b = get(&p);
	TH_CHECK(a->gone && b != a);
	TH_CHECK_EQ(th_counted(&shop.alive_max), 1);
	shop.fail_first = 3;
	shop.create_code = THRUM_APP(6);
	b->bad = true;
	TH_CHECK_EQ(thrum_pool_put(&p, b), 0);
	void *none;
	TH_CHECK_EQ(thrum_pool_get(&p, &none), THRUM_APP(6)); /* replacing it failed */
	TH_CHECK_EQ(stats(&p).alive, 0);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, cancelled_validation_condemns_nothing_Q14)
{
	struct shop shop = { .validate_ms = 100 };
	struct user u = { .ms = 0 };
	struct thing *a;
	thrum_pool p;

	u.pool = open_validating(&p, &shop);
	a = get(&p);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_timeout(use_fx(&u), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_counted(&shop.asked), 1);
	TH_CHECK(!a->gone);
	TH_CHECK_EQ(stats(&p).idle, 1);
	TH_CHECK(get(&p) == a);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	close_pool(&p, &shop);
	return 0;
}

/* --- idle ones --- */

static void open_idling(thrum_pool *p, struct shop *s, size_t min)
{
	TH_CHECK_EQ(thrum_pool_init(p, THRUM_POOL_OPTS(.create = make, .destroy = end, .ctx = s, .max = 4, .min = min,
						       .idle = thrum_ms(100))), 0);
}

/* Borrow n at once and give them back, the last one first, so that number 0 goes out next. */
static void borrow_all(thrum_pool *p, int n)
{
	struct thing *t[4];

	for (int i = 0; i < n; i++)
		t[i] = get(p);
	for (int i = n; i-- > 0;)
		TH_CHECK_EQ(thrum_pool_put(p, t[i]), 0);
}

TH_FIBER_TEST(JUMP, rpool, idle_for_too_long_is_destroyed_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a;
	thrum_pool p;

	open_idling(&p, &shop, 0);
	borrow_all(&p, 3);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(60)), 0);
	a = get(&p); /* in use now and then: it stays */
	TH_CHECK_EQ(a->number, 0);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(39)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 0);
	TH_CHECK_EQ(stats(&p).idle, 3);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* 100 of the other two */
	TH_CHECK(get(&p) == a);
	TH_CHECK_EQ(stats(&p).alive, 1);
	TH_CHECK_EQ(th_counted(&shop.ended), 2);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(99)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 1);
	TH_CHECK_EQ(stats(&p).alive, 0);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, expired_one_is_not_lent_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a, *b;
	thrum_pool p;

	open_idling(&p, &shop, 0);
	a = get(&p);
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(100)), 0);
	b = get(&p);
	TH_CHECK(b != a && a->gone);
	TH_CHECK_EQ(thrum_pool_put(&p, b), 0);
	close_pool(&p, &shop);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, so_many_stay_however_idle_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct thing *a;
	thrum_pool p;

	open_idling(&p, &shop, 2);
	borrow_all(&p, 4);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 2);
	TH_CHECK_EQ(stats(&p).alive, 2);
	a = get(&p);
	TH_CHECK_EQ(a->number, 0); /* those used last have stayed */
	TH_CHECK_EQ(thrum_pool_put(&p, a), 0);
	close_pool(&p, &shop);
	return 0;
}

/* Q14 on the clock of a part of the program. */
static int idle_on_its_own_clock(thrum_test_clock *clock)
{
	struct shop shop = { .create_ms = 0 };
	thrum_pool p;

	open_idling(&p, &shop, 0);
	borrow_all(&p, 2);
	TH_CHECK_EQ(thrum_test_clock_advance(clock, thrum_ms(99)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 0);
	TH_CHECK_EQ(thrum_test_clock_advance(clock, thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_pool_trim(&p), 2);
	close_pool(&p, &shop);
	return 0;
}
THRUM_FX(idle_on_its_own_clock, thrum_test_clock);

TH_FIBER_TEST(REAL, rpool, idle_time_is_that_of_the_fiber_Q14)
{
	thrum_test_clock clock;

	thrum_test_clock_init(&clock);
	return thrum_with_test_clock(&clock, idle_on_its_own_clock_fx(&clock));
}

/* --- the end --- */

TH_FIBER_TEST(JUMP, rpool, shutdown_wakes_waiters_and_close_waits_for_what_is_lent_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct user holder = { .ms = 100 }, waiter = { .ms = 0 };
	thrum_time t0 = thrum_now();
	thrum_scope s;
	thrum_task t[2];
	void *none = &t;
	thrum_pool p;

	holder.pool = waiter.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t[0], &holder);
	start(&s, &t[1], &waiter);
	TH_CHECK_EQ(thrum_pool_shutdown(&p), 0);
	settle();
	TH_CHECK_EQ(waiter.got, THRUM_ECLOSED);
	TH_CHECK_EQ(waiter.rank, 0);
	TH_CHECK_EQ(thrum_pool_get(&p, &none), THRUM_ECLOSED);
	TH_CHECK(none == &t);
	TH_CHECK_EQ(thrum_pool_shutdown(&p), THRUM_ECLOSED);
	TH_CHECK_EQ(th_counted(&shop.alive), 1);
	close_pool(&p, &shop);
	TH_CHECK_EQ(th_ms_since(t0), 100);
	close_pool(&p, &shop);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(holder.got, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, shutdown_destroys_idle_ones_at_once_Q14)
{
	struct shop shop = { .destroy_ms = 10 };
	struct thing *held;
	thrum_pool p;

	open_pool(&p, &shop, 4);
	borrow_all(&p, 3);
	held = get(&p);
	TH_CHECK_EQ(thrum_pool_shutdown(&p), 0);
	TH_CHECK_EQ(th_counted(&shop.alive), 1);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, held), 0);
	TH_CHECK_EQ(thrum_pool_put(&p, held), 0);
	TH_CHECK_EQ(th_counted(&shop.alive), 0);
	close_pool(&p, &shop);
	return 0;
}

static int close_it(thrum_pool *p)
{
	return thrum_pool_close(p);
}
THRUM_FX(close_it, thrum_pool);

/* It is no cancel point, and any number may wait for it. */
TH_FIBER_TEST(JUMP, rpool, close_completes_though_cancelled_Q14)
{
	struct shop shop = { .create_ms = 20 }; /* it is being made when the pool shuts down: lent all the same */
	struct user holder = { .ms = 100 };
	thrum_time t0 = thrum_now();
	thrum_scope s;
	thrum_task t;
	thrum_pool p;

	holder.pool = open_pool(&p, &shop, 2);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, &holder);
	TH_CHECK_EQ(th_call_cancelled(close_it_fx(&p)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 120);
	TH_CHECK_EQ(th_counted(&shop.alive), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(holder.got, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, rpool, any_number_may_wait_for_the_close_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct user holder = { .ms = 100 };
	thrum_scope s;
	thrum_task t;
	thrum_pool p;

	holder.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, &holder);
	TH_CHECK_EQ(thrum_zip_par(close_it_fx(&p), close_it_fx(&p), close_it_fx(&p)), 0);
	TH_CHECK_EQ(th_counted(&shop.alive), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- many at once --- */

enum { MANY = 8, ROUNDS = 200 };

static int use_often(struct user *u)
{
	for (int i = 0; i < ROUNDS; i++) {
		int code = thrum_timeout(use_fx(u), thrum_ms(1 + (u->ms * 3 + i) % 7));

		TH_CHECK(code == 0 || code == -ETIMEDOUT || code == THRUM_APP(1));
		u->invalidates = (i + u->ms) % 5 == 0;
		u->code = i % 3 == 0 ? THRUM_APP(1) : 0;
	}
	return 0;
}
THRUM_FX(use_often, struct user);

TH_FIBER_TEST(JUMP, rpool, nothing_is_lost_when_many_give_up_Q14)
{
	struct shop shop = { .create_ms = 1, .validate_ms = 1, .destroy_ms = 1 };
	struct user u[MANY];
	thrum_fx fx[MANY];
	thrum_pool p;

	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .destroy = end, .validate = good, .ctx = &shop,
							.max = 3, .idle = thrum_ms(2))), 0);
	for (int i = 0; i < MANY; i++) {
		u[i] = (struct user){ .pool = &p, .ms = 1 + i % 4 };
		fx[i] = use_often_fx(&u[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, MANY), 0);
	TH_CHECK(th_counted(&shop.alive_max) <= 3);
	TH_CHECK(th_counted(&shop.ended) > 0);
	TH_CHECK_EQ(stats(&p).alive, stats(&p).idle);
	TH_CHECK_EQ((int)stats(&p).idle, th_counted(&shop.alive));
	close_pool(&p, &shop);
	TH_CHECK_EQ(stats(&p).created, stats(&p).destroyed);
	return 0;
}

/* --- edges --- */

TH_TEST(rpool, options_are_looked_at_Q14)
{
	thrum_pool_stats small = { .size = 8 };
	struct shop shop = { .create_ms = 0 };
	thrum_pool p;

	TH_CHECK_EQ(thrum_pool_init(&p, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.max = 1)), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make)), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .max = 1, .min = 2)), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .max = 1, .idle = thrum_ms(-1))), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, &(thrum_pool_opts){ .size = 3, .create = make, .max = 1 }), -EINVAL);
	TH_CHECK_EQ(thrum_pool_init(&p, THRUM_POOL_OPTS(.create = make, .max = SIZE_MAX)), -ENOMEM);
	open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_pool_read(&p, &small), -EINVAL);
	TH_CHECK_EQ(thrum_pool_read(&p, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pool_close(&p), 0);
}

TH_FIBER_TEST(JUMP, rpool, missing_arguments_are_refused_Q14)
{
	struct shop shop = { .create_ms = 0 };
	thrum_pool p;

	open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_pool_get(&p, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pool_acquire(&p, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_pool_use(&p, NULL, NULL), -EINVAL);
	TH_CHECK_EQ(th_counted(&shop.made), 0);
	close_pool(&p, &shop);
	return 0;
}

static int borrow_two(thrum_pool *p)
{
	borrow_all(p, 2);
	return 0;
}
THRUM_FX(borrow_two, thrum_pool);

TH_TEST(rpool, plain_thread_may_open_and_close_X1)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .ms = 0 };
	thrum_pool p;
	void *res;

	u.pool = open_pool(&p, &shop, 2);
	TH_CHECK_EQ(thrum_pool_get(&p, &res), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pool_acquire(&p, &res), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pool_put(&p, &shop), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pool_invalidate(&p, &shop), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pool_trim(&p), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pool_warm(&p), THRUM_ENOTFIBER);
	TH_CHECK_EQ(use(&u), THRUM_ENOTFIBER);
	TH_CHECK_EQ(TH_RUN(JUMP, borrow_two_fx(&p)), 0);
	TH_CHECK_EQ(th_counted(&shop.alive), 2);
	close_pool(&p, &shop);
}

static int close_in_the_meantime(struct user *u)
{
	struct thing *a = get(u->pool);

	u->exit_code = 1;
	while (!th_counted(&u->done))
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	return thrum_pool_put(u->pool, a);
}
THRUM_FX(close_in_the_meantime, struct user);

TH_TEST(rpool, plain_thread_cannot_wait_for_what_is_lent_X1)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .ms = 0 };
	thrum_handle h;
	thrum_pool p;
	thrum_rt *rt;

	u.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, close_in_the_meantime_fx(&u)), 0);
	while (stats(&p).created == 0)
		;
	TH_CHECK_EQ(thrum_pool_close(&p), THRUM_ENOTFIBER);
	th_count(&u.done, 1);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	close_pool(&p, &shop);
}

TH_FIBER_TEST(JUMP, rpool, use_is_an_effect_too_Q14)
{
	struct shop shop = { .create_ms = 0 };
	struct user u = { .ms = 50 };
	thrum_pool_use_op op = { .use = with_thing, .arg = &u };
	thrum_pool p;

	u.pool = op.pool = open_pool(&p, &shop, 1);
	TH_CHECK_EQ(thrum_timeout(thrum_pool_use_fx(&op), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_call(thrum_pool_use_fx(&op)), 0);
	close_pool(&p, &shop);
	return 0;
}
