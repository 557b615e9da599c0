/* io/sendfile.c: from a file to a socket without a copy.
 *
 * sendfile(2) on a blocking socket waits for the peer, and holds its thread. Nothing but O_NONBLOCK on the socket prevents
 * that: splice(2) with SPLICE_F_NONBLOCK waits all the same (the flag is for the pipe), a thread of the pool would be held
 * by any peer that does not read, and io_uring's splice does that to threads of the kernel. So the socket becomes
 * O_NONBLOCK, for good: setting it back would race with other fibers that send on it, and thrum's calls do not mind.
 *
 * The disk is the other thing to wait for. Two reads of a byte that refuse to wait (RWF_NOWAIT), at both ends of a piece,
 * tell whether the page cache has it; then it is sent at once, otherwise by a job on the blocking pool, which cannot be
 * held by the peer, only by the disk.
 *
 * Both descriptors are in use meanwhile, and a close of either ends it. What waits for the socket the backend finds by the socket's
 * number; by the file's it is found in a list of the worker's. */
#include "sendfile.h"
#include "../core/hooks.h"
#include "../core/node.h"
#include "../core/tsan.h"
#include "backend.h"
#include "call.h"
#include "fdtable.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <thrum/io.h>
#include <thrum/net.h>
#include <thrum/scope.h>

enum { PIECE = 256 << 10 }; /* at a time: what the worker's others wait for at most, some 50 us from the cache */

struct piece {
	int out, in;
	off_t at;
	size_t n;
	ssize_t sent; /* or a code */
};

/* sendfile(2) has no MSG_NOSIGNAL: keep this thread from SIGPIPE meanwhile, and take back the one that it may have raised,
 * unless one was pending before. It sends in parts, and may raise it with any result: where a later part finds that the peer has
 * gone, the result is the count of those before. */
static ssize_t send_quietly(struct piece *p)
{
	static const struct timespec now = { 0, 0 };
	sigset_t pipe, before, pending;
	ssize_t sent;

	(void)sigemptyset(&pipe);
	(void)sigaddset(&pipe, SIGPIPE);
	(void)sigprocmask(SIG_BLOCK, &pipe, &before); /* on Linux, of the calling thread */
	(void)sigpending(&pending);
	do {
		sent = th_sys_sendfile(p->out, p->in, &p->at, p->n);
	} while (sent < 0 && errno == EINTR);
	if (sent < 0)
		sent = -errno;
	if (!sigismember(&pending, SIGPIPE))
		(void)sigtimedwait(&pipe, NULL, &now);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return sent;
}

static int send_piece(void *arg)
{
	struct piece *p = arg;

	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's */
	int saved = errno;
	p->sent = send_quietly(p);
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return 0;
}

/* A file system that cannot say so (-EOPNOTSUPP) may have to wait. */
static bool has_byte_cached(int in, off_t at)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	return th_sys_preadv2(in, &iov, 1, at, RWF_NOWAIT) >= 0;
}

static bool is_cached(const struct piece *p)
{
	bool cached;

	TH_TSAN_PRIVATE_BEGIN();
	int saved = errno;
	cached = has_byte_cached(p->in, p->at) && has_byte_cached(p->in, p->at + (off_t)p->n - 1);
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return cached;
}

static int make_nonblocking(int fd)
{
	int flags, code = 0;

	TH_TSAN_PRIVATE_BEGIN();
	int saved = errno;
	flags = th_sys_fcntl(fd, F_GETFL);
	if (flags < 0 || (!(flags & O_NONBLOCK) && th_sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
		code = -errno;
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return code;
}

/* --- waiting for the socket --- */

/* In the list home->senders, which only the worker's thread touches. */
struct th_sender {
	struct th_op ready;
	int in;
	struct th_sender *next, **at;
};

static void list(struct th_sender **head, struct th_sender *s)
{
	TH_TSAN_PRIVATE_BEGIN();
	s->next = *head;
	s->at = head;
	if (s->next)
		s->next->at = &s->next;
	*head = s;
	TH_TSAN_PRIVATE_END();
}

static void unlist(struct th_sender *s)
{
	TH_TSAN_PRIVATE_BEGIN();
	*s->at = s->next;
	if (s->next)
		s->next->at = s->at;
	TH_TSAN_PRIVATE_END();
}

static bool is_closing(struct th_home *home, const struct piece *p)
{
	return th_fd_closing(home->fds, p->in) || th_fd_closing(home->fds, p->out);
}

/* A close of the file that is_closing() has not seen is served when the operation has been submitted, as in io/fdtable.h. */
static int wait_for_room(const struct piece *p)
{
	struct th_home *home = th_self()->home;
	struct th_sender s = { .ready = { .kind = TH_OP_POLL, .fd = p->out, .arg = POLLOUT }, .in = p->in };
	int code;

	if (is_closing(home, p))
		return -EBADF;
	list(&home->senders, &s);
	code = th_op_run(&s.ready);
	unlist(&s);
	return code;
}

void th_sendfile_cancel_fd(struct th_home *home, int fd)
{
	for (struct th_sender *s = home->senders; s; s = s->next) {
		if (s->in != fd)
			continue;
		if (s->ready.in_kernel)
			home->backend->cancel(home->io, &s->ready);
		else
			s->ready.kind = TH_OP_NOP; /* it has ended; should it be run again, for a signal, it does not wait */
	}
}

/* --- sending --- */

/* Some of the piece, when the socket has room. The checkpoint of later rounds is in the wait, or here. */
static ssize_t send_some(struct piece *p)
{
	for (;;) {
		int code = thrum_check();

		if (code == 0 && is_closing(th_self()->home, p))
			code = -EBADF;
		if (code == 0 && is_cached(p)) {
			code = send_piece(p);
			if (p->sent > 0)
				th_call_was_quick();
		} else if (code == 0) {
			code = thrum_blocking((thrum_fx){ send_piece, p });
		}
		if (code < 0)
			return code;
		if (p->sent != -EAGAIN)
			return p->sent;
		code = wait_for_room(p);
		if (code < 0)
			return code;
	}
}

/* Both descriptors are in use until end(). */
static int begin(const struct piece *p)
{
	int code = th_call_begin(p->out);

	if (code < 0)
		return code;
	code = th_call_begin(p->in);
	if (code < 0)
		th_call_end(p->out);
	return code;
}

static void end(const struct piece *p)
{
	th_call_end(p->in);
	th_call_end(p->out);
}

static size_t piece_of(size_t n)
{
	return n < PIECE ? n : PIECE;
}

ssize_t thrum_sendfile(int out, int in, off_t *at, size_t n)
{
	struct piece p = { .out = out, .in = in, .at = at ? *at : 0, .n = piece_of(n) };
	ssize_t res;

	if (!at || *at < 0)
		return th_self() ? -EINVAL : THRUM_ENOTFIBER;
	res = begin(&p);
	if (res < 0)
		return res;
	res = make_nonblocking(out);
	if (res == 0 && n > 0)
		res = send_some(&p);
	end(&p);
	if (res > 0)
		*at += res;
	return res;
}

static int send_all(struct piece *p, size_t n, size_t *done)
{
	int code = make_nonblocking(p->out);

	while (code == 0 && *done < n) {
		ssize_t sent;
		p->n = piece_of(n - *done);
		sent = send_some(p); /* moves p->at along */
		if (sent <= 0)
			return sent < 0 ? (int)sent : THRUM_EEOF;
		*done += (size_t)sent;
	}
	return code;
}

int thrum_sendfile_all(int out, int in, off_t at, size_t n, size_t *ret_done)
{
	struct piece p = { .out = out, .in = in, .at = at };
	size_t done = 0;
	int code = begin(&p);

	if (code == 0) {
		code = at < 0 ? -EINVAL : send_all(&p, n, &done);
		end(&p);
	}
	if (ret_done)
		*ret_done = done;
	return code;
}
