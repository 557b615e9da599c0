/* io/own_errno.h: system calls that a fiber makes itself, between begin and end. errno is the thread's, which its fibers share:
 * so the calling fiber's is put back (X3), and ThreadSanitizer is told that no other runs meanwhile. Nothing in between may
 * suspend. */
#ifndef TH_OWN_ERRNO_H
#define TH_OWN_ERRNO_H
#include "../core/tsan.h"
#include <errno.h>

static inline int th_errno_begin(void)
{
	TH_TSAN_PRIVATE_BEGIN();
	return errno;
}

static inline void th_errno_end(int saved)
{
	errno = saved;
	TH_TSAN_PRIVATE_END();
}

#endif
