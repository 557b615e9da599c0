/* digest: the SHA-256 of every regular file under the given directories, on all cores, as sha256sum prints it.
 *
 * The lines come sorted by path, bytewise, each as soon as all before it are done: the output is the same in every run,
 * and `sha256sum -c` accepts it. It works in three steps: find.c lists the files; for_each_par runs hash.c's body on at
 * most --jobs of them at once, reading through the ring; a second fiber, report.c, writes lines and progress meanwhile.
 * Memory: a record for each file, a buffer for each one that is open.
 *
 * This file: the root effect, signals, the command line. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "digest.h"

enum { EXIT_SOME_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGNAL = 128 };
enum { JOBS_MAX = 1 << 16 };

/* --- the root effect --- */

static thrum_token stop; /* cancelled by the first Ctrl-C */

static int hash_all(struct digest *d, thrum_scope *s, thrum_task *reporter)
{
	size_t jobs = count_jobs(d);
	int code = make_slots(d, jobs);

	if (code < 0)
		return code;
	code = thrum_spawn(s, reporter, report_fx(d));
	if (code == 0)
		code = thrum_for_each_par(d->file, d->files, hash_one, jobs);
	(void)thrum_chan_close(&d->over); /* the reporter ends when it has written the rest */
	return code;
}

static void print_stats(const struct digest *d)
{
	thrum_stats st = { .size = sizeof st };
	double seconds = (double)thrum_time_sub(thrum_now(), d->start).ns / 1e9;

	(void)thrum_stats_read(thrum_rt_self(), &st);
	fprintf(stderr, "files      %zu\nbytes      %llu\nwall time  %.3f s\nrate       %.0f MB/s\n", d->x_hashed,
		(unsigned long long)d->x_bytes, seconds, (double)d->x_bytes / 1e6 / seconds);
	fprintf(stderr, "workers    %u\nsteals     %llu\nbackend    %s\n", thrum_workers(),
		(unsigned long long)st.steals, thrum_rt_describe(NULL));
}

static int digest(struct digest *d)
{
	thrum_scope s;
	thrum_task reporter;
	int code = thrum_scope_open(&s);

	if (code < 0)
		return code;
	code = thrum_scope_link(&s, &stop);
	if (code == 0)
		code = find_files(d);
	if (code == 0)
		code = hash_all(d, &s, &reporter);
	int closed = thrum_scope_close(&s); /* waits for the reporter */
	clear_bar(d);
	if (d->slots_made > 0)
		free_slots(d);
	if (d->stats)
		print_stats(d);
	/* A real failure says more than the cancel that it caused. */
	return code < 0 && code != -ECANCELED ? code : closed < 0 ? closed : code;
}
THRUM_FX(digest, struct digest);

static int run_digest(struct digest *d)
{
	int code = thrum_chan_init(&d->over, 1, 0);

	if (code < 0)
		return code;
	d->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	code = d->sha256 ? thrum_run(NULL, digest_fx(d)) : -ENOMEM;

	for (size_t i = 0; i < d->files; i++)
		free(d->file[i].path);
	while (d->dirs > 0)
		free(d->dir[--d->dirs]);
	free(d->file);
	free(d->dir);
	EVP_MD_free(d->sha256);
	thrum_chan_fini(&d->over);
	return code;
}

/* --- signals --- */

static volatile sig_atomic_t stop_signal;

static void on_stop_signal(int sig)
{
	stop_signal = sig;
	thrum_token_cancel(&stop);
}

/* The first one stops cleanly, a second one at once. What the parent had us ignore (nohup) stays ignored. */
static void catch_signal(int sig)
{
	struct sigaction old, sa = { .sa_handler = on_stop_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };

	if (sigaction(sig, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
		(void)sigaction(sig, &sa, NULL);
}

/* Nobody reads stdout any more: end as SIGPIPE ends other programs, quietly, unless the parent ignores it. */
static int end_without_stdout(int code, bool pipe_ignored)
{
	if (code == -EPIPE && !pipe_ignored) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	fprintf(stderr, "digest: write error: %s\n", thrum_strerror(code));
	return EXIT_SOME_FAILED;
}

/* If one of the first three descriptors came closed, a file would take its place, and be written over. Put something
 * there on which the wrong use fails. */
static void guard_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) < 0)
			_exit(EXIT_SOME_FAILED);
}

/* --- the command line --- */

static const char usage[] =
	"usage: digest [OPTION]... DIRECTORY...\n"
	"Print the SHA-256 of every regular file under the directories, as sha256sum does, sorted by path.\n"
	"Symbolic links are not followed, except those named here. A regular file may be named, too.\n"
	"\n"
	"  -j, --jobs N        at most N files at once (default: 4 for each worker)\n"
	"  -t, --timeout TIME  give up a file after TIME: 500ms, 2s, 1.5m, 1h\n"
	"  -f, --fail-fast     stop at the first file that fails\n"
	"  -s, --stats         say on stderr what was done, and how fast\n"
	"  -h, --help          this text\n"
	"\n"
	"Exit status: 0 all done; 1 something could not be read; 2 bad arguments; 130 after Ctrl-C.\n"
	"THRUM_WORKERS=N in the environment sets the number of worker threads (default: one for each CPU).\n";

static int bad_usage(const char *what, const char *arg)
{
	fprintf(stderr, "digest: %s%s%s\nTry 'digest --help'.\n", what, arg ? ": " : "", arg ? arg : "");
	return EXIT_USAGE;
}

static bool parse_jobs(const char *s, size_t *ret_jobs)
{
	char *end;
	unsigned long n = *s >= '0' && *s <= '9' ? strtoul(s, &end, 10) : 0;

	if (n < 1 || n > JOBS_MAX || *end)
		return false;
	*ret_jobs = n;
	return true;
}

static bool parse_duration(const char *s, thrum_dur *ret_dur)
{
	static const struct {
		const char *name;
		double ns;
	} unit[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 } };
	char *end;
	double n = *s >= '0' && *s <= '9' ? strtod(s, &end) : 0;

	for (size_t i = 0; n > 0 && i < sizeof unit / sizeof *unit; i++) {
		double ns = n * unit[i].ns;
		if (strcmp(end, unit[i].name) || ns < 1)
			continue;
		*ret_dur = ns < 9e18 ? thrum_ns((int64_t)ns) : THRUM_FOREVER;
		return true;
	}
	return false;
}

static int print_help(void)
{
	return fputs(usage, stdout) < 0 || fflush(stdout) ? EXIT_SOME_FAILED : 0;
}

/* -1: go on; else the exit status. */
static int parse(struct digest *d, int argc, char **argv)
{
	static const struct option options[] = { { "jobs", required_argument, NULL, 'j' },
						 { "timeout", required_argument, NULL, 't' },
						 { "fail-fast", no_argument, NULL, 'f' },
						 { "stats", no_argument, NULL, 's' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };

	for (int c; (c = getopt_long(argc, argv, "j:t:fsh", options, NULL)) != -1;) {
		if (c == 'h')
			return print_help();
		if (c == '?') /* getopt has said what */
			return bad_usage("bad arguments", NULL);
		if (c == 'j' && !parse_jobs(optarg, &d->jobs))
			return bad_usage("--jobs must be a number from 1 to 65536", optarg);
		if (c == 't' && !parse_duration(optarg, &d->timeout))
			return bad_usage("--timeout must be a time above 0 with a unit, as 500ms or 2s", optarg);
		if (c == 't')
			d->timeout_text = optarg;
		d->fail_fast |= c == 'f';
		d->stats |= c == 's';
	}
	d->roots = argv + optind;
	return *d->roots ? -1 : bad_usage("which directory?", NULL);
}

int main(int argc, char **argv)
{
	struct digest d = { .start = thrum_now() };

	guard_standard_fds();
	int status = parse(&d, argc, argv);
	if (status >= 0)
		return status;
	d.bar = isatty(STDERR_FILENO);
	thrum_token_init(&stop);
	bool pipe_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
	catch_signal(SIGHUP);

	int code = run_digest(&d);
	if (code == -ECANCELED && stop_signal)
		return EXIT_SIGNAL + (int)stop_signal;
	if (d.stdout_code < 0)
		return end_without_stdout(d.stdout_code, pipe_ignored);
	if (code < 0 && !d.any_failed)
		fprintf(stderr, "digest: %s\n", thrum_strerror(code));
	return code < 0 || d.any_failed ? EXIT_SOME_FAILED : 0;
}
