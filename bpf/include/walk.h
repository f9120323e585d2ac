/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which bytes of an operation go to user space.
 *
 * This is a policy for saving copies, not a parser: user space understands the protocol from what it gets
 * and says so where it got too little. Whatever is decided wrongly here (an attacker's "Content-Length" in
 * odd places) costs copies, or one exchange that is given up and counted; never a wrong one.
 *
 *   up to SMALL bytes         all of it: no scan is cheaper than the copy
 *   more, in a head           pieces of PIECE until the blank line, BURST_MAX at most; of a new connection that nobody
 *                             knows yet, while the ring has room
 *   more, who knows where     the same, without looking for one: the head was taken unread, or is yet to end
 *   more, in a body           of known length: nothing, until the next message begins;
 *                             chunked: each chunk's first line;
 *                             else the first and the last bytes
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
#define MAX_STEPS 1024
#define CRLFCRLF 0x0a0d0a0dU

/* In a map and not on the stack: the verifier would follow every value through the loop. Nobody else can run
 * on this CPU meanwhile, and if somebody could it would cost copies.
 */
struct scan_state {
	__u32 len;
	__u32 at;
	__u32 head_end; /* offset just behind the blank line, 0 if not found */
	__u32 length_at; /* offset of Content-Length's value, 0 if there is none */
	__u64 length;
	__u8 framing;
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
		scan->s->framing |= FRAMING_CHUNKED;
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

/* After a piece of a head with `cap` bytes: is the head over, and what comes then? Returns how many of the bytes
 * can be taken as they are; those behind begin something else.
 */
static __always_inline __u32 judge_head(struct conn *c, struct op *o, const struct scan_state *s, __u32 cap)
{
	struct half *h = &c->half[o->dir & 1];
	__u64 after = cap - s->head_end;
	__u32 take = cap;

	if (!s->head_end)
		return take;
	if (h->framing)
		h->burst_cap = 1; /* what follows is skipped or framed again: BURST_MAX is for one message */
	if (h->framing & FRAMING_CHUNKED) {
		h->body = BODY_CHUNKED;
		h->instead = BODY_OPAQUE;
		h->chunk_line = LINE_START;
		h->chunk = 0;
		take = s->head_end;
	} else if (h->framing & FRAMING_LENGTH) {
		if (h->length >= after)
			h->body_left = h->length - after;
		else if (s->head_end + h->length >= SMALL) /* the next message begins within this piece */
			take = s->head_end + h->length;
		else /* many small ones: as many steps would be too many */
			h->body = BODY_UNKNOWN;
	} else if (c->response_dir == o->dir + 1) { /* until close, or 304: then the next one follows */
		h->body = BODY_UNKNOWN;
	}
	h->framing = 0;
	return take;
}

/* Up to SMALL bytes, whole, and all that is left of the operation. `room` is a constant: see fill_segment. */
static __always_inline int emit_whole(struct conn *c, struct op *o, __u32 len, const __u32 room, const bool gathered)
{
	struct half *h = &c->half[o->dir & 1];
	struct ev_segment *e = fill_segment(c, o, len, len, room, gathered);
	__u32 cap, tail = 0;

	if (!e)
		return -1;
	cap = e->cap;
	if (cap >= 8 && cap <= room) {
		if (o->burst_start)
			note_burst_start(c, o, e->data);
		tail = last_four(e, cap, room);
	}
	h->tail = tail;
	if (h->body == BODY_NONE && tail != CRLFCRLF)
		h->body = BODY_UNKNOWN;
	h->burst_cap += cap;
	send(c, o, e);
	return 0;
}

__noinline int emit_small(struct conn *c, struct op *o, __u32 len)
{
	if (!c || !o)
		return -1;
	if (buffer_of(c, o)->iovcnt)
		return len <= 256 ? emit_whole(c, o, len, 256, true) : emit_whole(c, o, len, SMALL, true);
	return len <= 256 ? emit_whole(c, o, len, 256, false) : emit_whole(c, o, len, SMALL, false);
}

/* The first `cap` (EDGE_MAX at most) of `adv` bytes. */
__noinline int emit_edge(struct conn *c, struct op *o, __u32 cap, __u32 adv)
{
	struct ev_segment *e;

	if (!c || !o)
		return -1;
	e = cap && buffer_of(c, o)->iovcnt ? fill_segment(c, o, cap, adv, EDGE_MAX, true)
				    : fill_segment(c, o, cap, adv, EDGE_MAX, false);
	if (!e)
		return -1;
	submit(c, o, e);
	return 0;
}

/* The first and the last bytes of `n`, which is more than both. */
static __always_inline void emit_edges(struct conn *c, struct op *o, __u32 n)
{
	if (emit_edge(c, o, EDGE_HEAD, n - EDGE_TAIL))
		return;
	skip_bytes(buffer_of(c, o), n - EDGE_TAIL - EDGE_HEAD);
	emit_edge(c, o, EDGE_TAIL, EDGE_TAIL);
}

static __always_inline int emit_scanned(struct conn *c, struct op *o, __u32 len, const bool gathered)
{
	struct user_buffer *b = buffer_of(c, o);
	struct ev_segment *e;
	__u32 zero = 0, cap, take;
	struct half *h = &c->half[o->dir & 1];
	struct scan_state *s;

	mark(b);
	e = fill_segment(c, o, len, len, PIECE, gathered);
	if (!e) /* before any other call: Linux 6.1 takes a later check for a leak of the record */
		return -1;
	s = bpf_map_lookup_elem(&scans, &zero);
	cap = e->cap;
	if (cap < 8) {
		h->tail = 0;
		h->body = BODY_UNKNOWN;
	} else if (h->body == BODY_UNKNOWN && cap <= PIECE) {
		h->tail = last_four(e, cap, PIECE);
	} else if (s && cap <= PIECE) {
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
		h->framing |= s->framing;
		if (s->length_at) {
			h->framing |= FRAMING_LENGTH;
			h->length = s->length;
		}
		h->tail = last_four(e, cap, PIECE);
		take = judge_head(c, o, s, cap);
		if (take < cap || h->body == BODY_CHUNKED) {
			h->tail = 0;
			len = cap = take;
			e->cap = e->adv = cap;
			rewind_to_mark(b);
			skip_bytes(b, cap);
		}
	}
	submit(c, o, e);
	return len;
}

/* Bytes taken, or negative. */
__noinline int emit_head_piece(struct conn *c, struct op *o, __u32 len)
{
	if (!c || !o)
		return -1;
	return buffer_of(c, o)->iovcnt ? emit_scanned(c, o, len, true) : emit_scanned(c, o, len, false);
}

/* Reads on in a chunk's first line. Returns how many of the `n` bytes belong to it, and says in half.chunk_line
 * whether it goes on; negative if this is no such line.
 */
__noinline int read_chunk_line(struct conn *c, struct op *o, __u32 n)
{
	struct half *h;
	struct peek *p;
	__u32 i, zero = 0;
	__u8 *s;

	p = bpf_map_lookup_elem(&peeks, &zero);
	if (!c || !o || !p || n == 0)
		return -1;
	h = &c->half[o->dir & 1];
	s = p->bytes;
	n = peek_bytes(buffer_of(c, o), p, n);
	if (n == 0)
		return -1;
	for (i = 0; i < PEEK; i++) {
		__u8 b = s[i], digit = 16;

		if (i >= n)
			return n;
		if (b >= '0' && b <= '9')
			digit = b - '0';
		else if (lower(b) >= 'a' && lower(b) <= 'f')
			digit = lower(b) - 'a' + 10;
		if (h->chunk_line == LINE_AFTER_DATA) {
			if (b == '\n')
				h->chunk_line = LINE_START;
			else if (b != '\r')
				return -1;
			continue;
		}
		if (b == '\n') {
			if (h->chunk_line == LINE_START)
				return -1;
			h->chunk_line = LINE_WHOLE;
			return i + 1;
		}
		if (h->chunk_line == LINE_EXTENSION)
			continue;
		if (digit < 16 && h->chunk < (1ULL << 56)) {
			h->chunk = h->chunk * 16 + digit;
			h->chunk_line = LINE_DIGITS;
		} else if (h->chunk_line == LINE_DIGITS && (b == ';' || b == '\r' || b == ' ' || b == '\t')) {
			h->chunk_line = LINE_EXTENSION;
		} else {
			return -1;
		}
	}
	return PEEK;
}

/* Does a message begin here? "HTTP/1", or a method in capitals and a space. */
__noinline int at_message(struct conn *c, struct op *o)
{
	__u32 i, zero = 0;
	struct peek *p = bpf_map_lookup_elem(&peeks, &zero);
	__u8 *s;

	if (!c || !o || !p || peek_bytes(buffer_of(c, o), p, 16) < 16)
		return 0;
	s = p->bytes;
	if (s[0] == 'H' && s[1] == 'T' && s[2] == 'T' && s[3] == 'P' && s[4] == '/' && s[5] == '1')
		return 1;
	for (i = 0; i < 16; i++)
		if (s[i] < 'A' || s[i] > 'Z')
			break;
	return i >= 3 && i < 16 && s[i] == ' ';
}

struct walk {
	struct conn *c;
	struct op *o;
	__u64 left;
};

/* One chunk's first line, with the chunk as far as this operation has it. */
static __always_inline long walk_chunk(struct walk *w)
{
	struct conn *c = w->c;
	struct op *o = w->o;
	struct half *h = &c->half[o->dir & 1];
	__u64 n = w->left, chunk;
	int line = read_chunk_line(c, o, n > PEEK ? PEEK : n);

	if (line <= 0) {
		h->body = at_message(c, o) ? BODY_NONE : h->instead;
		return 0;
	}
	if (h->chunk_line != LINE_WHOLE) { /* goes on behind what there is to see */
		w->left -= line;
		return emit_edge(c, o, line, line) ? 1 : 0;
	}
	chunk = h->chunk;
	h->chunk = 0;
	h->chunk_line = LINE_AFTER_DATA;
	if (chunk == 0) { /* the last one: trailers, as in a head, and perhaps the next message */
		h->body = BODY_NONE;
		w->left -= line;
		return emit_edge(c, o, line, line) ? 1 : 0;
	}
	chunk += line;
	if (chunk < n)
		n = chunk;
	h->body_left = chunk - n;
	w->left -= n;
	if (emit_edge(c, o, line, n))
		return 1;
	if (w->left)
		skip_bytes(buffer_of(c, o), n - line);
	return 0;
}

static long walk_step(__u32 i, struct walk *w)
{
	struct conn *c = w->c;
	struct op *o = w->o;
	struct half *h = &c->half[o->dir & 1];
	__u64 n = w->left;
	int done;

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
			skip_bytes(buffer_of(c, o), n);
		return 0;
	}
	if (!o->readable) {
		emit_edge(c, o, 0, n);
		return 1;
	}
	if (h->body == BODY_CHUNKED)
		return walk_chunk(w);
	if (n <= SMALL && h->body != BODY_NONE) {
		w->left = 0;
		emit_small(c, o, n);
		return 1;
	}
	if (h->body == BODY_OPAQUE || (h->burst_cap >= BURST_MAX && !(is_unknown(c) && ring_has_room()))) {
		w->left = 0;
		emit_edges(c, o, n);
		return 1;
	}
	done = emit_head_piece(c, o, n > PIECE ? PIECE : n);
	if (done <= 0)
		return 1;
	w->left -= done;
	return 0;
}

/* An operation of more than SMALL bytes, or in the middle of a body. */
__noinline int emit_large(struct conn *c, struct op *o, __u32 len)
{
	struct walk w = {.c = c, .o = o, .left = len};
	struct half *h;

	if (!c || !o)
		return -1;
	h = &c->half[o->dir & 1];
	if (h->burst_cap && h->tail == CRLFCRLF && (h->body == BODY_NONE || h->body == BODY_UNKNOWN)) {
		/* a body after a head that was taken unread; whether it is chunked shows at once */
		h->instead = h->body == BODY_NONE ? BODY_OPAQUE : BODY_UNKNOWN;
		h->body = BODY_CHUNKED;
		h->chunk_line = LINE_START;
		h->chunk = 0;
		h->tail = 0;
	} else if (h->body == BODY_UNKNOWN && at_message(c, o)) {
		h->body = BODY_NONE;
	}
	bpf_loop(MAX_STEPS, walk_step, &w, 0);
	if (w.left) /* more steps than there may be, or no room in the ring: a hole */
		h->body = BODY_OPAQUE;
	return 0;
}

#endif
