/* test/support/test.h: one macro builds a test as a Criterion test (-DTH_CRITERION) or into a plain program.
 *
 *   TH_TEST(zip_par, first_failure_cancels_siblings_Z4) { ...; TH_CHECK_EQ(code, -5); }
 *
 * The body is void and runs on a plain thread. A failing check prints file, line and both values and fails the test; it
 * works on fibers too (it ends the process). C or C++. Name the rule of test/tree/rules.txt in the test's name or in a comment.
 * Plain program: `prog` runs all; `prog -l` lists; `prog SUITE/NAME` runs one; each test has a time limit, after which the
 * program says which one hung and aborts. Its last line is "N passed, N failed". */
#ifndef TH_TEST_H
#define TH_TEST_H
#include <stdio.h>
#include <stdlib.h>
#ifdef __cplusplus
extern "C" {
#endif

void th_check_failed(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));

#ifdef __cplusplus
}
#define TH_TEST_C_ extern "C"
#else
#define TH_TEST_C_
#endif

#define TH_CHECK(c) ((c) ? (void)0 : th_check_failed(__FILE__, __LINE__, "%s", #c))
#define TH_CHECK_EQ(a, b)                                                                                        \
	do {                                                                                                     \
		long long th_a_ = (long long)(a), th_b_ = (long long)(b);                                        \
		if (th_a_ != th_b_)                                                                              \
			th_check_failed(__FILE__, __LINE__, "%s == %s: %lld, %lld", #a, #b, th_a_, th_b_);       \
	} while (0)

/* To find what hangs, no more: the longest take half a minute on a machine of their own, and this one may be shared. */
#define TH_TEST_SECONDS 300

#ifdef TH_CRITERION
#include <criterion/criterion.h>
#define TH_TEST(suite, name) Test(suite, name, .timeout = TH_TEST_SECONDS)
#else
struct th_test {
	const char *suite, *name;
	void (*body)(void);
	struct th_test *next;
};
TH_TEST_C_ void th_test_register(struct th_test *t);
#define TH_TEST(suite_, name_)                                                                                   \
	static void th_body_##suite_##_##name_(void);                                                            \
	static struct th_test th_test_##suite_##_##name_ = { #suite_, #name_, th_body_##suite_##_##name_, NULL };\
	__attribute__((constructor)) static void th_reg_##suite_##_##name_(void)                                 \
	{                                                                                                        \
		th_test_register(&th_test_##suite_##_##name_);                                                   \
	}                                                                                                        \
	static void th_body_##suite_##_##name_(void)
#endif
#endif
