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
 * the next record's `off` was not captured on purpose (a body's middle, DATA of HTTP/2) or was lost (EV_F_LOST says
 * so).
 */
#ifndef OTEL_EBPF_EVENTS_H
#define OTEL_EBPF_EVENTS_H

#define COMM_LEN 16
#define UNIX_PATH_LEN 128 /* sun_path has 108; a power of two for the verifier */
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
	EV_F_OLD = 1 << 2,	/* EV_OPEN: some of it may have gone unseen: it is older than the agent, or within TLS */
	EV_F_TLS = 1 << 3,	/* EV_OPEN: its segments are what is inside TLS */
	EV_F_UDP = 1 << 4,	/* EV_OPEN: a UDP socket, whose segments are a datagram each; not known which is the
				 * remote end of one that is not connected, but for that of its first datagram */
};

enum close_how {
	CLOSE_FIN = 0,	 /* orderly: EOF read, or closed by the local side */
	CLOSE_RESET = 1, /* ECONNRESET, EPIPE, ETIMEDOUT...: `err` has the errno */
	CLOSE_GONE = 2,	 /* the socket is closed both ways; `err` is set where the peer or the kernel broke it */
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
	__u64 other_off; /* bytes that have gone the other way by now, as TCP's sequence numbers tell: their own
			  * record may come later, where one thread sends and another receives. 0: not known */
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

/* ---- maps ---- */

enum verdict {
	VERDICT_NO = 0,
	VERDICT_YES = 1,
};

/* Indices of the `counters` map: what went by, and what was lost, by reason. */
enum counter {
	COUNT_LOST_SEGMENT = 0,	 /* segment records the ring had no room for */
	COUNT_LOST_OTHER,	 /* other records the ring had no room for */
	COUNT_LOST_EXCHANGE,	 /* exchanges counted in the overflow map */
	COUNT_OVERFLOW_FULL,	 /* ... that found the overflow map full: only this number remains */
	COUNT_UNREADABLE,	 /* user memory that could not be read at that moment */
	COUNT_NO_BUFFER,	 /* operations without a user buffer: sendfile, splice, io_uring */
	COUNT_COMPAT,		 /* operations of 32-bit processes, whose arguments are not read */
	COUNT_TLS_UNBOUND,	 /* calls of a TLS library of which it is not known what socket they belong to */
	COUNT_MAX,
};
#define COUNTER_MAX 16

#define DURATION_BUCKETS 15

struct overflow_key {
	__u32 tgid;
	__u16 status; /* 0: no response */
	__u16 server_port; /* host order; 0 for unix sockets */
	__u8 server;  /* 1: requests arrive on the socket */
	__u8 pad[3];
};

struct overflow_value {
	__u64 count;
	__u64 sum_ns;
	__u64 buckets[DURATION_BUCKETS]; /* bounds: the conventions' */
};

/* What the bytes behind a head are, as far as capture knows. */
enum body {
	BODY_NONE = 0, /* in a head: take all */
	BODY_OPAQUE,   /* of unknown length: edges only */
	BODY_CHUNKED,  /* at the first line of a chunk once body_left is 0 */
	BODY_UNKNOWN,  /* in a head or in a body: bytes were taken unread; take all, a blank line means nothing */
};

/* What the lines of a head say about its body. */
enum framing {
	FRAMING_LENGTH = 1,
	FRAMING_CHUNKED = 2,
};

enum chunk_line {
	LINE_START = 0,
	LINE_DIGITS,
	LINE_EXTENSION,
	LINE_AFTER_DATA, /* the line end of the chunk before comes first */
	LINE_WHOLE,
};

/* One direction of a connection. */
struct half {
	__u64 off;	/* stream bytes so far */
	__u64 burst_ts; /* first operation of the burst */
	__u32 seq;	/* TCP: sequence number that belongs to `off` */
	__u32 burst_cap; /* bytes captured of this burst */
	__u64 body_left; /* bytes of a body of known length still to come */
	__u64 length;	 /* Content-Length of the head being read */
	__u64 chunk;	 /* the size being read off a chunk's first line */
	__u32 tail;	 /* the last four captured bytes */
	__u8 body;	 /* enum body */
	__u8 chunk_line; /* enum chunk_line */
	__u8 framing;	 /* enum framing of the head being read */
	__u8 instead;	 /* enum body, if what was taken for chunks is none */
	/* where there are frames: see frames.h */
	__u32 take;	 /* bytes of the frame's payload still to come that are wanted */
	__u32 skip;	 /* those behind them, which are not */
	__u32 head;	 /* the four bytes of the frame's header in which its length stands, as far as they have come */
	__u8 head_got;	 /* bytes of a header that have come: it is cut between operations */
	__u8 in_step;	 /* it is known where frames begin */
	__u8 pad[2];
	__u32 left;	 /* of the operation at hand: bytes still to do */
	__u32 run;	 /* ... and those done since the last that were passed over */
	__u32 at;	 /* cursor in a record's bytes */
};

/* Where the bytes of the operation at hand are. iovcnt 0: `base` is the buffer itself; else `base` is an array
 * of struct iovec. It stands in the connection and not on the stack because the verifier would follow every
 * value of the cursor through the loop over iovecs.
 */
struct user_buffer {
	__u64 base;
	__u64 at_used; /* cursor: bytes used of the iovec below */
	__u64 done;    /* bytes gathered by the current call */
	__u32 iovcnt;
	__u32 at; /* cursor: first iovec not used up */
	/* the cursor as it was, to go back to */
	__u64 mark_base;
	__u64 mark_at_used;
	__u64 mark_at;
};

/* In the ids of `strangers`: what is inside the connection's TLS is meant, not what was spoken before it. */
enum stranger {
	STRANGER_TLS_BIT = 63,
};

/* What user space found out about a connection. */
enum found {
	FOUND_STRANGER = 1, /* it speaks no protocol of ours: leave it alone */
	FOUND_HTTP2 = 2,
	FOUND_PLAIN = 3, /* something else, of which each operation is to be passed on: see plain.h */
	FOUND_FRAMED = 4, /* something else that is made of frames, as `format` says: see frames.h */
};

#define FORMAT_HEADER_MAX 16

/* A protocol's frames: each has a header, always of the same size, that says how long the payload behind it is.
 *
 *   header  |    ...    | length |  ...  |      payload: length + bias       |
 *           0           length_at        header
 */
struct frame_format {
	__u8 header;	   /* its bytes, FORMAT_HEADER_MAX at most */
	__u8 length_at;	   /* where the length stands in it */
	__u8 length_bytes; /* and in how many bytes, 1 to 4 */
	__u8 little_endian;
	__u8 lettered; /* a header begins with an ASCII letter; with a digit, if there is no payload */
	__u8 pad[3];
	__s32 bias;
	__u32 want[2]; /* by enum event_dir: bytes of each payload that are wanted */
};

/* The values of `strangers`. */
struct finding {
	__u8 found; /* enum found */
	__u8 pad[3];
	struct frame_format format;
};

/* How the bytes of a connection are looked at, as far as is known. */
enum conn_mode {
	MODE_HTTP1 = 0, /* also as long as nothing is known */
	MODE_HTTP2,
	MODE_PLAIN,
	MODE_FRAMED,
	MODE_DATAGRAM, /* a UDP socket */
};

enum conn_tls {
	TLS_UNKNOWN = 0,
	TLS_NO, /* so far: a protocol may change to it */
	TLS_YES, /* the socket's bytes are ciphertext; what is inside comes from the library */
	TLS_CARRIER, /* what is inside is TLS again, whose calls are around the carrier's */
};

/* The cookie of a probe: how its function is called, and what the library's objects look like. */
enum tls_cookie {
	TLS_SEND = 1 << 0,   /* else it receives */
	TLS_COUNT4 = 1 << 1, /* above 0 is success, and the fourth argument points to the count (SSL_read_ex) */
	TLS_COUNT5 = 1 << 2, /* the fifth does (SSL_write_ex2) */
	TLS_NO_DATA = 1 << 3, /* it moves none of the application's bytes (SSL_do_handshake) */
	TLS_GO = 1 << 4,     /* Go's registers, and goroutines that change threads */
	TLS_ON_STACK = 1 << 5, /* the result stands on the stack, at the offset in the cookie's upper half */
	TLS_LAYOUT_SHIFT = 8, /* index into `tls_layouts`, 0: none */
	TLS_STACK_SHIFT = 32,
};

#define TLS_HOPS 3
#define TLS_RANDOM_LEN 32

/* Where a session object has what names its connection: offsets from the object, each but the last to a pointer.
 */
struct tls_layout {
	__u32 hops; /* of client_random in use, 0: not known */
	__u32 client_random[TLS_HOPS];
	__u32 is_server; /* offset of an int, set in servers; 0: not known */
	__u32 pad;
};

enum conn_state {
	CONN_NEW = 0,
	CONN_WATCHED = 1,
	CONN_IGNORED = 2, /* not ours for good */
	CONN_UNSELECTED = 3, /* until the selection changes */
};

struct conn {
	__u64 id;
	__u32 tgid;
	__u32 generation;
	__u16 local_port; /* host order */
	__u16 remote_port;
	__u8 state; /* enum conn_state */
	__u8 tcp;   /* `seq` is meaningful */
	__u8 announced; /* announce_generation when EV_OPEN went to the ring, 0 before */
	__u8 last_dir;	/* enum event_dir + 1 */
	__u8 lost;	/* flags for the next record: EV_F_LOST, EV_F_COUNTED */
	__u8 broken;	/* a record of the current exchange was lost: see `muted` */
	__u8 muted;	/* the current exchange is in the overflow map: nothing of it goes to the ring */
	__u8 response_dir; /* enum event_dir + 1, once known: the way that began with "HTTP/1." */
	__u8 old;	/* older than the agent, or not known to be younger */
	__u8 tls;	/* enum conn_tls */
	__u16 mmsg[2];	/* messages done in a recvmmsg, in a sendmmsg */
	__u16 ops;
	__u8 tls_process; /* the process has called a TLS library that is probed */
	__u8 mode; /* enum conn_mode, which but the first is for good */
	__u8 preface[2]; /* bytes of HTTP/2's preface that have come each way */
	struct frame_format format; /* of MODE_FRAMED */
	struct half half[2];
	struct user_buffer buffer[2]; /* one thread may receive while another sends */
};

#endif
