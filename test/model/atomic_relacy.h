/* test/model/atomic_relacy.h: what the macros of core/atomic.h mean under the Relacy model checker (-DTH_RELACY, C++11).
 *
 * Relacy runs the threads of a small test as fibers, picks an interleaving and, for each load, one of the values that the
 * C++11 memory model allows. Only core/atomic.h includes this file; the names and orders below must be its list, no more
 * and no fewer, or a checked source is not the shipped one. What Relacy cannot show: a load that returns a value written
 * later in the order of execution (load buffering). Plain fields are not checked unless a model makes them rl::var. */
#ifndef TH_ATOMIC_RELACY_H
#define TH_ATOMIC_RELACY_H

#include <relacy/relacy.hpp>
#include <stddef.h>
#include <stdint.h>

#define TH_POINT() ((void)0)

#define th_atomic(T) rl::atomic<T>
typedef th_atomic(uint32_t) th_atomic_u32;
typedef th_atomic(uint64_t) th_atomic_u64;

#define th_init(p, v) ((p)->store((v), rl::mo_relaxed, $))

#define th_load_rlx(p) ((p)->load(rl::mo_relaxed, $))
#define th_load_acq(p) ((p)->load(rl::mo_acquire, $))
#define th_load_seq(p) ((p)->load(rl::mo_seq_cst, $))

#define th_store_rlx(p, v) ((p)->store((v), rl::mo_relaxed, $))
#define th_store_rel(p, v) ((p)->store((v), rl::mo_release, $))
#define th_store_seq(p, v) ((p)->store((v), rl::mo_seq_cst, $))

#define th_xchg_acq(p, v) ((p)->exchange((v), rl::mo_acquire, $))
#define th_xchg_rel(p, v) ((p)->exchange((v), rl::mo_release, $))
#define th_xchg_acqrel(p, v) ((p)->exchange((v), rl::mo_acq_rel, $))
#define th_xchg_seq(p, v) ((p)->exchange((v), rl::mo_seq_cst, $))

#define TH_CAS(p, expected, v, won, lost) \
	((p)->compare_exchange_strong(*(expected), (v), rl::mo_##won, $, rl::mo_##lost, $))
#define th_cas_acq(p, expected, v) TH_CAS(p, expected, v, acquire, relaxed)
#define th_cas_rel(p, expected, v) TH_CAS(p, expected, v, release, relaxed)
#define th_cas_acqrel(p, expected, v) TH_CAS(p, expected, v, acq_rel, acquire)
#define th_cas_seq(p, expected, v) TH_CAS(p, expected, v, seq_cst, relaxed)

#define th_add_rlx(p, v) ((p)->fetch_add((v), rl::mo_relaxed, $))
#define th_add_seq(p, v) ((p)->fetch_add((v), rl::mo_seq_cst, $))
#define th_or_seq(p, v) ((p)->fetch_or((v), rl::mo_seq_cst, $))
#define th_sub_seq(p, v) ((p)->fetch_sub((v), rl::mo_seq_cst, $))

#define th_fence_seq() rl::atomic_thread_fence(rl::mo_seq_cst, $)

#define th_bump(p) th_store_rlx((p), th_load_rlx(p) + 1)

/* Tells the schedulers that this thread only waits, or they would count its turns as progress. */
static inline void th_pause() { rl::yield(1, $); }

/* Orders that the project does not use: what the planted bugs of run.sh weaken a line to. */
#define th_mutant_xchg_rlx(p, v) ((p)->exchange((v), rl::mo_relaxed, $))
#define th_mutant_cas_rlx(p, expected, v) TH_CAS(p, expected, v, relaxed, relaxed)
#define th_mutant_cas_split(p, expected, v) \
	((p)->load(rl::mo_seq_cst, $) == *(expected) ? ((p)->store((v), rl::mo_seq_cst, $), true) : false)

#endif
