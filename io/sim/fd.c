/* io/sim/fd.c: the simulated kernel's table of descriptors, and the calls that every kind of them knows. */
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FDS_MAX = 4096, FD_BASE = 1000 }; /* numbers that no real descriptor of a test has */

static struct {
	struct sim_file *file[FDS_MAX];
	int used;              /* none from here on has been in use in this run */
} table;

struct th_sim_faults sim_faults;

int sim_errno(int code)
{
	if (code >= 0)
		return code;
	errno = -code;
	return -1;
}

/* --- the table --- */

static struct sim_file **slot_of(int fd)
{
	return fd >= FD_BASE && fd < FD_BASE + table.used ? &table.file[fd - FD_BASE] : NULL;
}

struct sim_file *sim_file_of(int fd)
{
	struct sim_file **slot = slot_of(fd);

	return slot ? *slot : NULL;
}

void sim_file_put(struct sim_file *f)
{
	if (f && --f->refs == 0)
		f->kind->release(f);
}

static int lowest_free(void)
{
	int n = 0, most = sim_faults.fds_max && sim_faults.fds_max < FDS_MAX ? (int)sim_faults.fds_max : FDS_MAX;

	while (n < table.used && table.file[n])
		n++;
	return n < most ? n : -EMFILE;
}

int sim_fd_check(void)
{
	int n = sim_fault(sim_faults.no_fd) ? -EMFILE : lowest_free();

	return n < 0 ? n : 0;
}

int sim_fd_new(struct sim_file *f)
{
	int code = sim_fd_check();

	return code < 0 ? code : sim_fd_take(f);
}

int sim_fd_take(struct sim_file *f)
{
	int n = lowest_free();

	if (n < 0)
		return n;
	table.file[n] = f;
	if (n == table.used)
		table.used++;
	return FD_BASE + n;
}

int sim_fd_close(int fd)
{
	struct sim_file **slot = slot_of(fd), *f = slot ? *slot : NULL;

	if (!f)
		return -EBADF;
	*slot = NULL;
	sim_stir(f);
	sim_file_put(f);
	return 0;
}

bool th_sim_fd_open(int fd)
{
	return sim_file_of(fd) != NULL;
}

unsigned th_sim_fds_left(void)
{
	unsigned n = 0;

	for (int i = 0; i < table.used; i++)
		n += table.file[i] != NULL;
	return n;
}

/* What a run that failed has left is given back here; nothing is touched that was not in use. */
void sim_fds_reset(void)
{
	for (int i = 0; i < table.used; i++)
		(void)sim_fd_close(FD_BASE + i);
	table.used = 0;
	sim_faults = (struct th_sim_faults){ 0 };
}

void th_sim_faults(const struct th_sim_faults *faults)
{
	sim_faults = *faults;
}

/* --- transfers --- */

static struct sim_io io_of(const struct th_op *op)
{
	struct sim_io io = { .off = -1, .flags = (int)op->arg };

	switch (op->kind) {
	case TH_OP_RECVMSG:
	case TH_OP_SENDMSG:
		io.msg = op->buf;
		io.iov = io.msg->msg_iov;
		io.n_iov = io.msg->msg_iovlen;
		break;
	case TH_OP_READV:
	case TH_OP_WRITEV:
		io.iov = op->buf;
		io.n_iov = op->len;
		break;
	default:
		io.one = (struct iovec){ op->buf, op->len };
		io.n_iov = 1;
	}
	if (op->kind < TH_OP_RECV) {
		io.plain = true;
		io.off = op->off;
		io.flags = 0;
	}
	return io;
}

static const struct iovec *vectors_of(const struct sim_io *io)
{
	return io->iov ? io->iov : &io->one;
}

/* Move n bytes between the vectors, from byte `at` of them on, and a buffer. */
static void copy(const struct sim_io *io, size_t at, size_t n, char *to, const char *from)
{
	const struct iovec *v = vectors_of(io);

	for (; n > 0; v++) {
		size_t step = v->iov_len <= at ? 0 : v->iov_len - at < n ? v->iov_len - at : n;
		if (step > 0 && to)
			memcpy(to, (const char *)v->iov_base + at, step);
		else if (step > 0)
			memcpy((char *)v->iov_base + at, from, step);
		at -= step > 0 ? at : v->iov_len;
		n -= step;
		to = to ? to + step : NULL;
		from = from ? from + step : NULL;
	}
}

void sim_gather(const struct sim_io *io, size_t at, char *to, size_t n)
{
	copy(io, at, n, to, NULL);
}

void sim_scatter(const struct sim_io *io, size_t at, const char *from, size_t n)
{
	copy(io, at, n, NULL, from);
}

static int transfer(struct sim_file *f, struct sim_io *io, bool writes)
{
	io->len = 0;
	for (size_t i = 0; i < io->n_iov; i++)
		io->len += vectors_of(io)[i].iov_len;
	return writes ? f->kind->write(f, io) : f->kind->read(f, io);
}

int sim_transfer(struct sim_file *f, const struct th_op *op, bool writes)
{
	struct sim_io io = io_of(op);

	return transfer(f, &io, writes);
}

/* By a call that cannot wait. */
static ssize_t transfer_now(int fd, struct sim_io *io, bool writes)
{
	struct sim_file *f = sim_file_of(fd);
	int res;

	TH_TSAN_PRIVATE_BEGIN();
	res = f ? transfer(f, io, writes) : -EBADF;
	TH_TSAN_PRIVATE_END();
	return sim_errno(res);
}

ssize_t th_sys_read(int fd, void *buf, size_t n)
{
	struct sim_io io = { .one = { buf, n }, .n_iov = 1, .off = -1, .plain = true };
	return transfer_now(fd, &io, false);
}

ssize_t th_sys_write(int fd, const void *buf, size_t n)
{
	struct sim_io io = { .one = { (void *)(uintptr_t)buf, n }, .n_iov = 1, .off = -1, .plain = true };
	return transfer_now(fd, &io, true);
}

/* With RWF_NOWAIT the page cache may have it or not; without it a thread is at hand that may wait. */
static bool would_wait(int flags)
{
	return (flags & RWF_NOWAIT) && th_sim_choose(2) == 1;
}

ssize_t th_sys_preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	struct sim_io io = { .iov = iov, .n_iov = (size_t)n, .off = at, .plain = true };
	return would_wait(flags) ? sim_errno(-EAGAIN) : transfer_now(fd, &io, false);
}

ssize_t th_sys_pwritev2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	struct sim_io io = { .iov = iov, .n_iov = (size_t)n, .off = at, .plain = true };
	return would_wait(flags) ? sim_errno(-EAGAIN) : transfer_now(fd, &io, true);
}

enum { SENDFILE_BYTES = 4096 }; /* at a time */

/* What did not go out stays in the file. */
ssize_t th_sys_sendfile(int out, int in, off_t *at, size_t n)
{
	char buf[SENDFILE_BYTES];
	struct iovec iov = { buf, n < sizeof buf ? n : sizeof buf };
	ssize_t got = th_sys_preadv2(in, &iov, 1, *at, 0);

	if (got > 0)
		got = th_sys_write(out, buf, (size_t)got);
	if (got > 0)
		*at += got;
	return got;
}

/* --- the rest --- */

int th_sys_close(int fd)
{
	TH_TSAN_PRIVATE_BEGIN();
	int code = sim_fd_close(fd);
	TH_TSAN_PRIVATE_END();
	return sim_errno(code);
}

static int set_flags(struct sim_file *f, int flags)
{
	f->flags = (f->flags & ~O_NONBLOCK) | (flags & O_NONBLOCK);
	return 0;
}

static int duplicate(struct sim_file *f)
{
	int fd = sim_fd_new(sim_file_get(f));

	if (fd < 0)
		sim_file_put(f);
	return fd;
}

int th_sys_fcntl(int fd, int command, ...)
{
	struct sim_file *f = sim_file_of(fd);
	va_list args;
	int value;

	va_start(args, command);
	value = command == F_SETFL || command == F_DUPFD_CLOEXEC ? va_arg(args, int) : 0;
	va_end(args);
	if (!f)
		return sim_errno(-EBADF);
	switch (command) {
	case F_GETFL:
		return f->flags;
	case F_SETFL:
		return set_flags(f, value);
	case F_GETFD:
		return FD_CLOEXEC;
	case F_SETFD:
		return 0; /* nothing is executed here */
	case F_DUPFD_CLOEXEC:
		return sim_errno(duplicate(f));
	default:
		return sim_errno(-EINVAL);
	}
}

/* FIONREAD, FIONBIO. */
int th_sys_ioctl(int fd, unsigned long request, ...)
{
	struct sim_file *f = sim_file_of(fd);
	va_list args;
	int *value;

	va_start(args, request);
	value = va_arg(args, int *);
	va_end(args);
	if (!f)
		return sim_errno(-EBADF);
	switch (request) {
	case FIONREAD: {
		int code = 0;
		struct sim_sock *s = sim_sock_of(fd, &code);
		if (s)
			*value = (int)(s->type == SOCK_STREAM ? sim_stream_ready(&s->rx) : sim_dgram_first(s));
		return sim_errno(s ? 0 : -ENOTTY);
	}
	case FIONBIO:
		return set_flags(f, *value ? O_NONBLOCK : 0);
	default:
		return sim_errno(-ENOTTY);
	}
}

/* --- a counter: eventfd(2) --- */

struct counter {
	struct sim_file file; /* first */
	uint64_t n;
	bool semaphore;
};

static int counter_read(struct sim_file *f, struct sim_io *io)
{
	struct counter *c = (struct counter *)(void *)f;
	uint64_t n = c->semaphore ? 1 : c->n;

	if (io->len < sizeof n)
		return -EINVAL;
	if (c->n == 0)
		return -EAGAIN;
	c->n -= n;
	sim_scatter(io, 0, (const char *)&n, sizeof n);
	return sizeof n;
}

static int counter_write(struct sim_file *f, struct sim_io *io)
{
	struct counter *c = (struct counter *)(void *)f;
	uint64_t n;

	if (io->len < sizeof n)
		return -EINVAL;
	sim_gather(io, 0, (char *)&n, sizeof n);
	if (n > UINT64_MAX - 1 - c->n)
		return -EAGAIN;
	c->n += n;
	sim_stir(f);
	return sizeof n;
}

static unsigned counter_ready(struct sim_file *f)
{
	return POLLOUT | (((struct counter *)(void *)f)->n ? POLLIN : 0U);
}

static int64_t counter_next(struct sim_file *f)
{
	(void)f;
	return INT64_MAX;
}

static void counter_release(struct sim_file *f)
{
	free(f);
}

static const struct sim_kind counter_kind = { counter_read, counter_write, counter_ready, counter_next, counter_release };

int th_sys_eventfd(unsigned count, int flags)
{
	struct counter *c = calloc(1, sizeof *c);
	int fd;

	if (!c)
		return sim_errno(-ENOMEM);
	*c = (struct counter){ { &counter_kind, 1, flags & EFD_NONBLOCK }, count, flags & EFD_SEMAPHORE };
	fd = sim_fd_new(&c->file);
	if (fd < 0)
		sim_file_put(&c->file);
	return sim_errno(fd);
}
