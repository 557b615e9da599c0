/* io/try.c: an operation on a socket, tried at once by a system call that does not wait. */
#include "../core/tsan.h"
#include "op.h"
#include <errno.h>
#include <sys/socket.h>

static ssize_t call(const struct th_op *op)
{
	int flags = (int)op->arg | MSG_DONTWAIT;

	switch (op->kind) {
	case TH_OP_RECV:
		return recv(op->fd, op->buf, op->len, flags);
	case TH_OP_SEND:
		return send(op->fd, op->buf, op->len, flags);
	case TH_OP_RECVMSG:
		return recvmsg(op->fd, op->buf, flags);
	case TH_OP_SENDMSG:
		return sendmsg(op->fd, op->buf, flags);
	default:
		errno = EAGAIN;
		return -1;
	}
}

int th_op_try(const struct th_op *op)
{
	ssize_t res;
	int saved;

	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's */
	saved = errno;
	do {
		res = call(op);
	} while (res < 0 && errno == EINTR);
	if (res < 0)
		res = -errno;
	errno = saved;
	TH_TSAN_PRIVATE_END();
	return (int)res;
}
