/* core/promise.c: promises: a result that is set once, by anybody, and read by many. The setter writes it into
 * every waiter under the lock, so a waiter does not look at the promise again when it wakes: the first to have the
 * result may end the promise while the others are still on their way out. */
#include "promise.h"
#include "node.h"
#include <errno.h>
#include <string.h>

struct promise {
	struct th_lock lock;
	bool set;
	struct th_result result;
	struct th_waitq queue;
};
_Static_assert(sizeof(struct promise) <= sizeof(thrum_promise), "thrum_promise holds a promise");

static struct promise *of(thrum_promise *p)
{
	return (struct promise *)(void *)p;
}

int thrum_promise_init(thrum_promise *public)
{
	struct promise *p = of(public);

	memset(p, 0, sizeof *p);
	th_lock_init(&p->lock);
	return 0;
}

/* Under the lock. */
static void tell_all(struct promise *p, struct th_wakes *wakes)
{
	struct th_promise_wait *w;

	while ((w = (struct th_promise_wait *)(void *)th_wait_claim(&p->queue, wakes)) != NULL)
		w->result = p->result;
}

int thrum_promise_set(thrum_promise *public, int code, void *value)
{
	struct th_wakes wakes = { NULL, NULL };
	struct promise *p = of(public);
	bool was_set;

	th_lock(&p->lock);
	was_set = p->set;
	if (!was_set) {
		p->set = true;
		p->result = (struct th_result){ code, value };
		tell_all(p, &wakes);
	}
	th_unlock(&p->lock);
	th_wake_all(&wakes);
	return was_set ? -EALREADY : 0;
}

/* Under the lock, even if it was set long ago: see core/latch.c. */
static bool look(struct promise *p, struct th_result *ret_result)
{
	bool set;

	th_lock(&p->lock);
	set = p->set;
	if (set)
		*ret_result = p->result;
	th_unlock(&p->lock);
	return set;
}

int th_promise_report(const struct th_result *r, void **ret_value)
{
	if (r->code >= 0 && ret_value)
		*ret_value = r->value;
	return r->code;
}

static bool take(struct th_wait *wait)
{
	struct th_promise_wait *w = (struct th_promise_wait *)(void *)wait;
	struct promise *p = of(w->promise);

	if (p->set)
		w->result = p->result;
	return p->set;
}

void th_promise_wait_init(struct th_promise_wait *w, thrum_promise *public)
{
	struct promise *p = of(public);

	w->wait = (struct th_wait){ .lock = &p->lock, .queue = &p->queue, .take = take, .cancellable = true };
	w->promise = public;
}

int thrum_promise_await(thrum_promise *p, void **ret_value)
{
	struct th_fiber *f = th_self();
	struct th_promise_wait w;

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancel_point(f))
		return -ECANCELED;
	th_promise_wait_init(&w, p);
	if (!look(of(p), &w.result) && !th_wait(f, &w.wait)) {
		th_wait_leave(&w.wait);
		return -ECANCELED;
	}
	return th_promise_report(&w.result, ret_value);
}

int thrum_promise_try_await(thrum_promise *p, void **ret_value)
{
	struct th_result result;

	return look(of(p), &result) ? th_promise_report(&result, ret_value) : -EAGAIN;
}
