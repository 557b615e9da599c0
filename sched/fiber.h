/* sched/fiber.h: a fiber: a stack, its saved context, and the job it runs. Its record lies at the top of its own stack, so
 * a parked fiber touches one page. One whose child asked for a stack of another size ends with that child; the others
 * are used again.
 *
 *   SPARE ──th_fib_start_task / th_call_fresh──► RUNNING ──th_suspend──► PARKED ──th_wake──► READY ──┐
 *     ▲                                            │  ▲                                             │
 *     └── retire, after the switch away ───────────┘  └──────────────── the home worker ────────────┘
 *
 * Only its home worker switches to it, so "who may run it" is never a question; "who may make it ready" is, and that is
 * the claim of core/waiter.h. Whatever lets another thread find a parked fiber is published after the switch away, on
 * the worker's stack (hazard 17). */
#ifndef TH_SCHED_FIBER_H
#define TH_SCHED_FIBER_H
#include "../core/fiber.h"
#include "context.h"
#include "stack.h"
#include <thrum/fx.h>

struct th_worker;

struct th_fib {
	struct th_fiber core;
	struct th_context context;
	struct th_stack stack;
	size_t stack_low;           /* headroom below which nesting goes to a fresh stack */
	uintptr_t gate;             /* the same as an address */
	struct th_worker *worker;
	struct job {
		struct th_task *task;   /* a child, or, on a worker's reserve, the first of its refused ones; or */
		struct thrum_fork_ *fork; /* an effect of a fork, */
		struct th_worker *from; /* of that worker, or */
		thrum_fx call;          /* the rest of a nested call, */
		struct th_fib *caller;  /* for this fiber */
	} job;
	int call_code;              /* what the nested call made for this fiber returned */
	int saved_errno;
	struct th_fib *next_spare;
};

static inline struct th_fib *th_fib_of(struct th_fiber *f) { return (struct th_fib *)(void *)f; }

/* Run a child on a fiber of its own, from the worker's stack; -ENOMEM if there is none. */
int th_fib_start_task(struct th_worker *w, struct th_task *t);
/* End a child with a drop for which there was no fiber: its drop runs on the worker's reserve, after those before it. */
void th_fib_refuse(struct th_worker *w, struct th_task *t);
/* Have the reserve. 0 or -ENOMEM. */
int th_fib_reserve(struct th_worker *w);
/* Run an effect of a fork, whose entry was taken from the lane of `from`, on a fiber; -ENOMEM if there is none. */
int th_fib_start_fork(struct th_worker *w, struct thrum_fork_ *k, struct th_worker *from);
/* Switch to a fiber and, when it switches back, do what it asked for. From the worker's stack. */
void th_fib_resume(struct th_worker *w, struct th_fib *fib);
/* Give back so many spare fibers, those that have been spare for longest; but for some that wait for a late cancel request. */
void th_fib_drop_oldest(struct th_worker *w, unsigned n);
/* Give back the worker's spare fibers, its reserve, and those that wait for a late cancel request. */
void th_fib_drop_spares(struct th_worker *w);

#endif
