/* io/sim/process.c: processes of the simulated world, and the descriptors of timers. A process is what the test says of the program
 * that it runs (thrum_test_program in thrum/test.h): nothing of it runs here. When it ends is known when it starts, or when its
 * input ends; a signal that it does not ignore brings that forward. Who looks, looks at the clock.
 *
 *   pidfd ──► process ◄── its input: our end of a pipe that it reads, keeps or writes back
 *                     ◄── its output and its complaints: our ends of pipes that it has written to
 *   Each holds the process, which is gone with the last of them.
 *
 * It writes as room comes, to our pipes and to descriptors that it was given, and reads likewise; so one whose output nobody
 * reads does not end. That needs no looking at the clock but where its input is a descriptor: go_on(), whenever something
 * happened to one of its files. */
#include "../process.h"
#include "fs.h"
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <thrum/io.h>
#include <thrum/test.h>

enum { PIPE_BYTES = 4096, FIRST_PID = 1000, PIECES = 3 };

struct process;
/* Our end of a pipe. */
struct stream_end {
	struct sim_file file; /* first */
	struct process *p;
	struct sim_stream s;  /* of an output */
	size_t kept;          /* of an input that nobody reads */
};

/* What it has still to write, in pieces, and where: our end of a pipe, or a descriptor that it was given. Neither: it is lost. */
struct sink {
	struct stream_end *end;
	struct sim_file *to;  /* held */
	bool broken;          /* nobody reads it any more */
	struct {
		const char *at;
		size_t left;
	} pieces[PIECES];
};

struct process {
	struct sim_file file; /* first: the pidfd */
	const thrum_test_program *program;
	pid_t pid;
	bool leads, reaped;   /* leads: has a group of its own */
	int signal;           /* that it dies of */
	int64_t ends_at;
	struct stream_end *in, *out, *err; /* NULL: not there, or closed */
	struct sink sinks[2];     /* stdout and stderr */
	struct sim_file *source;  /* held: stdin, if it is a descriptor that it reads */
	int64_t looks_at;         /* that again; INT64_MAX: when something happens to it */
	bool input_over, done, busy; /* done: when it ends is known, or does not depend on its files; busy: in go_on() */
	char echo[PIPE_BYTES];    /* read, and a piece of sinks[0] until it has been written */
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

static void let_go(struct sim_file **f)
{
	struct sim_file *was = *f;

	*f = NULL;
	sim_file_put(was);
}

/* It reads and writes no more. */
static void be_done(struct process *p)
{
	p->done = true;
	p->looks_at = INT64_MAX;
	let_go(&p->source);
	let_go(&p->sinks[0].to);
	let_go(&p->sinks[1].to);
}

static void die_of(struct process *p, int sig)
{
	int64_t at = sim_arrival();

	if (has_ended(p) || at >= p->ends_at)
		return;
	p->signal = sig;
	be_done(p);
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
		if (sig > 0 && sig < NSIG && kills(p, sig))
			die_of(p, sig);
	}
	TH_TSAN_PRIVATE_END();
	return sim_errno(sig < 0 || sig >= NSIG ? -EINVAL : found ? 0 : -ESRCH);
}

/* --- what it does meanwhile --- */

static bool has_left(const struct sink *s)
{
	return s->pieces[0].left || s->pieces[1].left || s->pieces[2].left;
}

static int write_piece(struct sink *s, const char *text, size_t n)
{
	struct sim_io io = { .one = { (void *)(uintptr_t)text, n }, .n_iov = 1, .len = n, .off = -1, .plain = true };
	int done;

	if (s->broken)
		return -EPIPE;
	if (s->to)
		return s->to->kind->write(s->to, &io);
	if (!s->end)
		return (int)n;
	done = sim_stream_put(&s->end->s, &io, sim_arrival());
	return done ? done : -EAGAIN;
}

/* As much as there is room for. A write that fails is no concern of the program's, but for nobody being there. */
static void write_out(struct process *p, struct sink *s)
{
	for (unsigned i = 0; i < PIECES; i++) {
		while (s->pieces[i].left) {
			int n = write_piece(s, s->pieces[i].at, s->pieces[i].left);
			if (n == -EAGAIN)
				return;
			if (n == -EPIPE && kills(p, SIGPIPE)) {
				die_of(p, SIGPIPE);
				return;
			}
			n = n < 0 ? (int)s->pieces[i].left : n;
			s->pieces[i].at += n;
			s->pieces[i].left -= (size_t)n;
			if (s->end)
				sim_stir(&s->end->file);
		}
	}
}

static void set_echo(struct process *p, size_t n)
{
	p->sinks[0].pieces[PIECES - 1].at = p->echo;
	p->sinks[0].pieces[PIECES - 1].left = n;
}

/* From a descriptor: until there is no more, or what was read has to be written first. */
static void read_source(struct process *p)
{
	while (!p->done && p->source && !p->input_over && !(p->program->echoes && has_left(&p->sinks[0]))) {
		struct sim_io io = { .one = { p->echo, sizeof p->echo }, .n_iov = 1, .len = sizeof p->echo, .off = -1, .plain = true };
		int n = p->source->kind->read(p->source, &io);
		if (n == -EAGAIN)
			return;
		p->input_over = n <= 0;
		if (n > 0 && p->program->echoes) {
			set_echo(p, (size_t)n);
			write_out(p, &p->sinks[0]);
		}
	}
}

/* As far as it can. When there is nothing left to read or to write, its end is known. */
static void go_on(struct process *p)
{
	if (p->busy || p->done)
		return;
	p->busy = true;
	write_out(p, &p->sinks[0]);
	write_out(p, &p->sinks[1]);
	read_source(p);
	p->busy = false;
	if (p->done)
		return;
	p->looks_at = p->source ? p->source->kind->next(p->source) : INT64_MAX;
	if (p->in)
		sim_stir(&p->in->file); /* it may have room again */
	if (!p->input_over || has_left(&p->sinks[0]) || has_left(&p->sinks[1]))
		return;
	be_done(p);
	end_at(p, after(sim_arrival(), p->program->lasts));
}

static bool is_at(const struct process *p, const struct sim_file *f)
{
	return !f || p->source == f || p->sinks[0].to == f || p->sinks[1].to == f;
}

/* Those that it concerns. Each is held, and so is the next one: what one lets go of may be the last that held another. */
static void go_on_all(const struct sim_file *f, int64_t until)
{
	struct process *p = all.first, *next;

	if (p)
		(void)sim_file_get(&p->file);
	for (; p; p = next) {
		if (p->looks_at <= until || (until == INT64_MIN && is_at(p, f)))
			go_on(p);
		next = p->next;
		if (next)
			(void)sim_file_get(&next->file);
		sim_file_put(&p->file);
	}
}

void sim_processes_stir(const struct sim_file *f)
{
	go_on_all(f, INT64_MIN);
}

void sim_processes_look(void)
{
	go_on_all(NULL, th_sim_now());
}

int64_t sim_processes_next(void)
{
	int64_t first = INT64_MAX;

	for (const struct process *p = all.first; p; p = p->next)
		if (p->looks_at < first)
			first = p->looks_at;
	return first;
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
	be_done(p);
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
		return has_left(&p->sinks[0]) ? 0 : PIPE_BYTES;
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
	n = sim_some(n);
	if (p->program->echoes && !p->done) {
		sim_gather(io, 0, p->echo, n);
		set_echo(p, n);
		go_on(p);
	} else if (!p->program->reads) {
		in->kept += n;
	}
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
	p->input_over = true;
	go_on(p);
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
	if (n > 0)
		go_on(out->p); /* there is room for more */
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
	for (int i = 0; i < 2; i++) {
		if (p->sinks[i].end != out)
			continue;
		p->sinks[i].end = NULL;
		p->sinks[i].broken = true;
	}
	go_on(p);
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

/* One that it was given, held; NULL: one of the caller's three, which nothing comes from, or a code. */
static int hold(int fd, struct sim_file **ret)
{
	struct sim_file *f = sim_file_of(fd);

	if (!f)
		return fd >= 0 && fd <= STDERR_FILENO ? -1 : -EBADF;
	*ret = sim_file_get(f);
	return -1;
}

static int open_input(struct process *p, thrum_stdio want)
{
	bool waits = p->program->reads || p->program->echoes;
	int code;

	if (want.kind == THRUM_STDIO_PIPE) {
		p->in = end_new(p, &input_kind);
		p->input_over = !waits;
		return p->in ? open_end(p->in) : -ENOMEM;
	}
	code = want.kind == THRUM_STDIO_FD ? hold(want.fd, &p->source) : -1;
	p->input_over = !waits || !p->source;
	return code;
}

static int open_output(thrum_stdio want, struct process *p, struct sink *s, struct stream_end **ret)
{
	if (want.kind == THRUM_STDIO_FD)
		return hold(want.fd, &s->to);
	if (want.kind != THRUM_STDIO_PIPE)
		return -1;
	*ret = s->end = end_new(p, &output_kind);
	if (!s->end)
		return -ENOMEM;
	sim_stream_init(&s->end->s, PIPE_BYTES);
	return open_end(s->end);
}

static void add_text(struct sink *s, unsigned i, const char *text)
{
	s->pieces[i].at = text;
	s->pieces[i].left = text ? strlen(text) : 0;
}

static struct process *process_new(const thrum_test_program *program, bool leads)
{
	struct process *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	*p = (struct process){ .file = { &process_kind, 1, 0 }, .program = program, .pid = ++all.last_pid, .leads = leads,
			       .signal = program->signal, .next = all.first, .ends_at = INT64_MAX, .looks_at = INT64_MAX,
			       .busy = true };
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

static int check_directory(const char *path)
{
	struct sim_where w;
	int code = path ? sim_fs_walk(AT_FDCWD, path, &w) : 0;

	if (code < 0 || !path)
		return code;
	return !w.node ? -ENOENT : S_ISDIR(w.node->mode) ? 0 : -ENOTDIR;
}

/* All that it has to say, and it begins. */
static void begin(struct process *p, const thrum_process_opts *o)
{
	add_text(&p->sinks[0], 0, p->program->prints);
	add_text(&p->sinks[o->err.kind != THRUM_STDIO_STDOUT], 1, p->program->complains);
	p->busy = false;
	go_on(p);
}

static int start(struct th_process *p, const thrum_process_opts *o)
{
	const thrum_test_program *program = find(o->argv[0]);
	struct process *sim;
	int in, out = -1, err = -1, pidfd = -1, code = check_directory(o->cwd);

	if (code < 0 || !program)
		return code < 0 ? code : -ENOENT;
	sim = process_new(program, !o->same_group);
	if (!sim)
		return -ENOMEM;
	in = open_input(sim, o->in);
	code = in < -1 ? in : 0;
	if (code == 0 && (out = open_output(o->out, sim, &sim->sinks[0], &sim->out)) < -1)
		code = out;
	if (code == 0 && (err = open_output(o->err, sim, &sim->sinks[1], &sim->err)) < -1)
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
	begin(sim, o);
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
