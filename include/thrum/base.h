/* thrum/base.h: codes, durations, times and the macros that the other headers are written with.
 *
 * Every call reports through its return value: >= 0 is success, a negative int is a code. errno is never an output:
 * a fiber may not read errno or a thread_local across a call marked "suspends" (the compiler may have kept its address). */
#ifndef THRUM_BASE_H
#define THRUM_BASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define THRUM_API __attribute__((visibility("default")))
#define THRUM_MUST_CHECK __attribute__((warn_unused_result))
#define THRUM_UNUSED_OK_ __attribute__((unused))
/* Ends a macro that defines functions, so that it is written with a semicolon. In a C++ namespace a struct would be a new one. */
#ifdef __cplusplus
#define THRUM_END_ static_assert(true, "")
#else
#define THRUM_END_ struct thrum_end_
#endif
#else
#error "thrum needs gcc or clang"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define THRUM_VERSION_MAJOR 0
#define THRUM_VERSION_MINOR 1
#define THRUM_VERSION_PATCH 0

/* Codes. -1..-4095 are -errno; -4096..-8191 are thrum's own; THRUM_APP(n), n >= 0, are the application's. */
enum {
	THRUM_ECLOSED = -4096,   /* the scope, channel or runtime no longer takes work */
	THRUM_ENOTFIBER = -4097, /* the call suspends, and the caller is not a fiber */
	THRUM_EEOF = -4098,      /* the stream ended before the bytes asked for had come */
	THRUM_EDIED = -4099,     /* a defect, reported with thrum_die() */
	THRUM_EOPEN = -4100,     /* a circuit breaker is open: not tried */
	THRUM_ENONAME = -4101,   /* no such name or service */
	THRUM_ENOSERVICE = -4102, /* a service that nobody has provided; thrum_service_missing() names it */
	THRUM_EEXIT = -4103,     /* a process ended with another exit code than 0 */
	THRUM_ESIGNALED = -4104, /* a process was ended by a signal */
	THRUM_CODE_LAST_ = -8191
};
#define THRUM_APP(n) (THRUM_CODE_LAST_ - 1 - (int)(n))

/* A short English text for any code; never NULL, never freed. Any thread. */
THRUM_API const char *thrum_strerror(int code);

/* A length of time, and a point of time on the clock of the runtime. Distinct types, so that mixing them up does not
 * compile. Arithmetic on them saturates: THRUM_FOREVER stays for ever. */
typedef struct thrum_dur {
	int64_t ns;
} thrum_dur;
typedef struct thrum_time {
	int64_t ns;
} thrum_time;

static inline thrum_dur thrum_dur_scaled_(int64_t n, int64_t unit_ns)
{
	thrum_dur d;
	if (n > INT64_MAX / unit_ns)
		d.ns = INT64_MAX;
	else if (n < INT64_MIN / unit_ns)
		d.ns = INT64_MIN;
	else
		d.ns = n * unit_ns;
	return d;
}
static inline thrum_dur thrum_ns(int64_t n) { return thrum_dur_scaled_(n, 1); }
static inline thrum_dur thrum_us(int64_t n) { return thrum_dur_scaled_(n, 1000); }
static inline thrum_dur thrum_ms(int64_t n) { return thrum_dur_scaled_(n, 1000000); }
static inline thrum_dur thrum_sec(int64_t n) { return thrum_dur_scaled_(n, 1000000000); }
static inline thrum_dur thrum_min(int64_t n) { return thrum_dur_scaled_(n, INT64_C(60000000000)); }
#define THRUM_FOREVER (thrum_ns(INT64_MAX))

/* time + length and time - time, saturating. */
static inline thrum_time thrum_time_add(thrum_time t, thrum_dur d)
{
	thrum_time r;
	if (__builtin_add_overflow(t.ns, d.ns, &r.ns))
		r.ns = d.ns > 0 ? INT64_MAX : INT64_MIN;
	return r;
}
static inline thrum_dur thrum_time_sub(thrum_time later, thrum_time earlier)
{
	thrum_dur r;
	if (__builtin_sub_overflow(later.ns, earlier.ns, &r.ns))
		r.ns = earlier.ns < 0 ? INT64_MAX : INT64_MIN;
	return r;
}

#ifdef __cplusplus
}
#endif
#endif
