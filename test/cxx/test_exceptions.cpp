// test/cxx/test_exceptions.cpp: each fiber keeps the exceptions it handles and those in flight, whatever the other fibers
// of its thread throw and catch meanwhile. The C++ runtime keeps both per thread. With the C API only: every user's
// program is like this.
#include "../support/test.h"
#include <atomic>
#include <exception>
#include <thrum.h>

namespace {

const int ROUNDS = 50;

thrum_opts one_worker()
{
	thrum_opts o = {};
	o.size = sizeof o;
	o.workers = 1;
	return o;
}

void run(const thrum_opts *opts, int (*body)(void *), void *arg)
{
	thrum_fx fx = { body, arg };
	TH_CHECK_EQ(thrum_run(opts, fx), 0);
}

thrum_fx effect(int (*body)(void *), int *arg)
{
	thrum_fx fx = { body, arg };
	return fx;
}

// The number that is thrown, where this is called from a handler.
int handled()
{
	try {
		throw;
	} catch (int n) {
		return n;
	}
}

// --- suspended in a handler ---

int suspend_in_handlers(void *arg)
{
	const int mine = *static_cast<int *>(arg);

	for (int i = 0; i < ROUNDS; i++) {
		TH_CHECK(!std::current_exception());
		try {
			throw mine;
		} catch (int n) {
			TH_CHECK_EQ(n, mine);
			TH_CHECK_EQ(thrum_yield(), 0);
			TH_CHECK_EQ(handled(), mine);
			try {
				throw mine + 1000;
			} catch (int) {
				TH_CHECK_EQ(thrum_yield(), 0);
				TH_CHECK_EQ(handled(), mine + 1000);
			}
			TH_CHECK_EQ(handled(), mine);
		}
		TH_CHECK(!std::current_exception());
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}

int many_suspend_in_handlers(void *)
{
	int n[3] = { 1, 2, 3 };

	return thrum_zip_par(effect(suspend_in_handlers, &n[0]), effect(suspend_in_handlers, &n[1]),
			     effect(suspend_in_handlers, &n[2]));
}

TH_TEST(exceptions, fibers_suspended_in_handlers_keep_their_own)
{
	const thrum_opts one = one_worker();

	run(&one, many_suspend_in_handlers, nullptr);
	run(nullptr, many_suspend_in_handlers, nullptr);
}

// A fiber that has nothing to do with exceptions sees none of its neighbour's.
int wait_in_handler(void *arg)
{
	std::atomic<int> *stage = static_cast<std::atomic<int> *>(arg);

	try {
		throw 7;
	} catch (int) {
		*stage = 1;
		while (*stage == 1)
			TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK_EQ(handled(), 7);
	}
	return 0;
}

int look_around(void *arg)
{
	std::atomic<int> *stage = static_cast<std::atomic<int> *>(arg);

	while (*stage == 0)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK(!std::current_exception());
	TH_CHECK_EQ(std::uncaught_exceptions(), 0);
	*stage = 2;
	return 0;
}

int handler_and_onlooker(void *)
{
	std::atomic<int> stage(0);
	thrum_fx handler = { wait_in_handler, &stage }, onlooker = { look_around, &stage };

	return thrum_zip_par(handler, onlooker);
}

TH_TEST(exceptions, neighbours_see_none_of_a_handlers)
{
	const thrum_opts one = one_worker();

	run(&one, handler_and_onlooker, nullptr);
}

// --- suspended while one is in flight ---

struct suspends_when_destroyed {
	int expected;
	~suspends_when_destroyed()
	{
		for (int i = 0; i < 3; i++) {
			TH_CHECK_EQ(std::uncaught_exceptions(), expected);
			TH_CHECK_EQ(thrum_yield(), 0);
		}
		TH_CHECK_EQ(std::uncaught_exceptions(), expected);
	}
};

int suspend_in_flight(void *arg)
{
	const int mine = *static_cast<int *>(arg);

	for (int i = 0; i < ROUNDS; i++) {
		try {
			suspends_when_destroyed d = { 1 };
			throw mine;
		} catch (int n) {
			TH_CHECK_EQ(n, mine);
			TH_CHECK_EQ(std::uncaught_exceptions(), 0);
		}
		suspends_when_destroyed quiet = { 0 };
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}

int many_suspend_in_flight(void *)
{
	int n[2] = { 1, 2 };

	return thrum_zip_par(effect(suspend_in_flight, &n[0]), effect(suspend_in_flight, &n[1]),
			     effect(suspend_in_handlers, &n[1]));
}

TH_TEST(exceptions, fibers_suspended_while_unwinding_keep_their_own)
{
	const thrum_opts one = one_worker();

	run(&one, many_suspend_in_flight, nullptr);
	run(nullptr, many_suspend_in_flight, nullptr);
}

// --- the thread that calls thrum_run, and a child that runs inside a handler ---

int sees_none(void *)
{
	TH_CHECK(!std::current_exception());
	TH_CHECK_EQ(std::uncaught_exceptions(), 0);
	return many_suspend_in_handlers(nullptr);
}

TH_TEST(exceptions, caller_of_a_runtime_keeps_its_own)
{
	const thrum_opts one = one_worker();

	try {
		throw 5;
	} catch (int) {
		run(&one, sees_none, nullptr);
		TH_CHECK_EQ(handled(), 5);
	}
	TH_CHECK(!std::current_exception());
}

int join_in_handler(void *)
{
	int n[2] = { 1, 2 };

	try {
		throw 9;
	} catch (int) {
		TH_CHECK_EQ(thrum_zip_par(effect(suspend_in_flight, &n[0]), effect(suspend_in_flight, &n[1])), 0);
		TH_CHECK_EQ(handled(), 9);
	}
	return 0;
}

// Children run inline share the stack of the handler, and its fiber: what they throw, they catch before they return.
TH_TEST(exceptions, children_of_a_handler_leave_it_its_own)
{
	const thrum_opts one = one_worker();

	run(&one, join_in_handler, nullptr);
	run(nullptr, join_in_handler, nullptr);
}

// --- calls that go on on a fresh stack ---

struct level {
	int depth;
	bool in_handler;
};

int go_down(void *arg)
{
	const level *above = static_cast<level *>(arg);
	level here = { above->depth - 1, above->in_handler };
	volatile char room[2000] = { 0 };

	room[0] = 1;
	// A call is a call, whatever stack it runs on: it may rethrow what its caller handles.
	if (here.in_handler)
		TH_CHECK_EQ(handled(), above->depth);
	if (here.depth == 0)
		return thrum_yield();
	try {
		throw here.depth;
	} catch (int) {
		here.in_handler = true;
		thrum_fx down = { go_down, &here };
		TH_CHECK_EQ(thrum_then(thrum_succeed(), down), 0);
		TH_CHECK_EQ(handled(), here.depth);
	}
	TH_CHECK_EQ(std::uncaught_exceptions(), 0);
	return room[0] == 1 ? thrum_yield() : -1;
}

int nested_twice(void *)
{
	level a = { 60, false }, b = { 70, false };
	thrum_fx down_a = { go_down, &a }, down_b = { go_down, &b };

	return thrum_zip_par(down_a, down_b);
}

TH_TEST(exceptions, calls_on_fresh_stacks_see_their_callers)
{
	thrum_opts small = one_worker();

	small.stack_bytes = 32 << 10;
	run(&small, nested_twice, nullptr);
	small.workers = 0;
	run(&small, nested_twice, nullptr);
}

} // namespace
