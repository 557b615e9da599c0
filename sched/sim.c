/* sched/sim.c: one thread plays N workers.
 *
 * Each virtual worker is what the real one is: its loop on a stack of its own, its fibers on theirs. Wherever a real
 * worker could be preempted, at every atomic access, th_sim_point() may save the stack that is running and go on with
 * another virtual worker at the place where that one was left. Time stands still while anyone can run; when all are
 * parked it jumps to the next deadline or event.
 *
 * It can show any interleaving of atomic accesses under sequential consistency. What weaker orders add is the business of
 * the models in test/model/. */
#include "../io/sim.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "worker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VTHREADS_MAX = 16, STACK = 256 * 1024 };
enum { STEPS_MAX = 50000000 }; /* choices in one run: beyond it something spins without end */

enum state { RUNNABLE, PARKED, EXITED };

/* A virtual thread: slot 0 is the thread that called thrum_run(), the others are workers started by it. */
struct vthread {
	enum state state;
	struct th_worker *worker;    /* slots 1…: the one it was started for */
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
	uint64_t rng, choices, fingerprint, suspends;
	int64_t now_ns;
	unsigned n, current, switch_1_in;
	struct vthread v[VTHREADS_MAX];
} sim;

uint64_t th_sim_seed(void) { return sim.opts.seed; }
int64_t th_sim_now(void) { return sim.now_ns; }

/* --- choices --- */

static uint64_t next_random(void)
{
	/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" */
	uint64_t z = (sim.rng += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t th_sim_choose(uint32_t n)
{
	uint32_t c;

	if (n < 2)
		return 0;
	c = (uint32_t)((next_random() >> 32) * n >> 32);
	sim.fingerprint = (sim.fingerprint ^ c) * UINT64_C(0x100000001b3);
	if (++sim.choices > STEPS_MAX)
		th_abort(__FILE__, __LINE__, "seed %llu: no end after %d choices: a livelock",
			 (unsigned long long)sim.opts.seed, STEPS_MAX);
	return c;
}

uint32_t th_choose(uint32_t n, const char *tag)
{
	(void)tag;
	return th_sim_choose(n);
}

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

/* One of the other runnable ones; -1 if there is none. */
static int pick_other(void)
{
	unsigned candidates[VTHREADS_MAX], n = 0;

	for (unsigned i = 0; i < sim.n; i++)
		if (sim.v[i].state == RUNNABLE && i != sim.current)
			candidates[n++] = i;
	return n > 0 ? (int)candidates[th_sim_choose(n)] : -1;
}

void th_sim_point(void)
{
	int next;

	if (!sim.active || sim.n < 2 || th_sim_choose(sim.switch_1_in) != 0)
		return;
	next = pick_other();
	if (next >= 0)
		switch_to((unsigned)next);
}

static int64_t wakes_at(const struct vthread *v)
{
	int64_t event = v->io ? th_sim_next_event(v->io) : INT64_MAX;

	return event < v->until_ns ? event : v->until_ns;
}

/* Everyone is parked: move time to the first deadline or event. */
static void pass_time(void)
{
	int64_t first = INT64_MAX;

	for (unsigned i = 0; i < sim.n; i++)
		if (sim.v[i].state == PARKED && wakes_at(&sim.v[i]) < first)
			first = wakes_at(&sim.v[i]);
	if (first == INT64_MAX)
		th_abort(__FILE__, __LINE__, "seed %llu: deadlock: every worker sleeps and nothing can wake one",
			 (unsigned long long)sim.opts.seed);
	if (first > sim.now_ns)
		sim.now_ns = first;
	for (unsigned i = 0; i < sim.n; i++)
		if (sim.v[i].state == PARKED && wakes_at(&sim.v[i]) <= sim.now_ns)
			sim.v[i].state = RUNNABLE;
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
	for (unsigned i = 0; i < sim.n; i++) {
		struct vthread *v = &sim.v[i];
		struct th_worker *w = i ? v->worker : v->self ? v->self : th_worker_self();
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

	th_worker_main(v->worker);
	v->state = EXITED;
	run_others();
	abort(); /* nobody picks an exited one */
}

int th_thread_start(struct th_worker *w)
{
	struct vthread *v = &sim.v[sim.n];

	TH_ASSERT(sim.active && sim.n < VTHREADS_MAX);
	memset(v, 0, sizeof *v);
	v->stack = aligned_alloc(4096, STACK);
	if (!v->stack)
		return -12;
	th_context_init(&v->own, v->stack, STACK, vthread_main, v);
	v->at = &v->own;
	v->worker = w;
	sim.n++;
	return 0;
}

void th_thread_join(struct th_worker *w)
{
	for (unsigned i = 1; i < sim.n; i++) {
		struct vthread *v = &sim.v[i];
		if (v->worker != w || !v->stack)
			continue;
		while (v->state != EXITED)
			run_others();
		th_context_fini(&v->own);
		free(v->stack);
		v->stack = NULL;
	}
}

struct th_context *th_thread_context(struct th_worker *w)
{
	(void)w;
	return &sim.v[sim.current].own;
}

void th_word_wait(th_atomic_u32 *word, uint32_t seen)
{
	struct vthread *v = &sim.v[sim.current];

	if (atomic_load(word) != seen) /* no th_load: looking is part of falling asleep, nothing may come between */
		return;
	v->word = word;
	v->until_ns = INT64_MAX;
	v->state = PARKED;
	run_others();
	v->word = NULL;
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

uint64_t th_ticks(void)
{
	return th_sim_choose(8) == 0 ? UINT64_MAX : 0; /* now and then a poll is due */
}

uint64_t th_ticks_100us(void)
{
	return UINT64_MAX - 1;
}

/* --- a run --- */

void th_sim_suspended(void)
{
	thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT };

	if (++sim.suspends == sim.opts.cancel_at)
		th_node_cancel(&th_worker_self()->rt->root.node, &why);
}

void th_sim_begin(const struct th_sim_opts *opts)
{
	TH_ASSERT(!sim.active);
	memset(&sim, 0, sizeof sim);
	sim.opts = *opts;
	sim.rng = opts->seed * UINT64_C(0xd1342543de82ef95) + 1;
	sim.now_ns = 1000000000;
	sim.n = 1;
	sim.active = true;
	th_context_init_thread(&sim.v[0].own);
	th_sim_kernel_reset();
	/* Coarse and fine runs find different bugs: draw how often to switch. */
	sim.switch_1_in = opts->switch_1_in ? opts->switch_1_in : 2U << th_sim_choose(5);
}

void th_sim_end(struct th_sim_report *r)
{
	memset(r, 0, sizeof *r);
	r->choices = sim.choices;
	r->fingerprint = sim.fingerprint;
	r->suspends = sim.suspends;
	r->virtual_ns = sim.now_ns - 1000000000;
	r->ops_left = th_sim_ops_left();
	r->fds_left = th_sim_fds_left();
	sim.active = false;
}
