/* io/backend.h: the seam between the runtime and a kernel. Three implementations: io/uring.c, io/epoll.c, and the simulated
 * kernel of io/sim/kernel.c.
 *
 * One th_io per worker, used by that worker only, wake() excepted. An operation that was submitted ends exactly once, by
 * th_op_complete() called from poll() or wait(), never from submit() or cancel(). */
#ifndef TH_BACKEND_H
#define TH_BACKEND_H
#include "../core/atomic.h"
#include "op.h"
#include <stddef.h>
#include <stdint.h>

struct th_lent_ring_ops;
struct th_io; /* defined by each backend for itself */

/* What a runtime asks of its backend; only rings have any of it. */
struct th_io_opts {
	unsigned ring_entries;       /* of the submission queue; 0: the default */
	bool restrict_ring;          /* to the operations that it needs */
	struct th_io *share;         /* the instance of worker 0, or NULL */
	th_atomic_u64 *x_overflows;  /* counted up each time completions find no room in the ring */
};

struct th_backend {
	const char *name;
	/* Calls happen on the worker's own thread. 0 or -errno. */
	int (*open)(struct th_io **ret_io, const struct th_io_opts *opts);
	void (*close)(struct th_io *io);
	/* Start an operation. Cannot fail: what the kernel refuses ends with its code at the next poll. */
	void (*submit)(struct th_io *io, struct th_op *op);
	/* Ask for an early end of an operation that was submitted and has not completed. The operation's own completion
	 * decides what became of it. */
	void (*cancel)(struct th_io *io, struct th_op *op);
	/* The same for every operation of this worker on `fd`. */
	void (*cancel_fd)(struct th_io *io, int fd);
	/* Hand over what was submitted, complete what has ended. Does not wait. */
	void (*poll)(struct th_io *io);
	/* The same, but wait for a completion, a wake, or until now() reaches until_ns (INT64_MAX: no limit). May return
	 * early. */
	void (*wait)(struct th_io *io, int64_t until_ns);
	/* End the current or the next wait(). Any thread, any signal handler. */
	void (*wake)(struct th_io *io);
	int64_t (*now)(struct th_io *io); /* io may be NULL on a plain thread */
	/* A ring of buffers in the kernel; NULL: it has none (io/lent.h). */
	const struct th_lent_ring_ops *lent_ring;
	/* Without memory for all workers th_probe() knows another backend. */
	bool dispensable;
	/* Carry out an operation that ended with TH_OP_BLOCKS, on a thread of the blocking pool. NULL: none ever does. */
	int (*block)(struct th_op *op);
};

extern const struct th_backend th_uring;
extern const struct th_backend th_epoll;

/* What a runtime wants, and what it has met. */
struct th_wish {
	unsigned backend;  /* THRUM_BACKEND_* */
	bool restrict_ring;
	int ring_error;    /* what making the workers' rings ended with, after one had been chosen; 0: not tried yet */
};

/* Choose a backend, trying it out. `why` receives its name and the reasons, like "io_uring (kernel 6.18,
 * SINGLE_ISSUER|...)". 0 or -errno with the reason in `why`. */
int th_probe(const struct th_wish *wish, const struct th_backend **ret_backend, char *why, size_t why_size);

#endif
