/* io/sim/process.c: processes of the simulated world, and the descriptors of timers. A process is what the test says of the program
 * that it runs (thrum_test_program in thrum/test.h): nothing of it runs here. When it ends is known when it starts, or when its
 * input ends; a signal that it does not ignore brings that forward. Who looks, looks at the clock.
 *
 *   pidfd ──► process ◄── its input: our end of a pipe that it reads, keeps or writes back
 *                     ◄── its output and its complaints: our ends of pipes that it has written to
 *   Each holds the process, which is gone with the last of them. */
#include "../process.h"
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <thrum/io.h>
#include <thrum/test.h>

enum { PIPE_BYTES = 4096, FIRST_PID = 1000 };

struct process;
/* Our end of a pipe. */
struct stream_end {
	struct sim_file file; /* first */
	struct process *p;
	struct sim_stream s;  /* of an output */
	size_t kept;          /* of an input that nobody reads */
};

struct process {
	struct sim_file file; /* first: the pidfd */
	const thrum_test_program *program;
	pid_t pid;
	bool leads, reaped;   /* leads: has a group of its own */
	int signal;           /* that it dies of */
	int64_t ends_at;
	struct stream_end *in, *out, *err; /* NULL: not there, or closed */
	struct process *next;
};

static struct {
	const thrum_test_program *programs;
	size_t n;
	struct process *first;
	pid_t last_pid;
} all;

void th_sim_programs(const void *programs, size_t n)
{
	all.programs = programs;
	all.n = n;
}

void sim_processes_reset(void)
{
	all.programs = NULL;
	all.n = 0;
	all.first = NULL;
	all.last_pid = FIRST_PID;
}

/* --- its life --- */

static bool has_ended(const struct process *p)
{
	return p->ends_at <= th_sim_now();
}

static void stir(struct process *p)
{
	sim_stir(&p->file);
	if (p->in)
		sim_stir(&p->in->file);
	if (p->out)
		sim_stir(&p->out->file);
	if (p->err)
		sim_stir(&p->err->file);
}

static void end_at(struct process *p, int64_t at)
{
	if (at >= p->ends_at)
		return;
	p->ends_at = at;
	if (p->out)
		sim_stream_end(&p->out->s, at);
	if (p->err)
		sim_stream_end(&p->err->s, at);
	stir(p);
}

static int64_t after(int64_t at, thrum_dur d)
{
	return d.ns > INT64_MAX - at ? INT64_MAX : at + d.ns;
}

static void die_of(struct process *p, int sig)
{
	int64_t at = sim_arrival();

	if (has_ended(p) || at >= p->ends_at)
		return;
	p->signal = sig;
	end_at(p, at);
}

static bool kills(const struct process *p, int sig)
{
	if (sig == SIGKILL)
		return true;
	return !p->program->deaf && sig != 0 && sig != SIGCONT && sig != SIGCHLD && sig != SIGWINCH && sig != SIGURG;
}

int th_sys_kill(pid_t pid, int sig)
{
	bool found = false;

	TH_TSAN_PRIVATE_BEGIN();
	for (struct process *p = all.first; p; p = p->next) {
		if (p->reaped || (pid > 0 ? p->pid != pid : !p->leads || p->pid != -pid))
			continue;
		found = true;
		if (kills(p, sig))
			die_of(p, sig);
	}
	TH_TSAN_PRIVATE_END();
	return sim_errno(found ? 0 : -ESRCH);
}

/* --- the pidfd --- */

static int cannot(struct sim_file *f, struct sim_io *io)
{
	(void)f;
	(void)io;
	return -EINVAL;
}

static unsigned process_ready(struct sim_file *f)
{
	return has_ended((struct process *)(void *)f) ? POLLIN : 0;
}

static int64_t process_next(struct sim_file *f)
{
	const struct process *p = (struct process *)(void *)f;

	return has_ended(p) ? INT64_MAX : p->ends_at;
}

static void process_release(struct sim_file *f)
{
	struct process *p = (struct process *)(void *)f, **at = &all.first;

	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	free(p);
}

static const struct sim_kind process_kind = { cannot, cannot, process_ready, process_next, process_release };

static int wait_for(struct sim_file *f, siginfo_t *ret, int flags)
{
	struct process *p = (struct process *)(void *)f;

	if (!f || f->kind != &process_kind)
		return -EBADF;
	if (p->reaped)
		return -ECHILD;
	ret->si_pid = 0;
	if (!has_ended(p))
		return 0;
	ret->si_pid = p->pid;
	ret->si_code = p->signal ? CLD_KILLED : CLD_EXITED;
	ret->si_status = p->signal ? p->signal : p->program->code;
	p->reaped = !(flags & WNOWAIT);
	return 0;
}

int th_sys_waitid(idtype_t type, id_t fd, siginfo_t *ret, int flags)
{
	int code;

	TH_TSAN_PRIVATE_BEGIN();
	code = type == P_PIDFD ? wait_for(sim_file_of((int)fd), ret, flags) : -EINVAL;
	TH_TSAN_PRIVATE_END();
	return sim_errno(code);
}

/* --- its input: what is written there it reads, writes back, or leaves --- */

static size_t room_for_input(const struct stream_end *in)
{
	const struct process *p = in->p;

	if (p->program->echoes)
		return p->out ? sim_stream_room(&p->out->s) : PIPE_BYTES;
	return p->program->reads ? PIPE_BYTES : PIPE_BYTES - in->kept;
}

static int input_write(struct sim_file *f, struct sim_io *io)
{
	struct stream_end *in = (struct stream_end *)(void *)f;
	struct process *p = in->p;
	size_t room = room_for_input(in), n = io->len < room ? io->len : room;

	if (has_ended(p))
		return -EPIPE;
	if (n == 0)
		return io->len ? -EAGAIN : 0;
	if (p->program->echoes && p->out) {
		int done = sim_stream_put(&p->out->s, io, sim_arrival());
		sim_stir(&p->out->file);
		return done;
	}
	n = sim_some(n);
	in->kept += n;
	return (int)n;
}

static unsigned input_ready(struct sim_file *f)
{
	const struct stream_end *in = (struct stream_end *)(void *)f;

	if (has_ended(in->p))
		return POLLOUT | POLLERR;
	return room_for_input(in) ? POLLOUT : 0;
}

static int64_t end_next(struct sim_file *f)
{
	return process_next(&((struct stream_end *)(void *)f)->p->file);
}

static void input_release(struct sim_file *f)
{
	struct stream_end *in = (struct stream_end *)(void *)f;
	struct process *p = in->p;

	p->in = NULL;
	if (p->program->reads || p->program->echoes)
		end_at(p, after(sim_arrival(), p->program->lasts));
	sim_file_put(&p->file);
	free(in);
}

static const struct sim_kind input_kind = { cannot, input_write, input_ready, end_next, input_release };

/* --- its output --- */

static int output_read(struct sim_file *f, struct sim_io *io)
{
	struct stream_end *out = (struct stream_end *)(void *)f;
	int n = sim_stream_get(&out->s, io);

	if (n == 0 && io->len > 0 && !sim_stream_ended(&out->s))
		return -EAGAIN;
	if (n > 0 && out->p->in)
		sim_stir(&out->p->in->file); /* it can write back more */
	return n;
}

static unsigned output_ready(struct sim_file *f)
{
	struct stream_end *out = (struct stream_end *)(void *)f;

	return (sim_stream_ready(&out->s) ? POLLIN : 0U) | (sim_stream_ended(&out->s) ? POLLHUP : 0U);
}

static int64_t output_next(struct sim_file *f)
{
	return sim_stream_next(&((struct stream_end *)(void *)f)->s);
}

static void output_release(struct sim_file *f)
{
	struct stream_end *out = (struct stream_end *)(void *)f;
	struct process *p = out->p;

	if (p->out == out)
		p->out = NULL;
	if (p->err == out)
		p->err = NULL;
	sim_stream_fini(&out->s);
	sim_file_put(&p->file);
	free(out);
}

static const struct sim_kind output_kind = { output_read, cannot, output_ready, output_next, output_release };

/* --- its start --- */

static const thrum_test_program *find(const char *path)
{
	for (size_t i = 0; i < all.n; i++)
		if (strcmp(all.programs[i].path, path) == 0)
			return &all.programs[i];
	return NULL;
}

static struct sim_io io_of_text(const char *text)
{
	size_t n = strlen(text);

	return (struct sim_io){ .one = { (void *)(uintptr_t)text, n }, .n_iov = 1, .len = n, .off = -1, .plain = true };
}

static size_t bytes_for(const char *text)
{
	return text && strlen(text) > PIPE_BYTES ? strlen(text) : PIPE_BYTES;
}

static struct stream_end *end_new(struct process *p, const struct sim_kind *kind)
{
	struct stream_end *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	*e = (struct stream_end){ .file = { kind, 1, 0 }, .p = p };
	(void)sim_file_get(&p->file);
	return e;
}

/* A descriptor of ours for it, or a code; then it is gone. */
static int open_end(struct stream_end *e)
{
	int fd = sim_fd_new(&e->file);

	if (fd < 0)
		sim_file_put(&e->file);
	return fd;
}

static int open_input(struct process *p, thrum_stdio want)
{
	if (want.kind != THRUM_STDIO_PIPE)
		return -1;
	p->in = end_new(p, &input_kind);
	return p->in ? open_end(p->in) : -ENOMEM;
}

/* What it prints has been written by the time that it ends, all of it in one piece or in many. */
static int open_output(struct process *p, thrum_stdio want, const char *text, struct stream_end **ret)
{
	struct stream_end *out;
	struct sim_io io;

	if (want.kind == THRUM_STDIO_FD && text) {
		struct sim_file *f = sim_file_of(want.fd);
		io = io_of_text(text);
		if (f)
			(void)f->kind->write(f, &io);
		return f ? -1 : -EBADF;
	}
	if (want.kind != THRUM_STDIO_PIPE)
		return -1;
	out = end_new(p, &output_kind);
	if (!out)
		return -ENOMEM;
	sim_stream_init(&out->s, bytes_for(text));
	for (const char *at = text; at && *at;) {
		int n;
		io = io_of_text(at);
		n = sim_stream_put(&out->s, &io, sim_arrival());
		if (n <= 0)
			break;
		at += n;
	}
	if (p->ends_at < INT64_MAX)
		sim_stream_end(&out->s, p->ends_at);
	*ret = out;
	return open_end(out);
}

static struct process *process_new(const thrum_test_program *program, bool leads)
{
	struct process *p = calloc(1, sizeof *p);
	bool waits = program->reads || program->echoes;

	if (!p)
		return NULL;
	*p = (struct process){ .file = { &process_kind, 1, 0 }, .program = program, .pid = ++all.last_pid, .leads = leads,
			       .signal = program->signal, .next = all.first,
			       .ends_at = waits ? INT64_MAX : after(sim_arrival(), program->lasts) };
	all.first = p;
	return p;
}

struct start {
	struct th_process *p;
	const thrum_process_opts *o;
};

static void close_if(int fd)
{
	if (fd >= 0)
		(void)sim_fd_close(fd);
}

static int start(struct th_process *p, const thrum_process_opts *o)
{
	const thrum_test_program *program = find(o->argv[0]);
	struct process *sim = program ? process_new(program, !o->same_group) : NULL;
	int in, out = -1, err = -1, pidfd = -1, code;

	if (!sim)
		return program ? -ENOMEM : -ENOENT;
	in = open_input(sim, o->in);
	code = in < -1 ? in : 0;
	if (code == 0 && (out = open_output(sim, o->out, program->prints, &sim->out)) < -1)
		code = out;
	if (code == 0 && (err = open_output(sim, o->err, program->complains, &sim->err)) < -1)
		code = err;
	if (code == 0 && (pidfd = sim_fd_new(&sim->file)) < 0)
		code = pidfd;
	if (code < 0) {
		close_if(in);
		close_if(out);
		close_if(err);
		sim_file_put(&sim->file);
		return code;
	}
	if (o->in.kind != THRUM_STDIO_PIPE && (program->reads || program->echoes))
		end_at(sim, after(sim_arrival(), program->lasts)); /* its input is at its end */
	*p = (struct th_process){ .in = in, .out = out, .err = err, .pid = sim->pid, .pidfd = pidfd };
	return 0;
}

static int do_start(void *arg)
{
	struct start *s = arg;
	int code;

	TH_TSAN_PRIVATE_BEGIN();
	code = start(s->p, s->o);
	TH_TSAN_PRIVATE_END();
	return code;
}

int th_process_exec(struct th_process *p, const thrum_process_opts *o)
{
	return thrum_blocking((thrum_fx){ do_start, &(struct start){ p, o } }); /* as in io/spawn.c */
}

/* --- timerfd_create(2): it can be waited for, once --- */

struct timer {
	struct sim_file file; /* first */
	int64_t at;           /* INT64_MAX: not set */
};

static unsigned timer_ready(struct sim_file *f)
{
	return ((struct timer *)(void *)f)->at <= th_sim_now() ? POLLIN : 0;
}

static int64_t timer_next(struct sim_file *f)
{
	const struct timer *t = (struct timer *)(void *)f;

	return t->at <= th_sim_now() ? INT64_MAX : t->at;
}

static void timer_release(struct sim_file *f)
{
	free(f);
}

static const struct sim_kind timer_kind = { cannot, cannot, timer_ready, timer_next, timer_release };

int th_sys_timerfd_create(int clock, int flags)
{
	struct timer *t = calloc(1, sizeof *t);
	int fd;

	(void)clock;
	(void)flags;
	if (!t)
		return sim_errno(-ENOMEM);
	*t = (struct timer){ { &timer_kind, 1, 0 }, INT64_MAX };
	fd = sim_fd_new(&t->file);
	if (fd < 0)
		sim_file_put(&t->file);
	return sim_errno(fd);
}

int th_sys_timerfd_settime(int fd, int flags, const struct itimerspec *in, struct itimerspec *before)
{
	struct timer *t = (struct timer *)(void *)sim_file_of(fd);

	(void)flags;
	(void)before;
	if (!t || t->file.kind != &timer_kind)
		return sim_errno(-EBADF);
	t->at = th_sim_now() + in->it_value.tv_sec * 1000000000 + in->it_value.tv_nsec;
	sim_stir(&t->file);
	return 0;
}
