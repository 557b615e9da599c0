/* io/listen.c: listeners. Public calls, but for the counters and the state.
 *
 *   scope of the handlers      the connections' children, isolated
 *     └ scope of the loops     linked to the token that a drain cancels; who lives in it lives in both, so a loop may
 *                              spawn into the first
 *
 * A drain cancels the loops' scope. When that has closed nobody accepts: what the kernel had accepted is served, the
 * sockets are closed, and only then the handlers are told (conn->draining). In this order a client that is told to go
 * away cannot come back into a backlog that nobody serves. Then the handlers' scope gets the grace as its deadline,
 * and is closed. */
#include "../core/atomic.h"
#include "../core/scope.h"
#include "own_errno.h"
#include "sockaddr.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <thrum/clock.h>
#include <thrum/io.h>
#include <thrum/listen.h>
#include <thrum/rt.h>
#include <thrum/sync.h>
#include <unistd.h>

enum { GRACE_S = 10, BACKOFF_MS = 5, BACKOFF_MAX_MS = 1000 };
enum { OPEN, SERVED, CLOSED };

struct listener {
	thrum_listener_opts opts; /* defaults filled in */
	struct th_sockaddr address;
	int fd;                   /* -1: closed */
	bool given;               /* not made here */
	dev_t dev;                /* of the socket file made here, so that another's is not removed; ino 0: none */
	ino_t ino;
	th_atomic_u32 x_state;
	thrum_token stop, draining;
	thrum_sem places;         /* with .max_connections */
	thrum_scope *handlers;    /* while served; the four are set before the first loop is spawned */
	int (*handler)(void *arg, thrum_conn *conn);
	void *arg;
	/* Statistics; they never decide anything. */
	th_atomic_u64 x_accepted, x_ended, x_failed, x_refused, x_backoffs;
};
_Static_assert(sizeof(struct listener) <= sizeof(thrum_listener), "thrum_listener holds a listener");

static struct listener *of(thrum_listener *l)
{
	return (struct listener *)(void *)l;
}

static const struct listener *of_const(const thrum_listener *l)
{
	return (const struct listener *)(const void *)l;
}

/* --- opening and closing --- */

static int resolve(const thrum_listener_opts *given, thrum_listener_opts *o)
{
	*o = (thrum_listener_opts){ .size = sizeof *o };
	if (given && given->size != sizeof *given)
		return -EINVAL;
	if (given)
		*o = *given;
	if (o->backlog < 0 || o->grace.ns < 0 || o->backoff.ns < 0 || o->backoff_max.ns < 0)
		return -EINVAL;
	if (o->backlog == 0)
		o->backlog = SOMAXCONN;
	if (o->grace.ns == 0)
		o->grace = thrum_sec(GRACE_S);
	if (o->backoff.ns == 0)
		o->backoff = thrum_ms(BACKOFF_MS);
	if (o->backoff_max.ns == 0)
		o->backoff_max = thrum_ms(BACKOFF_MAX_MS);
	return 0;
}

static int init(struct listener *l, const thrum_listener_opts *o)
{
	memset(l, 0, sizeof *l);
	l->fd = -1;
	thrum_token_init(&l->stop);
	thrum_token_init(&l->draining);
	(void)thrum_sem_init(&l->places, o ? o->max_connections : 0);
	return resolve(o, &l->opts);
}

static void set_option(int fd, int level, int option)
{
	(void)th_sys_setsockopt(fd, level, option, &(int){ 1 }, sizeof(int));
}

/* A socket file that a server left behind refuses connections. Anything else, also a file of another kind, is in
 * use. */
static bool is_stale(const struct th_sockaddr *a)
{
	struct stat st;
	int fd, refused;

	if (!th_sockaddr_has_path(a) || th_sys_lstat(a->sa.un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = th_sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = th_sys_connect(fd, &a->sa.any, a->len) < 0 && errno == ECONNREFUSED;
	th_sys_close(fd);
	return refused;
}

static int bind_to(int fd, const struct th_sockaddr *a)
{
	if (th_sys_bind(fd, &a->sa.any, a->len) == 0)
		return 0;
	if (errno != EADDRINUSE || !is_stale(a))
		return -errno;
	if (th_sys_unlink(a->sa.un.sun_path) < 0 || th_sys_bind(fd, &a->sa.any, a->len) < 0)
		return -errno;
	return 0;
}

static void no_delay(const struct listener *l, int fd)
{
	if (th_sockaddr_is_inet(&l->address) && !l->opts.nagle)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY); /* the connections inherit it */
}

static int listen_now(const struct listener *l)
{
	int fd = th_sys_socket(l->address.sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

	if (fd < 0)
		return -errno;
	if (th_sockaddr_is_inet(&l->address)) {
		set_option(fd, SOL_SOCKET, SO_REUSEADDR);
		if (l->opts.per_worker)
			set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	}
	no_delay(l, fd);
	code = bind_to(fd, &l->address);
	if (code == 0 && th_sys_listen(fd, l->opts.backlog) < 0)
		code = -errno;
	if (code < 0)
		th_sys_close(fd);
	return code < 0 ? code : fd;
}

/* A socket that listens on l->address, or a code. */
static int listen_on(const struct listener *l)
{
	int saved = th_errno_begin(), fd = listen_now(l);

	th_errno_end(saved);
	return fd;
}

static void close_now(int fd)
{
	int saved = th_errno_begin();

	(void)th_sys_close(fd);
	th_errno_end(saved);
}

/* With the port that the kernel chose. */
static int read_address(struct listener *l, int fd)
{
	l->address.len = sizeof l->address.sa;
	return th_sys_getsockname(fd, &l->address.sa.any, &l->address.len) < 0 ? -errno : 0;
}

static void remove_file(struct listener *l)
{
	struct stat st;
	int saved = th_errno_begin();

	if (l->ino && th_sys_lstat(l->address.sa.un.sun_path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		(void)th_sys_unlink(l->address.sa.un.sun_path);
	l->ino = 0;
	th_errno_end(saved);
}

/* The socket is there: what is to be known of it. Else nothing is left. */
static int note_socket(struct listener *l, int fd)
{
	int saved = th_errno_begin(), code;
	struct stat st;

	if (th_sockaddr_has_path(&l->address) && th_sys_lstat(l->address.sa.un.sun_path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	code = read_address(l, fd);
	th_errno_end(saved);
	if (code < 0) {
		close_now(fd);
		remove_file(l);
	}
	return code;
}

int thrum_listener_open(thrum_listener *public, const char *address, const thrum_listener_opts *o)
{
	struct listener *l = of(public);
	int code = init(l, o), fd;

	if (code == 0)
		code = th_sockaddr_parse(address, &l->address);
	if (code < 0)
		return code;
	fd = listen_on(l);
	if (fd < 0)
		return fd;
	code = note_socket(l, fd);
	if (code == 0)
		l->fd = fd;
	return code;
}

static int adopt(struct listener *l, int fd)
{
	int listens = 0, code;
	socklen_t len = sizeof listens;

	if (th_sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return -errno;
	if (!listens)
		return -EINVAL;
	code = read_address(l, fd);
	if (code < 0)
		return code;
	l->given = true;
	no_delay(l, fd);
	l->fd = fd;
	return 0;
}

int thrum_listener_open_fd(thrum_listener *public, int fd, const thrum_listener_opts *o)
{
	struct listener *l = of(public);
	int code = init(l, o), saved = th_errno_begin();

	if (code == 0)
		code = adopt(l, fd);
	th_errno_end(saved);
	return code;
}

int thrum_listener_address(const thrum_listener *public, char *text, size_t size)
{
	int n = th_sockaddr_format(&of_const(public)->address, text, size);

	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}

void thrum_listener_sockaddr(const thrum_listener *public, struct sockaddr *sa, socklen_t *len)
{
	const struct th_sockaddr *a = &of_const(public)->address;

	memcpy(sa, &a->sa, *len < a->len ? *len : a->len);
	*len = a->len;
}

void thrum_listener_drain(thrum_listener *public)
{
	thrum_token_cancel(&of(public)->stop);
}

void thrum_listener_close(thrum_listener *public)
{
	struct listener *l = of(public);

	remove_file(l);
	if (l->fd >= 0)
		close_now(l->fd);
	l->fd = -1;
	th_store_rlx(&l->x_state, CLOSED);
	thrum_sem_fini(&l->places);
}

int thrum_listener_read(const thrum_listener *public, thrum_listener_stats *ret)
{
	/* The other way round than they are counted, so `active` is never below 0. */
	struct listener *l = (struct listener *)(uintptr_t)public;
	uint64_t ended;

	if (!ret || ret->size != sizeof *ret)
		return -EINVAL;
	ended = th_load_acq(&l->x_ended);
	ret->accepted = th_load_rlx(&l->x_accepted);
	ret->active = ret->accepted - ended;
	ret->failed = th_load_rlx(&l->x_failed);
	ret->refused = th_load_rlx(&l->x_refused);
	ret->backoffs = th_load_rlx(&l->x_backoffs);
	return 0;
}

/* --- connections --- */

struct connection {
	thrum_conn conn; /* first: the handler's */
	struct listener *listener;
};

static struct connection *connection_new(struct listener *l)
{
	struct connection *c = malloc(sizeof *c);

	if (c)
		*c = (struct connection){ { .fd = -1, .peer_len = sizeof c->conn.peer, .draining = &l->draining }, l };
	return c;
}

static void give_place(struct listener *l)
{
	if (l->opts.max_connections)
		(void)thrum_sem_release(&l->places, 1);
}

static void connection_end(struct connection *c)
{
	struct listener *l = c->listener;

	if (c->conn.fd >= 0)
		(void)thrum_close(c->conn.fd);
	free(c);
	th_add_seq(&l->x_ended, 1);
	give_place(l);
}

static int run_connection(void *arg)
{
	struct connection *c = arg;
	struct listener *l = c->listener;
	int code = l->handler(l->arg, &c->conn);

	if (code < 0 && !(code == -ECANCELED && thrum_check() == -ECANCELED))
		th_add_rlx(&l->x_failed, 1);
	connection_end(c);
	return code;
}

static int refuse_connection(void *arg)
{
	struct connection *c = arg;

	th_add_rlx(&c->listener->x_refused, 1);
	connection_end(c);
	return 0;
}

/* It has been accepted. 0 or a code; either way the connection is taken care of. */
static int start(struct connection *c, unsigned worker)
{
	struct listener *l = c->listener;
	int code;

	th_add_rlx(&l->x_accepted, 1);
	code = thrum_spawn_with(l->handlers, NULL, (thrum_fx){ run_connection, c },
				THRUM_SPAWN_OPTS(.name = l->opts.name, .worker = worker, .isolated = true,
						 .stack_bytes = l->opts.stack_bytes, .drop = { refuse_connection, c }));
	if (code < 0 && code != -ECANCELED && code != THRUM_ECLOSED) /* with those it has been dropped */
		(void)refuse_connection(c);
	return code;
}

/* --- accepting --- */

struct loop {
	struct listener *listener;
	int fd;
	unsigned worker; /* 0: any */
	thrum_task task;
};

/* With several loops a place is taken only when there is something to accept: one that waited for it with a place in
 * hand would keep it from the others. */
static int take_place(const struct loop *loop)
{
	struct listener *l = loop->listener;
	int code = 0;

	if (!l->opts.max_connections)
		return 0;
	if (loop->worker)
		code = thrum_wait_fd(loop->fd, POLLIN);
	return code < 0 ? code : thrum_sem_acquire(&l->places, 1);
}

static int accept_one(const struct loop *loop)
{
	struct listener *l = loop->listener;
	int code = take_place(loop);
	struct connection *c;

	if (code < 0)
		return code;
	c = connection_new(l); /* before the accept: without memory the connection stays in the backlog */
	code = c ? thrum_accept(loop->fd, (struct sockaddr *)&c->conn.peer, &c->conn.peer_len) : -ENOMEM;
	if (code < 0) {
		free(c);
		give_place(l);
		return code;
	}
	c->conn.fd = code;
	return start(c, loop->worker);
}

static bool is_shortage(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -ENOBUFS || code == -ENOMEM;
}

/* What accept(2) says of a connection rather than of the socket. */
static bool is_passing(int code)
{
	static const int passing[] = { ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH,
				       ENETUNREACH, ETIMEDOUT, EPERM, EAGAIN, EINTR };

	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
		if (code == -passing[i])
			return true;
	return false;
}

static int back_off(struct listener *l, thrum_dur *delay)
{
	const thrum_listener_opts *o = &l->opts;

	th_add_rlx(&l->x_backoffs, 1);
	if (delay->ns == 0)
		delay->ns = o->backoff.ns;
	else
		delay->ns = delay->ns > o->backoff_max.ns / 2 ? o->backoff_max.ns : 2 * delay->ns;
	return thrum_sleep(*delay);
}

static int accept_loop(void *arg)
{
	const struct loop *loop = arg;
	thrum_dur delay = { 0 };
	int code = 0;

	while (code >= 0 || is_passing(code)) {
		code = accept_one(loop);
		if (code >= 0)
			delay.ns = 0;
		if (is_shortage(code))
			code = back_off(loop->listener, &delay);
	}
	return code;
}

/* Until a drain, a cancel or a failure: -ECANCELED or the code. */
static int accept_all(struct listener *l, struct loop *loops, unsigned n)
{
	thrum_scope s;
	int code = th_scope_open_own(&s);

	if (code < 0)
		return code;
	code = thrum_scope_link(&s, &l->stop);
	for (unsigned i = 0; i < n && code == 0; i++)
		code = thrum_spawn_with(&s, &loops[i].task, (thrum_fx){ accept_loop, &loops[i] },
					THRUM_SPAWN_OPTS(.name = l->opts.name, .worker = loops[i].worker));
	if (code < 0)
		(void)thrum_scope_fail(&s, code);
	return thrum_scope_close(&s);
}

static bool make_nonblocking(int fd)
{
	int saved = th_errno_begin(), flags = th_sys_fcntl(fd, F_GETFL);
	bool done = flags >= 0 && th_sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;

	th_errno_end(saved);
	return done;
}

static int accept_now(int fd, thrum_conn *conn)
{
	int saved = th_errno_begin(), new = th_sys_accept4(fd, (struct sockaddr *)&conn->peer, &conn->peer_len, SOCK_CLOEXEC);

	th_errno_end(saved);
	return new;
}

/* Nobody accepts any more: take what the kernel has accepted, as far as there are places. Not from a socket that was
 * given: others may have it too, and go on. */
static void empty_backlog(const struct loop *loop)
{
	struct listener *l = loop->listener;

	if (l->given || !make_nonblocking(loop->fd))
		return;
	for (unsigned i = 0; i <= (unsigned)l->opts.backlog; i++) { /* the kernel keeps one more than it is told */
		struct connection *c;

		if (l->opts.max_connections && thrum_sem_try_acquire(&l->places, 1) < 0)
			return;
		c = connection_new(l);
		if (c)
			c->conn.fd = accept_now(loop->fd, &c->conn);
		if (!c || c->conn.fd < 0) {
			free(c);
			give_place(l);
			return;
		}
		(void)start(c, loop->worker);
	}
}

/* --- serving --- */

static bool has_own_sockets(const struct listener *l)
{
	return l->opts.per_worker && !l->given && th_sockaddr_is_inet(&l->address);
}

/* *ret_n loops, each with its socket; a code, and then none. */
static int make_loops(struct listener *l, struct loop **ret_loops, unsigned *ret_n)
{
	unsigned n = l->opts.per_worker ? thrum_workers() : 1;
	struct loop *loops = calloc(n, sizeof *loops);

	if (!loops)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		int fd = i > 0 && has_own_sockets(l) ? listen_on(l) : l->fd;

		if (fd < 0) {
			while (i-- > 1)
				close_now(loops[i].fd);
			free(loops);
			return fd;
		}
		loops[i] = (struct loop){ .listener = l, .fd = fd, .worker = l->opts.per_worker ? i + 1 : 0 };
	}
	*ret_loops = loops;
	*ret_n = n;
	return 0;
}

static void close_loops(struct listener *l, struct loop *loops, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		if (has_own_sockets(l))
			close_now(loops[i].fd);
	close_now(l->fd);
	l->fd = -1;
	free(loops);
}

/* In the handlers' scope. What accepting ended with. */
static int run_loops(struct listener *l)
{
	struct loop *loops;
	unsigned n;
	int code = make_loops(l, &loops, &n);

	if (code < 0)
		return code;
	code = accept_all(l, loops, n);
	remove_file(l); /* first: after it nobody comes */
	if (thrum_check() == 0)
		for (unsigned i = 0; i < n; i++)
			empty_backlog(&loops[i]);
	close_loops(l, loops, n);
	return code;
}

int thrum_listener_serve(thrum_listener *public, int (*handler)(void *arg, thrum_conn *conn), void *arg)
{
	struct listener *l = of(public);
	uint32_t state = OPEN;
	thrum_scope handlers;
	int code, closed;
	bool cancelled;

	if (!handler)
		return -EINVAL;
	code = thrum_check();
	if (code < 0)
		return code;
	if (!th_cas_seq(&l->x_state, &state, SERVED))
		return state == CLOSED ? THRUM_ECLOSED : -EBUSY;
	code = th_scope_open_own(&handlers);
	if (code < 0)
		return code;
	l->handlers = &handlers;
	l->handler = handler;
	l->arg = arg;
	code = run_loops(l);
	cancelled = thrum_check() < 0; /* from outside; a drain cancels the loops' scope only */
	thrum_token_cancel(&l->draining);
	if (!cancelled)
		(void)thrum_scope_deadline(&handlers, l->opts.grace);
	closed = thrum_scope_close(&handlers);
	th_store_rlx(&l->x_state, CLOSED);
	return cancelled || code != -ECANCELED ? code : closed;
}
