/* sched/deque.h: the entries of one worker that others may take. The owner pushes and pops at the bottom (newest
 * first), thieves take from the top (oldest first). The struct, and the two functions that users inline, are in
 * thrum/fork.h.
 *
 * It guarantees that a pushed entry is returned exactly once, by one pop or one steal, and that whoever gets it sees
 * all that its pusher wrote before the push. Callers: the worker loop and its fibers (owner), searching workers (any).
 * It does NOT grow (push refuses, the caller spills), does NOT block, does NOT own or look into the entries, and a
 * steal or a force may refuse for no lasting reason. Foreign threads never push here: they have the inject queue and
 * the mail.
 * With SLOTS for THRUM_LANE_SLOTS_:
 *       x_top              split                  x_bottom
 *         |  oldest, public  |  private ... newest  |  free ...    entry i is in slot i % SLOTS
 *       steal            publish, force          push, pop         x_top <= split <= x_bottom <= x_top + SLOTS
 *
 * The public part is a Chase-Lev deque (Le, Pop, Cohen, Zappa Nardelli, "Correct and efficient work-stealing for weak
 * memory models", PPoPP 2013) whose bottom is the split. In the private part the owner needs no fence and no
 * read-modify-write: a pop below which the split does not reach is a store, a load and a comparison. When the public
 * part is empty and the owner does not come by to publish more, a thief forces the split: it announces what it wishes
 * for, makes the owner's processor pass a fence by membarrier(), and only then looks which of that is still there. The
 * indices only grow, from THRUM_LANE_SLOTS_ on; the ring never resizes (resizing lost and doubled tasks in
 * CVE-2021-32810). Splitting: Rito and Paulino, "Scheduling computations with provably low synchronization overheads",
 * and Lace; forcing is thrum's.
 *
 *   x_split = 2 * index + F
 *                         publish_owner, publish_all_owner: up (U1, U2)
 *                         pop_slow_owner: down (P2), and up again over what a late thief may have (P5); empty (P7)
 *                       ┌───────────┐
 *                       ▼           │       force_any: the public part is empty (F3)
 *                    2 * split ─────┴───────────────────────────────────────────► 2 * wish + 1
 *                       ▲ ▲                                                            │ │
 *                       │ └── force_any: the wish, as far as it is still there (F6) ───┘ │
 *                       └──── the owner is faster: pop_slow_owner (P2, P5, P7), publish_all_owner (U2): then F6 fails
 *     2 * split      entries below split are public. No thief can take one from split on, whatever it read before: the
 *                    owner lowers the split only by P2, and leaves pop_slow_owner when it knows that again.
 *     2 * wish + 1   nobody steals, and entries from x_top on are the owner's. A pop above the wish is private as
 *                    always; one below it goes the slow way, where P2 and F6 compete for this very word (x_forcer: at
 *                    most one at a time, so it cannot have come back).
 *   Empty is x_top == split == x_bottom.
 *
 *   tag  where                       order    pairs   shape  because, and what breaks without it
 *   D1   push: store x_bottom        release  F5      MP     a force that sees the index sees the slot and the entry,
 *                                                            and hands both on by F6
 *   D2   push: load x_top            acquire  S5      LB     the slot is overwritten after its last thief has read it;
 *                                                            else that thief may read the new entry under the old index
 *   L1   pop: store x_bottom         release  F5      MP     a force may see this smaller index, for entries below it.
 *                                                            C17 allows relaxed (release sequence of D1), C++20 does
 *                                                            not
 *   L2   pop: light fence after L1   -        F4      SB     see below
 *   L3   pop: load x_split           relaxed  -       -      what the owner wrote itself; or a force's, as far as L2
 *                                                            says
 *   P1   pop_slow: load x_split      acquire  F3      MP     under F, x_top is not older than the force's own look at
 *                                                            it; else P2 puts the split below it, where the next force
 *                                                            is in vain
 *   P2   pop_slow: CAS x_split       acq_rel  S3, F6  MP     as U1; as P1 when it fails
 *   P3   pop_slow: fence after P2    seq_cst  S2      SB     see below
 *   P4   pop_slow: load x_top        relaxed  -       -      P3 orders it
 *   P5   pop_slow: CAS x_split       acq_rel  S3, F6  MP     as P2. A plain store might take back what F6 has published
 *   P6   pop_slow: CAS x_top         seq_cst  S5      -      the last entry has one taker; seq_cst: see S1
 *   P7   pop_slow: store x_split     relaxed  -       -      nothing is left below it, so it publishes nothing; over a
 *                                                            force's word it may go, as F6 then fails or has published
 *                                                            nothing
 *   U1   publish: CAS x_split        acq_rel  S3      MP     a thief that sees the split sees the slot and the entry;
 *                                                            else it runs a task whose fields are not there yet. CAS:
 *                                                            as P5
 *   U2   publish_all: store x_split  release  S3      MP     as U1. No force publishes more than all, so this may go
 *                                                            over it
 *   S1   steal: load x_top           acquire  S5, P6  -      the CAS that made the top which this thief starts from
 *                                                            comes before its fence, so P3 | S2 covers that CAS too;
 *                                                            else by the letter of C17 (not of C++20) an owner between
 *                                                            two thieves may read an older top, and take without a CAS
 *                                                            what a thief takes
 *   S2   steal: fence after S1       seq_cst  P3      SB     see below
 *   S3   steal: load x_split         acquire  U1, F6  MP     as U1
 *   S4   slots: load and store       relaxed  -       -      D1 and U1 publish them. A thief's read may be stale or
 *                                                            overwritten; then S5 fails and it is not used
 *   S5   steal: CAS x_top            seq_cst  P6, D2  -      each index has one taker; seq_cst: see S1
 *   F1   force: CAS x_forcer         acquire  F7      -      one at a time: else F6 may succeed on the same word of
 *                                                            another force, which has not passed its F4
 *   F2   force: looks before F3      relaxed  -       -      hints: a larger top or a smaller bottom only makes F6
 *                                                            publish less
 *   F3   force: CAS x_split          acq_rel  P1, P2  MP     release: see P1. Acquire: whoever lowered the split,
 *                                                            x_bottom as it was then is not missed by F5
 *   F4   force: heavy fence          -        L2      SB     see below
 *   F5   force: load x_bottom        acquire  D1, L1  MP     as D1
 *   F6   force: CAS x_split          acq_rel  S3, P2  MP     as U1; it fails when the owner was faster
 *   F7   force: store x_forcer       release  F1      -      the next force comes after F6, failed or not
 *   E1   looks_empty: both loads     relaxed  -       SB     the caller's heavy fence orders them, see there
 *   The other loads are the owner's, of what it wrote itself, or of a top that can only be too small (P2 to P6 or D2
 *   check it); the store that ends a pop of an empty lane publishes nothing: below the index that it restores all
 *   entries are taken. test/model/ breaks each line and sees it fail, except
 *      D2, F1, F7      Relacy has no load buffering
 *      S1, P6, S5, L1  their orders, not their place or atomicity: it has neither C++20's release sequences nor C17's
 *                      fences
 *      P1, P2, P5, F3, F5, F6  their orders, not their atomicity: in the model L2 is a real fence, and with F4 and S2
 *                      it orders these as well
 *      P5, F2          the atomicity of P5 (it takes a ring of 8), the look at the top in F2 (P1 relies on it)
 *   These stand on the argument above. They cost nothing on x86.
 *
 *      owner, in pop                        thief, in force
 *      x_bottom = b                         x_split = 2 * wish + 1
 *      L2 light fence                       F4 heavy fence
 *      if (2 * b >= x_split) take b         publish no more than x_bottom
 *
 *   The light fence only keeps the compiler from exchanging the two lines; the processor may still load x_split before
 *   b leaves its store buffer. The heavy fence (membarrier) runs a full fence between two instructions of the owner. If
 *   that falls behind the load, the store of b is out, and the force sees b. If it falls before the load, the load sees
 *   the word of the force, and the owner goes the slow way. Without either fence the load may see the old split and the
 *   force the old bottom: entry b goes to the owner, and is published.
 *
 *      owner, in pop_slow                   thief, in steal
 *      x_split = 2 * m, m <= b              t = x_top
 *      P3 fence (seq_cst)                   S2 fence (seq_cst)
 *      if (x_top < m) take b, no CAS        if (2 * t < x_split) CAS x_top, take t
 *
 *   Without either fence both may read the value from before the other's write, and entry b goes to both. With them: a
 *   thief whose fence comes later sees m or what came after; one whose fence comes first started from a top that the
 *   owner sees. So if the owner sees t >= m, a late thief may take t, but no other entry: b is the owner's if t < b,
 *   and P5 puts the split above t again, or a later pop would take t for private. */
#ifndef TH_DEQUE_H
#define TH_DEQUE_H
#include <stddef.h>
#include "../core/assert.h"
#include "../core/atomic.h"
#include <thrum/fork.h>

/* 128 and not 64: the adjacent-line prefetcher of x86 and the lines of big aarch64 cores both work on pairs. */
#define TH_LANE_LINE 128

#ifndef TH_RELACY
_Static_assert((THRUM_LANE_SLOTS_ & (THRUM_LANE_SLOTS_ - 1)) == 0, "a remainder is a mask");
_Static_assert(offsetof(struct thrum_lane_, x_gate) == 0, "the fast path reads it without an offset");
_Static_assert(offsetof(struct thrum_lane_, x_top) == TH_LANE_LINE, "one line pair per writer");
_Static_assert(offsetof(struct thrum_lane_, x_slot) == 2 * TH_LANE_LINE, "one line pair per writer");
_Static_assert(sizeof(struct thrum_lane_) % TH_LANE_LINE == 0, "an array of workers keeps its lines apart");
_Static_assert(_Alignof(struct thrum_lane_) == TH_LANE_LINE, "one line pair per writer");
#endif

/* A full fence for the calling thread, at least. True: for every other thread of the process as well, somewhere between
 * two of its instructions. False: the kernel cannot. In sched/threads.c; the simulation and the models have one of
 * their own. */
bool th_fence_heavy(void);

static inline THRUM_ATOMIC_(void *) *th_deque_slot(struct thrum_lane_ *d, uint64_t index)
{
	return &d->x_slot[index % THRUM_LANE_SLOTS_];
}

/* So that the older half of the entries from `from` to `to` lies below it; at least one, if there is one. */
static inline uint64_t th_deque_half(uint64_t from, uint64_t to)
{
	TH_DASSERT(from <= to);
	return from + (to - from + 1) / 2;
}

/* Empty, with the indices starting at `index`, THRUM_LANE_SLOTS_ or more. Before it is shared. A slot is read only after it was
 * written, so the slots stay untouched: they are most of a worker. */
static inline void th_deque_init_at(struct thrum_lane_ *d, uint64_t index)
{
	TH_ASSERT(index >= THRUM_LANE_SLOTS_);
	th_init(&d->x_gate, UINTPTR_MAX);
	th_init(&d->fork, (struct thrum_fork_ *)NULL);
	th_init(&d->fiber, (void *)NULL);
	th_init(&d->x_bottom, index);
	th_init(&d->bottom_max, index + THRUM_LANE_SLOTS_);
	th_init(&d->x_top, index);
	th_init(&d->x_split, 2 * index);
	th_init(&d->x_forcer, 0U);
	th_init(&d->x_wants, 0U);
}

static inline void th_deque_init(struct thrum_lane_ *d) { th_deque_init_at(d, THRUM_LANE_SLOTS_); }

/* --- the owner --- */

/* Add `e` as the newest entry. False when the ring is full, and then the caller still has `e`. */
static inline bool th_deque_push_owner(struct thrum_lane_ *d, void *e)
{
	TH_DASSERT(e != NULL);
	if (thrum_lane_push_(d, e, 1))
		return true;
	th_store_rlx(&d->bottom_max, th_load_acq(&d->x_top) + THRUM_LANE_SLOTS_); /* D2 */
	return thrum_lane_push_(d, e, 1);
}

/* The pop came to the oldest entry, or behind it. If that is still there one CAS decides who has it; then the lane is
 * empty. The split goes first: a force that saw the bottom restored and the old split would be in vain. */
static inline bool th_deque_last_owner(struct thrum_lane_ *d, uint64_t t, uint64_t b)
{
	bool won = t == b && th_cas_seq(&d->x_top, &t, b + 1); /* P6 */

	TH_DASSERT(th_load_rlx(&d->x_top) == b + 1);
	th_store_rlx(&d->x_split, 2 * (b + 1)); /* P7 */
	th_store_rlx(&d->x_bottom, b + 1);
	return won;
}

/* The split has been lowered to m <= b: is b out of the reach of those thieves that have read the split before? */
static inline bool th_deque_lowered_owner(struct thrum_lane_ *d, uint64_t m, uint64_t b)
{
	uint64_t t, w = 2 * m;

	th_fence_seq();             /* P3 */
	t = th_load_rlx(&d->x_top); /* P4 */
	if (t < m)
		return true;
	if (t >= b)
		return th_deque_last_owner(d, t, b);
	while ((w & 1) || w <= 2 * t)                                          /* until t is public again */
		if (th_cas_acqrel(&d->x_split, &w, 2 * th_deque_half(t, b))) /* P5 */
			break;
	return true;
}

/* x_bottom is b already, and b was seen below the split, or below the wish of a force. True: entry b is the owner's.
 * False: it is stolen, and the lane is empty. The split goes down by half of what is public, so that not every pop
 * comes here. */
static inline bool th_deque_pop_slow_owner(struct thrum_lane_ *d, uint64_t b)
{
	uint64_t w = th_load_acq(&d->x_split); /* P1 */

	while (2 * b < w) { /* again only after a force began or ended between */
		uint64_t t = th_load_rlx(&d->x_top), m;

		if (t >= b)
			return th_deque_last_owner(d, t, b);
		m = th_deque_half(t, b);
		if (th_cas_acqrel(&d->x_split, &w, 2 * m)) /* P2 */
			return (w & 1) || th_deque_lowered_owner(d, m, b);
	}
	return true;
}

/* Take the newest entry back, which is known to have been pushed and not been popped. False: it is stolen. */
static inline bool th_deque_take_back_owner(struct thrum_lane_ *d)
{
	return thrum_lane_pop_(d) || th_deque_pop_slow_owner(d, th_load_rlx(&d->x_bottom));
}

/* Take the newest entry, or NULL. */
static inline void *th_deque_pop_owner(struct thrum_lane_ *d)
{
	uint64_t b = th_load_rlx(&d->x_bottom);

	/* Only the owner adds, so an empty lane stays empty. An older top makes it look full, and the pop finds out. */
	if (th_load_rlx(&d->x_top) == b || !th_deque_take_back_owner(d))
		return NULL;
	return th_load_rlx(th_deque_slot(d, b - 1)); /* S4 */
}

/* Make the older half of the private entries public. While a force does so anyway, leave it to that one. */
static inline void th_deque_publish_owner(struct thrum_lane_ *d)
{
	uint64_t w = th_load_rlx(&d->x_split), b = th_load_rlx(&d->x_bottom);

	if ((w & 1) || w >= 2 * b)
		return;
	(void)th_cas_acqrel(&d->x_split, &w, 2 * th_deque_half(w / 2, b)); /* U1 */
}

/* Make all entries public, so that no thief has to force this one. */
static inline void th_deque_publish_all_owner(struct thrum_lane_ *d)
{
	uint64_t all = 2 * th_load_rlx(&d->x_bottom);

	if (th_load_rlx(&d->x_split) != all)
		th_store_rel(&d->x_split, all); /* U2 */
}

/* Entries in the lane; thieves may have taken some by now. */
static inline size_t th_deque_size_owner(struct thrum_lane_ *d)
{
	return (size_t)(th_load_rlx(&d->x_bottom) - th_load_rlx(&d->x_top));
}

/* --- thieves --- */

/* Take the oldest public entry, or NULL: also when another taker was faster, and then the caller tries elsewhere.
 * *ret_private: NULL because what is there is not public, or a force is under way. A hint. */
static inline void *th_deque_steal_any(struct thrum_lane_ *d, bool *ret_private)
{
	uint64_t t = th_load_acq(&d->x_top); /* S1 */
	uint64_t w;
	void *e;

	th_fence_seq();               /* S2 */
	w = th_load_acq(&d->x_split); /* S3 */
	*ret_private = false;
	if ((w & 1) || w <= 2 * t) {
		*ret_private = th_load_rlx(&d->x_bottom) > t;
		return NULL;
	}
	e = th_load_rlx(th_deque_slot(d, t));    /* S4 */
	if (!th_cas_seq(&d->x_top, &t, t + 1)) /* S5 */
		return NULL;
	return e;
}

/* Which entries above the split `s` may be made public, behind the word `forced` that announces it? Up to the index
 * returned. */
static inline uint64_t th_deque_certain_any(struct thrum_lane_ *d, uint64_t s, uint64_t forced)
{
	uint64_t b;

	if (!th_fence_heavy()) /* F4 */
		return s;
	b = th_load_acq(&d->x_bottom); /* F5 */
	if (b < s)
		return s; /* inside a pop that will find nothing */
	return b < forced / 2 ? b : forced / 2;
}

/* Called by one thread at a time. */
static inline void th_deque_force_split_any(struct thrum_lane_ *d)
{
	uint64_t w = th_load_rlx(&d->x_split), b = th_load_rlx(&d->x_bottom), forced; /* F2 */

	TH_DASSERT((w & 1) == 0);
	if (2 * th_load_rlx(&d->x_top) < w || 2 * b <= w) /* F2 */
		return;
	forced = 2 * th_deque_half(w / 2, b) + 1;
	if (!th_cas_acqrel(&d->x_split, &w, forced)) /* F3 */
		return;
	w = 2 * th_deque_certain_any(d, w / 2, forced);
	(void)th_cas_acqrel(&d->x_split, &forced, w); /* F6 */
}

/* As th_deque_steal_any(), where that found private entries only: make the older half of them public first, at the
 * price of a membarrier(). NULL also when another thief is at it, when the owner was faster, and when the kernel
 * cannot. */
static inline void *th_deque_force_any(struct thrum_lane_ *d)
{
	uint32_t none = 0;
	bool more;

	if (!th_cas_acq(&d->x_forcer, &none, 1U)) /* F1 */
		return NULL;
	th_deque_force_split_any(d);
	th_store_rel(&d->x_forcer, 0U); /* F7 */
	return th_deque_steal_any(d, &more);
}

/* The sleeper's last look: private entries count as well. After the caller's th_fence_heavy() (which follows its
 * announcement), false is certain for every push that came before that fence fell into its owner's instructions; an
 * owner that pushes later can see the announcement. The two loads need no order between them: an old top only makes an
 * empty lane look full, and a bottom older than the top read means that all entries counted by that bottom are taken.
 * */
static inline bool th_deque_looks_empty_any(struct thrum_lane_ *d)
{
	uint64_t t = th_load_rlx(&d->x_top);    /* E1 */
	uint64_t b = th_load_rlx(&d->x_bottom); /* E1 */

	return b <= t;
}

#endif
