/* core/done.c: telling the user of each item that is done, one at a time. */
#include "done.h"
#include "deep.h"
#include "node.h"

struct telling {
	struct th_fiber *fiber;
	struct th_done *done;
	void *arg;
	size_t index;
	int code;
};

void th_done_init(struct th_done *d, const thrum_fan_opts *o)
{
	d->call = o ? o->done : NULL;
	d->ctx = o ? o->done_ctx : NULL;
	(void)thrum_mutex_init(&d->mutex);
}

static int tell(void *arg)
{
	struct telling *t = arg;

	th_mutex_relock(&t->done->mutex, t->fiber);
	t->done->call(t->arg, t->index, t->code, t->done->ctx);
	return thrum_mutex_unlock(&t->done->mutex);
}

void th_done_tell(struct th_fiber *f, struct th_done *d, void *arg, size_t index, int code)
{
	struct telling t = { f, d, arg, index, code };

	if (d->call)
		(void)th_run_shielded(f, (thrum_fx){ tell, &t }, code);
}

static int run_noted(void *arg)
{
	struct th_noted *n = arg;

	n->ran = true;
	return n->fx.run(n->fx.arg);
}

thrum_fx th_noted_fx(struct th_noted *n, thrum_fx fx)
{
	n->fx = fx;
	n->ran = false;
	return (thrum_fx){ run_noted, n };
}
