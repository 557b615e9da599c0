/* examples/replay/bank.h: an account that several fibers withdraw from. */
#ifndef BANK_H
#define BANK_H
#include <thrum.h>

#define BANK_TOO_LITTLE THRUM_APP(1)

struct bank {
	thrum_mutex mutex;
	int balance;
};

void bank_open(struct bank *b, int balance);
/* 0; BANK_TOO_LITTLE; -ECANCELED: nothing was withdrawn. Fiber; suspends; cancel points. */
int bank_withdraw_first(struct bank *b, int amount);
int bank_withdraw(struct bank *b, int amount);

#endif
