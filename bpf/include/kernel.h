/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The kernel as we touch it: only the types, fields and constants in use, relocated by CO-RE. All drift
 * between kernel versions is handled in this file.
 */
#ifndef OTEL_EBPF_KERNEL_H
#define OTEL_EBPF_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u8 bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif

/* uapi/linux/bpf.h: the few constants of it that BPF C needs */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_SK_STORAGE_GET_F_CREATE = 1, BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000

#define EINTR 4
#define EAGAIN 11
#define ERESTARTSYS 512 /* up to ERESTART_RESTARTBLOCK, 516: the kernel's own, the call is restarted */
#define ERESTART_LAST 516

#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9

#define RCV_SHUTDOWN 1
#define SHUTDOWN_MASK 3

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define TS_COMPAT 0x0002 /* arch/x86: 32-bit system call */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};
struct ns_common {
	__u32 inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;
struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	__u16 skc_family;
	volatile __u8 skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};
struct sock {
	struct sock_common __sk_common;
	__u8 sk_shutdown;
	__u16 sk_type;
	__u16 sk_protocol;
	int sk_err;
};
struct tcp_sock {
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 rcv_nxt;
	__u32 copied_seq;
	__u32 snd_una;
	__u32 write_seq;
};
struct sockaddr_un {
	__u16 sun_family;
	char sun_path[108];
};
struct unix_address {
	int len;
	struct sockaddr_un name[0];
};
struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};
struct socket {
	struct sock *sk;
};
struct msghdr {
};
struct page {
};

struct kernfs_node {
	__u64 id;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct css_set {
	struct cgroup *dfl_cgrp;
};
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};
typedef struct {
	int counter;
} atomic_t;
struct signal_struct {
	atomic_t live;
};
struct thread_info {
	__u32 status;
};
typedef struct {
	__u32 val;
} kuid_t;
struct cred {
	kuid_t uid;
};
struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct css_set *cgroups;
	const struct cred *cred;
	__u64 start_boottime;
	char comm[16];
};
struct linux_binprm {
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r14;
	unsigned long bx;
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
};
struct pt_regs {
	__u64 regs[31];
	__s32 syscallno;
};
#else
#error "unsupported architecture"
#endif

#pragma clang attribute pop

/* uapi, never relocated: read from the user's memory */
struct iovec {
	__u64 iov_base;
	__u64 iov_len;
};
struct user_msghdr {
	__u64 msg_name;
	__u32 msg_namelen;
	__u32 pad;
	__u64 msg_iov;
	__u64 msg_iovlen;
	__u64 msg_control;
	__u64 msg_controllen;
	__u32 msg_flags;
	__u32 pad2;
};
/* The beginning of struct sockaddr_in and sockaddr_in6. */
struct user_address {
	__u16 family;
	__be16 port;
};
#define USER_ADDRESS_4 4 /* where the address itself stands */
#define USER_ADDRESS_6 8
struct mmsghdr {
	struct user_msghdr msg_hdr;
	__u32 msg_len;
	__u32 pad;
};

#if defined(__TARGET_ARCH_x86)
/* of functions in user space, from a uprobe's context */
#define CALL_ARG1(ctx) ((ctx)->di)
#define CALL_ARG2(ctx) ((ctx)->si)
#define CALL_ARG3(ctx) ((ctx)->dx)
#define CALL_ARG4(ctx) ((ctx)->cx)
#define CALL_ARG5(ctx) ((ctx)->r8)
#define CALL_RESULT(ctx) ((ctx)->ax)
#define CALL_SP(ctx) ((ctx)->sp)
/* Go's ABIInternal; the goroutine's register holds it at system calls too */
#define GO_ARG1(ctx) ((ctx)->ax)
#define GO_ARG2(ctx) ((ctx)->bx)
#define GO_ARG3(ctx) ((ctx)->cx)
#define GO_G(ctx) ((ctx)->r14)

#define SYS_NR(regs) ((long)(regs)->orig_ax)
#define SYS_ARG2(regs) ((regs)->si)
#define SYS_ARG3(regs) ((regs)->dx)
#define SYS_ARG5(regs) ((regs)->r8)
enum {
	NR_read = 0,
	NR_write = 1,
	NR_readv = 19,
	NR_writev = 20,
	NR_sendto = 44,
	NR_recvfrom = 45,
	NR_sendmsg = 46,
	NR_recvmsg = 47,
	NR_recvmmsg = 299,
	NR_sendmmsg = 307,
	NR_preadv2 = 327,
	NR_pwritev2 = 328,
};
#else
#define CALL_ARG1(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define CALL_ARG2(ctx) (((struct user_pt_regs *)(ctx))->regs[1])
#define CALL_ARG3(ctx) (((struct user_pt_regs *)(ctx))->regs[2])
#define CALL_ARG4(ctx) (((struct user_pt_regs *)(ctx))->regs[3])
#define CALL_ARG5(ctx) (((struct user_pt_regs *)(ctx))->regs[4])
#define CALL_RESULT(ctx) (((struct user_pt_regs *)(ctx))->regs[0])
#define CALL_SP(ctx) (((struct user_pt_regs *)(ctx))->sp)
#define GO_ARG1(ctx) CALL_ARG1(ctx)
#define GO_ARG2(ctx) CALL_ARG2(ctx)
#define GO_ARG3(ctx) CALL_ARG3(ctx)
#define GO_G(ctx) (((struct user_pt_regs *)(ctx))->regs[28])

#define SYS_NR(regs) ((long)(regs)->syscallno)
#define SYS_ARG2(regs) ((regs)->regs[1])
#define SYS_ARG3(regs) ((regs)->regs[2])
#define SYS_ARG5(regs) ((regs)->regs[4])
enum {
	NR_read = 63,
	NR_write = 64,
	NR_readv = 65,
	NR_writev = 66,
	NR_sendto = 206,
	NR_recvfrom = 207,
	NR_sendmsg = 211,
	NR_recvmsg = 212,
	NR_recvmmsg = 243,
	NR_sendmmsg = 269,
	NR_preadv2 = 286,
	NR_pwritev2 = 287,
};
#endif

#endif
