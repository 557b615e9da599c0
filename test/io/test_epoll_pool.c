/* Operations that the epoll backend leaves to the blocking pool: opening, closing and reading files (X9, G5, G10). A
 * FIFO's open blocks until its other end is opened, so these tests decide when a job ends. */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "io_test.h"

/* Ours is found before libc's. */
static int threads_left = INT32_MAX; /* threads that may still be created */

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *), void *arg)
{
	static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	if (__atomic_sub_fetch(&threads_left, 1, __ATOMIC_SEQ_CST) < 0)
		return EAGAIN;
	return real(thread, attr, body, arg);
}

/* A folder with a FIFO in it. */
struct place {
	char dir[32], fifo[40], file[40];
	int (*body)(struct place *p);
};
static int run_body(struct place *p)
{
	return p->body(p);
}
THRUM_FX(run_body, struct place);

static void run_epoll(int (*body)(struct place *), const thrum_opts *o)
{
	thrum_opts opts = o ? *o : (thrum_opts){ .size = sizeof(opts) };
	struct place p = { .dir = "/tmp/thrum-test-XXXXXX", .body = body };
	int before = fd_count();

	opts.backend = THRUM_BACKEND_EPOLL;
	TH_CHECK(mkdtemp(p.dir));
	snprintf(p.fifo, sizeof(p.fifo), "%s/fifo", p.dir);
	snprintf(p.file, sizeof(p.file), "%s/file", p.dir);
	TH_CHECK_EQ(mkfifo(p.fifo, 0600), 0);
	TH_CHECK_EQ(thrum_run(&opts, run_body_fx(&p)), 0);
	TH_CHECK_EQ(fd_count(), before);
	(void)unlink(p.file);
	TH_CHECK_EQ(unlink(p.fifo), 0);
	TH_CHECK_EQ(rmdir(p.dir), 0);
}

static uint64_t jobs_so_far(void)
{
	thrum_stats stats = { .size = sizeof(stats) };

	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	return stats.blocking_jobs;
}

struct open_one {
	const char *path;
	int flags, got;
};
static int open_one(struct open_one *a)
{
	a->got = thrum_openat(AT_FDCWD, a->path, a->flags, 0600);
	return 0;
}
THRUM_FX(open_one, struct open_one);

/* The other end, once the opener is there. */
static int meet(const char *fifo)
{
	int fd;

	while ((fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
		TH_CHECK_EQ(errno, ENXIO);
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return fd;
}

static void begin_open(struct open_one *a, thrum_scope *s, thrum_task *t)
{
	uint64_t jobs = jobs_so_far();

	TH_CHECK_EQ(thrum_scope_open(s), 0);
	TH_CHECK_EQ(thrum_spawn(s, t, open_one_fx(a)), 0);
	while (jobs_so_far() == jobs)
		TH_CHECK_EQ(thrum_yield(), 0);
}

static int late_open(struct place *p)
{
	struct open_one a = { .path = p->fifo, .flags = O_RDONLY };
	thrum_scope s;
	thrum_task t;
	int fd;

	begin_open(&a, &s, &t);
	thrum_task_cancel(&t);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	fd = meet(p->fifo);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(a.got >= 0);
	TH_CHECK(is_cloexec(a.got));
	TH_CHECK_EQ(close(a.got), 0);
	TH_CHECK_EQ(close(fd), 0);
	return 0;
}
TH_TEST(io_epoll_pool, a_late_open_is_delivered_G10) { run_epoll(late_open, NULL); }

static int queued_open(struct place *p)
{
	struct open_one a = { .path = p->fifo, .flags = O_RDONLY }, b = { .path = p->file, .flags = O_WRONLY | O_CREAT };
	thrum_scope s, other;
	thrum_task ta, tb;
	uint64_t ops;
	int fd;

	begin_open(&a, &s, &ta); /* the pool has one thread */
	ops = ops_so_far();
	TH_CHECK_EQ(thrum_scope_open(&other), 0);
	TH_CHECK_EQ(thrum_spawn(&other, &tb, open_one_fx(&b)), 0);
	until_ops(ops, 1);
	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_yield(), 0);
	thrum_task_cancel(&tb);
	TH_CHECK_EQ(thrum_scope_close(&other), 0);
	TH_CHECK_EQ(b.got, -ECANCELED);
	fd = meet(p->fifo);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(a.got >= 0);
	TH_CHECK_EQ(close(a.got), 0);
	TH_CHECK_EQ(close(fd), 0);
	TH_CHECK_EQ(access(p->file, F_OK), -1); /* nothing has been made */
	return 0;
}
TH_TEST(io_epoll_pool, a_cancelled_open_that_has_not_begun_does_nothing_X9)
{
	run_epoll(queued_open, THRUM_OPTS(.blocking_threads = 1));
}

static int temp_file(void)
{
	int fd = memfd_create("thrum-test", MFD_CLOEXEC);

	TH_CHECK(fd >= 0);
	return fd;
}

static int close_cancelled(struct place *p)
{
	int fd = temp_file();
	thrum_scope s;

	(void)p;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(fcntl(fd, F_GETFD), -1);
	TH_CHECK_EQ(thrum_check(), -ECANCELED);
	return thrum_scope_close(&s);
}
TH_TEST(io_epoll_pool, closing_a_file_is_no_cancel_point_G4) { run_epoll(close_cancelled, NULL); }

static int no_thread(struct place *p)
{
	int fd = temp_file();

	__atomic_store_n(&threads_left, 0, __ATOMIC_SEQ_CST);
	TH_CHECK_EQ(thrum_openat(AT_FDCWD, p->file, O_WRONLY | O_CREAT, 0600), -ENOMEM);
	TH_CHECK_EQ(access(p->file, F_OK), -1);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK_EQ(fcntl(fd, F_GETFD), -1);
	__atomic_store_n(&threads_left, INT32_MAX, __ATOMIC_SEQ_CST);
	fd = thrum_openat(AT_FDCWD, p->file, O_WRONLY | O_CREAT, 0600);
	TH_CHECK(fd >= 0);
	return thrum_close(fd);
}
TH_TEST(io_epoll_pool, without_a_thread_opening_says_so_and_closing_closes) { run_epoll(no_thread, NULL); }

static int files_in_no_time(struct place *p)
{
	thrum_time began = thrum_now();
	char buf[4];
	int fd = thrum_openat(AT_FDCWD, p->file, O_RDWR | O_CREAT, 0600);

	TH_CHECK(fd >= 0);
	TH_CHECK_EQ(thrum_write_all(fd, "abcd", 4, NULL), 0);
	TH_CHECK_EQ(thrum_pread(fd, buf, sizeof(buf), 0), 4);
	TH_CHECK(memcmp(buf, "abcd", 4) == 0);
	TH_CHECK_EQ(thrum_openat(fd, "none", O_RDONLY, 0), -ENOTDIR);
	TH_CHECK_EQ(thrum_now().ns, began.ns); /* the clock waited for each */
	return thrum_close(fd);
}
TH_TEST(io_epoll_pool, a_jump_clock_waits_for_files_C3)
{
	run_epoll(files_in_no_time, THRUM_OPTS(.clock = THRUM_CLOCK_JUMP));
}

/* The job's result is not what ends the call early: others go on meanwhile, on one worker as well. */
static int others_go_on(struct place *p)
{
	struct open_one a = { .path = p->fifo, .flags = O_RDONLY };
	thrum_scope s;
	thrum_task t;
	int fds[2], fd;
	char c;

	begin_open(&a, &s, &t);
	open_pair(fds);
	for (int i = 0; i < 100; i++) {
		TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1);
		TH_CHECK_EQ(thrum_recv(fds[0], &c, 1, 0), 1);
	}
	close_both(fds);
	fd = meet(p->fifo);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(close(fd), 0);
	return thrum_close(a.got);
}
TH_TEST(io_epoll_pool, an_open_that_blocks_holds_nobody_up) { run_epoll(others_go_on, NULL); }
