/* test/support/test.c: what a check does when it fails, and the runner of the plain programs (usage: test.h).
 *
 * Tests run one after another in this process. A failing check may stand on a fiber's stack, where nothing can unwind to
 * the runner, so it ends the process: the message, which test, the counts, abort. Criterion runs each test in a process
 * of its own and reports the abort itself. Nothing here uses the heap or much stack: fibers' stacks are small. */
#include "test.h"
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static void say(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = write(fd, text, left);
		if (n <= 0)
			return;
		text += n;
		left -= (size_t)n;
	}
}

#ifdef TH_CRITERION
static void report_failure(void) {}
#else
static struct th_test *first, **last = &first;
static const struct th_test *running;
static unsigned passed;

static void report_failure(void)
{
	static char text[512];

	if (!running)
		return;
	snprintf(text, sizeof text, "FAILED %s/%s\n%u passed, 1 failed\n", running->suite, running->name, passed);
	say(STDOUT_FILENO, text);
}
#endif

void th_check_failed(const char *file, int line, const char *fmt, ...)
{
	static char what[1024], text[1536]; /* static: see the head; two failures at once may garble each other */
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	snprintf(text, sizeof text, "%s:%d: check failed: %s\n", file, line, what);
	fflush(stdout);
	say(STDERR_FILENO, text);
	report_failure();
	abort();
}

#ifndef TH_CRITERION
enum { LIMIT_SECONDS = TH_TEST_SECONDS };

void th_test_register(struct th_test *t)
{
	*last = t;
	last = &t->next;
}

/* Signal handler: write(2) only. */
static void too_slow(int sig)
{
	(void)sig;
	say(STDERR_FILENO, "TIME LIMIT in ");
	say(STDERR_FILENO, running->suite);
	say(STDERR_FILENO, "/");
	say(STDERR_FILENO, running->name);
	say(STDERR_FILENO, "\n");
	abort();
}

/* THRUM_TEST_SECONDS: another limit per test, 0 for none (a debugger). */
static unsigned limit_seconds(void)
{
	const char *env = getenv("THRUM_TEST_SECONDS");
	return env ? (unsigned)strtoul(env, NULL, 10) : LIMIT_SECONDS;
}

static bool selected(const struct th_test *t, char **names, int count)
{
	for (int i = 0; i < count; i++) {
		size_t n = strlen(t->suite);
		if (!strncmp(names[i], t->suite, n) && names[i][n] == '/' && !strcmp(names[i] + n + 1, t->name))
			return true;
	}
	return count == 0;
}

static void run(const struct th_test *t, bool verbose)
{
	struct sigaction slow = { .sa_handler = too_slow, .sa_flags = SA_ONSTACK };

	if (verbose) {
		printf("%s/%s ... ", t->suite, t->name);
		fflush(stdout);
	}
	running = t;
	sigaction(SIGALRM, &slow, NULL); /* again for each test: one may have put its own there */
	alarm(limit_seconds());
	t->body();
	alarm(0);
	running = NULL;
	passed++;
	if (verbose)
		puts("ok");
}

static int usage(const char *prog)
{
	fprintf(stderr, "usage: %s [-v] [-l] [SUITE/NAME ...]\n", prog);
	return 2;
}

int main(int argc, char **argv)
{
	bool verbose = false, list = false;
	int opt;

	while ((opt = getopt(argc, argv, "vl")) != -1) {
		if (opt == 'v')
			verbose = true;
		else if (opt == 'l')
			list = true;
		else
			return usage(argv[0]);
	}
	for (const struct th_test *t = first; t; t = t->next) {
		if (!selected(t, argv + optind, argc - optind))
			continue;
		if (list)
			printf("%s/%s\n", t->suite, t->name);
		else
			run(t, verbose);
	}
	if (list)
		return 0;
	printf("%u passed, 0 failed\n", passed);
	if (passed == 0)
		fprintf(stderr, "%s: no such test\n", argv[0]);
	return passed == 0;
}
#endif
