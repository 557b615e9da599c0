/* Connecting and listening by name: RFC 8305 on the test clock, against addresses that refuse, answer or say nothing. */
#include <netdb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "io_test.h"

enum { PLACES = 5 };

/* Loopback addresses of both families, as a list that getaddrinfo() might give. */
struct place {
	struct addrinfo entry;
	struct sockaddr_storage sa;
	int listener;   /* -1: nobody listens there */
	int filler;     /* of a full backlog: what came in vain stays without an answer */
};

struct dial {
	thrum_rt *rt;
	struct place places[PLACES];
	size_t n;
	thrum_dur head_start;
	int fd;
	bool ended;
};

static bool has_ipv6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 sa = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

static struct place *new_place(struct dial *d, int family)
{
	struct place *p = &d->places[d->n++];
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = family == AF_INET6 ? sizeof v6 : sizeof v4;

	memset(p, 0, sizeof *p);
	memcpy(&p->sa, family == AF_INET6 ? (void *)&v6 : (void *)&v4, len);
	p->filler = -1;
	p->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TH_CHECK(p->listener >= 0);
	TH_CHECK_EQ(bind(p->listener, (struct sockaddr *)&p->sa, len), 0);
	TH_CHECK_EQ(getsockname(p->listener, (struct sockaddr *)&p->sa, &len), 0);
	p->entry = (struct addrinfo){ .ai_family = family, .ai_socktype = SOCK_STREAM };
	p->entry.ai_addr = (struct sockaddr *)&p->sa;
	p->entry.ai_addrlen = len;
	if (d->n > 1)
		d->places[d->n - 2].entry.ai_next = &p->entry;
	return p;
}

static void add_refusing(struct dial *d, int family) { (void)new_place(d, family); } /* bound, but nobody listens */

static void add_listening(struct dial *d, int family) { TH_CHECK_EQ(listen(new_place(d, family)->listener, 8), 0); }

/* A backlog of one that is taken: the kernel leaves every further SYN without an answer. */
static void add_silent(struct dial *d, int family)
{
	struct place *p = new_place(d, family);

	TH_CHECK_EQ(listen(p->listener, 0), 0);
	p->filler = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TH_CHECK_EQ(connect(p->filler, p->entry.ai_addr, p->entry.ai_addrlen), 0);
}

static void close_places(struct dial *d)
{
	for (size_t i = 0; i < d->n; i++) {
		TH_CHECK_EQ(close(d->places[i].listener), 0);
		if (d->places[i].filler >= 0)
			TH_CHECK_EQ(close(d->places[i].filler), 0);
	}
}

static int peer_of(const struct dial *d, int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;

	TH_CHECK_EQ(getpeername(fd, (struct sockaddr *)&sa, &len), 0);
	for (size_t i = 0; i < d->n; i++)
		if (len == d->places[i].entry.ai_addrlen && memcmp(&sa, &d->places[i].sa, len) == 0)
			return (int)i;
	return -1;
}

static int dial(struct dial *d)
{
	d->fd = thrum_dial_addrs(&d->places[0].entry, d->head_start);
	d->ended = true;
	return 0;
}
THRUM_FX(dial, struct dial);

/* Dial on a runtime with a test clock, step by step; what is left must be what was there before. */
struct steps {
	struct dial d;
	thrum_handle h;
	int before;
};

static struct steps *begin(void)
{
	struct steps *s = calloc(1, sizeof *s);

	s->before = fd_count();
	s->d.head_start = thrum_ms(250);
	return s;
}

static void start(struct steps *s)
{
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &s->d.rt), 0);
	TH_CHECK_EQ(thrum_rt_start(s->d.rt, &s->h, dial_fx(&s->d)), 0);
}

static uint64_t ops(const struct steps *s)
{
	thrum_stats stats = { .size = sizeof stats };

	TH_CHECK_EQ(thrum_stats_read(s->d.rt, &stats), 0);
	return stats.io_ops;
}

/* Everything has settled at the end of it: what could run has run. */
static void pass(struct steps *s, int64_t ms) { TH_CHECK_EQ(thrum_clock_advance(s->d.rt, thrum_ms(ms)), 0); }

static void finish(struct steps *s)
{
	int code = thrum_handle_wait(&s->h);

	TH_CHECK_EQ(code, 0);
	if (s->d.fd >= 0)
		TH_CHECK_EQ(close(s->d.fd), 0);
	TH_CHECK_EQ(thrum_rt_close(s->d.rt), 0);
	close_places(&s->d);
	TH_CHECK_EQ(fd_count(), s->before);
	free(s);
}

TH_TEST(io_dial, the_next_address_has_its_turn_after_the_head_start)
{
	struct steps *s = begin();

	add_silent(&s->d, AF_INET);
	add_listening(&s->d, AF_INET);
	start(s);
	pass(s, 249);
	TH_CHECK_EQ(ops(s), 1); /* one connect */
	pass(s, 1);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(peer_of(&s->d, s->d.fd), 1);
	TH_CHECK(is_cloexec(s->d.fd));
	finish(s);
}

TH_TEST(io_dial, a_refused_address_lets_the_next_one_start_at_once)
{
	struct steps *s = begin();

	add_refusing(&s->d, AF_INET);
	add_listening(&s->d, AF_INET);
	s->d.head_start = THRUM_FOREVER;
	start(s);
	pass(s, 0); /* no time at all */
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(peer_of(&s->d, s->d.fd), 1);
	finish(s);
}

TH_TEST(io_dial, if_all_fail_the_first_failure_is_the_result)
{
	struct steps *s = begin();

	add_refusing(&s->d, AF_INET);
	new_place(&s->d, AF_INET)->entry.ai_family = AF_UNIX; /* an address that is none */
	start(s);
	pass(s, 0);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(s->d.fd, -ECONNREFUSED);
	finish(s);
}

TH_TEST(io_dial, families_take_turns_RFC_8305)
{
	struct steps *s;

	if (!has_ipv6())
		return;
	s = begin();
	add_silent(&s->d, AF_INET6);
	add_silent(&s->d, AF_INET6);
	add_listening(&s->d, AF_INET); /* third in the list, second to be tried */
	start(s);
	pass(s, 250);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(peer_of(&s->d, s->d.fd), 2);
	finish(s);
}

/* As in a list that was made without hints. Connecting one of those never fails, and says nothing. */
TH_TEST(io_dial, entries_for_datagrams_are_passed_over)
{
	struct steps *s = begin();

	new_place(&s->d, AF_INET)->entry.ai_socktype = SOCK_DGRAM;
	add_refusing(&s->d, AF_INET);
	new_place(&s->d, AF_INET)->entry.ai_socktype = SOCK_RAW;
	add_listening(&s->d, AF_INET);
	s->d.places[3].entry.ai_socktype = 0;
	new_place(&s->d, AF_INET)->entry.ai_socktype = SOCK_DGRAM;
	start(s);
	pass(s, 0);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(peer_of(&s->d, s->d.fd), 3);
	finish(s);
	s = begin();
	for (int i = 0; i < 2; i++)
		new_place(&s->d, AF_INET)->entry.ai_socktype = SOCK_DGRAM;
	start(s);
	pass(s, 0);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(s->d.fd, -EINVAL);
	finish(s);
}

/* Several connect at once: the race has one winner, and the sockets of the others are closed (finish() counts). */
TH_TEST(io_dial, losers_are_closed_though_they_connected)
{
	for (int i = 0; i < 20; i++) {
		struct steps *s = begin();

		for (int k = 0; k < PLACES; k++)
			add_listening(&s->d, AF_INET);
		s->d.head_start = thrum_ms(0);
		start(s);
		pass(s, 0);
		TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
		TH_CHECK(s->d.fd >= 0);
		finish(s);
	}
}

TH_TEST(io_dial, a_cancel_ends_all_attempts)
{
	struct steps *s = begin();

	for (int k = 0; k < 3; k++)
		add_silent(&s->d, AF_INET);
	start(s);
	pass(s, 500);
	TH_CHECK_EQ(ops(s), 3);
	TH_CHECK(!s->d.ended);
	thrum_handle_cancel(&s->h);
	TH_CHECK_EQ(thrum_handle_wait(&s->h), 0);
	TH_CHECK_EQ(s->d.fd, -ECANCELED);
	finish(s);
}

static int dial_within(struct dial *d)
{
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_ms(600)), 0);
	d->fd = thrum_dial_addrs(&d->places[0].entry, d->head_start);
	TH_CHECK_EQ(d->fd, -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), -ETIMEDOUT);
	return 0;
}
THRUM_FX(dial_within, struct dial);

TH_TEST(io_dial, a_deadline_ends_it_like_any_call)
{
	struct steps *s = begin();

	add_silent(&s->d, AF_INET);
	add_silent(&s->d, AF_INET);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &s->d.rt), 0);
	TH_CHECK_EQ(thrum_rt_start(s->d.rt, &s->h, dial_within_fx(&s->d)), 0);
	pass(s, 600);
	finish(s);
}

/* --- texts --- */

static const char *address_of(int listener, char text[64], const char *host)
{
	struct sockaddr_in6 sa;
	socklen_t len = sizeof sa;

	TH_CHECK_EQ(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	snprintf(text, 64, "%s:%u", host, ntohs(sa.sin6_port)); /* at the same place in both families */
	return text;
}

static void meet(int listener, const char *address)
{
	int fd = thrum_dial(address), peer;

	TH_CHECK(fd >= 0);
	peer = thrum_accept(listener, NULL, NULL);
	TH_CHECK(peer >= 0);
	TH_CHECK(is_cloexec(fd) && is_cloexec(listener));
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(thrum_close(peer), 0);
}

static int by_text(void *unused)
{
	char text[64];
	int fd;

	(void)unused;
	fd = thrum_listen_on("127.0.0.1:0", NULL);
	TH_CHECK(fd >= 0);
	meet(fd, address_of(fd, text, "127.0.0.1"));
	TH_CHECK_EQ(thrum_listen_on(text, NULL), -EADDRINUSE);
	TH_CHECK_EQ(thrum_close(fd), 0);
	fd = thrum_listen_on(text, THRUM_LISTEN_ON_OPTS(.backlog = 1)); /* at once again */
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	if (has_ipv6()) {
		fd = thrum_listen_on("[::1]:0", NULL);
		TH_CHECK(fd >= 0);
		meet(fd, address_of(fd, text, "[::1]"));
		TH_CHECK_EQ(thrum_close(fd), 0);
	}
	fd = thrum_listen_on(":0", NULL);
	TH_CHECK(fd >= 0);
	meet(fd, address_of(fd, text, "")); /* this machine, whichever family */
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}
THRUM_FX(by_text, void);
TH_TEST(io_dial, tcp_addresses_as_text)
{
	int before = fd_count();
	run_ok(by_text_fx(NULL));
	TH_CHECK_EQ(fd_count(), before);
}

static int in_a_cancelled_scope(void *unused)
{
	static const char *const texts[] = { "unix:@thrum-never", "127.0.0.1:0", "localhost:0" };
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		TH_CHECK_EQ(thrum_listen_on(texts[i], NULL), -ECANCELED);
	return thrum_scope_close(&s);
}
THRUM_FX(in_a_cancelled_scope, void);
TH_TEST(io_dial, nobody_listens_in_a_cancelled_scope_G1) { run_ok(in_a_cancelled_scope_fx(NULL)); }

static int shared_port(void *unused)
{
	char text[64];
	int a = thrum_listen_on("127.0.0.1:0", THRUM_LISTEN_ON_OPTS(.reuse_port = true)), b;

	(void)unused;
	TH_CHECK(a >= 0);
	b = thrum_listen_on(address_of(a, text, "127.0.0.1"), THRUM_LISTEN_ON_OPTS(.reuse_port = true));
	TH_CHECK(b >= 0);
	TH_CHECK_EQ(thrum_close(a), 0);
	TH_CHECK_EQ(thrum_close(b), 0);
	return 0;
}
THRUM_FX(shared_port, void);
TH_TEST(io_dial, several_may_listen_at_one_port_if_they_say_so) { run_ok(shared_port_fx(NULL)); }

static int by_path(char *dir)
{
	char text[64];
	int fd, again;

	snprintf(text, sizeof text, "unix:%s/s", dir);
	fd = thrum_listen_on(text, NULL);
	TH_CHECK(fd >= 0);
	meet(fd, text);
	again = thrum_listen_on(text, THRUM_LISTEN_ON_OPTS(.replace = true));
	TH_CHECK_EQ(again, -EADDRINUSE); /* somebody lives there */
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(thrum_dial(text), -ECONNREFUSED);
	TH_CHECK_EQ(thrum_listen_on(text, NULL), -EADDRINUSE);
	fd = thrum_listen_on(text, THRUM_LISTEN_ON_OPTS(.replace = true));
	TH_CHECK(fd >= 0);
	meet(fd, text);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(unlink(text + 5), 0);
	TH_CHECK_EQ(thrum_dial(text), -ENOENT);
	TH_CHECK_EQ(mkdir(text + 5, 0700), 0); /* no socket: it is not for us to remove */
	TH_CHECK_EQ(thrum_listen_on(text, THRUM_LISTEN_ON_OPTS(.replace = true)), -EADDRINUSE);
	TH_CHECK_EQ(rmdir(text + 5), 0);

	snprintf(text, sizeof text, "unix:@thrum-test-%d", (int)getpid());
	fd = thrum_listen_on(text, NULL);
	TH_CHECK(fd >= 0);
	meet(fd, text);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}
THRUM_FX(by_path, char);
TH_TEST(io_dial, unix_addresses_as_text)
{
	char dir[] = "/tmp/thrum-dial-XXXXXX";
	int before = fd_count();

	TH_CHECK(mkdtemp(dir));
	run_ok(by_path_fx(dir));
	TH_CHECK_EQ(rmdir(dir), 0);
	TH_CHECK_EQ(fd_count(), before);
}

static int no_addresses(void *unused)
{
	static const char *const bad[] = { "", "host", "host:", "::1:80", "[::1]", "[]:80", "[::1:80", "unix:", "unix:@",
					   "127.0.0.1:65536", ":65536", "127.0.0.1: 80", "127.0.0.1:-1" };
	char text[2000];

	(void)unused;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		TH_CHECK_EQ(thrum_dial(bad[i]), -EINVAL);
		TH_CHECK_EQ(thrum_listen_on(bad[i], NULL), -EINVAL);
	}
	TH_CHECK_EQ(thrum_dial(NULL), -EINVAL);
	TH_CHECK_EQ(thrum_dial_addrs(NULL, thrum_ms(1)), -EINVAL);
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	text[1990] = ':';
	TH_CHECK_EQ(thrum_dial(text), -ENAMETOOLONG);
	memcpy(text, "unix:", 5);
	TH_CHECK_EQ(thrum_dial(text), -ENAMETOOLONG);
	TH_CHECK_EQ(thrum_dial("127.0.0.1:nosuchservice"), THRUM_ENONAME);
	TH_CHECK_EQ(thrum_listen_on("127.0.0.1:0", &(thrum_listen_on_opts){ .size = 1 }), -EINVAL);
	TH_CHECK_EQ(thrum_listen_on("127.0.0.1:0", THRUM_LISTEN_ON_OPTS(.backlog = -1)), -EINVAL);
	return 0;
}
THRUM_FX(no_addresses, void);
TH_TEST(io_dial, texts_that_are_no_addresses_are_refused) { run_ok(no_addresses_fx(NULL)); }

TH_TEST(io_dial, on_a_plain_thread_they_say_so)
{
	TH_CHECK_EQ(thrum_dial("127.0.0.1:1"), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_dial_addrs(NULL, thrum_ms(0)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_listen_on("127.0.0.1:1", NULL), THRUM_ENOTFIBER);
}
