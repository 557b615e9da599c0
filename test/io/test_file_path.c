/* Calls on paths and directories: what they do, their codes, cancels, and that nothing is left open. */
#include <limits.h>
#include "io_test.h"
#include "test/support/rules.h"

/* A directory of its own below the working directory, which is on a disk more often than /tmp is. */
struct place {
	char path[32];
	int dir;
	int fds;
};

static void enter(struct place *p)
{
	p->fds = fd_count();
	strcpy(p->path, "thrum-test-XXXXXX");
	TH_CHECK(mkdtemp(p->path));
	p->dir = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	TH_CHECK(p->dir >= 0);
}

static void leave(struct place *p)
{
	TH_CHECK_EQ(close(p->dir), 0);
	TH_CHECK_EQ(rmdir(p->path), 0);
	TH_CHECK_EQ(fd_count(), p->fds);
}

static void make(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	TH_CHECK_EQ(close(fd), 0);
}

/* Run `body` in a fiber with such a directory. */
static void run_in_place(int (*body)(void *))
{
	struct place p;

	enter(&p);
	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ body, &p.dir }), 0);
	leave(&p);
}
#define PLACE_TEST(name_)                                          \
	static int body_##name_(void *dir_);                       \
	TH_TEST(io_path, name_) { run_in_place(body_##name_); }    \
	static int body_##name_(void *dir_)

PLACE_TEST(files_are_made_renamed_and_removed)
{
	int dir = *(int *)dir_, fd;
	struct stat st = { .st_size = 7 };

	TH_CHECK_EQ(thrum_stat(dir, "a", 0, &st), -ENOENT);
	TH_CHECK_EQ(st.st_size, 7);
	TH_CHECK_EQ(thrum_mkdir(dir, "d", 0700), 0);
	TH_CHECK_EQ(thrum_mkdir(dir, "d", 0700), -EEXIST);
	fd = thrum_openat(dir, "d/a", O_RDWR | O_CREAT | O_EXCL, 0640);
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(thrum_pwrite(fd, "12345", 5, 0), 5);
	TH_CHECK_EQ(thrum_fsync(fd), 0);
	TH_CHECK_EQ(thrum_fdatasync(fd), 0);
	TH_CHECK_EQ(thrum_fstat(fd, &st), 0);
	TH_CHECK_EQ(st.st_size, 5);
	TH_CHECK_EQ(thrum_ftruncate(fd, 3), 0);
	TH_CHECK_EQ(thrum_ftruncate(fd, -1), -EINVAL);
	TH_CHECK_EQ(thrum_stat(dir, "d/a", 0, &st), 0);
	TH_CHECK_EQ(st.st_size, 3);
	TH_CHECK(S_ISREG(st.st_mode));
	TH_CHECK_EQ(thrum_close(fd), 0);

	TH_CHECK_EQ(thrum_rename(dir, "d/a", dir, "b", 0), 0);
	TH_CHECK_EQ(thrum_rename(dir, "d/a", dir, "b", 0), -ENOENT);
	make(dir, "c", "c");
	TH_CHECK_EQ(thrum_rename(dir, "c", dir, "b", RENAME_NOREPLACE), -EEXIST);
	TH_CHECK_EQ(thrum_rename(dir, "c", dir, "b", 0), 0);
	TH_CHECK_EQ(thrum_stat(dir, "b", 0, &st), 0);
	TH_CHECK_EQ(st.st_size, 1);
	TH_CHECK_EQ(thrum_unlink(dir, "d", 0), -EISDIR);
	TH_CHECK_EQ(thrum_unlink(dir, "b", AT_REMOVEDIR), -ENOTDIR);
	TH_CHECK_EQ(thrum_unlink(dir, "b", 0), 0);
	TH_CHECK_EQ(thrum_unlink(dir, "b", 0), -ENOENT);
	TH_CHECK_EQ(thrum_unlink(dir, "d", AT_REMOVEDIR), 0);
	return 0;
}

PLACE_TEST(a_link_is_read_whole_or_not)
{
	int dir = *(int *)dir_;
	char buf[8];
	struct stat st;

	TH_CHECK_EQ(symlinkat("nowhere", dir, "l"), 0); /* 7 bytes */
	TH_CHECK_EQ(thrum_readlink(dir, "l", buf, sizeof buf), 7);
	TH_CHECK(strcmp(buf, "nowhere") == 0);
	TH_CHECK_EQ(thrum_readlink(dir, "l", buf, 7), -ENAMETOOLONG);
	TH_CHECK_EQ(thrum_readlink(dir, ".", buf, 8), -EINVAL);
	TH_CHECK_EQ(thrum_stat(dir, "l", 0, &st), -ENOENT);
	TH_CHECK_EQ(thrum_stat(dir, "l", AT_SYMLINK_NOFOLLOW, &st), 0);
	TH_CHECK(S_ISLNK(st.st_mode));
	TH_CHECK_EQ(thrum_unlink(dir, "l", 0), 0);
	return 0;
}

PLACE_TEST(bad_arguments_are_the_kernels_codes)
{
	int dir = *(int *)dir_;
	struct stat st;
	thrum_dir d;
	void *data;
	size_t n;

	for (int i = 0; i < 2; i++) {
		int bad = i ? 0x7fffffff : -1;
		TH_CHECK_EQ(thrum_stat(bad, "x", 0, &st), -EBADF);
		TH_CHECK_EQ(thrum_fstat(bad, &st), -EBADF);
		TH_CHECK_EQ(thrum_fsync(bad), -EBADF);
		TH_CHECK_EQ(thrum_fdatasync(bad), -EBADF);
		TH_CHECK_EQ(thrum_ftruncate(bad, 0), -EBADF);
		TH_CHECK_EQ(thrum_rename(bad, "x", dir, "y", 0), -EBADF);
		TH_CHECK_EQ(thrum_unlink(bad, "x", 0), -EBADF);
		TH_CHECK_EQ(thrum_mkdir(bad, "x", 0700), -EBADF);
		TH_CHECK_EQ(thrum_dir_open(&d, bad, "x"), -EBADF);
		TH_CHECK_EQ(thrum_read_file(bad, "x", 1, &data, &n), -EBADF);
	}
	TH_CHECK_EQ(thrum_stat(dir, NULL, 0, &st), -EFAULT);
	TH_CHECK_EQ(thrum_stat(dir, "", 0, &st), -ENOENT);
	TH_CHECK_EQ(thrum_unlink(dir, ".", 0x40000000), -EINVAL);
	TH_CHECK_EQ(thrum_dir_open(&d, dir, "none"), -ENOENT);
	make(dir, "f", "");
	TH_CHECK_EQ(thrum_dir_open(&d, dir, "f"), -ENOTDIR);
	TH_CHECK_EQ(thrum_unlink(dir, "f", 0), 0);
	return 0;
}

/* Every call of this kind, and its code. */
enum { CALLS = 12 };
static void call_all(int dir, int codes[CALLS])
{
	struct stat st;
	thrum_dir d;
	char buf[8];
	void *data = NULL;
	size_t n;
	int i = 0;

	codes[i++] = thrum_stat(dir, ".", 0, &st);
	codes[i++] = thrum_fstat(dir, &st);
	codes[i++] = thrum_fsync(dir);
	codes[i++] = thrum_fdatasync(dir);
	codes[i++] = thrum_ftruncate(dir, 0);
	codes[i++] = thrum_rename(dir, "a", dir, "b", 0);
	codes[i++] = thrum_unlink(dir, "a", 0);
	codes[i++] = thrum_mkdir(dir, "made", 0700);
	codes[i++] = (int)thrum_readlink(dir, "l", buf, sizeof buf);
	codes[i++] = thrum_dir_open(&d, dir, ".");
	codes[i++] = thrum_read_file(dir, "a", 1, &data, &n);
	codes[i++] = thrum_pread_all(dir, buf, 1, 0, NULL);
	TH_CHECK_EQ(i, CALLS);
	TH_CHECK(data == NULL);
}

static int call_cancelled(void *dir)
{
	int codes[CALLS];

	call_all(*(int *)dir, codes);
	for (int i = 0; i < CALLS; i++)
		TH_CHECK_EQ(codes[i], -ECANCELED);
	return 0;
}
PLACE_TEST(a_cancelled_fiber_does_nothing_G3)
{
	thrum_stats stats = { .size = sizeof(stats) };

	make(*(int *)dir_, "a", "x");
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ call_cancelled, dir_ }), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	TH_CHECK_EQ(stats.blocking_jobs, 0);
	TH_CHECK_EQ(unlinkat(*(int *)dir_, "a", 0), 0);
	return 0;
}

TH_TEST(io_path, calls_from_a_plain_thread_say_so_X1)
{
	int codes[CALLS];
	struct place p;
	thrum_dir d;
	thrum_dir_entry e;

	enter(&p);
	call_all(p.dir, codes);
	for (int i = 0; i < CALLS; i++)
		TH_CHECK_EQ(codes[i], THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_dir_next(&d, &e), THRUM_ENOTFIBER);
	leave(&p);
}

/* --- whole files --- */

static void read_file_is(int dir, const char *name, size_t limit, const char *text)
{
	void *data = NULL;
	size_t n = 77;

	TH_CHECK_EQ(thrum_read_file(dir, name, limit, &data, &n), 0);
	TH_CHECK_EQ(n, strlen(text));
	TH_CHECK(memcmp(data, text, n + 1) == 0);
	free(data);
}

static int read_file_code(int dir, const char *name, size_t limit)
{
	void *data = &dir;
	size_t n = 77;
	int code = thrum_read_file(dir, name, limit, &data, &n);

	TH_CHECK(data == &dir);
	TH_CHECK_EQ(n, 77);
	return code;
}

PLACE_TEST(a_whole_file_up_to_a_limit)
{
	int dir = *(int *)dir_;

	make(dir, "five", "12345");
	make(dir, "empty", "");
	TH_CHECK_EQ(mkfifoat(dir, "fifo", 0600), 0);
	read_file_is(dir, "five", 5, "12345");
	read_file_is(dir, "five", SIZE_MAX, "12345");
	read_file_is(dir, "empty", 0, "");
	TH_CHECK_EQ(read_file_code(dir, "five", 4), -EFBIG);
	TH_CHECK_EQ(read_file_code(dir, "five", 0), -EFBIG);
	TH_CHECK_EQ(read_file_code(dir, "none", 4), -ENOENT);
	TH_CHECK_EQ(read_file_code(dir, ".", 4), -EISDIR);
	TH_CHECK_EQ(read_file_code(dir, "fifo", 4), -EINVAL); /* and does not wait for a writer */
	TH_CHECK_EQ(unlinkat(dir, "five", 0), 0);
	TH_CHECK_EQ(unlinkat(dir, "empty", 0), 0);
	TH_CHECK_EQ(unlinkat(dir, "fifo", 0), 0);
	return 0;
}

PLACE_TEST(a_whole_file_that_does_not_know_its_size)
{
	void *data;
	size_t n, limit;

	(void)dir_;
	TH_CHECK_EQ(thrum_read_file(AT_FDCWD, "/proc/self/smaps", SIZE_MAX, &data, &n), 0);
	TH_CHECK(n > 4096);
	TH_CHECK_EQ(((char *)data)[n], '\0');
	TH_CHECK_EQ(strlen(data), n);
	free(data);
	limit = 4097; /* more than the first room, less than the file */
	TH_CHECK_EQ(read_file_code(AT_FDCWD, "/proc/self/smaps", limit), -EFBIG);
	TH_CHECK_EQ(read_file_code(AT_FDCWD, "/proc/self/smaps", 10), -EFBIG);
	return 0;
}

/* --- directories --- */

enum { MANY = 600, NAME_LEN = 200 };
static const char *long_name(int i)
{
	static char name[NAME_LEN + 1]; /* takes room, so that batches are many */

	snprintf(name, sizeof name, "%04d%0*d", i, NAME_LEN - 4, 0);
	return name;
}

static void list_all(int dir, unsigned char seen[MANY])
{
	thrum_dir d;
	thrum_dir_entry e;
	int code;

	TH_CHECK_EQ(thrum_dir_open(&d, dir, "."), 0);
	while ((code = thrum_dir_next(&d, &e)) == 1) {
		int i = 0;
		TH_CHECK_EQ(sscanf(e.name, "%4d", &i), 1);
		TH_CHECK(i >= 0 && i < MANY);
		TH_CHECK(strcmp(e.name, long_name(i)) == 0);
		TH_CHECK(e.type == DT_REG || e.type == DT_UNKNOWN);
		TH_CHECK(e.ino != 0);
		seen[i]++;
	}
	TH_CHECK_EQ(code, 0);
	TH_CHECK_EQ(thrum_dir_next(&d, &e), 0); /* and again */
	TH_CHECK_EQ(thrum_dir_close(&d), 0);
}

PLACE_TEST(every_entry_is_listed_once_over_many_batches)
{
	int dir = *(int *)dir_;
	unsigned char seen[MANY] = { 0 };

	for (int i = 0; i < MANY; i++)
		make(dir, long_name(i), "");
	list_all(dir, seen);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(seen[i], 1);
	for (int i = 0; i < MANY; i++)
		TH_CHECK_EQ(unlinkat(dir, long_name(i), 0), 0);
	return 0;
}

PLACE_TEST(a_batch_is_one_job)
{
	thrum_stats stats = { .size = sizeof(stats) };
	thrum_dir d;
	thrum_dir_entry e;
	int dir = *(int *)dir_;

	for (int i = 0; i < 100; i++)
		make(dir, long_name(i), "");
	TH_CHECK_EQ(thrum_dir_open(&d, dir, "."), 0);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_dir_next(&d, &e), 1);
	TH_CHECK_EQ(thrum_dir_next(&d, &e), 0);
	TH_CHECK_EQ(thrum_dir_close(&d), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	TH_CHECK_EQ(stats.blocking_jobs, 2); /* the entries; the end */
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(unlinkat(dir, long_name(i), 0), 0);
	return 0;
}

static int next_cancelled(void *d)
{
	thrum_dir_entry e;

	TH_CHECK_EQ(thrum_dir_next(d, &e), -ECANCELED);
	TH_CHECK_EQ(thrum_dir_close(d), 0); /* all the same */
	return 0;
}
PLACE_TEST(an_empty_one_a_removed_one_and_one_left_early_G3)
{
	int dir = *(int *)dir_;
	thrum_dir d;
	thrum_dir_entry e;

	TH_CHECK_EQ(thrum_mkdir(dir, "d", 0700), 0);
	TH_CHECK_EQ(thrum_dir_open(&d, dir, "d"), 0);
	TH_CHECK_EQ(thrum_dir_next(&d, &e), 0);
	TH_CHECK_EQ(thrum_dir_close(&d), 0);

	TH_CHECK_EQ(thrum_dir_open(&d, dir, "d"), 0);
	TH_CHECK_EQ(thrum_unlink(dir, "d", AT_REMOVEDIR), 0);
	TH_CHECK_EQ(thrum_dir_next(&d, &e), 0);
	TH_CHECK_EQ(thrum_dir_close(&d), 0);

	make(dir, "f", "");
	TH_CHECK_EQ(thrum_dir_open(&d, dir, "."), 0);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ next_cancelled, &d }), 0);
	TH_CHECK_EQ(unlinkat(dir, "f", 0), 0);
	return 0;
}
