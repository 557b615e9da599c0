/* io/sim/fs.c: files and directories in memory, and what is open of them. */
#include "fs.h"
#include "../sys.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static struct {
	struct sim_node *root;
	ino_t last_ino;
	uint64_t last_serial, bytes; /* in all files */
} fs;

struct open_file {
	struct sim_file file;        /* first */
	struct sim_node *node;
	int64_t at;                  /* a directory's: the next serial number */
};

/* --- nodes --- */

struct sim_node *sim_node_new(mode_t mode)
{
	struct sim_node *n = calloc(1, sizeof *n);

	if (n)
		*n = (struct sim_node){ .refs = 1, .mode = mode, .ino = ++fs.last_ino, .changed_ns = th_sim_now() };
	return n;
}

void sim_node_put(struct sim_node *n)
{
	if (!n || --n->refs > 0)
		return;
	while (n->entries) {
		struct sim_entry *e = n->entries;
		n->entries = e->next;
		sim_node_put(e->node);
		free(e);
	}
	fs.bytes -= n->size;
	free(n->bytes);
	free(n);
}

static struct sim_node *node_get(struct sim_node *n)
{
	n->refs++;
	return n;
}

void sim_fs_reset(void)
{
	struct sim_node *root = fs.root;

	fs.root = NULL;
	sim_node_put(root);
	memset(&fs, 0, sizeof fs);
}

static struct sim_node *root(void)
{
	if (!fs.root)
		fs.root = sim_node_new(S_IFDIR | 0755);
	if (fs.root)
		fs.root->parent = fs.root;
	return fs.root;
}

int sim_node_resize(struct sim_node *n, size_t size)
{
	size_t room = n->room ? n->room : 256;
	char *bytes;

	if (size > n->size && sim_faults.disk_bytes && fs.bytes + (size - n->size) > sim_faults.disk_bytes)
		return -ENOSPC;
	while (room < size)
		room *= 2;
	if (room > n->room) {
		bytes = realloc(n->bytes, room);
		if (!bytes)
			return -ENOSPC;
		n->bytes = bytes;
		n->room = room;
	}
	if (size > n->size)
		memset(n->bytes + n->size, 0, size - n->size);
	fs.bytes += size;
	fs.bytes -= n->size;
	n->size = size;
	n->changed_ns = th_sim_now();
	return 0;
}

/* --- entries --- */

static struct sim_entry *entry_of(const struct sim_node *dir, const char *name)
{
	struct sim_entry *e = dir->entries;

	while (e && strcmp(e->name, name) != 0)
		e = e->next;
	return e;
}

int sim_fs_link(const struct sim_where *at, struct sim_node *node)
{
	struct sim_entry *e = calloc(1, sizeof *e), **last = &at->dir->entries;

	if (!e)
		return -ENOSPC;
	strcpy(e->name, at->name);
	e->serial = ++fs.last_serial;
	e->node = node_get(node);
	node->links++;
	if (S_ISDIR(node->mode))
		node->parent = at->dir;
	while (*last)
		last = &(*last)->next;
	*last = e;
	at->dir->changed_ns = th_sim_now();
	return 0;
}

void sim_fs_unlink(struct sim_node *dir, struct sim_node *node, const char *name)
{
	struct sim_entry **at = &dir->entries, *e;

	while ((e = *at) && (e->node != node || strcmp(e->name, name) != 0))
		at = &e->next;
	if (!e)
		return;
	*at = e->next;
	node->links--;
	free(e);
	sim_node_put(node);
	dir->changed_ns = th_sim_now();
}

/* --- paths --- */

static int begin_of(int dir, const char *path, struct sim_node **ret)
{
	int code = 0;

	if (*path == '/' || dir == AT_FDCWD)
		*ret = root();
	else
		*ret = sim_node_of(dir, &code);
	return *ret ? 0 : code < 0 ? code : -ENOMEM;
}

/* The part of the path at *path goes into w; *path is then behind it and its slashes. */
static int next_part(const char **path, struct sim_where *w)
{
	size_t n = strcspn(*path, "/");

	if (n > NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(w->name, *path, n);
	w->name[n] = '\0';
	*path += n;
	w->wants_dir = **path == '/';
	*path += strspn(*path, "/");
	return 0;
}

/* From the directory w->node by the part w->name. */
static int step(struct sim_where *w)
{
	struct sim_entry *e;

	w->dir = w->node;
	if (!w->dir || !S_ISDIR(w->dir->mode))
		return w->dir ? -ENOTDIR : -ENOENT;
	if (strcmp(w->name, ".") == 0 || strcmp(w->name, "..") == 0) {
		w->node = w->name[1] ? w->dir->parent : w->dir;
		w->name[0] = '\0';
		return w->node ? 0 : -ENOENT; /* the parent of one that was removed */
	}
	e = entry_of(w->dir, w->name);
	w->node = e ? e->node : NULL;
	return 0;
}

int sim_fs_walk(int dir, const char *path, struct sim_where *w)
{
	int code;

	*w = (struct sim_where){ .dir = NULL };
	if (!path)
		return -EFAULT;
	if (!*path)
		return -ENOENT;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	code = begin_of(dir, path, &w->node);
	w->dir = w->node;
	path += strspn(path, "/");
	while (*path && code == 0) {
		code = next_part(&path, w);
		if (code == 0)
			code = step(w);
	}
	if (code == 0 && w->wants_dir && w->node && !S_ISDIR(w->node->mode))
		code = -ENOTDIR;
	return code;
}

/* --- sockets with a path --- */

int sim_fs_make_socket(const char *path, struct sim_node **ret_node)
{
	struct sim_where w;
	int code = sim_fs_walk(AT_FDCWD, path, &w);

	if (code < 0 || w.node)
		return code < 0 ? code : -EADDRINUSE;
	*ret_node = sim_node_new(S_IFSOCK | 0755);
	if (!*ret_node)
		return -ENOSPC;
	code = sim_fs_link(&w, *ret_node);
	if (code < 0) {
		sim_node_put(*ret_node);
		*ret_node = NULL;
	}
	return code;
}

struct sim_node *sim_fs_find_socket(const char *path, int *ret_code)
{
	struct sim_where w;
	int code = sim_fs_walk(AT_FDCWD, path, &w);

	if (code < 0 || !w.node) {
		*ret_code = code < 0 ? code : -ENOENT;
		return NULL;
	}
	*ret_code = -ECONNREFUSED; /* what lies there is no socket, or nobody listens */
	return S_ISSOCK(w.node->mode) ? w.node : NULL;
}

/* --- open files --- */

static struct open_file *of(struct sim_file *f)
{
	return (struct open_file *)(void *)f;
}

static bool may(const struct sim_file *f, int mode)
{
	return (f->flags & O_ACCMODE) == O_RDWR || (f->flags & O_ACCMODE) == mode;
}

static int check(const struct open_file *o, const struct sim_io *io, int mode)
{
	if (!io->plain)
		return -ENOTSOCK;
	if (!may(&o->file, mode))
		return -EBADF;
	return S_ISDIR(o->node->mode) ? -EISDIR : 0;
}

static int file_read(struct sim_file *f, struct sim_io *io)
{
	struct open_file *o = of(f);
	size_t at = (size_t)(io->off < 0 ? o->at : io->off), n;
	int code = check(o, io, O_RDONLY);

	if (code < 0)
		return code;
	n = at >= o->node->size ? 0 : o->node->size - at;
	n = sim_some(n < io->len ? n : io->len);
	sim_scatter(io, 0, o->node->bytes + at, n);
	if (io->off < 0)
		o->at += (int64_t)n;
	return (int)n;
}

/* How large it can become. */
static uint64_t size_max(const struct sim_node *n)
{
	uint64_t used = fs.bytes < sim_faults.disk_bytes ? fs.bytes : sim_faults.disk_bytes;

	return sim_faults.disk_bytes ? n->size + (sim_faults.disk_bytes - used) : UINT64_MAX;
}

/* As much as the disk has room for. */
static int write_at(struct sim_node *node, const struct sim_io *io, size_t at, size_t n)
{
	int code = sim_fault(sim_faults.no_space) || at >= size_max(node) ? -ENOSPC : 0;

	if (code == 0 && n > size_max(node) - at)
		n = (size_t)(size_max(node) - at);
	if (code == 0 && at + n > node->size)
		code = sim_node_resize(node, at + n);
	if (code < 0)
		return code;
	sim_gather(io, 0, node->bytes + at, n);
	node->changed_ns = th_sim_now();
	return (int)n;
}

static int file_write(struct sim_file *f, struct sim_io *io)
{
	struct open_file *o = of(f);
	size_t at = f->flags & O_APPEND ? o->node->size : (size_t)(io->off < 0 ? o->at : io->off);
	int res = check(o, io, O_WRONLY);

	if (res < 0 || io->len == 0)
		return res;
	res = write_at(o->node, io, at, sim_some(io->len));
	if (res > 0 && io->off < 0)
		o->at = (int64_t)at + res;
	return res;
}

static unsigned file_ready(struct sim_file *f)
{
	(void)f;
	return POLLIN | POLLOUT;
}

static int64_t file_next(struct sim_file *f)
{
	(void)f;
	return INT64_MAX;
}

static void file_release(struct sim_file *f)
{
	sim_node_put(of(f)->node);
	free(f);
}

static const struct sim_kind file_kind = { file_read, file_write, file_ready, file_next, file_release };

struct sim_node *sim_node_of(int fd, int *ret_code)
{
	struct sim_file *f = sim_file_of(fd);

	*ret_code = f ? -ENOTDIR : -EBADF;
	return f && f->kind == &file_kind ? of(f)->node : NULL;
}

int sim_fs_open(struct sim_node *node, int flags)
{
	struct open_file *o = calloc(1, sizeof *o);
	int fd;

	if (!o)
		return -ENFILE;
	*o = (struct open_file){ { &file_kind, 1, flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT) }, node_get(node), 0 };
	fd = sim_fd_take(&o->file);
	if (fd < 0)
		sim_file_put(&o->file);
	return fd;
}

/* --- listing --- */

static unsigned char type_of(const struct sim_node *n)
{
	return (unsigned char)((n->mode & S_IFMT) >> 12); /* IFTODT() */
}

static size_t put_entry(char *to, const struct sim_entry *e)
{
	size_t n = (offsetof(struct dirent64, d_name) + strlen(e->name) + 1 + 7) & ~(size_t)7;
	struct dirent64 *d = (struct dirent64 *)(void *)to;

	d->d_ino = e->node->ino;
	d->d_off = (off64_t)e->serial;
	d->d_reclen = (unsigned short)n;
	d->d_type = type_of(e->node);
	strcpy(d->d_name, e->name);
	return n;
}

/* The entries from the position on, as many as fit: sizeof(struct dirent64) is enough for each. */
ssize_t sim_fs_list(int fd, void *buf, size_t n)
{
	int code;
	struct sim_node *dir = sim_node_of(fd, &code);
	size_t done = 0;
	struct open_file *o;

	if (!dir || !S_ISDIR(dir->mode))
		return dir ? -ENOTDIR : code;
	o = of(sim_file_of(fd));
	for (const struct sim_entry *e = dir->entries; e; e = e->next) {
		if ((int64_t)e->serial < o->at)
			continue;
		if (n - done < sizeof(struct dirent64))
			return done ? (ssize_t)done : -EINVAL;
		done += put_entry((char *)buf + done, e);
		o->at = (int64_t)e->serial + 1;
	}
	return (ssize_t)done;
}
