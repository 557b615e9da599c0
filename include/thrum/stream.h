/* thrum/stream.h: buffered reading and writing of a descriptor, in a buffer of the caller's: nothing is allocated, and
 * nothing is kept beyond that buffer.
 *
 * What holds for all of them:
 *   storage  the caller's; do not copy. Nothing to end: the descriptor and the buffer stay the caller's.
 *   threads  the _init calls, thrum_reader_rebuffer(), thrum_reader_peek(), thrum_reader_consume() and
 *            thrum_writer_pending() may be called by any thread; all others by a fiber (else THRUM_ENOTFIBER), suspend, and are cancel points, also where they
 *            need not wait (G3). One fiber at a time for each reader or writer.
 *   cancel   what a reader has read and not handed out stays in it, what a writer has taken and not sent stays in it
 *            (G8): after -ECANCELED the same call, in a scope that is not cancelled, goes on where it was. */
#ifndef THRUM_STREAM_H
#define THRUM_STREAM_H
#include <stdarg.h>
#include <sys/types.h>
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* --- reading --- */

typedef struct thrum_reader {
	uint64_t opaque_[8];
} thrum_reader;

/* Borrows the buffer until the last use. 0; -EINVAL without a buffer. */
THRUM_API THRUM_MUST_CHECK int thrum_reader_init(thrum_reader *r, int fd, void *buf, size_t size);

/* Go on in another buffer: what has been read and not been handed out moves there. So a reader that waits for the next
 * message needs no more than a small one. Borrows the new one, and lets go of the old one, in which what was handed out
 * lies; it may be the same. 0; -EINVAL without a buffer; -EMSGSIZE if it is too small. */
THRUM_API THRUM_MUST_CHECK int thrum_reader_rebuffer(thrum_reader *r, void *buf, size_t size);

/* What has been read and not been handed out, without waiting: how many bytes, and where they are. They stay there
 * until the next call on the reader that suspends. */
THRUM_API size_t thrum_reader_peek(const thrum_reader *r, const char **ret_data);
/* Hand out n of these bytes. 0; -EINVAL if there are fewer. */
THRUM_API int thrum_reader_consume(thrum_reader *r, size_t n);
/* One read behind what is there. How many bytes came; 0 at the end of the stream; -ENOBUFS if the buffer is full;
 * codes of thrum_read(). The end, once seen, stays. */
THRUM_API ssize_t thrum_reader_fill(thrum_reader *r);
/* Read until n bytes are there to be peeked at. 0; THRUM_EEOF, and what came until then stays; -EMSGSIZE if the buffer
 * is smaller than n; codes of thrum_read(). */
THRUM_API THRUM_MUST_CHECK int thrum_reader_need(thrum_reader *r, size_t n);

/* Some bytes, at most n: what is there, else one read, straight into `buf` where that is as large as the reader's
 * buffer. 0 at the end of the stream; codes of thrum_read(). */
THRUM_API ssize_t thrum_reader_read(thrum_reader *r, void *buf, size_t n);
/* Exactly n bytes: 0 or a code; *ret_done (may be NULL) tells how many came, also with a code (G8). THRUM_EEOF: the
 * stream ended before; with *ret_done 0 it had ended between two reads of this kind, else in the middle. */
THRUM_API THRUM_MUST_CHECK int thrum_reader_read_all(thrum_reader *r, void *buf, size_t n, size_t *ret_done);

/* The next line, without its end, "\n" or "\r\n"; a '\r' elsewhere is part of it. It lies in the reader's buffer until
 * the next call on the reader, is the caller's to change, and is not ended by a zero byte.
 *   limit     most bytes with the end of the line; 0 or more than the buffer's size: that size
 *   returns   1 with a line; 0 at the end of the stream, with nothing before it; or, and then nothing was handed out
 *             and *ret_line and *ret_len are untouched: THRUM_EEOF at an end in the middle of a line, -EMSGSIZE for a
 *             longer one (thrum_reader_skip_until() passes it), codes of thrum_read() */
THRUM_API THRUM_MUST_CHECK int thrum_reader_line(thrum_reader *r, size_t limit, char **ret_line, size_t *ret_len);
/* The same up to other bytes, at least one: "\r\n\r\n", a zero byte. Also -EINVAL. */
THRUM_API THRUM_MUST_CHECK int thrum_reader_until(thrum_reader *r, const void *end, size_t end_bytes, size_t limit,
						  char **ret_data, size_t *ret_len);

/* Pass n bytes over: 0 or a code; *ret_done as in thrum_reader_read_all(). */
THRUM_API THRUM_MUST_CHECK int thrum_reader_skip(thrum_reader *r, size_t n, size_t *ret_done);
/* Pass everything over up to these bytes, and them; they fit into the buffer. 1; 0 at the end of the stream, with
 * nothing before it; THRUM_EEOF at an end before they came; -EINVAL; codes of thrum_read(). */
THRUM_API THRUM_MUST_CHECK int thrum_reader_skip_until(thrum_reader *r, const void *end, size_t end_bytes);

/* --- writing --- */

typedef struct thrum_writer {
	uint64_t opaque_[8];
} thrum_writer;

/* Borrows the buffer until the last use. 0; -EINVAL without a buffer. A code other than -ECANCELED from sending stays:
 * every later call returns it. A socket is never written to with a SIGPIPE; another descriptor as by thrum_write(). */
THRUM_API THRUM_MUST_CHECK int thrum_writer_init(thrum_writer *w, int fd, void *buf, size_t size);
/* Take n bytes. What does not fit is sent at once, in one call of the system together with what was there before. 0 or
 * a code; *ret_done (may be NULL) tells how many were taken, also with a code (G8). */
THRUM_API THRUM_MUST_CHECK int thrum_writer_write(thrum_writer *w, const void *data, size_t n, size_t *ret_done);
/* Take a formatted text, all or nothing. 0; -EMSGSIZE if it is as long as the buffer or longer; -EINVAL for a bad
 * format; codes of sending. */
THRUM_API THRUM_MUST_CHECK int thrum_writer_printf(thrum_writer *w, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));
THRUM_API THRUM_MUST_CHECK int thrum_writer_vprintf(thrum_writer *w, const char *format, va_list args)
	__attribute__((__format__(__printf__, 2, 0)));
/* Send what has been taken. 0 or a code. */
THRUM_API THRUM_MUST_CHECK int thrum_writer_flush(thrum_writer *w);
/* How many bytes have been taken and not been sent. */
THRUM_API size_t thrum_writer_pending(const thrum_writer *w);

#ifdef __cplusplus
}
#endif
#endif
