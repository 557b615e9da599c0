/* thrum/fx.h: an effect is a function and its argument, a description of work that has not started.
 *
 * The argument is borrowed and carries the results as fields; running an effect does not consume it, so the same value
 * may run twice, also at once, if its argument allows it (E4, E7). */
#ifndef THRUM_FX_H
#define THRUM_FX_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct thrum_fx {
	int (*run)(void *arg); /* 0 or more: success; negative: a code */
	void *arg;
} thrum_fx;

/* THRUM_FX(fetch, struct fetch); after `int fetch(struct fetch *)` defines the typed constructor
 * `thrum_fx fetch_fx(struct fetch *)`, and what thrum_for_each_par() needs to call fetch on items. T may be void. */
#define THRUM_FX(fn, T)                                                    \
	static inline THRUM_UNUSED_OK_ int fn##_run_(void *arg_)           \
	{                                                                  \
		return fn((T *)arg_);                                      \
	}                                                                  \
	static inline THRUM_UNUSED_OK_ thrum_fx fn##_fx(T *arg_)           \
	{                                                                  \
		thrum_fx fx_;                                              \
		fx_.run = fn##_run_;                                       \
		fx_.arg = (void *)arg_;                                    \
		return fx_;                                                \
	}                                                                  \
	static inline THRUM_UNUSED_OK_ int fn##_items_(struct thrum_items_ *items_) \
	{                                                                  \
		return thrum_items_run_(items_, fn##_run_);                \
	}                                                                  \
	THRUM_END_

/* Run it here and now, in the caller's scope. Any thread; suspends if the effect does. Returns its code;
 * -EINVAL for an effect without a function (E6). Unlike every other call that runs an effect in the caller's place it never
 * changes the stack; those go on on a fresh one where this one runs low, and return -ENOMEM if there is no memory for it. */
THRUM_API int thrum_call(thrum_fx fx);

/* Effects as values. Any thread; nothing suspends before they run. */
THRUM_API thrum_fx thrum_succeed(void);   /* returns 0 */
THRUM_API thrum_fx thrum_fail(int code);  /* returns code; -EINVAL if code is not negative */
THRUM_API thrum_fx thrum_never(void);     /* suspends until cancelled, then -ECANCELED */

#ifdef __cplusplus
}
#endif
#include <thrum/fork.h> /* what THRUM_FX() expands to */
#endif
