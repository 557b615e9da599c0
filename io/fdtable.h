/* io/fdtable.h: which descriptors are in use by calls of this runtime, so that thrum_close() can wait for them (G9).
 *
 * One word per descriptor: how many public calls are at work on it, and a bit that says it is being closed.
 *
 *            th_fd_enter +1 / th_fd_leave -1
 *           ┌───────┐
 *           ▼       │  th_fd_close_begin           th_fd_drain: users have left        th_fd_close_end
 *         OPEN, n users ───────────────► CLOSING, n users ───────────────► CLOSING, 0 ───────────────► OPEN, 0
 *                                        (th_fd_enter says no)
 *
 * The bit goes before the kernel closes the descriptor, not after: once it is closed its number may come back to
 * another worker at once, whose calls must not find it marked.
 *
 *   closer                                   a worker with an operation on the descriptor
 *   set CLOSING              (F1)            load the word: not CLOSING   (F2, th_op_run)
 *   post th_op_cancel_fd to every worker     submit; later: serve the mailbox
 * A worker that does not see the bit has not served the post yet, and submits before it does: one thread does both. So
 * the post finds the operation. One that has served the post has synchronized with the closer and sees the bit.
 *
 *   tag  where                            order    pairs   shape  because
 *   F1   close_begin: CAS sets CLOSING    seq_cst  F2, F3  –      exactly one closer; later enters see it
 *   F2   closing: load                    acquire  F1      MP     see above
 *   F3   enter, leave: add, sub           seq_cst  F1, F4  –      the last user out after F1 wakes the closer, once; what
 *                                                                 users did comes before the close
 *   F4   drain: load under the lock       acquire  F3      MP     a leaver that found no closer in the list left before */
#ifndef TH_FDTABLE_H
#define TH_FDTABLE_H
#include "../core/atomic.h"
#include "../core/lock.h"
#include <stddef.h>

enum {
	TH_FD_CLOSING = INT32_MIN,     /* the top bit */
	TH_FD_COUNT_MAX = 1 << 20,     /* descriptors from here on are not tracked: closing them does not wait */
	TH_FD_BITS_MIN = 6
};

struct th_fd_closer;

struct th_fdtable {
	th_atomic_u32 *x_words;
	unsigned bits;                 /* 1 << bits words */
	struct th_lock lock;
	struct th_fd_closer *closers;  /* who waits in th_fd_drain */
};

/* Sized by the hard limit on descriptors; pages appear as they are touched. 0 or -errno. */
int th_fdtable_open(struct th_fdtable **ret_fds);
void th_fdtable_close(struct th_fdtable *fds); /* NULL is fine */

/* NULL: not tracked. Neighbours land in different cache lines: accept hands them to different workers. */
static inline th_atomic_u32 *th_fd_word(struct th_fdtable *fds, int fd)
{
	unsigned n = (unsigned)fd;

	if (!fds || n >> fds->bits)
		return NULL;
	return &fds->x_words[(n >> 4 | n << (fds->bits - 4)) & ((1U << fds->bits) - 1)];
}

static inline bool th_fd_closing(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	return word && (th_load_acq(word) & (uint32_t)TH_FD_CLOSING); /* F2 */
}

/* A call on `fd` begins; false: it is being closed, do not leave. */
bool th_fd_enter(struct th_fdtable *fds, int fd);
void th_fd_leave(struct th_fdtable *fds, int fd);

/* Mark as closing. 0: no users; 1: there are some; -EBADF: somebody else is closing it. */
int th_fd_close_begin(struct th_fdtable *fds, int fd);
/* Suspend the running fiber until the users have left. Not a cancel point. */
void th_fd_drain(struct th_fdtable *fds, int fd);
void th_fd_close_end(struct th_fdtable *fds, int fd);

#endif
