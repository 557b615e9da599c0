/* sched/worker.c: the loop of a worker: what runs next, and in which order sources are asked.
 *
 *   a call that has moved to another stack → own ready fibers and own children (deque, newest first; spill; placed), in
 *   turn → mail, ring, timers → inject → other workers → sleep
 *
 * A fiber that yields goes the short way to the next ready one (th_worker_turn) if there are no new children.
 *
 * Every POLL_EVERY switches or 100 us the mail, the ring, the timers and the inject queue are served whatever else there is
 * (hazards 10, 11). */
#include "worker.h"
#include "../core/assert.h"
#include "../core/fork.h"
#include "../core/hooks.h"
#include "../core/light.h"
#include "../core/pool.h"
#include "../core/random.h"
#include "../core/tsan.h"
#include "../io/lent.h"
#ifdef TH_SIM
#include "../io/sim/sim.h"
#endif
#include <errno.h>
#include <string.h>

enum {
	POLL_EVERY = 61, /* coprime to the usual batch sizes; a poll that finds nothing costs about 100 ns */
	CLOCK_EVERY = 4, /* switches between two looks at the clock, which cost as much as a switch */
#ifdef TH_SIM
	LOOKS = 2,
	LINGERS = 3
#else
	LINGERS = 50, /* for some 25 us; with 100 nothing gets faster */
	LOOKS = 64 /* at private entries, some 5 us, before it makes their owner's thread execute a fence */
#endif
};

int th_worker_init(struct th_worker *w, struct thrum_rt *rt, unsigned index, uint64_t seed)
{
	memset(&w->home, 0, sizeof *w - offsetof(struct th_worker, home)); /* all behind the lane, which has an init of its own */
	w->rt = rt;
	w->index = index;
	w->ready_tail = &w->ready;
	th_taskq_init(&w->spill);
	th_taskq_init(&w->placed);
	th_taskq_init(&w->refused);
	th_lock_init(&w->fd_lock);
	th_lane_init(w);
	th_timers_init(&w->home.timers);
	w->home.rt = rt;
	w->home.clock = &rt->clock;
	w->home.backend = rt->backend;
	w->home.records = rt->records;
	w->home.causes = rt->causes;
	w->home.fds = rt->fds;
	th_watch_init(&w->home.watch, rt->slow_ns);
	w->home.observer = &rt->observer;
	th_random_seed(&w->home, seed, index);
	w->rng = th_random_mix(w->home.random) | 1; /* never 0; the next seed's is another one */
	return 0;
}

void th_worker_fini(struct th_worker *w)
{
	TH_ASSERT(!w->ready && !w->spare && !w->reserve && w->home.timers.count == 0);
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

/* In a shuffled runtime a poll is due at every turn: what happens does not depend on how long it takes, and whoever yields leaves
 * the next turn to the loop. */
static void reset_ticks(struct th_worker *w)
{
	w->ticks = w->home.shuffle ? POLL_EVERY : 0;
}

void th_worker_poll(struct th_worker *w)
{
	TH_TSAN_PRIVATE_BEGIN();
	reset_ticks(w);
	w->polled_at = th_ticks();
	th_mail_serve(w);
	th_tokens_serve(w->rt);
	w->home.backend->poll(w->home.io);
	(void)th_clock_fire_due(&w->home);
	th_cool(w);
	TH_TSAN_PRIVATE_END();
}

/* Once it is due it stays so until the poll: whoever finds out first may only hand over to the loop. */
static bool poll_is_due(struct th_worker *w)
{
	if (w->ticks < POLL_EVERY && ++w->ticks % CLOCK_EVERY == 0 && th_ticks() - w->polled_at > th_ticks_100us())
		w->ticks = POLL_EVERY;
	return w->ticks >= POLL_EVERY;
}

void th_poll_if_due(void)
{
	struct th_worker *w = th_worker_self();

	TH_TSAN_PRIVATE_BEGIN();
	if (w->home.shuffle || th_ticks() - w->polled_at > th_ticks_100us())
		th_worker_poll(w);
	TH_TSAN_PRIVATE_END();
}

/* *ret_private: there is more, but its owner has not made it public. */
static void *steal_from(struct th_worker *v, bool *ret_private)
{
	bool private;
	void *entry = th_deque_steal_any(&v->lane, &private);

	if (!entry)
		entry = th_taskq_pop(&v->spill);
	*ret_private |= private;
	return entry;
}

static struct th_found try_all(struct th_worker *w, bool *ret_private)
{
	struct thrum_rt *rt = w->rt;
	unsigned first = th_choose(rt->nworkers, "victim");

	for (unsigned i = 0; i < rt->nworkers; i++) {
		struct th_worker *v = &rt->workers[(first + i) % rt->nworkers];
		bool private = false;
		void *entry = v == w ? NULL : steal_from(v, &private);
		if (entry)
			return (struct th_found){ entry, v };
		if (private && th_load_rlx(&v->lane.x_gate) != UINTPTR_MAX)
			th_lane_want(&v->lane, TH_WANT_WORK);
		*ret_private |= private;
	}
	return (struct th_found){ NULL, NULL };
}

/* No owner has answered: it runs something long. */
static struct th_found force_one(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;

	for (unsigned i = 1; i < rt->nworkers; i++) {
		struct th_worker *v = &rt->workers[(w->index + i) % rt->nworkers];
		void *entry = th_deque_force_any(&v->lane);
		if (entry) {
			th_bump(&w->x_forced);
			return (struct th_found){ entry, v };
		}
	}
	return (struct th_found){ NULL, NULL };
}

struct th_found th_steal(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;
	struct th_found found = { NULL, NULL };
	bool private;

	if (rt->nworkers == 1)
		return found;
	if (!w->searching) {
		w->searching = true;
		th_add_seq(&rt->x_searching, 1);
	}
	for (int look = 0; look < LOOKS; look++) {
		private = false;
		found = try_all(w, &private);
		if (found.entry || !private)
			break;
		th_pause();
	}
	if (!found.entry && private)
		found = force_one(w);
	th_bump(found.entry ? &w->x_steals : &w->x_steal_fails);
	return found;
}

static void *take_own(struct th_worker *w)
{
	void *t = w->home.shuffle ? th_shuffle_take(w) : th_deque_pop_owner(&w->lane);

	if (!t)
		t = th_taskq_pop(&w->spill);
	if (!t && (t = th_taskq_pop(&w->placed)) != NULL)
		th_bump(&w->x_steals); /* another worker gave it away */
	return t;
}

static void start(struct th_worker *w, struct th_task *t)
{
	bool root = t->done_word != NULL; /* after its end the task may be gone */
	bool main = t == w->rt->main;

	th_found_work(w);
	if (th_fib_start_task(w, t) == 0)
		return;
	if (t->drop.run) {
		th_fib_refuse(w, t);
		return; /* no root has one */
	}
	th_task_refuse(&w->home, t, -ENOMEM);
	if (main)
		th_main_refused(w->rt);
	if (root)
		th_root_ended(w->rt);
}

static void start_fork(struct th_worker *w, struct thrum_fork_ *k, struct th_worker *from)
{
	struct th_task t;

	th_found_work(w);
	if (th_fib_start_fork(w, k, from) == 0)
		return;
	th_fork_take(&from->home, from == w, k, &t);
	th_task_refuse(&w->home, &t, -ENOMEM);
}

static void start_entry(struct th_worker *w, void *entry, struct th_worker *from)
{
	if (th_entry_is_fork(entry)) {
		start_fork(w, th_entry_fork(entry), from);
		return;
	}
	if (th_entry_is_light(entry))
		th_light_link(th_entry_task(entry));
	start(w, th_entry_task(entry));
}

static void resume(struct th_worker *w, struct th_fib *fib)
{
	th_found_work(w);
#ifdef TH_SIM
	th_sim_at(&fib->core, TH_SIM_AFTER);
#endif
	th_fib_resume(w, fib);
}

static bool has_new(struct th_worker *w)
{
	return !th_deque_looks_empty_any(&w->lane) || !th_taskq_looks_empty(&w->spill) || !th_taskq_looks_empty(&w->placed);
}

struct th_fib *th_worker_turn(struct th_worker *w)
{
	struct th_fib *fib;

	if (poll_is_due(w) || has_new(w))
		return NULL;
	fib = take_ready(w);
	return fib ? fib : w->fiber;
}

static bool resume_next(struct th_worker *w)
{
	struct th_fib *fib = w->next;

	w->next = NULL;
	if (fib)
		resume(w, fib);
	return fib != NULL;
}

/* Something else runs first, and may want to be followed at once itself. */
static void queue_next(struct th_worker *w)
{
	if (w->next)
		th_ready(w, &w->next->core);
	w->next = NULL;
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
	void *entry = take_own(w);

	if (entry)
		start_entry(w, entry, w);
	return entry != NULL;
}

/* Run one thing from this worker's own sources; false if there is none. Ready fibers and new children take turns: fibers
 * that only yield to each other would keep a child from ever starting, and a fan-out of children would keep a fiber that
 * has its answer waiting. */
static bool run_own(struct th_worker *w)
{
	w->new_first = !w->new_first;
	if (w->home.shuffle)
		th_shuffle_turn(w, has_new(w));
	if (w->new_first)
		return start_one(w) || resume_one(w);
	return resume_one(w) || start_one(w);
}

void th_worker_loop(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;

	TH_TSAN_PRIVATE_BEGIN();
	reset_ticks(w);
	while (!th_load_acq(&rt->x_stop)) {
		struct th_task *t = NULL;
		struct th_found found;

		if (poll_is_due(w)) {
			th_worker_poll(w);
			t = th_taskq_pop(&rt->inject);
		}
		if (t) {
			queue_next(w);
			start(w, t);
			continue;
		}
		if (resume_next(w) || run_own(w))
			continue;
		th_worker_poll(w);
		if (run_own(w))
			continue;
		t = th_taskq_pop(&rt->inject);
		if (t) {
			start(w, t);
			continue;
		}
		found = th_steal(w);
		if (found.entry) {
			w->lingers = LINGERS;
			start_entry(w, found.entry, found.from);
		} else if (!th_linger(w)) {
			th_sleep(w);
		}
	}
	TH_TSAN_PRIVATE_END();
}

int th_worker_enter(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;
	struct th_io_opts opts = rt->io_opts;
	int r;

	opts.share = w->index ? rt->workers[0].home.io : NULL;
	opts.x_overflows = &w->x_overflows;
	th_worker_set_self(w);
	w->thread = th_thread_context(w);
	w->running = w->thread;
	r = th_fib_reserve(w);
	if (r == 0)
		r = rt->backend->open(&w->home.io, &opts);
	if (r < 0) {
		th_fib_drop_spares(w);
		th_worker_set_self(NULL);
	} else {
		th_overflow_watch(w);
	}
	th_trap_init(w);
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
	th_lents_close(&w->home);
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
