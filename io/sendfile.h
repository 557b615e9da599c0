/* io/sendfile.h: what a close has to know of files that are being sent. */
#ifndef TH_SENDFILE_H
#define TH_SENDFILE_H
#include "../core/fiber.h"

/* Fibers of this worker that wait for a socket to send from `fd` get -EBADF: it is being closed. On the worker's thread. */
void th_sendfile_cancel_fd(struct th_home *home, int fd);

#endif
