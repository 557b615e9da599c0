/* The guide's for_each_par: ten users, three at a time, results in order (M8, F1, F4, F6). */
#include "test/guide/guide.h"

enum { USERS = 10, AT_ONCE = 3 };

GUIDE_TEST(guide_for_each_par, ten_users_three_at_a_time)
{
	struct census c = { 0 };
	struct fetch user[USERS];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < USERS; i++)
		user[i] = (struct fetch){ &c, thrum_ms(100), 0, 100 + i, 0 };
	TH_CHECK_EQ(thrum_for_each_par(user, USERS, fetch_data, AT_ONCE), 0);
	TH_CHECK_EQ(ms_since(t0), 400); /* 3 + 3 + 3 + 1 */
	for (int i = 0; i < USERS; i++)
		TH_CHECK_EQ(user[i].got, 100 + i);
	TH_CHECK_EQ(c.x_alive_max, AT_ONCE);
	CHECK_CENSUS(&c, USERS, 0, 0);
	return 0;
}

/* A slot is refilled when its own item ends, not when a whole round has: 300 + 100 run beside 200 + 200. */
GUIDE_TEST(guide_for_each_par, a_free_slot_pulls_the_next_item)
{
	struct census c = { 0 };
	struct fetch user[4] = { { &c, thrum_ms(300), 0, 1, 0 },
				 { &c, thrum_ms(200), 0, 2, 0 },
				 { &c, thrum_ms(200), 0, 3, 0 },
				 { &c, thrum_ms(100), 0, 4, 0 } };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_for_each_par(user, 4, fetch_data, 2), 0);
	TH_CHECK_EQ(ms_since(t0), 400);
	TH_CHECK_EQ(c.x_alive_max, 2);
	CHECK_CENSUS(&c, 4, 0, 0);
	return 0;
}

/* The fourth user fails at 150 ms: the two beside it are cancelled, the other four never start. */
GUIDE_TEST(guide_for_each_par, first_failure_starts_nothing_new_F6)
{
	struct census c = { 0 };
	struct fetch user[USERS];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < USERS; i++)
		user[i] = (struct fetch){ &c, thrum_ms(i == 3 ? 50 : 100), i == 3 ? -EIO : 0, i, 0 };
	TH_CHECK_EQ(thrum_for_each_par(user, USERS, fetch_data, AT_ONCE), -EIO);
	TH_CHECK_EQ(ms_since(t0), 150);
	CHECK_CENSUS(&c, 3, 1, 2);
	return 0;
}
