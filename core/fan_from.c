/* core/fan_from.c: for_each_par over an iterator (F5).
 *
 * The runners of core/fan.c, but that an item is pulled instead of counted off:
 *
 *     caller    pull ► spawn runner ► item ► pull ► item ► pull: end ────► join ┐
 *     runner           └► pull ► spawn runner ► item ► pull: end ► join ┐
 *     runner                     └► pull: end                           ▼
 *
 * One fiber mutex makes sure of the one puller. It is held while `next` runs, not while an item does; waiting for it
 * can be cancelled. A successor is spawned when its runner has an item to run, so there are never more fibers than items
 * alive, but for one that pulls. As in core/fan.c a runner's frame holds its successor's record, a successor goes to a
 * worker that sleeps, and between two items a runner may hand its place on to one.
 *
 * `next` runs as a child of the scope, as each item does. So it has an identity of its own, what it acquires is released
 * when it returns, its failure cancels the others (Z4), and after a failure or a cancel it is not called any more (F6). */
#include "done.h"
#include "hooks.h"
#include "pool.h"
#include "scope.h"
#include <errno.h>

struct from {
	thrum_scope scope;
	int (*next)(void *iter, void **ret_item);
	void *iter;
	int (*run)(void *item);
	void (*drop)(void *item);
	struct th_done done;
	size_t parallelism;

	thrum_mutex pulling;      /* of `pulled`, and of writing x_ended */
	size_t pulled;

	/*   tag  where                     order    pairs  because
	 *   I1   pull: store x_ended       relaxed  –      the next puller reads it under the mutex
	 *   I2   others: load x_ended      relaxed  –      a hint: a successor too many finds nothing to pull
	 *   I3   grow: add x_runners       relaxed  –      only its count matters */
	th_atomic_u32 x_ended;
	th_atomic_u64 x_runners;
};

struct item {
	struct from *from;
	void *item;
	size_t index;
	bool got;                 /* pulled */
};

/* --- pulling --- */

static int call_next(void *arg)
{
	struct item *i = arg;
	int r = i->from->next(i->from->iter, &i->item);

	i->got = r > 0;
	return r;
}

static int drop_item(void *arg)
{
	struct item *i = arg;

	i->from->drop(i->item);
	return 0;
}

/* Pulled, but not run. */
static void drop(struct th_fiber *f, struct item *i, int code)
{
	if (i->from->drop)
		(void)th_run_shielded(f, (thrum_fx){ drop_item, i }, code);
}

/* The mutex is ours. > 0: there is an item. */
static int pull_locked(struct th_fiber *f, struct from *from, struct item *ret_item)
{
	struct th_task puller;
	int r;

	*ret_item = (struct item){ .from = from, .index = from->pulled };
	if (th_load_rlx(&from->x_ended))
		return 0;
	th_task_init(&puller, (thrum_fx){ call_next, ret_item });
	puller.name = "next";
	r = th_child_call(f, th_scope_of(&from->scope), &puller, from->pulled);
	if (r == 0)
		th_store_rlx(&from->x_ended, 1); /* I1 */
	else if (r > 0)
		from->pulled++;
	return r;
}

static bool pull(struct th_fiber *f, struct from *from, struct item *ret_item)
{
	int r = thrum_mutex_lock(&from->pulling);

	if (r < 0)
		return false;
	r = pull_locked(f, from, ret_item);
	(void)thrum_mutex_unlock(&from->pulling);
	if (r < 0 && ret_item->got)
		drop(f, ret_item, r); /* what `next` had registered to be released failed */
	return r > 0;
}

/* --- running --- */

static void run_item(struct th_fiber *f, struct from *from, struct item *i)
{
	struct th_noted noted;
	struct th_task t;
	int code;

	th_task_init(&t, th_noted_fx(&noted, (thrum_fx){ from->run, i->item }));
	t.item = true;
	code = th_child_call(f, th_scope_of(&from->scope), &t, i->index);
	if (noted.ran)
		th_done_tell(f, &from->done, i->item, i->index, code);
	else
		drop(f, i, code);
}

static int runner(void *arg);

static void init_runner(struct th_task *t, struct from *from)
{
	th_task_init(t, (thrum_fx){ runner, from });
	t->runner = true;
}

static bool spawn_successor(struct th_fiber *f, struct from *from, struct th_task *t)
{
	if (th_load_rlx(&from->x_ended)) /* I2 */
		return false;
	if (th_add_rlx(&from->x_runners, 1) >= from->parallelism) /* I3 */
		return false;
	init_runner(t, from);
	return th_spawn(f, th_scope_of(&from->scope), t, th_idle_worker(f)) == 0;
}

/* As in core/fan.c. */
static bool hand_over(struct th_fiber *f, struct from *from, struct th_task *successor)
{
	struct th_pool *pool = f->home->records;
	struct th_task *t;
	unsigned worker;
	int code;

	if (th_load_rlx(&from->x_ended) || !th_has_more(f)) /* I2 */
		return false;
	worker = th_idle_worker(f);
	if (!worker || (successor && !th_task_done(successor, &code)))
		return false;
	t = th_pool_take(pool);
	if (!t)
		return false;
	init_runner(t, from);
	t->pool = pool;
	if (th_spawn(f, th_scope_of(&from->scope), t, worker) == 0)
		return true;
	th_pool_give(pool, t);
	return false;
}

static void run_items(struct th_fiber *f, struct from *from)
{
	struct th_task successor;
	struct item item;
	bool spawned;

	if (!pull(f, from, &item))
		return;
	spawned = spawn_successor(f, from, &successor);
	do {
		run_item(f, from, &item);
	} while (!hand_over(f, from, spawned ? &successor : NULL) && pull(f, from, &item));
	if (spawned)
		(void)thrum_join((thrum_task *)(void *)&successor);
}

static int runner(void *arg)
{
	run_items(th_self(), arg);
	return 0;
}

/* --- the call --- */

static int run_all(struct th_fiber *f, struct from *from)
{
	struct th_scope *s = th_scope_of(&from->scope);
	struct th_outcome out;
	int r = 0;

	(void)thrum_mutex_init(&from->pulling);
	th_init(&from->x_ended, 0);
	th_init(&from->x_runners, 1);
	th_scope_open(f, s);
	s->takes_late = true; /* runners that took over from the caller may outlast its own turn */
	run_items(f, from);
	th_scope_close(f, s, &out);
	if (out.child)
		r = out.child;
	else if (out.interrupted || !th_load_rlx(&from->x_ended)) /* by a cancel of one who was about to pull */
		r = -ECANCELED;
	return th_scope_rule(f, s, &out, r);
}

int thrum_for_each_par_from(int (*next)(void *, void **), void *iter, int (*run)(void *), size_t parallelism,
			    const thrum_fan_opts *o)
{
	struct from from = { .next = next, .iter = iter, .run = run, .parallelism = parallelism };
	struct th_fiber *f = th_self();

	if (parallelism == 0 || !next || !run)
		return -EINVAL;
	if (o && (o->size != sizeof *o || o->combine || o->codes || o->grain))
		return -EINVAL;
	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	from.drop = o ? o->drop : NULL;
	th_done_init(&from.done, o);
	return run_all(f, &from);
}
