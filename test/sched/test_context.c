/* test/sched/test_context.c: the switch keeps what the ABI says it keeps, and a context can be used again and again
 * without the tools (ASan, TSan) seeing what its last user left. */
#include "core/atomic.h"
#include "sched/context.h"
#include "test/support/test.h"
#include <execinfo.h>
#include <fenv.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

enum { STACK_BYTES = 112 * 1024 };

static struct th_context thread_ctx, fiber_ctx, other_ctx;
static bool ended;

static char *stack_new(void)
{
	void *p = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TH_CHECK(p != MAP_FAILED);
	return p;
}

/* TSan is told of switches but not that they order anything: as in the runtime, the hand-over does. */
static th_atomic_u32 x_turn;

static void hand_over(struct th_context *from, struct th_context *to)
{
	th_add_seq(&x_turn, 1);
	th_context_switch(from, to);
	th_add_seq(&x_turn, 1);
}

static void to_fiber(void)
{
	hand_over(&thread_ctx, &fiber_ctx);
}

static void to_thread(void)
{
	hand_over(&fiber_ctx, &thread_ctx);
}

__attribute__((noreturn)) static void end(void)
{
	ended = true;
	to_thread();
	abort();
}

static char *start(void (*entry)(void *), void *arg)
{
	char *stack = stack_new();

	ended = false;
	th_context_init_thread(&thread_ctx);
	th_context_init(&fiber_ctx, stack, STACK_BYTES, entry, arg);
	return stack;
}

static void finish(char *stack)
{
	TH_CHECK(ended);
	th_context_fini(&fiber_ctx);
	munmap(stack, STACK_BYTES);
}

/* ---- the first switch ---- */

struct seen {
	void *arg;
	uintptr_t frame;
	size_t headroom;
};

static void look(void *arg)
{
	struct seen *s = arg;

	s->arg = arg;
	s->frame = (uintptr_t)__builtin_frame_address(0);
	s->headroom = th_context_headroom(&fiber_ctx);
	end();
}

TH_TEST(context, entry_runs_on_the_given_stack_with_its_argument)
{
	struct seen s = { 0 };
	char *stack = start(look, &s);

	to_fiber();
	TH_CHECK(s.arg == &s);
	TH_CHECK(s.frame > (uintptr_t)stack && s.frame < (uintptr_t)stack + STACK_BYTES);
	finish(stack);
}

TH_TEST(context, headroom_of_a_fresh_stack_is_nearly_all_of_it)
{
	struct seen s = { 0 };
	char *stack = start(look, &s);

	to_fiber();
	TH_CHECK(s.headroom < STACK_BYTES && s.headroom > STACK_BYTES - 4096);
	finish(stack);
}

TH_TEST(context, headroom_of_a_thread_is_large)
{
	th_context_init_thread(&thread_ctx);
	TH_CHECK(th_context_headroom(&thread_ctx) > STACK_BYTES);
}

/* A call with vector registers spilled faults on a misaligned stack; so does this on x86-64. */
static void store_aligned(void *arg)
{
	typedef float v4 __attribute__((vector_size(16)));
	volatile v4 x = { 1, 2, 3, 4 };

	*(bool *)arg = ((uintptr_t)&x & 15) == 0 && ((uintptr_t)__builtin_frame_address(0) & 15) == 0 && x[3] > 3;
	end();
}

TH_TEST(context, stack_of_an_entry_is_aligned)
{
	bool aligned = false;
	char *stack = start(store_aligned, &aligned);

	to_fiber();
	TH_CHECK(aligned);
	finish(stack);
}

static void return_at_once(void *arg)
{
	(void)arg;
}

TH_TEST(context, entry_that_returns_is_killed)
{
	pid_t pid = fork();

	TH_CHECK(pid >= 0);
	if (pid == 0) {
		close(2); /* a sanitizer's report of it is expected */
		start(return_at_once, NULL);
		to_fiber();
		_exit(0);
	}

	int status;

	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	TH_CHECK(status != 0);
}

/* ---- registers ---- */

/* Fill the callee-saved registers from v, switch from `from` to `to`, and store what is in them afterwards to v. */
void test_switch_with_registers(struct th_context *from, struct th_context *to, uint64_t *v);
#if defined(__x86_64__)
enum { REGISTERS = 6 };
__asm__(".text\n"
	".type test_switch_with_registers, @function\n"
	"test_switch_with_registers:\n"
	"push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdx\n"
	"mov (%rdx), %rbx; mov 8(%rdx), %rbp; mov 16(%rdx), %r12; mov 24(%rdx), %r13; mov 32(%rdx), %r14; mov 40(%rdx), %r15\n"
	"call th_context_switch@PLT\n"
	"pop %rdx\n"
	"mov %rbx, (%rdx); mov %rbp, 8(%rdx); mov %r12, 16(%rdx); mov %r13, 24(%rdx); mov %r14, 32(%rdx); mov %r15, 40(%rdx)\n"
	"pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
	"ret\n"
	".size test_switch_with_registers, .-test_switch_with_registers\n");
#else
enum { REGISTERS = 19 };
__asm__(".text\n"
	".type test_switch_with_registers, %function\n"
	"test_switch_with_registers:\n"
	"stp x29, x30, [sp, #-176]!\n"
	"stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]; stp x23, x24, [sp, #48]; stp x25, x26, [sp, #64]\n"
	"stp x27, x28, [sp, #80]; stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]\n"
	"stp d14, d15, [sp, #144]; str x2, [sp, #160]\n"
	"ldp x19, x20, [x2]; ldp x21, x22, [x2, #16]; ldp x23, x24, [x2, #32]; ldp x25, x26, [x2, #48]\n"
	"ldp x27, x28, [x2, #64]; ldp d8, d9, [x2, #80]; ldp d10, d11, [x2, #96]; ldp d12, d13, [x2, #112]\n"
	"ldp d14, d15, [x2, #128]; ldr x29, [x2, #144]\n"
	"bl th_context_switch\n"
	"ldr x2, [sp, #160]\n"
	"stp x19, x20, [x2]; stp x21, x22, [x2, #16]; stp x23, x24, [x2, #32]; stp x25, x26, [x2, #48]\n"
	"stp x27, x28, [x2, #64]; stp d8, d9, [x2, #80]; stp d10, d11, [x2, #96]; stp d12, d13, [x2, #112]\n"
	"stp d14, d15, [x2, #128]; str x29, [x2, #144]\n"
	"ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]; ldp x23, x24, [sp, #48]; ldp x25, x26, [sp, #64]\n"
	"ldp x27, x28, [sp, #80]; ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]\n"
	"ldp d14, d15, [sp, #144]\n"
	"ldp x29, x30, [sp], #176\n"
	"ret\n"
	".size test_switch_with_registers, .-test_switch_with_registers\n");
#endif

static void switch_and_check_registers(struct th_context *from, struct th_context *to, uint64_t seed)
{
	uint64_t v[REGISTERS];

	for (unsigned i = 0; i < REGISTERS; i++)
		v[i] = seed + i;
	th_add_seq(&x_turn, 1);
	test_switch_with_registers(from, to, v);
	th_add_seq(&x_turn, 1);
	for (unsigned i = 0; i < REGISTERS; i++)
		TH_CHECK_EQ(v[i], seed + i);
}

static void other_registers(void *arg)
{
	(void)arg;
	for (uint64_t i = 0; i < 4; i++)
		switch_and_check_registers(&fiber_ctx, &thread_ctx, 0x5555000000000000u + (i << 32));
	end();
}

TH_TEST(context, callee_saved_registers_survive_on_both_sides)
{
	char *stack = start(other_registers, NULL);

	for (uint64_t i = 0; i < 5; i++)
		switch_and_check_registers(&thread_ctx, &fiber_ctx, 0x7777000000000000u + (i << 32));
	finish(stack);
}

/* ---- floating-point control words (hazard 33) ---- */

#if defined(__x86_64__)
static unsigned sse_rounding(void)
{
	unsigned w;
	__asm__ volatile("stmxcsr %0" : "=m"(w));
	return w >> 13 & 3;
}

static unsigned x87_rounding(void)
{
	uint16_t w;
	__asm__ volatile("fnstcw %0" : "=m"(w));
	return w >> 10 & 3u;
}

enum { NEAREST = 0, UPWARD = 2 };
#else
static unsigned sse_rounding(void)
{
	uint64_t w;
	__asm__ volatile("mrs %0, fpcr" : "=r"(w));
	return (unsigned)(w >> 22 & 3);
}

#define x87_rounding sse_rounding /* one word */
enum { NEAREST = 0, UPWARD = 1 };
#endif

struct rounding {
	unsigned sse[2], x87[2];
};

static void round_upward(void *arg)
{
	struct rounding *r = arg;

	r->sse[0] = sse_rounding();
	r->x87[0] = x87_rounding();
	fesetround(FE_UPWARD);
	to_thread();
	r->sse[1] = sse_rounding();
	r->x87[1] = x87_rounding();
	end();
}

TH_TEST(context, rounding_mode_of_a_fiber_does_not_leak)
{
	struct rounding r;
	char *stack = start(round_upward, &r);

	to_fiber();
	TH_CHECK_EQ(sse_rounding(), NEAREST);
	TH_CHECK_EQ(x87_rounding(), NEAREST);
	to_fiber();
	finish(stack);
}

TH_TEST(context, rounding_mode_of_a_fiber_survives_a_switch)
{
	struct rounding r;
	char *stack = start(round_upward, &r);

	to_fiber();
	to_fiber();
	TH_CHECK_EQ(r.sse[1], UPWARD);
	TH_CHECK_EQ(r.x87[1], UPWARD);
	finish(stack);
}

TH_TEST(context, fresh_context_has_the_control_words_of_its_creator)
{
	struct rounding r;

	fesetround(FE_UPWARD);
	char *stack = start(round_upward, &r);
	fesetround(FE_TONEAREST);
	to_fiber();
	TH_CHECK_EQ(r.sse[0], UPWARD);
	TH_CHECK_EQ(r.x87[0], UPWARD);
	to_fiber();
	finish(stack);
}

TH_TEST(context, reset_context_has_the_control_words_of_who_reset_it)
{
	struct rounding r;
	char *stack = start(round_upward, &r);

	to_fiber();
	to_fiber();
	th_context_reset(&fiber_ctx, round_upward, &r);
	to_fiber();
	TH_CHECK_EQ(r.sse[0], NEAREST);
	TH_CHECK_EQ(r.x87[0], NEAREST);
	to_fiber();
	finish(stack);
}

/* ---- use of the stack ---- */

__attribute__((noinline)) static unsigned deep(unsigned n, uintptr_t stop)
{
	volatile unsigned char frame[256];

	frame[n % 256] = (unsigned char)n;
	if (th_context_headroom(&fiber_ctx) < stop)
		return n;
	unsigned d = deep(n + 1, stop);
	TH_CHECK_EQ(frame[n % 256], (unsigned char)n);
	return d;
}

static void go_deep(void *arg)
{
	*(unsigned *)arg = deep(0, STACK_BYTES / 8);
	to_thread();
	*(unsigned *)arg += deep(0, STACK_BYTES / 8);
	end();
}

TH_TEST(context, seven_eighths_of_the_stack_can_be_used)
{
	unsigned depth = 0;
	char *stack = start(go_deep, &depth);

	to_fiber();
	TH_CHECK(depth > 50);
	to_fiber();
	TH_CHECK(depth > 100);
	finish(stack);
}

/* ---- unwinding ---- */

struct walk {
	int frames;
	_Unwind_Reason_Code code;
};

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *c, void *arg)
{
	struct walk *w = arg;

	(void)c;
	return ++w->frames < 100 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

static void walk_stack(void *arg)
{
	struct walk *w = arg;

	w->code = _Unwind_Backtrace(count_frame, w);
	end();
}

TH_TEST(context, unwinding_ends_at_the_first_frame)
{
	struct walk w = { 0 };
	char *stack = start(walk_stack, &w);

	to_fiber();
	TH_CHECK_EQ(w.code, _URC_END_OF_STACK);
	TH_CHECK(w.frames >= 2 && w.frames <= 4); /* walk_stack, th_context_begin, th_context_entry */
	finish(stack);
}

static void trace_stack(void *arg)
{
	void *frames[100];

	*(int *)arg = backtrace(frames, 100);
	end();
}

TH_TEST(context, backtrace_ends_at_the_first_frame)
{
	int n = 0;
	char *stack = start(trace_stack, &n);

	to_fiber();
	TH_CHECK(n >= 2 && n <= 5);
	finish(stack);
}

/* ---- several contexts, threads ---- */

static struct th_context ring[8];
static unsigned laps;

static void pass_on(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	th_add_seq(&x_turn, 1);
	for (;;) {
		laps++;
		hand_over(&ring[i], i + 1 < 8 ? &ring[i + 1] : &thread_ctx);
	}
}

TH_TEST(context, contexts_switch_to_one_another_in_a_ring)
{
	char *stacks[8];

	laps = 0;
	th_context_init_thread(&thread_ctx);
	for (uintptr_t i = 0; i < 8; i++) {
		stacks[i] = stack_new();
		th_context_init(&ring[i], stacks[i], STACK_BYTES, pass_on, (void *)i);
	}
	for (int lap = 0; lap < 100; lap++)
		hand_over(&thread_ctx, &ring[0]);
	TH_CHECK_EQ(laps, 800);
	for (int i = 0; i < 8; i++) {
		th_context_fini(&ring[i]);
		munmap(stacks[i], STACK_BYTES);
	}
}

/* The join orders the two threads, as a queue's acquire and release do in the runtime. */
static void stay_on_other(void *arg)
{
	volatile int local = 1;

	hand_over(&fiber_ctx, &other_ctx);
	local++;
	*(int *)arg = local;
	end();
}

static void *first_half(void *arg)
{
	(void)arg;
	th_context_init_thread(&other_ctx);
	hand_over(&other_ctx, &fiber_ctx);
	return NULL;
}

TH_TEST(context, context_goes_on_on_another_thread)
{
	int local = 0;
	char *stack = start(stay_on_other, &local);
	pthread_t t;

	TH_CHECK_EQ(pthread_create(&t, NULL, first_half, NULL), 0);
	TH_CHECK_EQ(pthread_join(t, NULL), 0);
	to_fiber();
	TH_CHECK_EQ(local, 2);
	finish(stack);
}

/* ---- use again ---- */

/* Escaping locals: ASan puts them between red zones, or on the fake stack; TSan records the accesses. */
__attribute__((noinline)) static void touch(volatile char *p, size_t n)
{
	for (size_t i = 0; i < n; i += 16)
		p[i]++;
}

__attribute__((noinline)) static void small_frames(int n)
{
	char a[40] = { 0 }, b[24] = { 0 };

	touch(a, sizeof a);
	touch(b, sizeof b);
	if (n > 0) {
		small_frames(n - 1);
	} else {
		ended = true;
		to_thread(); /* for good: the frames are never left, and what is known of them stays */
	}
	touch(b, sizeof b);
}

static void many_small(void *arg)
{
	(void)arg;
	small_frames(20);
}

static void one_large(void *arg)
{
	char a[4000] = { 0 };

	(void)arg;
	touch(a, sizeof a);
	to_thread();
	touch(a, sizeof a);
	end();
}

TH_TEST(context, frames_that_were_never_left_do_not_hurt_the_next_entry)
{
	char *stack = start(many_small, NULL);

	to_fiber();
	for (int i = 0; i < 100; i++) {
		th_context_reset(&fiber_ctx, one_large, NULL);
		to_fiber();
		to_fiber();
		th_context_reset(&fiber_ctx, many_small, NULL);
		to_fiber();
	}
	finish(stack);
}

#ifdef TH_TSAN
enum { RESETS = 30000 }; /* a fiber of gcc's TSan costs 0.4 ms; it would keep 64 Ki calls, so this would overflow */
#else
enum { RESETS = 100000 };
#endif

TH_TEST(context, can_be_reset_100000_times)
{
	char *stack = start(many_small, NULL);

	to_fiber();
	for (int i = 0; i < RESETS; i++) {
		ended = false;
		th_context_reset(&fiber_ctx, many_small, NULL);
		to_fiber();
		TH_CHECK(ended);
	}
	finish(stack);
}

/* Without hand_over(): nothing orders one use and the next but that they are on one thread. */
static void touch_locals(void *arg)
{
	char a[200] = { 0 };

	if (arg)
		++*(volatile int *)arg;
	touch(a, sizeof a);
	th_context_switch(&fiber_ctx, &thread_ctx);
	abort();
}

static void use_twice(int *shared)
{
	char *stack = start(touch_locals, shared);

	th_context_switch(&thread_ctx, &fiber_ctx);
	th_context_reset(&fiber_ctx, touch_locals, shared);
	th_context_switch(&thread_ctx, &fiber_ctx);
	th_context_fini(&fiber_ctx);
	th_context_init(&fiber_ctx, stack, STACK_BYTES, touch_locals, shared);
	th_context_switch(&thread_ctx, &fiber_ctx);
	th_context_fini(&fiber_ctx);
	munmap(stack, STACK_BYTES);
}

TH_TEST(context, tsan_sees_no_race_on_the_stack_of_an_earlier_use)
{
	use_twice(NULL);
}

#ifdef TH_TSAN
TH_TEST(context, tsan_sees_the_race_of_two_uses_of_one_stack_on_one_thread)
{
	pid_t pid = fork();
	static int shared;

	TH_CHECK(pid >= 0);
	if (pid == 0) {
		close(2); /* the report is expected */
		use_twice(&shared);
		exit(0); /* TSan makes it its own code when it has reported */
	}

	int status;

	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	TH_CHECK(status != 0);
}
#endif

static long address_space_mib(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long pages = 0;

	TH_CHECK(f);
	TH_CHECK_EQ(fscanf(f, "%ld", &pages), 1);
	fclose(f);
	return (long)((double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20));
}

static long mib_after_suspended(char *stack, int n)
{
	for (int i = 0; i < n; i++) {
		th_context_init(&fiber_ctx, stack, STACK_BYTES, one_large, NULL);
		to_fiber();
		th_context_fini(&fiber_ctx);
	}
	return address_space_mib();
}

/* A fake stack of ASan takes more than a MiB. */
TH_TEST(context, fini_of_a_suspended_context_leaves_nothing)
{
	char *stack = stack_new();

	th_context_init_thread(&thread_ctx);
	long before = mib_after_suspended(stack, 100);
	TH_CHECK(mib_after_suspended(stack, 1000) < before + 200);
	munmap(stack, STACK_BYTES);
}

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifdef TEST_ASAN
#include <sanitizer/asan_interface.h>

TH_TEST(context, asan_tells_the_bounds_of_the_threads_stack)
{
	struct seen s = { 0 };
	char *stack = start(look, &s);
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	to_fiber();
	TH_CHECK(here > (uintptr_t)thread_ctx.lo && here - (uintptr_t)thread_ctx.lo < thread_ctx.bytes);
	finish(stack);
}

TH_TEST(context, reset_removes_the_red_zones_of_frames_that_were_never_left)
{
	struct seen s = { 0 };
	char *stack = start(look, &s);

	to_fiber();
	__asan_poison_memory_region(stack + 4096, 64);
	th_context_reset(&fiber_ctx, look, &s);
	TH_CHECK(!__asan_region_is_poisoned(stack, STACK_BYTES));
	to_fiber();
	finish(stack);
}
#endif
