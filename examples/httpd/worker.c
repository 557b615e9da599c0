/* What a worker keeps for its connections: spare buffers, files, the date. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "httpd.h"

enum { SPARES_KEPT = 32 }; /* requests of one worker that are under way at once, usually; 1 MiB */

/* A fiber stays with its worker's thread, so a thread-local is found again after a suspension. It may be one of an earlier
 * server, which is gone: each server counts the list of its workers as another one. (Atomic for ThreadSanitizer, which takes
 * fibers for threads.) */
static _Thread_local struct worker *self;
static _Thread_local atomic_uint self_of;
static unsigned lists;

static struct worker *worker_new(struct httpd *h)
{
	struct worker *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_mutex_lock(&h->lock);
	w->next = h->workers;
	h->workers = w;
	(void)pthread_mutex_unlock(&h->lock);
	return w;
}

struct worker *worker_self(struct httpd *h)
{
	if (atomic_load_explicit(&self_of, memory_order_acquire) != h->list) {
		self = worker_new(h);
		atomic_store_explicit(&self_of, self ? h->list : 0, memory_order_release);
	}
	return self;
}

/* A mapping of its own: when it goes its memory does, while a heap would keep most of it. */
static struct work *work_new(void)
{
	struct work *work = mmap(NULL, sizeof *work, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return work == MAP_FAILED ? NULL : work;
}

static void work_free(struct work *work)
{
	(void)munmap(work, sizeof *work);
}

static struct work *unlink_spare(struct worker *w)
{
	struct work *work = w->spare;

	w->spare = work->next;
	w->spares--;
	return work;
}

void workers_init(struct httpd *h)
{
	h->list = ++lists;
	(void)pthread_mutex_init(&h->lock, NULL);
}

void workers_free(struct httpd *h)
{
	for (struct worker *w; (w = h->workers) != NULL;) {
		h->workers = w->next;
		while (w->spare)
			work_free(unlink_spare(w));
		for (size_t i = 0; i < SETS * WAYS; i++)
			if (w->files[i / WAYS][i % WAYS])
				cached_release(w->files[i / WAYS][i % WAYS]);
		free(w);
	}
}

/* Another second: those that lay there all through the last one are not needed. */
static void begin_second(struct worker *w, time_t now)
{
	while (w->spares_low > SPARES_KEPT) {
		work_free(unlink_spare(w));
		w->spares_low--;
	}
	w->second = now;
	w->spares_low = w->spares;
}

static struct work *take(struct worker *w, time_t now)
{
	struct work *work;

	if (w->second != now)
		begin_second(w, now);
	if (!w->spare)
		return work_new();
	work = unlink_spare(w);
	if (w->spares < w->spares_low)
		w->spares_low = w->spares;
	return work;
}

struct work *work_take(struct worker *w)
{
	time_t now = time(NULL);
	struct work *work;

	(void)pthread_mutex_lock(&w->lock);
	work = take(w, now);
	(void)pthread_mutex_unlock(&w->lock);
	return work;
}

void work_give(struct worker *w, struct work *work)
{
	(void)pthread_mutex_lock(&w->lock);
	work->next = w->spare;
	w->spare = work;
	w->spares++;
	(void)pthread_mutex_unlock(&w->lock);
}

void work_trim(struct worker *w)
{
	(void)pthread_mutex_lock(&w->lock);
	if (w->spares > SPARES_KEPT)
		work_free(unlink_spare(w));
	if (w->spares < w->spares_low)
		w->spares_low = w->spares;
	(void)pthread_mutex_unlock(&w->lock);
}

void worker_date(struct worker *w, time_t now, char date[DATE_BYTES])
{
	struct tm tm;

	(void)pthread_mutex_lock(&w->lock);
	if (w->date_of != now && gmtime_r(&now, &tm) && strftime(w->date, sizeof w->date, "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
		w->date_of = now;
	memcpy(date, w->date, DATE_BYTES);
	(void)pthread_mutex_unlock(&w->lock);
}
