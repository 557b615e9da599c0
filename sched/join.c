/* sched/join.c: making children stealable, and running an unstolen one on the stack of whoever waits for it.
 *
 *   th_push: newest at the bottom of the spawner's deque; thieves take from the top
 *   th_help: the bottom is the child that was spawned last. If it is the one waited for, it is run here, as a call. If
 *            it is anything else it goes back: foreign work never runs on a joiner's stack (F11). The joiner then parks,
 *            and its worker starts what lies there on fibers of its own.
 *
 * What a thief does with a stolen child is in sched/worker.c: steal_from, start. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"

void th_push(struct th_fiber *f, struct th_task *t, unsigned worker)
{
	struct th_worker *w = th_fib_of(f)->worker;
	bool fits;

	th_tsan_release(t);
	if (worker) {
		struct th_worker *at = &w->rt->workers[worker - 1];
		th_taskq_push(&at->placed, t);
		th_poke(at);
		return;
	}
	TH_TSAN_PRIVATE_BEGIN();
	fits = th_deque_push_owner(&w->deque, t);
	TH_TSAN_PRIVATE_END();
	if (!fits)
		th_taskq_push(&w->spill, t);
	th_notify_work(w->rt);
}

bool th_help(struct th_fiber *f, struct th_scope *s, struct th_task *only)
{
	struct th_worker *w = th_fib_of(f)->worker;
	struct th_task *t = th_deque_pop_owner(&w->deque);
	bool wanted, pushed;

	if (!t)
		return false;
	TH_TSAN_PRIVATE_BEGIN(); /* of a task that another fiber of this worker may have spawned */
	wanted = only ? t == only : t->scope == s;
	TH_TSAN_PRIVATE_END();
	if (wanted) {
		th_bump(&f->home->x_inline_runs);
		th_task_run(f, t);
		return true;
	}
	TH_TSAN_PRIVATE_BEGIN();
	pushed = th_deque_push_owner(&w->deque, t);
	TH_TSAN_PRIVATE_END();
	TH_ASSERT(pushed); /* its place is still free: only the owner adds */
	th_notify_work(w->rt); /* a sleeper that looked meanwhile saw nothing */
	return false;
}
