/* sched/opts.c: what a program asks for and the environment says, completed by defaults. */
#include "opts.h"
#include "../io/lent.h"
#include "../io/sim/sim.h"
#include "worker.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	WORKERS_MAX = 1024,
	STACK_BYTES = 112 * 1024, /* with its guard: 128 KiB of address space */
	STACK_MIN = 16 * 1024,
	STUCK_MS = 1000,
	SLOW_SCOPE_MS = 10000,
	RING_ENTRIES_MAX = 32768, /* the kernel's limit */
	OPTS_FIRST_SIZE = offsetof(thrum_opts, observe) /* of version 0.1.0 */
};

static bool is_simulated(void) /* where seeds mean the same on every machine */
{
#ifdef TH_SIM
	return true;
#else
	return false;
#endif
}

/* One thread plays them all: more than a few show nothing new. */
static unsigned workers_max(void)
{
	return is_simulated() ? TH_SIM_WORKERS_MAX : WORKERS_MAX;
}

static unsigned usable_cpus(void)
{
	cpu_set_t set;
	int n;

	CPU_ZERO(&set);
	n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

static int default_workers(unsigned *ret_n)
{
	const char *text = getenv("THRUM_WORKERS");
	unsigned long n;
	char *end;

	*ret_n = is_simulated() ? TH_SIM_WORKERS : usable_cpus();
	if (*ret_n > WORKERS_MAX)
		*ret_n = WORKERS_MAX;
	if (!text || !*text)
		return 0;
	n = strtoul(text, &end, 10);
	if (*end || n == 0 || n > workers_max())
		return -EINVAL;
	*ret_n = (unsigned)n;
	return 0;
}

bool th_env_is_set(const char *name)
{
	const char *env = getenv(name);

	return env && *env && strcmp(env, "0") != 0;
}

/* A program that was not written to be metered is told so by the environment, whatever it asks for. */
static int resolve_meter(thrum_opts *o)
{
	if (o->meter && o->workers > 1)
		return -EINVAL;
	o->meter |= th_env_is_set("THRUM_METER");
	if (o->meter)
		o->workers = 1;
	return 0;
}

/* The environment's seed goes before the program's, and is meant to replay. */
static int resolve_shuffle(thrum_opts *o)
{
	const char *text = getenv("THRUM_SHUFFLE");
	char *end;

	if (!text || !*text)
		return 0;
	o->seed = strtoull(text, &end, 10);
	if (*end || o->seed == 0)
		return -EINVAL;
	o->shuffle = true;
	o->workers = 1;
	return 0;
}

int th_opts_resolve(const thrum_opts *given, thrum_opts *o)
{
	long page = sysconf(_SC_PAGESIZE);
	int r;

	memset(o, 0, sizeof *o);
	if (given) {
		if (given->size < OPTS_FIRST_SIZE || given->size > sizeof *given)
			return -EINVAL;
		memcpy(o, given, given->size);
	}
	if (o->blocking_threads > TH_BLOCKERS_MAX || o->backend > THRUM_BACKEND_EPOLL || o->clock > THRUM_CLOCK_JUMP ||
	    o->workers > workers_max() || o->ring_entries > RING_ENTRIES_MAX || o->stack_bytes > (size_t)1 << 40)
		return -EINVAL;
	r = resolve_meter(o);
	if (r == 0)
		r = resolve_shuffle(o);
	if (r == 0)
		r = th_lents_options(&o->lent_buffers, &o->lent_bytes);
	if (r < 0)
		return r;
	o->restrict_ring |= th_env_is_set("THRUM_RESTRICT");
	if (o->workers == 0) {
		r = default_workers(&o->workers);
		if (r < 0)
			return r;
	}
	if (o->blocking_threads == 0)
		o->blocking_threads = TH_BLOCKERS_DEFAULT;
	if (o->stack_bytes == 0)
		o->stack_bytes = STACK_BYTES;
	if (o->stack_bytes < STACK_MIN)
		return -EINVAL;
	o->stack_bytes = (o->stack_bytes + (size_t)page - 1) & ~((size_t)page - 1);
	if (o->stuck_ms == 0)
		o->stuck_ms = STUCK_MS;
	if (o->slow_scope_ms == 0)
		o->slow_scope_ms = SLOW_SCOPE_MS;
	if (o->seed == 0)
		o->seed = th_seed();
	return 0;
}

bool th_opts_may_linger(const thrum_opts *o)
{
	return is_simulated() || (o->workers <= usable_cpus() && o->clock == THRUM_CLOCK_REAL);
}
