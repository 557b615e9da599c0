/* core/promise.h: what a select needs of a promise. */
#ifndef TH_PROMISE_H
#define TH_PROMISE_H
#include "wait.h"
#include <thrum/sync.h>

struct th_result {
	int code;
	void *value;
};

struct th_promise_wait {
	struct th_wait wait; /* first */
	thrum_promise *promise;
	struct th_result result; /* written by the claimer, or by take() */
};

void th_promise_wait_init(struct th_promise_wait *w, thrum_promise *p);
/* The code; the value goes out if that is a success. */
int th_promise_report(const struct th_result *r, void **ret_value);

#endif
