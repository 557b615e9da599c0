/* hostile: what its files share. */
#ifndef HOSTILE_H
#define HOSTILE_H
#include <netdb.h>
#include <thrum.h>

enum { WAYS = 5 };

struct hostile {
	/* Set before the first client starts. */
	struct addrinfo *server;
	const char *host, *port, *path;
	size_t clients;
	double share;               /* of them that are hostile, 0 to 1 */
	thrum_dur length, every, patience;
	long watched;               /* process of the server; 0: it is not watched */
	unsigned long growth_kib;   /* that its memory may grow by while the good ones are connected */

	thrum_sem connecting;       /* places for good clients that have not had an answer yet */
	thrum_latch connected;      /* arrives for each good client, when it has had one or has failed */
	/* Counted by all. */
	uint64_t x_answers, x_failures, x_connections, x_served[WAYS];
	int64_t x_worst_ns;
};

static inline void count(uint64_t *x) { __atomic_add_fetch(x, 1, __ATOMIC_RELAXED); }

int connect_to(struct hostile *h); /* a descriptor, or a code */

/* One good client: connects, asks and asks again on the same connection, until it is cancelled. What goes wrong is counted. */
void be_good(struct hostile *h);
/* One that is hostile, in one way after the other, the first is `way`: connects, behaves badly until the connection ends, connects
 * again. Until it is cancelled. */
void be_bad(struct hostile *h, size_t way);
extern const char *const ways[WAYS];

/* --- watch.c: the process of the server, by /proc --- */

struct sample {
	unsigned long rss_kib, fds, threads, mappings;
};
int take_sample(const struct hostile *h, struct sample *ret); /* 0 or a code */
void print_sample(const char *when, const struct sample *s);
/* Its descriptors and threads are as in `first`, or it is about to be so: wait for it, for half a minute. */
int await_return(const struct hostile *h, const struct sample *first, struct sample *ret);

#endif
