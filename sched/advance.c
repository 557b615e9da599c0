/* sched/advance.c: thrum_clock_advance: the request is served by the last worker to fall asleep (core/clock.h). */
#include "../core/hooks.h"
#include "watch.h"
#include "worker.h"
#include <errno.h>
#include <thrum/clock.h>
#include <unistd.h>

/* On the worker's stack: the asking fiber is parked and does not count as runnable (C4). */
static void post(struct th_fiber *f, void *arg)
{
	struct th_advance *a = arg;

	th_monitor_advance_begins(f->home->rt);
	(void)th_clock_post(f->home->clock, a); /* open as long as there are fibers */
}

static void advance_from_thread(struct thrum_rt *rt, struct th_advance *a)
{
	th_atomic_u32 done;
	bool foreign = th_foreign_enter(rt), open;

	th_init(&done, 0);
	a->done_word = &done;
	th_monitor_advance_begins(rt);
	open = th_clock_post(&rt->clock, a);
	if (open)
		th_poke(&rt->workers[0]); /* if all sleep already, one of them must look again */
	else
		a->code = THRUM_ECLOSED;
	th_foreign_leave(rt, foreign);
	while (open && !th_load_acq(&done))
		th_word_wait(&done, 0);
}

int thrum_clock_advance(thrum_rt *rt, thrum_dur d)
{
	struct th_fiber *f = th_self();
	struct th_advance a = { 0 };
	thrum_time now;

	if (!rt)
		rt = thrum_rt_self();
	if (!rt || d.ns < 0 || rt->clock.kind != THRUM_CLOCK_TEST)
		return -EINVAL;
	if (rt->pid != getpid())
		return -ECHILD; /* its workers did not come along (X10) */
	now.ns = th_load_rlx(&rt->clock.x_now_ns);
	a.clock = &rt->clock;
	a.target_ns = thrum_time_add(now, d).ns;
	if (f && thrum_rt_self() == rt) {
		a.fiber = f;
		th_suspend(post, &a);
	} else {
		advance_from_thread(rt, &a);
	}
	th_monitor_advance_ended(rt);
	return a.code;
}
