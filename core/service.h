/* core/service.h: what layers need of services. */
#ifndef TH_SERVICE_H
#define TH_SERVICE_H
#include <thrum/context.h>

/* Remember that this one was missing, for thrum_service_missing(). Returns THRUM_ENOSERVICE. */
int th_service_is_missing(const thrum_service *key);

#endif
