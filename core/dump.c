/* core/dump.c: see the header. A line for each node:
 *
 *   child 2 "mirror" (0x5581…): in the kernel        its own wait, where the node knows it
 *     shield                                         cancels from outside stop here
 *       scope, closing: waits for 1 of 3 children    the fiber that opened it is in thrum_scope_close()
 *
 * A child that waits where no cancel reaches (a join by the opener, a close) shows by what is below it. */
#include "dump.h"
#include "assert.h"
#include "light.h"
#include "scope.h"
#include <stdarg.h>
#include <stdio.h>

enum { DEPTH_MAX = 8, NAME_SHOWN = 64 };

struct dump {
	char *at;
	size_t left;
	unsigned lines;
};

static const char *const reasons[] = {
	[THRUM_CANCEL_EXPLICIT] = "explicitly",     [THRUM_CANCEL_DEADLINE] = "deadline",
	[THRUM_CANCEL_SIBLING] = "a child failed",  [THRUM_CANCEL_RACE_LOST] = "the race is won",
	[THRUM_CANCEL_BODY] = "its body failed",    [THRUM_CANCEL_TOKEN] = "token",
	[THRUM_CANCEL_SHUTDOWN] = "shutdown",       [THRUM_CANCEL_DEADLOCK] = "deadlock",
};

const char *th_reason_text(unsigned kind)
{
	return kind < sizeof reasons / sizeof *reasons && reasons[kind] ? reasons[kind] : "no reason given";
}

__attribute__((format(printf, 2, 3))) static void put(struct dump *d, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(d->at, d->left, fmt, args);
	va_end(args);
	if (n < 0)
		return;
	if ((size_t)n >= d->left)
		n = d->left > 0 ? (int)d->left - 1 : 0;
	d->at += n;
	d->left -= (size_t)n;
}

/* What the fiber that lives in this node waits for; its lock is held, which keeps the waiter. */
static const char *wait_of(struct th_node *n)
{
	struct th_waiter *w = n->waiter;

	if (!w)
		return "";
	if (w->on_cancel)
		return ": in an operation of the kernel";
	return th_load_acq(&w->x_state) == TH_WAIT_ARMED ? ": waits" : ": about to go on";
}

/* Children that have not ended, also those that are not below it because nobody has begun them (core/light.h). */
static unsigned left(struct th_scope *s)
{
	return s->pending + s->coming + th_load_rlx(&s->x_out);
}

/* The locks of the node and of the one above it are held. */
static void line(struct dump *d, struct th_node *n, unsigned depth)
{
	put(d, "\n%*s", (int)(2 * depth + 2), "");
	if (n->kind == TH_NODE_TASK) {
		const struct th_task *t = th_container(n, struct th_task, node);

		put(d, "child %zu", t->index);
		if (t->name)
			put(d, " \"%.*s\"", NAME_SHOWN, t->name);
		put(d, " (%#llx)", (unsigned long long)(uintptr_t)t->fx.run);
		if (t->joiners.head)
			put(d, ", joined");
	} else if (n->kind == TH_NODE_SHIELD) {
		put(d, "shield");
	} else if (n->kind == TH_NODE_RESTORED) {
		put(d, "a part that may be cancelled again");
	} else {
		struct th_scope *s = th_container(n, struct th_scope, node);

		put(d, "scope, %s: %u of %zu children left", s->closing ? "closing" : "open", left(s), th_light_spawned(s));
	}
	put(d, "%s", wait_of(n));
}

/* The parent's lock is held. Depth is bounded, so recursion is. */
static void below(struct dump *d, struct th_node *parent, unsigned depth)
{
	for (struct th_node *kid = parent->kids; kid; kid = kid->next) {
		if (kid->kind == TH_NODE_MIRROR)
			continue; /* nobody stands in it: core/mask.c */
		if (++d->lines >= TH_DUMP_LINES || depth > DEPTH_MAX) {
			put(d, "\n%*sand more", (int)(2 * depth + 2), "");
			return;
		}
		th_lock(&kid->lock);
		line(d, kid, depth);
		below(d, kid, depth + 1);
		th_unlock(&kid->lock);
	}
}

void th_dump_below(struct th_node *top, char *text, size_t bytes)
{
	struct dump d = { text, bytes, 0 };

	if (bytes > 0)
		*text = '\0';
	th_lock(&top->lock);
	below(&d, top, 0);
	th_unlock(&top->lock);
}
