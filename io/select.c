/* io/select.c: thrum_select(): descriptors among the cases. The rest is core's th_select().
 *
 * A select's waits share one claim, but an operation in the kernel is claimed by nobody until its completion has come (G5).
 * So each descriptor gets a child that waits for it and sets a promise, and the select awaits that promise in the
 * case's place. Whatever is chosen, the children are cancelled and awaited before it returns: no operation is left. */
#include "../core/promise.h"
#include "../core/select.h"
#include "../core/hooks.h"
#include "../core/scope.h"
#include <errno.h>
#include <stdlib.h>
#include <thrum/io.h>
#include <thrum/scope.h>

struct fd_case {
	thrum_case *at;
	thrum_case as_given;
	thrum_promise ready;
	thrum_task watcher;
};

static int watch_fd(void *arg)
{
	struct fd_case *c = arg;
	int code = thrum_wait_fd((int)(intptr_t)c->as_given.object, (unsigned)(uintptr_t)c->as_given.ret);

	(void)thrum_promise_set(&c->ready, code, NULL);
	return 0;
}

static size_t count_fds(const thrum_case *cases, size_t n)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += cases[i].kind == THRUM_CASE_FD;
	return count;
}

static void replace(thrum_case *at, struct fd_case *c)
{
	c->at = at;
	c->as_given = *at;
	(void)thrum_promise_init(&c->ready);
	*at = thrum_case_await(&c->ready, NULL);
}

static void put_back(struct fd_case *c)
{
	int code = c->at->code;

	*c->at = c->as_given;
	c->at->code = code;
}

/* The descriptors have been replaced. The scope fails only if no fiber can be had for a watcher. */
static int select_watching(thrum_case *cases, size_t n, struct fd_case *fds, size_t nfds)
{
	thrum_scope s;
	int r = th_scope_open_own(&s), chosen, closed;

	for (size_t i = 0; i < nfds && r == 0; i++)
		r = thrum_spawn(&s, &fds[i].watcher, (thrum_fx){ watch_fd, &fds[i] });
	chosen = r < 0 ? r : th_select(cases, n);
	thrum_scope_cancel_at_(&s, NULL, 0);
	closed = thrum_scope_close(&s);
	return chosen == -ECANCELED && closed < 0 ? closed : chosen;
}

int thrum_select(thrum_case *cases, size_t n)
{
	size_t nfds = cases && th_self() ? count_fds(cases, n) : 0, k = 0;
	struct fd_case *fds;
	int r;

	if (nfds == 0)
		return th_select(cases, n);
	fds = malloc(nfds * sizeof *fds);
	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (cases[i].kind == THRUM_CASE_FD)
			replace(&cases[i], &fds[k++]);
	r = thrum_check(); /* before anything is taken */
	if (r == 0)
		r = thrum_try_select(cases, n);
	if (r == -EAGAIN)
		r = select_watching(cases, n, fds, nfds);
	for (k = 0; k < nfds; k++)
		put_back(&fds[k]);
	free(fds);
	return r;
}
