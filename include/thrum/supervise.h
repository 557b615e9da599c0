/* thrum/supervise.h: supervision: keep a list of effects running. A child that ends although it should not is
 * restarted, by a schedule, alone or together with those that depend on it; one that cannot be kept up is given up, and
 * the failure goes to whoever supervises the supervisor. The words are Erlang/OTP's, and so are the rules where
 * nothing else is said. All of it on the fiber's clock, so that a test clock tests it.
 *
 *     const thrum_schedule backoff = thrum_exponential(thrum_ms(10), thrum_sec(5));
 *     const thrum_child_spec children[] = {
 *             { .fx = cache_fx(&cache), .name = "cache", .schedule = &backoff, .reset_after = thrum_min(1) },
 *             { .fx = server_fx(&server), .name = "server" },
 *             { .fx = import_fx(&job), .name = "import", .restart = THRUM_RESTART_TRANSIENT },
 *     };
 *     int code = thrum_supervise(children, 3, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE)); */
#ifndef THRUM_SUPERVISE_H
#define THRUM_SUPERVISE_H
#include <thrum/base.h>
#include <thrum/combine.h>
#include <thrum/fx.h>
#include <thrum/retry.h>
#ifdef __cplusplus
extern "C" {
#endif

/* When a child that has ended by itself is restarted. A failure is any negative code: a defect (THRUM_EDIED) too, since
 * a fresh start is the answer to a crash; and -ECANCELED of a child that nobody cancelled. The end of a child that the
 * supervisor stopped, or that a cancel from outside ended, is neither success nor failure. */
enum {
	THRUM_RESTART_PERMANENT = 0, /* always */
	THRUM_RESTART_TRANSIENT,     /* after a failure; a success ends it for good */
	THRUM_RESTART_TEMPORARY      /* never; its failure is only reported (THRUM_REPORT_UNOBSERVED_FAILURE) */
};

/* Who is restarted with it. The others of a group are cancelled and awaited first, one after the other, the last in the
 * list first; then, after the delay, the whole group is started in the order of the list, also a transient child that
 * had succeeded before. A temporary child that is stopped with its group has ended for good. */
enum {
	THRUM_ONE_FOR_ONE = 0,       /* nobody */
	THRUM_ONE_FOR_ALL,           /* all others */
	THRUM_REST_FOR_ONE           /* those after it in the list */
};

/* Unused fields are zero. */
typedef struct thrum_child_spec {
	thrum_fx fx;
	const char *name;               /* may be NULL; shown in reports and causes */
	unsigned restart;               /* THRUM_RESTART_* */
	/* The delay before each restart that this child causes. It is asked with the code that the child ended with;
	 * when it ends the supervisor gives up. Its run begins with the supervisor. NULL: at once, for ever. */
	const thrum_schedule *schedule;
	thrum_dur reset_after;          /* a child that ran for so long was well: the schedule begins anew. 0: never */
	size_t stack_bytes;             /* as in thrum_spawn_opts */
} thrum_child_spec;

typedef struct thrum_supervisor_opts {
	size_t size;                    /* set by THRUM_SUPERVISOR_OPTS */
	unsigned strategy;              /* THRUM_ONE_FOR_ONE, ... */
	/* Give up when a restart would be one more than so many within the period before it, all children together;
	 * the restart of a group counts once. 0 = 3, in 5 s; at most 2^20; THRUM_UNBOUNDED: never. */
	size_t max_restarts;
	thrum_dur period;               /* 0 = 5 s; THRUM_FOREVER: since the start */
} thrum_supervisor_opts;
#define THRUM_SUPERVISOR_OPTS(...) (&(thrum_supervisor_opts){ .size = sizeof(thrum_supervisor_opts), __VA_ARGS__ })

/* Run the children until every one has ended for good, or the supervisor gives up, or it is cancelled. No child is
 * alive when it returns, and no child ever twice: what a run has acquired is released (its finalizers have run) before the
 * next one starts. Each run is a child of its own, with an identity and the name and number of its spec. They start in
 * the order of the list: a child's fiber runs, and is about to call its effect, before the next one is started.
 *
 * Giving up, it cancels the others (reason THRUM_CANCEL_SIBLING) and awaits them one after the other, the last in the
 * list first. thrum_last_cause() then tells why the child failed, with the number of its runs as .attempts (of a whole
 * around its cause, where that says already how often something was tried), then what failed while others ended.
 * Each restart is reported to the observer, if there is one (THRUM_REPORT_RESTARTED).
 *   caller    a fiber, whose fiber it uses; suspends; cancel point
 *   borrows   the specs and what they point to, until it returns; NULL `o`: the defaults
 *   returns   0: all have ended for good, of none at once
 *             the failure of the child that made it give up; -ECHILD if that child had not failed (a permanent one that
 *             succeeded too often)
 *             -ECANCELED: cancelled before all had ended for good; or the failure of a child that failed while it was
 *             wound up (G1)
 *             -EINVAL: an effect without a function, unknown options; -EINVAL, -E2BIG for a bad schedule; -ENOMEM
 *             for its own records; then nothing ran. THRUM_ENOTFIBER */
THRUM_API int thrum_supervise(const thrum_child_spec *specs, size_t n, const thrum_supervisor_opts *o);

/* As a value, so that supervisors nest: a supervisor that gives up is a child that failed. */
typedef struct thrum_supervise_op {
	const thrum_child_spec *specs;
	size_t n;
	const thrum_supervisor_opts *opts;
} thrum_supervise_op;
THRUM_API thrum_fx thrum_supervise_fx(thrum_supervise_op *op);

#ifdef __cplusplus
}
#endif
#endif
