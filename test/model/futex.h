/* test/model/futex.h: the kernel's side of th_word_wait and th_word_wake, and core/lock.c itself, for the Relacy models.
 *
 * Like the kernel, the wait looks at the word under the same lock that a wake takes, so a wake that follows a change of
 * the word either is seen by that look or finds the sleeper. The wake uses the word's address only (it may be gone). */
#ifndef TH_MODEL_FUTEX_H
#define TH_MODEL_FUTEX_H
#include "model.h"
#include "../../core/lock.h"
#include "../../core/hooks.h"

struct futex_bucket {
	rl::mutex lock;
	rl::condition_variable sleepers;
};
static futex_bucket *futex; /* set by the test before its threads start */

void th_word_wait(th_atomic_u32 *word, uint32_t seen)
{
	futex->lock.lock($);
	if (th_load_rlx(word) == seen)
		futex->sleepers.wait(futex->lock, $);
	futex->lock.unlock($);
}

void th_word_wake(th_atomic_u32 *, int)
{
	futex->lock.lock($);
	futex->sleepers.notify_one($);
	futex->lock.unlock($);
}

#endif
