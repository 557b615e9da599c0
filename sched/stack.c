/* sched/stack.c: the pool of stacks.
 *
 *   slab:  | guard 0 | stack 0 | guard 1 | stack 1 | ... | never taken so far ... |
 *                                                        ^ used
 *
 * Guarantees: a stack that was handed out has a guard that faults below it, or th_stacks_take() said -ENOMEM. The stack
 * given back last is handed out first: its pages are in the cache. Past KEEP_WARM idle stacks, one that is given back
 * keeps only its top page. Address space is returned at close only.
 * Does not: zero stacks, colour them, or keep anything in them: an idle stack is poisoned under ASan, so the list of idle
 * ones lies outside.
 *
 * The lock covers every field but those of th_stacks that are set at open. It is held over system calls in two rare
 * cases (a new slab, the first use of a stack), so that two takers cannot both map one; a waiter sleeps meanwhile.
 *
 *   tag  where                          order    pairs  shape  because
 *   G1   add_slab: store x_slabs        release  G2     MP     the handler sees the record of a slab that it finds
 *   G2   th_stacks_in_guard: x_slabs    acquire  G1     MP
 *   G3   slab's x_used, both sides      relaxed  -      -      a guard that faults was made before, by this very thread
 *                                                              or by one that handed the stack over
 *   G4   x_mprotect_guards              relaxed  -      -      a count; the limit may be passed by one per thread */
#include "stack.h"
#include "../core/assert.h"
#include "../core/atomic.h"
#include "../core/lock.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define TH_STACK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TH_STACK_ASAN 1
#endif
#endif
#ifdef TH_STACK_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

/* Of Linux 6.13 and 5.14; older C libraries do not know them. */
#define TH_MADV_GUARD_INSTALL 102
#define TH_MADV_POPULATE_READ 22

enum {
	SLAB_STACKS_FIRST = 64, /* a small program stays small in the eyes of RLIMIT_AS and of monitors */
	SLAB_STACKS_MAX = 1024,
	KEEP_WARM = 64, /* 64 x 112 KiB at worst: a few MiB are worth no system call per fiber */
};
#define SLAB_BYTES_MAX ((size_t)256 << 20)

/* A record never moves and is never freed before close: a signal handler may walk the list at any time. */
struct slab {
	struct slab *next;
	char *base;
	size_t stacks;
	th_atomic_u64 x_used; /* stacks taken at least once; written under the lock */
};

struct th_stacks {
	/* Set at open. */
	size_t bytes, guard, stride, page;
	bool by_mprotect;

	/* The newest first. Written under the lock, walked by handlers without. */
	th_atomic(struct slab *) x_slabs;

	struct th_lock lock;
	char **idle; /* room for every stack of every slab: giving back never allocates */
	size_t idle_count;
	size_t idle_room;
	uint64_t mapped;
	uint64_t mprotected; /* guards of this pool that count in x_mprotect_guards */
};

static th_atomic_u64 x_mprotect_guards;

/* ---- guards ---- */

/* Does the advice work, or is it unknown or (qemu, gVisor) accepted and ignored? A guard that works cannot be populated. */
static bool guard_advice_works(size_t page)
{
	char *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool works = false;

	if (p == MAP_FAILED)
		return false;
	if (madvise(p, page, TH_MADV_GUARD_INSTALL) == 0)
		works = madvise(p, page, TH_MADV_POPULATE_READ) == -1 && errno == EFAULT;
	munmap(p, page);
	return works;
}

/* The advice may fail later although it worked at open: a slab mapped after mlockall(MCL_FUTURE) does not take it. */
static int guard_make(struct th_stacks *s, char *at)
{
	if (!s->by_mprotect && madvise(at, s->guard, TH_MADV_GUARD_INSTALL) == 0)
		return 0;

	/* More would leave no mappings to the rest of the process: its malloc() would fail next. */
	if (th_load_rlx(&x_mprotect_guards) >= TH_STACK_MPROTECT_MAX) /* G4 */
		return -ENOMEM;
	if (mprotect(at, s->guard, PROT_NONE) != 0)
		return -ENOMEM;
	th_add_rlx(&x_mprotect_guards, 1); /* G4 */
	s->mprotected++;
	return 0;
}

/* ---- slabs; the lock is held ---- */

/* A whole slab, or the half, quarter... of one where address space is short. Lowers *stacks to what was mapped. */
static char *slab_map(const struct th_stacks *s, size_t *stacks)
{
	for (; *stacks > 0; *stacks /= 2) {
		char *base = mmap(NULL, *stacks * s->stride, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

		if (base != MAP_FAILED) {
			/* One touched byte must cost 4 KiB, not 2 MiB. MAP_STACK says so only since Linux 6.7, and
			 * a kernel without huge pages refuses: nothing to do then. */
			madvise(base, *stacks * s->stride, MADV_NOHUGEPAGE);
			return base;
		}
	}
	return NULL;
}

static int idle_reserve(struct th_stacks *s, size_t more)
{
	char **idle = realloc(s->idle, (s->idle_room + more) * sizeof *idle);

	if (!idle)
		return -ENOMEM;
	s->idle = idle;
	s->idle_room += more;
	return 0;
}

static int slab_add(struct th_stacks *s)
{
	struct slab *first = th_load_rlx(&s->x_slabs);
	size_t fit = SLAB_BYTES_MAX / s->stride;
	size_t want = first ? SLAB_STACKS_MAX : SLAB_STACKS_FIRST;
	size_t stacks = fit == 0 ? 1 : fit < want ? fit : want;
	struct slab *slab = malloc(sizeof *slab);

	if (!slab)
		return -ENOMEM;
	slab->base = slab_map(s, &stacks);
	if (!slab->base)
		goto out_free_slab;
	if (idle_reserve(s, stacks) < 0)
		goto out_unmap;
	slab->stacks = stacks;
	slab->next = first;
	th_init(&slab->x_used, 0);
	th_store_rel(&s->x_slabs, slab); /* G1 */
	return 0;

out_unmap:
	munmap(slab->base, stacks * s->stride);
out_free_slab:
	free(slab);
	return -ENOMEM;
}

/* A stack that was never taken. Its guard is made now and not with the slab: 1,024 calls at once would be a pause, and
 * guards cost page tables. On failure the stack stays unused, for another try. */
static int take_unused(struct th_stacks *s, char **ret_lo)
{
	struct slab *slab = th_load_rlx(&s->x_slabs);

	if (!slab || th_load_rlx(&slab->x_used) == slab->stacks) {
		int r = slab_add(s);

		if (r < 0)
			return r;
		slab = th_load_rlx(&s->x_slabs);
	}

	uint64_t used = th_load_rlx(&slab->x_used); /* G3 */
	char *guard = slab->base + used * s->stride;
	int r = guard_make(s, guard);

	if (r < 0)
		return r;
	th_store_rlx(&slab->x_used, used + 1); /* G3 */
	s->mapped++;
	*ret_lo = guard + s->guard;
	return 0;
}

/* ---- take, give ---- */

int th_stacks_take(struct th_stacks *s, struct th_stack *ret_stack)
{
	char *lo = NULL;
	int r = 0;

	th_lock(&s->lock);
	if (s->idle_count > 0)
		lo = s->idle[--s->idle_count];
	else
		r = take_unused(s, &lo);
	th_unlock(&s->lock);
	if (r < 0)
		return r;

	unpoison(lo, s->bytes);
	*ret_stack = (struct th_stack){ .lo = lo, .bytes = s->bytes };
	return 0;
}

/* True if it was put back; false if it has to be trimmed before. */
static bool put_idle(struct th_stacks *s, char *lo, bool trimmed)
{
	bool put;

	th_lock(&s->lock);
	put = trimmed || s->idle_count < KEEP_WARM;
	if (put) {
		TH_ASSERT(s->idle_count < s->idle_room); /* else one was given back twice */
		s->idle[s->idle_count++] = lo;
	}
	th_unlock(&s->lock);
	return put;
}

void th_stacks_give(struct th_stacks *s, struct th_stack stack)
{
	TH_ASSERT(stack.lo && stack.bytes == s->bytes);
	poison(stack.lo, stack.bytes);
	if (put_idle(s, stack.lo, false))
		return;
	/* Guards survive this: the advice removes pages only, and the range ends above the guard anyway. Should it fail,
	 * the pages stay; nothing else depends on it. */
	if (stack.bytes > s->page)
		madvise(stack.lo, stack.bytes - s->page, MADV_DONTNEED);
	put_idle(s, stack.lo, true);
}

/* ---- questions ---- */

uint64_t th_stacks_mapped(struct th_stacks *s)
{
	th_lock(&s->lock);
	uint64_t n = s->mapped;
	th_unlock(&s->lock);
	return n;
}

bool th_stacks_by_mprotect(const struct th_stacks *s)
{
	return s->by_mprotect;
}

int th_stacks_in_guard(struct th_stacks *s, const void *addr)
{
	const uintptr_t a = (uintptr_t)addr;

	for (struct slab *slab = th_load_acq(&s->x_slabs); slab; slab = slab->next) { /* G2 */
		uintptr_t base = (uintptr_t)slab->base;

		if (a >= base && a - base < th_load_rlx(&slab->x_used) * s->stride) /* G3 */
			return (a - base) % s->stride < s->guard;
	}
	return 0;
}

/* ---- open, close ---- */

int th_stacks_open_with(struct th_stacks **ret_stacks, size_t stack_bytes, bool guard_by_mprotect)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	TH_ASSERT(stack_bytes > 0 && stack_bytes % page == 0);
	if (stack_bytes > SIZE_MAX / 2)
		return -ENOMEM;

	struct th_stacks *s = calloc(1, sizeof *s);

	if (!s)
		return -ENOMEM;
	s->bytes = stack_bytes;
	s->guard = TH_STACK_GUARD_BYTES > page ? TH_STACK_GUARD_BYTES : page; /* both are powers of two */
	s->stride = s->guard + stack_bytes;
	s->page = page;
	s->by_mprotect = guard_by_mprotect || !guard_advice_works(page);
	th_lock_init(&s->lock);
	th_init(&s->x_slabs, NULL);
	*ret_stacks = s;
	return 0;
}

int th_stacks_open(struct th_stacks **ret_stacks, size_t stack_bytes)
{
	return th_stacks_open_with(ret_stacks, stack_bytes, false);
}

void th_stacks_close(struct th_stacks *s)
{
	if (!s)
		return;
	TH_ASSERT(s->idle_count == s->mapped); /* a stack that is still in use would be unmapped */

	for (struct slab *slab = th_load_rlx(&s->x_slabs), *next; slab; slab = next) {
		next = slab->next;
		unpoison(slab->base, slab->stacks * s->stride);
		munmap(slab->base, slab->stacks * s->stride);
		free(slab);
	}
	if (s->mprotected > 0)
		th_add_rlx(&x_mprotect_guards, -s->mprotected); /* G4 */
	free(s->idle);
	free(s);
}
