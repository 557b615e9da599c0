/* core/fan_take.c: which runner takes which items of a fan, and who is called for help.
 *
 * Items come off one counter. While they are calls, a runner takes twice as many each time, up to half of a fair share of what
 * is left (guided self-scheduling, Polychronopoulos and Kuck 1987), so the counter is touched once for thousands of them. An
 * item that calls into the library may block: from then on the items behind it in the same chunk are on offer to others, and
 * the runner takes one at a time again. So a chunk keeps an item from starting only as long as those before it are calls.
 * When another worker falls asleep the runner, which looks up between two items, has half of its chunk on offer for it.
 *
 * A place is the right to run items; there are `parallelism` of them (F4). A runner gives its place up, under the lock, when
 * there is neither an item left nor one on offer; who puts items on offer then finds a place, or all of them held by runners
 * that will look again. So no offer is overlooked. */
#include "fan.h"
#include "pool.h"
#include <thrum/rt.h>

enum { CHUNK_MAX = 16384 };

/* As long as items are calls each runner takes more of them at a time, but not so many that the others have none. */
static size_t wanted(const struct runner *r)
{
	struct fan *fan = r->fan;
	uint64_t next = th_load_rlx(&fan->x_next);
	size_t fair;

	if (fan->grain || next >= fan->n)
		return r->chunk;
	fair = (fan->n - next) / (2 * (size_t)thrum_workers());
	return r->chunk <= fair ? r->chunk : fair ? fair : 1;
}

static void set_items(struct runner *r, size_t begin, size_t end)
{
	r->items.fork.fx.item.index = begin;
	r->items.end = end;
}

static bool take_next(struct runner *r)
{
	struct fan *fan = r->fan;
	size_t want = wanted(r), i;

	if (th_load_rlx(&fan->x_next) >= fan->n) /* F2 */
		return false;
	i = th_add_rlx(&fan->x_next, want); /* F1 */
	if (i >= fan->n)
		return false;
	set_items(r, i, fan->n - i < want ? fan->n : i + want);
	return true;
}

static bool is_on_offer(const struct range *o) { return o->begin < o->end; }
static bool has_offered(const struct runner *r) { return is_on_offer(&r->rest) || is_on_offer(&r->half); }

/* Under the lock. */
static bool take_offered(struct runner *r)
{
	struct range *o = r->fan->offers;
	size_t want = has_offered(r) ? 1 : r->chunk, begin;

	if (!o)
		return false;
	begin = o->begin;
	o->begin = o->end - begin < want ? o->end : begin + want;
	set_items(r, begin, o->begin);
	if (!is_on_offer(o)) {
		r->fan->offers = o->next;
		if (!o->next)
			th_store_rlx(&r->fan->x_offers, 0);
	}
	return true;
}

bool th_runner_take(struct runner *r)
{
	struct fan *fan = r->fan;
	bool any;

	if (th_load_rlx(&fan->x_offers) == 0 && take_next(r)) /* F3 */
		return true;
	th_lock(&fan->lock);
	any = take_offered(r);
	if (!any && !(any = take_next(r)))
		fan->places++;
	th_unlock(&fan->lock);
	return any;
}

void th_runner_skip(struct runner *r)
{
	r->items.fork.fx.item.index = r->items.end;
	th_store_rlx(&r->fan->x_next, r->fan->n); /* F4 */
}

void th_runner_adapt(struct runner *r, bool all_calls)
{
	if (r->fan->grain)
		return;
	r->chunk = !all_calls ? 1 : r->chunk < CHUNK_MAX ? 2 * r->chunk : CHUNK_MAX;
}

void th_runner_init(struct runner *r, struct fan *fan)
{
	r->fan = fan;
	r->chunk = fan->grain ? fan->grain : 1;
	r->rest = r->half = (struct range){ 0 };
	th_items_init(&r->items, th_scope_of(&fan->scope));
	r->items.base = fan->fx ? (char *)(uintptr_t)fan->fx : fan->base;
	r->items.stride = fan->fx ? sizeof *fan->fx : fan->stride;
}

/* --- places --- */

/* A place for one runner more, which will start some time; false: there is none, or nothing that it could do. `first`: not
 * if another one has still to start. */
static bool take_place(struct fan *fan, bool first)
{
	bool any;

	th_lock(&fan->lock);
	any = fan->places > 0 && (fan->offers || th_load_rlx(&fan->x_next) < fan->n) /* F2 */
	      && !(first && fan->unstarted > 0);
	fan->places -= any;
	fan->unstarted += any;
	th_unlock(&fan->lock);
	return any;
}

/* It will not start. */
static void give_place(struct fan *fan)
{
	th_lock(&fan->lock);
	fan->places++;
	fan->unstarted--;
	th_unlock(&fan->lock);
}

static void init_runner(struct th_task *t, struct fan *fan)
{
	th_task_init(t, (thrum_fx){ th_runner_main, fan });
	t->runner = true;
}

/* Start a runner that has a place, with a record of the runtime's. `worker` is 1-based, 0: any. False: no memory, or the fan
 * was cancelled. */
static bool start_runner(struct th_fiber *f, struct fan *fan, unsigned worker)
{
	struct th_pool *pool = f->home->records;
	struct th_task *t = th_pool_take(pool);

	if (!t)
		return false;
	init_runner(t, fan);
	t->pool = pool;
	if (th_spawn(f, th_scope_of(&fan->scope), t, worker) == 0)
		return true;
	th_pool_give(pool, t);
	return false;
}

static void start_another(struct th_fiber *f, struct fan *fan, unsigned worker)
{
	if (take_place(fan, true) && !start_runner(f, fan, worker))
		give_place(fan);
}

bool th_fan_spawn(struct th_fiber *f, struct fan *fan, struct th_task *t)
{
	if (!take_place(fan, false))
		return false;
	init_runner(t, fan);
	if (th_spawn(f, th_scope_of(&fan->scope), t, th_idle_worker(f)) == 0)
		return true; /* else it was cancelled: nobody is needed */
	give_place(fan);
	return false;
}

void th_fan_started(struct fan *fan)
{
	th_lock(&fan->lock);
	fan->unstarted--;
	th_unlock(&fan->lock);
}

/* This runner's place is for another one; false: not while there is something of its own on offer. */
static bool leave_place(struct runner *r)
{
	bool leave;

	th_lock(&r->fan->lock);
	leave = !has_offered(r);
	r->fan->unstarted += leave;
	th_unlock(&r->fan->lock);
	return leave;
}

bool th_runner_hand_over(struct th_fiber *f, struct runner *r)
{
	struct fan *fan = r->fan;
	unsigned worker;

	if (th_load_rlx(&fan->x_next) >= fan->n) /* F2 */
		return false;
	worker = th_idle_worker(f);
	if (!worker || !leave_place(r))
		return false;
	if (start_runner(f, fan, worker))
		return true;
	th_fan_started(fan); /* the one that goes on in it is this one */
	return false;
}

/* --- offers --- */

/* Leave the items from `from` on to whoever comes. */
static void offer(struct runner *r, struct range *o, size_t from)
{
	struct fan *fan = r->fan;

	th_lock(&fan->lock);
	TH_ASSERT(!is_on_offer(o));
	*o = (struct range){ fan->offers, from, r->items.end };
	fan->offers = o;
	th_store_rlx(&fan->x_offers, 1);
	th_unlock(&fan->lock);
	r->items.end = from;
}

/* Adaptive runners only: who takes a grain of items keeps it. */
void th_item_settled(struct th_fiber *f, struct thrum_items_ *items)
{
	struct runner *r = th_container(items, struct runner, items);
	size_t next = items->fork.fx.item.index + 1;

	if (r->fan->grain || next >= items->end)
		return;
	offer(r, &r->rest, next);
	start_another(f, r->fan, 0);
}

void th_runner_share(struct th_fiber *f, struct runner *r)
{
	size_t begin = r->items.fork.fx.item.index, left = r->items.end - begin;
	struct fan *fan = r->fan;
	unsigned worker;
	bool useful;

	if (left < 2 || fan->grain || (worker = th_idle_worker(f)) == 0)
		return;
	th_lock(&fan->lock);
	useful = !is_on_offer(&r->half) && fan->places > 0 && fan->unstarted == 0; /* else nobody could come for it */
	th_unlock(&fan->lock);
	if (!useful)
		return;
	offer(r, &r->half, begin + left / 2);
	start_another(f, fan, worker);
}
