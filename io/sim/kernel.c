/* io/sim/kernel.c: the simulated kernel: operations in flight, completions when the seed says so, on virtual time.
 *
 * It is as unkind as the real one may be: operations complete in any order, transfers are short, and a cancel may come
 * too late, so that the operation succeeds after all, new descriptor and written buffer included. The buffer is written at
 * the moment of completion, never earlier: a fiber that went on before it is caught by th_op_complete().
 *
 * What there is to operate on: kernel.h. Of several answers to a choice, 0 is the simplest and the kindest. */
#include "../../core/assert.h"
#include "../backend.h"
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLIGHTS_MAX = 4096, LATENCIES = 8 };

struct th_io {
	unsigned index;
};

struct flight {
	struct th_op *op;
	struct th_io *io;
	struct sim_file *file;   /* held; NULL: the descriptor was none, or the operation is on none */
	int64_t at_ns;           /* when the kernel looks at it next */
	bool cancelled, waits;
	int fault;               /* what it ends with, without having been done; 0: none */
};

static struct {
	unsigned instances;
	struct flight flights[FLIGHTS_MAX];
	unsigned n_flights;
} k;

unsigned th_sim_ops_left(void)
{
	return k.n_flights;
}

void th_sim_kernel_reset(void)
{
	while (k.n_flights > 0)
		sim_file_put(k.flights[--k.n_flights].file);
	k.instances = 0;
	th_sim_buffers(0);
	sim_fds_reset();
	sim_net_reset();
	sim_fs_reset();
	sim_signals_reset();
	sim_processes_reset();
}

/* --- time and chance --- */

static int64_t soon(void)
{
	return th_sim_now() + th_sim_choose(LATENCIES) * TH_SIM_TICK_NS;
}

enum { YEAR_2001 = 978307200 }; /* 00:00 UTC, when a run's clock is at 0 */

time_t th_sys_time(time_t *ret)
{
	time_t now = YEAR_2001 + th_sim_now() / 1000000000;

	if (ret)
		*ret = now;
	return now;
}

int64_t sim_arrival(void)
{
	return soon();
}

bool sim_fault(unsigned one_in)
{
	return one_in && th_sim_choose(one_in) == one_in - 1;
}

size_t sim_some(size_t n)
{
	return n > 1 ? n - th_sim_choose((uint32_t)n) : n;
}

void sim_stir(struct sim_file *f)
{
	for (unsigned i = 0; i < k.n_flights; i++) {
		struct flight *at = &k.flights[i];
		int64_t then = at->waits && (!f || at->file == f) ? soon() : INT64_MAX;
		if (then < at->at_ns)
			at->at_ns = then;
	}
	sim_processes_stir(f);
}

/* --- what an operation does when its moment comes; -EAGAIN: not yet --- */

/* An operation that is in the kernel when its descriptor closes would never end there, where the real one waits on the file. */
static void check_nobody_else_is_at(int fd)
{
	for (unsigned i = 0; i < k.n_flights; i++)
		if (k.flights[i].op->fd == fd && k.flights[i].op->kind != TH_OP_CLOSE)
			th_abort(__FILE__, __LINE__, "seed %llu: descriptor %d closes under an operation",
				 (unsigned long long)th_sim_seed(), fd);
}

static int do_poll(struct sim_file *f, const struct th_op *op)
{
	unsigned ready = f->kind->ready(f) & (op->arg | POLLERR | POLLHUP);

	return ready ? (int)ready : -EAGAIN;
}

/* Of a socket. */
static int do_connection(struct sim_file *f, const struct th_op *op)
{
	int code = 0;
	struct sim_sock *s = sim_sock_of_file(f, &code);

	if (!s)
		return code;
	return op->kind == TH_OP_ACCEPT ? sim_accept(s, op) : sim_connect(s, op);
}

static int perform(struct sim_file *f, const struct th_op *op)
{
	switch (op->kind) {
	case TH_OP_NOP:
		return 0;
	case TH_OP_OPENAT:
		return sim_openat(op->fd, op->buf, (int)op->arg, op->len);
	case TH_OP_CLOSE:
		check_nobody_else_is_at(op->fd);
		return sim_fd_close(op->fd);
	default:
		break;
	}
	if (!f || sim_file_of(op->fd) != f)
		return -EBADF;
	switch (op->kind) {
	case TH_OP_READ:
	case TH_OP_READV:
	case TH_OP_RECV:
	case TH_OP_RECVMSG:
		return sim_transfer(f, op, false);
	case TH_OP_WRITE:
	case TH_OP_WRITEV:
	case TH_OP_SEND:
	case TH_OP_SENDMSG:
		return sim_transfer(f, op, true);
	case TH_OP_POLL:
		return do_poll(f, op);
	case TH_OP_ACCEPT:
	case TH_OP_CONNECT:
		return do_connection(f, op);
	default:
		return -EINVAL; /* for backends with a ring of buffers */
	}
}

/* One that does not wait though it cannot be done. */
static bool is_impatient(const struct sim_file *f, const struct th_op *op)
{
	if (op->kind >= TH_OP_RECV && op->kind <= TH_OP_SENDMSG && (op->arg & MSG_DONTWAIT))
		return true;
	return op->kind != TH_OP_POLL && f && (f->flags & O_NONBLOCK);
}

/* --- the backend --- */

static int sim_open(struct th_io **ret_io, const struct th_io_opts *opts)
{
	struct th_io *io = calloc(1, sizeof *io);

	(void)opts;
	if (!io)
		return -ENOMEM;
	io->index = k.instances++;
	*ret_io = io;
	return 0;
}

static void sim_close(struct th_io *io)
{
	free(io);
}

static void sim_submit(struct th_io *io, struct th_op *op)
{
	struct sim_file *f = op->kind == TH_OP_CLOSE || op->kind == TH_OP_OPENAT ? NULL : sim_file_of(op->fd);

	TH_ASSERT(k.n_flights < FLIGHTS_MAX);
	k.flights[k.n_flights++] = (struct flight){ .op = op, .io = io, .file = f ? sim_file_get(f) : NULL, .at_ns = soon(),
						  .fault = th_sim_op_fault(op->kind) };
}

/* The kernel of a real socket may have room, or not, whatever was true a moment ago. */
int th_op_try(const struct th_op *op)
{
	int res = -EAGAIN;

	TH_TSAN_PRIVATE_BEGIN();
	if (th_sim_choose(2) == 0)
		res = perform(sim_file_of(op->fd), op);
	TH_TSAN_PRIVATE_END();
	return res;
}

static void sim_cancel(struct th_io *io, struct th_op *op)
{
	(void)io;
	for (unsigned i = 0; i < k.n_flights; i++) {
		if (k.flights[i].op != op)
			continue;
		k.flights[i].cancelled = true;
		k.flights[i].at_ns = soon();
	}
}

static void sim_cancel_fd(struct th_io *io, int fd)
{
	for (unsigned i = 0; i < k.n_flights; i++)
		if (k.flights[i].io == io && k.flights[i].op->fd == fd)
			sim_cancel(io, k.flights[i].op);
}

/* Try one flight; true if it landed. */
static bool land(unsigned i)
{
	struct flight f = k.flights[i];
	bool in_time = f.cancelled && th_sim_choose(2) == 0; /* the cancel won */
	int res = in_time ? -ECANCELED : f.fault ? f.fault : perform(f.file, f.op);

	if (res == -EAGAIN && !is_impatient(f.file, f.op)) {
		if (!f.cancelled) {
			k.flights[i].waits = true;
			k.flights[i].at_ns = f.file->kind->next(f.file);
			return false;
		}
		res = -ECANCELED;
	}
	k.flights[i] = k.flights[--k.n_flights];
	sim_file_put(f.file);
	th_op_complete(f.op, res);
	return true;
}

static void sim_poll(struct th_io *io)
{
	unsigned start;

	sim_processes_look();
	start = k.n_flights ? th_sim_choose(k.n_flights) : 0;
	for (unsigned step = 0; step < k.n_flights; step++) {
		unsigned i = (start + step) % k.n_flights;
		if (k.flights[i].io != io || k.flights[i].at_ns > th_sim_now())
			continue;
		if (land(i))
			step--; /* another one has taken its place */
	}
}

static void sim_wait(struct th_io *io, int64_t until_ns)
{
	th_sim_park(io, until_ns);
	sim_poll(io);
}

static int64_t sim_now(struct th_io *io)
{
	(void)io;
	return th_sim_now();
}

int64_t th_sim_next_event(struct th_io *io)
{
	int64_t first = sim_processes_next();

	for (unsigned i = 0; i < k.n_flights; i++)
		if (k.flights[i].io == io && k.flights[i].at_ns < first)
			first = k.flights[i].at_ns;
	return first;
}

static const struct th_backend sim_backend = {
	.name = "simulated",
	.open = sim_open,
	.close = sim_close,
	.submit = sim_submit,
	.cancel = sim_cancel,
	.cancel_fd = sim_cancel_fd,
	.poll = sim_poll,
	.wait = sim_wait,
	.wake = th_sim_unpark,
	.now = sim_now,
};

int th_probe(const struct th_wish *wish, const struct th_backend **ret_backend, char *why, size_t why_size)
{
	(void)wish;
	*ret_backend = &sim_backend;
	snprintf(why, why_size, "simulated kernel, seed %llu", (unsigned long long)th_sim_seed());
	return 0;
}
