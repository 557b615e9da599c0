/* test/sim/test_net.c: servers and clients on a network in memory: bytes come late, in pieces, and not at all; buffers are
 * small, connections are refused and reset. Nothing but public calls, but for the sockets that those do not make. */
#include "../support/sim_run.h"
#include "../../io/sys.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { CLIENTS_MAX = 3, MESSAGE = 40, ADDRESS = 128 };
/* They suspend a hundred times, and are swept at each. */
#define LONG_TEST(suite, name) SIM_TEST_WITH(suite, name, .one_in = 8)

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

/* What one client and its handler do. */
struct world {
	thrum_listener listener;
	char address[ADDRESS];
	int clients, left;                 /* clients: how many; left: not done yet */
	int active, active_max, served, good;
	bool drain_early, may_fail;
	struct th_sim_faults faults;       /* once it listens */
	int (*handler)(void *world, thrum_conn *conn);
	int (*client)(struct world *w);
};

static int serve(struct world *w)
{
	int code = thrum_listener_serve(&w->listener, w->handler, w);

	TH_CHECK(code == 0 || code == -ECANCELED || w->may_fail || (code == -ETIMEDOUT && sim_cancelled_inside()));
	return code;
}
THRUM_FX(serve, struct world);

/* The last one to leave turns off the light. */
static int run_client(struct world *w)
{
	int code = w->client(w);

	if (sim_add(&w->left, -1) == 0)
		thrum_listener_drain(&w->listener);
	return w->may_fail && code != -ECANCELED ? 0 : code;
}
THRUM_FX(run_client, struct world);

static int drain_some_time(struct world *w)
{
	int code = thrum_sleep(ticks(sim_choose(60)));

	thrum_listener_drain(&w->listener);
	return code;
}
THRUM_FX(drain_some_time, struct world);

static int run_world(struct world *w, const char *address, const thrum_listener_opts *o)
{
	thrum_fx fx[CLIENTS_MAX + 2] = { serve_fx(w) };
	size_t n = 1;
	int code = thrum_listener_open(&w->listener, address, o);

	TH_CHECK(code == 0 || w->may_fail);
	if (code < 0)
		return 0;
	TH_CHECK(thrum_listener_address(&w->listener, w->address, sizeof w->address) > 0);
	th_sim_faults(&w->faults);
	w->left = w->clients = 1 + (int)sim_choose(CLIENTS_MAX);
	while (n <= (size_t)w->clients)
		fx[n++] = run_client_fx(w);
	if (w->drain_early)
		fx[n++] = drain_some_time_fx(w);
	code = thrum_zip_par_n(fx, n);
	thrum_listener_close(&w->listener);
	if (code < 0 && thrum_check() < 0)
		return -ECANCELED; /* what a cancelled end does to the other one may be seen there first */
	return w->may_fail ? 0 : code;
}

/* --- echo --- */

static void enter(struct world *w)
{
	int active = sim_add(&w->active, 1);

	if (active > sim_add(&w->active_max, 0))
		__atomic_store_n(&w->active_max, active, __ATOMIC_RELAXED); /* one thread: nothing comes between */
}

static int leave(struct world *w, int code)
{
	sim_add(&w->active, -1);
	if (code == 0)
		sim_add(&w->served, 1);
	return code;
}

/* Until the client has ended its half. */
static int echo(void *arg, thrum_conn *conn)
{
	struct world *w = arg;
	char buf[16];
	ssize_t n;

	enter(w);
	while ((n = thrum_recv(conn->fd, buf, sizeof buf, 0)) > 0) {
		int code = thrum_send_all(conn->fd, buf, (size_t)n, 0, NULL);
		if (code < 0)
			return leave(w, code);
	}
	return leave(w, (int)n);
}

struct half {
	int fd, code;
};

static int say(struct half *h)
{
	char text[MESSAGE];
	size_t done = 0;

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)('a' + i % 26);
	h->code = thrum_send_all(h->fd, text, sizeof text, 0, &done);
	TH_CHECK(h->code < 0 || done == sizeof text);
	if (h->code == 0)
		h->code = thrum_shutdown(h->fd, SHUT_WR);
	return h->code;
}
THRUM_FX(say, struct half);

/* All that comes until the end is what was said. */
static int hear(struct half *h)
{
	char buf[MESSAGE + 1];
	size_t done = 0;

	h->code = thrum_read_all(h->fd, buf, sizeof buf, &done);
	for (size_t i = 0; i < done; i++)
		TH_CHECK_EQ(buf[i], 'a' + (int)(i % 26));
	if (h->code == THRUM_EEOF && done == MESSAGE)
		h->code = 0;
	TH_CHECK(h->code != 0 || done == MESSAGE);
	return h->code;
}
THRUM_FX(hear, struct half);

static int speak(struct world *w)
{
	struct half out = { .fd = thrum_dial(w->address) }, in = out;
	int code;

	if (out.fd < 0)
		return out.fd;
	code = thrum_zip_par(say_fx(&out), hear_fx(&in));
	TH_CHECK_EQ(thrum_close(out.fd), 0);
	if (code == 0)
		sim_add(&w->good, 1);
	return code;
}

static const char *some_address(void)
{
	static const char *const all[] = { "127.0.0.1:0", "[::1]:0", "unix:@echo", "unix:/echo", "[::]:0" };

	return all[sim_choose(4)];
}

/* Half-close: what a client sends comes back whole after it has ended its half, over any family, one or several loops. */
LONG_TEST(net, echo_comes_back_whole_after_a_half_close)
{
	struct world w = { .handler = echo, .client = speak };
	int code = run_world(&w, some_address(), THRUM_LISTENER_OPTS(.per_worker = sim_choose(2)));

	(void)unused;
	TH_CHECK(code < 0 || (w.good == w.clients && w.served == w.clients));
	return code;
}

/* With places fewer than clients nobody is served beyond them, and everybody in the end. */
LONG_TEST(net, places_bound_the_handlers_and_come_back)
{
	struct world w = { .handler = echo, .client = speak };
	int places = 1 + (int)sim_choose(2);
	int code = run_world(&w, some_address(),
			     THRUM_LISTENER_OPTS(.per_worker = sim_choose(2), .max_connections = (unsigned)places, .backlog = 2));

	(void)unused;
	TH_CHECK(w.active_max <= places);
	TH_CHECK(code < 0 || (w.good == w.clients && w.served == w.clients));
	return code;
}

/* A drain at any time: whoever was accepted is served to the end; nobody hangs. */
LONG_TEST(net, drain_serves_whom_it_accepted)
{
	struct world w = { .handler = echo, .client = speak, .drain_early = true, .may_fail = true };
	thrum_listener_stats stats = { .size = sizeof stats };
	int code = run_world(&w, some_address(), THRUM_LISTENER_OPTS(.max_connections = sim_choose(3)));

	(void)unused;
	TH_CHECK_EQ(thrum_listener_read(&w.listener, &stats), 0);
	TH_CHECK_EQ(stats.active, 0);
	if (code == 0 && !sim_cancelled_inside()) /* then the grace may have been over at once */
		TH_CHECK(stats.accepted == (unsigned)w.served && w.good <= w.served);
	return code;
}

/* A network that resets connections, refuses them and is cut, a system that has no descriptors and no memory: whatever fails
 * says so, nothing is left, and an answer that came whole is right. */
LONG_TEST(net, faults_are_told_and_leave_nothing)
{
	struct world w = { .handler = echo, .client = speak, .may_fail = true,
			   .faults = { .reset = 6, .refused = 6, .cut = 20, .no_fd = 8, .no_memory = 8 } };

	(void)unused;
	if (sim_choose(2))
		th_sim_faults(&w.faults); /* from the start */
	return run_world(&w, some_address(), THRUM_LISTENER_OPTS(.max_connections = sim_choose(3), .per_worker = sim_choose(2)));
}

static int speak_in_the_end(struct world *w)
{
	int code;

	while ((code = speak(w)) == -EMFILE)
		if (thrum_sleep(ticks(3)) < 0)
			return -ECANCELED;
	return code;
}

/* The descriptors run out and come back: a listener waits for them, and serves everybody. */
LONG_TEST(net, shortage_of_descriptors_passes)
{
	struct world w = { .handler = echo, .client = speak_in_the_end, .faults = { .fds_max = 2 + CLIENTS_MAX, .no_fd = 3 } };
	int code = run_world(&w, "127.0.0.1:0", THRUM_LISTENER_OPTS(.backoff = ticks(4), .max_connections = sim_choose(3)));

	(void)unused;
	TH_CHECK(code < 0 || w.served == w.clients);
	return code;
}

/* --- connections that fail --- */

static int greet(void *arg, thrum_conn *conn)
{
	char c = 'g';

	(void)arg;
	return thrum_send_all(conn->fd, &c, 1, 0, NULL);
}

LONG_TEST(net, dial_where_nobody_listens_is_refused)
{
	static const char *const all[] = { "127.0.0.1:1", "[::1]:1", "unix:@nobody", "localhost:1" };
	int fd = thrum_dial(all[sim_choose(4)]);

	(void)unused;
	TH_CHECK(fd == -ECONNREFUSED || fd == -ECANCELED);
	return fd == -ECONNREFUSED ? thrum_check() : fd;
}

/* Takes the first bytes and leaves when there are more. */
static int hang_up(void *arg, thrum_conn *conn)
{
	char buf[4];
	ssize_t n = thrum_recv(conn->fd, buf, sizeof buf, 0);

	(void)arg;
	return n < 0 ? (int)n : thrum_wait_fd(conn->fd, POLLIN);
}

/* Sends more than is read. */
static int insist(struct world *w)
{
	struct half h = { .fd = thrum_dial(w->address) };
	char c;
	ssize_t n;

	if (h.fd < 0)
		return h.fd;
	(void)say(&h);
	n = thrum_recv(h.fd, &c, 1, 0);
	TH_CHECK(n == 0 || n == -ECONNRESET || n == -EPIPE || n == -ECANCELED); /* never bytes */
	if (n == -ECONNRESET || n == -EPIPE || h.code == -ECONNRESET || h.code == -EPIPE)
		sim_add(&w->good, 1);
	TH_CHECK_EQ(thrum_close(h.fd), 0);
	return n == -ECANCELED ? -ECANCELED : thrum_check();
}

/* Whoever is hung up on with something unread is told by a reset, at the latest when he reads. */
LONG_TEST(net, close_with_bytes_unread_resets)
{
	struct world w = { .handler = hang_up, .client = insist };
	int code = run_world(&w, some_address(), NULL);

	(void)unused;
	TH_CHECK(code < 0 || w.good == w.clients);
	return code;
}

/* With too little time now and then, and then again: on a socket that waits, and on one that does not. */
static int connect_at_last(struct world *w, int fd)
{
	struct sockaddr_in at;
	socklen_t len = sizeof at;
	thrum_scope s;
	int code;

	thrum_listener_sockaddr(&w->listener, (struct sockaddr *)&at, &len);
	do {
		code = thrum_scope_open(&s);
		if (code < 0)
			return code;
		if (thrum_scope_deadline(&s, ticks(1 + sim_choose(12))) == 0)
			code = thrum_connect(fd, (struct sockaddr *)&at, len);
		(void)thrum_scope_close(&s);
	} while (code == -ECANCELED && thrum_check() == 0);
	return code == -EISCONN ? 0 : code;
}

static int connect_in_steps(struct world *w)
{
	int fd = th_sys_socket(AF_INET, SOCK_STREAM | (sim_choose(2) ? SOCK_NONBLOCK : 0), 0), code;
	char c = 0;

	TH_CHECK(fd >= 0);
	code = connect_at_last(w, fd);
	if (code == 0)
		sim_add(&w->good, thrum_recv(fd, &c, 1, 0) == 1 && c == 'g');
	TH_CHECK_EQ(thrum_close(fd), 0);
	return code < 0 ? code : thrum_check();
}

/* G7: a connect that was cancelled has done no harm: the socket can be connected again, or it is. */
LONG_TEST(net, cancelled_connects_can_be_made_again_G7)
{
	struct world w = { .handler = greet, .client = connect_in_steps };
	int code = run_world(&w, "127.0.0.1:0", NULL);

	(void)unused;
	TH_CHECK(code < 0 || w.good == w.clients);
	return code;
}

/* --- lines, through buffers that are too small --- */

enum { LINES = 5 };

static int answer_lines(void *arg, thrum_conn *conn)
{
	char in[16], out[16], *line;
	thrum_reader r;
	thrum_writer w;
	size_t len;
	int code;

	TH_CHECK_EQ(thrum_reader_init(&r, conn->fd, in, sizeof in), 0);
	TH_CHECK_EQ(thrum_writer_init(&w, conn->fd, out, sizeof out), 0);
	while ((code = thrum_reader_line(&r, 0, &line, &len)) == 1) {
		code = thrum_writer_write(&w, line, len, NULL);
		if (code == 0)
			code = thrum_writer_write(&w, "!\n", 2, NULL);
		if (code < 0)
			return code;
	}
	if (code == 0)
		code = thrum_writer_flush(&w);
	if (code == 0)
		sim_add(&((struct world *)arg)->served, 1);
	return code;
}

static int ask(struct half *h)
{
	char buf[8];
	thrum_writer w;

	TH_CHECK_EQ(thrum_writer_init(&w, h->fd, buf, sizeof buf), 0);
	for (int i = 0; i < LINES && h->code == 0; i++)
		h->code = thrum_writer_printf(&w, "line%d\n", i);
	if (h->code == 0)
		h->code = thrum_writer_flush(&w);
	return h->code == 0 ? thrum_shutdown(h->fd, SHUT_WR) : h->code;
}
THRUM_FX(ask, struct half);

static int hear_answers(struct half *h)
{
	char buf[16], *line, want[16];
	thrum_reader r;
	size_t len;
	int n = 0;

	TH_CHECK_EQ(thrum_reader_init(&r, h->fd, buf, sizeof buf), 0);
	while ((h->code = thrum_reader_line(&r, 0, &line, &len)) == 1) {
		(void)snprintf(want, sizeof want, "line%d!", n++);
		TH_CHECK(len == strlen(want) && memcmp(line, want, len) == 0);
	}
	if (h->code == 0 && n < LINES)
		h->code = THRUM_EEOF; /* the other end was cancelled, or this fails */
	return h->code;
}
THRUM_FX(hear_answers, struct half);

static int converse(struct world *w)
{
	struct half out = { .fd = thrum_dial(w->address) }, in = out;
	int code;

	if (out.fd < 0)
		return out.fd;
	code = thrum_zip_par(ask_fx(&out), hear_answers_fx(&in));
	(void)thrum_close(out.fd);
	if (code == 0)
		sim_add(&w->good, 1);
	return code;
}

/* Buffered streams: each line comes once, in order and whole, however it was cut on its way. */
LONG_TEST(net, lines_are_answered_in_order)
{
	struct world w = { .handler = answer_lines, .client = converse };
	int code = run_world(&w, some_address(), NULL);

	(void)unused;
	TH_CHECK(code < 0 || (w.good == w.clients && w.served == w.clients));
	return code;
}

/* --- dialling --- */

/* Addresses that refuse, never answer, or cannot be reached, and the one where somebody listens, in any order. */
static int dial_one_of_many(struct world *w)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct addrinfo list[3];
	static const uint32_t hosts[3] = { 0x7f000001, 0xc0000201, 0x7f000002 }; /* listens, never answers, refuses */
	uint32_t first = sim_choose(3);
	struct sockaddr_in to[3];
	socklen_t len = sizeof at;
	char c = 0;
	int fd;

	thrum_listener_sockaddr(&w->listener, (struct sockaddr *)&at, &len);
	for (uint32_t i = 0; i < 3; i++) {
		to[i] = at;
		to[i].sin_addr.s_addr = htonl(hosts[(first + i) % 3]);
		list[i] = (struct addrinfo){ .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addr = (struct sockaddr *)&to[i],
					     .ai_addrlen = sizeof to[i], .ai_next = i < 2 ? &list[i + 1] : NULL };
	}
	fd = thrum_dial_addrs(list, ticks(sim_choose(4)));
	if (fd < 0)
		return fd;
	sim_add(&w->good, thrum_recv(fd, &c, 1, 0) == 1 && c == 'g');
	return thrum_close(fd) < 0 ? -EIO : thrum_check();
}

/* A race of addresses: the one that answers wins, and no other socket is left. */
LONG_TEST(net, dial_finds_the_address_that_answers)
{
	struct world w = { .handler = greet, .client = dial_one_of_many };
	int code = run_world(&w, "127.0.0.1:0", NULL);

	(void)unused;
	TH_CHECK(code < 0 || w.good == w.clients);
	return code;
}

/* Two addresses that both answer: the loser may have connected as well. */
static int dial_two(struct world *w)
{
	char text[ADDRESS], c;
	int fd;

	(void)snprintf(text, sizeof text, "localhost%s", strrchr(w->address, ':'));
	fd = thrum_dial(text);
	if (fd < 0)
		return fd;
	sim_add(&w->good, thrum_recv(fd, &c, 1, 0) == 1 && c == 'g');
	return thrum_close(fd) < 0 ? -EIO : thrum_check();
}

LONG_TEST(net, names_are_dialled)
{
	struct world w = { .handler = greet, .client = dial_two };
	int code = run_world(&w, sim_choose(2) ? "[::]:0" : "127.0.0.1:0", NULL);

	(void)unused;
	TH_CHECK(code < 0 || w.good == w.clients);
	if (code == 0) {
		code = thrum_dial("no.such.name:1");
		TH_CHECK(code == THRUM_ENONAME || code == -ECANCELED);
		code = code == THRUM_ENONAME ? 0 : code;
	}
	return code;
}

/* --- lent buffers --- */

/* Two buffers for everybody: who has one returns it before he waits. */
static int count_lent(void *arg, thrum_conn *conn)
{
	struct world *w = arg;
	size_t at = 0;
	thrum_lent lent;
	ssize_t n;

	while ((n = thrum_recv_lent(conn->fd, &lent)) > 0) {
		for (size_t i = 0; i < lent.len; i++)
			TH_CHECK_EQ(lent.data[i], 'a' + (int)(at++ % 26));
		thrum_lent_return(&lent);
	}
	if (n == 0) {
		TH_CHECK_EQ(at, MESSAGE);
		sim_add(&w->served, 1);
	}
	return (int)n;
}

static int say_only(struct world *w)
{
	struct half h = { .fd = thrum_dial(w->address) };
	char c;

	if (h.fd < 0)
		return h.fd;
	(void)say(&h);
	if (h.code == 0 && thrum_recv(h.fd, &c, 1, 0) == 0)
		sim_add(&w->good, 1);
	(void)thrum_close(h.fd);
	return h.code < 0 ? h.code : thrum_check();
}

LONG_TEST(net, lent_buffers_serve_connections)
{
	struct world w = { .handler = count_lent, .client = say_only };
	int code = run_world(&w, some_address(), NULL);

	(void)unused;
	TH_CHECK(code < 0 || (w.good == w.clients && w.served == w.clients));
	return code;
}

/* --- datagrams --- */

enum { DATAGRAMS = 6 };

struct datagrams {
	int in, out;
	struct sockaddr_in to;
	unsigned seen, came;
};

static int socket_at_home(struct sockaddr_in *ret)
{
	int fd = th_sys_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof *ret;

	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	TH_CHECK_EQ(th_sys_bind(fd, (struct sockaddr *)ret, sizeof *ret), 0);
	TH_CHECK_EQ(th_sys_getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static int send_datagrams(struct datagrams *d)
{
	for (unsigned i = 0; i < DATAGRAMS; i++) {
		char text[8] = { (char)('0' + i), 'x', 'y', 'z' };
		ssize_t n = thrum_sendto(d->out, text, 2 + i % 3, 0, (struct sockaddr *)&d->to, sizeof d->to);
		if (n < 0)
			return (int)n;
		TH_CHECK_EQ(n, 2 + (int)(i % 3));
	}
	return thrum_sleep(ticks(200)); /* what has not come by then never will */
}

static int receive_datagrams(struct datagrams *d)
{
	for (;;) {
		char text[8];
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		ssize_t n = thrum_recvfrom(d->in, text, sizeof text, 0, (struct sockaddr *)&from, &len);
		unsigned i = (unsigned)(text[0] - '0');

		if (n < 0)
			return (int)n;
		TH_CHECK(i < DATAGRAMS && n == 2 + (int)(i % 3) && !(d->seen & 1U << i)); /* whole, and once */
		TH_CHECK(len == sizeof from && ntohl(from.sin_addr.s_addr) == INADDR_LOOPBACK);
		d->seen |= 1U << i;
		d->came++;
	}
}
THRUM_FX(receive_datagrams, struct datagrams);

static int both_ways(struct datagrams *d)
{
	thrum_scope s;
	int code = thrum_scope_open(&s);

	if (code < 0)
		return code;
	code = thrum_spawn_with(&s, NULL, receive_datagrams_fx(d), THRUM_SPAWN_OPTS(.daemon = true));
	if (code == 0)
		code = send_datagrams(d);
	if (code < 0)
		(void)thrum_scope_fail(&s, code);
	return thrum_scope_close(&s);
}

/* They come whole and once, in any order, and on a network that loses none all of them come. */
LONG_TEST(net, datagrams_come_whole_or_not_at_all)
{
	struct datagrams d = { .came = 0 };
	struct sockaddr_in mine;
	bool lossy = sim_choose(2);
	int code;

	(void)unused;
	d.in = socket_at_home(&d.to);
	d.out = socket_at_home(&mine);
	if (lossy)
		th_sim_faults(&(struct th_sim_faults){ .lost = 3, .cut = 10 });
	code = both_ways(&d);
	TH_CHECK_EQ(thrum_close(d.in), 0);
	TH_CHECK_EQ(thrum_close(d.out), 0);
	TH_CHECK(code < 0 || lossy || d.came == DATAGRAMS || sim_cancelled_inside());
	return code;
}

/* --- descriptors passed on --- */

struct passing {
	int pair[2], pipe[2];
	int got;
};

static int pass(struct passing *p)
{
	int code = thrum_send_fd(p->pair[0], p->pipe[0]);

	if (code == 0)
		code = thrum_write_all(p->pipe[1], "ok", 2, NULL);
	return code;
}
THRUM_FX(pass, struct passing);

static int take(struct passing *p)
{
	char text[2];
	int fd = thrum_recv_fd(p->pair[1]), code;

	if (fd < 0)
		return fd;
	code = thrum_read_all(fd, text, sizeof text, NULL);
	TH_CHECK(code < 0 || memcmp(text, "ok", 2) == 0);
	p->got = code == 0;
	return thrum_close(fd) < 0 ? -EIO : code;
}
THRUM_FX(take, struct passing);

/* G10: a descriptor on its way is nobody's until it is taken, and then the taker's: also when he is cancelled. */
LONG_TEST(net, passed_descriptors_are_not_lost_G10)
{
	struct passing p = { .got = 0 };
	int code;

	(void)unused;
	TH_CHECK_EQ(th_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, p.pair), 0);
	TH_CHECK_EQ(th_sim_pipe(p.pipe), 0);
	code = thrum_zip_par(pass_fx(&p), take_fx(&p));
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(thrum_close(p.pair[i]), 0);
		TH_CHECK_EQ(thrum_close(p.pipe[i]), 0);
	}
	TH_CHECK(code < 0 || p.got);
	return code;
}

/* --- closing in flight --- */

struct closing {
	int fds[3]; /* a listener; both ends of a connection */
	bool closed;
};

static int wait_for_client(struct closing *c)
{
	int fd = thrum_accept(c->fds[0], NULL, NULL);

	TH_CHECK(fd == -EBADF || fd == -ECANCELED);
	return fd == -EBADF ? 0 : fd;
}
THRUM_FX(wait_for_client, struct closing);

static int wait_for_bytes(struct closing *c)
{
	char text[8];
	ssize_t n = thrum_recv(c->fds[1], text, sizeof text, 0);

	TH_CHECK(n == -EBADF || n == -ECANCELED);
	return n == -EBADF ? 0 : (int)n;
}
THRUM_FX(wait_for_bytes, struct closing);

static int fill_up(struct closing *c)
{
	static char text[32768];
	int code = thrum_send_all(c->fds[1], text, sizeof text, 0, NULL);

	TH_CHECK(code == -EBADF || code == -ECANCELED);
	return code == -EBADF ? 0 : code;
}
THRUM_FX(fill_up, struct closing);

static int close_all(struct closing *c)
{
	int code = thrum_sleep(ticks(sim_choose(24)));

	c->closed = true;
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_close(c->fds[i]), 0);
	return code;
}
THRUM_FX(close_all, struct closing);

/* G9: of sockets, too: accepting, receiving, and sending into a full buffer end with the close. */
LONG_TEST(net, close_ends_what_waits_on_sockets_G9)
{
	struct closing c = { .closed = false };
	int code;

	(void)unused;
	c.fds[0] = thrum_listen_on("127.0.0.1:0", NULL);
	if (c.fds[0] < 0)
		return c.fds[0];
	TH_CHECK_EQ(th_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, c.fds + 1), 0);
	code = thrum_zip_par(wait_for_client_fx(&c), wait_for_bytes_fx(&c), fill_up_fx(&c), close_all_fx(&c));
	if (!c.closed)
		(void)close_all(&c);
	return code;
}
