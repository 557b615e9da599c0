/* test/api/layout.h: sizes and offsets that C and C++ must agree on. */
#ifndef LAYOUT_H
#define LAYOUT_H
#include <thrum.h>

#define LAYOUT                                                                                                  \
	sizeof(thrum_dur), sizeof(thrum_time), sizeof(thrum_fx), sizeof(thrum_handle), sizeof(thrum_opts),      \
		offsetof(thrum_opts, stack_bytes), sizeof(thrum_stats), sizeof(thrum_scope), sizeof(thrum_task),\
		sizeof(thrum_deferred), sizeof(thrum_token), sizeof(thrum_reason), sizeof(thrum_spawn_opts),    \
		offsetof(thrum_spawn_opts, drop), sizeof(thrum_timeout_op), sizeof(thrum_chan), \
		sizeof(thrum_schedule), offsetof(thrum_schedule, n_), sizeof(thrum_schedule_run), sizeof(thrum_retry_op), \
		sizeof(thrum_hedge_op), sizeof(thrum_breaker), sizeof(thrum_breaker_opts), sizeof(thrum_breaker_stats), \
		sizeof(thrum_limiter), sizeof(thrum_blocking_opts), offsetof(thrum_blocking_opts, drop), \
		offsetof(thrum_stats, blocking_threads), sizeof(thrum_cause), sizeof(thrum_fan_opts), sizeof(thrum_scope_opts), \
		sizeof(thrum_report), sizeof(thrum_local), sizeof(thrum_local_op), sizeof(thrum_layer), \
		sizeof(thrum_layer_error), sizeof(thrum_test_clock), sizeof(thrum_sem), sizeof(thrum_mutex), sizeof(thrum_cond), \
		sizeof(thrum_promise), sizeof(thrum_latch), sizeof(thrum_barrier), sizeof(thrum_chan_opts), \
		offsetof(thrum_chan_opts, drop), sizeof(thrum_case), offsetof(thrum_case, opaque_), \
		sizeof(thrum_pool), sizeof(thrum_pool_opts), offsetof(thrum_pool_opts, idle), sizeof(thrum_pool_stats), \
		sizeof(thrum_pool_use_op), sizeof(thrum_hub), sizeof(thrum_sub), sizeof(thrum_hub_opts), \
		offsetof(thrum_hub_opts, drop), \
		offsetof(thrum_fan_opts, done), sizeof(thrum_stage), offsetof(thrum_stage, drop), sizeof(thrum_batch), \
		sizeof(thrum_pipeline_opts), sizeof(thrum_pipeline_op), \
		sizeof(thrum_child_spec), offsetof(thrum_child_spec, reset_after), sizeof(thrum_supervisor_opts), \
		sizeof(thrum_supervise_op), \
		sizeof(struct thrum_lane_), offsetof(struct thrum_lane_, x_bottom), offsetof(struct thrum_lane_, bottom_max), \
		offsetof(struct thrum_lane_, x_top), offsetof(struct thrum_lane_, x_split), offsetof(struct thrum_lane_, x_slot), \
		sizeof(struct thrum_fork_), offsetof(struct thrum_fork_, heavy), offsetof(struct thrum_fork_, fx), \
		sizeof(struct thrum_items_), offsetof(struct thrum_items_, end), offsetof(struct thrum_items_, base), \
		sizeof(thrum_meter), sizeof(thrum_reducer), offsetof(thrum_opts, lent_bytes), sizeof(thrum_lent), \
		sizeof(thrum_listen_on_opts), offsetof(thrum_listen_on_opts, replace), \
		sizeof(thrum_dir), sizeof(thrum_dir_entry), sizeof(thrum_stdio), \
		sizeof(thrum_process), sizeof(thrum_process_opts), offsetof(thrum_process_opts, check), \
		sizeof(thrum_process_status), sizeof(thrum_output), sizeof(thrum_signals), \
		sizeof(thrum_reader), sizeof(thrum_writer), sizeof(thrum_listener), sizeof(thrum_listener_opts), \
		offsetof(thrum_listener_opts, name), sizeof(thrum_conn), sizeof(thrum_listener_stats), \
		offsetof(thrum_opts, restrict_ring), offsetof(thrum_stats, ring_overflows)
enum { LAYOUT_COUNT = 102 };

#ifdef __cplusplus
extern "C"
#else
extern
#endif
	const size_t layout_c[LAYOUT_COUNT];

#endif
