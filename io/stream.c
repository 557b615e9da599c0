/* io/stream.c: buffered readers and writers over a descriptor. They know nothing but public calls, and the operations
 * on vectors of io/op.h.
 *
 * A reader's buffer:   0 ── handed out ── begin ── unread ── end ── free ── size
 * Bytes move only in move_down(), before a read, so what was handed out last stays where it is until then. Every search
 * begins where the one before ended, less what may be the beginning of a match: a stream that comes byte by byte costs
 * no more than one that comes at once. Only handing out moves `begin`; so a cancel, or any other code, loses
 * nothing. */
#include "call.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <thrum/io.h>
#include <thrum/scope.h>
#include <thrum/stream.h>

/* --- reading --- */

struct reader {
	char *buf;
	size_t size, begin, end;
	int fd;
	bool ended;
};
_Static_assert(sizeof(struct reader) <= sizeof(thrum_reader), "thrum_reader holds a reader");

static struct reader *reader_of(thrum_reader *r)
{
	return (struct reader *)(void *)r;
}

static size_t unread(const struct reader *r)
{
	return r->end - r->begin;
}

int thrum_reader_init(thrum_reader *public, int fd, void *buf, size_t size)
{
	if (!buf || size == 0)
		return -EINVAL;
	*reader_of(public) = (struct reader){ .buf = buf, .size = size, .fd = fd };
	return 0;
}

int thrum_reader_rebuffer(thrum_reader *public, void *buf, size_t size)
{
	struct reader *r = reader_of(public);

	if (!buf || size == 0)
		return -EINVAL;
	if (unread(r) > size)
		return -EMSGSIZE;
	memmove(buf, r->buf + r->begin, unread(r));
	r->end = unread(r);
	r->begin = 0;
	r->buf = buf;
	r->size = size;
	return 0;
}

size_t thrum_reader_peek(const thrum_reader *public, const char **ret_data)
{
	const struct reader *r = (const struct reader *)(const void *)public;

	*ret_data = r->buf + r->begin;
	return unread(r);
}

int thrum_reader_consume(thrum_reader *public, size_t n)
{
	struct reader *r = reader_of(public);

	if (n > unread(r))
		return -EINVAL;
	r->begin += n;
	return 0;
}

static void move_down(struct reader *r)
{
	memmove(r->buf, r->buf + r->begin, unread(r));
	r->end = unread(r);
	r->begin = 0;
}

/* 0 at the end, which is asked for once: a terminal would go on after it, and a socket may wait. */
static ssize_t read_some(struct reader *r, void *to, size_t n)
{
	ssize_t got = r->ended ? 0 : thrum_read(r->fd, to, n);

	r->ended = got == 0;
	return got;
}

static ssize_t fill(struct reader *r)
{
	ssize_t got;

	if (unread(r) == 0 || r->end == r->size)
		move_down(r);
	if (r->end == r->size)
		return -ENOBUFS;
	got = read_some(r, r->buf + r->end, r->size - r->end);
	if (got > 0)
		r->end += (size_t)got;
	return got;
}

ssize_t thrum_reader_fill(thrum_reader *public)
{
	int code = thrum_check();

	return code < 0 ? code : fill(reader_of(public));
}

int thrum_reader_need(thrum_reader *public, size_t n)
{
	struct reader *r = reader_of(public);
	int code = thrum_check();

	if (code < 0)
		return code;
	if (n > r->size)
		return -EMSGSIZE;
	while (unread(r) < n) {
		ssize_t got;

		if (r->size - r->begin < n)
			move_down(r);
		got = fill(r);
		if (got <= 0)
			return got == 0 ? THRUM_EEOF : (int)got;
	}
	return 0;
}

static size_t take(struct reader *r, void *to, size_t n)
{
	if (n > unread(r))
		n = unread(r);
	if (n > 0)
		memcpy(to, r->buf + r->begin, n);
	r->begin += n;
	return n;
}

/* More than 0, 0 at the end, or a code. A large piece goes past the buffer. */
static ssize_t move_some(struct reader *r, void *to, size_t n)
{
	if (unread(r) == 0 && n >= r->size)
		return read_some(r, to, n);
	if (unread(r) == 0) {
		ssize_t got = fill(r);

		if (got <= 0)
			return got;
	}
	return (ssize_t)take(r, to, n);
}

ssize_t thrum_reader_read(thrum_reader *public, void *buf, size_t n)
{
	int code = thrum_check();

	if (code < 0 || n == 0)
		return code;
	return move_some(reader_of(public), buf, n);
}

int thrum_reader_read_all(thrum_reader *public, void *buf, size_t n, size_t *ret_done)
{
	int code = thrum_check();
	size_t done = 0;

	while (code == 0 && done < n) {
		ssize_t got = move_some(reader_of(public), (char *)buf + done, n - done);

		if (got > 0)
			done += (size_t)got;
		else
			code = got == 0 ? THRUM_EEOF : (int)got;
	}
	if (ret_done)
		*ret_done = done;
	return code;
}

int thrum_reader_skip(thrum_reader *public, size_t n, size_t *ret_done)
{
	struct reader *r = reader_of(public);
	int code = thrum_check();
	size_t done = 0;

	while (code == 0 && done < n) {
		size_t some = n - done < unread(r) ? n - done : unread(r);

		r->begin += some;
		done += some;
		if (some == 0) {
			ssize_t got = fill(r);
			code = got > 0 ? 0 : got == 0 ? THRUM_EEOF : (int)got;
		}
	}
	if (ret_done)
		*ret_done = done;
	return code;
}

static const char *search(const char *in, size_t n, const char *what, size_t bytes)
{
	return bytes == 1 ? memchr(in, *what, n) : memmem(in, n, what, bytes); /* of a byte, as of lines, many times as fast */
}

/* Where the first match begins, from `begin` on and whole within `limit` bytes; or `limit` or more if there is none.
 * On the way it reads. 1, 0 at the end, or a code. */
static int find(struct reader *r, const void *end, size_t end_bytes, size_t limit, size_t *ret_at)
{
	size_t seen = 0; /* no match begins before it */

	for (;;) {
		size_t have = unread(r) < limit ? unread(r) : limit;
		const char *from = r->buf + r->begin;
		const char *at = have - seen >= end_bytes ? search(from + seen, have - seen, end, end_bytes) : NULL;
		ssize_t got;

		if (at) {
			*ret_at = (size_t)(at - from);
			return 1;
		}
		if (have == limit)
			return -EMSGSIZE;
		if (have >= end_bytes)
			seen = have - end_bytes + 1;
		got = fill(r);
		if (got <= 0)
			return (int)got;
	}
}

int thrum_reader_until(thrum_reader *public, const void *end, size_t end_bytes, size_t limit, char **ret_data,
		       size_t *ret_len)
{
	struct reader *r = reader_of(public);
	int code = thrum_check();
	size_t at;

	if (code < 0)
		return code;
	if (!end || end_bytes == 0 || end_bytes > r->size)
		return -EINVAL;
	code = find(r, end, end_bytes, limit == 0 || limit > r->size ? r->size : limit, &at);
	if (code == 0 && unread(r) > 0)
		return THRUM_EEOF;
	if (code <= 0)
		return code;
	*ret_data = r->buf + r->begin;
	*ret_len = at;
	r->begin += at + end_bytes;
	return 1;
}

int thrum_reader_line(thrum_reader *r, size_t limit, char **ret_line, size_t *ret_len)
{
	int code = thrum_reader_until(r, "\n", 1, limit, ret_line, ret_len);

	if (code == 1 && *ret_len > 0 && (*ret_line)[*ret_len - 1] == '\r')
		--*ret_len;
	return code;
}

int thrum_reader_skip_until(thrum_reader *public, const void *end, size_t end_bytes)
{
	struct reader *r = reader_of(public);
	int code = thrum_check();
	bool any = unread(r) > 0;
	size_t at;

	if (code < 0)
		return code;
	if (!end || end_bytes == 0 || end_bytes > r->size)
		return -EINVAL;
	/* A full buffer without a match: all but what may begin one goes. */
	while ((code = find(r, end, end_bytes, r->size, &at)) == -EMSGSIZE) {
		r->begin = r->end - (end_bytes - 1);
		any = true;
	}
	if (code == 1)
		r->begin += at + end_bytes;
	if (code == 0 && (any || unread(r) > 0)) {
		r->begin = r->end;
		return THRUM_EEOF;
	}
	return code;
}

/* --- writing --- */

struct writer {
	char *buf;
	size_t size, begin, end; /* what is between them has been taken and not been sent */
	int fd;
	int code;                /* of the first send that failed */
	bool no_socket;          /* found out by the first send */
};
_Static_assert(sizeof(struct writer) <= sizeof(thrum_writer), "thrum_writer holds a writer");

static struct writer *writer_of(thrum_writer *w)
{
	return (struct writer *)(void *)w;
}

int thrum_writer_init(thrum_writer *public, int fd, void *buf, size_t size)
{
	if (!buf || size == 0)
		return -EINVAL;
	*writer_of(public) = (struct writer){ .buf = buf, .size = size, .fd = fd };
	return 0;
}

size_t thrum_writer_pending(const thrum_writer *public)
{
	const struct writer *w = (const struct writer *)(const void *)public;

	return w->end - w->begin;
}

/* One piece or, with a header for them, two. */
static struct th_op send_op(const struct writer *w, const struct iovec *iov, struct msghdr *msg)
{
	struct th_op op = { .fd = w->fd, .arg = MSG_NOSIGNAL };

	op.kind = msg->msg_iovlen == 1 ? TH_OP_SEND : TH_OP_SENDMSG;
	op.buf = msg->msg_iovlen == 1 ? iov->iov_base : msg;
	op.len = msg->msg_iovlen > 1 ? 1 : iov->iov_len < TH_LEN_MAX ? (uint32_t)iov->iov_len : (uint32_t)TH_LEN_MAX;
	return op;
}

static int send_vector(struct writer *w, struct iovec *iov, size_t n)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	struct th_op op;
	int res = th_call_begin(w->fd);

	if (res < 0)
		return res;
	op = send_op(w, iov, &msg);
	res = w->no_socket ? -ENOTSOCK : th_op_run_ready(&op, POLLOUT);
	if (res == -ENOTSOCK) {
		w->no_socket = true;
		op = (struct th_op){ .kind = TH_OP_WRITEV, .fd = w->fd, .buf = iov, .len = (uint32_t)n, .off = -1 };
		res = th_op_run_ready(&op, POLLOUT);
	}
	th_call_end(w->fd);
	return res;
}

/* Send what has been taken and, behind it, some of `data`; *ret_sent tells how much of that. 0 or a code. */
static int send_some(struct writer *w, const void *data, size_t n, size_t *ret_sent)
{
	size_t taken = w->end - w->begin;
	struct iovec iov[2] = { { w->buf + w->begin, taken }, { th_unconst(data), n < TH_LEN_MAX ? n : TH_LEN_MAX } };
	int res = taken ? send_vector(w, iov, n ? 2 : 1) : send_vector(w, iov + 1, 1);

	*ret_sent = 0;
	if (res <= 0) {
		if (res == 0)
			res = -EIO; /* nothing that takes bytes takes none for good: do not try for ever */
		if (res != -ECANCELED)
			w->code = res;
		return res;
	}
	if ((size_t)res < taken) {
		w->begin += (size_t)res;
		return 0;
	}
	*ret_sent = (size_t)res - taken;
	w->begin = w->end = 0;
	return 0;
}

/* 0 or a code, for the calls below: their checkpoint. */
static int begin_write(const struct writer *w)
{
	int code = thrum_check();

	return code < 0 ? code : w->code;
}

static void append(struct writer *w, const void *data, size_t n)
{
	if (w->size - w->end < n) {
		memmove(w->buf, w->buf + w->begin, w->end - w->begin);
		w->end -= w->begin;
		w->begin = 0;
	}
	if (n > 0)
		memcpy(w->buf + w->end, data, n);
	w->end += n;
}

int thrum_writer_write(thrum_writer *public, const void *data, size_t n, size_t *ret_done)
{
	struct writer *w = writer_of(public);
	int code = begin_write(w);
	size_t done = 0, sent;

	while (code == 0 && n - done > w->size - (w->end - w->begin)) {
		code = send_some(w, (const char *)data + done, n - done, &sent);
		done += sent;
	}
	if (code == 0) {
		append(w, (const char *)data + done, n - done);
		done = n;
	}
	if (ret_done)
		*ret_done = done;
	return code;
}

static int flush(struct writer *w)
{
	int code = 0;
	size_t none;

	while (code == 0 && w->begin < w->end)
		code = send_some(w, NULL, 0, &none);
	return code;
}

int thrum_writer_flush(thrum_writer *public)
{
	struct writer *w = writer_of(public);
	int code = begin_write(w);

	return code < 0 ? code : flush(w);
}

int thrum_writer_vprintf(thrum_writer *public, const char *format, va_list args)
{
	struct writer *w = writer_of(public);
	int code = begin_write(w);

	for (int tries = 0; code == 0 && tries < 2; tries++) { /* into what is free; else into all of it */
		va_list again;
		int n;

		va_copy(again, args);
		n = vsnprintf(w->buf + w->end, w->size - w->end, format, again);
		va_end(again);
		if (n < 0)
			return -EINVAL;
		if ((size_t)n < w->size - w->end) {
			w->end += (size_t)n;
			return 0;
		}
		if ((size_t)n >= w->size)
			return -EMSGSIZE;
		code = flush(w);
	}
	return code;
}

int thrum_writer_printf(thrum_writer *w, const char *format, ...)
{
	va_list args;
	int code;

	va_start(args, format);
	code = thrum_writer_vprintf(w, format, args);
	va_end(args);
	return code;
}
