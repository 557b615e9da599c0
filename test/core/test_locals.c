/* test/core/test_locals.c: fiber locals (K9, K10) and what thrum/context.h says of them. */
#include <malloc.h>
#include "test/support/child.h"
#include "test/support/rules.h"

static const thrum_local key = THRUM_LOCAL_INIT("key", NULL);
static const thrum_local other = THRUM_LOCAL_INIT("other", NULL);
static int default_value;
static const thrum_local with_default = THRUM_LOCAL_INIT("with_default", &default_value);

/* Small numbers travel as pointers. */
static void *ptr(long n) { return (void *)(intptr_t)n; }
static long get(const thrum_local *k) { return (long)(intptr_t)thrum_local_get(k); }
static void set(const thrum_local *k, long n) { TH_CHECK_EQ(thrum_local_set(k, ptr(n)), 0); }

/* Read, wait, read again, write, read what was written. */
struct look {
	int ms;
	long write;
	long first, second, third;
	int runs;
};
static int look(struct look *l)
{
	l->first = get(&key);
	if (l->ms && thrum_sleep(thrum_ms(l->ms)) < 0)
		return -ECANCELED;
	l->second = get(&key);
	if (l->write)
		set(&key, l->write);
	l->third = get(&key);
	l->runs++;
	return 0;
}
THRUM_FX(look, struct look);

/* --- keys and values --- */

TH_FIBER_TEST(JUMP, locals, what_was_set_is_read)
{
	TH_CHECK(thrum_local_get(&with_default) == &default_value);
	TH_CHECK_EQ(get(&key), 0);
	set(&key, 1);
	set(&other, 2);
	TH_CHECK_EQ(get(&key), 1);
	TH_CHECK_EQ(get(&other), 2);
	set(&key, 3);
	TH_CHECK_EQ(get(&key), 3);
	TH_CHECK_EQ(get(&other), 2);
	TH_CHECK_EQ(thrum_local_set(&with_default, NULL), 0); /* a value like any other, not "back to the initial one" */
	TH_CHECK(thrum_local_get(&with_default) == NULL);
	return 0;
}

enum { KEYS = 100 };

TH_FIBER_TEST(JUMP, locals, many_keys_keep_their_values)
{
	static thrum_local keys[KEYS];

	for (int round = 1; round <= 2; round++)
		for (int i = 0; i < KEYS; i++)
			set(&keys[i], round * 1000 + i);
	for (int i = 0; i < KEYS; i++)
		TH_CHECK_EQ(get(&keys[i]), 2000 + i);
	return 0;
}

TH_TEST(locals, outside_a_fiber_there_are_only_initial_values)
{
	TH_CHECK(thrum_local_get(&with_default) == &default_value);
	TH_CHECK(thrum_local_get(NULL) == NULL);
	TH_CHECK_EQ(thrum_local_set(&key, ptr(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), thrum_succeed()), THRUM_ENOTFIBER);
}

TH_FIBER_TEST(JUMP, locals, bad_arguments_are_EINVAL)
{
	const thrum_fx none = { 0 };

	TH_CHECK_EQ(thrum_local_set(NULL, ptr(1)), -EINVAL);
	TH_CHECK_EQ(thrum_local_with(NULL, ptr(1), thrum_succeed()), -EINVAL);
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), none), -EINVAL);
	TH_CHECK(thrum_local_get(NULL) == NULL);
	return 0;
}

/* --- K9: the snapshot --- */

TH_FIBER_TEST(JUMP, locals, child_has_what_its_spawner_had_at_the_spawn_K9)
{
	struct look child = { .ms = 10 };
	thrum_scope s;
	thrum_task t;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&child)), 0);
	set(&key, 2); /* before it starts, or while it runs: it does not matter */
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	set(&key, 3); /* while it sleeps */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(child.first, 1);
	TH_CHECK_EQ(child.second, 1);
	TH_CHECK_EQ(get(&key), 3);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, writes_of_a_child_stay_its_own_K9)
{
	struct look a = { .ms = 1, .write = 10 }, b = { .ms = 2, .write = 20 };
	thrum_scope s;
	thrum_task t, u;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &u, look_fx(&b)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(get(&key), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(get(&key), 1); /* no merge */
	TH_CHECK_EQ(a.third, 10);
	TH_CHECK_EQ(b.second, 1); /* nor do siblings see each other */
	TH_CHECK_EQ(b.third, 20);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, first_write_of_a_child_without_any_stays_its_own_K9)
{
	struct look child = { .write = 10 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&child)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(child.third, 10);
	TH_CHECK_EQ(get(&key), 0);
	return 0;
}

/* A scope of the grandparent: the child is the spawner's, wherever it is counted. */
struct middle {
	thrum_scope *outer;
	struct look look;
};
static int middle(struct middle *m)
{
	set(&key, 7);
	return thrum_go(m->outer, look_fx(&m->look));
}
THRUM_FX(middle, struct middle);

TH_FIBER_TEST(JUMP, locals, spawner_counts_not_the_owner_of_the_scope_K9)
{
	thrum_scope s;
	struct middle m = { &s, { .ms = 5 } };

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, middle_fx(&m)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(m.look.first, 7);
	TH_CHECK_EQ(m.look.second, 7); /* its spawner has ended meanwhile */
	return 0;
}

/* The array lives as long as its last reader, also one that was placed, and one of the runtime's records. */
TH_FIBER_TEST(JUMP, locals, every_way_to_spawn_takes_the_snapshot_K9)
{
	struct look a = { .ms = 3 }, b = { .ms = 3 }, c = { .ms = 3 };
	thrum_scope s;
	thrum_task t;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, look_fx(&a), THRUM_SPAWN_OPTS(.worker = thrum_workers())), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, look_fx(&b), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_go(&s, look_fx(&c)), 0);
	set(&key, 2);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.second + b.second + c.second, 3);
	return 0;
}

static int look_at_root(void *ret)
{
	*(long *)ret = get(&key);
	set(&key, 5);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, root_started_by_a_fiber_begins_without_any)
{
	thrum_handle h;
	long seen = -1;

	set(&key, 1);
	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, (thrum_fx){ look_at_root, &seen }), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(seen, 0);
	TH_CHECK_EQ(get(&key), 1);
	return 0;
}

/* --- K10: run inline on the stack of its joiner --- */

TH_ONE_WORKER_TEST(JUMP, locals, inline_child_has_its_own_K10)
{
	struct look child = { .write = 10 }, sleeper = { .ms = 5, .write = 20 };
	thrum_stats before = { .size = sizeof before }, after = before;
	thrum_scope s;
	thrum_task t, u;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &u, look_fx(&sleeper)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&child)), 0);
	set(&key, 2);
	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(get(&key), 2);
	TH_CHECK_EQ(thrum_join(&u), 0); /* suspends with the frames of its joiner below it */
	TH_CHECK_EQ(get(&key), 2);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.inline_runs - before.inline_runs, 2);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(child.first, 1);
	TH_CHECK_EQ(child.third, 10);
	TH_CHECK_EQ(sleeper.second, 1);
	return 0;
}

/* --- combinators --- */

enum { ITEMS = 20 };

static int check_items(struct look *items)
{
	int runs = 0;

	for (int i = 0; i < ITEMS; i++) {
		if (!items[i].runs)
			continue;
		runs++;
		TH_CHECK_EQ(items[i].first, 1);
		TH_CHECK_EQ(items[i].second, 1);
		TH_CHECK_EQ(items[i].third, 10 + i);
	}
	TH_CHECK_EQ(get(&key), 1);
	return runs;
}

static void make_items(struct look *items, thrum_fx *fx)
{
	for (int i = 0; i < ITEMS; i++) {
		items[i] = (struct look){ .ms = i % 3, .write = 10 + i };
		fx[i] = look_fx(&items[i]);
	}
}

TH_FIBER_TEST(JUMP, locals, items_of_fans_have_the_callers_K9)
{
	struct look items[ITEMS];
	thrum_fx fx[ITEMS];
	int codes[ITEMS];

	set(&key, 1);
	make_items(items, fx);
	TH_CHECK_EQ(thrum_zip_par_n(fx, ITEMS), 0);
	TH_CHECK_EQ(check_items(items), ITEMS);
	make_items(items, fx);
	TH_CHECK_EQ(thrum_zip_settle_n(fx, ITEMS, codes), 0);
	TH_CHECK_EQ(check_items(items), ITEMS);
	make_items(items, fx);
	TH_CHECK_EQ(thrum_for_each_par(items, ITEMS, look, 3), 0);
	TH_CHECK_EQ(check_items(items), ITEMS);
	make_items(items, fx);
	TH_CHECK(thrum_race_n(fx, ITEMS) >= 0);
	TH_CHECK(check_items(items) > 0);
	make_items(items, fx);
	TH_CHECK_EQ(thrum_race_first_n(fx, ITEMS, NULL), 0);
	TH_CHECK(check_items(items) > 0);
	return 0;
}

static int set_it(void *value)
{
	set(&key, (long)(intptr_t)value);
	return 0;
}
static thrum_fx set_fx(long n) { return (thrum_fx){ set_it, ptr(n) }; }

TH_FIBER_TEST(JUMP, locals, what_runs_in_the_callers_place_shares_them)
{
	TH_CHECK_EQ(thrum_timeout(set_fx(1), thrum_sec(1)), 0);
	TH_CHECK_EQ(get(&key), 1);
	TH_CHECK_EQ(thrum_then(thrum_succeed(), set_fx(2)), 0);
	TH_CHECK_EQ(get(&key), 2);
	TH_CHECK_EQ(thrum_or_else(thrum_fail(-EIO), set_fx(3)), 0);
	TH_CHECK_EQ(get(&key), 3);
	TH_CHECK_EQ(thrum_shield(set_fx(4)), 0);
	TH_CHECK_EQ(get(&key), 4);
	TH_CHECK_EQ(thrum_bracket(set_fx(5), thrum_succeed(), thrum_succeed()), 0);
	TH_CHECK_EQ(get(&key), 5);
	return 0;
}

/* --- finalizers and drops --- */

struct seen {
	long value;
	int runs;
};
static int see(struct seen *s)
{
	s->value = get(&key);
	s->runs++;
	return 0;
}
THRUM_FX(see, struct seen);

static int with_finalizers(void *arg)
{
	struct seen *seen = arg;
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, see_fx(&seen[0])), 0);
	set(&key, 2);
	TH_CHECK_EQ(thrum_acquire_release(thrum_succeed(), see_fx(&seen[1])), 0); /* due when the scope closes */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	set(&key, 3);
	return thrum_acquire_release(thrum_succeed(), see_fx(&seen[2])); /* due when this child ends */
}

TH_FIBER_TEST(JUMP, locals, finalizers_have_those_of_the_effect_they_end)
{
	struct seen seen[3] = { 0 };
	thrum_scope s;
	thrum_task t;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ with_finalizers, seen }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(seen[0].value, 2);
	TH_CHECK_EQ(seen[1].value, 2);
	TH_CHECK_EQ(seen[2].value, 3);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, locals, drop_of_a_child_that_never_starts_has_its_snapshot_K9)
{
	struct seen dropped = { 0 }, refused = { 0 };
	struct look body = { 0 };
	thrum_scope s;
	thrum_task t, u;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, look_fx(&body), THRUM_SPAWN_OPTS(.drop = see_fx(&dropped))), 0);
	set(&key, 2);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_spawn_with(&s, &u, look_fx(&body), THRUM_SPAWN_OPTS(.drop = see_fx(&refused))), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(body.runs, 0);
	TH_CHECK_EQ(dropped.runs, 1);
	TH_CHECK_EQ(dropped.value, 1);
	TH_CHECK_EQ(refused.runs, 1);
	TH_CHECK_EQ(refused.value, 2); /* it never was a child: the spawner drops it */
	return 0;
}

/* --- with --- */

static int look_and_fail(struct look *l)
{
	(void)look(l);
	return THRUM_APP(3);
}
THRUM_FX(look_and_fail, struct look);

TH_FIBER_TEST(JUMP, locals, with_puts_everything_back)
{
	struct look l = { .ms = 1, .write = 9 };

	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), look_fx(&l)), 0);
	TH_CHECK_EQ(l.first, 1);
	TH_CHECK_EQ(l.third, 9);
	TH_CHECK_EQ(get(&key), 0);
	set(&key, 4);
	TH_CHECK_EQ(thrum_local_with(&key, ptr(5), look_and_fail_fx(&l)), THRUM_APP(3));
	TH_CHECK_EQ(l.first, 5);
	TH_CHECK_EQ(get(&key), 4);
	TH_CHECK_EQ(thrum_local_with(&other, ptr(6), set_fx(7)), 0);
	TH_CHECK_EQ(get(&key), 4); /* also what fx set itself */
	TH_CHECK_EQ(get(&other), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, with_nests_and_is_a_value)
{
	struct look l = { 0 };
	thrum_local_op inner = { &key, ptr(2), look_fx(&l) };
	thrum_local_op outer = { &key, ptr(1), thrum_local_with_fx(&inner) };

	TH_CHECK_EQ(thrum_call(thrum_local_with_fx(&outer)), 0);
	TH_CHECK_EQ(l.first, 2);
	TH_CHECK_EQ(get(&key), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, with_puts_back_after_a_cancel)
{
	struct look l = { .ms = 1000 };
	thrum_local_op op = { &key, ptr(2), look_fx(&l) };

	set(&key, 1);
	TH_CHECK_EQ(thrum_timeout(thrum_local_with_fx(&op), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(l.first, 2);
	TH_CHECK_EQ(get(&key), 1);
	return 0;
}

/* Not a cancel point of its own. */
TH_FIBER_TEST(JUMP, locals, with_runs_in_a_cancelled_scope)
{
	struct look l = { 0 };
	thrum_local_op op = { &key, ptr(2), look_fx(&l) };

	TH_CHECK_EQ(th_call_cancelled(thrum_local_with_fx(&op)), 0);
	TH_CHECK_EQ(l.runs, 1);
	return 0;
}

struct escape {
	thrum_scope *scope;
	struct look look;
};
static int escape(struct escape *e)
{
	return thrum_go(e->scope, look_fx(&e->look));
}
THRUM_FX(escape, struct escape);

TH_FIBER_TEST(JUMP, locals, child_that_outlasts_a_with_keeps_its_snapshot_K9)
{
	thrum_scope s;
	struct escape e = { &s, { .ms = 5 } };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), escape_fx(&e)), 0);
	TH_CHECK_EQ(get(&key), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(e.look.second, 1);
	return 0;
}

static int acquire_for_a_while(void *seen)
{
	return thrum_acquire_release(thrum_succeed(), see_fx(seen));
}

TH_FIBER_TEST(JUMP, locals, what_a_with_acquired_is_released_inside_it)
{
	struct seen seen = { 0 };

	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), (thrum_fx){ acquire_for_a_while, &seen }), 0);
	TH_CHECK_EQ(seen.runs, 1);
	TH_CHECK_EQ(seen.value, 1);
	return 0;
}

static int fail_late(void *code)
{
	return (int)(intptr_t)code;
}
static int acquire_and_end(void *code)
{
	TH_CHECK_EQ(thrum_acquire_release(thrum_succeed(), (thrum_fx){ fail_late, ptr(THRUM_APP(1)) }), 0);
	return (int)(intptr_t)code;
}

TH_FIBER_TEST(JUMP, locals, release_in_a_with_counts_if_its_effect_succeeded)
{
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), (thrum_fx){ acquire_and_end, ptr(0) }), THRUM_APP(1));
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), (thrum_fx){ acquire_and_end, ptr(THRUM_APP(2)) }), THRUM_APP(2));
	TH_CHECK_EQ(thrum_local_with(&key, ptr(1), (thrum_fx){ acquire_and_end, ptr(-ECANCELED) }), -ECANCELED);
	return 0;
}

/* Nesting goes on on fresh stacks, in the same identity. */
struct nest {
	int depth;
	long seen;
};
static int nest(void *arg)
{
	struct nest *n = arg;

	if (n->depth-- > 0)
		return thrum_local_with(&key, ptr(n->depth), (thrum_fx){ nest, n });
	n->seen = get(&key);
	return 0;
}

TH_FIBER_TEST(JUMP, locals, with_nests_deeper_than_a_stack)
{
	struct nest n = { .depth = TH_TSAN_BUILD ? 500 : 10000 };

	TH_CHECK_EQ(nest(&n), 0);
	TH_CHECK_EQ(n.seen, 0);
	TH_CHECK_EQ(get(&key), 0);
	return 0;
}

/* --- memory --- */

TH_ONE_WORKER_TEST(JUMP, locals, spawn_with_locals_takes_no_memory)
{
	struct look child = { 0 };
	thrum_scope s;
	thrum_task t;
	size_t used = 0;

	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 100; i++) {
		TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&child)), 0);
		if (i == 0)
			used = mallinfo2().uordblks;
		TH_CHECK_EQ(mallinfo2().uordblks, used); /* 0 under sanitizers */
		TH_CHECK_EQ(thrum_join(&t), 0);
	}
	set(&key, 2); /* alone again: no copy either */
	TH_CHECK_EQ(mallinfo2().uordblks, used);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static void use_up_memory(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_AS, &none);
	/* Small sizes one by one: malloc keeps freed blocks by size. */
	for (size_t size = 1 << 20; size >= 16; size -= size > 1024 ? size / 2 : 16)
		for (void *volatile p = malloc(size); p; p = malloc(size))
			;
}

static int set_without_memory(void *unused)
{
	struct look child = { 0 };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	set(&key, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, look_fx(&child)), 0);
	use_up_memory();
	TH_CHECK_EQ(thrum_local_set(&key, ptr(2)), -ENOMEM); /* shared with the child, so it needs an array of its own */
	TH_CHECK_EQ(thrum_local_with(&other, ptr(2), look_fx(&child)), -ENOMEM);
	TH_CHECK_EQ(child.runs, 0);
	TH_CHECK_EQ(get(&key), 1);
	TH_CHECK_EQ(get(&other), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(child.first, 1);
	set(&key, 3); /* in place */
	TH_CHECK_EQ(get(&key), 3);
	return thrum_scope_close(&s);
}

static void run_without_memory(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ set_without_memory, NULL }), 0);
}

TH_TEST(locals, no_memory_changes_nothing_and_spawns_go_on)
{
	struct th_said said;

	if (TH_UNLIMITED)
		return;
	TH_CHECK_CHILD_OK(th_child(run_without_memory, NULL, &said), &said);
}
