/* core/scope.h: scopes and their children.
 *
 *   scope  OPEN ──thrum_scope_close──► CLOSING ──last child ended, finalizers ran──► CLOSED
 *                                      (new children refused, but for those of a fan's runners: takes_late)
 *
 *   child  NEW ──th_task_run──► RUNNING ──finish──► DONE
 *           │  linked into its scope from spawn to finish, so a cancel reaches it in every state
 *           └─ th_task_run finds it cancelled: its body never runs (Z5) ──► DONE
 *
 * Under the lock of the scope's node: `pending`, `coming`, `daemons`, `ends_daemons`, `closer`, `code`, `cause`,
 * `interrupted`, `closing`, the list of children, and of each child `x_done`, `code` and `joiners`; but core/light.h has
 * children that end without it.
 *
 * The end of a child is one section under that lock: unlink, done, take the joiners, count down, take the closer. Once
 * the lock is released the finisher touches neither child nor scope again, since their memory may go at once (S1, hazard
 * 63); only a block of the runtime's pool is still the finisher's, to give back. A joiner or closer that looks first finds
 * the child ended; one that comes later registers under the same lock; so the wake cannot be missed. */
#ifndef TH_SCOPE_H
#define TH_SCOPE_H
#include "cause.h"
#include "node.h"
#include "timers.h"
#include "watch.h"

struct th_task {
	struct th_node node;
	thrum_fx fx;
	thrum_fx drop;
	thrum_fx refused;            /* called when no fiber can be had for it; must not suspend. No function: nothing */
	struct th_scope *scope;
	struct th_task *spawner;     /* identity that spawned it; its frame may hold this storage */
	struct th_task *next;        /* in a spill, inject or placement queue */
	struct th_waitq joiners;
	th_atomic_u32 *done_word;    /* a root's: set to 1 as the last touch of this task, then woken */
	struct th_pool *pool;        /* where it came from; NULL for caller storage */
	const char *name;
	struct th_path path;         /* with which it begins; and, ended, with which it has: core/meter.h */
	struct th_locals *locals;    /* its bindings, one reference; NULL for none: core/locals.h */
	struct th_edge *waits;       /* what this effect waits for: core/cycle.h */
	size_t index;                /* number of this child in its scope, for reasons */
	struct th_cause *cause;      /* while it runs: of the last call that failed in it; an isolated one's, ended: its own */
	int failed;                  /* code of that call; 0: none */
	int code;
	unsigned mutexes;            /* that it owns; its own fiber only */
	uint32_t stack_bytes;        /* it runs on a fiber of its own with so much stack; 0: wherever it comes to run */
	th_atomic(bool) x_done;      /* ended, `code` is there */
	bool isolated;               /* its failure is no failure of the scope: a handle's (K7), a fan's item, a root */
	bool item;                   /* of a fan, which asks for its code and cause itself */
	bool unseen;                 /* an ended handle whose failure nobody has asked for: in its scope's `failed` */
	bool daemon;                 /* the scope does not wait for it before it cancels it (S2) */
	bool runner;                 /* works for a fan: the user has not asked for it, so its own end means nothing */
};

struct th_scope {
	struct th_node node;
	struct th_home *home;        /* where it was opened, and will be closed */
	struct th_task *owner;       /* identity that opened it; NULL for a runtime's root scope */
	struct th_fiber *closer;
	struct th_timer deadline;
	th_atomic(struct th_clock *) x_deadline_clock; /* whose time x_deadline_ns is; written and read as that */
	thrum_token *token;
	struct th_scope *token_next, *token_prev; /* in the runtime's list of linked scopes */
	size_t spawned, shared_at;   /* children so far, but while the opener is alone; what x_own was then: core/light.h */
	th_atomic_u64 x_own;         /* numbers that the opener has claimed; only it writes */
	th_atomic_u32 x_alone;       /* 1: only the opener has spawned into it and waited for children so far */
	th_atomic_u32 x_out;         /* light children that did not end as calls so far; only the opener writes */
	uint32_t pending, daemons;   /* children; those of them that are daemons */
	uint32_t coming;             /* effects of a fork, and light children, that others took out of the lane and have not
	                                admitted yet, once who forked or spawned has counted them; until then less, also
	                                than 0 */
	int code;                    /* of the first child that really failed */
	int body_code;
	struct th_cause *cause;      /* of all children that failed, in the order in which they did */
	struct th_cause *body_cause;
	struct th_node *failed;      /* ended handles in caller storage whose failure nobody has asked for */
	size_t unseen;               /* how many such failures there are, with those of children that nobody can join */
	struct {
		const char *name;
		size_t index;
		int code;
	} first_unseen;
	bool closing, interrupted;
	bool ends_daemons;           /* the closer waits for the daemons too */
	bool parallel;               /* its finalizers run all at once (S12) */
	bool light;                  /* its opener's children may stay calls */
	bool opened;                 /* by the user, who can cancel it; no combinator's own. The sweeps ask */
	bool takes_late;             /* children may spawn into it while it waits for them: a fan, whose runners do */
	struct th_watched watch;
	struct th_path begin, longest; /* when it was opened; of the children that have ended: core/meter.h */
};

/* What a closed scope saw, for callers that rule on it themselves. */
struct th_outcome {
	int body, child, finalizer;
	struct th_cause *cause;      /* of body and children */
	struct th_cause *later;      /* of the finalizers */
	bool deadline;               /* its own deadline fired */
	bool interrupted;            /* a cancel ended a child or kept one from starting */
	bool by_us;                  /* it was cancelled through itself, not from outside */
};

void th_scope_init(struct th_scope *s, struct th_home *home, struct th_task *owner, struct th_node *parent);
void th_scope_open(struct th_fiber *f, struct th_scope *s);
void th_scope_close(struct th_fiber *f, struct th_scope *s, struct th_outcome *ret_outcome);
/* thrum_scope_open() for a scope that the user does not see; thrum_scope_close() closes it. */
int th_scope_open_own(thrum_scope *s);

/* The caller's ruling: the running identity failed with `code` as what the scope saw tells, or, if code >= 0, did not, and
 * what failed inside does not matter any more. Every th_scope_close ends in one. Returns code. */
int th_scope_rule(struct th_fiber *f, struct th_scope *s, struct th_outcome *o, int code);

/* The same where all children belong to the result: it is the first failure of one; else -ECANCELED, if one was cancelled or
 * never started; else 0, also in a scope that is cancelled (Z8). */
int th_scope_rule_all(struct th_fiber *f, struct th_scope *s, struct th_outcome *o);

/* The nearest deadline on the clock of `f` from `n` outwards, up to a shield; INT64_MAX if there is none (T4). */
int64_t th_deadline_from(struct th_fiber *f, struct th_node *n);

/* Under the scope's lock: has everybody ended whom its closer waits for just now? */
static inline bool th_scope_awaits_nobody(const struct th_scope *s)
{
	return s->coming == 0 && s->pending == (s->ends_daemons ? 0 : s->daemons);
}

/* The reason of a cancel by the caller, which may be a plain thread. */
thrum_reason th_reason(unsigned kind, int code, const char *file, unsigned line);

/* A combinator that opened `s` for a body has run it, with `code`: close, and rule that code is the result, or the failure of
 * a finalizer after a success or a cancel. */
int th_scope_end(struct th_fiber *f, struct th_scope *s, int code);

/* Link a child into its scope. 0; THRUM_ECLOSED, -ECANCELED (S6). The task's fx, drop, flags and spawner are set before. `h`:
 * where the caller is at home; NULL for a plain thread. */
int th_scope_admit(struct th_scope *s, struct th_task *t, struct th_home *h);
void th_task_init(struct th_task *t, thrum_fx fx);

/* Run an admitted child on the stack of `f`, to its end, as its own identity. */
void th_task_run(struct th_fiber *f, struct th_task *t);
/* The same in parts. What ran before it: begin fills that in, end goes back to it. */
struct th_caller {
	struct th_node *node;
	struct th_task *task;
	int exit_code;
	struct th_path path;
};
void th_task_begin(struct th_fiber *f, struct th_task *t, struct th_caller *ret_outside);
void th_task_end(struct th_fiber *f, struct th_task *t, const struct th_caller *outside, int code);
/* Has it ended? Then its code. The caller keeps its scope open. */
bool th_task_done(struct th_task *t, int *ret_code);
void th_task_wake_joiners(struct th_task *t); /* of one that has ended */
int th_join(struct th_task *t);               /* thrum_join(), for any child */
/* End a child that no fiber could be found for. Any worker, also on its own stack; but one with a drop by the second, on a fiber
 * that is kept for such. */
void th_task_refuse(struct th_home *h, struct th_task *t, int code);
void th_task_drop(struct th_fiber *f, struct th_task *t, int code);

enum { TH_STACK_BYTES_MIN = 16 << 10, TH_STACK_BYTES_MAX = 1 << 30 };
/* What a user may ask for as the stack of a child. */
static inline bool th_is_stack_size(size_t bytes)
{
	return bytes == 0 || (bytes >= TH_STACK_BYTES_MIN && bytes <= TH_STACK_BYTES_MAX);
}

/* Admit a child and make it stealable; `worker` is a 1-based place for it, 0 = any. Codes of th_scope_admit. */
int th_spawn(struct th_fiber *f, struct th_scope *s, struct th_task *t, unsigned worker);
/* Admit a child and run it here and now: a spawn and its join in one; `index` is its number in reasons. -ECANCELED or
 * its code. */
int th_child_call(struct th_fiber *f, struct th_scope *s, struct th_task *t, size_t index);

/* Run the finalizers of a scope all at once, as its owner (core/finalize.c); as th_node_finalize. */
int th_finalize_par(struct th_fiber *f, struct th_node *n, int exit_code, struct th_cause **ret_cause);

/* A race (thrum_race_n) that also calls won(arg, i) when entrant `i` has won, before the others are wound up. */
int th_race_telling(const thrum_fx *fx, size_t n, void (*won)(void *arg, size_t i), void *arg);

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
