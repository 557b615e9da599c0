/* io/lent.h: buffers that a worker lends to whoever receives something: thrum_recv_lent().
 *
 *                 the kernel takes it for a receive (TH_OP_RECV_LENT), or take_slot()
 *        FREE ─────────────────────────────────────────────────────────► LENT
 *    in the kernel's ring, or ◄──── give: nobody waits ───────────────────┤ │
 *    in our list of free ones       and if somebody waits: to the first ──┘ └─► LENT, to him
 *
 * Where the kernel has a ring of buffers (Linux 5.19), a receive names none and gets one with its data. That fails, and
 * -ENOBUFS says so, when none is left; then, and where there is no such ring, the fiber waits until the socket is
 * readable, holding nothing, and only then takes a buffer, or stands in line for one. Who comes back is served in order:
 * a returned buffer goes to the first in line and not to the ring, so nobody is overtaken, and nobody tries in vain.
 *
 *   slots, free, queue, provided   under the lock: a return may come from any thread
 *   the ring's tail                likewise; the kernel only reads it
 *   everything else                constant once the pool is there; it is used by its worker's fibers only */
#ifndef TH_LENT_H
#define TH_LENT_H
#include "op.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A ring of buffers in the kernel, from which TH_OP_RECV_LENT takes: its off is then the number of the buffer that was
 * taken, with whatever result, or -1. */
struct th_lent_ring;
struct th_lent_ring_ops {
	/* For at most n buffers. On the worker's own thread. 0 or -errno. */
	int (*open)(struct th_io *io, uint32_t n, struct th_lent_ring **ret_ring);
	void (*close)(struct th_io *io, struct th_lent_ring *ring);
	/* Any thread, one at a time. */
	void (*add)(struct th_lent_ring *ring, void *data, uint32_t len, uint16_t number);
};

/* thrum_opts: 0 becomes the default. -EINVAL for what cannot be. */
int th_lents_options(unsigned *buffers, size_t *bytes);
/* When the worker goes; its backend is still open. Reports what was not returned. */
void th_lents_close(struct th_home *home);
/* Fibers of this worker that stand in line for a buffer for `fd` get -EBADF: it is being closed. On the worker's thread. */
void th_lents_cancel_fd(struct th_home *home, int fd);

#endif
