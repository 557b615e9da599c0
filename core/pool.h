/* core/pool.h: fixed blocks for what has no caller storage: the children of thrum_go, the finalizers of
 * thrum_acquire_release, and runners that take another one's place (core/fan.c). One pool per runtime, behind a lock; it
 * grows by slabs and keeps them until the runtime closes,
 * so a block given back is the next one handed out and a long-lived scope stays flat. */
#ifndef TH_POOL_H
#define TH_POOL_H
#include <stddef.h>

struct th_pool;
struct th_pool *th_pool_new(size_t block_bytes); /* NULL: no memory */
void th_pool_free(struct th_pool *p);            /* NULL is fine; every block must be back */
void *th_pool_take(struct th_pool *p);           /* NULL: no memory */
void th_pool_give(struct th_pool *p, void *block);
size_t th_pool_live(struct th_pool *p);          /* blocks out */

#endif
