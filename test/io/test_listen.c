/* Listeners. */
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thrum/listen.h>
#include "io_test.h"
#include "test/support/child.h"

enum { TEXT_BYTES = 64 };

struct server {
	thrum_listener l;
	int (*handler)(void *arg, thrum_conn *conn);
	void *arg;
	int code;
};
static int serve(struct server *s)
{
	s->code = thrum_listener_serve(&s->l, s->handler, s->arg);
	return 0;
}
THRUM_FX(serve, struct server);

static thrum_listener_stats stats_of(const thrum_listener *l)
{
	thrum_listener_stats st = { .size = sizeof(st) };

	TH_CHECK_EQ(thrum_listener_read(l, &st), 0);
	return st;
}

static void until_accepted(const thrum_listener *l, uint64_t n)
{
	while (stats_of(l).accepted < n)
		TH_CHECK_EQ(thrum_yield(), 0);
}

static int client_of(const thrum_listener *l)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd;

	thrum_listener_sockaddr(l, (struct sockaddr *)&sa, &len);
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

static void ask(int fd, char c)
{
	char got = 0;

	TH_CHECK_EQ(thrum_send_all(fd, &c, 1, 0, NULL), 0);
	TH_CHECK_EQ(thrum_read_all(fd, &got, 1, NULL), 0);
	TH_CHECK_EQ(got, c);
}

static int echo(void *arg, thrum_conn *c)
{
	char buf[64];
	ssize_t n;

	(void)arg;
	while ((n = thrum_recv(c->fd, buf, sizeof(buf), 0)) > 0)
		TH_CHECK_EQ(thrum_send_all(c->fd, buf, (size_t)n, 0, NULL), 0);
	return (int)n;
}

/* --- serving, on sockets of every kind --- */

enum { CLIENTS = 20 };
struct kind {
	const char *address;      /* NULL: a socket that was given */
	thrum_listener_opts opts;
};

static void open_kind(thrum_listener *l, const struct kind *k)
{
	struct sockaddr_in sa;

	if (k->address)
		TH_CHECK_EQ(thrum_listener_open(l, k->address, &k->opts), 0);
	else
		TH_CHECK_EQ(thrum_listener_open_fd(l, tcp_listen(&sa, 0), &k->opts), 0);
}

static int echo_clients(struct kind *k)
{
	struct server s = { .handler = echo };
	int fds[CLIENTS];
	thrum_scope scope;
	thrum_task t;

	open_kind(&s.l, k);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, serve_fx(&s)), 0);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = client_of(&s.l);
		ask(fds[i], 'a');
	}
	TH_CHECK_EQ(stats_of(&s.l).accepted, CLIENTS);
	TH_CHECK_EQ(stats_of(&s.l).active, CLIENTS);
	TH_CHECK_EQ(thrum_listener_serve(&s.l, echo, NULL), -EBUSY);
	for (int i = 0; i < CLIENTS; i++) {
		ask(fds[i], 'b');
		TH_CHECK_EQ(thrum_close(fds[i]), 0);
	}
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK_EQ(stats_of(&s.l).active, 0);
	TH_CHECK_EQ(stats_of(&s.l).failed, 0);
	TH_CHECK_EQ(thrum_listener_serve(&s.l, echo, NULL), THRUM_ECLOSED);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(echo_clients, struct kind);

static void serve_kind(const char *address, bool per_worker, unsigned max)
{
	struct kind k = { address, *THRUM_LISTENER_OPTS(.per_worker = per_worker, .max_connections = max) };
	int before = fd_count();

	run_ok(echo_clients_fx(&k));
	TH_CHECK_EQ(fd_count(), before);
}
TH_TEST(io_listen, clients_are_served_and_no_descriptor_stays) { serve_kind("127.0.0.1:0", false, 0); }
TH_TEST(io_listen, on_IPv6) { serve_kind("[::1]:0", false, 0); }
TH_TEST(io_listen, on_a_socket_of_each_worker) { serve_kind("127.0.0.1:0", true, 0); }
TH_TEST(io_listen, on_a_socket_of_each_worker_with_a_bound) { serve_kind("127.0.0.1:0", true, CLIENTS); }

/* Abstract names are the whole machine's, and tests run beside each other. */
static const char *own_name(char text[TEXT_BYTES])
{
	snprintf(text, TEXT_BYTES, "unix:@thrum-test-%d", (int)getpid());
	return text;
}

TH_TEST(io_listen, on_an_abstract_unix_socket) { serve_kind(own_name((char[TEXT_BYTES]){ 0 }), false, 0); }
TH_TEST(io_listen, on_one_unix_socket_for_all_workers)
{
	serve_kind(own_name((char[TEXT_BYTES]){ 0 }), true, CLIENTS);
}
TH_TEST(io_listen, on_a_socket_that_was_given) { serve_kind(NULL, false, 0); }
TH_TEST(io_listen, on_a_given_socket_for_all_workers) { serve_kind(NULL, true, 0); }

/* --- what a connection comes with --- */

static int no_delay(void *arg, thrum_conn *c)
{
	int on = 0;
	socklen_t len = sizeof(on);

	TH_CHECK_EQ(getsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	TH_CHECK_EQ(on != 0, *(bool *)arg);
	TH_CHECK(is_cloexec(c->fd));
	TH_CHECK_EQ(((struct sockaddr_in *)&c->peer)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	return 0;
}

static int check_no_delay(bool *nagle)
{
	bool want = !*nagle;
	struct server s = { .handler = no_delay, .arg = &want };
	thrum_scope scope;
	char c;

	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.nagle = *nagle)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	int fd = client_of(&s.l);
	TH_CHECK_EQ(thrum_recv(fd, &c, 1, 0), 0); /* closed when the handler has returned */
	TH_CHECK_EQ(close(fd), 0);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(check_no_delay, bool);
TH_TEST(io_listen, connections_have_TCP_NODELAY_unless_told_otherwise)
{
	bool nagle = false;
	run_ok(check_no_delay_fx(&nagle));
	nagle = true;
	run_ok(check_no_delay_fx(&nagle));
}

/* --- a connection that fails --- */

static int fail_on_x(void *arg, thrum_conn *c)
{
	char got;

	(void)arg;
	while (thrum_recv(c->fd, &got, 1, 0) == 1) {
		if (got == 'x')
			return -ECONNRESET;
		TH_CHECK_EQ(thrum_send_all(c->fd, &got, 1, 0, NULL), 0);
	}
	return 0;
}

static unsigned x_unobserved;
static void observe(const thrum_report *r, void *arg)
{
	(void)arg;
	if (r->kind == THRUM_REPORT_UNOBSERVED_FAILURE)
		__atomic_fetch_add(&x_unobserved, 1, __ATOMIC_RELAXED);
}

static int failing(void *unused)
{
	struct server s = { .handler = fail_on_x };
	thrum_scope scope;
	thrum_task t;
	int fd[5];
	char c;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", NULL), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, serve_fx(&s)), 0);
	for (int i = 0; i < 5; i++)
		fd[i] = client_of(&s.l);
	for (int i = 0; i < 4; i++) {
		TH_CHECK_EQ(thrum_send_all(fd[i], "x", 1, 0, NULL), 0);
		TH_CHECK_EQ(thrum_recv(fd[i], &c, 1, 0), 0);
		ask(fd[4], 'o'); /* the others do not notice */
		TH_CHECK_EQ(thrum_close(fd[i]), 0);
	}
	fd[0] = client_of(&s.l); /* and new ones come */
	ask(fd[0], 'o');
	TH_CHECK_EQ(stats_of(&s.l).failed, 4);
	TH_CHECK_EQ(thrum_close(fd[0]), 0);
	TH_CHECK_EQ(thrum_close(fd[4]), 0);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(failing, void);
TH_TEST(io_listen, a_connection_that_fails_ends_nobody_else_and_is_reported_once_K7)
{
	x_unobserved = 0;
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.observe = observe), failing_fx(NULL)), 0);
	TH_CHECK_EQ(x_unobserved, 1);
}

/* --- a bound on connections --- */

struct peak {
	unsigned x_now, x_peak, x_all;
};
static int note_peak(void *arg, thrum_conn *c)
{
	struct peak *p = arg;
	unsigned now = __atomic_add_fetch(&p->x_now, 1, __ATOMIC_SEQ_CST);
	unsigned peak = __atomic_load_n(&p->x_peak, __ATOMIC_SEQ_CST);
	int code;

	while (now > peak &&
	       !__atomic_compare_exchange_n(&p->x_peak, &peak, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	__atomic_add_fetch(&p->x_all, 1, __ATOMIC_SEQ_CST);
	code = echo(NULL, c);
	__atomic_sub_fetch(&p->x_now, 1, __ATOMIC_SEQ_CST);
	return code;
}

enum { WANT = 7, PLACES = 2 };
static int bounded(bool *per_worker)
{
	struct peak p = { 0, 0, 0 };
	struct server s = { .handler = note_peak, .arg = &p };
	thrum_scope scope;
	int fd[WANT];

	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0",
					THRUM_LISTENER_OPTS(.max_connections = PLACES, .per_worker = *per_worker)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	for (int i = 0; i < WANT; i++) {
		fd[i] = client_of(&s.l); /* the kernel connects it, whoever accepts */
		TH_CHECK_EQ(thrum_send_all(fd[i], "q", 1, 0, NULL), 0);
	}
	until_accepted(&s.l, PLACES);
	for (int i = 0; i < 300; i++) /* the others could come, if they might */
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(stats_of(&s.l).accepted, PLACES);
	for (int left = WANT; left > 0;) { /* whoever is answered goes, and makes room */
		for (int i = 0; i < WANT; i++) {
			char c;

			if (fd[i] < 0 || recv(fd[i], &c, 1, MSG_DONTWAIT) != 1)
				continue;
			TH_CHECK_EQ(thrum_close(fd[i]), 0);
			fd[i] = -1;
			left--;
		}
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK_EQ(p.x_peak, PLACES);
	TH_CHECK_EQ(p.x_all, WANT);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(bounded, bool);
TH_TEST(io_listen, max_connections_are_open_at_once_and_the_rest_waits)
{
	bool per_worker = false;
	run_ok(bounded_fx(&per_worker));
}
TH_TEST(io_listen, max_connections_holds_over_all_loops)
{
	bool per_worker = true;
	run_ok(bounded_fx(&per_worker));
}

/* --- no descriptors --- */

static int starved(void *unused)
{
	struct server s = { .handler = echo };
	struct rlimit old, low;
	thrum_scope scope;
	int fd, got;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0",
					THRUM_LISTENER_OPTS(.backoff = thrum_ms(10), .backoff_max = thrum_ms(35))), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	fd = client_of(&s.l);
	got = dup(fd); /* the lowest number that is free */
	TH_CHECK_EQ(close(got), 0);
	low = old;
	low.rlim_cur = (rlim_t)got;
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	while (stats_of(&s.l).backoffs < 1)
		TH_CHECK_EQ(thrum_yield(), 0);
	/* 10, 20, 35, 35, …: it waits longer each time, up to a bound, and does not spin. */
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(9)), 0);
	TH_CHECK_EQ(stats_of(&s.l).backoffs, 1);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(1)), 0);
	while (stats_of(&s.l).backoffs < 2)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(19)), 0);
	TH_CHECK_EQ(stats_of(&s.l).backoffs, 2);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(1)), 0);
	while (stats_of(&s.l).backoffs < 3)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(stats_of(&s.l).accepted, 0);
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_ms(35)), 0);
	ask(fd, 'a'); /* the connection was not lost */
	TH_CHECK_EQ(thrum_close(fd), 0);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(starved, void);
TH_TEST(io_listen, without_descriptors_it_backs_off_and_goes_on)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), starved_fx(NULL)), 0);
}

/* --- draining --- */

static int finish_in_drain(void *unused)
{
	struct server s = { .handler = echo };
	thrum_scope scope;
	int fd;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", NULL), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	fd = client_of(&s.l);
	ask(fd, 'a');
	thrum_listener_drain(&s.l);
	for (int i = 0; i < 200; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	ask(fd, 'b'); /* it is let finish */
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK_EQ(stats_of(&s.l).failed, 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(finish_in_drain, void);
TH_TEST(io_listen, a_drain_lets_the_handlers_finish) { run_ok(finish_in_drain_fx(NULL)); }

static int note_reason(void *arg, thrum_conn *c)
{
	unsigned *kind = arg;
	char got;
	ssize_t n = thrum_recv(c->fd, &got, 1, 0);

	if (n == -ECANCELED)
		*kind = thrum_cancel_reason()->kind;
	return (int)n;
}

static int over_time(void *unused)
{
	unsigned kind = 0;
	struct server s = { .handler = note_reason, .arg = &kind };
	thrum_scope scope;
	char c;
	int fd;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.grace = thrum_sec(3))), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	fd = client_of(&s.l);
	until_accepted(&s.l, 1);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_sec(2)), 0);
	TH_CHECK_EQ(stats_of(&s.l).active, 1);
	TH_CHECK_EQ(thrum_clock_advance(NULL, thrum_sec(2)), 0);
	TH_CHECK_EQ(thrum_recv(fd, &c, 1, 0), 0); /* it has been closed */
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, -ETIMEDOUT);
	TH_CHECK_EQ(kind, THRUM_CANCEL_DEADLINE);
	TH_CHECK_EQ(stats_of(&s.l).failed, 0);
	TH_CHECK_EQ(close(fd), 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(over_time, void);
TH_TEST(io_listen, at_the_end_of_the_grace_the_rest_is_cancelled_with_a_reason)
{
	int before = fd_count();

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), over_time_fx(NULL)), 0);
	TH_CHECK_EQ(fd_count(), before);
}

struct idle {
	thrum_listener *l;
	bool told;
};
/* Waits for a request, but not beyond the drain. */
static int idle(void *arg, thrum_conn *c)
{
	struct idle *i = arg;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	thrum_scope s;
	char got;
	int fd;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_link(&s, c->draining), 0);
	TH_CHECK_EQ(thrum_recv(c->fd, &got, 1, 0), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(thrum_token_cancelled(c->draining));
	i->told = true;
	/* Nobody can come back: the socket is closed by now. */
	thrum_listener_sockaddr(i->l, (struct sockaddr *)&sa, &len);
	fd = tcp_socket(0);
	TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, len), -ECONNREFUSED);
	return thrum_close(fd);
}

static int drain_idle(void *unused)
{
	struct server s = { .handler = idle };
	struct idle i = { &s.l, false };
	thrum_scope scope;
	char c;
	int fd;

	(void)unused;
	s.arg = &i;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.grace = THRUM_FOREVER)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	fd = client_of(&s.l);
	until_accepted(&s.l, 1);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_recv(fd, &c, 1, 0), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK(i.told);
	TH_CHECK_EQ(close(fd), 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(drain_idle, void);
TH_TEST(io_listen, handlers_are_told_of_the_drain_once_the_socket_is_closed) { run_ok(drain_idle_fx(NULL)); }

static int drain_backlog(thrum_listener_opts *o)
{
	struct server s = { .handler = echo };
	thrum_scope scope;
	int fd[3];

	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", o), 0);
	for (int i = 0; i < 3; i++)
		fd[i] = client_of(&s.l);
	thrum_listener_drain(&s.l); /* before anybody has accepted them */
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	for (int i = 0; i < 3; i++) {
		ask(fd[i], 'a');
		TH_CHECK_EQ(thrum_close(fd[i]), 0);
	}
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK_EQ(stats_of(&s.l).accepted, 3);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(drain_backlog, thrum_listener_opts);
TH_TEST(io_listen, a_drain_serves_what_the_kernel_has_accepted)
{
	run_ok(drain_backlog_fx(THRUM_LISTENER_OPTS(.per_worker = false)));
	run_ok(drain_backlog_fx(THRUM_LISTENER_OPTS(.per_worker = true)));
}
/* The kernel keeps one more than it is told. */
TH_TEST(io_listen, a_drain_serves_a_full_backlog) { run_ok(drain_backlog_fx(THRUM_LISTENER_OPTS(.backlog = 2))); }

static thrum_listener *of_signal;
static void on_signal(int sig)
{
	(void)sig;
	thrum_listener_drain(of_signal);
}
static int drain_by_signal(void *unused)
{
	struct server s = { .handler = echo };
	struct sigaction old, sa = { .sa_handler = on_signal };
	thrum_scope scope;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", NULL), 0);
	of_signal = &s.l;
	TH_CHECK_EQ(sigaction(SIGUSR1, &sa, &old), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	until_ops(ops, 1); /* it accepts */
	TH_CHECK_EQ(kill(getpid(), SIGUSR1), 0); /* to whichever thread takes it: workers of their own block signals */
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(s.code, 0);
	TH_CHECK_EQ(sigaction(SIGUSR1, &old, NULL), 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(drain_by_signal, void);
TH_TEST(io_listen, a_signal_handler_may_drain) { run_ok(drain_by_signal_fx(NULL)); }

/* --- a cancel from outside --- */

static int cancelled(void *unused)
{
	struct server s = { .handler = echo };
	int fd[CLIENTS];
	thrum_scope scope;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.grace = THRUM_FOREVER)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, serve_fx(&s)), 0);
	for (int i = 0; i < CLIENTS; i++)
		fd[i] = client_of(&s.l);
	until_accepted(&s.l, CLIENTS / 2);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.code, -ECANCELED);
	TH_CHECK_EQ(stats_of(&s.l).active, 0);
	TH_CHECK_EQ(stats_of(&s.l).failed, 0);
	for (int i = 0; i < CLIENTS; i++)
		TH_CHECK_EQ(close(fd[i]), 0);
	thrum_listener_close(&s.l);
	return thrum_scope_close(&scope);
}
THRUM_FX(cancelled, void);
TH_TEST(io_listen, a_cancel_ends_it_and_its_handlers_and_nothing_stays_G1)
{
	int before = fd_count();

	run_ok(cancelled_fx(NULL));
	TH_CHECK_EQ(fd_count(), before);
}

/* --- a handler that keeps its connection --- */

static int keep(void *arg, thrum_conn *c)
{
	*(int *)arg = c->fd;
	c->fd = -1;
	return 0;
}
static int kept(void *unused)
{
	int server_end = -1;
	struct server s = { .handler = keep, .arg = &server_end };
	thrum_scope scope;
	int fd;
	char c;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", NULL), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_go(&scope, serve_fx(&s)), 0);
	fd = client_of(&s.l);
	until_accepted(&s.l, 1);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(thrum_send_all(fd, "k", 1, 0, NULL), 0);
	TH_CHECK_EQ(thrum_read_all(server_end, &c, 1, NULL), 0);
	TH_CHECK_EQ(close(server_end), 0);
	TH_CHECK_EQ(close(fd), 0);
	thrum_listener_close(&s.l);
	return 0;
}
THRUM_FX(kept, void);
TH_TEST(io_listen, a_handler_may_keep_its_connection) { run_ok(kept_fx(NULL)); }

/* --- the end of the listening socket --- */

static int broken(void *unused)
{
	struct sockaddr_in sa;
	struct server s = { .handler = echo };
	thrum_scope scope;
	thrum_task t;
	int listener = tcp_listen(&sa, 0);
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open_fd(&s.l, listener, NULL), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, serve_fx(&s)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(shutdown(listener, SHUT_RDWR), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.code, -EINVAL);
	thrum_listener_close(&s.l);
	return thrum_scope_close(&scope);
}
THRUM_FX(broken, void);
TH_TEST(io_listen, what_accept_says_of_the_socket_ends_it) { run_ok(broken_fx(NULL)); }

/* --- without room for a stack: what was accepted is closed, not forgotten --- */

static int refuse_one(void *unused)
{
	struct server s = { .handler = echo };
	const struct rlimit none = { 0, 0 };
	thrum_scope scope;
	thrum_task t;
	int fd;
	char c;

	(void)unused;
	TH_CHECK_EQ(thrum_listener_open(&s.l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.stack_bytes = 1 << 20)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, serve_fx(&s)), 0);
	TH_CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		fd = client_of(&s.l);
		TH_CHECK_EQ(thrum_recv(fd, &c, 1, 0), 0);
		TH_CHECK_EQ(thrum_close(fd), 0);
		TH_CHECK_EQ(stats_of(&s.l).refused, i);
	}
	TH_CHECK_EQ(stats_of(&s.l).accepted, 3);
	thrum_listener_drain(&s.l);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(stats_of(&s.l).active, 0);
	thrum_listener_close(&s.l);
	return thrum_scope_close(&scope);
}
static void run_refuse_one(void *unused)
{
	(void)unused;
	_exit(thrum_run(NULL, (thrum_fx){ refuse_one, NULL }) != 0);
}

TH_TEST(io_listen, what_gets_no_stack_is_closed_Z5)
{
	struct th_said said;
	int status;

	if (TH_UNLIMITED)
		return;
	status = th_child(run_refuse_one, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
}

/* --- addresses --- */

static void check_text(const char *address, const char *want)
{
	thrum_listener l;
	char text[128];

	TH_CHECK_EQ(thrum_listener_open(&l, address, NULL), 0);
	TH_CHECK_EQ(thrum_listener_address(&l, text, sizeof(text)), (int)strlen(text));
	TH_CHECK(strncmp(text, want, strlen(want)) == 0);
	TH_CHECK_EQ(thrum_listener_address(&l, text, 5), -ENOSPC);
	thrum_listener_close(&l);
}

TH_TEST(io_listen, addresses_are_texts_and_nonsense_is_refused)
{
	static const char *const bad[] = { "", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
					   "127.0.0.1:1x", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 1",
					   "127.0.0.1:99999999999999999999999", "localhost:80", "300.0.0.1:1", "::1:80",
					   "[::1]", "[::1:80", "[x]:1", "[", "[:1", "unix:", "unix:@" };
	thrum_listener l;
	char path[200], name[TEXT_BYTES];
	int before = fd_count(), fd;

	check_text("127.0.0.1:0", "127.0.0.1:");
	check_text(":0", "0.0.0.0:");
	check_text("*:0", "0.0.0.0:");
	check_text("[::1]:0", "[::1]:");
	check_text(own_name(name), name);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		TH_CHECK_EQ(thrum_listener_open(&l, bad[i], NULL), -EINVAL);
	TH_CHECK_EQ(thrum_listener_open(&l, NULL, NULL), -EINVAL);
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	memcpy(path, "unix:", 5);
	TH_CHECK_EQ(thrum_listener_open(&l, path, NULL), -ENAMETOOLONG);
	TH_CHECK_EQ(thrum_listener_open(&l, "127.0.0.1:0", THRUM_LISTENER_OPTS(.backlog = -1)), -EINVAL);
	TH_CHECK_EQ(thrum_listener_open(&l, "127.0.0.1:0", &(thrum_listener_opts){ .size = 1 }), -EINVAL);
	fd = tcp_socket(0);
	TH_CHECK_EQ(thrum_listener_open_fd(&l, fd, NULL), -EINVAL); /* it does not listen */
	TH_CHECK_EQ(close(fd), 0);
	TH_CHECK_EQ(thrum_listener_open_fd(&l, fd, NULL), -EBADF);
	TH_CHECK_EQ(fd_count(), before);
}

TH_TEST(io_listen, a_port_in_use_is_EADDRINUSE)
{
	thrum_listener l, other;
	char text[64];

	TH_CHECK_EQ(thrum_listener_open(&l, "127.0.0.1:0", NULL), 0);
	TH_CHECK(thrum_listener_address(&l, text, sizeof(text)) > 0);
	TH_CHECK_EQ(thrum_listener_open(&other, text, NULL), -EADDRINUSE);
	thrum_listener_close(&l);
	TH_CHECK_EQ(thrum_listener_open(&other, text, NULL), 0);
	thrum_listener_close(&other);
}

TH_TEST(io_listen, a_stale_socket_file_is_replaced_and_no_other_is_touched)
{
	char dir[] = "/tmp/thrum-listen-XXXXXX", path[64], address[80];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	thrum_listener l, other;
	struct stat st;
	int fd;

	TH_CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	snprintf(address, sizeof(address), "unix:%s", path);
	TH_CHECK_EQ(thrum_listener_open(&l, address, NULL), 0);
	check_text("127.0.0.1:0", "127");
	TH_CHECK_EQ(thrum_listener_open(&other, address, NULL), -EADDRINUSE); /* somebody listens */
	thrum_listener_close(&l);
	TH_CHECK(stat(path, &st) < 0); /* gone with it */

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(un.sun_path, path);
	TH_CHECK_EQ(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	TH_CHECK_EQ(close(fd), 0); /* left behind */
	TH_CHECK_EQ(thrum_listener_open(&l, address, NULL), 0);
	TH_CHECK_EQ(unlink(path), 0); /* somebody else takes its place */
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(close(fd), 0);
	thrum_listener_close(&l);
	TH_CHECK_EQ(stat(path, &st), 0);
	TH_CHECK_EQ(thrum_listener_open(&l, address, NULL), -EADDRINUSE); /* a file of the user's */
	TH_CHECK_EQ(unlink(path), 0);
	TH_CHECK_EQ(rmdir(dir), 0);
}

TH_TEST(io_listen, serving_is_for_fibers_X1)
{
	thrum_listener l;

	TH_CHECK_EQ(thrum_listener_open(&l, "127.0.0.1:0", NULL), 0);
	TH_CHECK_EQ(thrum_listener_serve(&l, echo, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_listener_serve(&l, NULL, NULL), -EINVAL);
	thrum_listener_close(&l);
}
