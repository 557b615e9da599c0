/* httpd: what its files share. */
#ifndef HTTPD_H
#define HTTPD_H
#include <pthread.h>
#include <sys/stat.h>
#include <thrum.h>
#include <time.h>

enum {
	LINE_BYTES = 8 * 1024,       /* most in one line of a request's head */
	HEAD_BYTES = 16 * 1024,      /* most in a request's head */
	FIELDS_MAX = 100,            /* most fields in it */
	BODY_BYTES = 1 << 20,        /* most in its body, which is read and dropped */
	PATH_BYTES = 4096,
	SHORT_PATH_BYTES = 256
};

/* --- request.c: one line of a request's head at a time; no I/O. Each returns 0 or the status to refuse the request
 * with. --- */

enum method { GET, HEAD, NOT_ALLOWED };
struct request {
	enum method method;
	unsigned minor;                  /* of HTTP/1.x */
	bool has_host, keep_alive, close, expects_continue;
	bool has_length, chunked;
	uint64_t length;
	unsigned fields;
	char *path;                      /* decoded, without query; begins with a slash, no segment is ".." */
	char short_path[SHORT_PATH_BYTES];
	char *long_path;                 /* PATH_BYTES of the caller's, for one that is not short */
};

/* `line` is without its end, and may hold anything. */
int parse_request_line(struct request *r, const char *line, size_t n);
int parse_field(struct request *r, const char *line, size_t n);
int check_request(struct request *r); /* after the last field: what only the whole head tells */
/* "1a" or "1A;name=value": the size of a chunk; -1: malformed or huge. */
int64_t parse_chunk_size(const char *line, size_t n);

/* --- worker.c: what a worker keeps for its connections. They are fibers of its own and never leave it, so nobody ever waits for
 * its lock: nothing else runs between two calls that suspend. The lock says so to ThreadSanitizer, which takes fibers for
 * threads. --- */

enum { IN_BYTES = LINE_BYTES, OUT_BYTES = 16 * 1024 };
/* What a connection needs while it has a request. One that waits has none: ten thousand may wait. */
struct work {
	struct work *next;
	thrum_scope scope;               /* of the request; its deadline is the limit of the phase */
	thrum_writer out;
	struct request request;
	/* Most requests with their answers get by with the first page of this. */
	char out_buf[OUT_BYTES], in_buf[IN_BYTES], long_path[PATH_BYTES];
};

enum { DATE_BYTES = 64 };
enum { SETS = 32, WAYS = 4, CACHED_BYTES = 32 * 1024, CACHED_PATH_BYTES = 256 };
/* A small file with the head of its answer, and which one it was: at most SETS * WAYS of them, 4 MiB. Whoever holds one of its
 * users may suspend and go on with it. */
struct cached {
	unsigned x_users;                /* atomic: released without the lock */
	uint32_t hash;
	time_t checked;                  /* in this second it is not looked at again */
	uint64_t used;                   /* the worker's count of uses at the last one */
	struct stat st;
	bool young;                      /* it was read in the second of its last change, or the next: there may have been another */
	size_t head_bytes, bytes;
	char path[CACHED_PATH_BYTES];
	char text[];                     /* head, file */
};

struct worker {
	struct worker *next;             /* of all: for the end */
	pthread_mutex_t lock;            /* of the rest */
	struct work *spare;
	unsigned spares, spares_low;     /* how many; the fewest in this second */
	time_t second;
	uint64_t uses;
	struct cached *files[SETS][WAYS];
	time_t date_of;
	char date[DATE_BYTES];
};

struct httpd;
struct worker *worker_self(struct httpd *h); /* the calling fiber's; NULL: no memory */
void workers_init(struct httpd *h); /* before the first thread */
void workers_free(struct httpd *h);          /* when all have ended */
struct work *work_take(struct worker *w);    /* NULL: no memory */
void work_give(struct worker *w, struct work *work);
/* A connection has ended: if there are many spare ones, one goes. Those that were not needed for a second go too; so none comes
 * and goes with each request, and a burst leaves few. */
void work_trim(struct worker *w);
void worker_date(struct worker *w, time_t now, char date[DATE_BYTES]); /* for the field Date */

/* --- cache.c: the files; no I/O. --- */

/* The file of that path, if it was looked at in the second `now`. Release it. */
struct cached *cache_find(struct worker *w, const char *path, time_t now);
/* The same, if `st` says that it is still what it was; it was looked at now. Else it is forgotten, also with `st` NULL. */
struct cached *cache_check(struct worker *w, const char *path, const struct stat *st, time_t now);
/* Room for a file of st->st_size bytes and a head of as many as CACHED_HEAD_BYTES; NULL: it is too large, or there is no memory.
 * The caller fills it in, then puts it in the place of others, or releases it. */
enum { CACHED_HEAD_BYTES = 512 };
struct cached *cached_new(const char *path, const struct stat *st);
void cache_put(struct worker *w, struct cached *c, time_t now);
void cached_release(struct cached *c);

/* --- connection.c --- */

struct limits {
	thrum_dur idle;                  /* for the next request to begin */
	thrum_dur header, body;          /* for its head and its body to come */
	thrum_dur write;                 /* for a part of an answer to go */
};
struct httpd {
	int root;                        /* descriptor of the directory */
	struct limits limits;
	uint64_t x_answered;
	pthread_mutex_t lock;            /* of the list */
	struct worker *workers;
	unsigned list;                   /* which one that is, of this process: from 1 */
};
int serve_connection(void *httpd, thrum_conn *conn);

/* --- answer.c --- */

struct answer {
	struct httpd *httpd;
	struct worker *worker;
	thrum_writer *out;
	bool head_only, close;
	unsigned minor;                  /* of the request's version */
	int (*step)(void *arg);          /* called before each part is written: the time for writing begins anew */
	void *arg;
};
/* 0 or a code; then the answer is not whole, and the connection is of no use any more. */
int answer_status(const struct answer *a, int status, const char *location);
int answer_file(const struct answer *a, const struct request *r);

#endif
