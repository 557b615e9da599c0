/* test/criterion/glue.c: thrum/criterion.h under Criterion's own runner. What `bad` holds must fail, and does where it should:
 * glue.sh looks. */
#include <errno.h>
#include <signal.h>
#include <thrum.h>
#include <thrum/criterion.h>
#include <criterion/new/assert.h>

static int sum;

static int add(void *guarded)
{
	thrum_mutex *m = guarded;
	int seen;

	if (m && thrum_mutex_lock(m) < 0)
		return -ECANCELED;
	seen = sum;
	thrum_test_point();
	sum = seen + 1;
	if (m)
		(void)thrum_mutex_unlock(m);
	return 0;
}

static void add_twice(thrum_mutex *guard)
{
	const thrum_fx fx[2] = { { add, guard }, { add, guard } };

	sum = 0;
	cr_assert_eq(thrum_zip_par_n(fx, 2), 0);
}

ThrumTest(good, guarded_sum, .runs = 500)
{
	thrum_mutex m;

	cr_assert_eq(thrum_mutex_init(&m), 0);
	add_twice(&m);
	cr_assert_eq(sum, 2);
	cr_assert(eq(int, sum, 2));
}

ThrumTest(good, time_is_virtual)
{
	cr_assert_eq(thrum_sleep(thrum_sec(3600)), 0);
}

ThrumSweep(good, a_cancel_is_heard, cancel, .runs = 2)
{
	int code = thrum_sleep(thrum_ms(1));

	cr_assert(code == 0 || code == -ECANCELED);
}

static int skip_in_child(void *unused)
{
	(void)unused;
	cr_skip("not %s", "here");
	return 0;
}

ThrumTest(skipped, on_another_fiber)
{
	(void)thrum_call((thrum_fx){ skip_in_child, NULL });
}

Test(skipped, outside_of_a_run_as_ever)
{
	cr_skip("nor %s", "there");
}

ThrumTest(bad, race, .workers = 2, .runs = 20000)
{
	add_twice(NULL);
	cr_assert_eq(sum, 2, "one was lost");
}

static int assert_in_child(void *unused)
{
	(void)unused;
	(void)thrum_sleep(thrum_ms(1));
	cr_expect(eq(int, sum, 3));
	return 0;
}

ThrumTest(bad, expectation_on_another_fiber)
{
	const thrum_fx fx[2] = { { assert_in_child, NULL }, { assert_in_child, NULL } };

	(void)thrum_zip_par_n(fx, 2);
}

ThrumTest(bad, part_of_an_assertion)
{
	cr_assert(all(eq(int, 1, 1), eq(str, "abc", "abd")), "letters");
}

ThrumTest(bad, crash)
{
	(void)raise(SIGSEGV);
}

Test(bad, outside_of_a_run_as_ever)
{
	cr_assert_eq(sum, 4, "plain Criterion");
}
