/* thrum/scope.h: structured scopes. No child outlives its scope; no scope outlives the block that opened it.
 *
 * Cancellation is level-triggered: once a scope is cancelled, every call in it that may suspend returns -ECANCELED at
 * once, and goes on doing so until the scope is closed (G4). An operation that had succeeded by then keeps its result. */
#ifndef THRUM_SCOPE_H
#define THRUM_SCOPE_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Caller storage. The address is the identity: do not copy. */
typedef struct thrum_scope {
	uint64_t opaque_[34];
} thrum_scope;
typedef struct thrum_task {
	uint64_t opaque_[30];
} thrum_task;
typedef struct thrum_deferred {
	uint64_t opaque_[6];
} thrum_deferred;
typedef struct thrum_token {
	uint64_t opaque_[8];
} thrum_token;

/* Why a scope was cancelled (G2). The first reason stays. A scope that was cancelled with one around it shows the
 * reason of the one around it. */
enum {
	THRUM_CANCEL_EXPLICIT = 1, /* thrum_scope_cancel(), thrum_task_cancel(), thrum_handle_cancel() */
	THRUM_CANCEL_DEADLINE,     /* its time was up */
	THRUM_CANCEL_SIBLING,      /* child number .index failed with .code */
	THRUM_CANCEL_RACE_LOST,    /* entrant number .index won */
	THRUM_CANCEL_BODY,         /* thrum_scope_fail(): the body failed with .code */
	THRUM_CANCEL_TOKEN,        /* a linked thrum_token was cancelled */
	THRUM_CANCEL_SHUTDOWN,     /* the runtime is shutting down */
	THRUM_CANCEL_DEADLOCK      /* test clock: nothing could ever run again */
};
typedef struct thrum_reason {
	unsigned kind;
	int code;
	size_t index;
	const char *file; /* of the canceller, where it is known; else NULL */
	unsigned line;
} thrum_reason;

/* Open a scope inside the caller's current one. Fiber; does not suspend.
 * Returns 0; THRUM_ENOTFIBER. A scope opened inside a cancelled one is born cancelled. */
THRUM_API THRUM_MUST_CHECK int thrum_scope_open(thrum_scope *s);

/* Run the scope's finalizers once every child has ended, then report.
 *   caller    the fiber that opened `s` (another: -EPERM; its own child or finalizer: -EDEADLK)
 *   suspends  yes; not a cancel point: closing always completes
 *   releases  every fx.arg borrowed by thrum_spawn()
 *   returns   0 or the primary failure: the body's (thrum_scope_fail), else the first child's in completion order, else
 *             -ETIMEDOUT if its own deadline fired, else a finalizer's, else -ECANCELED if a cancel from outside ended
 *             a child; a scope cancelled by thrum_scope_cancel() that met no failure closes with 0 */
THRUM_API int thrum_scope_close(thrum_scope *s);

/* Spawn a child. It starts when a worker is free, when the caller suspends, or inside join and close.
 *   caller    the fiber that opened `s`, or one that lives inside it; does not suspend
 *   borrows   `t` and fx.arg until the child was joined or the scope closed
 *   returns   0; THRUM_ECLOSED or -ECANCELED if the scope is closing or cancelled: the body will not run (S6);
 *             THRUM_ENOTFIBER; -EINVAL for an effect without a function */
THRUM_API THRUM_MUST_CHECK int thrum_spawn(thrum_scope *s, thrum_task *t, thrum_fx fx);

/* Spawn a child in storage of the runtime's, freed when it ends: for accept loops. Also -ENOMEM. */
THRUM_API THRUM_MUST_CHECK int thrum_go(thrum_scope *s, thrum_fx fx);

typedef struct thrum_spawn_opts {
	size_t size;
	const char *name;   /* borrowed; shown in reports */
	unsigned worker;    /* 1-based: start it on this worker; 0 = any */
	bool isolated;      /* its failure stays with join, the scope is not cancelled (K7) */
	thrum_fx drop;      /* run, shielded, instead of a body that never starts */
	bool movable;       /* a permission: a started fiber may change its worker. This version never makes use of it */
	bool daemon;        /* must be false in this version: -ENOTSUP */
	size_t stack_bytes; /* must be 0 in this version: -ENOTSUP; the runtime's .stack_bytes holds for all */
} thrum_spawn_opts;
/* Spawn with options; `o` may be NULL and is not kept, but its name is. NULL `t`: as thrum_go(). Codes of thrum_spawn() and
 * thrum_go(); -EINVAL for a worker that is not there; -ENOTSUP as said above. */
#define THRUM_SPAWN_OPTS(...) (&(thrum_spawn_opts){ .size = sizeof(thrum_spawn_opts), __VA_ARGS__ })
THRUM_API THRUM_MUST_CHECK int thrum_spawn_with(thrum_scope *s, thrum_task *t, thrum_fx fx, const thrum_spawn_opts *o);

/* Wait for a child and return its code. May run an unstarted child on the caller's stack.
 *   caller    a fiber inside the child's scope
 *   suspends  yes. For whoever opened the scope or spawned the child it is not a cancel point: the child's storage may
 *             lie in the caller's frame, so the join returns when the child has ended. For any other fiber it is one:
 *             -ECANCELED, and the child goes on (K3).
 *   returns   the child's code, also in a cancelled scope; -EDEADLK for itself or a child it runs inside of (K6) */
THRUM_API int thrum_join(thrum_task *t);

/* Ask one child, or everything in a scope, to stop. Does not wait. Any thread; the storage must be live. Idempotent. */
THRUM_API void thrum_task_cancel(thrum_task *t);
THRUM_API void thrum_scope_cancel(thrum_scope *s);
THRUM_API void thrum_scope_cancel_why(thrum_scope *s, const thrum_reason *why);

/* The body failed with `code` (< 0): cancels the children; close returns code. For -ECANCELED that is the echo of a
 * cancel of this scope, the cancel decides instead. Returns 0; -EINVAL if code >= 0. Fiber inside the scope. */
THRUM_API int thrum_scope_fail(thrum_scope *s, int code);

/* Set or move the deadline (T12). <= 0 fires at once. When it fires the scope is cancelled and close returns -ETIMEDOUT.
 * The fiber that opened the scope; does not suspend. Returns 0; -EPERM; -EALREADY once it fired. */
THRUM_API int thrum_scope_deadline(thrum_scope *s, thrum_dur from_now);

/* A cancel switch outside any scope: for signal handlers and foreign threads. */
THRUM_API void thrum_token_init(thrum_token *t);
THRUM_API void thrum_token_cancel(thrum_token *t);    /* any thread, any signal handler; idempotent */
THRUM_API bool thrum_token_cancelled(const thrum_token *t);
/* Cancel `s` when `t` is cancelled; `t` outlives `s`. The fiber that opened the scope (else
 * -EPERM, THRUM_ENOTFIBER). 0; -EALREADY if `s` has a token; -EBUSY if `t` serves another runtime just now. */
THRUM_API THRUM_MUST_CHECK int thrum_scope_link(thrum_scope *s, thrum_token *t);

/* A finalizer: runs when the scope closes, last registered first, shielded, whatever happened. It may suspend and may
 * open scopes of its own. Fiber inside the scope. Borrows `d` and fx.arg until then.
 * Returns 0; THRUM_ECLOSED on a closing scope: the finalizer has run, here (S5). */
THRUM_API int thrum_defer(thrum_scope *s, thrum_deferred *d, thrum_fx fx);
/* Take a finalizer back. True exactly once, and then it will not run; false if it ran or runs (S8).
 * Any thread, while the scope's storage is live. */
THRUM_API bool thrum_undefer(thrum_deferred *d);
/* Inside a finalizer or release: the code that the body ended with (A4, S4). 0 elsewhere. */
THRUM_API int thrum_exit_code(void);

/* Cancel point that does nothing else: one relaxed load, and at most every 100 us it serves its worker's timers and
 * ring, so that a busy loop meets its own deadline. 0 or -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API int thrum_check(void);
/* Let the other ready fibers of this worker run. Suspends; cancel point. */
THRUM_API int thrum_yield(void);
/* Run `fx` so that cancels from outside do not reach it; scopes, timeouts and races inside work as ever (U1). Its end
 * is not a cancel point. Returns fx's code. */
THRUM_API int thrum_shield(thrum_fx fx);
/* The nearest deadline that applies here, up to the nearest shield; INT64_MAX if none (T4). */
THRUM_API thrum_time thrum_deadline(void);
/* Why this fiber is cancelled; NULL when it is not. Valid until the scope closes. */
THRUM_API const thrum_reason *thrum_cancel_reason(void);

/* `return thrum_die("...")`: a defect. Says why on stderr with the site; the code THRUM_EDIED passes every or_else. */
#define thrum_die(why) thrum_die_at_((why), __FILE__, __LINE__)
THRUM_API int thrum_die_at_(const char *why, const char *file, unsigned line);

#ifdef __cplusplus
}
#endif
#endif
