/* thrum/rt.h: a runtime: its workers, and work handed to it from plain threads.
 *
 * Several runtimes may live in one process. A runtime does not survive fork(): in the child every call on it returns
 * -ECHILD; the child may exec or _exit. */
#ifndef THRUM_RT_H
#define THRUM_RT_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct thrum_rt thrum_rt;

/* Caller storage for a root effect; lives until thrum_handle_wait() returned. */
typedef struct thrum_handle {
	uint64_t opaque_[48];
} thrum_handle;

enum { THRUM_BACKEND_AUTO = 0, THRUM_BACKEND_URING = 1, THRUM_BACKEND_EPOLL = 2 };
enum { THRUM_CLOCK_REAL = 0, THRUM_CLOCK_TEST = 1, THRUM_CLOCK_JUMP = 2 };

/* Zero means default everywhere. A field that this version does not know must be zero (-EINVAL). */
typedef struct thrum_opts {
	size_t size;              /* set by THRUM_OPTS */
	unsigned workers;         /* default: THRUM_WORKERS, else the CPUs this process may run on; at most 1024 */
	unsigned backend;         /* default: THRUM_BACKEND, else what the probe finds */
	unsigned clock;           /* THRUM_CLOCK_TEST moves by thrum_clock_advance() only, _JUMP by itself when nothing can run */
	unsigned blocking_threads;/* must be 0 in this version */
	size_t stack_bytes;       /* of a fiber; default 112 KiB, rounded up to pages, at least 16 KiB */
	uint64_t seed;            /* of the runtime's own choices (which victim first); default: taken from the clock */
} thrum_opts;
#define THRUM_OPTS(...) (&(thrum_opts){ .size = sizeof(thrum_opts), __VA_ARGS__ })

/* Open a runtime, run `fx` with the caller as worker 0, close it.
 *   caller   a plain thread, blocked meanwhile; from a fiber: -EDEADLK (X2)
 *   returns  fx's code; -EINVAL for bad options; -ENOSYS, -EPERM, -ENOMEM, -EAGAIN when it cannot start;
 *            on a test or jump clock -EDEADLK when nothing can ever run again (C6) */
THRUM_API THRUM_MUST_CHECK int thrum_run(const thrum_opts *opts, thrum_fx fx);

/* Open a runtime whose workers are all threads of its own. Any plain thread. Codes as thrum_run(). */
THRUM_API THRUM_MUST_CHECK int thrum_rt_open(const thrum_opts *opts, thrum_rt **ret_rt);

/* Run `fx` as a root effect and wait for it. Plain thread; -EDEADLK from a fiber. Returns fx's code. */
THRUM_API int thrum_rt_run(thrum_rt *rt, thrum_fx fx);

/* Start `fx` as a root effect. Any thread or fiber; does not suspend. Starts are FIFO per calling thread.
 *   borrows  `h` and fx.arg until the handle was waited for
 *   returns  0; THRUM_ECLOSED after shutdown began, the handle is then done with that code */
THRUM_API THRUM_MUST_CHECK int thrum_rt_start(thrum_rt *rt, thrum_handle *h, thrum_fx fx);

/* Wait until the effect and all its finalizers ended. Plain thread (blocks) or fiber (suspends, cancel point: then
 * -ECANCELED and the effect goes on, K3; wait again before `h` dies). Returns the effect's code. */
THRUM_API int thrum_handle_wait(thrum_handle *h);

/* Ask the effect to stop; does not wait. Any thread. No-op when it has ended (K5). */
THRUM_API void thrum_handle_cancel(thrum_handle *h);

/* Cancel everything (reason: shutdown) and wait for it. Idempotent: a second call waits for the first (S7).
 * Plain thread; -EDEADLK from a fiber of the same runtime. */
THRUM_API int thrum_rt_shutdown(thrum_rt *rt);

/* Shut down, join the workers, free. NULL is fine. Plain thread; -EDEADLK from a fiber of the same runtime. */
THRUM_API int thrum_rt_close(thrum_rt *rt);

THRUM_API thrum_rt *thrum_rt_self(void); /* NULL outside a fiber */
THRUM_API unsigned thrum_workers(void);  /* of the runtime that this fiber runs in; 0 outside a fiber */

/* One line: workers, backend, and why the probe chose it. Lives as long as the runtime; NULL = this fiber's.
 * THRUM_LOG=1 in the environment prints it to stderr when a runtime opens. */
THRUM_API const char *thrum_rt_describe(const thrum_rt *rt);

/* Counters since the runtime opened, summed over its workers; each is exact for work that has ended. */
typedef struct thrum_stats {
	size_t size;              /* set by the caller */
	uint64_t spawns;          /* children started by thrum_spawn() and everything built on it */
	uint64_t inline_runs;     /* of these, run on the stack of the joiner */
	uint64_t steals;          /* started by a worker other than the one that spawned: taken by it or given to it */
	uint64_t fibers;          /* children and roots that were given a fiber */
	uint64_t suspends;        /* times a fiber was parked */
	uint64_t wakes;           /* times a sleeping worker was woken by another thread */
	uint64_t parks;           /* times a worker went to sleep */
	uint64_t io_ops;          /* operations given to the kernel's ring */
	uint64_t stacks_mapped;   /* fiber stacks ever mapped */
	uint64_t fibers_live;     /* fibers that have a job now; idle ones kept warm do not count */
} thrum_stats;
THRUM_API int thrum_stats_read(thrum_rt *rt, thrum_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
