/* Sockets and readiness over the loopback. */
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/un.h>
#include "io_test.h"

enum { CLIENTS = 50, ROUNDS = 20, MESSAGE = 1000 };

static int serve_one(int *fd)
{
	char buf[300];

	for (;;) {
		ssize_t n = thrum_recv(*fd, buf, sizeof(buf), 0);
		if (n == 0)
			return thrum_close(*fd);
		TH_CHECK(n > 0);
		TH_CHECK_EQ(thrum_send_all(*fd, buf, (size_t)n, 0, NULL), 0);
	}
}
THRUM_FX(serve_one, int);

struct echo {
	int listener;
	struct sockaddr_in sa;
	int fds[CLIENTS];
};

static int serve(struct echo *e)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < CLIENTS; i++) {
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);

		e->fds[i] = thrum_accept(e->listener, (struct sockaddr *)&peer, &len);
		TH_CHECK(e->fds[i] >= 0);
		TH_CHECK(is_cloexec(e->fds[i]));
		TH_CHECK_EQ(len, sizeof(peer));
		TH_CHECK_EQ(peer.sin_addr.s_addr, e->sa.sin_addr.s_addr);
		TH_CHECK_EQ(setsockopt(e->fds[i], IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
		TH_CHECK_EQ(thrum_go(&s, serve_one_fx(&e->fds[i])), 0);
	}
	return thrum_scope_close(&s);
}
THRUM_FX(serve, struct echo);

static int client(struct echo *e)
{
	int fd = tcp_socket(0);
	char out[MESSAGE], in[MESSAGE];

	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&e->sa, sizeof(e->sa)), 0);
	for (int i = 0; i < ROUNDS; i++) {
		size_t done;
		memset(out, i + 1, sizeof(out));
		TH_CHECK_EQ(thrum_send_all(fd, out, sizeof(out), 0, &done), 0);
		TH_CHECK_EQ(done, sizeof(out));
		TH_CHECK_EQ(thrum_read_all(fd, in, sizeof(in), &done), 0);
		TH_CHECK(memcmp(in, out, sizeof(in)) == 0);
	}
	return thrum_close(fd);
}
THRUM_FX(client, struct echo);

static int clients(struct echo *e)
{
	thrum_fx fx[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		fx[i] = client_fx(e);
	return thrum_zip_par_n(fx, CLIENTS);
}
THRUM_FX(clients, struct echo);

static int echo(struct echo *e)
{
	e->listener = tcp_listen(&e->sa, 0);
	TH_CHECK_EQ(thrum_zip_par(serve_fx(e), clients_fx(e)), 0);
	return thrum_close(e->listener);
}
THRUM_FX(echo, struct echo);

TH_TEST(io_net, fifty_clients_are_echoed_and_no_descriptor_stays)
{
	int before = fd_count();
	struct echo e;

	run_ok(echo_fx(&e));
	TH_CHECK_EQ(fd_count(), before);
}

static int send_closed(void *unused)
{
	int fds[2];
	ssize_t n;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(close(fds[1]), 0);
	n = thrum_send(fds[0], "x", 1, 0);
	TH_CHECK_EQ(n, -EPIPE);
	TH_CHECK_EQ(thrum_send_all(fds[0], "x", 1, 0, NULL), -EPIPE);
	TH_CHECK_EQ(close(fds[0]), 0);
	return 0;
}
THRUM_FX(send_closed, void);
TH_TEST(io_net, sending_to_a_closed_peer_is_EPIPE_and_no_signal) { run_ok(send_closed_fx(NULL)); }

static int nonblocking(void *unused)
{
	int fds[2];
	char buf[8];
	thrum_scope s;
	thrum_task t;
	struct recv_one a = { .buf = buf, .n = sizeof(buf) };
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	a.fd = fds[0];
	/* The caller asked for it, so it gets it; the descriptor's own flag is nobody's wish here. */
	TH_CHECK_EQ(thrum_recv(fds[0], buf, 1, MSG_DONTWAIT), -EAGAIN);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(thrum_send(fds[1], "abc", 3, 0), 3);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(a.got, 3);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	close_both(fds);
	return 0;
}
THRUM_FX(nonblocking, void);
TH_TEST(io_net, a_nonblocking_socket_suspends_the_fiber_all_the_same) { run_ok(nonblocking_fx(NULL)); }

static int nonblocking_listener(void *unused)
{
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, SOCK_NONBLOCK), fd = tcp_socket(SOCK_NONBLOCK);
	thrum_scope s;
	thrum_task t;
	struct accept_one a = { .fd = listener };
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, accept_one_fx(&a)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK(a.got >= 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_close(a.got), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(thrum_close(listener), 0);
	return 0;
}
THRUM_FX(nonblocking_listener, void);
TH_TEST(io_net, accept_and_connect_wait_on_nonblocking_sockets) { run_ok(nonblocking_listener_fx(NULL)); }

static int connect_errors(void *unused)
{
	struct sockaddr_in sa;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int bound = tcp_bind(&sa, 0), fd = tcp_socket(0), code = 0; /* nobody listens on that port, nor can anybody */
	int fds[64];
	int n;

	(void)unused;
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, sizeof(sa)), -ECONNREFUSED);
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, 1), -EINVAL);
	TH_CHECK_EQ(close(fd), 0);
	TH_CHECK_EQ(close(bound), 0);

	/* AF_UNIX with a full backlog: what connect(2) says of a nonblocking socket; there is nothing to wait for. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TH_CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof(sa_family_t)), 0); /* the kernel picks an abstract name */
	socklen_t len = sizeof(un);
	TH_CHECK_EQ(getsockname(fd, (struct sockaddr *)&un, &len), 0);
	TH_CHECK_EQ(listen(fd, 1), 0);
	for (n = 0; n < 64 && code == 0; n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		code = thrum_connect(fds[n], (struct sockaddr *)&un, len);
	}
	TH_CHECK_EQ(code, -EAGAIN);
	while (n > 0)
		TH_CHECK_EQ(close(fds[--n]), 0);
	TH_CHECK_EQ(close(fd), 0);
	return 0;
}
THRUM_FX(connect_errors, void);
TH_TEST(io_net, connect_reports_refusal_and_a_full_backlog) { run_ok(connect_errors_fx(NULL)); }

static int two_readers(void *unused)
{
	int fds[2];
	char a_buf[1], b_buf[1];
	struct recv_one a = { .buf = a_buf, .n = 1 }, b = { .buf = b_buf, .n = 1 };
	thrum_scope s;
	thrum_task ta, tb;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pair(fds);
	a.fd = b.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ta, recv_one_fx(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &tb, recv_one_fx(&b)), 0);
	until_ops(ops, 2);
	TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_send(fds[1], "y", 1, 0), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.got, 1);
	TH_CHECK_EQ(b.got, 1);
	TH_CHECK_EQ(a_buf[0] + b_buf[0], 'x' + 'y');
	close_both(fds);
	return 0;
}
THRUM_FX(two_readers, void);
TH_TEST(io_net, two_fibers_may_wait_on_one_descriptor) { run_ok(two_readers_fx(NULL)); }

static int readiness(void *unused)
{
	int fds[2];
	struct poll_one a = { .want = POLLIN };
	thrum_scope s;
	thrum_task t;
	char c;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_wait_fd(fds[1], POLLOUT), POLLOUT);
	a.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, poll_one_fx(&a)), 0);
	until_ops(ops, 2);
	TH_CHECK_EQ(thrum_write(fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(a.got, POLLIN);
	TH_CHECK_EQ(read(fds[0], &c, 1), 1);
	TH_CHECK_EQ(close(fds[1]), 0);
	TH_CHECK_EQ(thrum_wait_fd(fds[0], POLLIN), POLLHUP);
	TH_CHECK_EQ(thrum_wait_fd(fds[0], 0), -EINVAL);
	TH_CHECK_EQ(thrum_wait_fd(fds[0], 1U << 31), -EINVAL);
	TH_CHECK_EQ(close(fds[0]), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(readiness, void);
TH_TEST(io_net, wait_fd_returns_the_events_that_are_there) { run_ok(readiness_fx(NULL)); }

static int accept_at_the_limit(void *unused)
{
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, 0), fd = tcp_socket(0), got;
	struct rlimit limit, none;

	(void)unused;
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max }; /* all numbers below are taken */
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	got = thrum_accept(listener, NULL, NULL);
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	TH_CHECK_EQ(got, -EMFILE);
	got = thrum_accept(listener, NULL, NULL); /* the connection waits as it did */
	TH_CHECK(got >= 0);
	TH_CHECK_EQ(thrum_close(got), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(thrum_close(listener), 0);
	return 0;
}
THRUM_FX(accept_at_the_limit, void);
TH_TEST(io_net, accept_without_a_free_descriptor_loses_no_connection) /* hazard 58 */
{
	run_ok(accept_at_the_limit_fx(NULL));
}
