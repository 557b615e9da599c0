/* thrum/context.h: what an effect sees without being handed it: fiber locals, services by typed key, layers.
 *
 * All three are one mechanism. A fiber carries a small set of bindings, key to pointer. A child starts with what its
 * spawner had at the spawn; after that neither sees what the other binds, and nothing is merged back (K9). What runs in
 * the caller's place (timeout, then, bracket, shield, finalizers) shares the caller's bindings; items of zip_par, race and
 * for_each_par are children. A root started by thrum_rt_start() begins with none, also when a fiber starts it.
 * Values are borrowed: they must stay alive as long as a fiber may read them. A scope in the same block sees to that. */
#ifndef THRUM_CONTEXT_H
#define THRUM_CONTEXT_H
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* --- fiber locals --- */

/* A key. Its address is its identity: do not copy. It stays where it is as long as any fiber has a value for it. */
typedef struct thrum_local {
	const char *name; /* for reports; lives as long as the program */
	void *initial;    /* what a fiber sees that has no value for it */
} thrum_local;
/* static const thrum_local request = THRUM_LOCAL_INIT("request", NULL); */
#define THRUM_LOCAL_INIT(name_, initial_) { (name_), (initial_) }

/* This fiber's value, else key->initial. Any thread; does not suspend. Takes time in proportion to the number of keys set,
 * meant to be a handful. */
THRUM_API void *thrum_local_get(const thrum_local *key);

/* Run `fx`, in the caller's place and in a scope of its own, with `key` set to `value`; afterwards the locals are what they
 * were before, whatever `fx` set itself. The form to prefer: nothing has to be put back by hand, and what `fx` acquired with
 * thrum_acquire_release() is released while the value is still there.
 *   caller    a fiber; suspends if `fx` does; a cancel point only as far as `fx` is
 *   returns   fx's code, or a finalizer's if fx succeeded; -ENOMEM: fx has not run; THRUM_ENOTFIBER; -EINVAL for no key or
 *             an effect without a function */
THRUM_API int thrum_local_with(const thrum_local *key, void *value, thrum_fx fx);

/* Set `key` for the rest of this effect and for the children that it spawns from now on.
 *   caller    a fiber; does not suspend
 *   returns   0; -ENOMEM: nothing has changed; THRUM_ENOTFIBER; -EINVAL for no key */
THRUM_API THRUM_MUST_CHECK int thrum_local_set(const thrum_local *key, void *value);

/* thrum_local_with() as a value. Borrowed while the effect may run. */
typedef struct thrum_local_op {
	const thrum_local *key;
	void *value;
	thrum_fx fx;
} thrum_local_op;
THRUM_API thrum_fx thrum_local_with_fx(thrum_local_op *op);

/* --- services by typed key --- */

/* A service is a pointer to a T that an effect finds by name. In a header, or in the one file that uses it:
 *
 *   THRUM_SERVICE(db, struct db);       declares the key db_service and
 *       struct db *db_get(void);                           the service, NULL if nobody has provided it
 *       int db_require(struct db **ret);                   0; THRUM_ENOSERVICE: *ret is untouched
 *       int db_provide(struct db *service, thrum_fx fx);   run fx, in the caller's place, with it
 *   THRUM_SERVICE_KEY(db);              in one .c file: defines the key
 *
 * db_get and db_require: any thread (outside a fiber nothing is provided); do not suspend. db_provide: as thrum_local_with.
 * The nearest provider counts; children find what was provided at their spawn. Providing NULL takes a service away. */
typedef struct thrum_service {
	thrum_local local;
} thrum_service;

#define THRUM_SERVICE(name_, T)                                                             \
	extern const thrum_service name_##_service;                                         \
	typedef T name_##_type_;                                                            \
	static inline THRUM_UNUSED_OK_ T *name_##_get(void)                                 \
	{                                                                                   \
		return (T *)thrum_service_get(&name_##_service);                            \
	}                                                                                   \
	static inline THRUM_UNUSED_OK_ THRUM_MUST_CHECK int name_##_require(T **ret_)       \
	{                                                                                   \
		void *found_ = NULL;                                                        \
		int code_ = thrum_service_require(&name_##_service, &found_);               \
		if (code_ >= 0)                                                             \
			*ret_ = (T *)found_;                                                \
		return code_;                                                               \
	}                                                                                   \
	static inline THRUM_UNUSED_OK_ int name_##_provide(T *service_, thrum_fx fx_)       \
	{                                                                                   \
		return thrum_service_provide(&name_##_service, (void *)(uintptr_t)service_, fx_); \
	}                                                                                   \
	THRUM_END_
#define THRUM_SERVICE_KEY(name_) const thrum_service name_##_service = { THRUM_LOCAL_INIT(#name_, NULL) }

/* What the typed functions are made of: thread, suspension and codes as theirs. */
THRUM_API void *thrum_service_get(const thrum_service *key);
THRUM_API THRUM_MUST_CHECK int thrum_service_require(const thrum_service *key, void **ret_service);
THRUM_API int thrum_service_provide(const thrum_service *key, void *service, thrum_fx fx);

/* The name of the service that was required in vain, or found missing by thrum_layers_run(), most recently in this process;
 * NULL if none ever was. For a report, also after thrum_run() returned. Any thread. */
THRUM_API const char *thrum_service_missing(void);

/* --- layers: services built from services --- */

/* How one service is built from others, and taken down again. Build and close see, by their _get functions, the services in
 * `needs` and those that the caller of thrum_layers_run() has, no others. Both may suspend; build is run as a child, and may
 * be cancelled; close is shielded, in the caller's place. A build that fails leaves nothing behind. */
typedef struct thrum_layer {
	const thrum_service *gives;
	const thrum_service *const *needs; /* n_needs of them; NULL entries are skipped */
	size_t n_needs;
	int (*build)(void *arg, void **ret_service); /* < 0: failed, nothing to close. Else *ret_service is not NULL */
	int (*close)(void *arg, void *service);      /* may be NULL: nothing to do */
	void *arg;                                   /* borrowed */
} thrum_layer;

/* THRUM_LAYER(pg, db, struct pg, &config_service, &log_service); after `int pg_build(struct pg *, struct db **ret_db)` and
 * `int pg_close(struct pg *, struct db *)` defines `thrum_layer pg_layer(struct pg *arg)`, which gives the service db and
 * needs config and log. One that needs nothing says NULL there. */
#define THRUM_LAYER(name_, service_, A, ...)                                                \
	static inline THRUM_UNUSED_OK_ int name_##_build_(void *arg_, void **ret_)          \
	{                                                                                   \
		service_##_type_ *made_ = NULL;                                             \
		int code_ = name_##_build((A *)arg_, &made_);                               \
		*ret_ = (void *)(uintptr_t)made_;                                           \
		return code_;                                                               \
	}                                                                                   \
	static inline THRUM_UNUSED_OK_ int name_##_close_(void *arg_, void *made_)          \
	{                                                                                   \
		return name_##_close((A *)arg_, (service_##_type_ *)made_);                 \
	}                                                                                   \
	static inline THRUM_UNUSED_OK_ thrum_layer name_##_layer(A *arg_)                   \
	{                                                                                   \
		static const thrum_service *const needs_[] = { __VA_ARGS__ };               \
		thrum_layer layer_;                                                         \
		layer_.gives = &service_##_service;                                         \
		layer_.needs = needs_;                                                      \
		layer_.n_needs = sizeof(needs_) / sizeof(needs_[0]);                        \
		layer_.build = name_##_build_;                                              \
		layer_.close = name_##_close_;                                              \
		layer_.arg = (void *)arg_;                                                  \
		return layer_;                                                              \
	}                                                                                   \
	THRUM_END_

/* What went wrong with the layers themselves; code 0 and no text if nothing did, also when fx failed. */
typedef struct thrum_layer_error {
	int code;
	const thrum_service *service; /* the one that is missing, in the cycle, or was built or closed in vain */
	char text[240];               /* "web needs db, which no layer gives", "a -> b -> a", "building db: ..." */
} thrum_layer_error;

/* Build what the layers give, run `fx` with all of it provided, take it down.
 *   - Each layer is built once, however often it is listed or needed, as soon as what it needs has been built: independent
 *     ones at the same time. What no layer gives is looked for among the services that the caller has.
 *   - A failing build cancels the others; what has been built is closed, and fx is not run.
 *   - Closing goes in the reverse of an order in which each layer comes after its needs, whatever happened, shielded, and on
 *     after a failure (D26).
 *   caller    a fiber; suspends; a cancel point
 *   borrows   the layers and all they point to until the return; closing allocates nothing
 *   returns   fx's code; -ELOOP, THRUM_ENOSERVICE, -EEXIST (two layers for one service), -EINVAL (a layer without service or
 *             build, an effect without a function): nothing was built; -ENOMEM; a build's code, or that of a release it left to
 *             its end (-EINVAL if it gave no service); -ECANCELED; a close's code if fx succeeded. ret_error, if not NULL,
 *             tells which layer and why. */
THRUM_API int thrum_layers_run(const thrum_layer *const *layers, size_t n, thrum_fx fx, thrum_layer_error *ret_error);
/* thrum_layers_run(THRUM_LAYERS(&a, &b), fx, &error): the first two arguments, in C. */
#define THRUM_LAYERS(...)                                    \
	(const thrum_layer *const[]){ __VA_ARGS__ },         \
		sizeof((const thrum_layer *const[]){ __VA_ARGS__ }) / sizeof(const thrum_layer *)

/* The same as a value. Borrowed while the effect may run. */
typedef struct thrum_layers_op {
	const thrum_layer *const *layers;
	size_t n;
	thrum_fx fx;
	thrum_layer_error *ret_error; /* may be NULL */
} thrum_layers_op;
THRUM_API thrum_fx thrum_layers_fx(thrum_layers_op *op);

#ifdef __cplusplus
}
#endif
#endif
