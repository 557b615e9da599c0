/* core/report.h: telling the program's observer, or stderr, what no return value tells (thrum/watch.h). Never allocates.
 * The observer is the user's code: call without a lock of the runtime. */
#ifndef TH_REPORT_H
#define TH_REPORT_H
#include <thrum/watch.h>

/* Who is told. Constant while its runtime lives. */
struct th_observer {
	void (*observe)(const thrum_report *report, void *arg); /* NULL: stderr */
	void *arg;
};

/* The observer of the running fiber's runtime; NULL on a plain thread: stderr. */
const struct th_observer *th_observer_here(void);

/* Report `what`, all but its size and text set, with a text of at most TH_REPORT_BYTES; what does not fit is cut off. `to`
 * may be NULL: stderr. */
enum { TH_REPORT_BYTES = 512 };
__attribute__((format(printf, 3, 4))) void th_report(const struct th_observer *to, const thrum_report *what,
						     const char *fmt, ...);
/* The same with a text that is there already, of any length. */
void th_report_text(const struct th_observer *to, const thrum_report *what, const char *text);

#endif
