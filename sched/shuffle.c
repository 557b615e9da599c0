/* sched/shuffle.c: thrum_opts.shuffle: what a worker does next is drawn, where otherwise its queues have an order.
 *
 *   which ready fiber, or which new child, goes on     th_shuffle_turn, th_shuffle_take: by the worker's loop
 *   whether a waited-for child runs on its waiter's
 *   stack, at once, or on a fiber, in its turn         th_shuffle_declines: by th_help
 *   whether others run before a call that may suspend  th_shuffle: by th_cancel_point
 *
 * All of it by th_choose(), so by the runtime's seed; 0 is always what an unshuffled runtime does. On one worker nothing else
 * decides what runs but clock and kernel, so on a virtual clock, without I/O, a seed is a run. Idea: the schedules of
 * deterministic simulation, as far as they can be had without one: a fiber is exchanged where it may suspend, never between. */
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"
#ifdef TH_SIM
#include "../io/sim/sim.h"
#endif

enum {
	OTHERS_1_IN = 3,  /* calls that would go on at once: several in a row must be as usual as a change at each of them */
	DRAWN_FROM = 1024 /* ready fibers that are counted: as many calls behind each draw */
};

void th_shuffle(struct th_fiber *f)
{
	if (f->nosuspend || th_choose(OTHERS_1_IN, "others") != 1)
		return;
#ifdef TH_SIM
	th_sim_lets_others(f);
#endif
	th_yield(f);
}

bool th_shuffle_declines(struct th_worker *w)
{
	return w->home.shuffle && th_choose(2, "help") == 1;
}

static uint32_t count_ready(const struct th_worker *w)
{
	uint32_t n = 0;

	for (const struct th_fiber *f = w->ready; f && n < DRAWN_FROM; f = f->next)
		n++;
	return n;
}

/* The ready fiber number `at` becomes the first. */
static void bring_forward(struct th_worker *w, uint32_t at)
{
	struct th_fiber **link = &w->ready, *f;

	while (at-- > 0)
		link = &(*link)->next;
	f = *link;
	*link = f->next;
	if (!f->next)
		w->ready_tail = link;
	f->next = w->ready;
	w->ready = f;
	if (!f->next)
		w->ready_tail = &f->next;
}

void th_shuffle_turn(struct th_worker *w, bool has_new)
{
	uint32_t ready = count_ready(w), at = 0;

	if (has_new && ready > 0 && th_choose(2, "turn") == 1)
		w->new_first = !w->new_first;
	if (ready > 1 && !(has_new && w->new_first))
		at = th_choose(ready, "ready");
	if (at > 0)
		bring_forward(w, at);
}

/* The oldest is taken as a thief takes it: all forks of this worker are in the tree while no fiber of it runs. */
void *th_shuffle_take(struct th_worker *w)
{
	bool private;

	if (th_deque_size_owner(&w->lane) < 2 || th_choose(2, "child") == 0)
		return th_deque_pop_owner(&w->lane);
	th_deque_publish_all_owner(&w->lane);
	return th_deque_steal_any(&w->lane, &private);
}
