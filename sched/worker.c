/* sched/worker.c: the loop of a worker: what runs next, and in which order sources are asked.
 *
 *   own ready fibers and own children (deque, newest first; spill; placed), in turn → mail, ring, timers → inject →
 *   other workers → sleep
 *
 * Every POLL_EVERY switches or 100 us the
 * mail, the ring, the timers and the inject queue are served whatever else there is (hazards 10, 11). */
#include "worker.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/pool.h"
#include "../core/tsan.h"
#include <errno.h>
#include <string.h>

enum { POLL_EVERY = 61 }; /* coprime to the usual batch sizes; a poll that finds nothing costs about 100 ns */

int th_worker_init(struct th_worker *w, struct thrum_rt *rt, unsigned index, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	w->rt = rt;
	w->index = index;
	w->rng = (seed + index * UINT64_C(0x9e3779b97f4a7c15)) | 1;
	w->ready_tail = &w->ready;
	th_taskq_init(&w->spill);
	th_taskq_init(&w->placed);
	th_lock_init(&w->fd_lock);
	th_deque_init(&w->deque);
	th_timers_init(&w->home.timers);
	w->home.rt = rt;
	w->home.clock = &rt->clock;
	w->home.backend = rt->backend;
	w->home.records = rt->records;
	w->home.fds = rt->fds;
	return 0;
}

void th_worker_fini(struct th_worker *w)
{
	TH_ASSERT(!w->ready && !w->spare && w->home.timers.count == 0);
	TH_ASSERT(th_load_rlx(&w->x_jobs) == th_load_rlx(&w->x_retired)); /* no fiber is left */
}

void th_ready(struct th_worker *w, struct th_fiber *f)
{
	TH_DASSERT(th_fib_of(f)->worker == w);
	TH_TSAN_PRIVATE_BEGIN();
	f->next = NULL;
	*w->ready_tail = f;
	w->ready_tail = &f->next;
	TH_TSAN_PRIVATE_END();
}

static struct th_fib *take_ready(struct th_worker *w)
{
	struct th_fiber *f = w->ready;

	if (!f)
		return NULL;
	w->ready = f->next;
	if (!w->ready)
		w->ready_tail = &w->ready;
	return th_fib_of(f);
}

void th_worker_poll(struct th_worker *w)
{
	TH_TSAN_PRIVATE_BEGIN();
	w->ticks = 0;
	w->polled_at = th_ticks();
	th_mail_serve(w);
	th_tokens_serve(w->rt);
	w->home.backend->poll(w->home.io);
	(void)th_clock_fire_due(&w->home);
	TH_TSAN_PRIVATE_END();
}

static bool poll_is_due(struct th_worker *w)
{
	return ++w->ticks >= POLL_EVERY || th_ticks() - w->polled_at > th_ticks_100us();
}

void th_poll_if_due(void)
{
	struct th_worker *w = th_worker_self();

	TH_TSAN_PRIVATE_BEGIN();
	if (th_ticks() - w->polled_at > th_ticks_100us())
		th_worker_poll(w);
	TH_TSAN_PRIVATE_END();
}

static struct th_task *steal_from(struct th_worker *v)
{
	struct th_task *t = th_deque_steal_any(&v->deque);

	return t ? t : th_taskq_pop(&v->spill);
}

struct th_task *th_steal(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;
	unsigned first;

	if (rt->nworkers == 1)
		return NULL;
	if (!w->searching) {
		w->searching = true;
		th_add_seq(&rt->x_searching, 1);
	}
	first = th_choose(rt->nworkers, "victim");
	for (unsigned i = 0; i < rt->nworkers; i++) {
		struct th_worker *v = &rt->workers[(first + i) % rt->nworkers];
		struct th_task *t = v == w ? NULL : steal_from(v);
		if (t) {
			th_bump(&w->x_steals);
			return t;
		}
	}
	return NULL;
}

static struct th_task *take_own(struct th_worker *w)
{
	struct th_task *t = th_deque_pop_owner(&w->deque);

	if (!t)
		t = th_taskq_pop(&w->spill);
	if (!t && (t = th_taskq_pop(&w->placed)) != NULL)
		th_bump(&w->x_steals); /* another worker gave it away */
	return t;
}

static void start(struct th_worker *w, struct th_task *t)
{
	bool root = t->done_word != NULL; /* after its end the task may be gone */

	th_found_work(w);
	if (th_fib_start_task(w, t) == 0)
		return;
	th_task_refuse(t, -ENOMEM);
	if (root)
		th_root_ended(w->rt);
}

static void resume(struct th_worker *w, struct th_fib *fib)
{
	th_found_work(w);
	th_fib_resume(w, fib);
}

static bool resume_one(struct th_worker *w)
{
	struct th_fib *fib = take_ready(w);

	if (fib)
		resume(w, fib);
	return fib != NULL;
}

static bool start_one(struct th_worker *w)
{
	struct th_task *t = take_own(w);

	if (t)
		start(w, t);
	return t != NULL;
}

/* Run one thing from this worker's own sources; false if there is none. Ready fibers and new children take turns: fibers
 * that only yield to each other would keep a child from ever starting, and a fan-out of children would keep a fiber that
 * has its answer waiting. */
static bool run_own(struct th_worker *w)
{
	w->new_first = !w->new_first;
	if (w->new_first)
		return start_one(w) || resume_one(w);
	return resume_one(w) || start_one(w);
}

void th_worker_loop(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;

	TH_TSAN_PRIVATE_BEGIN();
	while (!th_load_acq(&rt->x_stop)) {
		struct th_task *t = NULL;

		if (poll_is_due(w)) {
			th_worker_poll(w);
			t = th_taskq_pop(&rt->inject);
		}
		if (t) {
			start(w, t);
			continue;
		}
		if (run_own(w))
			continue;
		th_worker_poll(w);
		if (run_own(w))
			continue;
		t = th_taskq_pop(&rt->inject);
		if (!t)
			t = th_steal(w);
		if (t)
			start(w, t);
		else
			th_sleep(w);
	}
	TH_TSAN_PRIVATE_END();
}

int th_worker_enter(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;
	int r;

	th_worker_set_self(w);
	w->thread = th_thread_context(w);
	w->running = w->thread;
	r = rt->backend->open(&w->home.io, w->index ? rt->workers[0].home.io : NULL);
	if (r < 0)
		th_worker_set_self(NULL);
	else
		th_overflow_watch(w);
	return r;
}

void th_wait_stopped(struct thrum_rt *rt)
{
	uint32_t stop;

	while ((stop = th_load_acq(&rt->x_stop)) != TH_STOPPED)
		th_word_wait(&rt->x_stop, stop);
}

/* Wait until no worker can wake another one any more. */
static void wait_for_the_others(struct thrum_rt *rt)
{
	uint32_t down = th_add_seq(&rt->x_down, 1) + 1;

	th_word_wake(&rt->x_down, INT32_MAX);
	th_wait_stopped(rt);
	while (!rt->start_failed && (down = th_load_acq(&rt->x_down)) < rt->nworkers)
		th_word_wait(&rt->x_down, down);
	while (th_load_seq(&rt->x_foreign) != 0)
		th_pause(); /* a few instructions of another thread, see th_foreign_enter */
}

void th_worker_leave(struct th_worker *w)
{
	wait_for_the_others(w->rt);
	th_mail_serve(w);
	TH_ASSERT(!w->ready);
	th_overflow_unwatch(w);
	th_fib_drop_spares(w);
	w->rt->backend->close(w->home.io);
	w->home.io = NULL;
	w->running = NULL;
	th_worker_set_self(NULL);
}

void th_worker_main(struct th_worker *w)
{
	struct thrum_rt *rt;
	int r;

	th_tsan_acquire(w);
	rt = w->rt;
	r = th_worker_enter(w);

	if (r < 0) {
		th_lock(&rt->start_lock);
		rt->start_error = r;
		th_unlock(&rt->start_lock);
	}
	th_add_seq(&rt->x_up, 1);
	th_word_wake(&rt->x_up, 1);
	if (r < 0)
		return;
	th_worker_loop(w);
	th_worker_leave(w);
	th_tsan_release(w); /* pthread_join says the same; the simulation has no such call */
}

int64_t th_backend_now(struct th_home *h)
{
	return h->backend->now(h->io);
}
