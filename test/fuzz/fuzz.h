/* test/fuzz/fuzz.h: what the fuzz programs share. Each fuzz_<name>.c is a function of some bytes that must come back, whatever they
 * are: with libFuzzer behind it (-DTHRUM_FUZZ=ON, clang), or with main.c, which plays the seeds and some thousands of mutations of
 * them, the same every time. */
#ifndef TH_FUZZ_H
#define TH_FUZZ_H
#include "../support/test.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes, from the first one on; zeros when there are no more. */
struct fuzz_bytes {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t fuzz_byte(struct fuzz_bytes *b)
{
	if (b->left == 0)
		return 0;
	b->left--;
	return *b->p++;
}

#endif
