/* io/sim/fs.h: the simulated kernel's file system: one tree in memory, empty at the start of a run. No links, no permissions. */
#ifndef TH_SIM_FS_H
#define TH_SIM_FS_H
#include "kernel.h"
#include <limits.h>
#include <sys/stat.h>

struct sim_entry {
	struct sim_entry *next;   /* in the order in which they were made */
	uint64_t serial;          /* so that a listing goes on where it was */
	struct sim_node *node;
	char name[NAME_MAX + 1];
};
struct sim_node {
	unsigned refs;            /* entries, open files, sockets bound to it */
	unsigned links;           /* entries */
	mode_t mode;
	ino_t ino;
	int64_t changed_ns;
	char *bytes;
	size_t size, room;
	struct sim_entry *entries;
	struct sim_node *parent;  /* of a directory; the root's is itself */
};

/* Where a path leads: the directory that its last part is in, that part, and what there is, or NULL. */
struct sim_where {
	struct sim_node *dir, *node;
	char name[NAME_MAX + 1];  /* "": the path leads to a directory by itself: "/", "." */
	bool wants_dir;           /* it ends with a slash */
};
int sim_fs_walk(int dir, const char *path, struct sim_where *ret);
struct sim_node *sim_node_new(mode_t mode);                          /* with one reference; NULL */
int sim_fs_link(const struct sim_where *at, struct sim_node *node);  /* a new entry; takes a reference of its own */
void sim_fs_unlink(struct sim_node *dir, struct sim_node *node, const char *name);
struct sim_node *sim_node_of(int fd, int *ret_code);                 /* of an open file or directory; NULL */
int sim_node_resize(struct sim_node *n, size_t size);                /* -ENOSPC */
int sim_fs_open(struct sim_node *node, int flags);                   /* a descriptor, after sim_fd_check(); takes a reference */
ssize_t sim_fs_list(int fd, void *buf, size_t n);

#endif
