/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whose operations are looked at: by process, by port, and by what user space found out about a connection. */
#ifndef OTEL_EBPF_SELECT_H
#define OTEL_EBPF_SELECT_H

#include "frames.h"
#include "plain.h"
#include "tls.h"

static __always_inline bool port_wanted(const struct conn *c)
{
	__u32 local = c->local_port, remote = c->remote_port;
	__u8 *l = bpf_map_lookup_elem(&ports, &local), *r = bpf_map_lookup_elem(&ports, &remote);

	return (l && *l) || (r && *r);
}

static __always_inline bool process_wanted(__u32 tgid)
{
	__u8 *verdict = bpf_map_lookup_elem(&verdicts, &tgid);

	return verdict ? *verdict == VERDICT_YES : select_unknown;
}

static __noinline int select_conn(struct conn *c, __u32 tgid)
{
	__u8 *caller = tls_in_use ? bpf_map_lookup_elem(&tls_processes, &tgid) : NULL;
	bool yes = process_wanted(tgid);

	c->tgid = tgid;
	c->generation = selection_generation;
	if (yes && port_filter)
		yes = port_wanted(c);
	c->state = yes ? CONN_WATCHED : CONN_UNSELECTED;
	c->tls_process = caller ? *caller : 0;
	return 0;
}

/* The process on this CPU that was found unselected last: its next operation costs a comparison. Pids come again, and
 * so does the memory of what threads share, but not both at once.
 */
struct left_alone {
	__u64 shared; /* task_struct.signal */
	__u32 tgid;
	__u32 generation;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct left_alone);
} left_alone SEC(".maps");

static __always_inline struct left_alone *left_last(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&left_alone, &zero);
}

static __always_inline bool is_left_alone(const struct left_alone *left, struct task_struct *task)
{
	return left->tgid == task->tgid && left->generation == selection_generation &&
	       left->shared == (__u64)task->signal;
}

static __always_inline void leave_alone(struct left_alone *left, struct task_struct *task, __u32 generation)
{
	left->shared = (__u64)task->signal;
	left->tgid = task->tgid;
	left->generation = generation;
}

/* Whether `strangers` is looked up with this operation: now and then, as the map fills slowly, and before much is
 * passed on of what is not known.
 */
static __always_inline bool may_be_stranger(const struct conn *c, int len)
{
	return !(c->ops & 15) || (len > SMALL && !c->response_dir && c->mode == MODE_HTTP1);
}

/* Has user space found it to be one? `id`: what is meant by it is the caller's. */
static __always_inline bool is_stranger(struct conn *c, __u64 id)
{
	struct finding *it = bpf_map_lookup_elem(&strangers, &id);

	if (!it)
		return false;
	if (it->found == FOUND_STRANGER)
		return true;
	if (c->mode != MODE_HTTP1)
		return false;
	if (it->found == FOUND_HTTP2)
		begin_http2(c);
	else if (it->found == FOUND_FRAMED)
		begin_framed(c, &it->format);
	else
		begin_plain(c);
	return false;
}

#endif
