/* test/sim/test_scopes.c: scopes, children, finalizers and resources under seeds and cancels. */
#include "../support/sim_run.h"
#include <errno.h>

enum { N = 4 };

static int nap(int *ms)
{
	sim_enter();
	return sim_leave(thrum_sleep(thrum_ms(*ms)));
}
THRUM_FX(nap, int);

/* S1, K1: however the body leaves, close returns after the last child. */
SIM_TEST(scopes, close_waits_for_every_child_S1)
{
	thrum_scope s;
	thrum_task t[N];
	int ms[N], r;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N; i++) {
		ms[i] = (int)sim_choose(3);
		r = sim_choose(2) ? thrum_spawn(&s, &t[i], nap_fx(&ms[i])) : thrum_go(&s, nap_fx(&ms[i]));
		if (r == 0 && sim_choose(2))
			(void)thrum_yield();
	}
	if (sim_choose(3) == 0)
		thrum_scope_cancel(&s);
	r = thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	return r;
}

struct sibling {
	thrum_task *other;
	int code;
};

static int join_other(struct sibling *j)
{
	sim_enter();
	j->code = thrum_join(j->other);
	return sim_leave(j->code == -ECANCELED ? j->code : 0);
}
THRUM_FX(join_other, struct sibling);

/* K3, K8, G13: many joiners of one child all get its code; a cancelled one gives up, the child goes on. */
SIM_TEST(scopes, many_joiners_K8_K3)
{
	thrum_scope s;
	thrum_task child, joiner[N];
	struct sibling j[N];
	int ms = 2, r, spawned = 0;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	r = thrum_spawn(&s, &child, nap_fx(&ms));
	for (int i = 0; i < N && r == 0; i++, spawned++) {
		j[i] = (struct sibling){ &child, -1 };
		r = thrum_spawn(&s, &joiner[i], join_other_fx(&j[i]));
		if (r == 0 && sim_choose(4) == 0)
			thrum_task_cancel(&joiner[i]);
	}
	if (spawned > 0)
		(void)thrum_join(&child);
	r = thrum_scope_close(&s);
	for (int i = 0; i < spawned && !sim_cancelled_run(); i++)
		TH_CHECK(j[i].code == 0 || j[i].code == -ECANCELED || j[i].code == -1);
	return r;
}

/* --- resources --- */

static int acquire(int *slot)
{
	int r;

	(void)slot;
	r = sim_choose(2) ? thrum_sleep(thrum_ms(1)) : 0;
	TH_CHECK_EQ(r, 0); /* shielded: no cancel reaches it (A1) */
	if (sim_choose(5) == 0)
		return THRUM_APP(7);
	sim_add(&sim_counts.acquired, 1);
	sim_add(&sim_counts.held, 1);
	return 0;
}
THRUM_FX(acquire, int);

static int release(int *slot)
{
	(void)slot;
	TH_CHECK_EQ(thrum_yield(), 0); /* shielded (A4) */
	sim_add(&sim_counts.released, 1);
	sim_add(&sim_counts.held, -1);
	return 0;
}
THRUM_FX(release, int);

static int use(int *ms)
{
	TH_CHECK(sim_add(&sim_counts.held, 0) > 0);
	return thrum_sleep(thrum_ms(*ms));
}
THRUM_FX(use, int);

static int bracketed(int *ms)
{
	int r;

	sim_enter();
	r = thrum_bracket(acquire_fx(ms), use_fx(ms), release_fx(ms));
	return sim_leave(r == THRUM_APP(7) ? 0 : r);
}
THRUM_FX(bracketed, int);

static int scoped(int *ms)
{
	int r;

	sim_enter();
	r = thrum_acquire_release(acquire_fx(ms), release_fx(ms));
	if (r == 0)
		r = use(ms);
	return sim_leave(r == THRUM_APP(7) ? 0 : r);
}
THRUM_FX(scoped, int);

/* A1, A3, A4, A8: each acquire that succeeded is released exactly once; the oracle counts. */
SIM_TEST(scopes, every_acquire_is_released_once_A4_A8)
{
	int ms[N];
	thrum_fx fx[N];
	bool limited = sim_choose(2);
	int r;

	(void)unused;
	for (int i = 0; i < N; i++) {
		ms[i] = (int)sim_choose(3);
		fx[i] = sim_choose(2) ? bracketed_fx(&ms[i]) : scoped_fx(&ms[i]);
	}
	if (limited) {
		thrum_zip_par_op op = { fx, N };
		r = thrum_timeout(thrum_zip_par_fx(&op), thrum_ms(1 + sim_choose(3)));
	} else {
		r = thrum_zip_par_n(fx, N);
	}
	TH_CHECK_EQ(sim_counts.held, 0);
	return r == -ETIMEDOUT ? 0 : r;
}

/* --- finalizers --- */

struct note {
	int *order, *n, id;
};

static int note(struct note *f)
{
	TH_CHECK_EQ(thrum_yield(), 0);
	f->order[(*f->n)++] = f->id;
	return 0;
}
THRUM_FX(note, struct note);

struct undefer_race {
	thrum_deferred d[N];
	int taken[N], ran[N];
};

static int run_late(int *ran)
{
	int r = thrum_yield(); /* time for somebody to reach for it while it runs */

	sim_add(ran, 1);
	return r;
}
THRUM_FX(run_late, int);

static int take_some_back(struct undefer_race *r)
{
	for (int i = 0; i < 2 * N; i++) { /* some twice */
		uint32_t which = sim_choose(N);

		sim_add(&r->taken[which], thrum_undefer(&r->d[which]));
		if (sim_choose(2))
			(void)thrum_yield();
	}
	return 0;
}
THRUM_FX(take_some_back, struct undefer_race);

/* However a close and those who take finalizers back meet: each is taken by one of them, or it runs, once. */
SIM_TEST(scopes, undefer_meets_the_close_S8)
{
	struct undefer_race race = { .taken = { 0 } };
	thrum_scope outer, s;
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(thrum_defer(&s, &race.d[i], run_late_fx(&race.ran[i])), 0);
	for (int i = 0; i < 2; i++)
		if (thrum_go(&outer, take_some_back_fx(&race)) < 0)
			break; /* it is cancelled */
	if (sim_choose(2))
		(void)thrum_yield();
	r = thrum_scope_close(&s);
	TH_CHECK(r == 0 || (r == -ETIMEDOUT && sim_cancelled_inside()));
	r = thrum_scope_close(&outer);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(race.taken[i] + race.ran[i], 1);
	return r;
}

/* S3, S4: all finalizers run, last first, after the children, whatever happens. */
SIM_TEST(scopes, finalizers_run_last_first_S3)
{
	thrum_scope s;
	thrum_deferred d[3];
	int order[3], n = 0, ms = (int)sim_choose(3), r;
	struct note notes[3];

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 3; i++) {
		notes[i] = (struct note){ order, &n, i };
		TH_CHECK_EQ(thrum_defer(&s, &d[i], note_fx(&notes[i])), 0);
	}
	(void)!thrum_go(&s, nap_fx(&ms));
	r = thrum_scope_close(&s);
	TH_CHECK_EQ(n, 3);
	TH_CHECK(order[0] == 2 && order[1] == 1 && order[2] == 0);
	return r;
}

/* --- channels --- */

struct flow {
	thrum_chan chan;
	int sent, received, in_hand;
};

static int produce(struct flow *f)
{
	for (int i = 0; i < 5; i++) {
		int r = thrum_chan_send(&f->chan, &i);
		if (r < 0)
			return r == THRUM_ECLOSED ? 0 : r;
		sim_add(&f->sent, 1);
	}
	return 0;
}
THRUM_FX(produce, struct flow);

static int consume(struct flow *f)
{
	for (int i = 0; i < 5; i++) {
		int item, r = thrum_chan_recv(&f->chan, &item);
		if (r < 0)
			return r == THRUM_ECLOSED ? 0 : r;
		sim_add(&f->received, 1);
	}
	return 0;
}
THRUM_FX(consume, struct flow);

static int limited_consume(struct flow *f)
{
	int r = thrum_timeout(consume_fx(f), thrum_us(1));

	return r == -ETIMEDOUT ? 0 : r;
}
THRUM_FX(limited_consume, struct flow);

/* Q2, Q4: an item is sent, or not; taken, or still there. None is lost or doubled by a cancel. */
SIM_TEST(scopes, channel_conserves_items_Q4)
{
	struct flow f = { 0 };
	int item, r;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&f.chan, sizeof item, sim_choose(3)), 0);
	if (sim_choose(2))
		r = thrum_zip_par(produce_fx(&f), consume_fx(&f), produce_fx(&f), consume_fx(&f));
	else
		r = thrum_race(produce_fx(&f), limited_consume_fx(&f), consume_fx(&f));
	thrum_chan_close(&f.chan);
	while (thrum_chan_try_recv(&f.chan, &item) == 0)
		f.in_hand++;
	TH_CHECK_EQ(f.sent, f.received + f.in_hand);
	thrum_chan_fini(&f.chan);
	return r > 0 ? 0 : r;
}

/* --- roots from inside --- */

/* X7: what is still running when the main effect ends is cancelled and awaited. */
SIM_TEST_WITH(scopes, roots_end_with_the_runtime_X7, .no_sweep = true)
{
	static thrum_handle h[N]; /* outlive the main effect */
	static int ms[N];

	(void)unused;
	for (int i = 0; i < N; i++) {
		ms[i] = 1000;
		TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h[i], nap_fx(&ms[i])), 0);
	}
	if (sim_choose(2))
		thrum_handle_cancel(&h[0]);
	return sim_choose(2) ? thrum_yield() : 0;
}

/* C1: nothing moves the clock while anything can run, on any worker. */
static int hop(int *ms)
{
	thrum_time before = thrum_now();
	int r;

	for (unsigned i = sim_choose(4); i > 0; i--)
		if ((r = thrum_yield()) < 0)
			return r;
	TH_CHECK_EQ(thrum_now().ns, before.ns);
	r = thrum_sleep(thrum_ms(*ms));
	if (r == 0)
		TH_CHECK_EQ(thrum_now().ns, before.ns + thrum_ms(*ms).ns);
	return r;
}
THRUM_FX(hop, int);

SIM_TEST_WITH(scopes, virtual_time_is_exact_C1, .clock = THRUM_CLOCK_JUMP)
{
	int ms[N] = { 1, 2, 3, 1 };
	thrum_time start = thrum_now();
	int r;

	(void)unused;
	r = thrum_zip_par(hop_fx(&ms[0]), hop_fx(&ms[1]), hop_fx(&ms[2]), hop_fx(&ms[3]));
	if (r == 0)
		TH_CHECK_EQ(thrum_time_sub(thrum_now(), start).ns, thrum_ms(3).ns);
	return r;
}
