/* Processes: what they get, how they end, that a scope leaves none behind, and no descriptor. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "io_test.h"
#include "test/support/child.h"
#include "test/support/rules.h"

static void no_children(void)
{
	TH_CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
	TH_CHECK_EQ(errno, ECHILD);
}

/* The body of a test in a fiber; afterwards there is no child, zombie or not, and no descriptor more than before. */
static void run_clean(int (*body)(void *), unsigned clock)
{
	int fds = fd_count();

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = clock), (thrum_fx){ body, NULL }), 0);
	TH_CHECK_EQ(fd_count(), fds);
	no_children();
}
#define PROCESS_TEST_ON(clock_, name_)                                                   \
	static int body_##name_(void *unused_);                                          \
	TH_TEST(io_process, name_) { run_clean(body_##name_, THRUM_CLOCK_##clock_); }    \
	static int body_##name_(void *unused_ __attribute__((unused)))
#define PROCESS_TEST(name_) PROCESS_TEST_ON(REAL, name_)

#define CALL(program_, ...) THRUM_PROCESS_OPTS(.argv = THRUM_ARGV(program_), __VA_ARGS__)
#define SH(script_, ...) THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("/bin/sh", "-c", script_), __VA_ARGS__)

static thrum_process_status ended(const thrum_process_opts *o)
{
	thrum_process_status status = { .code = -77 };

	TH_CHECK_EQ(thrum_run_process(o, &status), 0);
	return status;
}

static char *output_of(const thrum_process_opts *o)
{
	thrum_output out;

	TH_CHECK_EQ(thrum_process_output(o, NULL, 0, 1 << 20, &out), 0);
	free(out.err);
	return out.out;
}

static void output_is(const thrum_process_opts *o, const char *want)
{
	char *got = output_of(o);

	if (strcmp(got, want) != 0)
		th_check_failed(__FILE__, __LINE__, "'%s', not '%s'", got, want);
	free(got);
}

/* --- how it ends --- */

PROCESS_TEST(an_exit_code_or_a_signal)
{
	thrum_process_status s = ended(SH("exit 0", .check = false));

	TH_CHECK(s.code == 0 && s.signal == 0 && !s.core);
	TH_CHECK_EQ(thrum_process_check(&s), 0);
	s = ended(SH("exit 42", .check = false));
	TH_CHECK(s.code == 42 && s.signal == 0);
	TH_CHECK_EQ(thrum_process_check(&s), THRUM_EEXIT);
	s = ended(SH("kill -USR1 $$", .check = false));
	TH_CHECK(s.code == 0 && s.signal == SIGUSR1 && !s.core);
	TH_CHECK_EQ(thrum_process_check(&s), THRUM_ESIGNALED);
	return 0;
}

PROCESS_TEST(a_bad_end_is_a_failure_if_asked)
{
	thrum_process_status s = { 0 };
	thrum_output out = { 0 };

	TH_CHECK_EQ(thrum_run_process(SH("exit 3", .check = true), &s), THRUM_EEXIT);
	TH_CHECK_EQ(s.code, 3);
	TH_CHECK_EQ(thrum_run_process(SH("kill -9 $$", .check = true), &s), THRUM_ESIGNALED);
	TH_CHECK_EQ(s.signal, SIGKILL);
	TH_CHECK_EQ(thrum_run_process(SH("exit 0", .check = true), NULL), 0);
	TH_CHECK_EQ(thrum_process_output(SH("echo why >&2; exit 3", .check = true), NULL, 0, 100, &out), THRUM_EEXIT);
	TH_CHECK(strcmp(out.err, "why\n") == 0);
	TH_CHECK_EQ(out.status.code, 3);
	thrum_process_output_free(&out);
	TH_CHECK(strstr(thrum_strerror(THRUM_EEXIT), "exit code"));
	TH_CHECK(strstr(thrum_strerror(THRUM_ESIGNALED), "signal"));
	return 0;
}

PROCESS_TEST(waiting_again_gives_the_same_answer)
{
	thrum_process_status s = { 0 };
	thrum_process p;
	thrum_scope scope;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn_process(&scope, &p, SH("exit 5", .check = true)), 0);
	TH_CHECK_EQ(thrum_wait_process(&p, &s), 0);
	TH_CHECK_EQ(s.code, 5);
	TH_CHECK_EQ(thrum_kill_process(&p, SIGTERM), -ESRCH);
	TH_CHECK_EQ(thrum_wait_process(&p, NULL), 0);
	no_children();
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	s.code = 0;
	TH_CHECK_EQ(thrum_wait_process(&p, &s), 0);
	TH_CHECK_EQ(s.code, 5);
	return 0;
}

static int wait_one(void *p)
{
	return thrum_wait_process(p, NULL);
}
PROCESS_TEST(one_fiber_waits_at_a_time)
{
	thrum_process p;
	thrum_scope scope;
	thrum_task t;
	int code;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn_process(&scope, &p, SH("read x", .in = thrum_to_pipe())), 0);
	uint64_t before = ops_so_far();
	TH_CHECK_EQ(thrum_spawn(&scope, &t, (thrum_fx){ wait_one, &p }), 0);
	until_ops(before, 1);
	TH_CHECK_EQ(thrum_wait_process(&p, NULL), -EBUSY);
	TH_CHECK_EQ(thrum_write(p.in, "x\n", 2), 2);
	code = thrum_join(&t);
	TH_CHECK_EQ(code, 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	return 0;
}

/* As where a program ignores SIGCHLD. */
PROCESS_TEST(one_that_somebody_else_has_reaped_is_ECHILD)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, before;

	TH_CHECK_EQ(sigaction(SIGCHLD, &ignore, &before), 0);
	TH_CHECK_EQ(thrum_run_process(SH("exit 0", .check = true), NULL), -ECHILD);
	TH_CHECK_EQ(sigaction(SIGCHLD, &before, NULL), 0);
	return 0;
}

static int run_true(void *code)
{
	*(int *)code = thrum_run_process(SH("exit 0", .check = true), NULL);
	return 0;
}
PROCESS_TEST(many_at_once)
{
	enum { N = 24 };
	int codes[N];

	for (int i = 0; i < N; i++)
		codes[i] = 1;
	TH_CHECK_EQ(thrum_for_each_par_n(run_true, codes, N, sizeof *codes, 8), 0);
	for (int i = 0; i < N; i++)
		TH_CHECK_EQ(codes[i], 0);
	return 0;
}

/* --- what it gets --- */

PROCESS_TEST(arguments_environment_and_directory)
{
	const char *const env[] = { "GREETING=hello", NULL };

	TH_CHECK_EQ(setenv("THRUM_TEST_INHERITED", "yes", 1), 0);
	output_is(THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("printf", "<%s>", "a b", "", "c"), .search_path = true), "<a b><><c>");
	output_is(SH("echo $GREETING $THRUM_TEST_INHERITED", .envp = env), "hello\n");
	output_is(SH("echo $GREETING $THRUM_TEST_INHERITED", .envp = NULL), "yes\n");
	output_is(SH("pwd", .cwd = "/usr"), "/usr\n");
	output_is(THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("./sh", "-c", "echo here"), .cwd = "/bin"), "here\n");
	return 0;
}

PROCESS_TEST(signals_are_as_in_a_fresh_program)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, before;
	unsigned long long blocked = 1, ignored = ~0ULL;
	char *text;

	TH_CHECK_EQ(sigaction(SIGPIPE, &ignore, &before), 0);
	/* No shell: they clear their mask themselves. */
	text = output_of(THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("grep", "Sig", "/proc/self/status"), .search_path = true));
	TH_CHECK_EQ(sigaction(SIGPIPE, &before, NULL), 0);
	TH_CHECK_EQ(sscanf(strstr(text, "SigBlk:"), "SigBlk: %llx", &blocked), 1);
	TH_CHECK_EQ(sscanf(strstr(text, "SigIgn:"), "SigIgn: %llx", &ignored), 1);
	TH_CHECK_EQ(blocked, 0);
	TH_CHECK_EQ(ignored & 1ULL << (SIGPIPE - 1), 0);
	free(text);
	return 0;
}

PROCESS_TEST(its_own_group_or_ours)
{
	char want[32];

	output_is(SH("test $$ = $(cut -d' ' -f5 /proc/$$/stat) && echo own", .check = true), "own\n");
	snprintf(want, sizeof want, "%d\n", (int)getpgrp());
	output_is(SH("cut -d' ' -f5 /proc/$$/stat", .same_group = true), want);
	return 0;
}

PROCESS_TEST(given_descriptors_dev_null_and_stdout)
{
	int fds[2];
	char buf[32] = { 0 };
	thrum_output out;

	open_pipe(fds, 0);
	TH_CHECK_EQ(ended(SH("echo one; echo two >&2", .out = thrum_to_fd(fds[1]), .err = thrum_to_stdout())).code, 0);
	TH_CHECK_EQ(thrum_read(fds[0], buf, sizeof buf), 8);
	TH_CHECK(strcmp(buf, "one\ntwo\n") == 0);
	TH_CHECK_EQ(write(fds[1], "line\n", 5), 5);
	output_is(SH("read x; echo got $x", .in = thrum_to_fd(fds[0])), "got line\n");
	close_both(fds);
	output_is(SH("cat", .in = thrum_to_null()), "");
	TH_CHECK_EQ(thrum_process_output(SH("echo x; echo y >&2", .out = thrum_to_null()), NULL, 0, 10, &out), 0);
	TH_CHECK(out.out == NULL && out.out_size == 0 && strcmp(out.err, "y\n") == 0 && out.err_size == 2);
	thrum_process_output_free(&out);
	return 0;
}

/* With stdin and stdout closed our pipes get their numbers. */
static void without_stdio(void *unused)
{
	(void)unused;
	close(0);
	close(1);
	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ body_given_descriptors_dev_null_and_stdout, NULL }), 0);
}
TH_TEST(io_process, a_program_without_stdin_and_stdout_can_start_others)
{
	struct th_said said;
	int status = th_child(without_stdio, NULL, &said);

	TH_CHECK_CHILD_OK(status, &said);
}

/* --- what cannot be started --- */

PROCESS_TEST(failures_have_the_code_of_what_failed)
{
	thrum_process p;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, CALL("/no/such/program", .out = thrum_to_pipe())), -ENOENT);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, CALL("no-such-program-x", .search_path = true)), -ENOENT);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, CALL("sh", .in = thrum_to_null())), -ENOENT); /* no search */
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .cwd = "/no/such/dir")), -ENOENT);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .cwd = "/dev/null")), -ENOTDIR);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, CALL("/etc/passwd", .in = thrum_to_pipe())), -EACCES);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .in = thrum_to_pipe(), .out = thrum_to_fd(-1))), -EBADF);

	TH_CHECK_EQ(thrum_spawn_process(&s, &p, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, THRUM_PROCESS_OPTS(.argv = NULL)), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, THRUM_PROCESS_OPTS(.argv = THRUM_ARGV(NULL))), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .in = { 9, 0 })), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .out = thrum_to_stdout())), -EINVAL);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .stop_signal = -1)), -EINVAL);
	TH_CHECK_EQ(thrum_run_process(SH("exit 0", .out = thrum_to_pipe()), NULL), -EINVAL);
	TH_CHECK_EQ(thrum_run_process(NULL, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_process_output(NULL, NULL, 0, 0, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int spawn_refused(void *scope)
{
	thrum_output out;
	thrum_process p;

	TH_CHECK_EQ(thrum_spawn_process(scope, &p, SH("exit 0", .check = true)), -ECANCELED);
	TH_CHECK_EQ(thrum_run_process(SH("exit 0", .check = true), NULL), -ECANCELED);
	TH_CHECK_EQ(thrum_process_output(SH("exit 0", .check = true), NULL, 0, 9, &out), -ECANCELED);
	return 0;
}
PROCESS_TEST(a_cancelled_fiber_starts_none_G3)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ spawn_refused, &s }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

static int spawn_too_late(void *scope)
{
	thrum_process p;

	TH_CHECK_EQ(thrum_spawn_process(scope, &p, SH("exec sleep 1000", .out = thrum_to_pipe())), THRUM_ECLOSED);
	no_children();
	return 0;
}
PROCESS_TEST(in_a_closing_scope_it_is_stopped_S5)
{
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, (thrum_fx){ spawn_too_late, &s }), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_TEST(io_process, calls_from_a_plain_thread_say_so_X1)
{
	thrum_output out;
	thrum_process p = { 0 };
	thrum_scope s = { 0 };

	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("exit 0", .check = true)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_wait_process(&p, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_run_process(SH("exit 0", .out = thrum_to_pipe()), NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_process_output(SH("exit 0", .check = true), NULL, 0, 9, &out), THRUM_ENOTFIBER);
}

/* Of the descriptors that a start needs, each in turn is one too many. */
PROCESS_TEST(without_descriptors_nothing_is_left_behind)
{
	struct rlimit before, limit;
	int first = dup(0), code = -EMFILE, failed = 0;

	TH_CHECK(first >= 0);
	TH_CHECK_EQ(close(first), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	for (rlim_t more = 0; code == -EMFILE && more < 20; more++) {
		int fds = fd_count();
		thrum_process p;
		thrum_scope s;

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		limit.rlim_cur = (rlim_t)first + more;
		TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
		code = thrum_spawn_process(&s, &p, SH("exec cat", .in = thrum_to_pipe(), .out = thrum_to_pipe(),
									 .err = thrum_to_pipe()));
		if (code < 0)
			failed++;
		(void)thrum_scope_close(&s); /* also without a descriptor for the timer of the grace */
		TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
		TH_CHECK_EQ(fd_count(), fds);
		no_children();
	}
	TH_CHECK_EQ(code, 0);
	TH_CHECK(failed >= 6);
	return 0;
}

/* --- data --- */

enum { BIG = 1 << 20 };
static char *big_data(void)
{
	char *data = malloc(BIG);

	TH_CHECK(data);
	for (size_t i = 0; i < BIG; i++)
		data[i] = (char)(i * 7 + (i >> 12));
	return data;
}

struct both_ways {
	thrum_process p;
	char *put, *got;
};
static int put_big(void *arg)
{
	struct both_ways *b = arg;

	TH_CHECK_EQ(thrum_write_all(b->p.in, b->put, BIG, NULL), 0);
	TH_CHECK_EQ(thrum_close(b->p.in), 0);
	b->p.in = -1;
	return 0;
}
static int get_big(void *arg)
{
	struct both_ways *b = arg;
	char more;

	TH_CHECK_EQ(thrum_read_all(b->p.out, b->got, BIG, NULL), 0);
	TH_CHECK_EQ(thrum_read(b->p.out, &more, 1), 0);
	return 0;
}
PROCESS_TEST(a_megabyte_through_the_pipes_of_cat)
{
	struct both_ways b = { .put = big_data(), .got = calloc(1, BIG) };
	thrum_process_status status;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &b.p, SH("exec cat", .in = thrum_to_pipe(), .out = thrum_to_pipe())), 0);
	TH_CHECK_EQ(b.p.err, -1);
	TH_CHECK(is_cloexec(b.p.in) && is_cloexec(b.p.out));
	TH_CHECK_EQ(thrum_zip_par((thrum_fx){ put_big, &b }, (thrum_fx){ get_big, &b }), 0);
	TH_CHECK_EQ(thrum_wait_process(&b.p, &status), 0);
	TH_CHECK_EQ(status.code, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(memcmp(b.put, b.got, BIG) == 0);
	free(b.put);
	free(b.got);
	return 0;
}

PROCESS_TEST(a_megabyte_in_and_two_out_at_once)
{
	char *data = big_data();
	thrum_output out;

	TH_CHECK_EQ(thrum_process_output(SH("tee /dev/stderr", .check = true), data, BIG, BIG, &out), 0);
	TH_CHECK_EQ(out.out_size, BIG);
	TH_CHECK_EQ(out.err_size, BIG);
	TH_CHECK(memcmp(out.out, data, BIG) == 0 && memcmp(out.err, data, BIG) == 0);
	TH_CHECK_EQ(out.out[BIG], '\0');
	thrum_process_output_free(&out);
	free(data);
	return 0;
}

/* SIGPIPE is at its default here: raised, it would end this program. */
PROCESS_TEST(input_that_is_not_read_is_no_failure_and_raises_nothing)
{
	char *data = big_data();
	thrum_output out;
	sigset_t pending;

	TH_CHECK_EQ(thrum_process_output(SH("head -c 3; exec true", .check = true), data, BIG, 10, &out), 0);
	TH_CHECK_EQ(out.out_size, 3);
	thrum_process_output_free(&out);
	TH_CHECK_EQ(sigpending(&pending), 0);
	TH_CHECK(!sigismember(&pending, SIGPIPE));
	free(data);
	return 0;
}

PROCESS_TEST(more_output_than_the_limit_stops_it)
{
	thrum_output out = { .out_size = 77 };

	TH_CHECK_EQ(thrum_process_output(SH("exec yes", .check = true), NULL, 0, 100000, &out), -EFBIG);
	TH_CHECK_EQ(thrum_process_output(SH("yes >&2", .check = true), NULL, 0, 10, &out), -EFBIG);
	TH_CHECK_EQ(thrum_process_output(SH("printf 12345", .check = true), NULL, 0, 4, &out), -EFBIG);
	TH_CHECK_EQ(out.out_size, 77);
	TH_CHECK_EQ(thrum_process_output(SH("printf 12345", .check = true), NULL, 0, 5, &out), 0);
	TH_CHECK_EQ(out.out_size, 5);
	thrum_process_output_free(&out);
	return 0;
}

/* --- stopping --- */

static void read_line(int fd, char *line, size_t n)
{
	size_t at = 0;

	do {
		TH_CHECK(at < n);
		TH_CHECK_EQ(thrum_read(fd, line + at, 1), 1);
	} while (line[at++] != '\n');
	line[at - 1] = '\0';
}

/* Start `o`, wait for its first line, close the scope: how it ended. */
static thrum_process_status stopped(const thrum_process_opts *o, char line[32])
{
	thrum_process_status status = { 0 };
	thrum_process p;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, o), 0);
	read_line(p.out, line, 32);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(p.out == -1);
	TH_CHECK_EQ(thrum_wait_process(&p, &status), 0);
	return status;
}

/* For minutes, not for ever: a planted bug may leave it behind. */
#define LOOP "echo ready; i=0; while [ $((i += 1)) -lt 10000 ]; do sleep 0.01; done"
PROCESS_TEST(a_scope_that_closes_terminates_it)
{
	char line[32];

	TH_CHECK_EQ(stopped(SH("echo ready; exec sleep 1000", .out = thrum_to_pipe()), line).signal, SIGTERM);
	return 0;
}

PROCESS_TEST(it_has_time_to_end_by_itself)
{
	char line[32];
	thrum_process_status s = stopped(SH("trap 'sleep 0.05; exit 7' TERM; " LOOP, .out = thrum_to_pipe()), line);

	TH_CHECK_EQ(s.signal, 0);
	TH_CHECK_EQ(s.code, 7);
	s = stopped(SH("trap 'exit 8' INT; " LOOP, .out = thrum_to_pipe(), .stop_signal = SIGINT), line);
	TH_CHECK_EQ(s.code, 8);
	return 0;
}

#define DEAF "trap '' TERM; " LOOP
PROCESS_TEST(one_that_does_not_listen_is_killed_after_the_grace)
{
	char line[32];

	TH_CHECK_EQ(stopped(SH(DEAF, .out = thrum_to_pipe(), .grace = thrum_ms(20)), line).signal, SIGKILL);
	TH_CHECK_EQ(stopped(SH("trap 'exit 7' TERM; " LOOP, .out = thrum_to_pipe(), .grace = thrum_ms(-1)), line).signal,
		    SIGKILL); /* not even asked */
	return 0;
}

/* Its grace passes in real time, whatever the clock. */
PROCESS_TEST_ON(JUMP, on_a_clock_that_jumps_too_C3)
{
	char line[32];

	TH_CHECK_EQ(stopped(SH(DEAF, .out = thrum_to_pipe(), .grace = thrum_ms(20)), line).signal, SIGKILL);
	return 0;
}

PROCESS_TEST(one_that_has_been_halted_hears_it)
{
	char line[32];
	const char *script = "trap 'exit 9' TERM; echo ready; kill -STOP $$; sleep 1000";
	thrum_process_status s = stopped(SH(script, .out = thrum_to_pipe()), line);

	TH_CHECK(s.code == 9 || s.signal == SIGTERM);
	return 0;
}

/* What it started dies with it. The test adopts orphans, to see them end. */
static void adopt(int on) { TH_CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, on), 0); }
static int end_of_orphan(const char *line)
{
	pid_t pid = atoi(line);
	int status;

	TH_CHECK(pid > 1);
	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	TH_CHECK(WIFSIGNALED(status));
	return WTERMSIG(status);
}

PROCESS_TEST(the_whole_group_is_terminated)
{
	char line[32];

	adopt(1);
	TH_CHECK_EQ(stopped(SH("sleep 1000 & echo $!; wait", .out = thrum_to_pipe()), line).signal, SIGTERM);
	TH_CHECK(end_of_orphan(line) != 0);
	adopt(0);
	return 0;
}

PROCESS_TEST(the_whole_group_is_killed)
{
	const char *script = "trap '' TERM; sleep 1000 & echo $!; while kill -0 $! 2>/dev/null; do wait; done";
	char line[32];

	adopt(1);
	TH_CHECK_EQ(stopped(SH(script, .out = thrum_to_pipe(), .grace = thrum_ms(20)), line).signal, SIGKILL);
	TH_CHECK_EQ(end_of_orphan(line), SIGKILL);
	adopt(0);
	return 0;
}

PROCESS_TEST(what_it_leaves_behind_in_its_group_is_killed)
{
	char *line;

	adopt(1);
	line = output_of(SH("sleep 1000 & echo $!", .check = true)); /* which has our pipe as its stdout */
	TH_CHECK_EQ(end_of_orphan(line), SIGKILL);
	adopt(0);
	free(line);
	return 0;
}

/* A program that goes over to the group of its parent, which no shell does: this one, if its environment says so. Left alone it
 * ends by an alarm, so that a planted bug fails the test. */
#define LEAVES_GROUP(grace_, ...) \
	THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("/proc/self/exe"), .envp = (const char *const[]){ __VA_ARGS__, NULL }, .out = thrum_to_pipe(), \
			   .grace = thrum_ms(grace_))
__attribute__((constructor)) static void leave_group(void)
{
	pid_t left = -1;

	if (!getenv("LEAVE_GROUP"))
		return;
	if (getenv("LEAVE_SOMEBODY"))
		left = fork();
	(void)alarm(10);
	if (left == 0)
		for (;;)
			pause();
	if (setpgid(0, getpgid(getppid())) < 0 || printf("%d\n", left) < 0 || fflush(stdout) != 0)
		_exit(1);
	for (;;)
		pause();
}

PROCESS_TEST(one_that_has_left_its_group_is_terminated)
{
	char line[32];

	TH_CHECK_EQ(stopped(LEAVES_GROUP(5000, "LEAVE_GROUP=1"), line).signal, SIGTERM);
	return 0;
}

/* Who is left is asked, and it is killed. */
PROCESS_TEST(one_that_has_left_others_in_its_group_is_killed)
{
	char line[32];

	adopt(1);
	TH_CHECK_EQ(stopped(LEAVES_GROUP(20, "LEAVE_GROUP=1", "LEAVE_SOMEBODY=1"), line).signal, SIGKILL);
	TH_CHECK(end_of_orphan(line) != SIGALRM);
	adopt(0);
	return 0;
}

/* A process that has ended and cannot be reaped, as another one traces it: readable all the while. */
struct held {
	thrum_process p;
	thrum_latch ended;
	int to_tracer[2], from_tracer[2];
	bool wait; /* or close the scope */
	bool traced; /* or forbidden, and nothing is tested */
};

/* Until its pipe is closed. */
static pid_t start_tracer(const struct held *h)
{
	pid_t pid, tracer = fork();
	char traced;

	TH_CHECK(tracer >= 0);
	if (tracer > 0)
		return tracer;
	close(h->to_tracer[1]);
	if (read(h->to_tracer[0], &pid, sizeof pid) == sizeof pid) {
		traced = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
		if (write(h->from_tracer[1], &traced, 1) == 1)
			while (read(h->to_tracer[0], &traced, 1) > 0)
				continue;
	}
	_exit(0);
}

__attribute__((constructor)) static void let_trace(void)
{
	if (!getenv("LET_TRACE"))
		return;
	(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	if (puts("ready") < 0 || fflush(stdout) != 0)
		_exit(1);
	while (getchar() != EOF)
		continue;
	_exit(0);
}

static int hold(void *arg)
{
	struct held *h = arg;
	thrum_scope s;
	char line[32];
	pid_t pid;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &h->p, THRUM_PROCESS_OPTS(.argv = THRUM_ARGV("/proc/self/exe"),
				.envp = (const char *const[]){ "LET_TRACE=1", NULL }, .in = thrum_to_pipe(), .out = thrum_to_pipe())), 0);
	read_line(h->p.out, line, sizeof line);
	pid = h->p.pid;
	TH_CHECK_EQ(write(h->to_tracer[1], &pid, sizeof pid), sizeof pid);
	TH_CHECK_EQ(thrum_read(h->from_tracer[0], &h->traced, 1), 1);
	TH_CHECK_EQ(thrum_close(h->p.in), 0);
	h->p.in = -1;
	TH_CHECK_EQ(thrum_read(h->p.out, line, sizeof line), 0);
	TH_CHECK_EQ(thrum_latch_arrive(&h->ended), 0);
	if (h->wait)
		TH_CHECK_EQ(thrum_wait_process(&h->p, NULL), 0);
	return thrum_scope_close(&s);
}

static void held_quietly(bool wait)
{
	struct held h = { .wait = wait };
	pid_t tracer;
	thrum_scope s;

	open_pipe(h.to_tracer, 0);
	open_pipe(h.from_tracer, 0);
	tracer = start_tracer(&h);
	TH_CHECK_EQ(thrum_latch_init(&h.ended, 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ hold, &h }), 0);
	TH_CHECK_EQ(thrum_latch_wait(&h.ended), 0);
	waits_quietly(2);
	TH_CHECK_EQ(close(h.to_tracer[1]), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(waitpid(tracer, NULL, 0), tracer);
	TH_CHECK_EQ(close(h.to_tracer[0]), 0);
	close_both(h.from_tracer);
}

PROCESS_TEST(one_that_a_tracer_keeps_is_waited_for_quietly)
{
	held_quietly(true);
	held_quietly(false);
	return 0;
}

struct waiting {
	thrum_process p;
	thrum_latch started;
	int code;
};
static int spawn_and_wait(void *arg)
{
	struct waiting *w = arg;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &w->p, SH("exec sleep 1000", .same_group = true)), 0);
	TH_CHECK_EQ(thrum_latch_arrive(&w->started), 0);
	w->code = thrum_wait_process(&w->p, NULL);
	no_children(); /* already */
	(void)thrum_scope_close(&s);
	return w->code;
}
PROCESS_TEST(a_cancelled_wait_stops_it_first_G5)
{
	thrum_process_status status;
	struct waiting w = { .code = 1 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_latch_init(&w.started, 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ spawn_and_wait, &w }), 0);
	TH_CHECK_EQ(thrum_latch_wait(&w.started), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(w.code, -ECANCELED);
	TH_CHECK_EQ(thrum_wait_process(&w.p, &status), 0);
	TH_CHECK_EQ(status.signal, SIGTERM);
	return 0;
}

static int output_for_ever(void *unused)
{
	thrum_output out;

	(void)unused;
	return thrum_process_output(SH("sleep 1000", .check = true), NULL, 0, 10, &out);
}
PROCESS_TEST(a_cancelled_output_stops_it)
{
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ output_for_ever, NULL }, thrum_ms(10)), -ETIMEDOUT);
	return 0;
}

PROCESS_TEST(a_signal_goes_to_the_group)
{
	thrum_process_status status;
	thrum_process p;
	thrum_scope s;
	char line[32];

	adopt(1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_process(&s, &p, SH("sleep 1000 & echo $!; wait", .out = thrum_to_pipe())), 0);
	read_line(p.out, line, 32);
	TH_CHECK_EQ(thrum_kill_process(&p, 0), 0);
	TH_CHECK_EQ(thrum_kill_process(&p, 1000), -EINVAL);
	TH_CHECK_EQ(thrum_kill_process(&p, SIGUSR2), 0);
	TH_CHECK_EQ(thrum_wait_process(&p, &status), 0);
	TH_CHECK_EQ(status.signal, SIGUSR2);
	(void)end_of_orphan(line);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	adopt(0);
	return 0;
}
