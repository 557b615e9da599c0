/* sched/sim/world.h: one run of a program under test, and what it leaves in the page that it shares with whoever forked. */
#ifndef TH_SIM_WORLD_H
#define TH_SIM_WORLD_H
#include "plan.h"
#include <thrum/test.h>

enum { TH_OPS_SEEN = 1 << 16, TH_ARITIES = 1 << 20 };

enum th_verdict {
	TH_HELD,     /* or not at its end yet */
	TH_FAILED,   /* thrum_test_fail() */
	TH_ABORTED,  /* the library says so: a broken invariant, a deadlock, a livelock */
	TH_CODE,     /* what the program returned */
	TH_LEFT,     /* something was not given back */
	TH_CHECK,    /* the user's oracle */
	TH_TWICE,    /* a seed run twice was not the same run */
	TH_DIED,     /* by a signal, or it called exit() */
	TH_HUNG,
	TH_SKIPPED   /* thrum_test_skip_() */
};

struct th_world {
	thrum_fx program;
	thrum_test_opts o;      /* with all defaults filled in */
};

/* In memory that the child shares with its parent. */
struct th_shared {
	struct th_plan now;     /* of the run that is under way */
	enum th_verdict verdict;
	char what[THRUM_TEST_WHAT_MAX];
	uint64_t runs, choices;
	bool exhausted, finished; /* BOUNDED: all there is; the child has come to its end */
	struct th_sim_report last;
	unsigned ops;
	uint8_t op_kinds[TH_OPS_SEEN];
	struct th_sim_record made;
	uint16_t arity[TH_ARITIES];
};

extern struct th_shared *th_shared; /* of the search that is under way */

/* Run it. If it fails, the process ends here: with TH_EXIT_FAILED in a child, else by abort(). */
enum { TH_EXIT_FAILED = 91 };
void th_world_run(const struct th_world *w, const struct th_plan *p);
/* Where it happens, the process says why it fails. */
void th_world_in_child(bool yes);

#endif
