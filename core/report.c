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

void th_report_text(const struct th_observer *to, const thrum_report *what, const char *text)
{
	thrum_report report = *what;

	if (!to || !to->observe) {
		fprintf(stderr, "thrum: %s\n", text); /* one call: lines of several threads do not mix */
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
