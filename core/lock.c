/* core/lock.c: the slow paths of core/lock.h. */
#include "lock.h"
#include "hooks.h"

enum { SPINS = 64 }; /* about the length of the longest section; beyond that the holder is probably not running */

#ifdef TH_TSAN
th_atomic_u32 th_tsan_fence_word;
#endif

void th_lock_slow(struct th_lock *l)
{
	for (int i = 0; i < SPINS; i++) {
		uint32_t free = 0;
		th_pause();
		if (th_load_rlx(&l->x_word) == 0 && th_cas_acq(&l->x_word, &free, 1))
			return;
	}
	/* From here on the word says 2, so whoever unlocks wakes somebody; taking it with 2 costs one wake too many at
	 * most, taking it with 1 could leave a sleeper behind. */
	while (th_xchg_acq(&l->x_word, 2) != 0)
		th_word_wait(&l->x_word, 2);
}

void th_unlock_slow(struct th_lock *l)
{
	th_word_wake(&l->x_word, 1);
}
