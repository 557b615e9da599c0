/* bench/forkjoin/serial.c: the workloads as plain recursion and loops. What a runtime costs is what its program takes
 * beyond this one. */
#include "common.h"

static long fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static double run_fib(int n)
{
	return (double)fib(n);
}

static long skynet(long first, long leaves)
{
	long sum = 0;

	if (leaves == 1)
		return first;
	for (int i = 0; i < 10; i++)
		sum += skynet(first + i * (leaves / 10), leaves / 10);
	return sum;
}
static double run_skynet(int levels)
{
	return (double)skynet(0, lround(pow(10, levels)));
}

static long queens(struct board b, int n, int rows)
{
	long found = 0;

	if (rows == 0)
		return 1;
	for (uint32_t rest = board_free(b, n); rest; rest &= rest - 1)
		found += queens(board_put(b, rest & -rest), n, rows - 1);
	return found;
}
static double run_queens(int n)
{
	return (double)queens((struct board){ 0, 0, 0 }, n, n);
}

static double integrate(double x1, double y1, double x2, double y2, double area, double error)
{
	double half = (x2 - x1) / 2, x0 = x1 + half, y0 = curve(x0);
	double left = (y1 + y0) / 2 * half, right = (y0 + y2) / 2 * half;

	if (fabs(left + right - area) < error)
		return left + right;
	return integrate(x1, y1, x0, y0, left, error) + integrate(x0, y0, x2, y2, right, error);
}
static double run_integrate(int digits)
{
	return integrate(0, curve(0), INTEGRATE_TO, curve(INTEGRATE_TO), 0, pow(10, -digits));
}

static long geo(uint64_t node, int levels)
{
	unsigned n = uts_geo_children(node, levels);
	long found = 1;

	for (unsigned i = 0; i < n; i++)
		found += geo(uts_child(node, i), levels - 1);
	return found;
}
static double run_geo(int levels)
{
	return (double)geo(uts_child(UTS_GEO_SEED, 0), levels);
}

static long bin(uint64_t node, unsigned n)
{
	long found = 1;

	for (unsigned i = 0; i < n; i++) {
		uint64_t child = uts_child(node, i);
		found += bin(child, uts_bin_children(child));
	}
	return found;
}
static double run_bin(int children)
{
	return (double)bin(UTS_BIN_SEED, (unsigned)children);
}

static double run_loop(int n)
{
	uint32_t *items = loop_items(n);

	for (int i = 0; i < n; i++)
		items[i] = scramble(items[i]);
	return loop_sum(items, n);
}

static double run_coarse(int n)
{
	int done = 0;

	for (int i = 0; i < n; i++)
		done += busy();
	return done;
}

int main(int argc, char **argv)
{
	static const struct workload all[] = {
		{ "fib", run_fib },         { "skynet", run_skynet }, { "nqueens", run_queens }, { "integrate", run_integrate },
		{ "uts-geo", run_geo },     { "uts-bin", run_bin },   { "loop", run_loop },      { "coarse", run_coarse },
	};
	struct plan p = plan_of(argc, argv, all, sizeof all / sizeof *all);

	plan_run(&p);
	plan_print(&p);
	return 0;
}
