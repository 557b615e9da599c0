/* io/uring.h: what the probe and the backend share: how a ring is made. liburing stays inside io/. */
#ifndef TH_URING_H
#define TH_URING_H
#include <liburing.h>
#include <stdbool.h>

enum {
	TH_URING_SQ_ENTRIES =
	    1024,		/* a batch, not a limit on what is in flight: a full queue is handed over and reused */
	TH_URING_CQ_FACTOR = 8, /* completions wait in the kernel's list beyond that (NODROP), at a price */
	TH_URING_SQ_ENTRIES_MIN = 32,
	TH_URING_LENT_GROUP = 0 /* the number of the ring of buffers in its ring */
};

/* Make a ring for the calling thread with the best setup that this kernel takes. share_fd: a ring whose kernel threads
 * to share, or -1. Restricted: it takes no operation but those of thrum. 0 or -errno; -EOPNOTSUPP: the kernel's io_uring is
 * too old. */
int th_uring_setup(struct io_uring *ring, unsigned entries, bool restricted, int share_fd);
/* The name of the first operation that this kernel lacks, or NULL. */
const char *th_uring_missing(struct io_uring *ring);

/* The ring of an open backend, and how buffers are lent through it: io/uring_lent.c. */
struct th_io;
struct io_uring *th_uring_of(struct th_io *io);
extern const struct th_lent_ring_ops th_uring_lent;

/* Of a ring made by it: "SINGLE_ISSUER|DEFER_TASKRUN" and so on. */
const char *th_uring_setup_name(const struct io_uring *ring);

#endif
