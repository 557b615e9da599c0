/* sched/overflow.c: a fiber that runs off its stack hits the guard below it. The report names that instead of leaving a
 * bare segmentation fault (X6, hazard 19): the handler runs on a stack of its own, one per worker.
 *
 * The handler is installed only where the program has none for SIGSEGV, stays installed, and hands every other fault to
 * the default action. Nothing here is done with a program's own handler. */
#include "worker.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

enum { ALTSTACK_EXTRA = 16 * 1024 };

static size_t altstack_bytes(void)
{
	unsigned long least = getauxval(AT_MINSIGSTKSZ); /* with wide vector state it is more than MINSIGSTKSZ says */

	return (least ? least : 4096) + ALTSTACK_EXTRA;
}

#ifndef SANITIZED
static void say(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));
	(void)n;
}

/* The stacks of the pool's own size are all known to it; one of another size only to the fiber that runs on it. */
static bool is_overflow(struct th_worker *w, const void *addr)
{
	struct th_stacks *stacks = w->rt->stacks;

	return th_stacks_in_guard(stacks, addr) || (w->fiber && th_stacks_is_guard_of(stacks, &w->fiber->stack, addr));
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct th_worker *w = th_worker_self();
	bool sent = info->si_code <= 0; /* by kill() or raise(): no address, and nothing to run into again */

	(void)context;
	if (!sent && w && is_overflow(w, info->si_addr)) {
		struct th_task *t = w->fiber ? w->fiber->core.task : NULL;
		say("thrum: a fiber ran off its stack: ");
		say(t && t->name ? t->name : "(unnamed)");
		say("; raise .stack_bytes\n");
	}
	signal(sig, SIG_DFL); /* returning runs into the same fault again, now with the default action */
	if (sent)
		(void)raise(sig); /* when this handler has returned */
}

static void install(void)
{
	struct sigaction old, ours;

	if (sigaction(SIGSEGV, NULL, &old) < 0 || (old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
		return;
	memset(&ours, 0, sizeof ours);
	ours.sa_sigaction = on_fault;
	ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGSEGV, &ours, NULL);
}
#else
static void install(void) {} /* the sanitizers have handlers of their own */
#endif

void th_overflow_watch(struct th_worker *w)
{
	stack_t stack, old;

	install();
	if (sigaltstack(NULL, &old) < 0 || !(old.ss_flags & SS_DISABLE))
		return; /* worker 0 may be a thread of the program that has one */
	memset(&stack, 0, sizeof stack);
	stack.ss_size = altstack_bytes();
	stack.ss_sp = w->altstack = malloc(stack.ss_size);
	if (!w->altstack)
		return; /* only the report is lost */
	sigaltstack(&stack, NULL);
}

void th_overflow_unwatch(struct th_worker *w)
{
	stack_t off, now;

	if (!w->altstack)
		return;
	memset(&off, 0, sizeof off);
	off.ss_flags = SS_DISABLE;
	if (sigaltstack(NULL, &now) == 0 && now.ss_sp == w->altstack) /* the program may have set one of its own meanwhile */
		sigaltstack(&off, NULL);
	free(w->altstack);
	w->altstack = NULL;
}
