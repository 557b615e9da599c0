/* thrum/signal.h: signals of the system, received like messages. No handler of the user's runs; the first program to open a
 * signal installs one of thrum's, the last to close it puts back what was there.
 *
 * A signal that is sent to the process reaches us through any thread that does not block it: the one that called thrum_run(),
 * say, since workers and threads of the blocking pool that thrum starts block all of them. One that every thread blocks is
 * never seen. (A signalfd would need the opposite: each thread of the program to block it, whoever made that thread.) */
#ifndef THRUM_SIGNAL_H
#define THRUM_SIGNAL_H
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Caller storage; keeps its address between open and close. `fd` is readable while a signal is there: for a select. */
typedef struct thrum_signals {
	int fd;
	uint64_t opaque_[4];
} thrum_signals;

/* Receive these n signals from now on, whatever was done with them before, SIG_IGN included. Several may have the same signal
 * open: each receives it.
 *   caller    a fiber (else THRUM_ENOTFIBER); does not suspend
 *   returns   0; -EINVAL for none, a number that is no signal, SIGKILL, SIGSTOP, or one of those that tell of a defect of the
 *             running thread (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT); -EMFILE, -ENFILE, -ENOMEM;
 *             -ENOBUFS when 64 are open in the process */
THRUM_API THRUM_MUST_CHECK int thrum_signals_open(thrum_signals *sg, const int *signals, size_t n);

/* Wait for the next one: its number; of several that are there the smallest. One that comes again before it was received is
 * received once. Any number of fibers; each signal goes to one of them. A fiber (else THRUM_ENOTFIBER); suspends; a cancel
 * point. -ECANCELED; -EBADF when it is closed meanwhile. */
THRUM_API THRUM_MUST_CHECK int thrum_signals_recv(thrum_signals *sg);

/* Receive no more: what was installed before is back, what has not been received is gone, waiting fibers get -EBADF. A fiber;
 * suspends; not a cancel point. 0; THRUM_ENOTFIBER; -EBADF if it is closed. */
THRUM_API int thrum_signals_close(thrum_signals *sg);

#ifdef __cplusplus
}
#endif
#endif
