/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which bytes of an operation go to user space where HTTP/2 is spoken (RFC 9113), or another protocol of frames, whose
 * `struct frame_format` user space has told.
 *
 * Each half of a connection is a sequence of frames, whose headers say how long they are. Being in step is knowing
 * where the next one begins.
 *
 *   headers of frames         all of them
 *   payload                   up to FRAME_SHORT all of it: a record costs more than the copy;
 *                             more, as much as the format wants
 *   of HTTP/2's DATA,         the first FRAME_LEAD bytes are wanted: padding's length, gRPC's message length
 *     unknown types
 *   of HTTP/2's other types   all of it, FRAME_TAKE_MAX at most
 *   out of step               all of up to SMALL; of more as much as there is of a head, then the edges
 *
 * What is passed over is told by a record's `adv`, as with bodies of HTTP/1. As there, whatever is decided wrongly
 * costs copies, or a hole where user space had wanted bytes.
 */
#ifndef OTEL_EBPF_FRAMES_H
#define OTEL_EBPF_FRAMES_H

#include "plain.h"

#define PREFACE_LEN 24
#define START_MAX 4096 /* how far a server may have got before it is known what it speaks */
#define FRAME_HEADER 9
#define FRAMES_MAX 4096 /* of one operation */
#define FRAME_LEAD 16
#define FRAME_SHORT 512
#define FRAME_TAKE_MAX (64 << 10)
#define FRAME_MAX (1 << 20)	 /* longer ones are allowed, but not met */
#define FRAME_MAX_DEFAULT 16384 /* what a peer takes that has said nothing else */
/* of other protocols */
#define FRAMED_MAX (1U << 30)
#define FRAMED_LIKELY (64U << 20) /* text taken for a length is more */
#define FRAMED_LOOK 4		   /* headers that are looked at where a frame seems to begin */

enum frame_type {
	FRAME_DATA = 0,
	FRAME_HEADERS,
	FRAME_PRIORITY,
	FRAME_RST_STREAM,
	FRAME_SETTINGS,
	FRAME_PUSH_PROMISE,
	FRAME_PING,
	FRAME_GOAWAY,
	FRAME_WINDOW_UPDATE,
	FRAME_CONTINUATION,
	FRAME_TYPES,
};

/* Longer than an index can be, for the verifier, and not of 16 or 32 bytes: such constants clang puts in a section of
 * their own, which BTF knows nothing of.
 */
static const __u8 frame_flags[16 + 1] = {0x09, 0x2d, 0, 0, 0x01, 0x0c, 0x01, 0, 0, 0x04};
static const char preface[32 + 1] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* HTTP/2 it is, for good. Where its frames begin remains to be seen. */
static __always_inline void begin_http2(struct conn *c)
{
	c->mode = MODE_HTTP2;
	c->broken = false; /* an exchange of HTTP/1's */
	c->muted = false;
}

/* A protocol of such frames it is, for good. */
static __always_inline void begin_framed(struct conn *c, const struct frame_format *format)
{
	__u32 d;

	c->mode = MODE_FRAMED;
	c->broken = false;
	c->muted = false;
	c->format = *format;
	for (d = 0; d < 2; d++) { /* what was taken for HTTP/2's meanwhile */
		c->half[d].in_step = false;
	}
}

static __always_inline __u32 header_len(const struct conn *c)
{
	return c->mode == MODE_FRAMED ? c->format.header : FRAME_HEADER;
}

/* In HTTP/2 the type stands in the fourth of the bytes that are looked at. */
static __always_inline __u32 length_at(const struct conn *c)
{
	return c->mode == MODE_FRAMED ? c->format.length_at & (FORMAT_HEADER_MAX - 1) : 0;
}

/* What the four bytes from the length on say. */
static __always_inline __u32 payload_len(const struct frame_format *format, __u32 head)
{
	__u32 unused = 32 - 8 * (format->length_bytes & 7);

	head = format->little_endian ? head << (unused & 31) >> (unused & 31) : bpf_ntohl(head) >> (unused & 31);
	return head + format->bias; /* below zero: more than any frame has */
}

static __always_inline bool fits(__u32 type, __u32 len)
{
	switch (type) {
	case FRAME_PRIORITY:
		return len == 5;
	case FRAME_RST_STREAM:
	case FRAME_WINDOW_UPDATE:
		return len == 4;
	case FRAME_PING:
		return len == 8;
	case FRAME_SETTINGS:
		return len % 6 == 0;
	default:
		return true;
	}
}

/* The header at hand is complete: what of the payload is wanted? False: it was none. */
static __always_inline bool begin_frame(const struct conn *c, struct half *h, __u32 dir)
{
	__u32 head = h->head, len, type, want;

	h->head = 0;
	h->head_got = 0;
	if (c->mode == MODE_FRAMED) {
		len = payload_len(&c->format, head);
		want = c->format.want[dir & 1];
		h->in_step = len <= FRAMED_MAX;
	} else {
		len = bpf_ntohl(head) >> 8;
		type = head >> 24;
		want = type != FRAME_DATA && type < FRAME_TYPES ? FRAME_TAKE_MAX : FRAME_LEAD;
		h->in_step = len <= FRAME_MAX && fits(type, len);
	}
	if (!h->in_step)
		return false;
	if (len <= FRAME_SHORT || want > len)
		want = len;
	h->take = want;
	h->skip = len - want;
	return true;
}

/* Do these nine look like a frame's header? */
static __always_inline bool is_header(const __u8 *s)
{
	__u32 len = (__u32)s[0] << 16 | (__u32)s[1] << 8 | s[2], type = s[3];
	__u32 stream = (__u32)s[5] << 24 | (__u32)s[6] << 16 | (__u32)s[7] << 8 | s[8];

	if (len > FRAME_MAX_DEFAULT || type >= FRAME_TYPES || !fits(type, len) || stream >> 31)
		return false;
	if (s[4] & ~frame_flags[type & 15])
		return false;
	if (type == FRAME_SETTINGS || type == FRAME_PING || type == FRAME_GOAWAY)
		return stream == 0;
	return stream != 0 || type == FRAME_WINDOW_UPDATE;
}

static __always_inline bool is_lettered(__u8 c, __u32 payload)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9' && payload == 0);
}

/* Could this be a header of the connection's format? How long the frame is; 0 if not. */
static __always_inline __u64 likely_frame(const struct conn *c, const __u8 *header)
{
	const struct frame_format *format = &c->format;
	__u32 payload = payload_len(format, *(__u32 *)(header + length_at(c)));

	if (payload > FRAMED_LIKELY || (format->lettered && !is_lettered(header[0], payload)))
		return 0;
	return (__u64)format->header + payload;
}

/* Does the first of an operation's `len` bytes begin a frame of the connection's format? `n` of them have been looked
 * at. It does if there is one behind the other up to where the operation ends; where the other side had the word
 * before, the last may be cut. Of many, and of those that are not in one piece, the first are believed.
 */
static __always_inline bool begins_frame(struct conn *c, struct op *o, struct peek *p, __u32 n, __u32 len)
{
	const struct frame_format *format = &c->format;
	struct user_buffer *b = buffer_of(c, o);
	__u32 header = format->header, i;
	__u64 at = 0, frame;

	clamp_max(header, FORMAT_HEADER_MAX);
	if (n < length_at(c) + format->length_bytes)
		return false;
#pragma unroll
	for (i = 0; i < FRAMED_LOOK; i++) { /* Linux 6.1 takes no call at the head of a loop */
		frame = likely_frame(c, p->bytes);
		if (!frame)
			return false;
		at += frame;
		if (at == len || (at + header > len && o->burst_start))
			return true;
		if (b->iovcnt)
			return o->burst_start;
		if (at + header > len || bpf_probe_read_user(p->bytes, header, (void *)(b->base + at)))
			return false;
	}
	return true;
}

/* Does a frame begin where this operation does? */
__noinline int get_in_step(struct conn *c, struct op *o, __u32 len)
{
	__u32 zero = 0, n;
	struct peek *p = bpf_map_lookup_elem(&peeks, &zero);
	struct half *h;

	if (!c || !o || !p)
		return 0;
	n = header_len(c);
	n = peek_bytes(buffer_of(c, o), p, len < n ? len : n);
	if (c->mode == MODE_FRAMED ? !begins_frame(c, o, p, n, len) : n < FRAME_HEADER || !is_header(p->bytes))
		return 0;
	h = &c->half[o->dir & 1];
	h->take = 0;
	h->skip = 0;
	h->head = 0;
	h->head_got = 0;
	h->in_step = true;
	return 0;
}

/* `n` bytes go by that can't be read: a frame may begin in them only where they end. */
static __always_inline void pass_unseen(struct half *h, __u64 n)
{
	__u32 take = h->take;

	if (n > (__u64)take + h->skip) {
		h->in_step = false;
	} else if (n < take) {
		h->take = take - n;
	} else {
		h->take = 0;
		h->skip -= n - take;
	}
}

/* Captured bytes on which a half moves on. */
struct frames {
	const struct conn *c;
	struct half *h;
	const __u8 *data;
	__u32 dir;
	__u32 header;
	__u32 length_at;
	__u32 len;
	bool cut; /* stop at the first that are not wanted */
};

/* The next byte of a header that is cut. */
static __always_inline void read_header(struct half *h, __u8 byte, __u32 length_at)
{
	__u32 place = h->head_got++ - length_at;

	if (place < 4)
		h->head |= (__u32)byte << (8 * place & 31);
}

/* One frame's payload, as far as it is here, and the header behind it. The cursor stands in the half and not on the
 * stack because the verifier would follow every value of it. `room` is a constant: see fill_segment.
 */
static __always_inline long frame_step(struct frames *f, const __u32 room)
{
	struct half *h = f->h;
	__u32 at = h->at, left, n;

	if (at >= f->len)
		return 1;
	left = f->len - at;
	if (h->take) {
		n = h->take < left ? h->take : left;
		h->take -= n;
		at += n;
		left -= n;
	}
	if (h->skip && !h->take) {
		if (f->cut) {
			h->at = at;
			return 1;
		}
		n = h->skip < left ? h->skip : left;
		h->skip -= n;
		at += n;
		left -= n;
	}
	h->at = at;
	if (!left)
		return 1;
	barrier_var(at); /* Linux 6.1 does not see the bound on a copy */
	if (at >= room)
		return 1;
	if (left >= f->header && !h->head_got) {
		h->at = at + f->header;
		at += f->length_at;
		barrier_var(at);
		if (at >= room)
			return 1;
		h->head = *(__u32 *)(f->data + at);
	} else {
		h->at = at + 1;
		read_header(h, f->data[at], f->length_at);
		if (h->head_got < f->header)
			return 0;
	}
	return !begin_frame(f->c, h, f->dir);
}

static long frame_step_256(__u32 i, struct frames *f)
{
	return frame_step(f, 256);
}

static long frame_step_1024(__u32 i, struct frames *f)
{
	return frame_step(f, 1024);
}

static long frame_step_4096(__u32 i, struct frames *f)
{
	return frame_step(f, 4096);
}

/* Passes on the next `len` bytes (`room` at most) of the `left` that the operation has. Where there are more, those
 * up to the first that are not wanted, and speaks for these as well. Returns how many it spoke for, or negative.
 */
static __always_inline int emit_run(struct conn *c, struct op *o, __u32 len, __u32 left, const __u32 room,
				    const bool gathered)
{
	struct user_buffer *b = buffer_of(c, o);
	struct frames f = {.c = c,
			   .h = &c->half[o->dir & 1],
			   .dir = o->dir,
			   .header = header_len(c),
			   .length_at = length_at(c),
			   .len = len,
			   .cut = len < left};
	struct half *h = f.h;
	struct ev_segment *e;
	__u32 skip;

	mark(b);
	e = fill_segment(c, o, len, len, room, gathered);
	if (!e)
		return -1;
	f.data = e->data;
	f.len = e->cap;
	h->at = 0;
	/* a header may be cut at either end, and is then taken byte by byte */
	bpf_loop(room + 1,
		 room <= 256	? frame_step_256
		 : room <= 1024 ? frame_step_1024
				: frame_step_4096,
		 &f, 0);
	if (f.cut && h->in_step && h->skip && !h->take) {
		skip = left - h->at;
		if (skip > h->skip)
			skip = h->skip;
		h->skip -= skip;
		e->cap = h->at;
		len = h->at + skip;
		e->adv = len;
	} else if (e->cap < len) {
		pass_unseen(h, len - e->cap);
	}
	submit(c, o, e);
	if (len < left) {
		rewind_to_mark(b);
		skip_bytes(b, len);
	}
	return len;
}

__noinline int emit_frames(struct conn *c, struct op *o, __u32 len, __u32 left)
{
	if (!c || !o)
		return -1;
	if (buffer_of(c, o)->iovcnt)
		return len <= 256 ? emit_run(c, o, len, left, 256, true) : emit_run(c, o, len, left, SMALL, true);
	return len <= 256 ? emit_run(c, o, len, left, 256, false) : emit_run(c, o, len, left, SMALL, false);
}

__noinline int emit_many_frames(struct conn *c, struct op *o, __u32 len, __u32 left)
{
	if (!c || !o)
		return -1;
	return buffer_of(c, o)->iovcnt ? emit_run(c, o, len, left, PIECE, true)
				       : emit_run(c, o, len, left, PIECE, false);
}

/* What is left of it stands in the half: see frame_step. */
struct operation {
	struct conn *c;
	struct op *o;
};

static long frames_step(__u32 i, struct operation *w)
{
	struct conn *c = w->c;
	struct op *o = w->o;
	struct half *h = &c->half[o->dir & 1];
	__u32 n = h->left, piece;
	int done;

	if (n == 0)
		return 1;
	if (!h->in_step && n > SMALL && (h->burst_cap < BURST_MAX || ring_has_room())) {
		piece = n < PIECE ? n : PIECE;
		h->left -= piece;
		return emit_piece(c, o, piece, piece) ? 1 : 0;
	}
	if (!h->in_step) {
		h->left = 0;
		if (n <= SMALL)
			emit_small(c, o, n);
		else
			emit_edges(c, o, n);
		return 1;
	}
	if (h->skip && !h->take) {
		if (n > h->skip)
			n = h->skip;
		h->skip -= n;
		h->left -= n;
		h->run = 0;
		done = emit_edge(c, o, 0, n);
		if (h->left)
			skip_bytes(buffer_of(c, o), n);
		return done ? 1 : 0;
	}
	/* most often a header or two and then something long: larger pieces once it is not */
	piece = n <= SMALL ? n : h->run == 0 ? 256 : h->run == 256 ? SMALL : n < PIECE ? n : PIECE;
	done = piece <= SMALL ? emit_frames(c, o, piece, n) : emit_many_frames(c, o, piece, n);
	if (done <= 0)
		return 1;
	h->left -= done;
	h->run = done == piece ? h->run + done : 0;
	return 0;
}

/* The same without a record. */
static long lose_step(__u32 i, struct operation *w)
{
	struct conn *c = w->c;
	struct op *o = w->o;
	struct half *h = &c->half[o->dir & 1];
	struct user_buffer *b = buffer_of(c, o);
	__u32 zero = 0, n, header;
	struct peek *p = bpf_map_lookup_elem(&peeks, &zero);

	if (!p || h->left == 0 || !h->in_step)
		return 1;
	n = h->take + h->skip;
	if (n) {
		if (n > h->left)
			n = h->left;
		pass_unseen(h, n);
	} else {
		header = header_len(c);
		n = h->head_got || h->left < header ? 1 : header;
		if (peek_bytes(b, p, n) < n)
			return 1;
		if (n == 1)
			read_header(h, p->bytes[0], length_at(c));
		else
			h->head = *(__u32 *)(p->bytes + length_at(c));
		if (n == header || h->head_got == header)
			begin_frame(c, h, o->dir);
	}
	h->left -= n;
	skip_bytes(b, n);
	return 0;
}

/* The ring had no room for what is left of an operation: user space sees a hole, the half moves on. */
__noinline int lose_frames(struct conn *c, struct op *o, __u32 left)
{
	struct operation w = {.c = c, .o = o};
	struct half *h;

	if (!c || !o)
		return 0;
	h = &c->half[o->dir & 1];
	h->left = left;
	if (o->readable)
		bpf_loop(FRAMES_MAX, lose_step, &w, 0);
	if (h->left)
		pass_unseen(h, h->left);
	return 0;
}

/* A stream's first bytes, as long as it is not known what is spoken. The client's begin with the preface. The server
 * may have spoken before it: what may be frames is followed, for the case that it comes.
 */
__noinline int read_start(struct conn *c, struct op *o, __u32 len)
{
	__u32 zero = 0, i, n, d;
	struct peek *p = bpf_map_lookup_elem(&peeks, &zero);
	struct half *h, *other;
	struct user_buffer *b;
	__u64 base, at_used;
	__u32 at;

	if (!c || !o || !p)
		return 0;
	d = o->dir & 1;
	h = &c->half[d];
	if (!o->readable || o->off >= START_MAX) {
		h->in_step = false;
		return 0;
	}
	b = buffer_of(c, o);
	if (o->off == c->preface[d]) {
		n = PREFACE_LEN - c->preface[d];
		n = peek_bytes(b, p, len < n ? len : n);
		for (i = 0; i < PREFACE_LEN; i++)
			if (i >= n || p->bytes[i] != preface[(o->off + i) & 31])
				break;
		if (i && i == n) {
			c->preface[d] += n;
			if (c->preface[d] < PREFACE_LEN)
				return 0;
			begin_http2(c);
			h->take = n;
			h->in_step = true;
			other = &c->half[d ^ 1];
			if (!other->off)
				other->in_step = true;
			return 0;
		}
		if (o->off == 0)
			h->in_step = n < FRAME_HEADER ? n > 0 : is_header(p->bytes);
	}
	if (!h->in_step)
		return 0;
	base = b->base;
	at = b->at;
	at_used = b->at_used;
	lose_frames(c, o, len);
	b->base = base;
	b->at = at;
	b->at_used = at_used;
	return 0;
}

static __always_inline bool is_start(const struct conn *c, const struct op *o, int dir)
{
	return c->mode == MODE_HTTP1 && (o->off == c->preface[dir & 1] || c->half[dir & 1].in_step);
}

/* To user space, as much of an operation as is wanted. */
__noinline int carry_frames(struct conn *c, struct op *o, __u32 len)
{
	struct operation w = {.c = c, .o = o};
	struct half *h;

	if (!c || !o)
		return -1;
	h = &c->half[o->dir & 1];
	if (!o->readable) {
		pass_unseen(h, len);
		return emit_edge(c, o, 0, len);
	}
	if (!h->in_step)
		get_in_step(c, o, len);
	if (len <= SMALL && h->in_step && (h->take || h->skip < len))
		return emit_frames(c, o, len, len) > 0 ? 0 : lose_frames(c, o, len);
	h->left = len;
	h->run = 0;
	bpf_loop(FRAMES_MAX, frames_step, &w, 0);
	if (!h->left)
		return 0;
	c->lost |= EV_F_LOST; /* the ring is full, or they are too many */
	return lose_frames(c, o, h->left);
}

#endif
