/* core/pool.c: see the header. */
#include "pool.h"
#include "assert.h"
#include "lock.h"
#include <stdlib.h>

enum { BLOCKS_PER_SLAB = 64 };

struct block {
	struct block *next;
};

struct slab {
	struct slab *next;
	_Alignas(16) char bytes[];
};

struct th_pool {
	struct th_lock lock;
	size_t block_bytes;
	size_t live;
	struct block *free;
	struct slab *slabs;
};

struct th_pool *th_pool_new(size_t block_bytes)
{
	struct th_pool *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	th_lock_init(&p->lock);
	p->block_bytes = (block_bytes + 15) & ~(size_t)15;
	return p;
}

void th_pool_free(struct th_pool *p)
{
	if (!p)
		return;
	TH_ASSERT(p->live == 0);
	while (p->slabs) {
		struct slab *s = p->slabs;
		p->slabs = s->next;
		free(s);
	}
	free(p);
}

/* Under the lock: malloc may take its time here, but only once per 64 blocks that were never out together before. */
static void grow(struct th_pool *p)
{
	struct slab *s = malloc(sizeof *s + p->block_bytes * BLOCKS_PER_SLAB);

	if (!s)
		return;
	s->next = p->slabs;
	p->slabs = s;
	for (size_t i = 0; i < BLOCKS_PER_SLAB; i++) {
		struct block *b = (void *)(s->bytes + i * p->block_bytes);
		b->next = p->free;
		p->free = b;
	}
}

bool th_pool_reserve(struct th_pool *p)
{
	bool any;

	th_lock(&p->lock);
	if (!p->free)
		grow(p);
	any = p->free != NULL;
	th_unlock(&p->lock);
	return any;
}

void *th_pool_take(struct th_pool *p)
{
	struct block *b;

	th_lock(&p->lock);
	if (!p->free)
		grow(p);
	b = p->free;
	if (b) {
		p->free = b->next;
		p->live++;
	}
	th_unlock(&p->lock);
	return b;
}

void th_pool_give(struct th_pool *p, void *block)
{
	struct block *b = block;

	th_lock(&p->lock);
	TH_ASSERT(p->live > 0);
	b->next = p->free;
	p->free = b;
	p->live--;
	th_unlock(&p->lock);
}

size_t th_pool_live(struct th_pool *p)
{
	size_t live;

	th_lock(&p->lock);
	live = p->live;
	th_unlock(&p->lock);
	return live;
}
