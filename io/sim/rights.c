/* io/sim/rights.c: descriptors in messages (SCM_RIGHTS) over streams of AF_UNIX. A read never goes beyond the byte with which
 * the next ones came. */
#include "kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RIGHTS_MAX = 16 };

/* What goes with the byte number `at`. */
struct sim_rights {
	struct sim_rights *next;
	uint64_t at;
	unsigned n;
	struct sim_file *files[RIGHTS_MAX];
};

static void drop(struct sim_rights *r)
{
	for (unsigned i = 0; i < r->n; i++)
		sim_file_put(r->files[i]);
	free(r);
}

void sim_rights_fini(struct sim_stream *s)
{
	while (s->rights) {
		struct sim_rights *r = s->rights;
		s->rights = r->next;
		drop(r);
	}
}

static int add_file(struct sim_rights *r, int fd)
{
	struct sim_file *f = sim_file_of(fd);

	if (!f)
		return -EBADF;
	if (r->n == RIGHTS_MAX)
		return -EINVAL;
	r->files[r->n++] = sim_file_get(f);
	return 0;
}

static int add_files(struct sim_rights *r, const struct msghdr *msg)
{
	struct cmsghdr *c;
	int code = 0;

	for (c = CMSG_FIRSTHDR(msg); c && code == 0; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			return -EINVAL;
		for (size_t at = 0; at + CMSG_LEN(sizeof(int)) <= c->cmsg_len && code == 0; at += sizeof(int)) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
			code = add_file(r, fd);
		}
	}
	return code;
}

int sim_rights_send(struct sim_stream *s, const struct msghdr *msg)
{
	struct sim_rights *r = calloc(1, sizeof *r), **last = &s->rights;
	int code = r ? add_files(r, msg) : -ENOBUFS;

	if (code < 0) {
		if (r)
			drop(r);
		return code;
	}
	r->at = s->in;
	while (*last)
		last = &(*last)->next;
	*last = r;
	return 0;
}

uint64_t sim_rights_limit(const struct sim_stream *s)
{
	const struct sim_rights *r = s->rights;

	if (r && r->at == s->out)
		r = r->next;
	return r ? r->at : UINT64_MAX;
}

/* As many as there is room and descriptors for; the others are cut off. */
static void install(struct sim_rights *r, struct msghdr *msg)
{
	size_t room = msg->msg_controllen < CMSG_LEN(sizeof(int)) ? 0 : (msg->msg_controllen - CMSG_LEN(0)) / sizeof(int), n = 0;
	struct cmsghdr *c = room ? msg->msg_control : NULL;

	while (n < r->n && n < room) {
		int fd = sim_fd_new(sim_file_get(r->files[n]));
		if (fd < 0) {
			sim_file_put(r->files[n]);
			break;
		}
		memcpy(CMSG_DATA(c) + n++ * sizeof fd, &fd, sizeof fd);
	}
	if (n < r->n)
		msg->msg_flags |= MSG_CTRUNC;
	msg->msg_controllen = n > 0 ? CMSG_SPACE(n * sizeof(int)) : 0;
	if (n > 0)
		*c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
}

void sim_rights_receive(struct sim_stream *s, struct sim_io *io)
{
	struct sim_rights *r = s->rights;
	bool comes = r && r->at == s->out;

	if (io->msg) {
		io->msg->msg_flags = 0;
		io->msg->msg_namelen = 0;
		if (comes)
			install(r, io->msg);
		else
			io->msg->msg_controllen = 0;
	}
	if (comes) {
		s->rights = r->next;
		drop(r);
	}
}
