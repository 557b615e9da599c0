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

/* One operation on a descriptor that may be O_NONBLOCK, between begin and end. With MSG_DONTWAIT it is a system call, else the
 * ring's, which waits for `events` if need be. */
int th_call_run(struct th_op *op, unsigned events);

/* One transfer of at most n bytes; fill in everything but the length. */
ssize_t th_transfer(struct th_op *op, size_t n, unsigned events);
/* Send all n bytes: 0 or a code. *ret_done (may be NULL) is true with any outcome. */
int th_send_all(struct th_op *op, size_t n, size_t *ret_done);
/* Operations that succeed at once never suspend their fiber. After a number of them the others have a turn. */
void th_call_was_quick(void);

/* The kernel does not write through it; struct th_op has one pointer for both directions. */
static inline void *th_unconst(const void *p) { return (void *)(uintptr_t)p; }

#endif
