// A program of somebody who uses thrum from C++: two fibers in handlers at once, an exception that comes out of one.
#include <cstdio>
#include <thrum/thrum.hpp>

static int greet(const char *name)
{
	try {
		throw name;
	} catch (const char *handled) {
		thrum::or_throw(thrum_yield());
		try {
			throw;
		} catch (const char *again) {
			return std::printf("hello, %s\n", again) < 0 || again != handled ? -1 : 0;
		}
	}
}

int main()
{
	const auto all = [] { return thrum::zip_par([] { return greet("C++"); }, [] { return greet("consumer"); }); };

	if (thrum::run(all) != 0)
		return 1;
	try {
		(void)thrum::run([] { return thrum::zip_par([] { throw 42; }, thrum_never()); });
	} catch (int n) {
		return n != 42;
	}
	return 1;
}
