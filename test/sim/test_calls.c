/* test/sim/test_calls.c: system calls that a program makes itself on descriptors of the simulated kernel: they say what Linux says.
 * (test/support/sim_program.h gives such a program's calls these names.) */
#include "../../io/sim/sim.h"
#include "../../io/sys.h"
#include "../support/test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <thrum.h>
#include <thrum/net.h>
#include <thrum/test.h>

#define FAILS(call, code) THRUM_TEST_CHECK((call) == -1 && errno == (code))
#define HOLDS(c) THRUM_TEST_CHECK(c)

static void search(int (*body)(void *), const char *name)
{
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ body, NULL }, THRUM_TEST_OPTS(.name = name, .runs = 50), NULL), 0);
}

static struct sockaddr_in address(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}
#define SA(a) ((const struct sockaddr *)(const void *)&(a)), sizeof(a)

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof value;

	return th_sys_getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -errno : value;
}

/* --- sockets --- */

static int options(void *unused)
{
	const int on = 1;
	const struct linger at_once = { 1, 0 };
	int tcp = th_sys_socket(AF_INET, SOCK_STREAM, 0), six = th_sys_socket(AF_INET6, SOCK_STREAM, 0);
	int udp = th_sys_socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in sa;
	socklen_t len = sizeof sa;

	(void)unused;
	HOLDS(tcp >= 0 && six >= 0 && udp >= 0);
	HOLDS(option_of(tcp, SO_TYPE) == SOCK_STREAM && option_of(udp, SO_TYPE) == SOCK_DGRAM);
	HOLDS(option_of(tcp, SO_DOMAIN) == AF_INET && option_of(six, SO_DOMAIN) == AF_INET6);
	HOLDS(option_of(tcp, SO_ACCEPTCONN) == 0 && option_of(tcp, SO_ERROR) == 0 && option_of(tcp, SO_RCVBUF) > 0);
	HOLDS(option_of(tcp, SO_REUSEPORT) == 0 && th_sys_setsockopt(tcp, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
	HOLDS(option_of(tcp, SO_REUSEPORT) == 1);
	HOLDS(th_sys_setsockopt(tcp, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
	HOLDS(th_sys_setsockopt(six, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0);
	FAILS(th_sys_setsockopt(tcp, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on), ENOPROTOOPT);
	FAILS(th_sys_setsockopt(tcp, SOL_SOCKET, SO_REUSEPORT, &on, 1), EINVAL);
	FAILS(th_sys_setsockopt(tcp, 9999, 1, &on, sizeof on), ENOPROTOOPT);
	FAILS(th_sys_setsockopt(1, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), EBADF);
	HOLDS(option_of(tcp, 9999) == -ENOPROTOOPT && option_of(1, SO_TYPE) == -EBADF);
	FAILS(th_sys_getpeername(tcp, (struct sockaddr *)(void *)&sa, &len), ENOTCONN);
	HOLDS(th_sys_listen(tcp, 3) == 0); /* binds it to a free port */
	HOLDS(option_of(tcp, SO_ACCEPTCONN) == 1);
	HOLDS(th_sys_getsockname(tcp, (struct sockaddr *)(void *)&sa, &len) == 0 && sa.sin_port != 0);
	FAILS(th_sys_accept4(1, NULL, NULL, 0), EBADF);
	HOLDS(thrum_close(tcp) == 0 && thrum_close(six) == 0 && thrum_close(udp) == 0);
	return 0;
}

TH_TEST(calls, options_of_sockets)
{
	search(options, "options");
}

static int datagrams(void *unused)
{
	int a = th_sys_socket(AF_INET, SOCK_DGRAM, 0), b = th_sys_socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in at_a = address(7001), at_b = address(7002), nobody = address(7003), from;
	socklen_t len = sizeof from;
	char c[4] = "";
	int n = -1;

	(void)unused;
	HOLDS(th_sys_bind(a, SA(at_a)) == 0 && th_sys_bind(b, SA(at_b)) == 0);
	HOLDS(thrum_send(a, "x", 1, 0) == -EDESTADDRREQ);
	HOLDS(thrum_connect(a, SA(at_b)) == 0);
	HOLDS(th_sys_getpeername(a, (struct sockaddr *)(void *)&from, &len) == 0 && from.sin_port == at_b.sin_port);
	HOLDS(thrum_send(a, "xy", 2, 0) == 2);
	HOLDS(thrum_wait_fd(b, POLLIN) == POLLIN);
	HOLDS(th_sys_ioctl(b, FIONREAD, &n) == 0 && n == 2);
	HOLDS(thrum_recvfrom(b, c, 1, 0, (struct sockaddr *)(void *)&from, &len) == 1); /* the rest is lost */
	HOLDS(from.sin_port == at_a.sin_port);
	HOLDS(thrum_sendto(b, "z", 1, 0, SA(at_a)) == 1 && thrum_recv(a, c, 4, 0) == 1 && *c == 'z');
	/* Nobody is there: the next call is told. */
	HOLDS(thrum_connect(a, SA(nobody)) == 0 && thrum_send(a, "x", 1, 0) == 1);
	HOLDS(thrum_send(a, "x", 1, 0) == -ECONNREFUSED);
	HOLDS(th_sys_shutdown(a, SHUT_WR) == 0 && thrum_send(a, "x", 1, 0) == -EPIPE);
	HOLDS(thrum_close(a) == 0 && thrum_close(b) == 0);
	return 0;
}

TH_TEST(calls, datagrams_with_a_peer)
{
	search(datagrams, "datagrams");
}

static int unix_names(void *unused)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int pair[2], a = th_sys_socket(AF_UNIX, SOCK_DGRAM, 0), b = th_sys_socket(AF_UNIX, SOCK_DGRAM, 0);
	socklen_t len = sizeof sa;
	char c;

	(void)unused;
	memcpy(sa.sun_path, "\0name", 5);
	HOLDS(th_sys_bind(a, (const struct sockaddr *)(const void *)&sa, offsetof(struct sockaddr_un, sun_path) + 5) == 0);
	FAILS(th_sys_bind(b, (const struct sockaddr *)(const void *)&sa, offsetof(struct sockaddr_un, sun_path) + 5), EADDRINUSE);
	HOLDS(thrum_connect(b, (const struct sockaddr *)(const void *)&sa, offsetof(struct sockaddr_un, sun_path) + 5) == 0);
	HOLDS(thrum_send(b, "x", 1, 0) == 1 && thrum_recv(a, &c, 1, 0) == 1 && c == 'x');
	HOLDS(th_sys_getsockname(a, (struct sockaddr *)(void *)&sa, &len) == 0 && len == offsetof(struct sockaddr_un, sun_path) + 5);
	HOLDS(thrum_close(a) == 0 && thrum_send(b, "x", 1, 0) == -ECONNREFUSED && thrum_close(b) == 0);
	HOLDS(th_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	HOLDS(th_sys_ioctl(pair[0], FIONBIO, &(int){ 1 }) == 0 && (th_sys_fcntl(pair[0], F_GETFL) & O_NONBLOCK));
	FAILS(th_sys_read(pair[0], &c, 1), EAGAIN);
	HOLDS(thrum_close(pair[0]) == 0 && thrum_close(pair[1]) == 0);
	FAILS(th_sys_ioctl(pair[0], FIONBIO, &(int){ 1 }), EBADF);
	return 0;
}

TH_TEST(calls, names_of_unix_sockets)
{
	search(unix_names, "unix");
}

/* --- files, pipes --- */

static int write_file(const char *path, const char *text)
{
	int fd = th_sys_open(path, O_CREAT | O_RDWR | O_TRUNC, 0600);

	HOLDS(fd >= 0 && thrum_write_all(fd, text, strlen(text), NULL) == 0);
	return fd;
}

static int files(void *unused)
{
	int a = write_file("/a", "first"), b = write_file("/b", "other one");
	struct stat st;
	char text[16];

	(void)unused;
	HOLDS(th_sys_fsync(a) == 0 && th_sys_fdatasync(a) == 0);
	FAILS(th_sys_fsync(1), EBADF);
	HOLDS(th_sys_ftruncate(a, 3) == 0 && th_sys_fstat(a, &st) == 0 && st.st_size == 3);
	HOLDS(th_sys_ftruncate(a, 6) == 0);
	for (int n = 0; n < 6; n++)
		HOLDS(thrum_pread(a, text + n, 1, n) == 1);
	HOLDS(memcmp(text, "fir\0\0\0", 6) == 0); /* a hole reads as zeros */
	FAILS(th_sys_ftruncate(a, -1), EINVAL);
	FAILS(th_sys_ftruncate(1, 0), EBADF);
	HOLDS(th_sys_renameat2(AT_FDCWD, "/a", AT_FDCWD, "/b", RENAME_EXCHANGE) == 0);
	HOLDS(th_sys_stat("/a", &st) == 0 && st.st_size == 9 && th_sys_lstat("/b", &st) == 0 && st.st_size == 6);
	FAILS(th_sys_renameat2(AT_FDCWD, "/a", AT_FDCWD, "/b", RENAME_NOREPLACE), EEXIST);
	FAILS(th_sys_renameat2(AT_FDCWD, "/a", AT_FDCWD, "/none", RENAME_EXCHANGE), ENOENT);
	FAILS(th_sys_readlinkat(AT_FDCWD, "/a", text, sizeof text), EINVAL); /* there are no links */
	FAILS(th_sys_readlinkat(AT_FDCWD, "/none", text, sizeof text), ENOENT);
	HOLDS(thrum_close(a) == 0 && thrum_close(b) == 0 && th_sys_unlink("/a") == 0 && th_sys_unlink("/b") == 0);
	return 0;
}

TH_TEST(calls, files)
{
	search(files, "files");
}

static int pipes_and_others(void *unused)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 5000000 } };
	int fds[2], copy, timer = th_sys_timerfd_create(CLOCK_MONOTONIC, 0);
	thrum_time begin = thrum_now();
	char c;
	int n = -1;

	(void)unused;
	HOLDS(th_sys_pipe2(fds, O_NONBLOCK) == 0);
	FAILS(th_sys_read(fds[0], &c, 1), EAGAIN);
	FAILS(th_sys_ioctl(fds[0], FIONREAD, &n), ENOTTY); /* Linux says how many; here only of sockets */
	copy = th_sys_fcntl(fds[1], F_DUPFD_CLOEXEC, 0);
	HOLDS(copy >= 0 && th_sys_fcntl(copy, F_GETFD) == FD_CLOEXEC && th_sys_fcntl(copy, F_SETFD, FD_CLOEXEC) == 0);
	HOLDS(thrum_close(fds[1]) == 0 && th_sys_write(copy, "x", 1) == 1 && th_sys_read(fds[0], &c, 1) == 1);
	HOLDS(thrum_close(copy) == 0 && th_sys_read(fds[0], &c, 1) == 0);
	FAILS(th_sys_fcntl(copy, F_GETFL), EBADF);
	FAILS(th_sys_fcntl(fds[0], F_SETPIPE_SZ, 1), EINVAL);
	HOLDS(thrum_close(fds[0]) == 0);
	HOLDS(th_sys_timerfd_settime(timer, 0, &soon, NULL) == 0 && thrum_wait_fd(timer, POLLIN) == POLLIN);
	HOLDS(thrum_now().ns - begin.ns >= 5000000);
	FAILS(th_sys_timerfd_settime(1, 0, &soon, NULL), EBADF);
	HOLDS(thrum_close(timer) == 0);
	return 0;
}

TH_TEST(calls, pipes_and_timers)
{
	search(pipes_and_others, "pipes");
}
