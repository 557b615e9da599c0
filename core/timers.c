/* core/timers.c: a pairing heap, intrusive and never recursive.
 *
 * Arming is O(1); taking the first and removing any are O(log n) amortised. Equal deadlines fire in the order in which
 * they were armed (L6). Nothing here allocates, reads a clock or calls fire().
 *
 * Invariants: no child is before its parent; root->next == root->prev == NULL; for every other t, t->prev is its left
 * sibling or, for a first child, its parent. The links of an unarmed timer mean nothing.
 * Not recursive, because after n armings in order the root has n children, and a fiber's stack is small.
 * Source: Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", 1986. */
#include "timers.h"
#include "assert.h"

static bool before(const struct th_timer *a, const struct th_timer *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

/* Both are roots, neither NULL. The later one becomes the first child of the other. */
static struct th_timer *meld(struct th_timer *a, struct th_timer *b)
{
	if (before(b, a)) {
		struct th_timer *t = a;
		a = b;
		b = t;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	a->child = b;
	a->next = NULL;
	a->prev = NULL;
	return a;
}

/* Make one heap of a list of siblings, or NULL of none: pairs from left to right, then those from right to left. The
 * two passes are what the logarithmic bound rests on; one pass would do, more slowly. */
static struct th_timer *meld_siblings(struct th_timer *list)
{
	struct th_timer *pairs = NULL; /* linked by next, the last pair first */

	while (list) {
		struct th_timer *a = list, *b = list->next;

		list = b ? b->next : NULL;
		if (b)
			a = meld(a, b);
		a->next = pairs;
		pairs = a;
	}

	struct th_timer *root = NULL;

	while (pairs) {
		struct th_timer *a = pairs;

		pairs = a->next;
		a->next = NULL;
		a->prev = NULL;
		root = root ? meld(root, a) : a;
	}
	return root;
}

/* Take t, which is not the root, and all below it out of its siblings. */
static void cut(struct th_timer *t)
{
	if (t->prev->child == t)
		t->prev->child = t->next;
	else
		t->prev->next = t->next;
	if (t->next)
		t->next->prev = t->prev;
}

void th_timers_init(struct th_timers *ts)
{
	*ts = (struct th_timers){ 0 };
}

void th_timers_add(struct th_timers *ts, struct th_timer *t)
{
	TH_ASSERT(!t->armed);
	t->seq = ts->next_seq++;
	t->child = NULL;
	t->next = NULL;
	t->prev = NULL;
	t->armed = true;
	ts->root = ts->root ? meld(ts->root, t) : t;
	ts->count++;
}

void th_timers_remove(struct th_timers *ts, struct th_timer *t)
{
	if (!t->armed)
		return;
	TH_DASSERT(ts->count > 0);
	TH_DASSERT((t == ts->root) == !t->prev);

	struct th_timer *rest = meld_siblings(t->child);

	if (t == ts->root) {
		ts->root = rest;
	} else {
		cut(t);
		if (rest)
			ts->root = meld(ts->root, rest);
	}
	t->armed = false;
	ts->count--;
}

int64_t th_timers_next_ns(const struct th_timers *ts)
{
	return ts->root ? ts->root->at_ns : INT64_MAX;
}

struct th_timer *th_timers_take_due(struct th_timers *ts, int64_t now_ns)
{
	struct th_timer *t = ts->root;

	if (!t || t->at_ns > now_ns)
		return NULL;
	th_timers_remove(ts, t);
	return t;
}
