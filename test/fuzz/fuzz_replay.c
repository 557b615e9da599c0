/* test/fuzz/fuzz_replay.c: any text is a run's plan or is refused, and a plan that is written as a text is the same when it is
 * read. */
#include "fuzz.h"
#include "sched/sim/plan.h"
#include <string.h>

enum { PICKS = 64, TEXT = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[TEXT], once[2 * TEXT], twice[2 * TEXT];
	struct th_sim_pick picks[PICKS], again[PICKS];
	struct th_plan p, q;
	bool other = false;

	if (size >= sizeof text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (!th_plan_read(&p, "fuzz", text, picks, PICKS, &other))
		return 0;
	TH_CHECK(!other && p.sim.n_picks <= PICKS);
	TH_CHECK(th_plan_write(&p, "fuzz", once, sizeof once) < sizeof once);
	TH_CHECK(th_plan_read(&q, "fuzz", once, again, PICKS, &other));
	TH_CHECK(th_plan_write(&q, "fuzz", twice, sizeof twice) < sizeof twice);
	TH_CHECK(strcmp(once, twice) == 0);
	return 0;
}
