/* io/path.c: calls on paths, and the calls on files that wait for a disk: each is one job of the blocking pool.
 *
 * Measured against the ring, which hands all of them to a kernel thread of its own: a stat takes 10 us on the pool and 5 us
 * there, mkdir and rmdir 112 us on both, fdatasync with nothing to write 75 us and 71 us. The pool it is: one path for every
 * backend, and two kinds of operation less for each system call. */
#include "../core/hooks.h"
#include "call.h"
#include "fdtable.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <thrum/file.h>
#include <thrum/io.h>
#include <unistd.h>

/* The arguments of any of them, in the frame of the call. */
struct path_call {
	int dir, to_dir, flags;
	const char *path, *to;
	mode_t mode;
	off_t length;
	char *buf;
	size_t n;                /* room in buf; how much is in it */
	struct stat st;
};

/* Run `job` on the pool while `fd` and `other` may not be closed. */
static int on_pool_both(int fd, int other, int (*job)(void *), struct path_call *c)
{
	int res = th_call_begin(fd);

	if (res < 0)
		return res;
	res = th_call_begin(other);
	if (res == 0) {
		res = thrum_blocking((thrum_fx){ job, c });
		th_call_end(other);
	}
	th_call_end(fd);
	return res;
}

static int on_pool(int fd, int (*job)(void *), struct path_call *c)
{
	return on_pool_both(fd, -1, job, c);
}

/* The same for a call on a path. */
static int on_path(int dir, int (*job)(void *), struct path_call *c)
{
	if (!c->path)
		return th_self() ? -EFAULT : THRUM_ENOTFIBER;
	return on_pool(dir, job, c);
}

static int code_of(int res)
{
	return res < 0 ? -errno : 0;
}

/* --- files --- */

static int do_fsync(void *arg)
{
	return code_of(th_sys_fsync(((struct path_call *)arg)->dir));
}

int thrum_fsync(int fd)
{
	struct path_call c = { .dir = fd };
	return on_pool(fd, do_fsync, &c);
}

static int do_fdatasync(void *arg)
{
	return code_of(th_sys_fdatasync(((struct path_call *)arg)->dir));
}

int thrum_fdatasync(int fd)
{
	struct path_call c = { .dir = fd };
	return on_pool(fd, do_fdatasync, &c);
}

static int do_ftruncate(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_ftruncate(c->dir, c->length));
}

int thrum_ftruncate(int fd, off_t length)
{
	struct path_call c = { .dir = fd, .length = length };
	return on_pool(fd, do_ftruncate, &c);
}

/* --- paths --- */

static int do_stat(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_fstatat(c->dir, c->path, &c->st, c->flags));
}

int thrum_stat(int dir, const char *path, int flags, struct stat *ret)
{
	struct path_call c = { .dir = dir, .path = path, .flags = flags };
	int res = on_path(dir, do_stat, &c);

	if (res == 0)
		*ret = c.st;
	return res;
}

static int do_fstat(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_fstat(c->dir, &c->st));
}

int thrum_fstat(int fd, struct stat *ret)
{
	struct path_call c = { .dir = fd };
	int res = on_pool(fd, do_fstat, &c);

	if (res == 0)
		*ret = c.st;
	return res;
}

static int do_rename(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_renameat2(c->dir, c->path, c->to_dir, c->to, (unsigned)c->flags));
}

int thrum_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	struct path_call c = { .dir = from_dir, .path = from, .to_dir = to_dir, .to = to, .flags = (int)flags };

	if (!from || !to)
		return th_self() ? -EFAULT : THRUM_ENOTFIBER;
	return on_pool_both(from_dir, to_dir, do_rename, &c);
}

static int do_unlink(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_unlinkat(c->dir, c->path, c->flags));
}

int thrum_unlink(int dir, const char *path, int flags)
{
	struct path_call c = { .dir = dir, .path = path, .flags = flags };
	return on_path(dir, do_unlink, &c);
}

static int do_mkdir(void *arg)
{
	struct path_call *c = arg;
	return code_of(th_sys_mkdirat(c->dir, c->path, c->mode));
}

int thrum_mkdir(int dir, const char *path, mode_t mode)
{
	struct path_call c = { .dir = dir, .path = path, .mode = mode };
	return on_path(dir, do_mkdir, &c);
}

/* A link that fills the buffer may have been cut; and there is no room for its NUL. */
static int do_readlink(void *arg)
{
	struct path_call *c = arg;
	ssize_t got = th_sys_readlinkat(c->dir, c->path, c->buf, c->n);

	if (got < 0)
		return -errno;
	if ((size_t)got == c->n)
		return -ENAMETOOLONG;
	c->buf[got] = '\0';
	c->n = (size_t)got;
	return 0;
}

ssize_t thrum_readlink(int dir, const char *path, char *buf, size_t n)
{
	struct path_call c = { .dir = dir, .path = path, .buf = buf, .n = n };
	int res = on_path(dir, do_readlink, &c);

	return res < 0 ? res : (ssize_t)c.n;
}

/* --- a whole file --- */

enum { FIRST_BYTES = 4096 }; /* of a file that does not know its size */

static int check_kind(const struct stat *st, size_t limit)
{
	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (!S_ISREG(st->st_mode))
		return -EINVAL;
	return (uintmax_t)st->st_size > limit ? -EFBIG : 0;
}

/* Room for one byte beyond `bytes`, by which the end is seen, or that there is too much; later it is the NUL's. */
static int grow(struct path_call *c, size_t *room, size_t bytes)
{
	char *buf = bytes < SIZE_MAX ? realloc(c->buf, bytes + 1) : NULL;

	if (!buf)
		return -ENOMEM;
	c->buf = buf;
	*room = bytes + 1;
	return 0;
}

static int read_to_end(struct path_call *c, int fd, size_t limit)
{
	size_t room = 0, first = c->st.st_size > 0 ? (size_t)c->st.st_size : FIRST_BYTES;
	int code = grow(c, &room, first < limit ? first : limit);

	while (code == 0) {
		ssize_t got = th_sys_read(fd, c->buf + c->n, room - c->n);
		if (got <= 0)
			return got < 0 ? -errno : 0;
		c->n += (size_t)got;
		if (c->n > limit)
			return -EFBIG;
		if (c->n == room)
			code = grow(c, &room, room < limit / 2 ? room * 2 : limit);
	}
	return code;
}

/* O_NONBLOCK: a fifo in the place of a file must not keep the thread. */
static int do_read_file(void *arg)
{
	struct path_call *c = arg;
	size_t limit = c->n;
	int fd = th_sys_openat(c->dir, c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), code;

	if (fd < 0)
		return -errno;
	c->n = 0;
	code = th_sys_fstat(fd, &c->st) < 0 ? -errno : check_kind(&c->st, limit);
	if (code == 0)
		code = read_to_end(c, fd, limit);
	if (code == 0)
		c->buf[c->n] = '\0';
	th_sys_close(fd);
	return code;
}

int thrum_read_file(int dir, const char *path, size_t limit, void **ret_data, size_t *ret_size)
{
	struct path_call c = { .dir = dir, .path = path, .n = limit };
	int res = on_path(dir, do_read_file, &c);

	if (res < 0) {
		free(c.buf);
		return res;
	}
	th_sys_hand_over(c.buf);
	*ret_data = c.buf;
	*ret_size = c.n;
	return 0;
}
