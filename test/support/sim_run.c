/* test/support/sim_run.c: see the header. */
#include "sim_run.h"
#include "../../core/random.h"
#include "../../sched/sim/timeline.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS = 10600, TWICE_1_IN = 100, SWEEP_1_IN = 8, AGAIN_1_IN = 4, SMALL_BUFFER = 64 }; /* a million runs, and a million with a cancel, over all scenarios */

struct sim_counts sim_counts;

static struct {
	const struct sim_scenario *scenario;
	uint64_t seed, runs, sweeps;
	struct th_sim_cancel cancel, again;
} now;

bool sim_cancelled_run(void)
{
	return now.cancel.at != 0;
}

bool sim_cancelled_inside(void)
{
	return (now.cancel.at != 0 && now.cancel.whom != TH_SIM_ROOT) || (now.again.at != 0 && now.again.whom != TH_SIM_ROOT);
}

static void say_how_to_replay(int sig)
{
	char text[256];
	int n = snprintf(text, sizeof text, "\nreplay: THRUM_SIM_SEED=%llu THRUM_SIM_CANCEL=%llu%s test-sim-* %s/%s\n",
			 (unsigned long long)now.seed, (unsigned long long)now.cancel.at, now.again.at ? ",again" : "",
			 now.scenario->suite, now.scenario->name);
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(1);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void check_oracles(const struct th_sim_report *r, int code)
{
	TH_CHECK_EQ(r->ops_left, 0);
	TH_CHECK_EQ(r->fds_left, 0);
	TH_CHECK_EQ(r->debts_left, 0);
	TH_CHECK_EQ(r->allocs_left, 0);
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK_EQ(sim_counts.held, 0);
	TH_CHECK_EQ(sim_counts.acquired, sim_counts.released);
	if (!sim_cancelled_run())
		TH_CHECK_EQ(code, 0);
	else
		TH_CHECK(code == 0 || code == -ECANCELED || (sim_cancelled_inside() && code < 0));
}

/* Seeds that are swept take turns: each moment with each kind of cancel. */
static void choose_cancel(uint64_t seed, uint64_t at, bool again)
{
	uint64_t turn = seed / SWEEP_1_IN;
	bool root_only = now.scenario->root_only;

	now.cancel = (struct th_sim_cancel){ at, (enum th_sim_where)(turn % 3),
					     root_only ? TH_SIM_ROOT : (enum th_sim_whom)(turn / 3 % 4) };
	now.again = again ? th_sim_draw_again(seed, &now.cancel) : (struct th_sim_cancel){ 0 };
	if (root_only)
		now.again.whom = TH_SIM_ROOT;
}

/* A replay shows them. */
static void count_report(const thrum_report *r, void *unused)
{
	(void)unused;
	TH_CHECK(r->kind != THRUM_REPORT_LENT); /* another thing that must not be left */
	sim_add(&sim_counts.reports, 1);
	if (getenv("THRUM_SIM_SEED"))
		fprintf(stderr, "thrum: %s\n", r->text);
}

/* A quarter, whatever else goes by turns. */
static bool is_shuffled(uint64_t seed)
{
	return th_random_mix(seed) % 4 == 3;
}

static struct th_sim_report run_once(uint64_t seed, uint64_t cancel_at, bool again)
{
	struct th_sim_opts sim = { .seed = seed, .switch_1_in = now.scenario->switch_1_in };
	struct th_sim_report report;
	thrum_opts opts = { .size = sizeof opts, .workers = 1 + (unsigned)(seed % 3), .clock = now.scenario->clock,
			    .observe = count_report, .lent_buffers = 2, .lent_bytes = 64, .shuffle = is_shuffled(seed) };
	thrum_fx fx = { now.scenario->body, NULL };
	int code;

	now.seed = seed;
	choose_cancel(seed, cancel_at, again);
	sim.cancel = now.cancel;
	sim.again = now.again;
	now.runs++;
	now.sweeps += cancel_at != 0;
	memset(&sim_counts, 0, sizeof sim_counts);
	th_sim_begin(&sim);
	th_sim_buffers(SMALL_BUFFER);
	code = thrum_run(&opts, fx);
	th_sim_end(&report);
	check_oracles(&report, code);
	return report;
}

static void run_seed(uint64_t seed)
{
	struct th_sim_report first = run_once(seed, 0, false), again;

	if (seed % TWICE_1_IN == 0) {
		again = run_once(seed, 0, false);
		TH_CHECK_EQ(first.fingerprint, again.fingerprint);
		TH_CHECK_EQ(first.choices, again.choices);
	}
	if (now.scenario->no_sweep || seed % SWEEP_1_IN)
		return;
	for (uint64_t k = 1; k <= first.passed[now.cancel.where]; k++) {
		(void)run_once(seed, k, false);
		if ((seed / SWEEP_1_IN + k) % AGAIN_1_IN == 0)
			(void)run_once(seed, k, true);
	}
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

/* THRUM_SIM_CANCEL=3,again */
static bool asks_for_again(void)
{
	const char *text = getenv("THRUM_SIM_CANCEL");

	return text && strstr(text, ",again");
}

void sim_scenario(const struct sim_scenario *s)
{
	uint64_t one = number_from("THRUM_SIM_SEED", 0), seeds = number_from("THRUM_SIM_SEEDS", SEEDS);
	uint64_t first = number_from("THRUM_SIM_FIRST", 1);

	memset(&now, 0, sizeof now);
	now.scenario = s;
	signal(SIGABRT, say_how_to_replay);
	signal(SIGSEGV, say_how_to_replay);
	if (one) {
		struct th_sim_report r;

		th_timeline_on = true;
		r = run_once(one, number_from("THRUM_SIM_CANCEL", 0), asks_for_again());
		th_timeline_on = false;
		printf("seed %llu: %llu choices, fingerprint %llx\n", (unsigned long long)one,
		       (unsigned long long)r.choices, (unsigned long long)r.fingerprint);
	} else {
		if (s->one_in > 1)
			seeds = (seeds + s->one_in - 1) / s->one_in;
		for (uint64_t i = 0; i < seeds; i++)
			run_seed(first + i);
		printf("%s/%s: %llu schedules, %llu of them cancelled\n", s->suite, s->name, (unsigned long long)now.runs,
		       (unsigned long long)now.sweeps);
	}
	signal(SIGABRT, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
}
