/* The guide's fail-fast and fail-safe (M5, M6). Fail-safe in both forms: or_else that stores "none", and zip_settle. */
#include "test/guide/guide.h"

GUIDE_TEST(guide_failures, fail_fast_stops_the_third_Z4)
{
	struct census c = { 0 };
	struct fetch ok1 = { &c, thrum_ms(0), 0, 1, 0 };
	struct fetch error = { &c, thrum_ms(10), THRUM_APP(1), 2, 0 };
	struct fetch ok3 = { &c, thrum_sec(60), 0, 3, 0 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(fetch_data_fx(&ok1), fetch_data_fx(&error), fetch_data_fx(&ok3)), THRUM_APP(1));
	TH_CHECK_EQ(ms_since(t0), 10);
	TH_CHECK_EQ(ok3.got, 0);
	CHECK_CENSUS(&c, 1, 1, 1);
	return 0;
}

/* As in the guide: succeed, fail, succeed, none of which waits. The third may have ended, or never starts (Z5). */
GUIDE_TEST(guide_failures, fail_fast_with_ready_effects)
{
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_fail(THRUM_APP(1)), thrum_succeed()), THRUM_APP(1));
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_fail(THRUM_APP(1)), thrum_never()), THRUM_APP(1));
	TH_CHECK_EQ(ms_since(t0), 0);
	return 0;
}

static int store_none(struct fetch *f)
{
	f->got = -1;
	return 0;
}
THRUM_FX(store_none, struct fetch);

GUIDE_TEST(guide_failures, fail_safe_by_or_else_collects_all_E2)
{
	struct census c = { 0 };
	struct fetch f[3] = { { &c, thrum_ms(20), 0, 1, 0 },
			      { &c, thrum_ms(10), THRUM_APP(1), 2, 0 },
			      { &c, thrum_ms(30), 0, 3, 0 } };
	thrum_or_else_op op[3];
	thrum_fx safe[3];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < 3; i++) {
		op[i] = (thrum_or_else_op){ fetch_data_fx(&f[i]), store_none_fx(&f[i]) };
		safe[i] = thrum_or_else_fx(&op[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(safe, 3), 0);
	TH_CHECK_EQ(ms_since(t0), 30);
	TH_CHECK_EQ(f[0].got, 1);
	TH_CHECK_EQ(f[1].got, -1);
	TH_CHECK_EQ(f[2].got, 3);
	CHECK_CENSUS(&c, 2, 1, 0);
	return 0;
}

GUIDE_TEST(guide_failures, fail_safe_by_settle_keeps_the_codes_Z11)
{
	struct census c = { 0 };
	struct fetch f[3] = { { &c, thrum_ms(20), 0, 1, 0 },
			      { &c, thrum_ms(10), THRUM_APP(1), 2, 0 },
			      { &c, thrum_ms(30), 0, 3, 0 } };
	const thrum_fx fx[] = { fetch_data_fx(&f[0]), fetch_data_fx(&f[1]), fetch_data_fx(&f[2]) };
	int codes[3] = { 99, 99, 99 };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_zip_settle_n(fx, 3, codes), 0);
	TH_CHECK_EQ(ms_since(t0), 30);
	TH_CHECK_EQ(codes[0], 0);
	TH_CHECK_EQ(codes[1], THRUM_APP(1));
	TH_CHECK_EQ(codes[2], 0);
	CHECK_CENSUS(&c, 2, 1, 0);
	return 0;
}
