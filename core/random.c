/* core/random.c: one generator per worker, or a fiber's own source. */
#include "random.h"
#include "hooks.h"
#include "locals.h"
#include "scope.h"
#include "tsan.h"
#include <errno.h>
#include <thrum/random.h>

/* The workers' counters are hashed apart: steps of one another, they would draw each other's numbers again. */
void th_random_seed(struct th_home *h, uint64_t seed, unsigned index)
{
	h->random = th_random_mix(seed ^ th_random_mix(index * TH_RANDOM_STEP + 1));
}

static const thrum_local own_source = THRUM_LOCAL_INIT("random source", NULL);

uint64_t th_random(struct th_fiber *f)
{
	const thrum_random_source *own = th_locals_get(f->task->locals, &own_source);
	uint64_t drawn;

	if (own)
		return own->next(own->arg);
	TH_TSAN_PRIVATE_BEGIN(); /* the worker's; its fibers take turns */
	drawn = th_random_next(&f->home->random);
	TH_TSAN_PRIVATE_END();
	return drawn;
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
