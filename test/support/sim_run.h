/* test/support/sim_run.h: run a scenario under many seeds, then under a sweep of cancels.
 *
 * A scenario is an effect that checks what must hold whatever the schedule: with TH_CHECK, and by returning 0, or a code
 * that it can vouch for. It draws its own variations from sim_choose(). After each run the oracles must hold: no
 * operation, no descriptor and no fiber is left.
 *
 *   plain   seeds 1, 2, …; workers 1, 2, 3 in turn, a quarter of them shuffled; one seed in a hundred runs twice and must
 *           make the same choices
 *   sweep   one seed in eight: its run is repeated with a cancel at each of its suspensions in turn: as the fiber is about to
 *           suspend, when it has, or when what it waited for has come; of the root, of the scope that the fiber is in, of the
 *           one around that, or by that scope's deadline. These take turns too; one cancel in four comes once more with
 *           another soon after it
 *
 * Pipes, and half of the sockets, have buffers of 64 bytes, so that writers wait. A failure prints the command that replays it, with a timeline. THRUM_SIM_SEEDS sets the number of seeds per scenario,
 * THRUM_SIM_FIRST the first one. */
#ifndef TH_SIM_RUN_H
#define TH_SIM_RUN_H
#include "test.h"
#include "../../io/sim/sim.h"
#include <thrum.h>

struct sim_scenario {
	const char *suite, *name;
	int (*body)(void *unused);
	unsigned clock;       /* THRUM_CLOCK_* */
	unsigned switch_1_in; /* how seldom to switch at an atomic access; 0: drawn for each run */
	unsigned one_in;      /* play one seed in so many: a long one; 0: all */
	bool no_sweep;        /* it cancels by itself, or ends in other ways that a sweep would confuse */
	bool root_only;       /* sweep with cancels of the root only */
};

void sim_scenario(const struct sim_scenario *s);
static inline uint32_t sim_choose(uint32_t n) { return th_sim_choose(n); }
/* True in a run with a cancel from outside; and if that is not one of the root, but of a scope inside: of the scenario's own, or by
 * a deadline before its time. Then the scenario may return any failure. */
bool sim_cancelled_run(void);
bool sim_cancelled_inside(void);

/* Of this run, all zero at its start: bodies alive, the most there were, resources held. Fibers of several virtual workers
 * count, so with sim_add(); a plain reading is for when they have ended. */
struct sim_counts {
	int alive, alive_max, started, held, acquired, released, reports;
};
extern struct sim_counts sim_counts;
static inline int sim_add(int *count, int n)
{
	return __atomic_add_fetch(count, n, __ATOMIC_RELAXED);
}
static inline void sim_enter(void)
{
	int alive = sim_add(&sim_counts.alive, 1);

	sim_add(&sim_counts.started, 1);
	if (alive > sim_add(&sim_counts.alive_max, 0))
		__atomic_store_n(&sim_counts.alive_max, alive, __ATOMIC_RELAXED); /* one thread: nothing comes between */
}
static inline int sim_leave(int code)
{
	sim_add(&sim_counts.alive, -1);
	return code;
}

#define SIM_TEST(suite_, name_) SIM_TEST_WITH(suite_, name_, .clock = THRUM_CLOCK_REAL)
#define SIM_TEST_WITH(suite_, name_, ...)                                                                         \
	static int sim_body_##suite_##_##name_(void *unused);                                                \
	TH_TEST(suite_, name_)                                                                               \
	{                                                                                                    \
		sim_scenario(&(struct sim_scenario){ .suite = #suite_, .name = #name_,                       \
						     .body = sim_body_##suite_##_##name_, __VA_ARGS__ });    \
	}                                                                                                    \
	static int sim_body_##suite_##_##name_(void *unused)

#endif
