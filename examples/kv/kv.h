/* kv: what its files share. */
#ifndef KV_H
#define KV_H
#include <thrum.h>

enum { SHARDS = 64 };

/* --- store.c --- */

/* A value is never changed: who reads it holds a reference, not the lock, while he sends it. */
struct value {
	unsigned x_refs;
	size_t len;
	char data[];
};
struct value *value_new(const void *data, size_t len); /* NULL: no memory */
void value_put(struct value *v);                       /* NULL is fine */

struct shard {
	thrum_mutex lock;       /* never held over anything else that suspends */
	struct entry *entries;  /* a uthash table */
};
struct store {
	struct shard shard[SHARDS];
};

struct text {
	const char *data;
	size_t len;
};

enum { SET_NX = 1 };
#define NO_EXPIRY INT64_MAX

/* They suspend, as they may wait for a shard. Codes: 0 or more; -ENOMEM, -ECANCELED. */
void store_init(struct store *s);
void store_fini(struct store *s);
int store_get(struct store *s, struct text key, struct value **ret_value); /* 1 with a reference, 0 */
/* 1; 0: NX said no */
int store_set(struct store *s, struct text key, struct value *v_take, int64_t expires_ns, unsigned flags);
int store_del(struct store *s, struct text key);    /* 1: it was there */
int store_exists(struct store *s, struct text key); /* 1, 0 */
int store_incr(struct store *s, struct text key, int64_t *ret_n); /* -EINVAL: no number; -EOVERFLOW */
int store_expire(struct store *s, struct text key, int64_t expires_ns); /* 1: it was there */
int store_expiry(struct store *s, struct text key, int64_t *ret_expires_ns); /* 1, 0 */
int store_size(struct store *s, size_t *ret_n);
int store_flush(struct store *s);
int store_sweep(struct store *s); /* removes what has expired, for ever, until cancelled */

/* --- command.c --- */

enum { KV_QUIT = 1 };
/* Does what the words say and writes the answer. 0, KV_QUIT, or a code of the writer. */
int run_command(struct store *s, thrum_writer *w, const struct text *word, size_t words);
bool parse_number(struct text t, int64_t *ret_n);

/* --- connection.c --- */

struct limits {
	thrum_dur idle; /* between commands; THRUM_FOREVER */
	thrum_dur io;   /* for one command to come, and for its answer to go */
};
struct kv {
	struct store store;
	struct limits limits;
};
int serve_connection(void *kv, thrum_conn *conn);

#endif
