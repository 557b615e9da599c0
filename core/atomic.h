/* core/atomic.h: the only user of stdatomic, but for the fast path in thrum/fork.h. The memory order is in the name of each
 * call, so that a reader sees it and a grep counts it; the list below is exactly what the project uses.
 *
 * Two other builds swap the meaning and nothing else:
 *   TH_SIM      every access is a preemption point of the one-thread simulation (sched/sim/threads.c)
 *   TH_RELACY   test/model/ compiles the same sources against the Relacy model checker
 *
 * ThreadSanitizer does not model fences (it reports a correct deque, and misses a wrong one, alike), so under it
 * th_fence_seq() is a read-modify-write of one dummy word: the same order, in a form that it understands. */
#ifndef TH_ATOMIC_H
#define TH_ATOMIC_H

#if defined(TH_RELACY)
#include "atomic_relacy.h"
#else

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define TH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TH_TSAN 1
#endif
#endif

#ifdef TH_SIM
void th_sim_point(void); /* sched/sim/threads.c: may run other virtual workers before it returns */
#define TH_POINT() th_sim_point()
#else
#define TH_POINT() ((void)0)
#endif

#define th_atomic(T) _Atomic(T)
typedef th_atomic(uint32_t) th_atomic_u32;
typedef th_atomic(uint64_t) th_atomic_u64;

/* Before the object is shared. */
#define th_init(p, v) atomic_init((p), (v))

#define th_load_rlx(p) (TH_POINT(), atomic_load_explicit((p), memory_order_relaxed))
#define th_load_acq(p) (TH_POINT(), atomic_load_explicit((p), memory_order_acquire))
#define th_load_seq(p) (TH_POINT(), atomic_load_explicit((p), memory_order_seq_cst))

#define th_store_rlx(p, v) (TH_POINT(), atomic_store_explicit((p), (v), memory_order_relaxed))
#define th_store_rel(p, v) (TH_POINT(), atomic_store_explicit((p), (v), memory_order_release))
#define th_store_seq(p, v) (TH_POINT(), atomic_store_explicit((p), (v), memory_order_seq_cst))

#define th_xchg_acq(p, v) (TH_POINT(), atomic_exchange_explicit((p), (v), memory_order_acquire))
#define th_xchg_rel(p, v) (TH_POINT(), atomic_exchange_explicit((p), (v), memory_order_release))
#define th_xchg_acqrel(p, v) (TH_POINT(), atomic_exchange_explicit((p), (v), memory_order_acq_rel))
#define th_xchg_seq(p, v) (TH_POINT(), atomic_exchange_explicit((p), (v), memory_order_seq_cst))

/* Strong; *expected is updated on failure, with the load order named second where it differs from relaxed. */
#define th_cas_acq(p, expected, v) \
	(TH_POINT(), atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire, memory_order_relaxed))
#define th_cas_rel(p, expected, v) \
	(TH_POINT(), atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_release, memory_order_relaxed))
#define th_cas_acqrel(p, expected, v) \
	(TH_POINT(), atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acq_rel, memory_order_acquire))
#define th_cas_seq(p, expected, v) \
	(TH_POINT(), atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_seq_cst, memory_order_relaxed))

#define th_add_rlx(p, v) (TH_POINT(), atomic_fetch_add_explicit((p), (v), memory_order_relaxed))
#define th_add_seq(p, v) (TH_POINT(), atomic_fetch_add_explicit((p), (v), memory_order_seq_cst))
#define th_or_seq(p, v) (TH_POINT(), atomic_fetch_or_explicit((p), (v), memory_order_seq_cst))
#define th_sub_seq(p, v) (TH_POINT(), atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst))

#ifdef TH_TSAN
extern th_atomic_u32 th_tsan_fence_word; /* core/lock.c */
#define th_fence_seq() ((void)atomic_fetch_add_explicit(&th_tsan_fence_word, 0, memory_order_seq_cst))
#else
#define th_fence_seq() (TH_POINT(), atomic_thread_fence(memory_order_seq_cst))
#endif

/* Two readings of a counter that only its owner writes: no read-modify-write needed. Statistics only. */
#define th_bump(p) th_store_rlx((p), atomic_load_explicit((p), memory_order_relaxed) + 1)

static inline void th_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif /* TH_RELACY */
#endif
