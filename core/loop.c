/* core/loop.c: loops over index ranges. Binary forks (thrum/fork.h) over the numbers of the parts; depth is at most the
 * bits of a size_t. */
#include "assert.h"
#include "hooks.h"
#include <errno.h>
#include <stdlib.h>
#include <thrum/combine.h>
#include <thrum/loop.h>
#include <thrum/scope.h>

enum { PARTS = 1024, BLOCK_BYTES = 1 << 20 };

struct loop {
	size_t n, grain;
	int (*body)(size_t begin, size_t end, void *arg);
	void *arg;
	const thrum_reducer *how; /* instead of a body */
	char *results;            /* of the parts */
};

/* Parts number first to last - 1. */
struct span {
	struct loop *loop;
	size_t first, last;
};

static int run_part(struct loop *l, size_t part)
{
	size_t begin = part * l->grain, end = l->n - begin < l->grain ? l->n : begin + l->grain;
	void *result;

	if (!l->how)
		return l->body(begin, end, l->arg);
	result = l->results + part * l->how->bytes;
	l->how->begin(result, l->how->arg);
	return l->how->fold(result, begin, end, l->how->arg);
}

static int run_span(struct span *s);
THRUM_FX(run_span, struct span);

static int run_span(struct span *s)
{
	struct loop *l = s->loop;
	size_t middle = s->first + (s->last - s->first) / 2;
	struct span low = { l, s->first, middle }, high = { l, middle, s->last };
	int r;

	if (s->last - s->first == 1)
		return run_part(l, s->first);
	r = thrum_zip_par(run_span_fx(&low), run_span_fx(&high));
	if (r < 0 || !l->how)
		return r;
	return l->how->combine(l->results + low.first * l->how->bytes, l->results + high.first * l->how->bytes, l->how->arg);
}

static size_t rounded_up(size_t n, size_t by)
{
	return n / by + (n % by != 0);
}

/* A lone part is a child too, as each of many is. */
static int run_loop(struct loop *l)
{
	struct span all = { l, 0, rounded_up(l->n, l->grain) };
	thrum_fx fx = run_span_fx(&all);
	int r = thrum_check();

	if (r < 0 || l->n == 0)
		return r;
	r = all.last == 1 ? thrum_zip_par_n(&fx, 1) : run_span(&all);
	return r < 0 ? r : 0;
}

int thrum_parallel_for(size_t n, int (*body)(size_t, size_t, void *), void *arg)
{
	return thrum_parallel_for_grain(n, 0, body, arg);
}

int thrum_parallel_for_grain(size_t n, size_t grain, int (*body)(size_t, size_t, void *), void *arg)
{
	struct loop l = { .n = n, .grain = grain ? grain : rounded_up(n, PARTS), .body = body, .arg = arg };

	if (!body)
		return -EINVAL;
	if (l.grain == 0)
		l.grain = 1;
	return run_loop(&l);
}

/* --- reduce --- */

/* Large results: fewer parts, so that all of them stay within the block. */
static size_t parts_max(size_t bytes)
{
	size_t fit = BLOCK_BYTES / bytes;

	return fit > PARTS ? PARTS : fit < 16 ? 16 : fit;
}

static bool is_complete(const thrum_reducer *how)
{
	return how && how->bytes > 0 && how->begin && how->fold && how->combine;
}

/* The first part's result is the whole's: it lies where the caller wants it, the others behind each other. */
int thrum_reduce(size_t n, const thrum_reducer *how, void *ret_result)
{
	struct loop l = { .n = n, .how = how };
	size_t parts;
	int r;

	if (!is_complete(how) || !ret_result)
		return -EINVAL;
	if (!th_here())
		return THRUM_ENOTFIBER;
	l.grain = how->grain ? how->grain : rounded_up(n, parts_max(how->bytes));
	if (l.grain == 0)
		l.grain = 1;
	parts = rounded_up(n, l.grain);
	if (parts > PARTS) { /* so small a grain that its results would take too much room */
		l.grain = rounded_up(n, PARTS);
		parts = rounded_up(n, l.grain);
	}
	how->begin(ret_result, how->arg);
	l.results = calloc(parts ? parts : 1, how->bytes);
	if (!l.results)
		return -ENOMEM;
	r = run_loop(&l);
	if (r >= 0 && n > 0)
		r = how->combine(ret_result, l.results, how->arg);
	free(l.results);
	return r < 0 ? r : 0;
}
