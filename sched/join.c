/* sched/join.c: making children stealable, and running an unstolen one on the stack of whoever waits for it.
 *
 *   th_push: newest at the bottom of the spawner's lane; thieves take from the top. While somebody looks for work all of
 *            the lane is public; else a thief that comes later has to force it
 *   th_help: the bottom is the child that was spawned last. If it is the one waited for, it is run here, as a call. If
 *            it is anything else it goes back: foreign work never runs on a joiner's stack (F11). The joiner then parks,
 *            and its worker starts what lies there on fibers of its own. So it does with a child that asked for a stack
 *            of its own size: the joiner's may be too small for it.
 *
 * What a thief does with a stolen child is in sched/worker.c: steal_from, start. */
#include "../core/assert.h"
#include "../core/fork.h"
#include "../core/hooks.h"
#include "../core/light.h"
#include "../core/tsan.h"
#include "worker.h"

static bool push_own(struct th_worker *w, void *entry)
{
	bool fits;

	TH_TSAN_PRIVATE_BEGIN();
	fits = th_deque_push_owner(&w->lane, entry);
	TH_TSAN_PRIVATE_END();
	if (th_work_is_wanted(w->rt))
		th_deque_publish_all_owner(&w->lane);
	return fits;
}

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
	fits = push_own(w, t);
	if (!fits)
		th_taskq_push(&w->spill, t);
	th_notify_work(w->rt);
}

/* A fork's effects are its forker's business (th_fork_pop). */
static bool may_run_inline(void *entry, struct th_scope *s, struct th_task *only)
{
	struct th_task *t = th_entry_task(entry);
	bool wanted;

	if (th_entry_is_fork(entry))
		return false;
	TH_TSAN_PRIVATE_BEGIN(); /* of a task that another fiber of this worker may have spawned */
	wanted = only ? t == only : t->scope == s && !t->daemon; /* which may well wait until it is cancelled */
	wanted &= t->stack_bytes == 0;
	TH_TSAN_PRIVATE_END();
	return wanted;
}

/* What is waited for is not light unless the opener waits. */
static void run_inline(struct th_fiber *f, void *entry)
{
	if (th_entry_is_light(entry)) {
		(void)th_light_call(f, th_entry_task(entry));
		return;
	}
	th_bump(&f->home->x_inline_runs);
	th_task_run(f, entry);
}

bool th_help(struct th_fiber *f, struct th_scope *s, struct th_task *only)
{
	struct th_worker *w = th_fib_of(f)->worker;
	void *entry = th_shuffle_declines(w) ? NULL : th_deque_pop_owner(&w->lane);
	bool pushed;

	if (!entry)
		return false;
	if (may_run_inline(entry, s, only)) {
		run_inline(f, entry);
		return true;
	}
	pushed = push_own(w, entry);
	TH_ASSERT(pushed); /* its place is still free: only the owner adds */
	th_notify_work(w->rt); /* a sleeper that looked meanwhile saw nothing */
	return false;
}
