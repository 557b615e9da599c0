/* test/sim/test_httpd.c: examples/httpd as it is, with its main(), files and network in memory, and its clients in the same
 * run. */
#include "../support/sim_program.h"
#include "../support/sim_run.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/file.h>

enum { CLIENTS = 2, REQUESTS = 3, SMALL = 100, LARGE = 3000 };
#define ADDRESS "127.0.0.1:8080"

struct world {
	int left, answered;
	bool drain_early;
	int served;           /* to the end */
	int status;
};
struct client {
	struct world *w;
	int fd;
	unsigned asked[REQUESTS];
	thrum_reader in;
	thrum_writer out;
	char in_buf[256], out_buf[64];
};

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

static const struct page {
	const char *request, *status;
	long length; /* of the body; of an error's: any */
} pages[] = {
	{ "GET /small HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK", SMALL },
	{ "GET /sub/large.html HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK", LARGE },
	{ "GET /sub/ HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK", SMALL },
	{ "HEAD /small HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK", 0 },
	{ "GET /sub HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 301 Moved Permanently", -1 },
	{ "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 Not Found", -1 },
};
enum { PAGES = sizeof pages / sizeof *pages };

/* --- the server and its files --- */

static char byte_of(long at)
{
	return (char)('a' + at % 26);
}

static int make_file(const char *path, long n)
{
	char text[LARGE];
	int fd = thrum_openat(AT_FDCWD, path, O_WRONLY | O_CREAT, 0644), code;

	if (fd < 0)
		return fd;
	for (long i = 0; i < n; i++)
		text[i] = byte_of(i);
	code = thrum_write_all(fd, text, (size_t)n, NULL);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return code;
}

static int make_files(void)
{
	int code = thrum_mkdir(AT_FDCWD, "/www", 0755);

	if (code == 0)
		code = thrum_mkdir(AT_FDCWD, "/www/sub", 0755);
	if (code == 0)
		code = make_file("/www/small", SMALL);
	if (code == 0)
		code = make_file("/www/sub/large.html", LARGE);
	return code == 0 ? make_file("/www/sub/index.html", SMALL) : code;
}

static int serve(struct world *w)
{
	static const char *const args[] = { "httpd", "-l", ADDRESS, "/www", NULL };

	w->status = sim_program(args);
	sim_add(&w->served, 1);
	return thrum_check() < 0 ? -ECANCELED : w->status;
}
THRUM_FX(serve, struct world);

/* --- a client --- */

static int dial(struct client *c)
{
	for (c->fd = -ECONNREFUSED; c->fd == -ECONNREFUSED && !sim_add(&c->w->served, 0);) {
		c->fd = thrum_dial(ADDRESS);
		if (c->fd == -ECONNREFUSED && thrum_sleep(ticks(4)) < 0)
			return -ECANCELED;
	}
	if (c->fd < 0)
		return c->fd;
	TH_CHECK_EQ(thrum_reader_init(&c->in, c->fd, c->in_buf, sizeof c->in_buf), 0);
	TH_CHECK_EQ(thrum_writer_init(&c->out, c->fd, c->out_buf, sizeof c->out_buf), 0);
	return 0;
}

/* Up to the empty line. *ret_length: of the body, -1 if it is not said. */
static int read_head(struct client *c, const char *status, long *ret_length)
{
	static const char length[] = "Content-Length: ";
	char *line;
	size_t len;
	int code = thrum_reader_line(&c->in, 0, &line, &len);

	*ret_length = -1;
	TH_CHECK(code != 1 || (len == strlen(status) && memcmp(line, status, len) == 0));
	while (code == 1 && (code = thrum_reader_line(&c->in, 0, &line, &len)) == 1 && len > 0)
		if (len > sizeof length && memcmp(line, length, sizeof length - 1) == 0)
			*ret_length = strtol(line + sizeof length - 1, NULL, 10); /* the end of the line stops it */
	return code == 0 ? THRUM_EEOF : code < 0 ? code : 0;
}

static int read_body(struct client *c, long n, bool is_file)
{
	char byte;
	int code = 0;

	for (long i = 0; i < n && code == 0; i++) {
		code = thrum_reader_read_all(&c->in, &byte, 1, NULL);
		TH_CHECK(code < 0 || !is_file || byte == byte_of(i));
	}
	return code;
}

static int ask(struct client *c)
{
	int code = 0;

	for (int i = 0; i < REQUESTS && code == 0; i++) {
		const char *request = pages[c->asked[i]].request;
		code = thrum_writer_write(&c->out, request, strlen(request), NULL);
	}
	if (code == 0)
		code = thrum_writer_flush(&c->out);
	return code == 0 ? thrum_shutdown(c->fd, SHUT_WR) : code;
}
THRUM_FX(ask, struct client);

static int check_answers(struct client *c)
{
	int code = 0;

	for (int i = 0; i < REQUESTS && code == 0; i++) {
		const struct page *p = &pages[c->asked[i]];
		long length;

		code = read_head(c, p->status, &length);
		TH_CHECK(code < 0 || length > 0);
		TH_CHECK(code < 0 || p->length <= 0 || length == p->length);
		if (code == 0)
			code = read_body(c, p->length == 0 ? 0 : length, p->length > 0);
		sim_add(&c->w->answered, code == 0);
	}
	return code;
}
THRUM_FX(check_answers, struct client);

static int run_client(struct client *c)
{
	struct world *w = c->w;
	int code = dial(c);

	if (code == 0)
		code = thrum_zip_par(ask_fx(c), check_answers_fx(c));
	if (c->fd >= 0)
		TH_CHECK_EQ(thrum_close(c->fd), 0);
	if (sim_add(&w->left, -1) == 0)
		(void)th_sim_raise(SIGTERM);
	/* Ended by the drain, between two requests or before it was accepted; of one that was reset a shutdown says ENOTCONN. */
	if (w->drain_early && (code == THRUM_EEOF || code == -ECONNRESET || code == -EPIPE || code == -ECONNREFUSED ||
			       code == -ENOTCONN))
		code = 0;
	return code;
}
THRUM_FX(run_client, struct client);

static int run_world(struct world *w, unsigned n)
{
	struct client clients[CLIENTS];
	thrum_fx fx[CLIENTS + 1] = { serve_fx(w) };
	int code = make_files();

	if (code < 0)
		return code;
	w->left = (int)n;
	for (unsigned i = 0; i < n; i++) {
		clients[i] = (struct client){ .w = w, .fd = -1 };
		for (int k = 0; k < REQUESTS; k++)
			clients[i].asked[k] = sim_choose(PAGES);
		fx[i + 1] = run_client_fx(&clients[i]);
	}
	code = thrum_zip_par_n(fx, n + 1);
	TH_CHECK(code < 0 || w->status == 0);
	return code < 0 && thrum_check() < 0 ? -ECANCELED : code;
}

/* Pipelined requests are answered in order, files come whole, and a drain ends the server. */
SIM_TEST_WITH(httpd, every_answer_is_right, .one_in = 32, .root_only = true)
{
	struct world w = { .status = -1 };
	unsigned n = 1 + sim_choose(CLIENTS);
	int code = run_world(&w, n);

	(void)unused;
	TH_CHECK(code < 0 || w.answered == (int)n * REQUESTS);
	return code;
}

static int drain_some_time(void *unused)
{
	int code = thrum_sleep(ticks(sim_choose(100)));

	(void)unused;
	(void)th_sim_raise(SIGTERM);
	return code;
}

static int run_drained_world(void *world)
{
	return run_world(world, 1 + sim_choose(CLIENTS));
}

/* A drain at any time: what was answered was right, and the server ends. */
SIM_TEST_WITH(httpd, drain_ends_between_requests, .one_in = 32, .root_only = true)
{
	struct world w = { .status = -1, .drain_early = true };

	(void)unused;
	return thrum_zip_par((thrum_fx){ run_drained_world, &w }, (thrum_fx){ drain_some_time, NULL });
}
