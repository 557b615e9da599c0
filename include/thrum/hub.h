/* thrum/hub.h: a broadcast hub: what is published goes to everyone who is subscribed at that moment.
 *
 * Each subscriber has a queue of its own, and says what happens when it is full. Publishes happen one after the
 * other, each for all subscribers at once: so all of them see the same order, and one that was refused or cancelled
 * has reached nobody. */
#ifndef THRUM_HUB_H
#define THRUM_HUB_H
#include <thrum/base.h>
#include <thrum/sync.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Caller storage; do not copy or move it. A hub outlives its subscriptions; both serve the fibers of one runtime.
 * They may go when no call on them is in progress. */
typedef struct thrum_hub {
	uint64_t opaque_[16];
} thrum_hub;
typedef struct thrum_sub {
	uint64_t opaque_[16];
} thrum_sub;

typedef struct thrum_hub_opts {
	size_t size;       /* set by THRUM_HUB_OPTS */
	size_t item_bytes;
	/* Called once for each published item that no subscriber takes: nobody was subscribed, or all who were have
	 * dropped it. `item` points to a copy, valid during the call. It runs without locks in whatever call lets go
	 * of the item last: a publish, a receive, an unsubscribe; on a fiber shielded, and may suspend there; a plain
	 * thread may cause it too. NULL: items are forgotten. */
	void (*drop)(void *item, void *drop_arg);
	void *drop_arg;
} thrum_hub_opts;
#define THRUM_HUB_OPTS(...) (&(thrum_hub_opts){ .size = sizeof(thrum_hub_opts), __VA_ARGS__ })

/* Items by value. Any thread. Options are not kept. 0; -EINVAL for items of no bytes. */
THRUM_API THRUM_MUST_CHECK int thrum_hub_init(thrum_hub *h, size_t item_bytes);
THRUM_API THRUM_MUST_CHECK int thrum_hub_init_with(thrum_hub *h, const thrum_hub_opts *o);
/* Nobody may be subscribed or publish any more (aborts). Any thread. */
THRUM_API void thrum_hub_fini(thrum_hub *h);

/* Have a queue for `capacity` items, 1 or more, that are published from now on. When it is full:
 *   THRUM_OVERFLOW_BLOCK     publishers wait until there is room
 *   THRUM_OVERFLOW_DROP_OLD  it loses the oldest in it
 *   THRUM_OVERFLOW_DROP_NEW  it does not get the new one
 * Any thread, at any time. 0; THRUM_ECLOSED when the hub is closed; -EINVAL; -ENOMEM. */
THRUM_API THRUM_MUST_CHECK int thrum_hub_subscribe(thrum_hub *h, thrum_sub *s, size_t capacity, unsigned overflow);
/* Get no more items; those in the queue can still be received. From now on publishers do not wait for it. Any
 * thread. 0; THRUM_ECLOSED if it or the hub was closed. */
THRUM_API int thrum_sub_close(thrum_sub *s);
/* Close it, let go of what is in its queue, and free that: only after it `s` may go. Whoever waits in a receive gets
 * THRUM_ECLOSED; receives after it are no longer allowed. Any thread. */
THRUM_API void thrum_hub_unsubscribe(thrum_sub *s);

/* Publish to all subscribers, or to none of them: it waits until no blocking queue is full.
 *   caller    a fiber
 *   suspends  yes, cancel point. Publishers are served in order, none is overtaken (Q2)
 *   returns   how many subscribers got it (at most INT_MAX); 0 if there are none, or all are full and drop new ones.
 *             A code: nobody got it, and it is still the publisher's: -ECANCELED; THRUM_ECLOSED; -ENOMEM; -EINVAL;
 *             THRUM_ENOTFIBER */
THRUM_API THRUM_MUST_CHECK int thrum_hub_publish(thrum_hub *h, const void *item);
/* Without waiting: -EAGAIN instead, and nobody gets it. Any thread; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_hub_try_publish(thrum_hub *h, const void *item);

enum { THRUM_SUB_MISSED = 1 }; /* what a receive returns when items were lost before this one; a success */

/* Receive the next item. Several fibers may receive from one subscriber, in order; each item goes to one of them.
 *   caller    a fiber
 *   suspends  yes, cancel point
 *   returns   0; THRUM_SUB_MISSED: the same, but its queue was full, and *ret_missed (may be NULL; else 0) items
 *             between the last one received and this one were lost. THRUM_ECLOSED: closed, and all that was in the
 *             queue has been received; *ret_missed, once, is what was lost after the last one. -ECANCELED: none was
 *             taken (Q4), nor is a loss forgotten; -EINVAL; THRUM_ENOTFIBER */
THRUM_API THRUM_MUST_CHECK int thrum_sub_recv(thrum_sub *s, void *ret_item, uint64_t *ret_missed);
/* Without waiting: -EAGAIN. Any thread; not a cancel point. */
THRUM_API THRUM_MUST_CHECK int thrum_sub_try_recv(thrum_sub *s, void *ret_item, uint64_t *ret_missed);
/* How many items are in its queue now. Any thread. */
THRUM_API size_t thrum_sub_len(thrum_sub *s);

/* Close the hub: publishers, waiting ones too, get THRUM_ECLOSED; subscribers receive what is in their queues, then
 * THRUM_ECLOSED. Any thread. 0; THRUM_ECLOSED the second time. */
THRUM_API int thrum_hub_close(thrum_hub *h);

#ifdef __cplusplus
}
#endif
#endif
