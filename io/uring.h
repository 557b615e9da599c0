/* io/uring.h: what the probe and the backend share: how a ring is made. liburing stays inside io/. */
#ifndef TH_URING_H
#define TH_URING_H
#include <liburing.h>

enum {
	TH_URING_SQ_ENTRIES =
	    1024,		/* a batch, not a limit on what is in flight: a full queue is handed over and reused */
	TH_URING_CQ_FACTOR = 8, /* completions wait in the kernel's list beyond that (NODROP), at a price */
	TH_URING_SQ_ENTRIES_MIN = 32
};

/* Make a ring for the calling thread with the best setup that this kernel takes. share_fd: a ring whose kernel threads
 * to share, or -1. 0 or -errno; -EOPNOTSUPP: the kernel's io_uring is too old. */
int th_uring_setup(struct io_uring *ring, unsigned entries, int share_fd);

/* Of a ring made by it: "SINGLE_ISSUER|DEFER_TASKRUN" and so on. */
const char *th_uring_setup_name(const struct io_uring *ring);

#endif
