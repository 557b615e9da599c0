/* thrum/file.h: files and directories. thrum_read(), thrum_pread(), thrum_openat() and thrum_close() are in thrum/io.h.
 *
 * All, but for those that say otherwise: called by a fiber (else THRUM_ENOTFIBER); suspend; cancel points; never block the
 * worker. Paths, buffers and vectors are borrowed until the return. Paths are relative to `dir`, AT_FDCWD or an open
 * directory; "" is -ENOENT, NULL is -EFAULT.
 *
 * Reads and writes of files take what the page cache holds at once; what it does not hold is waited for elsewhere. A call on
 * a path or a directory, and a sync, is a job of the blocking pool (thrum_blocking() in thrum/io.h): a cancel that comes
 * before it runs takes it back, a later one waits for it and its result stands. It returns -errno of the system call;
 * -EAGAIN or -ENOMEM if no thread can be had. */
#ifndef THRUM_FILE_H
#define THRUM_FILE_H
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* One transfer to or from n vectors, as readv(2): at the position, or at a given one (-EINVAL for a negative one). Returns
 * how many bytes moved, which may be fewer; of more than IOV_MAX vectors the first IOV_MAX are used. */
THRUM_API ssize_t thrum_readv(int fd, const struct iovec *vec, size_t n);
THRUM_API ssize_t thrum_writev(int fd, const struct iovec *vec, size_t n);
THRUM_API ssize_t thrum_preadv(int fd, const struct iovec *vec, size_t n, off_t at);
THRUM_API ssize_t thrum_pwritev(int fd, const struct iovec *vec, size_t n, off_t at);

/* All n bytes, as thrum_read_all() and thrum_write_all(): 0 or a code, *ret_done (may be NULL) with either; THRUM_EEOF. */
THRUM_API THRUM_MUST_CHECK int thrum_pread_all(int fd, void *buf, size_t n, off_t at, size_t *ret_done);
THRUM_API THRUM_MUST_CHECK int thrum_pwrite_all(int fd, const void *buf, size_t n, off_t at, size_t *ret_done);

/* Write back what is not on the disk yet: fsync(2), fdatasync(2). Change the length: ftruncate(2). 0. A thrum_close() of `fd`
 * waits until they are done. */
THRUM_API THRUM_MUST_CHECK int thrum_fsync(int fd);
THRUM_API THRUM_MUST_CHECK int thrum_fdatasync(int fd);
THRUM_API THRUM_MUST_CHECK int thrum_ftruncate(int fd, off_t length);

/* What kind of file it is, its size, its times. flags: 0, AT_SYMLINK_NOFOLLOW (fstatat(2)). 0 and *ret; else *ret untouched. */
THRUM_API THRUM_MUST_CHECK int thrum_stat(int dir, const char *path, int flags, struct stat *ret);
THRUM_API THRUM_MUST_CHECK int thrum_fstat(int fd, struct stat *ret);

/* The names of files. flags: of renameat2(2) (RENAME_NOREPLACE, RENAME_EXCHANGE); of unlinkat(2) (AT_REMOVEDIR). 0. */
THRUM_API THRUM_MUST_CHECK int thrum_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
THRUM_API THRUM_MUST_CHECK int thrum_unlink(int dir, const char *path, int flags);
THRUM_API THRUM_MUST_CHECK int thrum_mkdir(int dir, const char *path, mode_t mode);
/* Where a symbolic link leads, with a NUL at the end. Returns its length; -ENAMETOOLONG if n bytes are too few. */
THRUM_API THRUM_MUST_CHECK ssize_t thrum_readlink(int dir, const char *path, char *buf, size_t n);

/* A whole regular file, in one job: opened, read to its end, closed. Also one of /proc, whose size is not known before.
 *   returns   0, *ret_data (with a NUL behind the data; the caller's, for free(3)) and *ret_size; else both untouched:
 *             -EFBIG if it has more than `limit` bytes; -EISDIR; -EINVAL if it is no regular file; -ENOMEM */
THRUM_API THRUM_MUST_CHECK int thrum_read_file(int dir, const char *path, size_t limit, void **ret_data, size_t *ret_size);

/* The entries of a directory, without "." and "..", in the order of the file system. Read in batches of 32 KiB, so most
 * calls of next do not wait. What is made or removed meanwhile may be seen or not (readdir(3)).
 *   open    0; *d is in use until the close
 *   next    1 and *ret, whose name is valid until the next call on `d`; 0: there are no more; or a code. One fiber at a time
 *   close   gives everything back; not a cancel point. Also after a failed next. On a plain thread it does nothing:
 *           THRUM_ENOTFIBER */
typedef struct thrum_dir {
	uint64_t opaque_[6];
} thrum_dir;
typedef struct thrum_dir_entry {
	const char *name;
	uint64_t ino;
	unsigned type; /* DT_REG, DT_DIR, … of dirent.h; DT_UNKNOWN where the file system does not say */
} thrum_dir_entry;
THRUM_API THRUM_MUST_CHECK int thrum_dir_open(thrum_dir *d, int dir, const char *path);
THRUM_API THRUM_MUST_CHECK int thrum_dir_next(thrum_dir *d, thrum_dir_entry *ret);
THRUM_API int thrum_dir_close(thrum_dir *d);

#ifdef __cplusplus
}
#endif
#endif
