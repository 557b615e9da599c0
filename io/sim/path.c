/* io/sim/path.c: the calls on paths and files, of the simulated kernel. Those that a thread of the blocking pool makes take a
 * while, as disks do. */
#include "../../core/assert.h"
#include "../../core/hooks.h"
#include "fs.h"
#include "../sys.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum { DISK_TICKS = 4, BLOCK = 4096, SECTOR = 512 };

static void take_a_while(void)
{
	if (!th_self())
		th_sim_block(th_sim_choose(DISK_TICKS) * TH_SIM_TICK_NS);
}

/* Of a call that a thread of the pool makes; what a fiber makes is in the way of something else. 0, or the failure with which it
 * ends without having been done. Until end(). */
static int begin(unsigned kind)
{
	bool on_pool = !th_self();

	take_a_while();
	TH_TSAN_PRIVATE_BEGIN();
	return on_pool ? th_sim_op_fault(kind) : 0;
}

static int end(int code)
{
	TH_TSAN_PRIVATE_END();
	return sim_errno(code);
}

/* --- opening --- */

static int create(const struct sim_where *w, unsigned mode, struct sim_node **ret_node)
{
	struct sim_node *n;
	int code;

	if (w->wants_dir)
		return -EISDIR;
	n = sim_node_new(S_IFREG | (mode & 07777));
	code = n ? sim_fs_link(w, n) : -ENOSPC;
	if (code == 0)
		*ret_node = n;
	sim_node_put(n); /* its entry holds it */
	return code;
}

static int check_open(const struct sim_node *n, int flags)
{
	bool writes = (flags & O_ACCMODE) != O_RDONLY;

	if ((flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (S_ISSOCK(n->mode))
		return -ENXIO;
	if (S_ISDIR(n->mode))
		return writes || (flags & O_CREAT) ? -EISDIR : 0;
	return flags & O_DIRECTORY ? -ENOTDIR : 0;
}

int sim_openat(int dir, const char *path, int flags, unsigned mode)
{
	struct sim_where w;
	int code = sim_fd_check(), fd; /* as in Linux the descriptor comes first, before anything is looked for or made */
	bool is_new;

	if (code == 0)
		code = sim_fs_walk(dir, path, &w);
	if (code < 0)
		return code;
	is_new = !w.node;
	if (is_new && !(flags & O_CREAT))
		return -ENOENT;
	code = is_new ? create(&w, mode, &w.node) : check_open(w.node, flags);
	if (code < 0)
		return code;
	fd = sim_fs_open(w.node, flags);
	if (fd >= 0 && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY)
		(void)sim_node_resize(w.node, 0);
	return fd;
}

static int open_now(int dir, const char *path, int flags, unsigned mode)
{
	int code = begin(TH_OP_OPENAT);

	return end(code < 0 ? code : sim_openat(dir, path, flags, mode));
}

int th_sys_openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	unsigned mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
	va_end(args);
	return open_now(dir, path, flags, mode);
}

int th_sys_open(const char *path, int flags, ...)
{
	va_list args;
	unsigned mode;

	va_start(args, flags);
	mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
	va_end(args);
	return open_now(AT_FDCWD, path, flags, mode);
}

/* --- what they are --- */

static void describe(const struct sim_node *n, struct stat *st)
{
	int64_t s = n->changed_ns / 1000000000, ns = n->changed_ns % 1000000000;

	*st = (struct stat){ .st_dev = 1, .st_ino = n->ino, .st_mode = n->mode, .st_nlink = n->links, .st_size = (off_t)n->size,
			     .st_blksize = BLOCK, .st_blocks = (blkcnt_t)((n->size + SECTOR - 1) / SECTOR),
			     .st_mtim = { s, ns }, .st_ctim = { s, ns } };
}

/* What is open, but for files: its kind is all there is to say. */
static int describe_other(int fd, struct stat *st)
{
	int code;
	bool socket = sim_sock_of(fd, &code);

	if (!sim_file_of(fd))
		return -EBADF;
	*st = (struct stat){ .st_dev = 2, .st_ino = (ino_t)fd, .st_mode = (socket ? S_IFSOCK : S_IFIFO) | 0600 };
	return 0;
}

static int stat_fd(int fd, struct stat *st)
{
	int code;
	struct sim_node *n = sim_node_of(fd, &code);

	if (!n)
		return describe_other(fd, st);
	describe(n, st);
	return 0;
}

static int stat_at(int dir, const char *path, struct stat *st, int flags)
{
	struct sim_where w;
	int code;

	if (path && !*path && (flags & AT_EMPTY_PATH))
		return stat_fd(dir, st);
	code = sim_fs_walk(dir, path, &w);
	if (code == 0 && !w.node)
		code = -ENOENT;
	if (code == 0)
		describe(w.node, st);
	return code;
}

int th_sys_fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	int code = begin(path && *path ? TH_SIM_STAT : TH_SIM_FSTAT);

	return end(code < 0 ? code : stat_at(dir, path, ret, flags));
}

int th_sys_stat(const char *path, struct stat *ret)
{
	return th_sys_fstatat(AT_FDCWD, path, ret, 0);
}

int th_sys_lstat(const char *path, struct stat *ret)
{
	return th_sys_fstatat(AT_FDCWD, path, ret, AT_SYMLINK_NOFOLLOW);
}

int th_sys_fstat(int fd, struct stat *ret)
{
	return th_sys_fstatat(fd, "", ret, AT_EMPTY_PATH);
}

/* The kind, which is all that is asked for. */
off_t th_sys_lseek(int fd, off_t off, int whence)
{
	struct stat st;

	TH_ASSERT(off == 0 && whence == SEEK_CUR);
	if (th_sys_fstat(fd, &st) < 0)
		return -1;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return 0;
	errno = ESPIPE;
	return -1;
}

int th_sys_statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret)
{
	struct stat st;
	int res = th_sys_fstatat(dir, path, &st, flags & AT_EMPTY_PATH);

	if (res == 0)
		*ret = (struct statx){ .stx_mask = mask & STATX_TYPE, .stx_mode = (__u16)st.st_mode };
	return res;
}

/* --- the calls on open files --- */

/* The disk is as safe before as after. */
int th_sys_fsync(int fd)
{
	int code = begin(TH_SIM_SYNC);

	return end(code < 0 ? code : !sim_file_of(fd) ? -EBADF : sim_fault(sim_faults.no_space) ? -ENOSPC : 0);
}

int th_sys_fdatasync(int fd)
{
	return th_sys_fsync(fd);
}

static int truncate_to(int fd, off_t length)
{
	int code;
	struct sim_node *n = sim_node_of(fd, &code);

	if (!n)
		return code == -EBADF ? code : -EINVAL;
	if (length < 0 || S_ISDIR(n->mode) || (sim_file_of(fd)->flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	return sim_node_resize(n, (size_t)length);
}

int th_sys_ftruncate(int fd, off_t length)
{
	int code = begin(TH_SIM_TRUNCATE);

	return end(code < 0 ? code : truncate_to(fd, length));
}

ssize_t th_sys_getdents64(int fd, void *buf, size_t n)
{
	int code = begin(TH_SIM_LIST);

	return end(code < 0 ? code : (int)sim_fs_list(fd, buf, n));
}

/* --- the calls on entries --- */

static int unlink_at(int dir, const char *path, int flags)
{
	struct sim_where w;
	int code = sim_fs_walk(dir, path, &w);

	if (code < 0 || !w.node)
		return code < 0 ? code : -ENOENT;
	if (!w.name[0])
		return flags & AT_REMOVEDIR ? -EBUSY : -EISDIR;
	if (!(flags & AT_REMOVEDIR))
		code = S_ISDIR(w.node->mode) ? -EISDIR : 0;
	else
		code = !S_ISDIR(w.node->mode) ? -ENOTDIR : w.node->entries ? -ENOTEMPTY : 0;
	if (code < 0)
		return code;
	if (S_ISDIR(w.node->mode))
		w.node->parent = NULL;
	sim_fs_unlink(w.dir, w.node, w.name);
	return 0;
}

int th_sys_unlinkat(int dir, const char *path, int flags)
{
	int code = begin(TH_SIM_UNLINK);

	return end(code < 0 ? code : unlink_at(dir, path, flags));
}

int th_sys_unlink(const char *path)
{
	return th_sys_unlinkat(AT_FDCWD, path, 0);
}

static int make_dir(int dir, const char *path, mode_t mode)
{
	struct sim_where w;
	struct sim_node *n;
	int code = sim_fs_walk(dir, path, &w);

	if (code < 0 || w.node)
		return code < 0 ? code : -EEXIST;
	n = sim_node_new(S_IFDIR | (mode & 07777));
	code = n ? sim_fs_link(&w, n) : -ENOSPC;
	sim_node_put(n);
	return code;
}

int th_sys_mkdirat(int dir, const char *path, mode_t mode)
{
	int code = begin(TH_SIM_MKDIR);

	return end(code < 0 ? code : make_dir(dir, path, mode));
}

static bool is_below(const struct sim_node *n, const struct sim_node *dir)
{
	while (n && n != dir && n != n->parent)
		n = n->parent;
	return n == dir;
}

static int check_rename(const struct sim_where *from, const struct sim_where *to, unsigned flags)
{
	bool from_dir = S_ISDIR(from->node->mode);

	if (!from->name[0] || !to->name[0])
		return -EBUSY;
	if ((flags & RENAME_NOREPLACE) && to->node)
		return -EEXIST;
	if ((flags & RENAME_EXCHANGE) && !to->node)
		return -ENOENT;
	if (from_dir && is_below(to->dir, from->node))
		return -EINVAL;
	if (!to->node || (flags & RENAME_EXCHANGE))
		return 0;
	if (S_ISDIR(to->node->mode) != from_dir)
		return from_dir ? -ENOTDIR : -EISDIR;
	return from_dir && to->node->entries ? -ENOTEMPTY : 0;
}

/* One takes the other's place. */
static int exchange(const struct sim_where *from, const struct sim_where *to)
{
	struct sim_node *a = from->node, *b = to->node;
	int code;

	a->refs++;
	b->refs++;
	sim_fs_unlink(from->dir, a, from->name);
	sim_fs_unlink(to->dir, b, to->name);
	code = sim_fs_link(from, b);
	if (code == 0)
		code = sim_fs_link(to, a);
	sim_node_put(a);
	sim_node_put(b);
	return code;
}

static int rename_at(int from_dir, const char *from_path, int to_dir, const char *to_path, unsigned flags)
{
	struct sim_where from, to;
	int code = sim_fs_walk(from_dir, from_path, &from);

	if (code == 0 && !from.node)
		code = -ENOENT;
	if (code == 0)
		code = sim_fs_walk(to_dir, to_path, &to);
	if (code == 0 && (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)))
		code = -EINVAL;
	if (code == 0)
		code = check_rename(&from, &to, flags);
	if (code < 0 || from.node == to.node)
		return code;
	if (flags & RENAME_EXCHANGE)
		return exchange(&from, &to);
	code = sim_fs_link(&to, from.node);
	if (code == 0 && to.node)
		sim_fs_unlink(to.dir, to.node, to.name);
	if (code == 0)
		sim_fs_unlink(from.dir, from.node, from.name);
	return code;
}

int th_sys_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	int code = begin(TH_SIM_RENAME);

	return end(code < 0 ? code : rename_at(from_dir, from, to_dir, to, flags));
}

/* There are no links here. */
ssize_t th_sys_readlinkat(int dir, const char *path, char *buf, size_t n)
{
	struct stat st;
	int res = th_sys_fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW);

	(void)buf;
	(void)n;
	return res < 0 ? res : sim_errno(-EINVAL);
}
