/* io/kernel.h: what the two backends on the real kernel share: lists of operations, the wake, the time. */
#ifndef TH_KERNEL_H
#define TH_KERNEL_H
#include "../core/tsan.h"
#include "op.h"
#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Operations by descriptor are in lists of their own, by its number modulo this: 16 KiB per worker; 10,000 descriptors make
 * chains of ten. */
enum { FD_BUCKETS = 1024 };

struct op_list {
	struct th_op *head, *tail;
};

static inline void list_push(struct op_list *list, struct th_op *op)
{
	op->next = NULL;
	op->prev = list->tail;
	*(list->tail ? &list->tail->next : &list->head) = op;
	list->tail = op;
}

static inline void list_remove(struct op_list *list, struct th_op *op)
{
	*(op->prev ? &op->prev->next : &list->head) = op->next;
	*(op->next ? &op->next->prev : &list->tail) = op->prev;
}

/* The descriptor that a wake writes to. -1 and errno. */
static inline int wake_fd_open(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* Any thread, any signal handler. */
static inline void wake_fd_set(int fd)
{
	const uint64_t one = 1;

	TH_TSAN_PRIVATE_BEGIN(); /* errno is the thread's, not the fiber's */
	int saved = errno;       /* a signal handler may be the caller */

	/* It fails only when the counter is full, and then the waiter has been told long ago. */
	(void)!write(fd, &one, sizeof(one));
	errno = saved;
	TH_TSAN_PRIVATE_END();
}

static inline int64_t monotonic_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
