/* core/clock.h: time as a service. The same timers run on the monotonic clock, one set per worker, or on a virtual one,
 * one set for the whole runtime behind a lock: deterministic tests want one order, not speed.
 *
 * A virtual clock moves only when the runtime is quiescent: every worker asleep and nothing left to run. The last worker
 * to fall asleep calls th_clock_quiescent(), which serves, in this order: the oldest thrum_clock_advance() (C1), else a
 * jump to the next deadline (THRUM_CLOCK_JUMP, C5), else it reports that nothing can ever run again (C6).
 *
 * A part of the tree may run on a virtual clock of its own, whatever the runtime's is: thrum_with_test_clock() binds it as
 * a fiber local. It has its own set and its own time; but its advances wait in the queue of the runtime's clock, so they
 * too are served when everything rests: the same moment, the same proof.
 *
 * A timer remembers the clock that it was armed on: the same fiber may be on another one when it disarms it. */
#ifndef TH_CLOCK_H
#define TH_CLOCK_H
#include "fiber.h"
#include "lock.h"
#include "timers.h"

struct th_advance {
	struct th_clock *clock;       /* which is to move */
	int64_t target_ns;
	struct th_fiber *fiber;       /* who waits: a fiber, or */
	th_atomic_u32 *done_word;     /* a thread */
	int code;                     /* 0; THRUM_ECLOSED: there is nobody left who could serve it */
	struct th_advance *next;
};

struct th_clock {
	unsigned kind;                /* THRUM_CLOCK_* */
	struct th_lock lock;          /* of everything below; a runtime's before a part's, both before node locks */
	struct th_timers timers;
	th_atomic(int64_t) x_now_ns;
	th_atomic_u64 x_outside;      /* abandoned jobs of the blocking pool: sched/blocking.c, B4 and B5 */
	struct th_advance *advances, **advances_tail; /* a runtime's clock only */
	th_atomic_u32 x_advances;     /* how many; written under the lock */
	bool closed;                  /* no worker serves it any more */
	struct th_timer watch;        /* set anew whenever everything is asleep, so that it never outlives its reason */
};

enum th_quiescent { TH_CLOCK_MOVED, TH_CLOCK_IDLE, TH_CLOCK_STUCK };

void th_clock_init(struct th_clock *c, unsigned kind);
/* Must the last worker to fall asleep call th_clock_quiescent()? */
bool th_clock_wants_rest(struct th_clock *c);
/* The clock that the effect on `f` runs on, and its time. */
bool th_clock_is_virtual(const struct th_clock *c);
struct th_clock *th_clock_of(struct th_fiber *f);
thrum_time th_clock_now(struct th_fiber *f);
/* Arm on the clock of `f`. Disarm: no-op for a timer that never was armed. */
void th_clock_arm(struct th_fiber *f, struct th_timer *t);
void th_clock_disarm(struct th_home *h, struct th_timer *t);

/* Real clock: fire what is due on this worker; returns the next deadline. */
int64_t th_clock_fire_due(struct th_home *h);
/* Virtual clock; the calling worker believes that everything is asleep. Under the clock's lock it looks again, and before
 * anything is woken it counts itself as awake: else the next worker to fall asleep could move the clock on while what the
 * first one woke has yet to run. */
struct th_quiescence {
	bool (*holds)(void *arg, uint64_t *ret_inflight); /* is everything asleep? operations in a real kernel hold a jump back (C3) */
	void (*get_up)(void *arg);
	int64_t (*watch_ns)(void *arg);   /* when cancelled scopes want to be looked at; INT64_MAX: never */
	void *arg;
	bool can_be_stuck;            /* nobody outside can call in */
};
/* MOVED: something was woken. IDLE: wait; for another worker, or for the outside. STUCK: nothing can ever run again. The
 * caller is up unless IDLE. */
enum th_quiescent th_clock_quiescent(struct th_clock *c, const struct th_quiescence *q);
/* False: the clock is closed. */
bool th_clock_post(struct th_clock *c, struct th_advance *a);
/* The workers are about to leave: who waits for an advance is told so. These are threads: no fiber is left. */
void th_clock_close(struct th_clock *c);
/* Work outside that no worker's x_inflight counts begins (1) or has ended (-1); it holds a jump back (C3). Any thread. After
 * an end on a virtual clock a worker must look again: th_poke(). */
void th_clock_outside(struct th_clock *c, int by);

#endif
