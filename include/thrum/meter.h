/* thrum/meter.h: how parallel is a program, and what would more workers bring?
 *
 * A runtime opened with .meter = true, or any with THRUM_METER=1 in the environment, runs on one worker and follows the
 * program's strands, the stretches between forks, joins and wake-ups: their sum, the work, is what one worker needs; the
 * longest chain of them, the span, is what no number of workers can go below. Time in which a fiber waits, and most of what
 * the runtime itself takes, is in neither. Children are counted as if each could run beside its siblings: bounds as that of
 * for_each_par are not looked at. When the runtime closes it reports the result (THRUM_REPORT_METER); without a hook that
 * goes to stderr.
 *   A metered program is slower where it forks often: each fork is followed, so none is just a call.
 *   (Work and span: Blumofe and Leiserson. Metering a program on one worker, and the burdened span: Cilkview, He, Leiserson
 * and Leiserson, SPAA 2010.) */
#ifndef THRUM_METER_H
#define THRUM_METER_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

typedef struct thrum_meter {
	size_t size;          /* set by the caller */
	uint64_t work_ns;
	uint64_t span_ns;
	uint64_t burdened_ns; /* the span if each child on the way, but for the first of a fork, and each wake-up costs a theft */
	uint64_t children;    /* that were followed */
	uint64_t steal_ns;    /* the price of a theft that was used */
} thrum_meter;

/* The metered runtime of this fiber, up to here. Does not suspend. 0; THRUM_ENOTFIBER; -ENOTSUP if it is not metered; -EINVAL
 * for another size. */
THRUM_API int thrum_meter_read(thrum_meter *ret_meter);

/* What `workers` would bring at least and at most, as factors over one: work / (work / workers + burdened span), and the
 * smaller of `workers` and work / span. Any thread. */
THRUM_API double thrum_meter_speedup_min(const thrum_meter *m, unsigned workers);
THRUM_API double thrum_meter_speedup_max(const thrum_meter *m, unsigned workers);

/* The result as lines of text, with the speed-up predicted for 2 to 128 workers. Writes at most `size` bytes with the final
 * NUL and no line end at the end; returns the whole length, as snprintf() does. Any thread. */
THRUM_API size_t thrum_meter_text(const thrum_meter *m, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
