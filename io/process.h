/* io/process.h: what a process is, for io/process.c and io/output.c. */
#ifndef TH_PROCESS_H
#define TH_PROCESS_H
#include "../core/lock.h"
#include <sys/types.h>
#include <thrum/process.h>

/* thrum_process's real shape.
 *
 *           spawn              it ends                         reap
 *   (none) ──────► RUNNING ──────────► a zombie, still RUNNING ──────► REAPED: status, or code
 *                     └── stop: stop_signal, grace, SIGKILL ──┘
 * As long as it is not reaped its number is nobody else's, and so is that of its group; signals go out under the lock that
 * reaps. */
struct th_process {
	int in, out, err;
	pid_t pid;
	int pidfd;
	int stop_signal;
	int64_t grace_ns;
	struct th_lock lock;
	bool group;
	bool reaped;             /* under the lock */
	int code;                /* what a wait returns, once reaped */
	thrum_process_status status;
	th_atomic_u32 x_waiting;
	thrum_deferred deferred;
};
_Static_assert(sizeof(struct th_process) <= sizeof(thrum_process), "thrum_process holds a th_process");

static inline struct th_process *th_process_of(thrum_process *p)
{
	return (struct th_process *)(void *)p;
}

/* The options are such as spawn takes them. */
bool th_process_opts_ok(const thrum_process_opts *o);
/* Start it: .in, .out, .err, .pid and .pidfd of *p. The options are good. On a fiber; a code of thrum_spawn_process(), and then
 * nothing is left. io/spawn.c; in the simulation io/sim/process.c. */
int th_process_exec(struct th_process *p, const thrum_process_opts *o);

#endif
