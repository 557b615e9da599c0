/* A database link and a server that needs it, supervised. When the link breaks, the server behind it in the list is
 * stopped, and after a delay both are started again; a link that stays broken is given up, and says why. */
#include <stdio.h>
#include <thrum.h>

static int now_ms(void)
{
	static thrum_time start;

	if (start.ns == 0)
		start = thrum_now();
	return (int)(thrum_time_sub(thrum_now(), start).ns / 1000000);
}

struct link {
	int runs;
};
static int keep_link(struct link *l)
{
	printf("%4d ms: link up\n", now_ms());
	(void)thrum_sleep(thrum_ms(++l->runs == 1 ? 300 : 100));
	printf("%4d ms: link broken\n", now_ms());
	return thrum_failed(THRUM_APP(1), "the database has gone");
}
THRUM_FX(keep_link, struct link);

static int serve(void *unused)
{
	int code;

	(void)unused;
	printf("%4d ms: server up\n", now_ms());
	code = thrum_call(thrum_never());
	printf("%4d ms: server stopped\n", now_ms());
	return code;
}
THRUM_FX(serve, void);

static int example(void *unused)
{
	const thrum_schedule backoff = thrum_exponential(thrum_ms(50), thrum_sec(1));
	struct link link = { 0 };
	const thrum_child_spec children[] = {
		{ .fx = keep_link_fx(&link), .name = "link", .schedule = &backoff },
		{ .fx = serve_fx(NULL), .name = "server" },
	};
	const thrum_cause *why;

	(void)unused;
	now_ms();
	(void)thrum_supervise(children, 2, THRUM_SUPERVISOR_OPTS(.strategy = THRUM_REST_FOR_ONE, .max_restarts = 2));
	why = thrum_last_cause();
	printf("%4d ms: given up after %u runs of the %s: %s\n", now_ms(), why->attempts, why->name, why->what);
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .workers = 1), example_fx(NULL)) != 0;
}
