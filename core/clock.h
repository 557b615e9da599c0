/* core/clock.h: time as a service. The same timers run on the monotonic clock, one set per worker, or on a virtual one,
 * one set for the whole runtime behind a lock: deterministic tests want one order, not speed.
 *
 * A virtual clock moves only when the runtime is quiescent: every worker asleep and nothing left to run. The last worker
 * to fall asleep calls th_clock_quiescent(), which serves, in this order: the oldest thrum_clock_advance() (C1), else a
 * jump to the next deadline (THRUM_CLOCK_JUMP, C5), else it reports that nothing can ever run again (C6). */
#ifndef TH_CLOCK_H
#define TH_CLOCK_H
#include "fiber.h"
#include "lock.h"
#include "timers.h"

struct th_advance {
	int64_t target_ns;
	struct th_fiber *fiber;       /* who waits: a fiber, or */
	th_atomic_u32 *done_word;     /* a thread */
	struct th_advance *next;
};

struct th_clock {
	unsigned kind;                /* THRUM_CLOCK_* */
	struct th_lock lock;          /* of everything below; taken before node locks */
	struct th_timers timers;
	th_atomic(int64_t) x_now_ns;
	struct th_advance *advances, **advances_tail;
};

enum th_quiescent { TH_CLOCK_MOVED, TH_CLOCK_IDLE, TH_CLOCK_STUCK };

void th_clock_init(struct th_clock *c, unsigned kind);
bool th_clock_is_virtual(const struct th_clock *c);
thrum_time th_clock_now(struct th_home *h);
void th_clock_arm(struct th_home *h, struct th_timer *t);
void th_clock_disarm(struct th_home *h, struct th_timer *t);

/* Real clock: fire what is due on this worker; returns the next deadline. */
int64_t th_clock_fire_due(struct th_home *h);
/* Virtual clock; the calling worker believes that everything is asleep. Under the clock's lock it looks again, and before
 * anything is woken it counts itself as awake: else the next worker to fall asleep could move the clock on while what the
 * first one woke has yet to run. */
struct th_quiescence {
	bool (*holds)(void *arg, uint64_t *ret_inflight); /* is everything asleep? operations in a real kernel hold a jump back (C3) */
	void (*get_up)(void *arg);
	void *arg;
	bool can_be_stuck;            /* nobody outside can call in */
};
/* MOVED: something was woken. IDLE: wait; for another worker, or for the outside. STUCK: nothing can ever run again. The
 * caller is up unless IDLE. */
enum th_quiescent th_clock_quiescent(struct th_clock *c, const struct th_quiescence *q);
void th_clock_post(struct th_clock *c, struct th_advance *a);

#endif
