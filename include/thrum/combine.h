/* thrum/combine.h: combinators. Ordinary functions over thrum_fx; the calls of scope.h suffice to write your
 * own. None returns before every effect it started has ended, finalizers included.
 *
 * All of them: called by a fiber (else THRUM_ENOTFIBER); suspend; are cancel points, but for thrum_then and thrum_or_else,
 * which leave the first check to what they run (E1); borrow what they are given until they return; allocate nothing that
 * they could not do without. Each effect runs in a scope of its own, with an identity of its own (K10). */
#ifndef THRUM_COMBINE_H
#define THRUM_COMBINE_H
#include <thrum/base.h>
#include <thrum/fx.h>
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
 * (R5); -EINVAL for 0 effects (R3). */
THRUM_API int thrum_race_n(const thrum_fx *fx, size_t n);

/* First completion of any kind wins; returns its code and, if ret_index is not NULL, its index. -EINVAL for 0. */
THRUM_API int thrum_race_first_n(const thrum_fx *fx, size_t n, int *ret_index);

/* run(base + i * stride) for i < n, at most `parallelism` bodies alive at once, pulled lazily in index order, results in
 * place. The first failure stops it like zip_par. parallelism 0: -EINVAL (F3). THRUM_UNBOUNDED: the next item starts when
 * a worker is free or an earlier one suspends. */
THRUM_API int thrum_for_each_par_n(int (*run)(void *), void *base, size_t n, size_t stride, size_t parallelism);

/* Typed: items is an array or pointer of T, fn has a THRUM_FX(fn, T). */
#define thrum_for_each_par(items, n, fn, parallelism)                                                \
	((void)sizeof(fn##_fx(items)),                                                               \
	 thrum_for_each_par_n(fn##_run_, (void *)(items), (n), sizeof(*(items)), (parallelism)))

/* Run `fx` with a deadline, counted from now. Expired: fx is cancelled, awaited, and -ETIMEDOUT is returned; but what fx
 * itself came back with, a value or a failure of its own, wins (T7). limit <= 0: not started. */
THRUM_API int thrum_timeout(thrum_fx fx, thrum_dur limit);
/* The same with 0 and *ret_timed_out = true instead of -ETIMEDOUT. ret_timed_out may be NULL. */
THRUM_API int thrum_timeout_opt(thrum_fx fx, thrum_dur limit, bool *ret_timed_out);

/* If `fx` fails, the fallback's code instead. Cancellation and defects pass (E2). */
THRUM_API int thrum_or_else(thrum_fx fx, thrum_fx fallback);
/* `first`, then `next` if it succeeded; data travels in the args. Checks for cancel between (E1). */
THRUM_API int thrum_then(thrum_fx first, thrum_fx next);

/* acquire shielded; then use, unless a cancel came meanwhile; then release, shielded, exactly once, if acquire succeeded.
 * use's failure is primary; release's counts if use succeeded (A1-A7). */
THRUM_API int thrum_bracket(thrum_fx acquire, thrum_fx use, thrum_fx release);
/* acquire shielded; release runs when the nearest scope closes (A8): that of the item, entrant, timeout or child this
 * runs in. -ENOMEM before acquire starts if the finalizer cannot be stored (A9). A cancel that came while it acquired:
 * -ECANCELED, release stays due. */
THRUM_API int thrum_acquire_release(thrum_fx acquire, thrum_fx release);

/* A combinator as a value, to nest in another: fill in the struct, pass its _fx. Borrowed while the effect may run. */
typedef struct thrum_zip_par_op {
	const thrum_fx *fx;
	size_t n;
} thrum_zip_par_op;
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
template <class... F> inline int thrum_zip_par(F... f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_zip_par_n(fx_, sizeof...(f));
}
template <class... F> inline int thrum_race(F... f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_race_n(fx_, sizeof...(f));
}
template <class... F> inline int thrum_race_first(F... f)
{
	const thrum_fx fx_[] = { f... };
	return thrum_race_first_n(fx_, sizeof...(f), nullptr);
}
#else
#define THRUM_FX_LIST_(...) (const thrum_fx[]){ __VA_ARGS__ }, sizeof((const thrum_fx[]){ __VA_ARGS__ }) / sizeof(thrum_fx)
#define thrum_zip_par(...) thrum_zip_par_n(THRUM_FX_LIST_(__VA_ARGS__))
#define thrum_race(...) thrum_race_n(THRUM_FX_LIST_(__VA_ARGS__))
#define thrum_race_first(...) thrum_race_first_n(THRUM_FX_LIST_(__VA_ARGS__), NULL)
#endif
#endif
