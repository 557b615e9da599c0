/* bench/forkjoin/boost_fiber.cpp: the workloads on Boost.Fiber: a fiber per child, launched so that the child runs at once
 * and its parent may be stolen, on the library's work-stealing scheduler. */
#include "common.h"
#include <boost/fiber/all.hpp>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace fibers = boost::fibers;

static unsigned workers;

template <class F> static fibers::fiber spawn(F &&f)
{
	return fibers::fiber(fibers::launch::dispatch, std::allocator_arg, fibers::fixedsize_stack(16384), std::forward<F>(f));
}

static long fib(int n)
{
	if (n < 2)
		return n;
	long a, b;
	fibers::fiber child = spawn([&a, n] { a = fib(n - 1); });
	b = fib(n - 2);
	child.join();
	return a + b;
}
static double run_fib(int n) { return double(fib(n)); }

static long skynet(long first, long leaves)
{
	if (leaves == 1)
		return first;
	long sums[10], sum = 0;
	fibers::fiber kids[10];
	for (int i = 0; i < 10; i++)
		kids[i] = spawn([&sums, i, first, leaves] { sums[i] = skynet(first + i * (leaves / 10), leaves / 10); });
	for (int i = 0; i < 10; i++) {
		kids[i].join();
		sum += sums[i];
	}
	return sum;
}
static double run_skynet(int levels) { return double(skynet(0, lround(pow(10, levels)))); }

static long queens(board b, int n, int rows)
{
	if (rows == 0)
		return 1;
	long found[QUEENS_MAX], sum = 0;
	fibers::fiber kids[QUEENS_MAX];
	int children = 0;
	for (uint32_t rest = board_free(b, n); rest; rest &= rest - 1) {
		board next = board_put(b, rest & -rest);
		long *ret = &found[children];
		kids[children++] = spawn([=] { *ret = queens(next, n, rows - 1); });
	}
	for (int i = 0; i < children; i++) {
		kids[i].join();
		sum += found[i];
	}
	return sum;
}
static double run_queens(int n) { return double(queens(board{ 0, 0, 0 }, n, n)); }

static double integrate(double x1, double y1, double x2, double y2, double area, double error)
{
	double half = (x2 - x1) / 2, x0 = x1 + half, y0 = curve(x0);
	double left = (y1 + y0) / 2 * half, right = (y0 + y2) / 2 * half, a, b;

	if (fabs(left + right - area) < error)
		return left + right;
	fibers::fiber child = spawn([&a, x1, y1, x0, y0, left, error] { a = integrate(x1, y1, x0, y0, left, error); });
	b = integrate(x0, y0, x2, y2, right, error);
	child.join();
	return a + b;
}
static double run_integrate(int digits)
{
	return integrate(0, curve(0), INTEGRATE_TO, curve(INTEGRATE_TO), 0, pow(10, -digits));
}

static long geo(uint64_t node, int levels)
{
	unsigned n = uts_geo_children(node, levels);
	long found[UTS_GEO_MAX], sum = 1;
	fibers::fiber kids[UTS_GEO_MAX];

	for (unsigned i = 0; i < n; i++)
		kids[i] = spawn([&found, i, node, levels] { found[i] = geo(uts_child(node, i), levels - 1); });
	for (unsigned i = 0; i < n; i++) {
		kids[i].join();
		sum += found[i];
	}
	return sum;
}
static double run_geo(int levels) { return double(geo(uts_child(UTS_GEO_SEED, 0), levels)); }

static long bin_children(uint64_t node, unsigned n, long *found, fibers::fiber *kids);
static long bin(uint64_t node)
{
	long found[UTS_BIN_MAX];
	fibers::fiber kids[UTS_BIN_MAX];

	return bin_children(node, uts_bin_children(node), found, kids);
}
static long bin_children(uint64_t node, unsigned n, long *found, fibers::fiber *kids)
{
	long sum = 1;

	for (unsigned i = 0; i < n; i++)
		kids[i] = spawn([=] { found[i] = bin(uts_child(node, i)); });
	for (unsigned i = 0; i < n; i++) {
		kids[i].join();
		sum += found[i];
	}
	return sum;
}
static double run_bin(int children)
{
	std::vector<long> found(size_t(children), 0);
	std::vector<fibers::fiber> kids(size_t(children) + 0);

	return double(bin_children(UTS_BIN_SEED, unsigned(children), found.data(), kids.data()));
}

/* There is no parallel loop: a few fibers per worker, launched so that they queue up. */
static double run_loop(int n)
{
	uint32_t *items = loop_items(n);
	const int pieces = int(workers) * 8;
	std::vector<fibers::fiber> kids;

	for (int p = 0; p < pieces; p++)
		kids.emplace_back([=] {
			for (int i = int(int64_t(n) * p / pieces); i < int(int64_t(n) * (p + 1) / pieces); i++)
				items[i] = scramble(items[i]);
		});
	for (auto &kid : kids)
		kid.join();
	return loop_sum(items, n);
}

static double run_coarse(int n)
{
	std::atomic<int> done{ 0 };
	std::vector<fibers::fiber> kids;

	for (int i = 0; i < n; i++)
		kids.emplace_back([&done] { done += busy(); });
	for (auto &kid : kids)
		kid.join();
	return done;
}

/* Work stealing wants every thread to take part, and never finds a victim when there is one: then the default. */
static void take_part()
{
	if (workers > 1)
		fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(workers);
}

int main(int argc, char **argv)
{
	static const workload all[] = {
		{ "fib", run_fib },         { "skynet", run_skynet }, { "nqueens", run_queens }, { "integrate", run_integrate },
		{ "uts-geo", run_geo },     { "uts-bin", run_bin },   { "loop", run_loop },      { "coarse", run_coarse },
	};
	plan p = plan_of(argc, argv, all, sizeof all / sizeof *all);
	std::vector<std::thread> threads;
	fibers::mutex lock;
	fibers::condition_variable ended;
	bool over = false;

	workers = unsigned(p.workers);
	for (unsigned i = 1; i < workers; i++)
		threads.emplace_back([&] {
			take_part();
			std::unique_lock<fibers::mutex> hold(lock);
			ended.wait(hold, [&] { return over; });
		});
	take_part();
	plan_run(&p);
	{
		std::unique_lock<fibers::mutex> hold(lock);
		over = true;
	}
	ended.notify_all();
	for (auto &thread : threads)
		thread.join();
	plan_print(&p);
	return 0;
}
