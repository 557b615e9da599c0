#include "bank.h"

void bank_open(struct bank *b, int balance)
{
	(void)thrum_mutex_init(&b->mutex);
	b->balance = balance;
}

static int balance_of(struct bank *b, int *ret)
{
	int code = thrum_mutex_lock(&b->mutex);

	if (code < 0)
		return code;
	*ret = b->balance;
	return thrum_mutex_unlock(&b->mutex);
}

/* As it was written first. Each access to the balance is guarded, and yet. */
int bank_withdraw_first(struct bank *b, int amount)
{
	int balance, code = balance_of(b, &balance);

	if (code < 0)
		return code;
	if (balance < amount)
		return BANK_TOO_LITTLE;
	code = thrum_mutex_lock(&b->mutex);
	if (code < 0)
		return code;
	b->balance -= amount;
	return thrum_mutex_unlock(&b->mutex);
}

/* The look and the withdrawal under one lock. */
int bank_withdraw(struct bank *b, int amount)
{
	int code = thrum_mutex_lock(&b->mutex);

	if (code < 0)
		return code;
	if (b->balance < amount)
		code = BANK_TOO_LITTLE;
	else
		b->balance -= amount;
	(void)thrum_mutex_unlock(&b->mutex);
	return code;
}
