/* io/inline.h: transfers of files that need not wait. */
#ifndef TH_INLINE_H
#define TH_INLINE_H
#include "op.h"
#include <sys/types.h>

/* Run a read or write of bytes or vectors that is filled in, but for `events`: at once as far as it goes without waiting for a
 * disk, and the rest as an operation. Returns how much moved, which is less than asked for only at the end of the file, or when
 * the rest failed; else the code of the operation. The caller has begun its call (call.h). */
ssize_t th_inline_first(struct th_op *op, unsigned events);

#endif
