/* test/model/model_waiter.cpp: core/waiter.h, the shipped source: an event and a cancel meet at one parked fiber
 * (scene 1), or two events and a cancel at one that waits for either (scene 2).
 *
 * Proves: exactly one of them claims the wait and wakes the fiber (no double resume, hazards 18, 59); the fiber sees what
 * the winner handed over, through x_state alone; and the waiter, which lies in the fiber's frame, is not touched after
 * the frame is gone, because the fiber takes both sides' locks once before it leaves.
 * Rules: decision 1 (an event that claimed is not undone by a cancel), Q4 (the item is handed over or stays), G2. */
#include "futex.h"
#include "../../core/lock.c"
#include "../../core/waiter.h"
#include "../../core/waiter.c"

struct frame {
	struct th_waiter waiter;
	rl::var<int> item;
	rl::var<int> reason;
};

struct waiter_test : rl::test_suite<waiter_test, 3> {
	futex_bucket bucket;
	struct th_lock object_lock, node_lock;
	struct th_waitq queue;        /* under object_lock */
	rl::var<frame *> registered;  /* the waiter that a cancel finds; under node_lock */
	rl::atomic<int> resumed;      /* calls of th_wake(); with no order of its own, to see what x_state alone gives */
	frame *parked;
	int items_left;

	void before()
	{
		futex = &bucket;
		th_lock_init(&object_lock);
		th_lock_init(&node_lock);
		parked = new frame;
		th_waiter_init(&parked->waiter, NULL);
		queue.head = queue.tail = NULL;
		th_waitq_push(&queue, &parked->waiter);
		registered($) = parked;
		th_init(&resumed, 0);
		items_left = 1;
	}
	void wake()
	{
		RL_ASSERT(th_add_rlx(&resumed, 1) == 0);
	}
	void event()
	{
		th_lock(&object_lock);
		struct th_waiter *w = queue.head;
		if (w) {
			th_waitq_remove(&queue, w);
			frame *f = (frame *)(void *)w;
			f->item($) = 42; /* before the claim: the fiber may run right after it */
			if (th_waiter_claim(w, TH_WAIT_DONE)) {
				items_left--;
				wake();
			}
		}
		th_unlock(&object_lock);
	}
	void cancel()
	{
		th_lock(&node_lock);
		frame *f = registered($);
		if (f) {
			f->reason($) = 7;
			if (th_waiter_claim(&f->waiter, TH_WAIT_CANCELLED))
				wake();
		}
		th_unlock(&node_lock);
	}
	void fiber()
	{
		frame *f = parked;
		while (th_load_rlx(&f->waiter.x_state) == TH_WAIT_ARMED)
			th_pause();
		bool cancelled = th_waiter_cancelled(&f->waiter);
		if (cancelled)
			RL_ASSERT(f->reason($) == 7);
		else
			RL_ASSERT(f->item($) == 42);
		th_lock(&node_lock);
		registered($) = NULL;
		th_unlock(&node_lock);
		th_lock(&object_lock);
		th_waitq_remove(&queue, &f->waiter);
		th_unlock(&object_lock);
		RL_ASSERT(items_left == (cancelled ? 1 : 0)); /* Q4: never both, never lost */
		delete f;
	}
	void thread(unsigned i) { i == 0 ? event() : i == 1 ? cancel() : fiber(); }
};

/* Scene 2: a select. The fiber waits in two objects and may be cancelled: three who may each claim the one leader. One of
 * them does; an object whose event did not keeps its item; and no event touches the frame after it is gone. */
struct select_frame {
	struct th_waiter leader;
	struct th_waiter cases[2];
	rl::var<int> item[2];
};

struct select_test : rl::test_suite<select_test, 4> {
	futex_bucket bucket;
	struct th_lock object_lock[2], node_lock;
	struct th_waitq queue[2];      /* each under its object's lock */
	rl::var<select_frame *> registered; /* under node_lock */
	rl::atomic<int> resumed;
	select_frame *parked;
	rl::var<int> items_left[2];    /* each under its object's lock */

	void before()
	{
		futex = &bucket;
		th_lock_init(&node_lock);
		parked = new select_frame;
		th_waiter_init(&parked->leader, NULL);
		for (int i = 0; i < 2; i++) {
			th_lock_init(&object_lock[i]);
			queue[i].head = queue[i].tail = NULL;
			th_waiter_init(&parked->cases[i], NULL);
			parked->cases[i].leader = &parked->leader;
			th_waitq_push(&queue[i], &parked->cases[i]);
			items_left[i]($) = 1;
		}
		registered($) = parked;
		th_init(&resumed, 0);
	}
	void wake()
	{
		RL_ASSERT(th_add_rlx(&resumed, 1) == 0);
	}
	void event(int i)
	{
		th_lock(&object_lock[i]);
		struct th_waiter *w = queue[i].head;
		if (w) {
			/* As th_waitq_claim(), but the item is written before the claim: the fiber of this model may run after it. */
			select_frame *f = (select_frame *)(void *)((char *)(w - i) - offsetof(select_frame, cases));
			th_waitq_remove(&queue[i], w);
			f->item[i]($) = 42;
			if (th_waiter_claim(w, TH_WAIT_DONE)) {
				w->chosen = true;
				items_left[i]($) = 0;
				wake();
			}
		}
		th_unlock(&object_lock[i]);
	}
	void cancel()
	{
		th_lock(&node_lock);
		select_frame *f = registered($);
		if (f && th_waiter_claim(&f->leader, TH_WAIT_CANCELLED))
			wake();
		th_unlock(&node_lock);
	}
	void fiber()
	{
		select_frame *f = parked;
		int left = 0;
		while (th_load_rlx(&f->leader.x_state) == TH_WAIT_ARMED)
			th_pause();
		bool cancelled = th_waiter_cancelled(&f->leader);
		th_lock(&node_lock);
		registered($) = NULL;
		th_unlock(&node_lock);
		int chosen = 0;
		for (int i = 0; i < 2; i++) {
			th_lock(&object_lock[i]);
			th_waitq_remove(&queue[i], &f->cases[i]);
			left += items_left[i]($);
			if (f->cases[i].chosen) {
				chosen++;
				RL_ASSERT(f->item[i]($) == 42);
			}
			th_unlock(&object_lock[i]);
		}
		RL_ASSERT(chosen == (cancelled ? 0 : 1));
		RL_ASSERT(left == (cancelled ? 2 : 1));
		delete f;
	}
	void thread(unsigned i) { i < 2 ? event((int)i) : i == 2 ? cancel() : fiber(); }
};

int main(int argc, char **argv)
{
	if (argc > 1 && atoi(argv[1]) == 2)
		return model_main<select_test>(argc, argv, 3000);
	return model_main<waiter_test>(argc, argv, 3000);
}
