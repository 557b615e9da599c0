/* core/pipe_items.c: the stages of a pipeline that run a function of the user's: sources, map, filter, flat_map, each,
 * fold.
 *
 * Such a stage is a for_each_par over an iterator (core/fan_from.c): next() takes a free slot and receives an item into
 * it, or picks the next source; run_slot() calls the function and passes on what it made. Unordered, each sends as it
 * comes.
 *
 * Ordered, each item has a number, and what it made waits in its slot until all before it have gone:
 *
 *     next: place (s.parallelism), slot (s.window), number ► run ► give the place up ► wait for the turn ► send
 *       ► pass the turn on
 *
 * So an item that waits for its turn occupies a slot, but neither a worker nor a place. Places are taken by who pulls,
 * hence in the order of the numbers: whoever has the turn has, or had, its place, so an emitter that waits for its turn
 * in the middle of its function cannot be waited for in turn. All numbers from `turn` on that were begun have a slot
 * each, so they differ modulo s.window. */
#include "pipe.h"
#include "assert.h"
#include "node.h"
#include <errno.h>
#include <string.h>
#include <thrum/combine.h>

/* --- slots --- */

static struct th_slot *take_slot(struct th_stage *t)
{
	struct th_slot *s;

	th_lock(&t->lock);
	s = t->free;
	TH_ASSERT(s); /* there are as many as for_each lets items live */
	t->free = s->next;
	th_unlock(&t->lock);
	s->made = s->sent = 0;
	s->my_turn = false;
	return s;
}

static void give_slot(struct th_slot *s)
{
	struct th_stage *t = s->stage;

	th_lock(&t->lock);
	s->next = t->free;
	t->free = s;
	th_unlock(&t->lock);
}

static char *out_place(struct th_slot *s, size_t i)
{
	struct th_stage *t = s->stage;
	size_t in_bytes = (t->in_bytes + TH_SLOT_ALIGN - 1) / TH_SLOT_ALIGN * TH_SLOT_ALIGN;

	if (t->s.kind == THRUM_STAGE_FILTER)
		return th_slot_in(s); /* what goes out is what came in */
	return (char *)th_slot_in(s) + in_bytes + i * t->s.out_bytes;
}

/* --- pulling --- */

/* Into the slot: the next item, or the next source. As thrum_chan_recv(). */
static int begin(struct th_stage *t, struct th_slot *s)
{
	if (t->s.kind == THRUM_STAGE_MERGE)
		return t->pulled < t->s.count ? 0 : THRUM_ECLOSED;
	return th_stage_recv(t, th_slot_in(s));
}

static int next(void *iter, void **ret_item)
{
	struct th_stage *t = iter;
	struct th_slot *s;
	int r = t->s.ordered ? thrum_sem_acquire(&t->places, 1) : 0;

	if (r < 0)
		return r;
	s = take_slot(t);
	r = begin(t, s);
	if (r < 0) {
		give_slot(s);
		return r == THRUM_ECLOSED ? 0 : r;
	}
	s->number = t->pulled++;
	*ret_item = s;
	return 1;
}

static void drop_pulled(void *item)
{
	struct th_slot *s = item;

	if (s->stage->s.kind != THRUM_STAGE_MERGE)
		th_stage_drop_in(s->stage, th_slot_in(s));
	give_slot(s);
}

/* --- turns --- */

static bool begin_wait(struct th_slot *s)
{
	struct th_stage *t = s->stage;

	(void)thrum_promise_init(&s->turn);
	th_lock(&t->lock);
	s->my_turn = t->turn == s->number;
	if (!s->my_turn)
		t->waiting[s->number % t->s.window] = s;
	th_unlock(&t->lock);
	return !s->my_turn;
}

/* A wait that was cancelled, perhaps by a timeout of the function's own, which then goes on. Nobody will touch the slot
 * after it, unless it waits again. */
static void end_wait(struct th_slot *s)
{
	struct th_stage *t = s->stage;
	struct th_slot **at = &t->waiting[s->number % t->s.window];

	th_lock(&t->lock);
	s->my_turn = *at != s; /* the turn came, but later than the cancel: it is ours all the same */
	if (!s->my_turn)
		*at = NULL;
	th_unlock(&t->lock);
}

static int wait_for_turn(struct th_slot *s)
{
	int r;

	if (!s->stage->s.ordered || s->my_turn || !begin_wait(s))
		return 0;
	r = thrum_promise_await(&s->turn, NULL);
	if (r < 0)
		end_wait(s);
	else
		s->my_turn = true;
	return r;
}

/* The next one is told under the lock: so a wait that a cancel ended can tell whether it is being told. */
static void pass_turn_on(struct th_slot *s)
{
	struct th_stage *t = s->stage;
	struct th_slot *next;

	if (!t->s.ordered)
		return;
	th_lock(&t->lock);
	t->turn++;
	next = t->waiting[t->turn % t->s.window];
	t->waiting[t->turn % t->s.window] = NULL;
	if (next)
		(void)thrum_promise_set(&next->turn, 0, NULL);
	th_unlock(&t->lock);
}

/* --- passing on --- */

/* It is our turn: first what was put aside. */
static int flush(struct th_slot *s)
{
	int r = 0;

	while (r == 0 && s->sent < s->made) {
		r = th_stage_send(s->stage, out_place(s, s->sent));
		s->sent += r == 0;
	}
	return r;
}

static bool is_my_turn(struct th_slot *s)
{
	struct th_stage *t = s->stage;

	if (!t->s.ordered || s->my_turn)
		return true;
	th_lock(&t->lock);
	s->my_turn = t->turn == s->number;
	th_unlock(&t->lock);
	return s->my_turn;
}

int thrum_emit(void *emitter, const void *item)
{
	struct th_slot *s = emitter;
	struct th_stage *t;
	int r;

	if (!th_self())
		return THRUM_ENOTFIBER;
	t = s->stage;
	if (!is_my_turn(s) && s->made < t->s.ahead) {
		r = thrum_check();
		if (r == 0)
			memcpy(out_place(s, s->made++), item, t->s.out_bytes);
		return r;
	}
	r = wait_for_turn(s);
	if (r == 0)
		r = flush(s);
	return r == 0 ? th_stage_send(t, item) : r;
}

/* --- running --- */

static int run_source(struct th_stage *t, struct th_slot *s)
{
	const thrum_stage *source = &t->s.sources[s->number];
	void *item = th_slot_in(s);
	int r, sent;

	while ((r = source->run(source->arg, NULL, item)) > 0) {
		sent = thrum_emit(s, item);
		if (sent < 0) {
			th_stage_drop_out(t, item);
			return sent;
		}
	}
	return r;
}

/* Call the function. What it made is noted in the slot. */
static int call(struct th_stage *t, struct th_slot *s)
{
	void *in = th_slot_in(s);
	int r;

	switch (t->s.kind) {
	case THRUM_STAGE_MERGE:
		return run_source(t, s);
	case THRUM_STAGE_MAP:
		r = t->s.run(t->s.arg, in, out_place(s, 0));
		s->made = r >= 0;
		break;
	case THRUM_STAGE_FILTER:
		r = t->s.run(t->s.arg, in, NULL);
		s->made = r > 0;
		if (r == 0)
			th_stage_drop_in(t, in);
		break;
	case THRUM_STAGE_FLAT_MAP:
		r = t->s.run(t->s.arg, in, s);
		break;
	default:
		r = t->s.run(t->s.arg, in, NULL);
		if (r >= 0)
			(void)th_add_rlx(&t->x_passed, 1);
	}
	if (r < 0)
		th_stage_drop_in(t, in);
	return r;
}

static int run_slot(void *item)
{
	struct th_slot *s = item;
	struct th_stage *t = s->stage;
	int r = call(t, s);

	if (t->s.ordered)
		(void)thrum_sem_release(&t->places, 1);
	if (r >= 0)
		r = wait_for_turn(s);
	if (r >= 0)
		r = flush(s);
	if (r >= 0)
		pass_turn_on(s);
	for (; s->sent < s->made; s->sent++)
		th_stage_drop_out(t, out_place(s, s->sent));
	give_slot(s);
	return r < 0 ? r : 0;
}

int th_stage_run_items(struct th_stage *t)
{
	thrum_fan_opts o = { .size = sizeof o, .drop = drop_pulled };

	return thrum_for_each_par_from(next, t, run_slot, t->s.window, &o);
}
