/* core/deep.h: call an effect that may nest without end (joins, then, or_else, timeouts, brackets): when the stack runs
 * low the rest goes on a fresh one, so depth costs memory, never an overflow (E5, hazard 21). */
#ifndef TH_DEEP_H
#define TH_DEEP_H
#include "hooks.h"
#include <errno.h>

static inline int th_call_deep(thrum_fx fx)
{
	int code = -ENOMEM;

	if (!fx.run)
		return -EINVAL;
	if (!th_stack_low())
		return fx.run(fx.arg);
	(void)th_call_fresh(fx, &code);
	return code;
}

/* For what has to run, come what may (finalizers, releases, drops): without memory for a fresh stack it runs on what is left
 * of this one, which is kept for the likes of it. */
static inline int th_call_always(thrum_fx fx)
{
	int code;

	if (!fx.run)
		return -EINVAL;
	return th_stack_low() && th_call_fresh(fx, &code) ? code : fx.run(fx.arg);
}

#endif
