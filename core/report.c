/* core/report.c: see the header. */
#include "report.h"
#include "hooks.h"
#include <stdarg.h>
#include <stdio.h>

const struct th_observer *th_observer_here(void)
{
	struct th_fiber *f = th_self();

	return f ? f->home->observer : NULL;
}

/* Not by fprintf(): without a buffer of its own stderr takes 8 KiB of the stack for it, more than a small one has left. */
static void write_line(const char *text)
{
	flockfile(stderr); /* lines of several threads do not mix */
	fputs("thrum: ", stderr);
	fputs(text, stderr);
	fputs("\n", stderr);
	funlockfile(stderr);
}

void th_report_text(const struct th_observer *to, const thrum_report *what, const char *text)
{
	thrum_report report = *what;

	if (!to || !to->observe) {
		write_line(text);
		return;
	}
	report.size = sizeof report;
	report.text = text;
	to->observe(&report, to->arg);
}

void th_report(const struct th_observer *to, const thrum_report *what, const char *fmt, ...)
{
	char text[TH_REPORT_BYTES];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	th_report_text(to, what, text);
}
