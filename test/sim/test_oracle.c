/* test/sim/test_oracle.c: programs that count nothing themselves. The books that each run of thrum/test.h keeps see what is
 * released twice, out of order or not at all (core/oracle.h); the planted bugs are what shows it. */
#include "../support/child.h"
#include "../support/test.h"
#include <errno.h>
#include <thrum.h>
#include <thrum/test.h>

enum { LESS = TH_SLOW ? 20 : 1 };

static int nap(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_us(125 * (int)thrum_test_choose(3)));
}

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static const thrum_fx napping = { nap, NULL }, idle = { nothing, NULL };

static void swept(thrum_fx fx)
{
	TH_CHECK_EQ(thrum_test_search(fx, THRUM_TEST_OPTS(.runs = 400 / LESS), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_cancel(fx, THRUM_TEST_OPTS(.runs = 6), NULL), 0);
}

/* Two in a child, of which the second one may find that it is cancelled; and a bracket between them. */
static int holder(void *unused)
{
	(void)unused;
	if (thrum_acquire_release(napping, napping) < 0 || thrum_bracket(napping, napping, napping) < 0)
		return -ECANCELED;
	return thrum_acquire_release_interruptible(napping, idle);
}

static int two_holders(void *unused)
{
	(void)unused;
	return thrum_zip_par((thrum_fx){ holder, NULL }, (thrum_fx){ holder, NULL });
}

TH_TEST(oracle, every_acquire_is_released_once_A4_A8)
{
	swept((thrum_fx){ two_holders, NULL });
}

/* As a finalizer: what it acquires is released with the scope that is being closed. */
static int acquire_late(void *unused)
{
	(void)unused;
	return thrum_acquire_release(idle, napping) < 0 ? -EINVAL : 0;
}

static int in_reverse(bool parallel)
{
	thrum_scope scope;
	thrum_deferred first, second;
	thrum_scope_opts o = { .size = sizeof o, .parallel_finalizers = parallel };

	if (thrum_scope_open_with(&scope, &o) < 0)
		return -EINVAL;
	(void)thrum_defer(&scope, &first, (thrum_fx){ acquire_late, NULL });
	(void)thrum_defer(&scope, &second, napping);
	(void)thrum_acquire_release(napping, napping);
	if (thrum_test_choose(2)) /* then it is nobody's any more */
		(void)thrum_undefer(&second);
	return thrum_scope_close(&scope);
}

static int in_turn(void *unused)
{
	(void)unused;
	return in_reverse(false);
}

static int at_once(void *unused)
{
	(void)unused;
	return in_reverse(true);
}

TH_TEST(oracle, finalizers_run_last_first_A4_S1)
{
	swept((thrum_fx){ in_turn, NULL });
}

TH_TEST(oracle, finalizers_at_once_run_all_S12)
{
	swept((thrum_fx){ at_once, NULL });
}
