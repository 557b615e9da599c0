/* test/fuzz/main.c: in the place of libFuzzer: the seeds, then mutations of them.
 *
 *   test-fuzz-NAME fuzz/NAME [RUNS]  what fails is left in the file crash-NAME
 *   test-fuzz-NAME FILE              only that */
#include "../../core/random.h"
#include "fuzz.h"
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEDS_MAX = 256, BYTES_MAX = 4096 };

struct input {
	size_t n;
	uint8_t bytes[BYTES_MAX];
};

static struct input seeds[SEEDS_MAX], now;
static size_t n_seeds;
static char crash[300];
static uint64_t rng = 1;

static uint32_t below(uint32_t n)
{
	return (uint32_t)((th_random_next(&rng) >> 32) * n >> 32);
}

/* --- files --- */

static bool read_file(const char *path, struct input *in)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	in->n = fread(in->bytes, 1, sizeof in->bytes, f);
	fclose(f);
	return true;
}

static void keep_what_failed(int sig)
{
	FILE *f = fopen(crash, "we");

	if (f) {
		(void)fwrite(now.bytes, 1, now.n, f);
		fclose(f);
	}
	fprintf(stderr, "\nwhat failed is in %s\n", crash);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_seeds(const char *folder)
{
	DIR *dir = opendir(folder);
	char *names[SEEDS_MAX], path[4096];
	size_t n = 0;

	TH_CHECK(dir);
	for (struct dirent *e; n < SEEDS_MAX && (e = readdir(dir)) != NULL;)
		if (e->d_name[0] != '.')
			TH_CHECK((names[n++] = strdup(e->d_name)) != NULL);
	closedir(dir);
	qsort(names, n, sizeof *names, by_name); /* the same order everywhere */
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		TH_CHECK(read_file(path, &seeds[n_seeds++]));
		free(names[i]);
	}
}

/* --- mutations --- */

static void insert(size_t at, const uint8_t *bytes, size_t n)
{
	if (n > sizeof now.bytes - now.n)
		n = sizeof now.bytes - now.n;
	memmove(now.bytes + at + n, now.bytes + at, now.n - at);
	memmove(now.bytes + at, bytes, n);
	now.n += n;
}

static void delete(size_t at, size_t n)
{
	if (n > now.n - at)
		n = now.n - at;
	memmove(now.bytes + at, now.bytes + at + n, now.n - at - n);
	now.n -= n;
}

static void mutate(void)
{
	static const uint8_t edges[] = { 0, 1, '\r', '\n', ' ', '0', '9', ':', '-', '/', 0x7f, 0x80, 0xff };
	const struct input *other = &seeds[below((uint32_t)n_seeds)];
	size_t at = below((uint32_t)now.n + 1), from;
	uint8_t bytes[8];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)below(256);
	switch (below(6)) {
	case 0:
		insert(at, bytes, 1 + below(sizeof bytes));
		break;
	case 1:
		insert(at, &edges[below(sizeof edges)], 1);
		break;
	case 2:
		delete(at, 1 + below(8));
		break;
	case 3: /* a piece of another seed */
		from = below((uint32_t)other->n + 1);
		insert(at, other->bytes + from, below((uint32_t)(other->n - from) + 1));
		break;
	default:
		if (at < now.n)
			now.bytes[at] = below(2) ? bytes[0] : edges[below(sizeof edges)];
	}
}

static void play(void)
{
	(void)LLVMFuzzerTestOneInput(now.bytes, now.n);
}

static void play_mutations(unsigned runs)
{
	for (unsigned i = 0; i < runs; i++) {
		now = seeds[below((uint32_t)n_seeds)];
		for (unsigned j = 1 + below(6); j > 0; j--)
			mutate();
		play();
	}
}

static void play_all(unsigned runs)
{
	read_seeds(TH_FUZZ_SEEDS);
	TH_CHECK(n_seeds > 0);
	for (size_t i = 0; i < n_seeds; i++) {
		now = seeds[i];
		play();
	}
	play_mutations(runs);
	printf("%zu seeds and %u mutations come back\n", n_seeds, runs);
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '-');

	if (argc < 2) {
		fprintf(stderr, "usage: %s fuzz%s [RUNS] | FILE\n", argv[0], name ? name : "");
		return 2;
	}
	(void)snprintf(crash, sizeof crash, "crash%s", name ? name : "");
	signal(SIGABRT, keep_what_failed);
	signal(SIGSEGV, keep_what_failed);
	if (strncmp(argv[1], "fuzz/", 5) == 0) {
		play_all(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : TH_FUZZ_RUNS);
		return 0;
	}
	TH_CHECK(read_file(argv[1], &now));
	play();
	return 0;
}
