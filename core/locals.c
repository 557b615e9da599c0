/* core/locals.c: fiber locals. The protocol is in locals.h, the calls are described in thrum/context.h. */
#include "locals.h"
#include "deep.h"
#include "hooks.h"
#include "scope.h"
#include <stdlib.h>
#include <string.h>

#ifdef TH_SIM
th_atomic_u32 th_sim_locals_live;
#define LIVE(n) ((void)th_add_rlx(&th_sim_locals_live, (uint32_t)(n)))
#else
#define LIVE(n) ((void)0)
#endif

void th_locals_drop_one(struct th_locals *l)
{
	if (th_sub_seq(&l->x_refs, 1) != 1) /* L2 */
		return;
	LIVE(-1);
	free(l);
}

static struct th_binding *find(struct th_locals *l, const thrum_local *key)
{
	for (size_t i = 0; l && i < l->n; i++)
		if (l->at[i].key == key)
			return &l->at[i];
	return NULL;
}

void *th_locals_get(struct th_locals *l, const thrum_local *key)
{
	struct th_binding *b = find(l, key);

	return b ? b->value : key->initial;
}

struct th_locals *th_locals_copy(const struct th_locals *base, size_t more)
{
	size_t had = base ? base->n : 0;
	struct th_locals *l = malloc(sizeof *l + (had + more) * sizeof l->at[0]);

	if (!l)
		return NULL;
	th_init(&l->x_refs, 1);
	l->n = had;
	if (had)
		memcpy(l->at, base->at, had * sizeof l->at[0]);
	LIVE(1);
	return l;
}

void th_locals_bind(struct th_locals *l, const thrum_local *key, void *value)
{
	struct th_binding *b = find(l, key);

	if (!b)
		b = &l->at[l->n++];
	*b = (struct th_binding){ key, value };
}

void th_locals_replace(struct th_task *t, struct th_locals *l)
{
	th_locals_drop(t->locals);
	t->locals = l;
}

int th_locals_call(struct th_fiber *f, struct th_locals *l, thrum_fx fx)
{
	struct th_locals *before = f->task->locals;
	thrum_scope scope;
	int code;

	f->task->locals = l;
	th_scope_open(f, th_scope_of(&scope));
	code = th_call_deep(fx);
	code = th_scope_end(f, th_scope_of(&scope), code);
	th_locals_replace(f->task, before); /* of what is there now: fx may have set more */
	return code;
}

/* --- the public calls --- */

void *thrum_local_get(const thrum_local *key)
{
	struct th_fiber *f = th_self();

	return key ? th_locals_get(f ? f->task->locals : NULL, key) : NULL;
}

static struct th_locals *with_one_more(struct th_locals *base, const thrum_local *key, void *value)
{
	struct th_locals *l = th_locals_copy(base, 1);

	if (l)
		th_locals_bind(l, key, value);
	return l;
}

int thrum_local_set(const thrum_local *key, void *value)
{
	struct th_fiber *f = th_self();
	struct th_locals *l;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!key)
		return -EINVAL;
	l = f->task->locals;
	if (find(l, key) && th_load_acq(&l->x_refs) == 1) { /* L3 */
		th_locals_bind(l, key, value);
		return 0;
	}
	l = with_one_more(l, key, value);
	if (!l)
		return -ENOMEM;
	th_locals_replace(f->task, l);
	return 0;
}

int thrum_local_with(const thrum_local *key, void *value, thrum_fx fx)
{
	struct th_fiber *f = th_self();
	struct th_locals *l;

	if (!f)
		return THRUM_ENOTFIBER;
	if (!key || !fx.run)
		return -EINVAL;
	l = with_one_more(f->task->locals, key, value);
	return l ? th_locals_call(f, l, fx) : -ENOMEM;
}

static int local_op(void *arg)
{
	const thrum_local_op *op = arg;

	return thrum_local_with(op->key, op->value, op->fx);
}

thrum_fx thrum_local_with_fx(thrum_local_op *op) { return (thrum_fx){ local_op, op }; }
