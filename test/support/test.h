/* test/support/test.h: one macro builds a test as a Criterion test (-DTH_CRITERION) or into a plain program.
 *
 *   TH_TEST(zip_par, first_failure_cancels_siblings_Z4) { ...; TH_CHECK_EQ(code, -5); }
 *
 * The body is void and runs on a plain thread. A failing check prints file, line and both values and fails the test; it
 * works on fibers too (it ends the process). Name the rule of SEMANTICS.md in the test's name or in a comment.
 * Plain program: `prog` runs all; `prog -l` lists; `prog SUITE/NAME` runs one; each test has a time limit of 60 s, after
 * which the program says which one hung and aborts. Its last line is "N passed, N failed". */
#ifndef TH_TEST_H
#define TH_TEST_H
#include <stdio.h>
#include <stdlib.h>

void th_check_failed(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));

#define TH_CHECK(c) ((c) ? (void)0 : th_check_failed(__FILE__, __LINE__, "%s", #c))
#define TH_CHECK_EQ(a, b)                                                                                        \
	do {                                                                                                     \
		long long th_a_ = (long long)(a), th_b_ = (long long)(b);                                        \
		if (th_a_ != th_b_)                                                                              \
			th_check_failed(__FILE__, __LINE__, "%s == %s: %lld, %lld", #a, #b, th_a_, th_b_);       \
	} while (0)

#ifdef TH_CRITERION
#include <criterion/criterion.h>
#define TH_TEST(suite, name) Test(suite, name, .timeout = 60)
#else
struct th_test {
	const char *suite, *name;
	void (*body)(void);
	struct th_test *next;
};
void th_test_register(struct th_test *t);
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
