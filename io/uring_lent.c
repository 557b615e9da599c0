/* io/uring_lent.c: the kernel's ring of buffers, from which a receive takes one when it has data (Linux 5.19).
 *
 * The ring holds addresses, not buffers: whoever returns one writes its address behind the others, whatever thread that is,
 * and moves the tail. The kernel reads it when it needs one. Only making it and ending it are for the ring's owner. */
#include "lent.h"
#include "uring.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct th_lent_ring {
	struct io_uring_buf_ring *slots;
	uint32_t entries; /* a power of two */
};

static size_t slots_bytes(const struct th_lent_ring *r)
{
	return r->entries * sizeof(struct io_uring_buf);
}

static int register_slots(struct th_io *io, struct th_lent_ring *r)
{
	struct io_uring_buf_reg reg = {
	    .ring_addr = (uintptr_t)r->slots, .ring_entries = r->entries, .bgid = TH_URING_LENT_GROUP};

	return io_uring_register_buf_ring(th_uring_of(io), &reg, 0);
}

static int lent_open(struct th_io *io, uint32_t n, struct th_lent_ring **ret_ring)
{
	struct th_lent_ring *r = malloc(sizeof *r);
	void *slots;
	int res = -ENOMEM;

	if (!r)
		return -ENOMEM;
	for (r->entries = 1; r->entries < n;)
		r->entries *= 2;
	slots = mmap(NULL, slots_bytes(r), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED)
		goto out_free;
	r->slots = slots;
	io_uring_buf_ring_init(r->slots);
	res = register_slots(io, r);
	if (res < 0)
		goto out_unmap;
	*ret_ring = r;
	return 0;

out_unmap:
	(void)munmap(slots, slots_bytes(r));
out_free:
	free(r);
	return res;
}

static void lent_close(struct th_io *io, struct th_lent_ring *r)
{
	(void)io_uring_unregister_buf_ring(th_uring_of(io), TH_URING_LENT_GROUP);
	(void)munmap(r->slots, slots_bytes(r));
	free(r);
}

static void lent_add(struct th_lent_ring *r, void *data, uint32_t len, uint16_t number)
{
	io_uring_buf_ring_add(r->slots, data, len, number, io_uring_buf_ring_mask(r->entries), 0);
	io_uring_buf_ring_advance(r->slots, 1);
}

const struct th_lent_ring_ops th_uring_lent = {
	.open = lent_open,
	.close = lent_close,
	.add = lent_add,
};
