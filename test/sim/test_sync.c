/* test/sim/test_sync.c: semaphores, mutexes, conditions, promises, latches and barriers under seeds and cancels. */
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>

enum { N = 4 };

/* Run `fx`, limited or not; only the deadline of its own is forgiven. */
static int perhaps_limited(thrum_fx fx)
{
	int r = sim_choose(3) ? thrum_call(fx) : thrum_timeout(fx, thrum_us(1 + sim_choose(3)));

	return r == -ETIMEDOUT ? 0 : r;
}

static int pause_a_little(void)
{
	switch (sim_choose(3)) {
	case 0: return 0;
	case 1: return thrum_yield();
	default: return thrum_sleep(thrum_us(1));
	}
}

/* --- semaphore --- */

enum { PERMITS = 3 };

struct sem_user {
	thrum_sem *sem;
	int *in_use;
	unsigned n;
};

static int use_permits(struct sem_user *u)
{
	int r = thrum_sem_acquire(u->sem, u->n);

	if (r < 0)
		return r;
	TH_CHECK(sim_add(u->in_use, (int)u->n) <= PERMITS);
	r = pause_a_little();
	sim_add(u->in_use, -(int)u->n);
	TH_CHECK_EQ(thrum_sem_release(u->sem, u->n), 0);
	return r;
}
THRUM_FX(use_permits, struct sem_user);

static int use_permits_twice(struct sem_user *u)
{
	int r = perhaps_limited(use_permits_fx(u));

	return r < 0 ? r : perhaps_limited(use_permits_fx(u));
}
THRUM_FX(use_permits_twice, struct sem_user);

/* Q7: never more in use than there are, and all of them there in the end, whoever gave up when. */
SIM_TEST(sync, permits_are_conserved_Q7)
{
	struct sem_user u[N];
	thrum_fx fx[N];
	thrum_sem sem;
	int in_use = 0, r;

	(void)unused;
	thrum_sem_init(&sem, PERMITS);
	for (int i = 0; i < N; i++) {
		u[i] = (struct sem_user){ &sem, &in_use, 1 + sim_choose(PERMITS) };
		fx[i] = use_permits_twice_fx(&u[i]);
	}
	r = thrum_zip_par_n(fx, N);
	TH_CHECK_EQ(thrum_sem_try_acquire(&sem, PERMITS), 0);
	TH_CHECK_EQ(thrum_sem_try_acquire(&sem, 1), -EAGAIN);
	thrum_sem_fini(&sem);
	return r;
}

struct queue_jump {
	thrum_sem sem;
	int got;
	thrum_task large;
	thrum_scope scope;
};

static int take_large(struct queue_jump *q)
{
	return thrum_sem_acquire(&q->sem, PERMITS + 1);
}
static int take_small(struct queue_jump *q)
{
	int r = thrum_sem_acquire(&q->sem, 1);

	sim_add(&q->got, r == 0);
	return r;
}
THRUM_FX(take_large, struct queue_jump);
THRUM_FX(take_small, struct queue_jump);

/* Q9: a large request that can never be served is cancelled at any moment: those behind it go, without another
 * release. */
SIM_TEST(sync, cancelled_large_request_leaves_nobody_waiting_Q9)
{
	struct queue_jump q = { .got = 0 };
	int r;

	(void)unused;
	thrum_sem_init(&q.sem, PERMITS);
	TH_CHECK_EQ(thrum_scope_open(&q.scope), 0);
	r = thrum_spawn(&q.scope, &q.large, take_large_fx(&q));
	for (int i = 0; i < PERMITS && r == 0; i++)
		r = thrum_go(&q.scope, take_small_fx(&q));
	if (r == 0) {
		r = pause_a_little();
		thrum_task_cancel(&q.large);
	}
	if (r < 0)
		thrum_scope_cancel(&q.scope);
	r = thrum_scope_close(&q.scope);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(q.got, PERMITS);
	TH_CHECK_EQ(thrum_sem_try_acquire(&q.sem, PERMITS - (unsigned)q.got), 0);
	thrum_sem_fini(&q.sem);
	return r;
}

/* --- mutex and condition --- */

struct room {
	thrum_mutex mutex;
	thrum_cond changed;
	int inside, things, made, taken;
};

static void enter(struct room *m) { TH_CHECK_EQ(sim_add(&m->inside, 1), 1); }
static void leave(struct room *m) { TH_CHECK_EQ(sim_add(&m->inside, -1), 0); }

static int visit(struct room *m)
{
	int r = thrum_mutex_lock(&m->mutex);

	if (r < 0)
		return r;
	TH_CHECK_EQ(thrum_mutex_try_lock(&m->mutex), -EDEADLK);
	enter(m);
	r = pause_a_little();
	leave(m);
	TH_CHECK_EQ(thrum_mutex_unlock(&m->mutex), 0);
	return r;
}
THRUM_FX(visit, struct room);

static int visit_twice(struct room *m)
{
	int r = perhaps_limited(visit_fx(m));

	return r < 0 ? r : perhaps_limited(visit_fx(m));
}
THRUM_FX(visit_twice, struct room);

static int try_visit(struct room *m)
{
	int r = thrum_mutex_try_lock(&m->mutex);

	if (r == -EAGAIN)
		return 0;
	TH_CHECK_EQ(r, 0);
	enter(m);
	leave(m);
	TH_CHECK_EQ(thrum_mutex_unlock(&m->mutex), 0);
	return 0;
}
THRUM_FX(try_visit, struct room);

/* Q10: one at a time, and free in the end. */
SIM_TEST(sync, mutex_excludes_Q10)
{
	struct room m = { .inside = 0 };
	int r;

	(void)unused;
	thrum_mutex_init(&m.mutex);
	r = thrum_zip_par(visit_twice_fx(&m), try_visit_fx(&m), visit_twice_fx(&m), visit_fx(&m));
	TH_CHECK_EQ(thrum_mutex_try_lock(&m.mutex), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m.mutex), 0);
	return r;
}

static int make(struct room *m)
{
	int r = thrum_mutex_lock(&m->mutex);

	if (r < 0)
		return r;
	m->things++;
	m->made++;
	TH_CHECK_EQ(sim_choose(2) ? thrum_cond_broadcast(&m->changed) : thrum_cond_signal(&m->changed), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&m->mutex), 0);
	return pause_a_little();
}
THRUM_FX(make, struct room);

static int take(struct room *m)
{
	int r = thrum_mutex_lock(&m->mutex);

	if (r < 0)
		return r;
	while (r == 0 && m->things == 0)
		r = thrum_cond_wait(&m->changed, &m->mutex);
	enter(m); /* Q11: however the wait ended, the mutex is ours */
	if (r == 0) {
		m->things--;
		m->taken++;
	}
	leave(m);
	TH_CHECK_EQ(thrum_mutex_unlock(&m->mutex), 0);
	return r;
}
THRUM_FX(take, struct room);

static int give_up_taking(struct room *m)
{
	int r = thrum_timeout(take_fx(m), thrum_us(1 + sim_choose(3)));

	return r == -ETIMEDOUT ? make(m) : r < 0 ? r : make(m); /* leaves as many as it found */
}
THRUM_FX(give_up_taking, struct room);

/* Q11: as many are made as want one, with one in between who may give up: nobody waits in vain. */
SIM_TEST(sync, condition_loses_no_signal_Q11)
{
	struct room m = { .inside = 0 };
	int r;

	(void)unused;
	thrum_mutex_init(&m.mutex);
	thrum_cond_init(&m.changed);
	r = thrum_zip_par(take_fx(&m), give_up_taking_fx(&m), make_fx(&m), take_fx(&m), make_fx(&m));
	TH_CHECK_EQ(m.made, m.things + m.taken);
	if (!sim_cancelled_run())
		TH_CHECK(m.taken >= 2);
	return r;
}

/* --- promise, latch, barrier --- */

struct meeting {
	thrum_promise promise;
	thrum_latch latch;
	thrum_barrier barrier;
	int sets, code, came, lasts;
};

static int set_first(struct meeting *m)
{
	int code = 1 + (int)sim_choose(100), r;

	r = pause_a_little();
	if (thrum_promise_set(&m->promise, code, m) == 0) {
		sim_add(&m->sets, 1);
		m->code = code;
	}
	return r;
}
static int read_it(struct meeting *m)
{
	void *value = NULL;
	int r = thrum_promise_await(&m->promise, &value), again;

	if (r < 0)
		return r;
	TH_CHECK(value == m);
	TH_CHECK_EQ(thrum_promise_try_await(&m->promise, NULL), r);
	again = thrum_promise_await(&m->promise, NULL);
	TH_CHECK(again == r || again == -ECANCELED);
	return 0;
}
THRUM_FX(set_first, struct meeting);
THRUM_FX(read_it, struct meeting);

static int read_perhaps(struct meeting *m)
{
	return perhaps_limited(read_it_fx(m));
}
THRUM_FX(read_perhaps, struct meeting);

/* Q12: it is set once, and everybody reads the same. */
SIM_TEST(sync, promise_is_set_once_Q12)
{
	struct meeting m = { .sets = 0 };
	int r;

	(void)unused;
	thrum_promise_init(&m.promise);
	r = thrum_zip_par(read_perhaps_fx(&m), set_first_fx(&m), read_it_fx(&m), set_first_fx(&m));
	if (m.sets > 0)
		TH_CHECK_EQ(thrum_promise_try_await(&m.promise, NULL), m.code);
	TH_CHECK(m.sets <= 1);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(m.sets, 1);
	return r;
}

static int arrive_and_wait(struct meeting *m)
{
	sim_add(&m->came, 1);
	TH_CHECK_EQ(thrum_latch_arrive(&m->latch), 0);
	int r = thrum_latch_wait(&m->latch);
	if (r == 0)
		TH_CHECK_EQ(sim_add(&m->came, 0), N);
	return r;
}
THRUM_FX(arrive_and_wait, struct meeting);

/* Q15: nobody passes before all have arrived, and all do. */
SIM_TEST(sync, latch_opens_for_all_Q15)
{
	struct meeting m = { .came = 0 };
	thrum_fx fx[N];

	(void)unused;
	thrum_latch_init(&m.latch, N);
	for (int i = 0; i < N; i++)
		fx[i] = arrive_and_wait_fx(&m);
	return thrum_zip_par_n(fx, N);
}

static int meet(struct meeting *m)
{
	int r = thrum_barrier_wait(&m->barrier);

	if (r == THRUM_BARRIER_LAST)
		sim_add(&m->lasts, 1);
	sim_add(&m->came, r >= 0);
	return r < 0 ? r : 0;
}
THRUM_FX(meet, struct meeting);

/* One who may give up, any number of times, and then comes for good. */
static int meet_in_the_end(struct meeting *m)
{
	int r;

	do
		r = thrum_timeout(meet_fx(m), thrum_us(1 + sim_choose(2)));
	while (r == -ETIMEDOUT);
	return r;
}
THRUM_FX(meet_in_the_end, struct meeting);

/* Q15: who gives up has not come. So three who meet go together, however often the third changes its mind. */
SIM_TEST(sync, barrier_counts_those_who_stay_Q15)
{
	struct meeting m = { .came = 0 };
	int r;

	(void)unused;
	thrum_barrier_init(&m.barrier, 3);
	r = thrum_zip_par(meet_fx(&m), meet_fx(&m), meet_in_the_end_fx(&m));
	if (!sim_cancelled_run()) {
		TH_CHECK_EQ(m.came, 3);
		TH_CHECK_EQ(m.lasts, 1);
	} else {
		TH_CHECK(m.came == 0 || m.came == 3); /* all or nobody */
		TH_CHECK_EQ(m.lasts, m.came / 3);
	}
	return r;
}

/* Who has been let go ends the barrier, though another one, who was cancelled when it had come, is still on its way out. */
static int meet_and_part(struct meeting *m)
{
	int r = meet(m);

	if (r == 0)
		memset(&m->barrier, 0xa5, sizeof m->barrier);
	return r;
}
THRUM_FX(meet_and_part, struct meeting);

static int part_if_late(struct meeting *m) { return thrum_timeout(meet_and_part_fx(m), thrum_us(1)); }
static int come_late(struct meeting *m)
{
	int r = sim_choose(2) ? thrum_sleep(thrum_us(1)) : pause_a_little();

	return r < 0 ? r : meet_and_part(m);
}
THRUM_FX(part_if_late, struct meeting);
THRUM_FX(come_late, struct meeting);

SIM_TEST_WITH(sync, barrier_may_end_when_it_has_let_all_go_Q15, .clock = THRUM_CLOCK_JUMP)
{
	struct meeting m = { .came = 0 };
	int r;

	(void)unused;
	thrum_barrier_init(&m.barrier, 2);
	r = thrum_zip_par(part_if_late_fx(&m), come_late_fx(&m));
	TH_CHECK(m.came == 0 || m.came == 2);
	TH_CHECK_EQ(m.lasts, m.came / 2);
	return r == -ETIMEDOUT ? 0 : r;
}

/* --- channel --- */

enum { ITEMS = 3 };

struct flow {
	thrum_chan chan;
	int offered, sent, received, dropped; /* sums of items, so that a doubled one cannot stand for a lost one */
	int refused;
};

static void count_drop(void *item, void *arg)
{
	sim_add(&((struct flow *)arg)->dropped, *(int *)item);
}

static int produce(struct flow *f)
{
	int items[ITEMS], r;
	size_t done = 0;

	for (int i = 0; i < ITEMS; i++)
		items[i] = 1 << (sim_add(&f->offered, 1) - 1);
	if (sim_choose(2)) {
		r = thrum_chan_send_many(&f->chan, items, ITEMS, &done);
		TH_CHECK((r >= 0) == (done == ITEMS));
	} else {
		do
			r = thrum_chan_send(&f->chan, &items[done]);
		while (r >= 0 && ++done < ITEMS);
	}
	for (size_t i = 0; i < ITEMS; i++)
		sim_add(i < done ? &f->sent : &f->refused, items[i]);
	return r == -ECANCELED ? r : 0;
}
THRUM_FX(produce, struct flow);

static int produce_perhaps(struct flow *f)
{
	return perhaps_limited(produce_fx(f));
}
THRUM_FX(produce_perhaps, struct flow);

static int consume(struct flow *f)
{
	int items[ITEMS], r;
	size_t done = 0;

	if (sim_choose(2))
		r = thrum_chan_recv_many(&f->chan, items, 1 + sim_choose(ITEMS), ITEMS, &done);
	else
		r = thrum_chan_recv(&f->chan, items), done = r == 0;
	for (size_t i = 0; i < done; i++)
		sim_add(&f->received, items[i]);
	return r == THRUM_ECLOSED ? 0 : r;
}
THRUM_FX(consume, struct flow);

/* Several receives, each of which may be given up, as long as there is something to hope for. */
static int consume_patiently(struct flow *f)
{
	int r;

	for (int i = 0; i < ITEMS; i++) {
		r = thrum_timeout(consume_fx(f), thrum_us(1 + sim_choose(3)));
		if (r < 0 && r != -ETIMEDOUT)
			return r;
	}
	return 0;
}
THRUM_FX(consume_patiently, struct flow);

static int close_late(struct flow *f)
{
	int r = thrum_sleep(thrum_us(sim_choose(4)));

	thrum_chan_close(&f->chan);
	return r;
}
THRUM_FX(close_late, struct flow);

/* Q4, Q5, Q6, G10: each item is refused, received or dropped, exactly one of these, whatever the capacity and the
 * policy. */
SIM_TEST(sync, each_item_ends_once_Q4_Q5_Q6)
{
	static const size_t capacities[] = { 0, 1, 2, THRUM_CHAN_UNBOUNDED };
	struct flow f = { .offered = 0 };
	thrum_chan_opts o = { .size = sizeof o, .item_bytes = sizeof(int), .drop = count_drop, .drop_arg = &f };
	int r;

	(void)unused;
	o.capacity = capacities[sim_choose(4)];
	if (o.capacity != THRUM_CHAN_UNBOUNDED)
		o.overflow = sim_choose(o.capacity ? 3 : 2);
	TH_CHECK_EQ(thrum_chan_init_with(&f.chan, &o), 0);
	r = thrum_zip_par(produce_perhaps_fx(&f), consume_patiently_fx(&f), produce_fx(&f), consume_patiently_fx(&f),
			  close_late_fx(&f));
	thrum_chan_close(&f.chan);
	thrum_chan_fini(&f.chan);
	TH_CHECK_EQ(f.sent, f.received + f.dropped);
	TH_CHECK_EQ(f.sent + f.refused, (1 << f.offered) - 1);
	return r;
}

/* --- select --- */

struct table {
	thrum_chan a, b;
	thrum_promise stop;
	int items, sent, received;
};

/* One select over a send and a receive on each of two channels, and a promise that ends it all. */
static int play(struct table *t)
{
	int in = 1 << (sim_add(&t->items, 1) - 1), out = 0, r;
	void *value = NULL;
	thrum_case cases[] = { thrum_case_send(&t->a, &in), thrum_case_recv(&t->a, &out), thrum_case_recv(&t->b, &out),
			       thrum_case_send(&t->b, &in), thrum_case_await(&t->stop, &value) };

	if (sim_choose(3) == 0)
		cases[sim_choose(4)].kind = THRUM_CASE_NONE;
	r = thrum_select(cases, 5);
	if (r < 0)
		return r;
	TH_CHECK_EQ(cases[r].code, 0);
	TH_CHECK_EQ(out != 0, r == 1 || r == 2);
	TH_CHECK_EQ(value != NULL, r == 4);
	if (r == 0 || r == 3)
		sim_add(&t->sent, in);
	sim_add(&t->received, out);
	return 0;
}
THRUM_FX(play, struct table);

static int play_twice(struct table *t)
{
	int r = perhaps_limited(play_fx(t));

	return r < 0 ? r : perhaps_limited(play_fx(t));
}
THRUM_FX(play_twice, struct table);

static int stop_playing(struct table *t)
{
	int r = thrum_sleep(thrum_us(1 + sim_choose(6)));

	TH_CHECK_EQ(thrum_promise_set(&t->stop, 0, t), 0);
	return r;
}
THRUM_FX(stop_playing, struct table);

/* Q4, Q12: of each select exactly one case was done, or none and it says so; two that meet take each other once. */
SIM_TEST(sync, selects_do_one_case_each_Q4)
{
	struct table t = { .items = 0 };
	size_t capacity = sim_choose(2);
	int left, r;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&t.a, sizeof(int), capacity), 0);
	TH_CHECK_EQ(thrum_chan_init(&t.b, sizeof(int), capacity), 0);
	thrum_promise_init(&t.stop);
	r = thrum_zip_par(play_twice_fx(&t), play_twice_fx(&t), stop_playing_fx(&t), play_twice_fx(&t));
	while (thrum_chan_try_recv(&t.a, &left) == 0 || thrum_chan_try_recv(&t.b, &left) == 0)
		t.received += left;
	TH_CHECK_EQ(t.sent, t.received);
	thrum_chan_fini(&t.a);
	thrum_chan_fini(&t.b);
	return r;
}

enum { QUESTIONS = 4 };

struct talk {
	thrum_chan never;
	thrum_promise answer[QUESTIONS];
};

static int hear(struct talk *t)
{
	int out, r;

	for (int i = 0; i < QUESTIONS; i++) {
		thrum_case cases[] = { thrum_case_recv(&t->never, &out), thrum_case_await(&t->answer[i], NULL) };

		r = thrum_select(cases, 2);
		if (r < 0)
			return r;
		TH_CHECK_EQ(r, 1);
	}
	return 0;
}
static int answer(struct talk *t)
{
	for (int i = 0; i < QUESTIONS; i++) {
		TH_CHECK_EQ(thrum_promise_set(&t->answer[i], 0, NULL), 0);
		(void)pause_a_little();
	}
	return 0;
}
THRUM_FX(hear, struct talk);
THRUM_FX(answer, struct talk);

/* Q12: nothing that comes while a select looks and queues itself is missed; else it would wait for ever. */
SIM_TEST(sync, select_misses_nothing_Q12)
{
	struct talk t;
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&t.never, sizeof(int), 0), 0);
	for (int i = 0; i < QUESTIONS; i++)
		thrum_promise_init(&t.answer[i]);
	r = thrum_zip_par(hear_fx(&t), answer_fx(&t), hear_fx(&t));
	thrum_chan_fini(&t.never);
	return r;
}
