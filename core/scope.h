/* core/scope.h: scopes and their children.
 *
 *   scope  OPEN ──thrum_scope_close──► CLOSING ──last child ended, finalizers ran──► CLOSED
 *                                      (new children refused, but for those of a fan's runners: takes_late)
 *
 *   child  NEW ──th_task_run──► RUNNING ──finish──► DONE
 *           │  linked into its scope from spawn to finish, so a cancel reaches it in every state
 *           └─ th_task_run finds it cancelled: its body never runs (Z5) ──► DONE
 *
 * Under the lock of the scope's node: `pending`, `closer`, `code`, `interrupted`, `closing`, the list of children, and of
 * each child `done`, `code` and `joiners`.
 *
 * The end of a child is one section under that lock: unlink, done, take the joiners, count down, take the closer. Once
 * the lock is released the finisher touches neither child nor scope again, since their memory may go at once (S1, hazard
 * 63); only a block of the runtime's pool is still the finisher's, to give back. A joiner or closer that looks first finds
 * the child ended; one that comes later registers under the same lock; so
 * the wake cannot be missed. */
#ifndef TH_SCOPE_H
#define TH_SCOPE_H
#include "node.h"
#include "timers.h"

struct th_task {
	struct th_node node;
	thrum_fx fx;
	thrum_fx drop;
	struct th_scope *scope;
	struct th_task *spawner;     /* identity that spawned it; its frame may hold this storage */
	struct th_task *next;        /* in a spill, inject or placement queue */
	struct th_waitq joiners;
	th_atomic_u32 *done_word;    /* a root's: set to 1 as the last touch of this task, then woken */
	struct th_pool *pool;        /* where it came from; NULL for caller storage */
	const char *name;
	size_t index;                /* number of this child in its scope, for reasons */
	int code;
	bool done;
	bool isolated;
	bool runner;                 /* works for a fan: the user has not asked for it, so its own end means nothing */
};

struct th_scope {
	struct th_node node;
	struct th_task *owner;       /* identity that opened it; NULL for a runtime's root scope */
	struct th_fiber *closer;
	struct th_timer deadline;
	thrum_token *token;
	struct th_scope *token_next, *token_prev; /* in the runtime's list of linked scopes */
	size_t spawned;
	uint32_t pending;
	int code;                    /* of the first child that really failed */
	int body_code;
	bool closing, interrupted;
	bool takes_late;             /* children may spawn into it while it waits for them: a fan, whose runners do */
};

/* What a closed scope saw, for callers that rule on it themselves. */
struct th_outcome {
	int body, child, finalizer;
	bool deadline;               /* its own deadline fired */
	bool interrupted;            /* a cancel ended a child or kept one from starting */
	bool by_us;                  /* it was cancelled through itself, not from outside */
};

void th_scope_init(struct th_scope *s, struct th_task *owner, struct th_node *parent);
void th_scope_open(struct th_fiber *f, struct th_scope *s);
void th_scope_close(struct th_fiber *f, struct th_scope *s, struct th_outcome *ret_outcome);

/* Link a child into its scope. 0; THRUM_ECLOSED, -ECANCELED (S6). The task's fx, drop and flags are set before. */
int th_scope_admit(struct th_scope *s, struct th_task *t);
void th_task_init(struct th_task *t, thrum_fx fx);

/* Run an admitted child on the stack of `f`, to its end, as its own identity. */
void th_task_run(struct th_fiber *f, struct th_task *t);
/* Has it ended? Then its code. The caller keeps its scope open. */
bool th_task_done(struct th_task *t, int *ret_code);
/* End a child that no fiber could be found for. Any worker, also on its own stack. */
void th_task_refuse(struct th_task *t, int code);

/* Admit a child and make it stealable; `worker` is a 1-based place for it, 0 = any. Codes of th_scope_admit. */
int th_spawn(struct th_fiber *f, struct th_scope *s, struct th_task *t, unsigned worker);
/* Admit a child and run it here and now: a spawn and its join in one; `index` is its number in reasons. -ECANCELED or
 * its code. */
int th_child_call(struct th_fiber *f, struct th_scope *s, struct th_task *t, size_t index);

/* Upward, defined in sched/join.c: make a child stealable; run one unstarted child of `s` (this one, if `only` is not
 * NULL) on the caller's stack, false if none is at hand. */
void th_push(struct th_fiber *f, struct th_task *t, unsigned worker);
bool th_help(struct th_fiber *f, struct th_scope *s, struct th_task *only);
/* Upward, defined in sched/token.c. */
int th_token_link(struct th_fiber *f, struct th_scope *s, thrum_token *t);
void th_token_unlink(struct th_fiber *f, struct th_scope *s);

static inline struct th_scope *th_scope_of(thrum_scope *s) { return (struct th_scope *)(void *)s; }
static inline struct th_task *th_task_of(thrum_task *t) { return (struct th_task *)(void *)t; }

#endif
