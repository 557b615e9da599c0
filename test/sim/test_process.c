/* test/sim/test_process.c: processes of the simulated world: they end as their programs say, by signals, under cancels, and with
 * whatever fails. Some numbers of the rules are those of test/io/test_process.c. */
#include "../../io/sim/sim.h"
#include "../support/child.h"
#include "../support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <thrum.h>
#include <thrum/file.h>
#include <thrum/process.h>
#include <thrum/test.h>

enum { MANY = 20000 }; /* more than a pipe holds */
static char many[MANY + 1];

static const thrum_test_program programs[] = {
	{ .path = "/bin/true" },
	{ .path = "/bin/three", .code = 3, .prints = "some words\n", .complains = "and others\n", .lasts = { 40 * INT64_C(1000000) } },
	{ .path = "/bin/cat", .echoes = true },
	{ .path = "/bin/wc", .reads = true, .prints = "12\n" },
	{ .path = "/bin/sleep", .lasts = { INT64_MAX } },
	{ .path = "/bin/deaf", .lasts = { INT64_MAX }, .deaf = true },
	{ .path = "/bin/crash", .lasts = { 1000000 }, .signal = SIGSEGV },
	{ .path = "/bin/both", .prints = "this goes out\n", .complains = "that went wrong\n" },
	{ .path = "/bin/yes", .prints = many },
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

/* --- descriptors in the place of pipes --- */

static int run_to(int fd, const char *path, int in)
{
	return thrum_run_process(RUN(path, .in = in < 0 ? thrum_to_null() : thrum_to_fd(in), .out = thrum_to_fd(fd),
				     .err = thrum_to_stdout(), .check = true), NULL);
}

static int read_back(const char *path, const char *text)
{
	void *data;
	size_t n;
	int code = thrum_read_file(AT_FDCWD, path, MANY, &data, &n);

	if (code < 0)
		return code;
	THRUM_TEST_CHECK(n == strlen(text) && memcmp(data, text, n) == 0);
	free(data);
	return 0;
}

static int copy_file(int *fds)
{
	int code = run_to(fds[0], "/bin/both", -1);

	if (code == 0)
		code = fds[1] = thrum_openat(AT_FDCWD, "log", O_RDONLY, 0);
	if (code >= 0)
		code = fds[2] = thrum_openat(AT_FDCWD, "copy", O_CREAT | O_WRONLY, 0600);
	return code < 0 ? code : run_to(fds[2], "/bin/cat", fds[1]);
}

static int copy(void *unused)
{
	static const char text[] = "this goes out\nthat went wrong\n";
	int fds[3] = { thrum_openat(AT_FDCWD, "log", O_CREAT | O_WRONLY, 0600), -1, -1 };
	int code = fds[0] < 0 ? fds[0] : copy_file(fds);

	(void)unused;
	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			(void)thrum_close(fds[i]);
	if (code == 0)
		code = read_back("log", text);
	return code < 0 ? code : read_back("copy", text);
}

TH_TEST(process, output_to_a_descriptor_is_whole_and_input_from_one_is_read)
{
	const thrum_fx fx = { copy, NULL };

	holds(fx, OPTS("copy", 1000));
	TH_CHECK_EQ(thrum_test_sweep_cancel(fx, OPTS("copy", 5), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_io(fx, OPTS("copy", 2), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_memory(fx, OPTS("copy", 2), NULL), 0);
}

/* yes | cat, as a shell has it: the descriptor between the two is closed here. */
static int connect_two(thrum_scope *s, thrum_process p[2])
{
	int code = thrum_spawn_process(s, &p[0], RUN("/bin/yes", .out = thrum_to_pipe()));

	if (code == 0)
		code = thrum_spawn_process(s, &p[1], RUN("/bin/cat", .in = thrum_to_fd(p[0].out), .out = thrum_to_pipe()));
	if (code == 0)
		code = thrum_close(p[0].out);
	if (code == 0)
		p[0].out = -1;
	return code;
}

static int pipeline(void *unused)
{
	thrum_process p[2];
	thrum_process_status st;
	thrum_scope s;
	char heard[MANY + 1];
	size_t n = 0;
	int code = thrum_scope_open(&s);

	(void)unused;
	if (code < 0)
		return code;
	code = connect_two(&s, p);
	if (code == 0)
		code = thrum_read_all(p[1].out, heard, sizeof heard, &n);
	if (code == THRUM_EEOF) {
		THRUM_TEST_CHECK(n == MANY && memcmp(heard, many, MANY) == 0);
		code = thrum_wait_process(&p[0], &st);
		THRUM_TEST_CHECK(code < 0 || (st.code == 0 && st.signal == 0));
	}
	(void)thrum_scope_close(&s);
	return code;
}

static int wait_before_reading(void *unused)
{
	thrum_process p;
	thrum_scope s;
	int code = thrum_scope_open(&s);

	(void)unused;
	if (code < 0)
		return code;
	code = thrum_spawn_process(&s, &p, RUN("/bin/yes", .out = thrum_to_pipe()));
	if (code == 0)
		code = thrum_wait_process(&p, NULL);
	(void)thrum_scope_close(&s);
	return code;
}

static int read_one_byte(void *unused)
{
	thrum_process p;
	thrum_process_status st = { 0 };
	thrum_scope s;
	char c;
	int code = thrum_scope_open(&s);

	(void)unused;
	if (code < 0)
		return code;
	code = thrum_spawn_process(&s, &p, RUN("/bin/yes", .out = thrum_to_pipe()));
	if (code == 0)
		code = thrum_read_all(p.out, &c, 1, NULL);
	if (code == 0)
		code = thrum_close(p.out);
	p.out = -1;
	if (code == 0)
		code = thrum_wait_process(&p, &st);
	THRUM_TEST_CHECK(code < 0 || st.signal == SIGPIPE);
	(void)thrum_scope_close(&s);
	return code;
}

TH_TEST(process, a_pipe_holds_so_much_and_the_process_waits_for_room)
{
	thrum_test_opts o = *OPTS("full", 10);
	thrum_test_report r;

	memset(many, 'y', MANY);
	holds((thrum_fx){ pipeline, NULL }, OPTS("pipeline", 300));
	TH_CHECK_EQ(thrum_test_sweep_cancel((thrum_fx){ pipeline, NULL }, OPTS("pipeline", 1), NULL), 0);
	holds((thrum_fx){ read_one_byte, NULL }, OPTS("one-byte", 300));
	o.quiet = true;
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ wait_before_reading, NULL }, &o, &r), 1);
	TH_CHECK(strstr(r.what, "deadlock"));
}

static int start_where_nothing_is(void *unused)
{
	int code = thrum_mkdir(AT_FDCWD, "/home", 0700);

	(void)unused;
	THRUM_TEST_CHECK(thrum_run_process(RUN("/bin/true", .cwd = "/nowhere"), NULL) == -ENOENT);
	return code < 0 ? code : thrum_run_process(RUN("/bin/true", .cwd = "/home"), NULL);
}

TH_TEST(process, a_directory_that_is_not_there_is_refused)
{
	holds((thrum_fx){ start_where_nothing_is, NULL }, OPTS("cwd", 100));
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
