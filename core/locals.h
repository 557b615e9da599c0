/* core/locals.h: the bindings of a fiber, an immutable array that is shared and counted.
 *
 * A task holds one reference to its array, or NULL for no bindings. A spawn takes one more of the spawner's, which cannot
 * fail; the end of the child drops it. Whoever sets a value makes an array of its own (copy on write), so a snapshot never
 * changes (K9). Only the fiber that runs a task, and before its start the spawner, touches its pointer.
 *
 *   tag  where                   order    pairs  shape  because
 *   L1   share: add x_refs       relaxed  –      –      the taker holds a reference, or one is held for it
 *   L2   drop: sub x_refs        seq_cst  L2 L3  MP     all that others read of the array comes before its free or overwriting
 *   L3   is it mine alone: load  acquire  L2     MP     only a holder can share it, and the one holder is asking */
#ifndef TH_LOCALS_H
#define TH_LOCALS_H
#include "atomic.h"
#include <thrum/context.h>

struct th_binding {
	const thrum_local *key;
	void *value;
};

struct th_locals {
	th_atomic_u32 x_refs;
	size_t n;
	struct th_binding at[];
};

struct th_fiber;
struct th_task;

static inline struct th_locals *th_locals_share(struct th_locals *l)
{
	if (l)
		th_add_rlx(&l->x_refs, 1); /* L1 */
	return l;
}

void th_locals_drop_one(struct th_locals *l);
static inline void th_locals_drop(struct th_locals *l)
{
	if (l)
		th_locals_drop_one(l);
}
/* The value of `key`, or its initial one. */
void *th_locals_get(struct th_locals *l, const thrum_local *key);
/* A new array: what `base` has (may be NULL), with room for `more` keys. NULL: no memory. */
struct th_locals *th_locals_copy(const struct th_locals *base, size_t more);
/* Of an array that is the caller's alone. */
void th_locals_bind(struct th_locals *l, const thrum_local *key, void *value);
/* Give the task `t`, whose fiber this is, other bindings for the rest of its life; takes the reference to `l`. */
void th_locals_replace(struct th_task *t, struct th_locals *l);
/* Run `fx` in the caller's place with other bindings, in a scope of its own, so that what it leaves to the nearest scope is
 * done before the bindings go. Takes the reference to `l`. */
int th_locals_call(struct th_fiber *f, struct th_locals *l, thrum_fx fx);

#ifdef TH_SIM
extern th_atomic_u32 th_sim_locals_live; /* arrays that exist, for scenarios to check */
#endif

#endif
