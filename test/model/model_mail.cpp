/* test/model/model_mail.cpp: sched/mail.c, the shipped source: what other threads send to a worker.
 *
 *   SCENE 1  two senders make one fiber each ready: both arrive, once, with what was written before the wake (G13)
 *   SCENE 2  one canceller asks for whichever of the fiber's two operations is in the kernel, another until it has asked
 *            for the second; the first ends meanwhile. A request for 2 is never lost, however the requests overlap, and
 *            no request for 1 reaches 2 (G6). The fiber is never in the list twice (its one link would make a ring).
 * The lock around a request stands for the lock of the fiber's node, under which every canceller reads the generation. */
#include "worker_mock.h"
#include "../../sched/mail.c"


void th_poke(struct th_worker *w) { w->home.backend->wake(w->home.io); }

static int arrived;
void th_ready(struct th_worker *, struct th_fiber *f)
{
	RL_ASSERT(th_fib_of(f)->payload($) == 5);
	th_fib_of(f)->payload($) = 0;
	arrived++;
}

static int cancelled_gen, cancels, asked_for;
static void io_cancel(struct th_io *, struct th_op *op)
{
	RL_ASSERT(op->gen <= asked_for); /* G6: nobody has asked for the second yet */
	cancelled_gen = op->gen;
	cancels++;
}

struct mail_test : rl::test_suite<mail_test, 3> {
	struct thrum_rt rt;
	struct th_io io[WORKERS];
	futex_bucket bucket;
	struct th_fib fib[2];
	struct th_op op[2];
	struct th_lock node_lock;
	rl::var<int> registered; /* generation of the operation that a cancel would find; under node_lock */

	void before()
	{
		futex = &bucket;
		mock_rt_init(&rt, io, 1);
		arrived = cancelled_gen = cancels = asked_for = 0;
		th_lock_init(&node_lock);
		for (int i = 0; i < 2; i++) {
			fib[i].worker = &rt.workers[0];
			fib[i].core.op = NULL;
			th_init(&fib[i].core.x_cancel_gen, 0);
			th_init(&fib[i].core.x_cancel_queued, 0);
			op[i].in_kernel = true;
			op[i].gen = (uint16_t)(i + 1);
		}
		registered($) = 1;
		fib[0].core.op = &op[0];
	}
	void serve_until(const int *count, int least)
	{
		struct th_worker *w = &rt.workers[0];
		for (;;) {
			th_mail_serve(w);
			if (*count >= least)
				return;
			w->home.backend->wait(w->home.io, 0);
		}
	}
	int request()
	{
		th_lock(&node_lock);
		int gen = registered($);
		asked_for = gen;
		th_post_cancel(&fib[0].core, (uint16_t)gen);
		th_unlock(&node_lock);
		return gen;
	}
	void thread(unsigned i)
	{
		if (i > 0 && scene == 1) {
			fib[i - 1].payload($) = 5;
			th_wake(&fib[i - 1].core);
		} else if (i > 0) {
			while (request() != 2 && i == 2)
				th_pause();
		} else if (scene == 1) {
			serve_until(&arrived, 2);
		} else {
			th_mail_serve(&rt.workers[0]);
			RL_ASSERT(cancels == 0 || cancelled_gen == 1);
			/* Operation 1 ends by itself, operation 2 begins. */
			th_lock(&node_lock);
			registered($) = 2;
			th_unlock(&node_lock);
			cancels = 0;
			fib[0].core.op = &op[1];
			serve_until(&cancels, 1);
			RL_ASSERT(cancelled_gen == 2);
		}
	}
	void after()
	{
		th_mail_serve(&rt.workers[0]);
		RL_ASSERT(th_load_seq(&fib[0].core.x_cancel_queued) == 0);
		RL_ASSERT(scene != 1 || arrived == 2);
	}
};

int main(int argc, char **argv) { return model_main<mail_test>(argc, argv, 3000); }
