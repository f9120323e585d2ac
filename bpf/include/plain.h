/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which bytes of an operation go to user space where something else than HTTP is spoken, of which it is not known how
 * it is framed.
 *
 *   up to PLAIN_WHOLE bytes   all of them
 *   more                      the first PLAIN_HEAD and the last EDGE_TAIL
 *   behind BURST_MAX of a     all of up to SMALL, else the first EDGE_HEAD and the last EDGE_TAIL: somebody's 100 MB take
 *     burst, while the reader   no room from what others say
 *     is behind
 *
 * Else each operation for itself: there may be one direction only, for hours. Nothing is read out of the bytes, and what
 * the ring has no room for is a hole.
 */
#ifndef OTEL_EBPF_PLAIN_H
#define OTEL_EBPF_PLAIN_H

#include "walk.h"

#define PLAIN_WHOLE (256 << 10) /* what asyncio asks for at once */
#define PLAIN_HEAD PIECE

/* For good, and from the next operation on. */
static __always_inline void begin_plain(struct conn *c)
{
	c->mode = MODE_PLAIN;
	c->broken = false; /* an exchange of HTTP/1's */
	c->muted = false;
}

/* The first `cap` (PIECE at most) of `adv` bytes. */
__noinline int emit_piece(struct conn *c, struct op *o, __u32 cap, __u32 adv)
{
	struct ev_segment *e;

	if (!c || !o)
		return -1;
	/* what is reserved and not used is room that the ring lacks when much happens at once */
	if (buffer_of(c, o)->iovcnt)
		e = cap <= PIECE / 2 ? fill_segment(c, o, cap, adv, PIECE / 2, true)
				     : fill_segment(c, o, cap, adv, PIECE, true);
	else
		e = cap <= PIECE / 2 ? fill_segment(c, o, cap, adv, PIECE / 2, false)
				     : fill_segment(c, o, cap, adv, PIECE, false);
	if (!e)
		return -1;
	submit(c, o, e);
	return 0;
}

static long plain_step(__u32 i, struct walk *w)
{
	__u64 n = w->left > PIECE ? PIECE : w->left;

	w->left -= n;
	return n == 0 || emit_piece(w->c, w->o, n, n);
}

/* The first and the last bytes of `len`, which is more than both. */
static __always_inline int emit_plain_edges(struct conn *c, struct op *o, __u32 len)
{
	if (emit_piece(c, o, PLAIN_HEAD, len - EDGE_TAIL))
		return 0;
	skip_bytes(buffer_of(c, o), len - EDGE_TAIL - PLAIN_HEAD);
	return emit_edge(c, o, EDGE_TAIL, EDGE_TAIL);
}

__noinline int carry_plain(struct conn *c, struct op *o, __u32 len)
{
	struct walk w = {.c = c, .o = o, .left = len};

	if (!c || !o)
		return -1;
	if (!o->readable)
		return emit_edge(c, o, 0, len);
	if (len <= SMALL)
		return emit_small(c, o, len);
	if (c->half[o->dir & 1].burst_cap >= BURST_MAX && !ring_has_room()) {
		emit_edges(c, o, len);
		return 0;
	}
	if (len > PLAIN_WHOLE)
		return emit_plain_edges(c, o, len);
	bpf_loop(PLAIN_WHOLE / PIECE, plain_step, &w, 0);
	return 0;
}

#endif
