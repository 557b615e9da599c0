/* The reporter: the only fiber that writes while files are hashed. It looks every TICK_MS for files that have ended,
 * writes their lines in order and in few writes, and draws the bar. It is a child of the main scope: when stdout fails,
 * its failure cancels the hashing. A slow reader of stdout suspends this fiber and no other. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "digest.h"

enum {
	TICK_MS = 50,               /* how late a line or the bar may be */
	OUT_BYTES = 64 * 1024,      /* lines gathered for one write */
	LINE_BYTES_MAX = 16 * 1024, /* > 2 * (PATH_MAX + NAME_MAX), every byte escaped, and the sum */
	BAR_CELLS = 24,
	BAR_COLS_MAX = 120,
};

/* --- stderr --- */

/* As sha256sum writes names: \\, \n, \r. At most twice the length of `s`; returns the end. */
static char *put_escaped(char *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '\n' || *s == '\r')
			*out++ = '\\';
		*out++ = *s == '\n' ? 'n' : *s == '\r' ? 'r' : *s;
	}
	return out;
}

void clear_bar(struct digest *d)
{
	if (d->bar_shown)
		fputs("\r\033[K", stderr);
	d->bar_shown = false;
}

void complain(struct digest *d, const char *path, int code)
{
	char *name = malloc(2 * strlen(path) + 1);

	d->any_failed = true;
	clear_bar(d);
	if (name)
		*put_escaped(name, path) = '\0';
	fprintf(stderr, "digest: %s: ", name ? name : "?"); /* one line, whatever the name */
	if (code == -ETIMEDOUT && d->timeout.ns > 0)
		fprintf(stderr, "not done within %s\n", d->timeout_text);
	else if (code == E_CHANGED)
		fputs("no longer a regular file\n", stderr);
	else
		fprintf(stderr, "%s\n", thrum_strerror(code));
	free(name);
}

static void draw_bar(struct digest *d)
{
	struct winsize w;
	char cells[BAR_CELLS + 1], line[BAR_COLS_MAX + 1];
	size_t ended = __atomic_load_n(&d->x_ended, __ATOMIC_RELAXED);
	double mb = (double)__atomic_load_n(&d->x_bytes, __ATOMIC_RELAXED) / 1e6;
	double seconds = (double)thrum_time_sub(thrum_now(), d->start).ns / 1e9;
	bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0;
	size_t cols = !known ? 80 : w.ws_col > BAR_COLS_MAX ? BAR_COLS_MAX : w.ws_col;

	memset(cells, '.', BAR_CELLS);
	memset(cells, '#', BAR_CELLS * ended / d->files);
	cells[BAR_CELLS] = '\0';
	/* One column is left free: a full line would wrap, and could not be taken back. */
	snprintf(line, cols, "[%s] %3zu%%  %zu/%zu files  %.0f MB  %.0f MB/s", cells, 100 * ended / d->files, ended,
		 d->files, mb, mb / seconds);
	fprintf(stderr, "\r%s\033[K", line);
	d->bar_shown = true;
}

/* --- stdout --- */

struct rest {
	const char *from;
	size_t n;
};
static int write_rest(struct rest *r)
{
	return thrum_write_all(STDOUT_FILENO, r->from, r->n, NULL);
}
THRUM_FX(write_rest, struct rest);

/* Write what was gathered. A cancel in the middle of a line completes that line: nobody finds half a sum. */
static int flush_lines(struct digest *d)
{
	size_t done = 0;

	if (d->out_n == 0)
		return 0;
	clear_bar(d);
	int code = thrum_write_all(STDOUT_FILENO, d->out, d->out_n, &done);
	if (code == -ECANCELED && done > 0 && d->out[done - 1] != '\n') {
		const char *end = memchr(d->out + done, '\n', d->out_n - done);
		struct rest r = { d->out + done, (size_t)(end - (d->out + done)) + 1 };
		(void)thrum_shield(write_rest_fx(&r));
	} else if (code < 0 && code != -ECANCELED) {
		d->stdout_code = code;
	}
	d->out_n = 0;
	return code;
}

static int put_line(struct digest *d, const struct file *f)
{
	static const char hex[] = "0123456789abcdef";
	int code = d->out_n + LINE_BYTES_MAX > OUT_BYTES ? flush_lines(d) : 0;
	char *p = d->out + d->out_n;

	if (code < 0)
		return code;
	if (strpbrk(f->path, "\\\n\r"))
		*p++ = '\\';
	for (size_t i = 0; i < SUM_BYTES; i++) {
		*p++ = hex[f->sum[i] >> 4];
		*p++ = hex[f->sum[i] & 15];
	}
	*p++ = ' ';
	*p++ = ' ';
	p = put_escaped(p, f->path);
	*p++ = '\n';
	d->out_n = (size_t)(p - d->out);
	return 0;
}

/* --- the fiber --- */

/* Report the files that have ended, in order, up to the first that has not; when `over`, those behind it as well. */
static int report_ended(struct digest *d, bool over)
{
	for (; d->reported < d->files; d->reported++) {
		const struct file *f = &d->file[d->reported];
		bool ended = __atomic_load_n(&f->x_state, __ATOMIC_ACQUIRE) == ENDED;
		int code = 0;
		if (!ended && !over)
			break;
		if (ended && f->code < 0)
			complain(d, f->path, f->code);
		else if (ended)
			code = put_line(d, f);
		if (code < 0)
			return code;
	}
	return flush_lines(d);
}

static int wait_over(struct digest *d)
{
	char nothing;
	return thrum_chan_recv(&d->over, &nothing);
}
THRUM_FX(wait_over, struct digest);

static int report_until_over(struct digest *d)
{
	for (;;) {
		int code = thrum_timeout_opt(wait_over_fx(d), thrum_ms(TICK_MS), NULL);
		bool over = code == THRUM_ECLOSED;
		if (code < 0 && !over)
			return code;
		code = report_ended(d, over);
		if (code < 0 || over)
			return code;
		if (d->bar)
			draw_bar(d);
	}
}

int report(struct digest *d)
{
	d->out = malloc(OUT_BYTES);
	int code = d->out ? report_until_over(d) : -ENOMEM;
	free(d->out);
	return code;
}
