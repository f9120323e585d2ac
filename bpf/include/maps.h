/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Maps and settings that user space and the programs share. */
#ifndef OTEL_EBPF_MAPS_H
#define OTEL_EBPF_MAPS_H

#include "kernel.h"
#include "events.h"

/* Set before loading. */
const volatile __u32 self_tgid = 0;	   /* the agent: never looked at */
const volatile bool select_unknown = true; /* capture processes that have no verdict yet */
const volatile bool port_filter = false;   /* only connections with a port in `ports` */
const volatile bool wake_on_exec = false;  /* somebody wants to know of new programs at once */
#define DATAGRAM_PORTS 4
const volatile __u16 datagram_ports[DATAGRAM_PORTS] = {53}; /* UDP is looked at on these, DNS's; 0: none */
/* unread bytes in the ring above which the reader is woken, an eighth of it */
const volatile __u64 wake_bytes = 512 << 10;

/* Bumped by user space after each change of `verdicts`: cached verdicts are looked up anew. */
volatile __u32 selection_generation = 1;
/* Bumped by user space after it has forgotten idle connections: each is announced anew before its next record. */
volatile __u8 announce_generation = 1;
volatile __u64 next_wake_ns = 0;

/* What a connection is to us, kept with the socket: no eviction, gone when it is gone. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} ring SEC(".maps");

/* tgid -> enum verdict */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} verdicts SEC(".maps");

/* By connection id, as user space recognises what they speak. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct finding);
} strangers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} ports SEC(".maps");

/* Exchanges whose records the ring had no room for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct overflow_key);
	__type(value, struct overflow_value);
} overflow SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &which);

	if (n)
		*n += 1;
}

#endif
