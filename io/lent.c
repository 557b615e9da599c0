/* io/lent.c: thrum_recv_lent(). The protocol is in the header. */
#include "lent.h"
#include "../core/assert.h"
#include "../core/fiber.h"
#include "../core/node.h"
#include "../core/report.h"
#include "../core/wait.h"
#include "backend.h"
#include "call.h"
#include "fdtable.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <thrum/net.h>

enum {
	NONE = -1,
	BUFFERS = 256,       /* 4 MiB for each worker that lends, and of that the pages that were used */
	BUFFERS_MAX = 32768, /* as many as a kernel's ring takes */
	BYTES = 16 << 10,
	BYTES_MIN = 64,
	BYTES_MAX = 1 << 30
};

struct th_lents {
	struct th_home *home;
	char *memory;                  /* n buffers, pages as they are used */
	uint32_t n, bytes;
	struct th_lent_ring *ring;     /* NULL: the kernel has none, and free buffers are in `free` */
	struct th_lock lock;
	struct th_waitq queue;         /* of struct line */
	uint32_t n_free;               /* in `free` */
	int64_t provided;              /* in the ring, as far as we know: the kernel may have taken some already */
	uint16_t *free;
	bool *lent;                    /* each buffer */
};

/* One fiber in line. */
struct line {
	struct th_wait wait;           /* first */
	struct th_lents *pool;
	int fd;
	int slot;                      /* or -EAGAIN, -EBADF */
};

static char *data_of(const struct th_lents *p, unsigned slot)
{
	return p->memory + (size_t)slot * p->bytes;
}

/* --- the pool --- */

/* Under the lock, or nobody else knows of the pool yet. */
static void put(struct th_lents *p, unsigned slot)
{
	p->lent[slot] = false;
	if (p->ring) {
		p->provided++;
		p->home->backend->lent_ring->add(p->ring, data_of(p, slot), p->bytes, (uint16_t)slot);
	} else {
		p->free[p->n_free++] = (uint16_t)slot;
	}
}

int th_lents_options(unsigned *buffers, size_t *bytes)
{
	if (*buffers == 0)
		*buffers = BUFFERS;
	if (*bytes == 0)
		*bytes = BYTES;
	return *buffers > BUFFERS_MAX || *bytes < BYTES_MIN || *bytes > BYTES_MAX ? -EINVAL : 0;
}

static void pool_free(struct th_lents *p)
{
	free(p->memory);
	free(p->free);
	free(p->lent);
	free(p);
}

static struct th_lents *pool_new(struct th_home *home)
{
	struct th_lents *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	*p = (struct th_lents){ .home = home, .n = home->lent_buffers, .bytes = home->lent_bytes };
	th_lock_init(&p->lock);
	p->free = calloc(p->n, sizeof *p->free);
	p->lent = calloc(p->n, sizeof *p->lent);
	p->memory = malloc((size_t)p->n * p->bytes);
	if (!p->free || !p->lent || !p->memory) {
		pool_free(p);
		return NULL;
	}
	return p;
}

/* Of the running fiber's worker, from the first call on. NULL: no memory. */
static struct th_lents *pool_of(struct th_home *home)
{
	const struct th_lent_ring_ops *ring = home->backend->lent_ring;
	struct th_lents *p = home->lents;

	if (p)
		return p;
	p = pool_new(home);
	if (!p)
		return NULL;
	/* What the kernel refuses is done without it. */
	if (ring && ring->open(home->io, p->n, &p->ring) < 0)
		p->ring = NULL;
	for (unsigned slot = 0; slot < p->n; slot++)
		put(p, slot);
	home->lents = p;
	return p;
}

void th_lents_close(struct th_home *home)
{
	struct th_lents *p = home->lents;
	thrum_report what = { .kind = THRUM_REPORT_LENT };
	size_t kept = 0;

	if (!p)
		return;
	TH_ASSERT(!p->queue.head);
	for (unsigned slot = 0; slot < p->n; slot++)
		kept += p->lent[slot];
	what.index = kept;
	if (kept > 0)
		th_report(home->observer, &what, "%zu lent buffer%s never returned", kept, kept == 1 ? " was" : "s were");
	if (p->ring)
		home->backend->lent_ring->close(home->io, p->ring);
	pool_free(p);
	home->lents = NULL;
}

/* --- taking and giving --- */

/* Under the lock, for who is in line: false, wait. */
static bool take_slot(struct th_wait *wait)
{
	struct line *l = (struct line *)(void *)wait;
	struct th_lents *p = l->pool;

	if (p->provided > 0) {
		l->slot = -EAGAIN; /* one came back to the ring meanwhile: the next receive gets it */
		return true;
	}
	if (p->n_free == 0)
		return false;
	l->slot = p->free[--p->n_free];
	p->lent[l->slot] = true;
	return true;
}

/* A buffer, waiting for one if need be. -EAGAIN: the ring has some again. */
static int stand_in_line(struct th_fiber *f, struct th_lents *p, int fd)
{
	struct line l = {
		.wait = { .lock = &p->lock, .queue = &p->queue, .take = take_slot, .cancellable = true },
		.pool = p, .fd = fd,
	};

	if (th_wait(f, &l.wait))
		return l.slot;
	th_wait_leave(&l.wait);
	return -ECANCELED;
}

/* To the first in line, or back to where free ones are. Any thread. */
static void give(struct th_lents *p, unsigned slot)
{
	struct th_wakes wakes = { NULL, NULL };
	struct line *first;

	th_lock(&p->lock);
	if (!p->lent[slot])
		th_abort(__FILE__, __LINE__, "a lent buffer was returned twice");
	first = (struct line *)(void *)th_wait_claim(&p->queue, &wakes);
	if (first)
		first->slot = (int)slot;
	else
		put(p, slot);
	th_unlock(&p->lock);
	th_wake_all(&wakes);
}

void th_lents_cancel_fd(struct th_home *home, int fd)
{
	struct th_lents *p = home->lents;
	struct th_wakes wakes = { NULL, NULL };
	struct th_waiter *w, *next;

	if (!p)
		return;
	th_lock(&p->lock);
	for (w = p->queue.head; w; w = next) {
		struct line *l = (struct line *)(void *)w;
		next = w->next;
		if (l->fd != fd)
			continue;
		th_waitq_remove(&p->queue, w);
		if (th_waiter_claim(w, TH_WAIT_DONE)) {
			l->slot = -EBADF;
			th_wakes_add(&wakes, w->fiber);
		}
	}
	th_unlock(&p->lock);
	th_wake_all(&wakes);
}

/* --- receiving --- */

static void lend(struct th_lents *p, unsigned slot, size_t len, thrum_lent *ret_lent)
{
	*ret_lent = (thrum_lent){ data_of(p, slot), len, { p, (void *)(uintptr_t)slot } };
}

/* Into a buffer of the kernel's choice. -ENOBUFS: it has none. */
static int recv_from_ring(struct th_lents *p, int fd, int *ret_slot)
{
	struct th_op op = { .kind = TH_OP_RECV_LENT, .fd = fd, .len = p->bytes, .off = NONE };
	int res = th_op_run(&op);

	*ret_slot = (int)op.off;
	if (op.off == NONE)
		return res;
	th_lock(&p->lock);
	p->provided--;
	p->lent[op.off] = true;
	th_unlock(&p->lock);
	return res;
}

/* There is something to receive: into a buffer of ours. -EAGAIN: somebody else has received it, or the ring can serve. */
static int recv_in_line(struct th_fiber *f, struct th_lents *p, int fd, int *ret_slot)
{
	struct th_op op = { .kind = TH_OP_RECV, .fd = fd, .len = p->bytes, .arg = MSG_DONTWAIT };
	int slot;

	if (th_fd_closing(f->home->fds, fd))
		return -EBADF;
	slot = stand_in_line(f, p, fd);
	if (slot < 0)
		return slot;
	*ret_slot = slot;
	op.buf = data_of(p, (unsigned)slot);
	return th_op_try(&op);
}

static int recv_once(struct th_fiber *f, struct th_lents *p, int fd, int *ret_slot)
{
	struct th_op ready = { .kind = TH_OP_POLL, .fd = fd, .arg = POLLIN };
	int res = p->ring ? recv_from_ring(p, fd, ret_slot) : -ENOBUFS;

	if (res != -ENOBUFS && res != -EAGAIN)
		return res;
	if (*ret_slot != NONE)
		give(p, (unsigned)*ret_slot);
	*ret_slot = NONE;
	if (th_op_run(&ready) < 0)
		return ready.res;
	/* -EAGAIN: it is O_NONBLOCK, the ring has buffers. */
	return res == -ENOBUFS ? recv_in_line(f, p, fd, ret_slot) : -EAGAIN;
}

static ssize_t recv_lent(struct th_fiber *f, int fd, thrum_lent *ret_lent)
{
	struct th_lents *p = pool_of(f->home);
	int slot = NONE, res;

	if (!p)
		return -ENOMEM;
	for (;;) {
		res = recv_once(f, p, fd, &slot);
		if (res > 0)
			lend(p, (unsigned)slot, (size_t)res, ret_lent);
		else if (slot != NONE)
			give(p, (unsigned)slot);
		if (res != -EAGAIN)
			return res;
		slot = NONE;
	}
}

ssize_t thrum_recv_lent(int fd, thrum_lent *ret_lent)
{
	ssize_t res = th_call_begin(fd);

	*ret_lent = (thrum_lent){ .data = NULL };
	if (res < 0)
		return res;
	res = recv_lent(th_self(), fd, ret_lent);
	th_call_end(fd);
	return res;
}

void thrum_lent_return(thrum_lent *lent)
{
	struct th_lents *p = lent->opaque_[0];
	unsigned slot = (unsigned)(uintptr_t)lent->opaque_[1];

	if (!lent->data)
		return;
	*lent = (thrum_lent){ .data = NULL };
	give(p, slot);
}
