/* core/fan.c: fans: many items, each a child of one scope. zip_par, race and for_each_par are this one loop.
 *
 * The caller and a chain of runners take items (fan_take.c); each item runs on the runner's stack. A runner first spawns its
 * successor, then works. So the next item starts when another worker is free (it steals the successor, or was given it) or
 * when an item suspends (this worker then starts the successor on a fresh fiber): never more runners than items are alive, at
 * most `parallelism` of them, and n items that do not suspend cost one fiber and no allocation. A runner's frame holds its
 * successor's record, so it joins it last.
 *
 *        caller ──► item item item … ──► join ┐
 *          └─spawn─► runner ──► item item … ──► join ┐
 *                      └─spawn─► runner …            ▼
 *
 * Where nobody asks how each item ended, they are called like the effects of a fork (core/fork.c) and come into the tree only
 * if they need to.
 *
 * A started fiber never leaves its worker, so with items that suspend soon one worker could start all runners before a
 * woken thief arrives, and keep them. Hence a successor goes straight to a worker that sleeps, if one does, and between two
 * items a runner whose worker has more to do hands its place on to a worker that sleeps, and ends. It may do so only
 * when its own successor has ended, which it would otherwise have to wait for on a stack of its own. So no more than
 * `parallelism` runners run items (F4), and no more exist (F5), but for those that have no item any more and wait for their
 * successor, or are on their way out. The record of a runner that is not the first successor comes from the runtime's pool;
 * without memory for it things stay as they are. A runner for which no stack can be had fails the fan: -ENOMEM.
 *
 * A failing item cancels the scope as any child does (Z4); no further one starts then (F6). */
#include "fan.h"

static int call_effect(void *arg)
{
	const thrum_fx *fx = arg;

	return fx->run(fx->arg);
}

static void run_item(struct th_fiber *f, struct fan *fan, size_t i)
{
	thrum_fx fx = th_fan_item(fan, i);
	struct th_noted noted;
	struct th_task item;
	int code;

	th_task_init(&item, fan->done ? th_noted_fx(&noted, fx) : fx);
	item.isolated = fan->isolated;
	item.item = true;
	code = th_child_call(f, th_scope_of(&fan->scope), &item, i);
	if (code >= 0 && fan->succeeded)
		th_fan_succeeded(fan, i);
	if (fan->ended)
		fan->ended(fan, i, code, item.cause);
	if (fan->done && noted.ran)
		th_done_tell(f, fan->done, fx.arg, i, code);
}

/* Call items until one of them is more than a call, or somebody wants something. True: they were calls. */
static bool call_items(struct th_fiber *f, struct runner *r)
{
	struct thrum_items_ *items = &r->items;
	bool heavy;
	int code;

	code = r->fan->items ? r->fan->items(items) : thrum_items_run_(items, r->fan->fx ? call_effect : r->fan->run);
	heavy = items->fork.heavy != 0;
	th_items_stopped(f, items, code);
	items->fork.fx.item.index++;
	th_runner_share(f, r);
	return !heavy;
}

/* True: all of it were calls. */
static bool run_chunk(struct th_fiber *f, struct runner *r)
{
	bool may_call = r->fan->calls && !th_stack_low(), calls = may_call, skip;
	size_t *i = &r->items.fork.fx.item.index;

	while (*i < r->items.end) { /* which may change meanwhile */
		if (may_call && th_look_up(f)) {
			calls &= call_items(f, r);
			continue;
		}
		skip = !r->fan->ended && th_cancelled(f); /* nobody asks which items do not start; the scope notes this one */
		run_item(f, r->fan, (*i)++);
		if (skip)
			th_runner_skip(r);
	}
	return calls;
}

/* Its successor, if there is one, is not needed any more: then it has nobody to wait for. */
static bool is_last(bool spawned, struct th_task *successor)
{
	int code;

	return !spawned || th_task_done(successor, &code);
}

static void run_items(struct th_fiber *f, struct fan *fan)
{
	struct th_task successor;
	struct runner r;
	bool spawned, gone;

	th_runner_init(&r, fan);
	if (!th_runner_take(&r))
		return;
	spawned = th_fan_spawn(f, fan, &successor);
	do {
		th_runner_adapt(&r, run_chunk(f, &r));
		gone = th_has_more(f) && is_last(spawned, &successor) && th_runner_hand_over(f, &r);
	} while (!gone && th_runner_take(&r));
	if (spawned)
		(void)thrum_join((thrum_task *)(void *)&successor); /* items report through the scope and `ended` */
}

int th_runner_main(void *arg)
{
	struct fan *fan = arg;

	th_fan_started(fan);
	run_items(th_self(), fan);
	return 0;
}

/* A cancel may have ended a runner that took another one's place before it started: then nobody has taken the rest. */
static void count_untaken(struct fan *fan, struct th_outcome *out)
{
	size_t i = th_load_rlx(&fan->x_next);

	out->interrupted |= i < fan->n;
	for (; fan->ended && i < fan->n; i++)
		fan->ended(fan, i, -ECANCELED, NULL);
}

int th_fan_run(struct th_fiber *f, struct fan *fan, struct th_outcome *ret_out)
{
	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	th_init(&fan->x_next, 0);
	th_init(&fan->x_offers, 0);
	th_lock_init(&fan->lock);
	fan->places = fan->parallelism - 1;
	fan->calls = !fan->isolated && !fan->ended && !fan->done && !fan->succeeded;
	fan->causes = f->home->causes;
	if (fan->grain > fan->n)
		fan->grain = fan->n;
	th_scope_open(f, th_scope_of(&fan->scope));
	th_scope_of(&fan->scope)->takes_late = true; /* runners that took over from the caller may outlast its own turn */
	run_items(f, fan);
	th_scope_close(f, th_scope_of(&fan->scope), ret_out);
	count_untaken(fan, ret_out);
	return 0;
}
