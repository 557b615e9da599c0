/* io/call.c: the frame around public calls, and the transfer loops. */
#include "call.h"
#include "../core/hooks.h"
#include "../core/node.h"
#include "../core/tsan.h"
#include "fdtable.h"
#include "waitall.h"
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { QUICK_MAX = 32 }; /* some 30 us: others wait no longer than for a fiber that computes and calls thrum_check() */

int th_call_begin(int fd)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	return th_fd_enter(f->home->fds, fd) ? 0 : -EBADF;
}

void th_call_end(int fd)
{
	th_fd_leave(th_self()->home->fds, fd);
}

void th_call_was_quick(void)
{
	struct th_fiber *f = th_self();
	bool enough;

	TH_TSAN_PRIVATE_BEGIN();
	enough = ++f->home->quick_calls % QUICK_MAX == 0;
	TH_TSAN_PRIVATE_END();
	if (enough)
		th_yield(f);
}

/* MSG_DONTWAIT: the caller asked for the answer of this moment, and that is what a system call gives. Everything else goes
 * to the ring at once. Tried first: a send by a system call, then only what would wait by the ring. That made an echo over
 * TCP take 5.0 us of processor time for each message instead of 2.5 (16 pairs on one worker), 7.2 instead of 3.8 (256
 * pairs), 6.7 instead of 5.1 (a single pair), and receives tried as well 6.4, 9.3 and 8.2: one enter for all that a turn of
 * the loop has brought together saves more than an operation that ends where it began. */
static bool is_tried(const struct th_op *op)
{
	return op->kind >= TH_OP_RECV && op->kind <= TH_OP_SENDMSG && (op->arg & MSG_DONTWAIT);
}

/* Of a loop's second operation and those after it the checkpoint is here, as th_op_run()'s is in the ring's way. */
static int try_now(struct th_op *op)
{
	struct th_fiber *f = th_self();
	int res;

	if (th_cancelled(f))
		return -ECANCELED;
	if (th_fd_closing(f->home->fds, op->fd))
		return -EBADF;
	res = th_op_try(op);
	if (res != -EAGAIN)
		th_call_was_quick();
	return res;
}

int th_call_run(struct th_op *op, unsigned events)
{
	if (th_waits_for_all(op))
		return th_waitall_run(op);
	return is_tried(op) ? try_now(op) : th_op_run_ready(op, events);
}

static int transfer_once(struct th_op *op, size_t n, unsigned events)
{
	op->len = n < TH_LEN_MAX ? (uint32_t)n : (uint32_t)TH_LEN_MAX;
	return th_call_run(op, events);
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

int th_send_all(struct th_op *op, size_t n, size_t *ret_done)
{
	size_t done = 0;
	int res = th_call_begin(op->fd);

	if (ret_done)
		*ret_done = 0;
	if (res < 0)
		return res;
	while (done < n) {
		res = transfer_once(op, n - done, POLLOUT);
		if (res < 0)
			break;
		if (res == 0) { /* nothing takes 0 bytes of more for good: do not try for ever */
			res = -EIO;
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
