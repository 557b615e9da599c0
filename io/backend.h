/* io/backend.h: the seam between the runtime and a kernel. Three implementations are planned: io/uring.c, the simulated
 * kernel of io/sim.c, and epoll.
 *
 * One th_io per worker, used by that worker only, wake() excepted. An operation that was submitted ends exactly once, by
 * th_op_complete() called from poll() or wait(), never from submit() or cancel(). */
#ifndef TH_BACKEND_H
#define TH_BACKEND_H
#include "op.h"
#include <stddef.h>
#include <stdint.h>

struct th_io; /* defined by each backend for itself */

struct th_backend {
	const char *name;
	/* `share` is the instance of worker 0 or NULL. Calls happen on the worker's own thread. 0 or -errno. */
	int (*open)(struct th_io **ret_io, struct th_io *share);
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
};

extern const struct th_backend th_uring;

/* Choose a backend (THRUM_BACKEND_*), trying it out. `why` receives a text like "io_uring, 6.18, SINGLE_ISSUER|...".
 * 0 or -errno with the reason in `why`. */
int th_probe(unsigned wanted, const struct th_backend **ret_backend, char *why, size_t why_size);

#endif
