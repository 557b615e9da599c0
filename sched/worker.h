/* sched/worker.h: a worker and its runtime: who may touch what. One cache-line pair per writer.
 *
 *   owner   the worker's own thread only
 *   any     every thread, in the way that the field's comment says */
#ifndef TH_WORKER_H
#define TH_WORKER_H
#include "../core/assert.h"
#include "../core/clock.h"
#include "../core/report.h"
#include "../core/scope.h"
#include "../io/backend.h"
#include "blocking.h"
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
	struct thrum_lane_ lane;          /* any, see deque.h and core/gate.h; first: thrum_lane_self_ points to it */
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
	struct th_fib *next;              /* goes on before all others: a call that has a stack of its own, or its caller */
	struct th_fiber *ready, **ready_tail;
	struct th_fib *spare;             /* fibers without a job, warm */
	unsigned spares, spares_low;      /* how many; the fewest in this period: cool.c */
	bool gave, cooling;               /* stacks to the pool that may be warm; there are some to be cooled at once */
	int64_t period_ns;                /* when this period began */
	struct th_fib *reserve;           /* for the drops of refused: there is always a stack for them */
	struct th_taskq refused;          /* owner; children for which there was no fiber, and which have a drop */
	bool refusing;                    /* the reserve is at work */
	struct th_fib *leaving;           /* of stacks of other sizes: ended, but a cancel request is on its way to them */
	uint64_t bottom_max;              /* of the lane, while no fiber runs */
	unsigned ticks;                   /* switches since the last poll */
	uint64_t polled_at;               /* th_ticks() of the last poll */
	bool new_first;                   /* whose turn it is: a new child's or a ready fiber's */
	bool searching;                   /* counted in rt->x_searching */
	unsigned lingers;                 /* so often it looks again before it sleeps: idle.c */
	bool announced;                   /* counted in rt->x_idle */
	struct th_taskq spill;            /* any: what did not fit into the lane */
	th_atomic_u64 x_steals, x_fibers, x_parks, x_wakes, x_jobs, x_retired, x_overflows; /* statistics */
	th_atomic_u64 x_forced, x_steal_fails; /* statistics: steals that took a force; rounds that found nothing */

	/* Mail: any thread pushes, the owner takes all. See mail.c. */
	_Alignas(TH_LANE_LINE) th_atomic(struct th_fiber *) x_mail;
	th_atomic(struct th_fiber *) x_cancels;
	struct th_taskq placed;           /* tasks for this worker only */
	struct th_lock fd_lock;
	int fds[TH_FD_CANCELS];           /* descriptors whose operations here are to be cancelled; under fd_lock */
	th_atomic_u32 x_fds;              /* how many; written under fd_lock */

	/* See idle.c. */
	_Alignas(TH_LANE_LINE) th_atomic_u32 x_sleep;

	void *os_thread;                  /* sched/threads.c */
	void *altstack;                   /* sched/overflow.c */
	const void *robust, *robust_before; /* debug builds: sched/trap.c */
};

struct thrum_rt {
	unsigned nworkers;
	struct th_worker *workers;
	const struct th_backend *backend;
	struct th_io_opts io_opts;        /* as far as they are the same for all workers */
	struct th_clock clock;
	struct th_observer observer;
	unsigned stuck_ms;                /* THRUM_WATCH_OFF: not watched */
	int64_t slow_ns;                  /* INT64_MAX: not watched */
	struct th_monitor *monitor;       /* sched/watch.c; under monitor_lock */
	struct th_lock monitor_lock;
	th_atomic_u64 x_advances_begun, x_advances_ended;
	struct th_stacks *stacks;
	struct th_pool *records, *causes;
	struct th_fdtable *fds;
	struct th_scope root;
	char describe[256];
	bool may_linger;                  /* a processor for each worker, and time passes by itself */
	bool has_heavy_fence;             /* else forks look up each time: lane.c */
	int pid;                          /* another one after fork(): refuse (X10) */
	bool calls_main;                  /* thrum_run: worker 0 is the caller, and a deadlock can be told (C6) */
	const struct th_task *main;       /* and this is what it runs */
	th_atomic_u32 x_deadlocked;

	_Alignas(TH_LANE_LINE) struct th_taskq inject; /* any */
	_Alignas(TH_LANE_LINE) th_atomic_u32 x_idle;   /* sleeping workers and a generation: see idle.c */
	th_atomic_u32 x_searching;
	_Alignas(TH_LANE_LINE) th_atomic_u32 x_closing; /* shutdown began */
	th_atomic_u32 x_stop;             /* every root has ended: workers leave */
	th_atomic_u32 x_down;             /* workers that have left their loop */
	bool start_failed;
	th_atomic_u32 x_foreign;          /* threads of others that are about to wake a worker */
	th_atomic_u32 x_shutters;         /* threads inside thrum_rt_shutdown(): the runtime waits for them before it goes */
	th_atomic_u32 x_roots;            /* root effects, plus one until shutdown begins */
	th_atomic_u32 x_token_signal;     /* some linked token was cancelled */
	struct th_lock token_lock;
	struct th_scope *linked;          /* scopes with tokens */
	struct th_blocking blocking;      /* any, see blocking.c */

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
/* Who goes on when the fiber that runs on `w` yields: itself if there is nobody else. NULL: that is for the loop to decide. */
struct th_fib *th_worker_turn(struct th_worker *w);
void th_woken_here(struct th_worker *w, struct th_fiber *f); /* by what `w` runs: for the meter; fiber.c */

/* What a worker runs next: an entry of a lane, and whose lane that was. */
struct th_found {
	void *entry; /* NULL: nothing */
	struct th_worker *from;
};
struct th_found th_steal(struct th_worker *w);

/* --- shuffle.c: only in a shuffled runtime --- */
void th_shuffle_turn(struct th_worker *w, bool has_new);
void *th_shuffle_take(struct th_worker *w);     /* one of the entries of the own lane; NULL: there is none, or a thief was faster */
bool th_shuffle_declines(struct th_worker *w);  /* also in one that is not: false */

/* --- lane.c --- */
void th_lane_init(struct th_worker *w);
/* The running fiber of `w` looks up from its forks: see to what its gate was shut for, open it. False: cancelled. */
bool th_lane_look(struct th_worker *w);
/* The last look of a worker that falls asleep is about to come: from here on no fork of another worker is missed. */
void th_lanes_fence(struct th_worker *w);

/* --- mail.c --- */
void th_mail_serve(struct th_worker *w);
bool th_mail_looks_empty(struct th_worker *w);

/* --- cool.c --- */
void th_cool(struct th_worker *w);             /* once a turn of the loop */
int64_t th_cool_at(const struct th_worker *w); /* when a worker that sleeps is to get up for it; INT64_MAX: not at all */

/* --- idle.c --- */
void th_poke(struct th_worker *w);          /* after mail was pushed */
void th_notify_work(struct thrum_rt *rt);   /* after a task was made stealable */
bool th_somebody_sleeps(struct thrum_rt *rt); /* hints */
bool th_work_is_wanted(struct thrum_rt *rt);  /* somebody sleeps or searches */
void th_found_work(struct th_worker *w);    /* a searcher got a job */
bool th_linger(struct th_worker *w);        /* nothing was found; true: search again, false: sleep */
bool th_has_work(struct th_worker *w);      /* it may not sleep */
void th_sleep(struct th_worker *w);

/* --- token.c --- */
void th_tokens_serve(struct thrum_rt *rt);

/* --- rt.c --- */
void th_root_ended(struct thrum_rt *rt);
/* The main effect cannot be started, so it will not end the runtime. */
void th_main_refused(struct thrum_rt *rt);
void th_rt_stuck(struct thrum_rt *rt); /* nothing can ever run again */

/* --- threads.c, or sim.c in the simulation --- */
int th_thread_start(struct th_worker *w);
void th_thread_join(struct th_worker *w);
/* A thread that is no worker: of the blocking pool. It says itself who it is; 0, -EAGAIN. */
int th_thread_start_fn(void *(*fn)(void *), void *arg);
uintptr_t th_thread_id(void);   /* of the calling thread */
void th_thread_join_id(uintptr_t id);
/* As th_word_wait(), for at most so long; true if that was the reason to return. */
bool th_word_wait_for(th_atomic_u32 *word, uint32_t seen, int64_t ns);
struct th_context *th_thread_context(struct th_worker *w); /* of the calling thread's own stack */
uint64_t th_ticks(void);        /* a cheap counter */
uint64_t th_seed(void);         /* for a runtime that was given none */
uint64_t th_ticks_100us(void);

/* --- trap.c --- */
/* `what` the fiber does that it has ruled out by thrum_nosuspend_begin(). */
__attribute__((noreturn)) void th_trap_nosuspend(const struct th_fib *fib, const char *what);
#if TH_DEBUG && !defined(TH_SIM)
void th_trap_init(struct th_worker *w);
void th_trap_held_lock(const struct th_fib *fib);
#else
static inline void th_trap_init(struct th_worker *w) { (void)w; }
static inline void th_trap_held_lock(const struct th_fib *fib) { (void)fib; }
#endif

/* --- overflow.c --- */
void th_overflow_watch(struct th_worker *w);
void th_overflow_unwatch(struct th_worker *w);

#endif
