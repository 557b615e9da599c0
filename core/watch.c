/* core/watch.c: the list of cancelled scopes and the report of one that does not close. See the header. */
#include "watch.h"
#include "assert.h"
#include "dump.h"
#include "hooks.h"
#include "report.h"
#include "scope.h"
#include <errno.h>
#include <stdio.h>

enum { REPORTS_A_LOOK = 4, NAME_BYTES = 64, TEXT_BYTES = 2048 };

/* What is told of one scope, copied: once the lock is released it may close. */
struct overdue {
	thrum_report what;
	uint8_t policy;
	char name[NAME_BYTES];
	char text[TEXT_BYTES];
};

void th_watch_init(struct th_watch *w, int64_t grace_ns)
{
	th_lock_init(&w->lock);
	w->scopes = NULL;
	th_init(&w->x_count, 0);
	w->grace_ns = grace_ns;
}

/* Under the lock. */
static void list(struct th_watch *w, struct th_scope *s)
{
	if (th_load_rlx(&s->watch.x_listed))
		return;
	th_store_rlx(&s->watch.x_listed, 1);
	s->watch.prev = NULL;
	s->watch.next = w->scopes;
	if (w->scopes)
		w->scopes->watch.prev = s;
	w->scopes = s;
	th_store_rlx(&w->x_count, th_load_rlx(&w->x_count) + 1);
}

void th_watch_add(struct th_node *n)
{
	struct th_scope *s = th_container(n, struct th_scope, node);
	struct th_watch *w;

	if ((n->kind != TH_NODE_SCOPE && n->kind != TH_NODE_ROOT) || th_node_cancelled(n))
		return;
	w = &s->home->watch;
	if (w->grace_ns == INT64_MAX)
		return; /* unless it has a grace of its own, and then it is listed already */
	th_lock(&w->lock);
	list(w, s);
	th_unlock(&w->lock);
}

/* Under the lock. */
static void unlist(struct th_watch *w, struct th_scope *s)
{
	if (!th_load_rlx(&s->watch.x_listed))
		return; /* the closer and a late canceller may both come */
	th_store_rlx(&s->watch.x_listed, 0);
	*(s->watch.prev ? &s->watch.prev->watch.next : &w->scopes) = s->watch.next;
	if (s->watch.next)
		s->watch.next->watch.prev = s->watch.prev;
	th_store_rlx(&w->x_count, th_load_rlx(&w->x_count) - 1);
}

void th_watch_remove(struct th_node *n)
{
	struct th_scope *s = th_container(n, struct th_scope, node);
	struct th_watch *w = &s->home->watch;

	if (!th_load_rlx(&s->watch.x_listed))
		return;
	th_lock(&w->lock);
	unlist(w, s);
	th_unlock(&w->lock);
}

static int64_t grace_of(const struct th_watch *w, const struct th_scope *s)
{
	if (s->watch.policy == THRUM_GRACE_WAIT)
		return INT64_MAX;
	return s->watch.grace_ns ? s->watch.grace_ns : w->grace_ns;
}

/* When it is overdue; stamps it if this is the first look. INT64_MAX: never, or not any more. */
static int64_t due_ns(const struct th_watch *w, struct th_scope *s, int64_t now_ns)
{
	int64_t grace = grace_of(w, s), due;

	if (s->watch.reported || grace == INT64_MAX || !th_load_acq(&s->node.x_cancelled)) /* N2 */
		return INT64_MAX;
	if (s->watch.since_ns == 0)
		s->watch.since_ns = now_ns;
	return __builtin_add_overflow(s->watch.since_ns, grace, &due) ? INT64_MAX : due;
}

/* Under the lock. */
static void describe(struct th_scope *s, int64_t now_ns, struct overdue *o)
{
	const struct th_task *owner = s->owner; /* runs while its scope is open */
	int n;

	snprintf(o->name, sizeof o->name, "%s", owner && owner->name ? owner->name : "");
	o->policy = s->watch.policy;
	o->what = (thrum_report){ .kind = THRUM_REPORT_SLOW_SCOPE, .code = s->node.reason.code,
				  .index = owner ? owner->index : 0, .run = owner ? owner->fx.run : NULL,
				  .file = s->node.reason.file, .line = s->node.reason.line };
	n = snprintf(o->text, sizeof o->text, "a scope%s%s was cancelled (%s) %lld ms ago and has not closed; below it:",
		     owner ? " of " : ", the runtime's own,", owner ? (o->name[0] ? o->name : "an unnamed effect") : "",
		     th_reason_text(s->node.reason.kind), (long long)((now_ns - s->watch.since_ns) / 1000000));
	TH_ASSERT(n > 0 && (size_t)n < sizeof o->text);
	th_dump_below(&s->node, o->text + n, sizeof o->text - (size_t)n);
}

static void tell(struct th_home *home, struct overdue *o)
{
	if (o->name[0])
		o->what.name = o->name;
	th_report_text(home->observer, &o->what, o->text);
	if (o->policy == THRUM_GRACE_ABORT)
		th_abort(__FILE__, __LINE__, "a cancelled scope was not closed within its grace (S10)");
}

/* Find one that is overdue; false if there is none, then *ret_next is when to look again. */
static bool find_overdue(struct th_home *home, int64_t now_ns, bool report, struct overdue *o, int64_t *ret_next)
{
	struct th_watch *w = &home->watch;
	bool found = false;

	*ret_next = INT64_MAX;
	th_lock(&w->lock);
	for (struct th_scope *s = w->scopes; s && !found; s = s->watch.next) {
		int64_t due = due_ns(w, s, now_ns);

		found = report && due <= now_ns;
		if (found) {
			s->watch.reported = true;
			describe(s, now_ns, o);
		} else if (due < *ret_next) {
			*ret_next = due;
		}
	}
	th_unlock(&w->lock);
	return found;
}

/* Not inlined: the text takes room only when there is something to look at. */
__attribute__((noinline)) static int64_t look(struct th_home *home, int64_t now_ns, bool report)
{
	struct overdue o;
	int64_t next;

	for (int i = 0; i < REPORTS_A_LOOK; i++) {
		if (!find_overdue(home, now_ns, report, &o, &next))
			return next;
		tell(home, &o);
	}
	return now_ns; /* there may be more: the list is walked from its head for each, so not all in one go */
}

int64_t th_watch_look(struct th_home *home, int64_t now_ns, bool report)
{
	return th_load_rlx(&home->watch.x_count) ? look(home, now_ns, report) : INT64_MAX;
}

int thrum_scope_grace(thrum_scope *public, thrum_dur grace, unsigned policy)
{
	struct th_fiber *f = th_self();
	struct th_scope *s = th_scope_of(public);
	struct th_watch *w;

	if (!f)
		return THRUM_ENOTFIBER;
	if (s->owner != f->task)
		return -EPERM;
	if (policy > THRUM_GRACE_WAIT || grace.ns < 0)
		return -EINVAL;
	w = &s->home->watch;
	th_lock(&w->lock);
	s->watch.grace_ns = grace.ns ? grace.ns : 1;
	s->watch.policy = (uint8_t)policy;
	s->watch.reported = false;
	list(w, s);
	th_unlock(&w->lock);
	if (policy != THRUM_GRACE_WAIT)
		th_watch_often(s->home, grace.ns);
	return 0;
}
