// test/cxx/test_effects.cpp: the combinators of thrum.hpp over lambdas, and what becomes of an exception that leaves one.
#include "cxx.h"
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

// --- lambdas as effects ---

CXX_TEST(effects, lambdas_return_codes_or_nothing)
{
	int a = 0, b = 0;
	const auto constant = [] { return 0; };

	TH_CHECK_EQ(thrum::zip_par([&] { a = 1; }, [&] { return b = 2; }, constant, thrum_succeed()), 0);
	TH_CHECK_EQ(a + b, 3);
	TH_CHECK_EQ(thrum::zip_par(), 0);
	TH_CHECK_EQ(thrum::zip_par([] {}, [] { return THRUM_APP(3); }), THRUM_APP(3));
	TH_CHECK_EQ(thrum::race(), -EINVAL);
	TH_CHECK_EQ(thrum::race([] { return THRUM_APP(1); }, [] {}, thrum_never()), 1);
	TH_CHECK_EQ(thrum::race_first([] { return thrum::sleep(1h); }, [] { return THRUM_APP(2); }), THRUM_APP(2));
	TH_CHECK_EQ(thrum::zip_par(thrum_fx{ nullptr, nullptr }, [&] { a = 9; }), -EINVAL);
	TH_CHECK_EQ(a, 1);
	return 0;
}

// --- what C macros define, in a namespace ---

namespace app {

static int half(int *n)
{
	return *n / 2;
}
THRUM_FX(half, int);

static int third(int *n)
{
	return *n / 3;
}
THRUM_FX(third, int);

struct config {
	int limit;
};
THRUM_SERVICE(settings, config);
THRUM_SERVICE_KEY(settings);

static int file_build(config *from, config **ret)
{
	*ret = from;
	return 0;
}
static int file_close(config *, config *)
{
	return 0;
}
THRUM_LAYER(file, settings, config, nullptr);

static int ask_limit(int *ret)
{
	config *found;
	const int code = settings_require(&found);

	*ret = code < 0 ? 0 : found->limit;
	return code;
}
THRUM_FX(ask_limit, int);

} // namespace app

CXX_TEST(effects, macros_serve_in_a_namespace)
{
	int n = 12, limit = 0;
	app::config c{ 7 };

	TH_CHECK_EQ(thrum_call(app::half_fx(&n)), 6);
	TH_CHECK_EQ(thrum_call(app::third_fx(&n)), 4);
	TH_CHECK_EQ(app::settings_provide(&c, app::ask_limit_fx(&limit)), 0);
	TH_CHECK_EQ(limit, 7);
	TH_CHECK(app::file_layer(&c).gives == &app::settings_service);
	return 0;
}

static int plain_function()
{
	return THRUM_APP(8);
}

CXX_TEST(effects, anything_callable_is_an_effect)
{
	struct counter {
		int calls = 0;
		void operator()() { calls++; }
	} c;
	auto owner = [p = std::make_unique<int>(4)] { return *p - 4; };

	TH_CHECK_EQ(thrum::zip_par(c, owner), 0);
	TH_CHECK_EQ(c.calls, 1); // by reference
	TH_CHECK_EQ(thrum::or_else(plain_function, c), 0);
	TH_CHECK_EQ(c.calls, 2);
	TH_CHECK_EQ(thrum::shield(&plain_function), THRUM_APP(8));
	return 0;
}

CXX_TEST(effects, settle_gives_every_code)
{
	std::array<int, 3> codes = { 7, 7, 7 };
	std::array<int, 0> none;

	TH_CHECK_EQ(thrum::zip_settle(codes, [] {}, [] { return THRUM_APP(1); }, [] { return thrum::sleep(5ms); }), 0);
	TH_CHECK_EQ(codes[0], 0);
	TH_CHECK_EQ(codes[1], THRUM_APP(1));
	TH_CHECK_EQ(codes[2], 0);
	TH_CHECK_EQ(thrum::zip_settle(none), 0);
	return 0;
}

CXX_TEST(effects, items_of_containers_and_arrays_F1)
{
	std::vector<int> items(100);
	int array[3] = { 1, 2, 3 };
	std::atomic<int> alive(0), most(0);

	for (std::size_t i = 0; i < items.size(); i++)
		items[i] = static_cast<int>(i);
	const auto square = [&](int &item) {
		if (++alive > 4)
			most = 5;
		item *= item;
		const int r = thrum::sleep(1ms);
		alive--;
		return r;
	};
	TH_CHECK_EQ(thrum::for_each_par(items, square, 4), 0);
	for (std::size_t i = 0; i < items.size(); i++)
		TH_CHECK_EQ(items[i], i * i);
	TH_CHECK_EQ(most, 0);
	TH_CHECK_EQ(thrum::for_each_par(array, [](int &i) { i = -i; }, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(array[0] + array[1] + array[2], -6);
	TH_CHECK_EQ(thrum::for_each_par(std::vector<std::string>(), [](std::string &) { return -1; }, 1), 0);
	TH_CHECK_EQ(thrum::for_each_par(array, [](const int &) {}, 0), -EINVAL);
	TH_CHECK_EQ(thrum::for_each_par(array, [](const int &i) { return i == -2 ? THRUM_APP(2) : 0; }, 2), THRUM_APP(2));
	return 0;
}

CXX_TEST(effects, indices_come_in_order_and_once_F1)
{
	std::vector<std::size_t> started;
	std::array<int, 50> runs = {};

	TH_CHECK_EQ(thrum::for_index_par(20, [&](std::size_t i) { started.push_back(i); }, 1), 0);
	for (std::size_t i = 0; i < 20; i++)
		TH_CHECK_EQ(started[i], i);
	TH_CHECK_EQ(thrum::for_index_par(runs.size(), [&](std::size_t i) { return runs[i]++, thrum_yield(); }, 7), 0);
	for (int n : runs)
		TH_CHECK_EQ(n, 1);
	return 0;
}

CXX_TEST(effects, the_others_are_their_c_calls)
{
	std::string log;
	bool timed_out = false;

	TH_CHECK_EQ(thrum::timeout([] { return thrum::sleep(1h); }, 1s), -ETIMEDOUT);
	TH_CHECK_EQ(thrum::timeout([] { return 4; }, thrum_ms(1)), 4);
	TH_CHECK_EQ(thrum::timeout_opt([] { return thrum::sleep(1h); }, 1s, timed_out), 0);
	TH_CHECK(timed_out);
	TH_CHECK_EQ(thrum::then([&] { log += 'a'; }, [&] { log += 'b'; }), 0);
	TH_CHECK_EQ(thrum::then([&] { return -EIO; }, [&] { log += 'x'; }), -EIO);
	TH_CHECK_EQ(thrum::or_else([&] { return -EIO; }, [&] { log += 'c'; }), 0);
	TH_CHECK_EQ(thrum::bracket([&] { log += 'd'; }, [&] { return -EIO; }, [&] { log += 'e'; }), -EIO);
	TH_CHECK_EQ(thrum::shield([&] { log += 'f'; }), 0);
	TH_CHECK(log == "abcdef");
	return 0;
}

CXX_TEST(effects, they_nest)
{
	const int r = thrum::timeout(
		[] {
			return thrum::zip_par([] { return thrum::race(thrum_never(), [] {}); },
					      [] { return thrum::timeout(thrum_never(), 20ms); });
		},
		10ms);

	TH_CHECK_EQ(r, -ETIMEDOUT);
	return 0;
}

// --- durations ---

TH_TEST(effects, durations_saturate)
{
	typedef std::chrono::duration<long long, std::ratio<1, 3>> thirds;

	TH_CHECK_EQ(thrum::dur(1500us).ns, 1500000);
	TH_CHECK_EQ(thrum::dur(-2min).ns, -120000000000);
	TH_CHECK_EQ(thrum::dur(std::chrono::hours::max()).ns, INT64_MAX);
	TH_CHECK_EQ(thrum::dur(std::chrono::hours::min()).ns, INT64_MIN);
	TH_CHECK_EQ(thrum::dur(std::chrono::nanoseconds::max()).ns, INT64_MAX);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<double>(0.25)).ns, 250000000);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<double>(1e300)).ns, INT64_MAX);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<double>(-1e300)).ns, INT64_MIN);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<double>(std::nan(""))).ns, INT64_MAX);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<unsigned long long>(~0ull)).ns, INT64_MAX);
	TH_CHECK_EQ(thrum::dur(thirds(3)).ns, 1000000000);
	TH_CHECK_EQ(thrum::dur(thirds(1)).ns, 333333333);
	TH_CHECK_EQ(thrum::dur(std::chrono::duration<long long, std::pico>(1999)).ns, 1);
	TH_CHECK_EQ(thrum::dur(thrum_ms(3)).ns, 3000000);
}

// --- exceptions ---

CXX_TEST(effects, exception_cancels_siblings_and_comes_to_the_caller_Z4)
{
	const thrum_time start = thrum_now();
	int ended = 0;
	const auto together = [&] {
		return thrum::zip_par([&] { ended = thrum::sleep(1h); },
				      [] {
					      (void)thrum::sleep(1ms);
					      throw std::string("lost the connection");
				      });
	};

	TH_CHECK(cxx::throws(together, std::string("lost the connection")));
	TH_CHECK_EQ(ended, -ECANCELED);
	TH_CHECK_EQ(thrum_time_sub(thrum_now(), start).ns, 1000000); // and not an hour later
	return 0;
}

CXX_TEST(effects, exceptions_come_from_any_worker)
{
	for (int round = 0; round < 200; round++) {
		const auto some = [&] {
			return thrum::for_index_par(
				16, [&](std::size_t i) { return i == 11 ? throw round : thrum_yield(); }, THRUM_UNBOUNDED);
		};
		TH_CHECK(cxx::throws(some, round));
	}
	return 0;
}

CXX_TEST(effects, first_exception_is_the_one_Z6)
{
	const auto both = [] {
		return thrum::zip_par(
			[] {
				(void)thrum::sleep(1h);
				throw 2; // on being cancelled
			},
			[] {
				(void)thrum::sleep(1ms);
				throw 1;
			});
	};

	TH_CHECK(cxx::throws(both, 1));
	return 0;
}

// The outcome is the first failure's. What fails on being cancelled does not replace it (Z6).
CXX_TEST(effects, code_that_came_first_stays)
{
	const int r = thrum::zip_par(
		[] {
			(void)thrum::sleep(1h);
			throw 2;
		},
		[] { return thrum::then([] { return thrum::sleep(1ms); }, [] { return THRUM_APP(5); }); });

	TH_CHECK_EQ(r, THRUM_APP(5));
	return 0;
}

CXX_TEST(effects, exception_is_a_failure_in_a_race_R7)
{
	TH_CHECK_EQ(thrum::race([] { throw 1; }, [] { return thrum::sleep(1ms); }), 1);
	TH_CHECK(cxx::throws([] { return thrum::race([] { throw 1; }, [] { return thrum::sleep(1ms), -EIO; }); }, 1));
	TH_CHECK_EQ(thrum::race([] { return -EIO; }, [] { return thrum::sleep(1ms), throw 1, 0; }), -EIO);
	TH_CHECK(cxx::throws([] { return thrum::race_first([] { throw 1; }, thrum_never()); }, 1));
	return 0;
}

CXX_TEST(effects, settle_throws_when_all_codes_are_there)
{
	std::array<int, 3> codes = {};
	const auto settle = [&] {
		return thrum::zip_settle(codes, [] { throw 1; }, [] { return thrum::sleep(1ms); }, [] { return -EIO; });
	};

	TH_CHECK(cxx::throws(settle, 1));
	TH_CHECK_EQ(codes[0], THRUM_EDIED);
	TH_CHECK_EQ(codes[1], 0);
	TH_CHECK_EQ(codes[2], -EIO);
	return 0;
}

CXX_TEST(effects, exceptions_pass_a_fallback_E2)
{
	bool ran = false;

	TH_CHECK(cxx::throws([&] { return thrum::or_else([] { throw 1; }, [&] { ran = true; }); }, 1));
	TH_CHECK(cxx::throws([&] { return thrum::then([] { throw 2; }, [&] { ran = true; }); }, 2));
	TH_CHECK(!ran);
	TH_CHECK(cxx::throws([&] { return thrum::or_else([] { return -EIO; }, [] { throw 3; }); }, 3));
	TH_CHECK(cxx::throws([&] { return thrum::shield([] { throw 4; }); }, 4));
	TH_CHECK(cxx::throws([&] { return thrum::timeout([] { throw 5; }, 1s); }, 5));
	// The deadline passed, but what the body ended with counts (T7).
	TH_CHECK(cxx::throws([&] { return thrum::timeout([] { return thrum::sleep(1h), throw 6, 0; }, 1s); }, 6));
	return 0;
}

CXX_TEST(effects, release_runs_when_use_throws_A1)
{
	int released = 0;
	const auto release = [&] { released++; };

	TH_CHECK(cxx::throws([&] { return thrum::bracket([] {}, [] { throw 1; }, release); }, 1));
	TH_CHECK_EQ(released, 1);
	TH_CHECK(cxx::throws([&] { return thrum::bracket([] { throw 2; }, [] {}, release); }, 2));
	TH_CHECK_EQ(released, 1);
	TH_CHECK(cxx::throws([&] { return thrum::bracket([] {}, [] { throw 3; }, [] { throw 4; }); }, 3));
	TH_CHECK(cxx::throws([&] { return thrum::bracket([] {}, [] {}, [] { throw 5; }); }, 5));
	return 0;
}

CXX_TEST(effects, exceptions_pass_through_levels)
{
	const auto deep = [] {
		return thrum::zip_par([] {
			return thrum::timeout(
				[] { return thrum::for_index_par(3, [](std::size_t i) { return i == 1 ? throw 7 : 0; }, 2); }, 1s);
		});
	};

	TH_CHECK(cxx::throws(deep, 7));
	return 0;
}

// A defect that is no exception stays a code.
CXX_TEST(effects, codes_come_back_as_codes)
{
	TH_CHECK_EQ(thrum::zip_par([] { return THRUM_EDIED; }), THRUM_EDIED);
	TH_CHECK_EQ(thrum::zip_par([] { return -ECANCELED; }), -ECANCELED);
	return 0;
}

CXX_TEST(effects, thrown_codes_are_codes_outside)
{
	const auto nap = [] { thrum::or_throw(thrum::sleep(1h)); };
	int caught = 0;

	TH_CHECK_EQ(thrum::zip_par([] { thrum::or_throw(THRUM_APP(1)); }, nap), THRUM_APP(1));
	TH_CHECK_EQ(thrum::timeout(nap, 1ms), -ETIMEDOUT); // the echo of a cancel is recognised
	TH_CHECK_EQ(thrum::or_else([] { thrum::or_throw(-EIO); }, [] { return 3; }), 3);
	TH_CHECK_EQ(thrum::or_throw(5), 5);
	try {
		thrum::or_throw(-EIO);
	} catch (const std::exception &e) {
		caught = std::string(e.what()) == thrum_strerror(-EIO);
	}
	TH_CHECK_EQ(caught, 1);
	TH_CHECK_EQ(thrum::error(5).code(), -EINVAL);
	return 0;
}

// A cancel is a code, not an exception: nothing that catches exceptions comes between it and the scope.
CXX_TEST(effects, catching_everything_swallows_no_cancel_G4) /* D29 */
{
	int caught = 0;

	const auto greedy = [&] {
		try {
			return thrum::sleep(1h);
		} catch (...) {
			caught++;
			return 0;
		}
	};
	TH_CHECK_EQ(thrum::timeout(greedy, 10ms), -ETIMEDOUT);
	TH_CHECK_EQ(thrum::zip_par(greedy, [] { return THRUM_APP(1); }), THRUM_APP(1));
	TH_CHECK_EQ(caught, 0);
	return 0;
}

TH_TEST(effects, exceptions_leave_a_runtime)
{
	TH_CHECK(cxx::throws([] { return thrum::run([] { throw 1; }); }, 1));
	TH_CHECK(cxx::throws([] { return thrum::run([] { return thrum::zip_par([] { throw 2; }, thrum_never()); }); }, 2));
	TH_CHECK_EQ(thrum::run([] { return THRUM_APP(1); }), THRUM_APP(1));
}

TH_TEST(effects, outside_a_fiber_nothing_runs_X1)
{
	bool ran = false;

	TH_CHECK_EQ(thrum::zip_par([&] { ran = true; }), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum::timeout([&] { ran = true; }, 1s), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum::sleep(1s), THRUM_ENOTFIBER);
	TH_CHECK(!ran);
}

// --- values ---

CXX_TEST(effects, values_for_the_c_calls)
{
	std::atomic<int> runs{0}; // two that run at once
	auto lambda = [&] { runs++; };
	thrum::fx by_reference(lambda);
	thrum::fx owning([&, p = std::make_unique<int>(5)] { runs += *p; });
	thrum::fx throwing([] { throw 9; });

	TH_CHECK_EQ(thrum_zip_par(by_reference, owning), 0);
	TH_CHECK_EQ(runs.load(), 6);
	TH_CHECK_EQ(thrum::then(by_reference, owning), 0); // callable, too
	TH_CHECK_EQ(runs.load(), 12);

	thrum_timeout_op op = { throwing, thrum_sec(1) };
	const int code = thrum_zip_par(thrum_timeout_fx(&op));
	TH_CHECK_EQ(code, THRUM_EDIED);
	TH_CHECK(cxx::throws([&] { return throwing.result(code); }, 9));
	TH_CHECK_EQ(throwing.result(-EIO), -EIO);
	return 0;
}
