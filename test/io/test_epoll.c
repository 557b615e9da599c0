/* What only the epoll backend has to see to: several waiters on one descriptor, registrations of descriptors that are gone,
 * descriptors that block, and what epoll cannot watch. All of it on that backend, whatever the environment says. */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include "io/attempt.h"
#include "io/op.h"
#include "io_test.h"

static void run_epoll(int (*body)(void *))
{
	int before = fd_count();
	int code = thrum_run(THRUM_OPTS(.backend = THRUM_BACKEND_EPOLL), (thrum_fx){ body, NULL });

	TH_CHECK_EQ(code, 0);
	TH_CHECK_EQ(fd_count(), before);
}

static void fill(int fd)
{
	static const char zeros[4096];

	while (send(fd, zeros, sizeof(zeros), MSG_DONTWAIT) > 0)
		;
	TH_CHECK_EQ(errno, EAGAIN);
}

static void drain(int fd)
{
	static char rest[1 << 16];

	while (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) > 0)
		;
	TH_CHECK_EQ(errno, EAGAIN);
}

static bool blocks(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	TH_CHECK(flags >= 0);
	return !(flags & O_NONBLOCK);
}

struct send_one {
	int fd;
	ssize_t got;
};
static int send_one(struct send_one *a)
{
	a->got = thrum_send(a->fd, "w", 1, 0);
	return 0;
}
THRUM_FX(send_one, struct send_one);

/* --- several waiters --- */

static int reader_and_writer(void *unused)
{
	int fds[2];
	char c = 0;
	struct recv_one r = { .buf = &c, .n = 1 };
	struct send_one w;
	thrum_scope s;
	thrum_task tr, tw;

	(void)unused;
	for (int i = 0; i < 20; i++) {
		uint64_t ops = ops_so_far();
		bool reader_first = i & 1;

		open_pair(fds);
		r.fd = w.fd = fds[0];
		fill(fds[0]);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(reader_first ? thrum_spawn(&s, &tr, recv_one_fx(&r)) : thrum_spawn(&s, &tw, send_one_fx(&w)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(reader_first ? thrum_spawn(&s, &tw, send_one_fx(&w)) : thrum_spawn(&s, &tr, recv_one_fx(&r)), 0);
		until_ops(ops, 2);
		if (i & 2) {
			TH_CHECK_EQ(send(fds[1], "r", 1, MSG_DONTWAIT), 1);
			TH_CHECK_EQ(thrum_join(&tr), 0);
			drain(fds[1]);
			TH_CHECK_EQ(thrum_join(&tw), 0);
		} else {
			drain(fds[1]);
			TH_CHECK_EQ(thrum_join(&tw), 0);
			TH_CHECK_EQ(send(fds[1], "r", 1, MSG_DONTWAIT), 1);
			TH_CHECK_EQ(thrum_join(&tr), 0);
		}
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(r.got, 1);
		TH_CHECK_EQ(c, 'r');
		TH_CHECK_EQ(w.got, 1);
		close_both(fds);
	}
	return 0;
}
TH_TEST(io_epoll, a_reader_and_a_writer_wait_on_one_socket) { run_epoll(reader_and_writer); }

/* One after the other, on a descriptor that blocks: who loses the race for a byte waits on, and its worker works on. */
enum { READERS = 5, BYTES = 50 };
struct byte_reader {
	int fd;
	unsigned *left;
	int code;
};
static int byte_reader(struct byte_reader *a)
{
	char c;

	while ((a->code = (int)thrum_read(a->fd, &c, 1)) == 1)
		__atomic_sub_fetch(a->left, 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(byte_reader, struct byte_reader);

static void readers_race(int read_fd, int write_fd)
{
	struct byte_reader r[READERS];
	unsigned left = BYTES;
	uint64_t ops = ops_so_far();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < READERS; i++) {
		r[i] = (struct byte_reader){ .fd = read_fd, .left = &left };
		TH_CHECK_EQ(thrum_go(&s, byte_reader_fx(&r[i])), 0);
	}
	until_ops(ops, READERS);
	for (unsigned i = BYTES; i > 0; i--) {
		TH_CHECK_EQ(write(write_fd, "x", 1), 1);
		while (__atomic_load_n(&left, __ATOMIC_RELAXED) == i)
			TH_CHECK_EQ(thrum_yield(), 0);
	}
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < READERS; i++)
		TH_CHECK_EQ(r[i].code, -ECANCELED);
	TH_CHECK_EQ(left, 0);
	TH_CHECK(blocks(read_fd));
	TH_CHECK(blocks(write_fd));
}

static int pipe_readers(void *unused)
{
	int fds[2];

	(void)unused;
	open_pipe(fds, 0);
	readers_race(fds[0], fds[1]);
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, readers_race_for_each_byte_of_a_pipe_that_blocks) { run_epoll(pipe_readers); }

static int socket_readers(void *unused)
{
	int fds[2];

	(void)unused;
	open_pair(fds);
	readers_race(fds[0], fds[1]);
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, readers_race_for_each_byte_of_a_socket_that_blocks) { run_epoll(socket_readers); }

/* Each takes one byte and leaves, so nobody arms the socket anew for those who are left. */
static int who_is_left(void *unused)
{
	struct recv_one a[READERS];
	char c[READERS];
	int fds[2];
	uint64_t ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < READERS; i++) {
		a[i] = (struct recv_one){ .fd = fds[0], .buf = &c[i], .n = 1 };
		TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&a[i])), 0);
	}
	until_ops(ops, READERS);
	for (int i = 0; i < READERS; i++) {
		TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
		until_taken(fds[0]);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < READERS; i++)
		TH_CHECK_EQ(a[i].got, 1);
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, who_lost_the_race_for_a_byte_gets_the_next) { run_epoll(who_is_left); }

static int acceptors(void *unused)
{
	struct accept_one a[READERS];
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, 0), accepted = 0;
	uint64_t ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < READERS; i++) {
		a[i] = (struct accept_one){ .fd = listener };
		TH_CHECK_EQ(thrum_go(&s, accept_one_fx(&a[i])), 0);
	}
	until_ops(ops, READERS);
	for (int i = 0; i < 2; i++) {
		int fd = tcp_socket(0);
		TH_CHECK_EQ(thrum_connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		TH_CHECK(blocks(fd));
		TH_CHECK_EQ(close(fd), 0);
	}
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < READERS; i++) {
		TH_CHECK(a[i].got >= 0 || a[i].got == -ECANCELED);
		accepted += a[i].got >= 0;
		if (a[i].got >= 0)
			TH_CHECK_EQ(close(a[i].got), 0);
	}
	TH_CHECK(accepted <= 2);
	return thrum_close(listener);
}
TH_TEST(io_epoll, who_waits_for_a_connection_blocks_no_worker) { run_epoll(acceptors); }

static int not_a_listener(void *unused)
{
	int fds[2];

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_accept(fds[0], NULL, NULL), -EINVAL);
	TH_CHECK(blocks(fds[0]));
	close_both(fds);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_accept(fds[0], NULL, NULL), -ENOTSOCK);
	TH_CHECK(blocks(fds[0]));
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, accept_leaves_alone_what_does_not_listen) { run_epoll(not_a_listener); }

/* An attempt that succeeded at once is told at the next poll; a cancel that comes between changes nothing. */
static int there_already(void *unused)
{
	int fds[2];
	char c;
	struct recv_one a = { .buf = &c, .n = 1 };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	for (int i = 0; i < 100; i++) {
		uint64_t ops = ops_so_far();

		TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		thrum_task_cancel(&t);
		TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(a.got, 1);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
	}
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, a_result_that_is_there_stands_G10) { run_epoll(there_already); }

/* --- registrations that outlive their descriptor --- */

/* The number of a descriptor that was waited on comes back for another file, while a duplicate keeps the old file, and with it
 * its registration, alive. */
static int number_reused(void *unused)
{
	(void)unused;
	for (int i = 0; i < 50; i++) {
		int old[2], new[2], kept, number;
		char c = 0;
		struct recv_one a = { .buf = &c, .n = 1 };
		thrum_scope s;
		thrum_task t;
		uint64_t ops = ops_so_far();

		open_pair(old);
		number = a.fd = old[0];
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		if (i & 1) { /* it ends by itself, or by a cancel */
			TH_CHECK_EQ(send(old[1], "x", 1, 0), 1);
		} else {
			thrum_scope_cancel(&s);
		}
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		kept = dup(number);
		TH_CHECK(kept >= 0);
		open_pair(new);
		TH_CHECK_EQ(dup2(new[0], number), number);
		TH_CHECK_EQ(close(new[0]), 0);

		ops = ops_so_far();
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(send(old[1], "o", 1, 0), 1); /* news of the old file, under the number of the new one */
		TH_CHECK_EQ(thrum_wait_fd(kept, POLLIN), POLLIN);
		for (int k = 0; k < 10; k++)
			TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK_EQ(send(new[1], "n", 1, 0), 1);
		TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(a.got, 1);
		TH_CHECK_EQ(c, 'n');
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(thrum_close(number), 0);
		TH_CHECK_EQ(close(kept), 0);
		TH_CHECK_EQ(close(old[1]), 0);
		TH_CHECK_EQ(close(new[1]), 0);
	}
	return 0;
}
TH_TEST(io_epoll, the_next_file_under_a_number_is_waited_for_and_not_the_last) { run_epoll(number_reused); }

/* The same descriptor again and again: each wait has to be armed. */
static int rounds(void *unused)
{
	int fds[2];
	char c;
	struct recv_one a = { .buf = &c, .n = 1 };
	thrum_scope s;

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	for (int i = 0; i < 100; i++) {
		uint64_t ops = ops_so_far();

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&a)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(a.got, 1);
	}
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, each_wait_is_armed_anew) { run_epoll(rounds); }

/* --- descriptors that block, and stay so --- */

static int tick(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

static int counters(void *unused)
{
	int event = eventfd(0, EFD_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	uint64_t n = 0, ops = ops_so_far();
	struct read_one a = { .fd = event, .buf = (char *)&n, .n = sizeof(n) };
	thrum_scope s;
	thrum_task t;
	int ticks = 0;

	(void)unused;
	TH_CHECK(event >= 0 && timer >= 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, read_one_fx(&a)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(thrum_write(event, &(uint64_t){ 3 }, sizeof(n)), sizeof(n));
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(a.got, sizeof(n));
	TH_CHECK_EQ(n, 3);
	TH_CHECK_EQ(timerfd_settime(timer, 0, &soon, NULL), 0);
	TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ tick, &ticks }), 0);
	TH_CHECK_EQ(thrum_read(timer, &n, sizeof(n)), sizeof(n));
	TH_CHECK(n >= 1);
	TH_CHECK(blocks(event) && blocks(timer));
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(ticks, 1);
	TH_CHECK_EQ(thrum_close(event), 0);
	return thrum_close(timer);
}
TH_TEST(io_epoll, counters_are_read_and_written_and_keep_their_flags) { run_epoll(counters); }

struct write_count {
	int fd;
	uint64_t count;
	ssize_t got;
};
static int write_count(struct write_count *a)
{
	a->got = thrum_write(a->fd, &a->count, sizeof(a->count));
	return 0;
}
THRUM_FX(write_count, struct write_count);

/* Ready to be written to, for it takes 1 more; but not 100. */
static int full_counter(void *unused)
{
	uint64_t n = UINT64_MAX - 16;
	struct write_count a = { .fd = eventfd(0, EFD_CLOEXEC), .count = 100 };
	struct th_op op = { .kind = TH_OP_WRITE, .fd = a.fd, .buf = &a.count, .len = sizeof(a.count), .off = -1 };
	uint64_t ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(write(a.fd, &n, sizeof(n)), sizeof(n));
	TH_CHECK_EQ(th_attempt(&op), TH_ATTEMPT_LATER); /* an event would come at once, again and again */
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, write_count_fx(&a)), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(read(a.fd, &n, sizeof(n)), sizeof(n));
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.got, sizeof(a.count));
	TH_CHECK_EQ(read(a.fd, &n, sizeof(n)), sizeof(n));
	TH_CHECK_EQ(n, 100);
	return thrum_close(a.fd);
}
TH_TEST(io_epoll, a_counter_without_room_is_tried_again_later) { run_epoll(full_counter); }

static int read_nothing(void *unused)
{
	char none;
	struct read_one a = { .fd = inotify_init1(IN_CLOEXEC), .buf = &none };
	int counter = eventfd(0, EFD_CLOEXEC), pair[2];
	uint64_t ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, read_one_fx(&a)), 0);
	until_ops(ops, 1); /* on one worker: who blocks it is never cancelled */
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK(blocks(a.fd));
	TH_CHECK_EQ(thrum_read(counter, &none, 0), -EINVAL);
	TH_CHECK_EQ(close(counter), 0);
	open_pair(pair);
	TH_CHECK_EQ(thrum_read(pair[0], &none, 0), 0);
	close_both(pair);
	open_pipe(pair, 0);
	TH_CHECK_EQ(thrum_read(pair[0], &none, 0), 0);
	close_both(pair);
	return thrum_close(a.fd);
}
TH_TEST(io_epoll, a_read_of_no_bytes_blocks_no_worker) { run_epoll(read_nothing); }

/* A pipe's writers, and data that does not fit. */
static int write_zeros(int *fd)
{
	static const char zeros[1 << 18];

	return thrum_write_all(*fd, zeros, sizeof(zeros), NULL);
}
THRUM_FX(write_zeros, int);

static int pipe_writers(void *unused)
{
	enum { WRITERS = 3 };
	int fds[2];
	static char buf[1 << 18];
	thrum_scope s;

	(void)unused;
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WRITERS; i++)
		TH_CHECK_EQ(thrum_go(&s, write_zeros_fx(&fds[1])), 0);
	for (int i = 0; i < WRITERS; i++)
		TH_CHECK_EQ(thrum_read_all(fds[0], buf, sizeof(buf), NULL), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(blocks(fds[0]) && blocks(fds[1]));
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, writers_share_a_pipe_that_blocks) { run_epoll(pipe_writers); }

struct connect_un {
	int fd;
	struct sockaddr_un sa;
	socklen_t len;
	int got;
};
static int connect_un(struct connect_un *a)
{
	a->got = thrum_connect(a->fd, (struct sockaddr *)&a->sa, a->len);
	return 0;
}
THRUM_FX(connect_un, struct connect_un);

static int unix_socket(int type, struct connect_un *ret)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	TH_CHECK(fd >= 0);
	ret->sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	ret->len = sizeof(ret->sa);
	TH_CHECK_EQ(bind(fd, (struct sockaddr *)&ret->sa, sizeof(sa_family_t)), 0); /* the kernel picks an abstract name */
	TH_CHECK_EQ(getsockname(fd, (struct sockaddr *)&ret->sa, &ret->len), 0);
	return fd;
}

/* A backlog that is full makes no event, yet whoever waits for it goes on when there is room, and can be cancelled. */
static int full_backlog(void *unused)
{
	struct connect_un a, b;
	int listener = unix_socket(SOCK_STREAM, &a), fds[8], n = 0, fd;
	uint64_t ops = ops_so_far();
	thrum_scope s, other;
	thrum_task ta, tb;

	(void)unused;
	TH_CHECK_EQ(listen(listener, 1), 0);
	do {
		TH_CHECK(n < 8);
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	} while (connect(fds[n++], (struct sockaddr *)&a.sa, a.len) == 0);
	TH_CHECK_EQ(errno, EAGAIN);
	a.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	b = a;
	b.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_open(&other), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ta, connect_un_fx(&a)), 0);
	TH_CHECK_EQ(thrum_spawn(&other, &tb, connect_un_fx(&b)), 0);
	until_ops(ops, 2);
	thrum_scope_cancel(&other);
	TH_CHECK_EQ(thrum_scope_close(&other), 0);
	TH_CHECK_EQ(b.got, -ECANCELED);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(thrum_join(&ta), 0);
	TH_CHECK_EQ(a.got, 0);
	TH_CHECK(blocks(a.fd));
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	while (n > 0)
		TH_CHECK_EQ(close(fds[--n]), 0);
	TH_CHECK_EQ(close(fd), 0);
	TH_CHECK_EQ(close(a.fd), 0);
	TH_CHECK_EQ(close(b.fd), 0);
	return thrum_close(listener);
}
TH_TEST(io_epoll, a_full_backlog_is_waited_for) { run_epoll(full_backlog); }

struct connect_in {
	int fd;
	struct sockaddr_in sa;
	int got;
};
static int connect_in(struct connect_in *a)
{
	a->got = thrum_connect(a->fd, (struct sockaddr *)&a->sa, sizeof(a->sa));
	return 0;
}
THRUM_FX(connect_in, struct connect_in);

/* A connect that nobody answers: there is no room at the listener. */
static int unanswered(void *unused)
{
	struct connect_in a;
	int listener = tcp_bind(&a.sa, 0), fds[8], n = 0;
	uint64_t ops;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(listen(listener, 0), 0);
	do {
		TH_CHECK(n < 8);
		fds[n] = tcp_socket(SOCK_NONBLOCK);
		(void)!connect(fds[n], (struct sockaddr *)&a.sa, sizeof(a.sa));
	} while (poll(&(struct pollfd){ .fd = fds[n++], .events = POLLOUT }, 1, 0) == 1);
	a.fd = tcp_socket(0);
	ops = ops_so_far();
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, connect_in_fx(&a)), 0);
	until_ops(ops, 1);
	TH_CHECK(blocks(a.fd));
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.got, -ECANCELED);
	while (n > 0)
		TH_CHECK_EQ(close(fds[--n]), 0);
	TH_CHECK_EQ(close(a.fd), 0);
	return thrum_close(listener);
}
TH_TEST(io_epoll, a_connect_that_nobody_answers_can_be_cancelled) { run_epoll(unanswered); }

/* --- messages --- */

/* One operation in a fiber of its own. */
static int run_op(void *op)
{
	(void)th_op_run(op);
	return 0;
}

/* A datagram to a queue that is full: the sender is writable all the while. */
static int full_queue(void *unused)
{
	struct connect_un to, from;
	int receiver = unix_socket(SOCK_DGRAM, &to), sender = unix_socket(SOCK_DGRAM, &from);
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_name = &to.sa, .msg_namelen = to.len, .msg_iov = &iov, .msg_iovlen = 1 };
	struct th_op op = { .kind = TH_OP_SENDMSG, .fd = sender, .buf = &msg };
	uint64_t ops = ops_so_far();
	thrum_scope s;
	char c;

	(void)unused;
	while (sendmsg(sender, &msg, MSG_DONTWAIT) == 1)
		;
	TH_CHECK_EQ(errno, EAGAIN);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, (thrum_fx){ run_op, &op }), 0);
	until_ops(ops, 1);
	TH_CHECK_EQ(recv(receiver, &c, 1, MSG_DONTWAIT), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(op.res, 1);
	TH_CHECK_EQ(thrum_close(sender), 0);
	return thrum_close(receiver);
}
TH_TEST(io_epoll, a_datagram_waits_for_room_at_its_receiver) { run_epoll(full_queue); }

struct wait_all {
	int fd;
	char buf[4];
	ssize_t got;
};
static int wait_all(struct wait_all *a)
{
	a->got = thrum_recv(a->fd, a->buf, sizeof(a->buf), MSG_WAITALL);
	return 0;
}
THRUM_FX(wait_all, struct wait_all);

static void send_in_time(int fd, const char *text)
{
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(send(fd, text, strlen(text), 0), strlen(text));
}

static int all_of_it(void *unused)
{
	int fds[2];
	struct wait_all a;
	thrum_scope s;

	(void)unused;
	open_pair(fds);
	for (int i = 0; i < 3; i++) { /* whole; then the peer leaves, or a cancel comes: what was taken is not lost */
		uint64_t ops = ops_so_far();

		a = (struct wait_all){ .fd = fds[0] };
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_go(&s, wait_all_fx(&a)), 0);
		until_ops(ops, 1);
		send_in_time(fds[1], "a");
		send_in_time(fds[1], "bc");
		until_taken(fds[0]);
		if (i == 0)
			send_in_time(fds[1], "d");
		else if (i == 1)
			thrum_scope_cancel(&s);
		else
			TH_CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(a.got, i == 0 ? 4 : 3);
		TH_CHECK(memcmp(a.buf, "abcd", (size_t)a.got) == 0);
	}
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, MSG_WAITALL_collects_and_a_cancel_loses_no_byte_G8) { run_epoll(all_of_it); }

static int vectors(void *unused)
{
	int fds[2];
	char a[2] = { 0 }, b[2] = { 0 };
	struct iovec out[] = { { "ab", 2 }, { "cd", 2 } }, in[] = { { a, 2 }, { b, 2 } };
	struct msghdr msg = { .msg_iov = in, .msg_iovlen = 2 };

	(void)unused;
	for (int i = 0; i < 3; i++) {
		struct th_op write_op = { .kind = TH_OP_WRITEV, .buf = out, .len = 2, .off = i < 2 ? -1 : 0 };
		struct th_op read_op = { .kind = TH_OP_READV, .buf = in, .len = 2, .off = i < 2 ? -1 : 0 };

		if (i == 0)
			open_pipe(fds, 0);
		else
			open_pair(fds);
		if (i == 1)
			read_op = (struct th_op){ .kind = TH_OP_RECVMSG, .buf = &msg };
		write_op.fd = fds[1];
		read_op.fd = fds[0];
		TH_CHECK_EQ(th_op_run(&write_op), 4);
		TH_CHECK_EQ(th_op_run(&read_op), 4);
		TH_CHECK(memcmp(a, "ab", 2) == 0 && memcmp(b, "cd", 2) == 0);
		memset(a, 0, 2);
		close_both(fds);
	}
	return 0;
}
TH_TEST(io_epoll, vectors_and_messages) { run_epoll(vectors); }

/* --- the rest --- */

static int odd_polls(void *unused)
{
	int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC), ep = epoll_create1(EPOLL_CLOEXEC), fds[2];
	struct epoll_event event = { .events = EPOLLIN };

	(void)unused;
	TH_CHECK(file >= 0 && ep >= 0);
	TH_CHECK_EQ(thrum_wait_fd(file, POLLIN), POLLIN); /* what epoll cannot watch is always ready */
	TH_CHECK_EQ(thrum_wait_fd(file, POLLPRI), -EINVAL);
	open_pipe(fds, 0);
	TH_CHECK_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &event), 0);
	TH_CHECK_EQ(thrum_write(fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_wait_fd(ep, POLLIN), POLLIN);
	close_both(fds);
	TH_CHECK_EQ(close(ep), 0);
	return thrum_close(file);
}
TH_TEST(io_epoll, files_and_other_epolls_can_be_asked) { run_epoll(odd_polls); }

/* Not seen by ThreadSanitizer, which takes fibers for threads: these share a variable of one thread. */
__attribute__((noinline, no_sanitize("thread"))) static void write_errno(int e) { errno = e; }

/* The fiber's errno is its own, also where its worker serves others in thrum_check(). */
static int keeps_errno(void *unused)
{
	int fds[2];
	char c[READERS];
	struct recv_one a[READERS];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < READERS; i++) {
		a[i] = (struct recv_one){ .fd = fds[0], .buf = &c[i], .n = 1 };
		TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&a[i])), 0);
	}
	until_ops(ops, READERS);
	TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
	write_errno(E2BIG);
	for (int64_t until = thrum_now().ns + 2000000; thrum_now().ns < until;)
		TH_CHECK_EQ(thrum_check(), 0);
	TH_CHECK_EQ(thrum_errno(), E2BIG);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	close_both(fds);
	return 0;
}
TH_TEST(io_epoll, serving_others_leaves_errno_alone_X3) { run_epoll(keeps_errno); }
