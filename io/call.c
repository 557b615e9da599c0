/* io/call.c: the frame around public calls, and the transfer loops. */
#include "call.h"
#include "../core/hooks.h"
#include "../core/node.h"
#include "fdtable.h"
#include <errno.h>

int th_call_begin(int fd)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	return th_fd_enter(f->home->fds, fd) ? 0 : -EBADF;
}

void th_call_end(int fd)
{
	th_fd_leave(th_self()->home->fds, fd);
}

static int transfer_once(struct th_op *op, size_t n, unsigned events)
{
	op->len = n < TH_LEN_MAX ? (uint32_t)n : (uint32_t)TH_LEN_MAX;
	return th_op_run_ready(op, events);
}

ssize_t th_transfer(struct th_op *op, size_t n, unsigned events)
{
	int res = th_call_begin(op->fd);

	if (res < 0)
		return res;
	res = transfer_once(op, n, events);
	th_call_end(op->fd);
	return res;
}

int th_transfer_all(struct th_op *op, size_t n, unsigned events, size_t *ret_done)
{
	size_t done = 0;
	int res = th_call_begin(op->fd);

	if (ret_done)
		*ret_done = 0;
	if (res < 0)
		return res;
	while (done < n) {
		res = transfer_once(op, n - done, events);
		if (res < 0)
			break;
		if (res == 0) {
			/* The end of what there is to read. No file takes 0 bytes of more for good: do not try for
			 * ever. */
			bool reading = op->kind == TH_OP_READ || op->kind == TH_OP_RECV;
			res = reading ? THRUM_EEOF : -EIO;
			break;
		}
		done += (size_t)res;
		op->buf = (char *)op->buf + res;
	}
	th_call_end(op->fd);
	if (ret_done)
		*ret_done = done;
	return res < 0 ? res : 0;
}
