/* thrum/sync.h: channels, semaphores, mutexes, conditions, promises, latches, barriers, and a wait for several at
 * once. They suspend the fiber, never the thread.
 *
 * What holds for all of them:
 *   storage  the caller's; do not copy or move it. Only what has a _fini owns something to free. It may go when no
 *            call on it is in progress, as soon as that: who got what he waited for may free it, though others
 *            whose wait was ended by the same event are still on their way out. An object serves the fibers of one
 *            runtime.
 *   threads  each call says whether it is for fibers only: from a plain thread such a call returns THRUM_ENOTFIBER
 *            (X1). All others are for any thread, but not for signal handlers. (A wait that only a plain thread
 *            could end counts as a deadlock in a thrum_run() on a virtual clock: C6.)
 *   cancel   what suspends is a cancel point, also where it need not wait: -ECANCELED in a cancelled scope. A wait
 *            that an event ended succeeds, even if a cancel came at the same time.
 *   order    waiters are served in the order in which they came, and nobody who comes later overtakes them. */
#ifndef THRUM_SYNC_H
#define THRUM_SYNC_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* --- channel --- */

typedef struct thrum_chan {
	uint64_t opaque_[16];
} thrum_chan;

/* A capacity: no bound. The channel takes memory as it fills, keeps what its longest backlog took until _fini, and
 * a send never waits but may fail with -ENOMEM. */
#define THRUM_CHAN_UNBOUNDED SIZE_MAX

/* A queue of items by value; capacity 0 = rendezvous: a send waits until somebody receives. Any thread. 0; -EINVAL
 * for items of no bytes or an overflowing size; -ENOMEM. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_init(thrum_chan *c, size_t item_bytes, size_t capacity);

/* What a send does when the channel is full. */
enum {
	THRUM_OVERFLOW_BLOCK = 0, /* wait */
	THRUM_OVERFLOW_DROP_NEW,  /* drop the item sent; on a rendezvous: unless somebody waits for it */
	THRUM_OVERFLOW_DROP_OLD   /* drop the oldest in the channel */
};
enum { THRUM_CHAN_DROPPED = 1 }; /* what a send returns when its policy dropped an item; a success */

typedef struct thrum_chan_opts {
	size_t size;       /* set by THRUM_CHAN_OPTS */
	size_t item_bytes;
	size_t capacity;   /* 0 = rendezvous; THRUM_CHAN_UNBOUNDED */
	unsigned overflow;
	/* Called once for each item that nobody takes: what the policy drops, and what is left at _fini. `item`
	 * points to the item or a copy, valid during the call. It runs without locks in the caller of the send or
	 * _fini: on a fiber shielded, and may suspend there; a plain thread may cause it too, by try_send and
	 * _fini. NULL: items are forgotten. */
	void (*drop)(void *item, void *drop_arg);
	void *drop_arg;
} thrum_chan_opts;
#define THRUM_CHAN_OPTS(...) (&(thrum_chan_opts){ .size = sizeof(thrum_chan_opts), __VA_ARGS__ })
/* With options, which are not kept. Any thread. As thrum_chan_init(); -EINVAL also for a policy that means nothing
 * there: dropping when unbounded, dropping old ones of a rendezvous. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_init_with(thrum_chan *c, const thrum_chan_opts *opts);
/* Drop what is left and free it. No fiber may wait in it any more (aborts). Any thread. */
THRUM_API void thrum_chan_fini(thrum_chan *c);

/* Send and receive. Fiber; suspend; cancel points. Waiters are served in order, none is overtaken (Q2). On
 * -ECANCELED, and on any other code, the item was not sent and is still the sender's, or none was taken (Q4). On a
 * closed channel a send returns THRUM_ECLOSED; receives drain what is left, then return THRUM_ECLOSED (Q3). A send
 * under a dropping policy does not wait: THRUM_CHAN_DROPPED if an item was dropped for it; -ENOMEM, only for items
 * of more than 256 bytes that go to a `drop`. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_send(thrum_chan *c, const void *item);
THRUM_API THRUM_MUST_CHECK int thrum_chan_recv(thrum_chan *c, void *ret_item);
/* Without waiting: -EAGAIN instead, where the policy is to wait. Any thread; not cancel points. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_try_send(thrum_chan *c, const void *item);
THRUM_API THRUM_MUST_CHECK int thrum_chan_try_recv(thrum_chan *c, void *ret_item);
/* Send n items of an array in order; items of others may come between. Fiber; suspends; cancel point. 0 when all
 * were sent (THRUM_CHAN_DROPPED if some item was dropped), else the code that stopped it. *ret_done (may be NULL)
 * is how many were sent, or dropped by policy, also with a code (Q6): the others are still the sender's. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_send_many(thrum_chan *c, const void *items, size_t n, size_t *ret_done);
/* Receive at least `min` items, waiting for them, and up to `max` if they are there. Fiber; suspends; cancel
 * point. 0 with `min` or more, else the code that stopped it; *ret_done (may be NULL) is how many were received,
 * also with a code (Q6). -EINVAL if min > max. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_recv_many(thrum_chan *c, void *ret_items, size_t min, size_t max, size_t *ret_done);
/* How many items are in it now, waiting senders not counted. Any thread; not a cancel point. */
THRUM_API size_t thrum_chan_len(thrum_chan *c);
/* Close and wake everyone. Any thread. 0; THRUM_ECLOSED the second time. */
THRUM_API int thrum_chan_close(thrum_chan *c);

/* --- semaphore --- */

typedef struct thrum_sem {
	uint64_t opaque_[6];
} thrum_sem;

/* Any thread. Returns 0. */
THRUM_API int thrum_sem_init(thrum_sem *s, unsigned permits);
/* No fiber may wait in it any more (aborts). Any thread. */
THRUM_API void thrum_sem_fini(thrum_sem *s);
/* Take n permits, all or none. Fiber; suspends; cancel point. Requests are served strictly in order: a large one
 * at the head is not starved by small ones behind it (Q8), and when it is cancelled the next ones go (Q9). A
 * cancelled request has taken nothing (Q7). n may be larger than the initial number, since permits may be added by
 * release; it waits until so many are there. n = 0 does not wait. Returns 0; -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_sem_acquire(thrum_sem *s, unsigned n);
/* Without waiting; also -EAGAIN while others wait in line. Any thread; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_sem_try_acquire(thrum_sem *s, unsigned n);
/* Give n permits. Any thread, whoever acquired them; does not suspend. 0; -EOVERFLOW: more than UINT_MAX would be
 * free, none was given. */
THRUM_API int thrum_sem_release(thrum_sem *s, unsigned n);

/* --- mutex and condition --- */

typedef struct thrum_mutex {
	uint64_t opaque_[6];
} thrum_mutex;
typedef struct thrum_cond {
	uint64_t opaque_[6];
} thrum_cond;

/* Any thread. Returns 0. */
THRUM_API int thrum_mutex_init(thrum_mutex *m);
/* The owner is the child (or root) that locked it, from any depth of calls, also inside shields, timeouts and
 * finalizers; a child that it spawns is somebody else, even when it runs inside the parent's join (K10), and so is
 * each effect of zip_par, a race or for_each_par. So do not join, or close a scope, holding a mutex that the
 * children want. It may be held across suspensions. Who ends while he owns a mutex aborts the process: nobody
 * could unlock it any more.
 *   caller    a fiber
 *   suspends  yes, cancel point: waiting can be cancelled, holding is not affected (Q10)
 *   returns   0; -ECANCELED; -EDEADLK if the caller owns it; THRUM_ENOTFIBER. A debug build (of the library, without NDEBUG)
 *             also finds circles of locks and joins: -EDEADLK to the one that would close it, and a report of the chain */
THRUM_API THRUM_MUST_CHECK int thrum_mutex_lock(thrum_mutex *m);
/* Without waiting: -EAGAIN if another owns it. Fiber; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_mutex_try_lock(thrum_mutex *m);
/* Hand it to the first who waits. Fiber; does not suspend. 0; -EPERM if the caller does not own it; THRUM_ENOTFIBER. */
THRUM_API int thrum_mutex_unlock(thrum_mutex *m);

/* Any thread. Returns 0. */
THRUM_API int thrum_cond_init(thrum_cond *c);
/* Let go of the mutex and wait for a signal, in one step; then lock the mutex again, come what may, also when
 * cancelled (Q11). A wait ends by a signal or a cancel, never by itself; but others may have had the mutex in
 * between, so look at the condition again. Fiber; suspends; cancel point. Returns 0; -ECANCELED: no signal was
 * used up; -EPERM if the caller does not own the mutex; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_cond_wait(thrum_cond *c, thrum_mutex *m);
/* End the first wait, or all of them; nothing is kept for later ones. Fiber, with or without the mutex; do not
 * suspend. 0; THRUM_ENOTFIBER. */
THRUM_API int thrum_cond_signal(thrum_cond *c);
THRUM_API int thrum_cond_broadcast(thrum_cond *c);

/* --- promise --- */

typedef struct thrum_promise {
	uint64_t opaque_[8];
} thrum_promise;

/* Any thread. Returns 0. */
THRUM_API int thrum_promise_init(thrum_promise *p);
/* Set the result, once: the first wins (Q12). `value` is the caller's pointer; the promise neither reads nor frees
 * what it points to. Any thread, also in a cancelled scope; does not suspend. 0; -EALREADY if it was set, then
 * nothing changes. */
THRUM_API int thrum_promise_set(thrum_promise *p, int code, void *value);
/* Wait until it is set. Any number of fibers may, any number of times. Fiber; suspends; cancel point. Returns the
 * code that was set; *ret_value (may be NULL) is written if that is >= 0. Or -ECANCELED, THRUM_ENOTFIBER. */
THRUM_API int thrum_promise_await(thrum_promise *p, void **ret_value);
/* The same without waiting: -EAGAIN while it is not set. Any thread; not a cancel point. */
THRUM_API int thrum_promise_try_await(thrum_promise *p, void **ret_value);

/* --- latch and barrier --- */

typedef struct thrum_latch {
	uint64_t opaque_[6];
} thrum_latch;
typedef struct thrum_barrier {
	uint64_t opaque_[8];
} thrum_barrier;

/* A latch opens for good when n have arrived; one of 0 is open (Q15). Any thread. Returns 0. */
THRUM_API int thrum_latch_init(thrum_latch *l, unsigned n);
/* One more has arrived. Any thread; does not suspend. 0; -EALREADY if it was open. */
THRUM_API int thrum_latch_arrive(thrum_latch *l);
/* Wait until it is open. Fiber; suspends; cancel point. 0; -ECANCELED; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_latch_wait(thrum_latch *l);
/* 0 if it is open, else -EAGAIN. Any thread; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_latch_try_wait(thrum_latch *l);

enum { THRUM_BARRIER_LAST = 1 }; /* what thrum_barrier_wait() returns to one of each generation */

/* A barrier lets n go together, again and again. 0 is as 1: nobody waits (Q15). Any thread. Returns 0. */
THRUM_API int thrum_barrier_init(thrum_barrier *b, unsigned n);
/* Wait until n have come, then the next generation begins. Fiber; suspends; cancel point. Returns 0, and to one of
 * the n, the last to come, THRUM_BARRIER_LAST; -ECANCELED: it is as if the caller had not come; THRUM_ENOTFIBER. */
THRUM_API THRUM_MUST_CHECK int thrum_barrier_wait(thrum_barrier *b);

/* --- select --- */

enum {
	THRUM_CASE_NONE = 0, /* never ready: a case that is switched off */
	THRUM_CASE_SEND,
	THRUM_CASE_RECV,
	THRUM_CASE_AWAIT,
	THRUM_CASE_FD
};

/* One thing to wait for. Made by the functions below; may be used again, in one select at a time. */
typedef struct thrum_case {
	unsigned kind;    /* THRUM_CASE_*; may be set to THRUM_CASE_NONE and back */
	int code;         /* out, of the case that was chosen */
	void *object;     /* of a descriptor: its number */
	const void *item; /* of a send: the item */
	void *ret;        /* of a receive: where the item goes; of an await: a void **, or NULL; of a descriptor: the events */
	uint64_t opaque_[24];
} thrum_case;

static inline THRUM_UNUSED_OK_ thrum_case thrum_case_of_(unsigned kind, void *object, const void *item, void *ret)
{
	thrum_case c;
	c.kind = kind;
	c.code = 0;
	c.object = object;
	c.item = item;
	c.ret = ret;
	return c;
}
static inline THRUM_UNUSED_OK_ thrum_case thrum_case_send(thrum_chan *c, const void *item)
{
	return thrum_case_of_(THRUM_CASE_SEND, (void *)c, item, NULL);
}
static inline THRUM_UNUSED_OK_ thrum_case thrum_case_recv(thrum_chan *c, void *ret_item)
{
	return thrum_case_of_(THRUM_CASE_RECV, (void *)c, NULL, ret_item);
}
static inline THRUM_UNUSED_OK_ thrum_case thrum_case_await(thrum_promise *p, void **ret_value)
{
	return thrum_case_of_(THRUM_CASE_AWAIT, (void *)p, NULL, (void *)ret_value);
}

/* Readiness of a descriptor, as thrum_wait_fd(): POLLIN, POLLOUT. Nothing is read or written. */
static inline THRUM_UNUSED_OK_ thrum_case thrum_case_fd(int fd, unsigned want)
{
	return thrum_case_of_(THRUM_CASE_FD, (void *)(intptr_t)fd, NULL, (void *)(uintptr_t)want);
}

/* Wait until one of n cases is ready, and do that one and no other. Its `code` is then what thrum_chan_send(),
 * thrum_chan_recv() or thrum_promise_await() would have returned: so a closed channel is ready, with
 * THRUM_ECLOSED, and a send that drops or makes room always is. Of several that are ready any may be chosen; the
 * caller stands in line in each object like anybody else (Q2). A time limit is the scope's deadline, or
 * thrum_timeout(). Its cost grows with the square of n: for a few dozen at most. Descriptors are looked at when nothing
 * else is ready, and each costs a child and memory for the time of the wait; the case's code is what thrum_wait_fd() would
 * have returned, a refused descriptor is ready with its code.
 *   caller    a fiber
 *   suspends  yes, cancel point
 *   borrows   the cases, what they point to, and the objects (but for the chosen one), until it returns
 *   returns   the index of the case; -ECANCELED: none was done (Q4); -EINVAL for a case without object, item or
 *             place; -ENOMEM if there are descriptors; THRUM_ENOTFIBER. With no case that can be ready it waits for a cancel */
THRUM_API THRUM_MUST_CHECK int thrum_select(thrum_case *cases, size_t n);
/* Without waiting: -EAGAIN if none is ready; -EINVAL with a descriptor. Any thread; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_try_select(thrum_case *cases, size_t n);

#ifdef __cplusplus
}
#endif
#endif
