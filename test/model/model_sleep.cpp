/* test/model/model_sleep.cpp: sched/idle.c with sched/mail.c and sched/deque.h, the shipped sources: nobody sleeps while
 * there is work for him (hazards 6, 7), in which case Relacy reports a deadlock, and nobody is woken twice.
 *
 *   SCENE 1  worker 1 looks for work and sleeps; worker 0 pushes two tasks to its own deque and runs none of them; a
 *            foreign thread makes a fiber of worker 1 ready. Worker 1 must get all three.
 *   SCENE 2  worker 0 pushes two tasks that need each other to run at the same time, and runs none of them: the wake of
 *            the first thief must lead to that of the second
 *   SCENE 3  as 1, with work for anyone (the inject queue) from the foreign thread, and the end of the runtime by worker 0
 *   SCENE 4  as 2 after a first, lone task: a thief that came too late for it must not break the chain of the next two
 * Afterwards x_idle and x_searching are back to 0: a count that leaks would silence all later wakes. */
#include "worker_mock.h"
#include "../../sched/mail.c"
#include "../../sched/idle.c"

#ifndef MUTANT
#define MUTANT 0 /* 1: a thief that was not called does not count as a searcher */
#endif

bool th_fence_heavy(void)
{
	th_fence_seq();
	return true;
}

static void io_cancel(struct th_io *, struct th_op *) {}
void th_ready(struct th_worker *w, struct th_fiber *f)
{
	f->next = w->ready;
	w->ready = f;
}

struct sleep_test : rl::test_suite<sleep_test, 3> {
	struct thrum_rt rt;
	struct th_io io[WORKERS];
	futex_bucket bucket;
	struct th_task task[3];
	struct th_fib fib;
	rl::mutex met_lock;
	rl::condition_variable met;
	rl::var<int> here;

	void before()
	{
		futex = &bucket;
		mock_rt_init(&rt, io, scene % 2 == 0 ? 3 : 2);
		fib.worker = &rt.workers[1];
		here($) = 0;
	}

	static void *steal(struct thrum_lane_ *lane) /* as th_steal does, but without waiting for the owner first */
	{
		bool closed;
		void *e = th_deque_steal_any(lane, &closed);
		return !e && closed ? th_deque_force_any(lane) : e;
	}

	/* A turn of the worker's loop without an own deque: mail, then a thief's choices. True when it did something. */
	int turn(struct th_worker *w)
	{
		int got = 0;
		th_mail_serve(w);
		while (w->ready) {
			struct th_fib *f = th_fib_of(w->ready);
			w->ready = f->core.next;
			RL_ASSERT(f->payload($) == 5);
			got++;
		}
		struct th_task *t = th_taskq_pop(&rt.inject);
		if (!t) {
			if (!w->searching && MUTANT != 1) { /* as th_steal does: whoever looks at others' queues counts */
				w->searching = true;
				th_add_seq(&rt.x_searching, 1);
			}
			t = (struct th_task *)steal(&rt.workers[0].lane);
		}
		if (t) {
			th_found_work(w);
			RL_ASSERT(t->payload($) == 6);
			if (scene == 4 && t == &task[2])
				return 0;
			if (scene % 2 == 0)
				meet();
			got++;
		}
		return got;
	}
	void work_until(struct th_worker *w, int count)
	{
		while (count > 0) {
			int got = turn(w);
			if (!got) {
				th_sleep(w);
				th_pause(); /* it may have got up for nothing; without this Relacy sees a livelock */
			}
			count -= got;
		}
	}
	void meet()
	{
		met_lock.lock($);
		here($) += 1;
		met.notify_all($);
		while (here($) < 2)
			met.wait(met_lock, $);
		met_lock.unlock($);
	}
	void spawn(struct th_worker *w, struct th_task *t)
	{
		t->payload($) = 6;
		RL_ASSERT(th_deque_push_owner(&w->lane, t));
		if (th_work_is_wanted(&rt))
			th_deque_publish_all_owner(&w->lane);
		th_notify_work(&rt);
	}
	void thread(unsigned i)
	{
		struct th_worker *w = &rt.workers[i];
		run(i, w);
		if (i < rt.nworkers && w->searching) /* a real worker does not leave its loop as a searcher */
			th_sub_seq(&rt.x_searching, 1);
	}
	void run(unsigned i, struct th_worker *w)
	{
		if (i == 0) {
			if (scene == 4)
				spawn(w, &task[2]);
			spawn(w, &task[0]);
			if (scene != 3) {
				spawn(w, &task[1]);
			} else {
				io_wait(&io[2], 0); /* until worker 1 has its two, or the stop would help it to them */
				th_store_rel(&rt.x_stop, 1);
				th_poke(&rt.workers[1]);
			}
		} else if (scene % 2 == 0) {
			work_until(w, 1);
		} else if (i == 1) {
			work_until(w, scene == 3 ? 2 : 3);
			if (scene == 3)
				io_wake(&io[2]);
			while (scene == 3 && !th_load_acq(&rt.x_stop)) {
				th_sleep(w);
				th_pause();
			}
		} else if (scene == 1) {
			fib.payload($) = 5;
			th_wake(&fib.core);
		} else {
			task[1].payload($) = 6;
			th_taskq_push(&rt.inject, &task[1]);
			th_notify_work(&rt);
		}
	}
	void after()
	{
		RL_ASSERT((th_load_seq(&rt.x_idle) & IDLE_COUNT) == 0);
		RL_ASSERT(th_load_seq(&rt.x_searching) == 0);
	}
};

int main(int argc, char **argv) { return model_main<sleep_test>(argc, argv, 3000); }
