/* core/service.c: services: fiber locals with a type and a name, and a report when one is missing. */
#include "service.h"
#include "atomic.h"
#include <errno.h>

/* Relaxed: a name lives as long as the program and is written before it starts; which of several is the last does not
 * matter. One for the process, since who asks for it may be a thread after its runtime has gone. */
static th_atomic(const char *) x_missing;

int th_service_is_missing(const thrum_service *key)
{
	th_store_rlx(&x_missing, key->local.name);
	return THRUM_ENOSERVICE;
}

const char *thrum_service_missing(void)
{
	return th_load_rlx(&x_missing);
}

void *thrum_service_get(const thrum_service *key)
{
	return key ? thrum_local_get(&key->local) : NULL;
}

int thrum_service_require(const thrum_service *key, void **ret_service)
{
	void *service = thrum_service_get(key);

	if (!key || !ret_service)
		return -EINVAL;
	if (!service)
		return th_service_is_missing(key);
	*ret_service = service;
	return 0;
}

int thrum_service_provide(const thrum_service *key, void *service, thrum_fx fx)
{
	return thrum_local_with(key ? &key->local : NULL, service, fx);
}
