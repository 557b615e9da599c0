/* sched/token.c: cancel switches that any thread, and any signal handler, may throw.
 *
 * Throwing one takes no lock: it sets the token, raises a flag of the runtime, and wakes the workers that sleep. A worker that serves
 * the flag cancels the scopes linked to cancelled tokens, under the lock that linking and unlinking take.
 *
 *      link (a fiber)                      cancel (anywhere)
 *      put the scope into the list         x_cancelled = 1
 *      x_rt = rt                           x_users++
 *      fence (seq_cst)                     fence (seq_cst)
 *      if (x_cancelled) cancel the scope   if (x_rt) raise its flag, wake sleepers
 *   Without the fences both may read the old value and the scope misses its cancel.
 *
 *   x_users keeps the runtime alive under a canceller that has read x_rt: the last scope to unlink clears x_rt, then
 *   waits until no canceller is inside. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "worker.h"
#include <errno.h>
#include <string.h>

struct token {
	th_atomic_u32 x_cancelled;
	th_atomic_u32 x_users;           /* cancellers between reading x_rt and leaving it alone */
	th_atomic(struct thrum_rt *) x_rt;
	size_t links;                    /* under the runtime's token_lock */
};
_Static_assert(sizeof(struct token) <= sizeof(thrum_token), "thrum_token holds a token");

static struct token *of(thrum_token *t)
{
	return (struct token *)(void *)t;
}

void thrum_token_init(thrum_token *t)
{
	memset(t, 0, sizeof *t);
	th_init(&of(t)->x_cancelled, 0);
	th_init(&of(t)->x_users, 0);
	th_init(&of(t)->x_rt, NULL);
}

bool thrum_token_cancelled(const thrum_token *t)
{
	const struct token *token = (const struct token *)(const void *)t;

	return th_load_acq(&token->x_cancelled) != 0; /* who is told sees what the canceller did before (G13) */
}

/* The others are at work and will look at the flag when they poll. */
static void wake_sleepers(struct thrum_rt *rt)
{
	for (unsigned i = 0; i < rt->nworkers; i++)
		th_poke(&rt->workers[i]);
}

void thrum_token_cancel(thrum_token *public)
{
	struct token *t = of(public);
	struct thrum_rt *rt;

	if (th_xchg_seq(&t->x_cancelled, 1))
		return;
	th_add_seq(&t->x_users, 1);
	th_fence_seq();
	rt = th_load_seq(&t->x_rt);
	if (rt) {
		th_store_seq(&rt->x_token_signal, 1);
		wake_sleepers(rt);
	}
	th_sub_seq(&t->x_users, 1);
}

static void cancel_by_token(struct th_scope *s)
{
	thrum_reason why = { .kind = THRUM_CANCEL_TOKEN };

	th_node_cancel(&s->node, &why);
}

void th_tokens_serve(struct thrum_rt *rt)
{
	if (!th_load_rlx(&rt->x_token_signal) || !th_xchg_seq(&rt->x_token_signal, 0))
		return;
	th_lock(&rt->token_lock);
	for (struct th_scope *s = rt->linked; s; s = s->token_next)
		if (thrum_token_cancelled(s->token))
			cancel_by_token(s);
	th_unlock(&rt->token_lock);
}

/* For this runtime, whose lock is held and guards `links` from then on; false: another one has it. */
static bool claim(struct token *t, struct thrum_rt *rt)
{
	struct thrum_rt *nobody = NULL;

	return th_load_seq(&t->x_rt) == rt || th_cas_seq(&t->x_rt, &nobody, rt);
}

int th_token_link(struct th_fiber *f, struct th_scope *s, thrum_token *public)
{
	struct thrum_rt *rt = th_fib_of(f)->worker->rt;
	struct token *t = of(public);
	bool other;

	th_lock(&rt->token_lock);
	other = !claim(t, rt);
	if (!other) {
		s->token = public;
		s->token_prev = NULL;
		s->token_next = rt->linked;
		if (s->token_next)
			s->token_next->token_prev = s;
		rt->linked = s;
		t->links++;
	}
	th_unlock(&rt->token_lock);
	if (other)
		return -EBUSY; /* a token serves one runtime at a time */
	th_fence_seq();
	if (th_load_seq(&t->x_cancelled))
		cancel_by_token(s);
	return 0;
}

void th_token_unlink(struct th_fiber *f, struct th_scope *s)
{
	struct thrum_rt *rt = th_fib_of(f)->worker->rt;
	struct token *t = of(s->token);
	bool last;

	th_lock(&rt->token_lock);
	*(s->token_prev ? &s->token_prev->token_next : &rt->linked) = s->token_next;
	if (s->token_next)
		s->token_next->token_prev = s->token_prev;
	last = --t->links == 0;
	if (last)
		th_store_seq(&t->x_rt, NULL); /* last: another runtime may claim it */
	th_unlock(&rt->token_lock);
	s->token = NULL;
	/* A canceller is inside for a few instructions; one that is a signal handler on this thread has ended already. */
	while (last && th_load_seq(&t->x_users) != 0)
		th_pause();
}
