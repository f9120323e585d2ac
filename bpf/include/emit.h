/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Records into the ring, and what happens when it has no room. */
#ifndef OTEL_EBPF_EMIT_H
#define OTEL_EBPF_EMIT_H

#include "kernel.h"
#include "maps.h"
#include "buffer.h"

/* One socket operation on its way to the ring. No pointers: what is handed this way can be verified once, as a
 * global function, instead of once a call.
 */
struct op {
	__u64 ts;
	__u64 off; /* stream offset of the next byte to speak for */
	__u64 other_off;
	__u32 tgid;
	__u8 dir;
	__u8 burst_start; /* no byte of this burst has been captured yet */
	__u8 readable;	  /* buffer_of() is valid */
	__u8 pad;
};

static __always_inline struct user_buffer *buffer_of(struct conn *c, const struct op *o)
{
	return &c->buffer[o->dir & 1];
}

#define UNKNOWN_WAKE (16 << 10) /* bytes of a burst by which the reader has to say what is spoken */

/* Once a millisecond at most: waking costs more than many records. */
static __always_inline __u64 wake_now(__u64 ts)
{
	if (ts < next_wake_ns)
		return BPF_RB_NO_WAKEUP;
	next_wake_ns = ts + 1000000;
	return BPF_RB_FORCE_WAKEUP;
}

/* The reader polls every 100 ms; it is woken earlier when the ring fills up. Each connection looks now and then:
 * the ring holds thousands of records.
 */
static __always_inline __u64 wake_flag(const struct conn *c, __u64 ts)
{
	if (c->ops & 3 || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < wake_bytes)
		return BPF_RB_NO_WAKEUP;
	return wake_now(ts);
}

/* The reader is behind, but half of the ring is free: there is room for what it would rather have whole. */
static __always_inline bool ring_has_room(void)
{
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) < 4 * wake_bytes;
}

/* Nobody has said yet what this new connection speaks, and it is not HTTP/1 that is answered. */
static __always_inline bool is_unknown(const struct conn *c)
{
	return c->mode == MODE_HTTP1 && !c->response_dir && !c->old;
}

static __always_inline void fill_header(struct ev_hdr *h, const struct conn *c, const struct op *o, __u8 kind)
{
	h->kind = kind;
	h->dir = o->dir;
	h->flags = c->lost;
	h->tgid = o->tgid;
	h->conn = c->id;
	h->ts_ns = o->ts;
}

static __always_inline void unix_path(struct sock *sk, __u8 *path)
{
	struct unix_sock *u = (struct unix_sock *)sk;
	struct unix_address *addr = BPF_CORE_READ(u, addr);
	int len;

	if (!addr) {
		u = (struct unix_sock *)BPF_CORE_READ(u, peer);
		if (!u)
			return;
		addr = BPF_CORE_READ(u, addr);
	}
	if (!addr)
		return;
	len = BPF_CORE_READ(addr, len) - 2;
	if (len <= 0)
		return;
	bpf_probe_read_kernel(path, len & (UNIX_PATH_LEN - 1), (void *)addr + bpf_core_field_offset(addr->name) + 2);
	if (path[0] == 0) /* abstract */
		path[0] = '@';
}

/* The address that a datagram is sent to. */
static __always_inline void named_address(struct ev_open *e, __u64 at)
{
	if (at && e->family == AF_INET6)
		bpf_probe_read_user(e->remote_addr, 16, (void *)(at + USER_ADDRESS_6));
	else if (at)
		bpf_probe_read_user(e->remote_addr, 4, (void *)(at + USER_ADDRESS_4));
}

/* Tells user space of a connection before the first record of it. */
static __noinline int announce(struct conn *c, struct op *o, struct sock *sk, struct task_struct *task)
{
	struct task_struct *leader;
	struct ev_open *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e) {
		count(COUNT_LOST_OTHER);
		return -1;
	}
	fill_header(&e->h, c, o, EV_OPEN);
	if (c->old || c->announced)
		e->h.flags |= EV_F_OLD;
	/* The library may be probed in the middle of the first exchange: who asks is not told by who speaks first. */
	if (c->tls == TLS_YES)
		e->h.flags |= EV_F_TLS | EV_F_OLD;
	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	e->local_port = c->local_port;
	e->remote_port = c->remote_port;
	e->pad = 0;
	__builtin_memset(e->local_addr, 0, sizeof(e->local_addr));
	__builtin_memset(e->remote_addr, 0, sizeof(e->remote_addr));
	__builtin_memset(e->unix_path, 0, sizeof(e->unix_path));
	if (c->mode == MODE_DATAGRAM)
		e->h.flags |= EV_F_UDP;
	if (e->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local_addr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->remote_addr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else if (e->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)&e->local_addr, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)&e->remote_addr, sk, __sk_common.skc_daddr);
	} else {
		unix_path(sk, e->unix_path);
	}
	if (c->mode == MODE_DATAGRAM && o->dir == DIR_SEND && !sk->__sk_common.skc_dport)
		named_address(e, send_name(task, c));
	e->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	e->uid = bpf_get_current_uid_gid();
	e->cgroup_id = bpf_get_current_cgroup_id();
	leader = task->group_leader;
	e->start_boottime_ns = leader->start_boottime;
	BPF_CORE_READ_STR_INTO(&e->comm, leader, comm);
	/* a new process's /proc entry may soon be gone */
	bpf_ringbuf_submit(e, wake_now(o->ts));
	c->announced = announce_generation;
	return 0;
}

static __always_inline __u32 duration_bucket(__u64 ns)
{
	static const __u64 bounds_ns[] = {5000000,	 10000000,   25000000,	 50000000,   75000000,
					  100000000,	 250000000,  500000000,	 750000000,  1000000000,
					  2500000000ULL, 5000000000ULL, 7500000000ULL, 10000000000ULL};
	__u32 i = 0;

	for (; i < DURATION_BUCKETS - 1; i++)
		if (ns <= bounds_ns[i])
			break;
	return i;
}

static const struct overflow_value no_exchanges; /* not on the stack, which is deep here */

/* Counts an exchange that the ring had no room for. `status` 0: it never got an answer. */
__noinline int count_overflow(struct conn *c, struct op *o, __u32 status)
{
	struct overflow_key key = {.status = status};
	struct overflow_value *v;
	struct half *request;
	__u64 ns;
	__u32 b;

	if (!c || !o)
		return 0;
	key.tgid = c->tgid;
	/* the response goes o->dir; at a close without response, response_dir may still tell */
	key.server = status ? o->dir == DIR_SEND : c->response_dir == DIR_SEND + 1;
	key.server_port = key.server ? c->local_port : c->remote_port;
	request = key.server ? &c->half[DIR_RECV] : &c->half[DIR_SEND];
	ns = o->ts > request->burst_ts ? o->ts - request->burst_ts : 0;
	count(COUNT_LOST_EXCHANGE);
	v = bpf_map_lookup_elem(&overflow, &key);
	if (!v) {
		bpf_map_update_elem(&overflow, &key, &no_exchanges, BPF_NOEXIST);
		v = bpf_map_lookup_elem(&overflow, &key);
	}
	if (!v) {
		count(COUNT_OVERFLOW_FULL);
		return 0;
	}
	b = duration_bucket(ns);
	v->count++;
	v->sum_ns += ns;
	if (b < DURATION_BUCKETS)
		v->buckets[b]++;
	return 0;
}

/* "HTTP/1.x NNN": the status; 0 where the operation does not begin like a final response. */
__noinline int response_status(struct conn *c, struct op *o)
{
	__u8 s[12] = {};
	__u64 at;
	int status;

	if (!c || !o || !o->readable)
		return 0;
	if (first_piece(buffer_of(c, o), &at) < sizeof(s) || bpf_probe_read_user(s, sizeof(s), (void *)at))
		return 0;
	if (s[0] != 'H' || s[1] != 'T' || s[2] != 'T' || s[3] != 'P' || s[4] != '/' || s[5] != '1')
		return 0;
	status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
	return status >= 200 && status < 600 ? status : 0;
}

/* The exchange is the overflow map's from here on, and user space is told with the connection's next record. */
static __always_inline void hand_over(struct conn *c, struct op *o, int status)
{
	c->response_dir = o->dir + 1;
	c->lost |= EV_F_LOST | EV_F_COUNTED;
	c->broken = false;
	c->muted = true;
	count_overflow(c, o, status);
}

/* A record of this operation could not be written. From here on the exchange is either user space's, which
 * sees a hole in a body, or the overflow map's, which user space learns from EV_F_COUNTED: never both.
 */
__noinline int lost_record(struct conn *c, struct op *o)
{
	int status;

	if (!c || !o)
		return 0;
	count(COUNT_LOST_SEGMENT);
	c->lost |= EV_F_LOST;
	if (c->mode != MODE_HTTP1) /* user space sees a hole, and judges */
		return 0;
	if (c->response_dir == o->dir + 1 && !o->burst_start)
		return 0; /* a part of the body: user space has the head */
	c->lost |= EV_F_COUNTED;
	status = o->burst_start ? response_status(c, o) : 0;
	if (status)
		hand_over(c, o, status);
	else
		c->broken = true;
	return 0;
}

/* What the first bytes of a burst say about the direction. */
static __always_inline void note_burst_start(struct conn *c, const struct op *o, const __u8 *data)
{
	if (*(__u32 *)data == bpf_htonl('H' << 24 | 'T' << 16 | 'T' << 8 | 'P') &&
	    *(__u16 *)(data + 4) == bpf_htons('/' << 8 | '1'))
		c->response_dir = o->dir + 1;
}

/* Readable bytes behind the captured ones, so that looking ahead needs no check a byte. */
#define SLACK 64

/* The last four of `cap` captured bytes; `room` is a power of two, cap is from 4 to room. */
static __always_inline __u32 last_four(const struct ev_segment *e, __u32 cap, const __u32 room)
{
	__u32 at = cap - 4;

	barrier_var(at); /* or the mask, which only the verifier needs, is optimised away */
	at &= room - 1;
	return *(__u32 *)(e->data + at);
}

/* Copies the next `cap` bytes of the user's buffer into a record that speaks for `adv` bytes. `room` (256, 1024,
 * 2048 or 4096) is a constant for the verifier; gathering from iovecs needs twice the room (see buffer.h).
 */
static __always_inline struct ev_segment *fill_segment(struct conn *c, struct op *o, __u32 cap, __u32 adv,
						       const __u32 room, const bool gathered)
{
	struct user_buffer *b = buffer_of(c, o);
	struct ev_segment *e;

	e = bpf_ringbuf_reserve(&ring, sizeof(*e) + room + (gathered ? room : 0) + (room > 1024 ? SLACK : 8), 0);
	if (!e) {
		lost_record(c, o);
		return NULL;
	}
	fill_header(&e->h, c, o, EV_SEGMENT);
	e->off = o->off;
	e->other_off = o->other_off;
	e->adv = adv;
	clamp_max(cap, room);
	if (gathered && room <= 1024 && cap == adv && b->iovcnt <= FEW && !b->at && !b->at_used) {
		cap = gather_few(b, e->data, cap, room);
	} else if (gathered) {
		struct gather g = {.b = b, .to = e->data, .want = cap};

		b->done = 0;
		bpf_loop(MAX_IOVECS,
			 room <= 256	? gather_256
			 : room <= 1024 ? gather_1024
			 : room <= 2048 ? gather_2048
					: gather_4096,
			 &g, 0);
		cap = b->done;
	} else if (cap) {
		if (bpf_probe_read_user(e->data, cap, (void *)b->base)) {
			count(COUNT_UNREADABLE);
			cap = 0;
		} else {
			b->base += cap;
		}
	}
	e->cap = cap;
	return e;
}

static __always_inline void send(struct conn *c, const struct op *o, struct ev_segment *e)
{
	c->lost = 0;
	bpf_ringbuf_submit(e, wake_flag(c, o->ts));
}

static __always_inline void submit(struct conn *c, struct op *o, struct ev_segment *e)
{
	struct half *h = &c->half[o->dir & 1];

	o->off += e->adv;
	h->burst_cap += e->cap;
	o->burst_start = false;
	c->lost = 0;
	bpf_ringbuf_submit(e, h->burst_cap > UNKNOWN_WAKE && is_unknown(c) ? wake_now(o->ts) : wake_flag(c, o->ts));
}

#endif
