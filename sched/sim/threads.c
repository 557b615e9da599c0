/* sched/sim/threads.c: one thread plays N workers.
 *
 * Each virtual worker is what the real one is: its loop on a stack of its own, its fibers on theirs. Wherever a real
 * worker could be preempted, at every atomic access, th_sim_point() may save the stack that is running and go on with
 * another virtual worker at the place where that one was left. Time stands still while anyone can run; when all are
 * parked it jumps to the next deadline or event.
 *
 * It can show any interleaving of atomic accesses under sequential consistency. What weaker orders add is the business of
 * the models in test/model/. */
#include "../../io/sim/sim.h"
#include "../../core/assert.h"
#include "../../core/hooks.h"
#include "../../core/tsan.h"
#include "choices.h"
#include "faults.h"
#include "oracle.h"
#include "timeline.h"
#include "../worker.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef aligned_alloc /* not one of the library's (sched/sim/memory.h) */

enum { VTHREADS_MAX = 2 * TH_SIM_WORKERS_MAX, STACK = 256 * 1024 };

enum state { RUNNABLE, PARKED, EXITED };

/* A virtual thread: slot 0 is the thread that called thrum_run(), the others are workers started by it, and threads of the
 * blocking pool. A slot without a stack is free. */
struct vthread {
	enum state state;
	struct th_worker *worker;    /* slots 1…: the one it was started for; or */
	void *(*fn)(void *);         /* what it runs, */
	void *arg;                   /* on this */
	struct th_worker *self;      /* what th_worker_self() says on it */
	struct th_context *at;       /* the stack it was preempted on */
	struct th_context own;       /* the stack of its loop; in slot 0 the thread's own */
	th_atomic_u32 *word;         /* while it sleeps on one */
	char *stack;
	struct th_io *io;            /* while it is parked */
	int64_t until_ns;
	bool token;                  /* a wake that came before the park */
};

static struct {
	bool active;
	struct th_sim_opts opts;
	int64_t now_ns;
	unsigned n, current;
	unsigned pool_threads, pool_threads_max;
	struct vthread v[VTHREADS_MAX];
} sim;

static char *stacks[VTHREADS_MAX]; /* of the slots, from run to run: new ones would cost more than the run */

uint64_t th_sim_seed(void) { return sim.opts.seed; }
int64_t th_sim_now(void) { return sim.now_ns; }

/* --- switching between virtual threads --- */

static struct th_context *running_context(struct vthread *v)
{
	return v->self && v->self->running ? v->self->running : &v->own;
}

static void switch_to(unsigned next)
{
	struct vthread *from = &sim.v[sim.current], *to = &sim.v[next];

	if (next == sim.current)
		return;
	from->self = th_worker_self();
	from->at = running_context(from);
	sim.current = next;
	th_worker_set_self(to->self);
	th_context_switch(from->at, to->at);
}

static struct th_fiber *running_fiber(void)
{
	struct th_worker *w = th_worker_self();

	return w && w->fiber ? &w->fiber->core : NULL;
}

static int64_t wakes_at(const struct vthread *v)
{
	int64_t event = v->io ? th_sim_next_event(v->io) : INT64_MAX;

	return event < v->until_ns ? event : v->until_ns;
}

/* One that is parked may go on as soon as what it waits for is there, also while others are busy. */
static bool may_run(struct vthread *v)
{
	if (v->state == PARKED && wakes_at(v) <= sim.now_ns)
		v->state = RUNNABLE;
	return v->state == RUNNABLE;
}

static unsigned other_runnable(unsigned ret_ids[VTHREADS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < sim.n; i++)
		if (i != sim.current && may_run(&sim.v[i]))
			ret_ids[n++] = i;
	return n;
}

/* One of the other runnable ones; -1 if there is none. */
static int pick_other(void)
{
	unsigned ids[VTHREADS_MAX], n = other_runnable(ids);

	return th_choices_thread(ids, n, -1);
}

/* Perhaps go on with another one; `at` is the place in the program. */
static void maybe_switch(const void *at)
{
	unsigned ids[VTHREADS_MAX], n = other_runnable(ids);
	int next = th_choices_thread(ids, n, (int)sim.current);

	if (next < 0)
		return;
	if (th_timeline_on)
		th_timeline_preempted(running_fiber(), at);
	switch_to((unsigned)next);
}

void th_sim_suspends(void)
{
	if (sim.opts.coarse)
		maybe_switch(__builtin_return_address(0));
}

void th_sim_point(void)
{
	if (sim.active && sim.n > 1 && th_choices_may_switch())
		maybe_switch(__builtin_return_address(0));
}

/* Of slot 0 what it is now: what it was when it last switched may be a worker of a runtime that is gone. */
static struct th_worker *worker_of(unsigned i)
{
	struct vthread *v = &sim.v[i];

	if (i)
		return v->worker;
	return sim.current == 0 ? th_worker_self() : v->self;
}

/* Everyone is parked, so a worker that has work has not been woken for it: the next timer would hide that. */
static void check_sleepers(void)
{
	sim.active = false; /* no points: this is no part of the run */
	TH_TSAN_PRIVATE_BEGIN();
	for (unsigned i = 0; i < sim.n; i++)
		if (sim.v[i].io && th_has_work(worker_of(i)))
			th_abort(__FILE__, __LINE__, "seed %llu: worker %u sleeps, and there is work for it",
				 (unsigned long long)sim.opts.seed, worker_of(i)->index);
	TH_TSAN_PRIVATE_END();
	sim.active = true;
}

/* Everyone is parked: move time to the first deadline or event. */
static void pass_time(void)
{
	int64_t first = INT64_MAX;

	check_sleepers();
	for (unsigned i = 0; i < sim.n; i++)
		if (sim.v[i].state == PARKED && wakes_at(&sim.v[i]) < first)
			first = wakes_at(&sim.v[i]);
	if (first == INT64_MAX)
		th_abort(__FILE__, __LINE__, "seed %llu: deadlock: every worker sleeps and nothing can wake one",
			 (unsigned long long)sim.opts.seed);
	if (first > sim.now_ns)
		sim.now_ns = first;
	for (unsigned i = 0; i < sim.n; i++)
		(void)may_run(&sim.v[i]);
}

/* Let the others run; time passes if none can. Returns when the current one was picked again. */
static void run_others(void)
{
	int next;

	while ((next = pick_other()) < 0) {
		pass_time();
		if (sim.v[sim.current].state == RUNNABLE)
			return;
	}
	switch_to((unsigned)next);
}

void th_sim_park(struct th_io *io, int64_t until_ns)
{
	struct vthread *v = &sim.v[sim.current];

	v->io = io;
	v->until_ns = until_ns;
	if (!v->token && wakes_at(v) > sim.now_ns) {
		v->state = PARKED;
		run_others();
	}
	v->token = false;
	v->io = NULL;
}

void th_sim_unpark(struct th_io *io)
{
	TH_ASSERT(io); /* a worker that has closed its ring is woken by nobody (hazard 13) */
	for (unsigned i = 0; i < sim.n; i++) {
		struct vthread *v = &sim.v[i];
		struct th_worker *w = worker_of(i);
		if (!w || w->home.io != io)
			continue;
		v->token = true;
		if (v->state == PARKED)
			v->state = RUNNABLE;
	}
}

/* --- what sched/threads.c is in the real build --- */

static void vthread_main(void *arg)
{
	struct vthread *v = arg;

	if (v->worker) {
		th_worker_main(v->worker);
	} else {
		(void)v->fn(v->arg);
		sim.pool_threads--;
	}
	v->state = EXITED;
	run_others();
	abort(); /* nobody picks an exited one */
}

static int vthread_start(const struct vthread *what)
{
	unsigned i = 1;
	struct vthread *v;

	while (i < sim.n && sim.v[i].stack)
		i++;
	TH_ASSERT(sim.active);
	if (i == VTHREADS_MAX)
		return -EAGAIN; /* as the real one may say */
	th_tsan_acquire(&sim); /* whoever had the slot before */
	if (!stacks[i])
		stacks[i] = aligned_alloc(4096, STACK);
	if (!stacks[i])
		return -ENOMEM;
	v = &sim.v[i];
	*v = *what;
	v->stack = stacks[i];
	th_context_init(&v->own, v->stack, STACK, vthread_main, v);
	v->at = &v->own;
	v->state = RUNNABLE;
	if (i == sim.n)
		sim.n++;
	return 0;
}

int th_thread_start(struct th_worker *w)
{
	return vthread_start(&(struct vthread){ .worker = w });
}

static void vthread_join(struct vthread *v)
{
	while (v->state != EXITED)
		run_others();
	th_context_fini(&v->own);
	v->stack = NULL; /* the slot's; the next one gets it */
	v->worker = NULL; /* it may be gone before there is a next one */
	th_tsan_release(&sim);
}

void th_thread_join(struct th_worker *w)
{
	for (unsigned i = 1; i < sim.n; i++) {
		struct vthread *v = &sim.v[i];
		if (v->worker == w && v->stack)
			vthread_join(v);
	}
}

int th_thread_start_fn(void *(*fn)(void *), void *arg)
{
	int r;

	if (sim.pool_threads >= sim.pool_threads_max)
		return -EAGAIN;
	r = vthread_start(&(struct vthread){ .fn = fn, .arg = arg });
	sim.pool_threads += r == 0;
	return r;
}

uintptr_t th_thread_id(void)
{
	return sim.current;
}

void th_thread_join_id(uintptr_t id)
{
	vthread_join(&sim.v[id]);
}

void th_sim_pool_threads(unsigned n)
{
	sim.pool_threads_max = n;
}

void th_sim_block(int64_t ns)
{
	struct vthread *v = &sim.v[sim.current];

	TH_ASSERT(!th_worker_self());
	th_sim_point();
	if (ns <= 0)
		return;
	v->until_ns = sim.now_ns + ns;
	v->state = PARKED;
	run_others();
}

void th_sim_compute(int64_t ns)
{
	th_sim_point();
	sim.now_ns += ns;
}

struct th_context *th_thread_context(struct th_worker *w)
{
	(void)w;
	return &sim.v[sim.current].own;
}

static void wait_on_word(th_atomic_u32 *word, uint32_t seen, int64_t until_ns)
{
	struct vthread *v = &sim.v[sim.current];

	if (atomic_load(word) != seen) /* no th_load: looking is part of falling asleep, nothing may come between */
		return;
	v->word = word;
	v->until_ns = until_ns;
	v->state = PARKED;
	run_others();
	v->word = NULL;
}

void th_word_wait(th_atomic_u32 *word, uint32_t seen)
{
	wait_on_word(word, seen, INT64_MAX);
}

bool th_word_wait_for(th_atomic_u32 *word, uint32_t seen, int64_t ns)
{
	wait_on_word(word, seen, sim.now_ns + ns);
	return atomic_load(word) == seen;
}

void th_word_wake(th_atomic_u32 *word, int n)
{
	for (unsigned i = 0; i < sim.n && n > 0; i++) {
		struct vthread *v = &sim.v[i];
		if (v->state != PARKED || v->word != word)
			continue;
		v->state = RUNNABLE;
		n--;
	}
}

bool th_fence_heavy(void)
{
	th_fence_seq();
	return true;
}

uint64_t th_ticks(void)
{
	return th_sim_choose_of(TH_SIM_SCHEDULER, 8) == 7 ? UINT64_MAX : 0; /* now and then a poll is due */
}

uint64_t th_seed(void)
{
	return sim.opts.seed;
}

uint64_t th_ticks_100us(void)
{
	return UINT64_MAX - 1;
}

/* No watching thread; on a virtual clock whoever moves it looks. */
void th_watch_often(struct th_home *home, int64_t grace_ns)
{
	(void)home;
	(void)grace_ns;
}

/* --- a run --- */

void th_sim_who(char *buf, unsigned size)
{
	struct th_worker *w = th_worker_self();

	if (w)
		snprintf(buf, size, "worker %u", w->index);
	else
		snprintf(buf, size, "thread %u", sim.current);
}

void th_sim_begin(const struct th_sim_opts *opts)
{
	TH_ASSERT(!sim.active);
	memset(&sim, 0, sizeof sim);
	sim.opts = *opts;
	sim.now_ns = TH_SIM_EPOCH_NS;
	sim.n = 1;
	sim.pool_threads_max = VTHREADS_MAX / 2;
	sim.active = true;
	th_context_init_thread(&sim.v[0].own);
	th_sim_kernel_reset();
	th_choices_begin(opts);
	th_faults_begin(opts);
	th_oracle_begin();
}

void th_sim_end(struct th_sim_report *r)
{
	memset(r, 0, sizeof *r);
	r->choices = th_choices_made();
	r->fingerprint = th_choices_fingerprint();
	th_faults_end(r);
	th_oracle_end(r);
	r->virtual_ns = sim.now_ns - TH_SIM_EPOCH_NS;
	r->ops_left = th_sim_ops_left();
	r->fds_left = th_sim_fds_left();
	sim.active = false;
}
