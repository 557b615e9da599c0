/* core/random.h: the random numbers of a fiber. Everything in the library that draws for the user's sake (jitter) calls
 * th_random(), so that there is one place where another source can be put in. Scheduling has th_choose().
 *
 * The generator is SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014): a counter and a
 * hash of it. Any seed is a good one, and a fiber that draws touches one word. */
#ifndef TH_RANDOM_H
#define TH_RANDOM_H
#include "fiber.h"

/* 64 random bits. The running fiber. */
uint64_t th_random(struct th_fiber *f);
/* A hash: numbers close together become numbers far apart. */
static inline uint64_t th_random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

#define TH_RANDOM_STEP UINT64_C(0x9e3779b97f4a7c15) /* odd; 2^64 / golden ratio */
static inline uint64_t th_random_next(uint64_t *counter)
{
	return th_random_mix(*counter += TH_RANDOM_STEP);
}

/* Give worker number `index` its own stream of `seed`. Before the worker runs. */
void th_random_seed(struct th_home *h, uint64_t seed, unsigned index);

#endif
