/* core/fx.c: the elementary effects, codes as text, and the abort of last resort. */
#include "assert.h"
#include "hooks.h"
#include "node.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/fx.h>

int thrum_call(thrum_fx fx)
{
	return fx.run ? fx.run(fx.arg) : -EINVAL;
}

static int succeed(void *unused)
{
	(void)unused;
	return 0;
}

thrum_fx thrum_succeed(void)
{
	return (thrum_fx){ succeed, NULL };
}

/* The argument is the code itself: an effect value has room for it and then needs no storage. */
static int fail_with(void *code)
{
	return (int)(intptr_t)code;
}

thrum_fx thrum_fail(int code)
{
	return (thrum_fx){ fail_with, (void *)(intptr_t)(code < 0 ? code : -EINVAL) };
}

static void park_for_ever(struct th_fiber *f, void *arg)
{
	struct th_waiter *w = arg;

	if (!th_node_arm(f, w) && th_waiter_claim(w, TH_WAIT_CANCELLED))
		th_wake(f);
}

static int never(void *unused)
{
	struct th_fiber *f = th_self();
	struct th_waiter w;

	(void)unused;
	if (!f)
		return THRUM_ENOTFIBER;
	th_waiter_init(&w, f);
	th_suspend(park_for_ever, &w);
	th_node_disarm(f, &w);
	return -ECANCELED;
}

thrum_fx thrum_never(void)
{
	return (thrum_fx){ never, NULL };
}

const char *thrum_strerror(int code)
{
	switch (code) {
	case THRUM_ECLOSED:
		return "closed: takes no more work";
	case THRUM_ENOTFIBER:
		return "called outside a fiber of a thrum runtime";
	case THRUM_EEOF:
		return "the stream ended early";
	case THRUM_EDIED:
		return "a defect, reported with thrum_die()";
	case THRUM_EOPEN:
		return "the circuit breaker is open: not tried";
	case THRUM_ENONAME:
		return "no such name or service";
	case THRUM_ENOSERVICE:
		return "a service is needed that nobody has provided";
	case THRUM_EEXIT:
		return "the process failed: its exit code is not 0";
	case THRUM_ESIGNALED:
		return "a signal ended the process";
	default:
		break;
	}
	if (code >= 0)
		return "success";
	if (code > -4096) {
		const char *text = strerrordesc_np(-code); /* constant text; strerror() would share a buffer */
		return text ? text : "unknown error";
	}
	return code < THRUM_CODE_LAST_ ? "an error of the application" : "unknown code";
}

void th_abort(const char *file, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	fprintf(stderr, "thrum: %s (%s:%u)\n", text, file, line);
#ifdef TH_SIM
	th_sim_aborts(text);
#endif
	abort();
}
