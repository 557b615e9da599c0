/* test/sim/test_clock.c: virtual time under seeds: it stands still while anybody runs. */
#include "../support/sim_run.h"

static int nap(int *ms)
{
	return thrum_sleep(thrum_ms(*ms));
}
THRUM_FX(nap, int);

enum { ROUNDS = 16 };

/* C3: a child placed on another worker calls that one, which may be up, run it and fall asleep again before the caller
 * goes on. It is then the only one that sleeps: the child's deadline is not due before the caller rests. Switches are rare,
 * since the caller must stay away for as long as all that takes. */
SIM_TEST_WITH(clock, a_running_fiber_holds_a_jump_back_C3, .clock = THRUM_CLOCK_JUMP, .switch_1_in = 100, .no_sweep = true)
{
	int ms[ROUNDS];
	thrum_time now;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned worker = 1 + sim_choose(thrum_workers());
		ms[i] = 1 + (int)sim_choose(3);
		now = thrum_now();
		TH_CHECK_EQ(thrum_spawn_with(&s, NULL, nap_fx(&ms[i]), THRUM_SPAWN_OPTS(.worker = worker)), 0);
		TH_CHECK_EQ(thrum_now().ns, now.ns);
		if (sim_choose(2))
			TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* by then all the others sleep */
	}
	return thrum_scope_close(&s);
}
