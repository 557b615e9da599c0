/* core/gate.h: getting the attention of a worker whose forks look at nothing but one word.
 *
 * A fork (thrum/fork.h) compares its stack pointer with x_gate of its worker's lane. Open, that is the lowest address at
 * which it may go on; shut, it is UINTPTR_MAX, and the fork goes to th_lane_attend(), which sees to whatever it was
 * shut for and opens it again. Anybody may shut it, at any time, for no reason at all. */
#ifndef TH_GATE_H
#define TH_GATE_H
#include "atomic.h"
#include "fiber.h"
#include <thrum/fork.h>

enum {
	TH_WANT_CANCEL = 1, /* a node that a fiber of this worker stands in, or once stood in, was cancelled */
	TH_WANT_WORK = 2    /* a thief has found nothing but private entries */
};

static inline void th_lane_shut(struct thrum_lane_ *lane)
{
	th_store_rel(&lane->x_gate, UINTPTR_MAX);
}

static inline void th_lane_want(struct thrum_lane_ *lane, uint32_t what)
{
	(void)th_or_seq(&lane->x_wants, what);
	th_lane_shut(lane);
}

/* Upward, defined in sched/lane.c. The owner sees to what its gate was shut for and opens it; false: the running effect is
 * cancelled, or its stack nearly used up, or it is none. The rest of thrum_lane_pop_() where that has returned false; false:
 * the entry is stolen. */
bool th_lane_attend(struct thrum_lane_ *lane);
bool th_lane_pop_slow(struct thrum_lane_ *lane);

static inline void th_gate_shut(struct th_home *h)
{
	th_lane_shut(h->lane);
}

#endif
