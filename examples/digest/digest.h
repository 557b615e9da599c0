/* digest.h: what the parts of digest share. main.c says what the program is.
 *
 *   find.c    fills `file`, before anything else runs
 *   hash.c    one body per file, any worker: writes its own record, then x_state; adds to the x_ counters
 *   report.c  one fiber: reads records that ended; everything under "the reporter" is its own until it has ended */
#ifndef DIGEST_H
#define DIGEST_H
#include <openssl/types.h>
#include <thrum.h>

enum { SUM_BYTES = 32 };
enum { PENDING, ENDED };
enum { E_CHANGED = THRUM_APP(0) }; /* a regular file when the directory was read, now something else */

struct file {
	char *path; /* owned */
	struct digest *digest;
	unsigned char sum[SUM_BYTES];
	int code;
	bool named;            /* on the command line: may be a symbolic link */
	unsigned char x_state; /* ENDED, a release by the body, makes sum and code visible to the reporter */
};

struct digest {
	char **roots;
	size_t jobs;       /* 0: a few for each worker */
	thrum_dur timeout; /* for each file; 0: none */
	const char *timeout_text;
	bool fail_fast, stats, bar;
	thrum_time start;
	bool any_failed; /* find.c's, then the reporter's */

	struct file *file;
	size_t files, room;
	char **dir; /* found, not read yet */
	size_t dirs, dir_room;

	EVP_MD *sha256;
	thrum_chan slots; /* the free ones */
	size_t slots_made;
	uint64_t x_bytes; /* statistics; they decide nothing */
	size_t x_ended, x_hashed;
	thrum_chan over; /* closed when no more file will end */

	/* The reporter. */
	char *out;
	size_t out_n;
	size_t reported;
	bool bar_shown;
	int stdout_code; /* why stdout failed */
};

/* find.c: all files under the roots, sorted. 0 or a code; a root or directory that fails is reported, and is a code only
 * with --fail-fast. A cancel point at every directory. */
int find_files(struct digest *d);

/* hash.c: the buffers for at most `jobs` files at once; then the body, which fails only for a cancel or --fail-fast. */
size_t count_jobs(const struct digest *d);
int make_slots(struct digest *d, size_t jobs);
void free_slots(struct digest *d);
int hash_one(struct file *f);
THRUM_FX(hash_one, struct file);

/* report.c: the reporter itself; a line on stderr; take the bar away. */
int report(struct digest *d);
THRUM_FX(report, struct digest);
void complain(struct digest *d, const char *path, int code);
void clear_bar(struct digest *d);

#endif
