/* sched/sim/shrink.c: see the header. Groups of choices become 0, halves first, then ever smaller ones: Zeller and Hildebrandt,
 * "Simplifying and isolating failure-inducing input", IEEE TSE 2002. Then what is left gets smaller values. */
#include "shrink.h"
#include <stdlib.h>
#include <string.h>

struct shrink {
	struct th_plan *plan;
	struct th_sim_pick *picks, *trial; /* the simplest that fails so far; room for another */
	unsigned tries;
	th_fails_fn *fails;
	void *arg;
};

/* Keep the trial if it fails. */
static bool try(struct shrink *s, size_t n)
{
	struct th_plan p = *s->plan;

	if (s->tries == 0)
		return false;
	s->tries--;
	p.sim.picks = s->trial;
	p.sim.n_picks = n;
	if (!s->fails(s->arg, &p))
		return false;
	memcpy(s->picks, s->trial, n * sizeof *s->picks);
	s->plan->sim.n_picks = n;
	return true;
}

static bool without(struct shrink *s, size_t from, size_t count)
{
	size_t n = s->plan->sim.n_picks;

	memcpy(s->trial, s->picks, from * sizeof *s->picks);
	memcpy(s->trial + from, s->picks + from + count, (n - from - count) * sizeof *s->picks);
	return try(s, n - count);
}

/* The last ones first: what comes before decides what they mean. */
static bool without_groups_of(struct shrink *s, size_t size)
{
	bool any = false;

	for (size_t end = s->plan->sim.n_picks; end > 0 && s->tries > 0;) {
		size_t from = end > size ? end - size : 0;
		any |= without(s, from, end - from);
		end = from;
	}
	return any;
}

static void smaller_values(struct shrink *s)
{
	for (size_t i = 0; i < s->plan->sim.n_picks; i++) {
		while (s->picks[i].value > 1) {
			memcpy(s->trial, s->picks, s->plan->sim.n_picks * sizeof *s->picks);
			s->trial[i].value /= 2;
			if (!try(s, s->plan->sim.n_picks))
				break;
		}
	}
}

void th_shrink(struct th_plan *p, struct th_sim_pick *picks, unsigned tries, th_fails_fn *fails, void *arg)
{
	struct shrink s = { p, picks, calloc(p->sim.n_picks + 1, sizeof *picks), tries, fails, arg };
	size_t size = p->sim.n_picks;

	if (!s.trial)
		return; /* then it stays as it is */
	while (size > 0 && s.tries > 0) {
		bool any = without_groups_of(&s, size);
		if (size > 1)
			size = (size + 1) / 2;
		else if (!any)
			break;
	}
	smaller_values(&s);
	free(s.trial);
}
