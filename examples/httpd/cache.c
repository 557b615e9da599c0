/* The small files that a worker keeps: sets of a few places, in which the one that was used longest ago goes. */
#include <stdlib.h>
#include <string.h>
#include "httpd.h"

/* FNV-1a: Fowler, Noll, Vo. */
static uint32_t hash_of(const char *path)
{
	uint32_t hash = 2166136261u;

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 16777619u;
	return hash;
}

static struct cached **place_of(struct worker *w, const char *path, uint32_t hash)
{
	struct cached **set = w->files[hash % SETS];

	for (size_t i = 0; i < WAYS; i++)
		if (set[i] && set[i]->hash == hash && strcmp(set[i]->path, path) == 0)
			return &set[i];
	return NULL;
}

static struct cached *use(struct worker *w, struct cached *c)
{
	c->used = ++w->uses;
	__atomic_add_fetch(&c->x_users, 1, __ATOMIC_RELAXED);
	return c;
}

void cached_release(struct cached *c)
{
	if (__atomic_sub_fetch(&c->x_users, 1, __ATOMIC_ACQ_REL) == 0)
		free(c);
}

struct cached *cache_find(struct worker *w, const char *path, time_t now)
{
	struct cached **place, *c;

	(void)pthread_mutex_lock(&w->lock);
	place = place_of(w, path, hash_of(path));
	c = place && (*place)->checked == now ? use(w, *place) : NULL;
	(void)pthread_mutex_unlock(&w->lock);
	return c;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool is_same(const struct cached *c, const struct stat *st)
{
	return !c->young && c->st.st_dev == st->st_dev && c->st.st_ino == st->st_ino && c->st.st_size == st->st_size &&
	       is_same_time(c->st.st_mtim, st->st_mtim) && is_same_time(c->st.st_ctim, st->st_ctim);
}

static struct cached *check(struct worker *w, const char *path, const struct stat *st, time_t now)
{
	struct cached **place = place_of(w, path, hash_of(path));

	if (!place)
		return NULL;
	if (st && is_same(*place, st)) {
		(*place)->checked = now;
		return use(w, *place);
	}
	cached_release(*place);
	*place = NULL;
	return NULL;
}

struct cached *cache_check(struct worker *w, const char *path, const struct stat *st, time_t now)
{
	struct cached *c;

	(void)pthread_mutex_lock(&w->lock);
	c = check(w, path, st, now);
	(void)pthread_mutex_unlock(&w->lock);
	return c;
}

struct cached *cached_new(const char *path, const struct stat *st)
{
	struct cached *c;

	if (st->st_size > CACHED_BYTES || strlen(path) >= CACHED_PATH_BYTES)
		return NULL;
	c = malloc(sizeof *c + CACHED_HEAD_BYTES + (size_t)st->st_size);
	if (!c)
		return NULL;
	*c = (struct cached){ .x_users = 1, .hash = hash_of(path), .st = *st, .bytes = (size_t)st->st_size };
	strcpy(c->path, path);
	return c;
}

/* The same file, read at the same time by another fiber, goes first; then one that is free, then the oldest. */
static struct cached **place_for(struct worker *w, const struct cached *c)
{
	struct cached **set = w->files[c->hash % SETS], **same = place_of(w, c->path, c->hash), **oldest = &set[0];

	for (size_t i = 1; i < WAYS; i++)
		if (*oldest && (!set[i] || set[i]->used < (*oldest)->used))
			oldest = &set[i];
	return same ? same : oldest;
}

void cache_put(struct worker *w, struct cached *c, time_t now)
{
	struct cached **place;

	(void)pthread_mutex_lock(&w->lock);
	place = place_for(w, c);
	if (*place)
		cached_release(*place);
	c->checked = now;
	c->young = c->st.st_mtim.tv_sec >= now - 1 || c->st.st_ctim.tv_sec >= now - 1;
	*place = use(w, c);
	(void)pthread_mutex_unlock(&w->lock);
}
