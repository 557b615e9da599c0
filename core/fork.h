/* core/fork.h: forks whose effects are called inline, and how one comes into the tree; see fork.c. */
#ifndef TH_FORK_H
#define TH_FORK_H
#include "scope.h"
#include <thrum/fork.h>

enum { TH_FORK_KIDS, TH_FORK_LIST, TH_FORK_ITEM, TH_FORK_CHILD }; /* thrum_fork_.listed */

/* An entry of a lane: a fork, a light child (core/light.h), or a th_task that is in the tree, told apart by the lowest bits. */
static inline bool th_entry_is_fork(void *entry) { return ((uintptr_t)entry & 1) != 0; }
static inline bool th_entry_is_light(void *entry) { return ((uintptr_t)entry & 2) != 0; }
static inline struct th_task *th_entry_task(void *entry) { return (struct th_task *)((uintptr_t)entry & ~(uintptr_t)2); }
static inline void *th_light_entry(struct th_task *t) { return (char *)t + 2; }
static inline struct thrum_fork_ *th_entry_fork(void *entry) { return (struct thrum_fork_ *)(void *)((char *)entry - 1); }
static inline void *th_fork_entry(struct thrum_fork_ *k) { return (char *)k + 1; }

/* Bring all forks of the running fiber into the tree: the effect that runs has an identity and a node of its own after it.
 * Before anything that asks for either. */
void th_fork_settle(struct th_fiber *f);

/* An entry of fork `k` was taken out of the lane of `from`, by whoever calls: make `t` the child for it, which is to be
 * run, or refused. The caller has it in its own frame; `k` may be gone when it has ended. */
void th_fork_take(struct th_home *from, bool same_worker, struct thrum_fork_ *k, struct th_task *t);

/* A stretch of items that are called one after the other, by the function of type thrum_items_fn_: before the first one; and
 * each time it has returned, `code` of the item that ran last. After that the item is at its end, whatever it was. */
void th_items_init(struct thrum_items_ *items, struct th_scope *s);
void th_items_stopped(struct th_fiber *f, struct thrum_items_ *items, int code);
/* The same for a light child, which is called by its spawner. */
void th_fork_of_child(struct thrum_fork_ *k, struct th_task *t);
void th_fork_stopped(struct th_fiber *f, struct thrum_fork_ *k, int code);
/* Defined in core/fan_take.c: the item that runs has come into the tree, by a call of its own: it may block. */
void th_item_settled(struct th_fiber *f, struct thrum_items_ *items);

/* Upward, defined in sched/: take the newest entry of this worker's lane if it is one of `k`; the fiber that a worker runs,
 * which the caller knows to stand still. */
bool th_fork_pop(struct th_fiber *f, struct thrum_fork_ *k);
struct th_fiber *th_running(struct th_home *h);

#endif
