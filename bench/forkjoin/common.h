/* bench/forkjoin/common.h: the workloads as every C and C++ program here plays them: sizes, known results, what a task
 * does apart from spawning, and the line that a program prints. go/main.go and rust/common.rs say the same again.
 *
 *   program WORKLOAD WORKERS [SIZE]     prints: WORKLOAD WORKERS ns_total tasks peak_rss_kb
 *
 * Exit code: 0; 1 for a wrong result or a runtime that gave up; 3 for a workload that the program does not have.
 * A small run of the workload comes first, untimed: threads have started, pages are there. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- integrate: (x^2 + 1) x from 0 to 1000, halved until two halves differ from the whole by less than 10^-size --- */

#define INTEGRATE_TO 1000.0
#define INTEGRAL 250000500000.0

static inline double curve(double x)
{
	return (x * x + 1) * x;
}

/* --- nqueens(size): rows are filled from above; sets of columns and diagonals that are attacked, as bits --- */

struct board {
	uint32_t columns, left, right;
};

static inline uint32_t board_free(struct board b, int n)
{
	return ~(b.columns | b.left | b.right) & ((UINT32_C(1) << n) - 1);
}

static inline struct board board_put(struct board b, uint32_t bit)
{
	struct board next = { b.columns | bit, (b.left | bit) << 1, (b.right | bit) >> 1 };

	return next;
}

enum { QUEENS_MAX = 16 };

/* --- UTS, unbalanced trees: a node is a hash from which those of its children follow ---
 *
 * After T1 and T3 of Olivier et al., "UTS: An Unbalanced Tree Search Benchmark" (2006), with a hash of our own instead of
 * SHA-1, about a quarter of its cost. All arithmetic is on integers, so the trees are the same in every language. */

enum {
	UTS_ROUNDS = 8,
	UTS_GEO_MAX = 64, /* children of a node; four on average, geometrically distributed, `size` levels */
	UTS_BIN_MAX = 8,  /* children of a node, with UTS_BIN_CHANCE / 2^32; the root has `size` */
	UTS_BIN_ROOT_MAX = 2000,
	UTS_GEO_SEED = 901,
	UTS_BIN_SEED = 165
};
#define UTS_BIN_CHANCE UINT32_C(536334041) /* 0.124875: 0.999 children a node */

static inline uint64_t uts_child(uint64_t node, unsigned i)
{
	uint64_t h = node + (i + 1) * UINT64_C(0x9E3779B97F4A7C15);

	for (int round = 0; round < UTS_ROUNDS; round++) { /* the finalizer of SplitMix64 */
		h = (h ^ (h >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
		h = (h ^ (h >> 27)) * UINT64_C(0x94D049BB133111EB);
		h ^= h >> 31;
	}
	return h;
}

static inline unsigned uts_geo_children(uint64_t node, int levels)
{
	uint64_t chance = UINT64_C(1) << 32;
	unsigned n = 0;

	if (levels == 0)
		return 0;
	for (chance = chance * 4 / 5; n < UTS_GEO_MAX && (node >> 32) < chance; chance = chance * 4 / 5)
		n++;
	return n;
}

static inline unsigned uts_bin_children(uint64_t node)
{
	return (node >> 32) < UTS_BIN_CHANCE ? UTS_BIN_MAX : 0;
}

/* --- loop: `size` items of four bytes, each scrambled in place; the result is their sum modulo 2^32 --- */

static inline uint32_t scramble(uint32_t x) /* Wellons, "lowbias32" */
{
	x = (x ^ (x >> 16)) * UINT32_C(0x7FEB352D);
	x = (x ^ (x >> 15)) * UINT32_C(0x846CA68B);
	return x ^ (x >> 16);
}

static int64_t untimed_ns; /* filling the items and adding them up does not count */

static inline uint32_t *loop_items(int n)
{
	int64_t began = now_ns();
	uint32_t *items = (uint32_t *)malloc((size_t)n * sizeof *items);

	if (!items)
		exit(1);
	for (int i = 0; i < n; i++)
		items[i] = (uint32_t)i;
	untimed_ns += now_ns() - began;
	return items;
}

static inline double loop_sum(uint32_t *items, int n)
{
	int64_t began = now_ns();
	uint32_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += items[i];
	free(items);
	untimed_ns += now_ns() - began;
	return sum;
}

/* --- coarse: `size` tasks that keep their thread busy for 2 ms each; the result is their number --- */

enum { COARSE_NS = 2000000 };

static inline int busy(void)
{
	for (int64_t until = now_ns() + COARSE_NS; now_ns() < until;)
		;
	return 1;
}

/* --- results --- */

struct known {
	const char *workload;
	int size;
	double result, tasks; /* tasks: the spawns of a program that spawns every child, in fib one of two */
};

static inline double fib_of(int n)
{
	double a = 0, b = 1;

	for (; n > 0; n--) {
		double next = a + b;
		a = b;
		b = next;
	}
	return a;
}

/* Sizes with results that no formula gives: of a warm-up, a smoke run, a measurement. */
static inline const struct known *known_of(const char *workload, int size)
{
	static const struct known table[] = {
		{ "nqueens", 6, 4, 152 },
		{ "nqueens", 9, 352, 8393 },
		{ "nqueens", 12, 14200, 856188 },
		{ "integrate", 1, INTEGRAL, 15102 },
		{ "integrate", 3, INTEGRAL, 78601 },
		{ "integrate", 6, INTEGRAL, 833653 },
		{ "integrate", 9, INTEGRAL, 7508195 },
		{ "loop", 1000, 4213671392.0, 1000 },
		{ "loop", 1000000, 1937170287.0, 1000000 },
		{ "loop", 10000000, 1938437384.0, 10000000 },
		{ "uts-geo", 4, 1043, 1042 },
		{ "uts-geo", 6, 16361, 16360 },
		{ "uts-geo", 10, 4160892, 4160891 },
		{ "uts-bin", 20, 213, 212 },
		{ "uts-bin", 100, 26861, 26860 },
		{ "uts-bin", 2000, 4006121, 4006120 },
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].workload, workload) == 0 && table[i].size == size)
			return &table[i];
	fprintf(stderr, "%s %d: no known result\n", workload, size);
	exit(1);
}

static inline struct known result_of(const char *workload, int size)
{
	struct known k = { workload, size, (double)size, (double)size };

	if (strncmp(workload, "fib", 3) == 0) {
		k.result = fib_of(size);
		k.tasks = fib_of(size + 1) - 1;
	} else if (strcmp(workload, "skynet") == 0) {
		double leaves = pow(10, size);
		k.result = leaves * (leaves - 1) / 2;
		k.tasks = (leaves * 10 - 10) / 9;
	} else if (strncmp(workload, "loop", 4) == 0) {
		k = *known_of("loop", size);
	} else if (strcmp(workload, "coarse") != 0 && strcmp(workload, "depth") != 0 && strcmp(workload, "idle") != 0 &&
		   strcmp(workload, "spawn") != 0) {
		k = *known_of(workload, size);
	}
	return k;
}

/* --- a program: its table of workloads, and main() --- */

struct workload {
	const char *name;
	double (*run)(int size); /* the result */
};

/* Sizes of the run that comes before, and of the timed one if the command line says none. */
static inline int default_size(const char *workload, int warm_up)
{
	static const struct {
		const char *name;
		int warm_up, size;
	} sizes[] = {
		{ "fib", 15, 34 },          { "fib-generic", 15, 34 }, { "fib-calls", 15, 34 }, { "skynet", 3, 6 },      { "nqueens", 6, 12 },
		{ "integrate", 1, 9 },      { "uts-geo", 4, 10 },       { "uts-bin", 20, 2000 }, { "loop", 1000, 10000000 },
		{ "loop-range", 1000, 10000000 }, { "coarse", 2, 8 },   { "depth", 100, 1000000 }, { "idle", 15, 25 },
		{ "spawn", 100, 10000000 },
	};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		if (strcmp(sizes[i].name, workload) == 0)
			return warm_up ? sizes[i].warm_up : sizes[i].size;
	abort();
}

struct plan {
	const struct workload *w;
	int workers, size;
	struct known known;
	int64_t took_ns;
};

static inline struct plan plan_of(int argc, char **argv, const struct workload *all, size_t n)
{
	struct plan p = { NULL, 0, 0, { NULL, 0, 0, 0 }, 0 };

	if (argc < 3 || argc > 4 || atoi(argv[2]) < 1) {
		fprintf(stderr, "usage: %s WORKLOAD WORKERS [SIZE]\n", argv[0]);
		exit(2);
	}
	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i].name, argv[1]) == 0)
			p.w = &all[i];
	if (!p.w)
		exit(3);
	p.workers = atoi(argv[2]);
	p.size = argc > 3 ? atoi(argv[3]) : default_size(p.w->name, 0);
	p.known = result_of(p.w->name, p.size);
	return p;
}

/* The timed run. Called where the program's workloads may run: in a fiber, in a pool, in main(). */
static inline void plan_run(struct plan *p)
{
	double result, off;
	int64_t began;

	(void)p->w->run(default_size(p->w->name, 1));
	untimed_ns = 0;
	began = now_ns();
	result = p->w->run(p->size);
	p->took_ns = now_ns() - began - untimed_ns;
	off = fabs(result - p->known.result);
	if (off > fabs(p->known.result) * 1e-9 * (strcmp(p->w->name, "integrate") == 0)) {
		fprintf(stderr, "%s %d: %.15g, not %.15g\n", p->w->name, p->size, result, p->known.result);
		exit(1);
	}
}

/* The most that this program ever had in memory; getrusage() would count what its parent had before exec, too. */
static inline long peak_rss_kb(void)
{
	char line[256];
	long kb = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "VmHWM:", 6) == 0)
			kb = atol(line + 6);
	if (f)
		fclose(f);
	return kb;
}

static inline void plan_print(const struct plan *p)
{
	printf("%s %d %lld %.0f %ld\n", p->w->name, p->workers, (long long)p->took_ns, p->known.tasks, peak_rss_kb());
}
#endif
