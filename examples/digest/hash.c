/* Hashing: the body that for_each_par runs for each file, and the slots (a buffer and a hash state) that bodies take. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "digest.h"

enum {
	READ_BYTES = 128 * 1024, /* 32 KiB to 1 MiB cost the same CPU time here; what 8 jobs use fits a level-2 cache */
	JOBS_PER_WORKER = 4,     /* open files: keeps a disk busy while the workers hash */
	FD_RESERVE = 64,         /* descriptors left for everything but the files */
};

struct slot {
	EVP_MD_CTX *ctx;
	unsigned char *buf;
};

/* Until a read returns nothing: what fstat() says about the size of a file in /proc, or of one that grows, is no help. */
static int hash_fd(struct digest *d, int fd, const struct slot *s, unsigned char *sum)
{
	ssize_t n;

	if (!EVP_DigestInit_ex2(s->ctx, d->sha256, NULL))
		return -ENOMEM;
	while ((n = thrum_read(fd, s->buf, READ_BYTES)) > 0) {
		if (!EVP_DigestUpdate(s->ctx, s->buf, (size_t)n))
			return -EIO;
		__atomic_fetch_add(&d->x_bytes, (uint64_t)n, __ATOMIC_RELAXED);
	}
	if (n < 0)
		return (int)n;
	return EVP_DigestFinal_ex(s->ctx, sum, NULL) ? 0 : -EIO;
}

/* It may have become something else since its directory was read; a device would never end. */
static int still_regular(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : E_CHANGED;
}

static int hash_file(struct file *f)
{
	struct digest *d = f->digest;
	struct slot s;
	int fd = thrum_openat(AT_FDCWD, f->path, O_RDONLY | O_NOCTTY | (f->named ? 0 : O_NOFOLLOW), 0);

	if (fd < 0)
		return fd == -ELOOP ? E_CHANGED : fd;
	int code = still_regular(fd);
	if (code == 0)
		code = thrum_chan_try_recv(&d->slots, &s); /* never empty: one for each body that may be alive */
	if (code == 0) {
		code = hash_fd(d, fd, &s, f->sum);
		int back = thrum_chan_try_send(&d->slots, &s);
		code = code < 0 ? code : back;
	}
	(void)thrum_close(fd); /* it was only read: nothing can be lost */
	return code;
}
THRUM_FX(hash_file, struct file);

int hash_one(struct file *f)
{
	struct digest *d = f->digest;
	int code = d->timeout.ns > 0 ? thrum_timeout(hash_file_fx(f), d->timeout) : hash_file(f);

	if (code == -ECANCELED)
		return code;
	f->code = code;
	__atomic_store_n(&f->x_state, ENDED, __ATOMIC_RELEASE);
	__atomic_fetch_add(&d->x_ended, 1, __ATOMIC_RELAXED);
	if (code == 0)
		__atomic_fetch_add(&d->x_hashed, 1, __ATOMIC_RELAXED);
	return d->fail_fast ? code : 0;
}

/* How many files may be open: what was asked for, and what the limit on descriptors allows. */
size_t count_jobs(const struct digest *d)
{
	struct rlimit limit;
	size_t jobs = d->jobs ? d->jobs : (size_t)JOBS_PER_WORKER * thrum_workers();

	if (jobs > d->files)
		jobs = d->files > 0 ? d->files : 1;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= jobs + FD_RESERVE)
		return jobs;
	limit.rlim_cur = limit.rlim_max < jobs + FD_RESERVE ? limit.rlim_max : jobs + FD_RESERVE;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > FD_RESERVE)
		return (size_t)limit.rlim_cur - FD_RESERVE;
	return 1;
}

int make_slots(struct digest *d, size_t jobs)
{
	int code = thrum_chan_init(&d->slots, sizeof(struct slot), jobs);

	if (code < 0)
		return code;
	for (; d->slots_made < jobs; d->slots_made++) {
		struct slot s = { EVP_MD_CTX_new(), aligned_alloc(4096, READ_BYTES) }; /* untouched until used */
		code = s.ctx && s.buf ? thrum_chan_try_send(&d->slots, &s) : -ENOMEM;
		if (code < 0) {
			EVP_MD_CTX_free(s.ctx);
			free(s.buf);
			free_slots(d);
			return code;
		}
	}
	return 0;
}

void free_slots(struct digest *d)
{
	struct slot s;

	for (; d->slots_made > 0 && thrum_chan_try_recv(&d->slots, &s) == 0; d->slots_made--) {
		EVP_MD_CTX_free(s.ctx);
		free(s.buf);
	}
	thrum_chan_fini(&d->slots);
}
