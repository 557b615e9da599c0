/* core/light.c: children that are calls; the protocol is in the header. */
#include "light.h"
#include "assert.h"
#include "fork.h"
#include "gate.h"
#include "hooks.h"
#include "locals.h"
#include "tsan.h"

/* --- what the opener shares with others --- */

void th_light_share(struct th_scope *s, struct th_home *h)
{
	if (!th_load_rlx(&s->x_alone))
		return;
	th_store_rlx(&s->x_alone, 0); /* A3 */
	if (h != s->home)
		(void)th_fence_heavy();
	s->shared_at = s->spawned = th_load_rlx(&s->x_own); /* A4 */
}

size_t th_light_number(struct th_scope *s)
{
	size_t n;

	if (!th_load_rlx(&s->x_alone))
		return s->spawned++;
	n = th_load_rlx(&s->x_own);
	th_store_rlx(&s->x_own, n + 1);
	return n;
}

size_t th_light_spawned(struct th_scope *s)
{
	return th_load_rlx(&s->x_alone) ? th_load_rlx(&s->x_own) : s->spawned;
}

static size_t number_locked(struct th_scope *s, size_t claimed)
{
	size_t n;

	th_lock(&s->node.lock);
	n = claimed < s->shared_at ? claimed : s->spawned++;
	th_unlock(&s->node.lock);
	return n;
}

/* Of a child that its opener spawns. */
static size_t number(struct th_scope *s)
{
	size_t n = th_load_rlx(&s->x_own);

	th_store_rlx(&s->x_own, n + 1); /* A1 */
	THRUM_FENCE_LIGHT_();
	return th_load_rlx(&s->x_alone) ? n : number_locked(s, n); /* A2 */
}

void th_light_expect(struct th_scope *s)
{
	if (th_load_rlx(&s->x_out) == 0)
		return;
	th_lock(&s->node.lock);
	s->coming += th_load_rlx(&s->x_out);
	th_store_rlx(&s->x_out, 0);
	th_unlock(&s->node.lock);
}

/* --- into the tree --- */

void th_light_link(struct th_task *t)
{
	struct th_scope *s = t->scope;

	th_lock(&s->node.lock);
	s->coming--;
	s->pending++;
	th_node_link_late_locked(&t->node, &s->node);
	th_unlock(&s->node.lock);
}

/* --- spawn --- */

/* The running fiber stands right in a scope that it has opened, and as itself. That scope is not closing, then: what runs
 * in a close is a child, or shielded. */
THRUM_INLINE_ bool stands_in(struct thrum_lane_ *lane, struct th_fiber *f, const struct th_scope *s)
{
	return f->node == &s->node && f->task == s->owner && !th_load_rlx(&lane->fork);
}

static bool has_room(struct thrum_lane_ *lane)
{
	return th_load_rlx(&lane->x_bottom) < th_load_rlx(&lane->bottom_max);
}

THRUM_INLINE_ bool push(struct thrum_lane_ *lane, struct th_fiber *f, struct th_task *t)
{
	bool pushed;

	th_tsan_release(t);
	pushed = thrum_lane_push_(lane, th_light_entry(t), 1);
	THRUM_FENCE_LIGHT_(); /* as in thrum_fork_open_() */
	if (THRUM_RARELY_(th_load_rlx(&lane->x_gate) == UINTPTR_MAX))
		(void)th_look_up(f); /* if it is cancelled nobody is told, and then no body has to run */
	return pushed;
}

int thrum_spawn(thrum_scope *scope, thrum_task *storage, thrum_fx fx)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	struct th_scope *s = th_scope_of(scope);
	struct th_task *t = th_task_of(storage);
	struct th_fiber *f = th_load_rlx(&lane->fiber);
	bool pushed;

	if (!f || !stands_in(lane, f, s) || !s->light || th_node_cancelled(&s->node) || !t || !fx.run || !has_room(lane))
		return thrum_spawn_with(scope, storage, fx, NULL);
	th_task_init(t, fx);
	th_store_rlx(&t->node.x_home, f->home);
	t->scope = s;
	t->spawner = f->task;
	t->locals = th_locals_share(f->task->locals); /* K9 */
	t->index = number(s);
	th_store_rlx(&s->x_out, th_load_rlx(&s->x_out) + 1);
	th_bump(&f->home->x_spawns);
	pushed = push(lane, f, t);
	TH_ASSERT(pushed); /* only the owner adds */
	return 0;
}

/* --- join --- */

/* It has succeeded, and nobody has seen it. */
static void end(struct th_scope *s, struct th_task *t, int code)
{
	th_locals_drop(t->locals);
	th_store_rlx(&s->x_out, th_load_rlx(&s->x_out) - 1);
	t->code = code;
	th_store_rel(&t->x_done, true); /* A5 */
	THRUM_FENCE_LIGHT_();
	if (!th_load_rlx(&s->x_alone)) /* A6 */
		th_task_wake_joiners(t);
}

static int call(struct thrum_lane_ *lane, struct th_fiber *f, struct th_scope *s, struct th_task *t)
{
	struct thrum_fork_ k;
	int code;

	th_fork_of_child(&k, t);
	th_store_rlx(&lane->fork, &k);
	code = t->fx.run(t->fx.arg);
	if (thrum_fork_stops_(&k, code)) {
		th_fork_stopped(f, &k, code);
		return t->code;
	}
	th_store_rlx(&lane->fork, (struct thrum_fork_ *)NULL);
	end(s, t, code);
	return code;
}

/* The gate goes first: whoever shut it for a cancel has marked the node before. It tells of cancels of the scope as well. */
THRUM_INLINE_ bool may_be_called(struct thrum_lane_ *lane, struct th_fiber *f, struct th_scope *s, struct th_task *t)
{
	char here;

	if (THRUM_HERE_(&here) < th_load_rlx(&lane->x_gate) && !th_lane_attend(lane))
		return false;
	return f->node == &s->node && !th_node_cancelled(&t->node); /* in a shield the gate tells nothing of its scope */
}

THRUM_INLINE_ int run(struct thrum_lane_ *lane, struct th_fiber *f, struct th_task *t)
{
	struct th_scope *s = t->scope;

	th_bump(&f->home->x_inline_runs);
	if (may_be_called(lane, f, s, t))
		return call(lane, f, s, t);
	th_light_link(t);
	th_task_run(f, t); /* its storage is the caller's, so the code is still there */
	return t->code;
}

int th_light_call(struct th_fiber *f, struct th_task *t)
{
	return run(f->home->lane, f, t);
}

/* Take the newest entry back, if it is `t`, a light one. */
THRUM_INLINE_ bool take_back(struct thrum_lane_ *lane, struct th_task *t)
{
	uint64_t b = th_load_rlx(&lane->x_bottom);

	if (th_load_rlx(&lane->x_top) == b || th_load_rlx(&lane->x_slot[(b - 1) % THRUM_LANE_SLOTS_]) != th_light_entry(t))
		return false;
	return thrum_lane_pop_(lane) || th_lane_pop_slow(lane);
}

int thrum_join(thrum_task *storage)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	struct th_task *t = th_task_of(storage);
	struct th_fiber *f = th_load_rlx(&lane->fiber);

	return f && stands_in(lane, f, t->scope) && take_back(lane, t) ? run(lane, f, t) : th_join(t);
}
