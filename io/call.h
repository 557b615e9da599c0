/* io/call.h: what the public calls on descriptors have in common. */
#ifndef TH_CALL_H
#define TH_CALL_H
#include "op.h"
#include <sys/types.h>

enum { TH_LEN_MAX = 0x7ffff000 }; /* what the kernel moves at most in one call; the length of an SQE has 32 bits */

/* Around each public call, so that a close can wait for it (fdtable.h). begin is the call's checkpoint: 0;
 * THRUM_ENOTFIBER, -ECANCELED, -EBADF (being closed), and then no end. A negative fd is left to the kernel. */
int th_call_begin(int fd);
void th_call_end(int fd);

/* One transfer of at most n bytes; fill in everything but the length. Waits for `events` if fd is O_NONBLOCK. */
ssize_t th_transfer(struct th_op *op, size_t n, unsigned events);
/* All n bytes: 0 or a code. *ret_done (may be NULL) is true with any outcome. */
int th_transfer_all(struct th_op *op, size_t n, unsigned events, size_t *ret_done);

/* The kernel does not write through it; struct th_op has one pointer for both directions. */
static inline void *th_unconst(const void *p) { return (void *)(uintptr_t)p; }

#endif
