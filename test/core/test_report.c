/* test/core/test_report.c: reports go to the observer, or to stderr. */
#include <string.h>
#include "test/support/child.h"
#include "test/support/rules.h"

struct seen {
	int calls;
	thrum_report last;
	char text[256];
};

static void observe(const thrum_report *r, void *arg)
{
	struct seen *seen = arg;

	seen->calls++;
	seen->last = *r;
	snprintf(seen->text, sizeof seen->text, "%s", r->text);
}

static int die(void *unused)
{
	(void)unused;
	return thrum_die("out of marbles");
}

TH_TEST(report, observer_is_told_of_a_death_X11)
{
	struct seen seen = { 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.observe = observe, .observe_arg = &seen), (thrum_fx){ die, NULL }), THRUM_EDIED);
	TH_CHECK_EQ(seen.calls, 1);
	TH_CHECK_EQ(seen.last.kind, THRUM_REPORT_DIED);
	TH_CHECK_EQ(seen.last.size, sizeof(thrum_report));
	TH_CHECK_EQ(seen.last.code, THRUM_EDIED);
	TH_CHECK(strstr(seen.text, "out of marbles") != NULL);
	TH_CHECK(strstr(seen.last.file, "test_report.c") != NULL);
	TH_CHECK(seen.last.line > 0);
}

static void die_unobserved(void *observed)
{
	struct seen seen = { 0 };
	thrum_opts opts = { .size = sizeof opts, .observe = observed ? observe : NULL, .observe_arg = &seen };

	TH_CHECK_EQ(thrum_run(&opts, (thrum_fx){ die, NULL }), THRUM_EDIED);
}

TH_TEST(report, stderr_is_told_when_there_is_no_observer_and_only_then_X11)
{
	struct th_said said;
	int status = th_child(die_unobserved, NULL, &said);

	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK(strstr(said.text, "thrum: died: out of marbles (") != NULL);
	status = th_child(die_unobserved, (void *)1, &said);
	TH_CHECK_CHILD_OK(status, &said);
	TH_CHECK(strstr(said.text, "marbles") == NULL);
}

/* A program built before there was an observer passes a smaller struct. */
TH_TEST(report, options_of_earlier_sizes_are_taken_and_larger_ones_refused)
{
	thrum_opts opts = { .size = offsetof(thrum_opts, observe), .observe = (void (*)(const thrum_report *, void *))1 };

	TH_CHECK_EQ(thrum_run(&opts, thrum_succeed()), 0);
	opts.size = sizeof opts + 1;
	TH_CHECK_EQ(thrum_run(&opts, thrum_succeed()), -EINVAL);
	opts.size = offsetof(thrum_opts, observe) - 1;
	TH_CHECK_EQ(thrum_run(&opts, thrum_succeed()), -EINVAL);
	opts.size = 0;
	TH_CHECK_EQ(thrum_run(&opts, thrum_succeed()), -EINVAL);
}
