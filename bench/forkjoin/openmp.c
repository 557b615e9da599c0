/* bench/forkjoin/openmp.c: the workloads as OpenMP tasks, none of them with a cutoff. Built by gcc for libgomp and by clang
 * for libomp. */
#include "common.h"

static int threads;

/* A workload's root: one thread of the team runs it, the others take its tasks. */
#define IN_A_TEAM(result, call)                        \
	_Pragma("omp parallel num_threads(threads)")   \
	_Pragma("omp single")                          \
	result = (double)(call)

static long fib(int n)
{
	long a, b;

	if (n < 2)
		return n;
#pragma omp task shared(a)
	a = fib(n - 1);
	b = fib(n - 2);
#pragma omp taskwait
	return a + b;
}
static double run_fib(int n)
{
	double r = 0;

	IN_A_TEAM(r, fib(n));
	return r;
}

static long skynet(long first, long leaves)
{
	long sums[10], sum = 0;

	if (leaves == 1)
		return first;
	for (int i = 0; i < 10; i++) {
#pragma omp task shared(sums)
		sums[i] = skynet(first + i * (leaves / 10), leaves / 10);
	}
#pragma omp taskwait
	for (int i = 0; i < 10; i++)
		sum += sums[i];
	return sum;
}
static double run_skynet(int levels)
{
	double r = 0;

	IN_A_TEAM(r, skynet(0, lround(pow(10, levels))));
	return r;
}

static long queens(struct board b, int n, int rows)
{
	long found[QUEENS_MAX], sum = 0;
	int children = 0;

	if (rows == 0)
		return 1;
	for (uint32_t rest = board_free(b, n); rest; rest &= rest - 1) {
		struct board next = board_put(b, rest & -rest);
		long *ret = &found[children++];
#pragma omp task
		*ret = queens(next, n, rows - 1);
	}
#pragma omp taskwait
	for (int i = 0; i < children; i++)
		sum += found[i];
	return sum;
}
static double run_queens(int n)
{
	double r = 0;

	IN_A_TEAM(r, queens((struct board){ 0, 0, 0 }, n, n));
	return r;
}

static double integrate(double x1, double y1, double x2, double y2, double area, double error)
{
	double half = (x2 - x1) / 2, x0 = x1 + half, y0 = curve(x0);
	double left = (y1 + y0) / 2 * half, right = (y0 + y2) / 2 * half, a, b;

	if (fabs(left + right - area) < error)
		return left + right;
#pragma omp task shared(a)
	a = integrate(x1, y1, x0, y0, left, error);
	b = integrate(x0, y0, x2, y2, right, error);
#pragma omp taskwait
	return a + b;
}
static double run_integrate(int digits)
{
	double r = 0;

	IN_A_TEAM(r, integrate(0, curve(0), INTEGRATE_TO, curve(INTEGRATE_TO), 0, pow(10, -digits)));
	return r;
}

static long geo(uint64_t node, int levels)
{
	unsigned n = uts_geo_children(node, levels);
	long found[UTS_GEO_MAX], sum = 1;

	for (unsigned i = 0; i < n; i++) {
#pragma omp task shared(found)
		found[i] = geo(uts_child(node, i), levels - 1);
	}
#pragma omp taskwait
	for (unsigned i = 0; i < n; i++)
		sum += found[i];
	return sum;
}
static double run_geo(int levels)
{
	double r = 0;

	IN_A_TEAM(r, geo(uts_child(UTS_GEO_SEED, 0), levels));
	return r;
}

static long bin(uint64_t node)
{
	unsigned n = uts_bin_children(node);
	long found[UTS_BIN_MAX], sum = 1;

	for (unsigned i = 0; i < n; i++) {
#pragma omp task shared(found)
		found[i] = bin(uts_child(node, i));
	}
#pragma omp taskwait
	for (unsigned i = 0; i < n; i++)
		sum += found[i];
	return sum;
}
static long bin_root(uint64_t node, int n)
{
	static long found[UTS_BIN_ROOT_MAX];
	long sum = 1;

	for (int i = 0; i < n; i++) {
#pragma omp task
		found[i] = bin(uts_child(node, (unsigned)i));
	}
#pragma omp taskwait
	for (int i = 0; i < n; i++)
		sum += found[i];
	return sum;
}
static double run_bin(int children)
{
	double r = 0;

	IN_A_TEAM(r, bin_root(UTS_BIN_SEED, children));
	return r;
}

static double run_loop(int n)
{
	uint32_t *items = loop_items(n);

#pragma omp parallel for num_threads(threads)
	for (int i = 0; i < n; i++)
		items[i] = scramble(items[i]);
	return loop_sum(items, n);
}

static double run_coarse(int n)
{
	int done = 0;

#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) reduction(+ : done)
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

	threads = p.workers;
	plan_run(&p);
	plan_print(&p);
	return 0;
}
