/* core/waiter.h: one wait of one fiber, and who may end it.
 *
 *            th_waiter_claim: the event            (th_wake by the winner, exactly once)
 *   ARMED ──────────────────────────────► DONE
 *     └───────────────────────────────► CANCELLED
 *            th_waiter_claim: a cancel
 *
 *   tag  where                    order    pairs  shape  because
 *   W1   claim: CAS x_state       acq_rel  W1     –      exactly one side resumes the fiber; the winner's writes (an item
 *                                                        handed over) are seen by the fiber, which reads x_state after
 *   W2   outcome: load x_state    acquire  W1     MP
 *
 * A select is one wait in several objects: a waiter in the queue of each, which all defer to the x_state of one leader. So
 * one event, or a cancel, ends it, and the other objects find it decided, as if it had been cancelled.
 *
 * The waiter lies on the fiber's stack: the loser of the claim must not touch it after the winner's th_wake(), so both
 * sides reach it under a lock that the fiber takes once before its frame goes (its node's lock for a cancel, the object's
 * for an event). */
#ifndef TH_WAITER_H
#define TH_WAITER_H
#include "atomic.h"
#include "fiber.h"

enum { TH_WAIT_ARMED = 0, TH_WAIT_DONE = 1, TH_WAIT_CANCELLED = 2 };

struct th_waiter {
	th_atomic_u32 x_state;
	struct th_fiber *fiber;
	/* Called by a canceller under the node's lock. NULL: claim and wake. io sets its own: ask the kernel first. */
	void (*on_cancel)(struct th_waiter *w);
	struct th_waiter *next, *prev; /* in the queue of the object waited for, under its lock */
	struct th_waiter *leader;      /* whose x_state decides: its own, except in a select */
	bool queued;
	bool chosen;                   /* it was this one that an event claimed */
};

static inline void th_waiter_init(struct th_waiter *w, struct th_fiber *f)
{
	th_init(&w->x_state, TH_WAIT_ARMED);
	w->fiber = f;
	w->on_cancel = NULL;
	w->next = w->prev = NULL;
	w->leader = w;
	w->queued = w->chosen = false;
}

/* True for exactly one caller per wait: that one must th_wake(w->fiber). */
static inline bool th_waiter_claim(struct th_waiter *w, uint32_t outcome)
{
	uint32_t armed = TH_WAIT_ARMED;
	return th_cas_acqrel(&w->leader->x_state, &armed, outcome); /* W1 */
}

static inline bool th_waiter_cancelled(struct th_waiter *w)
{
	return th_load_acq(&w->leader->x_state) == TH_WAIT_CANCELLED; /* W2 */
}

/* FIFO of waiters, guarded by the lock of the object it belongs to. */
struct th_waitq {
	struct th_waiter *head, *tail;
};

void th_waitq_push(struct th_waitq *q, struct th_waiter *w);
/* No-op when it is not queued. */
void th_waitq_remove(struct th_waitq *q, struct th_waiter *w);
/* Take out and claim the first waiter that is not decided yet; NULL if there is none. */
struct th_waiter *th_waitq_claim(struct th_waitq *q);

#endif
