/* core/random.h: the random numbers of a fiber. Everything in the library that draws for the user's sake (jitter) calls
 * th_random(), so that there is one place where another source can be put in. Scheduling has th_choose(). */
#ifndef TH_RANDOM_H
#define TH_RANDOM_H
#include "fiber.h"

/* 64 random bits. The running fiber. */
uint64_t th_random(struct th_fiber *f);
/* A hash: numbers close together become numbers far apart. */
uint64_t th_random_mix(uint64_t z);
/* Give worker number `index` its own stream of `seed`. Before the worker runs. */
void th_random_seed(struct th_home *h, uint64_t seed, unsigned index);

#endif
