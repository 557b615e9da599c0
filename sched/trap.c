/* sched/trap.c: a lock of the operating system held over a suspension (X4). The other fibers of this worker, which would
 * have to release it or want it too, run on the same thread: so it ends in a deadlock, or in two owners. A program error
 * that leaves no safe way on: abort and name the fiber.
 *
 * Code that takes such a lock says so with thrum_nosuspend_begin(), checked in every build. Without its help a debug build
 * sees robust mutexes: glibc keeps those that a thread holds in a list whose head the kernel knows (get_robust_list(2)).
 * Ordinary mutexes leave no trace. */
#include "../core/assert.h"
#include "worker.h"
#include <thrum/watch.h>
#if TH_DEBUG && !defined(TH_SIM)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *name_of(const struct th_fib *fib)
{
	const struct th_task *t = fib->core.task;

	return t && t->name ? t->name : "(unnamed)";
}

void thrum_nosuspend_begin(void)
{
	struct th_fib *fib = th_fib_self();

	if (fib)
		fib->core.nosuspend++;
}

void thrum_nosuspend_end(void)
{
	struct th_fib *fib = th_fib_self();

	if (!fib)
		return;
	if (fib->core.nosuspend == 0)
		th_abort(__FILE__, __LINE__, "fiber %s: thrum_nosuspend_end() without a begin", name_of(fib));
	fib->core.nosuspend--;
}

void th_trap_nosuspend(const struct th_fib *fib, const char *what)
{
	th_abort(__FILE__, __LINE__, "fiber %s %s between thrum_nosuspend_begin() and _end() (X4)", name_of(fib), what);
}

#if TH_DEBUG && !defined(TH_SIM)
static const void *first_held(const struct th_worker *w)
{
	const struct robust_list_head *head = w->robust;

	return head ? head->list.next : NULL;
}

/* What this thread holds already, as worker 0 may, is no fiber's. */
void th_trap_init(struct th_worker *w)
{
	struct robust_list_head *head = NULL;
	size_t len;

	w->robust = syscall(SYS_get_robust_list, 0, &head, &len) == 0 ? head : NULL;
	w->robust_before = first_held(w);
}

void th_trap_held_lock(const struct th_fib *fib)
{
	const struct th_worker *w = fib->worker;
	const void *first = first_held(w);

	if (first != w->robust_before && first != w->robust)
		th_abort(__FILE__, __LINE__, "fiber %s suspends while its thread holds a robust mutex (X4)", name_of(fib));
}
#endif
