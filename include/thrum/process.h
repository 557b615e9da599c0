/* thrum/process.h: child processes. A process belongs to a scope, as a child does: when the scope closes, or a wait for it is
 * cancelled, it is stopped and reaped. So none is left behind, and no zombie.
 *
 * Stopping sends .stop_signal (SIGTERM) and SIGCONT to the process group, and SIGKILL after .grace. When the process itself
 * has ended, in whatever way, what is left of its group gets SIGKILL at once. So what it started goes with it, but for what
 * has left the group: a process that calls setsid(2) or setpgid(2), as daemons do, is out of reach. Not so the process itself:
 * it is stopped in whatever group it is; but not asked, only killed, if it has left others behind in its group.
 *
 * Processes live in real time: .grace does too, also on a virtual clock, and one that is waited for holds a jump of the clock
 * back like any I/O (C3). All calls: by a fiber (else THRUM_ENOTFIBER); suspend; cancel points, but where it says otherwise. */
#ifndef THRUM_PROCESS_H
#define THRUM_PROCESS_H
#include <thrum/base.h>
#include <thrum/scope.h>
#ifdef __cplusplus
extern "C" {
#endif

/* What a process has as stdin, stdout or stderr: the caller's own; /dev/null; a descriptor, which stays the caller's; a new
 * pipe; for stderr: what stdout is. */
enum { THRUM_STDIO_INHERIT, THRUM_STDIO_NULL, THRUM_STDIO_FD, THRUM_STDIO_PIPE, THRUM_STDIO_STDOUT };
typedef struct thrum_stdio {
	int kind, fd;
} thrum_stdio;
static inline thrum_stdio thrum_stdio_kind_(int kind, int fd)
{
	thrum_stdio r;
	r.kind = kind;
	r.fd = fd;
	return r;
}
static inline thrum_stdio thrum_to_null(void) { return thrum_stdio_kind_(THRUM_STDIO_NULL, -1); }
static inline thrum_stdio thrum_to_fd(int fd) { return thrum_stdio_kind_(THRUM_STDIO_FD, fd); }
static inline thrum_stdio thrum_to_pipe(void) { return thrum_stdio_kind_(THRUM_STDIO_PIPE, -1); }
static inline thrum_stdio thrum_to_stdout(void) { return thrum_stdio_kind_(THRUM_STDIO_STDOUT, -1); }

typedef struct thrum_process_opts {
	size_t size;
	const char *const *argv; /* the program and its arguments, NULL at the end */
	const char *const *envp; /* "NAME=value", NULL at the end; NULL: the caller's environment */
	const char *cwd;         /* NULL: the caller's. A relative program or path is looked for from there */
	bool search_path;        /* a program without a slash is looked for in the caller's PATH */
	bool same_group;         /* no group of its own: then it alone is signalled, and what it starts is left alone */
	thrum_stdio in, out, err;
	int stop_signal;         /* 0: SIGTERM */
	thrum_dur grace;         /* between that and SIGKILL. 0: 5 s; negative: none */
	bool check;              /* thrum_run_process(), thrum_process_output(): an end other than exit code 0 is a failure */
} thrum_process_opts;
#define THRUM_PROCESS_OPTS(...) (&(thrum_process_opts){ .size = sizeof(thrum_process_opts), __VA_ARGS__ })
/* The argv of THRUM_PROCESS_OPTS: .argv = THRUM_ARGV("ls", "-l"). */
#define THRUM_ARGV(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* How a process ended: by a signal, or, signal 0, by exit(code). */
typedef struct thrum_process_status {
	int code;
	int signal;
	bool core;
} thrum_process_status;

/* Caller storage; in use until the scope has closed. in, out, err: our ends of its pipes, close-on-exec, or -1. They are
 * closed with the scope; whoever closes one earlier, or takes it, puts -1 there. Writing to a process that has ended may
 * raise SIGPIPE: ignore that signal, or use thrum_process_output(). */
typedef struct thrum_process {
	int in, out, err;
	int pid;
	uint64_t opaque_[14];
} thrum_process;

/* Start a process. It has no signals blocked, SIGPIPE and SIGCHLD at their defaults, and of our descriptors only those
 * without close-on-exec. posix_spawn(3) runs on the blocking pool, since it waits until the program has been loaded.
 *   caller    a fiber inside `s`
 *   borrows   `o` until the return, `p` until `s` has closed
 *   returns   0: the program runs; -ENOENT, -EACCES, … of the program or the directory, -EAGAIN, -EMFILE, -ENOMEM: nothing is
 *             left; -EINVAL for no program, options, or a kind that the call does not know; THRUM_ECLOSED if `s` is closing:
 *             it has been stopped; -ECHILD if it has ended and somebody else has reaped it already, see below */
THRUM_API THRUM_MUST_CHECK int thrum_spawn_process(thrum_scope *s, thrum_process *p, const thrum_process_opts *o);

/* Wait until it has ended, and reap it. May be called again, also when the scope has closed: the same answer. One fiber at a time (else -EBUSY).
 *   returns   0 and *ret (may be NULL); -ECANCELED, and then it has been stopped, reaped, and all that is shielded; -ECHILD if
 *             somebody else has reaped it, as where SIGCHLD is ignored: ours alone may wait for our processes */
THRUM_API THRUM_MUST_CHECK int thrum_wait_process(thrum_process *p, thrum_process_status *ret);

/* Send a signal to the group, or to the process with .same_group. Any thread; does not suspend. 0; -ESRCH once it has been
 * waited for; -EINVAL, -EPERM. */
THRUM_API int thrum_kill_process(thrum_process *p, int signal);

/* 0 for exit code 0; THRUM_EEXIT, THRUM_ESIGNALED for other ends. Any thread. */
THRUM_API int thrum_process_check(const thrum_process_status *status);

/* Start, wait, reap. ret may be NULL; it is written when the process has ended by itself, also with a failure by .check.
 * No pipes (-EINVAL). Codes of spawn and wait; with .check those of thrum_process_check(). */
THRUM_API THRUM_MUST_CHECK int thrum_run_process(const thrum_process_opts *o, thrum_process_status *ret);

/* The same, with `in` written to its stdin (in_size 0: .in decides) and what it writes to stdout and stderr collected, up to
 * `limit` bytes each; where .out or .err says something else than to inherit, that is done. All at once, so however much goes
 * which way, nothing jams; a process that does not read all its input is no failure. Never raises SIGPIPE. It waits for the
 * end of the pipes, too, so for whoever has them and has left the group.
 *   returns   0 and *ret, which is given back with thrum_process_output_free(), also after a failure by .check; else *ret is
 *             untouched: codes as above, -EFBIG for more than the limit (it was stopped), -ENOMEM */
typedef struct thrum_output {
	char *out, *err; /* with a NUL behind; NULL where nothing was collected */
	size_t out_size, err_size;
	thrum_process_status status;
} thrum_output;
THRUM_API THRUM_MUST_CHECK int thrum_process_output(const thrum_process_opts *o, const void *in, size_t in_size, size_t limit,
						    thrum_output *ret);
THRUM_API void thrum_process_output_free(thrum_output *output); /* any thread */

#ifdef __cplusplus
}
#endif
#endif
