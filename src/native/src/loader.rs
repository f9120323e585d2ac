//! Opens, configures, loads and attaches the BPF programs. Nothing is pinned: when the process ends, however it
//! ends, the kernel takes all of it away.

pub mod stats;
mod uprobes;

use uprobes::Uprobes;
pub use uprobes::{Layout, Place, Probe};

use crate::capture_mode::{Found, Framing};
use crate::exchange::Role;
use crate::wire::skel::{CaptureProgs, CaptureSkel, CaptureSkelBuilder};
use crate::wire::{self, finding, found, frame_format, tls_session, verdict};
use libbpf_rs::btf::types::{Func, Typedef};
use libbpf_rs::btf::Btf;
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, OpenObject, ProgramAttachType, ProgramMut};
use rustc_hash::FxHashSet;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which hooks see the socket operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// Tracepoints sock_send_length and sock_recv_length (kernel 6.3).
    SockLength,
    /// fexit on the functions they stand in.
    Fexit,
    /// This kernel has neither, or no BTF to tell.
    None,
}

impl Hooks {
    /// As Python names them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SockLength => "sock_length",
            Self::Fexit => "fexit",
            Self::None => "none",
        }
    }
}

/// What went wrong, by what the user can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Capabilities are missing.
    Permission,
    /// The kernel has no BTF.
    NoBtf,
    /// The programs were refused.
    Load,
    /// A hook was refused.
    Attach,
    /// The session is closed.
    Closed,
    /// An argument makes no sense.
    Argument,
}

impl FailureKind {
    /// As Python names them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::NoBtf => "no_btf",
            Self::Load => "load",
            Self::Attach => "attach",
            Self::Closed => "closed",
            Self::Argument => "argument",
        }
    }
}

/// A failure for people, with its kind.
#[derive(Debug)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people.
    pub message: String,
}

impl Failure {
    /// Anything of ours.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    fn from_bpf(kind: FailureKind, what: &str, e: &libbpf_rs::Error) -> Self {
        // {:#} has the whole chain on one line
        let message = format!("{what}: {e:#}");
        // Without the capabilities bpf(2) says EPERM; EACCES is the verifier's no. The library's error has one kind
        // for both, but keeps the number in its text.
        let kind = if message.ends_with("(os error 1)") {
            FailureKind::Permission
        } else {
            kind
        };
        Self::new(kind, message)
    }
}

/// Before loading.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring: a power of two, a multiple of the page.
    pub ring_bytes: u32,
    /// Capture processes without a verdict.
    pub select_unknown: bool,
    /// Capture only connections with one of these ports.
    pub ports: Option<Vec<u16>>,
    /// Tell of new programs at once, not within a tenth of a second.
    pub tell_execs: bool,
}

/// Programs in the kernel, attached until dropped.
pub struct Programs {
    /// Which hooks are in use.
    pub hooks: Hooks,
    // Before `skel`: links go before programs.
    links: Vec<Link>,
    uprobes: Uprobes,
    many_at_once: bool,
    skel: CaptureSkel<'static>,
}

fn functions(btf: &Btf<'_>, name: &str) -> bool {
    btf.type_by_name::<Func<'_>>(name).is_some()
}

/// Looks at the kernel's BTF only.
pub fn probe_hooks() -> Hooks {
    let Ok(btf) = Btf::from_vmlinux() else {
        return Hooks::None;
    };
    let tracepoint = |name: &str| btf.type_by_name::<Typedef<'_>>(name).is_some();
    if tracepoint("btf_trace_sock_send_length") && tracepoint("btf_trace_sock_recv_length") {
        Hooks::SockLength
    } else if ["sock_sendmsg", "inet_recvmsg", "unix_stream_recvmsg"]
        .iter()
        .all(|name| functions(&btf, name))
    {
        Hooks::Fexit
    } else {
        Hooks::None
    }
}

/// Every program of the object, those that this kernel does not get among them.
fn all<'a>(p: &'a CaptureProgs<'static>) -> [&'a ProgramMut<'static>; 16] {
    [
        &p.inet_sock_set_state,
        &p.sched_process_exec,
        &p.sched_process_exit,
        &p.sock_send_length,
        &p.sock_recv_length,
        &p.inner_sock_sendmsg_exit,
        &p.sock_sendmsg_exit,
        &p.inet_sendmsg_exit,
        &p.inet6_sendmsg_exit,
        &p.inet_recvmsg_exit,
        &p.inet6_recvmsg_exit,
        &p.unix_stream_recvmsg_exit,
        &p.kernel_sendpage_exit,
        &p.tls_enter,
        &p.tls_exit,
        &p.tls_free,
    ]
}

impl Programs {
    /// Loads and attaches.
    pub fn load(options: &Options) -> Result<Self, Failure> {
        let page = 4096;
        if !options.ring_bytes.is_power_of_two() || options.ring_bytes % page != 0 {
            return Err(Failure::new(
                FailureKind::Argument,
                format!(
                    "ring_bytes is {}; it must be a power of two and at least {page}",
                    options.ring_bytes
                ),
            ));
        }
        libbpf_rs::set_print(None);
        let hooks = probe_hooks();
        if hooks == Hooks::None {
            return Err(Failure::new(
                FailureKind::NoBtf,
                "this kernel shows no type information (/sys/kernel/btf/vmlinux) with the hooks that are needed",
            ));
        }
        // The skeleton borrows the place its object stands in; a session may outlive any scope, so the place (one
        // pointer) is never given back.
        let place: &'static mut MaybeUninit<OpenObject> =
            Box::leak(Box::new(MaybeUninit::uninit()));
        let mut open = CaptureSkelBuilder::default()
            .open(place)
            .map_err(|e| Failure::from_bpf(FailureKind::Load, "opening the BPF object", &e))?;

        open.maps
            .ring
            .set_max_entries(options.ring_bytes)
            .map_err(|e| Failure::from_bpf(FailureKind::Load, "sizing the ring", &e))?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.self_tgid = std::process::id();
            rodata.select_unknown = u8::from(options.select_unknown);
            rodata.port_filter = u8::from(options.ports.is_some());
            rodata.wake_on_exec = u8::from(options.tell_execs);
            rodata.wake_bytes = u64::from(options.ring_bytes / 8);
        }
        let progs = &mut open.progs;
        let tracepoints = hooks == Hooks::SockLength;
        progs.sock_send_length.set_autoload(tracepoints);
        progs.sock_recv_length.set_autoload(tracepoints);
        progs.inet_recvmsg_exit.set_autoload(!tracepoints);
        progs.unix_stream_recvmsg_exit.set_autoload(!tracepoints);
        let btf = Btf::from_vmlinux()
            .map_err(|e| Failure::from_bpf(FailureKind::NoBtf, "reading the kernel's BTF", &e))?;
        let inner = functions(&btf, "__sock_sendmsg");
        progs
            .inner_sock_sendmsg_exit
            .set_autoload(!tracepoints && inner);
        progs.sock_sendmsg_exit.set_autoload(!tracepoints && !inner);
        progs
            .inet6_recvmsg_exit
            .set_autoload(!tracepoints && functions(&btf, "inet6_recvmsg"));
        progs
            .inet_sendmsg_exit
            .set_autoload(!tracepoints && functions(&btf, "inet_sendmsg"));
        progs
            .inet6_sendmsg_exit
            .set_autoload(!tracepoints && functions(&btf, "inet6_sendmsg"));
        progs
            .kernel_sendpage_exit
            .set_autoload(!tracepoints && functions(&btf, "kernel_sendpage"));

        let many_at_once = uprobes::many_at_once(&btf);
        if !many_at_once {
            for prog in [
                &mut progs.tls_enter,
                &mut progs.tls_exit,
                &mut progs.tls_free,
            ] {
                // 0, which for probes means none: what "uprobe.multi" sets is unknown to this kernel
                prog.set_attach_type(ProgramAttachType::CgroupInetIngress);
            }
        }

        let skel = open
            .load()
            .map_err(|e| Failure::from_bpf(FailureKind::Load, "loading the BPF programs", &e))?;
        let mut programs = Self {
            hooks,
            links: Vec::new(),
            uprobes: Uprobes::default(),
            many_at_once,
            skel,
        };
        for port in options.ports.iter().flatten() {
            programs
                .skel
                .maps
                .ports
                .update(&u32::from(*port).to_ne_bytes(), &[1], MapFlags::ANY)
                .map_err(|e| Failure::from_bpf(FailureKind::Load, "writing the ports map", &e))?;
        }
        programs.attach()?;
        Ok(programs)
    }

    fn attach(&mut self) -> Result<(), Failure> {
        for prog in all(&self.skel.progs) {
            // uprobes wait for a library to be found
            if !prog.autoload() || prog.section() == "uprobe.multi" {
                continue;
            }
            let link = prog.attach().map_err(|e| {
                Failure::from_bpf(
                    FailureKind::Attach,
                    &format!("attaching {}", prog.name().to_string_lossy()),
                    &e,
                )
            })?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Handles that other threads may keep.
    pub fn maps(&self) -> Result<Maps, Failure> {
        let m = &self.skel.maps;
        let handle = |map: &libbpf_rs::MapMut<'_>| {
            MapHandle::try_from(map)
                .map_err(|e| Failure::from_bpf(FailureKind::Load, "opening a map", &e))
        };
        Ok(Maps {
            ring: handle(&m.ring)?,
            verdicts: handle(&m.verdicts)?,
            strangers: handle(&m.strangers)?,
            tls_sessions: handle(&m.tls_conns)?,
            overflow: handle(&m.overflow)?,
            counters: handle(&m.counters)?,
        })
    }

    /// Makes the kernel side look up verdicts anew.
    pub fn bump_selection(&mut self) {
        if let Some(data) = self.skel.maps.data_data.as_deref_mut() {
            // SAFETY: aligned, and mapped for as long as the skeleton lives; the programs add to it atomically too.
            let generation = unsafe { AtomicU32::from_ptr(&raw mut data.selection_generation) };
            generation.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes the kernel side announce its connections anew.
    pub fn bump_announcements(&mut self) {
        if let Some(data) = self.skel.maps.data_data.as_deref_mut() {
            data.announce_generation = data.announce_generation.wrapping_add(1).max(1);
        }
    }

    /// Name, type and memory in bytes of each map, as the kernel accounts for it; until kernel 6.4 an estimate.
    pub fn map_costs(&mut self) -> Vec<(String, String, u64)> {
        use std::os::fd::{AsFd, AsRawFd};
        self.skel
            .object_mut()
            .maps()
            .map(|map| {
                let of = map.as_fd().as_raw_fd();
                (
                    map.name().to_string_lossy().into_owned(),
                    format!("{:?}", map.map_type()).to_lowercase(),
                    memlock(of),
                )
            })
            .collect()
    }

    /// Name, hook and file descriptor of each program in use.
    pub fn each(&self) -> Vec<(String, String, i32)> {
        use std::os::fd::{AsFd, AsRawFd};
        all(&self.skel.progs)
            .into_iter()
            .filter(|p| p.autoload())
            .map(|p| {
                (
                    p.name().to_string_lossy().into_owned(),
                    p.section().to_string_lossy().into_owned(),
                    p.as_fd().as_raw_fd(),
                )
            })
            .collect()
    }
}

/// What the kernel says a descriptor's map, or program, holds of memory; 0 if it doesn't.
fn memlock(fd: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok())
        .unwrap_or(0)
}

/// As the programs see frames.
fn format_of(framing: &Framing, role: Role) -> frame_format {
    frame_format {
        header: framing.header,
        length_at: framing.length_at,
        length_bytes: framing.length_bytes,
        little_endian: u8::from(framing.little_endian),
        lettered: u8::from(framing.lettered),
        bias: framing.bias,
        want: framing.wants(role),
        ..frame_format::default()
    }
}

/// The maps that user space reads and writes.
pub struct Maps {
    /// Records.
    pub ring: MapHandle,
    verdicts: MapHandle,
    strangers: MapHandle,
    tls_sessions: MapHandle,
    /// Exchanges that the ring had no room for.
    pub overflow: MapHandle,
    counters: MapHandle,
}

impl Maps {
    /// Errors are the map being full: the process then stays as unknown ones are.
    pub fn set_verdict(&self, tgid: u32, selected: bool) -> libbpf_rs::Result<()> {
        let value = if selected {
            verdict::VERDICT_YES
        } else {
            verdict::VERDICT_NO
        };
        self.verdicts
            .update(&tgid.to_ne_bytes(), &[value.0 as u8], MapFlags::ANY)
    }

    /// For ended processes, whose tgid another may get.
    pub fn forget_verdict(&self, tgid: u32) {
        // not there: nothing to forget
        let _ = self.verdicts.delete(&tgid.to_ne_bytes());
    }

    /// Best effort: a connection that is not told of is passed on as HTTP/1 is.
    pub fn tell(&self, conn: u64, what: Found) {
        let (is, format) = match what {
            Found::Stranger => (found::FOUND_STRANGER, frame_format::default()),
            Found::Http2 => (found::FOUND_HTTP2, frame_format::default()),
            Found::Plain => (found::FOUND_PLAIN, frame_format::default()),
            Found::Framed(framing, role) => (found::FOUND_FRAMED, format_of(&framing, role)),
        };
        let value = finding {
            found: is.0 as u8,
            format,
            ..finding::default()
        };
        let _ = self
            .strangers
            .update(&conn.to_ne_bytes(), wire::bytes_of(&value), MapFlags::ANY);
    }

    /// Forgets TLS sessions of processes that have ended: who is killed, or just exits, ends none of its own.
    pub fn forget_tls_of(&self, ended: &FxHashSet<u32>) {
        let theirs =
            |key: &Vec<u8>| wire::read::<tls_session>(key).is_some_and(|s| ended.contains(&s.tgid));
        let keys: Vec<Vec<u8>> = self.tls_sessions.keys().filter(theirs).collect();
        for key in keys {
            // not there: its owner was faster
            let _ = self.tls_sessions.delete(&key);
        }
    }

    /// One of `enum counter`, over all CPUs.
    pub fn counter(&self, which: u32) -> u64 {
        match self
            .counters
            .lookup_percpu(&which.to_ne_bytes(), MapFlags::ANY)
        {
            Ok(Some(values)) => values
                .iter()
                .filter_map(|v| Some(u64::from_ne_bytes(v.get(..8)?.try_into().ok()?)))
                .fold(0, u64::wrapping_add),
            _ => 0,
        }
    }
}
