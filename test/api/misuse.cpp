// test/api/misuse.cpp: as misuse.c, for thrum.hpp.
#include <list>
#include <thrum/thrum.hpp>

int probe(thrum::scope &s, std::list<int> &list, long n);
int probe(thrum::scope &s, std::list<int> &list, long n)
{
	const auto nap = [] { return thrum::sleep(std::chrono::milliseconds(1)); };

	(void)s;
	(void)list;
	(void)n;
	(void)nap;
#if CASE == 0
	std::array<int, 2> codes;
	int array[2] = { 1, 2 };
	auto child = s.spawn(nap);
	if (s.go(nap) < 0)
		return -1;
	return thrum::zip_settle(codes, nap, [] {}) + thrum::for_each_par(array, [](int) {}, 1) + child.join();
#elif CASE == 1 /* true is no code */
	return thrum::zip_par(nap, [&] { return n == 0; });
#elif CASE == 2 /* nor is a count that need not fit into an int */
	return thrum::zip_par(nap, [&] { return n; });
#elif CASE == 3 /* nobody would pass the argument */
	return thrum::zip_par(nap, [](int code) { return code; });
#elif CASE == 4 /* one code for each effect */
	std::array<int, 3> codes;
	return thrum::zip_settle(codes, nap, nap);
#elif CASE == 5 /* a list has no index */
	return thrum::for_each_par(list, [](int) {}, 1);
#elif CASE == 6 /* a child would end with the line it was spawned on */
	s.spawn(nap);
	return nap();
#elif CASE == 7 /* it may be refused */
	s.go(nap);
	return nap();
#elif CASE == 8 /* the address of a child is its identity */
	auto a = s.spawn(nap);
	auto b = a;
	return b.join();
#elif CASE == 9 /* and that of a scope */
	thrum::scope other = s;
	return other.close();
#elif CASE == 10 /* a bare number has no unit */
	return thrum::timeout(nap, 100);
#elif CASE == 11 /* a point of time is not a length of time */
	return thrum::timeout(nap, thrum_now());
#else
#error "last case"
#endif
}
