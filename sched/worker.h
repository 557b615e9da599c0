/* sched/worker.h: a worker and its runtime: who may touch what. One cache-line pair per writer.
 *
 *   owner   the worker's own thread only
 *   any     every thread, in the way that the field's comment says */
#ifndef TH_WORKER_H
#define TH_WORKER_H
#include "../core/clock.h"
#include "../core/scope.h"
#include "../io/backend.h"
#include "context.h"
#include "deque.h"
#include "fiber.h"
#include "stack.h"
#include <thrum/rt.h>

/* A FIFO of tasks behind a lock, for what does not go through a deque. x_count lets others look without the lock. */
struct th_taskq {
	struct th_lock lock;
	struct th_task *head, **tail;
	th_atomic_u32 x_count;
};

enum { TH_AWAKE = 0, TH_ASLEEP = 1, TH_CALLED = 2 };
enum { TH_RUNNING = 0, TH_STOPPING = 1, TH_STOPPED = 2 }; /* x_stop */
enum { TH_FD_CANCELS = 16 };

struct th_worker {
	struct th_home home;              /* owner, but for its statistics */
	struct thrum_rt *rt;
	unsigned index;
	uint64_t rng;
	struct th_context *thread;        /* the worker's own stack: the loop runs here */
	struct th_context thread_storage;
	struct th_context *running;       /* the stack that runs now: thread, or a fiber's */
	struct th_fib *fiber;             /* the fiber that runs, or NULL */
	void (*after)(struct th_fiber *, void *); /* what a fiber that switched away wants done, and on whom */
	void *after_arg;
	struct th_fib *after_fiber;
	struct th_fiber *ready, **ready_tail;
	struct th_fib *spare;             /* fibers without a job, warm */
	unsigned spares;
	unsigned ticks;                   /* switches since the last poll */
	uint64_t polled_at;               /* th_ticks() of the last poll */
	bool new_first;                   /* whose turn it is: a new child's or a ready fiber's */
	bool searching;                   /* counted in rt->x_searching */
	struct th_taskq spill;            /* any: what did not fit into the deque */
	th_atomic_u64 x_steals, x_fibers, x_parks, x_wakes, x_jobs, x_retired; /* statistics */

	struct th_deque deque;            /* any, see deque.h */

	/* Mail: any thread pushes, the owner takes all. See mail.c. */
	_Alignas(TH_DEQUE_LINE) th_atomic(struct th_fiber *) x_mail;
	th_atomic(struct th_fiber *) x_cancels;
	struct th_taskq placed;           /* tasks for this worker only */
	struct th_lock fd_lock;
	int fds[TH_FD_CANCELS];           /* descriptors whose operations here are to be cancelled; under fd_lock */
	th_atomic_u32 x_fds;              /* how many; written under fd_lock */

	/* See idle.c. */
	_Alignas(TH_DEQUE_LINE) th_atomic_u32 x_sleep;

	void *os_thread;                  /* sched/threads.c */
	void *altstack;                   /* sched/overflow.c */
};

struct thrum_rt {
	unsigned nworkers;
	struct th_worker *workers;
	const struct th_backend *backend;
	struct th_clock clock;
	struct th_stacks *stacks;
	size_t stack_low;                 /* headroom below which nesting goes to a fresh stack */
	struct th_pool *records;
	struct th_fdtable *fds;
	struct th_scope root;
	char describe[256];
	int pid;                          /* another one after fork(): refuse (X10) */
	bool calls_main;                  /* thrum_run: worker 0 is the caller, and a deadlock can be told (C6) */
	th_atomic_u32 x_deadlocked;

	_Alignas(TH_DEQUE_LINE) struct th_taskq inject; /* any */
	_Alignas(TH_DEQUE_LINE) th_atomic_u32 x_idle;   /* sleeping workers and a generation: see idle.c */
	th_atomic_u32 x_searching;
	_Alignas(TH_DEQUE_LINE) th_atomic_u32 x_closing; /* shutdown began */
	th_atomic_u32 x_stop;             /* every root has ended: workers leave */
	th_atomic_u32 x_down;             /* workers that have left their loop */
	bool start_failed;
	th_atomic_u32 x_foreign;          /* threads of others that are about to wake a worker */
	th_atomic_u32 x_roots;            /* root effects, plus one until shutdown begins */
	th_atomic_u32 x_token_signal;     /* some linked token was cancelled */
	struct th_lock token_lock;
	struct th_scope *linked;          /* scopes with tokens */

	struct th_lock start_lock;        /* workers report here that they are up */
	th_atomic_u32 x_up;
	int start_error;
};

/* --- self.c --- */
struct th_worker *th_worker_self(void); /* NULL on a foreign thread */
void th_worker_set_self(struct th_worker *w);
struct th_fib *th_fib_self(void);

/* A thread that is no worker of `rt` and makes something run in it: what it hands over may run to its end, and the runtime
 * be closed, before that thread has woken the worker. Enter before handing over; a closing runtime waits for the leave,
 * which is the last touch. */
static inline bool th_foreign_enter(struct thrum_rt *rt)
{
	struct th_worker *w = th_worker_self();

	if (w && w->rt == rt)
		return false;
	th_add_seq(&rt->x_foreign, 1);
	return true;
}
static inline void th_foreign_leave(struct thrum_rt *rt, bool entered)
{
	if (entered)
		th_sub_seq(&rt->x_foreign, 1);
}

/* --- queue of tasks --- */
void th_taskq_init(struct th_taskq *q);
void th_taskq_push(struct th_taskq *q, struct th_task *t);
struct th_task *th_taskq_pop(struct th_taskq *q);
static inline bool th_taskq_looks_empty(struct th_taskq *q)
{
	return th_load_rlx(&q->x_count) == 0; /* a hint; a sleeper looks again after its fence */
}

/* --- worker.c --- */
int th_worker_init(struct th_worker *w, struct thrum_rt *rt, unsigned index, uint64_t seed);
void th_worker_fini(struct th_worker *w);
/* The thread of a worker: open the backend, report, loop until x_stop, close. */
void th_worker_main(struct th_worker *w);
int th_worker_enter(struct th_worker *w);
void th_worker_loop(struct th_worker *w);
void th_worker_leave(struct th_worker *w);
void th_wait_stopped(struct thrum_rt *rt);
/* Serve mail, ring, timers and tokens without waiting. On the worker's thread, from its loop or from a fiber. */
void th_worker_poll(struct th_worker *w);
void th_ready(struct th_worker *w, struct th_fiber *f);
struct th_task *th_steal(struct th_worker *w);

/* --- mail.c --- */
void th_mail_serve(struct th_worker *w);
bool th_mail_looks_empty(struct th_worker *w);

/* --- idle.c --- */
void th_poke(struct th_worker *w);          /* after mail was pushed */
void th_notify_work(struct thrum_rt *rt);   /* after a task was made stealable */
void th_found_work(struct th_worker *w);    /* a searcher got a job */
void th_sleep(struct th_worker *w);

/* --- token.c --- */
void th_tokens_serve(struct thrum_rt *rt);

/* --- rt.c --- */
void th_root_ended(struct thrum_rt *rt);
void th_rt_stuck(struct thrum_rt *rt); /* nothing can ever run again */

/* --- threads.c, or sim.c in the simulation --- */
int th_thread_start(struct th_worker *w);
void th_thread_join(struct th_worker *w);
struct th_context *th_thread_context(struct th_worker *w); /* of the calling thread's own stack */
uint64_t th_ticks(void);        /* a cheap counter */
uint64_t th_ticks_100us(void);

/* --- overflow.c --- */
void th_overflow_watch(struct th_worker *w);
void th_overflow_unwatch(struct th_worker *w);

#endif
