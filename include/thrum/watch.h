/* thrum/watch.h: being told of what goes wrong without anybody's return value saying so.
 *
 * A runtime reports to the hook that its options name (.observe, .observe_arg), and without one writes the report to
 * stderr with "thrum: " before it. The hook may be called by any worker, by any fiber and by the runtime's own watching
 * thread, several at a time, with no lock of the runtime held. It must not suspend; calls that do not are allowed. */
#ifndef THRUM_WATCH_H
#define THRUM_WATCH_H
#include <thrum/base.h>
#include <thrum/cause.h>
#ifdef __cplusplus
extern "C" {
#endif

enum {
	THRUM_REPORT_STUCK_WORKER = 1,   /* a fiber has run for too long without suspending (X8) */
	THRUM_REPORT_SLOW_SCOPE,         /* a scope was cancelled long ago and is still not closed (Z9, S10) */
	THRUM_REPORT_BUSY_ADVANCE,       /* thrum_clock_advance() waits for a fiber that does not suspend (C7) */
	THRUM_REPORT_UNOBSERVED_FAILURE, /* the failure of an isolated child that nobody joined (K7) */
	THRUM_REPORT_LOST_RACE_FAILURE,  /* an entrant failed in a race that another one won (R7); not in a hedge; without a
	                                    hook it is not told */
	THRUM_REPORT_DIED,               /* thrum_die() (X11) */
	THRUM_REPORT_DEADLOCK,           /* nothing can ever run again (C6), or fibers wait for each other in a circle */
	THRUM_REPORT_RESTARTED,          /* a supervisor restarts a child that ended (D28); without a hook it is not told */
	THRUM_REPORT_METER,              /* a metered runtime has closed: thrum/meter.h */
	THRUM_REPORT_LENT                /* .index buffers of thrum_recv_lent() were not returned when the runtime closed */
};

/* What is not known is 0 or NULL. Everything it points to is valid during the call of the hook only. */
typedef struct thrum_report {
	size_t size;          /* of this struct in the library that reports */
	unsigned kind;
	int code;             /* of the failure */
	const char *text;     /* for people: one line, or several with '\n' between them */
	const char *name;     /* of the child: thrum_spawn_opts.name */
	size_t index;         /* its number in its scope */
	int (*run)(void *);   /* its effect's function */
	unsigned worker;      /* 1-based */
	unsigned line;
	const char *file;
	const thrum_cause *cause; /* why it failed, as a tree */
} thrum_report;

/* For .stuck_ms and .slow_scope_ms of thrum_opts: do not watch. */
#define THRUM_WATCH_OFF UINT32_MAX

enum {
	THRUM_GRACE_LOG = 0, /* report it, once, and wait on */
	THRUM_GRACE_ABORT,   /* report it, then abort the process */
	THRUM_GRACE_WAIT     /* no report: this one may take its time */
};
/* How long `s` may take from its cancel to its close, instead of .slow_scope_ms, and what then (S10). Whatever the policy,
 * the close waits for every child. On the real clock the report may be late by a quarter of the grace.
 *   caller   the fiber that opened `s`; does not suspend. May be called again, also after the cancel or a report.
 *   returns  0; THRUM_ENOTFIBER; -EPERM; -EINVAL for grace < 0 or a policy that is none of these */
THRUM_API int thrum_scope_grace(thrum_scope *s, thrum_dur grace, unsigned policy);

/* Around code that must not be suspended, above all while it holds a lock of the operating system, which belongs to the
 * thread and so to every fiber of this worker (X4). A suspension in between, or the fiber's end, aborts with its name, in
 * every build; calls that do not come to wait are fine. They nest. Fiber; on a plain thread they do nothing.
 * A debug build sees a robust pthread mutex held over a suspension by itself; other kinds cannot be seen. */
THRUM_API void thrum_nosuspend_begin(void);
THRUM_API void thrum_nosuspend_end(void);

#ifdef __cplusplus
}
#endif
#endif
