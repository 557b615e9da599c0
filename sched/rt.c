/* sched/rt.c: opening a runtime, root effects from outside, shutting down. The composition root: the only file that knows
 * every part.
 *
 *   OPEN ──begin_shutdown: refuse starts, cancel the roots──► CLOSING ──x_roots reaches 0──► STOPPED (workers leave)
 *
 * x_roots counts the root effects plus one for "not shutting down"; whoever brings it to 0 stops the workers, so they
 * leave exactly when nothing can be left to run. From 0 it never comes back: whoever counted from there, only to be refused, would
 * stop them once more, and might wake one that has closed its ring (test/model/shutdown.pml found that). A worker closes its ring
 * only when all have left their loops and the last poke is done: a wake may be on its way to it until then. */
#include "../core/assert.h"
#include "../core/dump.h"
#include "../core/hooks.h"
#include "../core/meter.h"
#include "../core/pool.h"
#include "../core/tsan.h"
#include "../io/fdtable.h"
#include "opts.h"
#include "watch.h"
#include "worker.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct handle {
	struct th_task task;
	th_atomic_u32 x_done;
	int code;              /* of a start that was refused */
	bool refused;
	pid_t pid;             /* of the process whose runtime it is; that one may be closed before the handle goes */
};
_Static_assert(sizeof(struct handle) <= sizeof(thrum_handle), "thrum_handle holds a handle");

static struct handle *of(thrum_handle *h)
{
	return (struct handle *)(void *)h;
}

/* --- opening --- */

/* Threads on their way out of thrum_rt_shutdown(). */
static void wait_for_shutters(struct thrum_rt *rt)
{
	uint32_t n;

	while ((n = th_load_seq(&rt->x_shutters)) != 0)
		th_word_wait(&rt->x_shutters, n);
}

static void rt_free(struct thrum_rt *rt)
{
	if (!rt)
		return;
	th_outside_settle();
	wait_for_shutters(rt);
	th_blocking_close(&rt->blocking);
	for (unsigned i = 0; rt->workers && i < rt->nworkers; i++)
		th_worker_fini(&rt->workers[i]);
	free(rt->workers);
	if (rt->stacks)
		th_stacks_close(rt->stacks);
	th_pool_free(rt->records);
	th_pool_free(rt->causes);
	th_fdtable_close(rt->fds);
	free(rt);
}

static int alloc_parts(struct thrum_rt *rt, const thrum_opts *o)
{
	size_t record = sizeof(struct th_task) > sizeof(struct th_deferred) ? sizeof(struct th_task) :
									      sizeof(struct th_deferred);
	int r;

	if (record < th_blocking_record_bytes())
		record = th_blocking_record_bytes();

	rt->records = th_pool_new(record);
	rt->causes = th_pool_new(sizeof(struct th_cause));
	rt->workers = aligned_alloc(TH_LANE_LINE, o->workers * sizeof *rt->workers);
	if (!rt->records || !rt->causes || !th_pool_reserve(rt->causes) || !rt->workers)
		return -ENOMEM;
	rt->nworkers = 0;
	r = th_fdtable_open(&rt->fds);
	if (r < 0)
		return r;
	th_scope_init(&rt->root, &rt->workers[0].home, NULL, NULL);
	for (unsigned i = 0; i < o->workers; i++) {
		th_worker_init(&rt->workers[i], rt, i, o->seed);
		rt->workers[i].home.lent_buffers = o->lent_buffers;
		rt->workers[i].home.lent_bytes = (uint32_t)o->lent_bytes;
		rt->workers[i].home.shuffle = o->shuffle;
		rt->workers[i].home.light = !o->meter && !o->shuffle && (o->workers == 1 || rt->has_heavy_fence);
		rt->nworkers++;
	}
	rt->workers[0].home.meter = (struct th_meter){ .on = o->meter, .since = -1 };
	return th_stacks_open(&rt->stacks, o->stack_bytes);
}

static void describe(struct thrum_rt *rt, const thrum_opts *o, const char *why)
{
	int n = snprintf(rt->describe, sizeof rt->describe, "%u worker%s, %s", rt->nworkers, rt->nworkers == 1 ? "" : "s", why);

	if (o->shuffle && n >= 0 && (size_t)n < sizeof rt->describe)
		snprintf(rt->describe + n, sizeof rt->describe - (size_t)n, ", shuffled by seed %llu", (unsigned long long)o->seed);
}

static int rt_new(const thrum_opts *o, int ring_error, struct thrum_rt **ret_rt)
{
	const struct th_wish wish = { .backend = o->backend, .restrict_ring = o->restrict_ring, .ring_error = ring_error };
	struct thrum_rt *rt = aligned_alloc(TH_LANE_LINE, sizeof *rt);
	char why[200];
	int r;

	if (!rt)
		return -ENOMEM;
	memset(rt, 0, sizeof *rt);
	r = th_probe(&wish, &rt->backend, why, sizeof why);
	if (r < 0) {
		if (th_env_is_set("THRUM_LOG"))
			fprintf(stderr, "thrum: %s\n", why);
		free(rt);
		return r;
	}
	rt->io_opts = (struct th_io_opts){ .ring_entries = o->ring_entries, .restrict_ring = o->restrict_ring };
	rt->pid = getpid();
	rt->may_linger = th_opts_may_linger(o);
	rt->has_heavy_fence = th_fence_heavy(); /* registers the process while it has few threads */
	th_clock_init(&rt->clock, o->clock);
	rt->observer = (struct th_observer){ o->observe, o->observe_arg };
	th_taskq_init(&rt->inject);
	th_lock_init(&rt->token_lock);
	th_lock_init(&rt->start_lock);
	th_blocking_init(&rt->blocking, rt, o->blocking_threads);
	rt->stuck_ms = o->stuck_ms;
	rt->slow_ns = o->slow_scope_ms == THRUM_WATCH_OFF ? INT64_MAX : thrum_ms(o->slow_scope_ms).ns;
	th_lock_init(&rt->monitor_lock);
	th_init(&rt->x_advances_begun, 0);
	th_init(&rt->x_advances_ended, 0);
	th_init(&rt->x_roots, 1);
	r = alloc_parts(rt, o);
	if (r < 0) {
		rt_free(rt);
		return r;
	}
	describe(rt, o, why);
	*ret_rt = rt;
	return 0;
}

static void stop_workers(struct thrum_rt *rt)
{
	TH_ASSERT(th_load_rlx(&rt->x_stop) == TH_RUNNING); /* a second stop may find rings that are closed */
	th_store_seq(&rt->x_stop, TH_STOPPING);
	for (unsigned i = 0; i < rt->nworkers; i++)
		th_poke(&rt->workers[i]);
	th_clock_close(&rt->clock);
	th_store_seq(&rt->x_stop, TH_STOPPED); /* no worker closes its ring before the last poke */
	th_word_wake(&rt->x_stop, INT_MAX);
}

static void join_worker(struct th_worker *w)
{
	th_thread_join(w);
	th_tsan_acquire(w);
}

static void wait_until_up(struct thrum_rt *rt, uint32_t n)
{
	uint32_t up;

	while ((up = th_load_acq(&rt->x_up)) < n)
		th_word_wait(&rt->x_up, up);
}

/* Start workers first..nworkers-1 as threads and wait until each is up. On failure none is left (hazard 15). */
static int start_threads(struct thrum_rt *rt, unsigned first)
{
	unsigned started = first;
	int r = 0;

	for (unsigned i = first; i < rt->nworkers; i++)
		th_tsan_release(&rt->workers[i]);
	while (started < rt->nworkers && (r = th_thread_start(&rt->workers[started])) == 0) {
		started++;
		if (started == 1)
			wait_until_up(rt, 1); /* the others share what worker 0 has opened */
	}
	wait_until_up(rt, started - first);
	if (r == 0) {
		th_lock(&rt->start_lock);
		r = rt->start_error;
		th_unlock(&rt->start_lock);
	}
	if (r == 0)
		return 0;
	rt->start_failed = true; /* published by x_stop */
	stop_workers(rt);
	while (started-- > first)
		join_worker(&rt->workers[started]);
	return r;
}

static void announce(const struct thrum_rt *rt)
{
	if (th_env_is_set("THRUM_LOG"))
		fprintf(stderr, "thrum: %s\n", rt->describe);
}

static void report_meter(struct thrum_rt *rt)
{
	const thrum_report what = { .kind = THRUM_REPORT_METER };
	thrum_meter m;
	char text[1024];

	if (!rt->workers[0].home.meter.on)
		return;
	th_meter_result(&rt->workers[0].home.meter, &rt->root.longest, &m);
	(void)thrum_meter_text(&m, text, sizeof text);
	th_report_text(&rt->observer, &what, text);
}

static void watch(struct thrum_rt *rt)
{
	if (!th_clock_is_virtual(&rt->clock))
		th_monitor_start(rt);
}

/* A runtime whose workers are up; `first` is 1 if the caller is worker 0. ring_error: what a first try ended with, or 0. */
static int rt_start(const thrum_opts *o, unsigned first, int ring_error, struct thrum_rt **ret_rt)
{
	struct thrum_rt *rt;
	bool again;
	int r = rt_new(o, ring_error, &rt);

	if (r < 0)
		return r;
	rt->calls_main = first == 1;
	r = first ? th_worker_enter(&rt->workers[0]) : 0;
	if (r == 0) {
		r = start_threads(rt, first);
		if (r < 0 && first)
			th_worker_leave(&rt->workers[0]);
	}
	if (r == 0) {
		*ret_rt = rt;
		return 0;
	}
	/* Rings are locked memory, of which a user may have little: enough for some workers, and not for all. */
	again = r == -ENOMEM && rt->backend->dispensable && ring_error == 0;
	rt_free(rt);
	return again ? rt_start(o, first, r, ret_rt) : r;
}

int thrum_rt_open(const thrum_opts *opts, thrum_rt **ret_rt)
{
	struct thrum_rt *rt;
	thrum_opts o;
	int r;

	if (!ret_rt)
		return -EINVAL;
	r = th_opts_resolve(opts, &o);
	if (r < 0)
		return r;
	r = rt_start(&o, 0, 0, &rt);
	if (r < 0)
		return r;
	watch(rt);
	announce(rt);
	*ret_rt = rt;
	return 0;
}

/* --- root effects --- */

static bool forked(const struct thrum_rt *rt)
{
	return rt->pid != getpid();
}

static void refuse(struct handle *h, int code)
{
	h->refused = true;
	h->code = code;
	th_store_rel(&h->x_done, 1);
}

/* False: the last has ended. */
static bool count_root(struct thrum_rt *rt)
{
	uint32_t roots = th_load_seq(&rt->x_roots);

	while (roots > 0 && !th_cas_seq(&rt->x_roots, &roots, roots + 1))
		continue;
	return roots > 0;
}

static int start_root(struct thrum_rt *rt, struct handle *h, thrum_fx fx, const char *name)
{
	bool foreign;
	int r;

	memset(h, 0, sizeof *h);
	th_task_init(&h->task, fx);
	h->pid = rt->pid;
	h->task.name = name;
	h->task.isolated = true;
	h->task.done_word = &h->x_done;
	th_init(&h->x_done, 0);
	if (!count_root(rt)) {
		refuse(h, THRUM_ECLOSED);
		return THRUM_ECLOSED;
	}
	if (th_load_seq(&rt->x_closing))
		r = THRUM_ECLOSED;
	else
		r = th_scope_admit(&rt->root, &h->task, NULL);
	if (r < 0) {
		r = THRUM_ECLOSED; /* whatever cancelled the root scope, a shutdown or a deadlock: nothing new starts */
		refuse(h, r);
		th_root_ended(rt);
		return r;
	}
	foreign = th_foreign_enter(rt);
	th_tsan_release(&h->task);
	th_taskq_push(&rt->inject, &h->task);
	th_notify_work(rt);
	th_foreign_leave(rt, foreign);
	return 0;
}

int thrum_rt_start(thrum_rt *rt, thrum_handle *handle, thrum_fx fx)
{
	if (!rt || !handle || !fx.run)
		return -EINVAL;
	if (forked(rt))
		return -ECHILD;
	return start_root(rt, of(handle), fx, NULL);
}

static int code_of(const struct handle *h)
{
	return h->refused ? h->code : h->task.code;
}

static int wait_on_thread(struct handle *h)
{
	while (!th_load_acq(&h->x_done))
		th_word_wait(&h->x_done, 0);
	return code_of(h);
}

int thrum_handle_wait(thrum_handle *handle)
{
	struct handle *h = of(handle);

	if (th_load_acq(&h->x_done))
		return code_of(h); /* the runtime may be closed by now */
	if (h->pid != getpid())
		return -ECHILD;
	if (th_self())
		return thrum_join((thrum_task *)(void *)&h->task);
	return wait_on_thread(h);
}

void thrum_handle_cancel(thrum_handle *handle)
{
	struct handle *h = of(handle);

	/* In a forked child the effect does not run, and its locks may be held for ever (X10). */
	if (!th_load_acq(&h->x_done) && h->pid == getpid())
		thrum_task_cancel_at_((thrum_task *)(void *)&h->task, NULL, 0);
}

int thrum_rt_run(thrum_rt *rt, thrum_fx fx)
{
	thrum_handle h;
	int r;

	if (th_self())
		return -EDEADLK;
	r = thrum_rt_start(rt, &h, fx);
	return r < 0 ? r : thrum_handle_wait(&h);
}

/* --- the end --- */

void th_root_ended(struct thrum_rt *rt)
{
	if (th_sub_seq(&rt->x_roots, 1) != 1)
		return;
	stop_workers(rt);
}

static void begin_shutdown(struct thrum_rt *rt)
{
	thrum_reason why = { .kind = THRUM_CANCEL_SHUTDOWN };

	if (th_xchg_seq(&rt->x_closing, 1))
		return;
	th_node_cancel(&rt->root.node, &why);
	th_root_ended(rt); /* the one that stood for "not shutting down" */
}

int thrum_rt_shutdown(thrum_rt *rt)
{
	if (!rt)
		return 0;
	if (forked(rt))
		return -ECHILD;
	if (th_self() || th_blocking_inside(&rt->blocking))
		return -EDEADLK;
	th_add_seq(&rt->x_shutters, 1);
	begin_shutdown(rt);
	th_wait_stopped(rt);
	if (th_sub_seq(&rt->x_shutters, 1) == 1) /* after this the runtime may be gone; of the word no more than its address counts */
		th_word_wake(&rt->x_shutters, INT_MAX);
	return 0;
}

int thrum_rt_close(thrum_rt *rt)
{
	int r = thrum_rt_shutdown(rt);

	if (r < 0 || !rt)
		return r;
	for (unsigned i = 0; i < rt->nworkers; i++)
		join_worker(&rt->workers[i]);
	th_monitor_stop(rt);
	report_meter(rt);
	rt_free(rt);
	return 0;
}

/* C6: a test that can never end must say so instead of hanging. */
void th_rt_stuck(struct thrum_rt *rt)
{
	thrum_reason why = { .kind = THRUM_CANCEL_DEADLOCK, .code = -EDEADLK };
	thrum_report what = { .kind = THRUM_REPORT_DEADLOCK, .code = -EDEADLK };
	thrum_stats stats = { .size = sizeof stats };
	char text[2048];
	int n;

	(void)thrum_stats_read(rt, &stats);
	n = snprintf(text, sizeof text, "deadlock: %llu fibers, all waiting, and no timer that could fire; cancelling:",
		     (unsigned long long)stats.fibers_live);
	th_dump_below(&rt->root.node, text + n, sizeof text - (size_t)n);
	th_report_text(&rt->observer, &what, text);
	if (th_xchg_seq(&rt->x_deadlocked, 1))
		th_abort(__FILE__, __LINE__, "deadlock: fibers wait, shielded, for what can never come");
	th_node_cancel(&rt->root.node, &why);
}

/* --- the caller as worker 0 --- */

struct main_fx {
	thrum_fx fx;
	struct thrum_rt *rt;
};

void th_main_refused(struct thrum_rt *rt)
{
	begin_shutdown(rt);
}

/* The main effect ends the runtime: other roots are cancelled, and awaited by the loop. */
static int main_root(void *arg)
{
	struct main_fx *m = arg;
	int code = m->fx.run(m->fx.arg);

	begin_shutdown(m->rt);
	return code;
}

static int run_as_worker_0(struct thrum_rt *rt, thrum_fx fx)
{
	struct th_worker *w = &rt->workers[0];
	struct main_fx m = { fx, rt };
	thrum_handle h;
	int r;

	rt->main = &of(&h)->task;
	r = start_root(rt, of(&h), (thrum_fx){ main_root, &m }, "main");
	TH_ASSERT(r == 0);
	th_worker_loop(w);
	th_worker_leave(w);
	for (unsigned i = 1; i < rt->nworkers; i++)
		join_worker(&rt->workers[i]);
	r = wait_on_thread(of(&h));
	return th_load_rlx(&rt->x_deadlocked) ? -EDEADLK : r;
}

int thrum_run(const thrum_opts *opts, thrum_fx fx)
{
	struct thrum_rt *rt;
	thrum_opts o;
	int r;

	if (th_worker_self())
		return -EDEADLK;
	if (!fx.run)
		return -EINVAL;
	r = th_opts_resolve(opts, &o);
	if (r < 0)
		return r;
	r = rt_start(&o, 1, 0, &rt);
	if (r < 0)
		return r;
	watch(rt);
	announce(rt);
	r = run_as_worker_0(rt, fx);
	th_monitor_stop(rt);
	report_meter(rt);
	rt_free(rt);
	return r;
}
