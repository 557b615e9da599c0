/* io/sim.c: the simulated kernel: pipes and listeners in memory, completions when the seed says so, on virtual time.
 *
 * It is as unkind as the real one may be: operations complete in any order, transfers are short, and a cancel may come
 * too late, so that the operation succeeds after all, new descriptor and written buffer included. The buffer is written at
 * the moment of completion, never earlier: a fiber that went on before it is caught by th_op_complete(). */
#include "sim.h"
#include "../core/assert.h"
#include "backend.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

enum { FLIGHTS_MAX = 4096, FDS_MAX = 4096, FD_BASE = 1000, PIPE_BYTES = 64, LATENCIES = 8 };

struct th_io {
	unsigned index;
};

enum fd_kind { FD_FREE, FD_PIPE_READ, FD_PIPE_WRITE, FD_LISTENER, FD_CONNECTION };

struct sim_fd {
	enum fd_kind kind;
	int peer;                /* the other end of a pipe, -1 when it is closed */
	char bytes[PIPE_BYTES];  /* at the read end */
	unsigned count;
	unsigned connections;    /* a listener's, still to come */
};

struct flight {
	struct th_op *op;
	struct th_io *io;
	int64_t at_ns;           /* when the kernel looks at it next */
	bool cancelled;
};

static struct {
	unsigned instances;
	struct sim_fd fds[FDS_MAX];
	struct flight flights[FLIGHTS_MAX];
	unsigned n_flights, fds_used;
} k;

/* --- descriptors --- */

static struct sim_fd *fd_of(int fd)
{
	if (fd < FD_BASE || fd >= FD_BASE + FDS_MAX || k.fds[fd - FD_BASE].kind == FD_FREE)
		return NULL;
	return &k.fds[fd - FD_BASE];
}

static int fd_new(enum fd_kind kind)
{
	for (int i = 0; i < FDS_MAX; i++) {
		if (k.fds[i].kind != FD_FREE)
			continue;
		memset(&k.fds[i], 0, sizeof k.fds[i]);
		k.fds[i].kind = kind;
		k.fds[i].peer = -1;
		return FD_BASE + i;
	}
	return -EMFILE;
}

int th_sim_pipe(int fds[2])
{
	fds[0] = fd_new(FD_PIPE_READ);
	fds[1] = fd_new(FD_PIPE_WRITE);
	fd_of(fds[0])->peer = fds[1];
	fd_of(fds[1])->peer = fds[0];
	return 0;
}

int th_sim_listener(unsigned connections)
{
	int fd = fd_new(FD_LISTENER);

	fd_of(fd)->connections = connections;
	return fd;
}

bool th_sim_fd_open(int fd)
{
	return fd_of(fd) != NULL;
}

unsigned th_sim_fds_left(void)
{
	unsigned n = 0;

	for (int i = 0; i < FDS_MAX; i++)
		n += k.fds[i].kind != FD_FREE;
	return n;
}

unsigned th_sim_ops_left(void)
{
	return k.n_flights;
}

void th_sim_kernel_reset(void)
{
	memset(&k, 0, sizeof k);
}

/* --- what an operation does when its moment comes; -EAGAIN: not yet --- */

static int do_read(struct sim_fd *fd, struct th_op *op)
{
	unsigned n;

	if (fd->kind != FD_PIPE_READ)
		return -EBADF;
	if (fd->count == 0)
		return fd->peer < 0 ? 0 : -EAGAIN;
	n = fd->count < op->len ? fd->count : op->len;
	if (n > 1)
		n -= th_sim_choose(n); /* short */
	memcpy(op->buf, fd->bytes, n);
	memmove(fd->bytes, fd->bytes + n, fd->count - n);
	fd->count -= n;
	return (int)n;
}

static int do_write(struct sim_fd *fd, struct th_op *op)
{
	struct sim_fd *to = fd_of(fd->peer);
	unsigned n;

	if (fd->kind != FD_PIPE_WRITE)
		return -EBADF;
	if (!to)
		return -EPIPE;
	n = PIPE_BYTES - to->count < op->len ? PIPE_BYTES - to->count : op->len;
	if (n == 0)
		return op->len ? -EAGAIN : 0;
	if (n > 1)
		n -= th_sim_choose(n);
	memcpy(to->bytes + to->count, op->buf, n);
	to->count += n;
	return (int)n;
}

static int do_poll(struct sim_fd *fd, struct th_op *op)
{
	unsigned ready = 0;

	if (fd->kind == FD_PIPE_READ && (fd->count > 0 || fd->peer < 0))
		ready |= POLLIN;
	if (fd->kind == FD_PIPE_WRITE && (fd->peer < 0 || fd_of(fd->peer)->count < PIPE_BYTES))
		ready |= POLLOUT;
	if (fd->kind == FD_LISTENER && fd->connections > 0)
		ready |= POLLIN;
	ready &= op->arg;
	return ready ? (int)ready : -EAGAIN;
}

static int do_accept(struct sim_fd *fd)
{
	if (fd->kind != FD_LISTENER)
		return -EINVAL;
	if (fd->connections == 0)
		return -EAGAIN;
	fd->connections--;
	return fd_new(FD_CONNECTION);
}

static int do_close(struct sim_fd *fd)
{
	if (fd->peer >= 0 && fd_of(fd->peer))
		fd_of(fd->peer)->peer = -1;
	fd->kind = FD_FREE;
	return 0;
}

static int perform(struct th_op *op)
{
	struct sim_fd *fd = fd_of(op->fd);

	if (op->kind == TH_OP_NOP)
		return 0;
	if (op->kind == TH_OP_OPENAT)
		return fd_new(FD_CONNECTION);
	if (!fd)
		return -EBADF;
	switch (op->kind) {
	case TH_OP_READ:
	case TH_OP_RECV:
		return do_read(fd, op);
	case TH_OP_WRITE:
	case TH_OP_SEND:
		return do_write(fd, op);
	case TH_OP_POLL:
		return do_poll(fd, op);
	case TH_OP_ACCEPT:
		return do_accept(fd);
	case TH_OP_CLOSE:
		return do_close(fd);
	default:
		return 0;
	}
}

/* --- the backend --- */

static int64_t soon(void)
{
	return th_sim_now() + th_sim_choose(LATENCIES) * TH_SIM_TICK_NS;
}

/* Something changed: whatever waits may be able to go on, each after a latency of its own. */
static void stir(void)
{
	for (unsigned i = 0; i < k.n_flights; i++)
		if (k.flights[i].at_ns == INT64_MAX)
			k.flights[i].at_ns = soon();
}

static int sim_open(struct th_io **ret_io, struct th_io *share)
{
	struct th_io *io = calloc(1, sizeof *io);

	(void)share;
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
	TH_ASSERT(k.n_flights < FLIGHTS_MAX);
	k.flights[k.n_flights++] = (struct flight){ .op = op, .io = io, .at_ns = soon() };
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
	int res = in_time ? -ECANCELED : perform(f.op);

	if (res == -EAGAIN) {
		if (!f.cancelled) {
			k.flights[i].at_ns = INT64_MAX;
			return false;
		}
		res = -ECANCELED;
	}
	k.flights[i] = k.flights[--k.n_flights];
	th_op_complete(f.op, res);
	stir();
	return true;
}

static void sim_poll(struct th_io *io)
{
	unsigned start = k.n_flights ? th_sim_choose(k.n_flights) : 0;

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
	int64_t first = INT64_MAX;

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

int th_probe(unsigned wanted, const struct th_backend **ret_backend, char *why, size_t why_size)
{
	(void)wanted;
	*ret_backend = &sim_backend;
	snprintf(why, why_size, "simulated kernel, seed %llu", (unsigned long long)th_sim_seed());
	return 0;
}
