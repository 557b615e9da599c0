/* The store: shards, each a hash table behind a mutex. What has expired is gone for every command; memory is given back
 * when somebody meets it, or by the sweeper. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kv.h"
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((void)(entry)) /* entry_add() looks at its hh.tbl */
#include <uthash.h>

struct entry {
	UT_hash_handle hh;
	struct value *value;
	int64_t expires_ns; /* on the clock of the fibers; NO_EXPIRY */
	size_t key_len;
	char key[];
};

enum { SWEEP_MS = 12 }; /* a shard; so all of them in less than a second */

/* --- values --- */

struct value *value_new(const void *data, size_t len)
{
	struct value *v = malloc(sizeof *v + len);

	if (!v)
		return NULL;
	v->x_refs = 1;
	v->len = len;
	if (len > 0)
		memcpy(v->data, data, len);
	return v;
}

void value_put(struct value *v)
{
	if (v && __atomic_sub_fetch(&v->x_refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(v);
}

/* --- entries, under their shard's lock --- */

static void entry_remove(struct shard *sh, struct entry *e)
{
	HASH_DEL(sh->entries, e);
	value_put(e->value);
	free(e);
}

static struct entry *entry_find(struct shard *sh, struct text key)
{
	struct entry *e;

	HASH_FIND(hh, sh->entries, key.data, key.len, e);
	if (e && e->expires_ns <= thrum_now().ns) {
		entry_remove(sh, e);
		return NULL;
	}
	return e;
}

static int entry_add(struct shard *sh, struct text key, struct value *v, int64_t expires_ns)
{
	struct entry *e = malloc(sizeof *e + key.len);

	if (!e)
		return -ENOMEM;
	memcpy(e->key, key.data, key.len);
	e->key_len = key.len;
	e->value = v;
	e->expires_ns = expires_ns;
	HASH_ADD_KEYPTR(hh, sh->entries, e->key, e->key_len, e);
	if (e->hh.tbl)
		return 0;
	free(e);
	return -ENOMEM;
}

/* --- shards --- */

void store_init(struct store *s)
{
	for (size_t i = 0; i < SHARDS; i++) {
		(void)thrum_mutex_init(&s->shard[i].lock);
		s->shard[i].entries = NULL;
	}
}

static void clear(struct shard *sh)
{
	struct entry *e, *next;

	HASH_ITER(hh, sh->entries, e, next)
	entry_remove(sh, e);
}

void store_fini(struct store *s)
{
	for (size_t i = 0; i < SHARDS; i++)
		clear(&s->shard[i]);
}

/* FNV-1a; the tables have a hash of their own. */
static struct shard *shard_of(struct store *s, struct text key)
{
	uint32_t h = 2166136261U;

	for (size_t i = 0; i < key.len; i++)
		h = (h ^ (unsigned char)key.data[i]) * 16777619U;
	return &s->shard[(h ^ h >> 16) % SHARDS];
}

static int lock(struct store *s, struct text key, struct shard **ret_shard)
{
	*ret_shard = shard_of(s, key);
	return thrum_mutex_lock(&(*ret_shard)->lock);
}

static void unlock(struct shard *sh)
{
	(void)thrum_mutex_unlock(&sh->lock);
}

/* --- commands --- */

int store_get(struct store *s, struct text key, struct value **ret_value)
{
	struct shard *sh;
	struct entry *e;
	int code = lock(s, key, &sh);

	if (code < 0)
		return code;
	e = entry_find(sh, key);
	if (e) {
		*ret_value = e->value;
		__atomic_add_fetch(&e->value->x_refs, 1, __ATOMIC_RELAXED);
	}
	unlock(sh);
	return e != NULL;
}

int store_set(struct store *s, struct text key, struct value *v, int64_t expires_ns, unsigned flags)
{
	struct shard *sh;
	struct value *old = v; /* what goes at the end */
	struct entry *e;
	int code = lock(s, key, &sh);

	if (code < 0) {
		value_put(v);
		return code;
	}
	e = entry_find(sh, key);
	if (!e) {
		code = entry_add(sh, key, v, expires_ns);
		old = code < 0 ? v : NULL;
	} else if (!(flags & SET_NX)) {
		old = e->value;
		e->value = v;
		e->expires_ns = expires_ns;
	}
	unlock(sh);
	value_put(old);
	return code < 0 ? code : old != v;
}

int store_del(struct store *s, struct text key)
{
	struct shard *sh;
	struct entry *e;
	int code = lock(s, key, &sh);

	if (code < 0)
		return code;
	e = entry_find(sh, key);
	if (e)
		entry_remove(sh, e);
	unlock(sh);
	return e != NULL;
}

int store_exists(struct store *s, struct text key)
{
	int64_t expires_ns;

	return store_expiry(s, key, &expires_ns);
}

static int increment(struct shard *sh, struct text key, int64_t *ret_n)
{
	struct entry *e = entry_find(sh, key);
	int64_t n = 0;
	char text[24];
	struct value *v;

	if (e && !parse_number((struct text){ e->value->data, e->value->len }, &n))
		return -EINVAL;
	if (n == INT64_MAX)
		return -EOVERFLOW;
	v = value_new(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)n + 1));
	if (!v)
		return -ENOMEM;
	if (e) {
		value_put(e->value);
		e->value = v;
	} else if (entry_add(sh, key, v, NO_EXPIRY) < 0) {
		value_put(v);
		return -ENOMEM;
	}
	*ret_n = n + 1;
	return 0;
}

int store_incr(struct store *s, struct text key, int64_t *ret_n)
{
	struct shard *sh;
	int code = lock(s, key, &sh);

	if (code < 0)
		return code;
	code = increment(sh, key, ret_n);
	unlock(sh);
	return code;
}

int store_expire(struct store *s, struct text key, int64_t expires_ns)
{
	struct shard *sh;
	struct entry *e;
	int code = lock(s, key, &sh);

	if (code < 0)
		return code;
	e = entry_find(sh, key);
	if (e)
		e->expires_ns = expires_ns;
	unlock(sh);
	return e != NULL;
}

int store_expiry(struct store *s, struct text key, int64_t *ret_expires_ns)
{
	struct shard *sh;
	struct entry *e;
	int code = lock(s, key, &sh);

	if (code < 0)
		return code;
	e = entry_find(sh, key);
	if (e)
		*ret_expires_ns = e->expires_ns;
	unlock(sh);
	return e != NULL;
}

int store_size(struct store *s, size_t *ret_n)
{
	*ret_n = 0;
	for (size_t i = 0; i < SHARDS; i++) {
		int code = thrum_mutex_lock(&s->shard[i].lock);

		if (code < 0)
			return code;
		*ret_n += HASH_COUNT(s->shard[i].entries);
		unlock(&s->shard[i]);
	}
	return 0;
}

int store_flush(struct store *s)
{
	for (size_t i = 0; i < SHARDS; i++) {
		int code = thrum_mutex_lock(&s->shard[i].lock);

		if (code < 0)
			return code;
		clear(&s->shard[i]);
		unlock(&s->shard[i]);
	}
	return 0;
}

static void sweep(struct shard *sh, int64_t now)
{
	struct entry *e, *next;

	HASH_ITER(hh, sh->entries, e, next)
	if (e->expires_ns <= now)
		entry_remove(sh, e);
}

int store_sweep(struct store *s)
{
	for (size_t i = 0;; i = (i + 1) % SHARDS) {
		int code = thrum_sleep(thrum_ms(SWEEP_MS));

		if (code == 0)
			code = thrum_mutex_lock(&s->shard[i].lock);
		if (code < 0)
			return code;
		sweep(&s->shard[i], thrum_now().ns);
		unlock(&s->shard[i]);
	}
}
