/* core/cycle.h: effects that wait for each other in a circle, found when the circle is about to close (debug builds).
 *
 * Every wait of one effect for another is an edge, in the waiting fiber's frame, known to its task:
 *   until the other has ended (a join): it ends only after every effect inside it has, so all their waits count as its
 *   until the other goes on (the holder of a lock)
 *   a call: a child that runs on its parent's stack
 * A circle is closed by a wait for an effect that cannot end, or go on, before the one that is about to wait.
 *
 * One lock for the process guards all edges; it is taken before node locks. While an edge is there its task is parked and
 * its target has not been let go, so both may be looked at under the lock. The search is bounded: it may miss a circle
 * among very many effects, and never invents one. */
#ifndef TH_CYCLE_H
#define TH_CYCLE_H
#include "assert.h"
#include <stdbool.h>

struct th_fiber;
struct th_task;
struct th_waiter;

struct th_edge {
	struct th_task *to;
	struct th_waiter *waiter; /* of this wait: once it is claimed the edge counts no more. NULL: a call */
	bool until_end;
};

/* A circle that was found, to be reported where no lock is held. */
struct th_circle {
#if TH_DEBUG
	char text[400];
#else
	char unused;
#endif
};

#if TH_DEBUG
/* The effect of `f` is about to wait; call th_cycle_leave() once it does not any more. -EDEADLK: the wait would close a
 * circle, which has been reported; do not wait, do not leave. Without runtime locks. */
int th_cycle_enter(struct th_fiber *f, struct th_edge *e);
void th_cycle_leave(struct th_fiber *f);
/* The same in two steps, for a wait that begins under the lock of its object; that lock comes before the one of edges. */
int th_cycle_find(struct th_fiber *f, struct th_edge *e, struct th_circle *ret_circle);
int th_cycle_tell(struct th_fiber *f, const struct th_circle *circle); /* -EDEADLK */
/* The lock that `e` waits for has another holder now; NULL: the wait is over. Before the old one may end: no search that
 * has seen it there is under way after this. */
void th_cycle_retarget(struct th_edge *e, struct th_task *holder);
/* Around a child that runs on the stack of `caller`, which may be NULL. */
void th_cycle_call(struct th_task *caller, struct th_edge *e);
void th_cycle_return(struct th_task *caller);
#else
static inline int th_cycle_enter(struct th_fiber *f, struct th_edge *e) { (void)f; (void)e; return 0; }
static inline void th_cycle_leave(struct th_fiber *f) { (void)f; }
static inline int th_cycle_find(struct th_fiber *f, struct th_edge *e, struct th_circle *c) { (void)f; (void)e; (void)c; return 0; }
static inline int th_cycle_tell(struct th_fiber *f, const struct th_circle *c) { (void)f; (void)c; return 0; }
static inline void th_cycle_retarget(struct th_edge *e, struct th_task *holder) { (void)e; (void)holder; }
static inline void th_cycle_call(struct th_task *caller, struct th_edge *e) { (void)caller; (void)e; }
static inline void th_cycle_return(struct th_task *caller) { (void)caller; }
#endif

#endif
