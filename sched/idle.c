/* sched/idle.c: falling asleep and being woken without losing a wake-up, and without waking more than is needed.
 *
 *   x_sleep of a worker:
 *                 th_sleep: announce              the waker's CAS
 *        AWAKE ────────────────────► ASLEEP ────────────────────────► AWAKE    by th_poke: there is mail
 *          ▲                           │   └────────────────────────► CALLED   by th_notify_work: go and search
 *          └── th_sleep: get up ───────┴── th_sleep: get up ────────────┘
 *   Only the worker itself raises x_idle, when it announces, and lowers it, when it gets up: so it is in the count once
 *   or not at all, whatever wakers do. (A waker that lowered it could do so late, after the worker had got up, run and
 *   announced again: counted twice, it would stand for another one that is at work.) A count of n means that every
 *   worker has announced and none has got up; one that has been called, but is not up yet, has taken nothing. The upper
 *   half of x_idle counts how often it was lowered: two equal readings mean that nobody got up between them.
 *
 *      sender                                     worker falling asleep
 *      push (mail, deque, inject …)               x_sleep = ASLEEP, x_idle++
 *      fence I1 (seq_cst)                         fence I2 (seq_cst)
 *      if (x_sleep == ASLEEP) take it out, wake   if (any source is not empty) get up again
 *   Without either fence both may read the old value: the push lies there and the worker sleeps (hazard 6).
 *
 *   tag  where                          order    pairs  shape  because
 *   I1   th_poke, th_notify_work fence  seq_cst  I2     SB     see above
 *   I2   th_sleep: fence                seq_cst  I1     SB     see above
 *   I3   take out: CAS x_sleep          seq_cst  I3     –      one waker
 *   I4   x_searching: raise, lower      seq_cst  I2     SB     a spawner that leaves the wake to a searcher: the searcher
 *                                                              lowers the count before it announces, so its own look
 *                                                              at all sources comes after the spawner's push. (The
 *                                                              relaxed reading of the count comes after I1.)
 *   I5   th_notify_work: fence          seq_cst  I1     SB     the same for a spawner that raised the count, found nobody
 *                                                              to call and lowered it again
 *   The wake itself is the backend's (an eventfd): one that comes before the wait ends the wait at once.
 *
 * At most one worker is woken to search at a time; when it finds work it has the next one woken (th_found_work). So a burst
 * of spawns costs one wake, and load spreads as fast as thieves succeed. Idea: Go's spinning Ms, tokio's searchers. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"

enum { LINGER_PAUSES = 16 }; /* between two looks; with what a look takes some 0.5 us */
enum { IDLE_COUNT = 0xffff, IDLE_LOWER = 0x10000 - 1 }; /* one sleeper less, one generation more */

static unsigned idle_count(struct thrum_rt *rt)
{
	return th_load_rlx(&rt->x_idle) & IDLE_COUNT;
}

/* True if the caller has taken `w` out of ASLEEP and must wake it. */
static bool take_out(struct th_worker *w, uint32_t to)
{
	uint32_t asleep = TH_ASLEEP;

	return th_load_rlx(&w->x_sleep) == TH_ASLEEP && th_cas_seq(&w->x_sleep, &asleep, to); /* I3 */
}

static void wake(struct th_worker *w)
{
	th_add_rlx(&w->x_wakes, 1);
	w->home.backend->wake(w->home.io);
}

void th_poke(struct th_worker *w)
{
	th_fence_seq(); /* I1 */
	if (take_out(w, TH_AWAKE))
		wake(w);
}

/* Call one sleeper to search; false if none was found. */
static bool call_one(struct thrum_rt *rt)
{
	unsigned first = th_choose(rt->nworkers, "wake");

	for (unsigned i = 0; i < rt->nworkers; i++) {
		struct th_worker *w = &rt->workers[(first + i) % rt->nworkers];
		if (take_out(w, TH_CALLED)) {
			wake(w);
			return true;
		}
	}
	return false;
}

bool th_somebody_sleeps(struct thrum_rt *rt)
{
	return rt->nworkers > 1 && idle_count(rt) > 0;
}

bool th_work_is_wanted(struct thrum_rt *rt)
{
	return th_somebody_sleeps(rt) || (rt->nworkers > 1 && th_load_rlx(&rt->x_searching) > 0);
}

static bool anyone_asleep(struct thrum_rt *rt)
{
	for (unsigned i = 0; i < rt->nworkers; i++)
		if (th_load_rlx(&rt->workers[i].x_sleep) == TH_ASLEEP)
			return true;
	return false;
}

void th_notify_work(struct thrum_rt *rt)
{
	if (rt->nworkers == 1 && th_worker_self() && th_worker_self()->rt == rt)
		return;
	th_fence_seq(); /* I1 */
	if (idle_count(rt) == 0)
		return;
	do {
		uint32_t none = 0;
		if (th_load_rlx(&rt->x_searching) != 0 || !th_cas_seq(&rt->x_searching, &none, 1)) /* I4 */
			return;
		if (call_one(rt))
			return;
		/* Nobody to call; but another spawner may have seen our 1 and left its wake to us, after a worker had fallen
		 * asleep behind our back. Look again, as a searcher does after it lowered the count. */
		th_sub_seq(&rt->x_searching, 1);
		th_fence_seq(); /* I5 */
	} while (anyone_asleep(rt));
}

void th_found_work(struct th_worker *w)
{
	if (!w->searching)
		return;
	w->searching = false;
	th_sub_seq(&w->rt->x_searching, 1);
	th_notify_work(w->rt);
}

static void stop_searching(struct th_worker *w)
{
	if (!w->searching)
		return;
	w->searching = false;
	th_sub_seq(&w->rt->x_searching, 1); /* I4 */
}

unsigned th_idle_worker(struct th_fiber *f)
{
	struct th_worker *w = th_fib_of(f)->worker;
	struct thrum_rt *rt = w->rt;
	unsigned first;

	if (rt->nworkers == 1 || idle_count(rt) == 0)
		return 0;
	first = th_choose(rt->nworkers, "idle");
	for (unsigned i = 0; i < rt->nworkers; i++) {
		unsigned at = (first + i) % rt->nworkers;
		if (th_load_rlx(&rt->workers[at].x_sleep) == TH_ASLEEP)
			return at + 1;
	}
	return 0;
}

bool th_has_more(struct th_fiber *f)
{
	struct th_worker *w = th_fib_of(f)->worker;
	bool more;

	TH_TSAN_PRIVATE_BEGIN();
	more = w->ready || th_deque_size_owner(&w->lane) > 0;
	TH_TSAN_PRIVATE_END();
	return more;
}

/* Every place where work for this worker may lie (hazards 6, 7). */
bool th_has_work(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;

	if (w->ready || !th_mail_looks_empty(w) || !th_taskq_looks_empty(&rt->inject))
		return true;
	if (th_load_rlx(&rt->x_token_signal) || th_load_rlx(&rt->x_stop))
		return true;
	for (unsigned i = 0; i < rt->nworkers; i++) {
		struct th_worker *v = &rt->workers[i];
		if (!th_deque_looks_empty_any(&v->lane) || !th_taskq_looks_empty(&v->spill))
			return true;
	}
	return false;
}

static void get_up(struct th_worker *w)
{
	uint32_t was = th_xchg_seq(&w->x_sleep, TH_AWAKE); /* I3 */

	if (was == TH_CALLED)
		w->searching = true;
	if (w->announced)
		th_add_seq(&w->rt->x_idle, IDLE_LOWER);
	w->announced = false;
}

/* Another worker may have announced with mail before it, and be about to get up; it lowers x_idle before it takes the
 * mail. So with the same x_idle before and after, mail that was there is seen. */
static bool all_asleep(void *arg, uint64_t *ret_inflight)
{
	struct thrum_rt *rt = ((struct th_worker *)arg)->rt;
	uint32_t idle = th_load_seq(&rt->x_idle);

	if ((idle & IDLE_COUNT) != rt->nworkers)
		return false;
	for (unsigned i = 0; i < rt->nworkers; i++) {
		if (!th_mail_looks_empty(&rt->workers[i]))
			return false;
		*ret_inflight += th_load_rlx(&rt->workers[i].home.x_inflight);
	}
	return !th_has_work(arg) && th_load_seq(&rt->x_idle) == idle;
}

static void get_up_early(void *w)
{
	get_up(w);
}

static int64_t look_at_scopes(struct thrum_rt *rt, bool report)
{
	int64_t now = th_load_rlx(&rt->clock.x_now_ns), first = INT64_MAX;

	for (unsigned i = 0; i < rt->nworkers; i++) {
		int64_t next = th_watch_look(&rt->workers[i].home, now, report);
		if (next < first)
			first = next;
	}
	return first;
}

static int64_t watch_ns(void *w)
{
	return look_at_scopes(((struct th_worker *)w)->rt, false);
}

/* The last worker to fall asleep moves a virtual clock. False: sleep. */
static bool move_clock(struct th_worker *w)
{
	struct th_quiescence q = { all_asleep, get_up_early, watch_ns, w, w->rt->calls_main };
	enum th_quiescent r = th_clock_quiescent(&w->rt->clock, &q);

	if (r == TH_CLOCK_STUCK)
		th_rt_stuck(w->rt);
	if (r == TH_CLOCK_MOVED)
		(void)look_at_scopes(w->rt, true);
	return r != TH_CLOCK_IDLE;
}

/* A worker that has stolen lately is likely to steal again soon: to be woken would cost it and its waker some 10 us, more
 * than it costs to look for a while. It counts as searching meanwhile, so nobody is woken beside it. One that has had I/O or
 * roots only goes to sleep at once: there the same microseconds would be most of the load. */
bool th_linger(struct th_worker *w)
{
	if (w->lingers == 0 || !w->rt->may_linger)
		return false;
	w->lingers--;
	for (int i = 0; i < LINGER_PAUSES; i++)
		th_pause(); /* who works should not feel it that its lane is read */
	return true;
}

void th_sleep(struct th_worker *w)
{
	struct thrum_rt *rt = w->rt;
	int64_t until = th_clock_fire_due(&w->home), cool_at = th_cool_at(w);
	uint32_t idle;

	if (w->ready || w->cooling)
		return;
	stop_searching(w);
	w->announced = true;
	th_store_seq(&w->x_sleep, TH_ASLEEP);
	idle = (th_add_seq(&rt->x_idle, 1) + 1) & IDLE_COUNT;
	th_fence_seq(); /* I2 */
	th_lanes_fence(w); /* G4: and as to forks, which have no I1 */
	if (!th_has_work(w) && !(th_clock_wants_rest(&rt->clock) && idle == rt->nworkers && move_clock(w))) {
		th_bump(&w->x_parks);
		w->home.backend->wait(w->home.io, until < cool_at ? until : cool_at);
	}
	get_up(w);
}
