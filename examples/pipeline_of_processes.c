/* tr | sort | uniq -c, as a shell does it: the output of each process is the input of the next. All of them belong to one
 * scope. Whatever goes wrong, and when the time is up, those that still run are terminated and reaped with it. The second
 * pipeline never gets an end of its input, so it runs into its timeout. */
#include <stdio.h>
#include <string.h>
#include <thrum.h>

enum { STAGES = 3 };

static int start(thrum_scope *s, thrum_process *p)
{
	const char *const *const argv[STAGES] = { THRUM_ARGV("tr", "-s", " ", "\n"), THRUM_ARGV("sort"), THRUM_ARGV("uniq", "-c") };
	int code = 0;

	for (int i = 0; i < STAGES && code == 0; i++) {
		thrum_stdio in = i == 0 ? thrum_to_pipe() : thrum_to_fd(p[i - 1].out);
		code = thrum_spawn_process(s, &p[i], THRUM_PROCESS_OPTS(.argv = argv[i], .search_path = true, .in = in,
									.out = thrum_to_pipe()));
		if (i > 0) { /* the next process has it; ours would keep the one before from seeing its end */
			(void)thrum_close(p[i - 1].out);
			p[i - 1].out = -1;
		}
	}
	return code;
}

static int count_words(void *text)
{
	thrum_process p[STAGES];
	thrum_scope s;
	char buf[256];
	ssize_t got;
	int code = thrum_scope_open(&s), closed;

	if (code < 0)
		return code;
	code = start(&s, p);
	if (code == 0 && text) {
		code = thrum_write_all(p[0].in, text, strlen(text), NULL);
		(void)thrum_close(p[0].in);
		p[0].in = -1;
	}
	while (code == 0 && (got = thrum_read(p[STAGES - 1].out, buf, sizeof buf)) != 0) {
		code = got < 0 ? (int)got : 0;
		fwrite(buf, 1, got > 0 ? (size_t)got : 0, stdout);
	}
	for (int i = 0; i < STAGES && code == 0; i++)
		code = thrum_wait_process(&p[i], NULL);
	closed = thrum_scope_close(&s);
	return code < 0 ? code : closed;
}

static int example(void *unused)
{
	char text[] = "the cat and the dog and the bird\n";

	(void)unused;
	printf("%s\n", thrum_strerror(thrum_timeout((thrum_fx){ count_words, text }, thrum_min(1))));
	printf("%s\n", thrum_strerror(thrum_timeout((thrum_fx){ count_words, NULL }, thrum_ms(100))));
	return 0;
}

int main(void)
{
	return thrum_run(NULL, (thrum_fx){ example, NULL }) != 0;
}
