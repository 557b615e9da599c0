// test/cxx/cxx.h: what the tests of thrum.hpp share: a test whose body is a fiber.
#ifndef TH_CXX_H
#define TH_CXX_H
#include "../support/test.h"
#include <thrum/thrum.hpp>

namespace cxx {

inline thrum_opts options(unsigned clock, unsigned workers = 0)
{
	thrum_opts o = thrum::options();
	o.clock = clock;
	o.workers = workers;
	return o;
}

// Whether `f` lets out a T that holds `value`.
template <class T, class F> bool throws(F &&f, T value)
{
	try {
		(void)f();
	} catch (const T &got) {
		return got == value;
	}
	return false;
}

} // namespace cxx

// A body of a fiber on the jump clock; like every effect it returns a code.
#define CXX_TEST(suite_, name_)                                                                                  \
	static int fiber_##suite_##_##name_();                                                                   \
	TH_TEST(suite_, name_)                                                                                   \
	{                                                                                                        \
		TH_CHECK_EQ(thrum::run(cxx::options(THRUM_CLOCK_JUMP), fiber_##suite_##_##name_), 0);            \
	}                                                                                                        \
	static int fiber_##suite_##_##name_()

#endif
