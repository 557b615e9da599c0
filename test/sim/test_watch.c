/* test/sim/test_watch.c: cancelled scopes are told of when they are slow, whoever cancels them and wherever (S10, Z9). */
#include <errno.h>
#include <string.h>
#include "test/support/sim_run.h"

enum { SHORT_MS = 9000, LONG_MS = 20000 }; /* the default is 10 s from the cancel, which comes within the first ms */

struct keeper {
	int ms, started;
};

static int sleep_ms(void *ms)
{
	return thrum_sleep(thrum_ms(*(int *)ms));
}

static int keep(struct keeper *k)
{
	int code;

	sim_enter();
	k->started = 1;
	code = thrum_shield((thrum_fx){ sleep_ms, &k->ms });
	return sim_leave(code);
}
THRUM_FX(keep, struct keeper);

static int cancel_scope(thrum_scope *s)
{
	thrum_scope_cancel(s);
	return 0;
}
THRUM_FX(cancel_scope, thrum_scope);

/* Up to three cancels of one scope at about the same time: it is told of once if its child takes long, else never. */
SIM_TEST_WITH(watch, slow_scope_is_told_once_whoever_cancels_it_S10, .clock = THRUM_CLOCK_JUMP, .no_sweep = true)
{
	struct keeper k = { .ms = sim_choose(2) ? LONG_MS : SHORT_MS };
	unsigned how = 1 + sim_choose(7);
	thrum_task keeper, canceller, failing;
	thrum_scope s;
	int code;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &keeper, keep_fx(&k)), 0);
	if (how & 1)
		TH_CHECK_EQ(thrum_scope_deadline(&s, thrum_us(sim_choose(1000))), 0);
	if (how & 2)
		(void)!thrum_spawn(&s, &canceller, cancel_scope_fx(&s));
	if (how & 4)
		(void)!thrum_spawn(&s, &failing, thrum_fail(-EIO));
	if (sim_choose(2))
		(void)thrum_join(&keeper);
	code = thrum_scope_close(&s);
	TH_CHECK(code == 0 || code == -ETIMEDOUT || code == -EIO);
	TH_CHECK_EQ(sim_counts.reports, k.started && k.ms == LONG_MS);
	return 0;
}

/* Scopes in scopes, each with a grace; closed while others are looked at. */
static int keep_in_scope(struct keeper *k)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_sec(10), THRUM_GRACE_LOG), 0);
	(void)!thrum_spawn(&s, &t, keep_fx(k));
	(void)thrum_scope_close(&s);
	return 0;
}
THRUM_FX(keep_in_scope, struct keeper);

SIM_TEST_WITH(watch, every_scope_with_a_grace_is_told_of_by_itself_S10, .clock = THRUM_CLOCK_JUMP, .no_sweep = true)
{
	enum { N = 3 };
	struct keeper k[N] = { 0 };
	thrum_task t[N];
	thrum_scope s;
	int slow = 0;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_scope_grace(&s, thrum_sec(1), THRUM_GRACE_WAIT), 0);
	for (int i = 0; i < N; i++) {
		k[i].ms = sim_choose(2) ? LONG_MS : SHORT_MS;
		TH_CHECK_EQ(thrum_spawn(&s, &t[i], keep_in_scope_fx(&k[i])), 0);
	}
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < N; i++)
		slow += k[i].ms == LONG_MS;
	TH_CHECK_EQ(sim_counts.reports, slow); /* all had started: the clock moved */
	return 0;
}
