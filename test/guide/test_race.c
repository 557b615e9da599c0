/* The guide's race of three: the first success wins, the others are cancelled and awaited (M7, R1, R2, R5). */
#include "test/guide/guide.h"

GUIDE_TEST(guide_race, fastest_of_three_wins)
{
	struct census c = { 0 };
	struct fetch primary = { &c, thrum_ms(300), 0, 1, 0 };
	struct fetch backup = { &c, thrum_ms(200), 0, 2, 0 };
	struct fetch fallback = { &c, thrum_ms(400), 0, 3, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(fetch_data_fx(&primary), fetch_data_fx(&backup), fetch_data_fx(&fallback)), 1);
	TH_CHECK_EQ(ms_since(t0), 200);
	TH_CHECK_EQ(backup.got, 2);
	TH_CHECK_EQ(primary.got + fallback.got, 0);
	CHECK_CENSUS(&c, 1, 0, 2);
	return 0;
}

/* First success, not first completion: what fails earlier is remembered and does not end the race (R1, D2). */
GUIDE_TEST(guide_race, an_early_failure_does_not_win_R1)
{
	struct census c = { 0 };
	struct fetch broken = { &c, thrum_ms(100), -EIO, 1, 0 };
	struct fetch backup = { &c, thrum_ms(200), 0, 2, 0 };
	struct fetch fallback = { &c, thrum_ms(400), 0, 3, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(fetch_data_fx(&broken), fetch_data_fx(&backup), fetch_data_fx(&fallback)), 1);
	TH_CHECK_EQ(ms_since(t0), 200);
	CHECK_CENSUS(&c, 1, 1, 1);
	return 0;
}

GUIDE_TEST(guide_race, all_fail_with_the_first_failure_R5)
{
	struct census c = { 0 };
	struct fetch a = { &c, thrum_ms(300), THRUM_APP(1), 0, 0 };
	struct fetch b = { &c, thrum_ms(100), THRUM_APP(2), 0, 0 };
	struct fetch d = { &c, thrum_ms(200), THRUM_APP(3), 0, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_race(fetch_data_fx(&a), fetch_data_fx(&b), fetch_data_fx(&d)), THRUM_APP(2));
	TH_CHECK_EQ(ms_since(t0), 300);
	CHECK_CENSUS(&c, 0, 3, 0);
	return 0;
}
