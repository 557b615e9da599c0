/* test/sim/test_exceptions.c: what a C++ runtime keeps per thread stays with the fiber, under seeds and cancels. This program
 * plays the C++ runtime; test/cxx has the real one. */
#include "../support/sim_run.h"
#include <errno.h>

/* As in the Itanium C++ ABI. */
struct globals {
	void *caught;
	unsigned uncaught;
};
struct globals *__cxa_get_globals(void);
struct globals *__cxa_get_globals(void)
{
	static struct globals of_the_only_thread;

	return &of_the_only_thread;
}

/* The real runtime is not instrumented either: what is the thread's is no hand-over between its fibers. */
#define PRIVATE __attribute__((noinline, no_sanitize("thread")))
PRIVATE static struct globals get(void)
{
	return *__cxa_get_globals();
}
PRIVATE static void set(struct globals g)
{
	*__cxa_get_globals() = g;
}

/* A handler, or, with `flying`, a destructor that runs because of an exception. It calls `depth` more of its kind: as a call,
 * as children, in turn. */
struct handler {
	unsigned flying;
	int depth;
};

static int suspend(void)
{
	return sim_choose(2) ? thrum_yield() : thrum_sleep(thrum_ms((int)sim_choose(2)));
}

static void check_mine(struct handler *h, unsigned uncaught)
{
	TH_CHECK(get().caught == h);
	TH_CHECK_EQ(get().uncaught, uncaught);
}

static int handle(struct handler *h);
THRUM_FX(handle, struct handler);

static int call_on(struct handler *h)
{
	struct handler below[2] = { { sim_choose(2), h->depth - 1 }, { sim_choose(2), h->depth - 1 } };

	if (sim_choose(2))
		return thrum_then(handle_fx(&below[0]), handle_fx(&below[1]));
	return thrum_zip_par(handle_fx(&below[0]), handle_fx(&below[1]));
}

static int handle(struct handler *h)
{
	struct globals before = get();
	unsigned uncaught = before.uncaught + h->flying;
	int r;

	set((struct globals){ h, uncaught });
	r = suspend();
	check_mine(h, uncaught);
	if (r == 0 && h->depth > 0)
		r = call_on(h);
	check_mine(h, uncaught);
	if (sim_choose(2)) {
		(void)suspend();
		check_mine(h, uncaught);
	}
	set(before);
	return r;
}

static int root(void)
{
	struct handler all[3] = { { 0, 2 }, { 1, 1 }, { 0, 0 } };
	int r;

	check_mine(NULL, 0); /* a root begins with none, whatever its thread handles */
	r = thrum_zip_par(handle_fx(&all[0]), handle_fx(&all[1]), handle_fx(&all[2]));
	check_mine(NULL, 0);
	return r;
}

SIM_TEST_WITH(exceptions, fibers_keep_their_own, .clock = THRUM_CLOCK_JUMP)
{
	(void)unused;
	return root();
}
