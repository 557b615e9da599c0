/* test/model/model.h: what every Relacy model shares: the command line, and th_abort() as a found bug.
 *
 *   PROG SCENE random N    N executions of random interleavings (the same ones on each run)
 *   PROG SCENE bound K     all executions with at most K preemptions
 *
 * Prints one line, the verdict and the number of executions; exit status 0 when no execution broke a rule. With
 * MODEL_HISTORY set in the environment it prints the steps of the failing execution first. */
#ifndef TH_MODEL_H
#define TH_MODEL_H

/* Before Relacy, which makes macros of new, delete, malloc and free. */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include "../../core/atomic.h"
#include "../../core/assert.h"

void th_abort(const char *file, unsigned line, const char *, ...)
{
	rl::ctx().fail_test("broken TH_ASSERT or TH_DASSERT", rl::test_result_user_assert_failed,
			    rl::debug_info("th_abort", file, line));
	std::abort();
}

static int scene; /* which of the model's small programs */

template <class Test> static int model_main(int argc, char **argv, unsigned depth_limit)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s SCENE random EXECUTIONS | bound PREEMPTIONS\n", argv[0]);
		return 2;
	}
	scene = atoi(argv[1]);
	bool bound = strcmp(argv[2], "bound") == 0;
	std::ostream quiet(NULL);
	rl::test_params p;
	p.search_type = bound ? rl::sched_bound : rl::sched_random;
	p.context_bound = bound ? (unsigned)atoi(argv[3]) : 1;
	p.iteration_count = bound ? 1 : (rl::iteration_t)atol(argv[3]);
	p.execution_depth_limit = depth_limit;
	p.output_stream = getenv("MODEL_HISTORY") ? &std::cout : &quiet; /* Relacy runs a failing execution again for it */
	p.progress_stream = &quiet;
	bool ok = rl::simulate<Test>(p);
	printf("%s, %llu executions\n", ok ? "ok" : rl::test_result_str(p.test_result),
	       (unsigned long long)p.stop_iteration);
	return ok ? 0 : 1;
}

#endif
