/* thrum/criterion.h: tests of concurrent programs under Criterion (2.4), by its own runner.
 *
 *   ThrumTest(bank, transfers_keep_the_sum, .runs = 5000, .workers = 2)
 *   {
 *           …  cr_assert_eq(sum, 100);
 *   }
 *
 * The body is an effect, run again and again in a simulated world as thrum_test_search() does, with the options of
 * thrum_test_opts; its name is SUITE/NAME. Criterion's assertions work in it, on any fiber: the first one that does not hold,
 * cr_expect included, ends the run, and the test fails, with what replays it. cr_skip() ends the search: the test has been
 * skipped. The sweeps of thrum/test.h, by name:
 *
 *   ThrumSweep(bank, transfers_hold_nothing, cancel) { … }          or memory, or io
 *
 * Link with thrum-sim and criterion; C only. Criterion runs each test in a process of its own, and that process makes those
 * of thrum/test.h. Inside a run Criterion is not told of assertions: it would jump off the fiber's stack, or wait for
 * a thread that a forked process has not. So this header defines the functions by which it hears of one, in front of its
 * own. */
#ifndef THRUM_CRITERION_H
#define THRUM_CRITERION_H
#include <stdint.h> /* for types.h */
#include <criterion/criterion.h>
#include <criterion/internal/assert/types.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <thrum/test.h>

#ifndef RTLD_NEXT
#define RTLD_NEXT ((void *)-1L)
#endif

/* Criterion's own, from behind ours. A union, because ISO C does not convert a pointer to an object into one to a function. */
union thrum_criterion_own_ {
	void *object;
	void (*send_assert)(struct criterion_assert_stats *stats);
	void (*send_node)(const char *file, size_t line, struct cri_assert_node *node);
	void (*abort_test)(void);
	void (*skip_test)(const char *format, ...);
};

static inline union thrum_criterion_own_ thrum_criterion_find_(const char *name)
{
	union thrum_criterion_own_ own;

	own.object = dlsym(RTLD_NEXT, name);
	return own;
}

/* What of it does not hold, "eq(int, a, b): actual 1, expected 2"; its first part, if there are several. */
static inline void thrum_criterion_say_(const struct cri_assert_node *n, char *buf, size_t size)
{
	const char *message = n->message ? n->message : "", *sign = ": ";
	size_t used;

	while (!n->repr && n->nchild > 0)
		n = &n->children[0];
	used = (size_t)snprintf(buf, size, "%s%s%s", message, *message && n->repr ? ": " : "",
				n->repr ? n->repr : *message ? "" : "an assertion does not hold");
	for (int i = 0; i < CRI_ASSERT_MAX_PARAMS && n->params[i].name && used < size; i++, sign = ", ") {
		if (n->params[i].type == CRI_ASSERT_RT_STR && n->params[i].data)
			used += (size_t)snprintf(buf + used, size - used, "%s%s %s", sign, n->params[i].name,
						 (const char *)n->params[i].data);
	}
}

#ifdef __cplusplus
extern "C" {
#endif

/* What cr_assert_eq() and its like say. */
__attribute__((weak)) void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (!thrum_test_running())
		thrum_criterion_find_("criterion_send_assert").send_assert(stats);
	else if (!stats->passed)
		thrum_test_fail_at_(stats->file, stats->line, "%s", stats->message);
}

/* What cr_assert(eq(…)) and its like say, and only if it does not hold. */
__attribute__((weak)) void cri_assert_node_send(const char *file, size_t line, struct cri_assert_node *node)
{
	char text[THRUM_TEST_WHAT_MAX / 2];

	if (thrum_test_running()) {
		thrum_criterion_say_(node, text, sizeof text);
		thrum_test_fail_at_(file, (unsigned)line, "%s", text);
	}
	thrum_criterion_find_("cri_assert_node_send").send_node(file, line, node);
}

__attribute__((weak, noreturn)) void criterion_abort_test(void)
{
	if (thrum_test_running())
		thrum_test_fail("the test was ended");
	thrum_criterion_find_("criterion_abort_test").abort_test();
	__builtin_unreachable();
}

/* What cr_skip() calls. */
__attribute__((weak, noreturn, format(printf, 1, 2))) void criterion_skip_test(const char *format, ...)
{
	char text[THRUM_TEST_WHAT_MAX / 2];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (thrum_test_running())
		thrum_test_skip_(text);
	thrum_criterion_find_("criterion_skip_test").skip_test("%s", text);
	__builtin_unreachable();
}

#ifdef __cplusplus
} /* extern "C" */
#endif

typedef int thrum_test_fn_(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r);

static inline void thrum_criterion_run_(thrum_test_fn_ *search, thrum_fx body, const thrum_test_opts *o)
{
	static thrum_test_report r; /* too large for what else may be on the stack */
	int code = search(body, o, &r);

	if (code == THRUM_TEST_SKIPPED_)
		criterion_skip_test("%s", r.what);
	if (code > 0)
		cr_assert_fail("%s; once more: THRUM_TEST_REPLAY='%s'", r.what, r.replay);
	if (code < 0)
		cr_assert_fail("cannot be searched: %s", thrum_strerror(code));
}

#define THRUM_TEST_(Suite, Name, Search, ...)                                                                     \
	static void thrum_body_##Suite##_##Name(void);                                                            \
	static int thrum_run_##Suite##_##Name(void *unused)                                                       \
	{                                                                                                         \
		(void)unused;                                                                                     \
		thrum_body_##Suite##_##Name();                                                                    \
		return 0;                                                                                         \
	}                                                                                                         \
	Test(Suite, Name)                                                                                         \
	{                                                                                                         \
		const thrum_fx body = { thrum_run_##Suite##_##Name, NULL };                                       \
		thrum_criterion_run_(Search, body, THRUM_TEST_OPTS(.name = #Suite "/" #Name __VA_ARGS__));        \
	}                                                                                                         \
	static void thrum_body_##Suite##_##Name(void)

#define ThrumTest(Suite, ...) THRUM_TEST_NAMED_(Suite, __VA_ARGS__, )
#define THRUM_TEST_NAMED_(Suite, Name, ...) THRUM_TEST_(Suite, Name, thrum_test_search, THRUM_COMMA_(__VA_ARGS__))
#define ThrumSweep(Suite, Name, ...) THRUM_SWEEP_NAMED_(Suite, Name, __VA_ARGS__, )
#define THRUM_SWEEP_NAMED_(Suite, Name, Kind, ...) THRUM_TEST_(Suite, Name, thrum_test_sweep_##Kind, THRUM_COMMA_(__VA_ARGS__))
#define THRUM_COMMA_(...) , __VA_ARGS__

#endif
