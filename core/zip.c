/* core/zip.c: the fans that rule by their scope: zip_par, zip_settle, for_each_par. */
#include "fan.h"

bool th_fan_unknown(const thrum_fan_opts *o)
{
	return o && o->size != sizeof *o;
}

int th_fan_all(struct fan *fan, const thrum_fan_opts *o)
{
	struct th_fiber *f = th_self();
	uint64_t small[TH_FAN_SMALL / 64];
	struct th_outcome out;
	int r = th_fan_note(fan, o, small);

	if (r < 0)
		return r;
	r = th_fan_run(f, fan, &out);
	if (r == 0)
		r = th_scope_rule_all(f, th_scope_of(&fan->scope), &out);
	th_fan_drop(f, fan, r, small);
	return r;
}

bool th_fan_any_null(const thrum_fx *fx, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fx[i].run)
			return true;
	return false;
}

int thrum_zip_par_with(const thrum_fx *fx, size_t n, const thrum_fan_opts *o)
{
	struct fan fan = { .fx = fx, .n = n, .parallelism = THRUM_UNBOUNDED };

	if ((n > 0 && (!fx || th_fan_any_null(fx, n))) || th_fan_unknown(o) || (o && (o->combine || o->codes || o->grain || o->done)))
		return -EINVAL;
	return th_fan_all(&fan, o);
}

/* Settling: each item's code is its own business. */
static void settle(struct fan *fan, size_t i, int code, struct th_cause *cause)
{
	fan->codes[i] = code;
	th_cause_free(fan->causes, cause);
}

static void set_settling(struct fan *fan, int *codes)
{
	fan->isolated = true;
	fan->ended = settle;
	fan->codes = codes;
}

int thrum_zip_settle_n(const thrum_fx *fx, size_t n, int *codes)
{
	struct fan fan = { .fx = fx, .n = n, .parallelism = THRUM_UNBOUNDED };

	if (n > 0 && (!fx || !codes || th_fan_any_null(fx, n)))
		return -EINVAL;
	set_settling(&fan, codes);
	return th_fan_all(&fan, NULL);
}

int thrum_for_each_par_n(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism)
{
	return thrum_for_each_par_items_(run, NULL, base, n, stride, parallelism);
}

int thrum_for_each_par_items_(int (*run)(void *), thrum_items_fn_ *items, void *base, size_t n, size_t stride,
			      size_t parallelism)
{
	struct fan fan = { .run = run, .items = items, .base = base, .stride = stride, .n = n, .parallelism = parallelism };

	return parallelism == 0 || !run ? -EINVAL : th_fan_all(&fan, NULL);
}

int thrum_for_each_par_with(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism,
			    const thrum_fan_opts *o)
{
	struct fan fan = { .run = run, .base = base, .stride = stride, .n = n, .parallelism = parallelism };
	struct th_done done;

	if (parallelism == 0 || !run || th_fan_unknown(o) || (o && o->combine))
		return -EINVAL;
	if (o && o->codes)
		set_settling(&fan, o->codes);
	fan.grain = o ? o->grain : 0;
	th_done_init(&done, o);
	fan.done = done.call ? &done : NULL;
	return th_fan_all(&fan, o);
}

/* --- as values --- */

static int zip_par_op(void *arg)
{
	const thrum_zip_par_op *op = arg;

	return thrum_zip_par_n(op->fx, op->n);
}

static int zip_settle_op(void *arg)
{
	const thrum_zip_settle_op *op = arg;

	return thrum_zip_settle_n(op->fx, op->n, op->codes);
}

static int for_each_par_op(void *arg)
{
	const thrum_for_each_par_op *op = arg;

	return thrum_for_each_par_n(op->run, op->base, op->n, op->stride, op->parallelism);
}

thrum_fx thrum_zip_par_fx(thrum_zip_par_op *op) { return (thrum_fx){ zip_par_op, op }; }
thrum_fx thrum_zip_settle_fx(thrum_zip_settle_op *op) { return (thrum_fx){ zip_settle_op, op }; }
thrum_fx thrum_for_each_par_fx(thrum_for_each_par_op *op) { return (thrum_fx){ for_each_par_op, op }; }
