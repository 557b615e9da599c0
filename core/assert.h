/* core/assert.h: three strengths of "this cannot happen".
 *   TH_ASSERT    always on: a broken invariant would corrupt memory
 *   TH_DASSERT   debug builds and the simulation
 *   th_abort     says what and where, then aborts: a program error that leaves no safe way on */
#ifndef TH_ASSERT_H
#define TH_ASSERT_H

__attribute__((noreturn, format(printf, 3, 4))) void th_abort(const char *file, unsigned line, const char *fmt, ...);
#ifdef TH_SIM
void th_sim_aborts(const char *text); /* a run of a program under test may end there: sched/sim/world.c */
#endif

#define TH_ASSERT(c) ((c) ? (void)0 : th_abort(__FILE__, __LINE__, "broken invariant: %s", #c))
#if !defined(NDEBUG) || defined(TH_SIM)
#define TH_DEBUG 1
#else
#define TH_DEBUG 0
#endif
#if TH_DEBUG
#define TH_DASSERT(c) TH_ASSERT(c)
#else
#define TH_DASSERT(c) ((void)sizeof(c))
#endif

#define th_container(p, T, field) ((T *)(void *)((char *)(p)-offsetof(T, field)))

#endif
