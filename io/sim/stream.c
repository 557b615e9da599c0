/* io/sim/stream.c: bytes in order, some of them still under way; and pipes, where none is. */
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

static size_t buffers; /* 0: as large as Linux has them */

void th_sim_buffers(size_t bytes)
{
	buffers = bytes;
}

size_t sim_buffer_of(size_t bytes)
{
	return buffers ? buffers : bytes;
}

void sim_stream_init(struct sim_stream *s, size_t size)
{
	*s = (struct sim_stream){ .size = size, .end_at = INT64_MAX };
}

void sim_stream_fini(struct sim_stream *s)
{
	sim_rights_fini(s);
	free(s->bytes);
	s->bytes = NULL;
}

size_t sim_stream_room(const struct sim_stream *s)
{
	return s->size - (size_t)(s->in - s->out);
}

/* Forget the segments that have arrived. */
static void arrive(struct sim_stream *s)
{
	unsigned n = 0;

	while (n < s->n_seg && s->seg[n].at <= th_sim_now())
		n++;
	if (n > 0)
		memmove(s->seg, s->seg + n, (s->n_seg -= n) * sizeof *s->seg);
}

/* Up to where it can be read. */
static uint64_t arrived(struct sim_stream *s)
{
	arrive(s);
	return s->n_seg == 0 ? s->in : s->seg[0].from;
}

size_t sim_stream_ready(struct sim_stream *s)
{
	return (size_t)(arrived(s) - s->out);
}

bool sim_stream_ended(const struct sim_stream *s)
{
	return s->end_at <= th_sim_now();
}

int64_t sim_stream_next(struct sim_stream *s)
{
	arrive(s);
	if (s->n_seg > 0)
		return s->seg[0].at;
	return s->end_at > th_sim_now() ? s->end_at : INT64_MAX;
}

/* The bytes from `from` on arrive then, or later: nothing overtakes. With too many segments the last one waits for them. */
static void add_segment(struct sim_stream *s, uint64_t from, int64_t at)
{
	s->last_at = at > s->last_at ? at : s->last_at;
	arrive(s);
	if (s->last_at <= th_sim_now())
		return;
	if (s->n_seg == SIM_SEGMENTS)
		s->seg[SIM_SEGMENTS - 1].at = s->last_at;
	else
		s->seg[s->n_seg++] = (struct sim_segment){ from, s->last_at };
}

int sim_stream_put(struct sim_stream *s, const struct sim_io *io, int64_t at)
{
	size_t n = io->len < sim_stream_room(s) ? io->len : sim_stream_room(s), done = 0;
	uint64_t begin = s->in;

	if (n == 0)
		return 0;
	if (!s->bytes)
		s->bytes = malloc(s->size);
	if (!s->bytes)
		return -ENOBUFS;
	n = sim_some(n);
	while (done < n) {
		size_t from = (size_t)(s->in % s->size), step = s->size - from < n - done ? s->size - from : n - done;
		sim_gather(io, done, s->bytes + from, step);
		s->in += step;
		done += step;
	}
	add_segment(s, begin, at);
	return (int)n;
}

/* Copy n bytes out, without taking them. */
static void peek(const struct sim_stream *s, const struct sim_io *io, size_t n)
{
	for (size_t done = 0; done < n;) {
		size_t from = (size_t)((s->out + done) % s->size), step = s->size - from < n - done ? s->size - from : n - done;
		sim_scatter(io, done, s->bytes + from, step);
		done += step;
	}
}

int sim_stream_get(struct sim_stream *s, struct sim_io *io)
{
	uint64_t limit = sim_rights_limit(s);
	size_t n = sim_stream_ready(s), most = (size_t)(limit - s->out);

	if (n == 0)
		return 0;
	n = n < io->len ? n : io->len;
	n = sim_some(n < most ? n : most);
	peek(s, io, n);
	if (io->flags & MSG_PEEK)
		return (int)n;
	sim_rights_receive(s, io);
	s->out += n;
	return (int)n;
}

void sim_stream_end(struct sim_stream *s, int64_t at)
{
	at = at > s->last_at ? at : s->last_at;
	if (at < s->end_at)
		s->end_at = at;
}

void sim_stream_cut(struct sim_stream *s)
{
	s->in = arrived(s);
	s->n_seg = 0;
	s->end_at = th_sim_now();
}

/* --- pipes --- */

struct pipe {
	struct sim_stream bytes;
	struct pipe_end *ends[2]; /* which reads, which writes; NULL: closed */
};
struct pipe_end {
	struct sim_file file;     /* first */
	struct pipe *pipe;
};

static struct pipe *pipe_of(struct sim_file *f)
{
	return ((struct pipe_end *)(void *)f)->pipe;
}

static void stir_end(struct pipe_end *e)
{
	if (e)
		sim_stir(&e->file);
}

static int pipe_read(struct sim_file *f, struct sim_io *io)
{
	struct pipe *p = pipe_of(f);
	int n;

	if (io->len == 0)
		return 0;
	n = sim_stream_get(&p->bytes, io);
	if (n == 0)
		return p->ends[1] ? -EAGAIN : 0;
	stir_end(p->ends[1]);
	return n;
}

static int pipe_write(struct sim_file *f, struct sim_io *io)
{
	struct pipe *p = pipe_of(f);
	int n;

	if (!p->ends[0])
		return -EPIPE;
	if (io->len == 0)
		return 0;
	n = sim_stream_put(&p->bytes, io, th_sim_now());
	if (n > 0)
		stir_end(p->ends[0]);
	return n == 0 ? -EAGAIN : n;
}

static int pipe_refuses(struct sim_file *f, struct sim_io *io)
{
	(void)f;
	(void)io;
	return -EBADF;
}

static unsigned pipe_ready_to_read(struct sim_file *f)
{
	struct pipe *p = pipe_of(f);

	return (sim_stream_ready(&p->bytes) > 0 ? POLLIN : 0U) | (p->ends[1] ? 0U : (unsigned)(POLLIN | POLLHUP));
}

static unsigned pipe_ready_to_write(struct sim_file *f)
{
	struct pipe *p = pipe_of(f);

	return (sim_stream_room(&p->bytes) > 0 ? POLLOUT : 0U) | (p->ends[0] ? 0U : (unsigned)(POLLOUT | POLLERR));
}

static int64_t pipe_next(struct sim_file *f)
{
	(void)f;
	return INT64_MAX;
}

static void pipe_release(struct sim_file *f)
{
	struct pipe *p = pipe_of(f);

	for (int i = 0; i < 2; i++)
		if (p->ends[i] && &p->ends[i]->file == f)
			p->ends[i] = NULL;
	free(f);
	stir_end(p->ends[0]);
	stir_end(p->ends[1]);
	if (p->ends[0] || p->ends[1])
		return;
	sim_stream_fini(&p->bytes);
	free(p);
}

static const struct sim_kind pipe_kinds[2] = {
	{ pipe_read, pipe_refuses, pipe_ready_to_read, pipe_next, pipe_release },
	{ pipe_refuses, pipe_write, pipe_ready_to_write, pipe_next, pipe_release },
};

enum { PIPE_BYTES = 4096 }; /* a page: the least that Linux gives */

static int pipe_new(struct pipe **ret_pipe, int flags)
{
	struct pipe *p = calloc(1, sizeof *p);
	struct pipe_end *ends[2] = { calloc(1, sizeof **ends), calloc(1, sizeof **ends) };

	if (!p || !ends[0] || !ends[1]) {
		free(p);
		free(ends[0]);
		free(ends[1]);
		return -ENFILE;
	}
	sim_stream_init(&p->bytes, sim_buffer_of(PIPE_BYTES));
	for (int i = 0; i < 2; i++) {
		*ends[i] = (struct pipe_end){ { &pipe_kinds[i], 1, flags & O_NONBLOCK }, p };
		p->ends[i] = ends[i];
	}
	*ret_pipe = p;
	return 0;
}

static int pipe_open(int fds[2], int flags)
{
	struct pipe *p;
	int code = pipe_new(&p, flags), pair[2];

	if (code < 0)
		return code;
	pair[0] = sim_fd_new(&p->ends[0]->file);
	if (pair[0] < 0)
		sim_file_put(&p->ends[0]->file);
	pair[1] = pair[0] < 0 ? pair[0] : sim_fd_new(&p->ends[1]->file);
	if (pair[1] < 0) {
		struct sim_file *other = &p->ends[1]->file;
		if (pair[0] >= 0)
			(void)sim_fd_close(pair[0]);
		sim_file_put(other);
		return pair[1];
	}
	fds[0] = pair[0];
	fds[1] = pair[1];
	return 0;
}

int th_sys_pipe2(int fds[2], int flags)
{
	TH_TSAN_PRIVATE_BEGIN();
	int code = pipe_open(fds, flags);
	TH_TSAN_PRIVATE_END();
	return sim_errno(code);
}

int th_sim_pipe(int fds[2])
{
	TH_TSAN_PRIVATE_BEGIN();
	int code = pipe_open(fds, 0);
	TH_TSAN_PRIVATE_END();
	return code;
}
