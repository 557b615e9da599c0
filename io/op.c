/* io/op.c: the way of one operation from its fiber to the backend and back. The state machine is in op.h.
 *
 *   canceller, any thread                     home worker
 *   under the node's lock: th_post_cancel     op_start: number it, arm, submit
 *   (gen is constant while armed)             mailbox: fiber->op of that gen still there? backend->cancel
 *                                             poll: th_op_complete, fiber->op = NULL, th_wake
 * A cancel posted between arm and submit is served after both, since the home worker serves its mailbox itself. One
 * that is served after the completion finds fiber->op gone, or another generation in its place (G6). */
#include "op.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/node.h"
#include "backend.h"
#include "fdtable.h"
#include "lent.h"
#include "own_errno.h"
#include "sendfile.h"
#include "sys.h"
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <thrum/io.h>
#include <thrum/rt.h>

enum { MOMENT_NS = 1000000, AT_ONCE_MAX = 3 };

/* By a canceller, under the node's lock. */
static void op_on_cancel(struct th_waiter *w)
{
	struct th_op *op = th_container(w, struct th_op, waiter);

	th_post_cancel(w->fiber, op->gen);
}

static bool cancellable(const struct th_op *op)
{
	return op->kind != TH_OP_CLOSE;
}

/* On the worker's stack. */
static void op_start(struct th_fiber *f, void *arg)
{
	struct th_op *op = arg;
	struct th_home *home = f->home;

	TH_DASSERT(!f->op);
	op->gen = ++f->op_gen; /* before arming: a canceller reads it from then on */
	op->armed = cancellable(op) && th_node_arm(f, &op->waiter);
	if (cancellable(op) && !op->armed) {
		op->res = -ECANCELED;
		th_wake(f);
		return;
	}
	f->op = op;
	op->in_kernel = true;
	op->mark = 0;
	th_bump(&home->x_inflight);
	th_bump(&home->x_io_ops);
	home->backend->submit(home->io, op);
}

void th_op_complete(struct th_op *op, int res)
{
	struct th_fiber *f = op->waiter.fiber;
	struct th_home *home = f->home;

	TH_ASSERT(op->in_kernel);
	TH_ASSERT(f->op == op);
	op->in_kernel = false;
	op->res = res;
	f->op = NULL;
	th_wake(f); /* the last touch of op and f */
	/* After the wake: a test clock that sees the operation gone sees its fiber ready. */
	th_store_rlx(&home->x_inflight, th_load_rlx(&home->x_inflight) - 1);
}

/* On the blocking pool --------------------------------------------------------------------------------------------- */

static int block(void *arg)
{
	struct th_op *op = arg;

	op->res = op->waiter.fiber->home->backend->block(op);
	return 0;
}

static int block_on_pool(void *op)
{
	return thrum_blocking((thrum_fx){ block, op });
}

/* The buffers are the pool's until the job has ended (G5), and its result stands: a late descriptor is returned (G10). */
static int run_on_pool(struct th_fiber *f, struct th_op *op)
{
	int code;

	if (cancellable(op)) {
		code = block_on_pool(op);
		if (code == -EAGAIN)
			code = -ENOMEM; /* no thread; not what waiting for the descriptor would help */
	} else {
		code = th_run_shielded(f, (thrum_fx){ block_on_pool, op }, f->exit_code);
		if (code < 0)
			code = block(op); /* without a thread here and now: it must not be left out */
	}
	return code < 0 ? code : op->res;
}

int th_op_run(struct th_op *op)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	do {
		if (cancellable(op) && th_cancelled(f))
			return op->res = -ECANCELED;
		if (cancellable(op) && th_fd_closing(f->home->fds, op->fd))
			return op->res = -EBADF;
		th_waiter_init(&op->waiter, f);
		op->waiter.on_cancel = op_on_cancel;
		th_suspend(op_start, op);
		if (op->armed)
			th_node_disarm(f, &op->waiter);
		TH_DASSERT(!op->in_kernel);
		if (op->res == TH_OP_BLOCKS)
			op->res = run_on_pool(f, op);
	} while (op->res == -EINTR && cancellable(op));
	if (op->res == -ECANCELED && !th_cancelled(f))
		op->res = -EBADF; /* the cancel came with a close, not for this fiber */
	return op->res;
}

/* Not inlined: most operations need no room for another one on their fiber's stack. */
static int __attribute__((noinline)) wait_until_ready(int fd, unsigned events)
{
	struct th_op ready = { .kind = TH_OP_POLL, .fd = fd, .arg = events };

	return th_op_run(&ready);
}

int th_wait_a_moment(void)
{
	struct itimerspec in = { .it_value = { .tv_nsec = MOMENT_NS } };
	int saved = th_errno_begin(), timer = th_sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), code;
	bool set = timer >= 0 && th_sys_timerfd_settime(timer, 0, &in, NULL) == 0;

	th_errno_end(saved);
	code = set ? wait_until_ready(timer, POLLIN) : thrum_yield();
	saved = th_errno_begin();
	if (timer >= 0)
		(void)th_sys_close(timer);
	th_errno_end(saved);
	return code < 0 ? code : 0;
}

static bool is_message(const struct th_op *op)
{
	return op->kind >= TH_OP_RECV && op->kind <= TH_OP_SENDMSG;
}

/* A full queue of a receiver over AF_UNIX is nothing that the ring can wait for. It tries again, but what the kernel had copied in
 * vain is missing then: an empty message is sent (6.18). So it has to say -EAGAIN. */
static void not_again_by_the_ring(struct th_op *op)
{
	if (op->kind == TH_OP_SENDMSG && op->buf && ((const struct msghdr *)op->buf)->msg_name)
		op->arg |= MSG_DONTWAIT;
}

/* What is ready need not be of use: to a receiver over AF_UNIX whose queue is full the sender's socket can send all the while. If
 * that is so several times in a row, time has to pass. Not at the first: others may wait on the descriptor, too, and have been
 * quicker. */
int th_op_run_ready(struct th_op *op, unsigned events)
{
	struct th_home *home;
	unsigned at_once = 0;
	int64_t began;
	int res;

	if (is_message(op) && (op->arg & MSG_ERRQUEUE))
		events = 0; /* errors are told of in any case */
	not_again_by_the_ring(op);
	while (th_op_run(op) == -EAGAIN) {
		res = at_once < AT_ONCE_MAX ? 0 : th_wait_a_moment();
		if (res < 0)
			return res;
		home = op->waiter.fiber->home;
		began = th_backend_now(home);
		res = wait_until_ready(op->fd, events);
		if (res < 0)
			return res;
		at_once = th_backend_now(home) - began < MOMENT_NS ? at_once + 1 : 0;
	}
	return op->res;
}

void th_op_cancel_fd(struct th_home *home, int fd)
{
	/* A request that is served after the close: the descriptor may be another's by now. */
	if (th_fd_closing(home->fds, fd)) {
		home->backend->cancel_fd(home->io, fd);
		th_lents_cancel_fd(home, fd);
		th_sendfile_cancel_fd(home, fd);
	}
}
