/* io/net.c: readiness and sockets. */
#include "call.h"
#include <errno.h>
#include <poll.h>
#include <thrum/io.h>

int thrum_wait_fd(int fd, unsigned want)
{
	struct th_op op = { .kind = TH_OP_POLL, .fd = fd, .arg = want };
	int res = th_call_begin(fd);

	if (res < 0)
		return res;
	/* Bits beyond those of poll(2) mean other things to the ring. */
	res = want && !(want >> 16) ? th_op_run(&op) : -EINVAL;
	th_call_end(fd);
	return res;
}

ssize_t thrum_recv(int fd, void *buf, size_t n, int flags)
{
	struct th_op op = { .kind = TH_OP_RECV, .fd = fd, .buf = buf, .arg = (uint32_t)flags };
	return th_transfer(&op, n, POLLIN);
}

ssize_t thrum_send(int fd, const void *buf, size_t n, int flags)
{
	struct th_op op = {
	    .kind = TH_OP_SEND, .fd = fd, .buf = th_unconst(buf), .arg = (uint32_t)(flags | MSG_NOSIGNAL)};
	return th_transfer(&op, n, POLLOUT);
}

int thrum_send_all(int fd, const void *buf, size_t n, int flags, size_t *ret_done)
{
	struct th_op op = {
	    .kind = TH_OP_SEND, .fd = fd, .buf = th_unconst(buf), .arg = (uint32_t)(flags | MSG_NOSIGNAL)};
	return th_send_all(&op, n, ret_done);
}

int thrum_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	struct th_op op = { .kind = TH_OP_ACCEPT, .fd = fd, .buf = sa, .lenp = len, .arg = SOCK_CLOEXEC };
	int res = th_call_begin(fd);

	if (res < 0)
		return res;
	res = th_call_run(&op, POLLIN);
	th_call_end(fd);
	return res;
}

/* A connect that was cancelled, or that the kernel does not wait for, goes on: connecting again then tells its outcome
 * once the socket is writable. */
static int connect_run(struct th_op *op)
{
	bool again = false;

	for (;;) {
		struct th_op ready = { .kind = TH_OP_POLL, .fd = op->fd, .arg = POLLOUT };
		int res = th_op_run(op);

		if (res != -EINPROGRESS && res != -EALREADY && res != -EAGAIN)
			return res;
		/* AF_UNIX, O_NONBLOCK and a full backlog: there is nothing to wait for (connect(2) says the same). */
		if (res == -EAGAIN && again)
			return res;
		again = res == -EAGAIN;
		res = th_op_run(&ready);
		if (res < 0)
			return res;
	}
}

int thrum_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct th_op op = { .kind = TH_OP_CONNECT, .fd = fd, .buf = th_unconst(sa), .len = len };
	int res = th_call_begin(fd);

	if (res < 0)
		return res;
	res = connect_run(&op);
	th_call_end(fd);
	return res;
}
