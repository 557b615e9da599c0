/* core/chan.h: what a select needs of a channel. */
#ifndef TH_CHAN_H
#define TH_CHAN_H
#include "wait.h"
#include <thrum/sync.h>

struct th_chan_wait {
	struct th_wait wait; /* first */
	thrum_chan *chan;
	const void *item;    /* a sender's */
	void *slot;          /* a receiver's */
	int code;            /* written by the claimer, or by take() */
};

/* Of `item` and `slot` one is NULL. */
void th_chan_wait_init(struct th_chan_wait *w, thrum_chan *c, const void *item, void *slot);
/* It may have to make room, or to drop an item: such a send is not one for take(), but for thrum_chan_try_send(). */
bool th_chan_send_never_waits(thrum_chan *c);

#endif
