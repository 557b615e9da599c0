/* test/model/worker_mock.h: stands in for sched/worker.h where a Relacy model compiles sched/idle.c and sched/mail.c.
 * The fields they use, with the same names and meanings; the ring, the clock and the stacks are left out. */
#ifndef TH_WORKER_H
#define TH_WORKER_H
#define THRUM_LANE_SLOTS_ 4 /* before any header of thrum */
#include "futex.h"
#include "../../core/lock.c"
#include "../../core/clock.h"
#include "../../core/fiber.h"
#include "../../sched/deque.h"

struct th_task {
	struct th_task *next;
	rl::var<int> payload;
};
struct th_op {
	bool in_kernel;
	uint16_t gen;
};
struct th_backend {
	void (*wait)(struct th_io *io, int64_t until_ns);
	void (*wake)(struct th_io *io);
	void (*cancel)(struct th_io *io, struct th_op *op);
};
struct th_taskq {
	struct th_lock lock;
	struct th_task *head, **tail;
	th_atomic_u32 x_count;
};

enum { TH_AWAKE = 0, TH_ASLEEP = 1, TH_CALLED = 2 };
enum { TH_FD_CANCELS = 2 };

struct th_worker {
	struct th_home home;
	struct thrum_rt *rt;
	struct th_fiber *ready;
	bool searching, announced, cooling;
	unsigned lingers;
	struct th_taskq spill;
	th_atomic_u64 x_parks, x_wakes;
	struct thrum_lane_ lane;
	th_atomic(struct th_fiber *) x_mail;
	th_atomic(struct th_fiber *) x_cancels;
	struct th_taskq placed;
	struct th_lock fd_lock;
	int fds[TH_FD_CANCELS];
	th_atomic_u32 x_fds;
	th_atomic_u32 x_sleep;
};
struct th_fib {
	struct th_fiber core;
	struct th_worker *worker;
	rl::var<int> payload;
};
static inline struct th_fib *th_fib_of(struct th_fiber *f) { return (struct th_fib *)(void *)f; }

enum { WORKERS = 3 };
struct thrum_rt {
	unsigned nworkers;
	struct th_worker workers[WORKERS];
	struct th_clock clock;
	struct th_taskq inject;
	bool calls_main, may_linger;
	th_atomic_u32 x_idle, x_searching, x_stop, x_token_signal;
};

/* The eventfd of a worker: counts, so that a wake before the wait is not lost. */
struct th_io {
	rl::mutex lock;
	rl::condition_variable changed;
	rl::var<int> count;
};

static void io_wait(struct th_io *io, int64_t)
{
	io->lock.lock($);
	while (io->count($) == 0)
		io->changed.wait(io->lock, $);
	io->count($) = 0;
	io->lock.unlock($);
}
static void io_wake(struct th_io *io)
{
	io->lock.lock($);
	io->count($) = 1;
	io->changed.notify_all($);
	io->lock.unlock($);
}
static void io_cancel(struct th_io *io, struct th_op *op);
static const struct th_backend mock_backend = { io_wait, io_wake, io_cancel };

static struct thrum_rt *mock_rt;
/* Thread i of the model is worker i; those beyond the workers are foreign threads. */
/* The end of the runtime is not modelled. */
static inline bool th_foreign_enter(struct thrum_rt *) { return false; }
static inline void th_foreign_leave(struct thrum_rt *, bool) {}
struct th_worker *th_worker_self(void)
{
	unsigned i = rl::thread_index();
	return i < mock_rt->nworkers ? &mock_rt->workers[i] : NULL;
}
struct th_fib *th_fib_self(void) { return NULL; }
uint32_t th_choose(uint32_t n, const char *) { return rl::rand(n); }
int64_t th_clock_fire_due(struct th_home *) { return INT64_MAX; }
bool th_clock_wants_rest(struct th_clock *) { return false; }
enum th_quiescent th_clock_quiescent(struct th_clock *, const struct th_quiescence *) { return TH_CLOCK_IDLE; }
int64_t th_watch_look(struct th_home *, int64_t, bool) { return INT64_MAX; }
void th_rt_stuck(struct thrum_rt *) {}
void th_op_cancel_fd(struct th_home *, int) {}
void th_suspend(void (*)(struct th_fiber *, void *), void *) {}
void th_yield(struct th_fiber *) {}

void th_taskq_init(struct th_taskq *q);
void th_taskq_push(struct th_taskq *q, struct th_task *t);
struct th_task *th_taskq_pop(struct th_taskq *q);
static inline bool th_taskq_looks_empty(struct th_taskq *q) { return th_load_rlx(&q->x_count) == 0; }
void th_ready(struct th_worker *w, struct th_fiber *f);
static inline void th_woken_here(struct th_worker *, struct th_fiber *) {} /* nothing is metered */
bool th_mail_looks_empty(struct th_worker *w);
void th_mail_serve(struct th_worker *w);
void th_poke(struct th_worker *w);
void th_notify_work(struct thrum_rt *rt);
bool th_somebody_sleeps(struct thrum_rt *rt);
bool th_work_is_wanted(struct thrum_rt *rt);
static inline void th_lanes_fence(struct th_worker *) {} /* of forks, which no model has */
static inline int64_t th_cool_at(const struct th_worker *) { return INT64_MAX; } /* nor fibers */
void th_found_work(struct th_worker *w);
void th_sleep(struct th_worker *w);

static void mock_rt_init(struct thrum_rt *rt, struct th_io *io, unsigned nworkers)
{
	mock_rt = rt;
	rt->nworkers = nworkers;
	th_taskq_init(&rt->inject);
	th_init(&rt->x_idle, 0);
	th_init(&rt->x_searching, 0);
	th_init(&rt->x_stop, 0);
	th_init(&rt->x_token_signal, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct th_worker *w = &rt->workers[i];
		w->home.backend = &mock_backend;
		w->home.io = &io[i];
		io[i].count($) = 0;
		w->rt = rt;
		w->ready = NULL;
		w->searching = w->announced = false;
		th_taskq_init(&w->spill);
		th_taskq_init(&w->placed);
		th_lock_init(&w->fd_lock);
		th_deque_init(&w->lane);
		th_init(&w->x_parks, 0);
		th_init(&w->x_wakes, 0);
		th_init(&w->x_mail, NULL);
		th_init(&w->x_cancels, NULL);
		th_init(&w->x_fds, 0);
		th_init(&w->x_sleep, TH_AWAKE);
		th_init(&w->home.x_inflight, 0);
	}
}

#endif
