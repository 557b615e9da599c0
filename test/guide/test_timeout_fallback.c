/* The guide's timeout with fallback, both ways it can be written (M9, M10, E2, T2). The guide races the primary against
 * "sleep, then fail"; for a failure to end the race it must be the race of first completion. */
#include "test/guide/guide.h"

struct limited {
	struct fetch *primary, *fallback;
	thrum_dur limit;
};

static int by_race_first(struct limited *l)
{
	struct fetch never_mind = { l->primary->census, l->limit, THRUM_APP(1), 0, 0 }; /* sleep(limit), fail("timeout") */
	const thrum_fx entrants[] = { fetch_data_fx(l->primary), fetch_data_fx(&never_mind) };
	thrum_race_op timed = { entrants, 2, NULL };

	return thrum_or_else(thrum_race_first_fx(&timed), fetch_data_fx(l->fallback));
}

static int by_timeout(struct limited *l)
{
	thrum_timeout_op timed = { fetch_data_fx(l->primary), l->limit };

	return thrum_or_else(thrum_timeout_fx(&timed), fetch_data_fx(l->fallback));
}

GUIDE_TEST(guide_timeout_fallback, race_first_slow_primary_falls_back)
{
	struct census c = { 0 };
	struct fetch slow = { &c, thrum_sec(2), 0, 1, 0 }, cache = { &c, thrum_ms(0), 0, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(by_race_first(&(struct limited){ &slow, &cache, thrum_ms(500) }), 0);
	TH_CHECK_EQ(ms_since(t0), 500);
	TH_CHECK_EQ(slow.got, 0);
	TH_CHECK_EQ(cache.got, 2);
	CHECK_CENSUS(&c, 1, 1, 1); /* cache; the timer failed; slow was cancelled */
	return 0;
}

GUIDE_TEST(guide_timeout_fallback, race_first_fast_primary_is_kept)
{
	struct census c = { 0 };
	struct fetch fast = { &c, thrum_ms(200), 0, 1, 0 }, cache = { &c, thrum_ms(0), 0, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(by_race_first(&(struct limited){ &fast, &cache, thrum_ms(500) }), 0);
	TH_CHECK_EQ(ms_since(t0), 200);
	TH_CHECK_EQ(fast.got, 1);
	CHECK_CENSUS(&c, 1, 0, 1); /* the cache was never asked; the timer was cancelled */
	return 0;
}

GUIDE_TEST(guide_timeout_fallback, timeout_slow_primary_falls_back)
{
	struct census c = { 0 };
	struct fetch slow = { &c, thrum_sec(2), 0, 1, 0 }, cache = { &c, thrum_ms(0), 0, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(by_timeout(&(struct limited){ &slow, &cache, thrum_ms(500) }), 0);
	TH_CHECK_EQ(ms_since(t0), 500);
	TH_CHECK_EQ(cache.got, 2);
	CHECK_CENSUS(&c, 1, 0, 1);
	return 0;
}

GUIDE_TEST(guide_timeout_fallback, timeout_fast_primary_is_kept)
{
	struct census c = { 0 };
	struct fetch fast = { &c, thrum_ms(200), 0, 1, 0 }, cache = { &c, thrum_ms(0), 0, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(by_timeout(&(struct limited){ &fast, &cache, thrum_ms(500) }), 0);
	TH_CHECK_EQ(ms_since(t0), 200);
	TH_CHECK_EQ(cache.got, 0);
	CHECK_CENSUS(&c, 1, 0, 0);
	return 0;
}

/* A primary that fails in time falls back at that time, not at the limit. */
GUIDE_TEST(guide_timeout_fallback, a_failing_primary_falls_back_at_once)
{
	struct census c = { 0 };
	struct fetch broken = { &c, thrum_ms(50), -EIO, 1, 0 }, cache = { &c, thrum_ms(0), 0, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(by_timeout(&(struct limited){ &broken, &cache, thrum_ms(500) }), 0);
	TH_CHECK_EQ(ms_since(t0), 50);
	TH_CHECK_EQ(cache.got, 2);
	CHECK_CENSUS(&c, 1, 1, 0);
	return 0;
}
