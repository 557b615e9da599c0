// The same from C++: effects are lambdas, results are variables, a failed request is an exception that comes out where the
// requests were made, after the others have been stopped.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thrum/thrum.hpp>
#include <vector>

using namespace std::chrono_literals;

static std::string fetch(const std::string &name, std::chrono::milliseconds latency)
{
	thrum::or_throw(thrum::sleep(latency)); // stands for the request; cancelled, it ends here
	if (name == "ads")
		throw std::runtime_error(name + " is down");
	return name + "!";
}

static int page()
{
	std::string user, posts;
	const int both = thrum::zip_par([&] { user = fetch("user", 20ms); }, [&] { posts = fetch("posts", 30ms); });
	std::printf("%s, %s: %s\n", user.c_str(), posts.c_str(), thrum_strerror(both));

	try {
		(void)thrum::zip_par([&] { user = fetch("profile", 10s); }, [] { (void)fetch("ads", 10ms); });
	} catch (const std::runtime_error &e) {
		std::printf("%s; user is still %s\n", e.what(), user.c_str());
	}

	std::vector<std::string> pages = { "a", "b", "c", "d" };
	const auto all = [&] { return thrum::for_each_par(pages, [](std::string &p) { p = fetch(p, 40ms); }, 2); };
	const int in_time = thrum::timeout(all, 1s), too_late = thrum::timeout(all, 70ms);
	std::printf("%s, %s; %s %s\n", thrum_strerror(in_time), thrum_strerror(too_late), pages[0].c_str(), pages[3].c_str());

	thrum::scope s; // closes itself; asked for its code here
	auto first = s.spawn([] { return thrum::sleep(5ms); });
	auto second = s.spawn([] { return thrum::sleep(1h); });
	const int r = first.join();
	second.cancel();
	return r < 0 ? r : s.close();
}

int main()
{
	thrum_opts options = thrum::options();

	options.clock = THRUM_CLOCK_JUMP;
	return thrum::run(options, page) != 0;
}
