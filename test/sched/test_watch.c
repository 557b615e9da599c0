/* test/sched/test_watch.c: what a runtime reports by itself: fibers that do not suspend (X8), cancelled scopes that do not
 * close (Z9, S10), advances that do not end (C7), deadlocks (C6). */
#include <dirent.h>
#include <string.h>
#include <time.h>
#include "test/support/child.h"
#include "test/support/rules.h"

enum { STUCK_MS = 20, PATIENCE_S = TH_TEST_SECONDS / 2 };

/* Reports of one kind, as the observer saw them, and by one name if that is set: on a machine that has other things to do
 * any fiber may seem stuck for a moment. What the last one said is read after a reading of `calls`, and when no other can
 * come. */
struct seen {
	unsigned kind;
	const char *only;
	th_counter calls;
	thrum_report last;
	char name[64], text[2048];
	thrum_chan *answer;   /* if set: an item is put there */
};

static void observe(const thrum_report *r, void *arg)
{
	struct seen *seen = arg;

	if (r->kind != seen->kind || (seen->only && (!r->name || strcmp(r->name, seen->only) != 0)))
		return;
	seen->last = *r;
	snprintf(seen->name, sizeof seen->name, "%s", r->name ? r->name : "");
	snprintf(seen->text, sizeof seen->text, "%s", r->text);
	th_count(&seen->calls, 1);
	if (seen->answer)
		TH_CHECK_EQ(thrum_chan_try_send(seen->answer, &(int){ 1 }), 0);
}

#define SEEN(...) (&(struct seen){ __VA_ARGS__ })
#define OBSERVED_BY(seen_) .observe = observe, .observe_arg = (seen_)

static int64_t real_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Without suspending. */
static void spin_until(const th_counter *c, int value)
{
	int64_t end = real_ns() + PATIENCE_S * INT64_C(1000000000);

	while (th_counted(c) < value)
		TH_CHECK(real_ns() < end);
}

static void spin_ms(int ms)
{
	int64_t end = real_ns() + ms * INT64_C(1000000);

	while (real_ns() < end)
		;
}

/* --- X8 --- */

/* On a fiber of its own, which does not suspend until it was reported, and then goes on. */
struct hog {
	struct seen *seen;
	int reports, then_ms;
	thrum_chan done;
};
static int hog(struct hog *h)
{
	spin_until(&h->seen->calls, h->reports);
	spin_ms(h->then_ms);
	TH_CHECK_EQ(thrum_chan_try_send(&h->done, &(int){ 1 }), 0);
	return 0;
}
THRUM_FX(hog, struct hog);

static int spawn_named(thrum_scope *s, thrum_task *t, const char *name, thrum_fx fx)
{
	return thrum_spawn_with(s, t, fx, THRUM_SPAWN_OPTS(.name = name));
}

static int hogs(void *arg)
{
	struct hog h = { .seen = arg, .then_ms = 10 * STUCK_MS };
	thrum_scope s;
	thrum_task t;
	int item;

	TH_CHECK_EQ(thrum_chan_init(&h.done, sizeof item, 1), 0);
	for (h.reports = 1; h.reports <= 2; h.reports++) {
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(spawn_named(&s, &t, "hog", hog_fx(&h)), 0);
		TH_CHECK_EQ(thrum_chan_recv(&h.done, &item), 0); /* a join would run it on this stack */
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(th_counted(&h.seen->calls), h.reports);
	}
	thrum_chan_fini(&h.done);
	return 0;
}

TH_TEST(watch, fiber_that_does_not_suspend_is_named_once_an_incident_X8)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_STUCK_WORKER, .only = "hog");

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.stuck_ms = STUCK_MS, OBSERVED_BY(seen)), (thrum_fx){ hogs, seen }), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 2);
	TH_CHECK(strstr(seen->text, "\"hog\"") != NULL);
	TH_CHECK(seen->last.worker >= 1);
	TH_CHECK(seen->last.run == hog_fx(NULL).run);
}

static int quick(th_counter *done)
{
	th_count(done, 1);
	return 0;
}
THRUM_FX(quick, th_counter);

/* While this worker is stuck, the other takes what lies in its deque. */
static int hog_with_children(void *arg)
{
	enum { N = 10 };
	struct seen *seen = arg;
	th_counter done = { 0 };
	thrum_task t[N];
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	spin_until(&seen->calls, 1);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(thrum_spawn(&s, &t[i], quick_fx(&done)), 0);
	spin_until(&done, N);
	return thrum_scope_close(&s);
}

TH_TEST(watch, deque_of_a_stuck_worker_stays_stealable_X8)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_STUCK_WORKER, .only = "main");

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2, .stuck_ms = STUCK_MS, OBSERVED_BY(seen)),
			      (thrum_fx){ hog_with_children, seen }), 0);
}

/* Frequent looks are for scopes; a fiber is stuck after as long as ever. */
static int spin_under_a_short_grace(void *unused)
{
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_ms(1), THRUM_GRACE_LOG), 0);
	spin_ms(60);
	return thrum_scope_close(&s);
}

TH_TEST(watch, short_grace_makes_no_fiber_stuck_sooner_X8)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_STUCK_WORKER);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.stuck_ms = 5000, OBSERVED_BY(seen)), (thrum_fx){ spin_under_a_short_grace, NULL }),
		    0);
	TH_CHECK_EQ(th_counted(&seen->calls), 0);
}

/* Nothing runs there, so nothing is stuck, however long it lasts. */
TH_TEST(watch, sleeping_workers_are_not_stuck_X8)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_STUCK_WORKER);
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.stuck_ms = 4, OBSERVED_BY(seen)), &rt), 0);
	spin_ms(60);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 0);
}

static int watching_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	TH_CHECK(d != NULL);
	while ((e = readdir(d)) != NULL) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		n += fgets(name, sizeof name, f) && strcmp(name, "thrum-watch\n") == 0;
		fclose(f);
	}
	closedir(d);
	return n;
}

/* The thread names itself when it has started. */
static int wait_for_watching_threads(int n)
{
	int64_t end = real_ns() + PATIENCE_S * INT64_C(1000000000);

	while (watching_threads() != n && real_ns() < end)
		;
	return watching_threads();
}

static int advance_nothing(void *unused)
{
	(void)unused;
	return thrum_clock_advance(NULL, thrum_ms(1));
}

TH_TEST(watch, there_is_no_thread_unless_it_has_something_to_watch_X8)
{
	static const thrum_opts with[] = { { .clock = THRUM_CLOCK_REAL }, { .stuck_ms = THRUM_WATCH_OFF },
					   { .slow_scope_ms = THRUM_WATCH_OFF } };
	static const thrum_opts without[] = { { .clock = THRUM_CLOCK_JUMP }, { .clock = THRUM_CLOCK_TEST },
					      { .stuck_ms = THRUM_WATCH_OFF, .slow_scope_ms = THRUM_WATCH_OFF } };
	thrum_rt *rt;

	for (size_t i = 0; i < 3; i++) {
		thrum_opts opts = with[i];

		opts.size = sizeof opts;
		TH_CHECK_EQ(thrum_rt_open(&opts, &rt), 0);
		TH_CHECK_EQ(wait_for_watching_threads(1), 1);
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
		TH_CHECK_EQ(wait_for_watching_threads(0), 0);
		opts = without[i];
		opts.size = sizeof opts;
		TH_CHECK_EQ(thrum_rt_open(&opts, &rt), 0);
		TH_CHECK_EQ(watching_threads(), 0);
		TH_CHECK_EQ(thrum_rt_close(rt), 0);
	}
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	TH_CHECK_EQ(thrum_rt_run(rt, (thrum_fx){ advance_nothing, NULL }), 0);
	TH_CHECK_EQ(wait_for_watching_threads(1), 1); /* C7 */
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- Z9, S10 --- */

static int nap_shielded(int *ms)
{
	return thrum_shield((thrum_fx){ th_nap_, ms });
}
THRUM_FX(nap_shielded, int);

/* A scope with a child that sleeps shielded for 60 s, cancelled after one; the grace as asked for. */
struct slow {
	thrum_dur grace;      /* 0: none of its own */
	unsigned policy;
	bool close;           /* else join */
	long long took_ms;
};
static int be_slow(struct slow *slow)
{
	thrum_time start = thrum_now();
	int ms = 60000;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	if (slow->grace.ns)
		TH_CHECK_EQ(thrum_scope_grace(&s, slow->grace, slow->policy), 0);
	TH_CHECK_EQ(spawn_named(&s, &t, "keeper", nap_shielded_fx(&ms)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	thrum_scope_cancel(&s);
	if (!slow->close)
		(void)thrum_join(&t);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	slow->took_ms = th_ms_since(start);
	return 0;
}
THRUM_FX(be_slow, struct slow);

static void check_slow(struct slow slow, unsigned default_ms, int reports, const char *after)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_SLOW_SCOPE);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .slow_scope_ms = default_ms, OBSERVED_BY(seen)),
			      be_slow_fx(&slow)), 0);
	TH_CHECK_EQ(slow.took_ms, 60000); /* never abandoned, never held up */
	TH_CHECK_EQ(th_counted(&seen->calls), reports);
	if (reports == 0)
		return;
	TH_CHECK(strstr(seen->text, after) != NULL);
	TH_CHECK(strstr(seen->text, "(explicitly)") != NULL);
	TH_CHECK(strstr(seen->text, "child 0 \"keeper\"") != NULL);
	TH_CHECK(strstr(seen->text, "shield: waits") != NULL);
	TH_CHECK_EQ(strcmp(seen->name, "main"), 0);
}

TH_TEST(watch, slow_scope_is_reported_with_what_it_waits_for_S10)
{
	check_slow((struct slow){ .close = true }, 0, 1, " 10000 ms ago");
	check_slow((struct slow){ .close = true }, 250, 1, " 250 ms ago");
	check_slow((struct slow){ .close = false }, 250, 1, " 250 ms ago");
	check_slow((struct slow){ .close = true }, THRUM_WATCH_OFF, 0, NULL);
	check_slow((struct slow){ .close = true }, 59001, 0, NULL); /* it closes before */
}

TH_TEST(watch, scope_has_a_grace_of_its_own_S10)
{
	check_slow((struct slow){ thrum_ms(5), THRUM_GRACE_LOG, .close = true }, 0, 1, " 5 ms ago");
	check_slow((struct slow){ thrum_ms(5), THRUM_GRACE_LOG, .close = true }, THRUM_WATCH_OFF, 1, " 5 ms ago");
	check_slow((struct slow){ thrum_sec(20), THRUM_GRACE_LOG, .close = true }, 250, 1, " 20000 ms ago");
	check_slow((struct slow){ thrum_ms(5), THRUM_GRACE_WAIT, .close = true }, 250, 0, NULL);
	check_slow((struct slow){ THRUM_FOREVER, THRUM_GRACE_LOG, .close = true }, 250, 0, NULL);
}

static void abort_slowly(void *unused)
{
	struct slow slow = { thrum_ms(5), THRUM_GRACE_ABORT, .close = true };

	(void)unused;
	TH_CHECK_EQ(TH_RUN(JUMP, be_slow_fx(&slow)), 0);
}

TH_TEST(watch, grace_may_end_in_an_abort_after_the_report_S10)
{
	struct th_said said;
	int status = th_child(abort_slowly, NULL, &said);

	TH_CHECK(WIFSIGNALED(status));
	TH_CHECK_EQ(WTERMSIG(status), SIGABRT);
	TH_CHECK(strstr(said.text, "thrum: a scope of main was cancelled (explicitly) 5 ms ago") != NULL);
	TH_CHECK(strstr(said.text, "\"keeper\"") != NULL);
	TH_CHECK(strstr(said.text, "within its grace (S10)") != NULL);
}

/* Cancelled with the one around it, which is not watched. */
static int graced_inside(void *unused)
{
	int ms = 100;
	thrum_scope outer, inner;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_grace(&outer, thrum_ms(1), THRUM_GRACE_WAIT), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_scope_grace(&inner, thrum_ms(99), THRUM_GRACE_LOG), 0);
	TH_CHECK_EQ(thrum_spawn(&inner, &t, nap_shielded_fx(&ms)), 0);
	TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&outer);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	return thrum_scope_close(&outer);
}

TH_TEST(watch, grace_counts_from_a_cancel_around_the_scope_too_S10)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_SLOW_SCOPE);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .workers = 1, OBSERVED_BY(seen)),
			      (thrum_fx){ graced_inside, NULL }), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	TH_CHECK(strstr(seen->text, " 99 ms ago") != NULL);
}

static int grace_of_my_opener(thrum_scope *s)
{
	return thrum_scope_grace(s, thrum_ms(1), THRUM_GRACE_LOG);
}
THRUM_FX(grace_of_my_opener, thrum_scope);

TH_FIBER_TEST(JUMP, watch, grace_is_the_openers_and_checked_S10)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_ns(-1), THRUM_GRACE_LOG), -EINVAL);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_ms(1), 3), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, grace_of_my_opener_fx(&s), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_join(&t), -EPERM);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_ns(0), THRUM_GRACE_LOG), 0); /* not cancelled: nothing to report */
	return thrum_scope_close(&s);
}

TH_TEST(watch, grace_on_a_plain_thread_is_refused_S10)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_ms(1), THRUM_GRACE_LOG), THRUM_ENOTFIBER);
}

static int zip_with_a_keeper(void *unused)
{
	struct th_step fails = { .ms = 1, .code = -EIO };
	int ms = 60000;

	(void)unused;
	return thrum_zip_par(nap_shielded_fx(&ms), th_step_fx(&fails));
}

/* The fan's caller runs the shielded item itself, so nobody waits in a close. */
TH_TEST(watch, shielded_item_that_delays_a_zip_is_named_Z9)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_SLOW_SCOPE);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, OBSERVED_BY(seen)),
			      (thrum_fx){ zip_with_a_keeper, NULL }), -EIO);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	TH_CHECK_EQ(seen->last.code, -EIO);
	TH_CHECK(strstr(seen->text, "(a child failed) 10000 ms ago") != NULL);
	TH_CHECK(strstr(seen->text, "shield: waits") != NULL);
}

/* A timer of the watch must not stand in the way of what is told otherwise: time has not moved when the deadlock is. */
static int close_and_get_stuck(void *ms)
{
	struct slow slow = { .close = true };

	TH_CHECK_EQ(be_slow(&slow), 0);
	(void)thrum_call(thrum_never());
	*(long long *)ms = th_now_ms();
	return 0;
}

TH_TEST(watch, closed_scope_leaves_no_timer_S10)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_DEADLOCK);
	long long ms = 0;

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .slow_scope_ms = 59500, OBSERVED_BY(seen)),
			      (thrum_fx){ close_and_get_stuck, &ms }), -EDEADLK);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	TH_CHECK_EQ(ms, 61000); /* the clock begins at 1 s */
}

/* The report is made without locks, so its observer may end what it tells of. */
struct rescue {
	thrum_chan c;
	struct seen seen;
	thrum_dur grace;
	th_counter started;
};
static int recv_one(void *c)
{
	int item;

	return thrum_chan_recv(c, &item);
}
static int recv_shielded(thrum_chan *c)
{
	return thrum_shield((thrum_fx){ recv_one, c });
}
THRUM_FX(recv_shielded, thrum_chan);

static int be_rescued(struct rescue *r)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	if (r->grace.ns)
		TH_CHECK_EQ(thrum_scope_grace(&s, r->grace, THRUM_GRACE_LOG), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, recv_shielded_fx(&r->c)), 0);
	TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&s);
	return thrum_scope_close(&s);
}
THRUM_FX(be_rescued, struct rescue);

enum { RESCUES = 3 };

static void check_rescue(thrum_opts opts, thrum_dur grace)
{
	/* Only main's scope: on a busy machine the runtime's own may take as long to shut down. */
	struct rescue r = { .seen = { .kind = THRUM_REPORT_SLOW_SCOPE, .only = "main", .answer = &r.c }, .grace = grace };

	/* A child that a steal delayed may be cancelled before it starts; then nobody takes the item. */
	TH_CHECK_EQ(thrum_chan_init(&r.c, sizeof(int), RESCUES), 0);
	opts.size = sizeof opts;
	opts.observe = observe;
	opts.observe_arg = &r.seen;
	for (int i = 0; i < RESCUES; i++)
		TH_CHECK_EQ(thrum_run(&opts, be_rescued_fx(&r)), 0);
	TH_CHECK(th_counted(&r.seen.calls) <= RESCUES);
	thrum_chan_fini(&r.c);
}

TH_TEST(watch, observer_may_end_what_it_is_told_of_S10)
{
	check_rescue((thrum_opts){ .clock = THRUM_CLOCK_JUMP }, thrum_ms(0));
	check_rescue((thrum_opts){ .clock = THRUM_CLOCK_REAL, .slow_scope_ms = 8 }, thrum_ms(0));
	check_rescue((thrum_opts){ .clock = THRUM_CLOCK_REAL }, thrum_ms(8));
	check_rescue((thrum_opts){ .stuck_ms = THRUM_WATCH_OFF, .slow_scope_ms = THRUM_WATCH_OFF }, thrum_ms(8));
}

/* Scopes close while the watching thread walks their trees: for the sanitizers, and nothing may hang. */
static int close_under_watch(void *unused)
{
	int ms = 1;

	(void)unused;
	for (int i = 0; i < 50; i++) {
		thrum_scope s;
		thrum_task t[2];

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_scope_grace(&s, thrum_us(100), THRUM_GRACE_LOG), 0);
		TH_CHECK_EQ(spawn_named(&s, &t[0], "short", nap_shielded_fx(&ms)), 0);
		TH_CHECK_EQ(spawn_named(&s, &t[1], "shorter", thrum_never()), 0);
		TH_CHECK_EQ(thrum_yield(), 0);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
	}
	return 0;
}

TH_TEST(watch, scopes_close_while_they_are_looked_at_S10)
{
	struct seen *seen = SEEN(.kind = ~0U);
	thrum_fx fx[4];

	for (int i = 0; i < 4; i++)
		fx[i] = (thrum_fx){ close_under_watch, NULL };
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(OBSERVED_BY(seen)), thrum_zip_par_fx(&(thrum_zip_par_op){ fx, 4 })), 0);
}

TH_TEST(watch, child_that_is_cancelled_alone_is_not_watched_S10)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_SLOW_SCOPE);
	int ms = 60000;
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST, OBSERVED_BY(seen)), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, nap_shielded_fx(&ms)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ms(1)), 0);
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(60)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 0);
}

static int be_rescued_as_root(struct rescue *r)
{
	th_count(&r->started, 1);
	return recv_shielded(&r->c);
}
THRUM_FX(be_rescued_as_root, struct rescue);

TH_TEST(watch, shutdown_that_waits_is_reported_S10)
{
	struct rescue r = { .seen = { .kind = THRUM_REPORT_SLOW_SCOPE, .answer = &r.c } };
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_chan_init(&r.c, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.slow_scope_ms = 8, OBSERVED_BY(&r.seen)), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, be_rescued_as_root_fx(&r)), 0);
	spin_until(&r.started, 1);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(th_counted(&r.seen.calls), 1);
	TH_CHECK(strstr(r.seen.text, "the runtime's own, was cancelled (shutdown)") != NULL);
	thrum_chan_fini(&r.c);
}

/* --- C7 --- */

static int advance_beside_a_hog(void *arg)
{
	struct hog h = { .seen = arg, .reports = 1 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_chan_init(&h.done, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(spawn_named(&s, &t, "busy one", hog_fx(&h)), 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&h.done);
	return 0;
}

TH_TEST(watch, advance_that_does_not_settle_names_who_runs_C7)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_BUSY_ADVANCE);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_TEST, .stuck_ms = STUCK_MS, OBSERVED_BY(seen)),
			      (thrum_fx){ advance_beside_a_hog, seen }), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	TH_CHECK_EQ(strcmp(seen->name, "busy one"), 0);
	TH_CHECK(strstr(seen->text, "\"busy one\"") != NULL);
}

TH_TEST(watch, advance_from_a_thread_that_does_not_settle_is_reported_C7)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_BUSY_ADVANCE);
	struct hog h = { .seen = seen, .reports = 1 };
	thrum_handle handle;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_chan_init(&h.done, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST, .stuck_ms = STUCK_MS, OBSERVED_BY(seen)), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &handle, hog_fx(&h)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_sec(1)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&handle), 0);
	TH_CHECK(seen->last.run == hog_fx(NULL).run);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	thrum_chan_fini(&h.done);
}

/* --- C6 --- */

static int wait_in_vain(void *unused)
{
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(spawn_named(&s, &t, "forlorn", thrum_never()), 0);
	return thrum_scope_close(&s);
}

TH_TEST(watch, deadlock_is_reported_with_who_waits_where_C6)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_DEADLOCK);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, OBSERVED_BY(seen)), (thrum_fx){ wait_in_vain, NULL }),
		    -EDEADLK);
	TH_CHECK_EQ(th_counted(&seen->calls), 1);
	TH_CHECK_EQ(seen->last.code, -EDEADLK);
	TH_CHECK(strstr(seen->text, "child 0 \"main\"") != NULL);
	TH_CHECK(strstr(seen->text, "scope, closing: 1 of 1 children left") != NULL);
	TH_CHECK(strstr(seen->text, "child 0 \"forlorn\"") != NULL);
}

static int lift_and_wait(thrum_restore *r, void *unused)
{
	(void)unused;
	return thrum_restore_run(r, thrum_never());
}

static int wait_in_a_lifted_shield(void *unused)
{
	return thrum_mask(lift_and_wait, unused);
}

TH_TEST(watch, report_of_a_deadlock_knows_lifted_shields_C6)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_DEADLOCK);

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, OBSERVED_BY(seen)), (thrum_fx){ wait_in_a_lifted_shield, NULL }),
		    -EDEADLK);
	TH_CHECK(strstr(seen->text, "a part that may be cancelled again: waits") != NULL);
	TH_CHECK(strstr(seen->text, "scope,") == NULL && strstr(seen->text, "operation") == NULL);
}

/* A report is bounded however much there is to tell. */
static int many_wait_in_vain(void *unused)
{
	enum { N = 200 };
	static thrum_task t[N];
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(spawn_named(&s, &t[i],
					"one of very many, with a name that is far too long for a report to show it in full",
					thrum_never()), 0);
	return thrum_scope_close(&s);
}

TH_TEST(watch, report_is_bounded_C6)
{
	struct seen *seen = SEEN(.kind = THRUM_REPORT_DEADLOCK);
	int lines = 0;

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, OBSERVED_BY(seen)),
			      (thrum_fx){ many_wait_in_vain, NULL }), -EDEADLK);
	for (const char *c = seen->text; *c; c++)
		lines += *c == '\n';
	TH_CHECK(lines >= 15 && lines <= 26);
}
