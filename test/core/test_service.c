/* test/core/test_service.c: services by typed key, as thrum/context.h describes them. */
#include <string.h>
#include "test/support/rules.h"

struct db {
	int n;
};
THRUM_SERVICE(db, struct db);
THRUM_SERVICE_KEY(db);
THRUM_SERVICE(config, const char); /* a service may be read-only */
THRUM_SERVICE_KEY(config);
THRUM_SERVICE(mailer, struct mailer); /* and of a type that is known elsewhere */
THRUM_SERVICE_KEY(mailer);

static int use_db(int *ret_n)
{
	struct db *db;
	int code = db_require(&db);

	if (code < 0)
		return code;
	*ret_n = db->n;
	return 0;
}
THRUM_FX(use_db, int);

TH_FIBER_TEST(JUMP, service, what_is_provided_is_found)
{
	struct db db = { 7 };
	int n = 0;

	TH_CHECK(db_get() == NULL);
	TH_CHECK_EQ(db_provide(&db, use_db_fx(&n)), 0);
	TH_CHECK_EQ(n, 7);
	TH_CHECK(db_get() == NULL);
	return 0;
}

static int use_in_children(void *unused)
{
	int n[3] = { 0 };

	(void)unused;
	TH_CHECK_EQ(thrum_zip_par(use_db_fx(&n[0]), use_db_fx(&n[1])), 0);
	TH_CHECK_EQ(thrum_timeout(use_db_fx(&n[2]), thrum_sec(1)), 0);
	TH_CHECK_EQ(n[0] + n[1] + n[2], 21);
	return 0;
}

TH_FIBER_TEST(JUMP, service, children_find_it_too_K9)
{
	struct db db = { 7 };

	return db_provide(&db, (thrum_fx){ use_in_children, NULL });
}

static int inner(void *arg)
{
	struct db *const *dbs = arg;
	int n = 0;

	TH_CHECK(db_get() == dbs[0]);
	TH_CHECK(strcmp(config_get(), "plain") == 0);
	TH_CHECK_EQ(db_provide(dbs[1], use_db_fx(&n)), 0);
	TH_CHECK_EQ(n, 2);
	TH_CHECK(db_get() == dbs[0]);
	TH_CHECK_EQ(db_provide(NULL, use_db_fx(&n)), THRUM_ENOSERVICE);
	return THRUM_APP(5);
}

static int middle(void *dbs)
{
	return config_provide("plain", (thrum_fx){ inner, dbs });
}

TH_FIBER_TEST(JUMP, service, nearest_provider_counts_and_NULL_takes_away)
{
	struct db a = { 1 }, b = { 2 }, *dbs[] = { &a, &b };

	TH_CHECK_EQ(db_provide(&a, (thrum_fx){ middle, dbs }), THRUM_APP(5));
	return 0;
}

TH_FIBER_TEST(JUMP, service, missing_one_is_a_code_and_a_name)
{
	struct db *db = (struct db *)1;
	struct mailer *mailer;
	const char *config;
	int n;

	TH_CHECK_EQ(config_require(&config), THRUM_ENOSERVICE);
	TH_CHECK(strcmp(thrum_service_missing(), "config") == 0);
	TH_CHECK_EQ(mailer_require(&mailer), THRUM_ENOSERVICE);
	TH_CHECK(strcmp(thrum_service_missing(), "mailer") == 0);
	TH_CHECK_EQ(db_require(&db), THRUM_ENOSERVICE);
	TH_CHECK(db == (struct db *)1);
	TH_CHECK(mailer_get() == NULL); /* a look is no demand */
	TH_CHECK(strcmp(thrum_service_missing(), "db") == 0);
	TH_CHECK_EQ(thrum_zip_par(use_db_fx(&n)), THRUM_ENOSERVICE);
	TH_CHECK(strstr(thrum_strerror(THRUM_ENOSERVICE), "service") != NULL);
	return 0;
}

static int need_config(void *unused)
{
	const char *config;

	(void)unused;
	return config_require(&config);
}

TH_TEST(service, name_of_the_missing_one_outlives_the_runtime)
{
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ need_config, NULL })), THRUM_ENOSERVICE);
	TH_CHECK(strcmp(thrum_service_missing(), "config") == 0);
}

TH_TEST(service, outside_a_fiber_nothing_is_provided)
{
	struct db db, *got;

	TH_CHECK(db_get() == NULL);
	TH_CHECK_EQ(db_require(&got), THRUM_ENOSERVICE);
	TH_CHECK_EQ(db_provide(&db, thrum_succeed()), THRUM_ENOTFIBER);
}

TH_FIBER_TEST(JUMP, service, bad_arguments_are_EINVAL)
{
	void *got;

	TH_CHECK(thrum_service_get(NULL) == NULL);
	TH_CHECK_EQ(thrum_service_require(NULL, &got), -EINVAL);
	TH_CHECK_EQ(thrum_service_require(&db_service, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_service_provide(NULL, NULL, thrum_succeed()), -EINVAL);
	TH_CHECK_EQ(db_provide(NULL, (thrum_fx){ NULL, NULL }), -EINVAL);
	return 0;
}
