/* sched/threads.c: what needs the operating system's threads: starting workers, sleeping on a word, the heavy fence, a cheap
 * counter, the generator behind th_choose(). The simulation replaces this file by sched/sim/threads.c. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* --- workers --- */

static void *thread_main(void *arg)
{
	th_worker_main(arg);
	return NULL;
}

/* Workers take no asynchronous signals: a handler of the program must not land on a fiber's small stack (hazard 32). Nor do
 * the threads of the blocking pool: the program did not make them, so it cannot have meant them. */
static int create_masked(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t all, before;
	int r;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof synchronous / sizeof *synchronous; i++)
		sigdelset(&all, synchronous[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

int th_thread_start(struct th_worker *w)
{
	pthread_t *thread = malloc(sizeof *thread);
	int r;

	if (!thread)
		return -ENOMEM;
	r = create_masked(thread, thread_main, w);
	if (r < 0) {
		free(thread);
		return r;
	}
	w->os_thread = thread;
	return 0;
}

void th_thread_join(struct th_worker *w)
{
	pthread_t *thread = w->os_thread;
	int r = pthread_join(*thread, NULL);

	TH_ASSERT(r == 0);
	free(thread);
	w->os_thread = NULL;
}

int th_thread_start_fn(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	return create_masked(&thread, fn, arg);
}

uintptr_t th_thread_id(void)
{
	return (uintptr_t)pthread_self();
}

void th_thread_join_id(uintptr_t id)
{
	int r = pthread_join((pthread_t)id, NULL);

	TH_ASSERT(r == 0);
}

struct th_context *th_thread_context(struct th_worker *w)
{
	th_context_init_thread(&w->thread_storage);
	return &w->thread_storage;
}

/* --- sleeping on a word --- */

void th_word_wait(th_atomic_u32 *word, uint32_t seen)
{
	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's, not the fiber's */
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0); /* EAGAIN, EINTR: the caller looks again */
	errno = saved;
	TH_TSAN_PRIVATE_END();
}

bool th_word_wait_for(th_atomic_u32 *word, uint32_t seen, int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	int saved = errno;
	bool expired = syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &ts, NULL, 0) < 0 && errno == ETIMEDOUT;

	errno = saved;
	return expired;
}

void th_word_wake(th_atomic_u32 *word, int n)
{
	TH_TSAN_PRIVATE_BEGIN();
	int saved = errno;
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
	errno = saved;
	TH_TSAN_PRIVATE_END();
}

/* --- the heavy fence --- */

static bool membarrier(int command)
{
	int saved = errno;
	long r = syscall(SYS_membarrier, command, 0, 0);

	errno = saved;
	return r == 0;
}

/* The process registers when its first call is refused; nothing is kept here, so a forked child does the same. With several
 * threads that takes the kernel milliseconds: sched/rt.c calls once before there are any. The system call alone may be no
 * fence where only one thread runs; and ThreadSanitizer knows nothing of it. */
bool th_fence_heavy(void)
{
	bool done;

	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's, not the fiber's */
	done = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) || (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) &&
								membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED));
	TH_TSAN_PRIVATE_END();
	th_fence_seq();
#ifdef THRUM_FULL_FENCE
	done = true; /* the owners' own fences do it */
#endif
	return done;
}

/* --- counter and choice --- */

uint64_t th_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
#error "no cheap counter known for this machine"
#endif
}

uint64_t th_ticks_100us(void)
{
#if defined(__x86_64__)
	return 250000; /* exact at 2.5 GHz; it only spaces polls, so a factor of two does not matter */
#else
	uint64_t hz;
	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz / 10000;
#endif
}

uint64_t th_seed(void)
{
	return th_ticks() | 1;
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled". */
uint32_t th_choose(uint32_t n, const char *tag)
{
	struct th_worker *w = th_worker_self();

	(void)tag;
	if (!w || n < 2)
		return 0;
	TH_TSAN_PRIVATE_BEGIN();
	w->rng ^= w->rng >> 12;
	w->rng ^= w->rng << 25;
	w->rng ^= w->rng >> 27;
	n = (uint32_t)(((w->rng * UINT64_C(2685821657736338717)) >> 32) * n >> 32);
	TH_TSAN_PRIVATE_END();
	return n;
}
