/* bench/forkjoin.c: the price of spawn and join where nobody blocks, beside serial C and, if the compiler has it, OpenMP
 * tasks: fib without a cutoff (one spawn and one call per node) and skynet (a tree of 10 children a node). */
#include "bench.h"

enum { FIB = 27, FIB_NODES = 832039, SKYNET = 100000, SKYNET_NODES = 111110 };

static long serial_fib(int n)
{
	return n < 2 ? n : serial_fib(n - 1) + serial_fib(n - 2);
}

struct fib {
	int n;
	long r;
};
static int fib(struct fib *f);
THRUM_FX(fib, struct fib);
static int fib(struct fib *f)
{
	struct fib a = { f->n - 1, 0 }, b = { f->n - 2, 0 };
	int r;

	if (f->n < 2) {
		f->r = f->n;
		return 0;
	}
	r = thrum_zip_par(fib_fx(&a), fib_fx(&b));
	f->r = a.r + b.r;
	return r;
}

struct sky {
	long first, leaves, sum;
};
static int sky(struct sky *s);
THRUM_FX(sky, struct sky);
static int sky(struct sky *s)
{
	struct sky kids[10];
	int r;

	if (s->leaves == 1) {
		s->sum = s->first;
		return 0;
	}
	for (int i = 0; i < 10; i++)
		kids[i] = (struct sky){ s->first + i * (s->leaves / 10), s->leaves / 10, 0 };
	r = thrum_for_each_par(kids, 10, sky, THRUM_UNBOUNDED);
	for (int i = 0; i < 10; i++)
		s->sum += kids[i].sum;
	return r;
}

static void check(long got, long want)
{
	if (got != want) {
		fprintf(stderr, "bench: wrong result %ld, not %ld\n", got, want);
		exit(1);
	}
}

static void run_serial(void)
{
	volatile int n = FIB;
	check(serial_fib(n), 196418);
}
static void fib_on(unsigned workers)
{
	struct fib f = { FIB, 0 };
	run_or_die(workers, fib_fx(&f));
	check(f.r, 196418);
}
static void sky_on(unsigned workers)
{
	struct sky s = { 0, SKYNET, 0 };
	run_or_die(workers, sky_fx(&s));
	check(s.sum, (long)SKYNET * (SKYNET - 1) / 2);
}
static void fib_1(void) { fib_on(1); }
static void fib_2(void) { fib_on(2); }
static void sky_1(void) { sky_on(1); }
static void sky_2(void) { sky_on(2); }

#ifdef _OPENMP
static long omp_fib(int n)
{
	long a = 0, b;
	if (n < 2)
		return n;
#pragma omp task shared(a) firstprivate(n)
	a = omp_fib(n - 1);
	b = omp_fib(n - 2);
#pragma omp taskwait
	return a + b;
}
static void run_omp(int threads)
{
	long r = 0;
#pragma omp parallel num_threads(threads)
#pragma omp single
	r = omp_fib(FIB);
	check(r, 196418);
}
static void omp_1(void) { run_omp(1); }
static void omp_2(void) { run_omp(2); }
#endif

int main(void)
{
	struct row rows[] = {
		{ "fib, serial C", "ns a node", run_serial, FIB_NODES, 0 },
		{ "fib, thrum, 1 worker", "ns a node", fib_1, FIB_NODES, 0 },
		{ "fib, thrum, 2 workers", "ns a node", fib_2, FIB_NODES, 0 },
#ifdef _OPENMP
		{ "fib, OpenMP, 1 thread", "ns a node", omp_1, FIB_NODES, 0 },
		{ "fib, OpenMP, 2 threads", "ns a node", omp_2, FIB_NODES, 0 },
#endif
		{ "skynet, thrum, 1 worker", "ns a node", sky_1, SKYNET_NODES, 0 },
		{ "skynet, thrum, 2 workers", "ns a node", sky_2, SKYNET_NODES, 0 },
	};
	size_t n = sizeof rows / sizeof *rows;

	measure(rows, n);
#ifndef _OPENMP
	puts("OpenMP: not available to this compiler, not measured");
#endif
	for (size_t i = 0; i < n; i++)
		printf("%-28s %10.1f %s\n", rows[i].name, rows[i].best / rows[i].per, rows[i].unit);
	return 0;
}
