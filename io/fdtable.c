/* io/fdtable.c: users and closers of descriptors. The protocol is in the header. */
#include "fdtable.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define CLOSING ((uint32_t)TH_FD_CLOSING)

struct th_fd_closer {
	struct th_fdtable *fds;
	int fd;
	struct th_fiber *fiber;
	struct th_fd_closer *next;
};

int th_fdtable_open(struct th_fdtable **ret_fds)
{
	struct th_fdtable *fds = calloc(1, sizeof(*fds));
	struct rlimit limit;
	rlim_t count = TH_FD_COUNT_MAX;
	void *words;

	if (!fds)
		return -ENOMEM;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < count)
		count = limit.rlim_max;
	fds->bits = TH_FD_BITS_MIN;
	while ((rlim_t)1 << fds->bits < count)
		fds->bits++;
	words = mmap(NULL, sizeof(th_atomic_u32) << fds->bits, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED) {
		free(fds);
		return -ENOMEM;
	}
	fds->x_words = words;
	th_lock_init(&fds->lock);
	*ret_fds = fds;
	return 0;
}

void th_fdtable_close(struct th_fdtable *fds)
{
	if (!fds)
		return;
	TH_ASSERT(!fds->closers);
	munmap(fds->x_words, sizeof(th_atomic_u32) << fds->bits);
	free(fds);
}

bool th_fd_enter(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);

	if (!word)
		return true;
	if (!(th_add_seq(word, 1) & CLOSING)) /* F3 */
		return true;
	th_fd_leave(fds, fd);
	return false;
}

static void wake_closer(struct th_fdtable *fds, int fd)
{
	struct th_fd_closer **at, *closer;
	struct th_fiber *f = NULL;

	th_lock(&fds->lock);
	for (at = &fds->closers; (closer = *at) != NULL; at = &closer->next) {
		if (closer->fd == fd) {
			*at = closer->next;
			f = closer->fiber;
			break;
		}
	}
	th_unlock(&fds->lock);
	if (f)
		th_wake(f);
}

void th_fd_leave(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	uint32_t before;

	if (!word)
		return;
	before = th_sub_seq(word, 1); /* F3 */
	TH_DASSERT((before & ~CLOSING) > 0);
	if (before == (CLOSING | 1))
		wake_closer(fds, fd);
}

int th_fd_close_begin(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	uint32_t seen;

	if (!word)
		return 0;
	seen = th_load_rlx(word);
	do {
		if (seen & CLOSING)
			return -EBADF;
	} while (!th_cas_seq(word, &seen, seen | CLOSING)); /* F1 */
	return seen ? 1 : 0;
}

/* On the worker's stack. */
static void drain_action(struct th_fiber *f, void *arg)
{
	struct th_fd_closer *closer = arg;
	struct th_fdtable *fds = closer->fds;
	bool busy;

	closer->fiber = f;
	th_lock(&fds->lock);
	busy = th_load_acq(th_fd_word(fds, closer->fd)) != CLOSING; /* F4 */
	if (busy) {
		closer->next = fds->closers;
		fds->closers = closer;
	}
	th_unlock(&fds->lock);
	if (!busy)
		th_wake(f);
}

void th_fd_drain(struct th_fdtable *fds, int fd)
{
	struct th_fd_closer closer = { .fds = fds, .fd = fd };

	/* A late th_fd_enter() that is turned away counts for a moment. It delays the wake, or comes after it and finds
	 * nobody in the list. */
	th_suspend(drain_action, &closer);
}

void th_fd_close_end(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);

	if (word)
		(void)th_sub_seq(word, CLOSING);
}
