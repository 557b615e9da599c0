/* Stacks of other sizes than the runtime's: children that ask for one (thrum_spawn_opts.stack_bytes) run on it, each
 * has a guard, and their memory goes back. */
#include "sched/stack.h"
#include "test/support/child.h"
#include "test/support/rules.h"
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { KIB = 1024, MIB = 1024 * KIB, FRAME = 4 * KIB, USUAL = 112 * KIB };

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

/* Address space; neighbouring mappings may be one line of maps. */
static size_t mapped_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	size_t pages = 0;

	TH_CHECK(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	return pages;
}

/* --- the pool --- */

static bool write_faults(volatile char *p)
{
	int status;
	pid_t pid = fork();

	TH_CHECK(pid >= 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL); /* not the sanitizer's report */
		*p = 1;
		_exit(0);
	}
	TH_CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void take_and_check(bool by_mprotect)
{
	struct th_stacks *s = NULL;
	struct th_stack a, b, c;

	TH_CHECK_EQ(th_stacks_open_with(&s, USUAL, by_mprotect), 0);
	TH_CHECK_EQ(th_stacks_take_sized(s, 3 * MIB - 5, &a), 0);
	TH_CHECK_EQ(a.bytes, 3 * MIB);
	TH_CHECK(!th_stacks_is_usual(s, a));
	memset(a.lo, 1, a.bytes);
	TH_CHECK(write_faults(a.lo - 1));
	TH_CHECK(write_faults(a.lo - TH_STACK_GUARD_BYTES));
	TH_CHECK(th_stacks_is_guard_of(s, &a, a.lo - 1));
	TH_CHECK(th_stacks_is_guard_of(s, &a, a.lo - TH_STACK_GUARD_BYTES));
	TH_CHECK(!th_stacks_is_guard_of(s, &a, a.lo - TH_STACK_GUARD_BYTES - 1));
	TH_CHECK(!th_stacks_is_guard_of(s, &a, a.lo));
	TH_CHECK_EQ(th_stacks_take_sized(s, USUAL, &b), 0);
	TH_CHECK(th_stacks_is_usual(s, b));
	th_stacks_give(s, a);
	TH_CHECK_EQ(th_stacks_take_sized(s, 2 * MIB, &c), 0); /* another size: not that one */
	TH_CHECK(c.lo != a.lo && c.bytes == 2 * MIB);
	th_stacks_give(s, c);
	TH_CHECK_EQ(th_stacks_take_sized(s, 3 * MIB, &c), 0);
	TH_CHECK(c.lo == a.lo);
	TH_CHECK(write_faults(c.lo - 1)); /* its guard is still there */
	TH_CHECK_EQ(th_stacks_count(s).mapped, 3);
	th_stacks_give(s, c);
	th_stacks_give(s, b);
	th_stacks_close(s);
}

TH_TEST(stack_size, of_any_size_has_a_guard)
{
	take_and_check(false);
}

TH_TEST(stack_size, of_any_size_has_a_guard_by_mprotect)
{
	take_and_check(true);
}

TH_TEST(stack_size, idle_one_keeps_one_page)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), resident = 0;
	unsigned char in[2 * MIB / 4096];
	struct th_stacks *s = NULL;
	struct th_stack a;

	TH_CHECK_EQ(th_stacks_open(&s, USUAL), 0);
	TH_CHECK_EQ(th_stacks_take_sized(s, 2 * MIB, &a), 0);
	memset(a.lo, 1, a.bytes);
	th_stacks_give(s, a);
	TH_CHECK_EQ(mincore(a.lo, a.bytes, in), 0);
	for (size_t i = 0; i < a.bytes / page; i++)
		resident += in[i] & 1;
	TH_CHECK_EQ(resident, 1);
	th_stacks_close(s);
}

/* More than the limit of guards by mprotect, one after the other: those that went count no more. */
TH_TEST(stack_size, guards_of_unmapped_ones_do_not_count)
{
	struct th_stacks *s = NULL;
	struct th_stack a;

#ifdef __SANITIZE_ADDRESS__
	return; /* its shadow of 500 GiB takes 20 s to write, and has no say in what is counted */
#endif
	if (TH_EMULATED)
		return; /* it takes a minute for the mappings */
	TH_CHECK_EQ(th_stacks_open_with(&s, USUAL, true), 0);
	for (unsigned i = 0; i < TH_STACK_MPROTECT_MAX + 100; i++) {
		TH_CHECK_EQ(th_stacks_take_sized(s, 65 * (size_t)MIB, &a), 0); /* too large to be kept */
		th_stacks_give(s, a);
	}
	th_stacks_close(s);
}

/* --- children --- */

/* Uses FRAME bytes of stack per level, sanitizers some more. */
static int __attribute__((noinline)) descend(int levels)
{
	volatile char frame[FRAME];

	__asm__ volatile("" : : "r"(frame) : "memory"); /* all of it */
	frame[0] = (char)levels;
	if (levels <= 1)
		return thrum_yield() + 1; /* suspends at the bottom, too */
	return descend(levels - 1) + (frame[0] == (char)levels);
}

static int dig(int *levels)
{
	return descend(*levels) == *levels ? 0 : THRUM_APP(1);
}
THRUM_FX(dig, int);

static int deep = 6 * MIB / FRAME, shallow = 2;
#define STACK_BYTES (TH_SANITIZED ? 16 * MIB : 8 * MIB)

TH_FIBER_TEST(JUMP, stack_size, child_uses_the_stack_it_asked_for)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, dig_fx(&deep), THRUM_SPAWN_OPTS(.stack_bytes = STACK_BYTES)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, dig_fx(&deep), THRUM_SPAWN_OPTS(.stack_bytes = STACK_BYTES)), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, dig_fx(&deep),
				     THRUM_SPAWN_OPTS(.stack_bytes = STACK_BYTES, .worker = thrum_workers())), 0);
	return thrum_scope_close(&s);
}

/* Never on the stack of whoever waits for it, though nobody else has taken it. */
TH_ONE_WORKER_TEST(JUMP, stack_size, child_is_not_run_by_its_joiner)
{
	thrum_stats before, after;
	thrum_scope s;
	thrum_task t, plain;

	before.size = after.size = sizeof before;
	TH_CHECK_EQ(thrum_stats_read(NULL, &before), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, dig_fx(&deep), THRUM_SPAWN_OPTS(.stack_bytes = STACK_BYTES)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, dig_fx(&deep), THRUM_SPAWN_OPTS(.stack_bytes = STACK_BYTES)), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &plain, dig_fx(&shallow)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &after), 0);
	TH_CHECK_EQ(after.inline_runs - before.inline_runs, 1); /* the plain one */
	TH_CHECK_EQ(after.fibers - before.fibers, 2);
	TH_CHECK_EQ(after.stacks_mapped - before.stacks_mapped, 1);
	return 0;
}

static const size_t sizes[] = {
	TH_SANITIZED ? 48 * KIB : 16 * KIB, TH_SANITIZED ? 64 * KIB : 20 * KIB, 300 * KIB, 8 * MIB,
	(size_t)1 << 30
};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* One after the other on the same size, or at once on more different ones than are kept. */
static int spawn_hundred(bool at_once)
{
	thrum_scope s;
	thrum_task t[100];

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 100; i++) {
		size_t bytes = at_once ? (size_t)(i % 20 + 1) * 256 * KIB : 8 * MIB;
		TH_CHECK_EQ(thrum_spawn_with(&s, &t[i], dig_fx(&shallow),
					     THRUM_SPAWN_OPTS(.stack_bytes = bytes)), 0);
		if (!at_once)
			TH_CHECK_EQ(thrum_join(&t[i]), 0);
	}
	return thrum_scope_close(&s);
}

TH_FIBER_TEST(JUMP, stack_size, hundred_leave_the_mappings_flat)
{
	thrum_stats st = { .size = sizeof st };
	unsigned before, after;
	uint64_t mapped;
	size_t pages;

	TH_CHECK_EQ(spawn_hundred(false), 0); /* what the first ones leave behind */
	TH_CHECK_EQ(spawn_hundred(true), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &st), 0);
	mapped = st.stacks_mapped;
	before = mappings();
	pages = mapped_pages();
	TH_CHECK_EQ(spawn_hundred(false), 0);
	TH_CHECK_EQ(thrum_stats_read(NULL, &st), 0);
	TH_CHECK(st.stacks_mapped - mapped <= 16);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(spawn_hundred(true), 0);
	after = mappings();
	TH_CHECK(after <= before + 32); /* two for each that is kept, and the allocators' own */
	TH_CHECK(mapped_pages() <= pages + 128 * (size_t)MIB / 4096);
	return 0;
}

/* A stack smaller than the usual: nesting goes on a fresh one before it is used up. */
static int nest(void *arg)
{
	thrum_or_else_op op = { { nest, arg }, thrum_succeed() };
	int *n = arg;

	return --*n > 0 ? thrum_call(thrum_or_else_fx(&op)) : descend(1) - 1;
}

TH_FIBER_TEST(JUMP, stack_size, all_sizes_serve)
{
	thrum_scope s;
	thrum_task t;

	for (size_t i = 0; i < SIZES; i++) {
		int n = 1000;

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ nest, &n },
					     THRUM_SPAWN_OPTS(.stack_bytes = sizes[i])), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(n, 0);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, stack_size, supervised_children_have_theirs)
{
	const thrum_child_spec spec = { .fx = dig_fx(&deep), .restart = THRUM_RESTART_TRANSIENT, .stack_bytes = STACK_BYTES };

	return thrum_supervise(&spec, 1, NULL);
}

/* --- refused, overflown --- */

static int ask_for_too_much(void *unused)
{
	struct rlimit none = { 0, 0 };
	struct th_step body = { 0 };
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	setrlimit(RLIMIT_AS, &none);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, th_step_fx(&body), THRUM_SPAWN_OPTS(.stack_bytes = MIB, .isolated = true)), 0);
	TH_CHECK_EQ(thrum_join(&t), -ENOMEM);
	TH_CHECK_EQ(body.runs, 0);
	return thrum_scope_close(&s);
}
static void run_too_much(void *unused)
{
	(void)unused;
	_exit(TH_RUN(JUMP, ((thrum_fx){ ask_for_too_much, NULL })) != 0);
}

TH_TEST(stack_size, child_without_room_ends_with_ENOMEM)
{
	struct th_said said;
	int status;

	if (TH_UNLIMITED)
		return;
	status = th_child(run_too_much, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
}

/* Of children that get no stack the drops run all the same, on what is kept for it: each once, one after the other though they
 * suspend, each as part of its child. */
enum { REFUSED = 20 };
static struct refused {
	thrum_task t;
	int runs, drops, exit_code;
} refused[REFUSED];
static int dropping, most_dropping;

static int run_refused(struct refused *r)
{
	return ++r->runs;
}
THRUM_FX(run_refused, struct refused);

static int drop_refused(struct refused *r)
{
	if (++dropping > most_dropping)
		most_dropping = dropping;
	r->exit_code = thrum_exit_code();
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5)), 0);
	dropping--;
	r->drops++;
	return 0;
}
THRUM_FX(drop_refused, struct refused);

static int refuse_many(void *unused)
{
	struct rlimit none = { 0, 0 };
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	setrlimit(RLIMIT_AS, &none);
	for (int i = 0; i < REFUSED; i++)
		TH_CHECK_EQ(thrum_spawn_with(&s, &refused[i].t, run_refused_fx(&refused[i]),
					     THRUM_SPAWN_OPTS(.stack_bytes = MIB, .isolated = true, .worker = 1,
							      .drop = drop_refused_fx(&refused[i]))), 0);
	for (int i = 0; i < REFUSED; i++) {
		TH_CHECK_EQ(thrum_join(&refused[i].t), -ENOMEM);
		TH_CHECK_EQ(refused[i].runs, 0);
		TH_CHECK_EQ(refused[i].drops, 1);
		TH_CHECK_EQ(refused[i].exit_code, -ENOMEM);
	}
	TH_CHECK_EQ(most_dropping, 1);
	return thrum_scope_close(&s);
}
static void run_refuse_many(void *unused)
{
	(void)unused;
	_exit(TH_RUN(JUMP, ((thrum_fx){ refuse_many, NULL })) != 0);
}

TH_TEST(stack_size, children_without_room_are_dropped_Z5)
{
	struct th_said said;
	int status;

	if (TH_UNLIMITED)
		return;
	status = th_child(run_refuse_many, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
}

static int run_over(void *unused)
{
	(void)unused;
	return descend(2 * MIB / FRAME);
}
static int spawn_glutton(void *unused)
{
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, (thrum_fx){ run_over, NULL },
				     THRUM_SPAWN_OPTS(.name = "the-glutton", .stack_bytes = MIB)), 0);
	return thrum_scope_close(&s);
}
static void run_glutton(void *unused)
{
	(void)unused;
	_exit(TH_RUN(JUMP, ((thrum_fx){ spawn_glutton, NULL })) != 0);
}

TH_TEST(stack_size, overflow_is_reported_X6)
{
	struct th_said said;
	int status = th_child(run_glutton, NULL, &said);

	if (TH_SANITIZED) { /* they report it in their own way */
		TH_CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
		return;
	}
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		th_check_failed(__FILE__, __LINE__, "status %#x, said: %s", status, said.text);
	TH_CHECK(strstr(said.text, "ran off its stack: the-glutton") != NULL);
}

static int send_oneself_a_fault(void *unused)
{
	(void)unused;
	raise(SIGSEGV);
	return 0;
}
static void run_send_oneself_a_fault(void *unused)
{
	(void)unused;
	_exit(TH_RUN(JUMP, ((thrum_fx){ send_oneself_a_fault, NULL })) != 0);
}

/* There is no instruction to run into it again: a handler that only returns would swallow it. */
TH_TEST(stack_size, a_SIGSEGV_that_was_sent_ends_the_process_X6)
{
	struct th_said said;
	int status = th_child(run_send_oneself_a_fault, NULL, &said);

	TH_CHECK(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : TH_SANITIZED && WEXITSTATUS(status) != 0);
}

/* --- the smallest --- */

enum { DEEPEST = 40, SMALLEST = 16 * 1024 };

struct nested {
	int depth;
};

static int die_below_run_(void *arg);

static int die_below(struct nested *n)
{
	struct nested next = { n->depth - 1 };
	thrum_scope s;
	thrum_task t;

	if (n->depth == 0)
		return thrum_die("the innermost");
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ die_below_run_, &next }, NULL), 0);
	TH_CHECK_EQ(thrum_join(&t), THRUM_EDIED);
	return thrum_scope_close(&s);
}

static int die_below_run_(void *arg)
{
	return die_below(arg);
}

static void die_at_each_depth(void *unused)
{
	(void)unused;
	for (int depth = 0; depth < DEEPEST; depth++) {
		struct nested n = { depth };

		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1, .stack_bytes = SMALLEST), (thrum_fx){ die_below_run_, &n }), THRUM_EDIED);
	}
}

/* Whatever is left of a stack when it comes to that. */
TH_TEST(stack_size, report_needs_no_more_stack_than_the_smallest_has_X6)
{
	struct th_said said;
	int status;

	if (TH_SANITIZED)
		return; /* whose frames are too large for it */
	status = th_child(die_at_each_depth, NULL, &said);

	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK(strstr(said.text, "the innermost") != NULL);
}
