/* test/sim/test_blocking.c: the blocking pool under every schedule (X9): its threads are virtual threads, its jobs take
 * virtual time, so starts, ends and cancels of jobs meet in every order. */
#include "../support/sim_run.h"
#include "../../core/atomic.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS = 4 };

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

/* A job: `result` is written at its end, so it tells whether the call came back before. */
struct job {
	uint32_t length;   /* in ticks */
	int code;          /* what it is to return */
	bool started, ended;
	int got;
};

static int run(void *arg)
{
	struct job *j = arg;

	TH_CHECK(!j->started);
	j->started = true;
	sim_enter();
	th_sim_block((int64_t)j->length * TH_SIM_TICK_NS);
	j->ended = true;
	return sim_leave(j->code);
}

static struct job draw(int code)
{
	return (struct job){ .length = sim_choose(6), .code = code, .got = 1 };
}

/* X9 as seen by the caller: its code, or -ECANCELED and the job never ran. Never in between. */
static int call(struct job *j)
{
	j->got = thrum_blocking((thrum_fx){ run, j });
	TH_CHECK_EQ(j->started, j->ended);
	if (j->started)
		TH_CHECK_EQ(j->got, j->code);
	else
		TH_CHECK_EQ(j->got, -ECANCELED);
	return j->got < 0 ? j->got : thrum_check();
}
THRUM_FX(call, struct job);

SIM_TEST(blocking, each_job_runs_once_or_was_cancelled_first_X9)
{
	struct job jobs[JOBS];
	const int bound = 1 + (int)sim_choose(3);
	int r;

	(void)unused;
	th_sim_pool_threads((unsigned)bound);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = draw(i);
	r = thrum_for_each_par(jobs, JOBS, call, JOBS);
	TH_CHECK(sim_counts.alive_max <= bound);
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (r == 0)
		TH_CHECK_EQ(sim_counts.started, JOBS);
	return r;
}

static int call_with_time(struct job *j)
{
	int r = thrum_timeout(call_fx(j), ticks(sim_choose(8)));

	return r == -ETIMEDOUT ? 0 : r;
}
THRUM_FX(call_with_time, struct job);

/* Cancels of single calls, at times of their own, beside others that go on: queued, starting, running, ending. */
SIM_TEST(blocking, cancels_meet_starts_and_ends_X9)
{
	struct job jobs[JOBS];
	int r;

	(void)unused;
	th_sim_pool_threads(1 + sim_choose(2));
	for (int i = 0; i < JOBS; i++)
		jobs[i] = draw(i);
	r = thrum_for_each_par(jobs, JOBS, call_with_time, JOBS);
	return r < 0 ? r : 0;
}

/* --- abandon --- */

/* On the heap: who frees it is what is tested. `held` counts them. */
struct owned {
	struct job job;
	bool dropped;
};

static int run_owned(void *arg)
{
	struct owned *o = arg;
	int code = run(&o->job);

	TH_CHECK(!o->dropped); /* not under the job's feet */
	return code;
}

static int release(void *arg)
{
	struct owned *o = arg;

	TH_CHECK_EQ(o->job.started, o->job.ended);
	TH_CHECK(!o->dropped);
	o->dropped = true;
	sim_add(&sim_counts.held, -1);
	free(o);
	return 0;
}

static int call_owned(struct job *like)
{
	struct owned *o = calloc(1, sizeof *o);
	int r;

	o->job = *like;
	sim_add(&sim_counts.held, 1);
	r = thrum_blocking_with((thrum_fx){ run_owned, o }, THRUM_BLOCKING_OPTS(.abandon = true, .drop = { release, o }));
	if (r == -ECANCELED)
		return r;
	TH_CHECK_EQ(r, like->code);
	TH_CHECK(o->job.ended);
	release(o);
	return r;
}
THRUM_FX(call_owned, struct job);

static int call_owned_with_time(struct job *like)
{
	int r = thrum_timeout(call_owned_fx(like), ticks(sim_choose(8)));

	return r == -ETIMEDOUT || r == like->code ? 0 : r;
}
THRUM_FX(call_owned_with_time, struct job);

/* Exactly one side gives the argument back, whatever the order; also a job that returns -ECANCELED by itself. */
SIM_TEST(blocking, abandoned_arguments_are_dropped_exactly_once_X9)
{
	struct job jobs[JOBS];
	int r;

	(void)unused;
	th_sim_pool_threads(1 + sim_choose(3));
	for (int i = 0; i < JOBS; i++)
		jobs[i] = draw(i == 2 ? -ECANCELED : i);
	r = thrum_for_each_par(jobs, JOBS, call_owned_with_time, JOBS);
	return r < 0 ? r : 0;
}

/* --- threads that come and go --- */

/* Around the moment at which an idle thread gives up: a job then is called for, or taken by a new thread, and not forgotten. */
SIM_TEST(blocking, job_meets_a_thread_about_to_end)
{
	const int64_t idle_ns = 1000000000;
	int r = 0;

	(void)unused;
	for (int i = 0; i < 3 && r >= 0; i++) {
		struct job j = draw(i);
		int64_t length = idle_ns + ((int64_t)sim_choose(5) - 2) * TH_SIM_TICK_NS;

		r = call(&j);
		if (r >= 0)
			r = thrum_sleep(thrum_ns(length - (int64_t)sim_choose(2) * j.length * TH_SIM_TICK_NS));
	}
	return r < 0 ? r : 0;
}

static int call_that_may_fail(struct job *j)
{
	j->got = thrum_blocking((thrum_fx){ run, j });
	TH_CHECK_EQ(j->started, j->ended);
	TH_CHECK(j->got == -ECANCELED || j->got == -EAGAIN || j->started);
	return j->got == -EAGAIN ? 0 : j->got;
}
THRUM_FX(call_that_may_fail, struct job);

/* Threads that cannot be made: a job waits for another thread, or fails if there is none; and never hangs. */
SIM_TEST(blocking, threads_that_cannot_be_made)
{
	struct job jobs[JOBS];
	const unsigned bound = sim_choose(2);
	int r;

	(void)unused;
	th_sim_pool_threads(bound);
	for (int i = 0; i < JOBS; i++)
		jobs[i] = draw(i);
	r = thrum_for_each_par(jobs, JOBS, call_that_may_fail, JOBS);
	if (r == 0)
		for (int i = 0; i < JOBS; i++)
			TH_CHECK_EQ(jobs[i].got, bound ? i : -EAGAIN);
	return r;
}

/* --- C3: the jump clock --- */

struct jumper {
	struct job job;
	bool job_first;
};

static int call_job(struct jumper *j)
{
	int r = call(&j->job);

	j->job_first = true;
	return r;
}
THRUM_FX(call_job, struct jumper);

/* It begins its sleep while the job is in flight: the clock must not jump before that has ended. */
static int sleep_beside(struct jumper *j)
{
	int r = thrum_sleep(thrum_sec(3600));

	if (r == 0)
		TH_CHECK(j->job_first);
	return r;
}
THRUM_FX(sleep_beside, struct jumper);

SIM_TEST_WITH(blocking, job_in_flight_holds_a_jump_back_C3, .clock = THRUM_CLOCK_JUMP)
{
	struct jumper j = { .job = { .length = 1 + sim_choose(6), .got = 1 } };

	(void)unused;
	return thrum_zip_par(call_job_fx(&j), sleep_beside_fx(&j));
}

/* After an abandoned job the clock goes on by itself: its thread has a worker look again. */
struct late {
	struct job job;
	th_atomic_u32 x_dropped;
	bool taken;
};

static int run_late(void *arg)
{
	return run(&((struct late *)arg)->job);
}

static int drop_late(void *arg)
{
	th_store_rel(&((struct late *)arg)->x_dropped, 1);
	return 0;
}

static int call_late(struct late *l)
{
	int r = thrum_blocking_with((thrum_fx){ run_late, l }, THRUM_BLOCKING_OPTS(.abandon = true, .drop = { drop_late, l }));

	l->taken = r == -ECANCELED;
	return r;
}
THRUM_FX(call_late, struct late);

static int abandon_late(struct late *l)
{
	thrum_scope s;
	int r = thrum_scope_open(&s);

	if (r < 0)
		return r;
	r = thrum_go(&s, call_late_fx(l));
	for (uint32_t n = sim_choose(8); r == 0 && n > 0; n--)
		r = thrum_yield();
	thrum_scope_cancel(&s);
	(void)thrum_scope_close(&s);
	return thrum_check();
}

SIM_TEST_WITH(blocking, abandoned_job_holds_a_jump_back_until_it_ends_C3, .clock = THRUM_CLOCK_JUMP, .no_sweep = true)
{
	static struct late l; /* the job may outlive this frame */
	int r;

	(void)unused;
	memset(&l, 0, sizeof l);
	l.job.length = 1 + sim_choose(6);
	r = abandon_late(&l);
	if (r == 0)
		r = thrum_sleep(thrum_sec(3600));
	if (l.taken)
		TH_CHECK_EQ(th_load_acq(&l.x_dropped), 1);
	return r;
}

/* --- X7 --- */

/* The main effect ends with jobs abandoned and threads idle: the runtime closes when all have ended. */
SIM_TEST(blocking, close_waits_for_abandoned_jobs_X7)
{
	struct job like = { .length = sim_choose(12) };
	int r = thrum_timeout(call_owned_fx(&like), ticks(sim_choose(4)));

	(void)unused;
	return r == -ETIMEDOUT ? 0 : r;
}

/* --- starts from a thread that the runtime does not wait for, while it ends --- */

enum { STARTS = 6 };

struct starts {
	thrum_rt *rt;
	thrum_handle handles[STARTS];
	int accepted, ran;
};

static int count_a_run(void *arg)
{
	struct starts *s = arg;

	sim_add(&s->ran, 1);
	return 0;
}

static int start_some(void *arg)
{
	struct starts *s = arg;

	for (int i = 0; i < STARTS; i++) {
		int r;

		th_sim_block(sim_choose(2) * TH_SIM_TICK_NS);
		r = thrum_rt_start(s->rt, &s->handles[i], (thrum_fx){ count_a_run, s });

		TH_CHECK(r == 0 || r == THRUM_ECLOSED);
		sim_add(&s->accepted, r == 0);
	}
	return 0;
}

static int give_up_on_it(void *job)
{
	return thrum_blocking_with(*(thrum_fx *)job, THRUM_BLOCKING_OPTS(.abandon = true));
}

/* S6, X7: what comes when the last root has ended is refused, and does not stop the workers a second time: a wake would find a
 * ring that is closed. */
SIM_TEST(blocking, starts_at_the_end_are_refused_S6_X7)
{
	static struct starts s; /* the job may outlive the effect */
	thrum_fx job = { start_some, &s };
	int r;

	(void)unused;
	memset(&s, 0, sizeof s);
	s.rt = thrum_rt_self();
	r = thrum_timeout((thrum_fx){ give_up_on_it, &job }, ticks(sim_choose(2)));
	return r == -ETIMEDOUT ? 0 : r;
}
