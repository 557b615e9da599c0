/* io/dir.c: listing a directory: getdents64(2) on the blocking pool, one job for each 32 KiB of entries. */
#include "../core/hooks.h"
#include "../core/node.h"
#include "call.h"
#include "sys.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/file.h>
#include <thrum/io.h>
#include <unistd.h>

enum { BATCH_BYTES = 32768 }; /* as readdir(3); some 1000 entries */

struct dir {
	int fd, at_dir;
	const char *path;
	char *batch;
	size_t at, bytes; /* the next entry; how much of the batch is filled */
	bool ended;
};
_Static_assert(sizeof(struct dir) <= sizeof(thrum_dir), "thrum_dir holds a struct dir");

static struct dir *of(thrum_dir *d)
{
	return (struct dir *)(void *)d;
}

static int fill(void *arg)
{
	struct dir *d = arg;
	ssize_t got = th_sys_getdents64(d->fd, d->batch, BATCH_BYTES);

	if (got < 0 && errno != ENOENT)
		return -errno;
	if (got < 0)
		got = 0; /* the directory has been removed */
	d->at = 0;
	d->bytes = (size_t)got;
	d->ended = got == 0;
	return 0;
}

/* The first batch comes with it: most directories are one job. */
static int open_and_fill(void *arg)
{
	struct dir *d = arg;
	int code;

	d->fd = th_sys_openat(d->at_dir, d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0)
		return -errno;
	code = fill(d);
	if (code < 0)
		th_sys_close(d->fd);
	return code;
}

int thrum_dir_open(thrum_dir *dir, int at_dir, const char *path)
{
	struct dir d = { .at_dir = at_dir, .path = path };
	int code = th_call_begin(at_dir);

	if (code < 0)
		return code;
	if (!path) {
		th_call_end(at_dir);
		return -EFAULT;
	}
	d.batch = malloc(BATCH_BYTES);
	code = d.batch ? thrum_blocking((thrum_fx){ open_and_fill, &d }) : -ENOMEM;
	th_call_end(at_dir);
	if (code < 0) {
		free(d.batch);
		return code;
	}
	d.path = NULL;
	*of(dir) = d;
	return 0;
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* The next entry of the batch; NULL: it is used up. */
static const struct dirent64 *next_of(struct dir *d)
{
	const struct dirent64 *e;

	if (d->at == d->bytes)
		return NULL;
	e = (const void *)(d->batch + d->at);
	d->at += e->d_reclen;
	return e;
}

int thrum_dir_next(thrum_dir *dir, thrum_dir_entry *ret)
{
	struct dir *d = of(dir);
	const struct dirent64 *e;
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	do {
		while (!(e = next_of(d))) {
			int code = d->ended ? 0 : thrum_blocking((thrum_fx){ fill, d });
			if (code < 0 || d->ended)
				return code;
		}
	} while (is_dots(e->d_name));
	*ret = (thrum_dir_entry){ .name = e->d_name, .ino = e->d_ino, .type = e->d_type };
	return 1;
}

int thrum_dir_close(thrum_dir *dir)
{
	struct dir *d = of(dir);
	int code = thrum_close(d->fd);

	if (code != THRUM_ENOTFIBER)
		free(d->batch);
	return code;
}
