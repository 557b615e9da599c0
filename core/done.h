/* core/done.h: telling the user of each item that is done, one at a time (F10): what for_each_par over an array and
 * over an iterator share. */
#ifndef TH_DONE_H
#define TH_DONE_H
#include "mutex.h"
#include <thrum/combine.h>

struct th_done {
	void (*call)(void *arg, size_t index, int code, void *ctx); /* NULL: nobody wants to know */
	void *ctx;
	thrum_mutex mutex; /* held while it runs: a fiber's mutex, since it may suspend */
};

void th_done_init(struct th_done *d, const thrum_fan_opts *o); /* `o` may be NULL */
/* On the fiber that ran the item, shielded. No runtime lock is held. */
void th_done_tell(struct th_fiber *f, struct th_done *d, void *arg, size_t index, int code);

/* An effect that notes whether it ran: the code of one that a cancel kept from starting does not tell. */
struct th_noted {
	thrum_fx fx;
	bool ran;
};
thrum_fx th_noted_fx(struct th_noted *n, thrum_fx fx);

#endif
