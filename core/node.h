/* core/node.h: the tree of cancel scopes. Every scope, task and shield has a node in it; a cancel walks down from one.
 *
 *        link                    th_node_cancel, once: the first reason stays (G2)
 *   (new) ───► LIVE ───────────────────────────────────────────► CANCELLED ──unlink──► (gone)
 *               └── linked below a cancelled parent: born CANCELLED, a shield excepted ──┘
 *
 * Who may touch what:
 *   parent, kind         set by th_node_link, then constant
 *   kids, next, prev     the list of kids belongs to the parent's lock
 *   waiter, reason, closed, finalizers   the node's own lock; `reason` is constant once x_cancelled is 1
 *   x_cancelled          written under the node's lock, at birth under the parent's; read by anyone
 *   x_deadline_ns        written by the fiber that owns the scope; read by fibers inside it
 *   x_home               where the fiber runs that stands in the node, or below; of a child set when it starts
 *
 *   tag  where                          order    pairs  shape  because
 *   N1   mark: store x_cancelled        release  N2     MP     who sees the flag sees the reason
 *   N2   reason: load x_cancelled       acquire  N1     MP
 *   N3   th_cancelled: load             relaxed  –      –      a checkpoint may be late by one
 *   N6   th_cancelled: load once more   acquire  N1     MP     who is told sees what the canceller did before (G13)
 *   N4   mark, then fence, load x_home  seq_cst  N5     SB     a fiber whose forks look at nothing but their gate: either
 *                                                              its node's home is seen here and the gate is shut, or
 *   N5   th_task_begin: store x_home,   seq_cst  N4     SB     it opens the gate after this, by a read-modify-write, and
 *        later the gate's exchange                             then looks at x_cancelled (sched/lane.c)
 *
 * Locks nest from parent to child only. A walk holds the locks of the path from its top to where it stands: a node cannot
 * be unlinked (that takes its parent's lock) while the walk is in it, and one that is linked meanwhile either is seen by
 * the walk or sees the flag of its parent (hazards 60, 61). The walk is a loop, so depth costs no stack (hazard 69). */
#ifndef TH_NODE_H
#define TH_NODE_H
#include "atomic.h"
#include "gate.h"
#include "hooks.h"
#include "lock.h"
#include "waiter.h"
#include <thrum/scope.h>

enum th_node_kind { TH_NODE_ROOT, TH_NODE_SCOPE, TH_NODE_TASK, TH_NODE_SHIELD, TH_NODE_RESTORED, TH_NODE_MIRROR };

struct th_deferred;
struct th_cause;

struct th_node {
	struct th_node *parent;
	struct th_lock lock;
	th_atomic_u32 x_cancelled;
	uint8_t kind;
	bool own;                       /* the reason was given to this node, not inherited */
	bool closed;                    /* of a scope: nothing can be cancelled any more */
	struct th_node *kids, *next, *prev;
	struct th_waiter *waiter;       /* of the fiber that is parked here and may be woken by a cancel */
	struct th_deferred *finalizers; /* last registered first */
	th_atomic(int64_t) x_deadline_ns;
	th_atomic(struct th_home *) x_home;
	thrum_reason reason;
};

/* A finalizer registered with a node: thrum_deferred's real shape. */
struct th_deferred {
	thrum_fx fx;
	th_atomic(struct th_node *) x_node; /* NULL: not registered any more */
	struct th_deferred *next, *prev;
	struct th_pool *pool;               /* where it came from, NULL for caller storage */
};

/* `home`: of the fiber that will stand in it; NULL where that is not known yet. */
void th_node_init(struct th_node *n, enum th_node_kind kind, struct th_home *home);
/* Put `n` below `parent`; it inherits a cancel unless it is a shield. th_node_link_locked: the caller holds its lock. */
void th_node_link(struct th_node *n, struct th_node *parent);
void th_node_link_locked(struct th_node *n, struct th_node *parent);
/* The same for one that others may know, and cancel, already. */
void th_node_link_late_locked(struct th_node *n, struct th_node *parent);
void th_node_unlink(struct th_node *n);
void th_node_unlink_locked(struct th_node *n);

/* Cancel `top` and everything below it that no shield protects; no-op for a scope that has closed. Any thread that keeps the
 * runtime alive; `top` must be live. */
void th_node_cancel(struct th_node *top, const thrum_reason *why);
/* From here on th_node_cancel() leaves it alone. By the closer. */
void th_node_close(struct th_node *n);

/* Tasks, handles and scopes may outlive their runtime, if their storage does: then they have ended (K5, X7). So whoever may be
 * outside of it looks whether they have, and touches what is the runtime's, between these two. A runtime that is freed settles
 * first: who has found something that had not ended is out again, and the next one finds that it has. */
void th_outside_enter(void);
void th_outside_leave(void);
void th_outside_settle(void);

/* Register the waiter of a fiber that is parking, on the worker's stack. False: already cancelled, do not wait. */
bool th_node_arm(struct th_fiber *f, struct th_waiter *w);
/* Back on the fiber: once this returns no canceller can touch the waiter. */
void th_node_disarm(struct th_fiber *f, struct th_waiter *w);

static inline bool th_node_cancelled(struct th_node *n)
{
	return th_load_rlx(&n->x_cancelled) != 0; /* N3 */
}

/* The checkpoint. A canceller marks the node before it shuts the gate: who was told between the two must not be told otherwise by
 * the next checkpoint, which may look at no more than the gate. */
static inline bool th_cancelled(struct th_fiber *f)
{
	if (!th_node_cancelled(f->node))
		return false;
	(void)th_load_acq(&f->node->x_cancelled); /* N6 */
	th_gate_shut(f->home);
	return true;
}

/* The same at the begin of a call that may suspend, but need not. No locks. */
static inline bool th_cancel_point(struct th_fiber *f)
{
	if (f->home->shuffle)
		th_shuffle(f);
	return th_cancelled(f);
}

/* The fiber stands in `n` from now on. Whoever cancels `n` later shuts the gate of its home. */
static inline void th_node_enter(struct th_fiber *f, struct th_node *n)
{
	f->node = n;
	if (th_node_cancelled(n))
		th_gate_shut(f->home);
}

/* Is `n` the node `inner` stands in, or one around it? */
bool th_node_encloses(const struct th_node *n, const struct th_node *inner);

/* Register a finalizer. False: the node is closing, `d` is untouched. `closing` is read under the node's lock. */
bool th_node_defer(struct th_node *n, struct th_deferred *d, const bool *closing);
/* Take the finalizer of `n` that was registered last; its storage is the user's again. False: there is none. */
bool th_node_take_finalizer(struct th_node *n, thrum_fx *ret_fx);
/* Run the finalizers of `n`, whose owner is the running fiber; first failing code, or 0. *ret_cause: all that failed, in
 * the order in which they ran (S3). */
int th_node_finalize(struct th_fiber *f, struct th_node *n, int exit_code, struct th_cause **ret_cause);
/* Run one effect shielded; exit_code is what thrum_exit_code() tells it. th_run_shielded: whatever memory there is; for what
 * must not be left out. th_call_shielded: for an effect of the user's that may nest without end; -ENOMEM without a stack. */
int th_run_shielded(struct th_fiber *f, thrum_fx fx, int exit_code);
int th_call_shielded(struct th_fiber *f, thrum_fx fx, int exit_code);

#endif
