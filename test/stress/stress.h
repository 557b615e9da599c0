/* test/stress/stress.h: what the stress tests measure of their own process. */
#ifndef TEST_STRESS_H
#define TEST_STRESS_H
#include <dirent.h>
#include <time.h>
#include <unistd.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* Resident memory. */
static inline size_t resident_bytes(void)
{
	unsigned long pages = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	TH_CHECK(f != NULL);
	TH_CHECK_EQ(fscanf(f, "%lu %lu", &pages, &resident), 2);
	fclose(f);
	return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* Open descriptors, or threads: entries of a folder of /proc/self. */
static inline int count_entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	TH_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline int count_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int n = 0, c;

	TH_CHECK(f != NULL);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static inline int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	TH_CHECK_EQ(clock_gettime(id, &ts), 0);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static inline thrum_stats stats_of(thrum_rt *rt)
{
	thrum_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_stats_read(rt, &s), 0);
	return s;
}

static inline void say(const char *what, long long value, const char *unit)
{
	printf("(%s: %lld %s) ", what, value, unit);
	fflush(stdout);
}

#endif
