/* io/waitall.h: MSG_WAITALL, which no backend is told of. */
#ifndef TH_WAITALL_H
#define TH_WAITALL_H
#include "op.h"
#include <stdbool.h>
#include <sys/socket.h>

/* Is it a receive with MSG_WAITALL? Beside MSG_DONTWAIT that flag says nothing. */
static inline bool th_waits_for_all(const struct th_op *op)
{
	return (op->kind == TH_OP_RECV || op->kind == TH_OP_RECVMSG) && (op->arg & (MSG_WAITALL | MSG_DONTWAIT)) == MSG_WAITALL;
}

/* Run such a one. From a stream: how many bytes came until the buffers were full, it ended, failed or was being closed, or the
 * fiber was cancelled; a code only if there were none (G8). From other sockets, and with MSG_PEEK, MSG_OOB or MSG_ERRQUEUE: as
 * without the flag. */
int th_waitall_run(struct th_op *op);

#endif
