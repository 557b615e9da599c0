/* thrum/rt.h: a runtime: its workers, and work handed to it from plain threads.
 *
 * Several runtimes may live in one process. A runtime does not survive fork(): in the child every call that would use
 * its threads returns -ECHILD; the child may exec or _exit. */
#ifndef THRUM_RT_H
#define THRUM_RT_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/watch.h>
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

/* Zero means default everywhere. A program built against an earlier version passes a smaller size, and has the defaults
 * for what came later; a larger size than this version knows is refused (-EINVAL). */
typedef struct thrum_opts {
	size_t size;              /* set by THRUM_OPTS */
	unsigned workers;         /* default: THRUM_WORKERS, else the CPUs this process may run on; at most 1024 */
	unsigned backend;         /* default: THRUM_BACKEND (auto, uring, epoll), else io_uring where it can be had, else epoll */
	unsigned clock;           /* THRUM_CLOCK_TEST moves by thrum_clock_advance() only, _JUMP by itself when nothing can run */
	unsigned blocking_threads;/* most threads for thrum_blocking(); default 64, at most 4096; none before the first job */
	size_t stack_bytes;       /* of a fiber; default 112 KiB, rounded up to pages, at least 16 KiB */
	uint64_t seed;            /* of the runtime's own choices (which victim first) and of thrum_random(); default: the clock */
	void (*observe)(const thrum_report *report, void *arg); /* default: a line on stderr; see thrum/watch.h */
	void *observe_arg;
	unsigned stuck_ms;        /* report a fiber that runs so long without suspending; default 1000; THRUM_WATCH_OFF */
	unsigned slow_scope_ms;   /* report a scope that closes so long after its cancel; default 10000; THRUM_WATCH_OFF */
	bool meter;               /* measure work and span, on one worker: see thrum/meter.h. -EINVAL with more workers */
	size_t lent_bytes;        /* of a buffer of thrum_recv_lent(); default 16 KiB, 64 to 1 GiB */
	unsigned lent_buffers;    /* how many each worker lends that is asked for one; default 256, at most 32768 */
	unsigned ring_entries;    /* io_uring: operations handed over in one go, for each worker; default 1024, at most 32768.
	                             No limit on what is in flight. An entry takes 200 bytes of locked memory, with its
	                             completions; where RLIMIT_MEMLOCK does not allow that, there are fewer */
	bool restrict_ring;       /* io_uring: the kernel refuses the rings all that thrum does not submit itself, since what goes
	                             through a ring passes no seccomp filter. Also THRUM_RESTRICT=1. Costs nothing measurable */
	bool shuffle;             /* for tests, slow: a worker draws what it does next, by `seed`: which ready fiber or new child
	                             goes on, whether a child runs on its waiter's stack, whether others go first at a call that
	                             may suspend. With one worker, a clock that is not real and nothing from outside (I/O, signals,
	                             other threads, the blocking pool) a seed is a run. thrum/test.h sees more. In the environment
	                             THRUM_SHUFFLE=SEED: that, with one worker, whatever the program asks for */
} thrum_opts;
#define THRUM_OPTS(...) (&(thrum_opts){ .size = sizeof(thrum_opts), __VA_ARGS__ })

/* Open a runtime, run `fx` with the caller as worker 0, close it.
 *   caller   a plain thread, blocked meanwhile; from a fiber: -EDEADLK (X2)
 *   returns  fx's code; -EINVAL for bad options; -ENOSYS, -EPERM, -ENOMEM, -EAGAIN when it cannot start;
 *            on a test or jump clock -EDEADLK, and a report, when nothing can ever run again (C6) */
THRUM_API THRUM_MUST_CHECK int thrum_run(const thrum_opts *opts, thrum_fx fx);

/* Open a runtime whose workers are all threads of its own. Any plain thread. Codes as thrum_run(). */
THRUM_API THRUM_MUST_CHECK int thrum_rt_open(const thrum_opts *opts, thrum_rt **ret_rt);

/* Run `fx` as a root effect and wait for it. Plain thread; -EDEADLK from a fiber. Returns fx's code; -EINVAL without a
 * function; THRUM_ECLOSED after shutdown began; -ECHILD in a forked child. */
THRUM_API int thrum_rt_run(thrum_rt *rt, thrum_fx fx);

/* Start `fx` as a root effect. Any thread or fiber; does not suspend. Starts are FIFO per calling thread.
 *   borrows  `h` and fx.arg until the handle was waited for
 *   returns  0; THRUM_ECLOSED after shutdown began, the handle is then done with that code; -EINVAL without a function;
 *            -ECHILD in a forked child */
THRUM_API THRUM_MUST_CHECK int thrum_rt_start(thrum_rt *rt, thrum_handle *h, thrum_fx fx);

/* Wait until the effect and all its finalizers ended. Plain thread (blocks) or fiber (suspends, cancel point: then
 * -ECANCELED and the effect goes on, K3; wait again before `h` dies). Returns the effect's code. */
THRUM_API int thrum_handle_wait(thrum_handle *h);

/* Ask the effect to stop; does not wait. Any thread. No-op when it has ended (K5). */
THRUM_API void thrum_handle_cancel(thrum_handle *h);

/* Cancel everything (reason: shutdown) and wait for it. Idempotent: a second call waits for the first (S7).
 * Jobs that were abandoned (thrum_blocking_with()) may run on until the close. Plain thread; -EDEADLK from a fiber, of
 * whichever runtime, or from a job on its blocking pool. */
THRUM_API int thrum_rt_shutdown(thrum_rt *rt);

/* Shut down, wait for abandoned jobs of the blocking pool, join all threads, free. NULL is fine. Plain thread; -EDEADLK from
 * a fiber, of whichever runtime, or from a job on its blocking pool. */
THRUM_API int thrum_rt_close(thrum_rt *rt);

/* errno of whoever calls, read afresh: plain `errno` may be read at an address that the compiler has kept from before a
 * suspension (X3). A fiber's errno is its own over every suspension. No call of thrum's reports by it. Any thread. */
THRUM_API int thrum_errno(void);
/* The runtime that this fiber runs in, and how many workers it has. Any thread: NULL and 0 outside a fiber. */
THRUM_API thrum_rt *thrum_rt_self(void);
THRUM_API unsigned thrum_workers(void);

/* One line: workers, backend, how it is set up or why it was chosen: "2 workers, epoll (kernel 6.1.0, io_uring_setup: Operation
 * not permitted: ...)". Lives as long as the runtime; NULL = this fiber's. Any thread.
 * THRUM_LOG=1 in the environment prints it to stderr when a runtime opens. */
THRUM_API const char *thrum_rt_describe(const thrum_rt *rt);

/* Counters since the runtime opened, summed over its workers; each is exact for work that has ended. Any thread; does not
 * suspend; NULL = this fiber's runtime. 0; -EINVAL for another size, or NULL outside a fiber. */
typedef struct thrum_stats {
	size_t size;              /* set by the caller */
	uint64_t spawns;          /* children started by thrum_spawn() and everything built on it; of thrum_zip_par() only
	                             when an effect was more than a call */
	uint64_t inline_runs;     /* of these, run on the stack of the joiner */
	uint64_t steals;          /* started by a worker other than the one that spawned: taken by it or given to it */
	uint64_t fibers;          /* children and roots that were given a fiber */
	uint64_t suspends;        /* times a fiber was parked */
	uint64_t wakes;           /* times a sleeping worker was woken by another thread */
	uint64_t parks;           /* times a worker went to sleep */
	uint64_t io_ops;          /* operations given to the backend */
	uint64_t stacks_mapped;   /* fiber stacks ever mapped */
	uint64_t fibers_live;     /* fibers that have a job now; idle ones kept warm do not count */
	uint64_t blocking_jobs;   /* jobs of thrum_blocking() that were started */
	uint64_t blocking_threads;/* threads of the blocking pool now */
	uint64_t steal_fails;     /* searches of a worker among the others that found nothing */
	uint64_t forced_steals;   /* steals for which the victim was made to pass a fence: it had shared nothing */
	uint64_t ring_overflows;  /* times completions found no room in a worker's ring: none is lost, but each costs the
	                             kernel an allocation; more .ring_entries make it rare */
	uint64_t stacks_warm;     /* idle stacks that hold memory. A second after a burst has ended it is a few for each worker */
	uint64_t stacks_cooled;   /* times that the memory of an idle stack was given back because nobody wanted it */
} thrum_stats;
THRUM_API int thrum_stats_read(thrum_rt *rt, thrum_stats *ret_stats);
/* The same of one worker, 1-based; what belongs to no worker (stacks_*, blocking_*) is 0. A fiber lives and ends on one
 * worker; `spawns` are counted where they were spawned, `steals` where what was stolen is run. Also -EINVAL for a worker that
 * the runtime has not. */
THRUM_API int thrum_stats_read_worker(thrum_rt *rt, unsigned worker, thrum_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
