/* core/tsan.h: what ThreadSanitizer is told. It sees each fiber as a thread of its own, and a switch as no
 * synchronization: so it finds a race between two fibers even when both happen to run on one worker.
 *
 * In return it must be told two things:
 *   the hand-offs that a user may rely on (G13), where they happen on one thread and need no atomic of ours:
 *       spawn → start of the child: th_push / th_task_run;   wake → return of the suspension: th_wake / th_suspend
 *   the data of a worker that its loop and its fibers share because they are one thread: sections between
 *       TH_TSAN_PRIVATE_BEGIN and _END; atomics inside still count. The worker's loop is one such section: no code of the
 *       user runs on it.
 * Nothing is suppressed. */
#ifndef TH_TSAN_H
#define TH_TSAN_H
#include "atomic.h"

#ifdef TH_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define th_tsan_acquire(p) __tsan_acquire((void *)(p))
#define th_tsan_release(p) __tsan_release((void *)(p))
#define TH_TSAN_PRIVATE_BEGIN() (AnnotateIgnoreReadsBegin(__FILE__, __LINE__), AnnotateIgnoreWritesBegin(__FILE__, __LINE__))
#define TH_TSAN_PRIVATE_END() (AnnotateIgnoreWritesEnd(__FILE__, __LINE__), AnnotateIgnoreReadsEnd(__FILE__, __LINE__))
#else
#define th_tsan_acquire(p) ((void)(p))
#define th_tsan_release(p) ((void)(p))
#define TH_TSAN_PRIVATE_BEGIN() ((void)0)
#define TH_TSAN_PRIVATE_END() ((void)0)
#endif

#endif
