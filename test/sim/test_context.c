/* test/sim/test_context.c: fiber locals, services and layers under seeds and cancels: who sees what, and that nothing of
 * it is left. */
#include "../support/sim_run.h"
#include "core/locals.h"
#include <errno.h>

enum { N = 4 };

static const thrum_local key = THRUM_LOCAL_INIT("key", NULL);
static const thrum_local other = THRUM_LOCAL_INIT("other", NULL);

static void *ptr(long n) { return (void *)(intptr_t)n; }
static long get(const thrum_local *k) { return (long)(intptr_t)thrum_local_get(k); }

/* Every array is gone when the main effect is the last that lives; it has none itself. */
static int balanced(int code)
{
	TH_CHECK_EQ(th_load_rlx(&th_sim_locals_live), 0);
	return code;
}

static void go(thrum_scope *s, thrum_fx fx)
{
	int r = thrum_go(s, fx);

	TH_CHECK(r == 0 || r == -ECANCELED || r == THRUM_ECLOSED);
}

/* --- locals --- */

struct reader {
	thrum_scope *scope;  /* where it spawns another */
	struct reader *next;
	long value;          /* what it must see, whatever others do */
	int ms;
};
static int reader(struct reader *r);
THRUM_FX(reader, struct reader);

static int reader(struct reader *r)
{
	int code;

	sim_enter();
	TH_CHECK_EQ(get(&key), r->value);
	if (sim_choose(2))
		TH_CHECK_EQ(thrum_local_set(&other, r), 0);
	if (r->next) {
		r->next->value = r->value * 10;
		TH_CHECK_EQ(thrum_local_set(&key, ptr(r->next->value)), 0);
		go(r->scope, reader_fx(r->next));
		TH_CHECK_EQ(thrum_local_set(&key, ptr(r->value)), 0);
	}
	code = thrum_sleep(thrum_ms(r->ms));
	TH_CHECK_EQ(get(&key), r->value);
	return sim_leave(code);
}

static int snapshots(void *arg)
{
	struct reader r[N], late[N];
	thrum_task t[N];
	thrum_scope s;

	(void)arg;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N; i++) {
		late[i] = (struct reader){ &s, NULL, 0, (int)sim_choose(3) };
		r[i] = (struct reader){ &s, sim_choose(2) ? &late[i] : NULL, i + 1, (int)sim_choose(3) };
		TH_CHECK_EQ(thrum_local_set(&key, ptr(r[i].value)), 0);
		if (sim_choose(2))
			go(&s, reader_fx(&r[i]));
		else if (thrum_spawn(&s, &t[i], reader_fx(&r[i])) == 0 && sim_choose(3) == 0)
			thrum_task_cancel(&t[i]);
	}
	TH_CHECK_EQ(thrum_local_set(&key, ptr(99)), 0);
	if (sim_choose(4) == 0)
		thrum_scope_cancel(&s);
	return thrum_scope_close(&s);
}

/* K9, K10: a child has its spawner's values of the moment of the spawn, wherever and whenever it runs, or never does; and
 * the last one to let go frees them. */
SIM_TEST_WITH(context, snapshots_and_their_references_K9_K10, .clock = THRUM_CLOCK_REAL)
{
	thrum_scope s;
	int code;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	go(&s, (thrum_fx){ snapshots, NULL });
	code = thrum_scope_close(&s);
	return balanced(code);
}

static int item(int *ms)
{
	int code;

	sim_enter();
	TH_CHECK_EQ(get(&key), 7);
	TH_CHECK_EQ(thrum_local_set(&key, ms), 0);
	code = thrum_sleep(thrum_ms(*ms));
	TH_CHECK(thrum_local_get(&key) == ms);
	return sim_leave(code);
}
THRUM_FX(item, int);

static int fans(void *arg)
{
	int ms[N], code;
	thrum_fx fx[N];

	(void)arg;
	for (int i = 0; i < N; i++) {
		ms[i] = (int)sim_choose(3);
		fx[i] = item_fx(&ms[i]);
	}
	switch (sim_choose(3)) {
	case 0:
		code = thrum_zip_par_n(fx, N);
		break;
	case 1:
		code = thrum_race_n(fx, N);
		break;
	default:
		code = thrum_for_each_par(ms, N, item, 2);
	}
	TH_CHECK_EQ(get(&key), 7);
	return code < 0 ? code : 0;
}

/* Items have the caller's values on whatever worker their runner runs. */
SIM_TEST_WITH(context, items_of_fans_have_the_callers_K9, .clock = THRUM_CLOCK_REAL)
{
	(void)unused;
	return balanced(thrum_local_with(&key, ptr(7), (thrum_fx){ fans, NULL }));
}

/* --- layers --- */

static thrum_service keys[N];

struct builder {
	int ms, code;
	int started, built, closed;
	const thrum_service *needs[N];
	struct builder *all;
};

static int count_built(const struct builder *b)
{
	int n = 0;

	for (int i = 0; i < N; i++)
		n += b->all[i].built && !b->all[i].closed;
	return n;
}

static bool needs(const struct builder *b, int i)
{
	return b->needs[i] != NULL;
}

static int build(void *arg, void **ret)
{
	struct builder *b = arg;
	int code;

	sim_enter();
	TH_CHECK_EQ(sim_add(&b->started, 1), 1); /* once */
	for (int i = 0; i < N; i++)
		TH_CHECK((thrum_service_get(&keys[i]) != NULL) == needs(b, i));
	code = thrum_sleep(thrum_ms(b->ms));
	if (code == 0)
		code = b->code;
	if (code < 0)
		return sim_leave(code);
	sim_add(&b->built, 1);
	sim_add(&sim_counts.acquired, 1);
	*ret = b;
	return sim_leave(0);
}

static int take_down(void *arg, void *service)
{
	struct builder *b = arg;

	TH_CHECK(service == b && b->built == 1);
	for (int i = 0; i < N; i++) {
		TH_CHECK((thrum_service_get(&keys[i]) != NULL) == needs(b, i));
		if (needs(b, i))
			TH_CHECK_EQ(b->all[i].closed, 0); /* what it needs is there to its end */
	}
	TH_CHECK_EQ(thrum_sleep(thrum_ms(b->ms)), 0); /* shielded */
	TH_CHECK_EQ(sim_add(&b->closed, 1), 1);
	sim_add(&sim_counts.released, 1);
	return 0;
}

static int use(void *arg)
{
	struct builder *b = arg;

	sim_enter();
	TH_CHECK_EQ(count_built(b), N);
	for (int i = 0; i < N; i++)
		TH_CHECK(thrum_service_get(&keys[i]) == &b[i]);
	return sim_leave(thrum_sleep(thrum_ms((int)sim_choose(3))));
}

/* Layer i may need any that comes before it: no cycles. They are listed in any order. */
static void make_layers(struct builder *b, thrum_layer *l, const thrum_layer **list)
{
	uint32_t shift = sim_choose(N), fails = sim_choose(2 * N);

	for (int i = 0; i < N; i++) {
		b[i] = (struct builder){ .ms = (int)sim_choose(3), .all = b };
		b[i].code = fails == (uint32_t)i ? THRUM_APP(i) : 0;
		for (int k = 0; k < i; k++)
			b[i].needs[k] = sim_choose(2) ? &keys[k] : NULL;
		l[i] = (thrum_layer){ &keys[i], b[i].needs, N, build, take_down, &b[i] };
		list[((uint32_t)i + shift) % N] = &l[i];
	}
}

/* D26: each layer is built at most once, after its needs; what has been built is closed exactly once, before its needs. */
SIM_TEST_WITH(context, layers_are_taken_down_whatever_happens_D26, .clock = THRUM_CLOCK_REAL)
{
	struct builder b[N];
	const thrum_layer *list[N];
	thrum_layer layers[N];
	thrum_layer_error error;
	int code, failed = 0;

	(void)unused;
	make_layers(b, layers, list);
	code = thrum_layers_run(list, N, (thrum_fx){ use, b }, &error);
	for (int i = 0; i < N; i++) {
		TH_CHECK_EQ(b[i].built, b[i].closed);
		failed |= b[i].code;
	}
	TH_CHECK(code == 0 || code == -ECANCELED || code == failed);
	TH_CHECK_EQ(error.code, code == failed ? failed : 0);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(code, failed);
	return balanced(code == failed ? 0 : code);
}

/* --- a clock for a part of the tree --- */

struct ticker {
	thrum_test_clock *clock;
	int ms, ticks;
	thrum_time start;
};
static int tick(struct ticker *t)
{
	sim_enter();
	t->start = thrum_now();
	for (int i = 1; i <= 3; i++) {
		int code = thrum_sleep(thrum_ms(t->ms));

		if (code < 0)
			return sim_leave(code);
		TH_CHECK_EQ(thrum_time_sub(thrum_now(), t->start).ns, thrum_ms(t->ms * i).ns); /* to the nanosecond */
		sim_add(&t->ticks, 1);
	}
	return sim_leave(0);
}
THRUM_FX(tick, struct ticker);

static int on_own_clock(struct ticker *t)
{
	return thrum_with_test_clock(t->clock, tick_fx(t));
}
THRUM_FX(on_own_clock, struct ticker);

static int noise(void *ms)
{
	sim_enter();
	return sim_leave(thrum_sleep(thrum_ms(*(int *)ms)));
}

/* C1: an advance ends when each sleep within it has ended, those too that began inside it; on the real clock, with others
 * running beside it. */
SIM_TEST_WITH(context, own_clock_steps_to_each_deadline_C1, .clock = THRUM_CLOCK_REAL)
{
	struct ticker t[N];
	thrum_test_clock clock;
	int ms = (int)sim_choose(5), total = 0, code;
	thrum_scope s;

	(void)unused;
	thrum_test_clock_init(&clock);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	go(&s, (thrum_fx){ noise, &ms });
	for (int i = 0; i < N; i++) {
		t[i] = (struct ticker){ .clock = &clock, .ms = 1 + (int)sim_choose(3) };
		go(&s, on_own_clock_fx(&t[i]));
	}
	for (int step = 1; step <= 9; step++) {
		TH_CHECK_EQ(thrum_test_clock_advance(&clock, thrum_ms(1)), 0);
		if (sim_cancelled_run())
			continue;
		for (int i = 0; i < N; i++)
			TH_CHECK_EQ(sim_add(&t[i].ticks, 0), step / t[i].ms < 3 ? step / t[i].ms : 3);
	}
	code = thrum_scope_close(&s);
	for (int i = 0; i < N; i++)
		total += t[i].ticks;
	TH_CHECK(sim_cancelled_run() || total == 3 * N);
	return balanced(code);
}
