/* core/fork.c: forks (thrum/fork.h) whose effects turn out to need what a function call has not: a scope and identities.
 *
 * A fork in the frame of its forker; the effect "at" is the one that the forker runs:
 *
 *   LIGHT ──th_fork_take: a thief needs the scope──► SCOPED ──settle──► HEAVY ──finish──► closed
 *     │        (of a fork around it: also `at`) ───────────────────────▲ ▲
 *     ├──settle: the effect calls into the library, fails, is cancelled──┘ (all forks of the fiber, outermost first)
 *     │                                                                  └─ stopped, call_again: the next one ─► SCOPED
 *     └──every effect was called by the forker and succeeded──► gone, and the tree has never heard of it
 *
 *   LIGHT    nothing but the frame: no scope, no identity, no node
 *   SCOPED   `scoped`: its scope is in the tree, below the node that the forker stands in; what thieves took is below that.
 *            Between two effects also a fork that was HEAVY: it calls the next one and is LIGHT but for its scope
 *   HEAVY    `heavy`: the effect `at` is a child of that scope; its return leads to finish(), which runs the rest, waits
 *            for what others took and rules like any other combinator
 *
 * Who may touch what, beyond the owner's first writes, which the push of the entries publishes:
 *   parent, fx, n    constant
 *   at               the forker
 *   the rest         the lock `forks` of the forker's home; but the forker reads `heavy` without it, see below
 *   lane->fork       the forker's worker: the innermost fork that the running fiber has not settled, and by `parent` all of
 *                    them. Empty whenever a fiber is not running
 *
 * Why a thief may put another worker's running fiber into the tree. Entries are stolen oldest first, so whoever steals one
 * of fork K knows that every entry of the forks around K was taken before. Their forkers will find nothing to take back:
 * each of these forks stays at the effect that it runs until its forker has been to finish() for K, and there takes the
 * lock. So `at` of the forks around K stands still, the node that the outermost of them was forked in does too
 * (only a call into the library changes it, and that settles first, under the lock), and the `heavy` that the thief sets
 * there is read only after the lock was taken once. Of K itself the forker may just be going on from one effect to the
 * next; a thief leaves that effect alone.
 *
 * (test/model/fork.pml plays this against two thieves.)
 *
 * Which effect an entry stands for is not written in it: thieves count from the last one down, the forker and its worker's
 * loop from the first one up; as many entries as effects that nobody has begun.
 *
 * An item of a fan (struct thrum_items_) is a fork of the one effect that runs, whose scope is the fan's and in the tree
 * already; it has no entries, and is always the outermost of its fiber. So is a light child while it is called
 * (core/light.h), but that its record as a child is the user's.
 *
 * An effect that others took counts as `coming` from the moment its entry left the lane. Only the forker can tell how many
 * these are, when it has come to the end: so they lower the count as they come, and it raises it by all of them then. */
#include "fork.h"
#include "assert.h"
#include "cycle.h"
#include "deep.h"
#include "gate.h"
#include "hooks.h"
#include "light.h"
#include "locals.h"
#include "meter.h"
#include "tsan.h"
#include <errno.h>
#include <thrum/combine.h>

struct record {
	struct th_scope scope;      /* an item has its fan's */
	struct th_task task;        /* the effect that the forker runs */
	struct th_caller outside;   /* of it */
	struct th_edge edge;
	struct thrum_fork_ *inner;  /* on the way down, in settle */
	uint32_t first;             /* the lowest effect that nobody has begun, counted by the forker's worker */
};
_Static_assert(sizeof(struct record) <= sizeof(((struct thrum_fork_ *)0)->record_), "a fork holds its record");
_Static_assert(offsetof(struct thrum_fork_, record_) % _Alignof(struct record) == 0, "where it is aligned");

static struct record *rec(struct thrum_fork_ *k)
{
	return (struct record *)(void *)k->record_;
}

/* Number 0 of what is not listed: nobody asks for its function, it is under way. */
static thrum_fx effect(struct thrum_fork_ *k, uint32_t i)
{
	if (k->listed == TH_FORK_LIST)
		return k->fx.list[i];
	return i ? k->fx.kid[i - 1] : thrum_succeed();
}

/* Not one of its own, but one that is in the tree already. */
static bool is_in_a_scope(const struct thrum_fork_ *k)
{
	return k->listed >= TH_FORK_ITEM;
}

/* Of the effect that the forker runs. */
static struct th_task *task_of(struct thrum_fork_ *k)
{
	return k->listed == TH_FORK_CHILD ? k->fx.child : &rec(k)->task;
}

/* --- into the tree, under the lock --- */

static void make_scope(struct thrum_fork_ *k, struct th_home *h, struct th_task *owner, struct th_node *parent)
{
	if (k->scoped)
		return;
	th_scope_init(&rec(k)->scope, h, owner, parent);
	rec(k)->scope.spawned = k->n;
	k->scoped = 1;
}

static void link_child(struct th_scope *s, struct th_task *caller, struct th_task *t, size_t index)
{
	t->scope = s;
	t->index = index;
	t->spawner = caller;
	t->locals = th_locals_share(caller->locals); /* K9: it waits, so they stand still */
	s->pending++;
	th_meter_called(s, t, index);
	th_node_link_locked(&t->node, &s->node);
}

static void make_child(struct thrum_fork_ *k, struct th_home *h, struct th_task *caller)
{
	bool item = k->listed == TH_FORK_ITEM;
	struct th_scope *s = item ? k->fx.item.scope : &rec(k)->scope;
	struct th_task *t = &rec(k)->task;

	th_task_init(t, effect(k, k->at));
	th_store_rlx(&t->node.x_home, h);
	th_lock(&s->node.lock);
	link_child(s, caller, t, item ? k->fx.item.index : k->at);
	th_unlock(&s->node.lock);
}

/* The forker runs effect `at`: make that a child, which `caller` waits for. */
static void make_current(struct thrum_fork_ *k, struct th_home *h, struct th_task *caller)
{
	struct th_edge *edge = &rec(k)->edge;

	if (k->heavy)
		return;
	if (k->listed == TH_FORK_CHILD)
		th_light_link(k->fx.child);
	else
		make_child(k, h, caller);
	*edge = (struct th_edge){ .to = task_of(k), .until_end = true };
	th_cycle_call(caller, edge);
	k->heavy = -1;
}

/* Let each fork of the chain know the next one further in; returns the outermost. */
static struct thrum_fork_ *turn_round(struct thrum_fork_ *innermost)
{
	struct thrum_fork_ *k = innermost, *inner = NULL;

	for (; k; k = k->parent) {
		rec(k)->inner = inner;
		inner = k;
	}
	return inner;
}

/* Returns the outermost. */
static struct thrum_fork_ *settle(struct th_fiber *f)
{
	struct th_home *h = f->home;
	struct thrum_lane_ *lane = h->lane;
	struct thrum_fork_ *k, *outermost;

	th_lock(&h->forks);
	outermost = turn_round(th_load_rlx(&lane->fork));
	for (k = outermost; k; k = rec(k)->inner) {
		if (!k->scoped) {
			make_scope(k, h, f->task, f->node);
			th_meter_open(f, &rec(k)->scope);
		}
		make_current(k, h, f->task);
		rec(k)->first = k->at + 1;
		rec(k)->outside = (struct th_caller){ is_in_a_scope(k) ? f->node : &rec(k)->scope.node, f->task, f->exit_code,
						      f->path };
		f->task = task_of(k);
		f->node = &f->task->node;
		f->exit_code = 0;
		k->parent = NULL; /* it leaves the chain, but its next effect may be called again */
	}
	th_store_rlx(&lane->fork, (struct thrum_fork_ *)NULL);
	th_unlock(&h->forks);
	th_gate_shut(h);
	return outermost;
}

void th_fork_settle(struct th_fiber *f)
{
	struct thrum_fork_ *outermost = settle(f);

	if (outermost && outermost->listed == TH_FORK_ITEM)
		th_item_settled(f, th_container(outermost, struct thrum_items_, fork));
}

/* A thief needs the scope of `k`, and so everything around it. */
static void make_scopes_down_to(struct thrum_fork_ *k, struct th_home *h)
{
	struct th_fiber *f = th_running(h); /* stands still, see the head */
	struct th_node *node = f->node;
	struct th_task *task = f->task;
	struct thrum_fork_ *at;

	for (at = turn_round(k); at != k; at = rec(at)->inner) {
		make_scope(at, h, task, node);
		make_current(at, h, task);
		task = task_of(at);
		node = &task->node;
	}
	make_scope(k, h, task, node);
}

/* --- an effect that somebody else took --- */

void th_fork_take(struct th_home *from, bool same_worker, struct thrum_fork_ *k, struct th_task *t)
{
	struct th_scope *s = &rec(k)->scope;
	uint32_t index;

	th_lock(&from->forks);
	if (!k->scoped)
		make_scopes_down_to(k, from);
	index = same_worker ? rec(k)->first++ : k->n - (uint32_t)++k->taken;
	th_task_init(t, effect(k, index));
	th_unlock(&from->forks);
	th_lock(&s->node.lock);
	s->coming--;
	link_child(s, s->owner, t, index); /* also if it is cancelled: then the body will not run (Z5) */
	th_unlock(&s->node.lock);
}

/* --- the long way to the end --- */

/* The effect that was called last has returned `code`, or the item. After this it is at its end, whatever it was. */
void th_fork_stopped(struct th_fiber *f, struct thrum_fork_ *k, int code)
{
	if (code >= 0 && !k->heavy) {
		th_store_rlx(&f->home->lane->fork, (struct thrum_fork_ *)NULL);
		return;
	}
	if (!k->heavy) /* a thief cannot be the reason without the fork that it took from, which settles at its end */
		(void)settle(f);
	th_task_end(f, task_of(k), &rec(k)->outside, code);
	k->heavy = 0;
}

static uint32_t next_index(struct th_fiber *f, struct thrum_fork_ *k)
{
	uint32_t index;

	th_lock(&f->home->forks);
	index = rec(k)->first++;
	th_unlock(&f->home->forks);
	return index;
}

/* Effect `index` is called, as before the fork came into the tree; so it may come into it again. */
static void call_again(struct th_fiber *f, struct thrum_fork_ *k, uint32_t index)
{
	thrum_fx fx = effect(k, index);

	k->at = (uint8_t)index;
	th_store_rlx(&f->home->lane->fork, k);
	th_fork_stopped(f, k, fx.run(fx.arg));
}

/* Take and run what is still in the lane. Returns how many that were. */
static uint32_t run_rest(struct th_fiber *f, struct thrum_fork_ *k)
{
	struct record *r = rec(k);
	uint32_t ran = 0;

	for (; th_fork_pop(f, k); ran++) {
		uint32_t index = next_index(f, k);
		th_bump(&f->home->x_inline_runs);
		if (th_look_up(f) && !th_stack_low()) {
			call_again(f, k, index);
			continue;
		}
		th_task_init(&r->task, effect(k, index));
		(void)th_child_call(f, &r->scope, &r->task, index); /* its code is the scope's business */
	}
	return ran;
}

static void expect(struct th_scope *s, uint32_t others)
{
	th_lock(&s->node.lock);
	s->coming += others;
	th_unlock(&s->node.lock);
}

/* Effect `at`, which is in the tree, has returned `code`. */
static int finish(struct th_fiber *f, struct thrum_fork_ *k, int code)
{
	struct record *r = rec(k);
	struct th_outcome out;
	uint32_t ran;

	ran = k->at + 1;
	th_task_end(f, &r->task, &r->outside, code);
	k->heavy = 0;
	ran += run_rest(f, k);
	th_store_rlx(&f->home->x_spawns, th_load_rlx(&f->home->x_spawns) + k->n - 1u);
	expect(&r->scope, k->n - ran);
	th_scope_close(f, &r->scope, &out);
	return th_scope_rule_all(f, &r->scope, &out);
}

/* --- the items of a fan, and light children --- */

static void of_one(struct thrum_fork_ *k, uint8_t listed)
{
	k->parent = NULL;
	k->n = 1;
	k->at = 0;
	k->listed = listed;
	k->heavy = 0;
	k->taken = 0;
	k->scoped = 1;
}

void th_fork_of_child(struct thrum_fork_ *k, struct th_task *t)
{
	of_one(k, TH_FORK_CHILD);
	k->fx.child = t;
}

void th_items_init(struct thrum_items_ *items, struct th_scope *s)
{
	of_one(&items->fork, TH_FORK_ITEM);
	items->fork.fx.item.scope = s;
}

void th_items_stopped(struct th_fiber *f, struct thrum_items_ *items, int code)
{
	th_fork_stopped(f, &items->fork, code);
}

/* --- effects that can still be called --- */

/* Effect `at` has returned `code`; nobody has stolen another one, or `popped`, the entry of the next one is taken already. */
static int go_on(struct thrum_fork_ *k, int code, bool popped)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	thrum_fx fx;

	for (;;) {
		if (!popped) {
			if (thrum_fork_stops_(k, code))
				break;
			if (k->at + 1 == k->n)
				return thrum_fork_close_(lane, k);
			if (thrum_gate_shut_(lane, k) && (!th_lane_attend(lane) || k->heavy))
				break; /* heavy: it has been settled just now, with what ran before the next effect */
			if (!thrum_lane_pop_(lane) && !th_lane_pop_slow(lane))
				break;
		}
		popped = false;
		fx = effect(k, ++k->at);
		code = fx.run(fx.arg);
	}
	return finish(th_self(), k, code);
}

int thrum_fork_rest_(struct thrum_fork_ *k, int code)
{
	return go_on(k, code, false);
}

int thrum_fork_popped_(struct thrum_fork_ *k, int code)
{
	if (!th_lane_pop_slow(thrum_lane_self_))
		return finish(th_self(), k, code);
	return go_on(k, code, true);
}

int thrum_fork_first_(struct thrum_fork_ *k, thrum_fx first)
{
	struct th_fiber *f;

	if (th_lane_attend(thrum_lane_self_))
		return go_on(k, first.run(first.arg), false);
	f = th_self(); /* as effect 0 from here on */
	return finish(f, k, th_cancelled(f) ? -ECANCELED : th_call_deep(first));
}

/* --- any number of effects --- */

enum { LIGHT_MAX = 64 }; /* entries in a lane; more go the way of a fan, which takes them one by one */

static bool any_null(const thrum_fx *fx, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fx[i].run)
			return true;
	return false;
}

int thrum_zip_par_n(const thrum_fx *fx, size_t n)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	struct thrum_fork_ fork;

	fork.fx.list = fx;
	if (fx && n == 1 && fx->run && !th_here()) /* a plain thread's lane has no room, but none is asked for */
		return THRUM_ENOTFIBER;
	if (!fx || n == 0 || n > LIGHT_MAX || any_null(fx, n) || !thrum_fork_open_(lane, &fork, (uint8_t)n, 1))
		return thrum_zip_par_with(fx, n, NULL);
	if (thrum_gate_shut_(lane, &fork))
		return thrum_fork_first_(&fork, fx[0]);
	return go_on(&fork, fx[0].run(fx[0].arg), false);
}
