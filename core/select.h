/* core/select.h: a select whose cases are all of this folder's kinds. */
#ifndef TH_SELECT_H
#define TH_SELECT_H
#include <thrum/sync.h>

/* As thrum_select(), but a descriptor among the cases is -EINVAL. */
int th_select(thrum_case *cases, size_t n);

#endif
