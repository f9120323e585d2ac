/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* THE wire contract between bpf/ and src/native: what a record in the ring looks like and what the maps
 * hold. It exists once: Rust's view is generated from this object's BTF (src/native/build.rs).
 *
 * One socket operation gives zero or more SEGMENT records, in order:
 *
 *   stream of one direction      |<-------- one socket operation -------->|
 *   captured                     |####head####|      ...       |##tail##|
 *   records                      { off, cap, adv }               { off, cap, adv }
 *
 * `off` counts the stream's bytes from the first one seen. A hole between the end of one record's bytes and
 * the next record's `off` was not captured on purpose (a body's middle) or was lost (EV_F_LOST says so).
 */
#ifndef OTEL_EBPF_EVENTS_H
#define OTEL_EBPF_EVENTS_H

#define COMM_LEN 16
#define UNIX_PATH_LEN 108
#define EXEC_ARGS_LEN 512

enum event_kind {
	EV_OPEN = 1,	/* first sight of a connection: struct ev_open */
	EV_SEGMENT = 2, /* bytes that went one way: struct ev_segment */
	EV_CLOSE = 3,	/* connection gone, or one direction at its end: struct ev_close */
	EV_EXEC = 4,	/* a process became another program: struct ev_exec */
	EV_EXIT = 5,	/* a process ended (all its threads): struct ev_hdr */
};

enum event_dir {
	DIR_RECV = 0,
	DIR_SEND = 1,
};

enum event_flags {
	EV_F_LOST = 1 << 0,	/* records of this connection before this one were lost: the ring was full */
	EV_F_COUNTED = 1 << 1,	/* ... and the exchange they belonged to is in the overflow map */
	EV_F_OLD = 1 << 2,	/* EV_OPEN: the connection is older than the agent */
	EV_F_ACCEPTED = 1 << 3, /* EV_OPEN: the local side was the listener, as far as the kernel tells */
};

enum close_how {
	CLOSE_FIN = 0,	 /* orderly: EOF read, or closed by the local side */
	CLOSE_RESET = 1, /* ECONNRESET, EPIPE, ETIMEDOUT...: `err` has the errno */
};

struct ev_hdr {
	__u8 kind; /* enum event_kind */
	__u8 dir;  /* enum event_dir */
	__u16 flags;
	__u32 tgid;  /* process that did the operation, in the initial pid namespace */
	__u64 conn;  /* connection id, never re-used while the programs are loaded; 0 for EXEC and EXIT */
	__u64 ts_ns; /* CLOCK_BOOTTIME, after the operation */
};

struct ev_segment {
	struct ev_hdr h;
	__u64 off; /* stream offset of data[0] */
	__u32 cap; /* bytes that follow */
	__u32 adv; /* bytes of the stream this record speaks for, >= cap: off+adv is the operation's end, or
		    * the next record's off */
	__u8 data[];
};

struct ev_open {
	struct ev_hdr h;
	__u16 family; /* AF_INET, AF_INET6, AF_UNIX */
	__u16 local_port; /* host order */
	__u16 remote_port; /* host order */
	__u16 pad;
	__u8 local_addr[16]; /* IPv4 in the first four bytes */
	__u8 remote_addr[16];
	__u32 netns; /* inode of the network namespace */
	__u32 uid;
	__u64 cgroup_id;     /* cgroup v2 id of the process */
	__u64 start_boottime_ns; /* of the process's leader */
	__u8 comm[COMM_LEN]; /* of the process's leader */
	__u8 unix_path[UNIX_PATH_LEN]; /* bound path of whichever end has one; abstract ones start with '@' */
	__u8 pad2[4];
};

struct ev_close {
	struct ev_hdr h;
	__u32 how; /* enum close_how */
	__s32 err; /* errno, positive */
};

struct ev_exec {
	struct ev_hdr h;
	__u32 ppid;
	__u32 uid;
	__u64 cgroup_id;
	__u64 start_boottime_ns;
	__u8 comm[COMM_LEN];
	__u32 args_len; /* bytes of args in use: argv, NUL-separated, perhaps cut */
	__u32 pad;
	__u8 args[EXEC_ARGS_LEN];
};

#endif
