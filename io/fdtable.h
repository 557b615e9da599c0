/* io/fdtable.h: which descriptors are in use by calls of this runtime, so that thrum_close() can wait for them (G9).
 *
 * One word per descriptor: how many public calls are at work on it, and bits that say it is being closed. Checked by
 * test/model/close.pml.
 *
 *            th_fd_enter +1 / th_fd_leave -1
 *           ┌───────┐
 *           ▼       │  th_fd_close_begin           th_fd_drain: users have left         th_fd_close_last
 *         OPEN, n users ───────────────► CLOSING, n users ───────────────► CLOSING, 0 ──────────────► ENDING
 *           ▲                            (th_fd_enter says no)                                          │
 *           └──────────── th_fd_close_end: those that have waited look again ───────────────────────────┘
 *
 * While the kernel closes the descriptor its number may come back to another worker at once, whose calls must not be refused;
 * and a call that is late must not reach the kernel before the close: it would wait there for ever on a file that nobody has.
 * The two cannot be told apart, so under ENDING both wait until the close has been. Who was late finds no descriptor then.
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
 *   F4   drain: load under the lock,      acquire  F3      MP     a leaver that found no closer in the list left before; and
 *        and after the wake                                       the wake may have been for an earlier closer of the number
 *   F5   close_last, close_end: or, sub   seq_cst  F6      –      who saw ENDING, and set WAITED, is seen by the sub that takes
 *                                                                 ENDING away
 *   F6   wait: CAS sets WAITED            seq_cst  F5      –      fails once ENDING has gone; under the lock, as the list is */
#ifndef TH_FDTABLE_H
#define TH_FDTABLE_H
#include "../core/atomic.h"
#include "../core/lock.h"
#include <stddef.h>

enum {
	TH_FD_CLOSING = INT32_MIN,     /* the top bit */
	TH_FD_ENDING = 1 << 30,        /* and the kernel is at it */
	TH_FD_WAITED = 1 << 29,        /* for the end of that; under the lock */
	TH_FD_COUNT_MAX = 1 << 20,     /* descriptors from here on are not tracked: closing them does not wait */
	TH_FD_BITS_MIN = 6
};

struct th_fd_wait;

struct th_fdtable {
	th_atomic_u32 *x_words;
	th_atomic(uint8_t) *x_hints;   /* one for each word: io/inline.c */
	unsigned bits;                 /* 1 << bits words */
	struct th_lock lock;
	struct th_fd_wait *closers;    /* who waits in th_fd_drain */
	struct th_fd_wait *late;       /* who waits for the end of a close */
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

/* What io/inline.c has learned about the descriptor: a wrong hint costs time, never more. 0: nothing yet; NULL: not tracked. */
static inline th_atomic(uint8_t) *th_fd_hint(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);

	return word ? &fds->x_hints[word - fds->x_words] : NULL;
}

/* `fd` is another file from now on, as far as this runtime can tell. */
static inline void th_fd_forget(struct th_fdtable *fds, int fd)
{
	th_atomic(uint8_t) *hint = th_fd_hint(fds, fd);

	if (hint && th_load_rlx(hint))
		th_store_rlx(hint, 0);
}

/* Its users are to leave. (Once they have, a cancel that is served late would hit the close itself.) */
static inline bool th_fd_closing(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	return word && (th_load_acq(word) & ((uint32_t)TH_FD_CLOSING | TH_FD_ENDING)) == (uint32_t)TH_FD_CLOSING; /* F2 */
}

/* A call on `fd` begins; false: it is being closed, do not leave. May suspend, is no cancel point. */
bool th_fd_enter(struct th_fdtable *fds, int fd);
void th_fd_leave(struct th_fdtable *fds, int fd);

/* Mark as closing. 0: no users; 1: there are some; -EBADF: somebody else is closing it. May suspend. */
int th_fd_close_begin(struct th_fdtable *fds, int fd);
/* Suspend the running fiber until the users have left. Not a cancel point. */
void th_fd_drain(struct th_fdtable *fds, int fd);
void th_fd_close_last(struct th_fdtable *fds, int fd); /* the kernel is about to close it */
void th_fd_close_end(struct th_fdtable *fds, int fd);  /* it has */

#endif
