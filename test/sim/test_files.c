/* test/sim/test_files.c: files in memory: short transfers, a full disk, descriptors that run out, cancels in between. */
#include "../support/sim_run.h"
#include "../../io/sys.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <thrum/file.h>
#include <thrum/net.h>

enum { BYTES = 300, WRITERS = 3, PART = 50 };

static void fill(char *to, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (char)('a' + (at + i) % 26);
}

static bool is_filled(const char *bytes, size_t n, size_t at)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (char)('a' + (at + i) % 26))
			return false;
	return true;
}

/* What a scenario has opened is closed, whatever happened. */
static int close_after(int fd, int code)
{
	int closed = thrum_close(fd);

	TH_CHECK_EQ(closed, 0);
	return code;
}

static int write_whole(const char *path, size_t n)
{
	char text[BYTES];
	size_t done = 0;
	int fd = thrum_openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0644), code;

	if (fd < 0)
		return fd;
	fill(text, n, 0);
	code = thrum_write_all(fd, text, n, &done);
	TH_CHECK(code < 0 ? done <= n : done == n);
	if (code == 0)
		code = thrum_fsync(fd);
	return close_after(fd, code);
}

static int read_whole(const char *path, size_t n)
{
	char text[BYTES + 1];
	size_t done = 0;
	int fd = thrum_openat(AT_FDCWD, path, O_RDONLY, 0), code;

	if (fd < 0)
		return fd;
	code = thrum_read_all(fd, text, sizeof text, &done);
	TH_CHECK(done <= n && is_filled(text, done, 0));
	TH_CHECK(code != 0);
	if (code == THRUM_EEOF) {
		TH_CHECK_EQ(done, n);
		code = 0;
	}
	return close_after(fd, code);
}

/* G8: what was written is read back, in whatever pieces either went. */
SIM_TEST_WITH(files, what_was_written_is_read_back_G8, .one_in = 4)
{
	struct stat st;
	void *data;
	size_t size;
	int code = write_whole("file", BYTES);

	(void)unused;
	if (code == 0)
		code = read_whole("/file", BYTES);
	if (code == 0)
		code = thrum_stat(AT_FDCWD, "file", 0, &st);
	if (code < 0)
		return code;
	TH_CHECK(S_ISREG(st.st_mode) && st.st_size == BYTES && st.st_nlink == 1);
	code = thrum_read_file(AT_FDCWD, "file", BYTES, &data, &size);
	if (code < 0)
		return code;
	TH_CHECK(size == BYTES && is_filled(data, size, 0));
	free(data);
	code = thrum_read_file(AT_FDCWD, "file", BYTES - 1, &data, &size);
	TH_CHECK(code == -EFBIG || code == -ECANCELED);
	return code == -EFBIG ? 0 : code;
}

struct part {
	int fd;
	size_t at;
};

static int write_part(struct part *p)
{
	char text[PART];
	struct iovec iov[2] = { { text, 20 }, { text + 20, PART - 20 } };
	ssize_t n;

	fill(text, PART, p->at);
	if (sim_choose(2))
		return thrum_pwrite_all(p->fd, text, PART, (off_t)p->at, NULL);
	n = thrum_pwritev(p->fd, iov, 2, (off_t)p->at);
	if (n < 0)
		return (int)n;
	return thrum_pwrite_all(p->fd, text + n, (size_t)(PART - n), (off_t)p->at + n, NULL);
}
THRUM_FX(write_part, struct part);

/* Parts written at once, each at its place. */
SIM_TEST_WITH(files, writers_at_positions_do_not_mix, .one_in = 4)
{
	struct part parts[WRITERS];
	thrum_fx fx[WRITERS];
	char text[WRITERS * PART];
	size_t done;
	int fd = thrum_openat(AT_FDCWD, "parts", O_RDWR | O_CREAT | O_EXCL, 0600), code;

	(void)unused;
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < WRITERS; i++) {
		parts[i] = (struct part){ fd, i * PART };
		fx[i] = write_part_fx(&parts[i]);
	}
	code = thrum_zip_par_n(fx, WRITERS);
	if (code == 0)
		code = thrum_pread_all(fd, text, sizeof text, 0, &done);
	TH_CHECK(code < 0 || is_filled(text, sizeof text, 0));
	return close_after(fd, code);
}

/* A full disk: said with how much went, and what went can be read. */
SIM_TEST_WITH(files, full_disk_is_told_with_what_went_G8, .one_in = 4)
{
	char text[BYTES];
	size_t done = 0, size = 0;
	void *data;
	int fd, code;

	(void)unused;
	th_sim_faults(&(struct th_sim_faults){ .disk_bytes = 1 + sim_choose(BYTES - 1) });
	fd = thrum_openat(AT_FDCWD, "full", O_WRONLY | O_CREAT, 0600);
	if (fd < 0)
		return fd;
	fill(text, sizeof text, 0);
	code = close_after(fd, thrum_write_all(fd, text, sizeof text, &done));
	TH_CHECK(code == -ENOSPC || code == -ECANCELED);
	TH_CHECK(done < BYTES);
	if (code == -ECANCELED)
		return code;
	code = thrum_read_file(AT_FDCWD, "full", BYTES, &data, &size);
	if (code < 0)
		return code;
	TH_CHECK(size == done && is_filled(data, size, 0));
	free(data);
	return 0;
}

/* --- sent to a socket --- */

struct sent {
	int file, pair[2];
	int from;
};

static int send_file(struct sent *s)
{
	size_t done = 0, n = (size_t)(BYTES - s->from);
	int code = thrum_sendfile_all(s->pair[0], s->file, s->from, n, &done);

	TH_CHECK(code < 0 ? done <= n : done == n);
	return code == 0 ? thrum_shutdown(s->pair[0], SHUT_WR) : code;
}
THRUM_FX(send_file, struct sent);

static int receive_file(struct sent *s)
{
	char text[BYTES];
	size_t done = 0;
	int code = thrum_read_all(s->pair[1], text, sizeof text, &done);

	TH_CHECK(is_filled(text, done, (size_t)s->from));
	if (code == THRUM_EEOF && done == (size_t)(BYTES - s->from))
		code = 0;
	return code;
}
THRUM_FX(receive_file, struct sent);

/* From the cache or by a thread, in any pieces: each byte once. */
SIM_TEST_WITH(files, sendfile_sends_each_byte_once, .one_in = 4)
{
	struct sent s = { .from = 1 + (int)sim_choose(BYTES / 2) };
	int code = write_whole("file", BYTES);

	(void)unused;
	if (code < 0)
		return code;
	s.file = thrum_openat(AT_FDCWD, "file", O_RDONLY, 0);
	if (s.file < 0)
		return s.file;
	TH_CHECK_EQ(th_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, s.pair), 0);
	code = thrum_zip_par(send_file_fx(&s), receive_file_fx(&s));
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_close(s.pair[i]), 0);
	return close_after(s.file, code);
}

static int send_until_closed(struct sent *s)
{
	size_t done = 0;
	int code = thrum_sendfile_all(s->pair[0], s->file, 0, BYTES, &done);

	TH_CHECK(done == BYTES ? code == 0 : code == -EBADF || code == -ECANCELED);
	return code == -EBADF ? 0 : code;
}
THRUM_FX(send_until_closed, struct sent);

static int close_the_file(struct sent *s)
{
	int code = thrum_sleep(thrum_us(sim_choose(100)));

	TH_CHECK_EQ(thrum_close(s->file), 0);
	s->file = -1;
	return code;
}
THRUM_FX(close_the_file, struct sent);

/* G9: closing the file ends the sender's wait for the socket, from which nobody reads. */
SIM_TEST(files, close_ends_the_sending_of_a_file_G9)
{
	struct sent s = { .file = -1 };
	int code = write_whole("file", BYTES);

	(void)unused;
	if (code < 0)
		return code;
	s.file = thrum_openat(AT_FDCWD, "file", O_RDONLY, 0);
	if (s.file < 0)
		return s.file;
	TH_CHECK_EQ(th_sys_socketpair(AF_UNIX, SOCK_STREAM, 0, s.pair), 0);
	code = thrum_zip_par(send_until_closed_fx(&s), close_the_file_fx(&s));
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(thrum_close(s.pair[i]), 0);
	return s.file < 0 ? code : close_after(s.file, code);
}

/* --- directories --- */

enum { ENTRIES = 5 };

static int make_entries(void)
{
	char name[32];
	int code = thrum_mkdir(AT_FDCWD, "dir", 0755);

	for (int i = 0; i < ENTRIES && code == 0; i++) {
		(void)snprintf(name, sizeof name, "dir/%d", i);
		code = i == 0 ? thrum_mkdir(AT_FDCWD, name, 0700) : write_whole(name, (size_t)i);
	}
	return code;
}

static int list(unsigned *ret_seen)
{
	thrum_dir d;
	thrum_dir_entry e;
	int code = thrum_dir_open(&d, AT_FDCWD, "dir");

	*ret_seen = 0;
	if (code < 0)
		return code;
	while ((code = thrum_dir_next(&d, &e)) == 1) {
		unsigned i = (unsigned)(e.name[0] - '0');
		TH_CHECK(i < ENTRIES && !(*ret_seen & 1U << i));
		TH_CHECK(e.type == (i == 0 ? 4 : 8)); /* DT_DIR, DT_REG */
		*ret_seen |= 1U << i;
	}
	TH_CHECK_EQ(thrum_dir_close(&d), 0);
	return code;
}

static int expect(int code, int want)
{
	TH_CHECK(code == want || code == -ECANCELED);
	return code == want ? 0 : code;
}

static int change_entries(void)
{
	int code = expect(thrum_unlink(AT_FDCWD, "dir", AT_REMOVEDIR), -ENOTEMPTY);

	if (code == 0)
		code = expect(thrum_unlink(AT_FDCWD, "dir/0", 0), -EISDIR);
	if (code == 0)
		code = thrum_unlink(AT_FDCWD, "dir/0", AT_REMOVEDIR);
	if (code == 0)
		code = expect(thrum_rename(AT_FDCWD, "dir/1", AT_FDCWD, "dir/2", 1), -EEXIST); /* RENAME_NOREPLACE */
	if (code == 0)
		code = thrum_rename(AT_FDCWD, "dir/1", AT_FDCWD, "dir/2", 0);
	if (code == 0)
		code = read_whole("dir/2", 1);
	if (code == 0)
		code = expect(read_whole("dir/1", 1), -ENOENT);
	if (code == 0)
		code = expect(read_whole("dir/3/x", 1), -ENOTDIR);
	return code == 0 ? expect(thrum_mkdir(AT_FDCWD, "dir/4", 0700), -EEXIST) : code;
}

SIM_TEST_WITH(files, directories_list_what_is_in_them, .one_in = 4)
{
	unsigned seen = 0;
	int code = make_entries();

	(void)unused;
	if (code == 0)
		code = list(&seen);
	TH_CHECK(code < 0 || seen == (1U << ENTRIES) - 1);
	if (code == 0)
		code = change_entries();
	if (code == 0)
		code = list(&seen);
	TH_CHECK(code < 0 || seen == 0x1c);
	return code;
}

/* --- descriptors that run out --- */

static int open_and_read(void *unused)
{
	(void)unused;
	for (int tries = 0; tries < 20; tries++) {
		int code = read_whole("file", 10);

		if (code != -EMFILE)
			return code;
		code = thrum_sleep(thrum_ns(4 * TH_SIM_TICK_NS));
		if (code < 0)
			return code;
	}
	return 0;
}

/* EMFILE is told, leaves nothing, and passes when others close. */
SIM_TEST_WITH(files, shortage_of_descriptors_passes, .one_in = 4)
{
	thrum_fx fx[4];
	int code = write_whole("file", 10);

	(void)unused;
	for (int i = 0; i < 4; i++)
		fx[i] = (thrum_fx){ open_and_read, NULL };
	th_sim_faults(&(struct th_sim_faults){ .fds_max = 2 });
	return code < 0 ? code : thrum_zip_par_n(fx, 4);
}
