/* Choosing the backend: what the kernel allows, what THRUM_BACKEND and the option say, and the reason that is given. */
#include "io/backend.h"
#include "io_test.h"
#include <grp.h>
#include <linux/io_uring.h>
#include "refuse.h"
#include "test/support/child.h"

static int probe(unsigned wanted, const struct th_backend **ret_backend, char *why, size_t size)
{
	const struct th_wish wish = { .backend = wanted };

	return th_probe(&wish, ret_backend, why, size);
}

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}
THRUM_FX(nothing, void);

static int read_from(void *fd)
{
	char c;

	TH_CHECK_EQ(thrum_read(*(int *)fd, &c, 1), 1);
	return 0;
}

enum { STRANGER = 60000 };

/* These tests also run where it is: test/io/refused.c. */
static bool ring_is_refused(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == EPERM || errno == ENOSYS);
}

static int see_description(void *arg)
{
	const char *name = arg;

	TH_CHECK(strncmp(thrum_rt_describe(NULL), "3 workers, ", 11) == 0);
	TH_CHECK(strncmp(thrum_rt_describe(NULL) + 11, name, strlen(name)) == 0);
	TH_CHECK(strstr(thrum_rt_describe(NULL), " (kernel "));
	TH_CHECK(thrum_rt_describe(NULL) == thrum_rt_describe(thrum_rt_self()));
	return 0;
}

TH_TEST(io_probe, a_line_says_what_was_found)
{
	const char *wanted = getenv("THRUM_BACKEND");
	char *name = ring_is_refused() || (wanted && strcmp(wanted, "epoll") == 0) ? "epoll" : "io_uring";

	TH_CHECK(thrum_rt_describe(NULL) == NULL); /* a plain thread */
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 3), (thrum_fx){ see_description, name }), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 3, .backend = THRUM_BACKEND_EPOLL), (thrum_fx){ see_description, "epoll" }), 0);
}

TH_TEST(io_probe, names_and_reasons)
{
	const struct th_backend *backend = NULL, *best = ring_is_refused() ? &th_epoll : &th_uring;
	int ring = ring_is_refused() ? -1 : 0; /* what asking for it gives */
	char why[256];

	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
	TH_CHECK_EQ(probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), 0);
	TH_CHECK(backend == best);
	TH_CHECK(strstr(why, best->name) == why);
	TH_CHECK_EQ(probe(THRUM_BACKEND_EPOLL, &backend, why, sizeof(why)), 0);
	TH_CHECK(backend == &th_epoll);
	TH_CHECK(strstr(why, "epoll (kernel ") == why && strstr(why, "as the program says"));
	TH_CHECK_EQ(probe(77, &backend, why, sizeof(why)), -EINVAL);

	TH_CHECK_EQ(setenv("THRUM_BACKEND", "epoll", 1), 0);
	backend = NULL;
	TH_CHECK_EQ(probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), 0);
	TH_CHECK(backend == &th_epoll);
	TH_CHECK(strstr(why, "as THRUM_BACKEND says"));
	TH_CHECK_EQ(probe(THRUM_BACKEND_URING, &backend, why, sizeof(why)) < 0, ring < 0); /* the option wins */
	TH_CHECK(ring < 0 || backend == &th_uring);
	TH_CHECK_EQ(setenv("THRUM_BACKEND", "abacus", 1), 0);
	TH_CHECK_EQ(probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), -EINVAL);
	TH_CHECK(strstr(why, "abacus"));
	TH_CHECK_EQ(thrum_run(NULL, nothing_fx(NULL)), -EINVAL);
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(setenv("THRUM_BACKEND", i ? "io_uring" : "uring", 1), 0);
		TH_CHECK_EQ(probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)) < 0, ring < 0);
	}
	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
}

/* In a child: where the ring is refused. */
static void without_ring(void *arg)
{
	const struct th_backend *backend = NULL;
	char why[256];
	int code = *(int *)arg;

	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
	refuse(refuse_uring, code);
	TH_CHECK_EQ(probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), 0);
	TH_CHECK(backend == &th_epoll);
	TH_CHECK(strstr(why, "io_uring_setup: "));
	TH_CHECK(strstr(why, strerror(code)));
	TH_CHECK(strstr(why, "seccomp"));
	backend = NULL;
	TH_CHECK_EQ(probe(THRUM_BACKEND_URING, &backend, why, sizeof(why)), -code);
	TH_CHECK(backend == NULL);
	TH_CHECK(strstr(why, "io_uring_setup: "));
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.backend = THRUM_BACKEND_URING), nothing_fx(NULL)), -code);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 3), (thrum_fx){ see_description, "epoll" }), 0);
}

TH_TEST(io_probe, a_refused_ring_is_epoll_and_the_reason)
{
	const int codes[] = { EPERM, ENOSYS };

	for (int i = 0; i < 2 && !ring_is_refused(); i++) {
		struct th_said said;
		int code = codes[i], status = th_child(without_ring, &code, &said);
		TH_CHECK_CHILD_OK(status, &said);
	}
}

/* In a child: with room for `left` more descriptors. */
static void without_descriptors(void *arg)
{
	const struct th_backend *backend = NULL;
	char why[256];
	int first = dup(0), left = *(int *)arg;
	struct rlimit limit;

	TH_CHECK(first >= 0);
	TH_CHECK_EQ(close(first), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = (rlim_t)(first + left);
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	if (left < 3) {
		TH_CHECK_EQ(probe(THRUM_BACKEND_EPOLL, &backend, why, sizeof(why)), -EMFILE);
		TH_CHECK(backend == NULL);
		TH_CHECK(strstr(why, strerror(EMFILE)));
	}
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2, .backend = THRUM_BACKEND_EPOLL), nothing_fx(NULL)), -EMFILE);
	TH_CHECK_EQ(dup(0), left > 0 ? first : -1); /* nothing stays open */
}

TH_TEST(io_probe, without_descriptors_epoll_is_EMFILE_and_leaves_nothing)
{
	for (int left = 0; left < 6; left++) {
		struct th_said said;
		int status = th_child(without_descriptors, &left, &said);
		TH_CHECK_CHILD_OK(status, &said);
	}
}

/* In a child: as a user who may lock so much (root may lock what it likes), and whom no other test shares. */
static void lock_at_most(rlim_t bytes)
{
	struct rlimit limit;
	unsigned user = STRANGER + (unsigned)getpid() % 5000;

	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	limit.rlim_cur = bytes;
	TH_CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	if (geteuid() == 0) {
		TH_CHECK_EQ(setgroups(0, NULL), 0);
		TH_CHECK_EQ(setresgid(user, user, user), 0);
		TH_CHECK_EQ(setresuid(user, user, user), 0);
	}
}

/* Not all kernels count rings. */
static bool rings_are_locked(void)
{
	struct io_uring_params params = { 0 };
	long fd;

	lock_at_most(0);
	fd = syscall(SYS_io_uring_setup, 8, &params);
	TH_CHECK(fd < 0 || close((int)fd) == 0);
	return fd < 0;
}

static int see_epoll_and_why(void *unused)
{
	(void)unused;
	TH_CHECK(strstr(thrum_rt_describe(NULL), "epoll ("));
	TH_CHECK(strstr(thrum_rt_describe(NULL), "RLIMIT_MEMLOCK"));
	return 0;
}
THRUM_FX(see_epoll_and_why, void);

static void without_locked_memory(void *unused)
{
	int before = fd_count();

	(void)unused;
	if (!rings_are_locked())
		return;
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), see_epoll_and_why_fx(NULL)), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2, .backend = THRUM_BACKEND_URING), nothing_fx(NULL)), -ENOMEM);
	TH_CHECK_EQ(fd_count(), before);
}

/* More rings than there may be: a small one was to be had, and the first workers have theirs. */
static void with_locked_memory_for_some(void *unused)
{
	int before = fd_count();
	thrum_rt *rt = NULL;

	(void)unused;
	if (!rings_are_locked())
		return;
	lock_at_most(64 << 10);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 24), see_epoll_and_why_fx(NULL)), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 24, .backend = THRUM_BACKEND_URING), nothing_fx(NULL)), -ENOMEM);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 24, .backend = THRUM_BACKEND_URING), &rt), -ENOMEM);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 24), &rt), 0);
	TH_CHECK(strstr(thrum_rt_describe(rt), "epoll ("));
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(fd_count(), before);
}

/* Too little for a ring of the usual size, enough for a smaller one. */
static void with_locked_memory_for_a_small_one(void *unused)
{
	int fds[2];

	(void)unused;
	lock_at_most(128 << 10);
	open_pipe(fds, 0);
	TH_CHECK_EQ(write(fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .backend = THRUM_BACKEND_URING), (thrum_fx){ read_from, &fds[0] }), 0);
}

TH_TEST(io_probe, little_locked_memory_is_a_smaller_ring_or_epoll)
{
	void (*const bodies[])(void *) = { without_locked_memory, with_locked_memory_for_some, with_locked_memory_for_a_small_one };

	for (int i = 0; i < 3 && !ring_is_refused(); i++) {
		struct th_said said;
		int status = th_child(bodies[i], NULL, &said);
		TH_CHECK_CHILD_OK(status, &said);
	}
}
