/* The guide's partial failure: critical services must all succeed, optional ones have a stand-in (M15, Z4, E2). */
#include "test/guide/guide.h"

enum { UNAVAILABLE = -1 };

static int unavailable(struct fetch *f)
{
	f->got = UNAVAILABLE;
	return 0;
}
THRUM_FX(unavailable, struct fetch);

struct services {
	struct fetch auth, core, analytics, recommendations;
};
static int load_page(struct services *s)
{
	thrum_or_else_op analytics = { fetch_data_fx(&s->analytics), unavailable_fx(&s->analytics) };
	thrum_or_else_op recommend = { fetch_data_fx(&s->recommendations), unavailable_fx(&s->recommendations) };
	int code = thrum_zip_par(fetch_data_fx(&s->auth), fetch_data_fx(&s->core));

	return code < 0 ? code : thrum_zip_par(thrum_or_else_fx(&analytics), thrum_or_else_fx(&recommend));
}

GUIDE_TEST(guide_partial_failure, optional_failures_are_replaced)
{
	struct census c = { 0 };
	struct services s = { { &c, thrum_ms(100), 0, 1, 0 },
			      { &c, thrum_ms(100), 0, 2, 0 },
			      { &c, thrum_ms(300), -EIO, 3, 0 },
			      { &c, thrum_ms(400), 0, 4, 0 } };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(load_page(&s), 0);
	TH_CHECK_EQ(ms_since(t0), 500);
	TH_CHECK_EQ(s.auth.got, 1);
	TH_CHECK_EQ(s.core.got, 2);
	TH_CHECK_EQ(s.analytics.got, UNAVAILABLE);
	TH_CHECK_EQ(s.recommendations.got, 4);
	CHECK_CENSUS(&c, 3, 1, 0);
	return 0;
}

GUIDE_TEST(guide_partial_failure, a_critical_failure_fails_the_whole)
{
	struct census c = { 0 };
	struct services s = { { &c, thrum_ms(100), 0, 1, 0 },
			      { &c, thrum_ms(30), -EACCES, 2, 0 },
			      { &c, thrum_ms(300), 0, 3, 0 },
			      { &c, thrum_ms(400), 0, 4, 0 } };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(load_page(&s), -EACCES);
	TH_CHECK_EQ(ms_since(t0), 30);
	CHECK_CENSUS(&c, 0, 1, 1); /* core failed, auth was cancelled, the optional ones never ran */
	return 0;
}
