/* sched/watch.c: the watching thread. See the header for what it watches.
 *
 * The workers do nothing for it. Their statistics tell whether a worker has been back in its loop: each return either
 * suspended a fiber (x_suspends) or retired one (x_retired). When the sum stands still, who runs there is read from memory
 * that its owner may change or free meanwhile; so it is not read by this program's own loads but by the kernel, which
 * copies what is there and refuses what is not (process_vm_readv), and it counts only if the sum has not moved after it.
 *
 * Time is the sum of the waits between looks: after the whole process was stopped a single wait has passed, not a minute.
 *
 *   tag  where                              order    because
 *   V1   x_suspends, x_retired, x_sleep     relaxed  a hint; a report that comes a look later is as good
 *   V2   x_advances_begun, _ended               seq_cst  once per advance, cheap enough not to think
 *   V3   x_word: bumped to end a wait       seq_cst  futex: a bump before the wait makes it return at once */
#include "watch.h"
#include "../core/assert.h"
#include "../core/clock.h"
#include "../core/hooks.h"
#include "../core/watch.h"
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	LOOKS = 4,                 /* within the time that makes an incident */
	LOOK_MIN_NS = 1000000,
	LOOK_MAX_NS = 250000000,   /* also when only slow scopes are watched */
	NAME_BYTES = 64,
	PAGE = 4096                /* the smallest there is: a read that stays inside one is not refused halfway */
};

struct seen {
	uint64_t turns;
	int64_t still_ns;          /* since the first look that saw the same */
	bool told;
};

struct th_monitor {
	struct thrum_rt *rt;
	pthread_t thread;
	th_atomic_u32 x_word, x_stop;
	th_atomic(int64_t) x_look_ns;
	int64_t waited_ns;         /* between the last look and this one; 0 if somebody ended the wait */
	struct seen advance;
	struct seen workers[];
};

/* --- looking into memory that may change or go --- */

static bool peek(void *to, const void *from, size_t n)
{
	struct iovec here = { to, n }, there = { (void *)(uintptr_t)from, n };

	return from && process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)n;
}

/* A string, what fits of it; non-printing bytes as '?', since the message goes to a terminal. */
static void peek_text(char *to, size_t size, const char *from)
{
	size_t n = 0;

	while (from && n < size - 1) {
		size_t part = PAGE - (uintptr_t)(from + n) % PAGE;

		if (part > size - 1 - n)
			part = size - 1 - n;
		if (!peek(to + n, from + n, part))
			break;
		n += part;
		if (memchr(to, '\0', n))
			break;
	}
	to[n] = '\0';
	for (char *c = to; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
}

struct running {
	thrum_report what;
	char name[NAME_BYTES];
	char where[160];           /* the function as text */
};

static void name_function(struct running *r)
{
	void *at = (void *)(uintptr_t)r->what.run;
	Dl_info info;

	if (!at)
		r->where[0] = '\0';
	else if (!dladdr(at, &info))
		snprintf(r->where, sizeof r->where, " (%p)", at);
	else if (info.dli_sname && info.dli_saddr == at)
		snprintf(r->where, sizeof r->where, " (%.120s)", info.dli_sname);
	else
		snprintf(r->where, sizeof r->where, " (%.120s+%#tx)", info.dli_fname,
			 (char *)at - (char *)info.dli_fbase);
}

/* Whose effect runs on a worker, as far as it can be told. False: nobody's, the worker is in its loop or asleep. */
static bool who_runs(struct th_worker *w, struct running *r)
{
	struct th_fib *fib = NULL;
	struct th_task *t = NULL;
	const char *name = NULL;

	memset(r, 0, sizeof *r);
	r->what.worker = w->index + 1;
	if (!peek(&fib, &w->fiber, sizeof fib))
		return true; /* the kernel forbids it: the worker's number has to do */
	if (!fib)
		return false;
	if (!peek(&t, &fib->core.task, sizeof t))
		return true;
	if (!t)
		return false; /* it is about to begin */
	(void)peek(&r->what.run, &t->fx.run, sizeof r->what.run);
	(void)peek(&r->what.index, &t->index, sizeof r->what.index);
	if (peek(&name, &t->name, sizeof name))
		peek_text(r->name, sizeof r->name, name);
	if (r->name[0])
		r->what.name = r->name;
	name_function(r);
	return true;
}

static void print_who(const struct running *r, char *text, size_t size)
{
	if (r->what.name)
		snprintf(text, size, "\"%s\"%s", r->name, r->where);
	else
		snprintf(text, size, "child %zu%s", r->what.index, r->where);
}

/* --- fibers that do not suspend (X8) --- */

static uint64_t turns_of(struct th_worker *w)
{
	return th_load_rlx(&w->home.x_suspends) + th_load_rlx(&w->x_retired); /* V1 */
}

/* True when this look makes it an incident. */
static bool stands_still(const struct th_monitor *m, struct seen *s, uint64_t turns)
{
	if (s->turns != turns)
		*s = (struct seen){ .turns = turns };
	else
		s->still_ns += m->waited_ns;
	return !s->told && s->still_ns >= thrum_ms(m->rt->stuck_ms).ns;
}

static void look_at_worker(struct th_monitor *m, struct th_worker *w, struct seen *s)
{
	uint64_t turns = turns_of(w);
	struct running r;
	char who[256];

	if (th_load_rlx(&w->x_sleep) == TH_ASLEEP) /* V1 */
		s->still_ns = 0;
	if (!stands_still(m, s, turns) || !who_runs(w, &r) || turns_of(w) != turns)
		return;
	s->told = true;
	r.what.kind = THRUM_REPORT_STUCK_WORKER;
	print_who(&r, who, sizeof who);
	th_report(&m->rt->observer, &r.what,
		  "worker %u has run %s for more than %u ms without suspending; what else is ready there waits",
		  r.what.worker, who, m->rt->stuck_ms);
}

/* --- advances that do not end (C7) --- */

static bool tell_busy_advance(struct th_monitor *m, struct th_worker *w)
{
	struct running r;
	char who[256];

	if (!who_runs(w, &r))
		return false;
	r.what.kind = THRUM_REPORT_BUSY_ADVANCE;
	print_who(&r, who, sizeof who);
	th_report(&m->rt->observer, &r.what,
		  "thrum_clock_advance() has waited for more than %u ms of real time: worker %u still runs %s",
		  m->rt->stuck_ms, r.what.worker, who);
	return true;
}

static void look_at_advance(struct th_monitor *m)
{
	uint64_t ended = th_load_seq(&m->rt->x_advances_ended); /* V2 */

	if (th_load_seq(&m->rt->x_advances_begun) == ended) { /* none is under way */
		m->advance = (struct seen){ 0 };
		return;
	}
	if (!stands_still(m, &m->advance, ended))
		return;
	for (unsigned i = 0; i < m->rt->nworkers; i++)
		m->advance.told |= tell_busy_advance(m, &m->rt->workers[i]);
}

void th_monitor_advance_begins(struct thrum_rt *rt)
{
	th_add_seq(&rt->x_advances_begun, 1); /* V2 */
	th_monitor_start(rt);
}

void th_monitor_advance_ended(struct thrum_rt *rt)
{
	th_add_seq(&rt->x_advances_ended, 1); /* V2 */
}

/* --- the thread --- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void look(struct th_monitor *m)
{
	struct thrum_rt *rt = m->rt;
	bool real = !th_clock_is_virtual(&rt->clock);

	if (!real)
		look_at_advance(m);
	for (unsigned i = 0; i < rt->nworkers && real; i++) {
		if (rt->stuck_ms != THRUM_WATCH_OFF)
			look_at_worker(m, &rt->workers[i], &m->workers[i]);
		(void)th_watch_look(&rt->workers[i].home, now_ns(), true);
	}
}

static void wait_for_next(struct th_monitor *m, uint32_t seen)
{
	int64_t ns = th_load_rlx(&m->x_look_ns);
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };
	bool timed_out = syscall(SYS_futex, &m->x_word, FUTEX_WAIT_PRIVATE, seen, &ts, NULL, 0) < 0 && errno == ETIMEDOUT; /* V3 */

	m->waited_ns = timed_out ? ns : 0;
}

static void *monitor_main(void *arg)
{
	struct th_monitor *m = arg;

	prctl(PR_SET_NAME, "thrum-watch");
	for (;;) {
		uint32_t seen = th_load_seq(&m->x_word); /* V3 */

		if (th_load_seq(&m->x_stop))
			return NULL;
		wait_for_next(m, seen);
		look(m);
	}
}

static void nudge(struct th_monitor *m)
{
	th_add_seq(&m->x_word, 1); /* V3 */
	th_word_wake(&m->x_word, 1);
}

static int64_t look_every(int64_t limit_ns)
{
	int64_t ns = limit_ns / LOOKS;

	if (ns < LOOK_MIN_NS)
		return LOOK_MIN_NS;
	return ns < LOOK_MAX_NS ? ns : LOOK_MAX_NS;
}

static int64_t first_look(const struct thrum_rt *rt)
{
	int64_t stuck = rt->stuck_ms == THRUM_WATCH_OFF ? INT64_MAX : look_every(thrum_ms(rt->stuck_ms).ns);
	int64_t slow = th_clock_is_virtual(&rt->clock) ? INT64_MAX : look_every(rt->slow_ns);

	return stuck < slow ? stuck : slow;
}

static bool create(struct th_monitor *m)
{
	sigset_t all, before;
	int r;

	sigfillset(&all); /* handlers of the program are not for this thread */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&m->thread, NULL, monitor_main, m);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r == 0;
}

/* Under monitor_lock. */
static void start(struct thrum_rt *rt, int64_t every_ns)
{
	struct th_monitor *m = calloc(1, sizeof *m + rt->nworkers * sizeof m->workers[0]);

	if (!m)
		return;
	m->rt = rt;
	th_init(&m->x_word, 0);
	th_init(&m->x_stop, 0);
	th_init(&m->x_look_ns, every_ns);
	if (create(m))
		rt->monitor = m;
	else
		free(m);
}

void th_monitor_start(struct thrum_rt *rt)
{
	if (rt->stuck_ms == THRUM_WATCH_OFF && (th_clock_is_virtual(&rt->clock) || rt->slow_ns == INT64_MAX))
		return;
	th_lock(&rt->monitor_lock);
	if (!rt->monitor)
		start(rt, first_look(rt));
	th_unlock(&rt->monitor_lock);
}

void th_monitor_stop(struct thrum_rt *rt)
{
	struct th_monitor *m = rt->monitor;

	if (!m)
		return;
	th_store_seq(&m->x_stop, 1);
	nudge(m);
	pthread_join(m->thread, NULL);
	free(m);
	rt->monitor = NULL;
}

void th_watch_often(struct th_home *home, int64_t grace_ns)
{
	struct thrum_rt *rt = home->rt;
	int64_t every = look_every(grace_ns);

	if (th_clock_is_virtual(&rt->clock))
		return; /* whoever moves the clock looks */
	th_lock(&rt->monitor_lock);
	if (!rt->monitor) {
		start(rt, every);
	} else if (every < th_load_rlx(&rt->monitor->x_look_ns)) {
		th_store_rlx(&rt->monitor->x_look_ns, every);
		nudge(rt->monitor);
	}
	th_unlock(&rt->monitor_lock);
}
