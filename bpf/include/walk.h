/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which bytes of an operation go to user space.
 *
 * This is a policy for saving copies, not a parser: user space understands the protocol from what it gets
 * and says so where it got too little. Whatever is decided wrongly here (an attacker's "Content-Length" in
 * odd places) costs copies, or one exchange that is given up and counted; never a wrong one.
 *
 *   up to SMALL bytes         all of it: no scan is cheaper than the copy
 *   more, in a head           pieces of PIECE until the blank line, BURST_MAX at most
 *   more, in a body           of known length: nothing, until the next message begins;
 *                             else the first and the last bytes (chunk sizes, the last chunk)
 */
#ifndef OTEL_EBPF_WALK_H
#define OTEL_EBPF_WALK_H

#include "emit.h"

#define SMALL 1024
#define BURST_MAX (256 << 10)
#define PIECE 4096
#define EDGE_MAX 256
#define EDGE_HEAD 256
#define EDGE_TAIL 64
#define MAX_STEPS 96

/* In a map and not on the stack: the verifier would follow every value through the loop. Nobody else can run
 * on this CPU meanwhile, and if somebody could it would cost copies.
 */
struct scan_state {
	__u32 len;
	__u32 at;
	__u32 head_end; /* offset just behind the blank line, 0 if not found */
	__u32 length_at; /* offset of Content-Length's value, 0 if there is none */
	__u64 length;
	__u8 chunked;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scan_state);
} scans SEC(".maps");

struct scan {
	const __u8 *data; /* of PIECE + SLACK readable bytes */
	struct scan_state *s;
};

static __always_inline __u8 lower(__u8 c)
{
	return c | 0x20;
}

/* The header line at p: only the two that frame a body matter. */
static __always_inline void scan_line(const struct scan *scan, __u32 p)
{
	const __u8 *d = scan->data;

	if (p > PIECE)
		return;
	d += p;
	if (lower(d[0]) == 'c' && lower(d[8]) == 'l' && d[7] == '-' && lower(d[1]) == 'o' && d[14] == ':')
		scan->s->length_at = p + 15;
	else if (lower(d[0]) == 't' && d[8] == '-' && lower(d[9]) == 'e' && lower(d[1]) == 'r' && d[17] == ':')
		scan->s->chunked = true;
}

static __noinline int parse_length(const struct scan *scan)
{
	struct scan_state *s = scan->s;
	const __u8 *d = scan->data;
	__u32 at = s->length_at;
	int i;

	if (at == 0 || at > PIECE)
		return 0;
	d += at;
	for (i = 0; i < 24; i++) {
		__u8 c = d[i];

		if (c >= '0' && c <= '9')
			s->length = s->length * 10 + (c - '0');
		else if (c != ' ')
			break;
	}
	return 0;
}

/* Eight bytes a step, looking for line feeds. */
static long scan_step(__u32 i, struct scan *scan)
{
	struct scan_state *s = scan->s;
	__u32 at = s->at, k;
	__u64 w, x;

	if (at >= s->len || at >= PIECE)
		return 1;
	w = *(__u64 *)(scan->data + at);
	x = w ^ 0x0a0a0a0a0a0a0a0aULL;
	x = (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL;
	s->at = at + 8;
	if (!x)
		return 0;
	for (k = 0; k < 8; k++) {
		__u32 p = at + k + 1;
		const __u8 *d;

		if (!(x & (0x80ULL << (k * 8))) || p >= s->len)
			continue;
		d = scan->data + p;
		if (d[0] == '\n' || (d[0] == '\r' && d[1] == '\n' && p + 1 < s->len)) {
			s->head_end = p + (d[0] == '\n' ? 1 : 2);
			return 1;
		}
		scan_line(scan, p);
	}
	return 0;
}

#define CRLFCRLF 0x0a0d0a0dU

/* The blank line may be cut between this piece and the one before. */
static __always_inline void scan_seam(const struct scan *scan, __u32 tail)
{
	const __u8 *d = scan->data;
	struct scan_state *s = scan->s;

	if (tail >> 24 == '\n' && (d[0] == '\n' || (d[0] == '\r' && d[1] == '\n')))
		s->head_end = d[0] == '\n' ? 1 : 2;
	else if (tail >> 16 == 0x0d0a && d[0] == '\n') /* ...\n\r */
		s->head_end = 1;
}

/* After a piece of a head with `cap` bytes: is the head over, and what comes then? */
static __always_inline void judge_head(struct conn *c, struct op *o, const struct scan_state *s, __u32 cap)
{
	struct half *h = &c->half[o->dir & 1];
	__u64 after = cap - s->head_end;

	if (!s->head_end)
		return;
	if (s->chunked) {
		h->body = true;
	} else if (s->length_at) {
		/* a body that ends within this piece: the next message begins there, go on taking all */
		h->body_left = s->length > after ? s->length - after : 0;
	} else if (c->response_dir == o->dir + 1) {
		h->body = true;
	}
}

/* Up to SMALL bytes, whole. `room` is a constant: see fill_segment. */
static __always_inline int emit_whole(struct conn *c, struct op *o, __u32 len, const __u32 room, const bool gathered)
{
	struct ev_segment *e = fill_segment(c, o, len, len, room, gathered);
	__u32 cap;

	if (!e)
		return -1;
	cap = e->cap;
	if (cap >= 8 && cap <= room) {
		if (o->burst_start)
			note_burst_start(c, o, e->data);
		c->half[o->dir & 1].tail = last_four(e, cap, room);
	}
	submit(c, o, e);
	return 0;
}

__noinline int emit_small(struct conn *c, struct op *o, __u32 len)
{
	if (!c || !o)
		return -1;
	if (c->buffer.iovcnt)
		return len <= 256 ? emit_whole(c, o, len, 256, true) : emit_whole(c, o, len, SMALL, true);
	return len <= 256 ? emit_whole(c, o, len, 256, false) : emit_whole(c, o, len, SMALL, false);
}

/* The first `cap` (EDGE_MAX at most) of `adv` bytes. */
__noinline int emit_edge(struct conn *c, struct op *o, __u32 cap, __u32 adv)
{
	struct ev_segment *e;

	if (!c || !o)
		return -1;
	e = cap && c->buffer.iovcnt ? fill_segment(c, o, cap, adv, EDGE_MAX, true)
				    : fill_segment(c, o, cap, adv, EDGE_MAX, false);
	if (!e)
		return -1;
	submit(c, o, e);
	return 0;
}

static __always_inline int emit_scanned(struct conn *c, struct op *o, __u32 len, const bool gathered)
{
	struct ev_segment *e = fill_segment(c, o, len, len, PIECE, gathered);
	__u32 zero = 0, cap;
	struct half *h = &c->half[o->dir & 1];
	struct scan_state *s = bpf_map_lookup_elem(&scans, &zero);

	if (!e)
		return -1;
	cap = e->cap;
	if (s && cap >= 8 && cap <= PIECE) {
		struct scan scan = {.data = e->data, .s = s};

		__builtin_memset(s, 0, sizeof(*s));
		s->len = cap;
		if (o->burst_start)
			note_burst_start(c, o, e->data);
		scan_seam(&scan, h->tail);
		if (!s->head_end) {
			bpf_loop(PIECE / 8, scan_step, &scan, 0);
			parse_length(&scan);
		}
		judge_head(c, o, s, cap);
		h->tail = last_four(e, cap, PIECE);
	}
	submit(c, o, e);
	return 0;
}

__noinline int emit_head_piece(struct conn *c, struct op *o, __u32 len)
{
	if (!c || !o)
		return -1;
	return c->buffer.iovcnt ? emit_scanned(c, o, len, true) : emit_scanned(c, o, len, false);
}

struct walk {
	struct conn *c;
	struct op *o;
	__u64 left;
};

static long walk_step(__u32 i, struct walk *w)
{
	struct conn *c = w->c;
	struct op *o = w->o;
	struct half *h = &c->half[o->dir & 1];
	__u64 n = w->left;

	if (n == 0)
		return 1;
	if (h->body_left) {
		if (n > h->body_left)
			n = h->body_left;
		h->body_left -= n;
		w->left -= n;
		if (emit_edge(c, o, 0, n))
			return 1;
		if (w->left && o->readable)
			skip_bytes(&c->buffer, n);
		return 0;
	}
	if (!o->readable) {
		emit_edge(c, o, 0, n);
		return 1;
	}
	if (n <= SMALL) {
		emit_small(c, o, n);
		return 1;
	}
	if (h->body || h->burst_cap >= BURST_MAX) {
		if (emit_edge(c, o, EDGE_HEAD, n - EDGE_TAIL))
			return 1;
		skip_bytes(&c->buffer, n - EDGE_TAIL - EDGE_HEAD);
		emit_edge(c, o, EDGE_TAIL, EDGE_TAIL);
		return 1;
	}
	if (n > PIECE)
		n = PIECE;
	w->left -= n;
	return emit_head_piece(c, o, n) ? 1 : 0;
}

/* An operation of more than SMALL bytes, or in the middle of a body. */
__noinline int emit_large(struct conn *c, struct op *o, __u32 len)
{
	struct walk w = {.c = c, .o = o, .left = len};

	if (!c || !o)
		return -1;
	if (c->half[o->dir & 1].burst_cap && c->half[o->dir & 1].tail == CRLFCRLF)
		c->half[o->dir & 1].body = true;
	bpf_loop(MAX_STEPS, walk_step, &w, 0);
	return 0;
}

#endif
