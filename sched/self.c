/* sched/self.c: the only thread-local of the library, behind functions that are never inlined: a compiler may keep the
 * address of a thread-local over a call, and a suspension may end on another thread's behalf (see VERIFICATION F2). */
#include "worker.h"

static _Thread_local struct th_worker *current;

__attribute__((noinline)) struct th_worker *th_worker_self(void)
{
	struct th_worker *w = current;
	__asm__ volatile("" ::: "memory");
	return w;
}

__attribute__((noinline)) void th_worker_set_self(struct th_worker *w)
{
	current = w;
	__asm__ volatile("" ::: "memory");
}

struct th_fib *th_fib_self(void)
{
	struct th_worker *w = th_worker_self();

	return w ? w->fiber : NULL; /* thread-private: this file is compiled without ThreadSanitizer */
}

struct th_fiber *th_self(void)
{
	struct th_fib *fib = th_fib_self();

	return fib ? &fib->core : NULL;
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
