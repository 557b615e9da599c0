/* io/op.h: one operation in the kernel, on the stack of the fiber that waits for it.
 *
 *              submit                    the terminal completion, always
 *   (checked) ─────────► IN KERNEL ──────────────────────────────────────► resumed with res
 *                            │  cancel: th_post_cancel → home worker → backend->cancel           │
 *                            └──► IN KERNEL, cancel asked for ──► the same completion            │ TH_OP_BLOCKS
 *                                                                                                ▼
 *                                       the job's end; a cancel takes it back until it starts   ON THE BLOCKING POOL
 *
 * A cancel never resumes the fiber: the kernel may still write into its buffers (G5, hazard 37). Only the completion
 * does, and its result stands: a late success is a success (rule 1), so a late descriptor is never lost (G10, hazard
 * 39). */
#ifndef TH_OP_H
#define TH_OP_H
#include "../core/waiter.h"
#include <stdint.h>

enum th_op_kind {
	TH_OP_NOP,
	TH_OP_POLL,    /* arg = events */
	TH_OP_READ,    /* buf, len, off (-1 = the file's position) */
	TH_OP_WRITE,
	TH_OP_READV,   /* buf = iovecs, len = how many, off */
	TH_OP_WRITEV,
	TH_OP_RECV,    /* buf, len, arg = flags; up to SENDMSG: th_op_try() */
	TH_OP_SEND,
	TH_OP_RECVMSG, /* buf = msghdr, arg = flags */
	TH_OP_SENDMSG,
	TH_OP_ACCEPT,  /* buf = sockaddr, lenp = its length, arg = flags */
	TH_OP_CONNECT, /* buf = sockaddr, len */
	TH_OP_OPENAT,  /* fd = dir, buf = path, arg = flags, len = mode */
	TH_OP_CLOSE,   /* fd */
	TH_OP_RECV_LENT /* len = at most, off = -1: see io/lent.h; given only to a backend that has such a ring */
};

struct th_op {
	struct th_waiter waiter;
	enum th_op_kind kind;
	int fd;
	void *buf;
	uint32_t len;
	uint32_t arg;
	int64_t off;
	void *lenp;
	uint16_t gen;     /* of this operation in its fiber */
	bool in_kernel;   /* home worker only */
	bool armed;       /* a cancel finds it: registered with the fiber's node */
	uint8_t mark;     /* for the backend; 0 when submitted */
	int res;          /* its result; until then for the backend */
	struct th_op *next, *prev; /* for the backend */
};

/* A backend's result: this can only be done by blocking a thread, see backend->block. Not seen outside th_op_run(). */
enum { TH_OP_BLOCKS = INT32_MIN };

/* Run one operation to its end on the calling fiber: checkpoint, submit, suspend; again if a signal interrupted it.
 * Fill in kind and the arguments first. Returns its result; -ECANCELED if the fiber is cancelled, -EBADF if it is not
 * and the descriptor is being closed (G9), THRUM_ENOTFIBER. TH_OP_CLOSE has no checkpoint and no cancel. */
int th_op_run(struct th_op *op);

/* The same for a descriptor that may be O_NONBLOCK: on -EAGAIN wait until one of `events` is there, then try again; no more often
 * than once in a millisecond if that leads to nothing. With MSG_ERRQUEUE it is errors that are waited for. */
int th_op_run_ready(struct th_op *op, unsigned events);

/* For what no event tells of: a millisecond, in real time whatever the clock, as events are. A cancel point: 0 or -ECANCELED.
 * Where there is no descriptor for a timer it is a yield. */
int th_wait_a_moment(void);

/* What can be tried without waiting is tried, by a system call (io/try.c): the result, or -EAGAIN if it would have to wait,
 * or is of a kind that cannot be tried. No checkpoint. */
int th_op_try(const struct th_op *op);

/* The backend's report of the terminal completion: records res and wakes the fiber. Home worker only. */
void th_op_complete(struct th_op *op, int res);

/* A close by any fiber of the runtime wants the operations of this worker on `fd` to end. On the worker's own thread.
 */
void th_op_cancel_fd(struct th_home *home, int fd);

#endif
