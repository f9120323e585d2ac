/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What goes through TLS libraries, and which socket it belongs to.
 *
 * Uprobes at the library's read and write functions see the plaintext; the socket hooks see the ciphertext, which is
 * not passed on. A session (SSL *) is bound to a socket in one of two ways, both exact:
 *
 *   own I/O       a socket operation within the library's call: it is that session's. Looked at in each call, so a
 *                 session that moves to another socket is followed.
 *   memory BIO    the library never touches the socket (asyncio, Node). The ClientHello's random was seen on the
 *                 socket, and the session object has it too.
 *
 * What can't be bound is counted and not passed on: "the last socket of this thread" would be wrong in 594 cases
 * of 600.
 */
#ifndef OTEL_EBPF_TLS_H
#define OTEL_EBPF_TLS_H

#include "walk.h"

#define TLS_LAYOUTS 256
#define HELLO_LEN 43 /* record and handshake headers, version, random */
#define HELLO_RANDOM 11

/* Some library is probed. */
volatile bool tls_in_use = false;

/* A call under way in a thread. */
struct tls_call {
	__u64 session;
	__u64 buf;
	__u64 len;
	__u64 count_at;
	__u64 sp;
	__u64 conn; /* the socket operation within: id of its connection, 0 if there was none */
	__u16 local_port;
	__u16 remote_port;
	__u8 active;
	__u8 inner; /* calls within it that are not looked at */
	__u8 known; /* its process is in `tls_processes` */
	__u8 done; /* what it sends has been passed on */
	__u8 kind; /* what its end has to agree with: the cookie's CALL_KIND bits */
	__u8 pad[3];
};

/* Calls nest. Node writes from the callback that tells of the handshake's end, which is within a read; and with TLS
 * over TLS one session's call is within the other's.
 */
struct tls_task {
	struct tls_call call;
	struct tls_call within;
};

#define CALL_KIND (TLS_SEND | TLS_COUNT4 | TLS_COUNT5 | TLS_NO_DATA)

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_task);
} tls_calls SEC(".maps");

struct tls_session {
	__u64 session;
	__u32 tgid;
	__u32 pad;
};

struct go_routine {
	__u64 g;
	__u32 tgid;
	__u32 pad;
};

/* A call under way in a goroutine. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct go_routine);
	__type(value, struct tls_call);
} go_calls SEC(".maps");

/* The plaintext's side of a connection; `id` is the socket's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tls_session);
	__type(value, struct conn);
} tls_conns SEC(".maps");

enum tls_caller {
	CALLER_TASK = 1,
	CALLER_GO = 2,
};

/* tgids that called a probed library, and who in them does: their sockets may change to TLS at any time. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} tls_processes SEC(".maps");

struct tls_hello {
	__u32 tgid;
	__u32 dir; /* enum event_dir: a client sends it */
	__u8 random[TLS_RANDOM_LEN];
};

struct tls_socket {
	__u64 conn;
	__u16 local_port;
	__u16 remote_port;
	__u32 pad;
};

/* Handshakes whose session has not been seen yet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct tls_hello);
	__type(value, struct tls_socket);
} tls_hellos SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TLS_LAYOUTS);
	__type(key, __u32);
	__type(value, struct tls_layout);
} tls_layouts SEC(".maps");

struct hello_bytes {
	__u8 bytes[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hello_bytes);
} hello_scratch SEC(".maps");

/* The innermost one. */
static __always_inline struct tls_call *call_of_task(struct task_struct *task)
{
	struct tls_task *calls = bpf_task_storage_get(&tls_calls, task, 0, 0);

	if (!calls)
		return NULL;
	if (calls->within.active)
		return &calls->within;
	return &calls->call;
}

static __always_inline struct tls_call *call_of_go(struct task_struct *task, __u64 g)
{
	struct go_routine key = {.g = g, .tgid = task->tgid};

	return bpf_map_lookup_elem(&go_calls, &key);
}

/* The call within which a socket operation is. */
static __always_inline struct tls_call *call_around(const struct conn *c, struct task_struct *task)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	struct tls_call *call = NULL;

	if (c->tls_process & CALLER_GO)
		call = call_of_go(task, GO_G(regs));
	if ((!call || !call->active) && c->tls_process & CALLER_TASK)
		call = call_of_task(task);
	return call && call->active ? call : NULL;
}

/* Do these five begin a TLS record (RFC 8446, 5.1)? */
static __always_inline bool is_tls_record(const __u8 *p)
{
	__u32 len = (__u32)p[3] << 8 | p[4];

	return p[0] >= 20 && p[0] <= 23 && p[1] == 3 && p[2] <= 4 && len > 0 && len <= (1 << 14) + 2048;
}

/* At the start of a burst: is this the first of TLS on the connection? Where something else was spoken before, only a
 * ClientHello or a library's call around it says so. Remembers a ClientHello.
 */
__noinline int becomes_tls(struct conn *c, struct op *o, __u32 len, __u32 in_call)
{
	__u32 zero = 0;
	struct hello_bytes *h = bpf_map_lookup_elem(&hello_scratch, &zero);
	struct tls_hello key = {};
	struct tls_socket socket = {};
	__u64 base, there;

	if (!c || !o || !h || !o->readable)
		return 0;
	there = first_piece(buffer_of(c, o), &base); /* of several pieces the first one has to tell */
	if (there < len)
		len = there;
	if (len < 5 || bpf_probe_read_user(h->bytes, 5, (void *)base) || !is_tls_record(h->bytes))
		return 0;
	if (h->bytes[0] != 22 || len < HELLO_LEN || bpf_probe_read_user(h->bytes, HELLO_LEN, (void *)base) ||
	    h->bytes[5] != 1)
		return c->tls == TLS_UNKNOWN || in_call;
	key.tgid = o->tgid;
	key.dir = o->dir;
	__builtin_memcpy(key.random, h->bytes + HELLO_RANDOM, TLS_RANDOM_LEN);
	socket.conn = c->id;
	socket.local_port = c->local_port;
	socket.remote_port = c->remote_port;
	bpf_map_update_elem(&tls_hellos, &key, &socket, BPF_ANY);
	return 1;
}

/* A socket operation of ciphertext: names the socket of the call around it, if there is one. */
static __always_inline void note_socket(struct conn *c, struct task_struct *task)
{
	struct tls_call *call = call_around(c, task);

	if (!call)
		return;
	call->conn = c->id;
	call->local_port = c->local_port;
	call->remote_port = c->remote_port;
}

static const struct conn no_conn; /* not on the stack, which is deep here */

static __always_inline struct conn *new_tls_conn(const struct tls_session *key)
{
	bpf_map_update_elem(&tls_conns, key, &no_conn, BPF_ANY);
	return bpf_map_lookup_elem(&tls_conns, key);
}

static __always_inline void bind_tls_conn(struct conn *c, const struct tls_socket *socket)
{
	c->id = socket->conn;
	c->local_port = socket->local_port;
	c->remote_port = socket->remote_port;
	c->tls = TLS_YES;
}

static __always_inline struct tls_socket *socket_of_hello(struct tls_hello *hello, __u32 dir)
{
	hello->dir = dir;
	return bpf_map_lookup_elem(&tls_hellos, hello);
}

/* By the handshake that this session and a socket have in common. */
static __noinline int bind_by_hello(struct conn *c, const struct tls_session *key, __u32 layout_index)
{
	struct tls_layout *layout = bpf_map_lookup_elem(&tls_layouts, &layout_index);
	struct tls_hello hello = {.tgid = key->tgid};
	struct tls_socket *sent, *received;
	__u64 at = key->session;
	__u32 i, server = 0;

	if (!layout || !layout->hops)
		return 0;
	for (i = 0; i < TLS_HOPS - 1; i++) {
		if (i + 1 >= layout->hops)
			break;
		if (bpf_probe_read_user(&at, sizeof(at), (void *)(at + layout->client_random[i])))
			return 0;
	}
	if (bpf_probe_read_user(hello.random, TLS_RANDOM_LEN, (void *)(at + layout->client_random[i])))
		return 0;
	received = socket_of_hello(&hello, DIR_RECV);
	if (!received) {
		sent = socket_of_hello(&hello, DIR_SEND);
		if (sent)
			bind_tls_conn(c, sent);
		return 0;
	}
	sent = socket_of_hello(&hello, DIR_SEND);
	if (sent) { /* both ends are in this process */
		if (!layout->is_server ||
		    bpf_probe_read_user(&server, sizeof(server), (void *)(key->session + layout->is_server)))
			return 0;
		if (!server) {
			bind_tls_conn(c, sent);
			return 0;
		}
	}
	bind_tls_conn(c, received);
	return 0;
}

/* Calls of a session after which its handshake is not looked for any longer. */
#define BIND_TRIES 8

/* A session's connection; `id` is 0 as long as its socket is not known. */
static __always_inline struct conn *tls_conn(const struct tls_session *key, const struct tls_call *call, __u64 cookie)
{
	struct conn *c = bpf_map_lookup_elem(&tls_conns, key);
	struct tls_socket socket = {.conn = call->conn,
				    .local_port = call->local_port,
				    .remote_port = call->remote_port};

	if (c && c->id && (!call->conn || call->conn == c->id))
		return c;
	if (!c || c->id) /* new, or at another socket than before */
		c = new_tls_conn(key);
	if (!c)
		return NULL;
	if (call->conn)
		bind_tls_conn(c, &socket);
	else if (c->ops < BIND_TRIES)
		bind_by_hello(c, key, cookie >> TLS_LAYOUT_SHIFT & (TLS_LAYOUTS - 1));
	return c;
}

static const struct tls_call no_call;

static __always_inline void note_caller(__u32 tgid, __u8 caller)
{
	__u8 *known = bpf_map_lookup_elem(&tls_processes, &tgid);

	if (known && *known & caller)
		return;
	if (known)
		caller |= *known;
	bpf_map_update_elem(&tls_processes, &tgid, &caller, BPF_ANY);
	/* also by other CPUs and by user space: one that is lost leaves connections as they are for good */
	__sync_fetch_and_add(&selection_generation, 1);
}

/* NULL: nothing of this call is to be looked at now. */
static __always_inline struct tls_call *go_call_begins(struct pt_regs *ctx, struct task_struct *task, __u64 cookie)
{
	struct go_routine key = {.g = GO_G(ctx), .tgid = task->tgid};
	struct tls_call *call = bpf_map_lookup_elem(&go_calls, &key);

	if (call && call->active && cookie & TLS_NO_DATA && call->session == GO_ARG1(ctx))
		return NULL; /* a handshake within a read or a write */
	if (!call) {
		note_caller(task->tgid, CALLER_GO);
		bpf_map_update_elem(&go_calls, &key, &no_call, BPF_ANY);
		call = bpf_map_lookup_elem(&go_calls, &key);
		if (!call)
			return NULL;
	}
	call->active = true;
	call->done = cookie & TLS_NO_DATA ? true : false;
	call->conn = 0;
	call->session = GO_ARG1(ctx);
	call->buf = GO_ARG2(ctx);
	call->len = GO_ARG3(ctx);
	return cookie & TLS_SEND ? call : NULL;
}

static __always_inline void tls_call_begins(struct pt_regs *ctx, struct task_struct *task, __u64 cookie)
{
	struct tls_task *calls = bpf_task_storage_get(&tls_calls, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	__u64 sp = CALL_SP(ctx), fourth = CALL_ARG4(ctx), fifth = CALL_ARG5(ctx);
	struct tls_call *call;

	if (!calls)
		return;
	if (!calls->call.known) {
		calls->call.known = true;
		note_caller(task->tgid, CALLER_TASK);
	}
	call = &calls->call;
	/* deeper on the stack than a call that has not ended: within it. Else that one's end was not seen. */
	if (call->active && sp < call->sp) {
		call = &calls->within;
		if (call->active && sp < call->sp) {
			if (call->inner < 255)
				call->inner++;
			return;
		}
	} else {
		calls->within.active = false;
	}
	call->kind = cookie & CALL_KIND;
	call->active = true;
	call->inner = 0;
	call->sp = sp;
	call->conn = 0;
	call->session = CALL_ARG1(ctx);
	call->buf = CALL_ARG2(ctx);
	call->len = CALL_ARG3(ctx);
	barrier_var(fourth); /* or the choice is made between places in the context, which the verifier does not allow */
	barrier_var(fifth);
	call->count_at = cookie & TLS_COUNT5 ? fifth : fourth;
}

/* The call that ends here, and in `around` the one that it is within. */
static __always_inline struct tls_call *ending_call(struct task_struct *task, __u64 cookie, struct tls_call **around)
{
	struct tls_task *calls = bpf_task_storage_get(&tls_calls, task, 0, 0);

	if (!calls)
		return NULL;
	if (calls->within.active && calls->within.inner) {
		calls->within.inner--;
		return NULL;
	}
	if (calls->within.active && calls->within.kind == (cookie & CALL_KIND)) {
		*around = &calls->call;
		return &calls->within;
	}
	/* a call may pass by two places that both are an end: the second is none of the call around it */
	if (!calls->call.active || calls->call.kind != (cookie & CALL_KIND))
		return NULL;
	calls->within.active = false;
	return &calls->call;
}

/* Of a call within another: is what it moves that one's ciphertext? Then it has named its socket as well. */
static __always_inline bool carries_tls(struct conn *c, const struct tls_call *call, struct tls_call *around, __u32 len)
{
	__u8 begin[5];

	if (c->tls != TLS_CARRIER) {
		if (len < sizeof(begin) || bpf_probe_read_user(begin, sizeof(begin), (void *)call->buf) ||
		    !is_tls_record(begin))
			return false;
		c->tls = TLS_CARRIER;
	}
	around->conn = c->id;
	around->local_port = c->local_port;
	around->remote_port = c->remote_port;
	return true;
}

/* Bytes that a call has moved, which is over with this; 0 if none. */
static __always_inline __u32 tls_call_ends(struct pt_regs *ctx, struct tls_call *call, __u64 cookie)
{
	__s64 n = (int)CALL_RESULT(ctx);

	call->active = false;
	if (cookie & TLS_ON_STACK) {
		if (bpf_probe_read_user(&n, sizeof(n), (void *)(CALL_SP(ctx) + (cookie >> TLS_STACK_SHIFT))))
			return 0;
	} else if (cookie & (TLS_COUNT4 | TLS_COUNT5)) {
		if (n <= 0 || bpf_probe_read_user(&n, sizeof(n), (void *)call->count_at))
			return 0;
	}
	return n > 0 && n <= call->len && n < (1LL << 31) ? n : 0;
}

#endif
