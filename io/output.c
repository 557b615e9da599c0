/* io/output.c: a process from start to end in one call, with what it reads and writes. */
#include "../core/hooks.h"
#include "../core/scope.h"
#include "own_errno.h"
#include "process.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/combine.h>
#include <thrum/io.h>
#include <unistd.h>

enum { FIRST_BYTES = 4096 };

/* Close the scope in which `code` has come about: that code, unless the close knows better. */
static int close_with(thrum_scope *s, int code)
{
	int closed = thrum_scope_close(s);

	return code < 0 ? code : closed;
}

int thrum_run_process(const thrum_process_opts *o, thrum_process_status *ret)
{
	thrum_process_status status;
	thrum_process p;
	thrum_scope s;
	int code;

	if (o && (o->in.kind == THRUM_STDIO_PIPE || o->out.kind == THRUM_STDIO_PIPE || o->err.kind == THRUM_STDIO_PIPE))
		return th_self() ? -EINVAL : THRUM_ENOTFIBER;
	code = th_scope_open_own(&s);
	if (code < 0)
		return code;
	code = thrum_spawn_process(&s, &p, o);
	if (code == 0)
		code = thrum_wait_process(&p, &status);
	code = close_with(&s, code);
	if (code < 0)
		return code;
	if (ret)
		*ret = status;
	return o->check ? thrum_process_check(&status) : 0;
}

/* --- feeding --- */

struct feed {
	int *fd;
	const char *data;
	size_t size;
};

/* write(2) with SIGPIPE kept from the program: one that it raises is taken back, one that was there before is left. (The
 * ring would raise it in the same thread, but later.) */
static ssize_t write_quietly(int fd, const void *data, size_t size)
{
	const struct timespec at_once = { 0, 0 };
	sigset_t pipe, before, pending;
	int saved = th_errno_begin();
	ssize_t res;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	sigprocmask(SIG_BLOCK, &pipe, &before); /* of this thread, on Linux */
	res = th_sys_write(fd, data, size);
	res = res < 0 ? -errno : res;
	if (res == -EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &before, NULL);
	th_errno_end(saved);
	return res;
}

static int feed_all(struct feed *f)
{
	while (f->size > 0) {
		ssize_t res = write_quietly(*f->fd, f->data, f->size);
		int code = res == -EAGAIN ? thrum_wait_fd(*f->fd, POLLOUT) : thrum_check();

		if (res == -EPIPE)
			return 0; /* it has read what it wanted */
		if (res < 0 && res != -EAGAIN && res != -EINTR)
			return (int)res;
		if (code < 0)
			return code;
		if (res > 0) {
			f->data += res;
			f->size -= (size_t)res;
		}
	}
	return 0;
}

static void shut(int *fd)
{
	if (*fd >= 0)
		(void)thrum_close(*fd);
	*fd = -1;
}

/* Our end only: the process has another, which stays as it is. */
static int set_nonblocking(int fd)
{
	int saved = th_errno_begin();
	int code = th_sys_fcntl(fd, F_SETFL, O_WRONLY | O_NONBLOCK) < 0 ? -errno : 0;

	th_errno_end(saved);
	return code;
}

static int run_feed(void *arg)
{
	struct feed *f = arg;
	int code = *f->fd >= 0 ? set_nonblocking(*f->fd) : 0;

	if (code == 0 && *f->fd >= 0)
		code = feed_all(f);
	shut(f->fd); /* that is the end of its input */
	return code;
}

/* --- collecting --- */

struct collect {
	int *fd;
	size_t limit;
	char *data;
	size_t size, room; /* room: the NUL, too */
};

static int make_room(struct collect *c)
{
	size_t room = c->room ? c->room * 2 : FIRST_BYTES;
	char *data;

	if (c->room > SIZE_MAX / 2)
		return -ENOMEM;
	data = realloc(c->data, room);
	if (!data)
		return -ENOMEM;
	c->data = data;
	c->room = room;
	return 0;
}

static int run_collect(void *arg)
{
	struct collect *c = arg;
	ssize_t got = 1;

	while (*c->fd >= 0 && got > 0) {
		int code = c->size + 1 >= c->room ? make_room(c) : 0;

		if (code < 0)
			return code;
		got = thrum_read(*c->fd, c->data + c->size, c->room - 1 - c->size);
		if (got < 0)
			return (int)got;
		c->size += (size_t)got;
		c->data[c->size] = '\0';
		if (c->size > c->limit)
			return -EFBIG;
	}
	return 0;
}

/* --- all of it --- */

struct capture {
	thrum_process process;
	thrum_process_status status;
	struct feed feed;
	struct collect out, err;
};

static int run_wait(void *arg)
{
	struct capture *c = arg;

	return thrum_wait_process(&c->process, &c->status);
}

/* The wait is one of them: when the process has ended, the rest of its group is killed, and so the pipes end. */
static int run_capture(thrum_scope *s, struct capture *c, const thrum_process_opts *o)
{
	int code = thrum_spawn_process(s, &c->process, o);

	if (code < 0)
		return code;
	c->feed.fd = &c->process.in;
	c->out.fd = &c->process.out;
	c->err.fd = &c->process.err;
	return thrum_zip_par((thrum_fx){ run_wait, c }, (thrum_fx){ run_feed, &c->feed }, (thrum_fx){ run_collect, &c->out },
			     (thrum_fx){ run_collect, &c->err });
}

static thrum_stdio piped(thrum_stdio want)
{
	return want.kind == THRUM_STDIO_INHERIT ? thrum_to_pipe() : want;
}

int thrum_process_output(const thrum_process_opts *o, const void *in, size_t in_size, size_t limit, thrum_output *ret)
{
	struct capture c = { .feed = { .data = in, .size = in_size }, .out = { .limit = limit }, .err = { .limit = limit } };
	thrum_process_opts opts;
	thrum_scope s;
	int code = th_scope_open_own(&s);

	if (code < 0)
		return code;
	code = th_process_opts_ok(o) && ret ? 0 : -EINVAL;
	if (code == 0) {
		opts = *o;
		opts.in = in_size ? thrum_to_pipe() : opts.in;
		opts.out = piped(opts.out);
		opts.err = piped(opts.err);
		code = run_capture(&s, &c, &opts);
	}
	code = close_with(&s, code);
	if (code < 0) {
		free(c.out.data);
		free(c.err.data);
		return code;
	}
	*ret = (thrum_output){ c.out.data, c.err.data, c.out.size, c.err.size, c.status };
	return o->check ? thrum_process_check(&c.status) : 0;
}

void thrum_process_output_free(thrum_output *output)
{
	free(output->out);
	free(output->err);
	output->out = output->err = NULL;
}
