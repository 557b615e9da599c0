/* sched/sim/search.c: searches over seeds and over bounded choices; the sweeps are in sched/sim/sweep.c. */
#include "search.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TWICE_1_IN = 64, SHUFFLED_1_IN = 4 };

/* --- seeds --- */

struct th_plan th_plan_of_seed(const struct th_world *w, uint64_t i)
{
	struct th_plan p = { .workers = w->o.workers ? w->o.workers : 1 + (unsigned)(i % 3), .shuffle = i % SHUFFLED_1_IN == 3 };

	p.sim.seed = w->o.seed + i;
	p.sim.steps_max = w->o.choices_max;
	p.sim.coarse = w->o.coarse;
	return p;
}

static struct th_plan searched(const struct th_world *w, uint64_t i)
{
	struct th_plan p = th_plan_of_seed(w, i);

	if (w->o.search == THRUM_SEARCH_PCT) {
		p.sim.search = TH_SIM_PCT;
		p.sim.depth = w->o.depth;
		p.sim.length = th_shared->last.choices; /* as long as the last one, about */
	}
	return p;
}

/* Else nothing that is found can be had again. */
static void run_again(const struct th_world *w, const struct th_plan *p)
{
	const struct th_sim_report first = th_shared->last;

	th_world_run(w, p);
	if (th_shared->last.fingerprint == first.fingerprint && th_shared->last.choices == first.choices)
		return;
	th_shared->verdict = TH_TWICE;
	snprintf(th_shared->what, sizeof th_shared->what,
		 "a seed run twice made %llu choices, then %llu: the program depends on something outside of the simulation",
		 (unsigned long long)first.choices, (unsigned long long)th_shared->last.choices);
	_Exit(TH_EXIT_FAILED);
}

void th_search_seeds(const struct th_world *w)
{
	for (uint64_t i = 0; i < w->o.runs; i++) {
		const struct th_plan p = searched(w, i);

		th_world_run(w, &p);
		if (i % TWICE_1_IN == 0)
			run_again(w, &p);
	}
}

/* --- all runs with few choices that are not 0 ---
 *
 * A run is its list of such choices. What may come after it: each later choice of it turned into each other value. So every
 * run with at most `depth` of them is made once, the one without any first. A choice of many values, as is how much of a large
 * transfer is done, would take all the time there is: of those only the first values are tried, and if there are runs left all is
 * done once more with all of them. */

enum { FEW_VALUES = 63 };

struct bounded {
	const struct th_world *w;
	struct th_plan plan;
	struct th_sim_pick picks[TH_SIM_DEPTH_MAX];
	uint64_t at[TH_SIM_DEPTH_MAX]; /* the same choices' numbers among all */
	unsigned n, depth;
	unsigned values;               /* of a choice that are tried, at most */
	uint64_t left;                 /* runs */
	bool cut;                      /* a choice had more, or a run more choices than are kept */
};

static void extend(struct bounded *b);

static void try_values(struct bounded *b, uint64_t at, struct th_sim_pick pick, unsigned arity)
{
	unsigned most = arity < b->values ? arity : b->values;

	b->cut |= arity > most || arity == TH_SIM_ARITY_MAX;
	for (pick.value = 1; pick.value < most && b->left > 0; pick.value++) {
		b->at[b->n] = at;
		b->picks[b->n++] = pick;
		extend(b);
		b->n--;
	}
}

/* The last ones first: what they change is over soonest, so the first run that fails is short to read. */
static void try_choices(struct bounded *b, const uint16_t *arity, uint64_t made)
{
	uint64_t from = b->n ? b->at[b->n - 1] + 1 : 1, step[3] = { 0 };

	for (uint64_t at = 1; at <= made; at++)
		step[arity[at] >> TH_SIM_ARITY_BITS]++;
	for (uint64_t at = made; at >= from && b->left > 0; at--) {
		enum th_sim_stream stream = (enum th_sim_stream)(arity[at] >> TH_SIM_ARITY_BITS);
		try_values(b, at, (struct th_sim_pick){ .step = step[stream]--, .stream = stream }, arity[at] & TH_SIM_ARITY_MAX);
	}
}

/* Run it, then all that come after it. */
static void extend(struct bounded *b)
{
	uint64_t made;
	uint16_t *arity;

	if (b->left == 0)
		return;
	b->left--;
	b->plan.sim.n_picks = b->n;
	th_world_run(b->w, &b->plan);
	if (b->n == b->depth)
		return;
	made = th_shared->last.choices < TH_ARITIES ? th_shared->last.choices : TH_ARITIES - 1;
	b->cut |= made < th_shared->last.choices;
	arity = malloc((made + 1) * sizeof *arity); /* the runs that follow write over it */
	if (!arity)
		_Exit(1);
	memcpy(arity, th_shared->arity, (made + 1) * sizeof *arity);
	try_choices(b, arity, made);
	free(arity);
}

/* True: that were all that there are. */
static bool try_all(struct bounded *b, unsigned values)
{
	b->values = values;
	b->cut = false;
	b->plan.sim.search = TH_SIM_GIVEN;
	b->plan.sim.picks = b->picks;
	th_shared->made.arity = th_shared->arity;
	th_shared->made.arity_max = TH_ARITIES;
	extend(b);
	return b->left > 0 && !b->cut;
}

void th_search_few(const struct th_world *w, const struct th_plan *p, unsigned depth, uint64_t runs)
{
	struct bounded b = { .w = w, .plan = *p, .depth = depth, .left = runs };

	(void)try_all(&b, FEW_VALUES);
}

void th_search_bounded(const struct th_world *w)
{
	struct bounded b = { .w = w, .plan = th_plan_of_seed(w, 0), .depth = w->o.depth, .left = w->o.runs };

	b.plan.workers = w->o.workers ? w->o.workers : 2;
	th_shared->exhausted = try_all(&b, FEW_VALUES) || (b.left > 0 && try_all(&b, TH_SIM_ARITY_MAX));
}
