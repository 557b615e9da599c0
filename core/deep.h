/* core/deep.h: call an effect that may nest without end (joins, then, or_else, timeouts, brackets): when the stack runs
 * low the rest goes on a fresh one, so depth costs memory, never an overflow (E5, hazard 21). */
#ifndef TH_DEEP_H
#define TH_DEEP_H
#include "hooks.h"
#include <errno.h>

static inline int th_call_deep(thrum_fx fx)
{
	if (!fx.run)
		return -EINVAL;
	return th_stack_low() ? th_call_fresh(fx) : fx.run(fx.arg);
}

#endif
