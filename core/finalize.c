/* core/finalize.c: the finalizers of a scope, all at once (S12). */
#include "deep.h"
#include "fan.h"
#include "oracle.h"

struct finalizing {
	struct fan fan;
	struct th_node *node;
	int exit_code, first;
	struct th_cause *causes;
};

static int finalize_one(void *arg)
{
	struct finalizing *z = arg;
	thrum_fx fx;
	int code;

	th_self()->exit_code = z->exit_code;
	if (!th_node_take_finalizer(z->node, &fx))
		return 0;
	code = th_call_always(fx);
	th_oracle_ran(z->node, fx);
	return code;
}

static void finalized(struct fan *fan, size_t i, int code, struct th_cause *cause)
{
	struct finalizing *z = th_container(fan, struct finalizing, fan);

	(void)i;
	if (code >= 0)
		return;
	th_lock(&fan->lock);
	if (z->first == 0)
		z->first = code;
	z->causes = th_cause_add(fan->causes, THRUM_CAUSE_BOTH, z->causes, cause, z->first);
	th_unlock(&fan->lock);
}

static size_t count_finalizers(struct th_node *n)
{
	size_t count = 0;

	th_lock(&n->lock);
	for (struct th_deferred *d = n->finalizers; d; d = d->next)
		count++;
	th_unlock(&n->lock);
	return count;
}

static int finalize_all(void *arg)
{
	struct finalizing *z = arg;

	/* Again, since a finalizer may register further ones. */
	for (size_t n; (n = count_finalizers(z->node)) > 0;) {
		z->fan = (struct fan){ .run = finalize_one, .base = arg, .n = n, .parallelism = THRUM_UNBOUNDED,
				       .isolated = true, .ended = finalized };
		(void)th_fan_all(&z->fan, NULL);
	}
	return z->first;
}

int th_finalize_par(struct th_fiber *f, struct th_node *n, int exit_code, struct th_cause **ret_cause)
{
	struct finalizing z = { .node = n, .exit_code = exit_code };
	int r = th_run_shielded(f, (thrum_fx){ finalize_all, &z }, exit_code);

	*ret_cause = z.causes;
	return r;
}
