/* core/cycle.c: see the header. */
#include "cycle.h"
#if TH_DEBUG
#include "report.h"
#include "scope.h"
#include <errno.h>
#include <stdio.h>

enum { STEPS_MAX = 64, NODES_MAX = 256, KIDS_DEPTH = 12, NESTING_MAX = 1000 };

static struct th_lock edges; /* zero: free */

/* `who` waits for `to`; found while looking at step `from`. */
struct step {
	struct th_task *who, *to;
	bool until_end;
	unsigned from;
};

struct search {
	struct th_task *me;
	struct th_node *here;
	unsigned n, nodes;
	struct step steps[STEPS_MAX];
};

static void add(struct search *s, struct th_task *who, const struct th_edge *e, unsigned from)
{
	if (!e->to || (e->waiter && th_load_acq(&e->waiter->x_state) != TH_WAIT_ARMED)) /* W2 */
		return; /* about to go on */
	for (unsigned i = 0; i < s->n; i++)
		if (s->steps[i].to == e->to && s->steps[i].until_end == e->until_end)
			return;
	if (s->n < STEPS_MAX)
		s->steps[s->n++] = (struct step){ who, e->to, e->until_end, from };
}

/* The waits of all effects below `n`. The path's locks are held, as in a cancel; the targets are looked at later. */
static void add_waits_below(struct search *s, struct th_node *n, unsigned from, unsigned depth)
{
	if (depth == KIDS_DEPTH)
		return;
	th_lock(&n->lock);
	for (struct th_node *kid = n->kids; kid && s->nodes < NODES_MAX; kid = kid->next) {
		s->nodes++;
		if (kid->kind == TH_NODE_TASK) {
			struct th_task *t = th_container(kid, struct th_task, node);
			if (t->waits && t->waits->waiter) /* whom it calls is below it, too */
				add(s, t, t->waits, from);
		}
		add_waits_below(s, kid, from, depth + 1);
	}
	th_unlock(&n->lock);
}

/* Does what this step waits for need the one who is about to wait? */
static bool closes(const struct search *s, const struct step *step)
{
	const struct th_node *n = s->here;

	if (!step->until_end)
		return step->to == s->me;
	for (unsigned i = 0; n && i < NESTING_MAX; i++, n = n->parent)
		if (n == &step->to->node)
			return true;
	return false;
}

/* The step that closes the circle; STEPS_MAX: there is none. */
static unsigned find(struct search *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct th_task *t = s->steps[i].to;

		if (closes(s, &s->steps[i]))
			return i;
		if (t->waits)
			add(s, t, t->waits, i);
		if (s->steps[i].until_end)
			add_waits_below(s, &t->node, i, 0);
	}
	return STEPS_MAX;
}

static size_t put_task(char *text, size_t size, const struct th_task *t)
{
	int n = snprintf(text, size, t->name ? "child %zu \"%.64s\"" : "child %zu", t->index, t->name);

	return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

static void put_circle(const struct search *s, unsigned last, char *text, size_t size)
{
	unsigned order[STEPS_MAX], n = 0;
	size_t used = 0;

	for (unsigned i = last;; i = s->steps[i].from) {
		order[n++] = i;
		if (i == 0)
			break;
	}
	while (n > 0) {
		const struct step *step = &s->steps[order[--n]];
		int more;

		used += put_task(text + used, size - used, step->who);
		more = snprintf(text + used, size - used, " waits for ");
		used += (size_t)more < size - used ? (size_t)more : size - used - 1;
		used += put_task(text + used, size - used, step->to);
		if (n > 0 && used + 2 < size) {
			text[used++] = ';';
			text[used++] = ' ';
			text[used] = '\0';
		}
	}
}

int th_cycle_find(struct th_fiber *f, struct th_edge *e, struct th_circle *ret_circle)
{
	struct search s = { .me = f->task, .here = f->node };
	unsigned last;

	th_lock(&edges);
	add(&s, f->task, e, 0);
	last = find(&s);
	if (last == STEPS_MAX)
		f->task->waits = e;
	else
		put_circle(&s, last, ret_circle->text, sizeof ret_circle->text);
	th_unlock(&edges);
	return last == STEPS_MAX ? 0 : -EDEADLK;
}

int th_cycle_tell(struct th_fiber *f, const struct th_circle *circle)
{
	const thrum_report what = { .kind = THRUM_REPORT_DEADLOCK, .code = -EDEADLK, .name = f->task->name,
				    .index = f->task->index, .run = f->task->fx.run };

	th_report(f->home->observer, &what, "deadlock: a circle of waits: %s", circle->text);
	return -EDEADLK;
}

int th_cycle_enter(struct th_fiber *f, struct th_edge *e)
{
	struct th_circle circle = { .text = "" };

	return th_cycle_find(f, e, &circle) < 0 ? th_cycle_tell(f, &circle) : 0;
}

static void set_wait(struct th_task *t, struct th_edge *e)
{
	th_lock(&edges);
	t->waits = e;
	th_unlock(&edges);
}

void th_cycle_leave(struct th_fiber *f)
{
	set_wait(f->task, NULL);
}

void th_cycle_call(struct th_task *caller, struct th_edge *e)
{
	if (caller)
		set_wait(caller, e);
}

void th_cycle_return(struct th_task *caller)
{
	if (caller)
		set_wait(caller, NULL);
}

void th_cycle_retarget(struct th_edge *e, struct th_task *holder)
{
	th_lock(&edges);
	e->to = holder;
	th_unlock(&edges);
}
#else
typedef int th_cycle_is_empty_here; /* ISO C wants a declaration */
#endif
