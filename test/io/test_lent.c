/* thrum_recv_lent(): buffers of the runtime's, in whatever way the kernel helps. */
#include <stdlib.h>
#include "io_test.h"
#include "test/support/child.h"

enum { BUFFERS = 2, BYTES = 64 };
#define LENT_OPTS(...) THRUM_OPTS(.lent_buffers = BUFFERS, .lent_bytes = BYTES, __VA_ARGS__)

/* On one worker, whose buffers all fibers share. */
static void run_lent(thrum_fx fx)
{
	int before = fd_count();

	TH_CHECK_EQ(thrum_run(LENT_OPTS(.workers = 1), fx), 0);
	TH_CHECK_EQ(fd_count(), before);
}

struct wait_lent {
	int fd;
	thrum_lent lent;
	ssize_t got;
	bool ended, returns;
};

static int wait_lent(struct wait_lent *w)
{
	w->got = thrum_recv_lent(w->fd, &w->lent);
	__atomic_store_n(&w->ended, true, __ATOMIC_RELEASE);
	if (w->returns)
		thrum_lent_return(&w->lent);
	return 0;
}
THRUM_FX(wait_lent, struct wait_lent);

/* Seen by fibers that have not joined it. */
static bool has_ended(struct wait_lent *w) { return __atomic_load_n(&w->ended, __ATOMIC_ACQUIRE); }

static void put(int fd, char c) { TH_CHECK_EQ(thrum_send(fd, &c, 1, 0), 1); }

static int lend_and_end(void *unused)
{
	int fds[2];
	thrum_lent lent;
	char big[3 * BYTES];

	(void)unused;
	open_pair(fds);
	memset(big, 'b', sizeof big);
	TH_CHECK_EQ(thrum_send_all(fds[1], big, sizeof big, 0, NULL), 0);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), BYTES);
		TH_CHECK(lent.len == BYTES && memcmp(lent.data, big, BYTES) == 0);
		thrum_lent_return(&lent);
		TH_CHECK(!lent.data);
		thrum_lent_return(&lent); /* nothing */
	}
	TH_CHECK_EQ(thrum_shutdown(fds[1], SHUT_WR), 0);
	for (int i = 0; i < 3 * BUFFERS; i++) { /* the end keeps no buffer */
		TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), 0);
		TH_CHECK(!lent.data);
	}
	TH_CHECK_EQ(thrum_recv_lent(-1, &lent), -EBADF);
	TH_CHECK(!lent.data);
	close_both(fds);
	return 0;
}
THRUM_FX(lend_and_end, void);
TH_TEST(io_lent, a_buffer_is_lent_with_its_data_and_none_at_the_end) { run_lent(lend_and_end_fx(NULL)); }

enum { CONNECTIONS = 20 };

struct many {
	int fds[CONNECTIONS][2];
	struct wait_lent w[CONNECTIONS];
};

/* More wait than there are buffers. Each gets one when it has something, also when none has been returned for long. */
static int many_wait(struct many *m)
{
	thrum_scope s;
	uint64_t ops = ops_so_far();
	int ended = 0;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < CONNECTIONS; i++) {
		open_pair(m->fds[i]);
		m->w[i] = (struct wait_lent){ .fd = m->fds[i][0] };
		TH_CHECK_EQ(thrum_go(&s, wait_lent_fx(&m->w[i])), 0);
	}
	until_ops(ops, CONNECTIONS);
	for (int i = CONNECTIONS - 1; i >= 0; i--) /* a waiting one holds no buffer: the last one is served at once */
		put(m->fds[i][1], (char)('a' + i));
	while (ended < CONNECTIONS) {
		int held = 0;
		for (int i = 0; i < CONNECTIONS; i++) {
			if (!has_ended(&m->w[i]) || m->w[i].fd < 0)
				continue;
			held++;
			TH_CHECK_EQ(m->w[i].got, 1);
			TH_CHECK_EQ(m->w[i].lent.data[0], 'a' + i);
		}
		TH_CHECK(held <= BUFFERS);
		for (int i = 0; i < CONNECTIONS; i++) {
			if (!has_ended(&m->w[i]) || m->w[i].fd < 0)
				continue;
			thrum_lent_return(&m->w[i].lent);
			m->w[i].fd = -1;
			ended++;
			break;
		}
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < CONNECTIONS; i++)
		close_both(m->fds[i]);
	return 0;
}
THRUM_FX(many_wait, struct many);
TH_TEST(io_lent, more_may_wait_than_there_are_buffers)
{
	static struct many m;
	run_lent(many_wait_fx(&m));
}

/* Both buffers are out, and `n` fibers in line or on their way there: all have seen their data. */
struct dry {
	struct many m;
	thrum_lent held[BUFFERS];
};

static void run_dry(struct dry *d, thrum_scope *s, thrum_task *tasks, int n)
{
	int fds[2];

	open_pair(fds);
	for (int i = 0; i < BUFFERS; i++) {
		put(fds[1], 'x');
		TH_CHECK_EQ(thrum_recv_lent(fds[0], &d->held[i]), 1);
	}
	close_both(fds);
	TH_CHECK_EQ(thrum_scope_open(s), 0);
	for (int i = 0; i < n; i++) {
		open_pair(d->m.fds[i]);
		put(d->m.fds[i][1], (char)('a' + i));
		d->m.w[i] = (struct wait_lent){ .fd = d->m.fds[i][0] };
		TH_CHECK_EQ(thrum_spawn(s, &tasks[i], wait_lent_fx(&d->m.w[i])), 0);
		for (int k = 0; k < 500; k++) /* into the line, one after the other; each takes a few turns of the ring */
			TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK(!has_ended(&d->m.w[i]));
	}
}

static void end_dry(struct dry *d, thrum_scope *s, int n)
{
	TH_CHECK_EQ(thrum_scope_close(s), 0);
	for (int i = 0; i < n; i++) {
		thrum_lent_return(&d->m.w[i].lent);
		close_both(d->m.fds[i]);
	}
	for (int i = 0; i < BUFFERS; i++)
		thrum_lent_return(&d->held[i]);
}

static int line_is_fifo(struct dry *d)
{
	enum { N = 5 };
	thrum_scope s;
	thrum_task tasks[N];
	uint64_t ops;

	run_dry(d, &s, tasks, N);
	ops = ops_so_far();
	for (int k = 0; k < 100; k++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(ops_so_far(), ops); /* who waits for a buffer waits, and does not ask again and again */
	thrum_lent_return(&d->held[0]);
	for (int i = 0; i < N; i++) {
		while (!has_ended(&d->m.w[i]))
			TH_CHECK_EQ(thrum_yield(), 0);
		for (int k = i + 1; k < N; k++)
			TH_CHECK(!has_ended(&d->m.w[k]));
		TH_CHECK_EQ(d->m.w[i].got, 1);
		TH_CHECK_EQ(d->m.w[i].lent.data[0], 'a' + i);
		thrum_lent_return(&d->m.w[i].lent);
	}
	end_dry(d, &s, N);
	return 0;
}
THRUM_FX(line_is_fifo, struct dry);
TH_TEST(io_lent, who_waits_for_a_buffer_is_served_in_order)
{
	static struct dry d;
	run_lent(line_is_fifo_fx(&d));
}

static int newcomer(struct dry *d)
{
	thrum_scope s;
	thrum_task t;
	thrum_lent lent;
	int fds[2];

	run_dry(d, &s, &t, 1);
	d->m.w[0].returns = true;
	open_pair(fds);
	put(fds[1], 'x');
	thrum_lent_return(&d->held[0]);
	TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), 1);
	TH_CHECK(has_ended(&d->m.w[0]));
	thrum_lent_return(&lent);
	close_both(fds);
	end_dry(d, &s, 1);
	return 0;
}
THRUM_FX(newcomer, struct dry);
TH_TEST(io_lent, a_newcomer_overtakes_nobody_in_line)
{
	static struct dry d;
	run_lent(newcomer_fx(&d));
}

static int cancelled_in_line(struct dry *d)
{
	thrum_scope s;
	thrum_task tasks[3];

	run_dry(d, &s, tasks, 3);
	thrum_task_cancel(&tasks[0]);
	TH_CHECK_EQ(thrum_join(&tasks[0]), 0);
	TH_CHECK_EQ(d->m.w[0].got, -ECANCELED);
	TH_CHECK(!d->m.w[0].lent.data);
	TH_CHECK(!has_ended(&d->m.w[1]));
	thrum_lent_return(&d->held[1]); /* to the second one, as the first has left */
	TH_CHECK_EQ(thrum_join(&tasks[1]), 0);
	TH_CHECK_EQ(d->m.w[1].got, 1);
	thrum_lent_return(&d->m.w[1].lent);
	TH_CHECK_EQ(thrum_join(&tasks[2]), 0);
	end_dry(d, &s, 3);
	return 0;
}
THRUM_FX(cancelled_in_line, struct dry);
TH_TEST(io_lent, a_cancelled_waiter_leaves_the_line)
{
	static struct dry d;
	run_lent(cancelled_in_line_fx(&d));
}

static int closed_in_line(struct dry *d)
{
	thrum_scope s;
	thrum_task tasks[2];

	run_dry(d, &s, tasks, 2);
	TH_CHECK_EQ(thrum_close(d->m.fds[0][0]), 0); /* returns: nobody is left on it */
	TH_CHECK_EQ(thrum_join(&tasks[0]), 0);
	TH_CHECK_EQ(d->m.w[0].got, -EBADF);
	TH_CHECK(!has_ended(&d->m.w[1]));
	TH_CHECK_EQ(close(d->m.fds[0][1]), 0);
	open_pair(d->m.fds[0]);
	thrum_lent_return(&d->held[0]);
	TH_CHECK_EQ(thrum_join(&tasks[1]), 0);
	TH_CHECK_EQ(d->m.w[1].got, 1);
	end_dry(d, &s, 2);
	return 0;
}
THRUM_FX(closed_in_line, struct dry);
TH_TEST(io_lent, closing_ends_a_wait_for_a_buffer_G9)
{
	static struct dry d;
	run_lent(closed_in_line_fx(&d));
}

static int cancelled_receive(struct dry *d)
{
	thrum_scope s;
	thrum_task t;
	int fds[2];
	struct wait_lent *w = &d->m.w[0];

	open_pair(fds);
	for (int i = 0; i < 50; i++) {
		uint64_t ops = ops_so_far();
		*w = (struct wait_lent){ .fd = fds[0] };
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, wait_lent_fx(w)), 0);
		until_ops(ops, 1);
		if (i % 2)
			put(fds[1], 'x');
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		if (i % 2 && w->got == -ECANCELED)
			TH_CHECK_EQ(thrum_recv_lent(fds[0], &w->lent), 1); /* it is still there */
		else
			TH_CHECK_EQ(w->got, i % 2 ? 1 : -ECANCELED);
		thrum_lent_return(&w->lent);
	}
	close_both(fds);
	return 0;
}
THRUM_FX(cancelled_receive, struct dry);
TH_TEST(io_lent, a_cancelled_receive_keeps_no_buffer_hazard_40)
{
	static struct dry d;
	run_lent(cancelled_receive_fx(&d));
}

static int nonblocking_lent(void *unused)
{
	int fds[2];
	thrum_scope s;
	thrum_task t;
	struct wait_lent w = { .ended = false };

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	w.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, wait_lent_fx(&w)), 0);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK(!has_ended(&w));
	put(fds[1], 'x');
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(w.got, 1);
	thrum_lent_return(&w.lent);
	close_both(fds);
	return 0;
}
THRUM_FX(nonblocking_lent, void);
TH_TEST(io_lent, a_nonblocking_socket_waits_as_well) { run_lent(nonblocking_lent_fx(NULL)); }

/* --- from worker to worker --- */

enum { MESSAGES = 2000 };

struct pass_on {
	int fds[2];
	thrum_chan lents;
};

static int feed(struct pass_on *p)
{
	for (int i = 0; i < MESSAGES; i++)
		put(p->fds[1], (char)i);
	return thrum_shutdown(p->fds[1], SHUT_WR);
}
THRUM_FX(feed, struct pass_on);

static int receive(struct pass_on *p)
{
	thrum_lent lent;
	ssize_t n;

	while ((n = thrum_recv_lent(p->fds[0], &lent)) > 0)
		TH_CHECK_EQ(thrum_chan_send(&p->lents, &lent), 0);
	TH_CHECK_EQ(n, 0);
	return thrum_chan_close(&p->lents);
}
THRUM_FX(receive, struct pass_on);

static int give_back(struct pass_on *p)
{
	thrum_lent lent;
	int code, at = 0;

	while ((code = thrum_chan_recv(&p->lents, &lent)) == 0) {
		for (size_t i = 0; i < lent.len; i++, at++)
			TH_CHECK_EQ(lent.data[i], (char)at);
		thrum_lent_return(&lent);
	}
	TH_CHECK_EQ(at, MESSAGES);
	return code == THRUM_ECLOSED ? 0 : code;
}
THRUM_FX(give_back, struct pass_on);

static int pass_on(struct pass_on *p)
{
	open_pair(p->fds);
	TH_CHECK_EQ(thrum_chan_init(&p->lents, sizeof(thrum_lent), 1), 0);
	TH_CHECK_EQ(thrum_zip_par(receive_fx(p), give_back_fx(p), feed_fx(p)), 0);
	thrum_chan_fini(&p->lents);
	close_both(p->fds);
	return 0;
}
THRUM_FX(pass_on, struct pass_on);
TH_TEST(io_lent, any_worker_may_return_a_buffer)
{
	struct pass_on p;
	TH_CHECK_EQ(thrum_run(LENT_OPTS(.workers = 0), pass_on_fx(&p)), 0);
}

/* --- the end --- */

struct told {
	unsigned kind;
	size_t index;
	int times;
};

static void observe(const thrum_report *report, void *arg)
{
	struct told *t = arg;

	*t = (struct told){ report->kind, report->index, t->times + 1 };
}

static int keep(int *n)
{
	int fds[2];
	thrum_lent lent;
	thrum_scope s;
	struct wait_lent w = { .ended = false };

	open_pair(fds);
	for (int i = 0; i < *n; i++) {
		put(fds[1], 'x');
		TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), 1);
	}
	put(fds[1], 'x'); /* and one who waits in vain: he must not be in the line any more when it goes */
	w.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, wait_lent_fx(&w)), 0);
	for (int k = 0; k < 500; k++)
		TH_CHECK_EQ(thrum_yield(), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(w.got, -ECANCELED);
	close_both(fds);
	return 0;
}
THRUM_FX(keep, int);

TH_TEST(io_lent, what_was_never_returned_is_reported)
{
	struct told t = { 0 };
	int n = 2;

	TH_CHECK_EQ(thrum_run(LENT_OPTS(.workers = 1, .observe = observe, .observe_arg = &t), keep_fx(&n)), 0);
	TH_CHECK_EQ(t.times, 1);
	TH_CHECK_EQ(t.kind, THRUM_REPORT_LENT);
	TH_CHECK_EQ(t.index, 2);
}

static int return_twice(void *unused)
{
	int fds[2];
	thrum_lent lent, copy;

	(void)unused;
	open_pair(fds);
	put(fds[1], 'x');
	TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), 1);
	copy = lent;
	thrum_lent_return(&lent);
	thrum_lent_return(&copy);
	return 0;
}
THRUM_FX(return_twice, void);

static void run_return_twice(void *unused)
{
	(void)unused;
	run_lent(return_twice_fx(NULL));
}

TH_TEST(io_lent, returning_a_buffer_twice_aborts)
{
	struct th_said said;
	int status = th_child(run_return_twice, NULL, &said);

	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK(strstr(said.text, "returned twice"));
}

static int never(void *unused)
{
	(void)unused;
	return 0;
}
THRUM_FX(never, void);

TH_TEST(io_lent, options_that_cannot_be_are_refused)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.lent_buffers = 32769), never_fx(NULL)), -EINVAL);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.lent_bytes = 63), never_fx(NULL)), -EINVAL);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.lent_bytes = (size_t)2 << 30), never_fx(NULL)), -EINVAL);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.lent_buffers = 32768, .lent_bytes = 64), never_fx(NULL)), 0);
}

TH_TEST(io_lent, on_a_plain_thread_it_says_so)
{
	thrum_lent lent;

	TH_CHECK_EQ(thrum_recv_lent(0, &lent), THRUM_ENOTFIBER);
	TH_CHECK(!lent.data);
}
