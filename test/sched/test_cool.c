/* What a burst of fibers leaves behind: the memory of their stacks goes back, by itself, and what is wanted again stays. */
#include "test/support/child.h"
#include "test/support/rules.h"

enum { BURST = TH_TSAN_BUILD ? 200 : 1000 }; /* ThreadSanitizer takes a millisecond for a new stack */
enum { KEPT = 8 + 1, PERIOD_MS = 250 };       /* spares of a worker, and its reserve */

static thrum_stats stats(void)
{
	thrum_stats st = { .size = sizeof st };

	TH_CHECK_EQ(thrum_stats_read(NULL, &st), 0);
	return st;
}

static int pass(thrum_latch *gate)
{
	return thrum_latch_wait(gate);
}
THRUM_FX(pass, thrum_latch);

/* So many fibers at once: each has a stack before the first ends. */
static void burst(unsigned n)
{
	thrum_latch gate;
	thrum_scope s;

	TH_CHECK_EQ(thrum_latch_init(&gate, 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (unsigned i = 0; i < n; i++)
		TH_CHECK_EQ(thrum_go(&s, pass_fx(&gate)), 0);
	while (stats().fibers_live <= n)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_latch_arrive(&gate), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
}

TH_ONE_WORKER_TEST(JUMP, cool, burst_leaves_no_memory_behind)
{
	burst(BURST);
	TH_CHECK(stats().stacks_warm >= BURST);
	for (int i = 0; i < 8; i++)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(PERIOD_MS)), 0);
	TH_CHECK(stats().stacks_warm <= KEPT);
	TH_CHECK(stats().stacks_cooled >= BURST - KEPT);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, cool, steady_load_is_not_cooled)
{
	uint64_t cooled, mapped;

	for (int i = 0; i < 4; i++) {
		burst(BURST);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(PERIOD_MS / 2)), 0);
	}
	cooled = stats().stacks_cooled;
	mapped = stats().stacks_mapped;
	for (int i = 0; i < 20; i++) {
		burst(BURST);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(PERIOD_MS / 2)), 0);
	}
	TH_CHECK_EQ(stats().stacks_cooled, cooled);
	TH_CHECK_EQ(stats().stacks_mapped, mapped);
	return 0;
}

/* On the real clock also by workers that have nothing to do any more: they get up for it, and when it is done no more. A test
 * clock would not serve: on it nobody gets up. */
TH_FIBER_TEST(REAL, cool, sleeping_workers_get_up_for_it_and_only_for_it)
{
	uint64_t parks;
	int looks = 0;

	burst(BURST);
	while (stats().stacks_warm > KEPT * thrum_workers()) {
		TH_CHECK(++looks < 200);
		TH_CHECK_EQ(thrum_sleep(thrum_ms(PERIOD_MS / 2)), 0);
	}
	TH_CHECK_EQ(thrum_sleep(thrum_ms(2 * PERIOD_MS)), 0); /* the last of them sees that all is done */
	parks = stats().parks;
	TH_CHECK_EQ(thrum_sleep(thrum_ms(5 * PERIOD_MS)), 0);
	TH_CHECK(stats().parks - parks <= 2);
	return 0;
}
