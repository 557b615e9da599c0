/* test/sim/test_meter.c: work and span (thrum/meter.h), to the nanosecond: in the simulation a strand takes what it says. */
#include "../support/sim_run.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static thrum_meter read_meter(void)
{
	thrum_meter m = { .size = sizeof m };

	TH_CHECK_EQ(thrum_meter_read(&m), 0);
	return m;
}

enum { TURN = 1000 }; /* ns */

static void spin(int turns)
{
	th_sim_compute((int64_t)turns * TURN);
}

static int strand(int *turns)
{
	spin(*turns);
	return 0;
}
THRUM_FX(strand, int);

/* What the last report said. */
static int reports;
static char report[1024];
static void note(const thrum_report *r, void *unused)
{
	(void)unused;
	if (r->kind != THRUM_REPORT_METER)
		return;
	reports++;
	snprintf(report, sizeof report, "%s", r->text);
}

static thrum_meter before;
static int (*metered)(void *);

static int start(void *unused)
{
	before = read_meter();
	return metered(unused);
}

static void run_metered(int (*run)(void *))
{
	reports = 0;
	metered = run;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		th_sim_begin(&(struct th_sim_opts){ .seed = seed });
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.meter = true, .observe = note), (thrum_fx){ start, NULL }), 0);
		th_sim_end(&(struct th_sim_report){ 0 });
	}
	TH_CHECK_EQ(reports, 20);
	TH_CHECK(strstr(report, "parallelism") && strstr(report, "128 workers"));
}

/* Since the start, in turns. */
static void check_turns(int work, int span)
{
	thrum_meter m = read_meter();

	TH_CHECK_EQ(m.work_ns - before.work_ns, (uint64_t)work * TURN);
	TH_CHECK_EQ(m.span_ns - before.span_ns, (uint64_t)span * TURN);
}

#define METERED_TEST(name)                               \
	static int metered_##name(void *unused);         \
	TH_TEST(meter, name) { run_metered(metered_##name); } \
	static int metered_##name(void *unused TH_UNUSED)

#define TH_UNUSED __attribute__((unused))

METERED_TEST(effects_of_a_fork_are_beside_each_other)
{
	int one = 1, two = 2;
	thrum_meter m;

	TH_CHECK_EQ(thrum_zip_par(strand_fx(&one), strand_fx(&two), strand_fx(&one)), 0);
	check_turns(4, 2);
	m = read_meter();
	TH_CHECK_EQ(m.burdened_ns - before.burdened_ns, 2 * TURN + m.steal_ns); /* effect 0 is the forker's */
	TH_CHECK_EQ(m.children - before.children, 2);
	return 0;
}

METERED_TEST(what_comes_after_each_other_is_a_chain)
{
	int one = 1;

	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_zip_par(strand_fx(&one), strand_fx(&one)), 0);
	check_turns(6, 3);
	return 0;
}

METERED_TEST(items_are_beside_each_other)
{
	int items[16];

	for (int i = 0; i < 16; i++)
		items[i] = 1 + i % 3;
	TH_CHECK_EQ(thrum_for_each_par(items, 16, strand, 2), 0);
	check_turns(31, 3);
	return 0;
}

METERED_TEST(a_child_begins_where_it_was_spawned)
{
	int one = 1;
	thrum_scope s;
	thrum_task first, second;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &first, strand_fx(&one)), 0);
	spin(3);
	TH_CHECK_EQ(thrum_spawn(&s, &second, strand_fx(&one)), 0);
	TH_CHECK_EQ(thrum_join(&first), 0);
	spin(0);
	TH_CHECK_EQ(read_meter().span_ns - before.span_ns, 3 * TURN); /* the first one is beside the body */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_turns(5, 4); /* the second one behind it */
	return 0;
}

METERED_TEST(a_joiner_goes_on_after_the_child)
{
	int two = 2;
	thrum_scope s;
	thrum_task child;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &child, strand_fx(&two)), 0);
	TH_CHECK_EQ(thrum_join(&child), 0);
	spin(1);
	check_turns(3, 3);
	TH_CHECK_EQ(thrum_spawn(&s, &child, strand_fx(&two)), 0);
	spin(3);
	TH_CHECK_EQ(thrum_join(&child), 0); /* as a call, but it was beside the body */
	check_turns(8, 6);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int work_and_send(thrum_chan *c)
{
	int word = 1;

	spin(2);
	return thrum_chan_send(c, &word);
}
THRUM_FX(work_and_send, thrum_chan);

static int receive_and_work(thrum_chan *c)
{
	int word, code = thrum_chan_recv(c, &word);

	spin(3);
	return code;
}
THRUM_FX(receive_and_work, thrum_chan);

METERED_TEST(who_is_woken_comes_after_the_waker)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_zip_par(receive_and_work_fx(&c), work_and_send_fx(&c)), 0);
	check_turns(5, 5);
	thrum_chan_fini(&c);
	return 0;
}

METERED_TEST(waiting_is_no_work)
{
	spin(1);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), 0);
	spin(2);
	check_turns(3, 3);
	return 0;
}

/* Deep enough for several stacks. */
struct depth {
	int left;
};
static int nest(struct depth *d);
THRUM_FX(nest, struct depth);
static int nest(struct depth *d)
{
	int one = 1;
	struct depth below = { d->left - 1 };

	spin(1);
	return d->left == 0 ? 0 : thrum_zip_par(nest_fx(&below), strand_fx(&one));
}

METERED_TEST(chains_go_on_on_other_stacks)
{
	struct depth d = { 400 };

	TH_CHECK_EQ(nest(&d), 0);
	check_turns(801, 401);
	return 0;
}

static int fail_later(void *unused)
{
	(void)unused;
	spin(1);
	return THRUM_APP(1);
}

METERED_TEST(failures_and_races_count_too)
{
	int five = 5;

	TH_CHECK_EQ(thrum_zip_par((thrum_fx){ fail_later, NULL }, strand_fx(&five)), THRUM_APP(1));
	check_turns(1, 1); /* the second one never starts */
	TH_CHECK_EQ(thrum_race(strand_fx(&five), strand_fx(&five)), 0);
	check_turns(6, 6);
	return 0;
}

TH_TEST(meter, says_what_workers_would_bring)
{
	thrum_meter m = { .size = sizeof m, .work_ns = 1000, .span_ns = 100, .burdened_ns = 125 };
	char text[1024];

	TH_CHECK(thrum_meter_speedup_max(&m, 4) == 4);
	TH_CHECK(thrum_meter_speedup_max(&m, 64) == 10);
	TH_CHECK(thrum_meter_speedup_min(&m, 8) == 4); /* 1000 / (125 + 125) */
	TH_CHECK(thrum_meter_text(&m, text, sizeof text) == strlen(text));
	TH_CHECK(thrum_meter_text(&m, text, 5) == thrum_meter_text(&m, NULL, 0) && strlen(text) == 4);
}

static int has_no_meter(void *unused)
{
	thrum_meter m = { .size = sizeof m };

	(void)unused;
	TH_CHECK_EQ(thrum_meter_read(&m), -ENOTSUP);
	return 0;
}

METERED_TEST(of_another_size_is_refused)
{
	thrum_meter other = { .size = 1 };

	TH_CHECK_EQ(thrum_meter_read(&other), -EINVAL);
	TH_CHECK_EQ(thrum_meter_read(NULL), -EINVAL);
	return 0;
}

TH_TEST(meter, is_asked_for)
{
	thrum_meter m = { .size = sizeof m };

	TH_CHECK_EQ(thrum_meter_read(&m), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.meter = true, .workers = 2), thrum_succeed()), -EINVAL);
	reports = 0;
	th_sim_begin(&(struct th_sim_opts){ .seed = 1 });
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.observe = note), (thrum_fx){ has_no_meter, NULL }), 0);
	th_sim_end(&(struct th_sim_report){ 0 });
	TH_CHECK_EQ(reports, 0);
}
