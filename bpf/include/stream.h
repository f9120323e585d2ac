/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A connection's two streams: where each begins, where in it an operation stands, what burst it belongs to, and which
 * of its bytes are passed on by whose rules (walk.h, frames.h, plain.h).
 */
#ifndef OTEL_EBPF_STREAM_H
#define OTEL_EBPF_STREAM_H

#include "walk.h"
#include "frames.h"
#include "plain.h"

/* Never re-used: the CPU in the upper bits, a count below. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} next_id SEC(".maps");

static __always_inline __u64 new_id(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&next_id, &zero);

	return n ? ((__u64)(bpf_get_smp_processor_id() + 1) << 48) | ++*n : 0;
}

/* Has either side moved bytes before this operation? */
static __always_inline bool is_old(struct tcp_sock *tp, int ret, int dir)
{
	__u32 received = tp->copied_seq - (tp->rcv_nxt - (__u32)tp->bytes_received);
	__u32 sent = tp->write_seq - (tp->snd_una - (__u32)tp->bytes_acked);

	if (dir == DIR_RECV)
		received -= ret;
	else
		sent -= ret;
	return received > 1 || sent > 1; /* SYN or FIN may be counted */
}

/* A client's answer may be read, by another thread, before the hook of its request has run. */
static __always_inline bool answer_first(struct conn *c, struct tcp_sock *tp, int ret)
{
	__u32 received = tp->copied_seq - (tp->rcv_nxt - (__u32)tp->bytes_received);
	__u32 sent = tp->write_seq - (tp->snd_una - (__u32)tp->bytes_acked);

	if (received != ret || sent < 2 || sent > SMALL * 64)
		return false;
	c->half[DIR_SEND].seq = tp->write_seq - (sent - 1); /* the SYN is counted */
	return true;
}

/* Both directions may come here at once, where one thread sends and another receives: each says where its own stream
 * begins, the faster one says the rest.
 */
static __noinline int open_conn(struct conn *c, struct sock *sk, int ret, int dir)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct half *other = &c->half[(dir + 1) & 1];

	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX) {
		c->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		c->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	}
	if (tp) {
		c->tcp = true;
		c->half[dir & 1].seq = (dir == DIR_RECV ? tp->copied_seq : tp->write_seq) - ret;
	}
	if (__sync_val_compare_and_swap(&c->id, 0, new_id()))
		return 0;
	c->old = true;
	if (tp) {
		c->old = is_old(tp, ret, dir);
		if (!other->off)
			other->seq = dir == DIR_RECV ? tp->write_seq : tp->copied_seq;
		if (dir == DIR_RECV && c->old)
			c->old = !answer_first(c, tp, ret);
	}
	return 0;
}

static __always_inline bool is_stream(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	if (family == AF_INET || family == AF_INET6)
		return sk->sk_protocol == IPPROTO_TCP;
	return family == AF_UNIX && sk->sk_type == SOCK_STREAM;
}

__noinline int emit_close(struct conn *c, struct op *o, __u32 how, int err)
{
	struct ev_close *e;

	if (!c || !o)
		return 0;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_LOST_OTHER);
		return -1;
	}
	fill_header(&e->h, c, o, EV_CLOSE);
	c->lost = 0;
	e->how = how;
	e->err = err;
	bpf_ringbuf_submit(e, wake_flag(c, o->ts));
	return 0;
}

/* Moves the stream on by this operation; bytes that no hook saw become a hole before it. */
static __always_inline void advance(struct conn *c, struct op *o, struct sock *sk, int ret, const int dir)
{
	struct half *h = &c->half[dir], *other = &c->half[!dir];
	struct tcp_sock *tp = c->tcp ? bpf_skc_to_tcp_sock(sk) : NULL;

	if (tp) {
		/* a FIN that was read, perhaps in this very operation, counts as a byte */
		bool fin = sk->sk_shutdown & RCV_SHUTDOWN && tp->copied_seq == tp->rcv_nxt;
		__u32 received = tp->copied_seq - fin, written = tp->write_seq;
		__u32 end = dir == DIR_RECV ? received : written;
		__s32 hole = end - ret - h->seq;
		__s32 ahead = (dir == DIR_RECV ? written : received) - other->seq;

		if (hole > 0) {
			h->off += hole;
			pass_unseen(h, hole);
		}
		h->seq = end;
		o->other_off = other->off + (ahead > 0 ? ahead : 0);
	}
	o->off = h->off;
	h->off += ret;
}

/* The other side had the word before: what was being followed this way may be over. */
static __always_inline void begin_burst(struct conn *c, struct op *o, int dir)
{
	struct half *h = &c->half[dir & 1];

	c->last_dir = dir + 1;
	o->burst_start = true;
	h->burst_ts = o->ts;
	h->burst_cap = 0;
	h->tail = 0;
	h->body = BODY_NONE;
	h->framing = 0;
	if (c->response_dir && c->response_dir != dir + 1) { /* a new request, or more of a body */
		c->half[(dir + 1) & 1].body_left = 0;	/* a HEAD's Content-Length, say */
		if (!h->body_left) {
			c->broken = false;
			c->muted = false;
		}
	}
}

/* A burst begins or goes on. False: this operation is of an exchange that is not told any longer. */
static __always_inline bool follow_burst(struct conn *c, struct op *o, int dir)
{
	if (c->last_dir != dir + 1)
		begin_burst(c, o, dir);
	else
		o->burst_start = c->half[dir & 1].burst_cap == 0;
	return !c->muted && (!c->broken || o->burst_start);
}

/* False: this operation is not looked at. */
static __always_inline bool follow(struct conn *c, struct op *o, int dir)
{
	if (c->mode == MODE_HTTP1)
		return follow_burst(c, o, dir);
	if (c->mode != MODE_HTTP2) { /* which does not become TLS, and where both ways go on at once */
		o->burst_start = c->last_dir != dir + 1;
		c->last_dir = dir + 1;
		if (o->burst_start)
			c->half[dir & 1].burst_cap = 0;
	}
	return true;
}

/* To user space, as much of it as is wanted. */
static __always_inline int carry(struct conn *c, struct op *o, int len, int dir)
{
	struct half *h = &c->half[dir & 1];

	if (c->mode == MODE_PLAIN)
		return carry_plain(c, o, len);
	if (c->mode != MODE_HTTP1)
		return carry_frames(c, o, len);

	if (c->broken) {
		int status = response_status(c, o);

		if (status) {
			hand_over(c, o, status);
			return 0;
		}
		c->broken = false;
	}
	if (len <= SMALL && o->readable && !h->body_left && h->body != BODY_CHUNKED)
		return emit_small(c, o, len);
	return emit_large(c, o, len);
}

#endif
