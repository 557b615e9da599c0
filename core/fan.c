/* core/fan.c: the combinators over many effects: zip_par, zip_settle, race, race_first, for_each_par.
 *
 * All are one loop. The caller and a chain of runners take items off one counter; each item runs as a child of the fan's
 * scope, on the runner's stack. A runner first spawns its successor, then works. So the next item starts when another
 * worker is free (it steals the successor, or was given it) or when an item suspends (this worker then starts the
 * successor on a fresh fiber): never more runners than items are alive, at most `parallelism` of them, and n items that do not suspend
 * cost one fiber and no allocation. A runner's frame holds its successor's record, so it joins it last.
 *
 * A started fiber never leaves its worker, so with items that suspend soon one worker could start all runners before a
 * woken thief arrives, and keep them. Hence a successor goes straight to a worker that sleeps, if one does, and between two
 * items a runner whose worker has more to do hands its place on to a worker that sleeps, and ends. It may do so only
 * when its own successor has ended, which it would otherwise have to wait for on a stack of its own: so no more than
 * `parallelism` runners exist, but for those on their way out (F5). The new runner's record comes from the runtime's
 * pool; without memory for it the place stays where it is. A runner for which no stack can be had fails the fan: -ENOMEM.
 *
 *        caller ──► item item item … ──► join ┐
 *          └─spawn─► runner ──► item item … ──► join ┐
 *                      └─spawn─► runner …            ▼
 *
 * A failing item cancels the scope as any child does (Z4); the counter then only hands out refusals (F6). */
#include "assert.h"
#include "hooks.h"
#include "pool.h"
#include "scope.h"
#include <errno.h>
#include <thrum/combine.h>

struct fan;

/* What the combinator does with an item's end; runs on the runner. NULL: nothing. */
typedef void fan_ended(struct fan *fan, size_t i, int code);

struct fan {
	thrum_scope scope;
	/* Items: an array of effects, or one function over an array of arguments. */
	const thrum_fx *fx;
	int (*run)(void *);
	char *base;
	size_t stride;

	size_t n, parallelism;
	bool isolated;            /* an item's failure is `ended`'s business, not the scope's */
	fan_ended *ended;
	int *codes;               /* zip_settle */

	/*   tag  where                     order    pairs  because
	 *   F1   take: add x_next          relaxed  –      each index goes to one runner; the items were written before the
	 *                                                  runners were spawned, which orders them
	 *   F2   grow: load x_next         relaxed  –      a hint: a successor too many finds nothing to do
	 *   F3   grow: add x_runners       relaxed  –      only its count matters */
	th_atomic_u64 x_next;
	th_atomic_u64 x_runners;

	struct th_lock lock;      /* of the race's result */
	bool won;
	size_t winner;
	int winner_code;
	int first_failure;
};

static thrum_fx item_fx(const struct fan *fan, size_t i)
{
	thrum_fx fx;

	if (fan->fx)
		return fan->fx[i];
	fx.run = fan->run;
	fx.arg = fan->base + i * fan->stride;
	return fx;
}

static void run_item(struct th_fiber *f, struct fan *fan, size_t i)
{
	struct th_task item;
	int code;

	th_task_init(&item, item_fx(fan, i));
	item.isolated = fan->isolated;
	code = th_child_call(f, th_scope_of(&fan->scope), &item, i);
	if (fan->ended)
		fan->ended(fan, i, code);
}

static bool take(struct fan *fan, size_t *ret_i)
{
	*ret_i = th_add_rlx(&fan->x_next, 1); /* F1 */
	return *ret_i < fan->n;
}

static int runner(void *arg);

/* Offer the rest of the items to whoever is free. A refusal means that the fan was cancelled: then nobody is needed. */
static void init_runner(struct th_task *t, struct fan *fan)
{
	th_task_init(t, (thrum_fx){ runner, fan });
	t->runner = true;
}

static bool spawn_successor(struct th_fiber *f, struct fan *fan, struct th_task *t)
{
	if (th_load_rlx(&fan->x_next) >= fan->n) /* F2 */
		return false;
	if (th_add_rlx(&fan->x_runners, 1) >= fan->parallelism) /* F3 */
		return false;
	init_runner(t, fan);
	return th_spawn(f, th_scope_of(&fan->scope), t, th_idle_worker(f)) == 0;
}

/* Let another worker go on in this runner's place. `successor`: this runner's own, or NULL. */
static bool hand_over(struct th_fiber *f, struct fan *fan, struct th_task *successor)
{
	struct th_pool *pool = f->home->records;
	struct th_task *t;
	unsigned worker;
	int code;

	if (th_load_rlx(&fan->x_next) >= fan->n || !th_has_more(f)) /* F2 */
		return false;
	worker = th_idle_worker(f);
	if (!worker || (successor && !th_task_done(successor, &code)))
		return false;
	t = th_pool_take(pool);
	if (!t)
		return false;
	init_runner(t, fan);
	t->pool = pool;
	if (th_spawn(f, th_scope_of(&fan->scope), t, worker) == 0)
		return true;
	th_pool_give(pool, t);
	return false;
}

static void run_items(struct th_fiber *f, struct fan *fan)
{
	struct th_task successor;
	bool spawned;
	size_t i;

	if (!take(fan, &i))
		return;
	spawned = spawn_successor(f, fan, &successor);
	do {
		run_item(f, fan, i);
	} while (!hand_over(f, fan, spawned ? &successor : NULL) && take(fan, &i));
	if (spawned)
		(void)thrum_join((thrum_task *)(void *)&successor); /* items report through the scope and `ended` */
}

static int runner(void *arg)
{
	run_items(th_self(), arg);
	return 0;
}

/* A cancel may have ended a runner that took another one's place before it started: then nobody has taken the rest. */
static void count_untaken(struct fan *fan, struct th_outcome *out)
{
	size_t i;

	while (take(fan, &i)) {
		out->interrupted = true;
		if (fan->ended)
			fan->ended(fan, i, -ECANCELED);
	}
}

/* Run the fan to its end. */
static int fan_run(struct fan *fan, struct th_outcome *ret_out)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (th_cancelled(f))
		return -ECANCELED;
	th_init(&fan->x_next, 0);
	th_init(&fan->x_runners, 1);
	th_lock_init(&fan->lock);
	th_scope_open(f, th_scope_of(&fan->scope));
	th_scope_of(&fan->scope)->takes_late = true; /* runners that took over from the caller may outlast its own turn */
	run_items(f, fan);
	th_scope_close(f, th_scope_of(&fan->scope), ret_out);
	count_untaken(fan, ret_out);
	return 0;
}

/* --- zip_par, for_each_par: the scope's own rules --- */

static int run_all(struct fan *fan)
{
	struct th_outcome out;
	int r = fan_run(fan, &out);

	if (r < 0)
		return r;
	if (out.child)
		return out.child;
	return out.interrupted ? -ECANCELED : 0; /* all succeeded: the success stands, cancelled or not (Z8) */
}

static bool any_null(const thrum_fx *fx, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!fx[i].run)
			return true;
	return false;
}

int thrum_zip_par_n(const thrum_fx *fx, size_t n)
{
	struct fan fan = { .fx = fx, .n = n, .parallelism = THRUM_UNBOUNDED };

	if (n > 0 && (!fx || any_null(fx, n)))
		return -EINVAL;
	return run_all(&fan);
}

int thrum_for_each_par_n(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism)
{
	struct fan fan = { .run = run, .base = base, .stride = stride, .n = n, .parallelism = parallelism };

	if (parallelism == 0 || !run)
		return -EINVAL;
	return run_all(&fan);
}

/* --- zip_settle --- */

static void settle(struct fan *fan, size_t i, int code)
{
	fan->codes[i] = code;
}

int thrum_zip_settle_n(const thrum_fx *fx, size_t n, int *codes)
{
	struct fan fan = { .fx = fx, .n = n, .parallelism = THRUM_UNBOUNDED, .isolated = true, .ended = settle, .codes = codes };
	struct th_outcome out;
	int r;

	if (n > 0 && (!fx || !codes || any_null(fx, n)))
		return -EINVAL;
	r = fan_run(&fan, &out);
	if (r < 0)
		return r;
	if (out.child)
		return out.child; /* no stack for a runner: -ENOMEM */
	return out.interrupted ? -ECANCELED : 0;
}

/* --- races --- */

/* The one place where a race is decided (R2). */
static void win(struct fan *fan, size_t i, int code)
{
	thrum_reason why = { .kind = THRUM_CANCEL_RACE_LOST, .code = code, .index = i };
	bool first;

	th_lock(&fan->lock);
	first = !fan->won;
	if (first) {
		fan->won = true;
		fan->winner = i;
		fan->winner_code = code;
	}
	th_unlock(&fan->lock);
	if (first)
		thrum_scope_cancel_why(&fan->scope, &why);
}

static void first_success(struct fan *fan, size_t i, int code)
{
	if (code >= 0) {
		win(fan, i, code);
		return;
	}
	th_lock(&fan->lock);
	if (fan->first_failure == 0 || fan->first_failure == -ECANCELED)
		fan->first_failure = code; /* an interrupt never hides a failure (G1) */
	th_unlock(&fan->lock);
}

/* An entrant that a cancel ended, or kept from starting, has not completed. */
static void first_completion(struct fan *fan, size_t i, int code)
{
	if (code == -ECANCELED && th_node_cancelled(&th_scope_of(&fan->scope)->node))
		return;
	win(fan, i, code);
}

static int run_race(struct fan *fan)
{
	struct th_outcome out;
	int r;

	if (fan->n == 0 || fan->n > INT32_MAX || !fan->fx || any_null(fan->fx, fan->n))
		return -EINVAL;
	fan->isolated = true;
	fan->parallelism = THRUM_UNBOUNDED;
	r = fan_run(fan, &out);
	if (r < 0)
		return r;
	if (fan->won)
		return 0;
	if (out.child)
		return out.child; /* no stack for a runner: -ENOMEM */
	return out.interrupted ? -ECANCELED : fan->first_failure;
}

int thrum_race_n(const thrum_fx *fx, size_t n)
{
	struct fan fan = { .fx = fx, .n = n, .ended = first_success };
	int r = run_race(&fan);

	return r < 0 ? r : (int)fan.winner;
}

int thrum_race_first_n(const thrum_fx *fx, size_t n, int *ret_index)
{
	struct fan fan = { .fx = fx, .n = n, .ended = first_completion };
	int r = run_race(&fan);

	if (r < 0)
		return r;
	if (ret_index)
		*ret_index = (int)fan.winner;
	return fan.winner_code;
}

/* --- as values --- */

static int zip_par_op(void *arg)
{
	const thrum_zip_par_op *op = arg;

	return thrum_zip_par_n(op->fx, op->n);
}

static int race_op(void *arg)
{
	const thrum_race_op *op = arg;
	int r = thrum_race_n(op->fx, op->n);

	if (r >= 0 && op->ret_index)
		*op->ret_index = r;
	return r < 0 ? r : 0;
}

static int race_first_op(void *arg)
{
	const thrum_race_op *op = arg;

	return thrum_race_first_n(op->fx, op->n, op->ret_index);
}

static int for_each_par_op(void *arg)
{
	const thrum_for_each_par_op *op = arg;

	return thrum_for_each_par_n(op->run, op->base, op->n, op->stride, op->parallelism);
}

thrum_fx thrum_zip_par_fx(thrum_zip_par_op *op) { return (thrum_fx){ zip_par_op, op }; }
thrum_fx thrum_race_fx(thrum_race_op *op) { return (thrum_fx){ race_op, op }; }
thrum_fx thrum_race_first_fx(thrum_race_op *op) { return (thrum_fx){ race_first_op, op }; }
thrum_fx thrum_for_each_par_fx(thrum_for_each_par_op *op) { return (thrum_fx){ for_each_par_op, op }; }
