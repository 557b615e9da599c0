/* The guide's zip_par of three: all at once, wait for all; one failure cancels the others (M4, M5, Z2, Z4). */
#include "test/guide/guide.h"

GUIDE_TEST(guide_zip_par, three_succeed_in_the_time_of_the_slowest)
{
	struct census c = { 0 };
	struct fetch auth = { &c, thrum_ms(100), 0, 1, 0 };
	struct fetch user = { &c, thrum_ms(200), 0, 2, 0 };
	struct fetch profile = { &c, thrum_ms(150), 0, 3, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(fetch_data_fx(&auth), fetch_data_fx(&user), fetch_data_fx(&profile)), 0);
	TH_CHECK_EQ(ms_since(t0), 200);
	TH_CHECK_EQ(auth.got, 1);
	TH_CHECK_EQ(user.got, 2);
	TH_CHECK_EQ(profile.got, 3);
	CHECK_CENSUS(&c, 3, 0, 0);
	return 0;
}

GUIDE_TEST(guide_zip_par, one_failure_cancels_the_others_Z4)
{
	struct census c = { 0 };
	struct fetch auth = { &c, thrum_ms(100), 0, 1, 0 };
	struct fetch user = { &c, thrum_ms(200), 0, 2, 0 };
	struct fetch profile = { &c, thrum_ms(150), THRUM_APP(7), 3, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(fetch_data_fx(&auth), fetch_data_fx(&user), fetch_data_fx(&profile)), THRUM_APP(7));
	TH_CHECK_EQ(ms_since(t0), 150);
	TH_CHECK_EQ(auth.got, 1);
	TH_CHECK_EQ(user.got, 0);
	CHECK_CENSUS(&c, 1, 1, 1);
	return 0;
}

/* The failure is at the last index and the slow one at the first: the order of waiting must not matter (D1). */
GUIDE_TEST(guide_zip_par, a_late_index_fails_at_once_D1)
{
	struct census c = { 0 };
	struct fetch slow = { &c, thrum_ms(500), 0, 1, 0 };
	struct fetch bad = { &c, thrum_ms(10), -EIO, 2, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(fetch_data_fx(&slow), fetch_data_fx(&bad)), -EIO);
	TH_CHECK_EQ(ms_since(t0), 10);
	CHECK_CENSUS(&c, 0, 1, 1);
	return 0;
}
