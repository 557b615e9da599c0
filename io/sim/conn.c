/* io/sim/conn.c: connections of the simulated kernel: TCP, and streams of AF_UNIX.
 *
 *              connect                 its time has come, sim_conn_settle()          a reset
 *      NEW ──────────────► CONNECTING ──────────────────────────────► CONNECTED ──────────────► BROKEN
 *       ▲                      │ refused, timed out: told once, as the real one does
 *       └──────────────────────┘
 * A listener is chosen when the connect begins. The other end is made then, and lies in its backlog from the start; both
 * ends learn of the connection each at a time of its own.
 *
 * Over TCP whatever one end does is seen by the other after a latency, in order: bytes, then the end. A reset overtakes: who
 * closes without having read everything resets, and what he had sent before may then never arrive. */
#include "kernel.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS INT64_C(127000000000) /* of a connect that nobody answers: six SYNs, each waited for twice as long */
enum { CUT_TICKS = 64 };                 /* the network is cut for a multiple of so many, at most 8 times */

static int64_t cut_until;

void sim_cut_reset(void)
{
	cut_until = 0;
}

int64_t sim_link(bool *ret_cut)
{
	int64_t now = th_sim_now(), at = sim_arrival();

	if (now >= cut_until && sim_fault(sim_faults.cut))
		cut_until = now + (int64_t)CUT_TICKS * (1 + th_sim_choose(8)) * TH_SIM_TICK_NS;
	*ret_cut = now < cut_until;
	return *ret_cut && at < cut_until ? cut_until : at;
}

static int64_t arrival(const struct sim_sock *s)
{
	bool cut;

	return sim_sock_is_inet(s) ? sim_link(&cut) : th_sim_now();
}

static struct sim_sock *of(struct sim_file *f)
{
	return (struct sim_sock *)(void *)f;
}

static void stir(struct sim_sock *s)
{
	if (s)
		sim_stir(&s->file);
}

static int take_error(struct sim_sock *s)
{
	int code = s->error;

	s->error = 0;
	return code;
}

/* --- what becomes visible by itself --- */

static void settle_connect(struct sim_sock *s)
{
	if (s->state != SIM_CONNECTING || s->settled_at > th_sim_now())
		return;
	s->settled_at = INT64_MAX;
	if (s->outcome == 0) {
		s->state = SIM_CONNECTED;
		return;
	}
	s->state = SIM_NEW;
	s->error = s->outcome;
	s->remote.len = 0;
}

void sim_conn_settle(struct sim_sock *s)
{
	settle_connect(s);
	if (s->state != SIM_CONNECTED || s->reset_at > th_sim_now())
		return;
	s->state = SIM_BROKEN;
	s->reset_at = INT64_MAX;
	s->error = sim_stream_ended(&s->rx) ? -EPIPE : -ECONNRESET;
	sim_stream_cut(&s->rx);
	if (s->peer) { /* what it sends from now on goes nowhere */
		s->peer->peer = NULL;
		stir(s->peer);
		s->peer = NULL;
	}
}

static void first_of(int64_t *first, int64_t at)
{
	if (at > th_sim_now() && at < *first)
		*first = at;
}

static int64_t conn_next(struct sim_file *f)
{
	struct sim_sock *s = of(f);
	int64_t first = INT64_MAX;

	first_of(&first, s->settled_at);
	first_of(&first, s->reset_at);
	first_of(&first, sim_stream_next(&s->rx));
	for (const struct sim_sock *w = s->waiting; w; w = w->next_waiting)
		first_of(&first, w->settled_at);
	return first;
}

/* --- connecting --- */

/* In the listener's backlog. */
static struct sim_sock *other_end(struct sim_sock *s, struct sim_sock *listener, const struct th_sockaddr *to)
{
	struct sim_sock *e = sim_sock_new(listener->family, SOCK_STREAM), **at = &listener->waiting;

	if (!e)
		return NULL;
	e->state = SIM_CONNECTED;
	e->local = *to;
	e->remote = s->local;
	e->peer = s;
	e->listener = listener;
	e->settled_at = arrival(s);
	while (*at)
		at = &(*at)->next_waiting;
	*at = e;
	listener->n_waiting++;
	return e;
}

static int begin(struct sim_sock *s, int outcome, int64_t at)
{
	s->state = SIM_CONNECTING;
	s->outcome = outcome;
	s->settled_at = at;
	s->told = false;
	return 0;
}

/* The backlog is full: a connect over AF_UNIX waits for a place, one over TCP asks again and again. */
static int wait_for_place(struct sim_sock *s)
{
	if (!sim_sock_is_inet(s))
		return -EAGAIN;
	if (s->settled_at == INT64_MAX)
		s->settled_at = th_sim_now() + TIMEOUT_NS;
	if (s->settled_at > th_sim_now())
		return -EAGAIN;
	s->settled_at = INT64_MAX;
	return -ETIMEDOUT;
}

static bool is_full(const struct sim_sock *s, const struct sim_sock *listener)
{
	return listener->n_waiting >= listener->backlog && !(sim_sock_is_inet(s) && (s->file.flags & O_NONBLOCK));
}

/* 0: it has begun. */
static int start(struct sim_sock *s, const struct th_sockaddr *to)
{
	int code = sim_route(to), found;
	struct sim_sock *listener;

	if (code == 0 || code == -EAGAIN)
		found = sim_bind_ephemeral(s, to);
	if (code == -EAGAIN && found == 0)
		return begin(s, -ETIMEDOUT, th_sim_now() + TIMEOUT_NS);
	if (code < 0 || found < 0)
		return code < 0 ? code : found;
	listener = sim_sock_at(s, to, &found);
	if (listener && sim_sock_is_inet(s) && sim_fault(sim_faults.refused))
		listener = NULL;
	if (!listener)
		return sim_sock_is_inet(s) ? begin(s, found, arrival(s)) : found;
	if (is_full(s, listener))
		return wait_for_place(s);
	s->peer = other_end(s, listener, to);
	if (!s->peer)
		return -ENOBUFS;
	s->remote = *to;
	stir(listener);
	return begin(s, 0, arrival(s));
}

/* How it went is told once; after that it is connected. */
static int outcome_of(struct sim_sock *s)
{
	if (s->told)
		return -EISCONN;
	s->told = true;
	return 0;
}

int sim_connect(struct sim_sock *s, const struct th_op *op)
{
	struct th_sockaddr to;
	int code = sim_take_address(s, op->buf, op->len, &to);
	bool begun = s->state == SIM_CONNECTING;

	if (code < 0)
		return code;
	if (s->type == SOCK_DGRAM)
		return sim_dgram_connect(s, &to);
	sim_conn_settle(s);
	if (s->error)
		return take_error(s);
	if (s->state == SIM_NEW) {
		code = start(s, &to);
		if (code < 0)
			return code;
		sim_conn_settle(s);
	}
	if (s->error)
		return take_error(s);
	if (s->state == SIM_CONNECTING)
		return !(s->file.flags & O_NONBLOCK) ? -EAGAIN : begun ? -EALREADY : -EINPROGRESS;
	return s->state == SIM_CONNECTED ? outcome_of(s) : -EINVAL;
}

int sim_conn_pair(struct sim_sock *a, struct sim_sock *b)
{
	a->state = b->state = SIM_CONNECTED;
	a->told = b->told = true;
	a->peer = b;
	b->peer = a;
	return 0;
}

/* --- accepting --- */

/* The one whose connection was complete first. */
static struct sim_sock **first_waiting(struct sim_sock *s)
{
	struct sim_sock **first = NULL;

	for (struct sim_sock **at = &s->waiting; *at; at = &(*at)->next_waiting)
		if ((*at)->settled_at <= th_sim_now() && (!first || (*at)->settled_at < (*first)->settled_at))
			first = at;
	return first;
}

/* To a socket of AF_INET6 a peer of AF_INET has a mapped address. */
static void map_address(const struct sim_sock *s, struct th_sockaddr *a)
{
	struct th_sockaddr six = { .sa.in6 = { .sin6_family = AF_INET6, .sin6_port = a->sa.in.sin_port }, .len = sizeof six.sa.in6 };

	if (s->family != AF_INET6 || a->sa.any.sa_family != AF_INET)
		return;
	six.sa.in6.sin6_addr.s6_addr[10] = six.sa.in6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&six.sa.in6.sin6_addr.s6_addr[12], &a->sa.in.sin_addr, sizeof a->sa.in.sin_addr);
	*a = six;
}

static void take_out(struct sim_sock *listener, struct sim_sock **at)
{
	struct sim_sock *e = *at;

	*at = e->next_waiting;
	e->next_waiting = NULL;
	e->listener = NULL;
	e->settled_at = INT64_MAX;
	e->told = true;
	if (listener->n_waiting-- == listener->backlog)
		sim_stir(NULL); /* those who wait for a place */
}

int sim_accept(struct sim_sock *s, const struct th_op *op)
{
	struct sim_sock **at, *e;
	struct th_sockaddr peer;
	int fd;

	if (s->state != SIM_LISTENS)
		return s->type == SOCK_STREAM ? -EINVAL : -EOPNOTSUPP;
	at = first_waiting(s);
	if (!at)
		return -EAGAIN;
	if (sim_fault(sim_faults.no_memory))
		return -ENOMEM;
	e = *at;
	fd = sim_fd_new(&e->file);
	if (fd < 0)
		return fd;
	take_out(s, at);
	e->file.flags = O_RDWR | (op->arg & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	map_address(e, &e->local);
	map_address(e, &e->remote);
	peer = e->remote;
	if (!peer.len) /* of AF_UNIX, without a name */
		peer = (struct th_sockaddr){ .sa.any.sa_family = (sa_family_t)e->family, .len = sizeof(sa_family_t) };
	sim_give_address(&peer, op->buf, op->lenp);
	return fd;
}

/* Its connections come from clients that have gone already. */
static int listener_with(unsigned connections)
{
	struct sim_sock *s = sim_sock_new(AF_INET, SOCK_STREAM);
	const struct th_sockaddr home = { .sa.in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
					  .len = sizeof home.sa.in };
	int fd;

	if (!s)
		return -ENOBUFS;
	s->state = SIM_LISTENS;
	s->backlog = connections + 1;
	while (connections-- > 0) {
		struct sim_sock *e = other_end(s, s, &home);
		if (e)
			e->peer = NULL;
	}
	fd = sim_fd_new(&s->file);
	if (fd < 0)
		sim_file_put(&s->file);
	return fd;
}

int th_sim_listener(unsigned connections)
{
	TH_TSAN_PRIVATE_BEGIN();
	int fd = listener_with(connections);
	TH_TSAN_PRIVATE_END();
	return fd;
}

/* --- bytes --- */

static int conn_read(struct sim_file *f, struct sim_io *io)
{
	struct sim_sock *s = of(f);
	int n;

	sim_conn_settle(s);
	if (s->state == SIM_CONNECTING)
		return -EAGAIN;
	if (s->state != SIM_CONNECTED && s->state != SIM_BROKEN)
		return s->error ? take_error(s) : -ENOTCONN;
	if (io->len == 0)
		return 0;
	n = sim_stream_get(&s->rx, io);
	if (n > 0)
		stir(s->peer);
	if (n != 0)
		return n;
	if (s->error && s->error != -EPIPE) /* that is of a reset after the end: a read sees the end, and a write the error */
		return take_error(s);
	return sim_stream_ended(&s->rx) || s->read_shut ? 0 : -EAGAIN;
}

static void break_both(struct sim_sock *s)
{
	s->peer->reset_at = arrival(s);
	s->reset_at = th_sim_now();
	stir(s);
	sim_conn_settle(s);
}

/* The other end is gone: over TCP that is learned by an answer to what was sent. */
static int send_to_nobody(struct sim_sock *s, const struct sim_io *io)
{
	int64_t at;

	if (!sim_sock_is_inet(s))
		return -EPIPE;
	at = arrival(s);
	s->reset_at = at < s->reset_at ? at : s->reset_at;
	stir(s);
	return (int)io->len;
}

static int send_to_peer(struct sim_sock *s, struct sim_io *io)
{
	struct sim_stream *to = &s->peer->rx;
	bool has_rights = io->msg && io->msg->msg_controllen > 0;
	int n;

	if (!sim_sock_is_inet(s) && s->peer->read_shut)
		return -EPIPE;
	if (io->len == 0)
		return 0;
	if (sim_stream_room(to) == 0)
		return -EAGAIN;
	if (sim_sock_is_inet(s) && sim_fault(sim_faults.reset)) {
		break_both(s);
		return take_error(s);
	}
	if (has_rights && !sim_sock_is_inet(s)) {
		int code = sim_rights_send(to, io->msg);
		if (code < 0)
			return code;
	}
	n = sim_stream_put(to, io, arrival(s));
	stir(s->peer);
	return n;
}

static int conn_write(struct sim_file *f, struct sim_io *io)
{
	struct sim_sock *s = of(f);

	sim_conn_settle(s);
	if (s->state == SIM_CONNECTING)
		return -EAGAIN;
	if (s->error)
		return take_error(s);
	if (s->state != SIM_CONNECTED)
		return s->state == SIM_BROKEN || sim_sock_is_inet(s) ? -EPIPE : -ENOTCONN;
	if (s->write_shut)
		return -EPIPE;
	return s->peer ? send_to_peer(s, io) : send_to_nobody(s, io);
}

static unsigned conn_ready(struct sim_file *f)
{
	struct sim_sock *s = of(f);
	unsigned ready = 0;

	sim_conn_settle(s);
	if (s->error)
		ready |= POLLERR | POLLIN | POLLOUT;
	switch (s->state) {
	case SIM_NEW:
		return ready | POLLOUT | POLLHUP;
	case SIM_LISTENS:
		return ready | (first_waiting(s) ? POLLIN : 0U);
	case SIM_CONNECTING:
		return ready;
	case SIM_BROKEN:
		return ready | POLLIN | POLLOUT | POLLHUP | POLLRDHUP;
	case SIM_CONNECTED:
		break;
	}
	if (sim_stream_ready(&s->rx) > 0)
		ready |= POLLIN;
	if (sim_stream_ended(&s->rx) || s->read_shut)
		ready |= POLLIN | POLLRDHUP | (s->write_shut ? POLLHUP : 0U);
	if (s->write_shut || !s->peer || sim_stream_room(&s->peer->rx) > 0)
		ready |= POLLOUT;
	return ready;
}

/* --- ends --- */

/* What lay in the backlog is reset. */
static void drop_waiting(struct sim_sock *s)
{
	while (s->waiting) {
		struct sim_sock *e = s->waiting;
		s->waiting = e->next_waiting;
		sim_file_put(&e->file);
	}
	s->n_waiting = 0;
	sim_stir(NULL); /* who waited for a place finds nobody */
}

int sim_conn_shutdown(struct sim_sock *s, int how)
{
	if (s->type == SOCK_STREAM)
		sim_conn_settle(s);
	if (s->state == SIM_LISTENS && how != SHUT_WR) {
		s->state = SIM_NEW;
		drop_waiting(s);
		stir(s);
		return 0;
	}
	if (s->state != SIM_CONNECTED)
		return -ENOTCONN;
	if (how != SHUT_RD && !s->write_shut) {
		s->write_shut = true;
		if (s->peer)
			sim_stream_end(&s->peer->rx, arrival(s));
	}
	if (how != SHUT_WR)
		s->read_shut = true;
	stir(s->peer);
	stir(s);
	return 0;
}

/* It was in a backlog: to the client it has been refused, or reset. */
static void leave_unaccepted(struct sim_sock *peer)
{
	if (peer->state == SIM_CONNECTING)
		peer->outcome = -ECONNREFUSED;
	else
		peer->reset_at = arrival(peer);
}

static void leave(struct sim_sock *s)
{
	struct sim_sock *peer = s->peer;

	peer->peer = NULL;
	if (s->listener)
		leave_unaccepted(peer);
	else if (s->abort_on_close || s->rx.in != s->rx.out)
		peer->reset_at = arrival(s);
	else
		sim_stream_end(&peer->rx, arrival(s));
	stir(peer);
}

static void conn_release(struct sim_file *f)
{
	struct sim_sock *s = of(f);
	bool listened = s->state == SIM_LISTENS;

	s->state = SIM_NEW; /* nobody finds it any more */
	if (listened)
		drop_waiting(s);
	if (s->peer)
		leave(s);
	sim_sock_free(s);
}

const struct sim_kind sim_conn_kind = { conn_read, conn_write, conn_ready, conn_next, conn_release };
