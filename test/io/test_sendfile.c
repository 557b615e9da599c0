/* thrum_sendfile(): whatever the socket, the worker is not held. */
#include <signal.h>
#include <stdlib.h>
#include "io_test.h"

enum { FILE_BYTES = 3 * 1000 * 1000 + 17 };

struct job {
	int file, fds[2];
	size_t done, taken;
	int code;
	bool stop;
};

static char byte_at(size_t i) { return (char)(i * 31 + i / 65521); }

static int new_file(void)
{
	char path[] = "/tmp/thrum-sendfile-XXXXXX", *bytes = malloc(FILE_BYTES);
	int fd = mkostemp(path, O_CLOEXEC);

	TH_CHECK(fd >= 0 && bytes);
	TH_CHECK_EQ(unlink(path), 0);
	for (size_t i = 0; i < FILE_BYTES; i++)
		bytes[i] = byte_at(i);
	TH_CHECK_EQ(write(fd, bytes, FILE_BYTES), FILE_BYTES);
	free(bytes);
	return fd;
}

static int send_it(struct job *j)
{
	j->code = thrum_sendfile_all(j->fds[0], j->file, 5, FILE_BYTES - 5, &j->done);
	return j->code == -EBADF ? 0 : thrum_shutdown(j->fds[0], SHUT_WR); /* somebody has closed it */
}
THRUM_FX(send_it, struct job);

static int take_it(struct job *j)
{
	char buf[8192];
	ssize_t n;

	while ((n = thrum_recv(j->fds[1], buf, sizeof buf, 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			TH_CHECK_EQ(buf[i], byte_at(5 + j->taken + (size_t)i));
		j->taken += (size_t)n;
	}
	return (int)n;
}
THRUM_FX(take_it, struct job);

static int whole(struct job *j)
{
	for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
		j->taken = 0;
		open_pair(j->fds);
		TH_CHECK_EQ(fcntl(j->fds[0], F_SETFL, flags), 0);
		TH_CHECK_EQ(thrum_zip_par(send_it_fx(j), take_it_fx(j)), 0);
		TH_CHECK_EQ(j->code, 0);
		TH_CHECK_EQ(j->done, FILE_BYTES - 5);
		TH_CHECK_EQ(j->taken, FILE_BYTES - 5);
		close_both(j->fds);
	}
	return 0;
}
THRUM_FX(whole, struct job);

/* On one worker: the sender would hold it, and its peer would never run. */
TH_TEST(io_sendfile, a_file_goes_through_a_socket_that_blocks_or_not)
{
	struct job j = { .file = new_file() };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), whole_fx(&j)), 0);
	TH_CHECK_EQ(close(j.file), 0);
}

/* What the page cache has not goes through the blocking pool. */
TH_TEST(io_sendfile, a_file_that_is_not_in_memory)
{
	struct job j = { .file = new_file() };

	TH_CHECK_EQ(fsync(j.file), 0);
	TH_CHECK_EQ(posix_fadvise(j.file, 0, 0, POSIX_FADV_DONTNEED), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), whole_fx(&j)), 0);
	TH_CHECK_EQ(close(j.file), 0);
}

static int cut_off(struct job *j)
{
	thrum_scope s;
	uint64_t ops;
	char buf[4096];
	size_t there = 0;
	thrum_task t;

	open_pair(j->fds);
	ops = ops_so_far();
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, send_it_fx(j)), 0);
	until_ops(ops, 1); /* it waits for room */
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(j->code, -ECANCELED);
	TH_CHECK(j->done > 0 && j->done < FILE_BYTES - 5);
	for (ssize_t n; (n = recv(j->fds[1], buf, sizeof buf, MSG_DONTWAIT)) > 0;)
		there += (size_t)n;
	TH_CHECK_EQ(there, j->done);
	close_both(j->fds);
	return 0;
}
THRUM_FX(cut_off, struct job);
TH_TEST(io_sendfile, a_cancel_tells_how_much_went_out_G8)
{
	struct job j = { .file = new_file() };

	run_ok(cut_off_fx(&j));
	TH_CHECK_EQ(close(j.file), 0);
}

/* The first bytes to a peer that has closed are answered by a reset. */
static int too_late(struct job *j)
{
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, 0), code;

	j->fds[0] = tcp_socket(0);
	TH_CHECK_EQ(connect(j->fds[0], (struct sockaddr *)&sa, sizeof sa), 0);
	j->fds[1] = accept(listener, NULL, NULL);
	close_both((int[]){ listener, j->fds[1] });
	code = thrum_sendfile_all(j->fds[0], j->file, 0, FILE_BYTES, &j->done);
	TH_CHECK(code == -EPIPE || code == -ECONNRESET);
	TH_CHECK(j->done < FILE_BYTES);
	TH_CHECK_EQ(close(j->fds[0]), 0);
	return 0;
}
THRUM_FX(too_late, struct job);

/* Some of a piece has been sent when the signal is raised: several rounds, since the reset may come a little later. */
TH_TEST(io_sendfile, a_reset_amid_a_piece_raises_no_signal)
{
	struct job j = { .file = new_file() };

	TH_CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	for (int i = 0; i < 10; i++)
		run_ok(too_late_fx(&j));
	TH_CHECK_EQ(close(j.file), 0);
}

static int close_one(struct job *j)
{
	thrum_scope s;
	uint64_t ops;
	thrum_task t;
	int fds[3]; /* the socket, its peer, the file */

	for (int which = 0; which <= 2; which += 2) {
		open_pair(j->fds);
		memcpy(fds, j->fds, sizeof j->fds);
		fds[2] = j->file = new_file();
		ops = ops_so_far();
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, send_it_fx(j)), 0);
		until_ops(ops, 1); /* it waits for room, and the peer never reads */
		TH_CHECK_EQ(thrum_close(fds[which]), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(j->code, -EBADF);
		TH_CHECK(j->done > 0 && j->done < FILE_BYTES - 5);
		close_both((int[]){ fds[1], fds[2 - which] });
	}
	return 0;
}
THRUM_FX(close_one, struct job);
TH_TEST(io_sendfile, closing_either_descriptor_ends_it_G9)
{
	struct job j;
	int before = fd_count();

	run_ok(close_one_fx(&j));
	TH_CHECK_EQ(fd_count(), before);
}

static int edges(struct job *j)
{
	off_t at = FILE_BYTES - 3;
	int pipe[2];
	size_t done = 9;

	open_pair(j->fds);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, &at, 0), 0);
	TH_CHECK_EQ(at, FILE_BYTES - 3);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, &at, SIZE_MAX), 3);
	TH_CHECK_EQ(at, FILE_BYTES);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, &at, 10), 0); /* the end */
	TH_CHECK_EQ(thrum_sendfile_all(j->fds[0], j->file, FILE_BYTES - 3, 10, &done), THRUM_EEOF);
	TH_CHECK_EQ(done, 3);
	TH_CHECK_EQ(thrum_sendfile_all(j->fds[0], j->file, FILE_BYTES, 0, NULL), 0);
	TH_CHECK_EQ(thrum_sendfile_all(j->fds[0], j->file, -1, 10, &done), -EINVAL);
	TH_CHECK_EQ(done, 0);
	at = -1;
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, &at, 10), -EINVAL);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, NULL, 10), -EINVAL);
	at = 0;
	TH_CHECK_EQ(thrum_sendfile(-1, j->file, &at, 10), -EBADF);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], -1, &at, 10), -EBADF);
	open_pipe(pipe, 0);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], pipe[0], &at, 10), -ESPIPE); /* no file */
	close_both(pipe);
	TH_CHECK_EQ(close(j->fds[1]), 0);
	TH_CHECK_EQ(thrum_sendfile(j->fds[0], j->file, &at, 10), -EPIPE);
	TH_CHECK_EQ(close(j->fds[0]), 0);
	return 0;
}
THRUM_FX(edges, struct job);
TH_TEST(io_sendfile, ends_and_mistakes)
{
	struct job j = { .file = new_file() };
	int before = fd_count();

	run_ok(edges_fx(&j));
	TH_CHECK_EQ(fd_count(), before);
	TH_CHECK_EQ(close(j.file), 0);
	TH_CHECK_EQ(thrum_sendfile(0, 0, &(off_t){ 0 }, 1), THRUM_ENOTFIBER);
}
