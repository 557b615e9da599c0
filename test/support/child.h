/* test/support/child.h: run a body in a child process, for what ends the process: aborts, overflows, resource limits.
 * Call it while no runtime is open in this process, so that the child starts with one thread. */
#ifndef TH_CHILD_H
#define TH_CHILD_H
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TH_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TH_TSAN_BUILD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TH_TSAN_BUILD 1
#endif
#endif
#ifndef TH_TSAN_BUILD
#define TH_TSAN_BUILD 0
#endif
#ifndef TH_SANITIZED
#define TH_SANITIZED 0
#endif
#ifndef TH_EMULATED /* test/CMakeLists.txt: on another processor, by an emulator that limits no memory */
#define TH_EMULATED 0
#endif
#define TH_SLOW (TH_SANITIZED || TH_EMULATED) /* ten times and more */
#define TH_UNLIMITED (TH_SANITIZED || TH_EMULATED) /* address space cannot be limited: they need some of their own, or do not do it */

/* What it wrote to stderr. */
struct th_said {
	char text[4096];
};

enum { TH_CHILD_SECONDS = TH_TEST_SECONDS / 2 };

/* Fork, run body(arg), _exit(0). Returns the wait status. */
static inline int th_child(void (*body)(void *), void *arg, struct th_said *said)
{
	int err[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	TH_CHECK_EQ(pipe(err), 0);
	fflush(stdout);
	pid = fork();
	TH_CHECK(pid >= 0);
	if (pid == 0) {
		const struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		signal(SIGALRM, SIG_DFL);
		alarm(TH_CHILD_SECONDS);
		dup2(err[1], STDERR_FILENO);
		close(err[0]);
		close(err[1]);
		body(arg);
		_exit(0);
	}
	close(err[1]);
	while (n < sizeof said->text - 1 && (got = read(err[0], said->text + n, sizeof said->text - 1 - n)) > 0)
		n += (size_t)got;
	said->text[n] = '\0';
	close(err[0]);
	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* The child ended by itself with 0; otherwise show what it said. */
#define TH_CHECK_CHILD_OK(status_, said_)                                                                        \
	do {                                                                                                     \
		if (!WIFEXITED(status_) || WEXITSTATUS(status_) != 0)                                            \
			th_check_failed(__FILE__, __LINE__, "child: status %#x: %s", (status_), (said_)->text);  \
	} while (0)

#endif
