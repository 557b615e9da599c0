/* thrum/pipe.h: pipelines: items flow from a source through stages to a sink, each stage with a parallelism of its own
 * and a bounded buffer behind it.
 *
 *     thrum_stage stages[] = {
 *             { THRUM_STAGE_SOURCE, .run = next_line, .arg = file, .out_bytes = sizeof(struct line), .buffer = 16 },
 *             { THRUM_STAGE_MAP, .run = parse, .out_bytes = sizeof(struct entry), .parallelism = 4, .ordered = true },
 *             { THRUM_STAGE_FILTER, .run = is_error },
 *             { THRUM_STAGE_BATCH, .count = 32, .within = thrum_ms(100) },
 *             { THRUM_STAGE_EACH, .run = store_batch },
 *     };
 *     int code = thrum_pipeline(stages, 5, NULL);
 *
 * All stages run at once, as children of one scope that ends with the call. Items are passed by value, nothing is
 * allocated for an item. Whoever finds the buffer behind it full waits, so the source is never further ahead of the
 * sink than the sum of all buffers, parallelisms (or windows), counts of batches, and .ahead for each item at work.
 *
 * The first failure of any stage cancels all of them and is the result (Z4): a pipeline that returns 0 has carried
 * every item to its end. What a failure or cancel leaves in buffers, in stages, or unfinished, goes to `drop` (G10).
 *
 * A stage's function may suspend: sleep, read, wait. It runs as a child of its own for each item (a source: for all of
 * its items), so what it acquires with thrum_acquire_release() is released when it is done with the item (when the
 * source ends). It takes the item it is given if it returns >= 0; with a code the item is not taken, and dropped. */
#ifndef THRUM_PIPE_H
#define THRUM_PIPE_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/retry.h>
#ifdef __cplusplus
extern "C" {
#endif

enum {
	/* The first stage. */
	THRUM_STAGE_SOURCE = 1, /* run(arg, NULL, out): > 0: *out is the next item; 0: that was all */
	THRUM_STAGE_MERGE,      /* .count sources at .sources, .parallelism of them at once (0: all). Items go on as they
	                           come; .ordered: all of the first one's, then all of the second one's, ... */
	/* In between. */
	THRUM_STAGE_MAP,        /* run(arg, in, out): *out is what becomes of *in */
	THRUM_STAGE_FILTER,     /* run(arg, in, NULL): > 0: it goes on; 0: it is dropped */
	THRUM_STAGE_FLAT_MAP,   /* run(arg, in, emitter): any number of items, each by thrum_emit() */
	THRUM_STAGE_BATCH,      /* .count items into one thrum_batch; fewer when .within, if not 0, has passed since the
	                           first of them came, and at the end */
	THRUM_STAGE_THROTTLE,   /* one item in .spacing, or when .limiter has a token for it */
	THRUM_STAGE_TAKE,       /* the first .count items; then it cancels the stages before it, which is no failure */
	/* The last stage. */
	THRUM_STAGE_EACH,       /* run(arg, in, NULL) */
	THRUM_STAGE_FOLD        /* the same, always one at a time, in the order of arrival: arg is where it adds up */
};

typedef struct thrum_stage {
	unsigned kind;       /* THRUM_STAGE_* */
	int (*run)(void *arg, void *in, void *out);
	void *arg;
	size_t out_bytes;    /* of an item it passes on: source, merge, map, flat_map; the others know it: 0 */
	size_t buffer;       /* items that may lie between it and the next stage; 0: it hands each one over */
	size_t parallelism;  /* map, filter, flat_map, each: so many items at once, 0 = 1; merge */
	bool ordered;        /* those that pass on: in the order of what came in, however long each takes */
	size_t window;       /* map, filter, flat_map, ordered: so many items begun and not yet passed on, those that
	                        only wait for their turn included; 0 = parallelism, else at least that */
	size_t ahead;        /* flat_map, merge, ordered: so many can each emit before its turn comes; then it waits */
	size_t count;        /* batch, take, merge */
	thrum_dur within;    /* batch */
	thrum_dur spacing;   /* throttle: one of these two */
	thrum_limiter *limiter;
	const struct thrum_stage *sources; /* merge: stages of that kind, with nothing but run and arg */
	/* An item that it has passed on, or made, and nobody takes: called once, with arg, shielded, without locks; may
	 * suspend. NULL: a stage that passes on what it gets (filter, throttle, take) leaves it to the one before, so does
	 * batch with each of its items; else nothing is done. The last stage makes nothing: NULL. */
	void (*drop)(void *arg, void *item);
	const char *name;    /* of the stage's child; borrowed */
} thrum_stage;

/* The item that a batch passes on: n >= 1 items, one after the other, from thrum_batch_items(batch, T) on. */
typedef struct thrum_batch {
	size_t n;
	size_t reserved_;
} thrum_batch;
#define thrum_batch_items(batch, T) ((T *)(void *)((thrum_batch *)(batch) + 1))

typedef struct thrum_pipeline_opts {
	size_t size;
	uint64_t *passed;  /* n numbers: the items that each stage has passed on, or the last one taken; written at the end */
	size_t *ret_stage; /* the stage that failed with the result; not written after success and cancel */
} thrum_pipeline_opts;
#define THRUM_PIPELINE_OPTS(...) (&(thrum_pipeline_opts){ .size = sizeof(thrum_pipeline_opts), __VA_ARGS__ })

/* Run n stages until every item has come to its end. `o` may be NULL.
 *   caller    a fiber
 *   suspends  yes, cancel point
 *   borrows   the stages, and what they point to, until it returns
 *   returns   0; the first failure of a stage; -ECANCELED if a cancel from outside came before the end; -EINVAL for
 *             stages that make no sense (a wrong order, a missing function, a setting that means nothing for the
 *             kind), then nothing has run; -ENOMEM, before anything starts, or for want of a stack;
 *             THRUM_ENOTFIBER */
THRUM_API THRUM_MUST_CHECK int thrum_pipeline(const thrum_stage *stages, size_t n, const thrum_pipeline_opts *o);

/* Inside the function of a flat_map, by its fiber: pass one item on. `emitter` is its third argument. Suspends; cancel
 * point. 0; -ECANCELED: the item is still the caller's. */
THRUM_API THRUM_MUST_CHECK int thrum_emit(void *emitter, const void *item);

/* Functions for sources and sinks that are channels: .run = thrum_from_chan, .arg = &chan. The source ends when the
 * channel is closed and empty; the sink does not close it. The item sizes must be the same. Fiber; suspend; cancel points. */
THRUM_API int thrum_from_chan(void *chan, void *unused, void *ret_item);
THRUM_API int thrum_to_chan(void *chan, void *item, void *unused);

/* As a value. Borrowed while the effect may run. */
typedef struct thrum_pipeline_op {
	const thrum_stage *stages;
	size_t n;
	const thrum_pipeline_opts *opts;
} thrum_pipeline_op;
THRUM_API thrum_fx thrum_pipeline_fx(thrum_pipeline_op *op);

#ifdef __cplusplus
}
#endif
#endif
