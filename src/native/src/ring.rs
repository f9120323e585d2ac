//! Ring records, decoded and handed to the streams. A record that is not what the contract says is counted and
//! passed over.

use crate::conn::{Address, ConnInfo, Endpoint};
use crate::exchange::Role;
use crate::processes::Process;
use crate::stream::{Closed, Direction, Segment, Streams};
use crate::wire::{
    self, close_how, ev_close, ev_exec, ev_hdr, ev_open, ev_segment, event_dir, event_flags,
    event_kind,
};
use std::net::{Ipv4Addr, Ipv6Addr};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Takes one record. False: it was malformed.
pub fn record(streams: &mut Streams, bytes: &[u8]) -> bool {
    let Some(head) = wire::read::<ev_hdr>(bytes) else {
        return false;
    };
    let kind = event_kind(u32::from(head.kind));
    if kind == event_kind::EV_SEGMENT {
        return segment(streams, bytes); // nearly all are
    }
    match kind {
        event_kind::EV_OPEN => open(streams, bytes),
        event_kind::EV_CLOSE => close(streams, bytes),
        event_kind::EV_EXEC => exec(streams, bytes),
        event_kind::EV_EXIT => {
            streams.exit(head.tgid, head.ts_ns);
            true
        }
        _ => false,
    }
}

fn direction(dir: u8) -> Direction {
    if event_dir(u32::from(dir)) == event_dir::DIR_SEND {
        Direction::Send
    } else {
        Direction::Recv
    }
}

fn counted(h: &ev_hdr) -> bool {
    u32::from(h.flags) & event_flags::EV_F_COUNTED.0 != 0
}

fn segment(streams: &mut Streams, bytes: &[u8]) -> bool {
    let Some(s) = wire::read::<ev_segment>(bytes) else {
        return false;
    };
    let Some(data) = bytes[size_of::<ev_segment>()..].get(..s.cap as usize) else {
        return false;
    };
    if s.adv < s.cap {
        return false;
    }
    streams.segment(&Segment {
        conn: s.h.conn,
        dir: direction(s.h.dir),
        tgid: s.h.tgid,
        ts_ns: s.h.ts_ns,
        off: s.off,
        other_off: s.other_off,
        adv: u64::from(s.adv),
        data,
        counted_elsewhere: counted(&s.h),
    });
    true
}

/// No peer has the unspecified address: it is a UDP socket's that is not connected.
fn address(family: u16, raw: [u8; 16]) -> Address {
    match family {
        AF_INET | AF_INET6 if raw == [0; 16] => Address::Unknown,
        AF_INET => Address::V4(Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3])),
        AF_INET6 => {
            let v6 = Ipv6Addr::from(raw);
            v6.to_ipv4_mapped().map_or(Address::V6(v6), Address::V4)
        }
        AF_UNIX => Address::Unix,
        _ => Address::Unknown,
    }
}

/// Up to the first NUL.
fn text(raw: &[u8]) -> String {
    let end = raw.iter().position(|&b| b == 0).unwrap_or(raw.len());
    String::from_utf8_lossy(&raw[..end]).into_owned()
}

fn open(streams: &mut Streams, bytes: &[u8]) -> bool {
    let Some(e) = wire::read::<ev_open>(bytes) else {
        return false;
    };
    let local = Endpoint {
        address: address(e.family, e.local_addr),
        port: e.local_port,
    };
    let remote = Endpoint {
        address: address(e.family, e.remote_addr),
        port: e.remote_port,
    };
    let mut info = ConnInfo::new(0, Role::Server, local, remote);
    if e.family == AF_UNIX {
        info.unix_path = Some(text(&e.unix_path).into_boxed_str());
    }
    info.encrypted = u32::from(e.h.flags) & event_flags::EV_F_TLS.0 != 0;
    info.datagram = u32::from(e.h.flags) & event_flags::EV_F_UDP.0 != 0;
    let old = u32::from(e.h.flags) & event_flags::EV_F_OLD.0 != 0;
    streams.open(e.h.conn, info, e.h.tgid, e.h.ts_ns, old, || Process {
        uid: e.uid,
        start_boottime_ns: e.start_boottime_ns,
        cgroup_id: e.cgroup_id,
        comm: text(&e.comm),
        ..Process::default()
    });
    true
}

fn close(streams: &mut Streams, bytes: &[u8]) -> bool {
    let Some(e) = wire::read::<ev_close>(bytes) else {
        return false;
    };
    let how = match close_how(e.how) {
        close_how::CLOSE_FIN => Closed::Fin(direction(e.h.dir)),
        close_how::CLOSE_RESET => Closed::Reset(e.err),
        close_how::CLOSE_GONE => Closed::Gone(e.err),
        _ => return false,
    };
    streams.close(e.h.conn, e.h.ts_ns, how, counted(&e.h));
    true
}

fn exec(streams: &mut Streams, bytes: &[u8]) -> bool {
    let Some(e) = wire::read::<ev_exec>(bytes) else {
        return false;
    };
    let Some(args) = e.args.get(..e.args_len as usize) else {
        return false;
    };
    let args = args
        .split(|&b| b == 0)
        .filter(|a| !a.is_empty())
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect();
    streams.exec(
        Process {
            tgid: e.h.tgid,
            ppid: e.ppid,
            uid: e.uid,
            start_boottime_ns: e.start_boottime_ns,
            cgroup_id: e.cgroup_id,
            comm: text(&e.comm),
            args,
            ..Process::default()
        },
        e.h.ts_ns,
    );
    true
}
