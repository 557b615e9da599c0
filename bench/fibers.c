/* bench/fibers.c: what it costs to suspend: a yield, a child that blocks on a fiber of its own, a sleep that is cancelled,
 * an item handed over by a channel. One worker, so nothing but the fiber machinery is in the figure. */
#include "bench.h"

enum { N = 200000 };

static int yields(void *unused)
{
	int r = 0;

	(void)unused;
	for (int i = 0; i < N && r == 0; i++)
		r = thrum_yield();
	return r;
}

static int yield_once(void *unused)
{
	(void)unused;
	return thrum_yield();
}

/* The child starts when its spawner yields, on a fiber of its own, and yields to it; so the join has to wait for it. */
static int joined_children(void *unused)
{
	thrum_scope s;
	thrum_task t;
	int r = thrum_scope_open(&s);

	(void)unused;
	for (int i = 0; i < N && r == 0; i++) {
		r = thrum_spawn(&s, &t, (thrum_fx){ yield_once, NULL });
		if (r == 0)
			r = thrum_yield();
		if (r == 0)
			r = thrum_join(&t);
	}
	(void)thrum_scope_close(&s);
	return r;
}

/* The same with a scope and a block from the heap for each. */
static int blocking_children(void *unused)
{
	int r = 0;

	(void)unused;
	for (int i = 0; i < N && r == 0; i++) {
		thrum_scope s;
		r = thrum_scope_open(&s);
		if (r == 0)
			r = thrum_go(&s, (thrum_fx){ yield_once, NULL });
		if (r == 0)
			r = thrum_yield(); /* the child starts, and yields, on a fiber of its own */
		(void)thrum_scope_close(&s);
	}
	return r;
}

static int cancelled_sleeps(void *unused)
{
	int r = 0;

	(void)unused;
	for (int i = 0; i < N && r == 0; i++) {
		thrum_fx both[2] = { thrum_succeed(), thrum_never() };
		thrum_race_op race = { both, 2, NULL };
		r = thrum_timeout(thrum_race_fx(&race), thrum_sec(100)); /* arms a timer and takes it away */
	}
	return r;
}

static int pump(thrum_chan *c)
{
	int r = 0;

	for (int i = 0; i < N && r == 0; i++)
		r = thrum_chan_send(c, &i);
	return r;
}
THRUM_FX(pump, thrum_chan);

static int drain(thrum_chan *c)
{
	int r = 0, item;

	for (int i = 0; i < N && r == 0; i++)
		r = thrum_chan_recv(c, &item);
	return r;
}
THRUM_FX(drain, thrum_chan);

static int rendezvous(void *unused)
{
	thrum_chan c;
	int r = thrum_chan_init(&c, sizeof(int), 0);

	(void)unused;
	if (r == 0)
		r = thrum_zip_par(pump_fx(&c), drain_fx(&c));
	thrum_chan_fini(&c);
	return r;
}

static void run_yields(void) { run_or_die(1, (thrum_fx){ yields, NULL }); }
static void run_joined(void) { run_or_die(1, (thrum_fx){ joined_children, NULL }); }
static void run_children(void) { run_or_die(1, (thrum_fx){ blocking_children, NULL }); }
static void run_sleeps(void) { run_or_die(1, (thrum_fx){ cancelled_sleeps, NULL }); }
static void run_rendezvous(void) { run_or_die(1, (thrum_fx){ rendezvous, NULL }); }

int main(void)
{
	struct row rows[] = {
		{ "yield", "ns", run_yields, N, 0 },
		{ "child that blocks, joined", "ns", run_joined, N, 0 },
		{ "thrum_go() in a scope each", "ns", run_children, N, 0 },
		{ "race under a timeout", "ns", run_sleeps, N, 0 },
		{ "rendezvous of two fibers", "ns an item", run_rendezvous, N, 0 },
	};
	size_t n = sizeof rows / sizeof *rows;

	measure(rows, n);
	for (size_t i = 0; i < n; i++)
		printf("%-28s %10.1f %s\n", rows[i].name, rows[i].best / rows[i].per, rows[i].unit);
	return 0;
}
