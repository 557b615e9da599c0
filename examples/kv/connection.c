/* A connection: reads commands, in RESP2 or inline, and answers them; the answers to what a client sent in one go
 * leave in one go. Every wait has a limit, and so has every size: what a client announces is believed only within
 * them, and memory for it is taken as it comes.
 *
 * A drain ends a connection between two commands, when all that has come from it is answered. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "kv.h"

enum {
	IN_BYTES = 16 * 1024,
	OUT_BYTES = 16 * 1024,
	LINE_MAX_BYTES = 4096,           /* of an inline command, and of a count or length */
	WORDS_MAX = 1024,
	WORD_MAX_BYTES = 16 << 20,
	COMMAND_MAX_BYTES = 32 << 20,    /* of all words of one command */
	MEMORY_KEPT = 64 * 1024,         /* between two commands */
	MEMORY_STEP = 256 * 1024,        /* taken ahead of what has come */
	LINGER_MS = 500, LINGER_BYTES = 64 * 1024
};

struct connection {
	struct kv *kv;
	thrum_conn *conn;
	thrum_scope scope;               /* of this connection: its deadline moves from wait to wait */
	thrum_reader in;
	thrum_writer out;
	char *memory;                    /* the words of the command, one after the other */
	size_t used, room;
	struct text word[WORDS_MAX];     /* until all have come, data is NULL: the memory may move */
	size_t words;
	char in_buf[IN_BYTES], out_buf[OUT_BYTES];
};

enum { GO_ON = 0, END = 1 }; /* besides codes */

/* --- reading a command --- */

static int refuse(struct connection *c, const char *why)
{
	int code = thrum_writer_printf(&c->out, "-ERR Protocol error: %s\r\n", why);

	return code < 0 ? code : END;
}

/* In steps, so that who announces much and sends little gets little. */
static int make_room(struct connection *c, size_t n)
{
	size_t room = c->used + n;
	char *memory;

	if (room <= c->room)
		return 0;
	room = room < 2 * c->room ? 2 * c->room : room;
	memory = realloc(c->memory, room);
	if (!memory)
		return -ENOMEM;
	c->memory = memory;
	c->room = room;
	return 0;
}

static int read_word(struct connection *c, size_t len)
{
	struct text *w = &c->word[c->words];
	char end[2];
	int code = 0;

	for (size_t left = len; left > 0 && code == 0;) {
		size_t step = left < MEMORY_STEP ? left : MEMORY_STEP;

		code = make_room(c, step);
		if (code == 0)
			code = thrum_reader_read_all(&c->in, c->memory + c->used, step, NULL);
		c->used += step;
		left -= step;
	}
	if (code == 0)
		code = thrum_reader_read_all(&c->in, end, 2, NULL);
	if (code < 0)
		return code;
	if (memcmp(end, "\r\n", 2) != 0)
		return refuse(c, "a bulk string that is longer than it said");
	*w = (struct text){ NULL, len };
	c->words++;
	return GO_ON;
}

/* A line "<kind><number>": the number. */
static int read_count(struct connection *c, char kind, int64_t max, const char *wrong, int64_t *ret_n)
{
	char *line;
	size_t len;
	int code = thrum_reader_line(&c->in, LINE_MAX_BYTES, &line, &len);

	if (code == -EMSGSIZE)
		return refuse(c, wrong);
	if (code == 0)
		return THRUM_EEOF; /* in the middle of a command */
	if (code < 0)
		return code;
	if (len == 0 || *line != kind)
		return refuse(c, kind == '$' ? "expected '$'" : wrong);
	if (!parse_number((struct text){ line + 1, len - 1 }, ret_n) || *ret_n > max || (kind == '$' && *ret_n < 0))
		return refuse(c, wrong);
	return GO_ON;
}

static int read_words(struct connection *c)
{
	int64_t n, len;
	int code = read_count(c, '*', WORDS_MAX, "invalid multibulk length", &n);

	while (code == GO_ON && n-- > 0) {
		code = read_count(c, '$', WORD_MAX_BYTES, "invalid bulk length", &len);
		if (code == GO_ON && c->used + (size_t)len > COMMAND_MAX_BYTES)
			code = refuse(c, "too big a command");
		if (code == GO_ON)
			code = read_word(c, (size_t)len);
	}
	return code;
}

/* Words between spaces; there are no quotes. */
static int read_inline(struct connection *c)
{
	char *line;
	size_t len, at = 0;
	int code = thrum_reader_line(&c->in, LINE_MAX_BYTES, &line, &len);

	if (code == -EMSGSIZE)
		return refuse(c, "too big inline request");
	if (code <= 0)
		return code == 0 ? THRUM_EEOF : code;
	code = make_room(c, len);
	if (code < 0)
		return code;
	while (at < len) {
		size_t from = at;

		while (at < len && line[at] != ' ' && line[at] != '\t')
			at++;
		if (at > from && c->words == WORDS_MAX)
			return refuse(c, "too many words");
		if (at > from) {
			memcpy(c->memory + c->used, line + from, at - from);
			c->used += at - from;
			c->word[c->words++] = (struct text){ NULL, at - from };
		} else {
			at++;
		}
	}
	return GO_ON;
}

static int read_command(struct connection *c)
{
	const char *first;
	size_t at = 0;
	int code;

	c->used = c->words = 0;
	(void)thrum_reader_peek(&c->in, &first); /* there is one */
	code = *first == '*' ? read_words(c) : read_inline(c);
	for (size_t i = 0; i < c->words; i++) {
		c->word[i].data = c->memory + at;
		at += c->word[i].len;
	}
	return code;
}

static void forget_much(struct connection *c)
{
	if (c->room <= MEMORY_KEPT)
		return;
	free(c->memory);
	c->memory = NULL;
	c->room = 0;
}

/* --- the loop --- */

/* It may have passed just now. */
static int set_deadline(struct connection *c, thrum_dur limit)
{
	int code = thrum_scope_deadline(&c->scope, limit);

	return code == -EALREADY ? -ECANCELED : code;
}

/* For the next command, in a scope that a drain cancels. GO_ON, END, or a code. */
static int wait_until_drained(struct connection *c)
{
	thrum_scope s;
	int code = thrum_scope_open(&s), pending = 0;

	if (code < 0)
		return code;
	code = thrum_scope_link(&s, c->conn->draining);
	if (code == 0)
		code = thrum_reader_need(&c->in, 1);
	(void)thrum_scope_close(&s);
	if (code == -ECANCELED && thrum_token_cancelled(c->conn->draining)) { /* what has come is answered still */
		bool more = ioctl(c->conn->fd, FIONREAD, &pending) == 0 && pending > 0;

		code = more ? thrum_reader_need(&c->in, 1) : THRUM_EEOF;
	}
	return code == THRUM_EEOF ? END : code;
}

static int next_command(struct connection *c)
{
	const char *unused;
	int code = 0;

	if (thrum_reader_peek(&c->in, &unused) == 0) {
		code = thrum_writer_flush(&c->out);
		if (code == 0)
			code = set_deadline(c, c->kv->limits.idle);
		if (code == 0)
			code = wait_until_drained(c);
		if (code == GO_ON)
			code = set_deadline(c, c->kv->limits.io);
	}
	return code;
}

static int serve(struct connection *c)
{
	int code;

	while ((code = next_command(c)) == GO_ON) {
		code = read_command(c);
		if (code == GO_ON && c->words > 0)
			code = run_command(&c->kv->store, &c->out, c->word, c->words);
		if (code != GO_ON)
			break;
		forget_much(c);
	}
	if (code == END)
		code = thrum_writer_flush(&c->out);
	return code;
}

/* The answer is not lost to a reset because the client had sent more than was read. */
static int linger(void *arg)
{
	struct connection *c = arg;
	size_t n;

	if (shutdown(c->conn->fd, SHUT_WR) < 0)
		return 0;
	return thrum_reader_skip(&c->in, LINGER_BYTES, &n);
}

static bool is_usual(int code)
{
	return code == THRUM_EEOF || code == -ECONNRESET || code == -EPIPE || code == -ETIMEDOUT;
}

int serve_connection(void *arg, thrum_conn *conn)
{
	struct connection *c = malloc(sizeof *c);
	bool timed_out;
	int code;

	if (!c)
		return -ENOMEM;
	c->kv = arg;
	c->conn = conn;
	c->memory = NULL;
	c->room = 0;
	code = thrum_reader_init(&c->in, conn->fd, c->in_buf, sizeof c->in_buf);
	if (code == 0)
		code = thrum_writer_init(&c->out, conn->fd, c->out_buf, sizeof c->out_buf);
	if (code == 0)
		code = thrum_scope_open(&c->scope);
	if (code == 0) {
		code = serve(c);
		timed_out = thrum_scope_close(&c->scope) == -ETIMEDOUT || code == -ECANCELED;
		if (!timed_out && code == 0)
			(void)thrum_timeout((thrum_fx){ linger, c }, thrum_ms(LINGER_MS));
	}
	free(c->memory);
	free(c);
	return is_usual(code) || code == -ECANCELED ? 0 : code;
}
