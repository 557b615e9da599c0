/* test/sim/test_lent.c: lent buffers and vectors in an unkind kernel, one that has no ring of buffers. */
#include "../support/sim_run.h"
#include <errno.h>
#include <stdint.h>
#include <string.h>

enum { PIPES = 3, MESSAGES = 1 };

static thrum_dur ticks(uint32_t n)
{
	return thrum_ns((int64_t)n * TH_SIM_TICK_NS);
}

struct lender {
	int fds[PIPES][2];
	thrum_chan out;
	int sent, seen, receivers;
};

struct one_pipe {
	struct lender *l;
	int i;
};

static int send_some(struct one_pipe *p)
{
	int r = 0;

	for (int k = 0; k < MESSAGES && r == 0; k++) {
		r = thrum_sleep(ticks(sim_choose(6)));
		if (r == 0)
			r = thrum_write_all(p->l->fds[p->i][1], "x", 1, NULL);
		if (r == 0)
			sim_add(&p->l->sent, 1);
	}
	(void)thrum_close(p->l->fds[p->i][1]);
	return r;
}
THRUM_FX(send_some, struct one_pipe);

static int receive_some(struct one_pipe *p)
{
	thrum_lent lent;
	ssize_t n;
	int r = 0;

	while ((n = thrum_recv_lent(p->l->fds[p->i][0], &lent)) > 0 && r == 0) {
		for (size_t i = 0; i < lent.len; i++)
			TH_CHECK_EQ(lent.data[i], 'x');
		r = thrum_chan_send(&p->l->out, &lent);
		if (r < 0)
			thrum_lent_return(&lent);
	}
	TH_CHECK(n >= 0 || n == -ECANCELED);
	if (sim_add(&p->l->receivers, -1) == 0)
		(void)thrum_chan_close(&p->l->out);
	return r < 0 ? r : (int)n;
}
THRUM_FX(receive_some, struct one_pipe);

/* On whatever worker. */
static int return_all(struct lender *l)
{
	thrum_lent lent;
	int r;

	while ((r = thrum_chan_recv(&l->out, &lent)) == 0) {
		memset(lent.data, 'y', lent.len); /* it is ours until the return: nobody else may see that */
		l->seen += (int)lent.len;
		thrum_lent_return(&lent);
		r = thrum_sleep(ticks(sim_choose(3)));
		if (r < 0)
			break;
	}
	return r == THRUM_ECLOSED ? 0 : r;
}
THRUM_FX(return_all, struct lender);

static void drop_lent(void *item, void *arg)
{
	(void)arg;
	thrum_lent_return(item);
}

/* A buffer is one fiber's at a time, nothing is lost, and whoever waits for one gets it; cancelled at any point, all of
 * them come back: else the run would report it. */
SIM_TEST(lent, buffers_come_back_and_nobody_waits_for_ever)
{
	struct lender l = { .receivers = PIPES };
	struct one_pipe pipes[PIPES];
	thrum_fx fx[2 * PIPES + 1];
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init_with(&l.out, THRUM_CHAN_OPTS(.item_bytes = sizeof(thrum_lent), .capacity = 1, .drop = drop_lent)), 0);
	for (int i = 0; i < PIPES; i++) {
		th_sim_pipe(l.fds[i]);
		pipes[i] = (struct one_pipe){ &l, i };
		fx[2 * i] = receive_some_fx(&pipes[i]);
		fx[2 * i + 1] = send_some_fx(&pipes[i]);
	}
	fx[2 * PIPES] = return_all_fx(&l);
	r = thrum_zip_par_n(fx, 2 * PIPES + 1);
	thrum_chan_fini(&l.out);
	for (int i = 0; i < PIPES; i++) {
		(void)thrum_close(l.fds[i][0]);
		if (th_sim_fd_open(l.fds[i][1]))
			(void)thrum_close(l.fds[i][1]); /* cancelled before its sender had begun */
	}
	TH_CHECK(r < 0 || l.seen == PIPES * MESSAGES);
	return r;
}

struct ends {
	int fds[2];
	int code;
};

static int send_vector(struct ends *e)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyz";
	const struct iovec iov[4] = {
		{ (void *)(uintptr_t)bytes, 3 }, { NULL, 0 }, { (void *)(uintptr_t)(bytes + 3), 22 }, { (void *)(uintptr_t)(bytes + 25), 1 },
	};
	size_t done = 0;

	e->code = thrum_sendv_all(e->fds[1], iov, 4, sim_choose(2) ? 0 : MSG_DONTWAIT, &done);
	TH_CHECK(done <= 26 && (e->code != 0 || done == 26)); /* G8 */
	return e->code == -EAGAIN ? 0 : e->code;
}
THRUM_FX(send_vector, struct ends);

static int take_vector(struct ends *e)
{
	char c;
	int n = 0;

	while (n < 26) {
		ssize_t r = thrum_recv(e->fds[0], &c, 1, 0);
		if (r <= 0)
			return (int)r;
		TH_CHECK_EQ(c, 'a' + n++);
	}
	return 0;
}
THRUM_FX(take_vector, struct ends);

static int close_sender(struct ends *e)
{
	int r = send_vector(e);

	(void)thrum_close(e->fds[1]);
	return r;
}
THRUM_FX(close_sender, struct ends);

/* G8: a vector's parts go out in order, each byte once, however short the transfers. */
SIM_TEST(lent, vectors_go_out_whole_and_in_order_G8)
{
	struct ends e = { .code = 0 };
	int r;

	(void)unused;
	th_sim_pipe(e.fds);
	r = thrum_zip_par(take_vector_fx(&e), close_sender_fx(&e));
	(void)thrum_close(e.fds[0]);
	if (th_sim_fd_open(e.fds[1]))
		(void)thrum_close(e.fds[1]);
	return r;
}
