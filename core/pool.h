/* core/pool.h: fixed blocks for what has no caller storage: the children of thrum_go, the finalizers of
 * thrum_acquire_release, runners of fans but each one's first successor (core/fan.c), abandonable jobs; in a second pool, causes.
 * Behind a lock; it grows by slabs and keeps them until the runtime closes, so a block given back is the next one handed out
 * and a long-lived scope stays flat. */
#ifndef TH_POOL_H
#define TH_POOL_H
#include <stdbool.h>
#include <stddef.h>

struct th_pool;
struct th_pool *th_pool_new(size_t block_bytes); /* NULL: no memory */
bool th_pool_reserve(struct th_pool *p);         /* have a first slab of 64 blocks now. False: no memory */
void th_pool_free(struct th_pool *p);            /* NULL is fine; every block must be back */
void *th_pool_take(struct th_pool *p);           /* NULL: no memory */
void th_pool_give(struct th_pool *p, void *block);
size_t th_pool_live(struct th_pool *p);          /* blocks out */

#endif
