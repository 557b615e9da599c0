/* sched/sim/faults.c: see the header. */
#include "faults.h"
#include "../../core/assert.h"
#include "../../core/fiber.h"
#include "../../core/node.h"
#include "../../core/random.h"
#include "../../core/scope.h"
#include "../../io/op.h"
#include "../../io/sys.h"
#include "timeline.h"
#include "../worker.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#undef malloc
#undef calloc
#undef realloc
#undef aligned_alloc
#undef free

static struct {
	struct th_sim_opts opts;
	uint64_t passed[3], since[3], allocs, live, live_before, ops; /* since: the first cancel */
	unsigned cancels;
	bool on;
} t;

/* --- cancels --- */

/* One that the program may cancel: a cancel of a combinator's own scope by anybody else would be none that can happen. */
static bool is_opened(struct th_node *n)
{
	return n->kind == TH_NODE_SCOPE && th_container(n, struct th_scope, node)->opened;
}

/* `n` or what is around it; the root, if nothing else is. */
static struct th_node *nearest_scope(struct th_node *n)
{
	while (!is_opened(n) && n->parent)
		n = n->parent;
	return n;
}

static bool has_deadline(struct th_node *n)
{
	return n->kind == TH_NODE_SCOPE && n->x_deadline_ns != INT64_MAX; /* no th_load: this is no part of the run */
}

/* An opened scope may have one as well as not. */
static struct th_node *nearest_limit(struct th_node *n)
{
	while (!is_opened(n) && !has_deadline(n) && n->parent)
		n = n->parent;
	return n;
}

static void cancel(struct th_fiber *f, enum th_sim_whom whom)
{
	thrum_reason why = { .kind = THRUM_CANCEL_EXPLICIT };
	struct th_node *n = nearest_scope(f->node);

	switch (whom) {
	case TH_SIM_ROOT:
		n = &th_worker_self()->rt->root.node;
		break;
	case TH_SIM_SCOPE:
		break;
	case TH_SIM_PARENT:
		n = n->parent ? nearest_scope(n->parent) : n;
		break;
	case TH_SIM_DEADLINE:
		n = nearest_limit(f->node);
		why = (thrum_reason){ .kind = THRUM_CANCEL_DEADLINE, .code = -ETIMEDOUT };
		break;
	}
	if (th_timeline_on)
		th_timeline_node(f->node, "is where a cancel arrives");
	t.cancels++;
	th_node_cancel(n, &why);
}

static bool is_time(const struct th_sim_cancel *c, enum th_sim_where where, const uint64_t *passed)
{
	return where == c->where && passed[where] == c->at;
}

struct th_sim_cancel th_sim_draw_again(uint64_t seed, const struct th_sim_cancel *first)
{
	enum { WITHIN = 8 };
	uint64_t x = th_random_mix(seed ^ th_random_mix(first->at * 12 + first->where * 4 + first->whom + 1));

	return (struct th_sim_cancel){ 1 + x % WITHIN, (enum th_sim_where)(x / WITHIN % 3), (enum th_sim_whom)(x / WITHIN / 3 % 4) };
}

void th_sim_at(struct th_fiber *f, enum th_sim_where where)
{
	if (!f->node)
		return; /* nobody's yet */
	if (th_timeline_on && where != TH_SIM_WITHIN)
		th_timeline_node(f->node, where == TH_SIM_BEFORE ? "suspends" : "goes on");
	if (where == TH_SIM_BEFORE)
		th_sim_suspends();
	t.passed[where]++;
	t.since[where] += t.cancels > 0;
	if (t.cancels == 0 && is_time(&t.opts.cancel, where, t.passed))
		cancel(f, t.opts.cancel.whom);
	else if (t.cancels == 1 && is_time(&t.opts.again, where, t.since))
		cancel(f, t.opts.again.whom);
}

void th_sim_starts(struct th_node *n)
{
	if (th_timeline_on)
		th_timeline_node(n, "starts");
}

void th_sim_lets_others(struct th_fiber *f)
{
	if (th_timeline_on)
		th_timeline_node(f->node, "lets others go first");
}

/* --- operations --- */

/* Without EINTR where it says nothing new: th_op_run() tries again. */
static const unsigned char legal[][8] = {
	[TH_OP_POLL] = { ENOMEM },
	[TH_OP_READ] = { EINTR, EIO, ECONNRESET, ENOMEM },
	[TH_OP_WRITE] = { EINTR, EIO, EPIPE, ENOSPC, ECONNRESET },
	[TH_OP_READV] = { EIO, ECONNRESET },
	[TH_OP_WRITEV] = { EIO, EPIPE, ENOSPC },
	[TH_OP_RECV] = { EINTR, ECONNRESET, ETIMEDOUT, ENOMEM },
	[TH_OP_SEND] = { EINTR, EPIPE, ECONNRESET, ENOBUFS },
	[TH_OP_RECVMSG] = { ECONNRESET, ETIMEDOUT, ENOMEM },
	[TH_OP_SENDMSG] = { EPIPE, ECONNRESET, ENOBUFS },
	[TH_OP_ACCEPT] = { EINTR, EMFILE, ENFILE, ECONNABORTED, ENOBUFS, ENOMEM },
	[TH_OP_CONNECT] = { ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EADDRNOTAVAIL },
	[TH_OP_OPENAT] = { EMFILE, ENFILE, ENOENT, EACCES, ENOMEM },
	[TH_OP_RECV_LENT] = { ECONNRESET, ETIMEDOUT },
	[TH_SIM_STAT] = { EACCES, ENOMEM },
	[TH_SIM_FSTAT] = { ENOMEM },
	[TH_SIM_SYNC] = { EIO, ENOSPC },
	[TH_SIM_TRUNCATE] = { EIO, ENOSPC },
	[TH_SIM_UNLINK] = { EIO, EACCES },
	[TH_SIM_MKDIR] = { ENOSPC, EACCES },
	[TH_SIM_RENAME] = { EIO, ENOSPC, EACCES },
	[TH_SIM_LIST] = { EIO },
};

int th_faults_legal(unsigned kind, unsigned k)
{
	return kind < sizeof legal / sizeof *legal && k < sizeof *legal ? legal[kind][k] : 0;
}

int th_sim_op_fault(unsigned kind)
{
	t.ops++;
	if (t.opts.record && t.opts.record->on_op)
		t.opts.record->on_op(kind);
	return t.ops == t.opts.fail_op ? t.opts.fail_code : 0;
}

/* --- allocations; sched/sim/memory.h sends them here --- */

static bool allocation_fails(void)
{
	if (!t.on || ++t.allocs != t.opts.fail_alloc)
		return false;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	t.live += p != NULL;
	return p;
}

void *th_sim_malloc(size_t bytes)
{
	return allocation_fails() ? NULL : counted(malloc(bytes));
}

void *th_sim_calloc(size_t n, size_t bytes)
{
	return allocation_fails() ? NULL : counted(calloc(n, bytes));
}

void *th_sim_realloc(void *p, size_t bytes)
{
	if (!p)
		return th_sim_malloc(bytes);
	return allocation_fails() ? NULL : realloc(p, bytes);
}

void *th_sim_aligned_alloc(size_t alignment, size_t bytes)
{
	return allocation_fails() ? NULL : counted(aligned_alloc(alignment, bytes));
}

void th_sim_free(void *p)
{
	t.live -= p != NULL;
	free(p);
}

/* The user frees it with the real free(3), or keeps it. */
void th_sys_hand_over(void *p)
{
	t.live -= p != NULL;
}

/* --- a run --- */

void th_faults_begin(const struct th_sim_opts *opts)
{
	uint64_t live = t.live; /* what a program holds over several runs */

	memset(&t, 0, sizeof t);
	t.opts = *opts;
	t.live = t.live_before = live;
	t.on = true;
}

void th_faults_end(struct th_sim_report *r)
{
	memcpy(r->passed, t.passed, sizeof t.passed);
	r->suspends = t.passed[TH_SIM_BEFORE];
	r->allocs = t.allocs;
	r->ops = t.ops;
	r->allocs_left = t.live - t.live_before;
	t.on = false;
}
