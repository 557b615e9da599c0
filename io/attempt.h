/* io/attempt.h: one operation by system calls, for the backend that has no ring: tried without blocking, or blocking on a
 * thread made for that. */
#ifndef TH_ATTEMPT_H
#define TH_ATTEMPT_H
#include "backend.h"

/* What an attempt ends with beside results and TH_OP_BLOCKS; below every code. */
enum {
	TH_ATTEMPT_WAIT = TH_OP_BLOCKS + 1, /* not now: again when one of th_attempt_events() is there */
	TH_ATTEMPT_LATER                    /* not now, and no event will tell: again after a while */
};

/* Before the first attempt. op->off of operations without a position is ours from here on. */
void th_attempt_begin(struct th_op *op);
/* Never blocks. A result, or one of the above. */
int th_attempt(struct th_op *op);
/* Of poll(2); 0: errors only. */
unsigned th_attempt_events(const struct th_op *op);

/* Carry out an operation that ended with TH_OP_BLOCKS on a thread that may be blocked. Its result. */
int th_attempt_blocking(struct th_op *op);

#endif
