/* test/sim/test_spawn.c: children of a scope under seeds and cancels. As long as nothing happens a child is a call
 * (core/light.h): each of these does something drawn: nothing; or it calls into the library, blocks, fails, forks, has children
 * itself, joins a sibling, spawns one, cancels one, or all. Its spawner joins some of them, in any order, and cancels some;
 * thieves may come at any access. Whatever happens, a scope closes after all its children, each of which ran once or not at
 * all, and not if it was cancelled before it began. */
#include "../support/child.h"
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>
#include <thrum/test.h>

enum { KIDS = 7, LATE = 5, DEPTH = 2 };
enum act { NOTHING, CHECK, YIELD, SLEEP, IDENTITY, FORK, FORK_DEEP, LOCAL, NEST, JOIN, SPAWN, CANCEL, FAIL, CANCEL_ALL, ACTS };

struct body;
struct kid {
	thrum_task task;
	struct body *of;
	enum act act;
	int code;                     /* of FAIL */
	unsigned depth;
	uintptr_t local;              /* what its spawner had then */
	int spawned, stopped;         /* set once the call has returned */
	int began, ended, result, forked;
};
struct body {
	thrum_scope scope;
	struct kid own[KIDS], late[LATE];
	int n, n_late;
	int stopped, closing;         /* the scope is cancelled; or about to be closed */
	unsigned calls_1_in, last_act;
};

/* Of the run: an effect that fails, and a time that is limited, cancel as well. */
static bool has_failures, is_limited;
static bool may_be_cancelled(void) { return has_failures || is_limited || sim_cancelled_run(); }

static const thrum_local local = THRUM_LOCAL_INIT("local", NULL);

static int get(int *x) { return __atomic_load_n(x, __ATOMIC_ACQUIRE); }
static void set(int *x) { __atomic_store_n(x, 1, __ATOMIC_RELEASE); }

static int run_kid(struct kid *x);
THRUM_FX(run_kid, struct kid);

static int count(struct kid *x)
{
	sim_add(&x->forked, 1);
	return 0;
}
THRUM_FX(count, struct kid);

static int sleep_and_count(struct kid *x)
{
	int r = thrum_sleep(thrum_ns(sim_choose(3) * TH_SIM_TICK_NS));

	sim_add(&x->forked, 1);
	return r;
}
THRUM_FX(sleep_and_count, struct kid);

static int fork_twice(struct kid *x) { return thrum_zip_par(count_fx(x), sleep_and_count_fx(x)); }
THRUM_FX(fork_twice, struct kid);

static void init_kid(struct kid *x, struct body *b, unsigned depth)
{
	memset(x, 0, sizeof *x);
	x->of = b;
	x->depth = depth;
	x->code = THRUM_APP((int)sim_choose(1000));
	if (sim_choose(b->calls_1_in) == 0)
		x->act = (enum act)(1 + sim_choose(b->last_act));
	x->local = (uintptr_t)thrum_local_get(&local);
}

static struct kid *any_kid(struct body *b)
{
	return sim_choose(3) ? &b->own[sim_choose(KIDS)] : &b->late[sim_choose(LATE)];
}

/* Only who never waits for a sibling, so nobody waits in a circle. */
static int join_sibling(struct kid *x)
{
	struct kid *k = any_kid(x->of);
	int r;

	if (!get(&k->spawned) || k == x || k->act == JOIN || k->act == NEST)
		return 0;
	r = thrum_join(&k->task);
	if (r != -ECANCELED) /* else it may be the joiner that is cancelled */
		TH_CHECK(k->ended == 1 && k->began == 1 && r == k->result);
	return r == -ECANCELED ? r : 0;
}

static int spawn(struct kid *x)
{
	struct body *b = x->of;
	bool was_stopped = get(&b->stopped);
	int r;

	r = sim_choose(6) ? thrum_spawn(&b->scope, &x->task, run_kid_fx(x))
			  : thrum_spawn_with(&b->scope, &x->task, run_kid_fx(x), THRUM_SPAWN_OPTS(.name = "named"));
	TH_CHECK(r == 0 || r == -ECANCELED || r == THRUM_ECLOSED);
	TH_CHECK(r == 0 || b->last_act >= CANCEL || b->closing || may_be_cancelled());
	if (was_stopped)
		TH_CHECK(r < 0); /* S6 */
	if (r == 0)
		set(&x->spawned);
	return r;
}

static int spawn_sibling(struct kid *x)
{
	struct body *b = x->of;
	int i = sim_add(&b->n_late, 1) - 1;

	if (i >= LATE)
		return 0;
	init_kid(&b->late[i], b, 0);
	(void)spawn(&b->late[i]);
	return 0;
}

static void stop(struct kid *k)
{
	if (!get(&k->spawned))
		return;
	thrum_task_cancel(&k->task);
	set(&k->stopped);
}

static void stop_all(struct body *b)
{
	thrum_scope_cancel(&b->scope);
	set(&b->stopped);
}

static int run_body(unsigned depth, unsigned calls_1_in, unsigned last_act);

static int act(struct kid *x)
{
	switch (x->act) {
	case CHECK: return thrum_check();
	case YIELD: return thrum_yield();
	case SLEEP: return thrum_sleep(thrum_ns((1 + sim_choose(3)) * TH_SIM_TICK_NS));
	case IDENTITY: TH_CHECK(thrum_self_id() == &x->task); return 0; /* K10 */
	case FORK: return thrum_zip_par(count_fx(x), count_fx(x));
	case FORK_DEEP: return thrum_zip_par(fork_twice_fx(x), count_fx(x), fork_twice_fx(x));
	case LOCAL: TH_CHECK(thrum_local_get(&local) == (void *)x->local); return 0; /* K9 */
	case NEST: return x->depth ? run_body(x->depth - 1, x->of->calls_1_in, x->of->last_act) : 0;
	case JOIN: return join_sibling(x);
	case SPAWN: return spawn_sibling(x);
	case CANCEL: stop(any_kid(x->of)); return 0;
	case FAIL: return x->code;
	case CANCEL_ALL: stop_all(x->of); return 0;
	default: return 0;
	}
}

static int run_kid(struct kid *x)
{
	sim_enter();
	TH_CHECK_EQ(x->began++, 0);
	if (thrum_workers() == 1) /* else it may have been about to begin */
		TH_CHECK(!get(&x->stopped) && !get(&x->of->stopped)); /* Z5 */
	x->result = act(x);
	x->ended++;
	return sim_leave(x->result);
}

static void join_one(struct kid *x)
{
	int r = thrum_join(&x->task);

	TH_CHECK(x->began == x->ended && x->began <= 1);
	TH_CHECK(x->began ? r == x->result : r == -ECANCELED);
	TH_CHECK_EQ(thrum_join(&x->task), r); /* K8 */
	if (x->act == FORK && r == 0)
		TH_CHECK_EQ(x->forked, 2);
	if (x->act == FORK_DEEP && r == 0)
		TH_CHECK_EQ(x->forked, 5);
}

/* A shield around the joiner is none around the child. */
static int join_shielded(void *x)
{
	join_one(x);
	return 0;
}

/* The opener, from a scope inside: that goes the long way. */
static void spawn_from_inside(struct body *b, struct kid *x)
{
	thrum_scope inner;
	int r;

	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	(void)spawn(x);
	if (get(&x->spawned) && sim_choose(2))
		join_one(x);
	if (b->n && sim_choose(2) && get(&b->own[0].spawned))
		join_one(&b->own[0]);
	r = thrum_scope_close(&inner);
	TH_CHECK(r == 0 || (r == -ETIMEDOUT && sim_cancelled_inside()));
}

static void spawn_next(struct body *b, unsigned depth)
{
	struct kid *x = &b->own[b->n++];

	if (sim_choose(10) == 0)
		TH_CHECK_EQ(thrum_local_set(&local, x), 0);
	init_kid(x, b, depth);
	if (sim_choose(10) == 0)
		spawn_from_inside(b, x);
	else
		(void)spawn(x);
}

static void join_some(struct body *b)
{
	for (int i = b->n; i-- > 0;) { /* the usual order */
		struct kid *x = &b->own[sim_choose(4) ? i : (int)sim_choose((uint32_t)b->n)];
		if (!get(&x->spawned) || sim_choose(4) == 0)
			continue;
		if (sim_choose(4))
			join_one(x);
		else
			TH_CHECK_EQ(thrum_shield((thrum_fx){ join_shielded, x }), 0);
	}
}

static void check_ended(const struct kid *x, bool all_ran)
{
	TH_CHECK(x->began == x->ended && x->began <= 1); /* S1 */
	if (all_ran && x->spawned)
		TH_CHECK_EQ(x->began, 1);
}

static int run_body(unsigned depth, unsigned calls_1_in, unsigned last_act)
{
	struct body b;
	int r, code = 0;
	bool all_ran;

	memset(&b, 0, sizeof b);
	b.calls_1_in = calls_1_in;
	b.last_act = last_act;
	TH_CHECK_EQ(thrum_scope_open(&b.scope), 0);
	for (unsigned steps = sim_choose(12); steps > 0; steps--) {
		switch (sim_choose(calls_1_in > 6 ? 4 : 8)) {
		case 0: case 1: case 2: if (b.n < KIDS) spawn_next(&b, depth); break;
		case 3: join_some(&b); break;
		case 4: code = thrum_yield(); break;
		case 5: if (last_act >= CANCEL && b.n) stop(&b.own[sim_choose((uint32_t)b.n)]); break;
		case 6: (void)thrum_zip_par(thrum_succeed(), thrum_succeed()); break;
		case 7: if (last_act >= CANCEL_ALL && sim_choose(4) == 0) stop_all(&b); break;
		}
	}
	if (sim_choose(2))
		join_some(&b);
	if (code < 0)
		(void)thrum_scope_fail(&b.scope, code);
	b.closing = 1;
	r = thrum_scope_close(&b.scope);
	all_ran = r == 0 && last_act < CANCEL && !may_be_cancelled();
	for (int i = 0; i < KIDS; i++)
		check_ended(&b.own[i], all_ran);
	for (int i = 0; i < LATE; i++)
		check_ended(&b.late[i], all_ran);
	if (last_act < CANCEL)
		TH_CHECK(r == 0 || may_be_cancelled()); /* Z6 */
	TH_CHECK_EQ(thrum_local_set(&local, NULL), 0);
	return r == -ECANCELED ? r : 0;
}

static int run_top(unsigned calls_1_in, unsigned last_act)
{
	int r;

	has_failures = last_act >= FAIL;
	is_limited = false;
	r = run_body(DEPTH, calls_1_in, last_act);
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK(r == 0 || sim_cancelled_run() || last_act >= CANCEL);
	return sim_cancelled_run() ? r : 0;
}

SIM_TEST(spawn, children_that_are_calls_S1)
{
	(void)unused;
	return run_top(1u << 30, SPAWN);
}

SIM_TEST(spawn, children_that_rarely_block_S1_K8_K9_K10)
{
	(void)unused;
	return run_top(8, SPAWN);
}

SIM_TEST(spawn, children_that_often_block_S1_K8_K9_K10)
{
	(void)unused;
	return run_top(2, SPAWN);
}

SIM_TEST(spawn, children_that_are_cancelled_one_by_one_Z5)
{
	(void)unused;
	return run_top(2 + sim_choose(4), CANCEL);
}

SIM_TEST(spawn, children_that_fail_or_cancel_all_Z4_Z5_S6)
{
	(void)unused;
	return run_top(2 + sim_choose(8), CANCEL_ALL);
}

/* A cancel that comes whenever the time is up. */
SIM_TEST_WITH(spawn, children_in_limited_time_T3_T7, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	unsigned calls_1_in = 2 + sim_choose(6);
	thrum_scope s;
	int r;

	(void)unused;
	has_failures = false;
	is_limited = true;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ns((1 + sim_choose(6)) * TH_SIM_TICK_NS)), 0);
	r = run_body(DEPTH, calls_1_in, SPAWN);
	if (r < 0)
		(void)thrum_scope_fail(&s, r);
	r = thrum_scope_close(&s);
	TH_CHECK(r == 0 || r == -ETIMEDOUT);
	return 0;
}

/* --- a cancel reaches a child that makes no call --- */

struct forker {
	thrum_scope scope;
	thrum_task task;
	int left, one; /* without a thief it ends; the child is cancelled first, and by itself */
	int spawned;
	bool forks;    /* else it asks */
};

static int fork_on(struct forker *x)
{
	for (int turns = 0; thrum_workers() > 1 || --x->left > 0; turns++) {
		int r = x->forks ? thrum_zip_par(thrum_succeed(), thrum_succeed()) : thrum_check();
		if (r < 0)
			break;
		TH_CHECK(turns < 1000000);
	}
	if (thrum_check() == 0)
		return 0;
	if (!sim_cancelled_run()) /* G2 */
		TH_CHECK_EQ(thrum_cancel_reason()->kind, x->one ? THRUM_CANCEL_EXPLICIT : THRUM_CANCEL_DEADLINE);
	return -ECANCELED;
}
THRUM_FX(fork_on, struct forker);

static int cancel_it(struct forker *x)
{
	x->one &= get(&x->spawned);
	if (x->one)
		thrum_task_cancel(&x->task);
	if (!x->one || sim_choose(2))
		thrum_scope_cancel_why(&x->scope, &(thrum_reason){ .kind = THRUM_CANCEL_DEADLINE });
	return 0;
}
THRUM_FX(cancel_it, struct forker);


SIM_TEST(spawn, a_cancel_stops_a_child_that_stays_a_call_G4)
{
	struct forker x = { .left = 50, .one = (int)sim_choose(2), .forks = sim_choose(2) };
	thrum_task canceller;
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&x.scope), 0);
	r = thrum_spawn(&x.scope, &canceller, cancel_it_fx(&x));
	if (r == 0)
		r = thrum_spawn(&x.scope, &x.task, fork_on_fx(&x));
	if (r == 0) {
		set(&x.spawned);
		r = thrum_join(&x.task);
		TH_CHECK(r == -ECANCELED || (r == 0 && thrum_workers() == 1));
	}
	r = thrum_scope_close(&x.scope);
	return r == -ETIMEDOUT ? 0 : r;
}

/* --- a worker that sleeps is called for a child, while its spawner works on --- */

static int note_it(void *ran)
{
	set(ran);
	return 0;
}

SIM_TEST(spawn, a_child_is_offered_to_sleepers_I1_I2)
{
	thrum_scope s;
	thrum_task t;
	int ran = 0, points = 0, r;

	(void)unused;
	if (thrum_workers() == 1)
		return 0;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	r = sim_choose(2) ? thrum_yield() : 0;
	if (r == 0)
		r = thrum_spawn(&s, &t, (thrum_fx){ note_it, &ran });
	while (r == 0 && !get(&ran)) {
		TH_CHECK(++points < 1000000);
		th_sim_point();
	}
	(void)thrum_scope_close(&s);
	return r;
}

/* --- the numbers of children that several spawn at a time --- */

enum { MANY = 6 };
struct many {
	thrum_scope scope;
	thrum_latch all;
	struct one {
		struct many *of;
		thrum_task task;
		int number; /* that it is expected to have; -1: any */
	} own[MANY], late[MANY];
	int spawned;
};

static int wait_and_fail(struct one *x)
{
	(void)thrum_latch_arrive(&x->of->all);
	if (thrum_latch_wait(&x->of->all) < 0)
		return THRUM_APP((int)(x - x->of->own)); /* another one has failed already */
	return THRUM_APP((int)(x - x->of->own)); /* `late` lies behind `own` */
}
THRUM_FX(wait_and_fail, struct one);

static int spawn_and_fail(struct one *x)
{
	struct one *late = &x->of->late[x - x->of->own];

	late->of = x->of;
	if (thrum_spawn(&x->of->scope, &late->task, wait_and_fail_fx(late)) < 0)
		(void)thrum_latch_arrive(&x->of->all);
	return wait_and_fail(x);
}
THRUM_FX(spawn_and_fail, struct one);

static void note(const thrum_cause *c, unsigned *seen)
{
	for (const thrum_cause *part = c ? c->first : NULL; part; part = part->next)
		note(part, seen);
	if (!c || c->first || c->index == THRUM_NO_INDEX)
		return;
	TH_CHECK(c->index < 2 * MANY && !(*seen & 1u << c->index));
	*seen |= 1u << c->index;
}

SIM_TEST_WITH(spawn, numbers_are_unique_and_without_gaps_G2, .clock = THRUM_CLOCK_REAL, .no_sweep = true)
{
	struct many m = { .spawned = 0 };
	const thrum_cause *why;
	unsigned seen = 0;

	(void)unused;
	TH_CHECK_EQ(thrum_latch_init(&m.all, 2 * MANY), 0);
	TH_CHECK_EQ(thrum_scope_open(&m.scope), 0);
	for (int i = 0; i < MANY; i++) {
		m.own[i].of = &m;
		TH_CHECK_EQ(thrum_spawn(&m.scope, &m.own[i].task, spawn_and_fail_fx(&m.own[i])), 0);
	}
	TH_CHECK(thrum_latch_wait(&m.all) <= 0); /* one may have failed by now */
	TH_CHECK(thrum_scope_close(&m.scope) < 0);
	why = thrum_last_cause();
	note(why, &seen);
	for (const thrum_cause *c = why; c; c = c->first)
		if (c->omitted)
			return 0; /* there was no memory for all */
	TH_CHECK_EQ(seen, (1u << 2 * MANY) - 1);
	return 0;
}

/* --- a child that stays a call, and somebody else who joins it --- */

struct joined {
	thrum_task child, joiner;
	int spawned;
};

static int take_a_while(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20; i++)
		thrum_test_point();
	return 0;
}

static int join_the_other(struct joined *j)
{
	while (!__atomic_load_n(&j->spawned, __ATOMIC_ACQUIRE))
		if (thrum_yield() < 0)
			return -ECANCELED;
	return thrum_join(&j->child);
}
THRUM_FX(join_the_other, struct joined);

static int call_what_another_joins(void *unused)
{
	struct joined j = { .spawned = 0 };
	thrum_scope s;
	int code = thrum_scope_open(&s);

	(void)unused;
	if (code < 0)
		return code;
	TH_CHECK_EQ(thrum_spawn(&s, &j.joiner, join_the_other_fx(&j)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &j.child, (thrum_fx){ take_a_while, NULL }), 0);
	__atomic_store_n(&j.spawned, 1, __ATOMIC_RELEASE);
	TH_CHECK_EQ(thrum_join(&j.child), 0); /* as a call, unless somebody has taken it */
	TH_CHECK_EQ(thrum_join(&j.joiner), 0);
	return thrum_scope_close(&s);
}

/* K8: who has joined it meanwhile is woken. */
TH_TEST(spawn, joiner_of_a_call_is_woken_K8)
{
	const thrum_test_opts o = { .size = sizeof o, .workers = 2, .runs = TH_SLOW ? 500 : 20000, .name = "joiner" };

	TH_CHECK_EQ(thrum_test_search((thrum_fx){ call_what_another_joins, NULL }, &o, NULL), 0);
}
