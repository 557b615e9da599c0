/* test/io/io_test.h: pipes, sockets and loopback listeners for the tests of io/, which run on the real kernel.
 *
 * A test that needs an operation to be in flight counts the operations given to the ring: no sleeps. Worker count:
 * THRUM_WORKERS decides. */
#ifndef TEST_IO_TEST_H
#define TEST_IO_TEST_H
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <thrum.h>
#include <unistd.h>
#include "test/support/test.h"

/* Run `fx` in a runtime of its own; its code must be 0. */
static inline void run_ok(thrum_fx fx)
{
	int code = thrum_run(NULL, fx);
	TH_CHECK_EQ(code, 0);
}

static inline uint64_t ops_so_far(void)
{
	thrum_stats stats = { .size = sizeof(stats) };
	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	return stats.io_ops;
}

/* Let the others run until `n` operations were given to the ring since `since`. */
static inline void until_ops(uint64_t since, uint64_t n)
{
	while (ops_so_far() - since < n)
		TH_CHECK_EQ(thrum_yield(), 0);
}

/* Somebody waits, with at most so many operations in a millisecond, and some before that is found out; not as many as there is
 * time for. */
static inline void waits_quietly(uint64_t ops_per_ms)
{
	uint64_t before = ops_so_far();
	thrum_time began = thrum_now();

	TH_CHECK_EQ(thrum_sleep(thrum_ms(20)), 0);
	TH_CHECK(ops_so_far() - before <= 12 + ops_per_ms * (uint64_t)((thrum_now().ns - began.ns) / 1000000));
}

/* Let the worker look at its backend: it does so every few dozen turns whatever there is to run. */
static inline void let_backend_in(void)
{
	for (int i = 0; i < 200; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
}

/* Until nothing is left to read. */
static inline void until_taken(int fd)
{
	char c;

	while (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		TH_CHECK_EQ(thrum_yield(), 0);
}

static inline void open_pipe(int fds[2], int flags) { TH_CHECK_EQ(pipe2(fds, O_CLOEXEC | flags), 0); }

static inline void open_pair(int fds[2]) { TH_CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0); }

static inline void close_both(const int fds[2])
{
	TH_CHECK_EQ(close(fds[0]), 0);
	TH_CHECK_EQ(close(fds[1]), 0);
}

static inline int tcp_socket(int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	TH_CHECK(fd >= 0);
	return fd;
}

/* A socket with a port of 127.0.0.1; its address goes to *ret_sa. */
static inline int tcp_bind(struct sockaddr_in *ret_sa, int flags)
{
	int fd = tcp_socket(flags);
	socklen_t len = sizeof(*ret_sa);

	*ret_sa = (struct sockaddr_in){ .sin_family = AF_INET };
	ret_sa->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	TH_CHECK_EQ(bind(fd, (struct sockaddr *)ret_sa, len), 0);
	TH_CHECK_EQ(getsockname(fd, (struct sockaddr *)ret_sa, &len), 0);
	return fd;
}

static inline int tcp_listen(struct sockaddr_in *ret_sa, int flags)
{
	int fd = tcp_bind(ret_sa, flags);

	TH_CHECK_EQ(listen(fd, 1024), 0);
	return fd;
}

static inline bool is_cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);
	TH_CHECK(flags >= 0);
	return flags & FD_CLOEXEC;
}

/* Open descriptors of this process. */
static inline int fd_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	TH_CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* One call in a fiber of its own, to be waited for, cancelled or disturbed: its outcome is in `got`. */
struct recv_one {
	int fd;
	char *buf;
	size_t n;
	ssize_t got;
};
static inline int recv_one(struct recv_one *a)
{
	a->got = thrum_recv(a->fd, a->buf, a->n, 0);
	return 0;
}
THRUM_FX(recv_one, struct recv_one);

struct read_one {
	int fd;
	char *buf;
	size_t n;
	ssize_t got;
};
static inline int read_one(struct read_one *a)
{
	a->got = thrum_read(a->fd, a->buf, a->n);
	return 0;
}
THRUM_FX(read_one, struct read_one);

struct accept_one {
	int fd;
	int got;
};
static inline int accept_one(struct accept_one *a)
{
	a->got = thrum_accept(a->fd, NULL, NULL);
	return 0;
}
THRUM_FX(accept_one, struct accept_one);

struct poll_one {
	int fd;
	unsigned want;
	int got;
};
static inline int poll_one(struct poll_one *a)
{
	a->got = thrum_wait_fd(a->fd, a->want);
	return 0;
}
THRUM_FX(poll_one, struct poll_one);

#endif
