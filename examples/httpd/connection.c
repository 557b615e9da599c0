/* A connection: request, answer, request, … Requests that are there already are answered in one go. Each phase has a
 * limit: the next request has to begin, its head has to be there, its body too, and each part of an answer has to
 * leave. The first is the deadline of a scope in which nothing else is done, the others are those of a scope for the
 * request, which move from phase to phase.
 *
 * Who waits for a request has a small buffer for its beginning, in the handler's frame; the rest comes and goes with the
 * request (worker.c).
 *
 * A drain ends it between two requests: who waits for one gives its client a last moment, since one may be on its way,
 * and answers with "Connection: close". */
#include <errno.h>
#include <string.h>
#include "httpd.h"

enum { FIRST_BYTES = 512, LAST_CALL_MS = 250, LINGER_MS = 500, LINGER_BYTES = 64 * 1024 };

enum phase { HEADER, BODY, WRITE };
struct connection {
	struct httpd *httpd;
	struct worker *worker;
	thrum_conn *conn;
	enum phase phase;
	thrum_reader in;
	uint64_t unsent;          /* answers in the writer's buffer */
	struct work *work;        /* while there is a request */
	char first[FIRST_BYTES];
};

enum { GO_ON = 0, END = 1 }; /* besides codes, which are negative, and statuses, which are larger */

static int enter(struct connection *c, enum phase phase)
{
	const struct limits *l = &c->httpd->limits;
	int code = thrum_scope_deadline(&c->work->scope, phase == HEADER ? l->header : phase == BODY ? l->body : l->write);

	c->phase = phase;
	return code == -EALREADY ? -ECANCELED : code; /* it passed just now */
}

static int enter_write(void *c)
{
	return enter(c, WRITE);
}

static int flush(struct connection *c)
{
	int code = 0;

	if (thrum_writer_pending(&c->work->out) > 0) {
		code = enter(c, WRITE);
		if (code == 0)
			code = thrum_writer_flush(&c->work->out);
	}
	if (code == 0 && c->unsent > 0) {
		__atomic_add_fetch(&c->httpd->x_answered, c->unsent, __ATOMIC_RELAXED);
		c->unsent = 0;
	}
	return code;
}

/* --- waiting for a request --- */

static int take_work(struct connection *c)
{
	c->work = work_take(c->worker);
	if (!c->work)
		return -ENOMEM;
	c->work->request.long_path = c->work->long_path;
	return thrum_writer_init(&c->work->out, c->conn->fd, c->work->out_buf, sizeof c->work->out_buf);
}

/* All that was read has been handed out. */
static int give_work(struct connection *c)
{
	int code = thrum_reader_rebuffer(&c->in, c->first, sizeof c->first);

	if (c->work)
		work_give(c->worker, c->work);
	c->work = NULL;
	return code;
}

/* `until`: end with -ECANCELED when this is cancelled; NULL: nothing. */
static int wait_for_first(struct connection *c, thrum_dur limit, thrum_token *until)
{
	thrum_scope s;
	int code = thrum_scope_open(&s), closed;

	if (code < 0)
		return code;
	code = thrum_scope_deadline(&s, limit);
	if (code == 0 && until)
		code = thrum_scope_link(&s, until);
	if (code == 0)
		code = thrum_reader_need(&c->in, 1);
	closed = thrum_scope_close(&s);
	return code == -ECANCELED && closed == -ETIMEDOUT ? closed : code;
}

/* GO_ON: a request has begun. END: there is none. Or a code. */
static int await_request(struct connection *c)
{
	int code = give_work(c);

	if (code == 0)
		code = wait_for_first(c, c->httpd->limits.idle, c->conn->draining);
	if (code == -ECANCELED && thrum_token_cancelled(c->conn->draining))
		code = wait_for_first(c, thrum_ms(LAST_CALL_MS), NULL);
	if (code == 0)
		code = take_work(c);
	return code == THRUM_EEOF ? END : code;
}

/* --- reading one; GO_ON, the status to refuse it with, or a code --- */

/* *left: what the head may still have. */
static int read_line(struct connection *c, size_t *left, int too_long, char **line, size_t *n)
{
	int code = thrum_reader_until(&c->in, "\n", 1, *left < LINE_BYTES ? *left : LINE_BYTES, line, n);

	if (code == -EMSGSIZE)
		return too_long;
	if (code <= 0)
		return code == 0 ? THRUM_EEOF : code;
	*left -= *n + 1;
	if (*n == 0 || (*line)[*n - 1] != '\r')
		return 400;
	--*n;
	return GO_ON;
}

static int read_head(struct connection *c)
{
	size_t left = HEAD_BYTES, n;
	char *line;
	int code;

	do /* empty lines before a request are passed over */
		code = read_line(c, &left, 414, &line, &n);
	while (code == GO_ON && n == 0 && left > 2);
	if (code == GO_ON)
		code = parse_request_line(&c->work->request, line, n);
	while (code == GO_ON) {
		code = left > 0 ? read_line(c, &left, 431, &line, &n) : 431;
		if (code == GO_ON && n == 0)
			return check_request(&c->work->request);
		if (code == GO_ON)
			code = parse_field(&c->work->request, line, n);
	}
	return code;
}

static int drop_chunks(struct connection *c)
{
	size_t left = LINE_BYTES + BODY_BYTES, n, body = 0;
	char *line;
	int code;

	for (;;) {
		int64_t size;

		code = read_line(c, &left, 400, &line, &n);
		if (code != GO_ON)
			return code;
		size = parse_chunk_size(line, n);
		if (size <= 0 || (uint64_t)size > BODY_BYTES - body)
			break;
		body += (size_t)size;
		code = thrum_reader_skip(&c->in, (size_t)size, NULL);
		if (code == 0)
			code = read_line(c, &left, 400, &line, &n);
		if (code != GO_ON || n > 0)
			return code != GO_ON ? code : 400;
	}
	if (parse_chunk_size(line, n) != 0)
		return parse_chunk_size(line, n) < 0 ? 400 : 413;
	do /* what follows the last one is as fields, and nothing to us */
		code = read_line(c, &left, 431, &line, &n);
	while (code == GO_ON && n > 0);
	return code;
}

static int drop_body(struct connection *c)
{
	struct request *r = &c->work->request;
	int code;

	if (!r->chunked && r->length == 0)
		return GO_ON;
	if (r->expects_continue) { /* it need not send it; then nobody knows where the next request begins */
		r->close = true;
		return GO_ON;
	}
	code = thrum_reader_rebuffer(&c->in, c->work->in_buf, sizeof c->work->in_buf);
	if (code == 0)
		code = enter(c, BODY);
	if (code < 0)
		return code;
	return r->chunked ? drop_chunks(c) : thrum_reader_skip(&c->in, (size_t)r->length, NULL);
}

/* --- answering --- */

static struct answer answer_of(struct connection *c)
{
	const struct request *r = &c->work->request;

	return (struct answer){ .httpd = c->httpd, .worker = c->worker, .out = &c->work->out, .head_only = r->method == HEAD, .close = r->close,
				.minor = r->minor, .step = enter_write, .arg = c };
}

/* What could not be read is the last of a connection: nobody knows where the next one would begin. */
static int refuse(struct connection *c, int status)
{
	struct answer a = answer_of(c);
	int code;

	a.close = true;
	a.head_only = false;
	code = answer_status(&a, status, NULL);
	c->unsent += code == 0;
	return code < 0 ? code : END;
}

static int answer(struct connection *c)
{
	struct answer a;
	int code;

	c->work->request.close |= thrum_token_cancelled(c->conn->draining);
	a = answer_of(c);
	code = c->work->request.method == NOT_ALLOWED ? answer_status(&a, 405, NULL) : answer_file(&a, &c->work->request);
	c->unsent += code == 0;
	return code < 0 ? code : a.close ? END : GO_ON;
}

/* Does its end lie where it mostly does? Then it need not be waited for. Empty lines at the front are no end of it. */
static bool has_whole_head(const struct connection *c)
{
	const char *data;
	size_t n = thrum_reader_peek(&c->in, &data);

	return n > 4 && *data != '\r' && memcmp(data + n - 4, "\r\n\r\n", 4) == 0;
}

/* Who sends the rest of a request only when it has had the answers to those before is no worse than others. */
static int begin_head(struct connection *c)
{
	int code;

	if (has_whole_head(c))
		return 0;
	code = flush(c);
	if (code == 0)
		code = thrum_reader_rebuffer(&c->in, c->work->in_buf, sizeof c->work->in_buf);
	return code < 0 ? code : enter(c, HEADER);
}

static int serve_request(struct connection *c)
{
	int code = begin_head(c);

	c->work->request.close = false;
	c->work->request.minor = 1;
	if (code == 0)
		code = read_head(c);
	if (code == GO_ON)
		code = drop_body(c);
	if (code >= 400)
		return refuse(c, code);
	return code < 0 ? code : answer(c);
}

/* All that have begun. GO_ON or END, and then the answers have left; or a code. */
static int serve_requests(struct connection *c)
{
	const char *unused;
	int code, flushed;

	do
		code = serve_request(c);
	while (code == GO_ON && thrum_reader_peek(&c->in, &unused) > 0);
	if (code < 0)
		return code;
	flushed = flush(c);
	return flushed < 0 ? flushed : code;
}

/* Who is too slow with a request is told. */
static int say_timeout(struct connection *c)
{
	int code = refuse(c, 408);

	return code == END ? flush(c) : code;
}

/* In the scope of its own that a request has. */
static int in_scope(struct connection *c, int (*serve)(struct connection *c))
{
	int code = thrum_scope_open(&c->work->scope), closed;

	if (code < 0)
		return code;
	code = serve(c);
	closed = thrum_scope_close(&c->work->scope);
	return code == -ECANCELED && closed == -ETIMEDOUT ? closed : code;
}

/* --- the end --- */

/* Closing with something unread would reset the connection, and the client might lose the answer. */
static int linger(void *arg)
{
	struct connection *c = arg;
	const char *unused;
	int code;

	if (shutdown(c->conn->fd, SHUT_WR) < 0)
		return 0;
	(void)thrum_reader_consume(&c->in, thrum_reader_peek(&c->in, &unused));
	code = give_work(c);
	return code < 0 ? code : thrum_reader_skip(&c->in, LINGER_BYTES, NULL);
}

static int run(struct connection *c)
{
	int code;

	do
		code = await_request(c);
	while (code == GO_ON && (code = in_scope(c, serve_requests)) == GO_ON);
	if (code == -ETIMEDOUT && c->work && c->phase != WRITE)
		code = in_scope(c, say_timeout);
	if (code == END || code == 0)
		(void)thrum_timeout((thrum_fx){ linger, c }, thrum_ms(LINGER_MS));
	return code < 0 ? code : 0;
}

/* What clients do is no failure of the server's. */
static bool is_usual(int code)
{
	return code == THRUM_EEOF || code == -ECONNRESET || code == -EPIPE || code == -ETIMEDOUT || code == -ECANCELED;
}

int serve_connection(void *arg, thrum_conn *conn)
{
	struct connection c; /* not set to zero: most of it is a buffer */
	int code;

	c.httpd = arg;
	c.worker = worker_self(c.httpd);
	c.conn = conn;
	c.unsent = 0;
	c.work = NULL;
	if (!c.worker)
		return -ENOMEM;
	code = thrum_reader_init(&c.in, conn->fd, c.first, sizeof c.first);
	if (code == 0)
		code = run(&c);
	if (c.work)
		work_give(c.worker, c.work);
	work_trim(c.worker);
	return is_usual(code) ? 0 : code;
}
