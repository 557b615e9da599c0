/* sched/lane.c: the owner's side of its lane: when a fork looks up.
 *
 * A fork that goes on as a call looks at nothing but its gate (core/gate.h). It is shut when a fiber is switched to, when
 * the running fiber comes to stand in another node, and by others: a canceller, a thief that finds no public entry, a
 * worker that falls asleep. The next fork, or the next effect of one, then comes here.
 *
 *   who shuts                             the fork that looks up
 *   says what for (x_wants), if anything  G1 x_gate = open, by an exchange
 *   G2 x_gate = shut                      G3 x_wants = 0, by an exchange; x_cancelled of its node; who sleeps
 *
 *   If G2 comes before G1, then G1 reads it, or a later one, and so G3 sees what came before G2. If it comes after G1, the
 *   gate is shut again. What is not said in x_wants needs a full fence on both sides: of a cancel N4 and N5 (core/node.h);
 *   of a worker that falls asleep:
 *
 *   worker falling asleep                 forker
 *   announces itself (idle.c)             G1 opens the gate     ... or it was open
 *   G4 for each lane that is open: shut   G5 push, then look at the gate
 *   heavy fence, if there was any         shut: look who sleeps, wake one
 *   looks at all lanes
 *
 *   A lane that G4 finds shut is opened by a read-modify-write later, after which its forker sees the announcement. To one
 *   that is open the heavy fence does what a fence between its push and its look at the gate would do. Where the kernel
 *   has no heavy fence no gate stays open with several workers: each fork looks up, and makes public what it offers. */
#include "../core/assert.h"
#include "../core/fork.h"
#include "../core/hooks.h"
#include "../core/meter.h"
#include "../core/tsan.h"
#include "worker.h"

void th_lane_init(struct th_worker *w)
{
	th_deque_init(&w->lane);
	w->bottom_max = th_load_rlx(&w->lane.bottom_max);
	th_init(&w->lane.bottom_max, 0); /* no forks without a fiber */
	th_lock_init(&w->home.forks);
	w->home.lane = &w->lane;
}

struct th_fiber *th_running(struct th_home *h)
{
	return &th_container(h, struct th_worker, home)->fiber->core;
}

bool th_fork_pop(struct th_fiber *f, struct thrum_fork_ *k)
{
	struct th_worker *w = th_fib_of(f)->worker;
	void *entry = th_deque_pop_owner(&w->lane);
	bool pushed;

	if (!entry)
		return false;
	if (entry == th_fork_entry(k))
		return true;
	pushed = th_deque_push_owner(&w->lane, entry);
	TH_ASSERT(pushed); /* its place is still free: only the owner adds */
	th_notify_work(w->rt); /* a sleeper that looked meanwhile saw nothing */
	return false;
}

bool th_lane_pop_slow(struct thrum_lane_ *lane)
{
	return th_deque_pop_slow_owner(lane, th_load_rlx(&lane->x_bottom));
}

static void offer(struct th_worker *w)
{
	bool sleepers = th_somebody_sleeps(w->rt), must = !w->rt->has_heavy_fence;

	if (th_deque_size_owner(&w->lane) > 0 && (sleepers || must)) {
		th_deque_publish_all_owner(&w->lane);
		th_notify_work(w->rt);
	} else if (sleepers) {
		th_lane_shut(&w->lane); /* nothing to offer yet: look again after the next push */
	}
	if (must)
		th_lane_shut(&w->lane);
}

bool th_lane_look(struct th_worker *w)
{
	struct th_fiber *f = &w->fiber->core;
	uint32_t wants;

	if (th_metered(f))
		return false; /* each effect is followed: it needs an identity. The gate is never opened */
	do {
		(void)th_xchg_seq(&w->lane.x_gate, w->fiber->gate); /* G1 */
		wants = th_xchg_seq(&w->lane.x_wants, 0);           /* G3 */
		if (wants & TH_WANT_WORK)
			th_deque_publish_owner(&w->lane);
		if (wants & TH_WANT_CANCEL)
			th_fork_settle(f); /* the cancel may be of an effect that has no node yet; shuts the gate */
	} while (wants & TH_WANT_CANCEL);
	if (th_cancelled(f)) {
		th_lane_shut(&w->lane);
		return false;
	}
	if (w->rt->nworkers > 1)
		offer(w);
	return true;
}

bool th_look_up(struct th_fiber *f)
{
	struct th_worker *w = th_fib_of(f)->worker;

	return th_load_rlx(&w->lane.x_gate) != UINTPTR_MAX || th_lane_look(w);
}

bool th_lane_attend(struct thrum_lane_ *lane)
{
	struct th_worker *w = th_container(lane, struct th_worker, lane);
	bool go_on;

	TH_TSAN_PRIVATE_BEGIN();
	go_on = w->fiber && (uintptr_t)__builtin_frame_address(0) >= w->fiber->gate && th_lane_look(w);
	TH_TSAN_PRIVATE_END();
	return go_on;
}

void th_lanes_fence(struct th_worker *w)
{
	bool any_open = false;

	for (unsigned i = 0; i < w->rt->nworkers; i++) {
		struct thrum_lane_ *lane = &w->rt->workers[i].lane;
		if (lane == &w->lane || th_load_rlx(&lane->x_gate) == UINTPTR_MAX)
			continue;
		th_lane_shut(lane); /* G4 */
		any_open = true;
	}
	if (any_open)
		(void)th_fence_heavy();
}
