/* sched/context.h: a stack that something runs on, and the switch between two of them.
 *
 * The switch saves what the ABI calls callee-saved, floating-point control words included (hazard 33), and, in a process
 * with a C++ runtime, which exceptions are being handled and in flight (hazard 30); it tells ASan, TSan and Valgrind.
 * A context is either running (its sp is stale) or saved. */
#ifndef TH_CONTEXT_H
#define TH_CONTEXT_H
#include <stddef.h>

struct th_context {
	void *sp;           /* saved stack pointer; valid while it does not run */
	char *lo;           /* lowest usable byte; NULL for a thread's own stack until the first switch away from it */
	size_t bytes;
	void *asan_fake;    /* ASan's fake stack while it does not run */
	void *tsan_fiber;   /* TSan's state; created with the context */
	unsigned valgrind_id; /* of the stack's registration */
	unsigned uncaught;    /* C++ exceptions in flight, while it does not run */
	void *caught;         /* C++ exceptions being handled, innermost first, while it does not run */
	struct th_cxx_globals *cxx; /* while it runs: the C++ runtime's own of the two, for this thread; NULL: there is none */
};

/* The calling thread's own stack. */
void th_context_init_thread(struct th_context *c);
/* A stack from sched/stack.h; entry(arg) runs at the first switch to it and must never return. */
void th_context_init(struct th_context *c, char *lo, size_t bytes, void (*entry)(void *), void *arg);
/* Prepare an idle context (one that will never be switched back to as it is) for another entry. */
void th_context_reset(struct th_context *c, void (*entry)(void *), void *arg);
void th_context_fini(struct th_context *c); /* not the running one, nor a thread's own; before its stack goes back */

/* Save into `from`, which is running, go on in `to`. Returns when something switches to `from`. */
void th_context_switch(struct th_context *from, struct th_context *to);

/* Swap the C++ exceptions of what runs with those saved in `c`. A call that goes on on a stack of its own borrows its
 * caller's in this way, and gives them back. `running`: the running context. */
void th_context_swap_exceptions(struct th_context *running, struct th_context *c);

/* Bytes left on the running stack `c`; SIZE_MAX on a thread's own stack while its bounds are unknown. */
size_t th_context_headroom(const struct th_context *c);

#endif
