/* io/process.c: waiting for processes, stopping and reaping them. The states are in process.h, starting is in spawn.c.
 *
 * Who waits asks for the end without taking it (WNOWAIT): first the rest of the group is killed, whose number the zombie still
 * holds, then the zombie is reaped. */
#include "op.h"
#include "own_errno.h"
#include "process.h"
#include "sys.h"
#include "../core/hooks.h"
#include "../core/node.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <thrum/combine.h>
#include <thrum/io.h>
#include <unistd.h>

#define GRACE_NS INT64_C(5000000000)

/* --- signals --- */

/* Its group, which may be empty by now: a program can leave it, and is signalled then itself; what kills must reach it in any
 * case. Until it is reaped its number is its own. */
static int signal_group(pid_t pid, int sig)
{
	int code = th_sys_kill(-pid, sig) < 0 ? -errno : 0;

	if (code == -ESRCH || sig == SIGKILL)
		code = th_sys_kill(pid, sig) < 0 ? -errno : 0;
	return code;
}

/* Under the lock, not reaped. */
static int send_signal(const struct th_process *p, int sig)
{
	int saved = th_errno_begin(), code;

	if (p->group)
		code = signal_group(p->pid, sig);
	else
		code = th_sys_kill(p->pid, sig) < 0 ? -errno : 0;
	th_errno_end(saved);
	return code;
}

static int send_if_alive(struct th_process *p, int sig)
{
	int code;

	th_lock(&p->lock);
	code = p->reaped ? -ESRCH : send_signal(p, sig);
	th_unlock(&p->lock);
	return code;
}

int thrum_kill_process(thrum_process *process, int sig)
{
	return send_if_alive(th_process_of(process), sig);
}

/* --- the end --- */

static int ask(const struct th_process *p, siginfo_t *ret_info, int flags)
{
	int saved = th_errno_begin(), code;

	ret_info->si_pid = 0;
	do {
		code = th_sys_waitid(P_PIDFD, (id_t)p->pidfd, ret_info, WEXITED | WNOHANG | flags) < 0 ? -errno : 0;
	} while (code == -EINTR);
	th_errno_end(saved);
	return code;
}

static thrum_process_status status_of(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (thrum_process_status){ .code = info->si_status };
	return (thrum_process_status){ .signal = info->si_status, .core = info->si_code == CLD_DUMPED };
}

/* Reap it if it has ended. False: it has not. */
static bool reap(struct th_process *p)
{
	siginfo_t info;

	th_lock(&p->lock);
	if (!p->reaped) {
		p->code = ask(p, &info, WNOWAIT);
		p->reaped = p->code < 0 || info.si_pid != 0;
		if (p->reaped && p->code == 0) {
			if (p->group)
				(void)send_signal(p, SIGKILL);
			p->code = ask(p, &info, 0);
			p->status = status_of(&info);
		}
	}
	th_unlock(&p->lock);
	return p->reaped;
}

/* It has ended, yet cannot be reaped as long as a tracer keeps it (strace, a debugger); no event tells when that is over. */
static void wait_and_reap(struct th_process *p)
{
	while (!reap(p)) {
		(void)thrum_wait_fd(p->pidfd, POLLIN);
		if (reap(p))
			return;
		(void)th_wait_a_moment();
	}
}

/* --- stopping: shielded --- */

static int wait_readable(void *fd)
{
	return thrum_wait_fd(*(int *)fd, POLLIN);
}

/* Real time, whatever the runtime's clock says: with the pidfd's poll in flight a virtual one would stand still. Without the
 * means to measure the grace there is none. */
static void wait_for_grace(struct th_process *p)
{
	struct itimerspec in = { .it_value = { .tv_sec = p->grace_ns / 1000000000, .tv_nsec = p->grace_ns % 1000000000 } };
	int saved = th_errno_begin();
	int timer = th_sys_timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (timer >= 0)
		(void)th_sys_timerfd_settime(timer, 0, &in, NULL);
	th_errno_end(saved);
	if (timer < 0)
		return;
	(void)thrum_race((thrum_fx){ wait_readable, &p->pidfd }, (thrum_fx){ wait_readable, &timer });
	(void)thrum_close(timer);
}

static int stop(void *arg)
{
	struct th_process *p = arg;

	if (reap(p))
		return 0;
	if (p->grace_ns > 0) {
		(void)send_if_alive(p, p->stop_signal);
		(void)send_if_alive(p, SIGCONT); /* one that was stopped hears it only then */
		wait_for_grace(p);
	}
	if (!reap(p))
		(void)send_if_alive(p, SIGKILL);
	wait_and_reap(p);
	return 0;
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		(void)thrum_close(*fd);
	*fd = -1;
}

/* Of the scope. */
static int finish(void *arg)
{
	struct th_process *p = arg;

	(void)stop(p);
	close_end(&p->in);
	close_end(&p->out);
	close_end(&p->err);
	close_end(&p->pidfd);
	return 0;
}

/* --- the calls --- */

static bool kind_ok(thrum_stdio io, bool may_be_stdout)
{
	return io.kind >= THRUM_STDIO_INHERIT && io.kind <= (may_be_stdout ? THRUM_STDIO_STDOUT : THRUM_STDIO_PIPE);
}

bool th_process_opts_ok(const thrum_process_opts *o)
{
	return o && o->size == sizeof *o && o->argv && o->argv[0] && kind_ok(o->in, false) && kind_ok(o->out, false) &&
	       kind_ok(o->err, true) && o->stop_signal >= 0 && o->stop_signal <= SIGRTMAX;
}

static int start(struct th_process *p, const thrum_process_opts *o)
{
	int code = th_process_exec(p, o);

	if (code < 0)
		return code;
	p->group = !o->same_group;
	p->stop_signal = o->stop_signal ? o->stop_signal : SIGTERM;
	p->grace_ns = o->grace.ns ? o->grace.ns : GRACE_NS;
	th_lock_init(&p->lock);
	th_init(&p->x_waiting, 0);
	return 0;
}

int thrum_spawn_process(thrum_scope *s, thrum_process *process, const thrum_process_opts *o)
{
	struct th_process *p = th_process_of(process);
	int code;

	if (!th_self())
		return THRUM_ENOTFIBER;
	if (!th_process_opts_ok(o))
		return -EINVAL;
	if (th_cancelled(th_self()))
		return -ECANCELED;
	code = start(p, o);
	return code < 0 ? code : thrum_defer(s, &p->deferred, (thrum_fx){ finish, p });
}

static int wait_or_stop(struct th_process *p)
{
	struct th_fiber *f = th_self();
	int code = 0;

	while (code != -ECANCELED) {
		code = thrum_wait_fd(p->pidfd, POLLIN);
		if (code == -ECANCELED)
			break;
		if (reap(p))
			return p->code;
		code = th_wait_a_moment();
	}
	(void)th_run_shielded(f, (thrum_fx){ stop, p }, f->exit_code);
	return code;
}

int thrum_wait_process(thrum_process *process, thrum_process_status *ret)
{
	struct th_process *p = th_process_of(process);
	struct th_fiber *f = th_self();
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_xchg_acq(&p->x_waiting, 1))
		return -EBUSY;
	code = p->reaped && !th_cancelled(f) ? p->code : wait_or_stop(p);
	if (code == 0 && ret)
		*ret = p->status;
	th_store_rel(&p->x_waiting, 0);
	return code;
}

int thrum_process_check(const thrum_process_status *status)
{
	if (status->signal)
		return THRUM_ESIGNALED;
	return status->code ? THRUM_EEXIT : 0;
}
