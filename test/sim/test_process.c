/* test/sim/test_process.c: processes of the simulated world: they end as their programs say, by signals, under cancels, and with
 * whatever fails. Some numbers of the rules are those of test/io/test_process.c. */
#include "../../io/sim/sim.h"
#include "../support/child.h"
#include "../support/test.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <thrum.h>
#include <thrum/process.h>
#include <thrum/test.h>

static const thrum_test_program programs[] = {
	{ .path = "/bin/true" },
	{ .path = "/bin/three", .code = 3, .prints = "some words\n", .complains = "and others\n", .lasts = { 40 * INT64_C(1000000) } },
	{ .path = "/bin/cat", .echoes = true },
	{ .path = "/bin/wc", .reads = true, .prints = "12\n" },
	{ .path = "/bin/sleep", .lasts = { INT64_MAX } },
	{ .path = "/bin/deaf", .lasts = { INT64_MAX }, .deaf = true },
	{ .path = "/bin/crash", .lasts = { 1000000 }, .signal = SIGSEGV },
};

enum { LESS = TH_SLOW ? 20 : 1 };

#define OPTS(name_, runs_)                                                                                          \
	THRUM_TEST_OPTS(.name = name_, .runs = (runs_) / LESS + 1, .programs = programs, .n_programs = sizeof programs / sizeof *programs)
#define RUN(path_, ...) THRUM_PROCESS_OPTS(.argv = THRUM_ARGV(path_), __VA_ARGS__)

static void holds(thrum_fx fx, const thrum_test_opts *o)
{
	TH_CHECK_EQ(thrum_test_search(fx, o, NULL), 0);
}

/* --- how they end --- */

static int run_each(void *unused)
{
	thrum_process_status st;

	(void)unused;
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/true", 0), &st) == 0 && st.code == 0 && st.signal == 0);
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/three", 0), &st) == 0 && st.code == 3 && st.signal == 0);
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/crash", 0), &st) == 0 && st.signal == SIGSEGV);
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/crash", .check = true), &st) == THRUM_ESIGNALED);
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/nothing", 0), &st) == -ENOENT);
	return 0;
}

TH_TEST(process, ends_as_its_program_says)
{
	holds((thrum_fx){ run_each, NULL }, OPTS("each", 2000));
}

/* --- pipes --- */

static int collect(void *unused)
{
	thrum_output o;
	char in[3000];

	(void)unused;
	THRUM_TEST_CHECK(thrum_process_output(RUN("/bin/three", 0), NULL, 0, 100, &o) == 0);
	THRUM_TEST_CHECK(strcmp(o.out, "some words\n") == 0 && strcmp(o.err, "and others\n") == 0 && o.status.code == 3);
	thrum_process_output_free(&o);
	memset(in, 'x', sizeof in);
	THRUM_TEST_CHECK(thrum_process_output(RUN("/bin/cat", 0), in, sizeof in, 4000, &o) == 0);
	THRUM_TEST_CHECK(o.out_size == sizeof in && memcmp(o.out, in, sizeof in) == 0);
	thrum_process_output_free(&o);
	THRUM_TEST_CHECK(thrum_process_output(RUN("/bin/wc", 0), in, sizeof in, 4000, &o) == 0 && strcmp(o.out, "12\n") == 0);
	thrum_process_output_free(&o);
	THRUM_TEST_CHECK(thrum_process_output(RUN("/bin/cat", 0), in, sizeof in, 2000, &o) == -EFBIG);
	THRUM_TEST_CHECK(thrum_process_output(RUN("/bin/true", 0), in, sizeof in, 2000, &o) == 0); /* it does not read */
	thrum_process_output_free(&o);
	return 0;
}

TH_TEST(process, what_it_reads_and_writes_comes_through)
{
	holds((thrum_fx){ collect, NULL }, OPTS("collect", 1000));
}

/* --- being stopped --- */

static int wait_for(thrum_process *p)
{
	return thrum_wait_process(p, NULL);
}
THRUM_FX(wait_for, thrum_process);

struct stop {
	const char *path;
	int64_t most, least;
};

/* The wait is cut short: the process hears TERM, and 5 s later KILL. */
static int stop_one(struct stop *s)
{
	thrum_process p;
	thrum_scope scope;
	thrum_process_status st;
	thrum_time begin;
	int code = thrum_scope_open(&scope);

	if (code < 0)
		return code;
	code = thrum_spawn_process(&scope, &p, RUN(s->path, 0));
	begin = thrum_now();
	if (code == 0) {
		code = thrum_timeout(wait_for_fx(&p), thrum_ms(100));
		THRUM_TEST_CHECK(code == -ETIMEDOUT);
		THRUM_TEST_CHECK(thrum_now().ns - begin.ns >= s->least && thrum_now().ns - begin.ns <= s->most);
		THRUM_TEST_CHECK(thrum_wait_process(&p, &st) == 0 && st.signal == (s->least > 1000000000 ? SIGKILL : SIGTERM));
		THRUM_TEST_CHECK(thrum_kill_process(&p, SIGTERM) == -ESRCH);
	}
	return thrum_scope_close(&scope);
}
THRUM_FX(stop_one, struct stop);

TH_TEST(process, hears_the_stop_signal_and_is_killed_if_it_does_not)
{
	struct stop hears = { "/bin/sleep", 110 * INT64_C(1000000), 100 * INT64_C(1000000) };
	struct stop does_not = { "/bin/deaf", 5110 * INT64_C(1000000), 5100 * INT64_C(1000000) };

	holds(stop_one_fx(&hears), OPTS("hears", 1000));
	holds(stop_one_fx(&does_not), OPTS("does-not", 1000));
}

/* --- with whatever goes wrong --- */

static int work_with_one(void *unused)
{
	thrum_process p;
	thrum_scope s;
	char c;
	int code = thrum_scope_open(&s);

	(void)unused;
	if (code < 0)
		return code;
	code = thrum_spawn_process(&s, &p, RUN("/bin/cat", .in = thrum_to_pipe(), .out = thrum_to_pipe()));
	if (code == 0)
		code = thrum_write_all(p.in, "x", 1, NULL);
	if (code == 0)
		code = thrum_read_all(p.out, &c, 1, NULL);
	if (code == 0) {
		code = thrum_close(p.in);
		p.in = -1;
	}
	if (code == 0)
		code = thrum_wait_process(&p, NULL);
	(void)thrum_scope_close(&s);
	return code;
}

TH_TEST(process, nothing_of_it_is_left_whatever_goes_wrong)
{
	thrum_test_opts o = *OPTS("work", 20);
	const thrum_fx fx = { work_with_one, NULL };

	TH_CHECK_EQ(thrum_test_sweep_cancel(fx, &o, NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_io(fx, &o, NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_memory(fx, &o, NULL), 0);
	o.faults = THRUM_TEST_FAULTS(.no_fd = 5);
	o.any_code = true;
	o.runs = 2000 / LESS;
	TH_CHECK_EQ(thrum_test_search(fx, &o, NULL), 0);
}
