/* sched/sim/choices.c: see the header.
 *
 *   RANDOM   each from a generator; a preemption at one point in `switch_1_in`
 *   PCT      threads have random priorities and the highest runs; at depth - 1 random points the running one falls below
 *            all others. Finds a bug of depth d in n threads and k points with a chance of 1 / (n k^(d-1)) or better:
 *            Burckhardt, Kothari, Musuvathi, Nagarakatte, "A randomized scheduler with probabilistic guarantees of finding
 *            bugs", ASPLOS 2010. The choices that are no scheduling are random
 *   GIVEN    those that the caller lists, else 0
 *
 * A thread that goes on and on while others could is at last made to let them, whatever the choices say: it may be spinning
 * until one of them has moved. That is no choice, but follows from those before. */
#include "choices.h"
#include "../../core/assert.h"
#include "../../core/hooks.h"
#include "../../core/random.h"
#include <string.h>

enum { STEPS_MAX = 50000000 }; /* choices in one run: beyond it something spins without end */
enum { PATIENCE = 20000 };     /* points that a thread passes before it lets the others */
enum { THREADS_MAX = 64 };

static struct {
	struct th_sim_opts opts;
	uint64_t rng, made, fingerprint;
	uint64_t step[3];             /* how many of each stream */
	unsigned switch_1_in;
	uint32_t stayed;              /* points in a row */
	size_t given[3];              /* where the search for the next one of opts.picks begins */
	/* PCT */
	uint64_t priority[THREADS_MAX]; /* 0: not drawn yet */
	uint64_t falls_at[TH_SIM_DEPTH_MAX];
	unsigned falls;
} c;

static uint64_t next_random(void)
{
	return th_random_next(&c.rng);
}

static uint32_t random_below(uint32_t n)
{
	return (uint32_t)((next_random() >> 32) * n >> 32);
}

/* --- what was chosen --- */

static void next_step(enum th_sim_stream stream)
{
	uint64_t max = c.opts.steps_max ? c.opts.steps_max : STEPS_MAX;

	c.step[stream]++;
	if (++c.made > max)
		th_abort(__FILE__, __LINE__, "seed %llu: no end after %llu choices: a livelock",
			 (unsigned long long)c.opts.seed, (unsigned long long)max);
}

/* What this step, one of n, was. */
static uint32_t chosen(enum th_sim_stream stream, uint32_t value, uint32_t n)
{
	struct th_sim_record *r = c.opts.record;

	c.fingerprint = (c.fingerprint ^ value) * UINT64_C(0x100000001b3);
	if (!r)
		return value;
	if (r->arity && c.made < r->arity_max)
		r->arity[c.made] = th_sim_arity(stream, n);
	if (value == 0)
		return 0;
	if (r->n < TH_SIM_PICKS_MAX)
		r->picks[r->n++] = (struct th_sim_pick){ c.step[stream], value, stream };
	else
		r->overflow = true;
	return value;
}

/* The one that is listed for this step; above what there is: the last one. */
static uint32_t given(enum th_sim_stream stream, uint32_t n)
{
	const struct th_sim_pick *p;
	size_t i = c.given[stream];

	while (i < c.opts.n_picks && (c.opts.picks[i].stream != stream || c.opts.picks[i].step < c.step[stream]))
		i++;
	c.given[stream] = i;
	if (i == c.opts.n_picks)
		return 0;
	p = &c.opts.picks[i];
	return p->step != c.step[stream] ? 0 : p->value < n ? p->value : n - 1;
}

uint32_t th_sim_choose_of(enum th_sim_stream stream, uint32_t n)
{
	if (n < 2)
		return 0;
	next_step(stream);
	if (c.opts.search == TH_SIM_GIVEN)
		return chosen(stream, given(stream, n), n);
	if (c.opts.calm && random_below(1U << c.opts.calm) != 0)
		return chosen(stream, 0, n);
	return chosen(stream, random_below(n), n);
}

uint32_t th_sim_choose(uint32_t n)
{
	return th_sim_choose_of(TH_SIM_WORLD, n);
}

uint32_t th_choose(uint32_t n, const char *tag)
{
	(void)tag;
	return th_sim_choose_of(TH_SIM_SCHEDULER, n);
}

/* --- which thread --- */

static uint64_t priority_of(unsigned thread)
{
	TH_ASSERT(thread < THREADS_MAX);
	if (c.priority[thread] == 0)
		c.priority[thread] = next_random() | (UINT64_C(1) << 63); /* above all that fell */
	return c.priority[thread];
}

static void fall(unsigned thread)
{
	for (unsigned i = 0; i < c.opts.depth; i++) {
		if (c.falls_at[i] != c.made)
			continue;
		(void)priority_of(thread);
		c.priority[thread] = TH_SIM_DEPTH_MAX * 2 - ++c.falls;
	}
}

/* 1-based; 0 for `current`. */
static uint32_t highest(const unsigned *others, unsigned n, int current)
{
	uint64_t best = 0;
	uint32_t best_at = 1;

	if (current >= 0) {
		fall((unsigned)current);
		best = priority_of((unsigned)current);
		best_at = 0;
	}
	for (unsigned i = 0; i < n; i++) {
		if (priority_of(others[i]) <= best)
			continue;
		best = priority_of(others[i]);
		best_at = i + 1;
	}
	return best_at;
}

bool th_choices_may_switch(void)
{
	bool impatient = ++c.stayed > PATIENCE;

	if (c.opts.coarse)
		return impatient;
	if (c.opts.search != TH_SIM_RANDOM || impatient || random_below(c.switch_1_in) == 0)
		return true;
	next_step(TH_SIM_THREADS);
	(void)chosen(TH_SIM_THREADS, 0, c.switch_1_in);
	return false;
}

/* 1-based; 0: `current`. */
static uint32_t pick(const unsigned *others, unsigned n, int current)
{
	uint32_t stay = current >= 0;

	if (n == 0)
		return 0;
	switch (c.opts.search) {
	case TH_SIM_PCT:
		return highest(others, n, current);
	case TH_SIM_GIVEN:
		return given(TH_SIM_THREADS, n + stay) + !stay;
	default: /* that it may switch, th_choices_may_switch() has decided; nobody has if it suspends */
		return stay && c.opts.coarse ? random_below(n + 1) : 1 + random_below(n);
	}
}

static int let_others(const unsigned *others, unsigned n, unsigned current)
{
	c.stayed = 0;
	if (c.opts.search == TH_SIM_PCT)
		c.priority[current] = 1; /* below even those that fell */
	return (int)others[c.made % n];
}

int th_choices_thread(const unsigned *others, unsigned n, int current)
{
	uint32_t stay = current >= 0, one = 1;

	if (n == 0 && !stay)
		return -1;
	if (n > 0 && stay && c.stayed > PATIENCE)
		return let_others(others, n, (unsigned)current);
	if (stay || n > 1) {
		next_step(TH_SIM_THREADS);
		one = pick(others, n, current);
		(void)chosen(TH_SIM_THREADS, one - !stay, n + stay);
	}
	if (one == 0)
		return -1;
	c.stayed = 0;
	return (int)others[one - 1];
}

/* --- a run --- */

void th_choices_begin(const struct th_sim_opts *opts)
{
	memset(&c, 0, sizeof c);
	c.opts = *opts;
	c.rng = opts->seed * UINT64_C(0xd1342543de82ef95) + 1;
	TH_ASSERT(opts->depth <= TH_SIM_DEPTH_MAX);
	for (unsigned i = 0; i + 1 < opts->depth; i++)
		c.falls_at[i] = 1 + next_random() % (opts->length ? opts->length : 1000);
	/* Coarse and fine runs find different bugs: draw how often to switch. */
	c.switch_1_in = (opts->switch_1_in ? opts->switch_1_in : 2U << random_below(5)) << opts->calm;
}

uint64_t th_choices_made(void) { return c.made; }
uint64_t th_choices_fingerprint(void) { return c.fingerprint; }
