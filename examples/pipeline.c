/* A pipeline: lines of a log are parsed four at a time but stay in order; errors are kept, batched, and counted per
 * service. No stage runs further ahead of the next than its buffer allows. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <thrum.h>

enum { LINES = 1000 };

struct line {
	char text[80];
};
struct entry {
	int number, status;
	char service[16];
};
struct report {
	int batches, errors;
	int by_service[3];
};

static const char *const services[] = { "shop", "search", "mail" };

/* The source: > 0 while there are lines. */
static int next_line(void *arg, void *in, void *out)
{
	int *number = arg;
	struct line *line = out;

	(void)in;
	if (*number == LINES)
		return 0;
	snprintf(line->text, sizeof line->text, "%d %s %d", *number, services[*number % 3], *number % 7 ? 200 : 500);
	++*number;
	return 1;
}

/* Takes its time, some lines more than others; the order stays all the same. */
static int parse(void *arg, void *in, void *out)
{
	const struct line *line = in;
	struct entry *entry = out;

	(void)arg;
	if (sscanf(line->text, "%d %15s %d", &entry->number, entry->service, &entry->status) != 3)
		return thrum_failed(-EBADMSG, "not a line of the log");
	return thrum_sleep(thrum_us(entry->number % 5 * 100));
}

static int is_error(void *arg, void *in, void *out)
{
	(void)arg, (void)out;
	return ((const struct entry *)in)->status >= 500;
}

static int add_to_report(void *arg, void *in, void *out)
{
	struct report *report = arg;
	thrum_batch *batch = in;
	const struct entry *entries = thrum_batch_items(batch, struct entry);

	(void)out;
	report->batches++;
	for (size_t i = 0; i < batch->n; i++) {
		report->errors++;
		for (int k = 0; k < 3; k++)
			report->by_service[k] += strcmp(entries[i].service, services[k]) == 0;
	}
	if (report->batches == 1)
		printf("first batch: %zu errors, lines %d to %d\n", batch->n, entries[0].number,
		       entries[batch->n - 1].number);
	return 0;
}

static int example(void *unused)
{
	struct report report = { 0 };
	uint64_t passed[5];
	int number = 0;
	thrum_stage stages[] = {
		{ THRUM_STAGE_SOURCE, .run = next_line, .arg = &number, .out_bytes = sizeof(struct line),
		  .buffer = 16 },
		{ THRUM_STAGE_MAP, .run = parse, .out_bytes = sizeof(struct entry), .parallelism = 4, .ordered = true },
		{ THRUM_STAGE_FILTER, .run = is_error, .buffer = 8 },
		{ THRUM_STAGE_BATCH, .count = 32, .within = thrum_ms(50) },
		{ THRUM_STAGE_FOLD, .run = add_to_report, .arg = &report },
	};
	int code = thrum_pipeline(stages, 5, THRUM_PIPELINE_OPTS(.passed = passed));

	(void)unused;
	if (code < 0)
		return code;
	printf("%" PRIu64 " lines, %" PRIu64 " errors, %d batches\n", passed[0], passed[2], report.batches);
	for (int k = 0; k < 3; k++)
		printf("%-6s %d\n", services[k], report.by_service[k]);
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
