/* core/lock.h: a small mutex for short sections that never suspend and never call user code. Most are a few dozen
 * instructions; a cancel holds the locks of a path while it walks, the virtual clock its own while timers fire.
 *
 *   0 free --lock--> 1 held --lock by another--> 2 held, somebody sleeps --unlock--> 0, wake one
 *
 * It spins a little, then sleeps in the kernel, so a preempted holder cannot starve the others (hazard 13).
 * Unlocking touches the word once, by an exchange; after it only the word's address is used. So the last holder may
 * unlock a lock whose memory the next one frees (a child ending in a scope that then closes relies on it).
 * Source of the idea: Drepper, "Futexes are tricky", mutex 2. */
#ifndef TH_LOCK_H
#define TH_LOCK_H
#include "atomic.h"

struct th_lock {
	th_atomic_u32 x_word;
};

void th_lock_slow(struct th_lock *l);
void th_unlock_slow(struct th_lock *l);

static inline void th_lock_init(struct th_lock *l) { th_init(&l->x_word, 0); }

static inline void th_lock(struct th_lock *l)
{
	uint32_t free = 0;
	if (!th_cas_acq(&l->x_word, &free, 1))
		th_lock_slow(l);
}

static inline void th_unlock(struct th_lock *l)
{
	if (th_xchg_rel(&l->x_word, 0) == 2)
		th_unlock_slow(l);
}

#endif
