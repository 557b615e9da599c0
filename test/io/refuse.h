/* test/io/refuse.h: have the kernel refuse system calls of this process and its children, as the seccomp filter of a default
 * container does. For good. */
#ifndef TEST_IO_REFUSE_H
#define TEST_IO_REFUSE_H
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "test/support/test.h"

enum { REFUSE_MAX = 8 };

static const int refuse_uring[] = { SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, -1 };
static const int refuse_nowait[] = { SYS_preadv2, SYS_pwritev2, -1 };

/* numbers: at most REFUSE_MAX, then -1. */
static inline void refuse(const int *numbers, int code)
{
	struct sock_filter filter[2 * REFUSE_MAX + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};
	unsigned short n = 1;
	struct sock_fprog prog = { .filter = filter };

	for (; *numbers >= 0; numbers++) {
		TH_CHECK(n < 2 * REFUSE_MAX);
		filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*numbers, 0, 1);
		filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code);
	}
	filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = n;
	TH_CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	TH_CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), 0);
}

#endif
