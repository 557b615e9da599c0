/* test/sim/test_kv.c: examples/kv as it is, with its main(), on a network in memory, and its clients in the same run. */
#include "../support/sim_program.h"
#include "../support/sim_run.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

/* --- the world --- */

enum { CLIENTS = 3, ROUNDS = 3, VALUE_MAX = 300 };
#define ADDRESS "127.0.0.1:6379"

struct world {
	int left, increments, done;
	bool drain_early;
	int served;           /* to the end */
	int status;           /* of the program */
};
struct client {
	struct world *w;
	unsigned number;
	int fd;
	thrum_reader in;
	thrum_writer out;
	char in_buf[64], out_buf[64];
};

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

static int serve(struct world *w)
{
	static const char *const args[] = { "kv", "-l", ADDRESS, "-c", "2", NULL };

	w->status = sim_program(args);
	sim_add(&w->served, 1);
	return thrum_check() < 0 ? -ECANCELED : w->status;
}
THRUM_FX(serve, struct world);

/* --- a client --- */

/* The server may not be there yet, or has gone. */
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

static int send_words(struct client *c, const char *const *words, size_t n)
{
	int code = thrum_writer_printf(&c->out, "*%zu\r\n", n);

	for (size_t i = 0; i < n && code == 0; i++) {
		code = thrum_writer_printf(&c->out, "$%zu\r\n", strlen(words[i]));
		if (code == 0)
			code = thrum_writer_write(&c->out, words[i], strlen(words[i]), NULL);
		if (code == 0)
			code = thrum_writer_write(&c->out, "\r\n", 2, NULL);
	}
	return code;
}
#define SEND(c, ...) send_words(c, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *))

/* The next line of the answer is that, or one that begins so. */
static int expect_line(struct client *c, const char *want, bool whole)
{
	char *line;
	size_t len;
	int code = thrum_reader_line(&c->in, 0, &line, &len);

	if (code == 0)
		return THRUM_EEOF;
	if (code < 0)
		return code;
	TH_CHECK(len >= strlen(want) && memcmp(line, want, strlen(want)) == 0);
	TH_CHECK(!whole || len == strlen(want));
	return 0;
}

static int expect_text(struct client *c, const char *want)
{
	char head[32], got[VALUE_MAX + 2];
	size_t n = strlen(want);
	int code;

	(void)snprintf(head, sizeof head, "$%zu", n);
	code = expect_line(c, head, true);
	if (code == 0)
		code = thrum_reader_read_all(&c->in, got, n + 2, NULL);
	TH_CHECK(code < 0 || (memcmp(got, want, n) == 0 && memcmp(got + n, "\r\n", 2) == 0));
	return code;
}

struct round {
	struct client *c;
	char key[16], value[VALUE_MAX];
};

static int ask(struct round *r)
{
	struct client *c = r->c;
	int code = SEND(c, "SET", r->key, r->value);

	if (code == 0)
		code = SEND(c, "GET", r->key);
	if (code == 0)
		code = SEND(c, "incr", "shared");
	if (code == 0)
		code = SEND(c, "DEL", r->key, "nothing");
	if (code == 0)
		code = SEND(c, "GET", r->key);
	return code == 0 ? thrum_writer_flush(&c->out) : code;
}
THRUM_FX(ask, struct round);

static int check_answers(struct round *r)
{
	struct client *c = r->c;
	int code = expect_line(c, "+OK", true);

	if (code == 0)
		code = expect_text(c, r->value);
	if (code == 0)
		code = expect_line(c, ":", false);
	if (code == 0)
		sim_add(&c->w->increments, 1);
	if (code == 0)
		code = expect_line(c, ":1", true);
	return code == 0 ? expect_line(c, "$-1", true) : code;
}
THRUM_FX(check_answers, struct round);

/* Pipelined: five commands, and their answers in order; both at once, or full buffers both ways would hold both ends. */
static int one_round(struct client *c, unsigned number)
{
	struct round r = { .c = c };
	size_t n = sim_choose(VALUE_MAX - 1);

	(void)snprintf(r.key, sizeof r.key, "key%u.%u", c->number, number);
	memset(r.value, 'a' + (int)c->number, n);
	return thrum_zip_par(ask_fx(&r), check_answers_fx(&r));
}

/* What expires is gone then, and not before. */
static int let_expire(struct client *c)
{
	char key[16];
	int code;

	(void)snprintf(key, sizeof key, "brief%u", c->number);
	code = SEND(c, "SET", key, "x", "PX", "1000");
	if (code == 0)
		code = SEND(c, "EXISTS", key);
	if (code == 0)
		code = thrum_writer_flush(&c->out);
	if (code == 0)
		code = expect_line(c, "+OK", true);
	if (code == 0)
		code = expect_line(c, ":1", true);
	if (code == 0)
		code = thrum_sleep(thrum_ms(1001));
	if (code == 0)
		code = SEND(c, "GET", key);
	if (code == 0)
		code = thrum_writer_flush(&c->out);
	return code == 0 ? expect_line(c, "$-1", true) : code;
}

/* It says so, or it just leaves its half. */
static int say_goodbye(struct client *c)
{
	bool quit = sim_choose(2);
	char *line;
	size_t len;
	int code = quit ? SEND(c, "QUIT") : 0;

	if (code == 0)
		code = thrum_writer_flush(&c->out);
	if (code == 0 && !quit)
		code = thrum_shutdown(c->fd, SHUT_WR);
	if (code == 0 && quit)
		code = expect_line(c, "+OK", true);
	if (code < 0)
		return code;
	code = thrum_reader_line(&c->in, 0, &line, &len); /* and then there is nothing */
	TH_CHECK(code <= 0);
	return code;
}

static int talk(struct client *c)
{
	int code = 0;

	for (unsigned i = 0; i < ROUNDS && code == 0; i++)
		code = one_round(c, i);
	if (code == 0)
		code = let_expire(c);
	return code == 0 ? say_goodbye(c) : code;
}

/* The last one sees what all of them did. */
static int check_store(struct client *c)
{
	char n[16];
	int code = SEND(c, "GET", "shared");

	if (code == 0)
		code = SEND(c, "DBSIZE");
	if (code == 0)
		code = thrum_writer_flush(&c->out);
	(void)snprintf(n, sizeof n, "%d", sim_add(&c->w->increments, 0));
	if (code == 0)
		code = expect_text(c, n);
	return code == 0 ? expect_line(c, ":1", true) : code;
}

static int with_connection(struct client *c, int (*what)(struct client *c))
{
	int code = dial(c);

	if (code == 0)
		code = what(c);
	if (c->fd >= 0)
		TH_CHECK_EQ(thrum_close(c->fd), 0);
	return code;
}

static int run_client(struct client *c)
{
	struct world *w = c->w;
	int code = with_connection(c, talk);

	sim_add(&w->done, code == 0);
	if (sim_add(&w->left, -1) == 0) {
		if (code == 0 && !w->drain_early)
			code = with_connection(c, check_store);
		(void)th_sim_raise(SIGTERM);
	}
	/* Ended by the drain, between two commands or before it was accepted. */
	if (w->drain_early && (code == THRUM_EEOF || code == -ECONNRESET || code == -EPIPE || code == -ECONNREFUSED))
		code = 0;
	return code;
}
THRUM_FX(run_client, struct client);

static int run_world(struct world *w, bool drain_early)
{
	struct client clients[CLIENTS];
	thrum_fx fx[CLIENTS + 1] = { serve_fx(w) };
	unsigned n = 1 + sim_choose(CLIENTS);
	int code;

	w->left = (int)n;
	w->drain_early = drain_early;
	for (unsigned i = 0; i < n; i++) {
		clients[i] = (struct client){ .w = w, .number = i };
		fx[i + 1] = run_client_fx(&clients[i]);
	}
	code = thrum_zip_par_n(fx, n + 1);
	TH_CHECK(code < 0 || w->status == 0);
	return code < 0 && thrum_check() < 0 ? -ECANCELED : code;
}

/* Every answer is the right one, in order, and a drain ends the server when all have left. */
SIM_TEST_WITH(kv, every_answer_is_right, .one_in = 32, .root_only = true)
{
	struct world w = { .status = -1 };
	int code = run_world(&w, false);

	(void)unused;
	TH_CHECK(code < 0 || w.increments == w.done * ROUNDS);
	return code;
}

static int drain_some_time(void *unused)
{
	int code = thrum_sleep(ticks(sim_choose(400)));

	(void)unused;
	(void)th_sim_raise(SIGTERM);
	return code;
}

static int run_drained_world(void *world)
{
	return run_world(world, true);
}

/* A drain at any time: what was answered was right, and the server ends. */
SIM_TEST_WITH(kv, drain_ends_between_commands, .one_in = 32, .root_only = true)
{
	struct world w = { .status = -1 };

	(void)unused;
	return thrum_zip_par((thrum_fx){ run_drained_world, &w }, (thrum_fx){ drain_some_time, NULL });
}
