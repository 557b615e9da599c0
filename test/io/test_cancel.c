/* A cancel against an operation in the kernel: nothing is lost, nothing is harmed, nothing is touched afterwards. */
#include <sys/mman.h>
#include <time.h>
#include "io_test.h"

static int reader_is_gone(void *unused)
{
	int fds[2];
	char buf[8];
	struct recv_one a = { .buf = buf, .n = sizeof(buf) };
	thrum_scope s;
	thrum_task t;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	for (unsigned i = 1; i <= 100; i++) {
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&a)), 0);
		until_ops(ops, 2 * i - 1);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(a.got, -ECANCELED);
		TH_CHECK_EQ(send(fds[1], "abc", 3, MSG_NOSIGNAL), 3);
		TH_CHECK_EQ(thrum_recv(fds[0], buf, sizeof(buf), 0), 3);
	}
	close_both(fds);
	return 0;
}
THRUM_FX(reader_is_gone, void);
TH_TEST(io_cancel, the_socket_of_a_cancelled_recv_stays_usable_G7) { run_ok(reader_is_gone_fx(NULL)); }

/* The buffer is taken away as soon as the call has returned; a kernel that still writes to it would get EFAULT and eat
 * the bytes, or hit a page that is somebody else's by then (VERIFICATION F3). So: no byte may be missing. */
struct write_some {
	int fd;
	unsigned spins;
};
static int write_some(struct write_some *a)
{
	for (unsigned i = 0; i < a->spins; i++) {
		int code = thrum_yield();
		if (code < 0)
			break;
	}
	TH_CHECK_EQ(write(a->fd, "abcdefgh", 8), 8);
	return 0;
}
THRUM_FX(write_some, struct write_some);

static int buffer_is_gone(void *unused)
{
	int fds[2];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), cancelled = 0;

	(void)unused;
	open_pipe(fds, 0);
	for (unsigned i = 0; i < 300; i++) {
		struct read_one a = { .fd = fds[0], .n = 8 };
		struct write_some w = { .fd = fds[1], .spins = i % 10 };
		thrum_scope outer, s;
		thrum_task t, tw;
		uint64_t ops = ops_so_far();
		char rest[16];

		a.buf = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		TH_CHECK(a.buf != MAP_FAILED);
		TH_CHECK_EQ(thrum_scope_open(&outer), 0);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, read_one_fx(&a)), 0);
		until_ops(ops, 1);
		if (i % 3) { /* else nothing comes before the cancel is through */
			TH_CHECK_EQ(thrum_spawn(&outer, &tw, write_some_fx(&w)), 0);
			for (unsigned k = 0; k < i % 7; k++)
				TH_CHECK_EQ(thrum_yield(), 0);
		}
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		if (a.got == 8)
			TH_CHECK(memcmp(a.buf, "abcdefgh", 8) == 0);
		TH_CHECK_EQ(munmap(a.buf, page), 0);
		if (i % 3 == 0)
			TH_CHECK_EQ(thrum_spawn(&outer, &tw, write_some_fx(&w)), 0);
		TH_CHECK_EQ(thrum_scope_close(&outer), 0);
		if (a.got == 8)
			continue;
		TH_CHECK_EQ(a.got, -ECANCELED);
		cancelled++;
		TH_CHECK_EQ(read(fds[0], rest, sizeof(rest)), 8);
	}
	TH_CHECK(cancelled >= 100);
	close_both(fds);
	return 0;
}
THRUM_FX(buffer_is_gone, void);
TH_TEST(io_cancel, after_the_return_the_kernel_has_let_go_of_the_buffer_G5) { run_ok(buffer_is_gone_fx(NULL)); }

/* A connection that comes while the accept is cancelled is either returned, or stays in the backlog. Never: accepted,
 * and its descriptor forgotten (VERIFICATION F4: naive code leaked 800 in 805 rounds). */
struct late {
	int delivered, cancelled;
};
static int late_accepts(struct late *l)
{
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, 0);

	for (int i = 0; i < 500; i++) {
		struct accept_one a = { .fd = listener };
		thrum_scope s;
		thrum_task t;
		int fd = tcp_socket(0), left;
		uint64_t ops = ops_so_far();

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, accept_one_fx(&a)), 0);
		until_ops(ops, 1);
		if (i % 5 == 0)
			thrum_scope_cancel(&s);
		if (i % 10 == 0)
			TH_CHECK_EQ(thrum_join(&t), 0);
		TH_CHECK_EQ(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		if (a.got >= 0) {
			l->delivered++;
			TH_CHECK(is_cloexec(a.got));
			TH_CHECK_EQ(close(a.got), 0);
		} else {
			l->cancelled++;
			TH_CHECK_EQ(a.got, -ECANCELED);
			TH_CHECK_EQ(poll(&(struct pollfd){ .fd = listener, .events = POLLIN }, 1, 1000), 1);
			left = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
			TH_CHECK(left >= 0);
			TH_CHECK_EQ(close(left), 0);
		}
		TH_CHECK_EQ(close(fd), 0);
	}
	return thrum_close(listener);
}
THRUM_FX(late_accepts, struct late);
TH_TEST(io_cancel, a_late_accept_is_delivered_or_did_not_happen_G10)
{
	int before = fd_count();
	struct late l = { 0 };

	run_ok(late_accepts_fx(&l));
	TH_CHECK_EQ(fd_count(), before);
	TH_CHECK_EQ(l.delivered + l.cancelled, 500);
	TH_CHECK(l.cancelled >= 50);
}

/* The same for connects. */
struct connect_one {
	int fd;
	struct sockaddr_in sa;
	int got;
};
static int connect_one(struct connect_one *a)
{
	a->got = thrum_connect(a->fd, (struct sockaddr *)&a->sa, sizeof(a->sa));
	return 0;
}
THRUM_FX(connect_one, struct connect_one);

static int connects(void *unused)
{
	struct sockaddr_in sa;
	int listener = tcp_listen(&sa, 0);

	(void)unused;
	for (int i = 0; i < 500; i++) {
		struct connect_one a = { .sa = sa, .got = -ECANCELED }; /* for the child that never starts */
		thrum_scope s;
		thrum_task t;
		int fd;

		a.fd = tcp_socket(i & 1 ? SOCK_NONBLOCK : 0);
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, connect_one_fx(&a)), 0);
		for (int k = 0; k < i % 4; k++)
			TH_CHECK_EQ(thrum_yield(), 0);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK(a.got == 0 || a.got == -ECANCELED);
		/* However it ended, the socket can be connected, or is. */
		if (a.got < 0) {
			int code = thrum_connect(a.fd, (struct sockaddr *)&sa, sizeof(sa));
			TH_CHECK(code == 0 || code == -EISCONN);
		}
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		TH_CHECK(fd >= 0);
		TH_CHECK_EQ(close(fd), 0);
		TH_CHECK_EQ(close(a.fd), 0);
	}
	return thrum_close(listener);
}
THRUM_FX(connects, void);
TH_TEST(io_cancel, a_cancelled_connect_leaves_a_socket_that_can_be_connected_G7)
{
	int before = fd_count();

	run_ok(connects_fx(NULL));
	TH_CHECK_EQ(fd_count(), before);
}

static int timeouts(void *unused)
{
	int fds[2];
	char buf[8];
	struct recv_one a = { .buf = buf, .n = sizeof(buf) };
	int64_t began = thrum_now().ns;

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	TH_CHECK_EQ(thrum_timeout(recv_one_fx(&a), thrum_ms(5)),
		    0); /* its body swallows the cancel and ends with 0: T7 */
	TH_CHECK_EQ(a.got, -ECANCELED);
	TH_CHECK(thrum_now().ns - began >= 5000000);
	TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_timeout(recv_one_fx(&a), thrum_sec(30)), 0);
	TH_CHECK_EQ(a.got, 1);
	close_both(fds);
	return 0;
}
THRUM_FX(timeouts, void);
TH_TEST(io_cancel, a_deadline_ends_a_recv) { run_ok(timeouts_fx(NULL)); }

struct recv_code {
	int fd;
};
static int recv_code(struct recv_code *a)
{
	char c;
	ssize_t n = thrum_recv(a->fd, &c, 1, 0);
	return n < 0 ? (int)n : 0;
}
THRUM_FX(recv_code, struct recv_code);
static int timed_out(void *unused)
{
	int fds[2];
	struct recv_code a;

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(thrum_timeout(recv_code_fx(&a), thrum_us(i * 50)), -ETIMEDOUT);
	TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_timeout(recv_code_fx(&a), thrum_sec(30)), 0);
	close_both(fds);
	return 0;
}
THRUM_FX(timed_out, void);
TH_TEST(io_cancel, thrum_timeout_around_a_recv_is_ETIMEDOUT) { run_ok(timed_out_fx(NULL)); }

struct write_all {
	int fd;
	size_t done;
	int code;
};
static int write_all(struct write_all *a)
{
	static const char zeros[1 << 18];

	a->code = thrum_write_all(a->fd, zeros, sizeof(zeros), &a->done);
	return 0;
}
THRUM_FX(write_all, struct write_all);
static int partial(void *unused)
{
	int fds[2], capacity;
	struct write_all a = { .done = 7 };
	thrum_scope s;
	thrum_task t;
	size_t there = 0;
	uint64_t ops = ops_so_far();
	char buf[4096];

	(void)unused;
	open_pipe(fds, 0);
	capacity = fcntl(fds[1], F_GETPIPE_SZ);
	a.fd = fds[1];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, write_all_fx(&a)), 0);
	until_ops(ops, 2); /* the first filled the pipe, the second waits */
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.code, -ECANCELED);
	TH_CHECK_EQ(a.done, capacity);
	TH_CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	for (ssize_t n; (n = read(fds[0], buf, sizeof(buf))) > 0;)
		there += (size_t)n;
	TH_CHECK_EQ(there, a.done);
	close_both(fds);
	return 0;
}
THRUM_FX(partial, void);
TH_TEST(io_cancel, a_cancelled_write_all_tells_how_much_went_out_G8) { run_ok(partial_fx(NULL)); }

struct read_or_send_all {
	int fd;
	bool sends;
	char *buf;
	size_t n, done;
	int code;
};
static int read_or_send_all(struct read_or_send_all *a)
{
	a->code = a->sends ? thrum_send_all(a->fd, a->buf, a->n, 0, &a->done) :
			     thrum_read_all(a->fd, a->buf, a->n, &a->done);
	return 0;
}
THRUM_FX(read_or_send_all, struct read_or_send_all);

static void cancel_in_the_middle(struct read_or_send_all *a)
{
	uint64_t ops = ops_so_far();
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, read_or_send_all_fx(a)), 0);
	until_ops(ops, 2); /* the first moved what it could, the second waits */
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a->code, -ECANCELED);
}

static int partial_read(void *unused)
{
	int fds[2];
	char buf[10] = "..........";
	struct read_or_send_all a = { .buf = buf, .n = sizeof(buf), .done = 99 };

	(void)unused;
	open_pipe(fds, 0);
	a.fd = fds[0];
	TH_CHECK_EQ(write(fds[1], "abcd", 4), 4);
	cancel_in_the_middle(&a);
	TH_CHECK_EQ(a.done, 4);
	TH_CHECK(memcmp(buf, "abcd......", sizeof(buf)) == 0);
	TH_CHECK_EQ(write(fds[1], "efghij", 6), 6); /* nothing of it was eaten */
	TH_CHECK_EQ(thrum_read_all(fds[0], buf + a.done, sizeof(buf) - a.done, NULL), 0);
	TH_CHECK(memcmp(buf, "abcdefghij", sizeof(buf)) == 0);
	close_both(fds);
	return 0;
}
THRUM_FX(partial_read, void);
TH_TEST(io_cancel, a_cancelled_read_all_tells_how_much_came_in_G8) { run_ok(partial_read_fx(NULL)); }

static int partial_send(void *unused)
{
	static char zeros[1 << 22];
	int fds[2];
	struct read_or_send_all a = { .sends = true, .buf = zeros, .n = sizeof(zeros) };
	size_t there = 0;
	char buf[4096];

	(void)unused;
	open_pair(fds);
	a.fd = fds[0];
	cancel_in_the_middle(&a);
	TH_CHECK(a.done > 0 && a.done < sizeof(zeros));
	for (ssize_t n; (n = recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT)) > 0;)
		there += (size_t)n;
	TH_CHECK_EQ(there, a.done);
	close_both(fds);
	return 0;
}
THRUM_FX(partial_send, void);
TH_TEST(io_cancel, a_cancelled_send_all_tells_how_much_went_out_G8) { run_ok(partial_send_fx(NULL)); }

static int already_cancelled(void *unused)
{
	int fds[2], fd;
	char c = 'a';
	struct sockaddr_in sa = { .sin_family = AF_INET };
	size_t done = 7;
	thrum_scope s;
	uint64_t ops;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	ops = ops_so_far();
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(thrum_recv(fds[0], &c, 1, 0), -ECANCELED);
		TH_CHECK_EQ(thrum_read(fds[0], &c, 1), -ECANCELED);
		TH_CHECK_EQ(thrum_pread(fds[0], &c, 1, 0), -ECANCELED);
		TH_CHECK_EQ(thrum_send(fds[0], &c, 1, 0), -ECANCELED);
		TH_CHECK_EQ(thrum_write(fds[0], &c, 1), -ECANCELED);
		TH_CHECK_EQ(thrum_pwrite(fds[0], &c, 1, 0), -ECANCELED);
		TH_CHECK_EQ(thrum_wait_fd(fds[0], POLLIN), -ECANCELED);
		TH_CHECK_EQ(thrum_accept(fds[0], NULL, NULL), -ECANCELED);
		TH_CHECK_EQ(thrum_connect(fds[0], (struct sockaddr *)&sa, sizeof(sa)), -ECANCELED);
		TH_CHECK_EQ(thrum_openat(AT_FDCWD, "/", O_RDONLY, 0), -ECANCELED);
		TH_CHECK_EQ(thrum_write_all(fds[0], &c, 1, &done), -ECANCELED);
		TH_CHECK_EQ(done, 0);
		TH_CHECK_EQ(thrum_read_all(fds[0], &c, 0, &done), -ECANCELED);
		TH_CHECK_EQ(thrum_send_all(fds[0], &c, 0, 0, &done), -ECANCELED);
	}
	TH_CHECK_EQ(c, 'a');
	TH_CHECK_EQ(ops_so_far(), ops);
	fd = fds[0];
	TH_CHECK_EQ(thrum_close(fd), 0); /* not a cancel point: it always closes */
	TH_CHECK_EQ(thrum_close(fds[1]), 0);
	TH_CHECK_EQ(fcntl(fd, F_GETFD), -1);
	return thrum_scope_close(&s);
}
THRUM_FX(already_cancelled, void);
TH_TEST(io_cancel, every_call_is_a_checkpoint_first_and_close_is_none_G3_G4) { run_ok(already_cancelled_fx(NULL)); }
