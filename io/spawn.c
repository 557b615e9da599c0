/* io/spawn.c: starting a process.
 *
 * posix_spawn(3) suspends its thread until the program has been loaded, 250 us for a small one and a disk for a cold one, so
 * it is a job of the blocking pool (600 us in all). The pidfd comes from pidfd_open(2) afterwards: between the two the number
 * stays the process's own, running or zombie, since nobody but us reaps it. (A program that ignores SIGCHLD, or waits for any
 * child, breaks that; the worst is a signal to nobody.) */
#include "call.h"
#include "own_errno.h"
#include "process.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <thrum/io.h>
#include <unistd.h>

/* All we have to do with one of stdin, stdout, stderr. */
struct end {
	thrum_stdio want;
	int ours;  /* of a pipe, or -1 */
	int childs; /* what it gets, a descriptor of ours above the three, or -1 */
};

struct spawn {
	const thrum_process_opts *o;
	struct end ends[3];
	pid_t pid;
	int pidfd;
};

/* --- descriptors --- */

/* Above the three, so that what is put there for the child overwrites none that is still to be put. Takes fd if asked. */
static int move_up(int fd, bool take)
{
	int up = take && fd > STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int code = up < 0 ? -errno : up;

	if (take && up != fd)
		close(fd);
	return code;
}

static int open_pipe(struct end *e, bool input)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	e->ours = move_up(fds[input ? 1 : 0], true);
	e->childs = move_up(fds[input ? 0 : 1], true);
	return e->ours < 0 ? e->ours : e->childs;
}

static int open_end(struct end *e, bool input)
{
	if (e->want.kind == THRUM_STDIO_PIPE)
		return open_pipe(e, input);
	if (e->want.kind == THRUM_STDIO_FD)
		return e->childs = move_up(e->want.fd, false);
	return 0;
}

static int open_ends(struct spawn *s)
{
	int saved = th_errno_begin(), code = 0;

	for (int i = 0; i < 3 && code >= 0; i++)
		code = open_end(&s->ends[i], i == 0);
	th_errno_end(saved);
	return code;
}

static void close_fd(int fd)
{
	int saved = th_errno_begin();

	if (fd >= 0)
		close(fd);
	th_errno_end(saved);
}

static void close_ends(struct spawn *s, bool ours)
{
	for (int i = 0; i < 3; i++) {
		close_fd(s->ends[i].childs);
		if (ours)
			close_fd(s->ends[i].ours);
	}
}

/* --- on the pool --- */

static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	r = posix_spawnattr_setsigmask(attr, &set); /* the pool's threads have all blocked */
	/* What is ignored stays ignored over an exec: right for SIGHUP under nohup, wrong for what we are told to ignore. */
	sigaddset(&set, SIGPIPE);
	sigaddset(&set, SIGCHLD);
	return r ? r : posix_spawnattr_setsigdefault(attr, &set);
}

static int set_attr(posix_spawnattr_t *attr, const thrum_process_opts *o)
{
	short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
	int r = set_signals(attr);

	if (!o->same_group)
		flags |= POSIX_SPAWN_SETPGROUP; /* 0: its own number */
	return r ? r : posix_spawnattr_setflags(attr, flags);
}

static int set_end(posix_spawn_file_actions_t *acts, const struct end *e, int fd)
{
	if (e->childs >= 0)
		return posix_spawn_file_actions_adddup2(acts, e->childs, fd);
	if (e->want.kind == THRUM_STDIO_NULL)
		return posix_spawn_file_actions_addopen(acts, fd, "/dev/null", fd == 0 ? O_RDONLY : O_WRONLY, 0);
	if (e->want.kind == THRUM_STDIO_STDOUT)
		return posix_spawn_file_actions_adddup2(acts, STDOUT_FILENO, fd);
	return 0;
}

static int set_actions(posix_spawn_file_actions_t *acts, const struct spawn *s)
{
	int r = s->o->cwd ? posix_spawn_file_actions_addchdir_np(acts, s->o->cwd) : 0;

	for (int i = 0; i < 3 && r == 0; i++)
		r = set_end(acts, &s->ends[i], i);
	return r;
}

static int spawn_with(struct spawn *s, const posix_spawn_file_actions_t *acts, const posix_spawnattr_t *attr)
{
	char *const *argv = th_unconst(s->o->argv), *const *envp = s->o->envp ? th_unconst(s->o->envp) : environ;

	return s->o->search_path ? posix_spawnp(&s->pid, argv[0], acts, attr, argv, envp)
				 : posix_spawn(&s->pid, argv[0], acts, attr, argv, envp);
}

/* Without a pidfd we could not wait for it. */
static int open_pidfd(struct spawn *s)
{
	int code;

	s->pidfd = pidfd_open(s->pid, 0);
	if (s->pidfd >= 0)
		return 0;
	code = -errno;
	if (code == -ESRCH)
		return -ECHILD; /* it has ended, and somebody else has reaped it: the number may be another's by now */
	if (!s->o->same_group)
		kill(-s->pid, SIGKILL);
	kill(s->pid, SIGKILL); /* it may have left its group */
	while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	return code;
}

static int do_spawn(void *arg)
{
	struct spawn *s = arg;
	posix_spawn_file_actions_t acts;
	posix_spawnattr_t attr;
	int r = posix_spawn_file_actions_init(&acts);

	if (r)
		return -r;
	r = posix_spawnattr_init(&attr);
	if (r == 0) {
		r = set_attr(&attr, s->o);
		if (r == 0)
			r = set_actions(&acts, s);
		if (r == 0)
			r = spawn_with(s, &acts, &attr);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&acts);
	return r ? -r : open_pidfd(s);
}

/* --- the call --- */

int th_process_exec(struct th_process *p, const thrum_process_opts *o)
{
	const struct end none = { .ours = -1, .childs = -1 };
	struct spawn s = { .o = o, .ends = { none, none, none } };
	int code;

	s.ends[0].want = o->in;
	s.ends[1].want = o->out;
	s.ends[2].want = o->err;
	code = open_ends(&s);
	if (code >= 0)
		code = thrum_blocking((thrum_fx){ do_spawn, &s });
	close_ends(&s, code < 0);
	if (code < 0)
		return code;
	*p = (struct th_process){ .in = s.ends[0].ours, .out = s.ends[1].ours, .err = s.ends[2].ours, .pid = s.pid,
				  .pidfd = s.pidfd };
	return 0;
}
