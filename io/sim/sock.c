/* io/sim/sock.c: sockets of the simulated kernel: addresses, options, and the calls that wait for nothing.
 *
 * One host with all of the network that there is:
 *   127.0.0.0/8, ::1, 10.0.0.0/8, fd00::/8   this host's own, each of them
 *   192.0.2.0/24, 2001:db8::/32              nothing ever answers from there
 *   all others                               unreachable */
#include "kernel.h"
#include "../sys.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PORT = 40000, LAST_PORT = 60999, BACKLOG_MAX = 4096 };

static struct {
	struct sim_sock *bound;
	uint16_t last_port;
	unsigned last_name;
} net;

void sim_net_reset(void)
{
	memset(&net, 0, sizeof net); /* whoever was bound has been closed */
	sim_cut_reset();
}

/* --- addresses --- */

static bool in6_begins(const struct in6_addr *a, unsigned char first, unsigned char second, unsigned char mask)
{
	return a->s6_addr[0] == first && (a->s6_addr[1] & mask) == second;
}

static uint32_t ipv4_of(const struct th_sockaddr *a)
{
	return ntohl(a->sa.in.sin_addr.s_addr);
}

static bool is_any(const struct th_sockaddr *a)
{
	if (a->sa.any.sa_family == AF_INET)
		return a->sa.in.sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&a->sa.in6.sin6_addr);
}

static bool is_own(const struct th_sockaddr *a)
{
	const struct in6_addr *six = &a->sa.in6.sin6_addr;

	if (a->sa.any.sa_family == AF_INET)
		return ipv4_of(a) >> 24 == 127 || ipv4_of(a) >> 24 == 10 || is_any(a);
	return IN6_IS_ADDR_LOOPBACK(six) || is_any(a) || in6_begins(six, 0xfd, 0, 0);
}

int sim_route(const struct th_sockaddr *a)
{
	if (a->sa.any.sa_family == AF_UNIX || is_own(a))
		return 0;
	if (a->sa.any.sa_family == AF_INET)
		return ipv4_of(a) >> 8 == 0xc00002 ? -EAGAIN : -ENETUNREACH;
	return in6_begins(&a->sa.in6.sin6_addr, 0x20, 0x01, 0xff) && a->sa.in6.sin6_addr.s6_addr[2] == 0x0d &&
			       a->sa.in6.sin6_addr.s6_addr[3] == 0xb8 ?
		       -EAGAIN :
		       -ENETUNREACH;
}

static in_port_t *port_of(struct th_sockaddr *a)
{
	return a->sa.any.sa_family == AF_INET ? &a->sa.in.sin_port : &a->sa.in6.sin6_port; /* both in the same place */
}

static bool same_port(const struct th_sockaddr *a, const struct th_sockaddr *b)
{
	return a->sa.in.sin_port == b->sa.in.sin_port;
}

static bool same_host(const struct th_sockaddr *a, const struct th_sockaddr *b)
{
	if (a->sa.any.sa_family == AF_INET)
		return a->sa.in.sin_addr.s_addr == b->sa.in.sin_addr.s_addr;
	return memcmp(&a->sa.in6.sin6_addr, &b->sa.in6.sin6_addr, sizeof(struct in6_addr)) == 0;
}

static bool same_name(const struct th_sockaddr *a, const struct th_sockaddr *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

int sim_take_address(const struct sim_sock *s, const struct sockaddr *sa, socklen_t len, struct th_sockaddr *ret)
{
	static const socklen_t least[] = { [AF_UNIX] = sizeof(sa_family_t), [AF_INET] = sizeof(struct sockaddr_in),
					   [AF_INET6] = sizeof(struct sockaddr_in6) };

	if (!sa)
		return -EFAULT;
	if (len < least[s->family] || len > sizeof ret->sa)
		return -EINVAL;
	if (sa->sa_family != s->family)
		return -EAFNOSUPPORT;
	memset(ret, 0, sizeof *ret);
	memcpy(&ret->sa, sa, len);
	ret->len = s->family == AF_UNIX ? len : least[s->family];
	return 0;
}

/* No address: of a socket of AF_UNIX without a name the family alone. */
void sim_give_address(const struct th_sockaddr *a, struct sockaddr *sa, socklen_t *len)
{
	if (!sa || !len)
		return;
	memcpy(sa, &a->sa, *len < a->len ? *len : a->len);
	*len = a->len;
}

/* --- who has an address --- */

/* Would these two take the same connections? */
static bool conflict(const struct sim_sock *a, const struct sim_sock *b)
{
	bool both_any = is_any(&a->local) || is_any(&b->local);

	if (a->family != b->family) {
		const struct sim_sock *six = a->family == AF_INET6 ? a : b;
		return !six->v6_only && is_any(&six->local);
	}
	return both_any || same_host(&a->local, &b->local);
}

static bool is_taken(const struct sim_sock *s)
{
	for (const struct sim_sock *at = net.bound; at; at = at->next_bound) {
		if (at == s || at->type != s->type || sim_sock_is_inet(at) != sim_sock_is_inet(s))
			continue;
		if (!sim_sock_is_inet(s)) {
			if (same_name(&at->local, &s->local))
				return true;
			continue;
		}
		/* With SO_REUSEADDR a connection's port is no obstacle; nor is it without, where nothing is in TIME_WAIT. */
		if (!same_port(&at->local, &s->local) || at->state == SIM_CONNECTED || at->state == SIM_BROKEN)
			continue;
		if (conflict(at, s) && !(at->reuse_port && s->reuse_port))
			return true;
	}
	return false;
}

static void add_bound(struct sim_sock *s)
{
	s->next_bound = net.bound;
	net.bound = s;
}

static void remove_bound(struct sim_sock *s)
{
	for (struct sim_sock **at = &net.bound; *at; at = &(*at)->next_bound) {
		if (*at == s) {
			*at = s->next_bound;
			return;
		}
	}
}

static int choose_port(struct sim_sock *s)
{
	for (unsigned i = 0; i <= LAST_PORT - FIRST_PORT; i++) {
		net.last_port = net.last_port < FIRST_PORT || net.last_port == LAST_PORT ? FIRST_PORT :
											   (uint16_t)(net.last_port + 1);
		*port_of(&s->local) = htons(net.last_port);
		if (!is_taken(s))
			return 0;
	}
	return -EADDRINUSE;
}

static int bind_inet(struct sim_sock *s, const struct th_sockaddr *a)
{
	int code = 0;

	if (!is_own(a))
		return -EADDRNOTAVAIL;
	s->local = *a;
	if (*port_of(&s->local) == 0)
		code = choose_port(s);
	else if (is_taken(s))
		code = -EADDRINUSE;
	return code;
}

static int bind_unix(struct sim_sock *s, const struct th_sockaddr *a)
{
	s->local = *a;
	if (a->len == sizeof(sa_family_t)) { /* a name of the kernel's choice, abstract */
		int n = snprintf(s->local.sa.un.sun_path + 1, 16, "%05x", ++net.last_name);
		s->local.sa.un.sun_path[0] = '\0';
		s->local.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	}
	if (th_sockaddr_has_path(a))
		return sim_fs_make_socket(s->local.sa.un.sun_path, &s->node);
	return is_taken(s) ? -EADDRINUSE : 0;
}

static int bind_to(struct sim_sock *s, const struct th_sockaddr *a)
{
	int code;

	if (s->local.len)
		return -EINVAL;
	code = sim_sock_is_inet(s) ? bind_inet(s, a) : bind_unix(s, a);
	if (code < 0)
		s->local.len = 0;
	else
		add_bound(s);
	return code;
}

/* Connections come from the loopback, or from the address that they go to, as all of them are here. */
int sim_bind_ephemeral(struct sim_sock *s, const struct th_sockaddr *towards)
{
	struct th_sockaddr a = *towards;

	if (s->local.len || !sim_sock_is_inet(s))
		return 0;
	*port_of(&a) = 0;
	if (sim_route(&a) < 0 || is_any(&a) || (s->family == AF_INET && ipv4_of(&a) >> 24 == 127)) {
		if (s->family == AF_INET)
			a.sa.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		else
			a.sa.in6.sin6_addr = in6addr_loopback;
	}
	return bind_to(s, &a);
}

/* Does what is sent there by one of that family reach the socket? */
static bool takes(const struct sim_sock *s, const struct th_sockaddr *to)
{
	if (!sim_sock_is_inet(s) || to->sa.any.sa_family == AF_UNIX)
		return s->family == to->sa.any.sa_family && !s->node && same_name(&s->local, to);
	if (!same_port(&s->local, to))
		return false;
	if (s->family != to->sa.any.sa_family)
		return s->family == AF_INET6 && !s->v6_only && is_any(&s->local);
	return is_any(&s->local) || same_host(&s->local, to) ||
	       (is_any(to) && (s->local.sa.any.sa_family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&s->local.sa.in6.sin6_addr) :
								       ipv4_of(&s->local) == INADDR_LOOPBACK));
}

struct sim_sock *sim_sock_at(const struct sim_sock *from, const struct th_sockaddr *to, int *ret_code)
{
	struct sim_sock *at, *first = NULL;
	struct sim_node *node = NULL;
	unsigned n = 0;

	*ret_code = -ECONNREFUSED;
	if (th_sockaddr_has_path(to) && !(node = sim_fs_find_socket(to->sa.un.sun_path, ret_code)))
		return NULL;
	for (at = net.bound; at; at = at->next_bound) {
		bool serves = from->type == SOCK_STREAM ? at->state == SIM_LISTENS : true;
		if (at->type != from->type || !serves || !(node ? at->node == node : takes(at, to)))
			continue;
		n++;
		if (th_sim_choose(n) == n - 1 || !first)
			first = at; /* each with the same chance; the last one bound, if all choices are 0 */
	}
	return first;
}

/* --- sockets --- */

struct sim_sock *sim_sock_of_file(struct sim_file *f, int *ret_code)
{
	*ret_code = f ? -ENOTSOCK : -EBADF;
	return f && (f->kind == &sim_conn_kind || f->kind == &sim_dgram_kind) ? (struct sim_sock *)(void *)f : NULL;
}

enum { STREAM_BYTES = 8192, STREAM_BYTES_LEAST = 4096 }; /* Linux gives no socket less, with what it adds on the way */

struct sim_sock *sim_sock_new(int family, int type)
{
	struct sim_sock *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->file = (struct sim_file){ type == SOCK_STREAM ? &sim_conn_kind : &sim_dgram_kind, 1, 0 };
	s->family = family;
	s->type = type;
	s->reset_at = s->settled_at = INT64_MAX;
	sim_stream_init(&s->rx, th_sim_choose(2) ? sim_buffer_of(STREAM_BYTES_LEAST) : STREAM_BYTES);
	return s;
}

void sim_sock_free(struct sim_sock *s)
{
	remove_bound(s);
	sim_node_put(s->node);
	sim_stream_fini(&s->rx);
	free(s);
}

static int check_kind(int family, int type, int protocol)
{
	if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
		return -EAFNOSUPPORT;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return family == AF_UNIX ? -ESOCKTNOSUPPORT : -EPROTONOSUPPORT;
	if (protocol && (family == AF_UNIX || protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP)))
		return -EPROTONOSUPPORT;
	return 0;
}

/* Takes it. */
static int new_fd(struct sim_sock *s, int flags)
{
	int fd;

	if (!s)
		return -ENOBUFS;
	s->file.flags = O_RDWR | (flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	fd = sim_fd_new(&s->file);
	if (fd < 0)
		sim_file_put(&s->file);
	return fd;
}

/* On plain threads and on fibers: a section of TSan's around what is below. */
#define SIM_CALL(expression) sim_errno_of((sim_call_begin(), (expression)))
static void sim_call_begin(void)
{
	TH_TSAN_PRIVATE_BEGIN();
}
static int sim_errno_of(int code)
{
	TH_TSAN_PRIVATE_END();
	return sim_errno(code);
}

int th_sys_socket(int family, int type, int protocol)
{
	int flags = type & (SOCK_NONBLOCK | SOCK_CLOEXEC), code;

	type &= ~flags;
	code = check_kind(family, type, protocol);
	if (code == 0 && sim_fault(sim_faults.no_memory))
		code = -ENOBUFS;
	return code < 0 ? sim_errno(code) : SIM_CALL(new_fd(sim_sock_new(family, type), flags));
}

static int new_pair(int type, int flags, int fds[2])
{
	struct sim_sock *a = sim_sock_new(AF_UNIX, type), *b = sim_sock_new(AF_UNIX, type);
	int pair[2];

	if (a && b && sim_conn_pair(a, b) == 0) {
		pair[0] = new_fd(a, flags);
		pair[1] = pair[0] < 0 ? pair[0] : new_fd(b, flags);
		if (pair[0] >= 0 && pair[1] >= 0) {
			memcpy(fds, pair, sizeof pair);
			return 0;
		}
		if (pair[0] >= 0)
			(void)sim_fd_close(pair[0]);
		else
			sim_file_put(&b->file);
		return pair[1];
	}
	sim_file_put(a ? &a->file : NULL);
	sim_file_put(b ? &b->file : NULL);
	return -ENOBUFS;
}

int th_sys_socketpair(int family, int type, int protocol, int fds[2])
{
	int flags = type & (SOCK_NONBLOCK | SOCK_CLOEXEC), code;

	type &= ~flags;
	code = family == AF_UNIX ? check_kind(family, type, protocol) : -EOPNOTSUPP;
	return code < 0 ? sim_errno(code) : SIM_CALL(new_pair(type, flags, fds));
}

/* What the call wants of a socket. */
static int on(int fd, int (*call)(struct sim_sock *s, const struct sockaddr *sa, socklen_t n), const struct sockaddr *sa,
	      socklen_t n)
{
	int code;
	struct sim_sock *s = sim_sock_of(fd, &code);

	return s ? call(s, sa, n) : code;
}

static int do_bind(struct sim_sock *s, const struct sockaddr *sa, socklen_t len)
{
	struct th_sockaddr a;
	int code = sim_take_address(s, sa, len, &a);

	return code < 0 ? code : bind_to(s, &a);
}

int th_sys_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	return SIM_CALL(on(fd, do_bind, sa, len));
}

static int do_listen(struct sim_sock *s, const struct sockaddr *unused, socklen_t backlog)
{
	(void)unused;
	if (s->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (s->state != SIM_NEW && s->state != SIM_LISTENS)
		return -EINVAL;
	if (!s->local.len) {
		struct th_sockaddr any = { .sa.any.sa_family = (sa_family_t)s->family, .len = sizeof any.sa.in6 };
		int code = sim_sock_is_inet(s) ? bind_to(s, &any) : -EINVAL;
		if (code < 0)
			return code;
	}
	s->state = SIM_LISTENS;
	s->backlog = backlog < 1 ? 1 : backlog > BACKLOG_MAX ? BACKLOG_MAX : (unsigned)backlog;
	return 0;
}

int th_sys_listen(int fd, int backlog)
{
	return SIM_CALL(on(fd, do_listen, NULL, backlog < 0 ? 0 : (socklen_t)backlog));
}

/* connect(2) and accept(2) that do not wait. */
static int at_once(int fd, const struct th_op *op)
{
	int code;
	struct sim_sock *s = sim_sock_of(fd, &code);

	if (!s)
		return code;
	return op->kind == TH_OP_CONNECT ? sim_connect(s, op) : sim_accept(s, op);
}

int th_sys_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct th_op op = { .kind = TH_OP_CONNECT, .fd = fd, .buf = (void *)(uintptr_t)sa, .len = len };

	return SIM_CALL(at_once(fd, &op));
}

int th_sys_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct th_op op = { .kind = TH_OP_ACCEPT, .fd = fd, .buf = sa, .lenp = len, .arg = (uint32_t)flags };

	return SIM_CALL(at_once(fd, &op));
}

static int do_shutdown(struct sim_sock *s, const struct sockaddr *unused, socklen_t how)
{
	(void)unused;
	return how > SHUT_RDWR ? -EINVAL : sim_conn_shutdown(s, (int)how);
}

int th_sys_shutdown(int fd, int how)
{
	return SIM_CALL(on(fd, do_shutdown, NULL, (socklen_t)how));
}

static int name_of(int fd, bool own, struct sockaddr *sa, socklen_t *len)
{
	int code;
	struct sim_sock *s = sim_sock_of(fd, &code);
	struct th_sockaddr none = { .len = sizeof(sa_family_t) };

	if (!s)
		return code;
	if (!own && !s->remote.len && s->state != SIM_CONNECTED)
		return -ENOTCONN;
	none.sa.any.sa_family = (sa_family_t)s->family;
	if (sim_sock_is_inet(s))
		none.len = s->family == AF_INET ? sizeof none.sa.in : sizeof none.sa.in6;
	sim_give_address(own ? (s->local.len ? &s->local : &none) : (s->remote.len ? &s->remote : &none), sa, len);
	return 0;
}

int th_sys_getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	return SIM_CALL(name_of(fd, true, sa, len));
}

int th_sys_getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	return SIM_CALL(name_of(fd, false, sa, len));
}

/* --- options: those that change something here are kept, the other usual ones are accepted --- */

static int set_option(struct sim_sock *s, int level, int option, int value)
{
	if (level == IPPROTO_TCP)
		return s->type == SOCK_STREAM && sim_sock_is_inet(s) ? 0 : -EOPNOTSUPP;
	if (level == IPPROTO_IPV6 && option == IPV6_V6ONLY) {
		if (s->family != AF_INET6)
			return -ENOPROTOOPT;
		s->v6_only = value;
		return 0;
	}
	if (level != SOL_SOCKET)
		return -ENOPROTOOPT;
	if (option == SO_REUSEPORT)
		s->reuse_port = value;
	return 0;
}

int th_sys_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	int code, n = 0;
	struct sim_sock *s = sim_sock_of(fd, &code);

	if (!s)
		return sim_errno(code);
	if (level == SOL_SOCKET && option == SO_LINGER && len >= sizeof(struct linger)) {
		const struct linger *l = value;
		s->abort_on_close = l->l_onoff && l->l_linger == 0;
		return 0;
	}
	if (len < sizeof n)
		return sim_errno(-EINVAL);
	memcpy(&n, value, sizeof n);
	return sim_errno(set_option(s, level, option, n));
}

static int get_option(struct sim_sock *s, int option)
{
	int n;

	switch (option) {
	case SO_ACCEPTCONN:
		return s->state == SIM_LISTENS;
	case SO_ERROR:
		if (s->type == SOCK_STREAM)
			sim_conn_settle(s);
		n = -s->error;
		s->error = 0;
		return n;
	case SO_TYPE:
		return s->type;
	case SO_DOMAIN:
		return s->family;
	case SO_RCVBUF:
	case SO_SNDBUF:
		return (int)s->rx.size;
	case SO_REUSEPORT:
		return s->reuse_port;
	default:
		return -ENOPROTOOPT;
	}
}

int th_sys_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
	int code;
	struct sim_sock *s = sim_sock_of(fd, &code);

	if (!s)
		return sim_errno(code);
	code = level == SOL_SOCKET && *len >= sizeof code ? get_option(s, option) : -ENOPROTOOPT;
	if (code < 0)
		return sim_errno(code);
	memcpy(value, &code, sizeof code);
	*len = sizeof code;
	return 0;
}
