/* test/stress/test_blocking.c: the blocking pool under load: storms of jobs and cancels, many runtimes, memory and threads. */
#include <sched.h>
#include "stress.h"

enum { CALLERS = 64, ROUNDS = TH_SANITIZED ? 40 : 400 };

/* Arguments alive: on the heap, given back by whoever has them at last. */
static th_counter alive, ran;

struct work {
	int spins;
};

static int work(void *arg)
{
	volatile int left = ((struct work *)arg)->spins;

	th_count(&ran, 1);
	while (left > 0)
		left = left - 1;
	return 1;
}

static int give_back(void *arg)
{
	th_count(&alive, -1);
	free(arg);
	return 0;
}

/* One abandonable job; the argument comes back exactly once. */
static int one_job(int *spins)
{
	struct work *w = malloc(sizeof *w);
	int code;

	TH_CHECK(w != NULL);
	w->spins = *spins;
	th_count(&alive, 1);
	code = thrum_blocking_with((thrum_fx){ work, w }, THRUM_BLOCKING_OPTS(.abandon = true, .drop = { give_back, w }));
	TH_CHECK(code == 1 || code == -ECANCELED);
	if (code == 1)
		give_back(w);
	return code;
}
THRUM_FX(one_job, int);

/* A scope with jobs of both kinds, cancelled after a while that differs each time. */
static int plain_job(int *spins)
{
	struct work w = { *spins };
	int code = thrum_blocking((thrum_fx){ work, &w });

	TH_CHECK(code == 1 || code == -ECANCELED);
	return code;
}
THRUM_FX(plain_job, int);

static int storm(int *seed)
{
	for (int round = 0; round < ROUNDS; round++) {
		int spins = (*seed * 37 + round * 101) % 3000;
		thrum_scope s;

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		for (int i = 0; i < 4; i++)
			TH_CHECK_EQ(thrum_go(&s, i % 2 ? one_job_fx(&spins) : plain_job_fx(&spins)), 0);
		for (int i = 0; i < (*seed + round) % 5; i++)
			TH_CHECK_EQ(thrum_yield(), 0);
		if (round % 4)
			thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
	}
	return 0;
}
THRUM_FX(storm, int);

static int storms(void *unused)
{
	int seeds[CALLERS];

	(void)unused;
	for (int i = 0; i < CALLERS; i++)
		seeds[i] = i;
	return thrum_for_each_par(seeds, CALLERS, storm, CALLERS);
}

TH_TEST(blocking_stress, cancels_race_jobs_and_every_argument_comes_back_once_X9)
{
	for (unsigned bound = 1; bound <= 16; bound *= 4) {
		thrum_rt *rt;

		TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.blocking_threads = bound), &rt), 0);
		TH_CHECK_EQ(thrum_rt_run(rt, (thrum_fx){ storms, NULL }), 0);
		TH_CHECK(stats_of(rt).blocking_threads <= bound);
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
		TH_CHECK_EQ(th_counted(&alive), 0);
	}
	TH_CHECK(th_counted(&ran) > 0);
}

/* Shutdown in the middle of it, from another thread. */
static int storm_for_ever(int *seed)
{
	int spins = *seed * 50;

	while (thrum_check() == 0) {
		(void)one_job(&spins);
		(void)plain_job(&spins);
	}
	return -ECANCELED;
}
THRUM_FX(storm_for_ever, int);

TH_TEST(blocking_stress, shutdown_in_the_middle_leaves_nothing_X7)
{
	const int threads = count_entries("/proc/self/task"), fds = count_entries("/proc/self/fd");
	enum { ROOTS = 32 };
	thrum_handle h[ROOTS];
	int seeds[ROOTS];

	for (int round = 0; round < (TH_SANITIZED ? 10 : 60); round++) {
		const int before = th_counted(&ran);
		thrum_rt *rt;

		TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.blocking_threads = 4), &rt), 0);
		for (int i = 0; i < ROOTS; i++) {
			seeds[i] = i;
			TH_CHECK_EQ(thrum_rt_start(rt, &h[i], storm_for_ever_fx(&seeds[i])), 0);
		}
		while (th_counted(&ran) - before < round * 10)
			sched_yield();
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
		for (int i = 0; i < ROOTS; i++)
			TH_CHECK_EQ(thrum_handle_wait(&h[i]), -ECANCELED);
		TH_CHECK_EQ(th_counted(&alive), 0);
	}
	TH_CHECK_EQ(count_entries("/proc/self/fd"), fds);
	if (!TH_TSAN_BUILD)
		TH_CHECK_EQ(count_entries("/proc/self/task"), threads);
}

/* A hundred thousand calls at once wait in one queue, and are all cancelled: one removal is no walk. */
enum { CROWD = TH_TSAN_BUILD ? 2000 : TH_SANITIZED ? 10000 : 100000 };

static int wait_for_flag(void *flag)
{
	while (!__atomic_load_n((int *)flag, __ATOMIC_ACQUIRE))
		sched_yield();
	return 0;
}

struct crowd {
	th_counter waiting;
	int flag;
};

static int join_crowd(struct crowd *c)
{
	int code;

	th_count(&c->waiting, 1);
	code = thrum_blocking((thrum_fx){ wait_for_flag, &c->flag });
	TH_CHECK(code == -ECANCELED || code == 0);
	return code;
}
THRUM_FX(join_crowd, struct crowd);

static int crowd(struct crowd *c)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < CROWD; i++)
		TH_CHECK_EQ(thrum_go(&s, join_crowd_fx(c)), 0);
	while (th_counted(&c->waiting) < CROWD)
		TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&s);
	__atomic_store_n(&c->flag, 1, __ATOMIC_RELEASE);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}
THRUM_FX(crowd, struct crowd);

TH_TEST(blocking_stress, a_crowd_in_the_queue_is_cancelled_at_once_X9)
{
	struct crowd c = { .flag = 0 };
	const thrum_opts opts = { .size = sizeof opts, .blocking_threads = 2, .stack_bytes = 16 * 1024 };

	TH_CHECK_EQ(thrum_run(&opts, crowd_fx(&c)), 0);
}

/* --- what it costs; printed, not judged --- */

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static int calls_in_a_row(void *unused)
{
	enum { CALLS = TH_SANITIZED ? 1000 : 20000 };
	const int64_t start = clock_ns(CLOCK_MONOTONIC);

	(void)unused;
	for (int i = 0; i < CALLS; i++)
		TH_CHECK_EQ(thrum_blocking((thrum_fx){ nothing, NULL }), 0);
	printf("thrum_blocking of nothing: %lld ns\n", (long long)((clock_ns(CLOCK_MONOTONIC) - start) / CALLS));
	return 0;
}

TH_TEST(blocking_stress, calls_in_a_row)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ calls_in_a_row, NULL }), 0);
}
