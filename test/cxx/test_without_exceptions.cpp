// test/cxx/test_without_exceptions.cpp: thrum.hpp in a program compiled with -fno-exceptions.
#include "../support/test.h"
#include <thrum/thrum.hpp>

#ifdef __cpp_exceptions
#error "compile this with -fno-exceptions"
#endif

using namespace std::chrono_literals;

static int body()
{
	std::array<int, 2> codes = {};
	int array[4] = { 1, 2, 3, 4 }, sum = 0;
	thrum::deferred last([&] { sum *= 2; });

	TH_CHECK_EQ(thrum::zip_par([] {}, [] { return -EIO; }), -EIO);
	TH_CHECK_EQ(thrum::zip_settle(codes, [] { return THRUM_EDIED; }, [] { return 1; }), 0);
	TH_CHECK_EQ(codes[0], THRUM_EDIED);
	TH_CHECK_EQ(thrum::race([] { return -EIO; }, [] {}), 1);
	TH_CHECK_EQ(thrum::for_each_par(array, [&](int n) { sum += n; }, 1), 0);
	TH_CHECK_EQ(thrum::timeout([] { return thrum::sleep(1h); }, 1ms), -ETIMEDOUT);
	TH_CHECK_EQ(thrum::or_else([] { return -EIO; }, [] { return thrum::error(-EPERM).code(); }), -EPERM);

	thrum::scope s;
	TH_CHECK_EQ(s.defer(last), 0);
	auto a = s.spawn([] { return thrum::sleep(1ms); });
	TH_CHECK_EQ(s.go([] { return -EIO; }), 0);
	TH_CHECK_EQ(s.close(), -EIO);
	TH_CHECK_EQ(a.join() <= 0, true);
	TH_CHECK_EQ(sum, 20);
	return 0;
}

TH_TEST(without_exceptions, all_else_is_the_same)
{
	thrum_opts o = thrum::options();

	o.clock = THRUM_CLOCK_JUMP;
	TH_CHECK_EQ(thrum::run(o, body), 0);
}
