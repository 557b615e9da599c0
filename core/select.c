/* core/select.c: one wait in several objects.
 *
 * A select looks at all its cases in one section that holds the locks of all their objects, taken in the order of
 * their addresses: either it takes one that is ready, or it stands in every queue before anybody can come. So it
 * never has to claim itself and somebody else at once, which is where two selects that meet in a channel could
 * take each other twice.
 *
 *   look     lock all; a ready case? take it : queue all; unlock all
 *   event    under the lock of one object: claims the one x_state that all cases share (waiter.h), and marks the case
 *   leave    each lock in turn: out of the queues
 *
 * Which of several ready cases is taken: the first from a place that th_choose() draws, so none is starved by its
 * place. A send that never waits, because it makes room or drops, is ready always; it is done by
 * thrum_chan_try_send() after the locks, which no case was taken under then. */
#include "assert.h"
#include "chan.h"
#include "node.h"
#include "promise.h"
#include "select.h"
#include <errno.h>
#include <limits.h>

/* What lies in a case's storage. */
struct scase {
	union {
		struct th_wait wait; /* first of both */
		struct th_chan_wait chan;
		struct th_promise_wait promise;
	} w;
	struct scase *next;          /* of the next lock, or of the same */
	bool at_once;                /* a send that never waits */
};
_Static_assert(sizeof(struct scase) <= sizeof(((thrum_case *)NULL)->opaque_), "thrum_case holds an scase");

struct select {
	struct th_waiter waiter;     /* the leader; in no queue */
	thrum_case *cases;
	size_t n;
	struct scase *by_lock;       /* in the order of their locks */
	size_t chosen;               /* n: none yet */
};

static struct scase *of(thrum_case *c)
{
	return (struct scase *)(void *)c->opaque_;
}

/* --- before --- */

static bool makes_sense(const thrum_case *c)
{
	switch (c->kind) {
	case THRUM_CASE_NONE:
		return true;
	case THRUM_CASE_SEND:
		return c->object && c->item;
	case THRUM_CASE_RECV:
		return c->object && c->ret;
	case THRUM_CASE_AWAIT:
		return c->object != NULL;
	default:
		return false;
	}
}

static void init_case(thrum_case *c)
{
	struct scase *sc = of(c);

	sc->at_once = c->kind == THRUM_CASE_SEND && th_chan_send_never_waits(c->object);
	if (c->kind == THRUM_CASE_AWAIT)
		th_promise_wait_init(&sc->w.promise, c->object);
	else
		th_chan_wait_init(&sc->w.chan, c->object, c->kind == THRUM_CASE_SEND ? c->item : NULL, c->ret);
}

/* By insertion: selects are short. */
static void insert(struct select *s, struct scase *sc)
{
	struct scase **at = &s->by_lock;

	while (*at && (uintptr_t)(*at)->w.wait.lock < (uintptr_t)sc->w.wait.lock)
		at = &(*at)->next;
	sc->next = *at;
	*at = sc;
}

static int init(struct select *s, thrum_case *cases, size_t n)
{
	if ((!cases && n > 0) || n > INT_MAX)
		return -EINVAL;
	*s = (struct select){ .cases = cases, .n = n, .chosen = n };
	for (size_t i = 0; i < n; i++)
		if (!makes_sense(&cases[i]))
			return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (cases[i].kind == THRUM_CASE_NONE)
			continue;
		init_case(&cases[i]);
		insert(s, of(&cases[i]));
	}
	return 0;
}

/* --- looking --- */

static void lock_all(struct select *s)
{
	struct th_lock *held = NULL;

	for (struct scase *sc = s->by_lock; sc; sc = sc->next) {
		if (sc->w.wait.lock != held)
			th_lock(sc->w.wait.lock);
		held = sc->w.wait.lock;
	}
}

/* Each lock is given back once its last case has been passed. */
static void unlock_all(struct select *s)
{
	struct scase *sc = s->by_lock;

	while (sc) {
		struct th_lock *lock = sc->w.wait.lock;

		while (sc && sc->w.wait.lock == lock)
			sc = sc->next;
		th_unlock(lock);
	}
}

/* Under all locks: the case that is taken; n if none is ready. */
static size_t take_one(struct select *s)
{
	size_t first = s->n > 1 ? th_choose((uint32_t)s->n, "case") : 0;

	for (size_t k = 0; k < s->n; k++) {
		size_t i = (first + k) % s->n;
		struct scase *sc = of(&s->cases[i]);

		if (s->cases[i].kind == THRUM_CASE_NONE)
			continue;
		if (sc->at_once || sc->w.wait.take(&sc->w.wait))
			return i;
	}
	return s->n;
}

/* After the locks: what the chosen case came to. */
static void finish_case(thrum_case *c)
{
	struct scase *sc = of(c);

	th_wake_all(&sc->w.wait.wakes);
	if (sc->at_once)
		c->code = thrum_chan_try_send(c->object, c->item);
	else if (c->kind == THRUM_CASE_AWAIT)
		c->code = th_promise_report(&sc->w.promise.result, c->ret);
	else
		c->code = sc->w.chan.code;
}

static bool look(struct select *s)
{
	lock_all(s);
	s->chosen = take_one(s);
	unlock_all(s);
	return s->chosen < s->n;
}

/* --- waiting --- */

/* Under all locks. */
static void queue_all(struct select *s, struct th_fiber *f)
{
	for (struct scase *sc = s->by_lock; sc; sc = sc->next) {
		th_waiter_init(&sc->w.wait.waiter, f);
		sc->w.wait.waiter.leader = &s->waiter;
		th_waitq_push(sc->w.wait.queue, &sc->w.wait.waiter);
	}
}

/* On the worker's stack, as park() of core/wait.c. Whoever take() woke is woken by finish_case(), on the fiber. */
static void park(struct th_fiber *f, void *arg)
{
	struct select *s = arg;

	if (!th_node_arm(f, &s->waiter)) {
		if (th_waiter_claim(&s->waiter, TH_WAIT_CANCELLED))
			th_wake(f);
		return;
	}
	lock_all(s);
	s->chosen = take_one(s);
	if (s->chosen == s->n)
		queue_all(s, f);
	unlock_all(s);
	if (s->chosen < s->n && th_waiter_claim(&s->waiter, TH_WAIT_DONE))
		th_wake(f);
}

/* Which case was it? And out of the other queues: once this returns no event can hold a waiter of ours. The object
 * of the chosen case is not touched, as in wait.h: it may be gone. */
static void leave_all(struct select *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct scase *sc = of(&s->cases[i]);

		if (s->cases[i].kind == THRUM_CASE_NONE)
			continue;
		if (sc->w.wait.waiter.chosen)
			s->chosen = i;
		else
			th_wait_leave(&sc->w.wait);
	}
}

static void wait_for_one(struct select *s, struct th_fiber *f)
{
	th_waiter_init(&s->waiter, f);
	th_suspend(park, s);
	th_node_disarm(f, &s->waiter);
	if (s->chosen == s->n)
		leave_all(s);
}

int th_select(thrum_case *cases, size_t n)
{
	struct th_fiber *f = th_self();
	struct select s;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	r = init(&s, cases, n);
	if (r < 0)
		return r;
	if (th_cancel_point(f))
		return -ECANCELED;
	if (!look(&s))
		wait_for_one(&s, f);
	if (s.chosen == n)
		return -ECANCELED;
	finish_case(&cases[s.chosen]);
	return (int)s.chosen;
}

int thrum_try_select(thrum_case *cases, size_t n)
{
	struct select s;
	int r = init(&s, cases, n);

	if (r < 0)
		return r;
	if (!look(&s))
		return -EAGAIN;
	finish_case(&cases[s.chosen]);
	return (int)s.chosen;
}
