// test/cxx/test_scope.cpp: thrum::scope, its children and finalizers as objects; where their codes and exceptions go.
#include "../support/child.h"
#include "cxx.h"
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace std::chrono_literals;

static long long ms_since(thrum_time start)
{
	return thrum_time_sub(thrum_now(), start).ns / 1000000;
}

// --- children ---

CXX_TEST(scope, children_own_their_lambda)
{
	std::atomic<int> sum(0);
	thrum::scope s;
	auto a = s.spawn([&, p = std::make_unique<int>(3)] { sum += *p; });
	auto b = s.spawn([&] { return sum += 4, THRUM_APP(1); }, [] {
		thrum_spawn_opts o = thrum::spawn_options();
		o.isolated = true;
		return o;
	}());

	TH_CHECK_EQ(a.join(), 0);
	TH_CHECK_EQ(b.join(), THRUM_APP(1));
	TH_CHECK_EQ(s.close(), 0);
	TH_CHECK_EQ(sum, 7);
	TH_CHECK_EQ(b.join(), THRUM_APP(1)); // K8
	TH_CHECK_EQ(s.close(), 0);
	return 0;
}

CXX_TEST(scope, child_may_run_what_is_not_its_own)
{
	struct counter {
		int calls = 0;
		void operator()() { calls++; }
	} c;
	thrum::scope s;
	auto a = s.spawn(std::ref(c));

	TH_CHECK_EQ(a.join(), 0);
	TH_CHECK_EQ(c.calls, 1);
	auto b = s.spawn(thrum_fail(-EIO));
	TH_CHECK_EQ(b.join(), -EIO);
	TH_CHECK_EQ(s.close(), -EIO);
	return 0;
}

CXX_TEST(scope, many_children_of_one_kind)
{
	std::atomic<int> ran(0);
	thrum::scope s;
	const auto work = [&] {
		ran++;
		return thrum_yield();
	};
	std::deque<thrum::child<decltype(work)>> children;

	for (int i = 0; i < 100; i++)
		children.emplace_back(s, work);
	TH_CHECK_EQ(s.close(), 0);
	TH_CHECK_EQ(ran, 100);
	return 0;
}

// A child does not outlive its object, which holds its lambda.
CXX_TEST(scope, end_of_a_child_object_waits_for_the_child_S1)
{
	const thrum_time start = thrum_now();
	bool ended = false;
	thrum::scope s;

	{
		auto a = s.spawn([&] {
			const int r = thrum::sleep(5ms);
			ended = true;
			return r;
		});
	}
	TH_CHECK(ended);
	TH_CHECK_EQ(ms_since(start), 5);
	return s.close();
}

CXX_TEST(scope, refused_children_say_why_S6)
{
	bool ran = false;
	thrum::scope s;

	s.cancel();
	auto a = s.spawn([&] { ran = true; });
	TH_CHECK_EQ(a.spawned(), -ECANCELED);
	TH_CHECK_EQ(a.join(), -ECANCELED);
	TH_CHECK_EQ(s.close(), 0);
	auto b = s.spawn([&] { ran = true; });
	TH_CHECK_EQ(b.join(), THRUM_ECLOSED);
	TH_CHECK(!ran);
	return 0;
}

CXX_TEST(scope, child_is_cancelled_alone)
{
	thrum::scope s;
	auto a = s.spawn([] { return thrum::sleep(1h); });
	auto b = s.spawn([] { return thrum::sleep(1ms); });

	a.cancel();
	TH_CHECK_EQ(a.join(), -ECANCELED);
	TH_CHECK_EQ(b.join(), 0);
	return s.close();
}

// Children of children: another fiber spawns into the scope.
CXX_TEST(scope, fibers_inside_spawn_too)
{
	std::atomic<int> ran(0);
	thrum::scope s;
	auto a = s.spawn([&] {
		auto inner = s.spawn([&] { ran++; });
		return inner.join();
	});

	TH_CHECK_EQ(a.join(), 0);
	TH_CHECK_EQ(ran, 1);
	return s.close();
}

// --- closing ---

CXX_TEST(scope, destructor_waits_S1)
{
	const thrum_time start = thrum_now();
	std::atomic<int> ended(0);

	{
		thrum::scope s;
		TH_CHECK_EQ(s.go([&] { return thrum::sleep(3ms), ended++, 0; }), 0);
		TH_CHECK_EQ(s.go([&] { return thrum::sleep(7ms), ended++, -EIO; }), 0); // nobody reads it; nobody dies of it
	}
	TH_CHECK_EQ(ended, 2);
	TH_CHECK_EQ(ms_since(start), 7);
	return 0;
}

CXX_TEST(scope, exception_on_its_way_cancels_the_children)
{
	const thrum_time start = thrum_now();
	std::atomic<int> cancelled(0);
	const auto nap = [&] {
		const int r = thrum::sleep(1h);
		const thrum_reason *why = thrum_cancel_reason();
		if (why && why->kind == THRUM_CANCEL_BODY)
			cancelled++;
		return r;
	};
	const auto body = [&] {
		thrum::scope s;
		TH_CHECK_EQ(s.go(nap), 0);
		TH_CHECK_EQ(s.go(nap), 0);
		(void)thrum::sleep(1ms);
		throw 3;
	};

	TH_CHECK(cxx::throws([&] { body(); }, 3));
	TH_CHECK_EQ(cancelled, 2);
	TH_CHECK_EQ(ms_since(start), 1);
	return 0;
}

CXX_TEST(scope, exception_on_its_way_cancels_the_child_it_passes)
{
	const thrum_time start = thrum_now();
	thrum::scope s;
	auto stays = s.spawn([] { return thrum::sleep(4ms); });
	const auto body = [&] {
		auto a = s.spawn([] { return thrum::sleep(1h); });
		(void)thrum::sleep(1ms);
		throw 3;
	};

	TH_CHECK(cxx::throws([&] { body(); }, 3));
	TH_CHECK_EQ(ms_since(start), 1);
	TH_CHECK_EQ(stays.join(), 0);
	return s.close();
}

// In a destructor that runs because of an exception further up, a scope that is left as it should be cancels nothing.
CXX_TEST(scope, unwinding_further_up_cancels_nothing)
{
	struct tidy {
		int *ret_code;
		~tidy()
		{
			thrum::scope s;
			auto a = s.spawn([] { return thrum::sleep(2ms); });
			*ret_code = a.join();
		}
	};
	int code = 1;

	TH_CHECK(cxx::throws(
		[&] {
			tidy t = { &code };
			throw 1;
		},
		1));
	TH_CHECK_EQ(code, 0);
	return 0;
}

CXX_TEST(scope, calls_of_the_c_scope)
{
	thrum::scope timed, failed, outside;
	(void)outside.cancel();
	TH_CHECK_EQ(outside.close(), 0);
	TH_CHECK_EQ(failed.fail(-EIO), 0);
	TH_CHECK_EQ(failed.close(), -EIO);
	TH_CHECK_EQ(timed.deadline(2ms), 0);
	TH_CHECK_EQ(timed.go([] { return thrum::sleep(1h); }), 0);
	TH_CHECK_EQ(timed.close(), -ETIMEDOUT);

	thrum_token token;
	thrum_token_init(&token);
	thrum_token_cancel(&token);
	thrum::scope linked;
	TH_CHECK_EQ(linked.link(token), 0);
	TH_CHECK_EQ(thrum::sleep(1h), -ECANCELED);
	(void)linked.close();
	return 0;
}

// --- exceptions of children ---

CXX_TEST(scope, exception_of_a_child_comes_out_of_join_and_close)
{
	thrum::scope s;
	auto sibling = s.spawn([] { return thrum::sleep(1h); });
	auto a = s.spawn([] { throw std::string("child"); });

	TH_CHECK(cxx::throws([&] { return a.join(); }, std::string("child")));
	TH_CHECK_EQ(sibling.join(), -ECANCELED);
	TH_CHECK(cxx::throws([&] { return s.close(); }, std::string("child")));
	TH_CHECK(cxx::throws([&] { return s.close(); }, std::string("child"))); // what was said can be said again
	return 0;
}

CXX_TEST(scope, exception_of_an_isolated_child_stays_with_join_K7)
{
	thrum_spawn_opts alone = thrum::spawn_options();
	alone.isolated = true;
	thrum::scope s;
	auto a = s.spawn([] { throw 1; }, alone);

	TH_CHECK_EQ(s.go([] { throw 2; }, alone), 0);
	TH_CHECK(cxx::throws([&] { return a.join(); }, 1));
	TH_CHECK_EQ(s.close(), 0);
	return 0;
}

CXX_TEST(scope, exceptions_of_many_children_come_as_one)
{
	thrum::scope s;

	for (int i = 0; i < 20; i++)
		(void)s.go([] { throw 8; }); // refused once the first has thrown
	TH_CHECK(cxx::throws([&] { return s.close(); }, 8));
	return 0;
}

CXX_TEST(scope, thrown_code_of_a_child_is_its_code)
{
	thrum::scope s;
	auto a = s.spawn([] { thrum::or_throw(-EIO); });

	TH_CHECK_EQ(a.join(), -EIO);
	TH_CHECK_EQ(s.close(), -EIO);
	return 0;
}

// --- children nobody joins ---

struct counted {
	explicit counted(std::atomic<int> *n) : live(n) { ++*live; }
	counted(const counted &other) : live(other.live) { ++*live; }
	counted(counted &&other) noexcept : live(other.live) { ++*live; }
	~counted() { --*live; }
	int operator()() const { return thrum::sleep(1ms); }

	std::atomic<int> *live;
};

CXX_TEST(scope, gone_children_free_their_lambda_started_or_not_G10)
{
	std::atomic<int> live(0);
	thrum_spawn_opts bad = thrum::spawn_options(), far = thrum::spawn_options();

	bad.drop = thrum_succeed();
	far.worker = 1000;
	{
		thrum::scope s;
		TH_CHECK_EQ(s.go(counted(&live)), 0);
		TH_CHECK_EQ(s.go(counted(&live), bad), -EINVAL);
		TH_CHECK_EQ(s.go(counted(&live), far), -EINVAL); // refused before anything could be dropped
		TH_CHECK_EQ(live, 1);
		TH_CHECK_EQ(s.close(), 0);
		TH_CHECK_EQ(s.go(counted(&live)), THRUM_ECLOSED);
	}
	TH_CHECK_EQ(live, 0);
	{
		thrum::scope s;
		for (int i = 0; i < 10; i++)
			TH_CHECK_EQ(s.go(counted(&live)), 0);
		s.cancel(); // before most have started
		TH_CHECK_EQ(s.go(counted(&live)), -ECANCELED);
		(void)s.close();
	}
	TH_CHECK_EQ(live, 0);
	return 0;
}

// --- finalizers ---

CXX_TEST(scope, deferred_run_last_in_first_out_after_the_children_S3)
{
	std::string log;
	thrum::deferred first([&] { log += 'f'; });
	thrum::deferred second([&] { log += 's'; });
	thrum::deferred never([&] { log += 'n'; });
	thrum::scope s;

	TH_CHECK_EQ(s.defer(first), 0);
	TH_CHECK_EQ(s.defer(first), -EALREADY);
	TH_CHECK_EQ(s.defer(second), 0);
	TH_CHECK_EQ(s.defer(never), 0);
	TH_CHECK(never.undefer());
	TH_CHECK(!never.undefer());
	TH_CHECK_EQ(s.go([&] {
		const int r = thrum::sleep(1ms);
		log += 'c';
		return r;
	}), 0);
	TH_CHECK_EQ(s.close(), 0);
	TH_CHECK(log == "csf");
	TH_CHECK_EQ(s.defer(never), THRUM_ECLOSED);
	TH_CHECK(log == "csfn"); // S5
	return 0;
}

CXX_TEST(scope, exception_of_a_finalizer_comes_out_of_close)
{
	bool other = false;
	thrum::deferred quiet([&] { other = true; });
	thrum::deferred loud([] { throw 6; });
	thrum::scope s;

	TH_CHECK_EQ(s.defer(quiet), 0);
	TH_CHECK_EQ(s.defer(loud), 0);
	TH_CHECK(cxx::throws([&] { return s.close(); }, 6));
	TH_CHECK(other);
	return 0;
}

CXX_TEST(scope, deferred_run_when_a_destructor_closes)
{
	int ran = 0;
	thrum::deferred d([&] { ran++; });

	TH_CHECK(cxx::throws(
		[&] {
			thrum::scope s;
			TH_CHECK_EQ(s.defer(d), 0);
			throw 1;
		},
		1));
	TH_CHECK_EQ(ran, 1);
	return 0;
}

static void let_a_finalizer_go(void *)
{
	(void)thrum::run([] {
		thrum::scope s;
		{
			thrum::deferred d([] {});
			(void)s.defer(d);
		}
		return s.close();
	});
}

TH_TEST(scope, deferred_that_goes_before_its_scope_aborts)
{
	th_said said;
	const int status = th_child(let_a_finalizer_go, nullptr, &said);

	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK(std::strstr(said.text, "thrum::deferred was destroyed before its scope closed"));
}

// --- elsewhere ---

TH_TEST(scope, outside_a_fiber_every_call_says_so_X1)
{
	bool ran = false;
	thrum::deferred d([&] { ran = true; });
	thrum::scope s;
	auto a = s.spawn([&] { ran = true; });

	TH_CHECK_EQ(a.join(), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.go([&] { ran = true; }), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.defer(d), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.deadline(1s), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.fail(-1), THRUM_ENOTFIBER);
	s.cancel();
	a.cancel();
	TH_CHECK_EQ(s.close(), THRUM_ENOTFIBER);
	TH_CHECK(!ran);
}
