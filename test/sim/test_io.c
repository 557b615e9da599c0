/* test/sim/test_io.c: operations in an unkind kernel: late successes, short transfers, cancels that come too late. */
#include "../support/child.h"
#include "../support/sim_run.h"
#include <errno.h>
#include <thrum/test.h>

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

struct ends {
	int fds[2];
	int moved;
	bool closed;
};

static int write_some(struct ends *e)
{
	size_t done = 0;
	int r = thrum_write_all(e->fds[1], "abcdefghijklmnop", 16, &done);

	TH_CHECK(done <= 16 && (r != 0 || done == 16)); /* G8 */
	return r;
}
THRUM_FX(write_some, struct ends);

/* The buffer lies on this fiber's stack: a fiber resumed before its completion is caught by the kernel's later write,
 * which th_op_complete() refuses (G5). */
static int read_some(struct ends *e)
{
	char buf[16] = { 0 };
	size_t done = 0;
	int r = thrum_read_all(e->fds[0], buf, sizeof buf, &done);

	for (size_t i = 0; i < done; i++)
		TH_CHECK_EQ(buf[i], 'a' + (int)i);
	for (size_t i = done; i < sizeof buf; i++)
		TH_CHECK_EQ(buf[i], 0);
	e->moved = (int)done;
	return r;
}
THRUM_FX(read_some, struct ends);

static int close_both(struct ends *e)
{
	e->closed = true;
	TH_CHECK_EQ(thrum_close(e->fds[0]), 0);
	TH_CHECK_EQ(thrum_close(e->fds[1]), 0);
	return 0;
}

/* G5, G8: a cancelled transfer returns when the kernel has let go, with what had moved. */
SIM_TEST(io, transfers_survive_cancels_G5_G8)
{
	struct ends e = { .moved = 0 };
	int r;

	(void)unused;
	th_sim_pipe(e.fds);
	if (sim_choose(2)) {
		thrum_fx fx[2] = { read_some_fx(&e), write_some_fx(&e) };
		thrum_zip_par_op both = { fx, 2 };
		r = thrum_timeout(thrum_zip_par_fx(&both), ticks(sim_choose(40)));
	} else {
		r = thrum_zip_par(read_some_fx(&e), write_some_fx(&e));
	}
	close_both(&e);
	return r == -ETIMEDOUT ? 0 : r;
}

struct server {
	int listener, accepted;
};

static int accept_some(struct server *s)
{
	for (;;) {
		int fd = thrum_accept(s->listener, NULL, NULL);
		if (fd < 0)
			return fd;
		s->accepted++;
		TH_CHECK(th_sim_fd_open(fd));
		TH_CHECK_EQ(thrum_close(fd), 0); /* closes in a cancelled scope too */
	}
}
THRUM_FX(accept_some, struct server);

/* G5, G10, hazard 39: a connection accepted while the cancel was on its way reaches the caller, who closes it. */
SIM_TEST(io, late_accepts_are_not_lost_G10)
{
	struct server s = { .listener = th_sim_listener(1 + sim_choose(4)) };
	int r;

	(void)unused;
	r = thrum_timeout(accept_some_fx(&s), ticks(1 + sim_choose(40)));
	TH_CHECK_EQ(thrum_close(s.listener), 0);
	return r == -ETIMEDOUT ? 0 : r;
}

static int read_until_closed(struct ends *e)
{
	char c;
	ssize_t r = thrum_read(e->fds[0], &c, 1);

	TH_CHECK(r == -EBADF || r == -ECANCELED);
	return r == -ECANCELED ? -ECANCELED : 0;
}
THRUM_FX(read_until_closed, struct ends);

static int close_under_readers(struct ends *e)
{
	int r = thrum_sleep(ticks(sim_choose(16)));

	close_both(e);
	return r;
}
THRUM_FX(close_under_readers, struct ends);

/* G9: closing a descriptor ends what others wait for on it, on whatever worker, before it is closed. */
SIM_TEST(io, close_ends_the_waits_of_others_G9)
{
	struct ends e = { .moved = 0 };
	int r;

	(void)unused;
	th_sim_pipe(e.fds);
	r = thrum_zip_par(read_until_closed_fx(&e), read_until_closed_fx(&e), close_under_readers_fx(&e));
	if (!e.closed)
		close_both(&e); /* the cancel came before the closer had started */
	return r;
}

struct quick {
	int fds[2];
};

static int quick_read(struct quick *q)
{
	char c = 0;
	ssize_t n = thrum_read(q->fds[0], &c, 1);

	return n < 0 ? (int)n : 0;
}
THRUM_FX(quick_read, struct quick);

/* G6: a cancel that was on its way to one operation does not hit the next one of the same fiber: here the read of a
 * clean-up, shielded, right after the one that was cancelled. Two bytes are sent, so it gets one. */
static int read_then_clean_up(struct quick *q)
{
	(void)quick_read(q);
	TH_CHECK_EQ(thrum_shield(quick_read_fx(q)), 0);
	return thrum_check();
}
THRUM_FX(read_then_clean_up, struct quick);

static int feed(struct quick *q)
{
	int r;

	for (int i = 0; i < 2; i++) {
		r = thrum_sleep(ticks(sim_choose(8)));
		if (r == 0)
			r = thrum_write_all(q->fds[1], "x", 1, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}
THRUM_FX(feed, struct quick);

static int cancel_reader(struct quick *q)
{
	thrum_scope s;
	thrum_task reader;
	int r;

	r = thrum_scope_open(&s);
	if (r == 0 && thrum_spawn(&s, &reader, read_then_clean_up_fx(q)) == 0) {
		(void)thrum_sleep(ticks(sim_choose(12)));
		thrum_task_cancel(&reader);
	}
	return thrum_scope_close(&s);
}
THRUM_FX(cancel_reader, struct quick);

SIM_TEST_WITH(io, late_cancel_spares_the_next_operation_G6, .no_sweep = true)
{
	struct quick q;
	int r;

	(void)unused;
	th_sim_pipe(q.fds);
	r = thrum_zip_par(feed_fx(&q), cancel_reader_fx(&q));
	TH_CHECK_EQ(thrum_close(q.fds[0]), 0);
	TH_CHECK_EQ(thrum_close(q.fds[1]), 0);
	return r;
}

static int close_after_a_while(struct ends *e)
{
	(void)thrum_sleep(ticks(sim_choose(3)));
	return close_both(e);
}
THRUM_FX(close_after_a_while, struct ends);

/* In time, or late; and then it may be somebody else's descriptor, which has something to read. */
static int read_after_a_while(struct ends *e)
{
	char c;
	ssize_t r;

	(void)thrum_sleep(ticks(sim_choose(5)));
	r = thrum_read(e->fds[0], &c, 1);
	TH_CHECK(r == 0 || r == 1 || r == -EBADF || r == -ECANCELED);
	return 0;
}
THRUM_FX(read_after_a_while, struct ends);

/* Whoever gets the number next is not taken for a late one. */
static int use_a_new_one(struct ends *unused)
{
	struct ends mine;
	ssize_t done;

	(void)unused;
	(void)thrum_sleep(ticks(sim_choose(5)));
	th_sim_pipe(mine.fds);
	(void)thrum_check(); /* so that the next one may be quick */
	done = thrum_write(mine.fds[1], "xx", 2);
	if (done <= 0) {
		TH_CHECK_EQ(done, -ECANCELED);
		TH_CHECK_EQ(thrum_check(), -ECANCELED); /* G2: who was told once is told again */
	}
	return close_both(&mine);
}
THRUM_FX(use_a_new_one, struct ends);

/* G9: a call that begins while the descriptor closes is refused or finds none; the next owner of the number is not refused. (No
 * operation is in the kernel at the close: io/sim/kernel.c looks.) */
SIM_TEST(io, close_is_over_for_all_at_once_G9)
{
	struct ends e = { .moved = 0 };
	int r;

	(void)unused;
	th_sim_pipe(e.fds);
	r = thrum_zip_par(close_after_a_while_fx(&e), read_after_a_while_fx(&e), use_a_new_one_fx(&e), read_after_a_while_fx(&e),
			  use_a_new_one_fx(&e));
	if (!e.closed)
		close_both(&e);
	return r;
}

static int read_at_once(struct ends *e)
{
	char c;
	ssize_t r = thrum_read(e->fds[0], &c, 1);

	TH_CHECK(r == -EBADF || r == -ECANCELED);
	return 0;
}
THRUM_FX(read_at_once, struct ends);

THRUM_FX(close_both, struct ends);

static int close_and_read(void *unused)
{
	struct ends e = { .moved = 0 };

	(void)unused;
	th_sim_pipe(e.fds);
	return thrum_zip_par(close_both_fx(&e), read_at_once_fx(&e), read_at_once_fx(&e));
}

/* G9: a call that waits for a close does not wait when that is over. */
TH_TEST(io, late_call_meets_the_end_of_a_close_G9)
{
	const thrum_test_opts o = { .size = sizeof o, .workers = 3, .runs = TH_SLOW ? 500 : 20000, .name = "late" };

	TH_CHECK_EQ(thrum_test_search((thrum_fx){ close_and_read, NULL }, &o, NULL), 0);
}
