/* Clients that behave well: each keeps one connection, asks now and then, and has to be answered in time, to the last byte. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hostile.h"

struct client {
	struct hostile *h;
	int fd;
	bool connected;
	thrum_reader in;
	char buf[4096];
};

/* One answer with status 200, read to its end. */
static int read_answer(struct client *c)
{
	unsigned long length = 0;
	char *line;
	size_t n;
	int code = thrum_reader_line(&c->in, 0, &line, &n);

	if (code > 0 && (n < 12 || memcmp(line, "HTTP/1.1 200", 12) != 0))
		return -EPROTO;
	while (code > 0 && (code = thrum_reader_line(&c->in, 0, &line, &n)) > 0 && n > 0)
		if (n > 16 && memcmp(line, "Content-Length: ", 16) == 0)
			length = strtoul(line + 16, NULL, 10); /* a CR ends it */
	if (code <= 0)
		return code < 0 ? code : THRUM_EEOF;
	return thrum_reader_skip(&c->in, length, NULL);
}

static int ask_once(void *arg)
{
	struct client *c = arg;
	char text[512];
	int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", c->h->path, c->h->host);
	int code = thrum_send_all(c->fd, text, (size_t)n, 0, NULL);

	return code < 0 ? code : read_answer(c);
}

static void note(struct hostile *h, int code, int64_t ns)
{
	int64_t worst = __atomic_load_n(&h->x_worst_ns, __ATOMIC_RELAXED);

	count(code == 0 ? &h->x_answers : &h->x_failures);
	while (code == 0 && ns > worst)
		if (__atomic_compare_exchange_n(&h->x_worst_ns, &worst, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			break;
	if (code < 0)
		fprintf(stderr, "hostile: a good client: %s\n", thrum_strerror(code));
}

static int ask(struct client *c)
{
	thrum_time begun = thrum_now();
	int code = thrum_timeout((thrum_fx){ ask_once, c }, c->h->patience);

	if (code != -ECANCELED)
		note(c->h, code, thrum_time_sub(thrum_now(), begun).ns);
	return code;
}

static int connect_and_ask(struct client *c)
{
	int code;

	c->fd = connect_to(c->h);
	if (c->fd < 0) {
		if (c->fd != -ECANCELED)
			note(c->h, c->fd, 0);
		return c->fd;
	}
	code = thrum_reader_init(&c->in, c->fd, c->buf, sizeof c->buf);
	return code < 0 ? code : ask(c);
}

/* A server that takes connections no faster than it can would keep them waiting in its backlog, which is no test of it. */
static int begin(struct client *c)
{
	int code = thrum_sem_acquire(&c->h->connecting, 1);

	if (code < 0)
		return code;
	code = connect_and_ask(c);
	(void)thrum_sem_release(&c->h->connecting, 1);
	return code;
}

/* Somewhere in the first pause, so that they do not ask all at once. */
static thrum_dur first_pause(const struct hostile *h)
{
	return (thrum_dur){ (int64_t)(thrum_random() % (uint64_t)(h->every.ns + 1)) };
}

void be_good(struct hostile *h)
{
	struct client c = { .h = h, .fd = -1 };
	int code = begin(&c);

	thrum_latch_arrive(&h->connected);
	if (code == 0)
		code = thrum_sleep(first_pause(h));
	while (code == 0) {
		code = ask(&c);
		if (code == 0)
			code = thrum_sleep(h->every);
	}
	if (c.fd >= 0)
		(void)thrum_close(c.fd);
}
