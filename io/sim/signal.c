/* io/sim/signal.c: signals of the simulated kernel. A handler runs when a test raises the signal, as a call of whoever raises
 * it, on his stack: other virtual workers may run meanwhile, as threads do beside a real handler. */
#include "kernel.h"
#include "../sys.h"
#include <errno.h>
#include <string.h>

enum { SIGNALS = 64 };

static struct {
	struct sigaction actions[SIGNALS + 1]; /* all zero: the default, SIG_DFL */
	bool touched;
} signals;

void sim_signals_reset(void)
{
	if (signals.touched)
		memset(&signals, 0, sizeof signals);
}

static struct sigaction *action_of(int sig)
{
	return sig >= 1 && sig <= SIGNALS && sig != SIGKILL && sig != SIGSTOP ? &signals.actions[sig] : NULL;
}

int th_sys_sigaction(int sig, const struct sigaction *new, struct sigaction *before)
{
	struct sigaction *at = action_of(sig);

	if (!at)
		return sim_errno(-EINVAL);
	if (before)
		*before = *at;
	if (new)
		*at = *new;
	signals.touched = true;
	return 0;
}

void (*th_sys_signal(int sig, void (*handler)(int)))(int)
{
	struct sigaction new = { .sa_handler = handler, .sa_flags = SA_RESTART }, before = { .sa_handler = SIG_ERR };

	return th_sys_sigaction(sig, &new, &before) < 0 ? SIG_ERR : before.sa_handler;
}

bool th_sim_raise(int sig)
{
	struct sigaction *at = action_of(sig), action;

	if (!at || at->sa_handler == SIG_DFL || at->sa_handler == SIG_IGN)
		return false;
	action = *at;
	if (action.sa_flags & (int)SA_RESETHAND)
		at->sa_handler = SIG_DFL;
	action.sa_handler(sig);
	return true;
}
