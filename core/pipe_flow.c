/* core/pipe_flow.c: the stages of a pipeline that run no function of the user's: batch, throttle, take. Each holds one
 * item, or one batch, in its only slot. */
#include "pipe.h"
#include <errno.h>
#include <thrum/clock.h>
#include <thrum/combine.h>

static void *held(struct th_stage *t)
{
	return th_slot_in((struct th_slot *)(void *)t->slots);
}

/* --- batch --- */

struct receive {
	struct th_stage *stage;
	void *item;
};

static int receive(void *arg)
{
	struct receive *r = arg;

	return th_stage_recv(r->stage, r->item);
}

/* -ETIMEDOUT: the batch has waited long enough. An item that came by then counts (T7). */
static int recv_until(struct th_stage *t, void *item, thrum_time until)
{
	struct receive recv = { t, item };
	int r = thrum_chan_try_recv(&t[-1].chan, item);

	if (r != -EAGAIN)
		return r;
	if (t->s.within.ns == 0)
		return th_stage_recv(t, item);
	return thrum_timeout((thrum_fx){ receive, &recv }, thrum_time_sub(until, thrum_now()));
}

static int fill(struct th_stage *t, thrum_batch *b)
{
	char *items = thrum_batch_items(b, char);
	thrum_time until;
	int r = th_stage_recv(t, items);

	b->n = r == 0;
	until = thrum_time_add(thrum_now(), t->s.within);
	while (r == 0 && b->n < t->s.count) {
		r = recv_until(t, items + b->n * t->in_bytes, until);
		b->n += r == 0;
	}
	return r;
}

int th_stage_batch(struct th_stage *t)
{
	thrum_batch *b = held(t);
	int r;

	do {
		r = fill(t, b);
		if (b->n > 0 && (r == 0 || r == -ETIMEDOUT || r == THRUM_ECLOSED)) {
			int sent = th_stage_send(t, b);
			if (sent < 0)
				r = sent;
			else
				b->n = 0;
		}
	} while (r == 0 || r == -ETIMEDOUT);
	if (b->n > 0)
		th_stage_drop_out(t, b);
	return r == THRUM_ECLOSED ? 0 : r;
}

/* --- throttle and take: each item goes on as it is --- */

/* Receive an item, hold it back, send it. THRUM_ECLOSED: there was none. */
static int pass(struct th_stage *t, int (*hold)(struct th_stage *t, void *state), void *state)
{
	void *item = held(t);
	int r = th_stage_recv(t, item);

	if (r < 0)
		return r;
	r = hold(t, state);
	if (r == 0)
		r = th_stage_send(t, item);
	if (r < 0)
		th_stage_drop_in(t, item);
	return r;
}

static int wait_for_turn(struct th_stage *t, void *state)
{
	thrum_time *next = state, now;
	int r = 0;

	if (t->s.limiter)
		return thrum_limiter_acquire(t->s.limiter, 1);
	now = thrum_now();
	if (now.ns < next->ns) {
		r = thrum_sleep_until(*next);
		now = thrum_now();
	}
	*next = thrum_time_add(now, t->s.spacing);
	return r;
}

int th_stage_throttle(struct th_stage *t)
{
	thrum_time next = { INT64_MIN };
	int r;

	do
		r = pass(t, wait_for_turn, &next);
	while (r == 0);
	return r == THRUM_ECLOSED ? 0 : r;
}

/* With the last one in hand the stages before this one have nothing more to do. */
static int count(struct th_stage *t, void *state)
{
	size_t *left = state;

	if (--*left == 0)
		for (size_t i = 0; i < t->number; i++)
			thrum_task_cancel(&t->pipe->stages[i].task);
	return 0;
}

int th_stage_take(struct th_stage *t)
{
	size_t left = t->s.count;
	int r;

	do
		r = pass(t, count, &left);
	while (r == 0 && left > 0);
	return r == THRUM_ECLOSED ? 0 : r;
}
