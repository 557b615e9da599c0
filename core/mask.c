/* core/mask.c: a shielded region with a way to lift the shield for a part of it.
 *
 *        outside ─────────────────────────┬──────────────► mirror ┄┄┄┄┐ a cancel that reaches the mirror
 *           └─► shield ─► … scopes opened in the region … ─► restored ◄┘ is passed on
 *                                                               └─► what fx opens
 *
 * What runs restored lies below two nodes: those opened in the region, whose cancels reach it as ever, and what lies
 * outside the shield. A node has one parent, so the second is a mirror: a childless node outside, with a waiter whose
 * on_cancel cancels the restored node. That runs under the mirror's lock, which is a leaf of the outer branch; the restored
 * node's other ancestors are never taken from there, so locks still nest one way only: outer branch, then restored node. */
#include "assert.h"
#include "deep.h"
#include "node.h"
#include "scope.h"
#include <errno.h>

struct thrum_restore {
	struct th_node *shield;
	struct th_task *task;
};

struct masked {
	struct thrum_restore restore;
	int (*run)(thrum_restore *restore, void *arg);
	void *arg;
};

static int run_masked(void *arg)
{
	struct masked *m = arg;
	struct th_fiber *f = th_self();

	m->restore.shield = f->node;
	m->restore.task = f->task;
	return m->run(&m->restore, m->arg);
}

int thrum_mask(int (*run)(thrum_restore *, void *), void *arg)
{
	struct masked m = { .run = run, .arg = arg };
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!run)
		return -EINVAL;
	return th_call_shielded(f, (thrum_fx){ run_masked, &m }, f->exit_code);
}

struct mirror {
	struct th_node node;
	struct th_waiter waiter;
	struct th_node *restored;
};

static void pass_on(struct th_waiter *w)
{
	struct mirror *m = th_container(w, struct mirror, waiter);

	th_node_cancel(m->restored, &m->node.reason);
}

/* Is that shield the innermost one, seen from here? Another one in between stays (U2, U5). */
static bool is_innermost(const struct th_node *shield, const struct th_node *from)
{
	while (from && from->kind != TH_NODE_SHIELD)
		from = from->parent;
	return from == shield;
}

static int run_restored(struct th_fiber *f, struct th_node *outside, thrum_fx fx)
{
	struct th_node restored, *inside = f->node;
	struct mirror m = { .restored = &restored };
	int code;

	th_node_init(&restored, TH_NODE_RESTORED, f->home);
	th_store_rlx(&restored.x_deadline_ns, th_deadline_from(f, outside));
	th_node_link(&restored, inside);
	th_node_enter(f, &restored);
	th_node_init(&m.node, TH_NODE_MIRROR, NULL);
	th_waiter_init(&m.waiter, f);
	m.waiter.on_cancel = pass_on;
	m.node.waiter = &m.waiter;
	th_node_link(&m.node, outside);
	if (th_node_cancelled(&m.node))
		pass_on(&m.waiter); /* born cancelled: no walk has come by */
	code = th_call_deep(fx);
	TH_ASSERT(f->node == &restored);
	th_node_unlink(&m.node); /* no canceller is in it after this */
	th_node_enter(f, inside);
	th_node_unlink(&restored);
	return code;
}

int thrum_restore_run(thrum_restore *r, thrum_fx fx)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!r || !fx.run)
		return -EINVAL;
	if (r->task != f->task || !is_innermost(r->shield, f->node))
		return th_call_deep(fx);
	return run_restored(f, r->shield->parent, fx);
}
