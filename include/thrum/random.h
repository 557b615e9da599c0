/* thrum/random.h: random numbers that a seed reproduces. Not for secrets. */
#ifndef THRUM_RANDOM_H
#define THRUM_RANDOM_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* 64 random bits, of thrum_with_random()'s source if there is one. Every worker has a generator of its own, seeded from
 * thrum_opts.seed: with one worker, the same seed and the same program the numbers come again. The library's own random
 * delays (thrum_jittered) are drawn from it too. Fiber; does not suspend, no cancel point. Elsewhere 0: a plain thread has
 * no runtime whose seed could be meant. */
THRUM_API uint64_t thrum_random(void);

/* Another source for a part of the program: fx and what runs below it draw from `source`, jitter included; a test puts
 * fixed numbers there. `source` is borrowed, next() is called by any fiber below, by several at once, and must not suspend.
 * Fiber; suspends if fx does. Returns fx's code; -EINVAL without a function; -ENOMEM. */
typedef struct thrum_random_source {
	uint64_t (*next)(void *arg);
	void *arg;
} thrum_random_source;
THRUM_API int thrum_with_random(const thrum_random_source *source, thrum_fx fx);

#ifdef __cplusplus
}
#endif
#endif
