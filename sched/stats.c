/* sched/stats.c: what a runtime says of itself, to anybody who asks. */
#include "worker.h"
#include <errno.h>

const char *thrum_rt_describe(const thrum_rt *rt)
{
	if (!rt)
		rt = thrum_rt_self();
	return rt ? rt->describe : NULL;
}

static void add_stats(thrum_stats *s, struct th_worker *w)
{
	s->spawns += th_load_rlx(&w->home.x_spawns);
	s->inline_runs += th_load_rlx(&w->home.x_inline_runs);
	s->suspends += th_load_rlx(&w->home.x_suspends);
	s->io_ops += th_load_rlx(&w->home.x_io_ops);
	s->steals += th_load_rlx(&w->x_steals);
	s->steal_fails += th_load_rlx(&w->x_steal_fails);
	s->forced_steals += th_load_rlx(&w->x_forced);
	s->fibers += th_load_rlx(&w->x_fibers);
	s->parks += th_load_rlx(&w->x_parks);
	s->wakes += th_load_rlx(&w->x_wakes);
	s->ring_overflows += th_load_rlx(&w->x_overflows);
	s->fibers_live += th_load_rlx(&w->x_jobs) - th_load_rlx(&w->x_retired);
}

/* Read one after the other while fibers come and go: warm ones may seem fewer than those in use. */
static void add_stacks(thrum_stats *s, struct thrum_rt *rt)
{
	struct th_stacks_count n = th_stacks_count(rt->stacks);

	s->stacks_mapped = n.mapped;
	s->stacks_cooled = n.cooled;
	s->stacks_warm = n.warm > s->fibers_live ? n.warm - s->fibers_live : 0;
}

int thrum_stats_read(thrum_rt *rt, thrum_stats *s)
{
	if (!rt)
		rt = thrum_rt_self();
	if (!rt || !s || s->size != sizeof *s)
		return -EINVAL;
	*s = (thrum_stats){ .size = sizeof *s };
	for (unsigned i = 0; i < rt->nworkers; i++)
		add_stats(s, &rt->workers[i]);
	add_stacks(s, rt);
	s->blocking_jobs = th_load_rlx(&rt->blocking.x_jobs);
	s->blocking_threads = th_load_rlx(&rt->blocking.x_blockers);
	return 0;
}

int thrum_stats_read_worker(thrum_rt *rt, unsigned worker, thrum_stats *s)
{
	if (!rt)
		rt = thrum_rt_self();
	if (!rt || !s || s->size != sizeof *s || worker == 0 || worker > rt->nworkers)
		return -EINVAL;
	*s = (thrum_stats){ .size = sizeof *s };
	add_stats(s, &rt->workers[worker - 1]);
	return 0;
}
