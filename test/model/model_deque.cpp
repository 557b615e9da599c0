/* test/model/model_deque.cpp: thrum/fork.h and sched/deque.h, the shipped sources, with an owner and two
 * thieves.
 *
 * Proves: each entry pushed is taken exactly once, by a pop, a steal or a force; its taker sees what was written before
 * the push; a full ring refuses and the refused entry stays with the caller; afterwards nothing is left and the indices
 * meet.
 *
 * Each thread runs its program, a letter a step:
 *   + push   = push, which must succeed   - pop   h publish (half)   a publish all   s steal   f force, then steal
 * The heavy fence is a fence here, and the light one as well (THRUM_FENCE_LIGHT_): C++ knows no membarrier. What that
 * alone can do is the matter of force.pml. */
#define THRUM_LANE_SLOTS_ 4
#include "model.h"
#include "../../sched/deque.h"

bool th_fence_heavy(void)
{
	th_fence_seq();
	return scene != 12; /* there the kernel cannot: nothing is forced, nothing is lost */
}

static const struct program {
	const char *owner, *thief[2];
} programs[] = {
	{ "", { "", "" } },
	/* Chase-Lev: the public part. 1: the race for the last entry, and for the last but one. 2: ring of 4, full:
	 * push is refused until a thief took one, and the slot is written again while thieves look. 3: the slot of a
	 * popped entry is used again. 4: a pop lowers the split below thieves that are on their way, and pops on. */
	{ "++a--", { "s", "s" } },
	{ "====a++-", { "ss", "ss" } },
	{ "+a-++a-", { "s", "s" } },
	{ "+++a---", { "ss", "s" } },
	/* Force. 5: against the pop of the only entry. 6: of several, when the owner retracts and publishes by itself.
	 * 7: the slot is used again, and the force sees the newer index. 8: the public part runs empty and the next
	 * force begins while the owner is inside a slow pop. 9: two forces, of which one is late (x_forcer). 10:
	 * against publish, where the force may have seen an older, larger bottom. 11: behind stolen entries, which the
	 * owner has not seen go. 12: refused by the kernel. */
	{ "+-", { "f", "s" } },
	{ "+++--", { "f", "s" } },
	{ "++--+-", { "f", "s" } },
	{ "++h+--", { "sf", "s" } },
	{ "++-+-", { "f", "f" } },
	{ "+++-h-", { "f", "s" } },
	{ "++a+--", { "ss", "f" } },
	{ "++--", { "f", "f" } },
};

struct th_task {
	rl::var<int> payload; /* plain memory to Relacy: reading it unordered is reported as a data race */
	rl::var<int> taken;
};

enum { TASKS = 8 };

struct deque_test : rl::test_suite<deque_test, 3> {
	thrum_lane_ d;
	th_task task[TASKS];
	int pushed, taken;

	void before()
	{
		th_deque_init_at(&d, 6);
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
	void take(void *e)
	{
		th_task *t = (th_task *)e;
		if (!t)
			return;
		RL_ASSERT(t >= task && t < task + TASKS);
		RL_ASSERT(t->payload($) == 100 + (t - task));
		int times = t->taken($); /* two takers race here, or the second finds 1 */
		RL_ASSERT(times == 0);
		t->taken($) = 1;
		taken++;
	}
	void step(char c)
	{
		bool closed;
		switch (c) {
		case '+': push(); break; /* an accepted push over a task still there would lose that one: see after() */
		case '=': RL_ASSERT(push()); break;
		case '-': take(th_deque_pop_owner(&d)); break;
		case 'h': th_deque_publish_owner(&d); break;
		case 'a': th_deque_publish_all_owner(&d); break;
		case 's': take(th_deque_steal_any(&d, &closed)); break;
		case 'f': take(th_deque_force_any(&d)); break;
		}
	}
	void thread(unsigned i)
	{
		const program *p = &programs[scene];
		for (const char *c = i ? p->thief[i - 1] : p->owner; *c; c++)
			step(*c);
	}
	void after()
	{
		while (void *e = th_deque_pop_owner(&d))
			take(e);
		RL_ASSERT(th_deque_looks_empty_any(&d));
		uint64_t top = th_load_rlx(&d.x_top), w = th_load_rlx(&d.x_split);
		RL_ASSERT(top == th_load_rlx(&d.x_bottom) && w == 2 * top);
		RL_ASSERT(th_load_rlx(&d.x_forcer) == 0);
		RL_ASSERT(taken == pushed);
	}
};

int main(int argc, char **argv) { return model_main<deque_test>(argc, argv, 1000); }
