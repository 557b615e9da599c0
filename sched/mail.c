/* sched/mail.c: what other threads send to a worker: fibers made ready, cancel requests for operations of its ring,
 * tasks placed on it, descriptors that are being closed. Many senders, one receiver, no locks on the two hot lists.
 *
 *   tag  where                          order    pairs  shape  because
 *   M1   post: CAS x_mail, x_cancels    release  M2     MP     the receiver sees the fiber's links and what was written for it
 *   M2   serve: exchange with NULL      acquire  M1     MP     takes the whole list: no ABA, since nothing is ever popped singly
 *   M3   post cancel: store gen, then   relaxed, acq_rel       the flag is set once per request on its way; whoever sets it
 *        exchange x_cancel_queued                       M4     pushes; a later request only updates the generation
 *   M4   serve: exchange queued, then   acq_rel  M3     MP     the flag is cleared first: a request that comes after is pushed
 *        load gen                                              again, one that came before has its generation read here
 *
 * The lists are last-in first-out; the receiver turns them round, so each sender's order is kept. */
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include "worker.h"

/* --- tasks --- */

void th_taskq_init(struct th_taskq *q)
{
	th_lock_init(&q->lock);
	q->head = NULL;
	q->tail = &q->head;
	th_init(&q->x_count, 0);
}

void th_taskq_push(struct th_taskq *q, struct th_task *t)
{
	th_lock(&q->lock);
	/* The links lie in the tasks' frames, which their owners use again once the tasks were taken on this worker's loop. */
	TH_TSAN_PRIVATE_BEGIN();
	t->next = NULL;
	*q->tail = t;
	q->tail = &t->next;
	TH_TSAN_PRIVATE_END();
	th_store_rlx(&q->x_count, th_load_rlx(&q->x_count) + 1);
	th_unlock(&q->lock);
}

struct th_task *th_taskq_pop(struct th_taskq *q)
{
	struct th_task *t;

	if (th_taskq_looks_empty(q))
		return NULL;
	th_lock(&q->lock);
	t = q->head;
	if (t) {
		q->head = t->next;
		if (!q->head)
			q->tail = &q->head;
		th_store_rlx(&q->x_count, th_load_rlx(&q->x_count) - 1);
	}
	th_unlock(&q->lock);
	return t;
}

/* --- fibers --- */

void th_wake(struct th_fiber *f)
{
	struct th_worker *w = th_fib_of(f)->worker;
	struct thrum_rt *rt = w->rt;
	struct th_fiber *head;
	bool foreign;

	th_tsan_release(f);
	if (w == th_worker_self()) {
		th_woken_here(w, f);
		th_ready(w, f);
		return;
	}
	foreign = th_foreign_enter(rt);
	head = th_load_rlx(&w->x_mail);
	do {
		f->next = head;
	} while (!th_cas_rel(&w->x_mail, &head, f)); /* M1 */
	th_poke(w);
	th_foreign_leave(rt, foreign);
}

static void serve_ready(struct th_worker *w)
{
	struct th_fiber *f, *in_order = NULL;

	if (!th_load_rlx(&w->x_mail))
		return;
	f = th_xchg_acq(&w->x_mail, NULL); /* M2 */
	while (f) {
		struct th_fiber *next = f->next;
		f->next = in_order;
		in_order = f;
		f = next;
	}
	while (in_order) {
		struct th_fiber *next = in_order->next;
		th_ready(w, in_order);
		in_order = next;
	}
}

/* --- cancel requests --- */

void th_post_cancel(struct th_fiber *f, uint16_t gen)
{
	struct th_worker *w = th_fib_of(f)->worker;
	struct th_fiber *head;

	th_store_rlx(&f->x_cancel_gen, gen);
	if (th_xchg_acqrel(&f->x_cancel_queued, 1)) /* M3 */
		return;
	head = th_load_rlx(&w->x_cancels);
	do {
		f->cancel_next = head;
	} while (!th_cas_rel(&w->x_cancels, &head, f)); /* M1 */
	if (w != th_worker_self())
		th_poke(w);
}

static void serve_cancel(struct th_worker *w, struct th_fiber *f)
{
	uint32_t gen;

	(void)th_xchg_acqrel(&f->x_cancel_queued, 0); /* M4 */
	gen = th_load_rlx(&f->x_cancel_gen);
	/* Gone, or another operation by now: nothing to cancel (G6). */
	if (f->op && f->op->in_kernel && f->op->gen == gen)
		w->home.backend->cancel(w->home.io, f->op);
}

static void serve_cancels(struct th_worker *w)
{
	struct th_fiber *f;

	if (!th_load_rlx(&w->x_cancels))
		return;
	f = th_xchg_acq(&w->x_cancels, NULL); /* M2 */
	while (f) {
		struct th_fiber *next = f->cancel_next; /* read before the flag is cleared: then it may be queued again */
		serve_cancel(w, f);
		f = next;
	}
}

/* --- descriptors being closed --- */

static bool post_fd(struct th_worker *w, int fd)
{
	uint32_t n;

	th_lock(&w->fd_lock);
	n = th_load_rlx(&w->x_fds);
	if (n < TH_FD_CANCELS) {
		w->fds[n] = fd;
		th_store_rlx(&w->x_fds, n + 1);
	}
	th_unlock(&w->fd_lock);
	if (n < TH_FD_CANCELS)
		th_poke(w);
	return n < TH_FD_CANCELS;
}

void th_cancel_fd_all(int fd)
{
	struct th_fib *fib = th_fib_self();
	struct thrum_rt *rt = fib->worker->rt;

	for (unsigned i = 0; i < rt->nworkers; i++) {
		/* Full: let this worker serve its own mail meanwhile, or two closers could wait for each other. */
		while (!post_fd(&rt->workers[i], fd))
			th_yield(&fib->core);
	}
}

static void serve_fds(struct th_worker *w)
{
	int fds[TH_FD_CANCELS];
	uint32_t n;

	if (th_load_rlx(&w->x_fds) == 0)
		return;
	th_lock(&w->fd_lock);
	n = th_load_rlx(&w->x_fds);
	for (uint32_t i = 0; i < n; i++)
		fds[i] = w->fds[i];
	th_store_rlx(&w->x_fds, 0);
	th_unlock(&w->fd_lock);
	for (uint32_t i = 0; i < n; i++)
		th_op_cancel_fd(&w->home, fds[i]);
}

void th_mail_serve(struct th_worker *w)
{
	serve_ready(w);
	serve_cancels(w);
	serve_fds(w);
}

bool th_mail_looks_empty(struct th_worker *w)
{
	return !th_load_rlx(&w->x_mail) && !th_load_rlx(&w->x_cancels) && th_load_rlx(&w->x_fds) == 0 &&
	       th_taskq_looks_empty(&w->placed);
}
