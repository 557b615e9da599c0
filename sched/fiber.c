/* sched/fiber.c: starting, switching, suspending and retiring fibers. */
#include "fiber.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"
#ifdef TH_SIM
#include "../io/sim.h"
#endif
#include <errno.h>
#include <stdint.h>
#include <string.h>

enum {
	SPARES_MAX = 64,     /* warm fibers a worker keeps; a fan-out of that width costs no trip to the shared pool */
	COLOURS = 8,         /* tops of neighbouring stacks would share cache sets: spread the records */
	COLOUR_BYTES = 128
};

static void fib_main(void *arg);

/* --- getting and giving back --- */

static struct th_fib *place_record(struct th_stack stack)
{
	uintptr_t top = (uintptr_t)stack.lo + stack.bytes;
	uintptr_t colour = (uintptr_t)stack.lo / stack.bytes % COLOURS * COLOUR_BYTES;

	return (struct th_fib *)((top - sizeof(struct th_fib) - colour) & ~(uintptr_t)63);
}

static struct th_fib *fib_new(struct th_worker *w)
{
	struct th_stack stack;
	struct th_fib *fib;

	if (th_stacks_take(w->rt->stacks, &stack) < 0)
		return NULL;
	fib = place_record(stack);
	memset(fib, 0, sizeof *fib);
	fib->stack = stack;
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

	if (fib) {
		w->spare = fib->next_spare;
		w->spares--;
	} else {
		fib = fib_new(w);
	}
	if (fib)
		th_bump(&w->x_jobs);
	return fib;
}

/* A cancel request may still be on its way to a fiber that has ended: the record must not go before it is served. */
static bool has_mail(struct th_fib *fib)
{
	return th_load_acq(&fib->core.x_cancel_queued) != 0;
}

static void fib_put(struct th_worker *w, struct th_fib *fib)
{
	if (w->spares < SPARES_MAX || has_mail(fib)) {
		fib->next_spare = w->spare;
		w->spare = fib;
		w->spares++;
		return;
	}
	th_context_fini(&fib->context);
	th_stacks_give(w->rt->stacks, fib->stack);
}

void th_fib_drop_spares(struct th_worker *w)
{
	while (w->spare) {
		struct th_fib *fib = w->spare;
		w->spare = fib->next_spare;
		w->spares--;
		th_context_fini(&fib->context);
			th_stacks_give(w->rt->stacks, fib->stack);
	}
}

/* --- switching --- */

/* In the simulation other virtual workers may run inside any atomic access, and `running` must always name the stack that
 * really runs: so nothing atomic may stand between the store to it and the switch. */

void th_fib_resume(struct th_worker *w, struct th_fib *fib)
{
	TH_ASSERT(fib->worker == w && !w->fiber);
	w->fiber = fib;
	errno = fib->saved_errno;
	w->running = &fib->context;
	th_context_switch(w->thread, &fib->context);
	w->fiber = NULL;
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

void th_suspend(void (*action)(struct th_fiber *, void *), void *arg)
{
	struct th_fib *fib = th_fib_self();

	fib->saved_errno = errno;
	th_bump(&fib->core.home->x_suspends);
#ifdef TH_SIM
	th_sim_suspended();
#endif
	leave(fib, action, arg);
	th_tsan_acquire(&fib->core);
}

/* --- the life of a fiber --- */

static void retire(struct th_fiber *f, void *caller)
{
	struct th_fib *fib = th_fib_of(f);
	struct th_worker *w = fib->worker;

	th_bump(&w->x_retired);
	fib_put(w, fib);
	if (caller)
		th_wake(&((struct th_fib *)caller)->core);
}

static void run_task(struct th_fib *fib, struct th_task *t)
{
	th_tsan_acquire(t);
	bool root = t->done_word != NULL; /* after its end the task may be gone */

	th_task_run(&fib->core, t);
	if (root)
		th_root_ended(fib->worker->rt);
}

static void run_call(struct th_fib *fib, const struct job *job)
{
	struct th_fib *caller = job->caller;

	th_tsan_acquire(&caller->call_code);
	fib->core.node = caller->core.node;
	fib->core.task = caller->core.task;
	fib->core.exit_code = caller->core.exit_code;
	caller->call_code = job->call.run(job->call.arg);
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
	return job;
}

static void fib_main(void *arg)
{
	struct th_fib *fib = arg;

	th_tsan_acquire(fib); /* whatever ran on this stack before */
	for (;;) {
		struct job job = take_job(fib);

		if (job.task)
			run_task(fib, job.task);
		else
			run_call(fib, &job);
		th_tsan_release(fib);
		leave(fib, retire, job.caller);
	}
}

int th_fib_start_task(struct th_worker *w, struct th_task *t)
{
	struct th_fib *fib = fib_get(w);

	if (!fib)
		return -ENOMEM;
	fib->job.task = t;
	fib->saved_errno = 0;
	th_bump(&w->x_fibers);
	th_fib_resume(w, fib);
	return 0;
}

/* --- nesting that has used its stack up --- */

bool th_stack_low(void)
{
	struct th_fib *fib = th_fib_self();

	return th_context_headroom(&fib->context) < fib->worker->rt->stack_low;
}

/* On the worker's stack: the caller is parked now, its call may run. */
static void start_call(struct th_fiber *caller, void *arg)
{
	struct th_fib *fib = arg;

	(void)caller;
	th_ready(fib->worker, &fib->core);
}

int th_call_fresh(thrum_fx fx)
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
		return -ENOMEM;
	th_tsan_release(&self->call_code);
	th_suspend(start_call, fib);
	/* The record may serve another job already; its result is in ours. */
	return self->call_code;
}
