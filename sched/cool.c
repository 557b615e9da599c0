/* sched/cool.c: memory that a burst of fibers has left behind goes back to the system.
 *
 *   spares of a worker ──not wanted for a period──► the pool's idle stacks ──not wanted for a period──► cold
 *
 * Guarantees: some four periods (a second) after the last fiber of a burst has ended no more than KEEP idle fibers hold memory
 * at each worker, and none in the pool, also if every worker sleeps; a worker with nothing left to cool sleeps on. Who keeps
 * its worker busy has this done between its turns, a few stacks at a time. What is wanted again within a period stays warm.
 * Does not: move memory of a fiber that is parked, or shrink what a program has from malloc().
 *
 * There is no thread and no timer for it. A worker that gave stacks to the pool, or has many spares, gets up from its sleep
 * after a period, for as long as there is something to cool. On a virtual clock time passes only by turns: whoever sleeps
 * there is not woken for it. Idea: the decay of jemalloc's dirty pages. */
#include "../core/hooks.h"
#include "worker.h"

enum { KEEP = 8 }; /* spares that a worker keeps for ever: a small program gives none back and never gets up */

static bool wants(const struct th_worker *w)
{
	return w->spares > KEEP || w->gave;
}

static void begin_period(struct th_worker *w, int64_t now_ns)
{
	w->period_ns = now_ns;
	if (w->spares_low > KEEP)
		th_fib_drop_oldest(w, w->spares_low - KEEP);
	w->spares_low = w->spares;
	w->cooling = w->gave; /* to see whether they are due */
}

void th_cool(struct th_worker *w)
{
	int64_t now_ns;
	enum th_cooling state;

	if (!wants(w))
		return;
	now_ns = th_clock_is_virtual(w->home.clock) ? th_load_rlx(&w->home.clock->x_now_ns) : th_backend_now(&w->home);
	if (now_ns - w->period_ns >= TH_STACKS_PERIOD_NS)
		begin_period(w, now_ns);
	if (!w->cooling)
		return;
	state = th_stacks_cool(w->rt->stacks, now_ns);
	w->cooling = state == TH_COOLING;
	w->gave = state != TH_COLD;
}

int64_t th_cool_at(const struct th_worker *w)
{
	if (!wants(w) || th_clock_is_virtual(w->home.clock))
		return INT64_MAX;
	return w->period_ns + TH_STACKS_PERIOD_NS;
}
