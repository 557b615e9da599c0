/* sched/context.c: the switch in C: what the sanitizers and Valgrind must be told around th_context_swap().
 *
 * Guarantees: a fresh context starts with the floating-point control words of whoever prepared it; C++ exceptions stay with
 * the context that handles or throws them; backtraces end at its first frame; an entry that returns traps. A context that
 * is reset or finished leaves nothing behind: neither the fake stack of ASan, nor poison on the real one, nor the call
 * stack that TSan keeps of it.
 * Does not: own stacks, know of fibers, or order anything between threads. Whoever hands a context to another thread does
 * so through an acquire and a release of its own; TSan is told of switches, but not to take them for such (no_sync):
 * otherwise it would miss every race between two fibers of one worker.
 *
 * Who touches what: all fields belong to whoever may run, prepare or finish the context, one thread at a time. */
#include "context.h"
#include "../core/assert.h"
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define TH_CONTEXT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TH_CONTEXT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define TH_CONTEXT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TH_CONTEXT_TSAN 1
#endif
#endif
#ifdef TH_CONTEXT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef TH_CONTEXT_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if !defined(NVALGRIND) && __has_include(<valgrind/valgrind.h>)
#define TH_CONTEXT_VALGRIND 1
#include <valgrind/valgrind.h>
#endif

/* For the functions that run while the sanitizer's idea of the stack and the real one differ: an instrumented prologue
 * would allocate its frame on, or record its call in, the wrong one. clang keeps TSan's call records in no_sanitize
 * functions, and only the second attribute removes them. */
#if defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
#define TH_UNSANITIZED __attribute__((no_sanitize("address", "thread"), disable_sanitizer_instrumentation))
#else
#define TH_UNSANITIZED __attribute__((no_sanitize("address", "thread")))
#endif

/* context_ARCH.S; begin is called from there. */
struct th_context *th_context_swap(struct th_context *from, struct th_context *to);
void th_context_entry(void);
void th_context_begin(struct th_context *from, void (*entry)(void *), void *arg);

_Static_assert(offsetof(struct th_context, sp) == 0, "th_context_swap() stores sp at the start");

/* ---- C++ exceptions ---- */

/* What __cxa_get_globals() of the Itanium C++ ABI points to: the runtime's state of the calling thread. A handler and an
 * unwinding belong to a stack, so the two go with it. All else that the runtime keeps of an exception lies in the
 * exception or on the stack. */
struct th_cxx_globals {
	void *caught;
	unsigned uncaught;
};
_Static_assert(offsetof(struct th_cxx_globals, uncaught) == sizeof(void *), "as in the ABI");

/* Weak: NULL in a program without a C++ runtime. A runtime that is loaded by dlopen() after this library is not seen. */
extern struct th_cxx_globals *__cxa_get_globals(void) __attribute__((weak));

/* Who runs knows its thread's, and hands it on: one call per thread, no thread-local at a switch. */
TH_UNSANITIZED static inline void hand_on_exceptions(struct th_context *from, struct th_context *to)
{
	struct th_cxx_globals *cxx = from->cxx;

	to->cxx = cxx;
	if (cxx) {
		from->caught = cxx->caught;
		from->uncaught = cxx->uncaught;
		cxx->caught = to->caught;
		cxx->uncaught = to->uncaught;
	}
}

void th_context_swap_exceptions(struct th_context *running, struct th_context *c)
{
	struct th_cxx_globals *cxx = running->cxx, was;

	if (!cxx)
		return;
	was = *cxx;
	cxx->caught = c->caught;
	cxx->uncaught = c->uncaught;
	c->caught = was.caught;
	c->uncaught = was.uncaught;
}

/* ---- the switch ---- */

/* First on the new stack: complete what th_context_switch() began on the old one. */
TH_UNSANITIZED static inline void arrived(struct th_context *from, void *fake)
{
#ifdef TH_CONTEXT_ASAN
	const void *lo;
	size_t bytes;

	__sanitizer_finish_switch_fiber(fake, &lo, &bytes);
	/* The only one who knows the bounds of a thread's own stack is ASan, at the first switch away from it. */
	if (!from->lo) {
		from->lo = (char *)(uintptr_t)lo;
		from->bytes = bytes;
	}
#else
	(void)from;
	(void)fake;
#endif
}

TH_UNSANITIZED void th_context_switch(struct th_context *from, struct th_context *to)
{
	TH_DASSERT(from != to);
#ifdef TH_CONTEXT_ASAN
	__sanitizer_start_switch_fiber(&from->asan_fake, to->lo, to->bytes);
#endif
#ifdef TH_CONTEXT_TSAN
	__tsan_switch_to_fiber(to->tsan_fiber, __tsan_switch_to_fiber_no_sync);
#endif
	hand_on_exceptions(from, to);
	struct th_context *by = th_context_swap(from, to);

	arrived(by, from->asan_fake);
}

TH_UNSANITIZED void th_context_begin(struct th_context *from, void (*entry)(void *), void *arg)
{
	arrived(from, NULL);
	entry(arg);
	__builtin_trap(); /* there is no frame to return to, and the stack may be in a pool already */
}

/* ---- the first frame ---- */

/* The layouts are those at the head of context_ARCH.S. */
#if defined(__x86_64__)
struct th_first_frame {
	uint32_t mxcsr;
	uint16_t x87_cw, unused;
	uint64_t r15, r14;
	void *arg_r13;
	void (*entry_r12)(void *);
	uint64_t rbx, rbp;
	void (*go_on)(void);
};
_Static_assert(sizeof(struct th_first_frame) == 64, "as in context_x86_64.S");

static void fp_control_read(struct th_first_frame *f)
{
	__asm__ volatile("stmxcsr %0" : "=m"(f->mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(f->x87_cw));
}
#elif defined(__aarch64__)
struct th_first_frame {
	void (*entry_x19)(void *);
	void *arg_x20;
	uint64_t x21_x28[8], x29;
	void (*go_on)(void);
	uint64_t d8_d15[8], fpcr, unused;
};
_Static_assert(sizeof(struct th_first_frame) == 176, "as in context_aarch64.S");

static void fp_control_read(struct th_first_frame *f)
{
	__asm__ volatile("mrs %0, fpcr" : "=r"(f->fpcr));
}
#else
#error "thrum has a context switch for x86-64 and aarch64 only"
#endif

/* Zero frame pointers end the walk of profilers that follow them. */
static void *first_frame(const struct th_context *c, void (*entry)(void *), void *arg)
{
	uintptr_t top = ((uintptr_t)c->lo + c->bytes) & ~(uintptr_t)15;
	struct th_first_frame *f = (struct th_first_frame *)(top - sizeof *f);

	memset(f, 0, sizeof *f);
	fp_control_read(f);
#if defined(__x86_64__)
	f->entry_r12 = entry;
	f->arg_r13 = arg;
#else
	f->entry_x19 = entry;
	f->arg_x20 = arg;
#endif
	f->go_on = th_context_entry;
	return f;
}

/* ---- what the tools keep of a context while it does not run ---- */

#ifdef TH_CONTEXT_ASAN
/* Frames that were never left keep their fake stack and their red zones. ASan only frees the fake stack of who is
 * running and leaves for good: so pretend to go to `c` and to leave it. Nothing else may run in between. */
TH_UNSANITIZED static void asan_forget(struct th_context *c)
{
	if (c->asan_fake) {
		void *mine;
		const void *lo;
		size_t bytes;

		__sanitizer_start_switch_fiber(&mine, c->lo, c->bytes);
		__sanitizer_finish_switch_fiber(c->asan_fake, &lo, &bytes);
		__sanitizer_start_switch_fiber(NULL, lo, bytes);
		__sanitizer_finish_switch_fiber(mine, NULL, NULL);
		c->asan_fake = NULL;
	}
	ASAN_UNPOISON_MEMORY_REGION(c->lo, c->bytes);
}
#endif

#ifdef TH_CONTEXT_TSAN
/* TSan remembers who last touched each word of a stack; the next user of the stack would race with the last one, for
 * nothing orders the two but the scheduler, which TSan does not see. malloc() and mmap() have TSan forget a range, but
 * no call of its public interface does so for a range of any alignment. These two of its Java interface do, and unlike
 * an acquire and a release they do not hide the races that the two users have elsewhere. */
void __tsan_java_alloc(unsigned long ptr, unsigned long size);
void __tsan_java_free(unsigned long ptr, unsigned long size);

/* The call records go too: those of an entry that ended are never popped, and would overflow after some reuses. */
static void tsan_forget(struct th_context *c)
{
	__tsan_destroy_fiber(c->tsan_fiber);
	c->tsan_fiber = NULL;
	__tsan_java_free((unsigned long)c->lo, c->bytes & ~(size_t)7);
}
#endif

static void tools_forget(struct th_context *c)
{
	(void)c;
#ifdef TH_CONTEXT_ASAN
	asan_forget(c);
#endif
#ifdef TH_CONTEXT_TSAN
	tsan_forget(c);
#endif
}

/* The order matters to TSan: who writes the first frame must not race with the last user of the stack, and the fresh
 * fiber starts knowing what its creator has done so far. */
static void prepare(struct th_context *c, void (*entry)(void *), void *arg)
{
#ifdef TH_CONTEXT_TSAN
	__tsan_java_alloc((unsigned long)c->lo, c->bytes & ~(size_t)7);
#endif
	c->sp = first_frame(c, entry, arg);
#ifdef TH_CONTEXT_TSAN
	c->tsan_fiber = __tsan_create_fiber(0);
#endif
}

/* ---- init, reset, fini ---- */

void th_context_init_thread(struct th_context *c)
{
	memset(c, 0, sizeof *c);
	if (__cxa_get_globals)
		c->cxx = __cxa_get_globals();
#ifdef TH_CONTEXT_TSAN
	c->tsan_fiber = __tsan_get_current_fiber();
#endif
}

void th_context_init(struct th_context *c, char *lo, size_t bytes, void (*entry)(void *), void *arg)
{
	TH_ASSERT(lo && bytes >= 1024);
	memset(c, 0, sizeof *c);
	c->lo = lo;
	c->bytes = bytes;
#ifdef TH_CONTEXT_VALGRIND
	c->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(lo, lo + bytes - 1);
#endif
	prepare(c, entry, arg);
}

void th_context_reset(struct th_context *c, void (*entry)(void *), void *arg)
{
	tools_forget(c);
	c->caught = NULL;
	c->uncaught = 0;
	prepare(c, entry, arg);
}

void th_context_fini(struct th_context *c)
{
	tools_forget(c);
#ifdef TH_CONTEXT_VALGRIND
	VALGRIND_STACK_DEREGISTER(c->valgrind_id);
#endif
	c->sp = NULL;
}

/* A thread's own stack has room enough for anything here, and finding its bounds costs reading a file. */
size_t th_context_headroom(const struct th_context *c)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (!c->lo)
		return SIZE_MAX;
	return here > (uintptr_t)c->lo ? here - (uintptr_t)c->lo : 0;
}
