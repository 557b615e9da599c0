/* core/fan_values.c: values of a fan that nobody takes: those of items that succeeded though the whole did not, and of those
 * that succeeded beside the winner of a race (G10, Z7, R6). */
#include "fan.h"
#include <stdlib.h>
#include <string.h>

void th_fan_succeeded(struct fan *fan, size_t i)
{
	th_lock(&fan->lock);
	fan->succeeded[i / 64] |= UINT64_C(1) << i % 64;
	th_unlock(&fan->lock);
}

int th_fan_note(struct fan *fan, const thrum_fan_opts *o, uint64_t *small)
{
	size_t words = fan->n / 64 + 1;

	if (!o || (!o->drop && !o->combine))
		return 0;
	fan->drop = o->drop;
	fan->combine = o->combine;
	if (fan->n < TH_FAN_SMALL) {
		memset(small, 0, words * sizeof *small);
		fan->succeeded = small;
		return 0;
	}
	fan->succeeded = calloc(words, sizeof *small);
	return fan->succeeded ? 0 : -ENOMEM;
}

static void drop_one(struct fan *fan, size_t i)
{
	if (fan->won && i == fan->winner)
		return;
	if (fan->won && fan->combine)
		fan->combine(th_fan_item(fan, fan->winner).arg, th_fan_item(fan, i).arg);
	else if (fan->drop)
		fan->drop(th_fan_item(fan, i).arg);
}

/* Of many items few may have started. */
static int drop_each(void *arg)
{
	struct fan *fan = arg;

	for (size_t word = 0; word <= fan->n / 64; word++)
		for (uint64_t left = fan->succeeded[word]; left; left &= left - 1)
			drop_one(fan, word * 64 + (size_t)__builtin_ctzll(left));
	return 0;
}

void th_fan_drop(struct th_fiber *f, struct fan *fan, int r, const uint64_t *small)
{
	if (!fan->succeeded)
		return;
	if (f && (r < 0 || fan->won))
		(void)th_run_shielded(f, (thrum_fx){ drop_each, fan }, r);
	if (fan->succeeded != small)
		free(fan->succeeded);
}
