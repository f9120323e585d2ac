//! Probes in the code of user programs: attached by file, for every process that maps it.

use super::{Failure, FailureKind, Programs};
use crate::wire::{bytes_of, tls_cookie, tls_layout};
use libbpf_rs::btf::types::Func;
use libbpf_rs::btf::Btf;
use libbpf_rs::{Link, MapCore, MapFlags, ProgramMut, UprobeMultiOpts, UprobeOpts};
use std::collections::BTreeMap;
use std::path::Path;

/// Layouts that the kernel side has room for, the unknown one included.
const MAX_LAYOUTS: u32 = 256;

/// What runs at a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A function's arguments are in their registers.
    Enter,
    /// Its result is.
    Exit,
    /// A session object, the first argument, goes.
    Free,
}

/// One place in a file.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// What runs there.
    pub place: Place,
    /// Into the file.
    pub offset: usize,
    /// What the function does and how it is called: `enum tls_cookie` without a layout.
    pub call: u64,
    /// A return probe: `offset` is where the stack still ends with the return address.
    pub at_return: bool,
}

/// Where a session object has what names its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    /// Offsets from the object to the ClientHello's random, each but the last to a pointer; empty: not known.
    pub client_random: Vec<u32>,
    /// Offset of an int that is set in servers; 0: not known.
    pub is_server: u32,
}

/// What is attached, by the number that Python knows it by.
#[derive(Default)]
pub struct Uprobes {
    attached: BTreeMap<u64, Vec<Link>>,
    layouts: Vec<Layout>,
    last: u64,
}

/// Whether one link can have many probes (6.6); before, each has a perf event of its own.
pub(super) fn many_at_once(btf: &Btf<'_>) -> bool {
    btf.type_by_name::<Func<'_>>("bpf_uprobe_multi_link_attach")
        .is_some()
}

impl Programs {
    /// Attaches probes to a file; none stays if one can't be. The number is for `remove_probes`.
    pub fn add_probes(
        &mut self,
        path: &Path,
        probes: &[Probe],
        layout: &Layout,
    ) -> Result<u64, Failure> {
        let layout = self.layout(layout)?;
        let mut groups: BTreeMap<(Place, bool), (Vec<usize>, Vec<u64>)> = BTreeMap::new();
        for probe in probes {
            let group = groups.entry((probe.place, probe.at_return)).or_default();
            group.0.push(probe.offset);
            group
                .1
                .push(probe.call | u64::from(layout) << tls_cookie::TLS_LAYOUT_SHIFT.0);
        }
        // Before the first probe: its process's connections look once, then, whether they are a TLS library's.
        if let Some(data) = self.skel.maps.bss_data.as_deref_mut() {
            data.tls_in_use = 1;
        }
        let mut links = Vec::new();
        for ((place, at_return), (offsets, cookies)) in groups {
            let prog = match place {
                Place::Enter => &self.skel.progs.tls_enter,
                Place::Exit => &self.skel.progs.tls_exit,
                Place::Free => &self.skel.progs.tls_free,
            };
            let attached = if self.many_at_once {
                attach_all(prog, path, at_return, offsets, cookies)
            } else {
                attach_each(prog, path, at_return, &offsets, &cookies)
            };
            links.extend(attached.map_err(|e| {
                let what = format!("probing {}", path.display());
                Failure::from_bpf(FailureKind::Attach, &what, &e)
            })?);
        }
        self.uprobes.last += 1;
        self.uprobes.attached.insert(self.uprobes.last, links);
        Ok(self.uprobes.last)
    }

    /// Detaches what `add_probes` attached; false: it was not there.
    pub fn remove_probes(&mut self, number: u64) -> bool {
        self.uprobes.attached.remove(&number).is_some()
    }

    /// The index of a layout, 0 for the unknown one.
    fn layout(&mut self, layout: &Layout) -> Result<u32, Failure> {
        let mut value = tls_layout::default();
        let hops = layout.client_random.len();
        if hops == 0 || hops > value.client_random.len() {
            return Ok(0);
        }
        if let Some(at) = self
            .uprobes
            .layouts
            .iter()
            .position(|known| known == layout)
        {
            return Ok(at as u32 + 1);
        }
        let index = self.uprobes.layouts.len() as u32 + 1;
        if index >= MAX_LAYOUTS {
            return Ok(0);
        }
        value.hops = hops as u32;
        value.is_server = layout.is_server;
        value.client_random[..hops].copy_from_slice(&layout.client_random);
        self.skel
            .maps
            .tls_layouts
            .update(&index.to_ne_bytes(), bytes_of(&value), MapFlags::ANY)
            .map_err(|e| Failure::from_bpf(FailureKind::Load, "writing a layout", &e))?;
        self.uprobes.layouts.push(layout.clone());
        Ok(index)
    }
}

fn attach_all(
    prog: &ProgramMut<'_>,
    path: &Path,
    at_return: bool,
    offsets: Vec<usize>,
    cookies: Vec<u64>,
) -> libbpf_rs::Result<Vec<Link>> {
    let options = UprobeMultiOpts {
        offsets,
        cookies,
        retprobe: at_return,
        ..UprobeMultiOpts::default()
    };
    Ok(vec![
        prog.attach_uprobe_multi_with_opts(-1, path, "", options)?
    ])
}

fn attach_each(
    prog: &ProgramMut<'_>,
    path: &Path,
    at_return: bool,
    offsets: &[usize],
    cookies: &[u64],
) -> libbpf_rs::Result<Vec<Link>> {
    let each = offsets.iter().zip(cookies);
    each.map(|(&offset, &cookie)| {
        let options = UprobeOpts {
            cookie,
            retprobe: at_return,
            ..UprobeOpts::default()
        };
        prog.attach_uprobe_with_opts(-1, path, offset, options)
    })
    .collect()
}
