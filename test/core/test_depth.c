/* Every combinator inside itself, thousands deep (E5): that costs memory, not the stack. */
#include <stdlib.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* ThreadSanitizer counts a fiber as a thread, at most 8,128; under AddressSanitizer it took minutes. */
enum { DEEP = TH_TSAN_BUILD ? 500 : TH_SANITIZED ? 2000 : 10000 };

static int bump(th_counter *c) { return th_count(c, 1) < 0 ? -1 : 0; }
THRUM_FX(bump, th_counter);

static const thrum_local local = THRUM_LOCAL_INIT("depth", NULL);
static thrum_test_clock own_clock;
static const thrum_service service = { THRUM_LOCAL_INIT("depth", NULL) };
static int build(void *arg, void **ret_service)
{
	*ret_service = arg;
	return 0;
}
static thrum_layer layer = { .gives = &service, .build = build, .arg = &layer };
static const thrum_layer *const layers[] = { &layer };
static thrum_schedule once;

/* One level: what the combinator borrows, and the effect inside. */
struct level {
	thrum_fx fx[2];
	thrum_breaker breaker;
	union {
		thrum_zip_par_op zip;
		thrum_race_op race;
		thrum_for_each_par_op for_each;
		thrum_timeout_op timeout;
		thrum_or_else_op or_else;
		thrum_then_op then;
		thrum_bracket_op bracket;
		thrum_acquire_release_op acquire;
		thrum_shield_op shield;
		thrum_retry_op retry;
		thrum_repeat_op repeat;
		thrum_hedge_op hedge;
		thrum_breaker_op breaker;
		thrum_local_op local;
		thrum_test_clock_op clock;
		thrum_layers_op layers;
	} op;
};

/* Those that have no form as a value. */
static int run_settle(struct level *l)
{
	int code;
	int r = thrum_zip_settle_n(l->fx, 1, &code);

	return r < 0 ? r : code;
}
THRUM_FX(run_settle, struct level);

static int run_timeout_opt(struct level *l) { return thrum_timeout_opt(l->fx[0], thrum_sec(1), NULL); }
THRUM_FX(run_timeout_opt, struct level);

static int keep_code(const thrum_cause *cause, void *unused)
{
	(void)unused;
	return cause->code;
}
static int run_catch_cause(struct level *l) { return thrum_catch_cause(l->fx[0], keep_code, NULL); }
THRUM_FX(run_catch_cause, struct level);

static int run_restored(thrum_restore *restore, void *l)
{
	return thrum_restore_run(restore, ((struct level *)l)->fx[0]);
}
static int run_mask(struct level *l) { return thrum_mask(run_restored, l); }
THRUM_FX(run_mask, struct level);

static int run_item(void *l) { return thrum_call(((struct level *)l)->fx[0]); }

static int run_in_scope(struct level *l, bool handed_on)
{
	thrum_scope s;
	int code, closed;

	if (thrum_scope_open(&s) < 0)
		return -1;
	code = handed_on ? thrum_timeout_in(&s, l->fx[0], thrum_sec(1)) : thrum_race_in(&s, l->fx, 1);
	closed = thrum_scope_close(&s);
	return code < 0 ? code : closed;
}
static int run_timeout_in(struct level *l) { return run_in_scope(l, true); }
THRUM_FX(run_timeout_in, struct level);
static int run_race_in(struct level *l) { return run_in_scope(l, false); }
THRUM_FX(run_race_in, struct level);

static int run_finalizer(struct level *l)
{
	thrum_deferred d;
	thrum_scope s;

	if (thrum_scope_open(&s) < 0 || thrum_defer(&s, &d, l->fx[0]) < 0)
		return -1;
	return thrum_scope_close(&s);
}
THRUM_FX(run_finalizer, struct level);

#define WRAP(name_, ...) static thrum_fx wrap_##name_(struct level *l) { __VA_ARGS__ }
WRAP(zip, l->op.zip = (thrum_zip_par_op){ l->fx, 1 }; return thrum_zip_par_fx(&l->op.zip);)
WRAP(race, l->op.race = (thrum_race_op){ l->fx, 1, NULL }; return thrum_race_fx(&l->op.race);)
WRAP(race_first, l->op.race = (thrum_race_op){ l->fx, 1, NULL }; return thrum_race_first_fx(&l->op.race);)
WRAP(for_each, l->op.for_each = (thrum_for_each_par_op){ run_item, l, 1, 0, 1 };
	return thrum_for_each_par_fx(&l->op.for_each);)
WRAP(timeout, l->op.timeout = (thrum_timeout_op){ l->fx[0], thrum_sec(1) }; return thrum_timeout_fx(&l->op.timeout);)
WRAP(use, l->op.bracket = (thrum_bracket_op){ thrum_succeed(), l->fx[0], thrum_succeed() };
	return thrum_bracket_fx(&l->op.bracket);)
WRAP(acquire, l->op.bracket = (thrum_bracket_op){ l->fx[0], thrum_succeed(), thrum_succeed() };
	return thrum_bracket_fx(&l->op.bracket);)
WRAP(release, l->op.bracket = (thrum_bracket_op){ thrum_succeed(), thrum_succeed(), l->fx[0] };
	return thrum_bracket_fx(&l->op.bracket);)
WRAP(scoped, l->op.acquire = (thrum_acquire_release_op){ l->fx[0], thrum_succeed() };
	return thrum_acquire_release_fx(&l->op.acquire);)
WRAP(shield, l->op.shield = (thrum_shield_op){ l->fx[0] }; return thrum_shield_fx(&l->op.shield);)
WRAP(retry, l->op.retry = (thrum_retry_op){ .fx = l->fx[0], .schedule = &once }; return thrum_retry_fx(&l->op.retry);)
WRAP(repeat, l->op.repeat = (thrum_repeat_op){ .fx = l->fx[0], .schedule = &once }; return thrum_repeat_fx(&l->op.repeat);)
WRAP(hedge, l->op.hedge = (thrum_hedge_op){ l->fx, 1, thrum_sec(1), NULL }; return thrum_hedge_fx(&l->op.hedge);)
WRAP(breaker, TH_CHECK_EQ(thrum_breaker_init(&l->breaker, NULL), 0);
	l->op.breaker = (thrum_breaker_op){ &l->breaker, l->fx[0] }; return thrum_breaker_fx(&l->op.breaker);)
WRAP(local, l->op.local = (thrum_local_op){ &local, l, l->fx[0] }; return thrum_local_with_fx(&l->op.local);)
WRAP(clock, l->op.clock = (thrum_test_clock_op){ &own_clock, l->fx[0] };
	return thrum_with_test_clock_fx(&l->op.clock);)
WRAP(layers, l->op.layers = (thrum_layers_op){ layers, 1, l->fx[0], NULL }; return thrum_layers_fx(&l->op.layers);)
WRAP(settle, return run_settle_fx(l);)
WRAP(timeout_opt, return run_timeout_opt_fx(l);)
WRAP(catch_cause, return run_catch_cause_fx(l);)
WRAP(mask, return run_mask_fx(l);)
WRAP(timeout_in, return run_timeout_in_fx(l);)
WRAP(race_in, return run_race_in_fx(l);)
WRAP(finalizer, return run_finalizer_fx(l);)

static const struct kind {
	const char *name;
	thrum_fx (*wrap)(struct level *l);
} kinds[] = {
#define KIND(name_) { #name_, wrap_##name_ }
	KIND(zip), KIND(race), KIND(race_first), KIND(for_each), KIND(timeout), KIND(use), KIND(acquire), KIND(release),
	KIND(scoped), KIND(shield), KIND(retry), KIND(repeat), KIND(hedge), KIND(breaker), KIND(local), KIND(clock),
	KIND(layers), KIND(settle), KIND(timeout_opt), KIND(catch_cause), KIND(mask), KIND(timeout_in), KIND(race_in),
	KIND(finalizer),
};

/* `innermost` inside DEEP of this kind. */
static int run_nested(const struct kind *kind, struct level *levels, thrum_fx innermost)
{
	for (int i = 0; i < DEEP; i++) {
		levels[i].fx[0] = levels[i].fx[1] = innermost;
		innermost = kind->wrap(&levels[i]);
	}
	return thrum_call(innermost);
}

TH_FIBER_TEST(JUMP, depth, every_combinator_nests_in_itself_without_overflow_E5)
{
	struct level *levels = calloc(DEEP, sizeof *levels);

	TH_CHECK(levels);
	once = thrum_recurs(0);
	thrum_test_clock_init(&own_clock);
	for (const struct kind *k = kinds; k < kinds + sizeof kinds / sizeof *kinds; k++) {
		th_counter ran = { 0 };
		int code = run_nested(k, levels, bump_fx(&ran));

		if (code != 0 || th_counted(&ran) != 1)
			th_check_failed(__FILE__, __LINE__, "%s: code %d, ran %d times", k->name, code, th_counted(&ran));
	}
	free(levels);
	return 0;
}

/* Failing all the way up, which builds causes. */
TH_FIBER_TEST(JUMP, depth, failures_come_up_through_every_combinator_E5)
{
	struct level *levels = calloc(DEEP, sizeof *levels);

	TH_CHECK(levels);
	once = thrum_recurs(0);
	thrum_test_clock_init(&own_clock);
	for (const struct kind *k = kinds; k < kinds + sizeof kinds / sizeof *kinds; k++) {
		int code = run_nested(k, levels, thrum_fail(THRUM_APP(1)));

		if (code != THRUM_APP(1))
			th_check_failed(__FILE__, __LINE__, "%s: code %d", k->name, code);
	}
	free(levels);
	return 0;
}

/* --- a call that moves to a fresh stack is a call still --- */

struct nest {
	int left, seen;     /* the innermost one saw so many of the others */
	th_counter *others; /* that have begun */
};

static int sink(struct nest *n);
static int sink_run(void *arg) { return sink(arg); }
static int sink(struct nest *n)
{
	volatile char room[2048]; /* so that few levels use a stack up */
	int code = 0;

	room[0] = 0;
	if (n->left-- == 0)
		n->seen = th_counted(n->others);
	else
		code = thrum_or_else((thrum_fx){ sink_run, n }, thrum_succeed());
	return code + room[0];
}

TH_ONE_WORKER_TEST(JUMP, depth, a_fresh_stack_lets_nobody_else_in_E5)
{
	th_counter others = { 0 };
	struct nest nest = { .left = 300, .others = &others };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, bump_fx(&others)), 0);
	TH_CHECK_EQ(sink(&nest), 0);
	TH_CHECK_EQ(nest.seen, 0);
	TH_CHECK_EQ(th_counted(&others), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_counted(&others), 1);
	return 0;
}
