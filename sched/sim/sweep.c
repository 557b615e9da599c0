/* sched/sim/sweep.c: the same run again and again, each time with one thing going wrong at another place. */
#include "faults.h"
#include "search.h"
#include <stdlib.h>
#include <string.h>

/* The run of seed number i that nothing disturbs; it says how many places there are. */
static struct th_plan undisturbed(const struct th_world *w, uint64_t i)
{
	struct th_plan p = th_plan_of_seed(w, i);

	th_world_run(w, &p);
	return p;
}

/* With that cancel alone, and with a second one soon after it. */
static void run_cancelled(const struct th_world *w, struct th_plan p, struct th_sim_cancel c)
{
	p.sim.cancel = c;
	th_world_run(w, &p);
	p.sim.again = th_sim_draw_again(p.sim.seed, &c);
	th_world_run(w, &p);
}

void th_sweep_cancel(const struct th_world *w)
{
	for (uint64_t i = 0; i < w->o.runs; i++) {
		const struct th_plan p = undisturbed(w, i);
		const struct th_sim_report plain = th_shared->last;

		for (int where = TH_SIM_BEFORE; where <= TH_SIM_AFTER; where++)
			for (int whom = TH_SIM_ROOT; whom <= TH_SIM_DEADLINE; whom++)
				for (uint64_t k = 1; k <= plain.passed[where]; k++)
					run_cancelled(w, p, (struct th_sim_cancel){ k, (enum th_sim_where)where, (enum th_sim_whom)whom });
	}
}

void th_sweep_memory(const struct th_world *w)
{
	for (uint64_t i = 0; i < w->o.runs; i++) {
		struct th_plan p = undisturbed(w, i);
		uint64_t places = th_shared->last.allocs;

		for (uint64_t k = 1; k <= places; k++) {
			p.sim.fail_alloc = k;
			th_world_run(w, &p);
		}
	}
}

static void each_errno(const struct th_world *w, struct th_plan *p, unsigned kind)
{
	int code;

	for (unsigned k = 0; (code = th_faults_legal(kind, k)) != 0; k++) {
		p->sim.fail_code = -code;
		th_world_run(w, p);
	}
}

void th_sweep_io(const struct th_world *w)
{
	static uint8_t kinds[TH_OPS_SEEN];

	for (uint64_t i = 0; i < w->o.runs; i++) {
		struct th_plan p = undisturbed(w, i);
		unsigned places = th_shared->ops;

		memcpy(kinds, th_shared->op_kinds, places);
		for (unsigned k = 0; k < places; k++) {
			p.sim.fail_op = k + 1;
			each_errno(w, &p, kinds[k]);
		}
	}
}
