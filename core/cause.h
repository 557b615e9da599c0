/* core/cause.h: building causes. A tree has one owner at a time and moves from hand to hand:
 *
 *   identity (th_task.cause, what thrum_last_cause() shows) ──child ends──► its scope's `cause`, under the scope's lock
 *        ▲                                                                        │
 *        └────────────────── th_cause_set: the scope or combinator closed ◄───────┘
 *
 * Nodes come from a pool whose first slab the runtime allocates when it opens. When that is used up and malloc refuses,
 * a part is left out and counted in `omitted`; a failure that has no node at all is shown by a leaf in the fiber itself
 * (th_fiber.last_resort). So the code is never lost, and nothing is lost silently (N8). */
#ifndef TH_CAUSE_H
#define TH_CAUSE_H
#include "fiber.h"
#include <thrum/cause.h>

struct th_pool;

struct th_cause {
	thrum_cause c;            /* first: what the user sees */
	struct th_cause *last;    /* both, then: the last part */
	struct th_cause *lost;    /* left out for want of a node to join them; freed with this one, when no lock is held */
	void (*drop)(void *detail);
};

/* A leaf for a bare code. `why` is for -ECANCELED; NULL when nobody knows. NULL: no memory. */
struct th_cause *th_cause_leaf(struct th_pool *pool, int code, const thrum_reason *why);
/* One tree of two, either of which may be NULL; its primary code is `code`. Without memory one of them is left out. */
struct th_cause *th_cause_join(struct th_pool *pool, unsigned kind, struct th_cause *a, struct th_cause *b, int code);
/* The same where `b` is a failure for certain: NULL means that there was no memory for it, and it is counted. */
struct th_cause *th_cause_add(struct th_pool *pool, unsigned kind, struct th_cause *a, struct th_cause *b, int code);
/* `at` stays where it is in its tree and becomes then(what it was, later). */
void th_cause_extend(struct th_pool *pool, struct th_cause *at, struct th_cause *later);
/* The child it comes from, unless a child further in has said so. NULL is fine. */
void th_cause_from_child(struct th_cause *c, size_t index, const char *name);
/* `c` is what came of so many attempts: says so, in a whole of its own if it tells already how often something inside was
 * tried. NULL is fine. */
struct th_cause *th_cause_tried(struct th_pool *pool, struct th_cause *c, uint64_t attempts);
void th_cause_free(struct th_pool *pool, struct th_cause *c); /* NULL is fine */

/* What the running identity failed with: its last cause if that is of this code, else a new leaf. The caller owns it. */
struct th_cause *th_cause_take(struct th_fiber *f, int code);
/* It comes to the echo of a cancel: what failed in it before that and was only remembered, as an entrant of a race that went on.
 * Without the interrupts; NULL if there is nothing. The caller owns it. */
struct th_cause *th_cause_take_failures(struct th_fiber *f);
/* The running identity's call failed with `code`; takes the tree, NULL if there was no memory for one. */
void th_cause_set(struct th_fiber *f, int code, struct th_cause *c);
/* The running identity's last cause no longer matters. */
void th_cause_clear(struct th_fiber *f);
/* What the running identity's effect came back with is the result of its call, too: if it has not told why, a leaf does.
 * Returns code. */
int th_cause_pass(struct th_fiber *f, int code);
/* What came first failed as `first` tells, and now `code` came instead (E3). */
void th_cause_after(struct th_fiber *f, struct th_cause *first, int code);

/* A call that may succeed though an effect failed that it ran in its caller's place: it puts aside what the caller failed with
 * before, whose pointers live until a call of the caller's own fails. */
struct th_cause_kept {
	struct th_cause *cause;
	int failed;
};
struct th_cause_kept th_cause_keep(struct th_fiber *f);
/* The call ends with `code`; only a failure takes the place of what was there before. Returns code. */
int th_cause_settle(struct th_fiber *f, const struct th_cause_kept *kept, int code);

#endif
