/* test/sched/test_blocking.c: the blocking pool (X9; G3, C3, X2, X7, X10 where they meet it).
 *
 * The tests drive a runtime on a test clock from a plain thread: thrum_clock_advance() by nothing returns when every fiber
 * waits, and a job in flight does not hold it back. Jobs wait at gates. No test waits for real time, but the one that sees
 * idle threads end. */
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* Ours is found before libc's. RLIMIT_NPROC would not do: it does not bind root. */
static int threads_left = INT32_MAX; /* threads that may still be created */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	if (__atomic_sub_fetch(&threads_left, 1, __ATOMIC_SEQ_CST) < 0)
		return EAGAIN;
	return real(thread, attr, body, arg);
}

/* --- what the tests are made of --- */

static thrum_rt *open_rt(unsigned blocking_threads)
{
	thrum_rt *rt = NULL;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST, .blocking_threads = blocking_threads), &rt), 0);
	return rt;
}

/* Until every fiber waits. */
static void settle(thrum_rt *rt)
{
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(0)), 0);
}

static thrum_stats stats_of(thrum_rt *rt)
{
	thrum_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_stats_read(rt, &s), 0);
	return s;
}

/* A job that waits at a gate, called by a root of its own. */
struct gated {
	sem_t started, gate;
	th_counter runs, ended, drops; /* of the job; of the call; of the drop */
	bool abandon;
	int code;                      /* the job's */
	int got, check;                /* what the call returned, and the next checkpoint after it */
	int rank;                      /* the how manieth job started; of the test */
	int *order;
	pthread_t thread, drop_thread;
	thrum_handle handle;
};

static int job(void *arg)
{
	struct gated *g = arg;

	th_count(&g->runs, 1);
	g->thread = pthread_self();
	if (g->order)
		g->rank = __atomic_add_fetch(g->order, 1, __ATOMIC_RELAXED);
	sem_post(&g->started);
	sem_wait(&g->gate);
	return g->code;
}

static int drop(void *arg)
{
	struct gated *g = arg;

	g->drop_thread = pthread_self();
	th_count(&g->drops, 1);
	return 0;
}

static int call_job(struct gated *g)
{
	const thrum_fx fx = { job, g }, drop_fx = { drop, g };

	g->got = g->abandon ? thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.abandon = true, .drop = drop_fx)) : thrum_blocking(fx);
	g->check = thrum_check();
	th_count(&g->ended, 1);
	return 0;
}
THRUM_FX(call_job, struct gated);

static void init(struct gated *g, int code)
{
	memset(g, 0, sizeof *g);
	g->code = code;
	g->got = g->check = 1;
	TH_CHECK_EQ(sem_init(&g->started, 0, 0), 0);
	TH_CHECK_EQ(sem_init(&g->gate, 0, 0), 0);
}

static void start(thrum_rt *rt, struct gated *g)
{
	TH_CHECK_EQ(thrum_rt_start(rt, &g->handle, call_job_fx(g)), 0);
	settle(rt);
}

static void start_and_see_it_run(thrum_rt *rt, struct gated *g)
{
	start(rt, g);
	sem_wait(&g->started);
}

static void open_gate(struct gated *g)
{
	sem_post(&g->gate);
}

static void wait_for(struct gated *g)
{
	TH_CHECK_EQ(thrum_handle_wait(&g->handle), 0);
}

static void close_rt(thrum_rt *rt)
{
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- X9: what a job is --- */

TH_TEST(blocking, job_runs_on_a_thread_of_its_own_and_its_code_is_the_calls_X9)
{
	thrum_rt *rt = open_rt(0);
	struct gated good, bad;

	init(&good, 42);
	init(&bad, THRUM_APP(3));
	open_gate(&good);
	open_gate(&bad);
	start(rt, &good);
	start(rt, &bad);
	wait_for(&good);
	wait_for(&bad);
	TH_CHECK_EQ(good.got, 42);
	TH_CHECK_EQ(bad.got, THRUM_APP(3));
	TH_CHECK(!pthread_equal(good.thread, pthread_self()));
	TH_CHECK_EQ(stats_of(rt).blocking_jobs, 2);
	close_rt(rt);
}

TH_TEST(blocking, workers_work_on_while_jobs_block_X9)
{
	struct th_step step = { 0 };
	thrum_rt *rt = open_rt(0);
	struct gated g[8]; /* more than there are workers */

	for (int i = 0; i < 8; i++) {
		init(&g[i], 0);
		start_and_see_it_run(rt, &g[i]);
	}
	TH_CHECK_EQ(thrum_rt_run(rt, th_step_fx(&step)), 0);
	for (int i = 0; i < 8; i++)
		open_gate(&g[i]);
	for (int i = 0; i < 8; i++)
		wait_for(&g[i]);
	close_rt(rt);
}

static int succeed(void *ran)
{
	++*(int *)ran;
	return 0;
}

static int bad_calls(void *unused)
{
	thrum_blocking_opts wrong_size = { .size = 1 };
	int ran = 0;
	const thrum_fx fx = { succeed, &ran };

	(void)unused;
	TH_CHECK_EQ(thrum_blocking((thrum_fx){ NULL, NULL }), -EINVAL);
	TH_CHECK_EQ(thrum_blocking_with(fx, &wrong_size), -EINVAL);
	TH_CHECK_EQ(thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.drop = fx)), -EINVAL);
	TH_CHECK_EQ(ran, 0);
	TH_CHECK_EQ(thrum_blocking_with(fx, NULL), 0);
	TH_CHECK_EQ(thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.abandon = true)), 0);
	TH_CHECK_EQ(ran, 2);
	return 0;
}

TH_TEST(blocking, bad_calls_are_refused)
{
	const thrum_fx fx = { bad_calls, NULL };
	thrum_rt *rt;

	TH_CHECK_EQ(TH_RUN(REAL, fx), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.blocking_threads = 4097), &rt), -EINVAL);
	rt = open_rt(4096); /* none of them is there before it is needed */
	TH_CHECK_EQ(stats_of(rt).blocking_threads, 0);
	close_rt(rt);
}

TH_TEST(blocking, plain_threads_are_ENOTFIBER_X1)
{
	int ran = 0;
	const thrum_fx fx = { succeed, &ran };

	TH_CHECK_EQ(thrum_blocking(fx), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.abandon = true, .drop = fx)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(ran, 0);
}

/* --- X9: cancel --- */

TH_TEST(blocking, cancel_before_the_start_removes_the_job_X9)
{
	struct gated busy, queued[3];
	thrum_rt *rt = open_rt(1);

	init(&busy, 0);
	start_and_see_it_run(rt, &busy);
	for (int i = 0; i < 3; i++) {
		init(&queued[i], 0);
		queued[i].abandon = i == 2;
		start(rt, &queued[i]);
	}
	for (int i = 1; i < 3; i++) { /* the middle one, then the last */
		thrum_handle_cancel(&queued[i].handle);
		wait_for(&queued[i]); /* while the only thread is busy */
		TH_CHECK_EQ(queued[i].got, -ECANCELED);
	}
	TH_CHECK_EQ(th_counted(&busy.ended), 0);
	open_gate(&busy);
	open_gate(&queued[0]);
	wait_for(&queued[0]);
	TH_CHECK_EQ(queued[0].got, 0);
	close_rt(rt);
	TH_CHECK_EQ(th_counted(&queued[1].runs), 0);
	TH_CHECK_EQ(th_counted(&queued[2].runs), 0);
	TH_CHECK_EQ(th_counted(&queued[2].drops), 1);
	TH_CHECK(!pthread_equal(queued[2].drop_thread, busy.thread)); /* it was busy */
}

TH_TEST(blocking, cancel_after_the_start_waits_and_the_result_stands_X9)
{
	thrum_rt *rt = open_rt(0);
	struct gated g;

	init(&g, 42);
	start_and_see_it_run(rt, &g);
	thrum_handle_cancel(&g.handle);
	settle(rt);
	TH_CHECK_EQ(th_counted(&g.ended), 0);
	open_gate(&g);
	wait_for(&g);
	TH_CHECK_EQ(g.got, 42);
	TH_CHECK_EQ(g.check, -ECANCELED); /* the cancel shows at the next cancel point */
	close_rt(rt);
}

TH_TEST(blocking, abandoned_job_runs_on_and_its_result_is_dropped_once_X9)
{
	thrum_rt *rt = open_rt(0);
	struct gated g;

	init(&g, 42);
	g.abandon = true;
	start_and_see_it_run(rt, &g);
	thrum_handle_cancel(&g.handle);
	wait_for(&g); /* the gate is shut */
	TH_CHECK_EQ(g.got, -ECANCELED);
	TH_CHECK_EQ(th_counted(&g.drops), 0); /* not while the job uses it */
	open_gate(&g);
	close_rt(rt);
	TH_CHECK_EQ(th_counted(&g.runs), 1);
	TH_CHECK_EQ(th_counted(&g.drops), 1);
	TH_CHECK(pthread_equal(g.drop_thread, g.thread));
}

TH_TEST(blocking, result_that_was_not_abandoned_is_not_dropped_X9)
{
	thrum_rt *rt = open_rt(0);
	struct gated good, bad, echo;

	init(&good, 5);
	init(&bad, -EIO);
	init(&echo, -ECANCELED); /* the one code that says: dropped */
	good.abandon = bad.abandon = echo.abandon = true;
	for (struct gated *g = &good; g; g = g == &good ? &bad : g == &bad ? &echo : NULL) {
		open_gate(g);
		start(rt, g);
		wait_for(g);
		TH_CHECK_EQ(g->got, g->code);
	}
	close_rt(rt);
	TH_CHECK_EQ(th_counted(&good.drops), 0);
	TH_CHECK_EQ(th_counted(&bad.drops), 0);
	TH_CHECK_EQ(th_counted(&echo.drops), 1);
}

static int call_cancelled(void *unused)
{
	int ran = 0, dropped = 0;
	const thrum_fx fx = { succeed, &ran }, drop_fx = { succeed, &dropped };
	thrum_stats before = stats_of(NULL);
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_blocking(fx), -ECANCELED);
	TH_CHECK_EQ(thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.abandon = true, .drop = drop_fx)), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(ran, 0);
	TH_CHECK_EQ(dropped, 1);
	TH_CHECK_EQ(stats_of(NULL).blocking_threads, before.blocking_threads);
	return 0;
}

TH_TEST(blocking, call_is_a_checkpoint_G3)
{
	const thrum_fx fx = { call_cancelled, NULL };

	TH_CHECK_EQ(TH_RUN(TEST, fx), 0);
}

/* --- the threads --- */

enum { BOUND = 3, JOBS = 10 };

TH_TEST(blocking, never_more_threads_than_the_bound_and_jobs_wait_in_order_X9)
{
	thrum_rt *rt = open_rt(BOUND);
	struct gated g[JOBS];
	int order = 0;

	for (int i = 0; i < JOBS; i++) {
		init(&g[i], i);
		g[i].order = &order;
		start(rt, &g[i]);
		if (i < BOUND)
			sem_wait(&g[i].started);
	}
	TH_CHECK_EQ(stats_of(rt).blocking_threads, BOUND);
	for (int i = 0; i < JOBS; i++) {
		TH_CHECK_EQ(stats_of(rt).blocking_jobs, i + BOUND < JOBS ? i + BOUND : JOBS);
		open_gate(&g[i]);
		wait_for(&g[i]);
		if (i + BOUND < JOBS)
			sem_wait(&g[i + BOUND].started); /* the next in line, and no other */
	}
	TH_CHECK_EQ(stats_of(rt).blocking_threads, BOUND);
	for (int i = 0; i < JOBS; i++) {
		TH_CHECK_EQ(g[i].got, i);
		TH_CHECK_EQ(g[i].rank, i + 1);
	}
	close_rt(rt);
}

static int note_thread(void *ret_thread)
{
	*(pthread_t *)ret_thread = pthread_self();
	return 0;
}

static int one_after_the_other(void *unused)
{
	pthread_t first, again;

	(void)unused;
	TH_CHECK_EQ(thrum_blocking((thrum_fx){ note_thread, &first }), 0);
	for (int i = 0; i < 200; i++) {
		TH_CHECK_EQ(thrum_blocking((thrum_fx){ note_thread, &again }), 0);
		TH_CHECK(pthread_equal(first, again));
	}
	TH_CHECK_EQ(stats_of(NULL).blocking_threads, 1);
	TH_CHECK_EQ(stats_of(NULL).blocking_jobs, 201);
	return 0;
}

/* A thread is idle before its job's fiber runs again. */
TH_TEST(blocking, one_caller_needs_one_thread)
{
	const thrum_fx fx = { one_after_the_other, NULL };

	TH_CHECK_EQ(TH_RUN(REAL, fx), 0);
}

TH_TEST(blocking, thread_that_fell_idle_last_is_used_first)
{
	thrum_rt *rt = open_rt(0);
	struct gated a, b, next;

	init(&a, 0);
	init(&b, 0);
	init(&next, 0);
	start_and_see_it_run(rt, &a);
	start_and_see_it_run(rt, &b);
	open_gate(&b);
	wait_for(&b);
	open_gate(&a);
	wait_for(&a);
	open_gate(&next);
	start(rt, &next);
	wait_for(&next);
	TH_CHECK(pthread_equal(next.thread, a.thread));
	close_rt(rt);
}

/* The one test that waits for real time: a second. */
TH_TEST(blocking, idle_threads_end_and_new_ones_start)
{
	thrum_rt *rt = open_rt(0);
	struct gated g[4];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 4; i++) {
			init(&g[i], 0);
			start_and_see_it_run(rt, &g[i]);
		}
		TH_CHECK_EQ(stats_of(rt).blocking_threads, 4);
		for (int i = 0; i < 4; i++)
			open_gate(&g[i]);
		for (int i = 0; i < 4; i++)
			wait_for(&g[i]);
		while (round == 0 && stats_of(rt).blocking_threads > 0)
			sched_yield();
	}
	close_rt(rt);
}

static int count_one(th_counter *n)
{
	return thrum_blocking((thrum_fx){ succeed, &n->x_value });
}
THRUM_FX(count_one, th_counter);

static int many_at_once(void *unused)
{
	static th_counter n[2000];
	const int count = (int)(sizeof n / sizeof *n);

	(void)unused;
	memset(n, 0, sizeof n);
	TH_CHECK_EQ(thrum_for_each_par(n, (size_t)count, count_one, (size_t)count), 0);
	for (int i = 0; i < count; i++)
		TH_CHECK_EQ(n[i].x_value, 1);
	TH_CHECK_EQ(stats_of(NULL).blocking_jobs, count);
	TH_CHECK(stats_of(NULL).blocking_threads <= 8);
	return 0;
}

TH_TEST(blocking, many_jobs_at_once_run_once_each)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.blocking_threads = 8), (thrum_fx){ many_at_once, NULL }), 0);
}

TH_TEST(blocking, without_any_thread_it_is_EAGAIN)
{
	thrum_rt *rt = open_rt(0);
	struct gated g;

	init(&g, 42);
	g.abandon = true;
	__atomic_store_n(&threads_left, 0, __ATOMIC_SEQ_CST);
	start(rt, &g);
	wait_for(&g);
	TH_CHECK_EQ(g.got, -EAGAIN);
	TH_CHECK_EQ(th_counted(&g.runs), 0);
	TH_CHECK_EQ(th_counted(&g.drops), 0); /* the argument is the caller's */
	__atomic_store_n(&threads_left, INT32_MAX, __ATOMIC_SEQ_CST);
	open_gate(&g);
	start(rt, &g);
	wait_for(&g);
	TH_CHECK_EQ(g.got, 42);
	close_rt(rt);
}

TH_TEST(blocking, without_another_thread_jobs_wait_for_the_one_there_is)
{
	thrum_rt *rt = open_rt(0);
	struct gated g[3];

	for (int i = 0; i < 3; i++)
		init(&g[i], i);
	start_and_see_it_run(rt, &g[0]);
	__atomic_store_n(&threads_left, 0, __ATOMIC_SEQ_CST);
	start(rt, &g[1]);
	start(rt, &g[2]);
	TH_CHECK_EQ(stats_of(rt).blocking_threads, 1);
	__atomic_store_n(&threads_left, INT32_MAX, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 3; i++)
		open_gate(&g[i]);
	for (int i = 0; i < 3; i++) {
		wait_for(&g[i]);
		TH_CHECK_EQ(g[i].got, i);
	}
	close_rt(rt);
}

/* --- inside a job --- */

/* As in test/core/test_threads.c: never inlined, and ThreadSanitizer takes fibers for threads. */
#define ERRNO_ACCESSOR __attribute__((noinline, no_sanitize("thread")))
static ERRNO_ACCESSOR int read_errno(void) { return errno; }
static ERRNO_ACCESSOR void write_errno(int e) { errno = e; }

struct inside {
	thrum_rt *rt;
	thrum_chan chan;
	thrum_scope *scope;
	thrum_token *token;
	bool sigterm_blocked, sigsegv_blocked;
};

static int call_from_job(void *arg)
{
	struct inside *in = arg;
	struct th_step step = { .code = 7 };
	const thrum_fx never_run = { succeed, NULL };
	thrum_handle h;
	sigset_t mask;
	int item = 5;

	TH_CHECK(thrum_rt_self() == NULL);
	TH_CHECK_EQ(thrum_workers(), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_yield(), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_check(), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_chan_send(&in->chan, &item), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_blocking(never_run), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_shield(never_run), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_scope_close(in->scope), THRUM_ENOTFIBER);

	TH_CHECK_EQ(thrum_chan_try_send(&in->chan, &item), 0);
	TH_CHECK_EQ(thrum_rt_run(in->rt, th_step_fx(&step)), 7); /* its workers are free */
	TH_CHECK_EQ(thrum_rt_start(in->rt, &h, th_step_fx(&step)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 7);
	TH_CHECK_EQ(thrum_run(NULL, th_step_fx(&step)), 7); /* a runtime of its own */
	TH_CHECK_EQ(step.runs, 3);
	TH_CHECK_EQ(thrum_rt_shutdown(in->rt), -EDEADLK); /* it would wait for itself (X2) */
	TH_CHECK_EQ(thrum_rt_close(in->rt), -EDEADLK);

	TH_CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
	in->sigterm_blocked = sigismember(&mask, SIGTERM) == 1;
	in->sigsegv_blocked = sigismember(&mask, SIGSEGV) == 1;
	thrum_token_cancel(in->token);
	write_errno(ENOTTY);
	return 9;
}

static int take_item(thrum_chan *c)
{
	int item = 0, code = thrum_chan_recv(c, &item);

	TH_CHECK_EQ(code, 0);
	TH_CHECK_EQ(item, 5);
	return thrum_call(thrum_never()); /* the token ends it */
}
THRUM_FX(take_item, thrum_chan);

static int inside_job(void *arg)
{
	struct inside *in = arg;
	thrum_scope s;
	int code;

	in->rt = thrum_rt_self();
	in->scope = &s;
	TH_CHECK_EQ(thrum_chan_init(&in->chan, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, in->token), 0);
	TH_CHECK_EQ(thrum_go(&s, take_item_fx(&in->chan)), 0);
	write_errno(EDOM);
	code = thrum_blocking((thrum_fx){ call_from_job, in });
	TH_CHECK_EQ(read_errno(), EDOM); /* the fiber's (X3) */
	TH_CHECK_EQ(code, 9);
	TH_CHECK_EQ(thrum_scope_close(&s), -ECANCELED); /* by the token */
	thrum_chan_fini(&in->chan);
	return 0;
}

TH_TEST(blocking, inside_a_job_only_calls_for_any_thread_work_X9)
{
	struct inside in = { .rt = NULL };
	thrum_token token;

	thrum_token_init(&token);
	in.token = &token;
	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ inside_job, &in })), 0);
	TH_CHECK(in.sigterm_blocked);
	TH_CHECK(!in.sigsegv_blocked);
}

static int cancel_scope(void *scope)
{
	thrum_scope_cancel(scope);
	return 3;
}

static int job_cancels_its_own_scope(void *unused)
{
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_blocking((thrum_fx){ cancel_scope, &s }), 3);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(blocking, job_may_cancel_its_own_caller_X9)
{
	const thrum_fx fx = { job_cancels_its_own_scope, NULL };

	TH_CHECK_EQ(TH_RUN(REAL, fx), 0);
}

/* --- C3: virtual clocks --- */

/* A job that waits until every worker has looked at the clock and gone to sleep. */
static int wait_until_all_sleep(void *arg)
{
	thrum_rt *rt = arg;
	uint64_t parks = stats_of(rt).parks;

	while (stats_of(rt).parks < parks + 20) {
		TH_CHECK_EQ(thrum_rt_run(rt, thrum_succeed()), 0); /* somebody gets up, and lies down again */
		sched_yield();
	}
	return 0;
}

struct jumper {
	th_counter order;
	int slept_was, job_was;
};

static int sleep_an_hour(struct jumper *j)
{
	TH_CHECK_EQ(thrum_sleep(thrum_sec(3600)), 0);
	j->slept_was = th_count(&j->order, 1);
	return 0;
}
THRUM_FX(sleep_an_hour, struct jumper);

static int run_a_job(struct jumper *j)
{
	TH_CHECK_EQ(thrum_blocking((thrum_fx){ wait_until_all_sleep, thrum_rt_self() }), 0);
	j->job_was = th_count(&j->order, 1);
	return 0;
}
THRUM_FX(run_a_job, struct jumper);

static int job_beside_sleep(struct jumper *j)
{
	return thrum_zip_par(run_a_job_fx(j), sleep_an_hour_fx(j));
}
THRUM_FX(job_beside_sleep, struct jumper);

TH_TEST(blocking, job_in_flight_holds_a_jump_back_C3)
{
	struct jumper j = { .slept_was = 0 };

	TH_CHECK_EQ(TH_RUN(JUMP, job_beside_sleep_fx(&j)), 0);
	TH_CHECK_EQ(j.job_was, 1);
	TH_CHECK_EQ(j.slept_was, 2);
}

static int only_a_job(void *unused)
{
	(void)unused;
	return thrum_blocking((thrum_fx){ wait_until_all_sleep, thrum_rt_self() });
}

TH_TEST(blocking, job_in_flight_is_no_deadlock_C3)
{
	const thrum_fx fx = { only_a_job, NULL };

	TH_CHECK_EQ(TH_RUN(JUMP, fx), 0);
	TH_CHECK_EQ(TH_RUN(TEST, fx), 0);
}

TH_TEST(blocking, job_in_flight_does_not_hold_an_advance_back_C3)
{
	struct jumper j = { .slept_was = 0 };
	thrum_rt *rt = open_rt(0);
	thrum_handle sleeper;
	struct gated g;

	init(&g, 0);
	start_and_see_it_run(rt, &g);
	TH_CHECK_EQ(thrum_rt_start(rt, &sleeper, sleep_an_hour_fx(&j)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(3600)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&sleeper), 0);
	TH_CHECK_EQ(th_counted(&g.ended), 0);
	open_gate(&g);
	wait_for(&g);
	close_rt(rt);
}

/* An abandoned job may still call in, so it counts until it has ended; then the clock goes on by itself. */
static int drop_after_all_sleep(void *arg)
{
	struct jumper *j = arg;

	j->job_was = th_count(&j->order, 1);
	return 0;
}

struct abandoner {
	struct jumper jumper;
	thrum_rt *rt;
	thrum_scope scope;
	sem_t started, abandoned;
};

/* Not before its call has given it up: until then others may sleep often enough while the canceller's thread is held up. */
static int job_to_abandon(void *arg)
{
	struct abandoner *a = arg;

	sem_post(&a->started);
	while (sem_wait(&a->abandoned) < 0)
		TH_CHECK_EQ(errno, EINTR);
	return wait_until_all_sleep(a->rt);
}

static int call_abandoned(struct abandoner *a)
{
	const thrum_fx fx = { job_to_abandon, a }, drop_fx = { drop_after_all_sleep, &a->jumper };

	TH_CHECK_EQ(thrum_blocking_with(fx, THRUM_BLOCKING_OPTS(.abandon = true, .drop = drop_fx)), -ECANCELED);
	sem_post(&a->abandoned);
	return -ECANCELED;
}
THRUM_FX(call_abandoned, struct abandoner);

static int abandon_and_sleep(void *arg)
{
	struct abandoner *a = arg;

	a->rt = thrum_rt_self();
	TH_CHECK_EQ(thrum_scope_open(&a->scope), 0);
	TH_CHECK_EQ(thrum_go(&a->scope, call_abandoned_fx(a)), 0);
	while (sem_trywait(&a->started) < 0)
		TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&a->scope);
	TH_CHECK_EQ(thrum_scope_close(&a->scope), 0);
	return sleep_an_hour(&a->jumper);
}

TH_TEST(blocking, abandoned_job_holds_a_jump_back_until_it_ends_C3)
{
	struct abandoner a = { .rt = NULL };

	TH_CHECK_EQ(sem_init(&a.started, 0, 0), 0);
	TH_CHECK_EQ(sem_init(&a.abandoned, 0, 0), 0);
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ abandon_and_sleep, &a })), 0);
	TH_CHECK_EQ(a.jumper.job_was, 1);
	TH_CHECK_EQ(a.jumper.slept_was, 2);
}

/* --- X7: the end --- */

static void *shut_down(void *rt)
{
	TH_CHECK_EQ(thrum_rt_shutdown(rt), 0);
	return NULL;
}

TH_TEST(blocking, shutdown_cancels_queued_jobs_and_waits_for_running_ones_X7)
{
	struct gated running, queued[4];
	thrum_rt *rt = open_rt(1);
	pthread_t closer;

	init(&running, 42);
	start_and_see_it_run(rt, &running);
	for (int i = 0; i < 4; i++) {
		init(&queued[i], 0);
		start(rt, &queued[i]);
	}
	TH_CHECK_EQ(pthread_create(&closer, NULL, shut_down, rt), 0);
	for (int i = 0; i < 4; i++) {
		wait_for(&queued[i]);
		TH_CHECK_EQ(queued[i].got, -ECANCELED);
		TH_CHECK_EQ(th_counted(&queued[i].runs), 0);
	}
	TH_CHECK_EQ(th_counted(&running.ended), 0);
	open_gate(&running);
	TH_CHECK_EQ(pthread_join(closer, NULL), 0);
	TH_CHECK_EQ(running.got, 42);
	close_rt(rt);
}

static void *open_late(void *arg)
{
	struct gated *g = arg;

	for (int i = 0; i < 100; i++)
		sched_yield();
	TH_CHECK_EQ(th_counted(&g->drops), 0);
	open_gate(g);
	return NULL;
}

TH_TEST(blocking, close_waits_for_abandoned_jobs_X7)
{
	thrum_rt *rt = open_rt(0);
	pthread_t opener;
	struct gated g;

	init(&g, 0);
	g.abandon = true;
	start_and_see_it_run(rt, &g);
	thrum_handle_cancel(&g.handle);
	wait_for(&g);
	TH_CHECK_EQ(pthread_create(&opener, NULL, open_late, &g), 0);
	close_rt(rt);
	TH_CHECK_EQ(th_counted(&g.drops), 1);
	TH_CHECK_EQ(pthread_join(opener, NULL), 0);
}

/* --- X10: after fork --- */

static int fork_inside(void *unused)
{
	int ran = 0, status;
	const thrum_fx fx = { succeed, &ran };
	pid_t pid;

	(void)unused;
	TH_CHECK_EQ(thrum_blocking(fx), 0); /* there is a thread, but not in the child */
	pid = fork();
	TH_CHECK(pid >= 0);
	if (pid == 0)
		_exit(thrum_blocking(fx) == -ECHILD && ran == 1 ? 0 : 1);
	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	TH_CHECK_EQ(status, 0);
	return 0;
}

TH_TEST(blocking, forked_child_has_no_pool_X10)
{
	const thrum_fx fx = { fork_inside, NULL };

	TH_CHECK_EQ(TH_RUN(REAL, fx), 0);
}
