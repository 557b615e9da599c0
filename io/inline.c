/* io/inline.c: reads and writes of files tried on the fiber first, with RWF_NOWAIT: what the page cache holds is copied at
 * once, and a disk is waited for by the backend. A cached read of 4 KiB costs 1.4 us so and 1.9 us through the ring, on a
 * machine where any system call costs 1.0; on one worker with nothing else to do.
 *
 * A try that fails costs a system call. So it is made only where it can be of use, and that is learned, once per descriptor:
 *
 *          classify                         the file system does not know RWF_NOWAIT (tmpfs; writes on ext4)
 *   UNKNOWN ──────► a file: READS, WRITES ───────────────────────► without READS, or without WRITES
 *      ▲    └─────► no file: neither, STREAM?   │
 *      └────────────────────────────────────────┘ nothing in the cache, or it is no file any more; closed, opened
 *
 * Sockets and pipes are never tried: they mostly have to wait, and the ring looks before it waits anyway. Nor is O_DIRECT,
 * where RWF_NOWAIT only means not to wait for locks: the disk would be waited for here.
 *
 * A descriptor that was closed behind thrum's back and has come back as another file may have a wrong hint. It costs time, never
 * more: a try that moves less than it was asked to is not followed by another one, nor by a wait, unless that is a file still (a
 * socket has given what it had, and a datagram is one read); and no hint decides whether there are positions. */
#include "inline.h"
#include "../core/hooks.h"
#include "fdtable.h"
#include "own_errno.h"
#include "sys.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <thrum/scope.h>
#include <unistd.h>

enum {
	KNOWN = 1,
	READS = 2,
	WRITES = 4,
	STREAM = 8,       /* has no positions */
	TURN = 16,        /* from here on: transfers since the last yield */
	HINT_MAX = 0xff
};

enum file_type { NO_ANSWER, A_FILE, NO_FILE };

static enum file_type type_of(int fd)
{
	struct statx st;

	if (th_sys_statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return NO_ANSWER;
	return S_ISREG(st.stx_mode) || S_ISBLK(st.stx_mode) ? A_FILE : NO_FILE;
}

static bool is_stream(int fd)
{
	return th_sys_lseek(fd, 0, SEEK_CUR) < 0 && errno == ESPIPE;
}

/* None of the calls waits for a server, as fstat(2) may. */
static unsigned classify(int fd)
{
	enum file_type type = type_of(fd);
	int flags;

	if (type == NO_ANSWER)
		return 0;
	if (type == NO_FILE)
		return is_stream(fd) ? KNOWN | STREAM : KNOWN;
	flags = th_sys_fcntl(fd, F_GETFL);
	return flags < 0 || flags & O_DIRECT ? KNOWN : KNOWN | READS | WRITES;
}

static bool is_read(const struct th_op *op)
{
	return op->kind == TH_OP_READ || op->kind == TH_OP_READV;
}

static bool is_vector(const struct th_op *op)
{
	return op->kind == TH_OP_READV || op->kind == TH_OP_WRITEV;
}

/* Step over what has moved. */
static void advance(struct th_op *op, size_t n)
{
	op->buf = (char *)op->buf + n;
	op->len -= (uint32_t)n;
	if (op->off >= 0)
		op->off += (int64_t)n;
}

/* One try: how much moved, or -errno. */
static ssize_t try_once(const struct th_op *op)
{
	struct iovec one = { op->buf, op->len };
	const struct iovec *vec = is_vector(op) ? op->buf : &one;
	int n = is_vector(op) ? (int)op->len : 1;
	ssize_t res = is_read(op) ? th_sys_preadv2(op->fd, vec, n, op->off, RWF_NOWAIT) : th_sys_pwritev2(op->fd, vec, n, op->off, RWF_NOWAIT);

	return res < 0 ? -errno : res;
}

/* Try until nothing is left, or the file ends, *ret_more = false; or until it would wait. A short one need not be at the end:
 * what comes next may not be in the cache. If it is no file any more, a short one is all that there is, and *ret_code says
 * what makes learn() forget. */
static ssize_t try_all(struct th_op *op, bool *ret_more, int *ret_code)
{
	ssize_t done = 0, res;

	*ret_code = 0;
	for (;;) {
		res = try_once(op);
		*ret_more = res < 0;
		if (res < 0)
			*ret_code = (int)res;
		if (res <= 0)
			return done;
		done += res;
		if (is_vector(op))
			return done;
		advance(op, (size_t)res);
		if (op->len == 0)
			return done;
		if (done == res && type_of(op->fd) != A_FILE) {
			*ret_code = -EAGAIN;
			return done;
		}
	}
}

static unsigned learn(unsigned known, const struct th_op *op, int code)
{
	if (code == -EAGAIN || code == -ESPIPE)
		return 0;
	if (code == -EOPNOTSUPP)
		return known & ~(unsigned)(is_read(op) ? READS : WRITES);
	return known;
}

/* A fiber that reads a large cached file never suspends by itself: let the others of its worker have their turns, and the
 * ring be served. The transfer stands, whatever this says. */
static void take_turns(th_atomic(uint8_t) *hint, unsigned known)
{
	bool turn = known + TURN > HINT_MAX;

	th_store_rlx(hint, (uint8_t)(known + TURN)); /* relaxed: hints of several workers may overwrite each other */
	if (turn)
		(void)thrum_yield();
}

ssize_t th_inline_first(struct th_op *op, unsigned events)
{
	th_atomic(uint8_t) *hint = th_fd_hint(th_self()->home->fds, op->fd);
	unsigned known = hint ? (unsigned)th_load_rlx(hint) : KNOWN, want = is_read(op) ? READS : WRITES;
	int saved = th_errno_begin();
	bool more = true;
	ssize_t done = 0;
	int code = 0;

	if (!known)
		known = classify(op->fd);
	if (known & want) {
		done = try_all(op, &more, &code);
		known = learn(known, op, code);
	} else if (op->off >= 0) { /* a try would have told */
		bool stream = is_stream(op->fd);

		code = stream ? -ESPIPE : 0;
		if (stream != !!(known & STREAM))
			known = 0;
	}
	th_errno_end(saved);
	if (hint && known != th_load_rlx(hint))
		th_store_rlx(hint, (uint8_t)known);
	if (!more) {
		if (code == 0)
			take_turns(hint, known);
		return done;
	}
	/* As pread(2) has it; the ring would take no notice of the position. */
	if (code == -ESPIPE)
		return code;
	code = th_op_run_ready(op, events); /* not op->res: with O_NONBLOCK that may be the -EAGAIN from before a cancel */
	return code > 0 || done == 0 ? done + code : done;
}
