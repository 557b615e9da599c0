/* Signals as messages: who receives them, what is put back, and that nothing is left. Each test sends to the whole process, so
 * whichever thread takes it. */
#include <signal.h>
#include "io_test.h"
#include "test/support/rules.h"

#define SIGNALS(...) (const int[]){ __VA_ARGS__ }, sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int)

static void send_to_us(int sig) { TH_CHECK_EQ(kill(getpid(), sig), 0); }

static void (*handler_of(int sig))(int)
{
	struct sigaction now;

	TH_CHECK_EQ(sigaction(sig, NULL, &now), 0);
	return now.sa_handler;
}

TH_FIBER_TEST(REAL, io_signal, signals_are_received_by_number)
{
	thrum_signals sg;
	int fds = fd_count();

	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGCHLD)), 0);
	for (int round = 0; round < 3; round++) {
		const int order[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD };
		for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
			send_to_us(order[i]);
			TH_CHECK_EQ(thrum_signals_recv(&sg), order[i]);
		}
	}
	TH_CHECK_EQ(thrum_signals_close(&sg), 0);
	TH_CHECK_EQ(thrum_signals_close(&sg), -EBADF);
	TH_CHECK_EQ(thrum_signals_recv(&sg), -EBADF);
	TH_CHECK_EQ(fd_count(), fds);
	return 0;
}

static void ignored_(int sig) { (void)sig; }

TH_FIBER_TEST(REAL, io_signal, what_was_installed_before_is_back)
{
	thrum_signals a, b;

	TH_CHECK(signal(SIGUSR1, ignored_) == SIG_DFL);
	TH_CHECK(signal(SIGHUP, SIG_IGN) == SIG_DFL);
	TH_CHECK_EQ(thrum_signals_open(&a, SIGNALS(SIGUSR1, SIGHUP, SIGUSR2)), 0);
	TH_CHECK_EQ(thrum_signals_open(&b, SIGNALS(SIGUSR1)), 0);
	TH_CHECK(handler_of(SIGUSR1) != ignored_ && handler_of(SIGHUP) != SIG_IGN && handler_of(SIGUSR2) != SIG_DFL);
	TH_CHECK_EQ(thrum_signals_close(&a), 0);
	TH_CHECK(handler_of(SIGUSR1) != ignored_ && handler_of(SIGHUP) == SIG_IGN && handler_of(SIGUSR2) == SIG_DFL);
	TH_CHECK_EQ(thrum_signals_close(&b), 0);
	TH_CHECK(handler_of(SIGUSR1) == ignored_);

	/* Unless somebody has put another there meanwhile. */
	TH_CHECK_EQ(thrum_signals_open(&a, SIGNALS(SIGUSR1)), 0);
	TH_CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
	TH_CHECK_EQ(thrum_signals_close(&a), 0);
	TH_CHECK(signal(SIGUSR1, SIG_DFL) == SIG_IGN);
	TH_CHECK(signal(SIGHUP, SIG_DFL) == SIG_IGN);
	return 0;
}

TH_FIBER_TEST(REAL, io_signal, each_that_has_it_open_receives_it)
{
	thrum_signals a, b;

	TH_CHECK_EQ(thrum_signals_open(&a, SIGNALS(SIGUSR1, SIGUSR2)), 0);
	TH_CHECK_EQ(thrum_signals_open(&b, SIGNALS(SIGUSR1)), 0);
	send_to_us(SIGUSR1);
	TH_CHECK_EQ(thrum_signals_recv(&a), SIGUSR1);
	TH_CHECK_EQ(thrum_signals_recv(&b), SIGUSR1);
	send_to_us(SIGUSR2);
	TH_CHECK_EQ(thrum_signals_recv(&a), SIGUSR2);
	TH_CHECK_EQ(thrum_signals_close(&a), 0);
	send_to_us(SIGUSR1);
	TH_CHECK_EQ(thrum_signals_recv(&b), SIGUSR1);
	TH_CHECK_EQ(thrum_signals_close(&b), 0);
	return 0;
}

/* The second channel tells when a signal has been noted in the first, whose turn comes before. */
TH_FIBER_TEST(REAL, io_signal, the_same_one_again_is_received_once)
{
	thrum_signals a, b;

	TH_CHECK_EQ(thrum_signals_open(&a, SIGNALS(SIGUSR1)), 0);
	TH_CHECK_EQ(thrum_signals_open(&b, SIGNALS(SIGUSR1)), 0);
	for (int i = 0; i < 5; i++) {
		send_to_us(SIGUSR1);
		TH_CHECK_EQ(thrum_signals_recv(&b), SIGUSR1);
	}
	TH_CHECK_EQ(thrum_signals_recv(&a), SIGUSR1);
	TH_CHECK_EQ(poll(&(struct pollfd){ .fd = a.fd, .events = POLLIN }, 1, 0), 0);
	TH_CHECK_EQ(thrum_signals_close(&a), 0);
	TH_CHECK_EQ(thrum_signals_close(&b), 0);
	return 0;
}

struct receiver {
	thrum_signals *sg;
	int got;
};
static int receive(void *arg)
{
	struct receiver *r = arg;

	r->got = thrum_signals_recv(r->sg);
	return 0;
}

TH_FIBER_TEST(REAL, io_signal, several_fibers_get_one_each)
{
	enum { N = 3 };
	static const int sent[N] = { SIGHUP, SIGUSR1, SIGUSR2 };
	struct receiver r[N];
	thrum_signals sg;
	thrum_scope s;
	thrum_task t[N];
	uint64_t before = ops_so_far();
	int seen = 0;

	TH_CHECK_EQ(thrum_signals_open(&sg, sent, N), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N; i++) {
		r[i] = (struct receiver){ &sg, 0 };
		TH_CHECK_EQ(thrum_spawn(&s, &t[i], (thrum_fx){ receive, &r[i] }), 0);
	}
	until_ops(before, N);
	for (int i = 0; i < N; i++)
		send_to_us(sent[i]);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			seen |= r[i].got == sent[k] ? 1 << k : 0;
	TH_CHECK_EQ(seen, 7);
	TH_CHECK_EQ(thrum_signals_close(&sg), 0);
	return 0;
}

TH_FIBER_TEST(REAL, io_signal, a_cancel_or_a_close_ends_the_wait_G7_G9)
{
	struct receiver r;
	thrum_signals sg;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1)), 0);
	for (int how = 0; how < 2; how++) {
		uint64_t before = ops_so_far();

		r = (struct receiver){ &sg, 0 };
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, (thrum_fx){ receive, &r }), 0);
		until_ops(before, 1);
		if (how == 0)
			thrum_scope_cancel(&s);
		else
			TH_CHECK_EQ(thrum_signals_close(&sg), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(r.got, how == 0 ? -ECANCELED : -EBADF);
		if (how == 0) {
			send_to_us(SIGUSR1); /* and it works as before */
			TH_CHECK_EQ(thrum_signals_recv(&sg), SIGUSR1);
		}
	}
	return 0;
}

TH_FIBER_TEST(REAL, io_signal, bad_numbers_are_refused_and_nothing_is_installed)
{
	thrum_signals sg;
	int fds = fd_count();

	TH_CHECK_EQ(thrum_signals_open(&sg, NULL, 0), -EINVAL);
	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1, 0)), -EINVAL);
	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1, 65)), -EINVAL);
	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1, SIGKILL)), -EINVAL);
	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGSEGV)), -EINVAL);
	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1, 32)), -EINVAL); /* the C library's own */
	TH_CHECK(handler_of(SIGUSR1) == SIG_DFL);
	TH_CHECK_EQ(fd_count(), fds);
	return 0;
}

TH_FIBER_TEST(REAL, io_signal, more_than_64_have_no_room)
{
	enum { MAX = 64 };
	static thrum_signals sg[MAX + 1];

	for (int i = 0; i < MAX; i++)
		TH_CHECK_EQ(thrum_signals_open(&sg[i], SIGNALS(SIGUSR1)), 0);
	TH_CHECK_EQ(thrum_signals_open(&sg[MAX], SIGNALS(SIGUSR1)), -ENOBUFS);
	send_to_us(SIGUSR1);
	for (int i = 0; i < MAX; i++) {
		TH_CHECK_EQ(thrum_signals_recv(&sg[i]), SIGUSR1);
		TH_CHECK_EQ(thrum_signals_close(&sg[i]), 0);
	}
	TH_CHECK(handler_of(SIGUSR1) == SIG_DFL);
	return 0;
}

TH_TEST(io_signal, calls_from_a_plain_thread_say_so_X1)
{
	thrum_signals sg = { .fd = -1 };

	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGUSR1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_signals_recv(&sg), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_signals_close(&sg), THRUM_ENOTFIBER);
}

/* A runtime whose workers are all threads of its own; the main thread takes the signal. */
struct wind_up {
	int done[2];
	int got;
};
static int wind_up(void *arg)
{
	struct wind_up *w = arg;
	thrum_signals sg;

	TH_CHECK_EQ(thrum_signals_open(&sg, SIGNALS(SIGTERM, SIGINT)), 0);
	send_to_us(SIGTERM);
	w->got = thrum_signals_recv(&sg);
	TH_CHECK_EQ(thrum_signals_close(&sg), 0);
	TH_CHECK_EQ(write(w->done[1], "x", 1), 1);
	return 0;
}
TH_TEST(io_signal, through_a_plain_thread_when_no_worker_takes_signals)
{
	struct wind_up w = { .got = 0 };
	thrum_handle h;
	thrum_rt *rt;
	char c;

	open_pipe(w.done, 0);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, (thrum_fx){ wind_up, &w }), 0);
	while (poll(&(struct pollfd){ .fd = w.done[0], .events = POLLIN }, 1, -1) < 0)
		TH_CHECK_EQ(errno, EINTR);
	TH_CHECK_EQ(read(w.done[0], &c, 1), 1);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(w.got, SIGTERM);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	close_both(w.done);
}
