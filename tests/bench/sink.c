/* SPDX-License-Identifier: Apache-2.0 */
/* An OTLP/HTTP receiver that costs next to nothing, so that a benchmark measures the exporter.
 *
 *   sink FOLDER     prints its port; POST /v1/traces: spans are counted, not kept; POST /v1/metrics: the body goes
 *                   to FOLDER/metrics-NNNN.bin; GET /stats: the counts as JSON
 *
 * One thread, one poll loop, bodies by Content-Length only. Spans are found by hopping over protobuf lengths:
 * ExportTraceServiceRequest.resource_spans (1) > ResourceSpans.scope_spans (2) > ScopeSpans.spans (2).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 64
#define FIRST_BUFFER (1 << 20)
#define MAX_MESSAGE (256 << 20)

struct connection {
	int fd;
	char *data;
	size_t used, room;
};

static struct {
	unsigned long long posts, bytes, spans, metrics, compressed, malformed;
} seen;
static const char *folder;

static int varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return 0;
	}
	return -1;
}

/* Calls itself for the fields on the way down to a span; counts at depth 2. */
static int count_spans(const uint8_t *at, const uint8_t *end, int depth)
{
	static const uint32_t field[] = {1, 2, 2};
	uint64_t tag, length;

	while (at < end) {
		if (varint(&at, end, &tag))
			return -1;
		switch (tag & 7) {
		case 0:
			if (varint(&at, end, &length))
				return -1;
			continue;
		case 1:
			length = 8;
			break;
		case 5:
			length = 4;
			break;
		case 2:
			if (varint(&at, end, &length))
				return -1;
			break;
		default:
			return -1;
		}
		if (length > (uint64_t)(end - at))
			return -1;
		if ((tag & 7) == 2 && tag >> 3 == field[depth]) {
			if (depth == 2)
				seen.spans++;
			else if (count_spans(at, at + length, depth + 1))
				return -1;
		}
		at += length;
	}
	return 0;
}

static void keep_metrics(const char *body, size_t length)
{
	char path[4096];
	FILE *out;

	snprintf(path, sizeof(path), "%s/metrics-%04llu.bin", folder, ++seen.metrics);
	out = fopen(path, "w");
	if (!out || fwrite(body, 1, length, out) != length || fclose(out))
		seen.malformed++;
}

static int reply(int fd, const char *type, const char *body)
{
	char text[1024];
	int length = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", type,
			      strlen(body), body);
	return send(fd, text, length, MSG_NOSIGNAL) == length ? 0 : -1;
}

/* One whole request at the front of the buffer is answered and removed. 0: more bytes needed, -1: hang up. */
static int serve(struct connection *c)
{
	char *stop = memmem(c->data, c->used, "\r\n\r\n", 4), *head, *length_at;
	size_t head_length, body_length, whole;
	char stats[512];
	int status;

	if (!stop)
		return c->used < 65536 ? 0 : -1;
	head_length = stop + 4 - c->data;
	head = strndup(c->data, head_length);
	length_at = strcasestr(head, "\r\nContent-Length:");
	body_length = length_at ? strtoull(length_at + 17, NULL, 10) : 0;
	whole = head_length + body_length;
	if (whole > MAX_MESSAGE || strcasestr(head, "\r\nTransfer-Encoding:")) {
		free(head);
		return -1;
	}
	if (c->used < whole) {
		if (whole > c->room && (c->data = realloc(c->data, whole)))
			c->room = whole;
		free(head);
		return c->data ? 0 : -1;
	}
	if (!strncmp(head, "GET /stats", 10)) {
		snprintf(stats, sizeof(stats),
			 "{\"posts\": %llu, \"bytes\": %llu, \"spans\": %llu, \"compressed\": %llu, \"malformed\": %llu}\n",
			 seen.posts, seen.bytes, seen.spans, seen.compressed, seen.malformed);
		status = reply(c->fd, "application/json", stats);
	} else {
		const uint8_t *body = (const uint8_t *)c->data + head_length;
		seen.posts++;
		seen.bytes += body_length;
		if (strcasestr(head, "\r\nContent-Encoding:"))
			seen.compressed++;
		else if (!strncmp(head, "POST /v1/traces", 15) && count_spans(body, body + body_length, 0))
			seen.malformed++;
		else if (!strncmp(head, "POST /v1/metrics", 16))
			keep_metrics((const char *)body, body_length);
		status = reply(c->fd, "application/x-protobuf", "");
	}
	free(head);
	memmove(c->data, c->data + whole, c->used - whole);
	c->used -= whole;
	return status ? -1 : 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	static struct connection connections[MAX_CONNECTIONS];
	struct pollfd polled[MAX_CONNECTIONS + 1];
	socklen_t size = sizeof(address);
	int count = 0, yes = 1;

	if (argc != 2)
		return fprintf(stderr, "usage: sink FOLDER\n"), 2;
	folder = argv[1];
	signal(SIGPIPE, SIG_IGN);
	polled[0].fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(polled[0].fd, (struct sockaddr *)&address, size) || listen(polled[0].fd, 64) ||
	    getsockname(polled[0].fd, (struct sockaddr *)&address, &size))
		return perror("sink"), 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);

	for (;;) {
		polled[0].events = count < MAX_CONNECTIONS ? POLLIN : 0;
		for (int i = 0; i < count; i++)
			polled[i + 1] = (struct pollfd){.fd = connections[i].fd, .events = POLLIN};
		if (poll(polled, count + 1, -1) < 0 && errno != EINTR)
			return perror("poll"), 1;
		for (int i = count - 1; i >= 0; i--) {
			struct connection *c = &connections[i];
			ssize_t got;
			int more = 1;
			if (!polled[i + 1].revents)
				continue;
			got = recv(c->fd, c->data + c->used, c->room - c->used, 0);
			if (got > 0) {
				c->used += got;
				while (c->used && (more = serve(c)) > 0)
					;
			}
			if (got <= 0 || more < 0) {
				close(c->fd);
				free(c->data);
				connections[i] = connections[--count];
			}
		}
		if (polled[0].revents & POLLIN) {
			struct connection *c = &connections[count];
			*c = (struct connection){.fd = accept(polled[0].fd, NULL, NULL), .data = malloc(FIRST_BUFFER), .room = FIRST_BUFFER};
			if (c->fd >= 0 && c->data) {
				setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
				count++;
			}
		}
	}
}
