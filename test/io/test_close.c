/* Closing a descriptor that others still wait on (G9). */
#include <sys/ioctl.h>
#include "io_test.h"

static int one_reader(int *flags)
{
	for (int i = 0; i < 100; i++) {
		int fds[2], fd;
		char buf[8];
		struct recv_one a = { .buf = buf, .n = sizeof(buf) };
		thrum_scope s;
		thrum_task t;
		uint64_t ops = ops_so_far();

		open_pair(fds);
		TH_CHECK_EQ(fcntl(fds[0], F_SETFL, *flags), 0);
		a.fd = fds[0];
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(thrum_close(fds[0]), 0);
		TH_CHECK_EQ(fcntl(fds[0], F_GETFD), -1);
		/* The number may be somebody else's at once, and works. */
		fd = dup(fds[1]);
		TH_CHECK_EQ(fd, fds[0]);
		TH_CHECK_EQ(thrum_wait_fd(fd, POLLIN) & POLLHUP, POLLHUP);
		TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(a.got, -EBADF);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(thrum_close(fd), 0);
		TH_CHECK_EQ(close(fds[1]), 0);
	}
	return 0;
}
THRUM_FX(one_reader, int);
TH_TEST(io_close, a_reader_in_flight_gets_EBADF_and_the_close_closes_G9)
{
	int flags = 0;
	run_ok(one_reader_fx(&flags));
}
TH_TEST(io_close, also_on_a_nonblocking_socket_G9)
{
	int flags = O_NONBLOCK;
	run_ok(one_reader_fx(&flags));
}

/* A duplicate is another descriptor: who waits on it is left alone. */
static int duplicate(void *unused)
{
	int fds[2];
	char a_buf[1], b_buf[1];
	struct recv_one a = { .buf = a_buf, .n = 1 }, b = { .buf = b_buf, .n = 1 };
	thrum_scope s;
	thrum_task ta, tb;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	b.fd = dup(fds[0]);
	TH_CHECK(b.fd >= 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ta, recv_one_fx(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &tb, recv_one_fx(&b)), 0);
	until_ops(ops, 2);
	TH_CHECK_EQ(thrum_close(a.fd), 0);
	TH_CHECK_EQ(thrum_join(&ta), 0);
	TH_CHECK_EQ(a.got, -EBADF);
	TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_join(&tb), 0);
	TH_CHECK_EQ(b.got, 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_close(b.fd), 0);
	TH_CHECK_EQ(close(fds[1]), 0);
	return 0;
}
THRUM_FX(duplicate, void);
TH_TEST(io_close, who_waits_on_a_duplicate_is_left_alone) { run_ok(duplicate_fx(NULL)); }

/* Many waiters of every kind, on many descriptors, over all workers. */
enum { PAIRS = 40 };
static int many(void *unused)
{
	int fds[PAIRS][2], before = fd_count();
	char buf[PAIRS];
	struct recv_one r[PAIRS];
	struct poll_one p[PAIRS];
	struct read_one d[PAIRS];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < PAIRS; i++) {
		open_pair(fds[i]);
		r[i] = (struct recv_one){ .fd = fds[i][0], .buf = &buf[i], .n = 1 };
		p[i] = (struct poll_one){ .fd = fds[i][0], .want = POLLIN };
		d[i] = (struct read_one){ .fd = fds[i][0], .buf = &buf[i], .n = 1 };
		TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&r[i])), 0);
		TH_CHECK_EQ(thrum_go(&s, poll_one_fx(&p[i])), 0);
		TH_CHECK_EQ(thrum_go(&s, read_one_fx(&d[i])), 0);
	}
	until_ops(ops, 3 * PAIRS);
	for (int i = 0; i < PAIRS; i++) {
		TH_CHECK_EQ(thrum_close(fds[i][0]), 0);
		TH_CHECK_EQ(thrum_close(fds[i][0]), -EBADF);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < PAIRS; i++) {
		TH_CHECK_EQ(r[i].got, -EBADF);
		TH_CHECK_EQ(p[i].got, -EBADF);
		TH_CHECK_EQ(d[i].got, -EBADF);
		TH_CHECK_EQ(close(fds[i][1]), 0);
	}
	TH_CHECK_EQ(fd_count(), before);
	return 0;
}
THRUM_FX(many, void);
TH_TEST(io_close, waiters_of_every_kind_on_many_descriptors_get_EBADF_G9) { run_ok(many_fx(NULL)); }

/* Closers at once: one wins, the others are told. */
struct closer {
	int fd, got;
};
static int close_one(struct closer *a)
{
	a->got = thrum_close(a->fd);
	return 0;
}
THRUM_FX(close_one, struct closer);
static int closers(void *unused)
{
	(void)unused;
	for (int i = 0; i < 100; i++) {
		int fds[2];
		char c;
		struct recv_one a = { .buf = &c, .n = 1 };
		struct closer k[3];
		thrum_scope s;
		thrum_task t;
		uint64_t ops = ops_so_far();

		open_pair(fds);
		a.fd = fds[0];
		for (int j = 0; j < 3; j++)
			k[j].fd = fds[0];
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(thrum_zip_par(close_one_fx(&k[0]), close_one_fx(&k[1]), close_one_fx(&k[2])), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(a.got, -EBADF);
		TH_CHECK_EQ((k[0].got == 0) + (k[1].got == 0) + (k[2].got == 0), 1);
		TH_CHECK_EQ(k[0].got + k[1].got + k[2].got, -2 * EBADF);
		TH_CHECK_EQ(close(fds[1]), 0);
	}
	return 0;
}
THRUM_FX(closers, void);
TH_TEST(io_close, of_several_closers_one_closes_and_the_others_get_EBADF) { run_ok(closers_fx(NULL)); }

/* A reader that is cancelled and closed upon at once ends with either, and both sides return. */
static int both_ways(void *unused)
{
	(void)unused;
	for (int i = 0; i < 200; i++) {
		int fds[2];
		char c;
		struct recv_one a = { .buf = &c, .n = 1 };
		struct closer k;
		thrum_scope s, other;
		thrum_task t, tk;
		uint64_t ops = ops_so_far();

		open_pair(fds);
		a.fd = k.fd = fds[0];
		TH_CHECK_EQ(thrum_scope_open(&other), 0);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(thrum_spawn(&other, &tk, close_one_fx(&k)), 0);
		for (int j = 0; j < i % 4; j++)
			TH_CHECK_EQ(thrum_yield(), 0);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(thrum_scope_close(&other), 0);
		TH_CHECK(a.got == -ECANCELED || a.got == -EBADF);
		TH_CHECK_EQ(k.got, 0);
		TH_CHECK_EQ(close(fds[1]), 0);
	}
	return 0;
}
THRUM_FX(both_ways, void);
TH_TEST(io_close, a_cancel_and_a_close_at_once_both_come_to_an_end) { run_ok(both_ways_fx(NULL)); }

/* A read of many bytes. */
struct read_many {
	int fd, code;
	size_t done;
	char buf[64];
};
static int read_many(struct read_many *a)
{
	a->code = thrum_read_all(a->fd, a->buf, sizeof(a->buf), &a->done);
	return 0;
}
THRUM_FX(read_many, struct read_many);

/* The numbers of closed descriptors come back at once, on other workers: their new owners must notice nothing. */
enum { OWNERS = 6, LIVES = 300 };

/* Close upon a reader that is certainly in its call: it has taken a byte and wants more. */
static void closed_upon(const int fds[2])
{
	struct read_many b = { .fd = fds[1] };
	thrum_scope s;
	int left = 1;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, read_many_fx(&b)), 0);
	TH_CHECK_EQ(thrum_send(fds[0], "x", 1, 0), 1);
	while (left > 0) {
		TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK_EQ(ioctl(fds[1], FIONREAD, &left), 0);
	}
	TH_CHECK_EQ(thrum_close(fds[1]), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(b.code, -EBADF);
	TH_CHECK_EQ(b.done, 1);
}

static void read_in_peace(const int fds[2], int yields)
{
	char c;
	struct recv_one a = { .fd = fds[0], .buf = &c, .n = 1 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&a)), 0);
	for (int k = 0; k < yields; k++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.got, 1);
}

static int owner(void *unused)
{
	(void)unused;
	for (int i = 0; i < LIVES; i++) {
		int fds[2];

		open_pair(fds);
		read_in_peace(fds, i % 3);
		if (i % 2)
			closed_upon(fds);
		else
			TH_CHECK_EQ(thrum_close(fds[1]), 0);
		TH_CHECK_EQ(thrum_close(fds[0]), 0);
	}
	return 0;
}
THRUM_FX(owner, void);
static int owners(void *unused)
{
	thrum_fx fx[OWNERS];

	(void)unused;
	for (int i = 0; i < OWNERS; i++)
		fx[i] = owner_fx(NULL);
	return thrum_zip_par_n(fx, OWNERS);
}
THRUM_FX(owners, void);
TH_TEST(io_close, the_next_owner_of_the_number_notices_nothing) { run_ok(owners_fx(NULL)); }

/* Between the steps of an _all call nothing is in flight, and the close must still be noticed.
 * The crowd keeps the workers busy, so that time passes between a completion and its fiber's turn. */
static int crowd(int *stop)
{
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED))
		TH_CHECK_EQ(thrum_yield(), 0);
	return 0;
}
THRUM_FX(crowd, int);
static int between(void *unused)
{
	int stop = 0;
	thrum_scope around;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&around), 0);
	for (int i = 0; i < 300; i++)
		TH_CHECK_EQ(thrum_go(&around, crowd_fx(&stop)), 0);
	for (int i = 0; i < 100; i++) {
		int fds[2];
		struct read_many a = { 0 };
		thrum_scope s;
		uint64_t ops = ops_so_far();

		open_pair(fds);
		a.fd = fds[0];
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_go(&s, read_many_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(send(fds[1], "x", 1, MSG_NOSIGNAL), 1);
		TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK_EQ(thrum_close(fds[0]), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(a.code, -EBADF);
		TH_CHECK_EQ(close(fds[1]), 0);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	TH_CHECK_EQ(thrum_scope_close(&around), 0);
	return 0;
}
THRUM_FX(between, void);
TH_TEST(io_close, a_call_of_many_steps_notices_the_close_between_them) { run_ok(between_fx(NULL)); }

/* A worker that is busy serves the request to cancel late: the descriptor is another one by then, and its own. */
struct busy {
	int started, go, fd;
	char c;
	ssize_t got;
};
static int busy_then_recv(struct busy *a)
{
	__atomic_store_n(&a->started, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&a->go, __ATOMIC_ACQUIRE))
		;
	a->got = thrum_recv(a->fd, &a->c, 1, 0);
	return 0;
}
THRUM_FX(busy_then_recv, struct busy);
static int close_meanwhile(void *unused)
{
	struct busy a = { 0 };
	char c;
	struct recv_one r = { .buf = &c, .n = 1 };
	int old[2], fds[2];
	thrum_scope s;
	thrum_task t;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, busy_then_recv_fx(&a), THRUM_SPAWN_OPTS(.worker = 2)), 0);
	while (!__atomic_load_n(&a.started, __ATOMIC_ACQUIRE))
		TH_CHECK_EQ(thrum_yield(), 0);
	open_pair(old);
	r.fd = old[0];
	TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&r)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(thrum_close(old[0]), 0);
	TH_CHECK_EQ(close(old[1]), 0);
	open_pair(fds);
	TH_CHECK_EQ(fds[0], old[0]);
	a.fd = fds[0];
	ops = ops_so_far();
	__atomic_store_n(&a.go, 1, __ATOMIC_RELEASE);
	until_ops(ops, 1);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(r.got, -EBADF);
	TH_CHECK_EQ(a.got, 1);
	close_both(fds);
	return 0;
}
THRUM_FX(close_meanwhile, void);
static int on_two_workers(void *unused)
{
	thrum_scope s;
	thrum_task t;

	(void)unused;
	if (thrum_workers() < 2)
		return 0;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, close_meanwhile_fx(NULL), THRUM_SPAWN_OPTS(.worker = 1)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(on_two_workers, void);
TH_TEST(io_close, a_request_that_is_served_late_cancels_nothing_of_the_next_owner) { run_ok(on_two_workers_fx(NULL)); }
