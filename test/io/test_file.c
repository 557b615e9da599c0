/* Files and pipes: counts, positions, ends, the _all forms. */
#include <sys/mman.h>
#include "io_test.h"

/* A file without a name, on whatever holds the working directory or /tmp. */
static int temp_file(void)
{
	int fd = memfd_create("thrum-test", MFD_CLOEXEC);
	TH_CHECK(fd >= 0);
	return fd;
}

static int positions(void *unused)
{
	int fd = temp_file();
	char buf[16] = { 0 };

	(void)unused;
	TH_CHECK_EQ(thrum_write(fd, "abc", 3), 3);
	TH_CHECK_EQ(thrum_write(fd, "def", 3), 3);
	TH_CHECK_EQ(thrum_pwrite(fd, "XY", 2, 1), 2);
	TH_CHECK_EQ(thrum_pread(fd, buf, 6, 0), 6);
	TH_CHECK(memcmp(buf, "aXYdef", 6) == 0);
	TH_CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
	TH_CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	TH_CHECK_EQ(thrum_read(fd, buf, 4), 4);
	TH_CHECK_EQ(thrum_read(fd, buf, 4), 2);
	TH_CHECK_EQ(thrum_read(fd, buf, 4), 0);
	TH_CHECK_EQ(thrum_pread(fd, buf, 4, 100), 0);
	TH_CHECK_EQ(thrum_pread(fd, buf, 4, -1), -EINVAL);
	TH_CHECK_EQ(thrum_pwrite(fd, buf, 4, -5), -EINVAL);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}
THRUM_FX(positions, void);
TH_TEST(io_file, reads_and_writes_at_the_position_and_at_a_given_one) { run_ok(positions_fx(NULL)); }

static void no_positions(int in, int out)
{
	char c = 0;
	struct iovec vec = { &c, 1 };
	size_t done = 7;

	for (int i = 0; i < 2; i++) { /* also when it is known by then */
		TH_CHECK_EQ(thrum_pread(in, &c, 1, 0), -ESPIPE);
		TH_CHECK_EQ(thrum_preadv(in, &vec, 1, 3), -ESPIPE);
		TH_CHECK_EQ(thrum_pread_all(in, &c, 1, 0, &done), -ESPIPE);
		TH_CHECK_EQ(done, 0);
		TH_CHECK_EQ(thrum_pwrite(out, &c, 1, 0), -ESPIPE);
		TH_CHECK_EQ(thrum_pwritev(out, &vec, 1, 0), -ESPIPE);
	}
	TH_CHECK_EQ(thrum_read(in, &c, 1), 1); /* nothing was taken, nothing was put */
	TH_CHECK_EQ(c, 'x');
	TH_CHECK_EQ(thrum_write(out, "y", 1), 1);
	TH_CHECK_EQ(thrum_read(in, &c, 1), 1);
	TH_CHECK_EQ(c, 'y');
}

static int streams(void *unused)
{
	int fds[2];

	(void)unused;
	open_pipe(fds, 0);
	TH_CHECK_EQ(write(fds[1], "x", 1), 1);
	no_positions(fds[0], fds[1]);
	close_both(fds);
	open_pair(fds);
	TH_CHECK_EQ(write(fds[1], "x", 1), 1);
	no_positions(fds[0], fds[1]);
	close_both(fds);
	return 0;
}
THRUM_FX(streams, void);
TH_TEST(io_file, a_stream_has_no_positions) { run_ok(streams_fx(NULL)); }

/* The number is another file's, and thrum was not told. */
static int reused(void *unused)
{
	char name[] = "/tmp/thrum-test-XXXXXX", c;
	int file = mkstemp(name), fds[2];

	(void)unused;
	TH_CHECK(file >= 0);
	TH_CHECK_EQ(unlink(name), 0);
	TH_CHECK_EQ(pwrite(file, "x", 1, 0), 1);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_pread(fds[0], &c, 1, 0), -ESPIPE);
	TH_CHECK_EQ(dup2(file, fds[0]), fds[0]);
	TH_CHECK_EQ(thrum_pread(fds[0], &c, 1, 0), 1);
	TH_CHECK_EQ(thrum_pread(fds[0], &c, 1, 0), 1);
	close_both(fds);
	return close(file);
}
THRUM_FX(reused, void);
TH_TEST(io_file, what_was_a_stream_may_have_positions_now) { run_ok(reused_fx(NULL)); }

static int bad_fds(void *unused)
{
	char c = 0;
	size_t done = 7;
	int gone = temp_file();

	(void)unused;
	TH_CHECK_EQ(close(gone), 0);
	for (int i = 0; i < 2; i++) {
		int fd = i ? gone : -1;
		TH_CHECK_EQ(thrum_read(fd, &c, 1), -EBADF);
		TH_CHECK_EQ(thrum_write(fd, &c, 1), -EBADF);
		TH_CHECK_EQ(thrum_pread(fd, &c, 1, 0), -EBADF);
		TH_CHECK_EQ(thrum_pwrite(fd, &c, 1, 0), -EBADF);
		TH_CHECK_EQ(thrum_recv(fd, &c, 1, 0), -EBADF);
		TH_CHECK_EQ(thrum_send(fd, &c, 1, 0), -EBADF);
		TH_CHECK_EQ(thrum_accept(fd, NULL, NULL), -EBADF);
		TH_CHECK_EQ(thrum_wait_fd(fd, POLLIN), -EBADF);
		TH_CHECK_EQ(thrum_close(fd), -EBADF);
		TH_CHECK_EQ(thrum_read_all(fd, &c, 1, &done), -EBADF);
		TH_CHECK_EQ(done, 0);
	}
	TH_CHECK_EQ(thrum_recv(0x7fffffff, &c, 1, 0), -EBADF);
	return 0;
}
THRUM_FX(bad_fds, void);
TH_TEST(io_file, a_bad_descriptor_is_EBADF_in_every_call) { run_ok(bad_fds_fx(NULL)); }

static int opening(void *unused)
{
	int dir, fd;
	char path[] = "/tmp/thrum-test-XXXXXX", buf[4];

	(void)unused;
	TH_CHECK(mkdtemp(path));
	dir = thrum_openat(AT_FDCWD, path, O_DIRECTORY | O_RDONLY, 0);
	TH_CHECK(dir >= 0);
	TH_CHECK(is_cloexec(dir));
	TH_CHECK_EQ(thrum_openat(dir, "none", O_RDONLY, 0), -ENOENT);
	TH_CHECK_EQ(thrum_openat(-1, "none", O_RDONLY, 0), -EBADF);
	TH_CHECK_EQ(thrum_openat(dir, NULL, O_RDONLY, 0), -EFAULT);
	fd = thrum_openat(dir, "f", O_RDWR | O_CREAT | O_EXCL, 0600);
	TH_CHECK(fd >= 0);
	TH_CHECK(is_cloexec(fd));
	TH_CHECK_EQ(thrum_openat(dir, "f", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST);
	/* A file of a real file system, and O_NONBLOCK: that means nothing for files, also to the ring. */
	TH_CHECK_EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	TH_CHECK_EQ(thrum_pwrite(fd, "1234", 4, 0), 4);
	TH_CHECK_EQ(fsync(fd), 0);
	TH_CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	TH_CHECK_EQ(thrum_pread(fd, buf, 4, 0), 4);
	TH_CHECK(memcmp(buf, "1234", 4) == 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(unlinkat(dir, "f", 0), 0);
	TH_CHECK_EQ(thrum_close(dir), 0);
	TH_CHECK_EQ(rmdir(path), 0);
	return 0;
}
THRUM_FX(opening, void);
TH_TEST(io_file, openat_is_relative_and_close_on_exec) { run_ok(opening_fx(NULL)); }

static int early_end(void *unused)
{
	int fds[2];
	char buf[8] = { 0 };
	size_t done;

	(void)unused;
	open_pipe(fds, 0);
	TH_CHECK_EQ(write(fds[1], "abc", 3), 3);
	TH_CHECK_EQ(close(fds[1]), 0);
	TH_CHECK_EQ(thrum_read_all(fds[0], buf, sizeof(buf), &done), THRUM_EEOF);
	TH_CHECK_EQ(done, 3);
	TH_CHECK(memcmp(buf, "abc", 4) == 0);
	TH_CHECK_EQ(thrum_read_all(fds[0], buf, 1, NULL), THRUM_EEOF);
	TH_CHECK_EQ(thrum_read_all(fds[0], buf, 0, &done), 0);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(close(fds[0]), 0);
	return 0;
}
THRUM_FX(early_end, void);
TH_TEST(io_file, read_all_of_a_stream_that_ends_is_EEOF_and_tells_how_much_came_G8) { run_ok(early_end_fx(NULL)); }

enum { BIG = 1 << 20 };
static int write_big(int *fd)
{
	unsigned char *buf = malloc(BIG);
	size_t done;

	TH_CHECK(buf);
	for (size_t i = 0; i < BIG; i++)
		buf[i] = (unsigned char)(i * 7 + (i >> 12));
	TH_CHECK_EQ(thrum_write_all(*fd, buf, BIG, &done), 0);
	TH_CHECK_EQ(done, BIG);
	free(buf);
	return 0;
}
THRUM_FX(write_big, int);
static int read_big(int *fd)
{
	unsigned char *buf = malloc(BIG);
	size_t done;

	TH_CHECK(buf);
	TH_CHECK_EQ(thrum_read_all(*fd, buf, BIG, &done), 0);
	TH_CHECK_EQ(done, BIG);
	for (size_t i = 0; i < BIG; i++)
		TH_CHECK_EQ(buf[i], (unsigned char)(i * 7 + (i >> 12)));
	free(buf);
	return 0;
}
THRUM_FX(read_big, int);
static int through_pipe(int *flags)
{
	int fds[2];

	open_pipe(fds, *flags);
	TH_CHECK_EQ(thrum_zip_par(read_big_fx(&fds[0]), write_big_fx(&fds[1])), 0);
	close_both(fds);
	return 0;
}
THRUM_FX(through_pipe, int);
TH_TEST(io_file, all_forms_move_a_megabyte_through_a_pipe)
{
	int flags = 0;
	run_ok(through_pipe_fx(&flags));
}
TH_TEST(io_file, all_forms_move_a_megabyte_through_a_nonblocking_pipe)
{
	int flags = O_NONBLOCK;
	run_ok(through_pipe_fx(&flags));
}

static int huge(void *unused)
{
	const size_t n = ((size_t)1 << 32) + 1;
	void *zeros = mmap(NULL, n, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t done;

	(void)unused;
	TH_CHECK(zeros != MAP_FAILED);
	TH_CHECK_EQ(thrum_write(fd, zeros, n), 0x7ffff000);
	TH_CHECK_EQ(thrum_write_all(fd, zeros, n, &done), 0);
	TH_CHECK_EQ(done, n);
	TH_CHECK_EQ(close(fd), 0);
	TH_CHECK_EQ(munmap(zeros, n), 0);
	return 0;
}
THRUM_FX(huge, void);
TH_TEST(io_file, one_call_moves_at_most_what_the_kernel_can_and_all_forms_go_on) { run_ok(huge_fx(NULL)); }

static int full_device(void *unused)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	size_t done = 7;

	(void)unused;
	TH_CHECK_EQ(thrum_write_all(fd, "x", 1, &done), -ENOSPC);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}
THRUM_FX(full_device, void);
TH_TEST(io_file, a_full_device_is_ENOSPC) { run_ok(full_device_fx(NULL)); }

TH_TEST(io_file, calls_from_a_plain_thread_say_so_X1)
{
	char c = 0;
	size_t done = 7;
	struct sockaddr_in sa = { .sin_family = AF_INET };

	TH_CHECK_EQ(thrum_read(0, &c, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_write(1, &c, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pread(0, &c, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pread(0, &c, 1, -1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pwrite(1, &c, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_recv(0, &c, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_send(1, &c, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_wait_fd(0, POLLIN), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_accept(0, NULL, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_connect(0, (struct sockaddr *)&sa, sizeof(sa)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_openat(AT_FDCWD, "/dev/null", O_RDONLY, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_close(0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_read_all(0, &c, 1, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_write_all(1, &c, 1, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_send_all(1, &c, 1, 0, NULL), THRUM_ENOTFIBER);
	TH_CHECK(fcntl(0, F_GETFD) >= 0);
}

static int all_fds(void *unused)
{
	(void)unused;
	for (int fd = 3; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		char link[64], target[128] = { 0 };
		if (flags < 0)
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (readlink(link, target, sizeof(target) - 1) > 0 && strstr(target, "anon_inode"))
			TH_CHECK(flags & FD_CLOEXEC);
	}
	return 0;
}
THRUM_FX(all_fds, void);
TH_TEST(io_file, the_runtime_leaves_nothing_open_across_exec_and_nothing_behind)
{
	int before = fd_count();

	for (int i = 0; i < 3; i++)
		run_ok(all_fds_fx(NULL));
	TH_CHECK_EQ(fd_count(), before);
}
