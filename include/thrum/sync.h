/* thrum/sync.h: channels. They suspend the fiber, never the thread. An object belongs to one runtime. */
#ifndef THRUM_SYNC_H
#define THRUM_SYNC_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct thrum_chan {
	uint64_t opaque_[16];
} thrum_chan;

/* A queue of items by value; capacity 0 = rendezvous. Any thread. 0; -EINVAL for items of no bytes or an overflowing
 * size; -ENOMEM. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_init(thrum_chan *c, size_t item_bytes, size_t capacity);
/* Free it. No fiber may wait in it any more. Items still in it are forgotten. Any thread. */
THRUM_API void thrum_chan_fini(thrum_chan *c);

/* Send and receive. Fiber; suspend; cancel points. Waiters are served in order, none is overtaken (Q2). On -ECANCELED the
 * item was not sent, or not taken (Q4). On a closed channel a send returns THRUM_ECLOSED and keeps its item; receives
 * drain what is left, then return THRUM_ECLOSED (Q3). */
THRUM_API THRUM_MUST_CHECK int thrum_chan_send(thrum_chan *c, const void *item);
THRUM_API THRUM_MUST_CHECK int thrum_chan_recv(thrum_chan *c, void *ret_item);
/* Without waiting: -EAGAIN instead. Any thread; not cancel points. */
THRUM_API THRUM_MUST_CHECK int thrum_chan_try_send(thrum_chan *c, const void *item);
THRUM_API THRUM_MUST_CHECK int thrum_chan_try_recv(thrum_chan *c, void *ret_item);
/* Close and wake everyone. Any thread. 0; THRUM_ECLOSED the second time. */
THRUM_API int thrum_chan_close(thrum_chan *c);

#ifdef __cplusplus
}
#endif
#endif
