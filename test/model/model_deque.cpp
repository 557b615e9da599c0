/* test/model/model_deque.cpp: sched/deque.h, the shipped source, with an owner and two thieves.
 *
 * Proves: each task pushed is taken exactly once, by a pop or by a steal; its taker sees what was written before the push;
 * a full ring refuses and the refused task stays with the caller; all this also across a wrap of ring and index.
 *
 *   SCENE 1  two tasks, then two pops against two thieves: the races for the last task, and for the last but one
 *   SCENE 2  ring of 4, full: push is refused until a thief took one, and the slot is written again while thieves look
 *   SCENE 3  push, pop, push, with the second task in the slot of the first: a thief must not take the popped one, and
 *            sees the fields of the other, although it may read the index that the pop stored (D1, P1) */
#define TH_DEQUE_SLOTS 4
#include "model.h"
#include "../../sched/deque.h"


struct th_task {
	rl::var<int> payload; /* plain memory to Relacy: reading it unordered is reported as a data race */
	rl::var<int> taken;
};

enum { TASKS = 7 };

struct deque_test : rl::test_suite<deque_test, 3> {
	th_deque d;
	th_task task[TASKS];
	int pushed, taken;

	void before()
	{
		th_deque_init_at(&d, UINT64_MAX - 1);
		pushed = taken = 0;
		for (int i = 0; i < TASKS; i++)
			task[i].taken($) = 0;
	}
	bool push()
	{
		th_task *t = &task[pushed];
		t->payload($) = 100 + pushed;
		bool done = th_deque_push_owner(&d, t);
		pushed += done;
		return done;
	}
	void take(th_task *t)
	{
		if (!t)
			return;
		RL_ASSERT(t >= task && t < task + TASKS);
		RL_ASSERT(t->payload($) == 100 + (t - task));
		int times = t->taken($); /* two takers race here, or the second finds 1 */
		RL_ASSERT(times == 0);
		t->taken($) = 1;
		taken++;
	}
	void owner()
	{
		switch (scene) {
		case 1:
			push();
			push();
			take(th_deque_pop_owner(&d));
			take(th_deque_pop_owner(&d));
			break;
		case 2:
			for (int i = 0; i < 4; i++)
				RL_ASSERT(push());
			push(); /* an accepted push over a task still there would lose that one: see after() */
			push();
			take(th_deque_pop_owner(&d));
			break;
		case 3:
			push();
			take(th_deque_pop_owner(&d));
			push();
			push();
			take(th_deque_pop_owner(&d));
			break;
		}
	}
	void thread(unsigned i)
	{
		if (i == 0) {
			owner();
		} else {
			take(th_deque_steal_any(&d));
			if (scene == 2)
				take(th_deque_steal_any(&d));
		}
	}
	void after()
	{
		while (th_task *t = th_deque_pop_owner(&d))
			take(t);
		RL_ASSERT(th_deque_looks_empty_any(&d));
		RL_ASSERT(taken == pushed);
	}
};

int main(int argc, char **argv) { return model_main<deque_test>(argc, argv, 1000); }
