/* A shuffled runtime draws what its workers do next: every order comes, and a seed's comes again. */
#include <string.h>
#include <thrum/clock.h>
#include "test/support/child.h"
#include "test/support/rules.h"

enum { SEEDS = 400, KIDS = 3, ORDERS = 27 };

/* One worker, and a clock that moves when nothing can run: then the seed is all there is. */
static int shuffled(uint64_t seed, thrum_fx fx)
{
	return thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP, .shuffle = true, .seed = seed), fx);
}

/* --- what a run did, in order --- */

struct story {
	char text[256];
	size_t n;
};

/* One worker, and no more: but what two fibers do is ordered by nothing that ThreadSanitizer knows of. */
static void tell(struct story *s, char c)
{
	size_t n = __atomic_fetch_add(&s->n, 1, __ATOMIC_RELAXED);

	TH_CHECK(n < sizeof s->text - 1);
	__atomic_store_n(&s->text[n], c, __ATOMIC_RELAXED);
}

/* Of three letters, a number for each order. */
static int order_of(const char *text)
{
	return (text[0] - 'a') * 9 + (text[1] - 'a') * 3 + text[2] - 'a';
}

struct kid {
	struct story *story;
	char letter;
	thrum_latch *latch;
	thrum_mutex *mutex;
};

static void make_kids(struct kid *kids, struct story *s, thrum_latch *latch, thrum_mutex *mutex)
{
	for (int i = 0; i < KIDS; i++)
		kids[i] = (struct kid){ s, (char)('a' + i), latch, mutex };
}

static int spawn_kids(int (*run)(void *), struct kid *kids)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < KIDS; i++)
		TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ run, &kids[i] }), 0);
	return thrum_scope_close(&s);
}

/* How many of the six orders of three letters come in SEEDS runs. */
static int orders_of(int (*run)(void *))
{
	bool seen[ORDERS] = { false };
	int n = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct story s = { .n = 0 };

		TH_CHECK_EQ(shuffled(seed, (thrum_fx){ run, &s }), 0);
		TH_CHECK_EQ(s.n, KIDS);
		n += !seen[order_of(s.text)];
		seen[order_of(s.text)] = true;
	}
	return n;
}

/* --- children --- */

static int say_letter(void *arg)
{
	struct kid *k = arg;

	tell(k->story, k->letter);
	return 0;
}

static int three_children(void *story)
{
	struct kid kids[KIDS];

	make_kids(kids, story, NULL, NULL);
	return spawn_kids(say_letter, kids);
}

TH_TEST(shuffle, the_newest_child_or_the_oldest_starts_next)
{
	/* Of three, the middle one cannot be the first. */
	TH_CHECK_EQ(orders_of(three_children), 4);
}

/* --- ready fibers --- */

static int await_the_latch(void *arg)
{
	struct kid *k = arg;

	TH_CHECK_EQ(thrum_sleep(thrum_ms(k->letter - 'a')), 0); /* so they stand in line as their letters do */
	TH_CHECK_EQ(thrum_latch_wait(k->latch), 0);
	tell(k->story, k->letter);
	return 0;
}

static int open_in_a_while(void *arg)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(KIDS)), 0); /* all wait by then: time passes when nothing can run */
	return thrum_latch_arrive(arg);
}

static int three_are_woken(void *story)
{
	struct kid kids[KIDS];
	thrum_latch latch;
	thrum_scope s;

	TH_CHECK_EQ(thrum_latch_init(&latch, 1), 0);
	make_kids(kids, story, &latch, NULL);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ open_in_a_while, &latch }), 0);
	for (int i = 0; i < KIDS; i++)
		TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ await_the_latch, &kids[i] }), 0);
	return thrum_scope_close(&s);
}

TH_TEST(shuffle, fibers_that_are_ready_go_on_in_every_order)
{
	TH_CHECK_EQ(orders_of(three_are_woken), 6);
}

/* --- calls that need not suspend --- */

struct till {
	thrum_mutex mutex;
	int money;
};

static int look(struct till *t)
{
	int money;

	TH_CHECK_EQ(thrum_mutex_lock(&t->mutex), 0);
	money = t->money;
	TH_CHECK_EQ(thrum_mutex_unlock(&t->mutex), 0);
	return money;
}

/* Guarded at each access, and wrong: another one may come between. */
static int take_one(struct till *t)
{
	if (look(t) == 0)
		return 0;
	TH_CHECK_EQ(thrum_mutex_lock(&t->mutex), 0);
	t->money--;
	return thrum_mutex_unlock(&t->mutex);
}
THRUM_FX(take_one, struct till);

static int two_take(struct till *t)
{
	t->money = 1;
	TH_CHECK_EQ(thrum_mutex_init(&t->mutex), 0);
	return thrum_zip_par(take_one_fx(t), take_one_fx(t));
}
THRUM_FX(two_take, struct till);

TH_TEST(shuffle, others_come_between_two_calls)
{
	struct till t;
	int overdrawn = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .seed = seed), two_take_fx(&t)), 0);
		TH_CHECK_EQ(t.money, 0); /* on one worker it goes well for ever */
		TH_CHECK_EQ(shuffled(seed, two_take_fx(&t)), 0);
		overdrawn += t.money < 0;
	}
	TH_CHECK(overdrawn > 0 && overdrawn < SEEDS);
}

static int acquire_and_release(thrum_sem *s)
{
	TH_CHECK_EQ(thrum_sem_acquire(s, 1), 0);
	return thrum_sem_release(s, 1);
}
THRUM_FX(acquire_and_release, thrum_sem);

static int acquire_without_suspending(thrum_sem *s)
{
	thrum_nosuspend_begin();
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(acquire_and_release(s), 0); /* a suspension here would abort */
	thrum_nosuspend_end();
	return 0;
}
THRUM_FX(acquire_without_suspending, thrum_sem);

static int several_acquire(void *unused)
{
	thrum_sem s;

	(void)unused;
	TH_CHECK_EQ(thrum_sem_init(&s, 1), 0);
	return thrum_zip_par(acquire_without_suspending_fx(&s), acquire_and_release_fx(&s));
}
THRUM_FX(several_acquire, void);

TH_TEST(shuffle, nobody_comes_into_a_stretch_that_does_not_suspend)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		TH_CHECK_EQ(shuffled(seed, several_acquire_fx(NULL)), 0);
}

/* --- joins --- */

static int return_seven(void *unused)
{
	(void)unused;
	return 7;
}
THRUM_FX(return_seven, void);

struct joined {
	uint64_t inline_runs, fibers;
	bool plain; /* by thrum_spawn() */
};

static int join_one(struct joined *j)
{
	thrum_stats stats = { .size = sizeof stats };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(j->plain ? thrum_spawn(&s, &t, return_seven_fx(NULL)) :
		    thrum_spawn_with(&s, &t, return_seven_fx(NULL), THRUM_SPAWN_OPTS(.name = "seven")), 0);
	TH_CHECK_EQ(thrum_join(&t), 7);
	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	j->inline_runs += stats.inline_runs;
	j->fibers += stats.fibers - 1;
	return thrum_scope_close(&s);
}
THRUM_FX(join_one, struct joined);

TH_TEST(shuffle, a_child_is_called_by_who_joins_it_or_has_a_fiber)
{
	for (int plain = 0; plain < 2; plain++) {
		struct joined j = { .plain = plain };

		for (uint64_t seed = 1; seed <= SEEDS; seed++)
			TH_CHECK_EQ(shuffled(seed, join_one_fx(&j)), 0);
		TH_CHECK(j.inline_runs > 0 && j.fibers > 0);
		TH_CHECK_EQ(j.inline_runs + j.fibers, SEEDS);
	}
}

/* --- the same again --- */

static int live(void *arg)
{
	struct kid *k = arg;

	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_mutex_lock(k->mutex), 0);
		tell(k->story, k->letter);
		TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK_EQ(thrum_mutex_unlock(k->mutex), 0);
		TH_CHECK_EQ(thrum_sleep(thrum_us((int64_t)(thrum_random() % 3))), 0);
	}
	return 0;
}

static int three_live(void *story)
{
	struct kid kids[KIDS];
	thrum_mutex mutex;

	TH_CHECK_EQ(thrum_mutex_init(&mutex), 0);
	make_kids(kids, story, NULL, &mutex);
	return spawn_kids(live, kids);
}

TH_TEST(shuffle, a_seed_is_a_run)
{
	struct story last = { .n = 0 };
	int others = 0;

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct story s = { .n = 0 }, again = { .n = 0 };

		TH_CHECK_EQ(shuffled(seed, (thrum_fx){ three_live, &s }), 0);
		TH_CHECK_EQ(shuffled(seed, (thrum_fx){ three_live, &again }), 0);
		TH_CHECK(strcmp(s.text, again.text) == 0);
		others += strcmp(s.text, last.text) != 0;
		last = s;
	}
	TH_CHECK(others > SEEDS / 2);
}

static int count_checks(int *checks)
{
	thrum_token token;
	thrum_scope s;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, &token), 0);
	thrum_token_cancel(&token);
	while (thrum_check() == 0)
		++*checks;
	(void)thrum_scope_close(&s);
	return 0;
}
THRUM_FX(count_checks, int);

TH_TEST(shuffle, a_check_looks_at_no_clock)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		int checks = 0;

		TH_CHECK_EQ(shuffled(seed, count_checks_fx(&checks)), 0);
		TH_CHECK_EQ(checks, 0); /* and not as many as fit into 100 us */
	}
}

TH_TEST(shuffle, neighbouring_seeds_are_different_runs)
{
	int others = 0;

	for (uint64_t seed = 2; seed <= SEEDS; seed += 2) {
		struct story even = { .n = 0 }, odd = { .n = 0 };

		TH_CHECK_EQ(shuffled(seed, (thrum_fx){ three_are_woken, &even }), 0);
		TH_CHECK_EQ(shuffled(seed + 1, (thrum_fx){ three_are_woken, &odd }), 0);
		others += strcmp(even.text, odd.text) != 0;
	}
	TH_CHECK(others > SEEDS / 4); /* of six orders, two are the same once in six */
}

/* --- many workers: the same promises, without the replay --- */

static int count_up(th_counter *n)
{
	th_count(n, 1);
	return thrum_yield();
}
THRUM_FX(count_up, th_counter);

enum { MANY = 200 };

static int spawn_many(th_counter *n)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(thrum_go(&s, count_up_fx(n)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(spawn_many, th_counter);

TH_TEST(shuffle, on_several_workers_each_child_still_runs_once)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		th_counter n = { 0 };

		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 4, .shuffle = true, .seed = seed), spawn_many_fx(&n)), 0);
		TH_CHECK_EQ(th_counted(&n), MANY);
	}
}

/* --- by the environment --- */

struct asked {
	unsigned workers;
	bool says_so;
	struct story story;
};

static int ask(struct asked *a)
{
	a->workers = thrum_workers();
	a->says_so = strstr(thrum_rt_describe(NULL), ", shuffled by seed 17") != NULL;
	return three_live(&a->story);
}
THRUM_FX(ask, struct asked);

TH_TEST(shuffle, the_environment_chooses_the_seed_for_a_program_that_knows_nothing_of_it)
{
	struct asked a = { .workers = 0 };
	struct story s = { .n = 0 };

	TH_CHECK_EQ(setenv("THRUM_SHUFFLE", "17", 1), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 3, .clock = THRUM_CLOCK_JUMP, .seed = 5), ask_fx(&a)), 0);
	TH_CHECK_EQ(a.workers, 1);
	TH_CHECK(a.says_so);
	TH_CHECK_EQ(setenv("THRUM_SHUFFLE", "17x", 1), 0);
	TH_CHECK_EQ(thrum_run(NULL, ask_fx(&a)), -EINVAL);
	TH_CHECK_EQ(setenv("THRUM_SHUFFLE", "0", 1), 0);
	TH_CHECK_EQ(thrum_run(NULL, ask_fx(&a)), -EINVAL);
	TH_CHECK_EQ(unsetenv("THRUM_SHUFFLE"), 0);
	TH_CHECK_EQ(shuffled(17, (thrum_fx){ three_live, &s }), 0);
	TH_CHECK(strcmp(s.text, a.story.text) == 0);
}
