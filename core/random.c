/* core/random.c: one small generator per worker: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number
 * generators", 2014). A counter and a hash of it: any seed is a good one, and a fiber that draws touches one word. */
#include "random.h"
#include "hooks.h"
#include "locals.h"
#include "scope.h"
#include "tsan.h"
#include <errno.h>
#include <thrum/random.h>

static const uint64_t STEP = UINT64_C(0x9e3779b97f4a7c15); /* odd; 2^64 / golden ratio */

uint64_t th_random_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* The workers' counters are hashed apart: steps of one another, they would draw each other's numbers again. */
void th_random_seed(struct th_home *h, uint64_t seed, unsigned index)
{
	h->random = th_random_mix(seed ^ th_random_mix(index * STEP + 1));
}

static const thrum_local own_source = THRUM_LOCAL_INIT("random source", NULL);

uint64_t th_random(struct th_fiber *f)
{
	const thrum_random_source *own = th_locals_get(f->task->locals, &own_source);
	uint64_t counter;

	if (own)
		return own->next(own->arg);
	TH_TSAN_PRIVATE_BEGIN(); /* the worker's; its fibers take turns */
	counter = f->home->random += STEP;
	TH_TSAN_PRIVATE_END();
	return th_random_mix(counter);
}

int thrum_with_random(const thrum_random_source *source, thrum_fx fx)
{
	if (!source || !source->next)
		return -EINVAL;
	return thrum_local_with(&own_source, (void *)(uintptr_t)source, fx);
}

uint64_t thrum_random(void)
{
	struct th_fiber *f = th_self();

	return f ? th_random(f) : 0;
}
