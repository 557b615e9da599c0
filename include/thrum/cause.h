/* thrum/cause.h: why something failed, as a small tree. The code that a call returns is always the primary failure; the
 * cause tells the rest of the story: what else failed while it was wound up, who cancelled it, and where.
 *
 * A cause costs nothing until something fails. Every failure is in it exactly once, also one that a race or a retry only
 * remembered when it was cancelled; interrupts that are only the echo of a cancel are left out.
 * (The shape, two kinds of composition and no more, is that of ZIO's Cause.) */
#ifndef THRUM_CAUSE_H
#define THRUM_CAUSE_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/scope.h>
#ifdef __cplusplus
extern "C" {
#endif

enum {
	THRUM_CAUSE_FAIL = 1,  /* a failure: .code, and what thrum_failed() said of it */
	THRUM_CAUSE_DIE,       /* a defect, reported with thrum_die() */
	THRUM_CAUSE_INTERRUPT, /* a cancel: .reason */
	THRUM_CAUSE_BOTH,      /* parts that ran at once, in the order in which they failed */
	THRUM_CAUSE_THEN       /* parts that ran one after the other */
};
#define THRUM_NO_INDEX SIZE_MAX

typedef struct thrum_cause {
	unsigned kind;
	int code;                         /* of both and then: the primary failure's */
	const struct thrum_cause *first;  /* both, then: the first part */
	const struct thrum_cause *next;   /* the part after this one */
	size_t index;                     /* number of the child it comes from, the innermost; else THRUM_NO_INDEX */
	const char *name;                 /* that child's name, if it has one */
	const char *what;                 /* fail, die: as given; else NULL */
	const char *file;                 /* fail, die: the site; else NULL */
	unsigned line;
	unsigned attempts;                /* made by a retry before it gave up; 0: no retry */
	void *detail;                     /* as given to thrum_failed_with() */
	size_t omitted;                   /* parts that there was no memory for */
	thrum_reason reason;
} thrum_cause;

/* The cause of the last scope, combinator or joined handle that failed in this fiber (each child has its own: K10); NULL if
 * none did, or on a plain thread. Its .code is what that call returned; a call that was refused (-EINVAL, or -ECANCELED before
 * it began) leaves it as it is. Does not suspend.
 * Valid until the next of them fails in this fiber, or this effect ends. thrum_or_else(), thrum_catch_cause(), thrum_retry() and
 * thrum_repeat() put it aside for the effects that they run: NULL there at first, and what fails there is forgotten if the
 * call itself succeeds. */
THRUM_API const thrum_cause *thrum_last_cause(void);

/* A cause as lines of text, a part per line below its whole:
 *
 *     both: Input/output error
 *       child 2 "fetch": Input/output error: no answer (client.c:31)
 *       then: No space left on device
 *         child 0: No space left on device
 *         Bad file descriptor
 *
 * Writes at most `size` bytes with the final NUL, and no line end at the end. Returns the length that the whole text has,
 * as snprintf() does. `cause` NULL: the empty text. Any thread; does not allocate. */
THRUM_API size_t thrum_cause_text(const thrum_cause *cause, char *buf, size_t size);

/* `return thrum_failed(-EIO, "no answer");`: a failure that says what and where. The text is borrowed for as long as the
 * cause lives: a literal. Returns code; -EINVAL if that is not negative. On a plain thread it returns the code only. */
#define thrum_failed(code, what) thrum_failed_at_((code), (what), NULL, NULL, __FILE__, __LINE__)
/* With a payload, handed to `drop` (may be NULL) once when the cause goes: no runtime lock is held, but drop must not
 * suspend. On a plain thread at once. */
#define thrum_failed_with(code, what, detail, drop)                                                          \
	thrum_failed_at_((code), (what), (detail), (drop), __FILE__, __LINE__)
THRUM_API int thrum_failed_at_(int code, const char *what, void *detail, void (*drop)(void *detail), const char *file,
			       unsigned line);

/* Like thrum_or_else(), but for every end that is no success, defects and cancels too: `handler` gets the cause, valid
 * until it returns, and its code is the result; a failure of its own comes after that cause, as with a fallback (E3). After a
 * cancel the next cancel point says -ECANCELED again: it is seen, not undone (E2). Fiber; suspends if fx or
 * handler does. -EINVAL without a function. */
THRUM_API int thrum_catch_cause(thrum_fx fx, int (*handler)(const thrum_cause *cause, void *arg), void *arg);

#ifdef __cplusplus
}
#endif
#endif
