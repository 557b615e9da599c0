/* thrum/pool.h: a pool of resources that are dear to make and good for many uses: connections, handles, buffers.
 *
 * Resources are made on demand, never more than `max` at once, and lent to one borrower at a time. Who finds none
 * free waits his turn. What comes back is lent again, the last one back first, so that those not needed fall idle.
 *
 *   made ──► lent ──thrum_pool_put, the end of a use or scope──► idle ──► lent again, if it is still valid
 *              └── invalid, or the pool has shut down ──► destroyed ◄── idle for too long, or shut down
 *
 * Three ways to borrow: thrum_pool_use() for the length of a call, thrum_pool_acquire() until the nearest scope
 * closes, thrum_pool_get() until thrum_pool_put(). The first two give back by themselves, however it ends. */
#ifndef THRUM_POOL_H
#define THRUM_POOL_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Caller storage; do not copy or move it. It may go once thrum_pool_close() has returned and no other call on it
 * is in progress. It serves the fibers of one runtime. */
typedef struct thrum_pool {
	uint64_t opaque_[32];
} thrum_pool;

/* The callbacks run without locks in a fiber that borrows or gives back, and may suspend. */
typedef struct thrum_pool_opts {
	size_t size;     /* set by THRUM_POOL_OPTS */
	/* Make one: 0 or more, or a code; then there is nothing to destroy and *ret_res does not count. It sees the
	 * cancels of the caller: one that must not stop half way is written with thrum_shield(). It is not begun in a
	 * cancelled scope. */
	int (*create)(void *ctx, void **ret_res);
	/* End one; shielded. NULL: there is nothing to do. */
	void (*destroy)(void *ctx, void *res);
	/* Is this one, which was idle or comes from another borrower, still good? If not it is destroyed and another
	 * one is made in its place. It sees the caller's cancels: a false in a cancelled scope says nothing about the
	 * resource. NULL: all are. */
	bool (*validate)(void *ctx, void *res);
	void *ctx;       /* of the callbacks */
	size_t max;      /* alive at once, at least 1; each takes some 64 bytes from the start */
	size_t min;      /* so many are kept, however long they are idle; thrum_pool_warm() makes them. At most max */
	/* Idle for so long: destroyed at the next borrowing or giving back, or by thrum_pool_trim(). On the clock of
	 * the fibers, which should be the same for all that use the pool. 0: never. */
	thrum_dur idle;
} thrum_pool_opts;
#define THRUM_POOL_OPTS(...) (&(thrum_pool_opts){ .size = sizeof(thrum_pool_opts), __VA_ARGS__ })

/* Any thread. Copies the options, borrows ctx; makes nothing yet. 0; -EINVAL for options that make no sense;
 * -ENOMEM. */
THRUM_API THRUM_MUST_CHECK int thrum_pool_init(thrum_pool *p, const thrum_pool_opts *o);
/* Make what is missing to `min`, idle. Fiber; suspends if create does; cancel point. 0; create's code, then those
 * made before stay; THRUM_ECLOSED; -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_pool_warm(thrum_pool *p);

/* Borrow one: the idle one that came back last, else a new one, else the next that comes back or may be made anew.
 *   caller    a fiber
 *   suspends  yes, cancel point. Waiters are served in order, none is overtaken (Q2)
 *   returns   0 with *ret_res, which is the caller's until thrum_pool_put(); also if a cancel came meanwhile. Or
 *             create's code: the next waiter then has the place; -ECANCELED: nothing was borrowed; THRUM_ECLOSED
 *             after shutdown; -EINVAL; THRUM_ENOTFIBER */
THRUM_API THRUM_MUST_CHECK int thrum_pool_get(thrum_pool *p, void **ret_res);
/* Give back what thrum_pool_get() gave; another fiber than the borrower may. Not a cancel point; suspends only if
 * it has to destroy something. 0; -EINVAL: it is not borrowed from this pool, or by thrum_pool_use() or
 * thrum_pool_acquire(); THRUM_ENOTFIBER. */
THRUM_API int thrum_pool_put(thrum_pool *p, void *res);

/* Borrow one, call use(res, arg) and give it back, exactly once, whatever came of it: success, failure, cancel, a
 * defect. Not called if a cancel came meanwhile. Fiber; suspends; cancel point while it borrows. Returns use's
 * code; what thrum_pool_get() returns. */
THRUM_API int thrum_pool_use(thrum_pool *p, int (*use)(void *res, void *arg), void *arg);
/* Borrow one until the nearest scope closes: that of the item, entrant, timeout or child this runs in (A8). Fiber;
 * suspends; cancel point. Returns 0; what thrum_pool_get() returns; -ENOMEM before anything is borrowed (A9). On
 * -ECANCELED it may have come after all: the scope gives it back. */
THRUM_API THRUM_MUST_CHECK int thrum_pool_acquire(thrum_pool *p, void **ret_res);

/* This one is no good any more: broken, or out of date. One that is lent is destroyed when it comes back, and it has to
 * come back: by thrum_pool_put() or by itself, as it was borrowed. An idle one is destroyed here. Another is made
 * in its place when somebody needs one. Fiber; suspends only if it has to destroy it; not a cancel point. 0;
 * -EINVAL: the pool does not have it; THRUM_ENOTFIBER. */
THRUM_API int thrum_pool_invalidate(thrum_pool *p, void *res);
/* Destroy what has been idle for too long. Fiber; suspends if destroy does; not a cancel point. Returns how many;
 * THRUM_ENOTFIBER. */
THRUM_API int thrum_pool_trim(thrum_pool *p);

/* Lend no more: those who wait get THRUM_ECLOSED, idle ones are destroyed here, lent ones when they come back. Any
 * thread; on a fiber it suspends if destroy does, on a plain thread destroy must not want to. Not a cancel point.
 * 0; THRUM_ECLOSED the second time. */
THRUM_API int thrum_pool_shutdown(thrum_pool *p);
/* Shut down, wait until every resource is back and destroyed, and free. Any number of times and callers. So the
 * caller must not have one itself. Any thread; on a fiber it suspends, not a cancel point. 0; on a plain thread
 * THRUM_ENOTFIBER if there is something to wait for. */
THRUM_API int thrum_pool_close(thrum_pool *p);

typedef struct thrum_pool_stats {
	size_t size;        /* set by the caller */
	size_t alive;       /* places in use: lent, idle, being made or destroyed; at most max */
	size_t idle;
	uint64_t created;   /* so far */
	uint64_t failed;    /* creates that failed */
	uint64_t destroyed;
} thrum_pool_stats;
/* Any thread. 0; -EINVAL for another size. */
THRUM_API int thrum_pool_read(thrum_pool *p, thrum_pool_stats *ret_stats);

/* thrum_pool_use() as a value; see thrum/combine.h. */
typedef struct thrum_pool_use_op {
	thrum_pool *pool;
	int (*use)(void *res, void *arg);
	void *arg;
} thrum_pool_use_op;
THRUM_API thrum_fx thrum_pool_use_fx(thrum_pool_use_op *op);

#ifdef __cplusplus
}
#endif
#endif
