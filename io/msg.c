/* io/msg.c: messages: vectors, addresses of datagrams, descriptors that are passed on. */
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "call.h"
#include "fdtable.h"
#include "sys.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <thrum/net.h>
#include <unistd.h>

/* How much of a vector is handed over at a time where it has to be copied: 1 KiB of stack. */
enum { WINDOW = 64 };

static int msg_run(struct th_op *op, unsigned events)
{
	int res = th_call_begin(op->fd);

	if (res < 0)
		return res;
	res = th_call_run(op, events);
	th_call_end(op->fd);
	return res;
}

ssize_t thrum_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct th_op op = { .kind = TH_OP_RECVMSG, .fd = fd, .buf = msg, .arg = (uint32_t)flags };
	return msg_run(&op, POLLIN);
}

ssize_t thrum_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct th_op op = {
	    .kind = TH_OP_SENDMSG, .fd = fd, .buf = th_unconst(msg), .arg = (uint32_t)(flags | MSG_NOSIGNAL)};
	return msg_run(&op, POLLOUT);
}

/* --- vectors --- */

/* One call takes IOV_MAX at most, and what it moves may be fewer bytes anyway. */
static struct msghdr vector(const struct iovec *iov, size_t n)
{
	return (struct msghdr){ .msg_iov = th_unconst(iov), .msg_iovlen = n < IOV_MAX ? n : IOV_MAX };
}

ssize_t thrum_recvv(int fd, const struct iovec *iov, size_t n, int flags)
{
	struct msghdr msg = vector(iov, n);
	return thrum_recvmsg(fd, &msg, flags);
}

ssize_t thrum_sendv(int fd, const struct iovec *iov, size_t n, int flags)
{
	struct msghdr msg = vector(iov, n);
	return thrum_sendmsg(fd, &msg, flags);
}

/* What is left of a vector: from byte `at` of `iov` on. */
struct rest {
	const struct iovec *iov;
	size_t n, at;
};

static void skip(struct rest *r, size_t bytes)
{
	while (r->n > 0 && bytes >= r->iov->iov_len - r->at) {
		bytes -= r->iov->iov_len - r->at;
		r->iov++;
		r->n--;
		r->at = 0;
	}
	r->at += bytes;
}

/* Copy the front of it; how many vectors. Their sum stays below what the kernel takes. */
static size_t window(const struct rest *r, struct iovec w[WINDOW])
{
	size_t n = r->n < WINDOW ? r->n : WINDOW, room = TH_LEN_MAX;

	for (size_t i = 0; i < n; i++) {
		size_t skipped = i == 0 ? r->at : 0, len = r->iov[i].iov_len - skipped;
		w[i] = (struct iovec){ (char *)r->iov[i].iov_base + skipped, len < room ? len : room };
		room -= w[i].iov_len;
	}
	return n;
}

static int send_rest(struct rest *r, int fd, int flags, size_t *done)
{
	struct iovec w[WINDOW];
	int res = 0;

	skip(r, 0); /* empty ones at the front: a call that moves nothing would look like one that fails */
	while (r->n > 0) {
		struct msghdr msg = { .msg_iov = w, .msg_iovlen = window(r, w) };
		struct th_op op = { .kind = TH_OP_SENDMSG, .fd = fd, .buf = &msg, .arg = (uint32_t)(flags | MSG_NOSIGNAL)};

		res = th_call_run(&op, POLLOUT);
		if (res <= 0)
			return res < 0 ? res : -EIO;
		*done += (size_t)res;
		skip(r, (size_t)res);
	}
	return 0;
}

int thrum_sendv_all(int fd, const struct iovec *iov, size_t n, int flags, size_t *ret_done)
{
	struct rest r = { .iov = iov, .n = n };
	size_t done = 0;
	int res = th_call_begin(fd);

	if (res == 0) {
		res = send_rest(&r, fd, flags, &done);
		th_call_end(fd);
	}
	if (ret_done)
		*ret_done = done;
	return res;
}

/* --- datagrams --- */

ssize_t thrum_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len)
{
	struct iovec iov = { buf, n < TH_LEN_MAX ? n : TH_LEN_MAX };
	struct msghdr msg = { .msg_name = sa, .msg_namelen = sa && len ? *len : 0, .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t res = thrum_recvmsg(fd, &msg, flags);

	if (res >= 0 && len)
		*len = msg.msg_namelen;
	return res;
}

ssize_t thrum_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len)
{
	struct iovec iov = { th_unconst(buf), n < TH_LEN_MAX ? n : TH_LEN_MAX };
	struct msghdr msg = { .msg_name = th_unconst(sa), .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1 };

	return thrum_sendmsg(fd, &msg, flags);
}

/* --- descriptors --- */

int thrum_send_fd(int sock, int fd)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = CMSG_LEN(sizeof fd)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t res;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	res = thrum_sendmsg(sock, &msg, 0);
	return res < 0 ? (int)res : 0;
}

#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04 /* of Linux 6.5 */
#endif

static int fd_of(struct cmsghdr *c, size_t i)
{
	int fd;

	memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
	return fd;
}

/* close(2): nobody can have used it yet. Negative: a pidfd that could not be made. */
static void close_unused(int fd)
{
	if (fd >= 0)
		(void)th_sys_close(fd);
}

/* The descriptor that came with a message of so many bytes, if exactly one did; whatever else came is closed. */
static int only_fd(struct msghdr *msg, ssize_t bytes)
{
	int only = -1;
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_PIDFD)
			close_unused(fd_of(c, 0));
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			close_unused(only); /* the one before */
			only = fd_of(c, i);
			n++;
		}
	}
	if (n == 1 && !(msg->msg_flags & MSG_CTRUNC))
		return only;
	close_unused(only);
	if (n > 0)
		return -EMSGSIZE;
	/* Room for one, none came and something was cut off: this process may have no more. */
	if (msg->msg_flags & MSG_CTRUNC)
		return -EMFILE;
	return bytes == 0 ? THRUM_EEOF : -ENOMSG; /* looked at last: packets may be empty, and carry some */
}

int thrum_recv_fd(int sock)
{
	union {
		struct cmsghdr align;
		/* Options of the socket have the kernel add credentials, a label of a security module, a pidfd, and what then finds
		 * no room is the descriptor. */
		char bytes[CMSG_SPACE(sizeof(int)) + 256];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
	ssize_t res = thrum_recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);

	return res < 0 ? (int)res : only_fd(&msg, res);
}

/* --- the end of one direction --- */

int thrum_shutdown(int fd, int how)
{
	struct th_fiber *f = th_self();
	int res, saved;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!th_fd_enter(f->home->fds, fd))
		return -EBADF;
	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's */
	saved = errno;
	res = th_sys_shutdown(fd, how) < 0 ? -errno : 0;
	errno = saved;
	TH_TSAN_PRIVATE_END();
	th_fd_leave(f->home->fds, fd);
	return res;
}
