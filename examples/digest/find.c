/* Finding the files: directories are read one after the other, links are not followed, and what is still to be read is a
 * list: one descriptor and no stack serve a tree of any depth. The calls block this worker, which has nothing else to do
 * yet; none of them suspends, so errno may be read after them. Paths longer than PATH_MAX are reported, not hashed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "digest.h"

static int add_file(struct digest *d, char *path_take, bool named)
{
	if (d->files == d->room) {
		size_t room = d->room ? 2 * d->room : 1024;
		struct file *file = realloc(d->file, room * sizeof *file);
		if (!file) {
			free(path_take);
			return -ENOMEM;
		}
		d->file = file;
		d->room = room;
	}
	d->file[d->files++] = (struct file){ .path = path_take, .digest = d, .named = named };
	return 0;
}

static int add_dir(struct digest *d, char *path_take)
{
	if (d->dirs == d->dir_room) {
		size_t room = d->dir_room ? 2 * d->dir_room : 64;
		char **dir = realloc(d->dir, room * sizeof *dir);
		if (!dir) {
			free(path_take);
			return -ENOMEM;
		}
		d->dir = dir;
		d->dir_room = room;
	}
	d->dir[d->dirs++] = path_take;
	return 0;
}

/* dir/name, as find writes it: a slash at the end of `dir` is not doubled. */
static char *join_path(const char *dir, const char *name)
{
	size_t n = strlen(dir), m = strlen(name);
	char *path = malloc(n + m + 2);

	if (!path)
		return NULL;
	memcpy(path, dir, n);
	if (n > 0 && path[n - 1] != '/')
		path[n++] = '/';
	memcpy(path + n, name, m + 1);
	return path;
}

/* Some file systems do not say in the directory what an entry is. */
static unsigned char entry_type(int dir, const struct dirent *e)
{
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type;
	if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return DT_UNKNOWN;
	return S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
}

static int add_entry(struct digest *d, const char *dir_path, int dir, const struct dirent *e)
{
	unsigned char type = entry_type(dir, e);

	if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (type != DT_DIR && type != DT_REG))
		return 0;
	char *path = join_path(dir_path, e->d_name);
	if (!path)
		return -ENOMEM;
	return type == DT_DIR ? add_dir(d, path) : add_file(d, path, false);
}

/* Report it; it ends everything only when the user wants that. */
static int failed(struct digest *d, const char *path, int code)
{
	complain(d, path, code);
	return d->fail_fast ? code : 0;
}

static int read_dir(struct digest *d, const char *path, bool named)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (named ? 0 : O_NOFOLLOW));
	if (fd < 0)
		return failed(d, path, -errno);
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}

	const struct dirent *e;
	int code = 0;
	while (code == 0 && (errno = 0, e = readdir(dir)))
		code = add_entry(d, path, fd, e);
	if (code == 0 && errno)
		code = failed(d, path, -errno);
	closedir(dir);
	return code;
}

static int find_root(struct digest *d, const char *root)
{
	struct stat st;

	if (stat(root, &st) < 0)
		return failed(d, root, -errno);
	if (S_ISDIR(st.st_mode))
		return read_dir(d, root, true);
	if (!S_ISREG(st.st_mode))
		return failed(d, root, -ENOTDIR);
	char *path = strdup(root);
	return path ? add_file(d, path, true) : -ENOMEM;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

int find_files(struct digest *d)
{
	for (char **root = d->roots; *root; root++) {
		int code = find_root(d, *root);
		while (code == 0 && d->dirs > 0) {
			char *path = d->dir[--d->dirs];
			code = read_dir(d, path, false);
			free(path);
			if (code == 0)
				code = thrum_check(); /* Ctrl-C in a large tree */
		}
		if (code < 0)
			return code;
	}
	if (d->files > 1)
		qsort(d->file, d->files, sizeof *d->file, by_path);
	return 0;
}
