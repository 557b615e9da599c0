/* bench/forkjoin/tbb.cpp: the workloads on oneTBB: a task_group per join, parallel_for for the loops. */
#include "common.h"
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>
#include <atomic>

using tbb::task_group;

static long fib(int n)
{
	if (n < 2)
		return n;
	long a, b;
	task_group group;
	group.run([&a, n] { a = fib(n - 1); });
	b = fib(n - 2);
	group.wait();
	return a + b;
}
static double run_fib(int n) { return double(fib(n)); }

static long skynet(long first, long leaves)
{
	if (leaves == 1)
		return first;
	long sums[10], sum = 0;
	task_group group;
	for (int i = 0; i < 10; i++)
		group.run([&sums, i, first, leaves] { sums[i] = skynet(first + i * (leaves / 10), leaves / 10); });
	group.wait();
	for (long part : sums)
		sum += part;
	return sum;
}
static double run_skynet(int levels) { return double(skynet(0, lround(pow(10, levels)))); }

static long queens(board b, int n, int rows)
{
	if (rows == 0)
		return 1;
	long found[QUEENS_MAX], sum = 0;
	int children = 0;
	task_group group;
	for (uint32_t rest = board_free(b, n); rest; rest &= rest - 1) {
		board next = board_put(b, rest & -rest);
		long *ret = &found[children++];
		group.run([=] { *ret = queens(next, n, rows - 1); });
	}
	group.wait();
	for (int i = 0; i < children; i++)
		sum += found[i];
	return sum;
}
static double run_queens(int n) { return double(queens(board{ 0, 0, 0 }, n, n)); }

static double integrate(double x1, double y1, double x2, double y2, double area, double error)
{
	double half = (x2 - x1) / 2, x0 = x1 + half, y0 = curve(x0);
	double left = (y1 + y0) / 2 * half, right = (y0 + y2) / 2 * half, a, b;

	if (fabs(left + right - area) < error)
		return left + right;
	task_group group;
	group.run([&a, x1, y1, x0, y0, left, error] { a = integrate(x1, y1, x0, y0, left, error); });
	b = integrate(x0, y0, x2, y2, right, error);
	group.wait();
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

	if (n == 0)
		return 1;
	task_group group;
	for (unsigned i = 0; i < n; i++)
		group.run([&found, i, node, levels] { found[i] = geo(uts_child(node, i), levels - 1); });
	group.wait();
	for (unsigned i = 0; i < n; i++)
		sum += found[i];
	return sum;
}
static double run_geo(int levels) { return double(geo(uts_child(UTS_GEO_SEED, 0), levels)); }

static long bin_children(uint64_t node, unsigned n, long *found);
static long bin(uint64_t node)
{
	unsigned n = uts_bin_children(node);
	long found[UTS_BIN_MAX];

	return n == 0 ? 1 : bin_children(node, n, found);
}
static long bin_children(uint64_t node, unsigned n, long *found)
{
	long sum = 1;
	task_group group;

	for (unsigned i = 0; i < n; i++)
		group.run([=] { found[i] = bin(uts_child(node, i)); });
	group.wait();
	for (unsigned i = 0; i < n; i++)
		sum += found[i];
	return sum;
}
static double run_bin(int children)
{
	static long found[UTS_BIN_ROOT_MAX];

	return double(bin_children(UTS_BIN_SEED, unsigned(children), found));
}

static double run_loop(int n)
{
	uint32_t *items = loop_items(n);

	tbb::parallel_for(tbb::blocked_range<int>(0, n), [=](const tbb::blocked_range<int> &range) {
		for (int i = range.begin(); i < range.end(); i++)
			items[i] = scramble(items[i]);
	});
	return loop_sum(items, n);
}

static double run_coarse(int n)
{
	std::atomic<int> done{ 0 };
	task_group group;

	for (int i = 0; i < n; i++)
		group.run([&done] { done += busy(); });
	group.wait();
	return done;
}

int main(int argc, char **argv)
{
	static const workload all[] = {
		{ "fib", run_fib },         { "skynet", run_skynet }, { "nqueens", run_queens }, { "integrate", run_integrate },
		{ "uts-geo", run_geo },     { "uts-bin", run_bin },   { "loop", run_loop },      { "coarse", run_coarse },
	};
	plan p = plan_of(argc, argv, all, sizeof all / sizeof *all);
	tbb::global_control limit(tbb::global_control::max_allowed_parallelism, size_t(p.workers));
	tbb::task_arena arena(p.workers);

	arena.execute([&p] { plan_run(&p); });
	plan_print(&p);
	return 0;
}
