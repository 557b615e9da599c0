/* io/dial.c: connecting to one of several addresses, as RFC 8305 ("Happy Eyeballs") has it: a hedged request, whose
 * entrants are the addresses. Each keeps its socket until the race is over; then all but the winner's are closed, those
 * that connected too late as well.
 *
 *   list (RFC 6724's order)   A6 B6 C4 D4     the first one's family first, then in turn:  A6 C4 B6 D4 */
#include "../core/hooks.h"
#include "../core/node.h"
#include "../core/tsan.h"
#include "address.h"
#include "sys.h"
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <thrum/io.h>
#include <thrum/net.h>
#include <thrum/retry.h>
#include <unistd.h>

enum { HEAD_START_MS = 250 }; /* RFC 8305, section 8 */

struct attempt {
	const struct addrinfo *to;
	int fd; /* connected; -1 */
};

/* A stream socket where the list does not say. */
static int new_socket(const struct addrinfo *to)
{
	int type = to->ai_socktype ? to->ai_socktype : SOCK_STREAM, saved, fd;

	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's */
	saved = errno;
	fd = th_sys_socket(to->ai_family, type | SOCK_CLOEXEC, to->ai_protocol);
	if (fd < 0)
		fd = -errno;
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return fd;
}

static int attempt(void *arg)
{
	struct attempt *a = arg;
	int fd = new_socket(a->to), code;

	if (fd < 0)
		return fd;
	code = thrum_connect(fd, a->to->ai_addr, a->to->ai_addrlen);
	if (code < 0) {
		(void)thrum_close(fd);
		return code;
	}
	a->fd = fd;
	return 0;
}

/* A list that was made without hints has each address once more for datagrams, and raw: a socket of that kind is "connected" at
 * once, wherever it leads, and would win. */
static bool is_stream(const struct addrinfo *to)
{
	int type = to->ai_socktype & ~(SOCK_NONBLOCK | SOCK_CLOEXEC);

	return type == 0 || type == SOCK_STREAM;
}

static const struct addrinfo *next_stream(const struct addrinfo *at)
{
	while (at && !is_stream(at))
		at = at->ai_next;
	return at;
}

/* The first entry from `at` on whose family is (or is not) `family`. */
static const struct addrinfo *next_of(const struct addrinfo *at, int family, bool is)
{
	while ((at = next_stream(at)) && (at->ai_family == family) != is)
		at = at->ai_next;
	return at;
}

/* The list begins with a stream. */
static void line_up(const struct addrinfo *list, struct attempt *attempts, size_t n)
{
	int family = list->ai_family;
	const struct addrinfo *next[2] = { list, next_of(list, family, false) };

	for (size_t i = 0, turn = 0; i < n; i++, turn = !turn) {
		if (!next[turn])
			turn = !turn;
		attempts[i] = (struct attempt){ .to = next[turn], .fd = -1 };
		next[turn] = next_of(next[turn]->ai_next, family, turn == 0);
	}
}

/* The winner's descriptor, or a code. */
static int race(struct attempt *attempts, thrum_fx *fx, size_t n, thrum_dur head_start)
{
	int winner;

	for (size_t i = 0; i < n; i++)
		fx[i] = (thrum_fx){ attempt, &attempts[i] };
	winner = thrum_hedge_n(fx, n, head_start);
	for (size_t i = 0; i < n; i++)
		if (attempts[i].fd >= 0 && (winner < 0 || i != (size_t)winner))
			(void)thrum_close(attempts[i].fd);
	return winner < 0 ? winner : attempts[winner].fd;
}

static int dial_one(const struct addrinfo *to)
{
	struct attempt only = { .to = to, .fd = -1 };
	int code = attempt(&only);

	return code < 0 ? code : only.fd;
}

int thrum_dial_addrs(const struct addrinfo *list, thrum_dur head_start)
{
	struct th_fiber *f = th_self();
	struct attempt *attempts;
	thrum_fx *fx;
	size_t n = 0;
	int fd;

	if (!f)
		return THRUM_ENOTFIBER;
	list = next_stream(list);
	if (!list)
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	for (const struct addrinfo *at = list; at; at = next_stream(at->ai_next))
		n++;
	if (n == 1)
		return dial_one(list);
	attempts = calloc(n, sizeof *attempts + sizeof *fx);
	if (!attempts)
		return -ENOMEM;
	fx = (thrum_fx *)(void *)(attempts + n);
	line_up(list, attempts, n);
	fd = race(attempts, fx, n, head_start);
	free(attempts);
	return fd;
}

int thrum_dial(const char *text)
{
	struct th_address address;
	int fd;

	if (!th_self())
		return THRUM_ENOTFIBER;
	fd = th_address_find(&address, text, 0);
	if (fd < 0)
		return fd;
	fd = thrum_dial_addrs(address.list, thrum_ms(HEAD_START_MS));
	th_address_free(&address);
	return fd;
}

/* --- listening --- */

static int set(int fd, int level, int option)
{
	return th_sys_setsockopt(fd, level, option, &(int){ 1 }, sizeof(int));
}

/* A socket at that path to which nobody listens any more. Anything else stays, and bind() says so. */
static void remove_left_behind(const struct addrinfo *at)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)at->ai_addr;
	struct stat st;
	int fd;

	if (at->ai_family != AF_UNIX || un->sun_path[0] == '\0' || th_sys_stat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = th_sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (th_sys_connect(fd, at->ai_addr, at->ai_addrlen) < 0 && errno == ECONNREFUSED)
		(void)th_sys_unlink(un->sun_path);
	(void)th_sys_close(fd);
}

/* 0 or -1 and errno, as its calls. */
static int bind_and_listen(int fd, const struct addrinfo *at, const thrum_listen_on_opts *o)
{
	if (at->ai_family != AF_UNIX && set(fd, SOL_SOCKET, SO_REUSEADDR) < 0)
		return -1;
	if (o->reuse_port && set(fd, SOL_SOCKET, SO_REUSEPORT) < 0)
		return -1;
	if (o->v6_only && at->ai_family == AF_INET6 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY) < 0)
		return -1;
	if (o->replace)
		remove_left_behind(at);
	if (th_sys_bind(fd, at->ai_addr, at->ai_addrlen) < 0)
		return -1;
	return th_sys_listen(fd, o->backlog > 0 ? o->backlog : INT32_MAX); /* the kernel lowers it to net.core.somaxconn */
}

/* None of these calls waits. */
static int listen_at(const struct addrinfo *at, const thrum_listen_on_opts *o)
{
	int fd = new_socket(at), saved, code = 0;

	if (fd < 0)
		return fd;
	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's */
	saved = errno;
	if (bind_and_listen(fd, at, o) < 0) {
		code = -errno;
		(void)th_sys_close(fd);
	}
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return code < 0 ? code : fd;
}

int thrum_listen_on(const char *text, const thrum_listen_on_opts *o)
{
	static const thrum_listen_on_opts defaults = { .size = sizeof defaults };
	struct th_fiber *f = th_self();
	struct th_address address;
	int fd;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!o)
		o = &defaults;
	if (o->size != sizeof *o || o->backlog < 0)
		return -EINVAL;
	if (th_cancel_point(f)) /* of a path or a number nothing else looks */
		return -ECANCELED;
	fd = th_address_find(&address, text, AI_PASSIVE);
	if (fd < 0)
		return fd;
	for (const struct addrinfo *at = address.list; at; at = at->ai_next) {
		fd = listen_at(at, o);
		if (fd >= 0)
			break;
	}
	th_address_free(&address);
	return fd;
}
