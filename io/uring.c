/* io/uring.c: the backend on io_uring, one ring per worker, used by that worker's thread only.
 *
 *   submit ──► SQE in the ring ──poll, wait: one enter per turn──► kernel ──CQE──► reap ──► th_op_complete
 *        └───► `queued` list, when the ring is full and the kernel takes nothing: next turn, in order
 *
 * user_data is the address of the operation and its generation, 48 and 16 bits; small numbers are the ring's own. Every
 * operation ends with exactly one CQE. A cancel names that user_data and its own CQE is ignored: 0, -ENOENT and
 * -EALREADY alike leave the end to the operation (hazard 43).
 *
 * DEFER_TASKRUN: the kernel completes operations only while the owner is inside enter(GETEVENTS). It raises TASKRUN in
 * the shared flags when there is something to do, so an idle poll() reads two words and makes no system call.
 *
 * Wakes: an eventfd with a multishot poll armed on it. It has no buffer, so nothing is left for the kernel to write to
 * when the ring goes, and a wake costs the sender one write(2). Rejected: MSG_RING (needs a ring, so not for foreign
 * threads and signal handlers) and a read of the eventfd (has to be armed again after each wake). */
#include "uring.h"
#include "../core/assert.h"
#include "../core/tsan.h"
#include "backend.h"
#include "kernel.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	TAG_WAKE = 1,   /* user_data below any address */
	TAG_CANCEL = 2,
	TAG_LAST = TAG_CANCEL,

	MARK_QUEUED = 1, /* op->mark: in `queued`, the kernel has not seen it */
	MARK_CANCEL = 2, /* a cancel is due that found no room in the ring */

	GEN_SHIFT = 48,
	RETRY_NS = 1000000, /* how long to sleep at most while the kernel takes no submissions */
	VALGRIND_NS = 1000000
};
#define ADDRESS_MASK ((UINT64_C(1) << GEN_SHIFT) - 1)

struct th_io {
	struct io_uring ring;
	th_atomic_u64 *x_overflows;
	int wake_fd;
	bool wake_multishot;
	bool wake_due;          /* the poll on wake_fd ended and is to be armed again */
	bool woken;             /* a wake was seen by poll(): the next wait() is not to sleep */
	bool lost_told;
	bool valgrind;          /* see await_on_valgrind() */
	size_t inflight;        /* submitted to us and not completed */
	size_t cancels_due;     /* operations with MARK_CANCEL */
	struct op_list queued;  /* not in the ring yet */
	struct op_list ended;   /* cancelled while queued */
	struct op_list by_fd[FD_BUCKETS]; /* in the ring or the kernel */
};

static struct op_list *bucket(struct th_io *io, int fd)
{
	return &io->by_fd[(unsigned)fd % FD_BUCKETS];
}

/* Entering the kernel -------------------------------------------------------------------------------------------- */

/* What an enter may return without harm: nothing was taken, or not yet, and the next turn tries again (hazard 47). */
static void check_enter(struct th_io *io, int res)
{
	if (res >= 0)
		return;
	switch (-res) {
	case ETIME:
	case EINTR:
	case EAGAIN:
	case EBUSY:  /* the completions have to be reaped first */
	case ENOMEM:
		return;
	case EBADR:
		/* The kernel had no memory to keep a completion. Its fiber will wait for ever, which must not go
		 * unsaid. */
		if (!io->lost_told)
			fprintf(stderr, "thrum: out of memory in the kernel: io_uring lost a completion\n");
		io->lost_told = true;
		return;
	default:
		th_abort(__FILE__, __LINE__, "io_uring_enter: %s", strerror(-res));
	}
}

static bool ring_flag(struct th_io *io, unsigned flags)
{
	return IO_URING_READ_ONCE(*io->ring.sq.kflags) & flags;
}

/* More completions than the ring holds: the kernel keeps the rest in a list until the owner enters (hazard 48). */
static bool has_overflowed(struct th_io *io)
{
	if (!ring_flag(io, IORING_SQ_CQ_OVERFLOW))
		return false;
	th_bump(io->x_overflows);
	return true;
}

/* Hand over what is in the ring and let the kernel finish what is ready to be. */
static void enter_if_due(struct th_io *io)
{
	if (io_uring_sq_ready(&io->ring))
		check_enter(io, io_uring_submit_and_get_events(&io->ring));
	else if (ring_flag(io, IORING_SQ_TASKRUN) || has_overflowed(io))
		check_enter(io, io_uring_get_events(&io->ring));
}

/* A free SQE, or NULL if the ring is full and the kernel takes nothing. */
static struct io_uring_sqe *take_sqe(struct th_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	if (sqe)
		return sqe;
	check_enter(io, io_uring_submit(&io->ring));
	return io_uring_get_sqe(&io->ring);
}

/* Operations ----------------------------------------------------------------------------------------------------- */

static uint64_t op_user_data(const struct th_op *op)
{
	uint64_t address = (uintptr_t)op;

	TH_DASSERT(address > TAG_LAST);
	TH_DASSERT(address <= ADDRESS_MASK);
	return address | (uint64_t)op->gen << GEN_SHIFT;
}

static struct th_op *user_data_op(uint64_t user_data)
{
	struct th_op *op = (struct th_op *)(uintptr_t)(user_data & ADDRESS_MASK);

	/* Its fiber sleeps until now, so the memory is there; another generation would be another's (hazard 42). */
	TH_ASSERT(op->in_kernel);
	TH_ASSERT(op->gen == user_data >> GEN_SHIFT);
	return op;
}

static void op_prepare(struct io_uring_sqe *sqe, const struct th_op *op)
{
	switch (op->kind) {
	case TH_OP_NOP:
		io_uring_prep_nop(sqe);
		break;
	case TH_OP_POLL:
		io_uring_prep_poll_add(sqe, op->fd, op->arg);
		break;
	case TH_OP_READ:
		io_uring_prep_read(sqe, op->fd, op->buf, op->len, (uint64_t)op->off);
		break;
	case TH_OP_WRITE:
		io_uring_prep_write(sqe, op->fd, op->buf, op->len, (uint64_t)op->off);
		break;
	case TH_OP_READV:
		io_uring_prep_readv(sqe, op->fd, op->buf, op->len, (uint64_t)op->off);
		break;
	case TH_OP_WRITEV:
		io_uring_prep_writev(sqe, op->fd, op->buf, op->len, (uint64_t)op->off);
		break;
	case TH_OP_RECV:
		io_uring_prep_recv(sqe, op->fd, op->buf, op->len, (int)op->arg);
		break;
	case TH_OP_SEND:
		io_uring_prep_send(sqe, op->fd, op->buf, op->len, (int)op->arg);
		break;
	case TH_OP_RECVMSG:
		io_uring_prep_recvmsg(sqe, op->fd, op->buf, op->arg);
		break;
	case TH_OP_SENDMSG:
		io_uring_prep_sendmsg(sqe, op->fd, op->buf, op->arg);
		break;
	case TH_OP_ACCEPT:
		io_uring_prep_accept(sqe, op->fd, op->buf, op->lenp, (int)op->arg);
		break;
	case TH_OP_CONNECT:
		io_uring_prep_connect(sqe, op->fd, op->buf, op->len);
		break;
	case TH_OP_OPENAT:
		io_uring_prep_openat(sqe, op->fd, op->buf, (int)op->arg, op->len);
		break;
	case TH_OP_CLOSE:
		io_uring_prep_close(sqe, op->fd);
		break;
	case TH_OP_RECV_LENT:
		io_uring_prep_recv(sqe, op->fd, NULL, op->len, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = TH_URING_LENT_GROUP;
		break;
	}
	io_uring_sqe_set_data64(sqe, op_user_data(op));
}

static bool op_to_ring(struct th_io *io, struct th_op *op)
{
	struct io_uring_sqe *sqe = take_sqe(io);

	if (!sqe)
		return false;
	op_prepare(sqe, op);
	list_push(bucket(io, op->fd), op);
	return true;
}

static void uring_submit(struct th_io *io, struct th_op *op)
{
	io->inflight++;
	/* Behind those that wait already: a later write must not overtake an earlier one. */
	if (!io->queued.head && op_to_ring(io, op))
		return;
	op->mark = MARK_QUEUED;
	list_push(&io->queued, op);
}

static bool cancel_to_ring(struct th_io *io, struct th_op *op)
{
	struct io_uring_sqe *sqe = take_sqe(io);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, op_user_data(op), 0);
	io_uring_sqe_set_data64(sqe, TAG_CANCEL);
	return true;
}

static void uring_cancel(struct th_io *io, struct th_op *op)
{
	TH_ASSERT(op->in_kernel);
	if (op->mark & MARK_QUEUED) {
		list_remove(&io->queued, op);
		list_push(&io->ended, op);
		op->mark = 0;
	} else if (!(op->mark & MARK_CANCEL) && !cancel_to_ring(io, op)) {
		op->mark |= MARK_CANCEL;
		io->cancels_due++;
	}
}

/* By descriptor number, from our own lists. The kernel's cancel by fd goes by open file, so it would also hit
 * operations on a duplicate of the descriptor, and it walks all its operations to find them. */
static void uring_cancel_fd(struct th_io *io, int fd)
{
	struct th_op *op, *next;

	for (op = bucket(io, fd)->head; op; op = next) {
		next = op->next;
		if (op->fd == fd)
			uring_cancel(io, op);
	}
	for (op = io->queued.head; op; op = next) {
		next = op->next;
		if (op->fd == fd)
			uring_cancel(io, op);
	}
}

/* The cancels that found no room. Rare enough for a walk. */
static void flush_cancels(struct th_io *io)
{
	struct th_op *op;

	for (unsigned i = 0; i < FD_BUCKETS && io->cancels_due; i++) {
		for (op = io->by_fd[i].head; op; op = op->next) {
			if (!(op->mark & MARK_CANCEL))
				continue;
			if (!cancel_to_ring(io, op))
				return;
			op->mark = 0;
			io->cancels_due--;
		}
	}
}

static void flush_queued(struct th_io *io)
{
	struct th_op *op;

	while ((op = io->queued.head) != NULL) {
		list_remove(&io->queued, op);
		op->mark = 0;
		if (!op_to_ring(io, op)) {
			op->mark = MARK_QUEUED; /* back to the front */
			op->prev = NULL;
			op->next = io->queued.head;
			*(op->next ? &op->next->prev : &io->queued.tail) = op;
			io->queued.head = op;
			return;
		}
	}
}

/* Arm the poll on wake_fd. A set eventfd would set it off at once, so read it first; a wake that comes after the read
 * sets it again. */
static void arm_wake(struct th_io *io)
{
	struct io_uring_sqe *sqe = take_sqe(io);
	uint64_t count;

	if (!sqe)
		return;
	(void)!read(io->wake_fd, &count, sizeof(count));
	io_uring_prep_poll_add(sqe, io->wake_fd, POLLIN);
	if (io->wake_multishot)
		sqe->len |= IORING_POLL_ADD_MULTI;
	io_uring_sqe_set_data64(sqe, TAG_WAKE);
	io->wake_due = false;
}

/* Bring to the ring what waits outside it. False: something still does, because the kernel takes nothing. */
static bool flush(struct th_io *io)
{
	if (io->wake_due)
		arm_wake(io);
	if (io->queued.head)
		flush_queued(io);
	if (io->cancels_due)
		flush_cancels(io);
	return !io->wake_due && !io->queued.head && !io->cancels_due;
}

/* Completions ---------------------------------------------------------------------------------------------------- */

static void take_cqe(struct th_io *io, uint64_t user_data, int res, unsigned flags)
{
	struct th_op *op;

	if (user_data == TAG_CANCEL)
		return;
	if (user_data == TAG_WAKE) {
		io->woken = true;
		if (!(flags & IORING_CQE_F_MORE))
			io->wake_due = true;
		if (res == -EINVAL)
			io->wake_multishot = false; /* before 5.13 */
		return;
	}
	op = user_data_op(user_data);
	if (op->mark & MARK_CANCEL)
		io->cancels_due--;
	list_remove(bucket(io, op->fd), op);
	io->inflight--;
	if (flags & IORING_CQE_F_BUFFER)
		op->off = flags >> IORING_CQE_BUFFER_SHIFT;
	th_op_complete(op, res);
}

/* Completing makes fibers ready and runs nothing, so nothing here is entered again from inside. */
static void reap(struct th_io *io)
{
	struct io_uring *ring = &io->ring;
	struct th_op *op;

	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;

		io_uring_for_each_cqe(ring, head, cqe) {
			take_cqe(io, cqe->user_data, cqe->res, cqe->flags);
			count++;
		}
		io_uring_cq_advance(ring, count);
		/* It ends, since nothing is submitted meanwhile. */
		if (!has_overflowed(io))
			break;
		check_enter(io, io_uring_get_events(ring));
		if (!io_uring_cq_ready(ring))
			break;
	}
	while ((op = io->ended.head) != NULL) {
		list_remove(&io->ended, op);
		io->inflight--;
		th_op_complete(op, -ECANCELED);
	}
}

static void uring_poll(struct th_io *io)
{
	flush(io);
	enter_if_due(io);
	reap(io);
}

static int64_t uring_now(struct th_io *io)
{
	(void)io;
	return monotonic_ns();
}

/* All of Valgrind's tools are libraries that it has preloaded. */
static bool runs_on_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	return preloaded && strstr(preloaded, "/vgpreload_");
}

/* Valgrind takes io_uring_enter() for a call that does not wait, and keeps over it the lock without which no other thread
 * runs: for ever. Of ppoll() it knows better; but completions that the kernel defers to the next enter make no descriptor
 * readable, so it must not be long. */
static void await_on_valgrind(struct th_io *io, int64_t left_ns)
{
	const struct timespec limit = { .tv_nsec = (long)(left_ns < VALGRIND_NS ? left_ns : VALGRIND_NS) };
	struct pollfd wake = { .fd = io->wake_fd, .events = POLLIN };

	check_enter(io, io_uring_submit(&io->ring));
	(void)ppoll(&wake, 1, &limit, NULL);
	check_enter(io, io_uring_get_events(&io->ring));
}

static void uring_wait(struct th_io *io, int64_t until_ns)
{
	struct __kernel_timespec ts, *limit = NULL;
	struct io_uring_cqe *cqe;
	int64_t left_ns = INT64_MAX;

	if (until_ns != INT64_MAX) {
		int64_t now_ns = monotonic_ns();
		left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
	}
	if (!flush(io) && left_ns > RETRY_NS)
		left_ns = RETRY_NS;
	if (io->woken || io->ended.head || left_ns == 0 || io_uring_cq_ready(&io->ring)) {
		io->woken = false;
		uring_poll(io);
		return;
	}
	if (left_ns != INT64_MAX) {
		ts.tv_sec = left_ns / 1000000000;
		ts.tv_nsec = left_ns % 1000000000;
		limit = &ts;
	}
	if (io->valgrind)
		await_on_valgrind(io, left_ns);
	else
		check_enter(io, io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, limit, NULL));
	reap(io);
	io->woken = false;
}

static void uring_wake(struct th_io *io)
{
	wake_fd_set(io->wake_fd);
}

/* Beginning and end ---------------------------------------------------------------------------------------------- */

struct io_uring *th_uring_of(struct th_io *io)
{
	return &io->ring;
}

static int uring_open(struct th_io **ret_io, const struct th_io_opts *opts)
{
	struct th_io *io = calloc(1, sizeof(*io));
	int res;

	if (!io)
		return -ENOMEM;
	io->x_overflows = opts->x_overflows;
	io->wake_multishot = true;
	io->valgrind = runs_on_valgrind();
	io->wake_fd = wake_fd_open();
	if (io->wake_fd < 0) {
		res = -errno;
		goto out_free;
	}
	res = th_uring_setup(&io->ring, opts->ring_entries ? opts->ring_entries : TH_URING_SQ_ENTRIES,
			     opts->restrict_ring, opts->share ? opts->share->ring.ring_fd : -1);
	if (res < 0)
		goto out_close_wake;
	res = io_uring_ring_dontfork(&io->ring);
	if (res < 0)
		goto out_exit_ring;
	/* Saves the kernel a look at the descriptor table on each enter. Not in 5.17 and before; then nothing is saved.
	 */
	(void)io_uring_register_ring_fd(&io->ring);
	io->wake_due = true;
	*ret_io = io;
	return 0;

out_exit_ring:
	io_uring_queue_exit(&io->ring);
out_close_wake:
	close(io->wake_fd);
out_free:
	free(io);
	return res;
}

static void uring_close(struct th_io *io)
{
	if (!io)
		return;
	/* What is in flight has a buffer on some fiber's stack: the scheduler waits for its fibers first. */
	TH_ASSERT(io->inflight == 0);
	io_uring_queue_exit(&io->ring);
	close(io->wake_fd);
	free(io);
}

const struct th_backend th_uring = {
	.name = "io_uring",
	.open = uring_open,
	.close = uring_close,
	.submit = uring_submit,
	.cancel = uring_cancel,
	.cancel_fd = uring_cancel_fd,
	.poll = uring_poll,
	.wait = uring_wait,
	.wake = uring_wake,
	.now = uring_now,
	.lent_ring = &th_uring_lent,
	.dispensable = true,
};
