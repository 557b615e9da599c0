/* sched/sim/test.c: thrum/test.h: options, processes, the verdict, what is printed.
 *
 *   thrum_test_search ──fork──► child: runs, one after the other (search.c, sweep.c, world.c)
 *        │  ◄───────────────── it has come to its end: 0
 *        │  ◄───────────────── it ended in a run that failed; the shared page says which, and how
 *        ├──fork──► the same run from its choices, with less of them, again and again (shrink.c)
 *        └──fork──► what is left, to be seen
 *
 * A process for each try, because what fails may have gone through memory like a bull. */
#include "search.h"
#include "shrink.h"
#include "timeline.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Each is a process, which under a sanitizer takes ten times as long to make. */
#if defined(TH_TSAN) || defined(__SANITIZE_ADDRESS__)
enum { SHRINK_TRIES = 200, CALM_TRIES = 2, CALM_RUNS = 50, FEW_RUNS = 500 };
#else
enum { SHRINK_TRIES = 3000, CALM_TRIES = 50, CALM_RUNS = 1000, FEW_RUNS = 5000 };
#endif
enum { TRIES_OF_A_HANG = 5, CALM_CHOICES = 20000000 };

/* --- options --- */

/* What the environment says, if it does. A number that is none must not pass for one: no runs hold whatever the program does. */
static int number_from(const char *name, uint64_t least, bool quiet, uint64_t *number)
{
	const char *text = getenv(name);
	uint64_t n;
	char *end;

	if (!text || !*text)
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n < least) {
		if (!quiet)
			fprintf(stderr, "thrum: %s='%s' is not a number from %" PRIu64 " on\n", name, text, least);
		return -EINVAL;
	}
	*number = n;
	return 0;
}

static int fill_in(thrum_test_opts *o, uint64_t runs)
{
	int code;

	o->name = o->name ? o->name : "program";
	o->seed = o->seed ? o->seed : 1;
	o->runs = o->runs ? o->runs : runs;
	code = number_from("THRUM_TEST_SEED", 0, o->quiet, &o->seed);
	if (code == 0)
		code = number_from("THRUM_TEST_RUNS", 1, o->quiet, &o->runs);
	o->choices_max = o->choices_max ? o->choices_max : 5000000;
	o->seconds = o->seconds ? o->seconds : 20;
	if (o->depth == 0)
		o->depth = o->search == THRUM_SEARCH_PCT ? 3 : 2;
	return code;
}

static int world_of(struct th_world *w, thrum_fx program, const thrum_test_opts *o, uint64_t runs)
{
	*w = (struct th_world){ .program = program };
	if (thrum_test_running())
		return -EDEADLK;
	if (!program.run || (o && (o->size < offsetof(thrum_test_opts, seed) || o->size > sizeof *o)))
		return -EINVAL;
	if (o)
		memcpy(&w->o, o, o->size);
	if (fill_in(&w->o, runs) < 0)
		return -EINVAL;
	if (w->o.search > THRUM_SEARCH_BOUNDED || w->o.depth > TH_SIM_DEPTH_MAX || w->o.workers > TH_SIM_WORKERS_MAX ||
	    strchr(w->o.name, ' '))
		return -EINVAL;
	return 0;
}

static int share(void)
{
	void *p = mmap(NULL, sizeof *th_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	th_shared = p;
	return 0;
}

static void unshare_page(void)
{
	munmap(th_shared, sizeof *th_shared);
	th_shared = NULL;
}

/* --- processes --- */

static void silence(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (null < 0)
		return;
	(void)dup2(null, STDOUT_FILENO);
	(void)dup2(null, STDERR_FILENO);
}

/* What it is, that it died of. */
static void judge_death(int status)
{
	struct th_shared *s = th_shared;

	if (s->verdict != TH_HELD)
		return; /* it has said so itself */
	s->verdict = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? TH_HUNG : TH_DIED;
	if (s->verdict == TH_HUNG)
		snprintf(s->what, sizeof s->what, "it has not come to an end");
	else if (WIFSIGNALED(status))
		snprintf(s->what, sizeof s->what, "died by signal %d: %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(s->what, sizeof s->what, "the process ended in the middle of it with exit code %d", WEXITSTATUS(status));
}

static int await(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!th_shared->finished)
		judge_death(status);
	return 0;
}

/* Run fn(arg) in a child, to its end or to the first failure. */
static int in_child(void (*fn)(void *), void *arg, bool quiet)
{
	pid_t child;

	th_shared->verdict = TH_HELD;
	th_shared->finished = false;
	fflush(NULL);
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0)
		return await(child);
	th_world_in_child(true);
	(void)signal(SIGALRM, SIG_DFL); /* whatever the caller's do: an end is to be an end */
	(void)signal(SIGABRT, SIG_DFL);
	if (quiet)
		silence();
	fn(arg);
	th_shared->finished = true;
	fflush(NULL);
	_exit(0);
}

/* --- a run that failed --- */

struct failure {
	const struct th_world *w;
	enum th_verdict verdict;
	struct th_plan from_seed; /* as it was found */
	struct th_plan plan;    /* made simpler */
	struct th_sim_pick picks[TH_SIM_PICKS_MAX];
	char what[THRUM_TEST_WHAT_MAX];
	unsigned tries;         /* that are left: then it is simple enough */
};

struct one_run {
	const struct th_world *w;
	const struct th_plan *p;
};

static void run_plan(void *arg)
{
	struct one_run *one = arg;

	th_world_run(one->w, one->p);
}

static bool fails(void *arg, const struct th_plan *p)
{
	struct failure *f = arg;

	if (f->tries == 0)
		return false;
	f->tries--;
	return in_child(run_plan, &(struct one_run){ f->w, p }, true) == 0 && th_shared->verdict == f->verdict;
}

/* From now on it is known by the choices that the last run made. */
static void take_choices(struct failure *f)
{
	f->plan.sim.search = TH_SIM_GIVEN;
	f->plan.sim.picks = f->picks;
	f->plan.sim.n_picks = th_shared->made.n;
	memcpy(f->picks, th_shared->made.picks, th_shared->made.n * sizeof *f->picks);
}

struct calm {
	const struct th_world *w;
	struct th_plan plan;    /* of the next run */
	unsigned runs;
};

static void run_calm(void *arg)
{
	struct calm *c = arg;

	for (unsigned i = 0; i < c->runs; i++, c->plan.sim.seed++)
		th_world_run(c->w, &c->plan);
}

/* Other runs that fail, with fewer choices that are not 0: for one that is taken back may be followed by quite other ones, so that
 * a run which has many rarely fails without it. One process makes all that do not fail. */
static void look_for_calmer_ones(struct failure *f, enum th_sim_search search, unsigned calm)
{
	struct calm c = { .w = f->w, .plan = f->plan, .runs = CALM_RUNS };

	c.plan.sim.search = search;
	c.plan.sim.depth = search == TH_SIM_PCT ? 2 : 0; /* one change of priorities */
	c.plan.sim.length = th_shared->last.choices;
	c.plan.sim.calm = calm;
	for (unsigned i = 0; i < CALM_TRIES && c.runs > 0; i++) {
		uint64_t before = c.plan.sim.seed;

		if (in_child(run_calm, &c, true) < 0 || th_shared->verdict == TH_HELD)
			return;
		if (th_shared->verdict == f->verdict && th_shared->made.n < f->plan.sim.n_picks)
			take_choices(f);
		c.plan.sim.seed = th_shared->now.sim.seed + 1;
		c.runs -= (unsigned)(c.plan.sim.seed - before);
	}
}

struct few {
	const struct failure *f;
	unsigned depth;
};

static void search_few(void *arg)
{
	struct few *few = arg;

	th_search_few(few->f->w, &few->f->plan, few->depth, FEW_RUNS);
}

/* All of those that have so few, the latest first: one process makes thousands of them in a second. */
static void look_for_one_with(struct failure *f, unsigned depth)
{
	struct few few = { f, depth };

	if (f->verdict != TH_HUNG && f->plan.sim.n_picks >= depth && in_child(search_few, &few, true) == 0 &&
	    th_shared->verdict == f->verdict)
		take_choices(f);
	th_shared->made.arity = NULL;
}

static void simplify(struct failure *f)
{
	uint64_t before;

	if (th_shared->made.overflow)
		return;
	take_choices(f);
	if (!fails(f, &f->plan)) {
		if (f->from_seed.sim.search != TH_SIM_GIVEN) /* whose list was the child's, and is gone */
			f->plan = f->from_seed;
		return;
	}
	before = th_shared->choices;
	for (unsigned calm = f->verdict == TH_HUNG ? 0 : 6; calm > 0 && th_shared->choices - before < CALM_CHOICES; calm--) {
		look_for_calmer_ones(f, TH_SIM_PCT, calm);
		look_for_calmer_ones(f, TH_SIM_RANDOM, calm);
	}
	th_shrink(&f->plan, f->picks, f->tries, fails, f);
	look_for_one_with(f, 1);
	look_for_one_with(f, 2);
}

static void show_plan(void *arg)
{
	(void)dup2(STDERR_FILENO, STDOUT_FILENO);
	th_timeline_on = true;
	run_plan(arg);
}

static void show(struct failure *f, const thrum_test_report *r)
{
	fprintf(stderr, "thrum: %s: run %llu, of seed %llu, fails: %s\nchoices that are not the first one: %zu\n", f->w->o.name,
		(unsigned long long)r->runs, (unsigned long long)r->seed, f->what, r->choices_left);
	if (in_child(show_plan, &(struct one_run){ f->w, &f->plan }, false) < 0 || th_shared->verdict != f->verdict)
		fprintf(stderr, "but it does not fail when it is run again\n");
	fprintf(stderr, "once more: THRUM_TEST_REPLAY='%s' and the same program\n", r->replay);
}

static void tell(struct failure *f, thrum_test_report *r)
{
	r->failed = true;
	r->seed = f->plan.sim.seed;
	r->choices_left = f->plan.sim.n_picks;
	memcpy(r->what, f->what, sizeof r->what);
	if (th_plan_write(&f->plan, f->w->o.name, r->replay, sizeof r->replay) >= sizeof r->replay) {
		f->plan = f->from_seed; /* too many choices for a line: what they came from has to do */
		(void)th_plan_write(&f->plan, f->w->o.name, r->replay, sizeof r->replay);
	}
	if (!f->w->o.quiet)
		show(f, r);
}

static int failed(const struct th_world *w, thrum_test_report *r)
{
	struct failure *f = calloc(1, sizeof *f);

	if (!f)
		return -ENOMEM;
	f->w = w;
	f->verdict = th_shared->verdict;
	f->plan = f->from_seed = th_shared->now;
	memcpy(f->what, th_shared->what, sizeof f->what);
	f->tries = f->verdict == TH_HUNG ? TRIES_OF_A_HANG : SHRINK_TRIES; /* each of those takes all the time there is */
	if (f->verdict != TH_TWICE)
		simplify(f);
	tell(f, r);
	free(f);
	return 1;
}

/* --- the calls --- */

struct search {
	const struct th_world *w;
	th_search_fn *fn;
};

static void run_search(void *arg)
{
	struct search *s = arg;

	s->fn(s->w);
}

enum { REPLAY_FILE_MAX = 1 << 20 };

/* The first line of a file; NULL: it cannot be read, or is too long. */
static char *line_of(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = f ? malloc(REPLAY_FILE_MAX) : NULL;
	bool whole = text && fgets(text, REPLAY_FILE_MAX, f) && strlen(text) < REPLAY_FILE_MAX - 1;

	if (f)
		fclose(f);
	if (!whole) {
		free(text);
		return NULL;
	}
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static int replay_line(const struct th_world *w, const char *text)
{
	struct th_sim_pick *picks = calloc(TH_SIM_PICKS_MAX, sizeof *picks);
	struct th_plan p;
	bool other;
	int r = -ENOMEM;

	if (picks) {
		r = th_plan_read(&p, w->o.name, text, picks, TH_SIM_PICKS_MAX, &other) ? 0 : other ? 0 : -EINVAL;
		if (r == 0 && !other) {
			th_timeline_on = true;
			th_world_run(w, &p);
			th_timeline_on = false;
			fprintf(stderr, "thrum: %s: that run does not fail\n", w->o.name);
		}
	}
	free(picks);
	return r;
}

static int replay(const struct th_world *w, const char *text)
{
	char *line = *text == '@' ? line_of(text + 1) : NULL;
	int r = *text == '@' && !line ? -EINVAL : replay_line(w, line ? line : text);

	free(line);
	return r;
}

static int search(const struct th_world *w, th_search_fn *fn, thrum_test_report *r)
{
	int code = in_child(run_search, &(struct search){ w, fn }, true);

	r->runs = th_shared->runs;
	r->choices = th_shared->choices;
	r->exhausted = th_shared->exhausted;
	if (code < 0 || th_shared->verdict == TH_HELD)
		return code;
	if (th_shared->verdict != TH_SKIPPED)
		return failed(w, r);
	memcpy(r->what, th_shared->what, sizeof r->what);
	return THRUM_TEST_SKIPPED_;
}

static int explore(thrum_fx program, const thrum_test_opts *o, thrum_test_report *ret, uint64_t runs, th_search_fn *fn)
{
	const char *one = getenv("THRUM_TEST_REPLAY");
	thrum_test_report unused;
	struct th_world w;
	int r = world_of(&w, program, o, runs);

	ret = ret ? ret : &unused;
	memset(ret, 0, sizeof *ret);
	if (r == 0)
		r = share();
	if (r < 0)
		return r;
	if (one && *one)
		r = replay(&w, one);
	else
		r = search(&w, w.o.search == THRUM_SEARCH_BOUNDED && fn == th_search_seeds ? th_search_bounded : fn, ret);
	unshare_page();
	return r;
}

int thrum_test_search(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r)
{
	return explore(program, o, r, 1000, th_search_seeds);
}

int thrum_test_sweep_cancel(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r)
{
	return explore(program, o, r, 10, th_sweep_cancel);
}

int thrum_test_sweep_memory(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r)
{
	return explore(program, o, r, 10, th_sweep_memory);
}

int thrum_test_sweep_io(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r)
{
	return explore(program, o, r, 10, th_sweep_io);
}

int thrum_test_replay(thrum_fx program, const thrum_test_opts *o, const char *text)
{
	struct th_world w;
	int r = world_of(&w, program, o, 1);

	if (r == 0)
		r = share();
	if (r < 0)
		return r;
	r = text ? replay(&w, text) : -EINVAL;
	unshare_page();
	return r;
}
