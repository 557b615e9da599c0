/* thrum/loop.h: loops of the CPU over index ranges, on all workers. For items that block, or that need scopes of their own
 * and a bound on how many are alive, there is thrum_for_each_par() in combine.h.
 *
 * A range is halved until its parts are small enough; a half that no other worker has taken when its turn comes is a plain
 * call. So the parts are run in index order on one worker, and an idle worker takes half of what is left. Which indices make
 * up a part depends on n and the grain alone, not on workers and luck: a sum of floating-point numbers comes out the same, to
 * the last bit, on any machine.
 *
 * Both: called by a fiber (else THRUM_ENOTFIBER); suspend; cancel points, also between two parts; borrow what they are
 * given until they return. The first part that fails stops the rest, and its code is returned: the halves it lies in end one
 * after the other, from the inside out, and in the other half of each no further part begins and those under way see
 * -ECANCELED at their next cancel point, as in zip_par. Bodies run as children do: they may call
 * anything, fork or block. (The split is that of Cilk's cilk_for and oneTBB's parallel_for with a simple partitioner.) */
#ifndef THRUM_LOOP_H
#define THRUM_LOOP_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

#define THRUM_HAS_PARALLEL_FOR 1

/* body(begin, end, arg) for parts [begin, end) of [0, n). A part is n / 1024 indices, rounded up.
 * Returns 0; the code of the first part that failed; -ECANCELED; -EINVAL without a body. */
THRUM_API int thrum_parallel_for(size_t n, int (*body)(size_t begin, size_t end, void *arg), void *arg);
/* The same with parts of `grain` indices; 0: as above. */
THRUM_API int thrum_parallel_for_grain(size_t n, size_t grain, int (*body)(size_t begin, size_t end, void *arg), void *arg);

/* How the parts of a range become one result. */
typedef struct thrum_reducer {
	size_t bytes;                                                /* of a result, or a part of one */
	void (*begin)(void *part, void *arg);                        /* make it the result of no index */
	int (*fold)(void *part, size_t begin, size_t end, void *arg); /* take these indices in */
	int (*combine)(void *part, void *next, void *arg);           /* take in the result of the indices that follow */
	void *arg;
	size_t grain;                                                /* 0: n / 1024, more for results of above 1 KiB; at least that in any case */
} thrum_reducer;
/* The result of [0, n) goes to *ret_result, which must be aligned as malloc aligns; on a failure what is there is
 * undefined. combine() must be associative; it gets the parts in the order of their indices, so it need not commute.
 * Codes of thrum_parallel_for(), those of fold and combine; -EINVAL also without begin, fold or combine, or for 0 bytes; -ENOMEM before
 * any part is begun, when *ret_result is the result of no index: the parts lie in one block of at most 1,024 results. */
THRUM_API int thrum_reduce(size_t n, const thrum_reducer *how, void *ret_result);

#ifdef __cplusplus
}
#endif
#endif
