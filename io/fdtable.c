/* io/fdtable.c: users and closers of descriptors. The protocol is in the header. */
#include "fdtable.h"
#include "../core/assert.h"
#include "../core/hooks.h"
#include "../core/tsan.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define CLOSING ((uint32_t)TH_FD_CLOSING)
#define ENDING ((uint32_t)TH_FD_ENDING)
#define WAITED ((uint32_t)TH_FD_WAITED)
#define USERS (WAITED - 1)

struct th_fd_wait {
	struct th_fdtable *fds;
	int fd;
	struct th_fiber *fiber;
	struct th_fd_wait *next;
};

/* The words, then the hints. */
static size_t map_bytes(const struct th_fdtable *fds)
{
	return (sizeof(th_atomic_u32) + sizeof(th_atomic(uint8_t))) << fds->bits;
}

static void *map_anew(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

#ifdef TH_SIM
/* As with stacks (sched/stack.c): what the last of thousands of runtimes had serves the next one. Unmapping what has been written to
 * takes 100 us on a virtual machine, a whole run 30. */
static struct {
	void *p;
	size_t bytes;
} spare;

static void *map_zeros(size_t bytes)
{
	void *p = spare.bytes == bytes ? spare.p : NULL;

	if (!p)
		return map_anew(bytes);
	spare.p = NULL;
	TH_TSAN_PRIVATE_BEGIN(); /* whoever used it has ended */
	memset(p, 0, bytes);
	TH_TSAN_PRIVATE_END();
	return p;
}

static void unmap(void *p, size_t bytes)
{
	if (spare.p)
		munmap(spare.p, spare.bytes);
	spare.p = p;
	spare.bytes = bytes;
}
#else
static void *map_zeros(size_t bytes) { return map_anew(bytes); }
static void unmap(void *p, size_t bytes) { munmap(p, bytes); }
#endif

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
	words = map_zeros(map_bytes(fds));
	if (!words) {
		free(fds);
		return -ENOMEM;
	}
	fds->x_words = words;
	fds->x_hints = (th_atomic(uint8_t) *)(fds->x_words + ((size_t)1 << fds->bits));
	th_lock_init(&fds->lock);
	*ret_fds = fds;
	return 0;
}

void th_fdtable_close(struct th_fdtable *fds)
{
	if (!fds)
		return;
	TH_ASSERT(!fds->closers && !fds->late);
	unmap(fds->x_words, map_bytes(fds));
	free(fds);
}

/* --- users --- */

static void push(struct th_fd_wait **list, struct th_fd_wait *w)
{
	w->next = *list;
	*list = w;
}

/* One of those that wait for `fd`; NULL. Under the lock. */
static struct th_fiber *pop(struct th_fd_wait **list, int fd)
{
	for (struct th_fd_wait *w; (w = *list) != NULL; list = &w->next) {
		if (w->fd == fd) {
			*list = w->next;
			return w->fiber;
		}
	}
	return NULL;
}

/* On the worker's stack. */
static void late_action(struct th_fiber *f, void *arg)
{
	struct th_fd_wait *w = arg;
	struct th_fdtable *fds = w->fds;
	th_atomic_u32 *word = th_fd_word(fds, w->fd);
	uint32_t seen;

	w->fiber = f;
	th_lock(&fds->lock);
	seen = th_load_rlx(word);
	while ((seen & ENDING) && !th_cas_seq(word, &seen, seen | WAITED)) /* F6 */
		continue;
	if (seen & ENDING)
		push(&fds->late, w);
	th_unlock(&fds->lock);
	if (!(seen & ENDING))
		th_wake(f);
}

static void wait_for_the_end(struct th_fdtable *fds, int fd)
{
	struct th_fd_wait w = { .fds = fds, .fd = fd };

	th_suspend(late_action, &w);
}

bool th_fd_enter(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	uint32_t seen;

	if (!word)
		return true;
	while ((seen = th_add_seq(word, 1)) & CLOSING) { /* F3 */
		th_fd_leave(fds, fd);
		if (!(seen & ENDING))
			return false;
		wait_for_the_end(fds, fd);
	}
	return true;
}

static void wake_closer(struct th_fdtable *fds, int fd)
{
	struct th_fiber *f;

	th_lock(&fds->lock);
	f = pop(&fds->closers, fd);
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
	TH_DASSERT((before & USERS) > 0);
	if ((before & CLOSING) && (before & USERS) == 1)
		wake_closer(fds, fd);
}

/* --- closers --- */

int th_fd_close_begin(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	uint32_t seen;

	if (!word)
		return 0;
	seen = th_load_rlx(word);
	do {
		while (seen & ENDING) {
			wait_for_the_end(fds, fd);
			seen = th_load_rlx(word);
		}
		if (seen & CLOSING)
			return -EBADF;
	} while (!th_cas_seq(word, &seen, seen | CLOSING)); /* F1 */
	return seen & USERS ? 1 : 0;
}

/* On the worker's stack. */
static void drain_action(struct th_fiber *f, void *arg)
{
	struct th_fd_wait *closer = arg;
	struct th_fdtable *fds = closer->fds;
	bool busy;

	closer->fiber = f;
	th_lock(&fds->lock);
	busy = th_load_acq(th_fd_word(fds, closer->fd)) & USERS; /* F4 */
	if (busy)
		push(&fds->closers, closer);
	th_unlock(&fds->lock);
	if (!busy)
		th_wake(f);
}

void th_fd_drain(struct th_fdtable *fds, int fd)
{
	struct th_fd_wait closer = { .fds = fds, .fd = fd };

	/* A late th_fd_enter() that is turned away counts for a moment. It delays the wake, or comes after it and finds
	 * nobody in the list; or the next closer of the number, who must look for itself (test/model/close.pml). */
	do
		th_suspend(drain_action, &closer);
	while (th_load_acq(th_fd_word(fds, fd)) & USERS); /* F4 */
}

void th_fd_close_last(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);

	if (word)
		(void)th_or_seq(word, ENDING); /* F5 */
}

static void wake_late_ones(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);
	struct th_fd_wait *mine = NULL, **at = &fds->late, *w;

	th_lock(&fds->lock);
	if (th_load_rlx(word) & WAITED)
		(void)th_sub_seq(word, WAITED);
	while ((w = *at) != NULL) {
		if (w->fd != fd) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		push(&mine, w);
	}
	th_unlock(&fds->lock);
	while ((w = mine) != NULL) {
		mine = w->next; /* it lies on the stack of the fiber */
		th_wake(w->fiber);
	}
}

void th_fd_close_end(struct th_fdtable *fds, int fd)
{
	th_atomic_u32 *word = th_fd_word(fds, fd);

	if (!word)
		return;
	th_fd_forget(fds, fd);
	if (th_sub_seq(word, CLOSING + ENDING) & WAITED) /* F5 */
		wake_late_ones(fds, fd);
}
