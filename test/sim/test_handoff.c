/* test/sim/test_handoff.c: what is handed to a longer scope, daemons, and restored regions, under seeds and cancels. */
#include "../support/sim_run.h"
#include <errno.h>

static int nap(int *ms)
{
	sim_enter();
	return sim_leave(thrum_sleep(thrum_ms(*ms)));
}
THRUM_FX(nap, int);

/* Its failure, if it comes late, is reported: that is K7, and for another test. */
static int nap_and_fail(int *ms)
{
	int code = nap(ms);

	return code < 0 ? code : THRUM_APP(3);
}
THRUM_FX(nap_and_fail, int);

enum { N = 3 };

/* R12: the named scope waits for all of it, whoever leaves first; the result is one of an entrant's. */
SIM_TEST(handoff, race_in_leaves_nothing_outside_its_scope_R12)
{
	thrum_fx fx[N];
	int ms[N], r, closed, good = 0;
	thrum_scope s;

	(void)unused;
	for (int i = 0; i < N; i++) {
		bool fails = sim_choose(3) == 0;
		ms[i] = (int)sim_choose(4);
		good += !fails;
		fx[i] = fails ? nap_and_fail_fx(&ms[i]) : nap_fx(&ms[i]);
	}
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	r = thrum_race_in(&s, fx, N);
	if (r >= 0)
		TH_CHECK(r < N);
	else if (!sim_cancelled_run())
		TH_CHECK(r == THRUM_APP(3) && good == 0);
	closed = thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK(closed == 0 || sim_cancelled_run());
	return r == -ECANCELED ? r : 0;
}

/* T8 */
SIM_TEST(handoff, timeout_in_leaves_nothing_outside_its_scope_T8)
{
	int ms = (int)sim_choose(6), r;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	r = thrum_timeout_in(&s, nap_fx(&ms), thrum_ms(3));
	TH_CHECK(r == 0 || r == -ETIMEDOUT || sim_cancelled_run());
	if (r == 0)
		TH_CHECK(ms <= 4);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	return r == -ECANCELED ? r : 0;
}

/* News that come before the caller waits for them are not missed: it does not sit there until its time is up. */
SIM_TEST_WITH(handoff, timeout_in_hears_what_ends_at_once_T8, .switch_1_in = 60)
{
	int r = 0;

	(void)unused;
	for (int i = 0; i < 4 && r == 0; i++) {
		thrum_time t0 = thrum_now();
		thrum_scope s;
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		r = thrum_timeout_in(&s, thrum_succeed(), thrum_ms(3));
		TH_CHECK(r == 0 || sim_cancelled_run());
		TH_CHECK_EQ(thrum_time_sub(thrum_now(), t0).ns, 0);
		(void)thrum_scope_close(&s);
	}
	return r;
}

struct waiting {
	thrum_scope *scope;
	int code, ms;
};

static int race_of_one(struct waiting *w)
{
	thrum_fx fx = nap_fx(&w->ms);

	w->code = thrum_race_in(w->scope, &fx, 1);
	return 0;
}
THRUM_FX(race_of_one, struct waiting);

/* The named scope is cancelled, perhaps before the host starts: the caller, which is not in it, hears of that. */
SIM_TEST(handoff, a_cancelled_host_tells_its_caller_R12)
{
	struct waiting w = { .code = 1, .ms = 2 };
	thrum_scope s, outer;
	thrum_task t;
	int r;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	w.scope = &s;
	r = thrum_spawn(&outer, &t, race_of_one_fx(&w));
	if (r == 0 && sim_choose(2))
		(void)thrum_yield();
	for (uint32_t i = sim_choose(100); i > 0; i--)
		(void)thrum_check(); /* somewhere on the caller's way */
	thrum_scope_cancel(&s);
	if (r == 0)
		(void)thrum_join(&t);
	(void)thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(w.code, -ECANCELED);
	return thrum_scope_close(&outer);
}

/* S2: daemons end after all others, and before the close. */
SIM_TEST(handoff, daemons_end_with_their_scope_S2)
{
	int ms[N], forever = 1000, r = 0;
	thrum_time t0 = thrum_now();
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N && r == 0; i++) {
		bool daemon = sim_choose(2) == 0;
		ms[i] = (int)sim_choose(3);
		r = thrum_spawn_with(&s, NULL, nap_fx(daemon && sim_choose(2) ? &forever : &ms[i]),
				     THRUM_SPAWN_OPTS(.daemon = daemon));
	}
	if (sim_choose(2))
		(void)thrum_sleep(thrum_ms(1));
	r = thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK(r == 0 || sim_cancelled_run());
	TH_CHECK(thrum_time_sub(thrum_now(), t0).ns < 900000000); /* nobody waited for one that goes on for ever */
	return r;
}

/* --- U2 --- */

struct region {
	thrum_restore *restore;
	int ms, restored, after;
};

static int nap_restored(void *arg)
{
	struct region *r = arg;

	return thrum_sleep(thrum_ms(r->ms));
}

static int in_region(thrum_restore *restore, void *arg)
{
	struct region *r = arg;

	TH_CHECK_EQ(thrum_sleep(thrum_ms(r->ms)), 0);
	r->restored = thrum_restore_run(restore, (thrum_fx){ nap_restored, r });
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	return 0;
}

static int run_region(void *arg)
{
	return thrum_mask(in_region, arg);
}

/* A cancel that hits anywhere, also between linking the mirror and looking at it, reaches the restored part and no other. */
SIM_TEST(handoff, restored_parts_alone_see_cancels_U2)
{
	struct region r = { .ms = (int)sim_choose(3) };
	int limit = 1 + (int)sim_choose(6), code;

	(void)unused;
	code = thrum_timeout((thrum_fx){ run_region, &r }, thrum_ms(limit));
	TH_CHECK(code == 0 || code == -ECANCELED);
	TH_CHECK(r.restored == 0 || r.restored == -ECANCELED);
	if (!sim_cancelled_run() && r.restored == -ECANCELED)
		TH_CHECK(limit <= 2 * r.ms + 1);
	return code;
}
