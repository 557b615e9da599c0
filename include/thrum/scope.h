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
	uint64_t opaque_[56];
} thrum_scope;
typedef struct thrum_task {
	uint64_t opaque_[40];
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
	THRUM_CANCEL_DEADLOCK,     /* test clock: nothing could ever run again */
	THRUM_CANCEL_DAEMON        /* a daemon's scope has no other children left (S2) */
};
typedef struct thrum_reason {
	unsigned kind;
	int code;
	size_t index;
	const char *file; /* where the cancel was called; NULL when nobody called, as for a deadline */
	unsigned line;
	const void *by;   /* thrum_self_id() of the canceller; NULL for a plain thread */
	const char *name; /* its name, if it has one */
} thrum_reason;

/* The identity of the running effect, for reports and comparisons: two that run at the same time differ, also where a
 * child runs on its parent's stack (K10). NULL on a plain thread. */
THRUM_API const void *thrum_self_id(void);

/* Open a scope inside the caller's current one. Fiber; does not suspend.
 * Returns 0; THRUM_ENOTFIBER. A scope opened inside a cancelled one is born cancelled. */
THRUM_API THRUM_MUST_CHECK int thrum_scope_open(thrum_scope *s);

typedef struct thrum_scope_opts {
	size_t size;
	bool parallel_finalizers; /* finalizers run all at once, in no order, each shielded and as a child of its own (S12) */
} thrum_scope_opts;
#define THRUM_SCOPE_OPTS(...) (&(thrum_scope_opts){ .size = sizeof(thrum_scope_opts), __VA_ARGS__ })
/* The same with options; NULL means none, and they are not kept. Also -EINVAL. */
THRUM_API THRUM_MUST_CHECK int thrum_scope_open_with(thrum_scope *s, const thrum_scope_opts *o);

/* Run the scope's finalizers once every child has ended, then report.
 *   caller    the fiber that opened `s` (another: -EPERM; its own child or finalizer: -EDEADLK)
 *   suspends  yes; not a cancel point: closing always completes
 *   releases  every fx.arg borrowed by thrum_spawn()
 *   returns   0 or the primary failure: the body's (thrum_scope_fail), else the first child's in completion order, else
 *             -ETIMEDOUT if its own deadline fired, else a finalizer's, else -ECANCELED if a cancel from outside ended
 *             a child; a scope cancelled by thrum_scope_cancel() that met no failure closes with 0;
 *             THRUM_ENOTFIBER */
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
	thrum_fx drop;      /* run, shielded, instead of a body that never starts: it was cancelled before, or there was no
	                       stack for it (thrum_exit_code() is -ENOMEM then) */
	bool movable;       /* a permission: a started fiber may change its worker. This version never makes use of it */
	bool daemon;        /* the scope's close does not wait for it: once all others have ended it is cancelled (reason
	                       THRUM_CANCEL_DAEMON), and only then awaited; that cancel is no failure (S2) */
	size_t stack_bytes; /* it runs on a fiber of its own with so much stack, rounded up to pages: from 16 KiB to 1 GiB. 0:
	                       on one with the runtime's .stack_bytes, or on the stack of who joins it. Only what it uses takes
	                       memory, until it ends. Without room for it the child ends with -ENOMEM, body not run */
} thrum_spawn_opts;
/* Spawn with options; `o` may be NULL and is not kept, but its name is. NULL `t`: as thrum_go(). Codes of thrum_spawn() and
 * thrum_go(); -EINVAL for a worker that is not there, or a size of stack out of bounds. */
#define THRUM_SPAWN_OPTS(...) (&(thrum_spawn_opts){ .size = sizeof(thrum_spawn_opts), __VA_ARGS__ })
THRUM_API THRUM_MUST_CHECK int thrum_spawn_with(thrum_scope *s, thrum_task *t, thrum_fx fx, const thrum_spawn_opts *o);

/* Wait for a child and return its code. May run an unstarted child on the caller's stack.
 *   caller    a fiber inside the child's scope
 *   suspends  yes. For whoever opened the scope or spawned the child it is not a cancel point: the child's storage may
 *             lie in the caller's frame, so the join returns when the child has ended. For any other fiber it is one:
 *             -ECANCELED, and the child goes on (K3).
 *   returns   the child's code, also in a cancelled scope; -EDEADLK for itself or a child it runs inside of (K6). A debug
 *             build (of the library, without NDEBUG) also finds circles of joins and returns it to the one that closes
 *             them; there the child goes on. But a spawner that has not opened the scope may hold the child's storage: the
 *             process aborts, naming both. THRUM_ENOTFIBER */
THRUM_API int thrum_join(thrum_task *t);

/* Ask one child, or everything in a scope, to stop. Does not wait. Any thread; the storage must be live. Idempotent. The
 * macros add the place to the reason (G2); the functions of the same names are for other languages.
 * thrum_scope_cancel_why: with a reason of the caller's making, which is copied. */
THRUM_API void thrum_task_cancel(thrum_task *t);
THRUM_API void thrum_scope_cancel(thrum_scope *s);
THRUM_API void thrum_scope_cancel_why(thrum_scope *s, const thrum_reason *why);
THRUM_API void thrum_task_cancel_at_(thrum_task *t, const char *file, unsigned line);
THRUM_API void thrum_scope_cancel_at_(thrum_scope *s, const char *file, unsigned line);
#define thrum_task_cancel(t) thrum_task_cancel_at_((t), __FILE__, __LINE__)
#define thrum_scope_cancel(s) thrum_scope_cancel_at_((s), __FILE__, __LINE__)

/* The body failed with `code` (< 0): cancels the children; close returns code. For -ECANCELED that is the echo of a
 * cancel of this scope, the cancel decides instead. Returns 0; -EINVAL if code >= 0; THRUM_ENOTFIBER. Fiber inside the scope. */
THRUM_API int thrum_scope_fail(thrum_scope *s, int code);
THRUM_API int thrum_scope_fail_at_(thrum_scope *s, int code, const char *file, unsigned line);
#define thrum_scope_fail(s, code) thrum_scope_fail_at_((s), (code), __FILE__, __LINE__)

/* Set or move the deadline (T12). <= 0 fires at once. When it fires the scope is cancelled and close returns -ETIMEDOUT.
 * The fiber that opened the scope; does not suspend. Returns 0; -EPERM; -EALREADY once it fired; THRUM_ENOTFIBER. */
THRUM_API int thrum_scope_deadline(thrum_scope *s, thrum_dur from_now);

/* A cancel switch outside any scope: for signal handlers and foreign threads. Caller storage, nothing to free. */
THRUM_API void thrum_token_init(thrum_token *t);      /* any thread, before anybody else uses it */
THRUM_API void thrum_token_cancel(thrum_token *t);    /* any thread, any signal handler; idempotent */
THRUM_API bool thrum_token_cancelled(const thrum_token *t); /* any thread, any signal handler */
/* Cancel `s` when `t` is cancelled; `t` outlives `s`. The fiber that opened the scope (else
 * -EPERM, THRUM_ENOTFIBER). 0; -EALREADY if `s` has a token; -EBUSY if `t` serves another runtime just now. */
THRUM_API THRUM_MUST_CHECK int thrum_scope_link(thrum_scope *s, thrum_token *t);

/* A finalizer: runs when the scope closes, last registered first, shielded, whatever happened. It may suspend and may
 * open scopes of its own. Fiber inside the scope. Borrows `d` and fx.arg until then.
 * Returns 0; THRUM_ECLOSED on a closing scope: the finalizer has run, here (S5); -EINVAL without a function;
 * THRUM_ENOTFIBER. */
THRUM_API int thrum_defer(thrum_scope *s, thrum_deferred *d, thrum_fx fx);
/* Take a finalizer back. True exactly once, and then it will not run; false if it ran or runs (S8).
 * Any thread, while the scope's storage is live. */
THRUM_API bool thrum_undefer(thrum_deferred *d);
/* Inside a finalizer or release: the code that the body ended with (A4, S4). 0 elsewhere, also on a plain thread. */
THRUM_API int thrum_exit_code(void);

/* Cancel point that does nothing else: one relaxed load, and at most every 100 us it serves its worker's timers and
 * ring, so that a busy loop meets its own deadline. 0 or -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API int thrum_check(void);
/* Let the other ready fibers of this worker run. Fiber; suspends; cancel point. 0 or -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API int thrum_yield(void);
/* Run `fx` so that cancels from outside do not reach it; scopes, timeouts and races inside work as ever (U1). Its end
 * is not a cancel point. Fiber; suspends if fx does. Returns fx's code; -EINVAL without a function; THRUM_ENOTFIBER. */
THRUM_API int thrum_shield(thrum_fx fx);
/* A shielded region that can lift its own shield: run(restore, arg) is shielded, and thrum_restore_run(restore, fx) runs fx
 * so that cancels from outside reach it again, besides those of scopes opened in the region. It lifts exactly this
 * region's shield: inside a further shield or finalizer, or in another effect than the one that opened the region,
 * a child included, it changes nothing and just runs fx (U2, U5). A cancel seen in there does not end the region (U3).
 * Fiber; suspend if what they run does. thrum_mask: run's code; thrum_restore_run: fx's; -EINVAL without a function.
 * (The pair is uninterruptibleMask of ZIO and Cats Effect.) */
typedef struct thrum_restore thrum_restore;
THRUM_API int thrum_mask(int (*run)(thrum_restore *restore, void *arg), void *arg);
THRUM_API int thrum_restore_run(thrum_restore *restore, thrum_fx fx);
/* The nearest deadline on this fiber's clock that applies here, up to the nearest shield; INT64_MAX if none (T4), or on a
 * plain thread. Does not suspend. */
THRUM_API thrum_time thrum_deadline(void);
/* Why this fiber is cancelled; NULL when it is not, or on a plain thread. Does not suspend. Valid until the scope closes. */
THRUM_API const thrum_reason *thrum_cancel_reason(void);

/* `return thrum_die("...")`: a defect. Reported with why and the site (thrum/watch.h; by default on stderr); returns
 * THRUM_EDIED, which passes every or_else. `why` is borrowed for as long as the cause lives: a literal. Any thread; does not
 * suspend. */
#define thrum_die(why) thrum_die_at_((why), __FILE__, __LINE__)
THRUM_API int thrum_die_at_(const char *why, const char *file, unsigned line);

#ifdef __cplusplus
}
#endif
#endif
