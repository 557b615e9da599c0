/* core/fan.h: a fan: many items, each a child of one scope, run by at most so many runners. What zip_par, race and for_each_par
 * share. See fan.c for how runners come and go, fan_take.c for who takes which items. */
#ifndef TH_FAN_H
#define TH_FAN_H
#include "assert.h"
#include "done.h"
#include "fork.h"
#include "hooks.h"
#include "scope.h"
#include <errno.h>
#include <thrum/combine.h>

struct fan;
struct runner;

/* What the combinator does with an item's end; runs on the runner. Takes the cause, which is NULL unless the item is
 * isolated and failed. NULL: nothing. */
typedef void fan_ended(struct fan *fan, size_t i, int code, struct th_cause *cause);

struct fan {
	thrum_scope scope;
	/* Items: an array of effects, or one function over an array of arguments. */
	const thrum_fx *fx;
	int (*run)(void *);
	char *base;
	size_t stride;

	size_t n, parallelism, grain;
	bool isolated;            /* an item's failure is `ended`'s business, not the scope's */
	fan_ended *ended;
	int *codes;               /* zip_settle */
	void (*drop)(void *arg);
	void (*combine)(void *winner_arg, void *arg);
	struct th_done *done;     /* for_each_par, where somebody wants to know (F10); else NULL */

	thrum_items_fn_ *items;   /* calls `run`; NULL: by its address */
	bool calls;               /* nobody asks how each item ended: they may stay calls (core/fork.c) */

	/*   tag  where                     order    pairs  because
	 *   F1   take_next: add x_next     relaxed  –      each index goes to one runner; the items were written before the
	 *                                                  runners were spawned, which orders them
	 *   F2   others: load x_next       relaxed  –      a hint: a runner too many finds nothing to do, and a chunk may be a
	 *                                                  little too large
	 *   F3   take: load x_offers       relaxed  –      a hint: who offers sees to it that somebody comes, and a runner
	 *                                                  looks under the lock before it leaves
	 *   F4   skip: store x_next        relaxed  –      a chunk that others take meanwhile moves it on, or is skipped as well */
	th_atomic_u64 x_next;
	th_atomic_u32 x_offers;   /* 1: there are; written under the lock */

	struct th_lock lock;      /* of what follows */
	size_t places, unstarted; /* for further runners; of runners that have theirs and have not begun */
	struct range *offers;     /* in the frames of runners */
	uint64_t *succeeded;      /* a bit for each item, where somebody asks; else NULL */
	bool won;
	size_t winner;
	int winner_code;
	int first_failure;
	struct th_cause *failures; /* of the entrants */
	void (*tell)(void *arg, size_t i); /* who won; NULL: nobody wants to know so early */
	void *tell_arg;
	struct th_pool *causes;
};

/* Items on offer, [begin, end). In the list of the fan while there are any; under its lock. */
struct range {
	struct range *next;
	size_t begin, end;
};

/* Items [index, end) are this runner's own: but those behind one that comes to block go on offer, and so does half of
 * them when another worker has nothing to do. */
struct runner {
	struct thrum_items_ items;
	struct fan *fan;
	size_t chunk;             /* so many it takes next time */
	struct range rest, half;  /* what it has offered. More than one item at a time it takes only while both are empty: so
	                             there is room for what it may have to offer next */
};

static inline thrum_fx th_fan_item(const struct fan *fan, size_t i)
{
	thrum_fx fx;

	if (fan->fx)
		return fan->fx[i];
	fx.run = fan->run;
	fx.arg = fan->base + i * fan->stride;
	return fx;
}

/* Run the fan to its end, on the calling fiber. 0: it is over, as *ret_out tells; THRUM_ENOTFIBER, -ECANCELED: it has not
 * begun. The caller has filled in what is above x_next, the rest is zero. */
int th_fan_run(struct th_fiber *f, struct fan *fan, struct th_outcome *ret_out);
int th_runner_main(void *fan); /* the effect of a runner */

/* --- fan_take.c --- */
void th_runner_init(struct runner *r, struct fan *fan);
/* Take items; false: there are none, and the runner's place is free. */
bool th_runner_take(struct runner *r);
/* Take those that are left, for nobody. */
void th_runner_skip(struct runner *r);
/* Another worker has nothing to do, if one has: half of this runner's items are for it. */
void th_runner_share(struct th_fiber *f, struct runner *r);
/* A chunk is through, and all of it were calls. Or not. */
void th_runner_adapt(struct runner *r, bool all_calls);
/* Let another worker go on in this runner's place, which has no other one to wait for, if one sleeps. False: it stays. */
bool th_runner_hand_over(struct th_fiber *f, struct runner *r);
/* The first one that each runner starts, with a record of its own. False: none is needed, or allowed. */
bool th_fan_spawn(struct th_fiber *f, struct fan *fan, struct th_task *t);
void th_fan_started(struct fan *fan); /* a runner has begun */

/* --- fan_values.c: what nobody takes (G10) --- */
enum { TH_FAN_SMALL = 512 };
/* Have it noted which items succeed, if the options will ask. `small`: room for TH_FAN_SMALL items. 0, -ENOMEM. */
int th_fan_note(struct fan *fan, const thrum_fan_opts *o, uint64_t *small);
void th_fan_succeeded(struct fan *fan, size_t i);
/* The fan is over with `r`. On the calling fiber: what is dropped may suspend, and no lock is held. */
void th_fan_drop(struct th_fiber *f, struct fan *fan, int r, const uint64_t *small);

/* --- zip.c --- */
/* Run it by the scope's own rules. Returns its code. */
int th_fan_all(struct fan *fan, const thrum_fan_opts *o);
bool th_fan_unknown(const thrum_fan_opts *o);
bool th_fan_any_null(const thrum_fx *fx, size_t n);

#endif
