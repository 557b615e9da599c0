/* io/sim/dgram.c: datagrams of the simulated kernel. Over UDP each arrives at a time of its own, or never; over AF_UNIX they
 * arrive at once and in order, and who sends to a full queue waits. No descriptors go with them. */
#include "kernel.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { QUEUE_MAX = 16, BYTES_MAX = 65507 };

struct sim_datagram {
	struct sim_datagram *next;
	int64_t at;
	struct th_sockaddr from;
	size_t len;
	char bytes[];
};

static struct sim_sock *of(struct sim_file *f)
{
	return (struct sim_sock *)(void *)f;
}

static int take_error(struct sim_sock *s)
{
	int code = s->error;

	s->error = 0;
	return code;
}

int sim_dgram_connect(struct sim_sock *s, const struct th_sockaddr *to)
{
	int code = sim_route(to), found;

	if (code == -EAGAIN)
		code = 0;
	if (!sim_sock_is_inet(s) && !sim_sock_at(s, to, &found))
		code = found;
	if (code == 0)
		code = sim_bind_ephemeral(s, to);
	if (code < 0)
		return code;
	s->remote = *to;
	s->state = SIM_CONNECTED;
	return 0;
}

/* --- sending --- */

static int receiver_of(struct sim_sock *s, const struct sim_io *io, struct sim_sock **ret)
{
	const struct msghdr *msg = io->msg;
	struct th_sockaddr to = s->remote;
	int code;

	*ret = s->peer;
	if (msg && msg->msg_name) {
		code = sim_take_address(s, msg->msg_name, msg->msg_namelen, &to);
		if (code < 0)
			return code;
	} else if (s->peer) {
		return 0;
	}
	if (!to.len)
		return s->state == SIM_CONNECTED ? -ECONNREFUSED : sim_sock_is_inet(s) ? -EDESTADDRREQ : -ENOTCONN;
	code = sim_route(&to);
	if (code == 0 || code == -EAGAIN)
		code = sim_bind_ephemeral(s, &to);
	if (code < 0)
		return code;
	*ret = sim_sock_at(s, &to, &code);
	if (*ret || sim_sock_is_inet(s))
		return 0;
	return code;
}

static struct th_sockaddr source_of(const struct sim_sock *s)
{
	struct th_sockaddr from = s->local;

	if (s->family == AF_INET && from.sa.in.sin_addr.s_addr == INADDR_ANY)
		from.sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (s->family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&from.sa.in6.sin6_addr))
		from.sa.in6.sin6_addr = in6addr_loopback;
	return from;
}

/* One that is connected takes only what comes from there. */
static bool listens_to(const struct sim_sock *to, const struct th_sockaddr *from)
{
	if (!to->remote.len)
		return true;
	return to->remote.len == from->len && memcmp(&to->remote.sa, &from->sa, from->len) == 0;
}

static int deliver(struct sim_sock *to, const struct sim_io *io, const struct th_sockaddr *from, int64_t at)
{
	struct sim_datagram *d = malloc(sizeof *d + io->len), **last = &to->datagrams;

	if (!d)
		return -ENOBUFS;
	*d = (struct sim_datagram){ .at = at, .from = *from, .len = io->len };
	sim_gather(io, 0, d->bytes, io->len);
	while (*last)
		last = &(*last)->next;
	*last = d;
	to->n_datagrams++;
	sim_stir(&to->file);
	return (int)io->len;
}

static int send_udp(struct sim_sock *s, struct sim_sock *to, const struct sim_io *io)
{
	struct th_sockaddr from = source_of(s);
	bool cut, lost;
	int64_t at;

	if (!to) {
		if (s->state == SIM_CONNECTED && sim_route(&s->remote) == 0)
			s->error = -ECONNREFUSED; /* told by the next call */
		return (int)io->len;
	}
	at = sim_link(&cut);
	lost = sim_fault(sim_faults.lost);
	if (cut || lost || to->n_datagrams == QUEUE_MAX || to->read_shut || !listens_to(to, &from))
		return (int)io->len;
	return deliver(to, io, &from, at);
}

static int dgram_write(struct sim_file *f, struct sim_io *io)
{
	struct sim_sock *s = of(f), *to;
	int code;

	if (s->error)
		return take_error(s);
	if (s->write_shut)
		return -EPIPE;
	if (io->len > BYTES_MAX)
		return -EMSGSIZE;
	if (io->msg && io->msg->msg_controllen > 0)
		return -EINVAL;
	code = receiver_of(s, io, &to);
	if (code < 0)
		return code;
	if (sim_sock_is_inet(s))
		return send_udp(s, to, io);
	if (to->read_shut)
		return -EPIPE;
	if (!listens_to(to, &s->local))
		return -EPERM;
	return to->n_datagrams == QUEUE_MAX ? -EAGAIN : deliver(to, io, &s->local, th_sim_now());
}

/* --- receiving --- */

/* The one that arrived first. */
static struct sim_datagram **first_of(struct sim_sock *s)
{
	struct sim_datagram **first = NULL;

	for (struct sim_datagram **at = &s->datagrams; *at; at = &(*at)->next)
		if ((*at)->at <= th_sim_now() && (!first || (*at)->at < (*first)->at))
			first = at;
	return first;
}

size_t sim_dgram_first(struct sim_sock *s)
{
	struct sim_datagram **first = first_of(s);

	return first ? (*first)->len : 0;
}

static void tell_source(const struct sim_datagram *d, const struct sim_io *io, bool cut)
{
	socklen_t room = io->msg->msg_namelen;

	sim_give_address(&d->from, io->msg->msg_name, &room);
	io->msg->msg_namelen = io->msg->msg_name ? room : 0;
	io->msg->msg_flags = cut ? MSG_TRUNC : 0;
	io->msg->msg_controllen = 0;
}

static int dgram_read(struct sim_file *f, struct sim_io *io)
{
	struct sim_sock *s = of(f);
	struct sim_datagram **at = first_of(s), *d = at ? *at : NULL;
	size_t n;

	if (s->error)
		return take_error(s);
	if (!d)
		return s->read_shut ? 0 : -EAGAIN;
	n = d->len < io->len ? d->len : io->len;
	sim_scatter(io, 0, d->bytes, n);
	if (io->msg)
		tell_source(d, io, n < d->len);
	n = io->flags & MSG_TRUNC ? d->len : n;
	if (io->flags & MSG_PEEK)
		return (int)n;
	*at = d->next;
	free(d);
	if (s->n_datagrams-- == QUEUE_MAX && !sim_sock_is_inet(s))
		sim_stir(NULL); /* those who wait to send */
	return (int)n;
}

static unsigned dgram_ready(struct sim_file *f)
{
	struct sim_sock *s = of(f);
	unsigned ready = s->error ? POLLERR | POLLIN : 0U;

	if (first_of(s) || s->read_shut)
		ready |= POLLIN;
	if (!s->peer || s->peer->n_datagrams < QUEUE_MAX)
		ready |= POLLOUT;
	return ready;
}

static int64_t dgram_next(struct sim_file *f)
{
	int64_t first = INT64_MAX;

	for (const struct sim_datagram *d = of(f)->datagrams; d; d = d->next)
		if (d->at > th_sim_now() && d->at < first)
			first = d->at;
	return first;
}

static void dgram_release(struct sim_file *f)
{
	struct sim_sock *s = of(f);

	while (s->datagrams) {
		struct sim_datagram *d = s->datagrams;
		s->datagrams = d->next;
		free(d);
	}
	if (s->peer) {
		s->peer->peer = NULL;
		sim_stir(&s->peer->file);
	}
	sim_sock_free(s);
}

const struct sim_kind sim_dgram_kind = { dgram_read, dgram_write, dgram_ready, dgram_next, dgram_release };
