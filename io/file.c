/* io/file.c: the calls of thrum/io.h that work on any descriptor: reading, writing, opening, closing. */
#include "../core/hooks.h"
#include "call.h"
#include "fdtable.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <thrum/io.h>
#include <unistd.h>

enum { AT_POSITION = -1 }; /* op->off: the file's own position */

ssize_t thrum_read(int fd, void *buf, size_t n)
{
	struct th_op op = { .kind = TH_OP_READ, .fd = fd, .buf = buf, .off = AT_POSITION };
	return th_transfer(&op, n, POLLIN);
}

ssize_t thrum_write(int fd, const void *buf, size_t n)
{
	struct th_op op = { .kind = TH_OP_WRITE, .fd = fd, .buf = th_unconst(buf), .off = AT_POSITION };
	return th_transfer(&op, n, POLLOUT);
}

/* A negative position is refused here: to the ring, -1 means the file's own. */
static ssize_t transfer_at(struct th_op *op, size_t n, unsigned events)
{
	if (op->off < 0)
		return th_self() ? -EINVAL : THRUM_ENOTFIBER;
	return th_transfer(op, n, events);
}

ssize_t thrum_pread(int fd, void *buf, size_t n, off_t at)
{
	struct th_op op = { .kind = TH_OP_READ, .fd = fd, .buf = buf, .off = at };
	return transfer_at(&op, n, POLLIN);
}

ssize_t thrum_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	struct th_op op = { .kind = TH_OP_WRITE, .fd = fd, .buf = th_unconst(buf), .off = at };
	return transfer_at(&op, n, POLLOUT);
}

int thrum_read_all(int fd, void *buf, size_t n, size_t *ret_done)
{
	struct th_op op = { .kind = TH_OP_READ, .fd = fd, .buf = buf, .off = AT_POSITION };
	return th_transfer_all(&op, n, POLLIN, ret_done);
}

int thrum_write_all(int fd, const void *buf, size_t n, size_t *ret_done)
{
	struct th_op op = { .kind = TH_OP_WRITE, .fd = fd, .buf = th_unconst(buf), .off = AT_POSITION };
	return th_transfer_all(&op, n, POLLOUT, ret_done);
}

int thrum_openat(int dir, const char *path, int flags, mode_t mode)
{
	struct th_op op = { .kind = TH_OP_OPENAT, .fd = dir, .buf = th_unconst(path), .len = mode };
	int res = th_call_begin(dir);

	if (res < 0)
		return res;
	op.arg = (uint32_t)(flags | O_CLOEXEC);
	res = th_op_run(&op);
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
	return close(fd) < 0 ? -errno : 0;
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
	th_fd_close_end(fds, fd);
	res = close_now(fd);
	return res == -EINTR ? 0 : res; /* on Linux the descriptor is gone with it */
}
