/* test/api/layout.h: sizes and offsets that C and C++ must agree on. */
#ifndef LAYOUT_H
#define LAYOUT_H
#include <thrum.h>

#define LAYOUT                                                                                                  \
	sizeof(thrum_dur), sizeof(thrum_time), sizeof(thrum_fx), sizeof(thrum_handle), sizeof(thrum_opts),      \
		offsetof(thrum_opts, stack_bytes), sizeof(thrum_stats), sizeof(thrum_scope), sizeof(thrum_task),\
		sizeof(thrum_deferred), sizeof(thrum_token), sizeof(thrum_reason), sizeof(thrum_spawn_opts),    \
		offsetof(thrum_spawn_opts, drop), sizeof(thrum_timeout_op), sizeof(thrum_chan)
enum { LAYOUT_COUNT = 16 };

#ifdef __cplusplus
extern "C"
#else
extern
#endif
	const size_t layout_c[LAYOUT_COUNT];

#endif
