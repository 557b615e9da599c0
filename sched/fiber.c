/* sched/fiber.c: starting, switching, suspending and retiring fibers. */
#include "fiber.h"
#include "../core/assert.h"
#include "../core/fork.h"
#include "../core/hooks.h"
#include "../core/meter.h"
#include "../core/tsan.h"
#include "worker.h"
#ifdef TH_SIM
#include "../io/sim/sim.h"
#endif
#include <errno.h>
#include <stdint.h>
#include <string.h>

enum {
	SPARES_MAX = 64,     /* warm fibers a worker keeps; a fan-out of that width costs no trip to the shared pool */
	COLOURS = 8,         /* tops of neighbouring stacks would share cache sets: spread the records */
	COLOUR_BYTES = 128,
	HEADROOM_MAX = 32 * 1024
};

static void fib_main(void *arg);

/* --- getting and giving back --- */

static struct th_fib *place_record(struct th_stack stack)
{
	uintptr_t top = (uintptr_t)stack.lo + stack.bytes;
	uintptr_t colour = (uintptr_t)stack.lo / stack.bytes % COLOURS * COLOUR_BYTES;

	return (struct th_fib *)((top - sizeof(struct th_fib) - colour) & ~(uintptr_t)63);
}

static struct th_fib *fib_new(struct th_worker *w, struct th_stack stack)
{
	struct th_fib *fib = place_record(stack);

	memset(fib, 0, sizeof *fib);
	fib->stack = stack;
	fib->stack_low = stack.bytes / 4 < HEADROOM_MAX ? stack.bytes / 4 : HEADROOM_MAX;
	fib->gate = (uintptr_t)stack.lo + fib->stack_low;
	fib->worker = w;
	fib->core.home = &w->home;
	th_init(&fib->core.x_cancel_gen, 0);
	th_init(&fib->core.x_cancel_queued, 0);
	th_context_init(&fib->context, stack.lo, (size_t)((char *)fib - stack.lo), fib_main, fib);
	return fib;
}

static struct th_fib *fib_get(struct th_worker *w)
{
	struct th_fib *fib = w->spare;
	struct th_stack stack;

	if (fib) {
		w->spare = fib->next_spare;
		if (--w->spares < w->spares_low)
			w->spares_low = w->spares;
	} else if (th_stacks_take(w->rt->stacks, &stack) == 0) {
		fib = fib_new(w, stack);
	}
	if (fib)
		th_bump(&w->x_jobs);
	return fib;
}

/* The record lies on the stack: both go. */
static void fib_free(struct th_worker *w, struct th_fib *fib)
{
	th_context_fini(&fib->context);
	w->gave |= th_stacks_is_usual(w->rt->stacks, fib->stack);
	th_stacks_give(w->rt->stacks, fib->stack);
}

/* A cancel request may still be on its way to a fiber that has ended: the record must not go before it is served. */
static bool has_mail(struct th_fib *fib)
{
	return th_load_acq(&fib->core.x_cancel_queued) != 0;
}

static void free_leaving(struct th_worker *w)
{
	struct th_fib *fib, **at = &w->leaving;

	while ((fib = *at) != NULL) {
		if (has_mail(fib)) {
			at = &fib->next_spare;
			continue;
		}
		*at = fib->next_spare;
		fib_free(w, fib);
	}
}

/* A fiber with a stack of that size. */
static struct th_fib *fib_get_sized(struct th_worker *w, size_t stack_bytes)
{
	struct th_stack stack;

	free_leaving(w);
	if (th_stacks_take_sized(w->rt->stacks, stack_bytes, &stack) < 0)
		return NULL;
	th_bump(&w->x_jobs);
	return fib_new(w, stack);
}

static void fib_put(struct th_worker *w, struct th_fib *fib)
{
	if (fib == w->reserve) {
		w->refusing = false;
		return;
	}

	bool usual = th_stacks_is_usual(w->rt->stacks, fib->stack);

	if (!usual && has_mail(fib)) {
		fib->next_spare = w->leaving;
		w->leaving = fib;
	} else if (usual && (w->spares < SPARES_MAX || has_mail(fib))) {
		fib->next_spare = w->spare;
		w->spare = fib;
		w->spares++;
	} else {
		fib_free(w, fib);
	}
}

/* The newest come first. */
void th_fib_drop_oldest(struct th_worker *w, unsigned n)
{
	struct th_fib *fib, **at = &w->spare;

	for (unsigned i = w->spares; i > n; i--)
		at = &(*at)->next_spare;
	while ((fib = *at) != NULL) {
		if (has_mail(fib)) {
			at = &fib->next_spare;
			continue;
		}
		*at = fib->next_spare;
		w->spares--;
		fib_free(w, fib);
	}
}

void th_fib_drop_spares(struct th_worker *w)
{
	while (w->spare) {
		struct th_fib *fib = w->spare;
		w->spare = fib->next_spare;
		w->spares--;
		fib_free(w, fib);
	}
	if (w->reserve)
		fib_free(w, w->reserve);
	w->reserve = NULL;
	while (w->leaving) {
		struct th_fib *fib = w->leaving;
		w->leaving = fib->next_spare;
		fib_free(w, fib);
	}
}

/* --- switching --- */

/* In the simulation other virtual workers may run inside any atomic access, and `running` must always name the stack that
 * really runs: so nothing atomic may stand between the store to it and the switch. */

static void switch_to(struct th_worker *w, struct th_context *from, struct th_fib *fib)
{
	TH_ASSERT(fib->worker == w);
	w->fiber = fib;
	th_lane_shut(&w->lane); /* it was another fiber's */
	th_store_rlx(&w->lane.fiber, (void *)&fib->core);
	errno = fib->saved_errno;
	w->running = &fib->context;
	th_context_switch(from, &fib->context);
}

void th_fib_resume(struct th_worker *w, struct th_fib *fib)
{
	TH_ASSERT(!w->fiber);
	th_store_rlx(&w->lane.bottom_max, w->bottom_max);
	switch_to(w, w->thread, fib);
	w->fiber = NULL;
	th_store_rlx(&w->lane.fiber, (void *)NULL);
	w->bottom_max = th_load_rlx(&w->lane.bottom_max);
	th_store_rlx(&w->lane.bottom_max, 0); /* no forks without a fiber */
	th_tsan_acquire(&w->after); /* what the fiber wrote for its action; the action's own hand-offs pass it on */
	w->after(&w->after_fiber->core, w->after_arg);
}

/* Switch from the running fiber to its worker, which then does `action`. */
static void leave(struct th_fib *fib, void (*action)(struct th_fiber *, void *), void *arg)
{
	struct th_worker *w = fib->worker;
	struct th_context *to;

	TH_TSAN_PRIVATE_BEGIN();
	to = w->thread;
	w->after = action;
	w->after_arg = arg;
	w->after_fiber = fib;
	th_tsan_release(&w->after);
	w->running = to;
	TH_TSAN_PRIVATE_END();
	th_context_switch(&fib->context, to);
}

void th_woken_here(struct th_worker *w, struct th_fiber *f)
{
	if (w->fiber)
		th_meter_wake(&w->fiber->core, f);
}

/* Before and after the running fiber is switched away from. */
static void stop(struct th_fib *fib)
{
	if (fib->core.nosuspend)
		th_trap_nosuspend(fib, "suspends");
	th_trap_held_lock(fib);
	if (th_load_rlx(&fib->worker->lane.fork))
		th_fork_settle(&fib->core); /* a call that asked for nothing on its way here */
	fib->saved_errno = errno;
	if (th_metered(&fib->core))
		th_meter_stop(&fib->core);
	th_bump(&fib->core.home->x_suspends);
#ifdef TH_SIM
	th_sim_at(&fib->core, TH_SIM_BEFORE);
#endif
}

static void go_on(struct th_fib *fib)
{
	th_tsan_acquire(&fib->core);
	if (th_metered(&fib->core))
		th_meter_go(&fib->core);
}

static void park(struct th_fib *fib, void (*action)(struct th_fiber *, void *), void *arg)
{
	stop(fib);
	leave(fib, action, arg);
	go_on(fib);
}

#ifdef TH_SIM
struct action {
	void (*run)(struct th_fiber *, void *);
	void *arg;
};

/* Whoever may wake it has been told; it goes on here, so not before this has returned. */
static void act(struct th_fiber *f, void *arg)
{
	const struct action *action = arg;

	action->run(f, action->arg);
	th_sim_at(f, TH_SIM_WITHIN);
}

void th_suspend(void (*action)(struct th_fiber *, void *), void *arg)
{
	park(th_fib_self(), act, &(struct action){ action, arg });
}
#else
void th_suspend(void (*action)(struct th_fiber *, void *), void *arg)
{
	park(th_fib_self(), action, arg);
}
#endif

static void requeue(struct th_fiber *f, void *unused)
{
	(void)unused;
	th_wake(f);
}

/* From fiber to fiber, without the worker's stack between: there is nothing to publish that must wait for the switch, as the
 * list of ready fibers is this worker's alone. */
static void yield_to(struct th_fib *fib, struct th_fib *next)
{
	struct th_worker *w = fib->worker;

	if (next == fib)
		return;
	th_ready(w, &fib->core);
	TH_TSAN_PRIVATE_BEGIN();
	switch_to(w, &fib->context, next);
	TH_TSAN_PRIVATE_END();
}

void th_yield(struct th_fiber *f)
{
	struct th_fib *fib = th_fib_of(f), *next;

	stop(fib);
	th_tsan_release(&fib->core);
	TH_TSAN_PRIVATE_BEGIN();
	next = th_worker_turn(fib->worker);
	TH_TSAN_PRIVATE_END();
	if (next)
		yield_to(fib, next);
	else
		leave(fib, requeue, NULL);
	go_on(fib);
}

/* --- the life of a fiber --- */

/* A call and its return are no occasion for others: they would start what the caller has yet to come to, breadth first. */
static void go_on_with(struct th_fib *fib)
{
	TH_ASSERT(!fib->worker->next); /* else a fiber is lost */
	fib->worker->next = fib;
}

static void retire(struct th_fiber *f, void *caller)
{
	struct th_fib *fib = th_fib_of(f);
	struct th_worker *w = fib->worker;

	TH_ASSERT(!th_load_rlx(&w->lane.fork));
	th_bump(&w->x_retired);
	fib_put(w, fib);
	if (caller)
		go_on_with(caller);
}

static void starts(struct th_task *t)
{
#ifdef TH_SIM
	th_sim_starts(&t->node);
#else
	(void)t;
#endif
}

/* The reserve's: the refused ones, one after the other, until none is left. Others may come while a drop is suspended. */
static void run_refused(struct th_fib *fib, struct th_task *t)
{
	for (; t; t = th_taskq_pop(&fib->worker->refused))
		th_task_drop(&fib->core, t, -ENOMEM);
}

static void run_task(struct th_fib *fib, struct th_task *t)
{
	th_tsan_acquire(t);
	bool root = t->done_word != NULL; /* after its end the task may be gone */

	starts(t);
	th_task_run(&fib->core, t);
	if (root)
		th_root_ended(fib->worker->rt);
}

/* The child's record lies here: whoever forked has a place for what it runs itself only. */
static void run_fork(struct th_fib *fib, struct thrum_fork_ *k, struct th_worker *from)
{
	struct th_task t;

	th_tsan_acquire(k); /* the worker's thread took the entry, on its own stack */
	th_fork_take(&from->home, from == fib->worker, k, &t);
	starts(&t);
	th_task_run(&fib->core, &t);
}

/* The call runs on a stack of its own, but as any call made in a handler it belongs to the handler: it may rethrow. */
static void swap_exceptions(struct th_fib *fib, struct th_fib *caller)
{
	TH_TSAN_PRIVATE_BEGIN(); /* those of what runs lie with the thread, not with the fiber */
	th_context_swap_exceptions(&fib->context, &caller->context);
	TH_TSAN_PRIVATE_END();
}

static void run_call(struct th_fib *fib, const struct job *job)
{
	struct th_fib *caller = job->caller;

	th_tsan_acquire(&caller->call_code);
	fib->core.node = caller->core.node;
	fib->core.task = caller->core.task;
	fib->core.exit_code = caller->core.exit_code;
	fib->core.path = caller->core.path;
	th_meter_go(&fib->core);
	swap_exceptions(fib, caller);
	caller->call_code = job->call.run(job->call.arg);
	swap_exceptions(fib, caller);
	th_meter_stop(&fib->core);
	caller->core.path = fib->core.path;
	TH_ASSERT(fib->core.node == caller->core.node);
	th_tsan_release(&caller->core);
}

/* The job was written by the worker's loop or by the caller; once taken, the record is free for what the job does. */
static struct job take_job(struct th_fib *fib)
{
	struct job job;

	TH_TSAN_PRIVATE_BEGIN();
	job = fib->job;
	fib->job = (struct job){ 0 };
	TH_TSAN_PRIVATE_END();
	fib->core.node = NULL;
	fib->core.task = NULL;
	fib->core.exit_code = 0;
	fib->core.nosuspend = 0;
	return job;
}

static void fib_main(void *arg)
{
	struct th_fib *fib = arg;

	th_tsan_acquire(fib); /* whatever ran on this stack before */
	for (;;) {
		struct job job = take_job(fib);

		if (job.task && fib == fib->worker->reserve)
			run_refused(fib, job.task);
		else if (job.task)
			run_task(fib, job.task);
		else if (job.fork)
			run_fork(fib, job.fork, job.from);
		else
			run_call(fib, &job);
		if (fib->core.nosuspend)
			th_trap_nosuspend(fib, "ends");
		th_tsan_release(fib);
		leave(fib, retire, job.caller);
	}
}

int th_fib_start_task(struct th_worker *w, struct th_task *t)
{
	struct th_fib *fib = t->stack_bytes ? fib_get_sized(w, t->stack_bytes) : fib_get(w);

	if (!fib)
		return -ENOMEM;
	fib->job.task = t;
	fib->saved_errno = 0;
	th_bump(&w->x_fibers);
	th_fib_resume(w, fib);
	return 0;
}

int th_fib_reserve(struct th_worker *w)
{
	struct th_stack stack;
	int r = th_stacks_take(w->rt->stacks, &stack);

	if (r == 0)
		w->reserve = fib_new(w, stack);
	return r;
}

void th_fib_refuse(struct th_worker *w, struct th_task *t)
{
	th_taskq_push(&w->refused, t);
	if (w->refusing)
		return;
	w->refusing = true;
	th_bump(&w->x_jobs);
	w->reserve->job.task = th_taskq_pop(&w->refused);
	w->reserve->saved_errno = 0;
	th_fib_resume(w, w->reserve);
}

int th_fib_start_fork(struct th_worker *w, struct thrum_fork_ *k, struct th_worker *from)
{
	struct th_fib *fib = fib_get(w);

	if (!fib)
		return -ENOMEM;
	th_tsan_release(k);
	fib->job.fork = k;
	fib->job.from = from;
	fib->saved_errno = 0;
	th_bump(&w->x_fibers);
	th_fib_resume(w, fib);
	return 0;
}

/* --- nesting that has used its stack up --- */

bool th_stack_low(void)
{
	struct th_fib *fib = th_fib_self();

	return th_context_headroom(&fib->context) < fib->stack_low;
}

/* On the worker's stack: the caller is parked now, its call may run. */
static void start_call(struct th_fiber *caller, void *arg)
{
	(void)caller;
	go_on_with(arg);
}

bool th_call_fresh(thrum_fx fx, int *ret_code)
{
	struct th_fib *self = th_fib_self(), *fib;

	TH_TSAN_PRIVATE_BEGIN();
	fib = fib_get(self->worker);
	if (fib) {
		fib->job = (struct job){ .call = fx, .caller = self };
		fib->saved_errno = errno;
	}
	TH_TSAN_PRIVATE_END();
	if (!fib)
		return false;
	th_tsan_release(&self->call_code);
	th_suspend(start_call, fib);
	*ret_code = self->call_code; /* the record may serve another job already; its result is in ours */
	return true;
}
