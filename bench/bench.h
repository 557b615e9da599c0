/* bench/bench.h: the minimum of several interleaved rounds, since a shared machine only ever makes a run longer. */
#ifndef BENCH_H
#define BENCH_H
#include <stdio.h>
#include <stdlib.h>
#include <thrum.h>
#include <time.h>

enum { ROUNDS = 7 };

static inline double now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct row {
	const char *name, *unit;
	void (*run)(void);
	double per;  /* divide by this */
	double best; /* ns; set by measure() */
};

static inline void measure(struct row *rows, size_t n)
{
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < n; i++) {
			double began = now_ns(), took;
			rows[i].run();
			took = now_ns() - began;
			if (rows[i].best == 0 || took < rows[i].best)
				rows[i].best = took;
		}
	}
}

static inline int run_or_die(unsigned workers, thrum_fx fx)
{
	thrum_opts opts = { .size = sizeof opts, .workers = workers };
	int r = thrum_run(&opts, fx);
	if (r < 0) {
		fprintf(stderr, "bench: %s\n", thrum_strerror(r));
		exit(1);
	}
	return r;
}

#endif
