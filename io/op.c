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
#include "sendfile.h"
#include <errno.h>
#include <stddef.h>
#include <thrum/io.h>

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

int th_op_run_ready(struct th_op *op, unsigned events)
{
	while (th_op_run(op) == -EAGAIN) {
		int res = wait_until_ready(op->fd, events);

		if (res < 0)
			return res;
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
