/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* UDP sockets on which DNS is spoken. Each operation is a datagram, and a record: whole up to PIECE bytes.
 *
 * A connected socket is one of them by its ports. One that is not connected is if it is bound to such a port, or if the
 * first datagram that it sends goes to one: it is looked at once. A server's socket has many peers, of which nothing is
 * told: the address is not yet in the caller's memory when a receive is seen.
 *
 * A UDP socket goes without a word. User space forgets those that are silent; one that speaks again after a while is
 * announced anew.
 */
#ifndef OTEL_EBPF_DATAGRAM_H
#define OTEL_EBPF_DATAGRAM_H

#include "plain.h"

#define DATAGRAM_SILENCE_NS 5000000000ULL

static __always_inline bool datagram_port(__u16 port)
{
	__u32 i;

	for (i = 0; i < DATAGRAM_PORTS; i++)
		if (port && port == datagram_ports[i])
			return true;
	return false;
}

static __always_inline bool is_datagram(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;
	__u16 remote;

	if ((family != AF_INET && family != AF_INET6) || sk->sk_protocol != IPPROTO_UDP)
		return false;
	remote = sk->__sk_common.skc_dport;
	return !remote || datagram_port(bpf_ntohs(remote)) || datagram_port(sk->__sk_common.skc_num);
}

/* Is there something to be remembered of a socket that has not been seen before? */
static __always_inline bool is_new_datagram(struct sock *sk, int ret, int dir)
{
	if (ret <= 0)
		return false;
	return dir == DIR_SEND || sk->__sk_common.skc_dport || datagram_port(sk->__sk_common.skc_num);
}

/* False: it is none of those. */
static __always_inline bool begin_datagrams(struct conn *c, struct task_struct *task, int dir)
{
	struct user_address name;
	__u64 at;

	c->mode = MODE_DATAGRAM;
	c->old = false;
	if (datagram_port(c->local_port) || datagram_port(c->remote_port))
		return true;
	at = dir == DIR_SEND ? send_name(task, c) : 0;
	if (!at || bpf_probe_read_user(&name, sizeof(name), (void *)at))
		return false;
	c->remote_port = bpf_ntohs(name.port);
	return datagram_port(c->remote_port);
}

#endif
