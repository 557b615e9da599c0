/* Choosing the backend: what THRUM_BACKEND and the option say, and the reason that is given. */
#include "io/backend.h"
#include "io_test.h"

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}
THRUM_FX(nothing, void);

TH_TEST(io_probe, names_and_reasons)
{
	const struct th_backend *backend = NULL;
	char why[256];

	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), 0);
	TH_CHECK(backend == &th_uring);
	TH_CHECK(strstr(why, "io_uring (kernel "));
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_EPOLL, &backend, why, sizeof(why)), -ENOSYS);
	TH_CHECK(strstr(why, "epoll backend is not in this version"));
	TH_CHECK_EQ(th_probe(77, &backend, why, sizeof(why)), -EINVAL);

	TH_CHECK_EQ(setenv("THRUM_BACKEND", "epoll", 1), 0);
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), -ENOSYS);
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_URING, &backend, why, sizeof(why)), 0); /* the option wins */
	TH_CHECK_EQ(thrum_run(NULL, nothing_fx(NULL)), -ENOSYS);
	TH_CHECK_EQ(setenv("THRUM_BACKEND", "abacus", 1), 0);
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), -EINVAL);
	TH_CHECK(strstr(why, "abacus"));
	TH_CHECK_EQ(setenv("THRUM_BACKEND", "io_uring", 1), 0);
	TH_CHECK_EQ(th_probe(THRUM_BACKEND_AUTO, &backend, why, sizeof(why)), 0);
	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
}
