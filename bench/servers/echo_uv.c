/* bench/servers/echo_uv.c PORT: libuv, one loop. */
#include <stdlib.h>
#include <uv.h>

enum { BUFFER = 4096, BACKLOG = 1024 };

struct answer {
	uv_write_t request;
	char bytes[];
};

static char buffer[BUFFER]; /* one loop reads one at a time */

static void give_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
	(void)handle;
	(void)wanted;
	*ret_buf = uv_buf_init(buffer, sizeof buffer);
}

static void freed(uv_handle_t *handle)
{
	free(handle);
}

static void written(uv_write_t *request, int status)
{
	(void)status;
	free(request);
}

static void have_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	uv_buf_t part = uv_buf_init(buf->base, (unsigned)(n > 0 ? n : 0));

	if (n < 0) {
		uv_close((uv_handle_t *)stream, freed);
		return;
	}
	int sent = uv_try_write(stream, &part, 1);
	if (sent == n)
		return;
	size_t done = sent > 0 ? (size_t)sent : 0, rest = (size_t)n - done;
	struct answer *a = malloc(sizeof *a + rest);
	if (!a)
		abort();
	for (size_t i = 0; i < rest; i++)
		a->bytes[i] = part.base[done + i];
	part = uv_buf_init(a->bytes, (unsigned)rest);
	uv_write(&a->request, stream, &part, 1, written);
}

static void connected(uv_stream_t *listener, int status)
{
	uv_tcp_t *c = malloc(sizeof *c);

	if (status < 0 || !c)
		abort();
	uv_tcp_init(listener->loop, c);
	uv_accept(listener, (uv_stream_t *)c);
	uv_tcp_nodelay(c, 1);
	uv_read_start((uv_stream_t *)c, give_buffer, have_read);
}

int main(int argc, char **argv)
{
	uv_loop_t *loop = uv_default_loop();
	struct sockaddr_in sa;
	uv_tcp_t listener;

	uv_ip4_addr("127.0.0.1", atoi(argv[argc - 1]), &sa);
	uv_tcp_init(loop, &listener);
	if (uv_tcp_bind(&listener, (struct sockaddr *)&sa, 0) < 0 || uv_listen((uv_stream_t *)&listener, BACKLOG, connected) < 0)
		return 1;
	return uv_run(loop, UV_RUN_DEFAULT);
}
