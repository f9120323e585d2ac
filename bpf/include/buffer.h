/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Where the bytes of a socket operation are in the user's memory, found through the task's registers, and
 * how they are gathered into one place.
 */
#ifndef OTEL_EBPF_BUFFER_H
#define OTEL_EBPF_BUFFER_H

#include "kernel.h"
#include "maps.h"

#define MAX_IOVECS 1024 /* UIO_MAXIOV */

static __always_inline bool msghdr_buffer(__u64 msg, struct user_buffer *b)
{
	struct user_msghdr m;

	if (bpf_probe_read_user(&m, sizeof(m), (void *)msg))
		return false;
	b->base = m.msg_iov;
	b->iovcnt = m.msg_iovlen > MAX_IOVECS ? MAX_IOVECS : m.msg_iovlen;
	return b->iovcnt > 0;
}

static __always_inline void skip_single(struct user_buffer *b)
{
	struct iovec v;

	if (b->iovcnt != 1 || bpf_probe_read_user(&v, sizeof(v), (void *)b->base))
		return;
	b->base = v.iov_base;
	b->iovcnt = 0;
}

/* False where there is none to read: sendfile, splice, io_uring, kernel threads, 32-bit tasks. */
static __always_inline bool find_buffer(struct task_struct *task, struct conn *c, int dir)
{
	__u16 *mmsg = &c->mmsg[dir & 1];
	struct user_buffer *b = &c->buffer[dir & 1];
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	bool ok;

	b->iovcnt = 0;
	b->at = 0;
	b->at_used = 0;
#if defined(__TARGET_ARCH_x86)
	if (task->thread_info.status & TS_COMPAT) {
		count(COUNT_COMPAT);
		return false;
	}
#endif
	b->base = SYS_ARG2(regs);
	switch (SYS_NR(regs)) {
	case NR_read:
	case NR_write:
	case NR_sendto:
	case NR_recvfrom:
		return true;
	case NR_readv:
	case NR_writev:
	case NR_preadv2:
	case NR_pwritev2: {
		__u64 n = SYS_ARG3(regs);

		b->iovcnt = n > MAX_IOVECS ? MAX_IOVECS : n;
		ok = b->iovcnt > 0;
		break;
	}
	case NR_sendmsg:
	case NR_recvmsg:
		ok = msghdr_buffer(b->base, b);
		break;
	case NR_sendmmsg:
	case NR_recvmmsg:
		/* one event a message, the registers stay at the array's base */
		ok = msghdr_buffer(b->base + sizeof(struct mmsghdr) * *mmsg, b);
		*mmsg = *mmsg + 1 >= (SYS_ARG3(regs) & 0xffffffff) ? 0 : *mmsg + 1;
		break;
	default:
		ok = false;
	}
	if (!ok) {
		count(COUNT_NO_BUFFER);
		return false;
	}
	skip_single(b);
	return true;
}

/* Where the address is that a send names: 0 if there is none. Before find_buffer, which goes on to the next message. */
static __always_inline __u64 send_name(struct task_struct *task, const struct conn *c)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 msg = SYS_ARG2(regs), at = 0;

	switch (SYS_NR(regs)) {
	case NR_sendto:
		at = SYS_ARG5(regs);
		barrier_var(at); /* or it is read by the same load as what is on the stack, which the verifier does not allow */
		return at;
	case NR_sendmmsg:
		msg += sizeof(struct mmsghdr) * c->mmsg[DIR_SEND];
		break;
	case NR_sendmsg:
		break;
	default:
		return 0;
	}
	if (bpf_probe_read_user(&at, sizeof(at), (void *)(msg + offsetof(struct user_msghdr, msg_name))))
		return 0;
	return at;
}

/* How many of the operation's first bytes stand together, and where: without a limit if all do, 0 if unreadable. */
static __always_inline __u64 first_piece(const struct user_buffer *b, __u64 *at)
{
	struct iovec v;

	*at = b->base;
	if (!b->iovcnt)
		return -1;
	if (bpf_probe_read_user(&v, sizeof(v), (void *)b->base))
		return 0;
	*at = v.iov_base;
	return v.iov_len;
}

/* Gathering takes one iovec a step of bpf_loop. At most `room` bytes are wanted at a time and twice as many have
 * a place: the verifier can bound the offset and the length each, but not their sum. One step function a size,
 * because the bound must be a constant.
 */
struct gather {
	struct user_buffer *b;
	__u8 *to;
	__u64 want;
};

/* The next piece of an iovec: its length, 0 for none here, negative when there are no more. */
static __always_inline __s64 next_piece(struct user_buffer *b, __u64 want, __u64 *at)
{
	__u64 left = want - b->done, n;
	struct iovec v;

	if (b->at >= b->iovcnt || b->done >= want)
		return -1;
	if (bpf_probe_read_user(&v, sizeof(v), (void *)(b->base + (__u64)b->at * sizeof(v)))) {
		count(COUNT_UNREADABLE);
		return -1;
	}
	*at = v.iov_base + b->at_used;
	n = v.iov_len - b->at_used;
	if (v.iov_len > b->at_used && n > left) {
		b->at_used += left;
		return left;
	}
	if (v.iov_len <= b->at_used)
		n = 0;
	b->at++;
	b->at_used = 0;
	return n;
}

#define GATHER_STEP(room)                                                                                              \
	static long gather_##room(__u32 i, struct gather *g)                                                           \
	{                                                                                                              \
		struct user_buffer *b = g->b;                                                                          \
		__u64 off, from = 0;                                                                                   \
		__s64 n = next_piece(b, g->want, &from);                                                               \
                                                                                                                       \
		if (n < 0)                                                                                             \
			return 1;                                                                                      \
		off = b->done;                                                                                         \
		if (off >= room || n > room)                                                                           \
			return 1;                                                                                      \
		if (n > 0 && bpf_probe_read_user(g->to + off, n, (void *)from)) {                                      \
			count(COUNT_UNREADABLE);                                                                       \
			return 1;                                                                                      \
		}                                                                                                      \
		b->done = off + n;                                                                                     \
		return 0;                                                                                              \
	}

GATHER_STEP(32)
GATHER_STEP(256)
GATHER_STEP(1024)
GATHER_STEP(2048)
GATHER_STEP(4096)

/* Bounds a variable in one register: Linux 6.1 does not carry a comparison's bound over to a copy. */
#define clamp_max(var, max) asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(var) : "i"(max))

#define FEW 4

/* Not on the stack: with it, six calls deep, Linux 6.1 counts more than 512 bytes. */
struct few {
	struct iovec v[FEW];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct few);
} fews SEC(".maps");

/* The same for up to FEW iovecs taken whole, which is what servers use: half the cost of the loop. */
static __always_inline __u32 gather_few(struct user_buffer *b, __u8 *to, __u32 want, const __u32 room)
{
	__u32 zero = 0, n = b->iovcnt, i;
	struct few *few = bpf_map_lookup_elem(&fews, &zero);
	__u64 done = 0;

	if (!few || n > FEW || bpf_probe_read_user(few->v, n * sizeof(few->v[0]), (void *)b->base)) {
		count(COUNT_UNREADABLE);
		return 0;
	}
#pragma unroll
	for (i = 0; i < FEW; i++) {
		__u64 len, left = want - done;

		if (i >= n || done >= room)
			break;
		len = few->v[i].iov_len;
		if (len > left)
			len = left;
		clamp_max(len, room);
		if (len && bpf_probe_read_user(to + done, len, (void *)few->v[i].iov_base)) {
			count(COUNT_UNREADABLE);
			break;
		}
		done += len;
	}
	return done;
}

static long skip_step(__u32 i, struct gather *g)
{
	__u64 from;
	__s64 n = next_piece(g->b, g->want, &from);

	if (n < 0)
		return 1;
	g->b->done += n;
	return 0;
}

static __always_inline void mark(struct user_buffer *b)
{
	b->mark_base = b->base;
	b->mark_at_used = b->at_used;
	b->mark_at = b->at;
}

static __always_inline void rewind_to_mark(struct user_buffer *b)
{
	b->base = b->mark_base;
	b->at_used = b->mark_at_used;
	b->at = b->mark_at;
}

#define PEEK 32

struct peek {
	__u8 bytes[2 * PEEK];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct peek);
} peeks SEC(".maps");

/* Copies up to PEEK bytes at the cursor, which stays where it is. Returns how many. */
static __always_inline __u32 peek_bytes(struct user_buffer *b, struct peek *p, __u32 n)
{
	clamp_max(n, PEEK);
	if (b->iovcnt == 0) {
		if (bpf_probe_read_user(p->bytes, n, (void *)b->base))
			return 0;
	} else {
		struct gather g = {.b = b, .to = p->bytes, .want = n};

		mark(b);
		b->done = 0;
		bpf_loop(MAX_IOVECS, gather_32, &g, 0);
		n = b->done;
		rewind_to_mark(b);
	}
	return n;
}

/* Passes over `n` bytes of the user's buffer. */
static __always_inline void skip_bytes(struct user_buffer *b, __u64 n)
{
	if (b->iovcnt == 0) {
		b->base += n;
	} else {
		struct gather g = {.b = b, .want = n};

		b->done = 0;
		bpf_loop(MAX_IOVECS, skip_step, &g, 0);
	}
}

#endif
