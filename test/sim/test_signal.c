/* test/sim/test_signal.c: signals as messages while handlers run beside everything else, and channels come and go. */
#include "../support/child.h"
#include "../support/sim_run.h"
#include "../../io/sys.h"
#include <errno.h>
#include <string.h>
#include <thrum/signal.h>
#include <thrum/test.h>

enum { RAISES = 3, ROUNDS = 2 };

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

struct hub {
	thrum_signals sg;
	int raised[2], got[2];  /* of SIGUSR1, SIGUSR2 */
};

static int raise_some(struct hub *h)
{
	for (int i = 0; i < RAISES; i++) {
		uint32_t which = sim_choose(2);
		int code = thrum_sleep(ticks(sim_choose(4)));

		if (code < 0)
			return code;
		sim_add(&h->raised[which], 1);
		TH_CHECK(th_sim_raise(which ? SIGUSR2 : SIGUSR1));
	}
	return 0;
}
THRUM_FX(raise_some, struct hub);

static int raise_all(struct hub *h)
{
	int code = thrum_zip_par(raise_some_fx(h), raise_some_fx(h));

	if (code == 0) /* the last one */
		TH_CHECK(th_sim_raise(SIGHUP));
	return code;
}
THRUM_FX(raise_all, struct hub);

static bool has_all(struct hub *h, int which)
{
	return sim_add(&h->raised[which], 0) == 0 || h->got[which] > 0;
}

static int receive(struct hub *h)
{
	bool ended = false;

	for (;;) {
		int sig = thrum_signals_recv(&h->sg);

		if (sig < 0)
			return sig;
		TH_CHECK(sig == SIGUSR1 || sig == SIGUSR2 || sig == SIGHUP);
		ended = ended || sig == SIGHUP;
		if (sig != SIGHUP)
			h->got[sig == SIGUSR2]++;
		/* Several of a kind may have become one; but none is left over, and none is lost. */
		TH_CHECK(h->got[0] <= sim_add(&h->raised[0], 0) && h->got[1] <= sim_add(&h->raised[1], 0));
		if (ended && has_all(h, 0) && has_all(h, 1))
			return 0;
	}
}
THRUM_FX(receive, struct hub);

SIM_TEST(signal, raised_signals_come_through)
{
	static const int set[] = { SIGUSR1, SIGUSR2, SIGHUP };
	struct hub h = { .raised = { 0 } };
	int code = thrum_signals_open(&h.sg, set, 3);

	(void)unused;
	if (code < 0)
		return code;
	code = thrum_zip_par(raise_all_fx(&h), receive_fx(&h));
	TH_CHECK_EQ(thrum_signals_close(&h.sg), 0);
	TH_CHECK(!th_sim_raise(SIGUSR1)); /* nobody listens any more */
	return code;
}

static int keep_raising(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3 * RAISES; i++) {
		int code = thrum_sleep(ticks(sim_choose(2)));

		if (code < 0)
			return code;
		(void)th_sim_raise(SIGUSR1);
	}
	return 0;
}

/* What follows a channel under its number: a handler that comes too late would write into it. */
static int check_unwritten(void)
{
	int fds[2], code;
	char c;

	TH_CHECK_EQ(th_sim_pipe(fds), 0);
	code = thrum_sleep(ticks(sim_choose(3)));
	TH_CHECK_EQ(th_sys_fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	TH_CHECK_EQ(th_sys_read(fds[0], &c, 1), -1);
	TH_CHECK_EQ(thrum_close(fds[0]), 0);
	TH_CHECK_EQ(thrum_close(fds[1]), 0);
	return code;
}

static int open_and_close(thrum_signals *sg)
{
	static const int set[] = { SIGUSR1 };
	int code = thrum_signals_open(sg, set, 1);

	if (code < 0)
		return code;
	code = thrum_sleep(ticks(sim_choose(3)));
	TH_CHECK_EQ(thrum_signals_close(sg), 0);
	return code;
}

/* Its memory is somebody else's then: here of one whose bits mean to a late handler that it is wanted. */
static int open_and_close_again(void *unused)
{
	int code = 0;

	(void)unused;
	for (int i = 0; i < ROUNDS && code == 0; i++) {
		thrum_signals sg, before;

		code = open_and_close(&sg);
		memset(&sg, 0xff, sizeof sg);
		sg.opaque_[2] = 0; /* x_pending */
		before = sg;
		if (code == 0)
			code = check_unwritten();
		TH_CHECK(memcmp(&sg, &before, sizeof sg) == 0);
	}
	return code;
}

/* A close waits for the handlers that are at it: none touches the channel, or its descriptor's next owner, after it. */
SIM_TEST(signal, close_waits_for_handlers)
{
	thrum_fx raise = { keep_raising, NULL };

	(void)unused;
	return thrum_zip_par(raise, (thrum_fx){ open_and_close_again, NULL }, raise);
}

static int raise_once(thrum_signals *sg)
{
	(void)sg;
	(void)th_sim_raise(SIGUSR1);
	return 0;
}
THRUM_FX(raise_once, thrum_signals);

static int close_it(thrum_signals *sg)
{
	thrum_signals before;
	int code;

	TH_CHECK_EQ(thrum_signals_close(sg), 0);
	before = *sg;
	code = check_unwritten();
	TH_CHECK(memcmp(sg, &before, sizeof *sg) == 0);
	return code;
}
THRUM_FX(close_it, thrum_signals);

static int raise_and_close(void *unused)
{
	static const int set[] = { SIGUSR1 };
	thrum_signals sg;
	int code = thrum_signals_open(&sg, set, 1);

	(void)unused;
	return code < 0 ? code : thrum_zip_par(raise_once_fx(&sg), close_it_fx(&sg));
}

/* The same with nothing else about: a handler that is stopped at any place while the channel closes. */
TH_TEST(signal, close_waits_for_a_handler_that_is_stopped)
{
	const thrum_test_opts o = { .size = sizeof o, .workers = 2, .runs = TH_SLOW ? 400 : 8000, .name = "stopped" };

	TH_CHECK_EQ(thrum_test_search((thrum_fx){ raise_and_close, NULL }, &o, NULL), 0);
}
