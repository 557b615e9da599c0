/* io/file.c: the calls that work on any descriptor: reading, writing, opening, closing. */
#include "../core/hooks.h"
#include "call.h"
#include "fdtable.h"
#include "inline.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <thrum/file.h>
#include <thrum/io.h>
#include <unistd.h>

enum { AT_POSITION = -1 }; /* op->off: the file's own position */

static struct th_op op_on(enum th_op_kind kind, int fd, const void *buf, int64_t off)
{
	return (struct th_op){ .kind = kind, .fd = fd, .buf = th_unconst(buf), .off = off };
}

/* One transfer of at most n bytes, or vectors. */
static ssize_t run_once(struct th_op *op, size_t n, unsigned events)
{
	op->len = n < TH_LEN_MAX ? (uint32_t)n : (uint32_t)TH_LEN_MAX;
	return th_inline_first(op, events);
}

static ssize_t transfer(struct th_op *op, size_t n, unsigned events)
{
	ssize_t res = th_call_begin(op->fd);

	if (res < 0)
		return res;
	res = run_once(op, n, events);
	th_call_end(op->fd);
	return res;
}

/* A negative position is refused here: to the ring, -1 means the file's own. */
static ssize_t transfer_at(struct th_op *op, size_t n, unsigned events)
{
	if (op->off < 0)
		return th_self() ? -EINVAL : THRUM_ENOTFIBER;
	return transfer(op, n, events);
}

/* More vectors than one call takes are a shorter transfer. */
static size_t some_of(size_t n)
{
	return n < IOV_MAX ? n : IOV_MAX;
}

/* The next transfer: behind what has moved. */
static struct th_op rest_of(const struct th_op *op, size_t done)
{
	return (struct th_op){ .kind = op->kind, .fd = op->fd, .buf = (char *)op->buf + done,
			       .off = op->off < 0 ? op->off : op->off + (int64_t)done };
}

/* What a transfer of 0 bytes of more means. No file takes nothing for good, so that is not tried for ever. */
static int end_of(const struct th_op *op)
{
	return op->kind == TH_OP_READ ? THRUM_EEOF : -EIO;
}

static int transfer_all(const struct th_op *op, size_t n, unsigned events, size_t *ret_done)
{
	size_t done = 0;
	int code = th_call_begin(op->fd);

	if (ret_done)
		*ret_done = 0;
	if (code < 0)
		return code;
	while (done < n && code == 0) {
		struct th_op rest = rest_of(op, done);
		ssize_t res = run_once(&rest, n - done, events);

		if (res > 0)
			done += (size_t)res;
		else
			code = res < 0 ? (int)res : end_of(op);
	}
	th_call_end(op->fd);
	if (ret_done)
		*ret_done = done;
	return code;
}

static int transfer_all_at(const struct th_op *op, size_t n, unsigned events, size_t *ret_done)
{
	if (op->off >= 0)
		return transfer_all(op, n, events, ret_done);
	if (ret_done)
		*ret_done = 0;
	return th_self() ? -EINVAL : THRUM_ENOTFIBER;
}

/* --- reading --- */

ssize_t thrum_read(int fd, void *buf, size_t n)
{
	struct th_op op = op_on(TH_OP_READ, fd, buf, AT_POSITION);
	return transfer(&op, n, POLLIN);
}

ssize_t thrum_pread(int fd, void *buf, size_t n, off_t at)
{
	struct th_op op = op_on(TH_OP_READ, fd, buf, at);
	return transfer_at(&op, n, POLLIN);
}

ssize_t thrum_readv(int fd, const struct iovec *vec, size_t n)
{
	struct th_op op = op_on(TH_OP_READV, fd, vec, AT_POSITION);
	return transfer(&op, some_of(n), POLLIN);
}

ssize_t thrum_preadv(int fd, const struct iovec *vec, size_t n, off_t at)
{
	struct th_op op = op_on(TH_OP_READV, fd, vec, at);
	return transfer_at(&op, some_of(n), POLLIN);
}

int thrum_read_all(int fd, void *buf, size_t n, size_t *ret_done)
{
	struct th_op op = op_on(TH_OP_READ, fd, buf, AT_POSITION);
	return transfer_all(&op, n, POLLIN, ret_done);
}

int thrum_pread_all(int fd, void *buf, size_t n, off_t at, size_t *ret_done)
{
	struct th_op op = op_on(TH_OP_READ, fd, buf, at);
	return transfer_all_at(&op, n, POLLIN, ret_done);
}

/* --- writing --- */

ssize_t thrum_write(int fd, const void *buf, size_t n)
{
	struct th_op op = op_on(TH_OP_WRITE, fd, buf, AT_POSITION);
	return transfer(&op, n, POLLOUT);
}

ssize_t thrum_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	struct th_op op = op_on(TH_OP_WRITE, fd, buf, at);
	return transfer_at(&op, n, POLLOUT);
}

ssize_t thrum_writev(int fd, const struct iovec *vec, size_t n)
{
	struct th_op op = op_on(TH_OP_WRITEV, fd, vec, AT_POSITION);
	return transfer(&op, some_of(n), POLLOUT);
}

ssize_t thrum_pwritev(int fd, const struct iovec *vec, size_t n, off_t at)
{
	struct th_op op = op_on(TH_OP_WRITEV, fd, vec, at);
	return transfer_at(&op, some_of(n), POLLOUT);
}

int thrum_write_all(int fd, const void *buf, size_t n, size_t *ret_done)
{
	struct th_op op = op_on(TH_OP_WRITE, fd, buf, AT_POSITION);
	return transfer_all(&op, n, POLLOUT, ret_done);
}

int thrum_pwrite_all(int fd, const void *buf, size_t n, off_t at, size_t *ret_done)
{
	struct th_op op = op_on(TH_OP_WRITE, fd, buf, at);
	return transfer_all_at(&op, n, POLLOUT, ret_done);
}

/* --- opening and closing --- */

int thrum_openat(int dir, const char *path, int flags, mode_t mode)
{
	struct th_op op = { .kind = TH_OP_OPENAT, .fd = dir, .buf = th_unconst(path), .len = mode };
	int res = th_call_begin(dir);

	if (res < 0)
		return res;
	op.arg = (uint32_t)(flags | O_CLOEXEC);
	res = th_op_run(&op);
	if (res >= 0)
		th_fd_forget(th_self()->home->fds, res);
	th_call_end(dir);
	return res;
}

/* Through the ring, not close(2): where closing has to write back first (NFS, FUSE) the kernel moves it to a thread of
 * its own, and a worker that closes many connections in one turn pays one enter for all (a socket: 3.3 us each in a
 * batch of 64, 4.0 alone, 3.2 by close(2)). */
static int close_now(int fd)
{
#if defined(TH_TSAN) && !defined(TH_SIM)
	/* ThreadSanitizer has a table of descriptors, and calls it a race if one comes back without a close(2) between.
	 */
	return th_sys_close(fd) < 0 ? -errno : 0;
#else
	struct th_op op = { .kind = TH_OP_CLOSE, .fd = fd };
	return th_op_run(&op);
#endif
}

int thrum_close(int fd)
{
	struct th_fiber *f = th_self();
	struct th_fdtable *fds;
	int res;

	if (!f)
		return THRUM_ENOTFIBER;
	fds = f->home->fds;
	res = th_fd_close_begin(fds, fd);
	if (res < 0)
		return res;
	if (res > 0) {
		th_cancel_fd_all(fd);
		th_fd_drain(fds, fd);
	}
	th_fd_close_last(fds, fd);
	res = close_now(fd);
	th_fd_close_end(fds, fd);
	return res == -EINTR ? 0 : res; /* on Linux the descriptor is gone with it */
}
