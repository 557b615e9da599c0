/* test/sim/test_cycle.c: circles of joins (K6). The simulation is a debug build, so they are found. */
#include <errno.h>
#include <string.h>
#include "core/cycle.h"
#include "core/hooks.h"
#include "core/scope.h"
#include "test/support/sim_run.h"

enum { MEMBERS = 3 };

struct ring;
struct member {
	struct ring *ring;
	thrum_task task;
	int number, got;
};
struct ring {
	thrum_chan gate;       /* closed when all have been spawned: a join of one that has not would be an error */
	struct member members[MEMBERS];
	int n, deadlocks;
};

/* Each joins the next one of the ring, from a child of its own if `number` says so. */
static int join_next(struct member *m)
{
	struct ring *r = m->ring;
	int unused;

	if (thrum_chan_recv(&r->gate, &unused) == -ECANCELED)
		return -ECANCELED;
	m->got = thrum_join(&r->members[(m->number + 1) % r->n].task);
	if (m->got == -EDEADLK)
		sim_add(&r->deadlocks, 1);
	return 0;
}
THRUM_FX(join_next, struct member);

static int join_next_inside(struct member *m)
{
	return thrum_zip_par(join_next_fx(m), thrum_succeed());
}
THRUM_FX(join_next_inside, struct member);

static int sleep_then_join(struct member *m)
{
	int r = thrum_sleep(thrum_ms(1));

	return r < 0 ? r : join_next(m);
}
THRUM_FX(sleep_then_join, struct member);

/* From a child on a fiber of its own, while the member does something else. */
static int join_next_beside(struct member *m)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, join_next_fx(m)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(2)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(join_next_beside, struct member);

static thrum_fx some_way(struct member *m)
{
	switch (sim_choose(4)) {
	case 0:
		return join_next_fx(m);
	case 1:
		return join_next_inside_fx(m);
	case 2:
		return join_next_beside_fx(m);
	default:
		return sleep_then_join_fx(m);
	}
}

/* However they meet, the circle is closed by one of them, once, and then all end. */
SIM_TEST_WITH(cycle, circle_of_joins_is_broken_by_the_one_that_closes_it_K6, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	static struct ring ring; /* a frame of a fiber is small */
	struct ring *r = &ring;
	thrum_scope s;

	(void)unused;
	memset(r, 0, sizeof *r);
	TH_CHECK_EQ(thrum_chan_init(&r->gate, sizeof(int), 0), 0);
	r->n = 2 + (int)sim_choose(MEMBERS - 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < r->n; i++)
		r->members[i] = (struct member){ .ring = r, .number = i };
	for (int i = 0; i < r->n; i++)
		TH_CHECK_EQ(thrum_spawn(&s, &r->members[i].task, some_way(&r->members[i])), 0);
	TH_CHECK_EQ(thrum_chan_close(&r->gate), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(r->deadlocks, 1);
	TH_CHECK_EQ(sim_counts.reports, 1);
	thrum_chan_fini(&r->gate);
	return 0;
}

/* A chain is no circle: 0 joins 1 joins 2, whatever else they wait for. */
static int join_later(struct member *m)
{
	if (m->number + 1 == m->ring->n)
		return thrum_sleep(thrum_ms(1));
	return join_next(m);
}
THRUM_FX(join_later, struct member);

static int join_later_inside(struct member *m)
{
	return thrum_zip_par(join_later_fx(m), thrum_succeed());
}
THRUM_FX(join_later_inside, struct member);

SIM_TEST(cycle, chain_of_joins_is_none_K6)
{
	static struct ring ring;
	struct ring *r = &ring;
	thrum_scope s;
	int code;

	(void)unused;
	memset(r, 0, sizeof *r);
	TH_CHECK_EQ(thrum_chan_init(&r->gate, sizeof(int), 0), 0);
	r->n = MEMBERS;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < r->n; i++)
		r->members[i] = (struct member){ .ring = r, .number = i };
	for (int i = r->n - 1; i >= 0; i--) {
		struct member *m = &r->members[i];
		thrum_fx fx = sim_choose(2) ? join_later_fx(m) : join_later_inside_fx(m);
		if (thrum_spawn(&s, &m->task, fx) < 0)
			break;
	}
	TH_CHECK_EQ(thrum_chan_close(&r->gate), 0);
	code = thrum_scope_close(&s);
	TH_CHECK_EQ(r->deadlocks, 0);
	thrum_chan_fini(&r->gate);
	return code;
}

/* --- waits for the holder of a lock, as a lock that suspends records them --- */

struct held {
	struct th_task *holder;
	thrum_chan release;
	struct th_waiter waiter;
	int got;
};

/* A wait that an item ends; what a lock would do around its own. */
static int wait_for_holder(struct held *h)
{
	struct th_fiber *f = th_self();
	struct th_edge edge = { .to = h->holder, .waiter = &h->waiter, .until_end = false };
	int item;

	th_waiter_init(&h->waiter, f);
	h->got = th_cycle_enter(f, &edge);
	if (h->got < 0)
		return 0;
	TH_CHECK_EQ(thrum_chan_recv(&h->release, &item), 0);
	th_cycle_leave(f);
	return 0;
}
THRUM_FX(wait_for_holder, struct held);

static void hand_over(struct held *h)
{
	TH_CHECK(th_waiter_claim(&h->waiter, TH_WAIT_DONE));
	TH_CHECK_EQ(thrum_chan_try_send(&h->release, &(int){ 1 }), 0);
}

/* The holder joins who waits for its lock: whichever comes second is told. */
SIM_TEST_WITH(cycle, joining_who_waits_for_my_lock_is_a_circle_K6, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	struct held h = { .holder = th_self()->task };
	thrum_scope s;
	thrum_task t;
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&h.release, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, wait_for_holder_fx(&h)), 0);
	if (sim_choose(2))
		TH_CHECK_EQ(thrum_yield(), 0);
	r = thrum_join(&t);
	if (r == -EDEADLK) {
		hand_over(&h);
		r = thrum_join(&t); /* it may not have run on, but it is about to */
		TH_CHECK_EQ(h.got, 0);
	} else {
		TH_CHECK_EQ(h.got, -EDEADLK);
	}
	TH_CHECK_EQ(sim_counts.reports, 1);
	TH_CHECK_EQ(r, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&h.release);
	return 0;
}

/* Who waits for a holder that waits for nobody, or for another than it was, closes no circle. */
SIM_TEST_WITH(cycle, holder_that_goes_on_closes_no_circle_K6, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	struct th_fiber *f = th_self();
	struct th_task other;
	struct held h = { .holder = &other };
	struct th_waiter waiter;
	struct th_edge edge = { .to = f->task, .waiter = &waiter, .until_end = false };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&h.release, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	th_task_init(&other, thrum_succeed());
	TH_CHECK_EQ(thrum_spawn(&s, &t, wait_for_holder_fx(&h)), 0);
	th_waiter_init(&waiter, f);
	TH_CHECK_EQ(th_cycle_enter(f, &edge), -EDEADLK); /* for my own lock */
	edge.to = &other;
	TH_CHECK_EQ(th_cycle_enter(f, &edge), 0);
	th_cycle_leave(f);
	TH_CHECK_EQ(thrum_yield(), 0);
	edge.to = th_task_of(&t);
	TH_CHECK_EQ(th_cycle_enter(f, &edge), 0); /* waits for `other`, which waits for nobody */
	th_cycle_retarget(&edge, &other);
	th_cycle_leave(f);
	TH_CHECK_EQ(thrum_chan_try_send(&h.release, &(int){ 1 }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(sim_counts.reports, 1);
	thrum_chan_fini(&h.release);
	return 0;
}

/* --- locks --- */

struct crossing {
	thrum_mutex m[MEMBERS];
	int n, deadlocks;
};
struct crosser {
	struct crossing *c;
	int first;
};

/* Takes two neighbours of a ring of mutexes, and gives back what it has. */
static int cross(struct crosser *x)
{
	thrum_mutex *a = &x->c->m[x->first], *b = &x->c->m[(x->first + 1) % x->c->n];
	int r = thrum_mutex_lock(a);

	if (r < 0)
		return r;
	if (sim_choose(2))
		(void)thrum_yield();
	r = thrum_mutex_lock(b);
	TH_CHECK(r == 0 || r == -EDEADLK || r == -ECANCELED);
	if (r == 0)
		TH_CHECK_EQ(thrum_mutex_unlock(b), 0);
	else if (r == -EDEADLK)
		sim_add(&x->c->deadlocks, 1);
	TH_CHECK_EQ(thrum_mutex_unlock(a), 0);
	return r == -EDEADLK ? 0 : r;
}
THRUM_FX(cross, struct crosser);

/* Whoever would close the circle is told, and the others go on: nobody hangs, whatever the order. */
SIM_TEST(cycle, circle_of_mutexes_is_broken_by_the_one_that_closes_it_Q10)
{
	static struct crossing c;
	struct crosser x[MEMBERS];
	thrum_fx fx[MEMBERS];
	int r;

	(void)unused;
	memset(&c, 0, sizeof c);
	c.n = 2 + (int)sim_choose(MEMBERS - 1);
	for (int i = 0; i < c.n; i++) {
		TH_CHECK_EQ(thrum_mutex_init(&c.m[i]), 0);
		x[i] = (struct crosser){ &c, i };
		fx[i] = cross_fx(&x[i]);
	}
	r = thrum_zip_par_n(fx, (size_t)c.n);
	TH_CHECK(c.deadlocks <= 1); /* one gave way, so the circle is open */
	TH_CHECK_EQ(sim_counts.reports, c.deadlocks);
	return r;
}

struct kept {
	thrum_mutex m;
	thrum_task child;
	int got;
};

static int want_kept(struct kept *h)
{
	h->got = thrum_mutex_lock(&h->m);
	if (h->got == 0)
		TH_CHECK_EQ(thrum_mutex_unlock(&h->m), 0);
	return 0;
}
THRUM_FX(want_kept, struct kept);

/* A join that holds what its child wants: one of the two is told, the one that waits last. */
SIM_TEST_WITH(cycle, circle_of_a_join_and_a_mutex_is_broken_K6_Q10, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	static struct kept h;
	thrum_scope s;
	int joined;

	(void)unused;
	memset(&h, 0, sizeof h);
	TH_CHECK_EQ(thrum_mutex_init(&h.m), 0);
	TH_CHECK_EQ(thrum_mutex_lock(&h.m), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &h.child, want_kept_fx(&h)), 0);
	if (sim_choose(2))
		TH_CHECK_EQ(thrum_yield(), 0);
	joined = thrum_join(&h.child);
	TH_CHECK(joined == 0 || joined == -EDEADLK);
	TH_CHECK_EQ(thrum_mutex_unlock(&h.m), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(h.got, joined == 0 ? -EDEADLK : 0);
	TH_CHECK_EQ(sim_counts.reports, 1);
	return 0;
}
