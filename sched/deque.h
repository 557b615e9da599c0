/* sched/deque.h: the tasks of one worker that others may take. The owner pushes and pops at the bottom (newest first),
 * thieves take from the top (oldest first).
 *
 * It guarantees that a pushed task is returned exactly once, by one pop or one steal, and that whoever gets it sees all
 * that its pusher wrote before the push. Callers: the worker loop (owner) and searching workers (any).
 * It does NOT grow (push refuses, the caller spills), does NOT block, does NOT own or look into the tasks, and a steal
 * may refuse for no lasting reason. Foreign threads never push here: they have the inject queue and the mail.
 *
 * The algorithm is Chase-Lev in the C11 form of Le, Pop, Cohen, Zappa Nardelli, "Correct and efficient work-stealing
 * for weak memory models", PPoPP 2013. The ring never resizes (resizing lost and doubled tasks in CVE-2021-32810), the
 * indices have 64 bits and wrap only after centuries, and the publication is a release store instead of a fence, because
 * ThreadSanitizer understands only the former.
 *
 *      x_top                    x_bottom
 *        |  oldest ....... newest  |  free ...      task i lies in slot[i % TH_DEQUE_SLOTS], x_top <= i < x_bottom
 *      steal                   push, pop            0 <= x_bottom - x_top <= TH_DEQUE_SLOTS, but -1 inside a pop
 *
 *   tag  where                     order    pairs   shape  because, and what breaks without it
 *   D1   push: store x_bottom      release  S3      MP     a thief that sees the index sees the slot and the task in it;
 *                                                          else it runs a task whose fields are not there yet
 *   D2   push: load x_top          acquire  S5      LB     the slot is overwritten after its last thief has read it; else
 *                                                          that thief may read the new task under the old index
 *   P1   pop: store x_bottom       release  S3      MP     a thief may read this smaller index, for a task below it. C17
 *                                                          allows relaxed (release sequence of D1), C++20 does not
 *   P2   pop: fence after P1       seq_cst  S2      SB     see below
 *   P3   pop: CAS x_top            seq_cst  S5      -      the last task has one taker; seq_cst: see S1
 *   S1   steal: load x_top         acquire  S5, P3  -      the CAS that made the top which this thief starts from comes
 *                                                          before its fence, so P2 | S2 covers that CAS too; else by the
 *                                                          letter of C17 (not of C++20) an owner between two thieves may
 *                                                          read an older top, and take without a CAS what a thief takes
 *   S2   steal: fence after S1     seq_cst  P2      SB     see below
 *   S3   steal: load x_bottom      acquire  D1, P1  MP     as D1
 *   S4   slots: load and store     relaxed  -       -      D1 publishes them. A thief's read may be stale or overwritten;
 *                                                          then S5 fails and it is not used
 *   S5   steal: CAS x_top          seq_cst  P3, D2  -      each index has one taker; seq_cst: see S1
 *   E1   looks_empty: both loads   relaxed  -       SB     the caller's fence orders them, see there
 *   The other loads are the owner's, of what it wrote itself, or of a top that can only be too small (P3 or D2 checks it);
 *   the store that ends a pop publishes nothing: below the index that it restores all tasks are taken.
 *   test/model/ breaks each line and sees it fail, except D2 (Relacy has no load buffering), P1, and the orders, though not
 *   place or atomicity, of S1, P3, S5 (it has neither C++20's release sequences nor C17's fences): these stand on the
 *   argument above. They cost nothing on x86.
 *
 *      owner, in pop                        thief, in steal
 *      x_bottom = b                         t = x_top
 *      P2 fence (seq_cst)                   S2 fence (seq_cst)
 *      if (x_top < b) take b, no CAS        if (t < x_bottom) CAS x_top, take t
 *
 *   Without either fence both may read the value from before the other's write, and task b goes to both. */
#ifndef TH_DEQUE_H
#define TH_DEQUE_H
#include <stddef.h>
#include "../core/assert.h"
#include "../core/atomic.h"

/* 8 KiB of slots per worker: deeper than a fork tree of any sane grain; what is above it goes to the spill list. */
#ifndef TH_DEQUE_SLOTS
#define TH_DEQUE_SLOTS 1024
#endif

/* 128 and not 64: the adjacent-line prefetcher of x86 and the lines of big aarch64 cores both work on pairs. */
#define TH_DEQUE_LINE 128
#ifdef TH_RELACY
#define TH_DEQUE_ALIGNED
#else
#define TH_DEQUE_ALIGNED _Alignas(TH_DEQUE_LINE)
#endif

struct th_task;

struct th_deque {
	/* Thieves CAS, and the owner for the last task. Index of the oldest task; only grows. */
	TH_DEQUE_ALIGNED th_atomic_u64 x_top;
	/* Owner writes, thieves read. Index of the next push. */
	TH_DEQUE_ALIGNED th_atomic_u64 x_bottom;
	/* Owner only: some earlier x_top, so that a push reads the thieves' line only when the ring seems full. */
	uint64_t top_seen;
	/* Owner writes, thieves read. */
	TH_DEQUE_ALIGNED th_atomic(struct th_task *) x_slot[TH_DEQUE_SLOTS];
};

#ifndef TH_RELACY
_Static_assert((TH_DEQUE_SLOTS & (TH_DEQUE_SLOTS - 1)) == 0, "slot numbers go on evenly where the index wraps");
_Static_assert(offsetof(struct th_deque, x_bottom) - offsetof(struct th_deque, x_top) >= TH_DEQUE_LINE,
	       "one line per writer");
_Static_assert(offsetof(struct th_deque, x_slot) - offsetof(struct th_deque, x_bottom) >= TH_DEQUE_LINE,
	       "one line per writer");
_Static_assert(sizeof(struct th_deque) % TH_DEQUE_LINE == 0, "an array of workers keeps its lines apart");
#endif

static inline th_atomic(struct th_task *) *th_deque_slot(struct th_deque *d, uint64_t index)
{
	return &d->x_slot[index % TH_DEQUE_SLOTS];
}

/* Tasks between two indices that may have wrapped; negative inside a pop of an empty deque. */
static inline int64_t th_deque_span(uint64_t top, uint64_t bottom) { return (int64_t)(bottom - top); }

/* Empty, with the indices starting at `index`: for tests that cross 2^63 and 2^64. Before it is shared. */
static inline void th_deque_init_at(struct th_deque *d, uint64_t index)
{
	th_init(&d->x_top, index);
	th_init(&d->x_bottom, index);
	d->top_seen = index;
	for (size_t i = 0; i < TH_DEQUE_SLOTS; i++)
		th_init(&d->x_slot[i], (struct th_task *)NULL);
}

static inline void th_deque_init(struct th_deque *d) { th_deque_init_at(d, 0); }

/* Add `t` as the newest task. False when the ring is full, and then the caller still has `t`. */
static inline bool th_deque_push_owner(struct th_deque *d, struct th_task *t)
{
	uint64_t b = th_load_rlx(&d->x_bottom);
	TH_DASSERT(t != NULL);
	if (b - d->top_seen >= TH_DEQUE_SLOTS) {
		d->top_seen = th_load_acq(&d->x_top); /* D2 */
		if (b - d->top_seen >= TH_DEQUE_SLOTS)
			return false;
	}
	th_store_rlx(th_deque_slot(d, b), t); /* S4 */
	th_store_rel(&d->x_bottom, b + 1);    /* D1 */
	return true;
}

/* Take the newest task, or NULL. */
static inline struct th_task *th_deque_pop_owner(struct th_deque *d)
{
	uint64_t b = th_load_rlx(&d->x_bottom);
	/* Only the owner adds, so an empty deque stays empty: no fence for the common look at one. */
	if (th_load_rlx(&d->x_top) == b)
		return NULL;
	b--;
	th_store_rel(&d->x_bottom, b); /* P1 */
	th_fence_seq();                /* P2 */
	uint64_t t = th_load_rlx(&d->x_top);
	int64_t left = th_deque_span(t, b);
	TH_DASSERT(left >= -1 && left < TH_DEQUE_SLOTS);
	if (left > 0)
		return th_load_rlx(th_deque_slot(d, b)); /* S4 */
	struct th_task *task = NULL;
	if (left == 0) {
		task = th_load_rlx(th_deque_slot(d, b)); /* S4 */
		if (!th_cas_seq(&d->x_top, &t, t + 1))   /* P3 */
			task = NULL;
	}
	th_store_rlx(&d->x_bottom, b + 1);
	return task;
}

/* Take the oldest task, or NULL: also when another taker was faster, and then the caller tries elsewhere. */
static inline struct th_task *th_deque_steal_any(struct th_deque *d)
{
	uint64_t t = th_load_acq(&d->x_top);    /* S1 */
	th_fence_seq();                         /* S2 */
	uint64_t b = th_load_acq(&d->x_bottom); /* S3 */
	if (th_deque_span(t, b) <= 0)
		return NULL;
	struct th_task *task = th_load_rlx(th_deque_slot(d, t)); /* S4 */
	if (!th_cas_seq(&d->x_top, &t, t + 1))                   /* S5 */
		return NULL;
	return task;
}

/* The sleeper's last look. After the caller's th_fence_seq() (which follows its announcement), false is certain for
 * every push whose pusher had not yet passed its own fence before looking for sleepers; so either the sleeper sees the
 * task or the pusher sees the sleeper. The two loads need no order between them: an old top only makes an empty deque
 * look full, and a bottom older than the top read means that all tasks counted by that bottom are taken. */
static inline bool th_deque_looks_empty_any(struct th_deque *d)
{
	uint64_t t = th_load_rlx(&d->x_top);    /* E1 */
	uint64_t b = th_load_rlx(&d->x_bottom); /* E1 */
	return th_deque_span(t, b) <= 0;
}

/* Tasks in the deque; thieves may have taken some by now. */
static inline size_t th_deque_size_owner(struct th_deque *d)
{
	return (size_t)(th_load_rlx(&d->x_bottom) - th_load_rlx(&d->x_top));
}

#endif
