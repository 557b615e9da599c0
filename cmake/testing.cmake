# How every test of ctest is added: a time limit, and sanitizers that stop at the first report.
# The limits are for what hangs, not for what is slow: they leave room for a machine that is shared (see test/support/test.h).
set(thrum_test_seconds 900)
set(thrum_test_env)
if(THRUM_SANITIZE)
	set(thrum_test_seconds 1800)
	set(thrum_test_env
		ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=1
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
		TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:atexit_sleep_ms=0
		THRUM_TEST_SECONDS=600)
endif()

# A schedule takes five times as long under AddressSanitizer, thirty under ThreadSanitizer; the many are for the plain builds.
if(THRUM_SANITIZE STREQUAL "address")
	list(APPEND thrum_test_env THRUM_SIM_SEEDS=500)
elseif(THRUM_SANITIZE STREQUAL "thread")
	list(APPEND thrum_test_env THRUM_SIM_SEEDS=50)
endif()

# thrum_add_test(name [ENV A=b ...] [NEEDS target ...] COMMAND ...); NEEDS: what `check` must have built before.
function(thrum_add_test name)
	cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "ENV;NEEDS;COMMAND")
	add_test(NAME ${name} COMMAND ${arg_COMMAND})
	set_tests_properties(${name} PROPERTIES
		TIMEOUT ${thrum_test_seconds} ENVIRONMENT "${thrum_test_env};${arg_ENV}")
	set_property(GLOBAL APPEND PROPERTY THRUM_TEST_TARGETS ${arg_NEEDS})
endfunction()
