/* thrum/thrum.hpp: thrum for C++17: effects from lambdas, the combinators over them, scopes that close themselves. Header
 * only, outside the umbrella <thrum.h>. Everything is the C call of the same name, so the rules of combine.h and scope.h
 * hold; here stands what is different.
 *
 *   int code = thrum::run([&] {
 *           return thrum::timeout([&] { return thrum::zip_par([&] { a = fetch(1); }, [&] { b = fetch(2); }); }, 2s);
 *   });
 *
 * An effect is a thrum_fx, or anything that can be called without arguments and returns int, a code, or nothing, which
 * is 0. It is held by reference until the call returns, as an argument of the call or in the caller's frame; nothing is
 * allocated, but by scope::go(). Codes come back as return values, -ECANCELED among them.
 *
 * An exception that leaves an effect ends it with THRUM_EDIED, a failure like any other: siblings are cancelled, finalizers
 * run, all children end. Then, if this is the code that the combinator ends with, the first exception that came is thrown
 * again where the combinator was called, whichever worker it came from. It passes or_else(), whose fallback is for codes;
 * catch it instead. One that does not decide the outcome is dropped like any other failure that does not: that of a race's
 * loser, or one that followed a failure with a code. Only thrum::error is different: leaving an effect it turns into the code
 * that it carries, so that or_throw() of a cancelled call ends the effect with -ECANCELED, as returning it would.
 *
 * Each fiber keeps its own exceptions: suspending in a handler or in a destructor is fine. It is not in a program that loads
 * its C++ runtime by dlopen() after libthrum. With -fno-exceptions there is no catching; all else is the same. */
#ifndef THRUM_THRUM_HPP
#define THRUM_THRUM_HPP
#include <thrum.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace thrum {

/* Sources compiled with exceptions and without may meet in one program: what differs must not bear the same name. */
#ifdef __cpp_exceptions
#define THRUM_CXX_EXCEPTIONS_ 1
inline namespace with_exceptions {
#else
#define THRUM_CXX_EXCEPTIONS_ 0
inline namespace without_exceptions {
#endif

/* --- durations --- */

/* To a thrum_dur: saturating, fractions of a nanosecond cut off; not a number: for ever. */
inline constexpr thrum_dur dur(thrum_dur d) noexcept
{
	return d;
}

template <class Rep, class Period> thrum_dur dur(std::chrono::duration<Rep, Period> d) noexcept
{
	constexpr std::intmax_t per_second = 1000000000;

	if constexpr (std::is_integral_v<Rep> && std::is_signed_v<Rep> && Period::num <= INT64_MAX / per_second &&
		      Period::num * per_second % Period::den == 0) {
		return thrum_dur_scaled_(static_cast<int64_t>(d.count()), Period::num * per_second / Period::den);
	} else {
		const long double ns = std::chrono::duration<long double, std::nano>(d).count();

		if (!(ns < 9223372036854775807.0L))
			return THRUM_FOREVER;
		return thrum_ns(ns > -9223372036854775807.0L ? static_cast<int64_t>(ns) : INT64_MIN);
	}
}

/* --- codes as exceptions --- */

/* A code, thrown. See the head of this file for what it does when it leaves an effect. */
class error : public std::exception {
public:
	explicit error(int code) noexcept : code_(code < 0 ? code : -EINVAL) {}
	int code() const noexcept { return code_; }
	const char *what() const noexcept override { return thrum_strerror(code_); }

private:
	int code_;
};

#if THRUM_CXX_EXCEPTIONS_
/* `code` if it is 0 or more; else throws it as an error. */
template <class Int> Int or_throw(Int code)
{
	if (code < 0)
		throw error(static_cast<int>(code));
	return code;
}
#endif

/* --- how an effect is called --- */

namespace detail {

/* The first exception that left an effect of one combinator, or of one scope. Any thread keeps; who waited for all reads. */
class failures {
public:
#if THRUM_CXX_EXCEPTIONS_
	void keep(const std::exception_ptr &e) noexcept
	{
		if (!taken_.exchange(true, std::memory_order_relaxed)) /* who waits for the children sees first_ by that */
			first_ = e;
	}
	/* Those of one that has ended, if it kept any. */
	void keep(const failures &of) noexcept
	{
		if (of.first_)
			keep(of.first_);
	}
	/* `code`, unless it is that of the exception. */
	int result(int code) const
	{
		if (code == THRUM_EDIED && first_)
			std::rethrow_exception(first_);
		return code;
	}

private:
	std::atomic<bool> taken_{ false };
	std::exception_ptr first_;
#else
	void keep(const failures &) noexcept {}
	int result(int code) const noexcept { return code; }
#endif
};

template <class F> constexpr bool is_effect = std::is_same_v<std::remove_const_t<F>, thrum_fx>;

template <class F, class... A> int call(F &f, A &&...a)
{
	if constexpr (is_effect<F>) {
		return thrum_call(f);
	} else {
		using result = decltype(f(std::forward<A>(a)...));
		constexpr bool is_code = std::is_same_v<result, int> ||
					 (std::is_enum_v<result> && std::is_convertible_v<result, int>); /* THRUM_ECLOSED */
		static_assert(is_code || std::is_void_v<result>,
			      "an effect returns int, a code, or void; bool and ssize_t would be taken for one");

		if constexpr (is_code)
			return f(std::forward<A>(a)...);
		else
			return f(std::forward<A>(a)...), 0;
	}
}

/* No exception may pass the library's own frames or end a fiber's first one, so they all stop here. */
template <class F, class... A> int guarded(failures &errors, F &f, A &&...a) noexcept
{
#if THRUM_CXX_EXCEPTIONS_
	try {
		return call(f, std::forward<A>(a)...);
	} catch (const error &e) {
		return e.code();
	} catch (...) {
		errors.keep(std::current_exception());
		return THRUM_EDIED;
	}
#else
	(void)errors;
	return call(f, std::forward<A>(a)...);
#endif
}

/* One argument of a combinator, for the time of its call. */
template <class F> struct entrant {
	F *f;
	failures *errors;

	static int run(void *arg) noexcept
	{
		entrant *e = static_cast<entrant *>(arg);
		return guarded(*e->errors, *e->f);
	}
	thrum_fx effect() noexcept
	{
		if constexpr (is_effect<F>)
			return *f;
		else
			return thrum_fx{ run, this };
	}
};

template <class F> entrant<F> enter(F &f, failures &errors) noexcept
{
	return entrant<F>{ std::addressof(f), &errors };
}

/* op(thrum_fx...) on as many. */
template <class Op, class... E> int on_each(Op op, E... e)
{
	return op(e.effect()...);
}
/* op(array, n) on them. The array has one more, for it must have one. */
template <class Op, class... E> int on_array(Op op, E... e)
{
	const thrum_fx all[] = { e.effect()..., thrum_fx{ nullptr, nullptr } };

	return op(all, sizeof...(E));
}

inline int exceptions_in_flight() noexcept
{
#if THRUM_CXX_EXCEPTIONS_
	return std::uncaught_exceptions();
#else
	return 0;
#endif
}

} // namespace detail

/* --- an effect as a value --- */

/* For the C calls: thrum_spawn(&s, &t, e), thrum_timeout_op. Holds an lvalue by reference, owns what is given as a temporary;
 * lives as long as the effect may run. An exception stops in it: `e.result(code)` throws it when the code says so. */
template <class F> class fx {
public:
	explicit fx(F &&f) : f_(std::forward<F>(f)) {}
	fx(const fx &) = delete;
	fx &operator=(const fx &) = delete;

	operator thrum_fx() noexcept { return thrum_fx{ run, this }; }
	int operator()() { return detail::call(f_); }
	int result(int code) const { return errors_.result(code); }

private:
	static int run(void *arg) noexcept
	{
		fx *self = static_cast<fx *>(arg);
		return detail::guarded(self->errors_, self->f_);
	}

	F f_;
	detail::failures errors_;
};
template <class F> fx(F &&) -> fx<F>;

/* --- running --- */

/* Options to start from, all at their defaults; C++17 has no THRUM_OPTS(.workers = 2). */
inline thrum_opts options() noexcept
{
	thrum_opts o = {};
	o.size = sizeof o;
	return o;
}
inline thrum_spawn_opts spawn_options() noexcept
{
	thrum_spawn_opts o = {};
	o.size = sizeof o;
	return o;
}

/* Open a runtime, run `f` in it, close it. An exception of `f` is thrown here. */
template <class F> int run(const thrum_opts &opts, F &&f)
{
	detail::failures errors;

	return errors.result(detail::on_each([&](thrum_fx e) { return thrum_run(&opts, e); }, detail::enter(f, errors)));
}
template <class F> int run(F &&f)
{
	return run(options(), std::forward<F>(f));
}

template <class D> int sleep(D d)
{
	return thrum_sleep(dur(d));
}

/* --- combinators --- */

template <class... F> int zip_par(F &&...f)
{
	detail::failures errors;

	return errors.result(detail::on_array(thrum_zip_par_n, detail::enter(f, errors)...));
}

/* ret_codes[i] is the code of the i-th, THRUM_EDIED for one that threw. It is 0 whatever they returned; but if one threw,
 * the first exception is thrown here, and ret_codes is complete. */
template <std::size_t N, class... F> int zip_settle(std::array<int, N> &ret_codes, F &&...f)
{
	static_assert(N == sizeof...(F), "one code for each effect");
	detail::failures errors;
	const int r = detail::on_array([&](const thrum_fx *e, std::size_t n) { return thrum_zip_settle_n(e, n, ret_codes.data()); },
				       detail::enter(f, errors)...);

	if (r == 0)
		for (int code : ret_codes)
			(void)errors.result(code);
	return r;
}

/* >= 0: the index of the first that succeeded; one that threw has failed. */
template <class... F> int race(F &&...f)
{
	detail::failures errors;

	return errors.result(detail::on_array(thrum_race_n, detail::enter(f, errors)...));
}

/* The code of the first to complete. */
template <class... F> int race_first(F &&...f)
{
	detail::failures errors;

	return errors.result(detail::on_array([](const thrum_fx *e, std::size_t n) { return thrum_race_first_n(e, n, nullptr); },
					      detail::enter(f, errors)...));
}

namespace detail {

/* All items get the same argument, this, and take the next index: the library hands them out in order, too. */
template <class F> struct indices {
	explicit indices(F &one) noexcept : f(std::addressof(one)) {}

	F *f;
	failures errors;
	std::atomic<std::size_t> x_next{ 0 };

	static int run(void *arg) noexcept
	{
		indices *self = static_cast<indices *>(arg);
		return guarded(self->errors, *self->f, self->x_next.fetch_add(1, std::memory_order_relaxed));
	}
};

} // namespace detail

/* f(i) for each i < n, at most `parallelism` at once; started in order. */
template <class F> int for_index_par(std::size_t n, F &&f, std::size_t parallelism)
{
	detail::indices<std::remove_reference_t<F>> all(f);

	return all.errors.result(thrum_for_each_par_n(all.run, &all, n, 0, parallelism));
}

/* f(item) for each item of an array, a container or a span with random access. */
template <class Range, class F> int for_each_par(Range &&items, F &&f, std::size_t parallelism)
{
	using iterator = decltype(std::begin(items));
	using traits = std::iterator_traits<iterator>;
	static_assert(std::is_base_of_v<std::random_access_iterator_tag, typename traits::iterator_category>,
		      "items are taken by their index");
	const iterator first = std::begin(items);
	const auto one = [&](std::size_t i) { return f(first[static_cast<typename traits::difference_type>(i)]); };

	return for_index_par(static_cast<std::size_t>(std::end(items) - first), one, parallelism);
}

/* -ETIMEDOUT if it did not end within `limit`, a std::chrono::duration or a thrum_dur; what it threw or returned wins. */
template <class F, class D> int timeout(F &&f, D limit)
{
	detail::failures errors;

	return errors.result(detail::on_each([&](thrum_fx e) { return thrum_timeout(e, dur(limit)); }, detail::enter(f, errors)));
}
template <class F, class D> int timeout_opt(F &&f, D limit, bool &ret_timed_out)
{
	detail::failures errors;

	return errors.result(detail::on_each([&](thrum_fx e) { return thrum_timeout_opt(e, dur(limit), &ret_timed_out); },
					     detail::enter(f, errors)));
}

/* `fallback` if `f` ends with a code that is a failure. Exceptions, cancellation and defects pass. */
template <class F, class G> int or_else(F &&f, G &&fallback)
{
	detail::failures errors;

	return errors.result(detail::on_each(thrum_or_else, detail::enter(f, errors), detail::enter(fallback, errors)));
}

template <class F, class G> int then(F &&first, G &&next)
{
	detail::failures errors;

	return errors.result(detail::on_each(thrum_then, detail::enter(first, errors), detail::enter(next, errors)));
}

/* release() runs, shielded, whatever use() did, also when it threw. */
template <class A, class U, class R> int bracket(A &&acquire, U &&use, R &&release)
{
	detail::failures errors;

	return errors.result(detail::on_each(thrum_bracket, detail::enter(acquire, errors), detail::enter(use, errors),
					     detail::enter(release, errors)));
}

template <class F> int shield(F &&f)
{
	detail::failures errors;

	return errors.result(detail::on_each(thrum_shield, detail::enter(f, errors)));
}

/* --- scopes --- */

template <class F> class child;
template <class F> class deferred;

/* A scope as an automatic object of the fiber that opens it:
 *
 *   thrum::scope s;
 *   auto a = s.spawn([&] { ... });     owns the lambda and the child's record; declared after the scope
 *   auto b = s.spawn([&] { ... });
 *   a.join();
 *   return s.close();
 *
 * The destructor closes a scope that is still open: it suspends until every child has ended. If an exception is on its way
 * through, the children are cancelled first. A destructor cannot return or throw: the scope's code, or the exception of a
 * child, is lost then; call close() for it. Outside a fiber every call returns THRUM_ENOTFIBER. */
class scope {
public:
	scope() noexcept : opened_(thrum_scope_open(&s_)), in_flight_(detail::exceptions_in_flight()) {}
	scope(const scope &) = delete;
	scope &operator=(const scope &) = delete;
	~scope()
	{
		if (opened_ != 0 || closed_)
			return;
		if (detail::exceptions_in_flight() > in_flight_)
			(void)thrum_scope_fail(&s_, THRUM_EDIED);
		(void)thrum_scope_close(&s_);
	}

	/* Start a child: a copy of `f`, or `f` itself by std::ref(f), and what is left of it in the object that is returned.
	 * .drop of `o` is the caller's. See child. */
	template <class F> child<std::decay_t<F>> spawn(F &&f, const thrum_spawn_opts &o = spawn_options());

	/* Start a child that nobody joins, for accept loops: `f` moves to the heap, and is destroyed when the child has ended,
	 * started or not. -ENOMEM if it does not fit. -EINVAL if `o` has a .drop. If it is .isolated, what it throws is lost. */
	template <class F> [[nodiscard]] int go(F &&f, const thrum_spawn_opts &o = spawn_options());

	/* Have `d` run when the scope closes. `d` is declared before the scope. */
	template <class F> int defer(deferred<F> &d);

	/* Wait for all children, run the finalizers, report: what thrum_scope_close() does. If the code is that of an
	 * exception, throws the first one that left a child or a finalizer. A second call returns the code again. */
	int close()
	{
		if (opened_ != 0)
			return opened_;
		if (!closed_) {
			closed_ = true;
			code_ = thrum_scope_close(&s_);
		}
		return errors_.result(code_);
	}

	void cancel() noexcept /* any thread */
	{
		if (opened_ == 0)
			thrum_scope_cancel(&s_);
	}
	int fail(int code) noexcept { return opened_ != 0 ? opened_ : thrum_scope_fail(&s_, code); }
	template <class D> int deadline(D from_now) noexcept
	{
		return opened_ != 0 ? opened_ : thrum_scope_deadline(&s_, dur(from_now));
	}
	int link(thrum_token &t) noexcept { return opened_ != 0 ? opened_ : thrum_scope_link(&s_, &t); }

	thrum_scope *get() noexcept { return &s_; } /* for the C calls; do not close it with them */

private:
	template <class F> friend class child;

	thrum_scope s_;
	const int opened_;
	const int in_flight_;
	bool closed_ = false;
	int code_ = 0;
	detail::failures errors_;
};

/* A child in its spawner's frame. It must end before the object goes: the destructor joins it, and cancels it first if an
 * exception is on its way through. So declare it after its scope. Destroyed by the fiber that made it. */
template <class F> class [[nodiscard]] child {
public:
	template <class G>
	child(scope &s, G &&f, const thrum_spawn_opts &o = spawn_options())
		: f_(std::forward<G>(f)), scope_errors_(o.isolated ? nullptr : &s.errors_),
		  in_flight_(detail::exceptions_in_flight()),
		  spawned_(s.opened_ != 0 ? s.opened_ : thrum_spawn_with(&s.s_, &task_, thrum_fx{ run, this }, &o))
	{
	}
	child(const child &) = delete;
	child &operator=(const child &) = delete;
	~child()
	{
		if (spawned_ != 0)
			return;
		if (detail::exceptions_in_flight() > in_flight_)
			thrum_task_cancel(&task_);
		(void)thrum_join(&task_);
	}

	/* Wait for it: its code, or the exception that left it; the scope reports both as well. What the spawn was refused
	 * with if it never came to life: THRUM_ECLOSED, -ECANCELED … Also after the scope was closed. */
	int join() { return spawned_ != 0 ? spawned_ : errors_.result(thrum_join(&task_)); }
	void cancel() noexcept /* does not wait; any thread */
	{
		if (spawned_ == 0)
			thrum_task_cancel(&task_);
	}
	int spawned() const noexcept { return spawned_; } /* what the spawn returned */
	thrum_task *get() noexcept { return &task_; }

private:
	static int run(void *arg) noexcept
	{
		child *self = static_cast<child *>(arg);
		const int code = detail::guarded(self->errors_, self->f_);

		if (self->scope_errors_)
			self->scope_errors_->keep(self->errors_);
		return code;
	}

	F f_;
	thrum_task task_;
	detail::failures errors_;
	detail::failures *const scope_errors_;
	const int in_flight_;
	const int spawned_; /* last: the child may run from here on */
};

template <class F> child<std::decay_t<F>> scope::spawn(F &&f, const thrum_spawn_opts &o)
{
	return child<std::decay_t<F>>(*this, std::forward<F>(f), o);
}

namespace detail {

/* What scope::go() puts on the heap. Two owners: the call of go() and the child, so that it does not matter whether a
 * refused spawn has run the child's drop. */
template <class F> class gone {
public:
	template <class G> gone(G &&f, failures *errors) : f_(std::forward<G>(f)), errors_(errors) {}

	static int run(void *arg) noexcept
	{
		gone *self = static_cast<gone *>(arg);
		failures mine;
		const int code = guarded(mine, self->f_);

		if (self->errors_)
			self->errors_->keep(mine);
		return drop(self), code;
	}
	static int drop(void *arg) noexcept
	{
		gone *self = static_cast<gone *>(arg);

		self->childs_ = false;
		self->leave();
		return 0;
	}
	void leave() noexcept
	{
		if (x_owners_.fetch_sub(1, std::memory_order_acq_rel) == 1)
			delete this;
	}
	/* After a refused spawn: nothing runs, so nobody else looks. */
	void refuse() noexcept
	{
		if (childs_)
			leave();
	}

private:
	F f_;
	failures *errors_; /* the scope's, which outlives all its children; NULL: not its business */
	bool childs_ = true;
	std::atomic<int> x_owners_{ 2 };
};

} // namespace detail

template <class F> int scope::go(F &&f, const thrum_spawn_opts &o)
{
	using gone = detail::gone<std::decay_t<F>>;

	if (opened_ != 0)
		return opened_;
	if (o.drop.run)
		return -EINVAL;
	gone *g = new (std::nothrow) gone(std::forward<F>(f), o.isolated ? nullptr : &errors_);
	if (!g)
		return -ENOMEM;
	thrum_spawn_opts mine = o;
	mine.drop = thrum_fx{ gone::drop, g };
	const int r = thrum_spawn_with(&s_, nullptr, thrum_fx{ gone::run, g }, &mine);
	if (r < 0)
		g->refuse();
	g->leave();
	return r;
}

/* A finalizer and the lambda that it runs:
 *
 *   thrum::deferred unlock([&] { ... });
 *   thrum::scope s;
 *   s.defer(unlock);
 *
 * It must outlive the scope, so it is declared before it; the destructor of one that is still due aborts. */
template <class F> class deferred {
public:
	explicit deferred(F f) : f_(std::move(f)) {}
	deferred(const deferred &) = delete;
	deferred &operator=(const deferred &) = delete;
	~deferred()
	{
		if (due_) {
			std::fputs("thrum: a thrum::deferred was destroyed before its scope closed\n", stderr);
			std::abort();
		}
	}

	/* Take it back: true if it will not run. While the scope is open. */
	bool undefer() noexcept
	{
		const bool taken = due_ && thrum_undefer(&d_);

		if (taken)
			due_ = false;
		return taken;
	}

private:
	friend class scope;

	static int run(void *arg) noexcept
	{
		deferred *self = static_cast<deferred *>(arg);
		const int code = detail::guarded(*self->errors_, self->f_);

		self->due_ = false;
		return code;
	}

	F f_;
	thrum_deferred d_;
	detail::failures *errors_ = nullptr;
	bool due_ = false;
};

/* 0; THRUM_ECLOSED on a closing scope: it has run, here; -EALREADY if it is due already. */
template <class F> int scope::defer(deferred<F> &d)
{
	if (opened_ != 0)
		return opened_;
	if (d.due_)
		return -EALREADY;
	d.errors_ = &errors_;
	d.due_ = true;
	const int r = thrum_defer(&s_, &d.d_, thrum_fx{ deferred<F>::run, &d });
	if (r < 0 && r != THRUM_ECLOSED)
		d.due_ = false;
	return r;
}

} // inline namespace
} // namespace thrum
#endif
