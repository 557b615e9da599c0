/* test/core/test_clock.c: sleeping (L1-L6) and the virtual clocks (C1-C6). */
#include <sched.h>
#include <time.h>
#include <unistd.h>
#include "test/support/rules.h"

/* One worker: these tests say in which order fibers run. */
static int run_on_one_worker(int (*body)(void *), void *arg)
{
	return thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), (thrum_fx){ body, arg });
}

static thrum_rt *open_on_test_clock(void)
{
	thrum_rt *rt = NULL;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	return rt;
}

static uint64_t suspends(void)
{
	thrum_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_stats_read(NULL, &s), 0);
	return s.suspends;
}

/* --- L: sleeping --- */

/* Ready again at once, each time it runs. */
struct spinner {
	thrum_chan started;
	th_counter rounds;
};
static int spin(struct spinner *s)
{
	TH_CHECK_EQ(thrum_chan_send(&s->started, &(int){ 1 }), 0);
	while (thrum_yield() == 0)
		th_count(&s->rounds, 1);
	return -ECANCELED;
}
THRUM_FX(spin, struct spinner);

static int yield_by_sleeping(void *length)
{
	struct spinner spinner = { .rounds = { 0 } };
	thrum_time start = thrum_now();
	thrum_scope s;
	thrum_task t;
	int before;

	TH_CHECK_EQ(thrum_chan_init(&spinner.started, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, spin_fx(&spinner)), 0);
	TH_CHECK_EQ(thrum_chan_recv(&spinner.started, &before), 0);
	before = th_counted(&spinner.rounds);
	TH_CHECK_EQ(thrum_sleep(*(thrum_dur *)length), 0);
	TH_CHECK(th_counted(&spinner.rounds) - before <= 1); /* it began to yield, or came back from one */
	TH_CHECK_EQ(thrum_sleep(*(thrum_dur *)length), 0);
	TH_CHECK(th_counted(&spinner.rounds) > before);
	TH_CHECK_EQ(thrum_now().ns, start.ns);
	thrum_scope_cancel(&s);
	thrum_chan_fini(&spinner.started);
	return thrum_scope_close(&s);
}

TH_TEST(clock, sleep_of_nothing_yields_and_succeeds_L1)
{
	thrum_dur lengths[] = { { 0 }, { -1 }, { INT64_MIN } };

	for (size_t i = 0; i < 3; i++)
		TH_CHECK_EQ(run_on_one_worker(yield_by_sleeping, &lengths[i]), 0);
}

TH_FIBER_TEST(JUMP, clock, sleep_of_nothing_suspends_once_L1)
{
	uint64_t before = suspends();

	TH_CHECK_EQ(thrum_sleep(thrum_ns(0)), 0);
	TH_CHECK_EQ(suspends() - before, 1);
	TH_CHECK_EQ(thrum_sleep_until(thrum_now()), 0);
	TH_CHECK_EQ(suspends() - before, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, clock, sleep_in_a_cancelled_scope_does_not_suspend_L2)
{
	thrum_time start = thrum_now();
	uint64_t before = suspends();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep(thrum_ns(0)), -ECANCELED);
	TH_CHECK_EQ(thrum_sleep_until(thrum_time_add(start, thrum_sec(1))), -ECANCELED);
	TH_CHECK_EQ(suspends(), before);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_now().ns, start.ns);
	return 0;
}

/* A sleep and a deadline for the same moment: what was armed first comes first. */
struct tie {
	int slept, checked;
};
static int sleep_10(struct tie *t)
{
	t->slept = thrum_sleep(thrum_ms(10));
	t->checked = thrum_check();
	return 0;
}
THRUM_FX(sleep_10, struct tie);

/* It sleeps already when the opener comes back: a child starts when the opener waits. */
static int sleep_then_deadline(void *arg)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, sleep_10_fx(arg)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(9)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}
static int deadline_then_sleep(void *arg)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(10)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, sleep_10_fx(arg)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

TH_TEST(clock, timer_that_fired_before_the_cancel_counts_L3)
{
	struct tie t = { -1, -1 };

	TH_CHECK_EQ(run_on_one_worker(sleep_then_deadline, &t), 0);
	TH_CHECK_EQ(t.slept, 0);
	TH_CHECK_EQ(t.checked, -ECANCELED); /* seen at the next checkpoint */
	TH_CHECK_EQ(run_on_one_worker(deadline_then_sleep, &t), 0);
	TH_CHECK_EQ(t.slept, -ECANCELED);
}

/* A timer left behind would let the clock jump before the deadlock is told. */
static int cancel_a_sleep(void *ret_stuck_ms)
{
	struct th_step sleeper = { .ms = 1000 };

	TH_CHECK_EQ(thrum_timeout(th_step_fx(&sleeper), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	*(long long *)ret_stuck_ms = th_now_ms() - sleeper.at_ms;
	return 0;
}

TH_TEST(clock, cancelled_timer_is_gone_L3)
{
	long long stuck_ms = -1;

	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ cancel_a_sleep, &stuck_ms })), -EDEADLK);
	TH_CHECK_EQ(stuck_ms, 0);
}

TH_FIBER_TEST(JUMP, clock, sleep_until_ends_exactly_then_L4)
{
	thrum_time at = thrum_time_add(thrum_now(), thrum_ns(1234567891));

	TH_CHECK_EQ(thrum_sleep_until(at), 0);
	TH_CHECK_EQ(thrum_now().ns, at.ns);
	TH_CHECK_EQ(thrum_sleep_until(thrum_time_add(at, thrum_ns(-1))), 0); /* in the past */
	TH_CHECK_EQ(thrum_now().ns, at.ns);
	return 0;
}

static int64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

TH_FIBER_TEST(REAL, clock, real_time_is_CLOCK_MONOTONIC_L4)
{
	int64_t before = monotonic(), now = thrum_now().ns;

	TH_CHECK(before <= now && now <= monotonic());
	return 0;
}

/* Busy for a millisecond, on the real clock: not early, and a loop of thrum_check() meets its own deadline. */
TH_FIBER_TEST(REAL, clock, busy_loop_meets_its_deadline_and_not_early_L4)
{
	int64_t start = monotonic();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(1)), 0);
	while (thrum_check() == 0)
		;
	TH_CHECK(monotonic() - start >= 1000000);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}

static int use_default_clock(void *unused)
{
	int64_t before = monotonic();

	(void)unused;
	TH_CHECK(thrum_now().ns >= before);
	return thrum_sleep(thrum_ns(0));
}

TH_TEST(clock, there_is_one_by_default_L5)
{
	int64_t before = monotonic();

	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ use_default_clock, NULL }), 0);
	TH_CHECK(thrum_now().ns >= before); /* and on a plain thread */
}

enum { SLEEPERS = 20 };
struct sleepers {
	int order[SLEEPERS];
	th_counter n;
};
struct sleeper {
	struct sleepers *all;
	int index;
};
static int sleep_and_note(struct sleeper *s)
{
	TH_CHECK_EQ(thrum_sleep_until((thrum_time){ 5000000000 }), 0);
	s->all->order[th_count(&s->all->n, 1) - 1] = s->index;
	return 0;
}
THRUM_FX(sleep_and_note, struct sleeper);

static int many_sleep_until_one_moment(void *arg)
{
	struct sleepers *all = arg;
	struct sleeper each[SLEEPERS];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < SLEEPERS; i++) {
		each[i] = (struct sleeper){ all, i };
		TH_CHECK_EQ(thrum_go(&s, sleep_and_note_fx(&each[i])), 0);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* it has registered */
	}
	return thrum_scope_close(&s);
}

TH_TEST(clock, same_deadline_is_first_in_first_out_L6)
{
	struct sleepers all = { .n = { 0 } };

	TH_CHECK_EQ(run_on_one_worker(many_sleep_until_one_moment, &all), 0);
	TH_CHECK_EQ(th_counted(&all.n), SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		TH_CHECK_EQ(all.order[i], i);
}

/* --- C1, C2: advance --- */

enum { TICKS = 10 };
struct ticker {
	th_counter ticks;
	int64_t at[TICKS];
};
static int tick(struct ticker *t)
{
	for (int i = 0; i < TICKS; i++) {
		int code = thrum_sleep(thrum_sec(1));
		if (code < 0)
			return code;
		t->at[i] = thrum_now().ns;
		th_count(&t->ticks, 1);
	}
	return 0;
}
THRUM_FX(tick, struct ticker);

TH_TEST(clock, advance_steps_to_each_deadline_also_new_ones_C1) /* D20 */
{
	struct ticker t = { .ticks = { 0 } };
	thrum_rt *rt = open_on_test_clock();
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(rt, &h, tick_fx(&t)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ms(3500)), 0);
	TH_CHECK_EQ(th_counted(&t.ticks), 3);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ms(6500)), 0);
	TH_CHECK_EQ(th_counted(&t.ticks), TICKS);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	for (int i = 1; i < TICKS; i++)
		TH_CHECK_EQ(t.at[i] - t.at[i - 1], thrum_sec(1).ns);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_TEST(clock, advance_runs_what_is_runnable_at_the_old_time_first_C1)
{
	struct ticker t = { .ticks = { 0 } };
	thrum_rt *rt = open_on_test_clock();
	thrum_handle h;

	/* Its first sleep begins before the step, though it may not have started when advance is called. */
	TH_CHECK_EQ(thrum_rt_start(rt, &h, tick_fx(&t)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), 0);
	TH_CHECK_EQ(th_counted(&t.ticks), 1);
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_handle_wait(&h), -ECANCELED);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

TH_TEST(clock, advance_of_nothing_runs_until_quiescent_C2)
{
	struct th_step s[50] = { 0 };
	thrum_rt *rt = open_on_test_clock();
	thrum_handle h[50];

	for (int i = 0; i < 50; i++)
		TH_CHECK_EQ(thrum_rt_start(rt, &h[i], th_step_fx(&s[i])), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(0)), 0);
	for (int i = 0; i < 50; i++)
		TH_CHECK_EQ(__atomic_load_n(&s[i].ended, __ATOMIC_ACQUIRE), 1);
	for (int i = 0; i < 50; i++)
		TH_CHECK_EQ(thrum_handle_wait(&h[i]), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

static int advance_is_refused(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_sec(1)), -EINVAL);
	return 0;
}

TH_TEST(clock, advance_goes_forward_and_only_on_a_test_clock_C2)
{
	thrum_rt *rt = open_on_test_clock();

	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(-1)), -EINVAL);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_sec(1)), -EINVAL);
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ advance_is_refused, NULL })), 0);
	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ advance_is_refused, NULL })), 0);
}

/* --- C3: operations in the real kernel --- */

struct io_and_timer {
	int fds[2];
	th_counter order;
	int read_was, slept_was;
};
static int read_byte(struct io_and_timer *x)
{
	char byte;

	TH_CHECK_EQ(thrum_read(x->fds[0], &byte, 1), 1);
	x->read_was = th_count(&x->order, 1);
	return 0;
}
THRUM_FX(read_byte, struct io_and_timer);

static int sleep_an_hour(struct io_and_timer *x)
{
	TH_CHECK_EQ(thrum_sleep(thrum_sec(3600)), 0);
	x->slept_was = th_count(&x->order, 1);
	return 0;
}
THRUM_FX(sleep_an_hour, struct io_and_timer);

/* Until `n` fibers wait; the operations of the first ones are in the kernel then. */
static void wait_until_parked(thrum_rt *rt, uint64_t n)
{
	thrum_stats s = { .size = sizeof s };

	do {
		sched_yield();
		TH_CHECK_EQ(thrum_stats_read(rt, &s), 0);
	} while (s.suspends < n || s.io_ops == 0);
}

TH_TEST(clock, io_in_flight_holds_a_jump_back_C3)
{
	struct io_and_timer x = { .read_was = 0 };
	thrum_handle reader, sleeper;
	thrum_rt *rt;

	TH_CHECK_EQ(pipe(x.fds), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &reader, read_byte_fx(&x)), 0);
	wait_until_parked(rt, 1);
	TH_CHECK_EQ(thrum_rt_start(rt, &sleeper, sleep_an_hour_fx(&x)), 0);
	wait_until_parked(rt, 2);
	for (int i = 0; i < 20; i++) /* it falls asleep after each */
		TH_CHECK_EQ(thrum_rt_run(rt, thrum_succeed()), 0);
	TH_CHECK_EQ(th_counted(&x.order), 0);
	TH_CHECK_EQ(write(x.fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_handle_wait(&reader), 0);
	TH_CHECK_EQ(thrum_handle_wait(&sleeper), 0);
	TH_CHECK_EQ(x.read_was, 1);
	TH_CHECK_EQ(x.slept_was, 2);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	close(x.fds[0]);
	close(x.fds[1]);
}

TH_TEST(clock, io_in_flight_does_not_hold_an_explicit_advance_back_C3)
{
	struct io_and_timer x = { .read_was = 0 };
	thrum_rt *rt = open_on_test_clock();
	thrum_handle reader, sleeper;

	TH_CHECK_EQ(pipe(x.fds), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &reader, read_byte_fx(&x)), 0);
	wait_until_parked(rt, 1);
	TH_CHECK_EQ(thrum_rt_start(rt, &sleeper, sleep_an_hour_fx(&x)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(3600)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&sleeper), 0);
	TH_CHECK_EQ(x.slept_was, 1);
	TH_CHECK_EQ(write(x.fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_handle_wait(&reader), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	close(x.fds[0]);
	close(x.fds[1]);
}

/* --- C4, C5, C6 --- */

TH_FIBER_TEST(TEST, clock, fiber_that_advances_does_not_count_as_runnable_C4)
{
	struct th_step a = { .ms = 10 };
	thrum_time start = thrum_now();
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, th_step_fx(&a)), 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(9)), 0);
	TH_CHECK_EQ(a.ended, 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(1)), 0);
	TH_CHECK_EQ(a.ended, 1);
	TH_CHECK_EQ(th_ms_since(start), 10);
	return thrum_scope_close(&s);
}

static int sleep_before_advance(void *reason)
{
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), -ECANCELED);
	TH_CHECK(thrum_cancel_reason() != NULL);
	*(thrum_reason *)reason = *thrum_cancel_reason();
	return 0;
}

TH_TEST(clock, sleep_that_nobody_advances_is_a_deadlock_not_a_hang_C4)
{
	thrum_reason reason = { 0 };

	TH_CHECK_EQ(TH_RUN(TEST, ((thrum_fx){ sleep_before_advance, &reason })), -EDEADLK);
	TH_CHECK_EQ(reason.kind, THRUM_CANCEL_DEADLOCK);
}

TH_FIBER_TEST(JUMP, clock, jumps_to_the_next_deadline_when_nothing_can_run_C5) /* D20 */
{
	struct th_step a = { .ms = 3600000 }, b = { .ms = 1 }, c = { .ms = 1000 };
	long long start = th_now_ms();

	TH_CHECK_EQ(thrum_zip_par(th_step_fx(&a), th_step_fx(&b), th_step_fx(&c)), 0);
	TH_CHECK_EQ(a.at_ms - start, 3600000);
	TH_CHECK_EQ(b.at_ms - start, 1);
	TH_CHECK_EQ(c.at_ms - start, 1000);
	return 0;
}

static int receive(void *chan)
{
	int item;

	return thrum_chan_recv(chan, &item);
}

TH_TEST(clock, deadlock_is_told_by_run_C6)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(TH_RUN(JUMP, thrum_never()), -EDEADLK);
	TH_CHECK_EQ(TH_RUN(TEST, thrum_never()), -EDEADLK);
	TH_CHECK_EQ(TH_RUN(TEST, ((thrum_fx){ receive, &c })), -EDEADLK);
	thrum_chan_fini(&c);
}

TH_TEST(clock, runtime_for_outside_threads_only_waits_C6)
{
	thrum_rt *rt = open_on_test_clock();
	int item = 1;
	thrum_handle h;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, (thrum_fx){ receive, &c }), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), 0); /* nothing can run, and it says no deadlock */
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	thrum_chan_fini(&c);
}
