/* A program in a simulated world: a search that finds nothing, and a sweep. */
#include <thrum.h>
#include <thrum/test.h>

static int nap(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_ms(1));
}

int main(void)
{
	const thrum_fx fx = { nap, NULL };

	if (thrum_test_search(fx, THRUM_TEST_OPTS(.runs = 20), NULL) != 0)
		return 1;
	return thrum_test_sweep_cancel(fx, THRUM_TEST_OPTS(.runs = 1), NULL) != 0;
}
