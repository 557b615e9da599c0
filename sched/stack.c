/* sched/stack.c: the pool of stacks.
 *
 *   slab:  | guard 0 | stack 0 | guard 1 | stack 1 | ... | never taken so far ... |
 *                                                        ^ used
 *
 * Guarantees: a stack that was handed out has a guard that faults below it, or th_stacks_take() said -ENOMEM. The stack
 * given back last is handed out first: its pages are in the cache. Past KEEP_WARM idle stacks, one that is given back
 * keeps only its top page. Address space is returned at close only.
 *
 *   idle:  | cold ones: no memory | due: wanted by nobody for a period | not wanted in this one | wanted in it |
 *          0                      ^ cold                               ^ due                    ^ low          ^ idle_count
 *
 * The last in is the first out, so the lower an idle stack lies the longer it has lain there, and the fewest that there were
 * in a period (`low`) are those that nobody needed in it. At a period's end they are due, and th_stacks_cool() returns what
 * they hold. A load that comes again within a period never gets that far; one that has gone leaves no memory behind.
 *
 * Stacks of other sizes, which children ask for themselves, have a mapping each, with its guard in front. The last few
 * that were given back are kept, with their top page only, for the next child that asks for the same; older ones are
 * unmapped. A handler finds the guard of such a stack through the fiber that runs on it: there is no list to walk.
 * Does not: zero stacks, colour them, or keep anything in them: an idle stack is poisoned under ASan, so the list of idle
 * ones lies outside.
 *
 * The lock covers every field but those of th_stacks that are set at open. It is held over system calls in four rare
 * cases (a new slab, the first use of a stack, the guard of one of another size, a few stacks that are cooled), so that two
 * takers cannot both map a slab; a waiter sleeps meanwhile.
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
#include <string.h>
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
	KEEP_SIZED = 8, /* of other sizes: a page of memory each, and a mapping or two */
	COOL_LOCKED = 8, /* stacks cooled with the lock held once: some 10 us */
	COOL_AT_ONCE = 64, /* by one call: its worker has other things to do */
};
#define KEEP_SIZED_BYTES_MAX ((size_t)64 << 20) /* larger ones are unmapped: address space may be limited */
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
	size_t cold, due, low; /* marks in `idle`; see above */
	int64_t period_ns;     /* when this period began */
	uint64_t mapped, cooled;
	uint64_t mprotected; /* guards of this pool that count in x_mprotect_guards */
	struct th_stack sized[KEEP_SIZED]; /* idle ones of other sizes, the oldest first */
	size_t sized_count;
	uint64_t sized_mapped, sized_used; /* mapped ever; in use */
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

#ifdef TH_SIM
/* Thousands of runtimes a second are opened: one of them has to ask. */
static bool guard_advice_is_had(size_t page)
{
	static enum { UNKNOWN, NO, YES } answer;

	if (answer == UNKNOWN)
		answer = guard_advice_works(page) ? YES : NO;
	return answer == YES;
}
#else
static bool guard_advice_is_had(size_t page) { return guard_advice_works(page); }
#endif

/* The advice may fail later although it worked at open: a slab mapped after mlockall(MCL_FUTURE) does not take it.
 * The lock is held. */
static int guard_make(struct th_stacks *s, char *at, bool *ret_by_mprotect)
{
	*ret_by_mprotect = false;
	if (!s->by_mprotect && madvise(at, s->guard, TH_MADV_GUARD_INSTALL) == 0)
		return 0;

	/* More would leave no mappings to the rest of the process: its malloc() would fail next. */
	if (th_load_rlx(&x_mprotect_guards) >= TH_STACK_MPROTECT_MAX) /* G4 */
		return -ENOMEM;
	if (mprotect(at, s->guard, PROT_NONE) != 0)
		return -ENOMEM;
	th_add_rlx(&x_mprotect_guards, 1); /* G4 */
	s->mprotected++;
	*ret_by_mprotect = true;
	return 0;
}

/* ---- slabs; the lock is held ---- */

static char *map_pages(size_t bytes)
{
	char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK,
			  -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	/* One touched byte must cost 4 KiB, not 2 MiB. MAP_STACK says so only since Linux 6.7, and a kernel without huge
	 * pages refuses: nothing to do then. */
	madvise(base, bytes, MADV_NOHUGEPAGE);
	return base;
}

#ifdef TH_SIM
/* The simulation opens thousands of runtimes a second, one at a time and on one thread: mapping anew, and the page faults of
 * new stacks, took half of its time. The last slab is kept, with its guards, for the next one that is cut the same way. */
static struct {
	char *base;
	size_t stacks, stride;
} spare;

static char *take_spare(size_t stacks, size_t stride)
{
	char *base = spare.stacks == stacks && spare.stride == stride ? spare.base : NULL;

	if (base)
		spare.base = NULL;
	return base;
}

static void slab_unmap(char *base, size_t stacks, size_t stride)
{
	if (spare.base)
		munmap(spare.base, spare.stacks * spare.stride);
	spare.base = base;
	spare.stacks = stacks;
	spare.stride = stride;
}
#else
static char *take_spare(size_t stacks, size_t stride) { (void)stacks, (void)stride; return NULL; }
static void slab_unmap(char *base, size_t stacks, size_t stride) { munmap(base, stacks * stride); }
#endif

/* A whole slab, or the half, quarter... of one where address space is short. Lowers *stacks to what was mapped. */
static char *slab_map(const struct th_stacks *s, size_t *stacks)
{
	for (; *stacks > 0; *stacks /= 2) {
		char *base = take_spare(*stacks, s->stride);

		if (!base)
			base = map_pages(*stacks * s->stride);
		if (base)
			return base;
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
	slab_unmap(slab->base, stacks, s->stride);
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
	bool by_mprotect;
	int r = guard_make(s, guard, &by_mprotect);

	if (r < 0)
		return r;
	th_store_rlx(&slab->x_used, used + 1); /* G3 */
	s->mapped++;
	*ret_lo = guard + s->guard;
	return 0;
}

/* ---- take ---- */

static char *take_idle(struct th_stacks *s)
{
	char *lo = s->idle[--s->idle_count];

	if (s->idle_count < s->low) {
		s->low = s->idle_count;
		s->due = s->low < s->due ? s->low : s->due;
		s->cold = s->low < s->cold ? s->low : s->cold;
	}
	return lo;
}

int th_stacks_take(struct th_stacks *s, struct th_stack *ret_stack)
{
	char *lo = NULL;
	int r = 0;

	th_lock(&s->lock);
	if (s->idle_count > 0)
		lo = take_idle(s);
	else
		r = take_unused(s, &lo);
	th_unlock(&s->lock);
	if (r < 0)
		return r;

	unpoison(lo, s->bytes);
	*ret_stack = (struct th_stack){ .lo = lo, .bytes = s->bytes };
	return 0;
}

/* ---- other sizes ---- */

bool th_stacks_is_usual(const struct th_stacks *s, struct th_stack stack)
{
	return stack.bytes == s->bytes;
}

/* An idle one of this size, the one given back last. The lock is held. */
static bool sized_take_idle(struct th_stacks *s, size_t bytes, struct th_stack *ret_stack)
{
	for (size_t i = s->sized_count; i-- > 0;) {
		if (s->sized[i].bytes != bytes)
			continue;
		*ret_stack = s->sized[i];
		s->sized_count--;
		memmove(&s->sized[i], &s->sized[i + 1], (s->sized_count - i) * sizeof s->sized[0]);
		s->sized_used++;
		return true;
	}
	return false;
}

static int sized_map(struct th_stacks *s, size_t bytes, struct th_stack *ret_stack)
{
	char *base = map_pages(s->guard + bytes);
	bool by_mprotect;
	int r;

	if (!base)
		return -ENOMEM;
	th_lock(&s->lock);
	r = guard_make(s, base, &by_mprotect);
	s->sized_mapped += r == 0;
	s->sized_used += r == 0;
	th_unlock(&s->lock);
	if (r < 0) {
		munmap(base, s->guard + bytes);
		return r;
	}
	*ret_stack = (struct th_stack){ .lo = base + s->guard, .bytes = bytes, .by_mprotect = by_mprotect };
	return 0;
}

int th_stacks_take_sized(struct th_stacks *s, size_t bytes, struct th_stack *ret_stack)
{
	bool idle;

	bytes = (bytes + s->page - 1) & ~(s->page - 1);
	if (bytes == s->bytes)
		return th_stacks_take(s, ret_stack);
	th_lock(&s->lock);
	idle = sized_take_idle(s, bytes, ret_stack);
	th_unlock(&s->lock);
	if (!idle)
		return sized_map(s, bytes, ret_stack);
	unpoison(ret_stack->lo, bytes);
	return 0;
}

static void sized_unmap(struct th_stacks *s, struct th_stack stack)
{
	unpoison(stack.lo, stack.bytes);
	munmap(stack.lo - s->guard, s->guard + stack.bytes);
}

/* Keep it; *ret_out is one that goes instead: the oldest, or itself. */
static bool sized_keep(struct th_stacks *s, struct th_stack stack, struct th_stack *ret_out)
{
	bool full, large = stack.bytes > KEEP_SIZED_BYTES_MAX;

	th_lock(&s->lock);
	TH_ASSERT(s->sized_used > 0);
	s->sized_used--;
	full = s->sized_count == KEEP_SIZED;
	*ret_out = large ? stack : s->sized[0];
	if (!large && full)
		memmove(&s->sized[0], &s->sized[1], --s->sized_count * sizeof s->sized[0]);
	if (!large)
		s->sized[s->sized_count++] = stack;
	if ((large || full) && ret_out->by_mprotect) {
		s->mprotected--;
		th_add_rlx(&x_mprotect_guards, -UINT64_C(1)); /* G4; its mappings are about to go */
	}
	th_unlock(&s->lock);
	return large || full;
}

static void sized_give(struct th_stacks *s, struct th_stack stack)
{
	struct th_stack out;

	poison(stack.lo, stack.bytes);
	if (stack.bytes <= KEEP_SIZED_BYTES_MAX && stack.bytes > s->page)
		madvise(stack.lo, stack.bytes - s->page, MADV_DONTNEED);
	if (sized_keep(s, stack, &out))
		sized_unmap(s, out);
}

/* ---- give ---- */

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
	TH_ASSERT(stack.lo);
	if (!th_stacks_is_usual(s, stack)) {
		sized_give(s, stack);
		return;
	}
	poison(stack.lo, stack.bytes);
	if (put_idle(s, stack.lo, false))
		return;
	/* Guards survive this: the advice removes pages only, and the range ends above the guard anyway. Should it fail,
	 * the pages stay; nothing else depends on it. */
	if (stack.bytes > s->page)
		madvise(stack.lo, stack.bytes - s->page, MADV_DONTNEED);
	put_idle(s, stack.lo, true);
}

/* ---- cool ---- */

static void begin_period(struct th_stacks *s, int64_t now_ns)
{
	th_lock(&s->lock);
	if (now_ns - s->period_ns >= TH_STACKS_PERIOD_NS) {
		s->due = s->low;
		s->low = s->idle_count;
		s->period_ns = now_ns;
	}
	th_unlock(&s->lock);
}

/* The advice leaves guards alone, as in th_stacks_give(). */
static enum th_cooling cool_some(struct th_stacks *s)
{
	enum th_cooling state;

	th_lock(&s->lock);
	for (int i = 0; i < COOL_LOCKED && s->cold < s->due; i++) {
		madvise(s->idle[s->cold++], s->bytes, MADV_DONTNEED);
		s->cooled++;
	}
	state = s->cold < s->due ? TH_COOLING : s->cold < s->idle_count ? TH_WARM : TH_COLD;
	th_unlock(&s->lock);
	return state;
}

enum th_cooling th_stacks_cool(struct th_stacks *s, int64_t now_ns)
{
	enum th_cooling state = TH_COOLING;

	begin_period(s, now_ns);
	for (int i = 0; i < COOL_AT_ONCE && state == TH_COOLING; i += COOL_LOCKED)
		state = cool_some(s);
	return state;
}

/* ---- questions ---- */

struct th_stacks_count th_stacks_count(struct th_stacks *s)
{
	struct th_stacks_count n;

	th_lock(&s->lock);
	n.mapped = s->mapped + s->sized_mapped;
	n.warm = s->mapped - s->cold + s->sized_used;
	n.cooled = s->cooled;
	th_unlock(&s->lock);
	return n;
}

bool th_stacks_by_mprotect(const struct th_stacks *s)
{
	return s->by_mprotect;
}

bool th_stacks_is_guard_of(const struct th_stacks *s, const struct th_stack *stack, const void *addr)
{
	const uintptr_t a = (uintptr_t)addr, lo = (uintptr_t)stack->lo;

	return a < lo && lo - a <= s->guard;
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
	s->by_mprotect = guard_by_mprotect || !guard_advice_is_had(page);
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
	TH_ASSERT(s->idle_count == s->mapped && s->sized_used == 0); /* one that is still in use would be unmapped */

	for (size_t i = 0; i < s->sized_count; i++)
		sized_unmap(s, s->sized[i]);
	for (struct slab *slab = th_load_rlx(&s->x_slabs), *next; slab; slab = next) {
		next = slab->next;
		unpoison(slab->base, slab->stacks * s->stride);
		slab_unmap(slab->base, slab->stacks, s->stride);
		free(slab);
	}
	if (s->mprotected > 0)
		th_add_rlx(&x_mprotect_guards, -s->mprotected); /* G4 */
	free(s->idle);
	free(s);
}
