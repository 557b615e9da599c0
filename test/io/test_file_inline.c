/* Transfers of files: what the page cache holds is moved at once, the rest by an operation; vectors; the _all forms. */
#include <sys/uio.h>
#include "io_test.h"
#include "test/support/rules.h"

enum { PAGES = 64, BYTES = PAGES * 4096 };

static int data_file(int flags)
{
	char path[] = "thrum-test-XXXXXX"; /* below the working directory: on a disk more often than /tmp is */
	int fd = mkostemp(path, O_CLOEXEC | flags);

	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(unlink(path), 0);
	return fd;
}

static char byte_of(size_t i)
{
	return (char)(i * 7 + (i >> 12));
}

static char *filled(size_t n)
{
	char *buf = malloc(n);

	TH_CHECK(buf);
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_of(i);
	return buf;
}

/* Can this file's system move cached data at once? Not every one can, and then the ring does it. */
static bool inline_works(int fd)
{
	char c;
	struct iovec one = { &c, 1 };

	return preadv2(fd, &one, 1, 0, RWF_NOWAIT) >= 0;
}

TH_FIBER_TEST(REAL, io_inline, what_is_cached_goes_through_no_ring)
{
	int fd = data_file(0);
	char *buf = filled(BYTES);
	uint64_t before;

	TH_CHECK_EQ(thrum_pwrite_all(fd, buf, BYTES, 0, NULL), 0);
	before = ops_so_far();
	memset(buf, 0, BYTES);
	TH_CHECK_EQ(thrum_pread(fd, buf, BYTES, 0), BYTES);
	TH_CHECK_EQ(thrum_pread_all(fd, buf, BYTES, 0, NULL), 0);
	TH_CHECK_EQ(thrum_read(fd, buf, BYTES), BYTES);
	TH_CHECK_EQ(thrum_read(fd, buf, BYTES), 0); /* the end */
	TH_CHECK_EQ(thrum_pread(fd, buf, BYTES, 4096), BYTES - 4096);
	if (inline_works(fd))
		TH_CHECK_EQ(ops_so_far() - before, 0);
	TH_CHECK_EQ(buf[0], byte_of(4096));
	TH_CHECK_EQ(thrum_close(fd), 0);
	free(buf);
	return 0;
}

/* The first half is in the cache, the second is not: the whole comes all the same, and so at the position. */
TH_FIBER_TEST(REAL, io_inline, what_is_not_cached_is_waited_for)
{
	int fd = data_file(0);
	char *buf = filled(BYTES), *got = malloc(BYTES);
	size_t done;

	TH_CHECK(got);
	TH_CHECK_EQ(thrum_write_all(fd, buf, BYTES, &done), 0);
	TH_CHECK_EQ(done, BYTES);
	TH_CHECK_EQ(thrum_fsync(fd), 0);
	TH_CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0); /* nothing is read ahead */
	for (int how = 0; how < 3; how++) {
		TH_CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
		TH_CHECK_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		if (how < 2)
			TH_CHECK_EQ(pread(fd, got, BYTES / 2, 0), BYTES / 2);
		memset(got, 0, BYTES);
		if (how == 1)
			TH_CHECK_EQ(thrum_read(fd, got, BYTES), BYTES);
		else
			TH_CHECK_EQ(thrum_pread(fd, got, BYTES, 0), BYTES);
		TH_CHECK(memcmp(buf, got, BYTES) == 0);
		TH_CHECK_EQ(lseek(fd, 0, SEEK_CUR), how == 1 ? BYTES : 0);
	}
	TH_CHECK_EQ(thrum_close(fd), 0);
	free(buf);
	free(got);
	return 0;
}

TH_FIBER_TEST(REAL, io_inline, a_read_sees_the_write_before_it)
{
	int fd = data_file(O_APPEND);
	char c;

	for (int i = 0; i < 500; i++) {
		char put = (char)i;
		TH_CHECK_EQ(thrum_write(fd, &put, 1), 1);
		TH_CHECK_EQ(thrum_pread(fd, &c, 1, i), 1);
		TH_CHECK_EQ(c, put);
	}
	TH_CHECK_EQ(thrum_pread(fd, &c, 1, 500), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}

/* Pipes and sockets are not files: each transfer is one operation, and no try before it. */
TH_FIBER_TEST(REAL, io_inline, a_pipe_is_not_tried)
{
	int fds[2];
	char c = 'x';
	uint64_t before = ops_so_far();

	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_write(fds[1], &c, 1), 1);
	TH_CHECK_EQ(thrum_read(fds[0], &c, 1), 1);
	TH_CHECK_EQ(ops_so_far() - before, 2);
	close_both(fds);
	return 0;
}

/* Where the disk would be waited for in the call itself. */
TH_FIBER_TEST(REAL, io_inline, direct_access_is_not_tried)
{
	int fd = data_file(0);
	void *page;
	uint64_t before;

	TH_CHECK_EQ(posix_memalign(&page, 4096, 4096), 0);
	memset(page, 'x', 4096);
	TH_CHECK_EQ(thrum_pwrite(fd, page, 4096, 0), 4096);
	TH_CHECK_EQ(thrum_fsync(fd), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	fd = data_file(O_DIRECT);
	before = ops_so_far();
	TH_CHECK_EQ(thrum_pwrite(fd, page, 4096, 0), 4096);
	TH_CHECK_EQ(thrum_pread(fd, page, 4096, 0), 4096);
	TH_CHECK_EQ(ops_so_far() - before, 2);
	TH_CHECK_EQ(thrum_close(fd), 0);
	free(page);
	return 0;
}

static int put_later(void *fd)
{
	TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(write(*(int *)fd, "late", 4), 4);
	return 0;
}
struct waiting_read {
	int fd;
	char buf[4];
};
static int read_and_wait(void *arg)
{
	struct waiting_read *r = arg;

	TH_CHECK_EQ(thrum_read(r->fd, r->buf, 4), 4);
	return 0;
}

/* A number that was a file becomes a pipe behind thrum's back: what it has learned is wrong then, and only costs time. One
 * worker: so the reader finds the pipe empty, and the wrong hint is found out, each time. */
TH_ONE_WORKER_TEST(REAL, io_inline, a_descriptor_that_became_another_file_is_read_all_the_same)
{
	int fds[2], fd = data_file(0);
	char *buf = filled(BYTES);

	TH_CHECK_EQ(thrum_pwrite_all(fd, buf, BYTES, 0, NULL), 0);
	TH_CHECK_EQ(thrum_pread(fd, buf, BYTES, 0), BYTES);
	open_pipe(fds, 0);
	TH_CHECK_EQ(dup2(fds[0], fd), fd);
	for (int i = 0; i < 3; i++) {
		struct waiting_read r = { .fd = fd };
		TH_CHECK_EQ(thrum_zip_par((thrum_fx){ read_and_wait, &r }, (thrum_fx){ put_later, &fds[1] }), 0);
		TH_CHECK(memcmp(r.buf, "late", 4) == 0);
	}
	TH_CHECK_EQ(thrum_close(fd), 0);
	close_both(fds);
	fd = data_file(0); /* and back: what thrum closed is looked at anew */
	TH_CHECK_EQ(pwrite(fd, buf, BYTES, 0), BYTES);
	uint64_t before = ops_so_far();
	TH_CHECK_EQ(thrum_read(fd, buf, BYTES), BYTES);
	TH_CHECK_EQ(thrum_pread(fd, buf, BYTES, 0), BYTES);
	if (inline_works(fd))
		TH_CHECK_EQ(ops_so_far() - before, 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	free(buf);
	return 0;
}

/* `fd` was a cached file, which thrum has read and knows to have no need of the ring. */
static int known_file(int fd)
{
	char buf[100] = { 0 };

	TH_CHECK_EQ(pwrite(fd, buf, sizeof buf, 0), sizeof buf);
	TH_CHECK_EQ(thrum_read(fd, buf, sizeof buf), sizeof buf);
	return fd;
}

static int put_the_rest_later(void *fd)
{
	char rest[90] = { 0 };

	let_backend_in();
	TH_CHECK_EQ(write(*(int *)fd, rest, sizeof rest), sizeof rest);
	return 0;
}

/* Who asks and waits for the answer gets the answer, though it is shorter than the buffer; one datagram is one read. The rest
 * comes later all the same: whoever waits for it fails, and does not hang. */
TH_ONE_WORKER_TEST(REAL, io_inline, one_that_became_a_socket_gives_what_it_has)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET, 0 };

	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		char buf[100];
		int fds[2], fd = known_file(data_file(0));
		struct read_one r = { .fd = fd, .buf = buf, .n = sizeof buf };

		if (types[i])
			TH_CHECK_EQ(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, fds), 0);
		else
			open_pipe(fds, 0);
		TH_CHECK_EQ(dup2(fds[0], fd), fd);
		TH_CHECK_EQ(write(fds[1], "0123456789", 10), 10);
		if (types[i] == SOCK_DGRAM || types[i] == SOCK_SEQPACKET)
			TH_CHECK_EQ(write(fds[1], "another", 7), 7);
		TH_CHECK_EQ(thrum_zip_par(read_one_fx(&r), (thrum_fx){ put_the_rest_later, &fds[1] }), 0);
		TH_CHECK_EQ(r.got, 10);
		TH_CHECK_EQ(thrum_close(fd), 0);
		close_both(fds);
	}
	return 0;
}

/* Which hint there is does not matter: the position is refused, not ignored. */
TH_FIBER_TEST(REAL, io_inline, one_that_became_a_pipe_has_no_positions)
{
	int fds[2], fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char c = 'x';

	TH_CHECK(fd >= 0);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_read(fd, &c, 1), -EISDIR);
	TH_CHECK_EQ(dup2(fds[1], fd), fd);
	TH_CHECK_EQ(thrum_pwrite(fd, &c, 1, 5), -ESPIPE);
	TH_CHECK_EQ(thrum_close(fd), 0);
	fd = data_file(0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_pwrite(fd, &c, 1, i), 1);
	TH_CHECK_EQ(dup2(fds[1], fd), fd);
	TH_CHECK_EQ(thrum_pwrite(fd, &c, 1, 5), -ESPIPE);
	TH_CHECK_EQ(thrum_close(fd), 0);
	close_both(fds);
	fd = data_file(0); /* and back, behind thrum's back too */
	TH_CHECK_EQ(thrum_pwrite(fd, &c, 1, 5), 1);
	TH_CHECK_EQ(thrum_pread(fd, &c, 1, 5), 1);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}

static int raise_flag(void *flag)
{
	th_count(flag, 1);
	return 0;
}

/* One worker: whoever reads what is cached, for ever, does not keep the others from running. */
TH_ONE_WORKER_TEST(REAL, io_inline, reads_that_never_wait_let_others_run)
{
	int fd = data_file(0);
	char *buf = filled(BYTES);
	th_counter flag = { 0 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_pwrite_all(fd, buf, BYTES, 0, NULL), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ raise_flag, &flag }), 0);
	while (!th_counted(&flag))
		TH_CHECK_EQ(thrum_pread(fd, buf, 1, 0), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	free(buf);
	return 0;
}

/* --- vectors --- */

TH_FIBER_TEST(REAL, io_inline, vectors_at_the_position_and_at_a_given_one)
{
	int fd = data_file(0);
	char a[3], b[4] = { 0 };
	struct iovec put[3] = { { (char[]){ "abc" }, 3 }, { NULL, 0 }, { (char[]){ "def" }, 3 } };
	struct iovec get[2] = { { a, 3 }, { b, 3 } };

	TH_CHECK_EQ(thrum_writev(fd, put, 3), 6);
	TH_CHECK_EQ(thrum_pwritev(fd, put, 1, 6), 3);
	TH_CHECK_EQ(lseek(fd, 0, SEEK_CUR), 6);
	TH_CHECK_EQ(thrum_readv(fd, get, 2), 3);
	TH_CHECK(memcmp(a, "abc", 3) == 0);
	TH_CHECK_EQ(thrum_preadv(fd, get, 2, 1), 6);
	TH_CHECK(memcmp(a, "bcd", 3) == 0 && memcmp(b, "efa", 3) == 0);
	TH_CHECK_EQ(thrum_readv(fd, get, 2), 0);
	TH_CHECK_EQ(thrum_readv(fd, get, 0), 0);
	TH_CHECK_EQ(thrum_preadv(fd, get, 2, -1), -EINVAL);
	TH_CHECK_EQ(thrum_pwritev(fd, put, 2, -5), -EINVAL);
	TH_CHECK_EQ(thrum_readv(-1, get, 2), -EBADF);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}

TH_FIBER_TEST(REAL, io_inline, vectors_of_a_pipe_wait_and_more_than_IOV_MAX_are_cut)
{
	enum { N = 1500, CUT = 1024 };
	struct iovec vec[N];
	char bytes[N], got[N] = { 0 };
	struct iovec all = { got, N };
	int fds[2];

	for (int i = 0; i < N; i++) {
		bytes[i] = (char)i;
		vec[i] = (struct iovec){ &bytes[i], 1 };
	}
	open_pipe(fds, O_NONBLOCK);
	TH_CHECK_EQ(thrum_writev(fds[1], vec, N), CUT);
	TH_CHECK_EQ(thrum_writev(fds[1], vec + CUT, N - CUT), N - CUT);
	TH_CHECK_EQ(thrum_readv(fds[0], &all, 1), N);
	TH_CHECK(memcmp(bytes, got, N) == 0);
	close_both(fds);
	return 0;
}

/* --- all --- */

TH_FIBER_TEST(REAL, io_inline, all_forms_tell_how_much_moved_G8)
{
	int fd = data_file(0), full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	char buf[16];
	size_t done = 7;

	TH_CHECK_EQ(thrum_pwrite_all(fd, "0123456789", 10, 2, &done), 0);
	TH_CHECK_EQ(done, 10);
	TH_CHECK_EQ(thrum_pread_all(fd, buf, 10, 2, &done), 0);
	TH_CHECK(memcmp(buf, "0123456789", 10) == 0);
	TH_CHECK_EQ(thrum_pread_all(fd, buf, 10, 8, &done), THRUM_EEOF);
	TH_CHECK_EQ(done, 4);
	TH_CHECK_EQ(thrum_pread_all(fd, buf, 10, -1, &done), -EINVAL);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_pwrite_all(fd, buf, 0, 0, &done), 0);
	TH_CHECK_EQ(thrum_pwrite_all(full, buf, 1, 0, &done), -ENOSPC);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_close(full), 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	return 0;
}

TH_TEST(io_inline, calls_from_a_plain_thread_say_so_X1)
{
	struct iovec none = { NULL, 0 };
	size_t done = 7;
	char c = 0;

	TH_CHECK_EQ(thrum_readv(0, &none, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_writev(1, &none, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_preadv(0, &none, 1, -1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pwritev(1, &none, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pread_all(0, &c, 1, -1, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_pwrite_all(1, &c, 1, 0, NULL), THRUM_ENOTFIBER);
}
