/* core/layer.c: layers: services that are built from services, and taken down in reverse.
 *
 *   plan        who gives what each needs; an order; or why there is none. Nothing has run yet
 *   build       in a scope: a child for each layer that waits for nothing; one that has been built counts down those that
 *               need it, and spawns each that waits for nothing more. So no fiber waits for another layer
 *   use         what was built becomes finalizers of the scope around it, in the plan's order; then fx runs, as the caller
 *   take down   by closing that scope: shielded, last first, all of them (D26)
 *
 *   tag  where                          order    pairs  shape  because
 *   Y1   count down: sub x_waits_for    seq_cst  Y1     MP     whoever comes last has seen every service that is needed */
#include "hooks.h"
#include "locals.h"
#include "scope.h"
#include "service.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plan;

struct slot {
	const thrum_layer *layer;
	struct plan *plan;
	struct slot **needs;        /* who gives needs[i]; NULL: nobody here, the caller has it */
	struct slot *next;          /* in the plan's order */
	bool placed;
	th_atomic_u32 x_waits_for;  /* needs that have not been built yet */
	struct th_task task;
	struct th_locals *locals;   /* what build and close see */
	void *service;
	bool built;
	struct th_deferred closing;
};

struct plan {
	struct slot *slots;         /* each layer once */
	struct slot **needs;        /* the slots' arrays */
	size_t n;
	struct slot *order, **order_end;
	struct th_locals *base;     /* the caller's, who holds it meanwhile */
	struct th_scope scope;      /* of the builds */
	struct th_lock lock;        /* of the error, while builds run */
	thrum_layer_error error;
};

static const char *name_of(const thrum_service *key)
{
	return key->local.name ? key->local.name : "?";
}

/* The first thing that goes wrong stays. */
__attribute__((format(printf, 4, 5))) static int report(struct plan *p, int code, const thrum_service *key, const char *fmt,
							 ...)
{
	va_list args;

	th_lock(&p->lock);
	if (p->error.code == 0) {
		p->error.code = code;
		p->error.service = key;
		va_start(args, fmt);
		vsnprintf(p->error.text, sizeof p->error.text, fmt, args);
		va_end(args);
	}
	th_unlock(&p->lock);
	return code;
}

/* --- the plan --- */

static struct slot *giver(struct plan *p, const thrum_service *key)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->slots[i].layer->gives == key)
			return &p->slots[i];
	return NULL;
}

static bool is_whole(const thrum_layer *l)
{
	return l && l->gives && l->build && (l->needs || l->n_needs == 0);
}

/* Each layer once. */
static int add_slots(struct plan *p, const thrum_layer *const *layers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct slot *other = giver(p, layers[i]->gives);

		if (!other)
			p->slots[p->n++] = (struct slot){ .layer = layers[i], .plan = p };
		else if (other->layer != layers[i])
			return report(p, -EEXIST, layers[i]->gives, "two layers give %s", name_of(layers[i]->gives));
	}
	return 0;
}

static int find_needs(struct plan *p, struct slot *s)
{
	uint32_t here = 0;

	for (size_t i = 0; i < s->layer->n_needs; i++) {
		const thrum_service *key = s->layer->needs[i];

		if (!key)
			continue;
		s->needs[i] = giver(p, key);
		here += s->needs[i] != NULL;
		if (!s->needs[i] && !thrum_service_get(key))
			return report(p, th_service_is_missing(key), key, "%s needs %s, which no layer gives",
				      name_of(s->layer->gives), name_of(key));
	}
	th_init(&s->x_waits_for, here);
	return 0;
}

static struct slot *unplaced_need(struct slot *s)
{
	for (size_t i = 0; i < s->layer->n_needs; i++)
		if (s->needs[i] && !s->needs[i]->placed)
			return s->needs[i];
	return NULL;
}

/* Every slot that is left needs another that is left: so going from need to need comes round. */
static struct slot *find_circle(struct plan *p, struct slot *s)
{
	struct slot *first;

	for (size_t steps = 0; steps < p->n; steps++)
		s = unplaced_need(s); /* after so many we are on it, whatever led there */
	first = s;
	for (struct slot *at = unplaced_need(s); at != s; at = unplaced_need(at))
		if (at < first)
			first = at; /* the one listed first: the same layers, the same text */
	return first;
}

static int report_circle(struct plan *p, struct slot *s)
{
	struct slot *first = find_circle(p, s), *at = first;
	char text[sizeof p->error.text] = "";
	size_t used = 0;

	do {
		int len = snprintf(text + used, sizeof text - used, "%s -> ", name_of(at->layer->gives));

		used += (size_t)len;
		at = unplaced_need(at);
	} while (at != first && used < sizeof text);
	if (used + strlen(name_of(first->layer->gives)) < sizeof text)
		strcpy(text + used, name_of(first->layer->gives));
	else
		strcpy(text + sizeof text - sizeof "...", "...");
	return report(p, -ELOOP, first->layer->gives, "%s", text);
}

/* In the order in which they are listed, as far as needs allow: the same layers, the same order. */
static int sort(struct plan *p)
{
	size_t placed = 0, before;

	p->order_end = &p->order;
	do {
		before = placed;
		for (size_t i = 0; i < p->n; i++) {
			struct slot *s = &p->slots[i];

			if (s->placed || unplaced_need(s))
				continue;
			s->placed = true;
			*p->order_end = s;
			p->order_end = &s->next;
			placed++;
		}
	} while (placed > before && placed < p->n);
	for (size_t i = 0; i < p->n; i++)
		if (!p->slots[i].placed)
			return report_circle(p, &p->slots[i]);
	return 0;
}

static int make_plan(struct plan *p, const thrum_layer *const *layers, size_t n)
{
	struct slot **needs;
	size_t total = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (!is_whole(layers[i]))
			return -EINVAL;
		total += layers[i]->n_needs;
	}
	p->slots = calloc(n + 1, sizeof *p->slots);
	p->needs = calloc(total + 1, sizeof *p->needs);
	if (!p->slots || !p->needs)
		return -ENOMEM;
	r = add_slots(p, layers, n);
	needs = p->needs;
	for (size_t i = 0; i < p->n && r == 0; i++) {
		p->slots[i].needs = needs;
		needs += p->slots[i].layer->n_needs;
		r = find_needs(p, &p->slots[i]);
	}
	return r < 0 ? r : sort(p);
}

static void free_plan(struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		th_locals_drop(p->slots[i].locals);
	free(p->slots);
	free(p->needs);
}

/* --- building --- */

static int build(void *slot);

static void start(struct th_fiber *f, struct slot *s)
{
	th_task_init(&s->task, (thrum_fx){ build, s });
	s->task.name = s->layer->gives->local.name;
	(void)th_spawn(f, &s->plan->scope, &s->task, 0); /* a refusal shows in the scope's outcome */
}

static void start_those_that_waited(struct th_fiber *f, const struct slot *done)
{
	for (struct slot *s = done->plan->order; s; s = s->next)
		for (size_t i = 0; i < s->layer->n_needs; i++)
			if (s->needs[i] == done && th_sub_seq(&s->x_waits_for, 1) == 1) /* Y1 */
				start(f, s);
}

static bool needs_others(const struct slot *s)
{
	for (size_t i = 0; i < s->layer->n_needs; i++)
		if (s->needs[i])
			return true;
	return false;
}

/* What the caller has, and the needs. */
static int gather(struct slot *s)
{
	if (!needs_others(s)) {
		s->locals = th_locals_share(s->plan->base);
		return 0;
	}
	s->locals = th_locals_copy(s->plan->base, s->layer->n_needs);
	if (!s->locals)
		return -ENOMEM;
	for (size_t i = 0; i < s->layer->n_needs; i++)
		if (s->needs[i])
			th_locals_bind(s->locals, &s->needs[i]->layer->gives->local, s->needs[i]->service);
	return 0;
}

static int report_build(struct slot *s, int code)
{
	return report(s->plan, code, s->layer->gives, "building %s: %s", name_of(s->layer->gives), thrum_strerror(code));
}

static int build(void *slot)
{
	struct slot *s = slot;
	struct th_fiber *f = th_self();
	int code = gather(s);

	if (code == 0) {
		th_locals_replace(f->task, th_locals_share(s->locals));
		code = s->layer->build(s->layer->arg, &s->service);
	}
	if (code >= 0 && !s->service)
		code = -EINVAL;
	if (code == -ECANCELED && th_cancelled(f))
		return code;
	if (code < 0)
		return report_build(s, code);
	s->built = true;
	start_those_that_waited(f, s);
	return 0;
}

/* A build failed that did not say so: by what it had to release, or for want of a fiber. All have ended. */
static int report_child(struct plan *p, int code)
{
	struct slot *s = p->order;

	while (s && s->task.code != code) /* 0: not started */
		s = s->next;
	return s ? report_build(s, code) : code;
}

static int build_all(struct th_fiber *f, struct plan *p)
{
	struct th_outcome out;
	int code = 0;

	th_scope_open(f, &p->scope);
	p->scope.takes_late = true; /* those that waited are spawned while it closes */
	for (struct slot *s = p->order; s; s = s->next)
		if (!needs_others(s)) /* not x_waits_for: one that is 0 by now was started by whom it waited for */
			start(f, s);
	th_scope_close(f, &p->scope, &out);
	if (p->error.code)
		code = p->error.code;
	else if (out.child)
		code = report_child(p, out.child);
	else if (out.interrupted || th_cancelled(f))
		code = -ECANCELED;
	return th_scope_rule(f, &p->scope, &out, code);
}

/* --- using and taking down --- */

static int call_close(void *slot)
{
	struct slot *s = slot;

	return s->layer->close(s->layer->arg, s->service);
}

/* A finalizer; with the locals that the build had. Allocates nothing. */
static int take_down(void *slot)
{
	struct slot *s = slot;
	struct th_locals *locals = s->locals;
	int code;

	s->locals = NULL;
	code = th_locals_call(th_self(), locals, (thrum_fx){ call_close, s });
	if (code < 0)
		(void)report(s->plan, code, s->layer->gives, "closing %s: %s", name_of(s->layer->gives), thrum_strerror(code));
	return code;
}

static void take_down_later(struct th_scope *scope, struct slot *s)
{
	if (!s->built || !s->layer->close)
		return;
	s->closing.fx = (thrum_fx){ take_down, s };
	s->closing.pool = NULL;
	th_init(&s->closing.x_node, NULL);
	(void)th_node_defer(&scope->node, &s->closing, NULL);
}

static int use(struct th_fiber *f, struct plan *p, thrum_fx fx)
{
	struct th_locals *all = th_locals_copy(p->base, p->n);

	if (!all)
		return -ENOMEM;
	for (struct slot *s = p->order; s; s = s->next)
		th_locals_bind(all, &s->layer->gives->local, s->service);
	return th_locals_call(f, all, fx);
}

static int run_plan(struct th_fiber *f, struct plan *p, thrum_fx fx)
{
	thrum_scope around;
	int code;

	th_scope_open(f, th_scope_of(&around));
	code = build_all(f, p);
	for (struct slot *s = p->order; s; s = s->next)
		take_down_later(th_scope_of(&around), s);
	if (code == 0)
		code = use(f, p, fx);
	return th_scope_end(f, th_scope_of(&around), code);
}

int thrum_layers_run(const thrum_layer *const *layers, size_t n, thrum_fx fx, thrum_layer_error *ret_error)
{
	struct th_fiber *f = th_self();
	struct plan plan = { 0 };
	int code;

	if (ret_error)
		*ret_error = plan.error;
	if (!f)
		return THRUM_ENOTFIBER;
	if (!fx.run || (n > 0 && !layers))
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	th_lock_init(&plan.lock);
	plan.base = f->task->locals;
	code = make_plan(&plan, layers, n);
	if (code == 0)
		code = run_plan(f, &plan, fx);
	free_plan(&plan);
	if (ret_error)
		*ret_error = plan.error;
	return code;
}

static int layers_op(void *arg)
{
	const thrum_layers_op *op = arg;

	return thrum_layers_run(op->layers, op->n, op->fx, op->ret_error);
}

thrum_fx thrum_layers_fx(thrum_layers_op *op) { return (thrum_fx){ layers_op, op }; }
