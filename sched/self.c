/* sched/self.c: the only thread-local of the library: the lane of the thread's worker, which the worker begins with.
 *
 * The library's own code reaches it by functions that are never inlined: a compiler may keep the address of a thread-local
 * over a call. For forks (thrum/fork.h) it is visible: a started fiber never changes its thread. */
#include "../core/fork.h"
#include "worker.h"
#include <errno.h>

_Static_assert(offsetof(struct th_worker, lane) == 0, "a lane is where its worker is");

/* What a plain thread sees: no room for any entry, so that each of its forks goes the long way. Only the owner's line of
 * it is ever looked at. */
static _Alignas(TH_LANE_LINE) char nobodys_line[TH_LANE_LINE];
#define NOBODY ((struct thrum_lane_ *)(void *)nobodys_line)

_Thread_local struct thrum_lane_ *thrum_lane_self_ = NOBODY;

__attribute__((noinline)) struct th_worker *th_worker_self(void)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	__asm__ volatile("" ::: "memory");
	return lane == NOBODY ? NULL : th_container(lane, struct th_worker, lane);
}

__attribute__((noinline)) void th_worker_set_self(struct th_worker *w)
{
	thrum_lane_self_ = w ? &w->lane : NOBODY;
	__asm__ volatile("" ::: "memory");
}

struct th_fib *th_fib_self(void)
{
	struct th_worker *w = th_worker_self();

	return w ? w->fiber : NULL; /* thread-private: this file is compiled without ThreadSanitizer */
}

bool th_is_home(const struct th_home *h)
{
	struct th_worker *w = th_worker_self();
	uintptr_t at = (uintptr_t)h;

	return w && at >= (uintptr_t)w->rt->workers && at < (uintptr_t)(w->rt->workers + w->rt->nworkers);
}

struct th_fiber *th_here(void)
{
	struct th_fib *fib = th_fib_self();

	return fib ? &fib->core : NULL;
}

struct th_fiber *th_self(void)
{
	struct th_fiber *f = th_here();

	if (f && th_load_rlx(&f->home->lane->fork))
		th_fork_settle(f);
	return f;
}

__attribute__((noinline)) int thrum_errno(void)
{
	return errno;
}

thrum_rt *thrum_rt_self(void)
{
	struct th_fib *fib = th_fib_self();

	return fib ? fib->worker->rt : NULL;
}

unsigned thrum_workers(void)
{
	struct thrum_rt *rt = thrum_rt_self();

	return rt ? rt->nworkers : 0;
}
