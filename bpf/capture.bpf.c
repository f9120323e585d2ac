// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Socket operations of TCP and unix stream sockets, as segments of their connections' two streams; and DNS's datagrams.
 *
 * One handler (on_operation) serves every hook. Where the kernel has the tracepoints sock_send_length and
 * sock_recv_length (6.3) they are used; elsewhere fexit on the functions they stand in. The user's bytes are
 * found through the task's registers, the connection's state through socket storage.
 *
 * Stream offsets of TCP come from the sequence numbers (copied_seq, write_seq): an operation that no hook
 * sees (splice out of a socket, io_uring where it does not pass) shows as a hole of the right size, and
 * MSG_PEEK can't be counted twice.
 */
#include "kernel.h"
#include "events.h"
#include "maps.h"
#include "buffer.h"
#include "emit.h"
#include "walk.h"
#include "frames.h"
#include "plain.h"
#include "datagram.h"
#include "tls.h"
#include "select.h"
#include "stream.h"

/* Names the record types in BTF, from which Rust's view is generated. */
const struct ev_hdr *type_hdr;
const struct ev_open *type_open;
const struct ev_segment *type_segment;
const struct ev_close *type_close;
const struct ev_exec *type_exec;
const enum event_kind type_kind;
const enum event_dir type_dir;
const enum event_flags type_flags;
const enum close_how type_how;
const enum verdict type_verdict;
const enum counter type_counter;
const enum stranger type_stranger;
const enum found type_found;
const enum conn_mode type_mode;
const struct finding *type_finding;
const enum tls_cookie type_tls_cookie;
const struct tls_layout *type_tls_layout;
const struct tls_session *type_tls_session;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Nothing was moved: end of file, or an error that ends the connection. */
static __always_inline int on_no_bytes(struct conn *c, struct op *o, struct sock *sk, int ret)
{
	c->mmsg[o->dir & 1] = 0;
	if (!c->announced)
		return 0;
	if (ret >= 0 && c->tls == TLS_YES) /* what is inside may not have been read yet */
		return 0;
	if (ret < 0)
		emit_close(c, o, CLOSE_RESET, -ret);
	else if (o->dir == DIR_RECV && BPF_CORE_READ(sk, sk_shutdown) & RCV_SHUTDOWN)
		emit_close(c, o, CLOSE_FIN, 0);
	return 0;
}

static __always_inline bool is_retry(int ret)
{
	return ret == -EAGAIN || ret == -EINTR || (ret <= -ERESTARTSYS && ret >= -ERESTART_LAST);
}

/* Nothing was moved, and nothing ended. A recvmmsg or sendmmsg is over with it. */
static __always_inline int on_retry(struct sock *sk, int dir)
{
	long nr = SYS_NR((struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf()));
	struct conn *c;

	if (nr != NR_recvmmsg && nr != NR_sendmmsg)
		return 0;
	c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (c)
		c->mmsg[dir & 1] = 0;
	return 0;
}

static __always_inline int on_ciphertext(struct conn *c, struct op *o, struct sock *sk, struct task_struct *task)
{
	note_socket(c, task);
	if (c->announced != announce_generation)
		announce(c, o, sk, task);
	return 0;
}

/* What the connection of a socket is to us; NULL if it is not looked at. `create`: 0, or the flag that makes it one. */
static __always_inline struct conn *watched_conn(struct sock *sk, struct task_struct *task, struct left_alone *left,
						 const struct op *o, int ret, const int dir, __u64 create)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, create);

	if (!c && create) /* the other direction was faster in creating it */
		c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c || c->state == CONN_IGNORED)
		return NULL;
	if (c->tgid != o->tgid || c->generation != selection_generation) {
		if (task->flags & PF_KTHREAD || o->tgid == self_tgid)
			return NULL;
		if (c->id == 0)
			open_conn(c, sk, ret, dir);
		select_conn(c, o->tgid);
	}
	if (c->state != CONN_WATCHED) {
		c->old = true;
		if (!port_filter) /* else it is the connection's own verdict */
			leave_alone(left, task, c->generation);
		return NULL;
	}
	c->ops++;
	return c;
}

static __always_inline void on_datagram(struct sock *sk, struct task_struct *task, struct left_alone *left,
					struct op *o, int ret, int flags, const int dir)
{
	struct conn *c = watched_conn(sk, task, left, o, ret, dir,
				      is_new_datagram(sk, ret, dir) ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	bool silent;

	if (!c)
		return;
	if ((c->mode != MODE_DATAGRAM && !begin_datagrams(c, task, dir)) ||
	    (may_be_stranger(c, 0) && is_stranger(c, c->id))) {
		c->state = CONN_IGNORED;
		return;
	}
	if (ret < 0) {
		c->mmsg[dir] = 0;
		return;
	}
	o->ts = bpf_ktime_get_boot_ns();
	o->off = c->half[dir].off;
	c->half[dir].off += ret;
	silent = o->ts - c->half[DIR_RECV].burst_ts > DATAGRAM_SILENCE_NS;
	c->half[DIR_RECV].burst_ts = o->ts; /* of the last one, either way */
	if ((silent || c->announced != announce_generation) && announce(c, o, sk, task)) {
		find_buffer(task, c, dir); /* goes on to the next message */
		lost_record(c, o);
		return;
	}
	o->readable = find_buffer(task, c, dir) && !(dir == DIR_RECV && flags & MSG_TRUNC);
	if (ret == 0)
		return;
	if (!o->readable)
		emit_edge(c, o, 0, ret);
	else if (ret <= SMALL)
		emit_small(c, o, ret);
	else
		emit_piece(c, o, ret < PIECE ? ret : PIECE, ret);
}

/* Which sockets a hook is for. */
enum sockets {
	STREAMS = 1 << 0,
	DATAGRAMS = 1 << 1,
};

static __always_inline int on_operation(struct sock *sk, int ret, int flags, const int dir, const int sockets)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct left_alone *left = left_last();
	struct op o = {.dir = dir};
	struct conn *c;

	if (!left || is_left_alone(left, task))
		return 0;
	if (ret <= 0 && is_retry(ret))
		return on_retry(sk, dir);
	o.tgid = task->tgid;
	if (dir == DIR_RECV && flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))
		return 0;
	if (!(sockets & STREAMS) || !is_stream(sk)) {
		if (sockets & DATAGRAMS && is_datagram(sk))
			on_datagram(sk, task, left, &o, ret, flags, dir);
		return 0;
	}
	c = watched_conn(sk, task, left, &o, ret, dir, ret > 0 ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!c)
		return 0;
	if (may_be_stranger(c, ret) && c->tls != TLS_YES && is_stranger(c, c->id)) {
		c->state = CONN_IGNORED;
		return 0;
	}
	o.ts = bpf_ktime_get_boot_ns();
	if (ret <= 0)
		return on_no_bytes(c, &o, sk, ret);
	advance(c, &o, sk, ret, dir);
	if (c->tls == TLS_YES)
		return on_ciphertext(c, &o, sk, task);
	if (!follow(c, &o, dir))
		return 0;
	o.readable = !(task->flags & PF_IO_WORKER) && !(dir == DIR_RECV && flags & MSG_TRUNC) &&
		     find_buffer(task, c, dir);
	/* Also before a library is probed: an old connection must not be taken for a stranger meanwhile. TLS that is agreed
	 * on within a protocol may follow the wish for it at once (MySQL).
	 */
	if ((o.burst_start || o.off < START_MAX) && (c->tls == TLS_UNKNOWN || c->tls_process)) {
		if (becomes_tls(c, &o, ret, c->tls_process && call_around(c, task))) {
			c->tls = TLS_YES;
			c->announced = 0; /* it may have been announced as something else */
			return on_ciphertext(c, &o, sk, task);
		}
		if (!c->old || c->response_dir) /* in the middle of something, ciphertext may look like anything */
			c->tls = TLS_NO;
	}
	if (is_start(c, &o, dir))
		read_start(c, &o, ret);
	if (c->announced != announce_generation && announce(c, &o, sk, task)) {
		lost_record(c, &o);
		if (c->mode == MODE_HTTP2 || c->mode == MODE_FRAMED)
			lose_frames(c, &o, ret);
		return 0;
	}
	return carry(c, &o, ret, dir);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sock_send_length, struct sock *sk, int ret, int flags)
{
	return on_operation(sk, ret, 0, DIR_SEND, STREAMS | DATAGRAMS);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(sock_recv_length, struct sock *sk, int ret, int flags)
{
	return on_operation(sk, ret, flags, DIR_RECV, STREAMS | DATAGRAMS);
}

/* Kernels before 6.3, and those with fexit only. `__sock_sendmsg` is what system calls use where both exist
 * (86a7e0b69bd5 and its backports).
 */
SEC("fexit/__sock_sendmsg")
int BPF_PROG(inner_sock_sendmsg_exit, struct socket *sock, struct msghdr *msg, int ret)
{
	return on_operation(sock->sk, ret, 0, DIR_SEND, STREAMS);
}

SEC("fexit/sock_sendmsg")
int BPF_PROG(sock_sendmsg_exit, struct socket *sock, struct msghdr *msg, int ret)
{
	return on_operation(sock->sk, ret, 0, DIR_SEND, STREAMS);
}

/* Where receives end, rather than sock_recvmsg: recvmmsg passes that only with its first message. */
SEC("fexit/inet_recvmsg")
int BPF_PROG(inet_recvmsg_exit, struct socket *sock, struct msghdr *msg, unsigned long size, int flags, int ret)
{
	return on_operation(sock->sk, ret, flags, DIR_RECV, STREAMS | DATAGRAMS);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(inet6_recvmsg_exit, struct socket *sock, struct msghdr *msg, unsigned long size, int flags, int ret)
{
	return on_operation(sock->sk, ret, flags, DIR_RECV, STREAMS | DATAGRAMS);
}

SEC("fexit/unix_stream_recvmsg")
int BPF_PROG(unix_stream_recvmsg_exit, struct socket *sock, struct msghdr *msg, unsigned long size, int flags,
	     int ret)
{
	return on_operation(sock->sk, ret, flags, DIR_RECV, STREAMS);
}

/* Of a sendmmsg's datagrams only the first passes the functions above. */
SEC("fexit/inet_sendmsg")
int BPF_PROG(inet_sendmsg_exit, struct socket *sock, struct msghdr *msg, unsigned long size, int ret)
{
	return on_operation(sock->sk, ret, 0, DIR_SEND, DATAGRAMS);
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(inet6_sendmsg_exit, struct socket *sock, struct msghdr *msg, unsigned long size, int ret)
{
	return on_operation(sock->sk, ret, 0, DIR_SEND, DATAGRAMS);
}

/* sendfile and splice before 6.5 (MSG_SPLICE_PAGES) do not pass sendmsg. */
SEC("fexit/kernel_sendpage")
int BPF_PROG(kernel_sendpage_exit, struct socket *sock, struct page *page, int offset, unsigned long size, int flags,
	     int ret)
{
	return on_operation(sock->sk, ret, 0, DIR_SEND, STREAMS);
}

/* May run in another task's context or in a softirq: the process is the connection's. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(inet_sock_set_state, struct sock *sk, int oldstate, int newstate)
{
	struct op o = {.dir = DIR_SEND};
	struct conn *c;
	bool gone = newstate == TCP_CLOSE;

	if (!gone && newstate != TCP_FIN_WAIT1 && newstate != TCP_LAST_ACK)
		return 0;
	c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c || c->state != CONN_WATCHED)
		return 0;
	o.tgid = c->tgid;
	o.ts = bpf_ktime_get_boot_ns();
	/* close(2), not shutdown(2): nobody can use the socket any longer, though TCP may take a while to be done */
	gone = gone || sk->sk_shutdown == SHUTDOWN_MASK;
	if (gone && c->broken) {
		count_overflow(c, &o, 0);
		c->lost |= EV_F_COUNTED;
		c->broken = false;
	}
	if (!c->announced)
		return 0;
	if (!gone && c->tls != TLS_YES)
		emit_close(c, &o, CLOSE_FIN, 0);
	else if (gone && emit_close(c, &o, CLOSE_GONE, BPF_CORE_READ(sk, sk_err)) == 0)
		c->state = CONN_IGNORED;
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(sched_process_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct ev_exec *e;
	__u64 start, len;

	if (p->tgid == self_tgid)
		return 0;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_LOST_OTHER);
		return 0;
	}
	__builtin_memset(&e->h, 0, sizeof(e->h));
	e->h.kind = EV_EXEC;
	e->h.tgid = p->tgid;
	e->h.ts_ns = bpf_ktime_get_boot_ns();
	e->ppid = BPF_CORE_READ(p, real_parent, tgid);
	e->uid = bpf_get_current_uid_gid();
	e->cgroup_id = bpf_get_current_cgroup_id();
	e->start_boottime_ns = BPF_CORE_READ(p, group_leader, start_boottime);
	BPF_CORE_READ_STR_INTO(&e->comm, p, comm);
	e->pad = 0;
	start = BPF_CORE_READ(p, mm, arg_start);
	len = BPF_CORE_READ(p, mm, arg_end) - start;
	if (len > EXEC_ARGS_LEN)
		len = EXEC_ARGS_LEN;
	e->args_len = bpf_probe_read_user(e->args, len, (void *)start) ? 0 : len;
	bpf_ringbuf_submit(e, wake_on_exec ? wake_now(bpf_ktime_get_boot_ns()) : BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(sched_process_exit, struct task_struct *p)
{
	struct ev_hdr *e;

	if (p->signal->live.counter != 0 || p->tgid == self_tgid)
		return 0;
	e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(COUNT_LOST_OTHER);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = EV_EXIT;
	e->tgid = p->tgid;
	e->ts_ns = bpf_ktime_get_boot_ns();
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

/* What a call of a TLS library moved, or is about to. */
static __always_inline int on_plaintext(struct conn *c, const struct tls_call *call, __u64 cookie, __u32 tgid, __u32 len)
{
	struct op o = {.dir = cookie & TLS_SEND ? DIR_SEND : DIR_RECV, .tgid = tgid, .readable = true};
	struct half *h = &c->half[o.dir & 1];

	o.off = h->off;
	o.other_off = c->half[(o.dir + 1) & 1].off;
	h->off += len;
	c->ops++;
	if (!c->id) { /* what is passed on later begins behind this */
		if (process_wanted(tgid)) /* a library is probed for all who map it */
			count(COUNT_TLS_UNBOUND);
		return 0;
	}
	if (c->tls == TLS_CARRIER)
		return 0;
	if (c->tgid != tgid || c->generation != selection_generation)
		select_conn(c, tgid);
	if (c->state != CONN_WATCHED)
		return 0;
	if (may_be_stranger(c, len) && is_stranger(c, c->id | 1ULL << STRANGER_TLS_BIT)) {
		c->state = CONN_IGNORED;
		return 0;
	}
	o.ts = bpf_ktime_get_boot_ns();
	if (!follow(c, &o, o.dir))
		return 0;
	buffer_of(c, &o)->base = call->buf;
	buffer_of(c, &o)->iovcnt = 0;
	if (is_start(c, &o, o.dir))
		read_start(c, &o, len);
	return carry(c, &o, len, o.dir);
}

SEC("uprobe.multi")
int tls_enter(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct tls_session key = {.tgid = task->tgid};
	struct tls_call *call;
	struct conn *c;

	if (key.tgid == self_tgid)
		return 0;
	if (!(cookie & TLS_GO)) {
		tls_call_begins(ctx, task, cookie);
		return 0;
	}
	/* In Go one goroutine writes and another reads: the answer may be there before the call that asks is over. A
	 * Write is of all or nothing, so that a request can be passed on at its beginning.
	 */
	call = go_call_begins(ctx, task, cookie);
	if (!call || call->len >= (1U << 31))
		return 0;
	key.session = call->session;
	c = bpf_map_lookup_elem(&tls_conns, &key);
	if (!c || !c->id || c->response_dir == DIR_SEND + 1)
		return 0;
	call->done = true;
	return on_plaintext(c, call, cookie, key.tgid, call->len);
}

SEC("uprobe.multi")
int tls_exit(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 cookie = bpf_get_attach_cookie(ctx);
	struct tls_session key = {.tgid = task->tgid};
	struct tls_call *call, *around = NULL;
	struct conn *c;
	__u32 len;

	if (key.tgid == self_tgid)
		return 0;
	call = cookie & TLS_GO ? call_of_go(task, GO_G(ctx)) : ending_call(task, cookie, &around);
	if (!call || !call->active)
		return 0;
	if (cookie & TLS_GO && cookie & TLS_NO_DATA && !call->done)
		return 0; /* the handshake was within this call */
	len = tls_call_ends(ctx, call, cookie);
	if (cookie & TLS_NO_DATA ? !call->conn : !len)
		return 0;
	key.session = call->session;
	c = tls_conn(&key, call, cookie);
	if (!c) /* no room for one more */
		count(COUNT_TLS_UNBOUND);
	if (!c || call->done || cookie & TLS_NO_DATA)
		return 0;
	if (around && carries_tls(c, call, around, len))
		return 0;
	return on_plaintext(c, call, cookie, key.tgid, len);
}

/* A session ends: its address may become another's. */
SEC("uprobe.multi")
int tls_free(struct pt_regs *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 go = GO_ARG1(ctx), other = CALL_ARG1(ctx);
	struct tls_session key = {.tgid = task->tgid};
	struct op o = {.dir = DIR_SEND, .tgid = key.tgid};
	struct conn *c;

	barrier_var(go);
	barrier_var(other);
	key.session = bpf_get_attach_cookie(ctx) & TLS_GO ? go : other;
	c = bpf_map_lookup_elem(&tls_conns, &key);
	if (!c)
		return 0;
	if (c->broken && c->state == CONN_WATCHED && c->id) {
		o.ts = bpf_ktime_get_boot_ns();
		count_overflow(c, &o, 0);
	}
	bpf_map_delete_elem(&tls_conns, &key);
	return 0;
}
