/* The server, seen from outside. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "hostile.h"

enum { LOOKS = 300, LOOK_MS = 100 };

/* /proc/PID/NAME; the caller closes it. */
static FILE *open_of(const struct hostile *h, const char *name)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%ld/%s", h->watched, name);
	return fopen(path, "re");
}

static int read_status(const struct hostile *h, struct sample *s)
{
	FILE *f = open_of(h, "status");
	char line[256];

	if (!f)
		return -ESRCH;
	while (fgets(line, sizeof line, f)) {
		if (strncmp(line, "VmRSS:", 6) == 0)
			s->rss_kib = strtoul(line + 6, NULL, 10);
		if (strncmp(line, "Threads:", 8) == 0)
			s->threads = strtoul(line + 8, NULL, 10);
	}
	(void)fclose(f);
	return 0;
}

static int count_mappings(const struct hostile *h, struct sample *s)
{
	FILE *f = open_of(h, "maps");

	if (!f)
		return -ESRCH;
	s->mappings = 0;
	for (int c; (c = fgetc(f)) != EOF;)
		s->mappings += c == '\n';
	(void)fclose(f);
	return 0;
}

static int count_fds(const struct hostile *h, struct sample *s)
{
	char path[64];
	DIR *d;

	snprintf(path, sizeof path, "/proc/%ld/fd", h->watched);
	d = opendir(path);
	if (!d)
		return -ESRCH;
	s->fds = 0;
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		s->fds += e->d_name[0] != '.';
	(void)closedir(d);
	return 0;
}

int take_sample(const struct hostile *h, struct sample *ret)
{
	int code = read_status(h, ret);

	if (code == 0)
		code = count_mappings(h, ret);
	return code < 0 ? code : count_fds(h, ret);
}

void print_sample(const char *when, const struct sample *s)
{
	printf("hostile: server %-10s %7lu KiB %6lu descriptors %3lu threads %5lu mappings\n", when, s->rss_kib, s->fds,
	       s->threads, s->mappings);
	(void)fflush(stdout);
}

int await_return(const struct hostile *h, const struct sample *first, struct sample *ret)
{
	int code = take_sample(h, ret);

	for (int i = 0; i < LOOKS && code == 0 && (ret->fds > first->fds || ret->threads > first->threads); i++) {
		code = thrum_sleep(thrum_ms(LOOK_MS));
		if (code == 0)
			code = take_sample(h, ret);
	}
	return code;
}
