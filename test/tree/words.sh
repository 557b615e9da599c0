#!/bin/sh
# words.sh ROOT: which folder may use what; and nothing unfinished without an issue.
here=$(dirname "$0")
. "$here/lib.sh"
cd "$1"
all="include core io sched test examples bench tools"

uses '# *include *<stdatomic\.h>' include core io sched | grep -v '^core/atomic\.h:\|^include/thrum/fork\.h:' |
	report "only core/atomic.h includes stdatomic.h, and thrum/fork.h, which users inline"
uses '\bpthread_|# *include *<(pthread|threads)\.h>' include core io | report "only sched/ knows threads"
uses '\b(io_uring|epoll)_|# *include *<(liburing|sys/epoll)' include core sched examples |
	report "only io/ knows io_uring and epoll"
uses '# *include *<(sys/|linux/|unistd\.h|fcntl\.h|poll\.h|signal\.h|liburing)' core | report "core/ makes no system calls"
uses '\berrno\b' core | grep -vE '# *include *<errno\.h>' | report "core/ never reads errno"
uses '\b(__thread|_Thread_local|thread_local)\b' include core io | grep -v '^include/thrum/fork\.h:.* \*thrum_lane_self_;$' |
	report "the one thread-local is in sched/, and thrum/fork.h shows it"

# shellcheck disable=SC2086
find $all CMakeLists.txt README.md ARCHITECTURE.md .ci cmake -type f \
	\( -name '*.[chS]' -o -name '*.cpp' -o -name '*.sh' -o -name '*.txt' -o -name '*.cmake' -o -name '*.md' -o -name run \) \
	2>/dev/null | sort | while read -r file; do
	grep -nHE '\b(T[O]DO|F[I]XME|X[X]X)\b' "$file" | grep -vE 'T[O]DO\(#[0-9]+\)' || true
done | report "unfinished work names its issue, TO""DO(#12), or is finished"
finish
