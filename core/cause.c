/* core/cause.c: causes: leaves, composition, the text of a tree. Who owns what is in the header. */
#include "cause.h"
#include "assert.h"
#include "deep.h"
#include "pool.h"
#include "scope.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct th_cause *new_node(struct th_pool *pool, unsigned kind, int code)
{
	struct th_cause *c = th_pool_take(pool);

	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->c.kind = kind;
	c->c.code = code;
	c->c.index = THRUM_NO_INDEX;
	return c;
}

static void fill_leaf(thrum_cause *c, int code, const thrum_reason *why)
{
	memset(c, 0, sizeof *c);
	c->kind = code == -ECANCELED ? THRUM_CAUSE_INTERRUPT : code == THRUM_EDIED ? THRUM_CAUSE_DIE : THRUM_CAUSE_FAIL;
	c->code = code;
	c->index = THRUM_NO_INDEX;
	if (code == -ECANCELED && why)
		c->reason = *why;
}

struct th_cause *th_cause_leaf(struct th_pool *pool, int code, const thrum_reason *why)
{
	struct th_cause *c = new_node(pool, 0, 0);

	if (c)
		fill_leaf(&c->c, code, why);
	return c;
}

/* --- composition --- */

static struct th_cause *next_of(struct th_cause *c)
{
	return (struct th_cause *)(void *)(uintptr_t)c->c.next;
}

static struct th_cause *first_of(struct th_cause *c)
{
	return (struct th_cause *)(void *)(uintptr_t)c->c.first;
}

static void append(struct th_cause *whole, struct th_cause *part)
{
	TH_DASSERT(!part->c.next);
	if (whole->last)
		whole->last->c.next = &part->c;
	else
		whole->c.first = &part->c;
	whole->last = part;
}

static void lose(struct th_cause *kept, struct th_cause *part)
{
	kept->c.omitted++;
	part->c.next = kept->lost ? &kept->lost->c : NULL;
	kept->lost = part;
}

/* May parts be added to it? Not if it came from a child as it is: it is that child's whole story. */
static bool is_open(const struct th_cause *c, unsigned kind)
{
	return c->c.kind == kind && c->c.index == THRUM_NO_INDEX;
}

struct th_cause *th_cause_join(struct th_pool *pool, unsigned kind, struct th_cause *a, struct th_cause *b, int code)
{
	struct th_cause *whole;

	if (!a || !b)
		return a ? a : b;
	whole = is_open(a, kind) ? a : new_node(pool, kind, code);
	if (!whole) {
		struct th_cause *kept = a->c.code == code ? a : b;
		lose(kept, kept == a ? b : a);
		return kept;
	}
	whole->c.code = code;
	if (whole != a)
		append(whole, a);
	append(whole, b);
	return whole;
}

struct th_cause *th_cause_add(struct th_pool *pool, unsigned kind, struct th_cause *a, struct th_cause *b, int code)
{
	if (a && !b)
		a->c.omitted++;
	return th_cause_join(pool, kind, a, b, code);
}

void th_cause_extend(struct th_pool *pool, struct th_cause *at, struct th_cause *later)
{
	const thrum_cause head = { .kind = THRUM_CAUSE_THEN, .code = at->c.code, .index = at->c.index, .name = at->c.name,
				   .next = at->c.next };
	struct th_cause *was;

	if (!later)
		return;
	was = new_node(pool, 0, 0);
	if (!was) {
		lose(at, later);
		return;
	}
	*was = *at;
	was->c.next = NULL;
	was->c.index = THRUM_NO_INDEX; /* the whole is the child's */
	was->c.name = NULL;
	*at = (struct th_cause){ .c = head };
	append(at, was);
	append(at, later);
}

void th_cause_from_child(struct th_cause *c, size_t index, const char *name)
{
	if (!c || c->c.index != THRUM_NO_INDEX)
		return;
	c->c.index = index;
	c->c.name = name;
}

struct th_cause *th_cause_tried(struct th_pool *pool, struct th_cause *c, uint64_t attempts)
{
	if (c && c->c.attempts) {
		struct th_cause *whole = new_node(pool, THRUM_CAUSE_THEN, c->c.code);
		if (!whole)
			return c; /* the inner count stands */
		append(whole, c);
		c = whole;
	}
	if (c)
		c->c.attempts = attempts > UINT_MAX ? UINT_MAX : (unsigned)attempts;
	return c;
}

/* `list`, then `rest`. */
static struct th_cause *chain(struct th_cause *list, struct th_cause *last, struct th_cause *rest)
{
	last->c.next = rest ? &rest->c : NULL;
	return list;
}

/* A loop, so that no shape of tree costs stack: the parts go to the front of what is left to free. */
void th_cause_free(struct th_pool *pool, struct th_cause *c)
{
	while (c) {
		struct th_cause *rest = next_of(c);

		if (c->last)
			rest = chain(first_of(c), c->last, rest);
		while (c->lost) {
			struct th_cause *part = c->lost;
			c->lost = next_of(part);
			rest = chain(part, part, rest);
		}
		if (c->drop)
			c->drop(c->c.detail);
		th_pool_give(pool, c);
		c = rest;
	}
}

/* --- the running identity's --- */

/* A payload's drop is the user's: it must not meet the cause that goes, and may leave another one (X5). */
void th_cause_clear(struct th_fiber *f)
{
	struct th_task *t = f->task;
	struct th_cause *c;

	while ((c = t->cause)) {
		t->cause = NULL;
		t->failed = 0;
		th_cause_free(f->home->causes, c);
	}
	t->failed = 0;
}

void th_cause_set(struct th_fiber *f, int code, struct th_cause *c)
{
	th_cause_clear(f);
	f->task->cause = c;
	f->task->failed = code;
}

struct th_cause *th_cause_take(struct th_fiber *f, int code)
{
	struct th_task *t = f->task;
	struct th_cause *c = t->cause;

	if (c && c->c.code == code) {
		t->cause = NULL;
		t->failed = 0;
		return c;
	}
	th_cause_clear(f);
	return th_cause_leaf(f->home->causes, code, thrum_cancel_reason());
}

int th_cause_pass(struct th_fiber *f, int code)
{
	if (code < 0 && f->task->failed != code)
		th_cause_set(f, code, th_cause_leaf(f->home->causes, code, thrum_cancel_reason()));
	return code;
}

void th_cause_after(struct th_fiber *f, struct th_cause *first, int code)
{
	struct th_cause *later = th_cause_take(f, code);

	th_cause_set(f, code, th_cause_join(f->home->causes, THRUM_CAUSE_THEN, first, later, code));
}

struct th_cause_kept th_cause_keep(struct th_fiber *f)
{
	struct th_task *t = f->task;
	struct th_cause_kept kept = { t->cause, t->failed };

	t->cause = NULL;
	t->failed = 0;
	return kept;
}

int th_cause_settle(struct th_fiber *f, const struct th_cause_kept *kept, int code)
{
	struct th_cause *c;

	if (code >= 0) {
		th_cause_clear(f);
		f->task->cause = kept->cause;
		f->task->failed = kept->failed;
		return code;
	}
	c = th_cause_take(f, code);
	th_cause_free(f->home->causes, kept->cause); /* whose payload's drop may leave another one */
	th_cause_set(f, code, c);
	return code;
}

/* The only part that is left stands for the whole. */
static struct th_cause *drop_interrupts(struct th_pool *pool, struct th_cause *whole)
{
	struct th_cause *part = first_of(whole), *next;

	whole->c.first = NULL;
	whole->last = NULL;
	for (; part; part = next) {
		next = next_of(part);
		part->c.next = NULL;
		if (part->c.kind == THRUM_CAUSE_INTERRUPT)
			th_cause_free(pool, part);
		else
			append(whole, part);
	}
	part = first_of(whole);
	if (part)
		whole->c.code = part->c.code;
	if (part && (part != whole->last || whole->c.omitted > 0 || whole->c.index != THRUM_NO_INDEX))
		return whole;
	whole->c.first = NULL;
	whole->last = NULL;
	th_cause_free(pool, whole);
	return part;
}

struct th_cause *th_cause_take_failures(struct th_fiber *f)
{
	struct th_task *t = f->task;
	struct th_cause *c = t->cause;

	if (!c || c->c.code != -ECANCELED || !c->last)
		return NULL;
	t->cause = NULL;
	t->failed = 0;
	return drop_interrupts(f->home->causes, c);
}

const thrum_cause *thrum_last_cause(void)
{
	struct th_fiber *f = th_self();

	if (!f || f->task->failed == 0)
		return NULL;
	if (f->task->cause)
		return &f->task->cause->c;
	fill_leaf(&f->last_resort, f->task->failed, thrum_cancel_reason());
	return &f->last_resort;
}

int thrum_failed_at_(int code, const char *what, void *detail, void (*drop)(void *), const char *file, unsigned line)
{
	struct th_fiber *f = th_self();
	struct th_cause *c = f ? th_cause_leaf(f->home->causes, code, NULL) : NULL;

	if (code >= 0)
		code = -EINVAL;
	if (f)
		th_cause_set(f, code, c);
	if (!c) {
		if (drop)
			drop(detail);
		return code;
	}
	c->c.code = code;
	c->c.what = what;
	c->c.file = file;
	c->c.line = line;
	c->c.detail = detail;
	c->drop = drop;
	return code;
}

/* fx failed with `failed`. A handler that passes that on has not failed itself: it is told once. The echo of a cancel is not
 * told beside what else the handler came to (E3). */
static int handle(struct th_fiber *f, int failed, int (*handler)(const thrum_cause *, void *), void *arg)
{
	bool echo = failed == -ECANCELED && th_cancelled(f);
	struct th_cause *c = th_cause_take(f, failed);
	thrum_cause bare;
	int code;

	if (!c)
		fill_leaf(&bare, failed, thrum_cancel_reason());
	code = handler(c ? &c->c : &bare, arg);
	if (code == failed && f->task->failed != code)
		th_cause_set(f, code, c);
	else if (code < 0 && !echo)
		th_cause_after(f, c, code);
	else
		th_cause_free(f->home->causes, c);
	return code;
}

int thrum_catch_cause(thrum_fx fx, int (*handler)(const thrum_cause *, void *), void *arg)
{
	struct th_fiber *f = th_self();
	struct th_cause_kept kept;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run || !handler)
		return -EINVAL;
	kept = th_cause_keep(f);
	code = th_call_deep(fx);
	if (code < 0)
		code = handle(f, code, handler, arg);
	return th_cause_settle(f, &kept, code);
}

/* --- text --- */

enum { DEPTH_MAX = 32 }; /* of the tree that is shown: enough for people, and it bounds the stack */

struct text {
	char *buf;
	size_t size, length;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	size_t room = t->length < t->size ? t->size - t->length : 0;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(room ? t->buf + t->length : NULL, room, fmt, args);
	va_end(args);
	if (n > 0)
		t->length += (size_t)n;
}

static void add_site(struct text *t, const char *file, unsigned line)
{
	if (file)
		add(t, " (%s:%u)", file, line);
}

static void add_reason(struct text *t, const thrum_reason *why)
{
	static const char *const kinds[] = { "cancelled", "cancelled", "its time was up", "a sibling failed", "lost a race",
					     "the body failed", "a token was cancelled", "the runtime shuts down",
					     "deadlock", "daemons end with the others" };

	add(t, "interrupted: %s", kinds[why->kind < sizeof kinds / sizeof *kinds ? why->kind : 0]);
	if (why->kind == THRUM_CANCEL_SIBLING)
		add(t, ": child %zu, %s", why->index, thrum_strerror(why->code));
	if (why->kind == THRUM_CANCEL_RACE_LOST)
		add(t, " to %zu", why->index);
	if (why->kind == THRUM_CANCEL_BODY)
		add(t, ": %s", thrum_strerror(why->code));
	add_site(t, why->file, why->line);
}

static void add_head(struct text *t, const thrum_cause *c)
{
	if (c->index != THRUM_NO_INDEX)
		add(t, "child %zu%s%s%s: ", c->index, c->name ? " \"" : "", c->name ? c->name : "", c->name ? "\"" : "");
	switch (c->kind) {
	case THRUM_CAUSE_INTERRUPT:
		add_reason(t, &c->reason);
		break;
	case THRUM_CAUSE_DIE:
		add(t, "died: %s", c->what ? c->what : "no reason given");
		break;
	default:
		add(t, "%s%s", c->kind == THRUM_CAUSE_BOTH ? "both: " : c->kind == THRUM_CAUSE_THEN ? "then: " : "",
		    thrum_strerror(c->code));
		if (c->code < THRUM_APP(0) || c->code == THRUM_APP(0))
			add(t, " %d", THRUM_APP(0) - c->code);
		if (c->what)
			add(t, ": %s", c->what);
	}
	add_site(t, c->file, c->line);
	if (c->attempts)
		add(t, " after %u attempts", c->attempts);
	if (c->omitted)
		add(t, " (%zu more left out: no memory)", c->omitted);
}

static void add_tree(struct text *t, const thrum_cause *c, int depth)
{
	add(t, "%*s", 2 * depth, "");
	if (depth == DEPTH_MAX) {
		add(t, "...");
		return;
	}
	add_head(t, c);
	for (const thrum_cause *part = c->first; part; part = part->next) {
		add(t, "\n");
		add_tree(t, part, depth + 1);
	}
}

size_t thrum_cause_text(const thrum_cause *cause, char *buf, size_t size)
{
	struct text t = { buf, size, 0 };

	if (size)
		buf[0] = '\0';
	if (cause)
		add_tree(&t, cause, 0);
	return t.length;
}
