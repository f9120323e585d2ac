//! Processes as the core meets them. A tgid is re-used and an exec makes another program of it, so each gets a
//! key that never comes back.

use rustc_hash::FxHashMap;

/// A process that had traffic or was seen to exec.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Unique for the life of the session, from 1.
    pub key: u64,
    /// In the initial pid namespace.
    pub tgid: u32,
    /// 0 where not known.
    pub ppid: u32,
    /// Of the task that was seen first.
    pub uid: u32,
    /// CLOCK_BOOTTIME at which its leader started; 0 where not known.
    pub start_boottime_ns: u64,
    /// cgroup v2 id; 0 where not known.
    pub cgroup_id: u64,
    /// The leader's, at most 15 bytes.
    pub comm: String,
    /// argv at exec, perhaps cut; empty where the exec was not seen.
    pub args: Vec<String>,
    /// What Python decided.
    pub verdict: Verdict,
    /// Handed to Python.
    pub(crate) reported: bool,
}

/// Is the process watched?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Python has not said yet.
    #[default]
    Unknown,
    /// Watched, on server ports within `include` (all if `None`) and not within `exclude`; inclusive ranges.
    Selected {
        /// `None`: every port.
        include: Option<Vec<(u16, u16)>>,
        /// Taken out of the above.
        exclude: Vec<(u16, u16)>,
    },
    /// Left alone.
    Excluded,
}

impl Verdict {
    /// May an exchange with this server port be counted?
    pub fn allows(&self, port: u16) -> bool {
        let within = |ranges: &[(u16, u16)]| ranges.iter().any(|r| r.0 <= port && port <= r.1);
        match self {
            Self::Unknown => true,
            Self::Excluded => false,
            Self::Selected { include, exclude } => {
                include.as_deref().is_none_or(within) && !within(exclude)
            }
        }
    }
}

/// All that live, by tgid and by key.
#[derive(Debug, Default)]
pub struct Processes {
    by_tgid: FxHashMap<u32, u64>,
    /// Ended, but not forgotten yet.
    ended: FxHashMap<u32, u64>,
    by_key: FxHashMap<u64, Process>,
    fresh: Vec<Process>,
    last_key: u64,
    /// Bumped with every exec and exit: what was looked up by tgid before may be wrong now.
    pub epoch: u64,
}

impl Processes {
    /// A process became another program. Returns the key it had before, for `forget`.
    pub fn exec(&mut self, process: Process) -> Option<u64> {
        self.epoch += 1;
        let before = self.by_tgid.remove(&process.tgid);
        self.insert(process);
        before
    }

    /// A process ended. Returns its key if it had one, for `forget`.
    pub fn exit(&mut self, tgid: u32) -> Option<u64> {
        let key = self.by_tgid.remove(&tgid)?;
        self.ended.insert(tgid, key);
        self.epoch += 1;
        Some(key)
    }

    /// Nothing more will be heard of a process that ended.
    pub fn forget(&mut self, key: u64) {
        let Some(process) = self.by_key.remove(&key) else {
            return;
        };
        if self.ended.get(&process.tgid) == Some(&key) {
            self.ended.remove(&process.tgid);
        }
    }

    /// As `with_traffic`, of traffic that may be told of only after the process's end.
    pub fn with_late_traffic(&mut self, tgid: u32) -> u64 {
        match self.ended.get(&tgid) {
            Some(&key) if !self.by_tgid.contains_key(&tgid) => key,
            _ => self.with_traffic(tgid, Process::default),
        }
    }

    /// The key of a process that has traffic; from now on Python is to know of it.
    pub fn with_traffic(&mut self, tgid: u32, describe: impl FnOnce() -> Process) -> u64 {
        let key = match self.by_tgid.get(&tgid) {
            Some(&key) => key,
            None => self.insert(Process { tgid, ..describe() }),
        };
        if let Some(p) = self.by_key.get_mut(&key) {
            if !p.reported {
                p.reported = true;
                self.fresh.push(p.clone());
            }
        }
        key
    }

    /// The process behind a key, while it lives.
    pub fn get(&self, key: u64) -> Option<&Process> {
        self.by_key.get(&key)
    }

    /// False: the process is gone.
    pub fn set_verdict(&mut self, key: u64, verdict: Verdict) -> bool {
        let process = self.by_key.get_mut(&key);
        process.map(|p| p.verdict = verdict).is_some()
    }

    /// Is there something to take?
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Those that had their first traffic since the last call; some may have ended meanwhile.
    pub fn take_fresh(&mut self) -> Vec<Process> {
        std::mem::take(&mut self.fresh)
    }

    fn insert(&mut self, mut process: Process) -> u64 {
        self.last_key += 1;
        process.key = self.last_key;
        self.by_tgid.insert(process.tgid, process.key);
        self.by_key.insert(process.key, process);
        self.last_key
    }
}
