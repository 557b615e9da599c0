/* core/fiber.h: what core and io know of a fiber and of the worker it lives on. sched/ embeds both. */
#ifndef TH_FIBER_H
#define TH_FIBER_H
#include "atomic.h"
#include "timers.h"
#include <thrum/base.h>

struct th_node;
struct th_task;
struct th_clock;
struct th_io;
struct th_backend;
struct th_pool;
struct th_op;
struct th_fdtable;

/* The services of a worker. A started fiber never leaves its home, so all of it is single-threaded. */
struct th_home {
	struct thrum_rt *rt;
	struct th_clock *clock;          /* shared by the runtime's workers */
	struct th_timers timers;         /* of the real clock; a test clock has one set for all */
	const struct th_backend *backend;
	struct th_io *io;
	struct th_fdtable *fds;          /* shared by the runtime's workers: io/fdtable.h */
	struct th_pool *records;         /* small blocks: core/pool.h */
	th_atomic_u64 x_inflight;        /* operations in the kernel; owner writes, the test clock reads */
	th_atomic_u64 x_suspends, x_spawns, x_inline_runs, x_io_ops; /* statistics */
};

struct th_fiber {
	struct th_node *node;            /* innermost cancel scope; only the fiber itself changes it */
	struct th_task *task;            /* whose effect is running: identity (K10) */
	struct th_home *home;
	struct th_fiber *next;           /* in one list at a time: ready, mailbox, or a waker's hand */
	int exit_code;                   /* what thrum_exit_code() returns */

	/* The operation in the kernel, if any; the home worker only. Its generation tells a late cancel request for an
	 * earlier operation from one for this (G6). */
	struct th_op *op;
	uint16_t op_gen;
	/* A cancel request on its way to the home worker: any thread writes the generation, then queues the fiber once. */
	th_atomic_u32 x_cancel_gen;
	th_atomic_u32 x_cancel_queued;
	struct th_fiber *cancel_next;
};

#endif
