/* thrum/combine.h: combinators. Ordinary functions over thrum_fx; the calls of scope.h suffice to write your
 * own. None but the _in forms returns before every effect it started has ended, finalizers included.
 *
 * All of them: called by a fiber (else THRUM_ENOTFIBER); suspend; are cancel points, but for thrum_then and thrum_or_else,
 * which leave the first check to what they run (E1); borrow what they are given until they return; allocate nothing that
 * they could not do without. The effects of zip_par, races and for_each_par run each in a scope of its own, with an identity of
 * its own (K10); those of timeout, then, or_else and bracket as the caller, in its place, timeout's in a scope. */
#ifndef THRUM_COMBINE_H
#define THRUM_COMBINE_H
#include <thrum/base.h>
#include <thrum/fork.h>
#include <thrum/fx.h>
#include <thrum/scope.h>
#ifdef __cplusplus
extern "C" {
#endif

#define THRUM_UNBOUNDED SIZE_MAX

/* Run all at once, wait for all. The first failure cancels the rest and is the result (Z4).
 * 0 effects: 0. Cancelled from outside: -ECANCELED, unless all succeeded or one really failed (Z8). */
THRUM_API int thrum_zip_par_n(const thrum_fx *fx, size_t n);

/* Run all, wait for all, cancel none: codes[i] is the code of fx[i]. 0; -ECANCELED if it was itself cancelled (Z11). */
THRUM_API int thrum_zip_settle_n(const thrum_fx *fx, size_t n, int *codes);

/* First success wins, the others are cancelled and awaited. Returns the winner's index; the first failure if all fail
 * (R5); -EINVAL for 0 effects (R3). Cancelled from outside before one has won: -ECANCELED (R9); the cause tells who had failed. */
THRUM_API int thrum_race_n(const thrum_fx *fx, size_t n);

/* First completion of any kind wins; returns its code and, if ret_index is not NULL, its index. -EINVAL for 0. */
THRUM_API int thrum_race_first_n(const thrum_fx *fx, size_t n, int *ret_index);

/* run(base + i * stride) for i < n, at most `parallelism` bodies alive at once, pulled lazily, results in place. The first
 * failure stops it like zip_par: no further item starts. parallelism 0: -EINVAL (F3). THRUM_UNBOUNDED: the next item starts
 * when a worker is free or an earlier one may suspend.
 *   Items that neither block nor call into the library cost about a nanosecond each: a worker takes them by the chunk, of up to
 * half of its share of what is left, and leaves half of a chunk to one that has nothing to do. So they begin in index order
 * only roughly, and such an item, while it runs, keeps those behind it in its chunk from starting, but nobody else. As soon
 * as one calls into the library, those behind it are anybody's. */
THRUM_API int thrum_for_each_par_n(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism);

/* The same with options; NULL and zero mean none. Fibers as above; -EINVAL for an option that the call does not know. */
typedef struct thrum_fan_opts {
	size_t size;
	/* What an effect put into its arg, when nobody will take it: zip_par and for_each_par, of each effect that succeeded
	 * though the whole did not (Z7); races, of each that succeeded beside the winner (R6). Called once each with that arg,
	 * shielded, by the calling fiber, after all effects have ended; may suspend. What it leaves in the arg is up to it: a
	 * caller that looks there wants it zeroed. */
	void (*drop)(void *arg);
	/* Races: instead of drop, with the winner's arg: no value is lost when two can be made one (R6). */
	void (*combine)(void *winner_arg, void *arg);
	int *codes;   /* for_each_par: codes[i] for item i, and no failure stops the others: settle (F10) */
	size_t grain; /* for_each_par: a runner takes so many neighbours at once, and keeps them;
	                 0: as many as above (F10) */
	/* for_each_par: called when item `index` has ended, in the order in which they end, one at a time, with the item,
	 * its code and done_ctx; not for items that never started. Shielded, on the fiber that ran the item, which keeps
	 * its place in the parallelism meanwhile; may suspend (F10). */
	void (*done)(void *arg, size_t index, int code, void *ctx);
	void *done_ctx;
} thrum_fan_opts;
#define THRUM_FAN_OPTS(...) (&(thrum_fan_opts){ .size = sizeof(thrum_fan_opts), __VA_ARGS__ })
/* Also -ENOMEM, before anything starts: drop and combine need a bit for each effect, beyond 512 of them from malloc. */
THRUM_API int thrum_zip_par_with(const thrum_fx *fx, size_t n, const thrum_fan_opts *o);
THRUM_API int thrum_race_with(const thrum_fx *fx, size_t n, const thrum_fan_opts *o);
THRUM_API int thrum_for_each_par_with(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism,
				      const thrum_fan_opts *o);

/* for_each_par over items that are pulled as they are needed (F5). next(iter, &item) puts one into *ret_item and
 * returns 1, or returns 0: there are no more, or a code: the whole has failed, what runs is cancelled. One call of it
 * runs at a time; it may suspend, and runs as a child of its own. At most `parallelism` items are pulled and not yet
 * ended, and so many fibers are used. The first failure stops it like zip_par; then, or after a cancel, nothing more
 * is pulled. Options (NULL: none): .drop(item) for an item that was pulled but never run, others it leaves alone;
 * .done, where `index` counts the items in the order in which they were pulled. Returns 0 when the iterator has ended
 * and all its items have succeeded; -EINVAL for parallelism 0 or other options. */
THRUM_API int thrum_for_each_par_from(int (*next)(void *iter, void **ret_item), void *iter, int (*run)(void *item),
				      size_t parallelism, const thrum_fan_opts *o);

/* Typed: items is an array or pointer of T, fn has a THRUM_FX(fn, T). */
#define thrum_for_each_par(items, n, fn, parallelism)                                                \
	((void)sizeof(fn##_fx(items)),                                                               \
	 thrum_for_each_par_items_(fn##_run_, fn##_items_, (void *)(items), (n), sizeof(*(items)), (parallelism)))
THRUM_API int thrum_for_each_par_items_(int (*run)(void *), thrum_items_fn_ *items, void *base, size_t n, size_t stride,
					size_t parallelism); /* `items` calls `run` */

/* Run `fx` with a deadline, counted from now. Expired: fx is cancelled, awaited, and -ETIMEDOUT is returned; but what fx
 * itself came back with, a value or a failure of its own, wins (T7). limit <= 0: not started. */
THRUM_API int thrum_timeout(thrum_fx fx, thrum_dur limit);
/* The same with 0 and *ret_timed_out = true instead of -ETIMEDOUT; a release that then fails is the result, as after a success.
 * ret_timed_out may be NULL. */
THRUM_API int thrum_timeout_opt(thrum_fx fx, thrum_dur limit, bool *ret_timed_out);

/* The forms that do not wait: what is still running when the result is there, losers or an effect past its limit, has been
 * cancelled, but goes on winding up as a child of the named scope, which outlives this call (R12, T8). So do they after a
 * cancel of the caller. fx and its args stay borrowed until that scope closed; the array itself is copied. A late
 * failure is that of an isolated child of the named scope (K7). Deadlines and cancels around the caller reach the effects
 * through the caller only. Codes as thrum_race_n() and thrum_timeout(); -ENOMEM, THRUM_ECLOSED or -ECANCELED from the named
 * scope before anything starts. Fiber that may spawn into the named scope. */
THRUM_API int thrum_race_in(thrum_scope *losers, const thrum_fx *fx, size_t n);
THRUM_API int thrum_timeout_in(thrum_scope *late, thrum_fx fx, thrum_dur limit);

/* If `fx` fails, the fallback's code instead. Cancellation and defects pass (E2); so does a failure that came after a cancel,
 * a release's for example, if the fallback ends with -ECANCELED. */
THRUM_API int thrum_or_else(thrum_fx fx, thrum_fx fallback);
/* `first`, then `next` if it succeeded; data travels in the args. Checks for cancel between (E1). */
THRUM_API int thrum_then(thrum_fx first, thrum_fx next);

/* acquire shielded; then use, unless a cancel came meanwhile; then release, shielded, exactly once, if acquire succeeded.
 * use's failure is primary; release's counts if use succeeded or was cancelled (A1-A7). */
THRUM_API int thrum_bracket(thrum_fx acquire, thrum_fx use, thrum_fx release);
/* The same with an acquire that sees cancels; between its success and the release being due lies no cancel point (A2). */
THRUM_API int thrum_bracket_interruptible(thrum_fx acquire, thrum_fx use, thrum_fx release);
/* acquire shielded; release runs when the nearest scope closes (A8): that of the item, entrant, timeout or child this
 * runs in. -ENOMEM before acquire starts if the finalizer cannot be stored (A9). A cancel that came while it acquired:
 * -ECANCELED, release stays due. */
THRUM_API int thrum_acquire_release(thrum_fx acquire, thrum_fx release);

/* The same with an acquire that sees cancels (A2). */
THRUM_API int thrum_acquire_release_interruptible(thrum_fx acquire, thrum_fx release);

/* A combinator as a value, to nest in another: fill in the struct, pass its _fx (any thread). Borrowed while the effect may
 * run. */
typedef struct thrum_zip_par_op {
	const thrum_fx *fx;
	size_t n;
} thrum_zip_par_op;
typedef struct thrum_zip_settle_op {
	const thrum_fx *fx;
	size_t n;
	int *codes;
} thrum_zip_settle_op;
typedef struct thrum_race_op {
	const thrum_fx *fx;
	size_t n;
	int *ret_index; /* may be NULL */
} thrum_race_op;
typedef struct thrum_for_each_par_op {
	int (*run)(void *);
	void *base;
	size_t n, stride, parallelism;
} thrum_for_each_par_op;
typedef struct thrum_timeout_op {
	thrum_fx fx;
	thrum_dur limit;
} thrum_timeout_op;
typedef struct thrum_or_else_op {
	thrum_fx fx, fallback;
} thrum_or_else_op;
typedef struct thrum_then_op {
	thrum_fx first, next;
} thrum_then_op;
typedef struct thrum_bracket_op {
	thrum_fx acquire, use, release;
} thrum_bracket_op;
typedef struct thrum_acquire_release_op {
	thrum_fx acquire, release;
} thrum_acquire_release_op;
typedef struct thrum_shield_op {
	thrum_fx fx;
} thrum_shield_op;
THRUM_API thrum_fx thrum_zip_par_fx(thrum_zip_par_op *op);
THRUM_API thrum_fx thrum_zip_settle_fx(thrum_zip_settle_op *op);
THRUM_API thrum_fx thrum_race_fx(thrum_race_op *op);       /* as an effect: 0 on success, the index in *ret_index */
THRUM_API thrum_fx thrum_race_first_fx(thrum_race_op *op); /* as an effect: the first completer's code */
THRUM_API thrum_fx thrum_for_each_par_fx(thrum_for_each_par_op *op);
THRUM_API thrum_fx thrum_timeout_fx(thrum_timeout_op *op);
THRUM_API thrum_fx thrum_or_else_fx(thrum_or_else_op *op);
THRUM_API thrum_fx thrum_then_fx(thrum_then_op *op);
THRUM_API thrum_fx thrum_bracket_fx(thrum_bracket_op *op);
THRUM_API thrum_fx thrum_acquire_release_fx(thrum_acquire_release_op *op);
THRUM_API thrum_fx thrum_shield_fx(thrum_shield_op *op);

#ifdef __cplusplus
} /* extern "C" */

/* C++ cannot take the address of a compound literal, so the variadic forms are templates there. */
template <class... F> inline int thrum_zip_par(F &&...f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_zip_par_list_(fx_, sizeof...(f));
}
template <class... F> inline int thrum_race(F &&...f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_race_n(fx_, sizeof...(f));
}
template <class... F> inline int thrum_race_first(F &&...f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_race_first_n(fx_, sizeof...(f), nullptr);
}
#else
#define THRUM_FX_LIST_(...) (const thrum_fx[]){ __VA_ARGS__ }, sizeof((const thrum_fx[]){ __VA_ARGS__ }) / sizeof(thrum_fx)
#define thrum_zip_par(...) thrum_zip_par_list_(THRUM_FX_LIST_(__VA_ARGS__))
#define thrum_race(...) thrum_race_n(THRUM_FX_LIST_(__VA_ARGS__))
#define thrum_race_first(...) thrum_race_first_n(THRUM_FX_LIST_(__VA_ARGS__), NULL)
#endif
#endif
