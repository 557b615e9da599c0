/* sched/rt.c: opening a runtime, root effects from outside, shutting down. The composition root: the only file that knows
 * every part.
 *
 *   OPEN ──begin_shutdown: refuse starts, cancel the roots──► CLOSING ──x_roots reaches 0──► STOPPED (workers leave)
 *
 * x_roots counts the root effects plus one for "not shutting down"; whoever brings it to 0 stops the workers, so they
 * leave exactly when nothing can be left to run. A worker closes its ring only when all have left their loops and the
 * last poke is done: a wake may be on its way to it until then. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/pool.h"
#include "../core/tsan.h"
#include "../io/fdtable.h"
#include "worker.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <unistd.h>

enum {
	WORKERS_MAX = 1024,
	STACK_BYTES = 112 * 1024, /* with its guard: 128 KiB of address space */
	STACK_MIN = 16 * 1024,
	HEADROOM_MAX = 32 * 1024
};

struct handle {
	struct th_task task;
	th_atomic_u32 x_done;
	int code;              /* of a start that was refused */
	bool refused;
	struct thrum_rt *rt;
};
_Static_assert(sizeof(struct handle) <= sizeof(thrum_handle), "thrum_handle holds a handle");

static struct handle *of(thrum_handle *h)
{
	return (struct handle *)(void *)h;
}

/* --- options --- */

static unsigned usable_cpus(void)
{
	cpu_set_t set;
	int n;

	CPU_ZERO(&set);
	n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

static int default_workers(unsigned *ret_n)
{
	const char *text = getenv("THRUM_WORKERS");
	unsigned long n;
	char *end;

	*ret_n = usable_cpus();
	if (*ret_n > WORKERS_MAX)
		*ret_n = WORKERS_MAX;
	if (!text || !*text)
		return 0;
	n = strtoul(text, &end, 10);
	if (*end || n == 0 || n > WORKERS_MAX)
		return -EINVAL;
	*ret_n = (unsigned)n;
	return 0;
}

static int resolve_opts(const thrum_opts *given, thrum_opts *o)
{
	long page = sysconf(_SC_PAGESIZE);
	int r;

	memset(o, 0, sizeof *o);
	if (given) {
		if (given->size != sizeof *given)
			return -EINVAL;
		*o = *given;
	}
	if (o->blocking_threads || o->backend > THRUM_BACKEND_EPOLL || o->clock > THRUM_CLOCK_JUMP ||
	    o->workers > WORKERS_MAX || o->stack_bytes > (size_t)1 << 40)
		return -EINVAL;
	if (o->workers == 0) {
		r = default_workers(&o->workers);
		if (r < 0)
			return r;
	}
	if (o->stack_bytes == 0)
		o->stack_bytes = STACK_BYTES;
	if (o->stack_bytes < STACK_MIN)
		return -EINVAL;
	o->stack_bytes = (o->stack_bytes + (size_t)page - 1) & ~((size_t)page - 1);
	if (o->seed == 0)
		o->seed = th_ticks() | 1;
	return 0;
}

/* --- opening --- */

static void rt_free(struct thrum_rt *rt)
{
	if (!rt)
		return;
	for (unsigned i = 0; rt->workers && i < rt->nworkers; i++)
		th_worker_fini(&rt->workers[i]);
	free(rt->workers);
	if (rt->stacks)
		th_stacks_close(rt->stacks);
	th_pool_free(rt->records);
	th_fdtable_close(rt->fds);
	free(rt);
}

static int alloc_parts(struct thrum_rt *rt, const thrum_opts *o)
{
	size_t record = sizeof(struct th_task) > sizeof(struct th_deferred) ? sizeof(struct th_task) :
									      sizeof(struct th_deferred);
	int r;

	rt->records = th_pool_new(record);
	rt->workers = aligned_alloc(TH_DEQUE_LINE, o->workers * sizeof *rt->workers);
	if (!rt->records || !rt->workers)
		return -ENOMEM;
	rt->nworkers = 0;
	r = th_fdtable_open(&rt->fds);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < o->workers; i++) {
		th_worker_init(&rt->workers[i], rt, i, o->seed);
		rt->nworkers++;
	}
	return th_stacks_open(&rt->stacks, o->stack_bytes);
}

static int rt_new(const thrum_opts *o, struct thrum_rt **ret_rt)
{
	struct thrum_rt *rt = aligned_alloc(TH_DEQUE_LINE, sizeof *rt);
	char why[200];
	int r;

	if (!rt)
		return -ENOMEM;
	memset(rt, 0, sizeof *rt);
	r = th_probe(o->backend, &rt->backend, why, sizeof why);
	if (r < 0) {
		if (getenv("THRUM_LOG"))
			fprintf(stderr, "thrum: %s\n", why);
		free(rt);
		return r;
	}
	rt->pid = getpid();
	rt->stack_low = o->stack_bytes / 4 < HEADROOM_MAX ? o->stack_bytes / 4 : HEADROOM_MAX;
	th_clock_init(&rt->clock, o->clock);
	th_taskq_init(&rt->inject);
	th_lock_init(&rt->token_lock);
	th_lock_init(&rt->start_lock);
	th_scope_init(&rt->root, NULL, NULL);
	th_init(&rt->x_roots, 1);
	r = alloc_parts(rt, o);
	if (r < 0) {
		rt_free(rt);
		return r;
	}
	snprintf(rt->describe, sizeof rt->describe, "%u worker%s, %s", rt->nworkers, rt->nworkers == 1 ? "" : "s", why);
	*ret_rt = rt;
	return 0;
}

static void stop_workers(struct thrum_rt *rt)
{
	th_store_seq(&rt->x_stop, TH_STOPPING);
	for (unsigned i = 0; i < rt->nworkers; i++)
		th_poke(&rt->workers[i]);
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
		th_thread_join(&rt->workers[started]);
	return r;
}

static void announce(const struct thrum_rt *rt)
{
	const char *log = getenv("THRUM_LOG");

	if (log && *log && strcmp(log, "0") != 0)
		fprintf(stderr, "thrum: %s\n", rt->describe);
}

int thrum_rt_open(const thrum_opts *opts, thrum_rt **ret_rt)
{
	struct thrum_rt *rt;
	thrum_opts o;
	int r;

	if (!ret_rt)
		return -EINVAL;
	r = resolve_opts(opts, &o);
	if (r < 0)
		return r;
	r = rt_new(&o, &rt);
	if (r < 0)
		return r;
	r = start_threads(rt, 0);
	if (r < 0) {
		rt_free(rt);
		return r;
	}
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

static int start_root(struct thrum_rt *rt, struct handle *h, thrum_fx fx)
{
	bool foreign;
	int r;

	memset(h, 0, sizeof *h);
	th_task_init(&h->task, fx);
	h->rt = rt;
	h->task.isolated = true;
	h->task.done_word = &h->x_done;
	th_init(&h->x_done, 0);
	th_add_seq(&rt->x_roots, 1);
	if (th_load_seq(&rt->x_closing))
		r = THRUM_ECLOSED;
	else
		r = th_scope_admit(&rt->root, &h->task);
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
	return start_root(rt, of(handle), fx);
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
	if (forked(h->rt))
		return -ECHILD;
	if (th_self())
		return thrum_join((thrum_task *)(void *)&h->task);
	return wait_on_thread(h);
}

void thrum_handle_cancel(thrum_handle *handle)
{
	struct handle *h = of(handle);

	/* In a forked child the effect does not run, and its locks may be held for ever (X10). */
	if (!th_load_acq(&h->x_done) && !forked(h->rt))
		thrum_task_cancel((thrum_task *)(void *)&h->task);
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
	if (th_self())
		return -EDEADLK;
	begin_shutdown(rt);
	th_wait_stopped(rt);
	return 0;
}

int thrum_rt_close(thrum_rt *rt)
{
	int r = thrum_rt_shutdown(rt);

	if (r < 0 || !rt)
		return r;
	for (unsigned i = 0; i < rt->nworkers; i++)
		join_worker(&rt->workers[i]);
	rt_free(rt);
	return 0;
}

/* C6: a test that can never end must say so instead of hanging. */
void th_rt_stuck(struct thrum_rt *rt)
{
	thrum_reason why = { .kind = THRUM_CANCEL_DEADLOCK, .code = -EDEADLK };

	thrum_stats stats = { .size = sizeof stats };

	(void)thrum_stats_read(rt, &stats);
	fprintf(stderr, "thrum: deadlock: %llu fibers, all waiting, and no timer that could fire; cancelling\n",
		(unsigned long long)stats.fibers_live);
	if (th_xchg_seq(&rt->x_deadlocked, 1))
		th_abort(__FILE__, __LINE__, "deadlock: fibers wait, shielded, for what can never come");
	th_node_cancel(&rt->root.node, &why);
}

/* --- the caller as worker 0 --- */

struct main_fx {
	thrum_fx fx;
	struct thrum_rt *rt;
};

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

	r = start_root(rt, of(&h), (thrum_fx){ main_root, &m });
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
	r = resolve_opts(opts, &o);
	if (r < 0)
		return r;
	r = rt_new(&o, &rt);
	if (r < 0)
		return r;
	rt->calls_main = true;
	r = th_worker_enter(&rt->workers[0]);
	if (r == 0) {
		r = start_threads(rt, 1);
		if (r < 0)
			th_worker_leave(&rt->workers[0]);
	}
	if (r == 0) {
		announce(rt);
		r = run_as_worker_0(rt, fx);
	}
	rt_free(rt);
	return r;
}

/* --- looking in --- */

const char *thrum_rt_describe(const thrum_rt *rt)
{
	if (!rt)
		rt = thrum_rt_self();
	return rt ? rt->describe : NULL;
}

int thrum_stats_read(thrum_rt *rt, thrum_stats *s)
{
	if (!rt)
		rt = thrum_rt_self();
	if (!rt || !s || s->size != sizeof *s)
		return -EINVAL;
	memset(s, 0, sizeof *s);
	s->size = sizeof *s;
	for (unsigned i = 0; i < rt->nworkers; i++) {
		struct th_worker *w = &rt->workers[i];
		s->spawns += th_load_rlx(&w->home.x_spawns);
		s->inline_runs += th_load_rlx(&w->home.x_inline_runs);
		s->suspends += th_load_rlx(&w->home.x_suspends);
		s->io_ops += th_load_rlx(&w->home.x_io_ops);
		s->steals += th_load_rlx(&w->x_steals);
		s->fibers += th_load_rlx(&w->x_fibers);
		s->parks += th_load_rlx(&w->x_parks);
		s->wakes += th_load_rlx(&w->x_wakes);
		s->fibers_live += th_load_rlx(&w->x_jobs) - th_load_rlx(&w->x_retired);
	}
	s->stacks_mapped = th_stacks_mapped(rt->stacks);
	return 0;
}
