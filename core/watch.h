/* core/watch.h: scopes that were cancelled and do not close (Z9, S10): who waits for what is told, once for each.
 *
 *   th_node_cancel of a scope, thrum_scope_grace ──► in the list of the opener's home ──th_scope_close──► out
 *                                                        └─ th_watch_look: cancelled for longer than its grace: report
 *
 * Only the scope that a cancel was meant for is listed, not those that inherit it; a scope with a grace of its own always
 * is. Nothing is stamped when a cancel comes: the first look that finds the scope cancelled does that. On the real clock
 * the watching thread looks (sched/watch.c); on a virtual one the worker that is about to move the clock, so there a report
 * comes exactly when its time has come.
 *
 * The lock of a list is taken before node locks, and after that of a virtual clock. A scope is listed, with all below it
 * in place, until its close has taken that lock: so a look may walk down from it. */
#ifndef TH_WATCH_H
#define TH_WATCH_H
#include "lock.h"
#include <stddef.h>
#include <stdint.h>

struct th_home;
struct th_node;
struct th_scope;

/* Of a home. */
struct th_watch {
	struct th_lock lock;
	struct th_scope *scopes;
	th_atomic_u32 x_count;       /* written under the lock; a hint for who looks */
	int64_t grace_ns;            /* for scopes that say nothing; INT64_MAX: they are not watched */
};

/* Of a scope; under the lock of its home's list. */
struct th_watched {
	struct th_scope *next, *prev;
	int64_t since_ns;            /* when it was first seen cancelled; 0: not yet */
	int64_t grace_ns;            /* its own, 0: none */
	th_atomic_u32 x_listed;      /* written under the lock; the closer reads it once the node is closed: who listed the scope
	                                before has been in the node's lock before, or has yet to find it closed */
	uint8_t policy;
	bool reported;
};

void th_watch_init(struct th_watch *w, int64_t grace_ns);
/* `n` is about to be cancelled through itself. Without node locks. */
void th_watch_add(struct th_node *n);
/* By the closer, with the tree below gone, and by whoever has come too late for it; no-op if it is not listed. */
void th_watch_remove(struct th_node *n);
/* Stamp what is newly cancelled and report what is overdue at now_ns; returns when to look again, now_ns if at once,
 * INT64_MAX if nothing is watched. `report` false: only stamp. */
int64_t th_watch_look(struct th_home *home, int64_t now_ns, bool report);

/* Upward, defined in sched/watch.c: somebody looks at least every grace_ns / 4 from now on. */
void th_watch_often(struct th_home *home, int64_t grace_ns);

#endif
