/* test/sim/test_explore.c: thrum/test.h finds what is wrong with a program, says so, and can do it again. */
#include "../../io/sim/sim.h"
#include "../../io/sys.h"
#include "../support/child.h"
#include "../support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <thrum.h>
#include <thrum/file.h>
#include <thrum/test.h>
#include <unistd.h>

/* A run takes ten to thirty times as long under a sanitizer or an emulator, and a process to make more than that. */
enum { LESS = TH_SLOW ? 20 : 1 };

/* --- a race: two children add to a sum that nothing guards --- */

struct sum {
	int value;
	bool guarded;
	thrum_mutex mutex;
};

static int add_one(struct sum *s)
{
	int seen;

	if (s->guarded && thrum_mutex_lock(&s->mutex) < 0)
		return -ECANCELED;
	/* Atomic, so that ThreadSanitizer is not the one that finds it: the update is lost all the same. */
	seen = __atomic_load_n(&s->value, __ATOMIC_RELAXED);
	thrum_test_point();
	__atomic_store_n(&s->value, seen + 1, __ATOMIC_RELAXED);
	if (s->guarded)
		(void)thrum_mutex_unlock(&s->mutex);
	return 0;
}
THRUM_FX(add_one, struct sum);

static int add_two(struct sum *s)
{
	int code;

	s->value = 0;
	(void)thrum_mutex_init(&s->mutex);
	code = thrum_zip_par(add_one_fx(s), add_one_fx(s));
	THRUM_TEST_CHECK(code < 0 || s->value == 2);
	return code;
}
THRUM_FX(add_two, struct sum);

static struct sum loose, tight = { .guarded = true };

TH_TEST(explore, a_race_is_found_by_each_search)
{
	static const unsigned searches[] = { THRUM_SEARCH_RANDOM, THRUM_SEARCH_PCT, THRUM_SEARCH_BOUNDED };

	for (unsigned i = TH_SLOW; i < 3; i++) { /* by chance it takes a thousand */
		thrum_test_report r;

		TH_CHECK_EQ(thrum_test_search(add_two_fx(&loose),
					      THRUM_TEST_OPTS(.workers = 2, .search = searches[i], .runs = 20000, .quiet = true), &r), 1);
		TH_CHECK(r.failed && strstr(r.what, "s->value == 2"));
		/* One preemption does it, and each of those is tried; under a sanitizer only the first few hundred. */
		TH_CHECK(r.choices_left == 1 || (TH_SANITIZED && r.choices_left <= 20));
	}
}

TH_TEST(explore, without_the_race_all_runs_hold)
{
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(add_two_fx(&tight), THRUM_TEST_OPTS(.runs = 3000 / LESS), &r), 0);
	TH_CHECK(!r.failed && r.runs >= 3000 / LESS && r.choices > r.runs);
	TH_CHECK_EQ(thrum_test_search(add_two_fx(&tight), THRUM_TEST_OPTS(.search = THRUM_SEARCH_PCT, .workers = 2, .runs = 1000 / LESS),
				      NULL), 0);
	TH_CHECK_EQ(thrum_test_search(add_two_fx(&tight), THRUM_TEST_OPTS(.coarse = true, .runs = 1000 / LESS), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_cancel(add_two_fx(&tight), THRUM_TEST_OPTS(.runs = 20 / LESS), NULL), 0);
}

static const char *replay_text;

static void replay_it(void *unused)
{
	(void)unused;
	(void)thrum_test_replay(add_two_fx(&loose), NULL, replay_text);
}

static void replay_guarded(void *unused)
{
	loose.guarded = true;
	replay_it(unused);
}

static void write_line(const char *path, const char *line)
{
	FILE *f = fopen(path, "we");

	TH_CHECK(f && fprintf(f, "%s\nanother line\n", line) > 0 && fclose(f) == 0);
}

TH_TEST(explore, a_failure_is_replayed_from_its_line)
{
	static const char file[] = "@explore-replay.txt"; /* in the folder of the build */
	thrum_test_report r;
	struct th_said said;
	int status;

	TH_CHECK_EQ(thrum_test_search(add_two_fx(&loose), THRUM_TEST_OPTS(.workers = 2, .quiet = true), &r), 1);
	replay_text = r.replay;
	status = th_child(replay_it, NULL, &said); /* with what happened on the way */
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK(strstr(said.text, "it fails: code < 0 || s->value == 2"));
	TH_CHECK(strstr(said.text, "preempted"));
	write_line(file + 1, r.replay);
	replay_text = file;
	status = th_child(replay_it, NULL, &said);
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK_EQ(unlink(file + 1), 0);
	replay_text = r.replay;
	status = th_child(replay_guarded, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK(strstr(said.text, "that run does not fail"));
}

/* --- a failure that takes so many choices that no line holds them --- */

static int toss_a_lot(void *unused)
{
	uint32_t heads = 0, mixed = 7;

	(void)unused;
	for (int i = 0; i < 2000; i++) {
		uint32_t x = thrum_test_choose(2);
		heads += x;
		mixed = mixed * 1103515245 + x * 12345 + 1;
		mixed ^= mixed >> 13;
	}
	THRUM_TEST_CHECK(heads < 950 || mixed % 4 != 0);
	return 0;
}

static void replay_tosses(void *unused)
{
	(void)unused;
	(void)thrum_test_replay((thrum_fx){ toss_a_lot, NULL }, NULL, replay_text);
}

TH_TEST(explore, a_failure_of_too_many_choices_is_replayed_as_it_was_found)
{
	for (unsigned search = THRUM_SEARCH_RANDOM; search <= THRUM_SEARCH_PCT; search++) {
		thrum_test_report r;
		struct th_said said;
		int status;

		TH_CHECK_EQ(thrum_test_search((thrum_fx){ toss_a_lot, NULL }, THRUM_TEST_OPTS(.search = search, .quiet = true), &r), 1);
		TH_CHECK(!strstr(r.replay, "choices="));
		replay_text = r.replay;
		status = th_child(replay_tosses, NULL, &said);
		TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		TH_CHECK(strstr(said.text, "it fails: heads < 950"));
	}
}

/* --- an order that one worker never has by itself --- */

struct line {
	thrum_latch latch;
	int first, waiting;
};

static int stand_in_line(struct line *l)
{
	int me = __atomic_add_fetch(&l->waiting, 1, __ATOMIC_RELAXED), nobody = 0;

	if (thrum_latch_wait(&l->latch) == 0)
		__atomic_compare_exchange_n(&l->first, &nobody, me, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(stand_in_line, struct line);

static int let_in(struct line *l)
{
	while (__atomic_load_n(&l->waiting, __ATOMIC_RELAXED) < 3)
		if (thrum_sleep(thrum_us(125)) < 0)
			return -ECANCELED;
	return thrum_latch_arrive(&l->latch);
}
THRUM_FX(let_in, struct line);

static int last_come_first_served(struct line *l)
{
	int code;

	*l = (struct line){ .first = 0 };
	(void)thrum_latch_init(&l->latch, 1);
	code = thrum_zip_par(stand_in_line_fx(l), stand_in_line_fx(l), stand_in_line_fx(l), let_in_fx(l));
	THRUM_TEST_CHECK(l->first != 3);
	return code;
}
THRUM_FX(last_come_first_served, struct line);

static void replay_the_line(void *line)
{
	(void)thrum_test_replay(last_come_first_served_fx(line), NULL, replay_text);
}

TH_TEST(explore, the_order_of_fibers_is_searched_on_one_worker)
{
	thrum_test_report r;
	struct th_said said;
	struct line line;
	int status;

	if (TH_EMULATED)
		return; /* making it simpler takes thousands of processes */
	TH_CHECK_EQ(thrum_test_search(last_come_first_served_fx(&line), THRUM_TEST_OPTS(.workers = 1, .quiet = true), &r), 1);
	TH_CHECK(r.choices_left == 1 && strstr(r.replay, " shuffled "));
	replay_text = r.replay;
	status = th_child(replay_the_line, &line, &said);
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said.text, "it fails: l->first != 3"));
}

static int look_then_add(struct sum *s)
{
	int seen;

	if (thrum_mutex_lock(&s->mutex) < 0)
		return -ECANCELED;
	seen = s->value;
	(void)thrum_mutex_unlock(&s->mutex);
	if (thrum_mutex_lock(&s->mutex) < 0)
		return -ECANCELED;
	s->value = seen + 1;
	return thrum_mutex_unlock(&s->mutex);
}
THRUM_FX(look_then_add, struct sum);

static int two_look_then_add(struct sum *s)
{
	int code;

	s->value = 0;
	(void)thrum_mutex_init(&s->mutex);
	code = thrum_zip_par(look_then_add_fx(s), look_then_add_fx(s));
	THRUM_TEST_CHECK(s->value == 2);
	return code;
}
THRUM_FX(two_look_then_add, struct sum);

static void replay_two(void *unused)
{
	(void)unused;
	(void)thrum_test_replay(two_look_then_add_fx(&loose), NULL, replay_text);
}

TH_TEST(explore, a_shuffled_run_whose_choices_are_all_the_first_is_as_usual)
{
	thrum_test_report r;
	struct th_said said;
	int status;

	TH_CHECK_EQ(thrum_test_search(two_look_then_add_fx(&loose), THRUM_TEST_OPTS(.workers = 1, .quiet = true), &r), 1);
	replay_text = "program seed=1 workers=1 shuffled choices=";
	status = th_child(replay_two, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK(strstr(said.text, "that run does not fail"));
}

TH_TEST(explore, what_is_no_replay_is_refused)
{
	static const char *const bad[] = { "program seed=", "program seed=1 choices=5:1,3:1", "program choices=5:1 choices=3:1",
					   "program seed=1x", "program workers=0",
					   "program cancel=3", "program pct=99/5", "program nonsense=1", "@/no/such/file", "@/dev/null" };

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
		TH_CHECK_EQ(thrum_test_replay(add_two_fx(&tight), NULL, bad[i]), -EINVAL);
	TH_CHECK_EQ(thrum_test_replay(add_two_fx(&tight), NULL, "another seed=1"), 0);
	TH_CHECK_EQ(thrum_test_replay(add_two_fx(&tight), NULL, NULL), -EINVAL);
}

/* --- a bug that takes two preemptions: nothing less shows it, and a search bounded to one says so --- */

static int flags[2];

static int first_half(void *unused)
{
	(void)unused;
	__atomic_store_n(&flags[0], 1, __ATOMIC_RELAXED);
	thrum_test_point();
	__atomic_store_n(&flags[0], 0, __ATOMIC_RELAXED);
	thrum_test_point();
	__atomic_store_n(&flags[1], 1, __ATOMIC_RELAXED);
	return 0;
}

static int look(void *unused)
{
	int a = __atomic_load_n(&flags[0], __ATOMIC_RELAXED), b;

	(void)unused;
	thrum_test_point();
	b = __atomic_load_n(&flags[1], __ATOMIC_RELAXED);
	THRUM_TEST_CHECK(!(a && b));
	return 0;
}

static int halves(void *unused)
{
	const thrum_fx fx[2] = { { first_half, NULL }, { look, NULL } };

	(void)unused;
	flags[0] = flags[1] = 0;
	return thrum_zip_par_n(fx, 2);
}

TH_TEST(explore, bounded_search_is_exhaustive)
{
	const thrum_fx fx = { halves, NULL };
	thrum_test_opts o = { .size = sizeof o, .search = THRUM_SEARCH_BOUNDED, .depth = 1, .runs = 1000000, .quiet = true };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, &o, &r), 0);
	TH_CHECK(r.exhausted && r.runs > 10);
	if (TH_SLOW)
		return;
	o.depth = 3;
	TH_CHECK_EQ(thrum_test_search(fx, &o, &r), 1);
	TH_CHECK(r.choices_left >= 2 && r.choices_left <= 3);
	o.runs = 5;
	TH_CHECK_EQ(thrum_test_search(fx, &o, &r), 0);
	TH_CHECK(!r.exhausted);
}

static int times_run;

static int wears_out(void *unused)
{
	(void)unused;
	for (int i = 0; i < 30; i++)
		(void)thrum_test_choose(4);
	THRUM_TEST_CHECK(++times_run < 200);
	return 0;
}

/* It fails because of what earlier runs have left: once more it does not, and its line says what it was all the same. */
TH_TEST(explore, a_bounded_run_that_fails_only_once_has_a_replay)
{
	const thrum_fx fx = { wears_out, NULL };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, THRUM_TEST_OPTS(.search = THRUM_SEARCH_BOUNDED, .quiet = true), &r), 1);
	TH_CHECK(r.runs == 200 && r.choices_left <= 2 && strstr(r.replay, " choices="));
	TH_CHECK_EQ(thrum_test_replay(fx, NULL, r.replay), 0);
}

/* --- choices of many values --- */

static int choose_one(void *of)
{
	THRUM_TEST_CHECK(thrum_test_choose(*(uint32_t *)of) != 4999);
	return 0;
}

static int choose_of_too_many(void *unused)
{
	(void)unused;
	(void)thrum_test_choose(1000000);
	return 0;
}

TH_TEST(explore, bounded_search_tries_all_values_or_says_that_it_has_not)
{
	uint32_t n = 5000;
	const thrum_fx fx = { choose_one, &n };
	thrum_test_opts o = { .size = sizeof o, .search = THRUM_SEARCH_BOUNDED, .depth = 1, .workers = 1, .runs = 100000, .quiet = true };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, &o, &r), 1);
	n = 4999;
	TH_CHECK_EQ(thrum_test_search(fx, &o, &r), 0);
	TH_CHECK(r.exhausted && r.runs > 4999);
	o.runs = 4000;
	TH_CHECK(thrum_test_search(fx, &o, &r) == 0 && !r.exhausted);
	o.runs = 100000;
	TH_CHECK(thrum_test_search((thrum_fx){ choose_of_too_many, NULL }, &o, &r) == 0 && !r.exhausted);
}

/* --- a failure that takes many choices is made simpler --- */

enum { STEPS = 40, TURNS = 7 };

struct turns {
	int last, turns;
};

static void step(struct turns *t, int me)
{
	int last = __atomic_exchange_n(&t->last, me, __ATOMIC_RELAXED);

	__atomic_fetch_add(&t->turns, last != me, __ATOMIC_RELAXED);
	thrum_test_point();
}

static int step_as_one(struct turns *t)
{
	for (int i = 0; i < STEPS; i++)
		step(t, 1);
	return 0;
}
THRUM_FX(step_as_one, struct turns);

static int step_as_two(struct turns *t)
{
	for (int i = 0; i < STEPS; i++)
		step(t, 2);
	return 0;
}
THRUM_FX(step_as_two, struct turns);

/* Of what one preemption adds a turn or two to. */
static int take_turns(void *unused)
{
	struct turns t = { .last = 0 };
	int code = thrum_zip_par(step_as_one_fx(&t), step_as_two_fx(&t));

	(void)unused;
	THRUM_TEST_CHECK(t.turns < TURNS);
	return code;
}

TH_TEST(explore, a_failure_of_many_choices_is_made_simpler)
{
	thrum_test_report r;

	if (TH_SLOW)
		return; /* less is tried */
	for (uint64_t seed = 1; seed < 5000; seed += 1000) {
		TH_CHECK_EQ(thrum_test_search((thrum_fx){ take_turns, NULL },
					      THRUM_TEST_OPTS(.workers = 2, .seed = seed, .runs = 20000, .quiet = true), &r), 1);
		TH_CHECK(r.choices_left <= 12); /* 5 to 8; without a look at calmer runs 8 to 42 */
	}
}

/* --- one choice is enough, and it is one of thousands --- */

enum { LONG = 1500 };

static int open_for_a_moment(struct turns *t)
{
	for (int i = 0; i < LONG; i++) {
		__atomic_store_n(&t->last, i == LONG - 10, __ATOMIC_RELAXED);
		thrum_test_point();
	}
	__atomic_store_n(&t->last, 0, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(open_for_a_moment, struct turns);

static int look_in(struct turns *t)
{
	for (int i = 0; i < LONG; i++) {
		THRUM_TEST_CHECK(__atomic_load_n(&t->last, __ATOMIC_RELAXED) == 0);
		thrum_test_point();
	}
	return 0;
}
THRUM_FX(look_in, struct turns);

static int open_and_look(void *unused)
{
	struct turns t = { .last = 0 };

	(void)unused;
	return thrum_zip_par(open_for_a_moment_fx(&t), look_in_fx(&t));
}

TH_TEST(explore, if_one_choice_is_enough_it_is_found)
{
	thrum_test_report r;

	if (TH_SLOW)
		return; /* not all are tried */
	for (uint64_t seed = 1; seed < 5000; seed += 1000) {
		TH_CHECK_EQ(thrum_test_search((thrum_fx){ open_and_look, NULL },
					      THRUM_TEST_OPTS(.workers = 2, .seed = seed, .runs = 20000, .quiet = true), &r), 1);
		TH_CHECK_EQ(r.choices_left, 1); /* by taking away alone: 13, 3, 3, 1, 15 */
	}
}

/* --- a worker that sleeps is woken by what comes, not by the end of all other work --- */

struct letter {
	int fds[2];
	int left; /* the writer goes on to something else */
};

static int write_letter(struct letter *l)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ns(500 * TH_SIM_TICK_NS)), 0); /* the reader sleeps */
	TH_CHECK_EQ(th_sys_write(l->fds[1], "x", 1), 1);
	for (int i = 0; i < 50; i++)
		thrum_test_point();
	__atomic_store_n(&l->left, 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(write_letter, struct letter);

static int read_letter(struct letter *l)
{
	char c;

	TH_CHECK_EQ(thrum_read(l->fds[0], &c, 1), 1);
	THRUM_TEST_CHECK(__atomic_load_n(&l->left, __ATOMIC_RELAXED));
	return 0;
}
THRUM_FX(read_letter, struct letter);

static int send_a_letter(void *unused)
{
	struct letter l = { .left = 0 };
	int code;

	(void)unused;
	TH_CHECK_EQ(th_sim_pipe(l.fds), 0);
	code = thrum_zip_par(write_letter_fx(&l), read_letter_fx(&l));
	TH_CHECK_EQ(thrum_close(l.fds[0]), 0);
	TH_CHECK_EQ(thrum_close(l.fds[1]), 0);
	return code;
}

TH_TEST(explore, a_sleeper_does_not_wait_for_the_busy)
{
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search((thrum_fx){ send_a_letter, NULL }, THRUM_TEST_OPTS(.workers = 2, .quiet = true), &r), 1);
	TH_CHECK(strstr(r.what, "l->left"));
}

/* --- a deadlock --- */

static thrum_mutex left, right;

static int take_both(thrum_mutex *first)
{
	int code = thrum_mutex_lock(first);

	if (code < 0)
		return code;
	code = thrum_mutex_lock(first == &left ? &right : &left);
	if (code >= 0)
		(void)thrum_mutex_unlock(first == &left ? &right : &left);
	(void)thrum_mutex_unlock(first);
	return code;
}
THRUM_FX(take_both, thrum_mutex);

static int cross(void *unused)
{
	(void)unused;
	(void)thrum_mutex_init(&left);
	(void)thrum_mutex_init(&right);
	return thrum_zip_par(take_both_fx(&left), take_both_fx(&right));
}

TH_TEST(explore, a_deadlock_is_found_and_named)
{
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search((thrum_fx){ cross, NULL }, THRUM_TEST_OPTS(.workers = 2, .runs = 20000, .quiet = true), &r), 1);
	TH_CHECK(strstr(r.what, "deadlock") || strstr(r.what, "EDEADLK") || strstr(r.what, thrum_strerror(-EDEADLK)));
}

/* --- what a cancel shows, and nothing else --- */

static int held;

static int sleepy(void *unused)
{
	int code;

	(void)unused;
	held = 1;
	code = thrum_sleep(thrum_ms(1));
	if (code < 0)
		return code; /* the bug: it returns with what it holds */
	held = 0;
	return 0;
}

static int hold(void *unused)
{
	const thrum_fx fx = { sleepy, NULL };

	(void)unused;
	held = 0;
	return thrum_timeout(fx, thrum_ms(100));
}

static bool nothing_is_held(const thrum_test_run *run, void *arg)
{
	(void)run;
	(void)arg;
	return !held;
}

TH_TEST(explore, the_sweep_of_cancels_finds_what_is_held_on)
{
	const thrum_fx fx = { hold, NULL };
	thrum_test_opts o = { .size = sizeof o, .check = nothing_is_held, .quiet = true };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, &o, NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_cancel(fx, &o, &r), 1);
	TH_CHECK(strstr(r.replay, " cancel="));
	TH_CHECK(strstr(r.what, "check"));
}

static int nap(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_ms(1));
}

static int nap_in_time(void *unused)
{
	int r = thrum_timeout((thrum_fx){ nap, NULL }, thrum_ms(3600000));

	(void)unused;
	THRUM_TEST_CHECK(r != -ETIMEDOUT);
	return r;
}

/* A limit fires where it never would by itself. */
TH_TEST(explore, the_sweep_of_cancels_lets_limits_fire)
{
	const thrum_fx fx = { nap_in_time, NULL };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, NULL, NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_cancel(fx, THRUM_TEST_OPTS(.quiet = true), &r), 1);
	TH_CHECK(strstr(r.replay, "/deadline") && strstr(r.what, "r != -ETIMEDOUT"));
}

/* Sees to a part that was cancelled by itself, and would not have thought that it may be cancelled while it does. */
static int tidy_up_after_a_part(void *unused)
{
	thrum_scope part;
	int code = thrum_scope_open(&part);

	(void)unused;
	if (code == 0)
		code = thrum_go(&part, (thrum_fx){ nap, NULL });
	code = code < 0 ? code : thrum_scope_close(&part);
	if (code < 0 && thrum_check() == 0)
		THRUM_TEST_CHECK(thrum_sleep(thrum_ms(1)) == 0);
	return code;
}

static void replay_tidying(void *unused)
{
	(void)unused;
	(void)thrum_test_replay((thrum_fx){ tidy_up_after_a_part, NULL }, NULL, replay_text);
}

TH_TEST(explore, the_sweep_of_cancels_comes_again_while_the_first_is_cleaned_up)
{
	thrum_test_report r;
	struct th_said said;
	int status;

	TH_CHECK_EQ(thrum_test_sweep_cancel((thrum_fx){ tidy_up_after_a_part, NULL }, THRUM_TEST_OPTS(.quiet = true), &r), 1);
	TH_CHECK(strstr(r.replay, " cancel=") && strstr(r.replay, " again="));
	replay_text = r.replay;
	status = th_child(replay_tidying, NULL, &said);
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said.text, "it fails: thrum_sleep"));
}

/* --- memory and operations --- */

static int careless(void *unused)
{
	thrum_chan c;
	int item = 1, code = thrum_chan_init(&c, sizeof item, 1);

	(void)unused;
	THRUM_TEST_CHECK(code == 0); /* the bug: there may be no memory */
	code = thrum_chan_send(&c, &item);
	thrum_chan_fini(&c);
	return code;
}

static int careful(void *unused)
{
	thrum_chan c;
	int item = 1, code = thrum_chan_init(&c, sizeof item, 1);

	(void)unused;
	if (code < 0)
		return code;
	code = thrum_chan_send(&c, &item);
	thrum_chan_fini(&c);
	return code;
}

TH_TEST(explore, the_sweep_of_allocations_finds_a_missing_check)
{
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_sweep_memory((thrum_fx){ careful, NULL }, THRUM_TEST_OPTS(.runs = 3), &r), 0);
	TH_CHECK(r.runs > 6);
	/* Stacks that are mapped one by one: also without one for the main effect the runtime comes to its end. */
	TH_CHECK_EQ(thrum_test_sweep_memory((thrum_fx){ careful, NULL },
					    THRUM_TEST_OPTS(.runs = 1, .run = THRUM_OPTS(.stack_bytes = 256 << 20)), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_memory((thrum_fx){ careless, NULL }, THRUM_TEST_OPTS(.quiet = true), &r), 1);
	TH_CHECK(strstr(r.replay, " allocation="));
}

/* --- a server and its client in one world: the client takes a failed receive for the end of the answer --- */

struct talk {
	bool careful;
	int listener;
	size_t got;
};

static int answer(struct talk *t)
{
	int conn = thrum_accept(t->listener, NULL, NULL), code;

	if (conn < 0)
		return conn;
	code = thrum_send_all(conn, "to be or not to be", 18, 0, NULL);
	(void)thrum_close(conn);
	return code;
}
THRUM_FX(answer, struct talk);

static int ask(struct talk *t)
{
	char buf[32];
	ssize_t n;
	int fd = thrum_dial("127.0.0.1:7000");

	if (fd < 0)
		return fd;
	while ((n = thrum_recv(fd, buf, sizeof buf, 0)) > 0)
		t->got += (size_t)n;
	(void)thrum_close(fd);
	return t->careful ? (int)n : 0; /* the bug */
}
THRUM_FX(ask, struct talk);

static int talk(struct talk *t)
{
	int code;

	t->got = 0;
	t->listener = thrum_listen_on("127.0.0.1:7000", NULL);
	if (t->listener < 0)
		return t->listener;
	code = thrum_zip_par(answer_fx(t), ask_fx(t));
	(void)thrum_close(t->listener);
	THRUM_TEST_CHECK(code < 0 || t->got == 18);
	return code;
}
THRUM_FX(talk, struct talk);

TH_TEST(explore, the_sweep_of_operations_finds_an_error_taken_for_an_end)
{
	struct talk careless = { .careful = false }, careful = { .careful = true };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(talk_fx(&careless), THRUM_TEST_OPTS(.runs = 300 / LESS), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_io(talk_fx(&careless), THRUM_TEST_OPTS(.quiet = true), &r), 1);
	TH_CHECK(strstr(r.what, "t->got == 18") && strstr(r.replay, " operation="));
	TH_CHECK_EQ(thrum_test_sweep_io(talk_fx(&careful), THRUM_TEST_OPTS(.runs = 20 / LESS), &r), 0);
	TH_CHECK(r.runs > 20 / LESS * 10);
	TH_CHECK_EQ(thrum_test_sweep_cancel(talk_fx(&careful), THRUM_TEST_OPTS(.runs = 20 / LESS), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_memory(talk_fx(&careful), THRUM_TEST_OPTS(.runs = 20 / LESS), NULL), 0);
}

/* --- a file that is written beside the one that it replaces --- */

static int write_new(void)
{
	int fd = thrum_openat(AT_FDCWD, "new", O_CREAT | O_WRONLY, 0600), code;

	if (fd < 0)
		return fd;
	code = thrum_write_all(fd, "text", 4, NULL);
	if (code == 0)
		code = thrum_fsync(fd);
	(void)thrum_close(fd);
	return code;
}

static int save(bool *careful)
{
	struct stat st;
	int code = write_new(), renamed;

	if (code < 0)
		return code;
	renamed = thrum_rename(AT_FDCWD, "new", AT_FDCWD, "file", 0);
	if (*careful && renamed < 0)
		return renamed; /* that is what the other one forgets */
	THRUM_TEST_CHECK(thrum_stat(AT_FDCWD, "file", 0, &st) != -ENOENT);
	return 0;
}
THRUM_FX(save, bool);

TH_TEST(explore, the_sweep_of_operations_has_calls_on_paths_fail)
{
	bool careless = false, careful = true;
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(save_fx(&careless), THRUM_TEST_OPTS(.runs = 300 / LESS), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_io(save_fx(&careless), THRUM_TEST_OPTS(.quiet = true), &r), 1);
	TH_CHECK(strstr(r.replay, " operation="));
	TH_CHECK_EQ(thrum_test_sweep_io(save_fx(&careful), THRUM_TEST_OPTS(.runs = 20 / LESS), NULL), 0);
}

TH_TEST(explore, faults_of_the_world_are_had_by_chance)
{
	struct talk careful = { .careful = true };
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(talk_fx(&careful), THRUM_TEST_OPTS(.any_code = true, .runs = 1000 / LESS,
				      .faults = THRUM_TEST_FAULTS(.reset = 20, .refused = 20, .cut = 50, .no_fd = 30, .no_memory = 30)), NULL), 0);
	TH_CHECK_EQ(thrum_test_search(talk_fx(&careful), THRUM_TEST_OPTS(.quiet = true, .faults = THRUM_TEST_FAULTS(.refused = 20)),
				      &r), 1);
	TH_CHECK(strstr(r.what, thrum_strerror(-ECONNREFUSED)));
	TH_CHECK(r.choices_left <= 8 || TH_SANITIZED); /* that of the fault, and a few by which it comes to the same number */
}

/* --- other ends --- */

static int returns(int *code)
{
	return *code;
}
THRUM_FX(returns, int);

static int crashes(void *unused)
{
	(void)unused;
	raise(SIGSEGV);
	return 0;
}

__attribute__((noreturn)) static int exits(void *unused)
{
	(void)unused;
	_exit(0);
}

static int hangs(void *unused)
{
	(void)unused;
	while (getppid() != 0)
		continue;
	return 0;
}

static int spins(void *unused)
{
	(void)unused;
	while (thrum_yield() == 0)
		continue;
	return 0;
}

static int depends_on_more(int *runs)
{
	for (int i = 0; i < *runs; i++)
		(void)thrum_test_choose(2);
	++*runs;
	return 0;
}
THRUM_FX(depends_on_more, int);

static int leaves_a_pipe(void *unused)
{
	int fds[2];

	(void)unused;
	th_sim_pipe(fds);
	return thrum_close(fds[0]);
}

static int searches_itself(void *unused)
{
	(void)unused;
	return thrum_test_search(thrum_succeed(), NULL, NULL) == -EDEADLK ? 0 : -1;
}

static void must_fail_within(unsigned seconds, thrum_fx fx, const char *what)
{
	thrum_test_report r;

	TH_CHECK_EQ(thrum_test_search(fx, THRUM_TEST_OPTS(.runs = 100, .seconds = seconds,
						 .choices_max = 200000 / LESS, .quiet = true), &r), 1);
	if (!strstr(r.what, what))
		fprintf(stderr, "%s\n", r.what);
	TH_CHECK(strstr(r.what, what));
}

static void must_fail_with(thrum_fx fx, const char *what)
{
	must_fail_within(20, fx, what);
}

TH_TEST(explore, every_bad_end_is_told_apart)
{
	int code = -EIO, runs = 0;

	must_fail_with(returns_fx(&code), "returned -5");
	must_fail_with((thrum_fx){ crashes, NULL }, TH_SANITIZED ? "ended in the middle" : "signal 11"); /* it exits, by then */
	must_fail_with((thrum_fx){ exits, NULL }, "ended in the middle");
	must_fail_with((thrum_fx){ leaves_a_pipe, NULL }, "1 descriptors are left open");
	must_fail_within(1, (thrum_fx){ hangs, NULL }, "not come to an end");
	must_fail_with((thrum_fx){ spins, NULL }, "livelock");
	must_fail_with(depends_on_more_fx(&runs), "outside of the simulation");
	TH_CHECK_EQ(thrum_test_search(returns_fx(&code), THRUM_TEST_OPTS(.any_code = true), NULL), 0);
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ searches_itself, NULL }, THRUM_TEST_OPTS(.runs = 3), NULL), 0);
}

static int calls_run(void *unused)
{
	(void)unused;
	return thrum_run(THRUM_OPTS(.workers = 2), add_two_fx(&tight));
}

TH_TEST(explore, a_plain_program_calls_run_itself)
{
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ calls_run, NULL }, THRUM_TEST_OPTS(.plain = true), NULL), 0);
}

static int takes_what_there_is(void *ret_workers)
{
	*(unsigned *)ret_workers = thrum_workers();
	return thrum_zip_par(thrum_succeed(), thrum_succeed());
}

static int runs_of_many_workers(void *unused)
{
	unsigned workers;
	const thrum_fx fx = { takes_what_there_is, &workers };
	thrum_rt *rt[3];
	int n = 0, code;

	(void)unused;
	THRUM_TEST_CHECK(thrum_run(NULL, fx) == 0 && workers == 2); /* also where there is one CPU, or 64 */
	THRUM_TEST_CHECK(thrum_run(THRUM_OPTS(.workers = 16), fx) == 0 && workers == 16);
	THRUM_TEST_CHECK(thrum_run(THRUM_OPTS(.workers = 17), fx) == -EINVAL);
	do
		code = thrum_rt_open(THRUM_OPTS(.workers = 12), &rt[n]);
	while (code == 0 && ++n < 3);
	THRUM_TEST_CHECK(n == 2 && code == -EAGAIN); /* no threads are left */
	while (n > 0)
		thrum_rt_close(rt[--n]);
	return 0;
}

TH_TEST(explore, the_number_of_workers_is_not_the_machines)
{
	cpu_set_t all, one;

	TH_CHECK_EQ(unsetenv("THRUM_WORKERS"), 0);
	TH_CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	TH_CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ runs_of_many_workers, NULL }, THRUM_TEST_OPTS(.plain = true, .runs = 20), NULL), 0);
	TH_CHECK_EQ(sched_setaffinity(0, sizeof all, &all), 0);
}

/* Else the program has passed each of no runs. */
TH_TEST(explore, a_number_of_the_environment_that_is_none_is_refused)
{
	static const char *const bad[] = { "x", "-1", "10x", " 5", "99999999999999999999999" };
	static const char *const names[] = { "THRUM_TEST_RUNS", "THRUM_TEST_SEED" };
	const thrum_test_opts *quietly = THRUM_TEST_OPTS(.quiet = true);
	thrum_test_report r;

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < sizeof bad / sizeof *bad; k++) {
			TH_CHECK_EQ(setenv(names[i], bad[k], 1), 0);
			TH_CHECK_EQ(thrum_test_search(thrum_succeed(), quietly, NULL), -EINVAL);
		}
		TH_CHECK_EQ(unsetenv(names[i]), 0);
	}
	TH_CHECK(setenv(names[0], "0", 1) == 0 && thrum_test_search(thrum_succeed(), quietly, NULL) == -EINVAL);
	TH_CHECK(setenv(names[0], "3", 1) == 0 && thrum_test_search(thrum_succeed(), NULL, &r) == 0 && r.runs == 4);
	TH_CHECK_EQ(unsetenv(names[0]), 0);
}

TH_TEST(explore, bad_options_are_refused)
{
	const thrum_fx none = { NULL, NULL };

	TH_CHECK_EQ(thrum_test_search(none, NULL, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_test_search(thrum_succeed(), THRUM_TEST_OPTS(.search = 7), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_test_search(thrum_succeed(), THRUM_TEST_OPTS(.depth = 17), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_test_search(thrum_succeed(), THRUM_TEST_OPTS(.workers = 17), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_test_search(thrum_succeed(), THRUM_TEST_OPTS(.name = "two words"), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_test_choose(5), 0); /* outside of a run */
	TH_CHECK(!thrum_test_running());
	thrum_test_point();
	thrum_test_note("nobody reads this");
}
