/* Services and layers: a handler finds its database without being handed it. Each layer is built once, after what it needs
 * and beside what it does not, and taken down in reverse, whatever happened. */
#include <stdio.h>
#include <thrum.h>

struct config {
	int connect_ms;
};
struct cache {
	int hits;
};
struct db {
	const struct config *config;
	int queries;
};
THRUM_SERVICE(config, const struct config);
THRUM_SERVICE_KEY(config);
THRUM_SERVICE(cache, struct cache);
THRUM_SERVICE_KEY(cache);
THRUM_SERVICE(db, struct db);
THRUM_SERVICE_KEY(db);

static int memory_build(struct cache *storage, struct cache **ret)
{
	*ret = storage;
	return thrum_sleep(thrum_ms(80)); /* warming up, while the database connects */
}
static int memory_close(struct cache *storage, struct cache *c)
{
	printf("cache closed after %d hits\n", c->hits);
	return storage == c ? 0 : -1;
}
THRUM_LAYER(memory, cache, struct cache, NULL);

static int pg_build(struct db *storage, struct db **ret)
{
	int code = config_require(&storage->config);

	*ret = storage;
	return code < 0 ? code : thrum_sleep(thrum_ms(storage->config->connect_ms));
}
static int pg_close(struct db *storage, struct db *db)
{
	printf("db closed after %d queries\n", db->queries);
	return storage == db ? 0 : -1;
}
THRUM_LAYER(pg, db, struct db, &config_service);

static int handler(void *unused)
{
	struct cache *cache;
	struct db *db;

	(void)unused;
	if (db_require(&db) < 0 || cache_require(&cache) < 0)
		return THRUM_ENOSERVICE;
	db->queries++;
	cache->hits += 2;
	printf("handled\n");
	return 0;
}

struct app {
	struct cache cache;
	struct db db;
};
static int app(struct app *a)
{
	thrum_layer memory = memory_layer(&a->cache), pg = pg_layer(&a->db);
	thrum_time start = thrum_now();
	thrum_layer_error error;
	int code = thrum_layers_run(THRUM_LAYERS(&memory, &pg), (thrum_fx){ handler, NULL }, &error);

	printf("%s after %d ms\n", code < 0 ? error.text : "done", (int)(thrum_time_sub(thrum_now(), start).ns / 1000000));
	return code;
}
THRUM_FX(app, struct app);

static int example(struct app *a)
{
	const struct config config = { .connect_ms = 100 };

	if (app(a) != THRUM_ENOSERVICE) /* nobody has provided the configuration yet: nothing is built */
		return -1;
	return config_provide(&config, app_fx(a));
}
THRUM_FX(example, struct app);

int main(void)
{
	struct app a = { 0 };

	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(&a)) != 0;
}
