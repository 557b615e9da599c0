/* test/sched/test_stack.c: every stack has a guard or is refused; stacks are reused; memory goes back. Each property of
 * guards is checked for both ways of making them, on whatever kernel this runs. */
#include "sched/stack.h"
#include "test/support/test.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK_BYTES = 112 * 1024, MANY = 100000 };

static struct th_stack stacks[MANY];

static size_t page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static struct th_stacks *open_pool(bool by_mprotect)
{
	struct th_stacks *s = NULL;

	TH_CHECK_EQ(th_stacks_open_with(&s, STACK_BYTES, by_mprotect), 0);
	return s;
}

static struct th_stack take(struct th_stacks *s)
{
	struct th_stack st = { 0 };

	TH_CHECK_EQ(th_stacks_take(s, &st), 0);
	return st;
}

/* A child that writes to p must die of it. */
static bool write_faults(volatile char *p)
{
	pid_t pid = fork();
	int status;

	TH_CHECK(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* not the sanitizer's report */
		*p = 1;
		_exit(0);
	}
	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned lines = 0;

	TH_CHECK(f);
	for (int c; (c = fgetc(f)) != EOF;)
		lines += c == '\n';
	fclose(f);
	return lines;
}

static bool resident(char *p)
{
	unsigned char in;

	TH_CHECK_EQ(mincore(p, page(), &in), 0);
	return in & 1;
}

/* ---- one stack ---- */

TH_TEST(stack, whole_stack_can_be_written)
{
	struct th_stacks *s = open_pool(false);
	struct th_stack st = take(s);

	TH_CHECK_EQ(st.bytes, STACK_BYTES);
	memset(st.lo, 1, st.bytes);
	th_stacks_give(s, st);
	th_stacks_close(s);
}

TH_TEST(stack, pool_that_was_never_used_can_be_closed)
{
	th_stacks_close(open_pool(false));
	th_stacks_close(NULL);
}

TH_TEST(stack, given_back_last_is_taken_first)
{
	struct th_stacks *s = open_pool(false);
	struct th_stack a = take(s), b = take(s);

	th_stacks_give(s, b);
	th_stacks_give(s, a);
	TH_CHECK(take(s).lo == a.lo);
	TH_CHECK(take(s).lo == b.lo);
	TH_CHECK_EQ(th_stacks_count(s).mapped, 2);
	th_stacks_give(s, a);
	th_stacks_give(s, b);
	th_stacks_close(s);
}

TH_TEST(stack, big_stacks_come_in_small_slabs)
{
	struct th_stacks *s;
	struct th_stack st[3];

	TH_CHECK_EQ(th_stacks_open(&s, (size_t)300 << 20), 0);
	for (int i = 0; i < 3; i++) {
		st[i] = take(s);
		st[i].lo[0] = 1;
		st[i].lo[st[i].bytes - 1] = 1;
	}
	for (int i = 0; i < 3; i++)
		th_stacks_give(s, st[i]);
	th_stacks_close(s);
}

TH_TEST(stack, impossible_size_is_ENOMEM)
{
	struct th_stacks *s = NULL;
	struct th_stack st;

	TH_CHECK_EQ(th_stacks_open(&s, SIZE_MAX & ~(page() - 1)), -ENOMEM);
	TH_CHECK(s == NULL);
	TH_CHECK_EQ(th_stacks_open(&s, (size_t)1 << 60), 0);
	TH_CHECK_EQ(th_stacks_take(s, &st), -ENOMEM);
	th_stacks_close(s);
}

/* ---- guards ---- */

static void guard_faults(bool by_mprotect)
{
	struct th_stacks *s = open_pool(by_mprotect);

	for (int i = 0; i < 200; i++) /* more than the first slab */
		stacks[i] = take(s);
	for (int i = 0; i < 200; i += 33) {
		TH_CHECK(write_faults(stacks[i].lo - 1));
		TH_CHECK(write_faults(stacks[i].lo - TH_STACK_GUARD_BYTES));
		TH_CHECK(!write_faults(stacks[i].lo));
		TH_CHECK(!write_faults(stacks[i].lo + stacks[i].bytes - 1));
	}
	for (int i = 0; i < 200; i++)
		th_stacks_give(s, stacks[i]);
	/* Trimming and using again leave the guards in place. */
	struct th_stack st = take(s);
	TH_CHECK(write_faults(st.lo - 1));
	th_stacks_give(s, st);
	th_stacks_close(s);
}

TH_TEST(stack, write_below_a_stack_faults)
{
	guard_faults(false);
}

TH_TEST(stack, write_below_a_stack_faults_by_mprotect)
{
	guard_faults(true);
}

static void guard_is_known(bool by_mprotect)
{
	struct th_stacks *s = open_pool(by_mprotect), *other = open_pool(by_mprotect);
	struct th_stack a = take(s), b = take(s), c = take(other);

	TH_CHECK(th_stacks_in_guard(s, a.lo - 1));
	TH_CHECK(th_stacks_in_guard(s, a.lo - TH_STACK_GUARD_BYTES));
	TH_CHECK(th_stacks_in_guard(s, b.lo - 1));
	TH_CHECK(!th_stacks_in_guard(s, a.lo));
	TH_CHECK(!th_stacks_in_guard(s, a.lo + a.bytes - 1));
	TH_CHECK(!th_stacks_in_guard(s, c.lo - 1));
	TH_CHECK(!th_stacks_in_guard(s, &a));
	TH_CHECK(!th_stacks_in_guard(s, NULL));
	th_stacks_give(s, a);
	th_stacks_give(s, b);
	th_stacks_give(other, c);
	th_stacks_close(s);
	th_stacks_close(other);
}

TH_TEST(stack, in_guard_tells_guards_from_stacks)
{
	guard_is_known(false);
}

TH_TEST(stack, in_guard_tells_guards_from_stacks_by_mprotect)
{
	guard_is_known(true);
}

/* ---- limits ---- */

static void take_touch_check(struct th_stacks *s, int n)
{
	for (int i = 0; i < n; i++) {
		stacks[i] = take(s);
		stacks[i].lo[stacks[i].bytes - 1] = 1;
	}
	for (int i = 0; i < n; i++) {
		TH_CHECK(th_stacks_in_guard(s, stacks[i].lo - 1));
		TH_CHECK(!th_stacks_in_guard(s, stacks[i].lo));
	}
	for (int i = 0; i < n; i += n / 4)
		TH_CHECK(write_faults(stacks[i].lo - 1));
}

static void give_all(struct th_stacks *s, int n)
{
	for (int i = 0; i < n; i++)
		th_stacks_give(s, stacks[i]);
}

TH_TEST(stack, hundred_thousand_at_once_in_few_mappings)
{
	struct th_stacks *s = open_pool(false);
	unsigned before = mappings();

	if (th_stacks_by_mprotect(s)) {
		th_stacks_close(s);
		return; /* not possible on this kernel: see the next test */
	}
	take_touch_check(s, MANY);
	TH_CHECK(mappings() < before + 1000); /* TSan adds some for each of the 99 slabs */
	TH_CHECK_EQ(th_stacks_count(s).mapped, MANY);
	give_all(s, MANY);
	th_stacks_close(s);
}

TH_TEST(stack, close_unmaps)
{
	struct th_stacks *s = open_pool(false);
	struct th_stack st = take(s);
	unsigned char in;

	th_stacks_give(s, st);
	th_stacks_close(s);
	TH_CHECK(mincore(st.lo, page(), &in) == -1 && errno == ENOMEM);
}

TH_TEST(stack, mprotect_guards_end_in_ENOMEM_and_never_in_a_stack_without)
{
	struct th_stacks *s = open_pool(true), *other = open_pool(true);
	struct th_stack st = { 0 };

	take_touch_check(s, TH_STACK_MPROTECT_MAX);
	TH_CHECK_EQ(th_stacks_take(s, &st), -ENOMEM);
	TH_CHECK_EQ(th_stacks_take(other, &st), -ENOMEM); /* the limit is the process's */
	TH_CHECK(st.lo == NULL);

	/* Idle ones still serve. */
	th_stacks_give(s, stacks[5]);
	TH_CHECK(take(s).lo == stacks[5].lo);

	give_all(s, TH_STACK_MPROTECT_MAX);
	th_stacks_close(s);
	th_stacks_give(other, take(other)); /* closing gave the guards back */
	th_stacks_close(other);
}

/* ---- memory ---- */

TH_TEST(stack, few_idle_stacks_stay_warm)
{
	struct th_stacks *s = open_pool(false);
	struct th_stack st = take(s);

	st.lo[0] = 1;
	th_stacks_give(s, st);
	TH_CHECK(resident(st.lo));
	th_stacks_close(s);
}

TH_TEST(stack, many_idle_stacks_keep_only_their_top_page)
{
	enum { N = 300 };
	struct th_stacks *s = open_pool(false);
	int low = 0, top = 0;

	for (int i = 0; i < N; i++) {
		stacks[i] = take(s);
		memset(stacks[i].lo, 1, stacks[i].bytes);
	}
	give_all(s, N);
	for (int i = 0; i < N; i++) {
		low += resident(stacks[i].lo);
		top += resident(stacks[i].lo + stacks[i].bytes - page());
	}
	TH_CHECK(low <= 64);
	TH_CHECK_EQ(top, N);
	th_stacks_close(s);
}

/* ---- cooling ---- */

static int residents(int n)
{
	int pages = 0;

	for (int i = 0; i < n; i++)
		for (size_t at = 0; at < STACK_BYTES; at += page())
			pages += resident(stacks[i].lo + at);
	return pages;
}

static void take_all(struct th_stacks *s, int n)
{
	for (int i = 0; i < n; i++) {
		stacks[i] = take(s);
		stacks[i].lo[0] = 1;
		stacks[i].lo[STACK_BYTES - 1] = 1;
	}
}

static void cool_all(struct th_stacks *s, int64_t now_ns)
{
	while (th_stacks_cool(s, now_ns) == TH_COOLING)
		;
}

enum { COOL = 300 };

TH_TEST(stack, idle_ones_that_nobody_wants_for_a_period_hold_no_memory)
{
	const int64_t period = TH_STACKS_PERIOD_NS;
	struct th_stacks *s = open_pool(false);
	unsigned calls = 1;

	take_all(s, COOL);
	TH_CHECK_EQ(th_stacks_cool(s, period), TH_COLD); /* none is idle */
	give_all(s, COOL);
	TH_CHECK_EQ(th_stacks_cool(s, 2 * period), TH_WARM); /* they were wanted in this one */
	TH_CHECK_EQ(th_stacks_cool(s, 3 * period - 1), TH_WARM);
	TH_CHECK_EQ(th_stacks_count(s).cooled, 0);
	TH_CHECK_EQ(th_stacks_count(s).warm, COOL);
	TH_CHECK(residents(COOL) >= COOL);
	while (th_stacks_cool(s, 3 * period) == TH_COOLING)
		calls++;
	TH_CHECK(calls > 1 && calls <= 10); /* some at a time */
	TH_CHECK_EQ(th_stacks_count(s).cooled, COOL);
	TH_CHECK_EQ(th_stacks_count(s).warm, 0);
	TH_CHECK_EQ(residents(COOL), 0);
	TH_CHECK_EQ(th_stacks_cool(s, 9 * period), TH_COLD);
	TH_CHECK_EQ(th_stacks_count(s).cooled, COOL); /* once each */

	/* They serve again, with their guards, and are cooled again. */
	take_all(s, COOL);
	TH_CHECK_EQ(th_stacks_count(s).mapped, COOL);
	TH_CHECK(write_faults(stacks[0].lo - 1) && write_faults(stacks[COOL - 1].lo - 1));
	give_all(s, COOL);
	cool_all(s, 10 * period);
	cool_all(s, 11 * period);
	TH_CHECK_EQ(th_stacks_count(s).cooled, 2 * COOL);
	TH_CHECK_EQ(residents(COOL), 0);
	th_stacks_close(s);
}

/* A load that comes again in every period keeps what it needs; the rest of a burst goes. */
TH_TEST(stack, idle_ones_that_are_wanted_again_stay_warm)
{
	enum { WANTED = 100 };
	struct th_stacks *s = open_pool(false);
	int64_t now_ns = 0;

	take_all(s, COOL);
	give_all(s, COOL);
	for (int i = 0; i < 20; i++) {
		take_all(s, WANTED);
		give_all(s, WANTED);
		cool_all(s, now_ns += TH_STACKS_PERIOD_NS);
	}
	TH_CHECK_EQ(th_stacks_count(s).cooled, COOL - WANTED);
	TH_CHECK_EQ(th_stacks_count(s).warm, WANTED);
	th_stacks_close(s);
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

TH_TEST(stack, asan_knows_idle_stacks)
{
	struct th_stacks *s = open_pool(false);
	struct th_stack st = take(s);

	TH_CHECK(!__asan_region_is_poisoned(st.lo, st.bytes));
	th_stacks_give(s, st);
	TH_CHECK(__asan_address_is_poisoned(st.lo));
	TH_CHECK(__asan_address_is_poisoned(st.lo + st.bytes - 1));
	TH_CHECK(take(s).lo == st.lo);
	TH_CHECK(!__asan_region_is_poisoned(st.lo, st.bytes));
	th_stacks_give(s, st);
	th_stacks_close(s);
	TH_CHECK(!__asan_address_is_poisoned(st.lo)); /* whoever is mapped there next */
}
#endif

/* ---- threads ---- */

static void *take_and_give(void *arg)
{
	struct th_stacks *s = arg;
	enum { N = 40 };
	struct th_stack mine[N];

	for (int round = 0; round < 200; round++) {
		for (int i = 0; i < N; i++) {
			mine[i] = take(s);

			mine[i].lo[mine[i].bytes - 1] = (char)i;
		}
		for (int i = 0; i < N; i++) { /* nobody else was given the same one */
			TH_CHECK_EQ(mine[i].lo[mine[i].bytes - 1], i);
			th_stacks_give(s, mine[i]);
		}
	}
	return NULL;
}

TH_TEST(stack, threads_share_a_pool)
{
	struct th_stacks *s = open_pool(false);
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(pthread_create(&t[i], NULL, take_and_give, s), 0);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(pthread_join(t[i], NULL), 0);
	TH_CHECK(th_stacks_count(s).mapped <= 160);
	th_stacks_close(s);
}
