/* io/signal.c: signals as messages: a handler that notes them for each channel that wants them.
 *
 *   a handler, in any thread                     close
 *   x_inside++                         (H1)      put the old actions back
 *   for each channel in x_slots:       (H2)      x_slots[…] = NULL              (H3)
 *     x_pending |= bit; if it was not set,       wait until x_inside is 0       (H4)
 *     one more to the eventfd                    close the eventfd
 *   x_inside--
 *   All are seq_cst: a handler that comes too late for the wait finds the slot empty (SB).
 *
 * The eventfd is a semaphore, as many in it as there are bits in x_pending: who gets one out of it finds a bit. The bit goes in
 * first. The handler runs on the alternative stack where its thread has one: a fiber's stack is small (hazard 32). */
#include "../core/atomic.h"
#include "../core/hooks.h"
#include "../core/lock.h"
#include "own_errno.h"
#include "sys.h"
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <thrum/io.h>
#include <thrum/signal.h>
#include <unistd.h>

enum { SLOTS = 64, SIGNALS = 64 };

struct th_signals {
	int fd;
	unsigned slot;
	uint64_t set;
	th_atomic_u64 x_pending;
};
_Static_assert(sizeof(struct th_signals) <= sizeof(thrum_signals), "thrum_signals holds a th_signals");

/* Of the process: its signals are. */
static struct {
	struct th_lock lock; /* of openers and closers; never taken by the handler */
	th_atomic(struct th_signals *) x_slots[SLOTS];
	th_atomic_u32 x_inside;
	unsigned users[SIGNALS + 1];
	struct sigaction before[SIGNALS + 1];
} all;

static struct th_signals *of(thrum_signals *sg)
{
	return (struct th_signals *)(void *)sg;
}

static uint64_t bit_of(int sig)
{
	return UINT64_C(1) << (sig - 1);
}

static void note(struct th_signals *s, uint64_t bit)
{
	const uint64_t one = 1;

	if ((s->set & bit) && !(th_or_seq(&s->x_pending, bit) & bit))
		(void)!th_sys_write(s->fd, &one, sizeof one);
}

static void on_signal(int sig)
{
	int saved = th_errno_begin();

	th_add_seq(&all.x_inside, 1); /* H1 */
	for (int i = 0; i < SLOTS; i++) {
		struct th_signals *s = th_load_seq(&all.x_slots[i]); /* H2 */
		if (s)
			note(s, bit_of(sig));
	}
	th_sub_seq(&all.x_inside, 1);
	th_errno_end(saved);
}

/* --- the actions, under the lock --- */

static int install(int sig)
{
	struct sigaction ours = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };

	if (all.users[sig] == 0 && th_sys_sigaction(sig, &ours, &all.before[sig]) < 0)
		return -errno;
	all.users[sig]++;
	return 0;
}

/* If somebody has installed another handler meanwhile, that one stays. */
static void uninstall(int sig)
{
	struct sigaction now;

	if (--all.users[sig] > 0)
		return;
	if (th_sys_sigaction(sig, NULL, &now) == 0 && now.sa_handler == on_signal)
		(void)th_sys_sigaction(sig, &all.before[sig], NULL);
}

static void uninstall_all(uint64_t set)
{
	for (int sig = 1; sig <= SIGNALS; sig++)
		if (set & bit_of(sig))
			uninstall(sig);
}

/* All of them, or none. */
static int install_all(uint64_t set)
{
	for (int sig = 1; sig <= SIGNALS; sig++) {
		int code = set & bit_of(sig) ? install(sig) : 0;
		if (code < 0) {
			uninstall_all(set & (bit_of(sig) - 1));
			return code;
		}
	}
	return 0;
}

static int take_slot(struct th_signals *s)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!th_load_rlx(&all.x_slots[i])) {
			s->slot = i;
			th_store_seq(&all.x_slots[i], s);
			return 0;
		}
	}
	return -ENOBUFS;
}

static void leave_slot(struct th_signals *s)
{
	th_store_seq(&all.x_slots[s->slot], NULL); /* H3 */
	while (th_load_seq(&all.x_inside)) /* H4 */
		th_pause(); /* a few instructions of a handler in another thread */
}

static int enlist(struct th_signals *s)
{
	int code = take_slot(s);

	if (code < 0)
		return code;
	code = install_all(s->set);
	if (code < 0)
		leave_slot(s);
	return code;
}

/* --- the calls --- */

static int set_of(const int *signals, size_t n, uint64_t *ret_set)
{
	static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT };
	uint64_t set = 0, never = bit_of(SIGKILL) | bit_of(SIGSTOP);

	for (size_t i = 0; i < sizeof synchronous / sizeof *synchronous; i++)
		never |= bit_of(synchronous[i]);
	for (size_t i = 0; i < n; i++) {
		if (signals[i] < 1 || signals[i] > SIGNALS)
			return -EINVAL;
		set |= bit_of(signals[i]);
	}
	*ret_set = set;
	return set == 0 || set & never ? -EINVAL : 0;
}

int thrum_signals_open(thrum_signals *sg, const int *signals, size_t n)
{
	struct th_signals *s = of(sg);
	uint64_t set;
	int code = set_of(signals, n, &set), saved;

	if (!th_self())
		return THRUM_ENOTFIBER;
	if (code < 0)
		return code;
	saved = th_errno_begin();
	s->set = set;
	s->fd = th_sys_eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fd < 0) {
		code = -errno;
	} else {
		th_init(&s->x_pending, 0);
		th_lock(&all.lock);
		code = enlist(s);
		th_unlock(&all.lock);
		if (code < 0)
			th_sys_close(s->fd);
	}
	th_errno_end(saved);
	return code;
}

static int take_pending(struct th_signals *s)
{
	uint64_t pending = th_load_seq(&s->x_pending), bit;

	do {
		bit = pending & -pending;
		if (!bit)
			return 0;
	} while (!th_cas_seq(&s->x_pending, &pending, pending & ~bit));
	return __builtin_ctzll(bit) + 1;
}

int thrum_signals_recv(thrum_signals *sg)
{
	struct th_signals *s = of(sg);
	uint64_t one;
	int sig;

	do {
		ssize_t got = thrum_read(s->fd, &one, sizeof one);
		if (got < 0)
			return (int)got;
		sig = take_pending(s);
	} while (!sig);
	return sig;
}

/* False: it is not open any more. */
static bool delist(struct th_signals *s)
{
	bool listed;
	int saved = th_errno_begin();

	th_lock(&all.lock);
	listed = s->slot < SLOTS && th_load_seq(&all.x_slots[s->slot]) == s;
	if (listed) {
		uninstall_all(s->set);
		leave_slot(s);
	}
	th_unlock(&all.lock);
	th_errno_end(saved);
	return listed;
}

int thrum_signals_close(thrum_signals *sg)
{
	struct th_signals *s = of(sg);
	int code;

	if (!th_self())
		return THRUM_ENOTFIBER;
	if (!delist(s))
		return -EBADF;
	code = thrum_close(s->fd);
	s->fd = -1; /* nobody is in it any more */
	return code;
}
