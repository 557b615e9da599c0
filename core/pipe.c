/* core/pipe.c: pipelines: what makes sense, memory, running the stages, and what is left at the end. */
#include "pipe.h"
#include "scope.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- what makes sense --- */

/* What a kind understands. */
enum {
	FIRST = 1 << 0,
	LAST = 1 << 1,
	RUN = 1 << 2,       /* needs a function */
	BYTES = 1 << 3,     /* needs out_bytes; others pass on what they get, or know it */
	PARALLEL = 1 << 4,
	ORDERED = 1 << 5,
	WINDOW = 1 << 6,
	AHEAD = 1 << 7,
	COUNT = 1 << 8      /* needs count */
};

static unsigned traits(unsigned kind)
{
	switch (kind) {
	case THRUM_STAGE_SOURCE: return FIRST | RUN | BYTES;
	case THRUM_STAGE_MERGE: return FIRST | BYTES | PARALLEL | ORDERED | AHEAD | COUNT;
	case THRUM_STAGE_MAP: return RUN | BYTES | PARALLEL | ORDERED | WINDOW;
	case THRUM_STAGE_FILTER: return RUN | PARALLEL | ORDERED | WINDOW;
	case THRUM_STAGE_FLAT_MAP: return RUN | BYTES | PARALLEL | ORDERED | WINDOW | AHEAD;
	case THRUM_STAGE_BATCH: return COUNT;
	case THRUM_STAGE_THROTTLE: return 0;
	case THRUM_STAGE_TAKE: return COUNT;
	case THRUM_STAGE_EACH: return LAST | RUN | PARALLEL;
	case THRUM_STAGE_FOLD: return LAST | RUN;
	default: return FIRST | LAST; /* nowhere right */
	}
}

/* `has` exactly if `trait` is among the traits, or, where it is optional, only then. */
static bool only_with(unsigned has, unsigned trait, bool set) { return !set || (has & trait); }
static bool just_with(unsigned has, unsigned trait, bool set) { return set == !!(has & trait); }

static bool sources_make_sense(const thrum_stage *s)
{
	for (size_t i = 0; s->sources && i < s->count; i++)
		if (s->sources[i].kind != THRUM_STAGE_SOURCE || !s->sources[i].run)
			return false;
	return s->sources || s->kind != THRUM_STAGE_MERGE;
}

static bool times_make_sense(const thrum_stage *s)
{
	bool throttle = s->kind == THRUM_STAGE_THROTTLE;

	if (s->within.ns < 0 || s->spacing.ns < 0)
		return false;
	if (s->within.ns > 0 && s->kind != THRUM_STAGE_BATCH)
		return false;
	if (!throttle)
		return s->spacing.ns == 0 && !s->limiter;
	return (s->spacing.ns > 0) != (s->limiter != NULL);
}

static bool makes_sense(const thrum_stage *s, bool first, bool last)
{
	unsigned has = traits(s->kind);

	return first == !!(has & FIRST) && last == !!(has & LAST) &&
	       just_with(has, RUN, s->run != NULL) && just_with(has, BYTES, s->out_bytes > 0) &&
	       just_with(has, COUNT, s->count > 0) &&
	       only_with(has, PARALLEL, s->parallelism > 1) && s->parallelism != SIZE_MAX &&
	       only_with(has, ORDERED, s->ordered) && only_with(has, WINDOW, s->window > 0) &&
	       (s->window == 0 || (s->ordered && s->window >= s->parallelism)) &&
	       only_with(has, AHEAD, s->ahead > 0) && (s->ahead == 0 || s->ordered) &&
	       (!s->sources || s->kind == THRUM_STAGE_MERGE) && sources_make_sense(s) && times_make_sense(s) &&
	       (!last || (s->buffer == 0 && !s->drop)) && s->buffer != THRUM_CHAN_UNBOUNDED;
}

static bool all_make_sense(const thrum_stage *stages, size_t n, const thrum_pipeline_opts *o)
{
	if (!stages || n < 2 || (o && o->size != sizeof *o))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!makes_sense(&stages[i], i == 0, i == n - 1))
			return false;
	return true;
}

/* --- items that nobody takes --- */

/* An item that stage `t` has passed on, or made. */
static void drop_of(struct th_stage *t, void *item)
{
	if (t->s.drop) {
		t->s.drop(t->s.arg, item);
	} else if (t->s.kind == THRUM_STAGE_BATCH) {
		for (size_t i = 0; i < ((thrum_batch *)item)->n; i++)
			drop_of(t - 1, thrum_batch_items(item, char) + i * t->in_bytes);
	} else if (!(traits(t->s.kind) & BYTES)) {
		drop_of(t - 1, item); /* it passes on what it gets */
	}
}

static void drop_from_chan(void *item, void *stage)
{
	drop_of(stage, item);
}

struct drop {
	struct th_stage *stage;
	void *item;
};

static int drop_fx(void *arg)
{
	struct drop *d = arg;

	drop_of(d->stage, d->item);
	return 0;
}

void th_stage_drop_out(struct th_stage *t, void *item)
{
	struct th_fiber *f = th_self();
	struct drop d = { t, item };

	(void)th_run_shielded(f, (thrum_fx){ drop_fx, &d }, -ECANCELED);
}

void th_stage_drop_in(struct th_stage *t, void *item)
{
	th_stage_drop_out(t - 1, item);
}

/* --- memory: all of it before anything starts --- */

static bool aligned(size_t bytes, size_t *ret)
{
	return !__builtin_add_overflow(bytes, TH_SLOT_ALIGN - 1, ret) && (*ret -= *ret % TH_SLOT_ALIGN, true);
}

/* What the user left open. */
static bool fill_in(struct th_stage *t)
{
	thrum_stage *s = &t->s;
	size_t bytes;

	if (s->kind == THRUM_STAGE_SOURCE) { /* the only one of a merge */
		s->sources = s;
		s->count = 1;
		s->kind = THRUM_STAGE_MERGE;
	}
	if (s->parallelism == 0)
		s->parallelism = s->kind == THRUM_STAGE_MERGE ? s->count : 1;
	if (s->window == 0)
		s->window = s->parallelism;
	s->ordered &= s->window > 1;
	t->in_bytes = t->number > 0 ? t[-1].s.out_bytes : s->out_bytes; /* a source's: where it writes */
	if (s->kind == THRUM_STAGE_BATCH) {
		if (__builtin_mul_overflow(s->count, t->in_bytes, &bytes) ||
		    __builtin_add_overflow(bytes, sizeof(thrum_batch), &bytes))
			return false;
		return aligned(bytes, &s->out_bytes);
	}
	if (s->out_bytes == 0 && !(traits(s->kind) & LAST))
		s->out_bytes = t->in_bytes;
	return true;
}

/* A slot holds what came in and what goes out; a batch holds one of the latter. */
static bool slot_bytes(struct th_stage *t)
{
	size_t in = t->s.kind == THRUM_STAGE_BATCH ? t->s.out_bytes : t->in_bytes;
	size_t n = t->s.kind == THRUM_STAGE_MAP ? 1 : t->s.ahead, out;

	return aligned(in, &in) && !__builtin_mul_overflow(n, t->s.out_bytes, &out) && aligned(out, &out) &&
	       !__builtin_add_overflow(in, out, &t->slot_bytes) &&
	       !__builtin_add_overflow(t->slot_bytes, sizeof(struct th_slot), &t->slot_bytes);
}

static int make_slots(struct th_stage *t)
{
	size_t n = t->s.window;

	if (!slot_bytes(t) || n > UINT32_MAX)
		return -EINVAL;
	t->slots = calloc(n, t->slot_bytes);
	if (t->s.ordered)
		t->waiting = calloc(n, sizeof(void *));
	if (!t->slots || (t->s.ordered && !t->waiting))
		return -ENOMEM;
	for (size_t i = n; i-- > 0;) {
		struct th_slot *s = (struct th_slot *)(void *)(t->slots + i * t->slot_bytes);

		s->stage = t;
		s->next = t->free;
		t->free = s;
	}
	return 0;
}

static int stage_init(struct th_pipe *p, struct th_stage *t, const thrum_stage *s, size_t number)
{
	thrum_chan_opts chan = { .size = sizeof chan, .drop = drop_from_chan, .drop_arg = t, .capacity = s->buffer };
	int r;

	t->s = *s;
	t->pipe = p;
	t->number = number;
	th_lock_init(&t->lock);
	th_init(&t->x_passed, 0);
	if (!fill_in(t))
		return -EINVAL;
	(void)thrum_sem_init(&t->places, (unsigned)t->s.parallelism); /* at most window, which make_slots() bounds */
	r = make_slots(t);
	if (r < 0 || t->s.out_bytes == 0)
		return r;
	chan.item_bytes = t->s.out_bytes;
	r = thrum_chan_init_with(&t->chan, &chan);
	t->has_chan = r == 0;
	return r;
}

static void pipe_free(struct th_pipe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct th_stage *t = &p->stages[i];

		if (t->has_chan)
			thrum_chan_fini(&t->chan); /* drops what is left */
		free(t->slots);
		free(t->waiting);
	}
	free(p);
}

static int pipe_new(const thrum_stage *stages, size_t n, struct th_pipe **ret)
{
	struct th_pipe *p;
	size_t bytes;
	int r = 0;

	if (__builtin_mul_overflow(n, sizeof p->stages[0], &bytes) || __builtin_add_overflow(bytes, sizeof *p, &bytes))
		return -EINVAL;
	p = calloc(1, bytes);
	if (!p)
		return -ENOMEM;
	p->n = n;
	for (size_t i = 0; i < n && r == 0; i++)
		r = stage_init(p, &p->stages[i], &stages[i], i);
	if (r < 0)
		pipe_free(p);
	else
		*ret = p;
	return r;
}

/* --- running --- */

int th_stage_recv(struct th_stage *t, void *ret_item)
{
	return thrum_chan_recv(&t[-1].chan, ret_item);
}

int th_stage_send(struct th_stage *t, const void *item)
{
	int r = thrum_chan_send(&t->chan, item);

	if (r == 0)
		(void)th_add_rlx(&t->x_passed, 1);
	return r;
}

static int run_stage(void *arg)
{
	struct th_stage *t = arg;

	switch (t->s.kind) {
	case THRUM_STAGE_BATCH: t->code = th_stage_batch(t); break;
	case THRUM_STAGE_THROTTLE: t->code = th_stage_throttle(t); break;
	case THRUM_STAGE_TAKE: t->code = th_stage_take(t); break;
	default: t->code = th_stage_run_items(t);
	}
	if (t->code == 0 && t->has_chan)
		(void)thrum_chan_close(&t->chan);
	return t->code;
}

static int run_all(struct th_pipe *p)
{
	int r = th_scope_open_own(&p->scope);

	for (size_t i = 0; i < p->n && r == 0; i++) {
		struct th_stage *t = &p->stages[i];
		thrum_spawn_opts o = { .size = sizeof o, .name = t->s.name };

		r = thrum_spawn_with(&p->scope, &t->task, (thrum_fx){ run_stage, t }, &o);
	}
	return thrum_scope_close(&p->scope); /* -ECANCELED if a spawn was refused */
}

static void tell(const struct th_pipe *p, int code, const thrum_pipeline_opts *o)
{
	if (!o)
		return;
	for (size_t i = 0; o->passed && i < p->n; i++)
		o->passed[i] = th_load_rlx(&p->stages[i].x_passed);
	for (size_t i = p->n; o->ret_stage && code < 0 && code != -ECANCELED && i-- > 0;)
		if (p->stages[i].code == code)
			*o->ret_stage = i;
}

int thrum_pipeline(const thrum_stage *stages, size_t n, const thrum_pipeline_opts *o)
{
	struct th_pipe *p = NULL;
	int r;

	if (!th_self())
		return THRUM_ENOTFIBER;
	if (!all_make_sense(stages, n, o))
		return -EINVAL;
	r = thrum_check();
	if (r == 0)
		r = pipe_new(stages, n, &p);
	if (r < 0)
		return r;
	r = run_all(p);
	tell(p, r, o);
	pipe_free(p);
	return r;
}

/* --- sources and sinks that are channels; as a value --- */

int thrum_from_chan(void *chan, void *unused, void *ret_item)
{
	int r = thrum_chan_recv(chan, ret_item);

	(void)unused;
	return r == 0 ? 1 : r == THRUM_ECLOSED ? 0 : r;
}

int thrum_to_chan(void *chan, void *item, void *unused)
{
	(void)unused;
	return thrum_chan_send(chan, item);
}

static int pipeline_op(void *arg)
{
	const thrum_pipeline_op *op = arg;

	return thrum_pipeline(op->stages, op->n, op->opts);
}

thrum_fx thrum_pipeline_fx(thrum_pipeline_op *op) { return (thrum_fx){ pipeline_op, op }; }
