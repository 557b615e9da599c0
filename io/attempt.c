/* io/attempt.c: how each operation is made without blocking the worker, whatever the descriptor's flags.
 *
 * A readable descriptor that somebody else has emptied since blocks who reads it. So readiness alone is never relied on:
 *
 *   recv, send, *msg   MSG_DONTWAIT
 *   read, write        RWF_NOWAIT: files in the page cache, and, from 6.4 on, sockets and pipes. Where the file does not know
 *                      it, by its type: files on disks are for the blocking pool; sockets as above; all else, if it is
 *                      ready, with O_NONBLOCK set for the moment of the call (as_nonblocking())
 *   connect            O_NONBLOCK for the moment of the call
 *   accept             O_NONBLOCK set for good on a socket that listens. For a moment is not enough: servers share their
 *                      listener with forked processes, and one that found the flag, took it for the socket's own and lost
 *                      both the connection and the flag before its accept(2) would hang
 *   open               always for the blocking pool, as is closing files, where that writes back (NFS, FUSE)
 *
 * Rejected: O_NONBLOCK for good on everything (pipes and terminals are shared with programs that do not expect it: the
 * shell's), and pools of threads for what can wait (a thread in a read cannot be cancelled). */
#include "attempt.h"
#include "../core/lock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { POSITION_OWN = -1 }; /* the file's, to preadv2() as to op->off */

static int result(ssize_t r)
{
	return r < 0 ? -errno : (int)r;
}

static int wait_if_again(int res)
{
	return res == -EAGAIN ? TH_ATTEMPT_WAIT : res;
}

/* The events of `events`, errors and hang-ups that are there; 0: none; or a code. */
static int poll_now(int fd, unsigned events)
{
	struct pollfd p = { .fd = fd, .events = (short)events };

	if (poll(&p, 1, 0) < 0)
		return -errno;
	return fd < 0 || (p.revents & POLLNVAL) ? -EBADF : (unsigned short)p.revents;
}

static bool has_position(const struct th_op *op)
{
	return op->kind >= TH_OP_READ && op->kind <= TH_OP_WRITEV;
}

/* Messages ------------------------------------------------------------------------------------------------------- */

static int again(const struct th_op *op)
{
	return op->arg & MSG_DONTWAIT ? -EAGAIN : TH_ATTEMPT_WAIT; /* the caller's own wish */
}

static int try_recv(const struct th_op *op)
{
	int res = result(recv(op->fd, op->buf, op->len, (int)op->arg | MSG_DONTWAIT));

	return res == -EAGAIN ? again(op) : res;
}

static int try_send(const struct th_op *op)
{
	int res = result(send(op->fd, op->buf, op->len, (int)op->arg | MSG_DONTWAIT));

	return res == -EAGAIN ? again(op) : res;
}

static int try_recvmsg(const struct th_op *op)
{
	int res = result(recvmsg(op->fd, op->buf, (int)op->arg | MSG_DONTWAIT));

	return res == -EAGAIN ? again(op) : res;
}

/* To an address over AF_UNIX it is the receiver's queue that is full, of which the sender's readiness says nothing. */
static int try_sendmsg(const struct th_op *op)
{
	const struct msghdr *msg = op->buf;
	int res = result(sendmsg(op->fd, msg, (int)op->arg | MSG_DONTWAIT));

	if (res != -EAGAIN)
		return res;
	res = again(op);
	if (res == TH_ATTEMPT_WAIT && msg->msg_name && poll_now(op->fd, POLLOUT) != 0)
		return TH_ATTEMPT_LATER;
	return res;
}

/* Reading and writing -------------------------------------------------------------------------------------------- */

static bool reads(const struct th_op *op)
{
	return op->kind == TH_OP_READ || op->kind == TH_OP_READV;
}

/* What an operation reads into or writes from. */
struct span {
	struct iovec one;
	struct iovec *iov;
	int n;
};

static struct span *span_of(struct span *s, const struct th_op *op)
{
	bool vector = op->kind == TH_OP_READV || op->kind == TH_OP_WRITEV;

	s->one = (struct iovec){ op->buf, op->len };
	s->iov = vector ? op->buf : &s->one;
	s->n = vector ? (int)op->len : 1;
	return s;
}

/* Without flags by the older calls: a filter that does not know preadv2() forbids it altogether. */
static int transfer_at(const struct th_op *op, const struct span *s, off_t off, int flags)
{
	if (flags)
		return result(reads(op) ? preadv2(op->fd, s->iov, s->n, off, flags) :
					  pwritev2(op->fd, s->iov, s->n, off, flags));
	if (off == POSITION_OWN)
		return result(reads(op) ? readv(op->fd, s->iov, s->n) : writev(op->fd, s->iov, s->n));
	return result(reads(op) ? preadv(op->fd, s->iov, s->n, off) : pwritev(op->fd, s->iov, s->n, off));
}

/* What has no positions ignores a given one, as io_uring does. */
static int transfer(const struct th_op *op, int flags)
{
	struct span s;
	int res = transfer_at(op, span_of(&s, op), op->off, flags);

	return res == -ESPIPE && op->off != POSITION_OWN ? transfer_at(op, &s, POSITION_OWN, flags) : res;
}

static int transfer_on_socket(const struct th_op *op)
{
	struct span space, *s = span_of(&space, op);
	struct msghdr msg = { .msg_iov = s->iov, .msg_iovlen = (size_t)s->n };

	if (reads(op))
		return wait_if_again(result(recvmsg(op->fd, &msg, MSG_DONTWAIT)));
	return wait_if_again(result(sendmsg(op->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL)));
}

/* One at a time, in this process: who reads the flags while another one has changed them would take O_NONBLOCK for the
 * descriptor's own, and then be left without it. All that is done under it ends at once. */
static struct th_lock flags_lock;

/* call(op) with O_NONBLOCK set; *ret_own: it was so before. */
static int as_nonblocking(const struct th_op *op, int (*call)(const struct th_op *op), bool *ret_own)
{
	int flags, res;

	th_lock(&flags_lock);
	flags = fcntl(op->fd, F_GETFL);
	res = flags < 0 ? -errno : 0;
	*ret_own = flags < 0 || (flags & O_NONBLOCK);
	if (!*ret_own)
		res = result(fcntl(op->fd, F_SETFL, flags | O_NONBLOCK));
	if (res == 0)
		res = call(op);
	if (!*ret_own)
		(void)fcntl(op->fd, F_SETFL, flags);
	th_unlock(&flags_lock);
	return res;
}

static int transfer_plainly(const struct th_op *op)
{
	return transfer(op, 0);
}

/* As things are without a type that says more: looked at first, so that others who share it see the flag only when there is
 * something to do. */
static int transfer_if_ready(const struct th_op *op)
{
	unsigned events = reads(op) ? POLLIN : POLLOUT;
	int res = poll_now(op->fd, events);
	bool own;

	if (res <= 0)
		return res == 0 ? TH_ATTEMPT_WAIT : res;
	res = as_nonblocking(op, transfer_plainly, &own);
	if (res != -EAGAIN)
		return res;
	/* Somebody was faster; or it is ready for less than this: a counter that takes 1 has no room for 100. */
	return poll_now(op->fd, events) == 0 ? TH_ATTEMPT_WAIT : TH_ATTEMPT_LATER;
}

static int transfer_by_type(const struct th_op *op)
{
	struct stat st;

	if (fstat(op->fd, &st) < 0)
		return -errno;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
	case S_IFDIR:
		return TH_OP_BLOCKS;
	case S_IFSOCK:
		return transfer_on_socket(op);
	default:
		return transfer_if_ready(op);
	}
}

static int read_nothing(const struct th_op *op)
{
	return result(read(op->fd, op->buf, 0));
}

/* Of a socket, recv(2) would wait for a byte, and read(2) does not. What is no file, pipe or socket may wait for an event even
 * so (inotify), or refuse (counters). */
static int try_read_nothing(const struct th_op *op)
{
	struct stat st;
	bool own;

	if (fstat(op->fd, &st) < 0)
		return -errno;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFBLK:
	case S_IFDIR:
	case S_IFSOCK:
	case S_IFIFO:
		return read_nothing(op);
	default:
		return wait_if_again(as_nonblocking(op, read_nothing, &own));
	}
}

static int try_transfer(const struct th_op *op)
{
	int res;

	if (op->kind == TH_OP_READ && op->len == 0)
		return try_read_nothing(op);
	res = transfer(op, RWF_NOWAIT);
	/* Not known to the file, to the kernel (before 4.14), or forbidden by a seccomp filter. */
	if (res == -EOPNOTSUPP || res == -ENOSYS || res == -EPERM)
		return transfer_by_type(op);
	return wait_if_again(res);
}

/* Connections ---------------------------------------------------------------------------------------------------- */

static int connect_plainly(const struct th_op *op)
{
	return result(connect(op->fd, op->buf, op->len));
}

static bool is_unix(const struct th_op *op)
{
	return op->len >= sizeof(sa_family_t) && ((const struct sockaddr *)op->buf)->sa_family == AF_UNIX;
}

/* op->off: begun. Connecting again then tells how it went. */
static int try_connect(struct th_op *op)
{
	bool own;
	int res = as_nonblocking(op, connect_plainly, &own);

	if (res == -EINPROGRESS || res == -EALREADY) {
		op->off = 1;
		return TH_ATTEMPT_WAIT;
	}
	if (res == -EISCONN && op->off)
		return 0;
	/* A backlog is full. A socket that is O_NONBLOCK by itself is told so; another one waits, but not for an event. */
	if (res == -EAGAIN && !own && is_unix(op))
		return TH_ATTEMPT_LATER;
	return res;
}

static bool listens(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

static int try_accept(const struct th_op *op)
{
	int flags = fcntl(op->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	/* What does not listen refuses at once. */
	if (!(flags & O_NONBLOCK) && listens(op->fd) && fcntl(op->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return wait_if_again(result(accept4(op->fd, op->buf, op->lenp, (int)op->arg)));
}

/* The rest ------------------------------------------------------------------------------------------------------- */

static int try_poll(const struct th_op *op)
{
	int ready = poll_now(op->fd, op->arg);

	return ready == 0 ? TH_ATTEMPT_WAIT : ready;
}

static int try_close(const struct th_op *op)
{
	struct stat st;

	if (fstat(op->fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return TH_OP_BLOCKS;
	return result(close(op->fd));
}

void th_attempt_begin(struct th_op *op)
{
	if (!has_position(op))
		op->off = 0;
}

int th_attempt(struct th_op *op)
{
	switch (op->kind) {
	case TH_OP_NOP:
		return 0;
	case TH_OP_POLL:
		return try_poll(op);
	case TH_OP_READ:
	case TH_OP_WRITE:
	case TH_OP_READV:
	case TH_OP_WRITEV:
		return try_transfer(op);
	case TH_OP_RECV:
		return try_recv(op);
	case TH_OP_SEND:
		return try_send(op);
	case TH_OP_RECVMSG:
		return try_recvmsg(op);
	case TH_OP_SENDMSG:
		return try_sendmsg(op);
	case TH_OP_ACCEPT:
		return try_accept(op);
	case TH_OP_CONNECT:
		return try_connect(op);
	case TH_OP_OPENAT:
		return TH_OP_BLOCKS;
	case TH_OP_CLOSE:
		return try_close(op);
	case TH_OP_RECV_LENT:
		break; /* for backends with a ring of buffers */
	}
	return -EINVAL;
}

unsigned th_attempt_events(const struct th_op *op)
{
	switch (op->kind) {
	case TH_OP_POLL:
		return op->arg;
	case TH_OP_WRITE:
	case TH_OP_WRITEV:
	case TH_OP_SEND:
	case TH_OP_SENDMSG:
	case TH_OP_CONNECT:
		return POLLOUT;
	case TH_OP_RECV:
	case TH_OP_RECVMSG:
		if (op->arg & MSG_ERRQUEUE)
			return 0;
		return op->arg & MSG_OOB ? POLLPRI : POLLIN;
	default:
		return POLLIN;
	}
}

int th_attempt_blocking(struct th_op *op)
{
	switch (op->kind) {
	case TH_OP_OPENAT:
		/* The kernel says the same of no path; to the C library it must not be given. */
		return op->buf ? result(openat(op->fd, op->buf, (int)op->arg, (mode_t)op->len)) : -EFAULT;
	case TH_OP_CLOSE:
		return result(close(op->fd));
	default:
		return has_position(op) ? transfer(op, 0) : -EINVAL;
	}
}
