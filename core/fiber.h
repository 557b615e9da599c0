/* core/fiber.h: what core and io know of a fiber and of the worker it lives on. sched/ embeds both. */
#ifndef TH_FIBER_H
#define TH_FIBER_H
#include "atomic.h"
#include "lock.h"
#include "timers.h"
#include "watch.h"
#include <thrum/cause.h>

struct th_node;
struct th_task;
struct th_clock;
struct th_io;
struct th_backend;
struct th_pool;
struct th_op;
struct th_fdtable;
struct th_sender;
struct th_observer;

/* How long the longest chain of strands is that led to some point, ns; and with the thefts on it (core/meter.h). */
struct th_path {
	int64_t span, burdened;
};

/* Of a home; all zero, unless its runtime is metered. */
struct th_meter {
	bool on;
	int64_t since;   /* when the running strand began; -1: none does */
	int64_t work;    /* ns */
	uint64_t children;
};

/* The services of a worker. A started fiber never leaves its home, so all of it is single-threaded. */
struct th_home {
	struct thrum_rt *rt;
	struct thrum_lane_ *lane;        /* the worker's entries: thrum/fork.h */
	struct th_lock forks;            /* of what its fibers' forks have in the tree: core/fork.c */
	struct th_clock *clock;          /* shared by the runtime's workers */
	struct th_timers timers;         /* of the real clock; a test clock has one set for all */
	const struct th_backend *backend;
	struct th_io *io;
	struct th_fdtable *fds;          /* shared by the runtime's workers: io/fdtable.h */
	struct th_pool *records;         /* small blocks: core/pool.h */
	struct th_pool *causes;          /* nodes of causes: core/cause.h */
	const struct th_observer *observer; /* who is told of reports: core/report.h */
	uint64_t random;                 /* the worker's and its fibers': core/random.c */
	bool light;                      /* children may stay calls: core/light.h */
	bool shuffle;                    /* what runs next is drawn: sched/shuffle.c */
	struct th_meter meter;
	struct th_lents *lents;          /* buffers that are lent, from the first one on: io/lent.c */
	uint32_t lent_buffers, lent_bytes; /* how many and how large they are to be */
	struct th_sender *senders;       /* who waits to send a file: io/sendfile.c */
	uint32_t quick_calls;            /* operations that did not suspend: io/call.c */
	struct th_watch watch;           /* cancelled scopes opened here: core/watch.h */
	th_atomic_u64 x_inflight;        /* operations in the kernel; owner writes, the test clock reads */
	th_atomic_u64 x_suspends, x_spawns, x_inline_runs, x_io_ops; /* statistics */
};

struct th_fiber {
	struct th_node *node;            /* innermost cancel scope; only the fiber itself changes it */
	struct th_task *task;            /* whose effect is running: identity (K10) */
	struct th_home *home;
	struct th_fiber *next;           /* in one list at a time: ready, mailbox, or a waker's hand */
	int exit_code;                   /* what thrum_exit_code() returns */
	struct th_path path;             /* core/meter.h */
	thrum_cause last_resort;         /* shown by thrum_last_cause() when there was no memory for a node */
	uint32_t nosuspend;              /* depth of thrum_nosuspend_begin(); only the fiber itself */

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
