//! The processes, found by key once per connection and by place afterwards.

use rustc_hash::FxHashMap;

use super::process::{Counts, Limits, Process};
use crate::conn::ConnInfo;
use crate::exchange::Role;

pub struct Table {
    limits: Limits,
    slots: Vec<Option<Box<Process>>>,
    free: Vec<u32>,
    by_key: FxHashMap<u64, u32>,
    last_incarnation: u32,
    /// Some of the processes are gone.
    any_gone: bool,
    /// Counts of processes that are kept no more.
    pub past: Counts,
}

impl Table {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: FxHashMap::default(),
            last_incarnation: 0,
            any_gone: false,
            past: Counts::default(),
        }
    }

    /// The connection's process; its cache is good for this process and role afterwards.
    #[inline]
    pub fn bind(&mut self, conn: &mut ConnInfo) -> &mut Process {
        let slot = conn.cache.slot as usize;
        let bound = self
            .slots
            .get(slot)
            .and_then(|process| process.as_deref())
            .is_some_and(|process| {
                process.incarnation == conn.cache.incarnation && process.key == conn.process_key
            });
        let slot = if bound && conn.cache.role == Some(conn.role) {
            slot
        } else {
            self.rebind(conn)
        };
        let process = self.slots[slot].as_deref_mut();
        process.unwrap_or_else(|| unreachable!("bound to a slot in use"))
    }

    #[cold]
    fn rebind(&mut self, conn: &mut ConnInfo) -> usize {
        let old = self
            .slots
            .get_mut(conn.cache.slot as usize)
            .and_then(|slot| slot.as_deref_mut());
        if let Some(old) = old.filter(|old| old.incarnation == conn.cache.incarnation) {
            if conn.cache.role == Some(Role::Server) {
                for place in &conn.cache.in_flight {
                    old.deactivate(*place);
                }
            }
        }
        let slot = self.slot_of(conn.process_key);
        conn.cache = super::ConnCache {
            slot: slot as u32,
            incarnation: self.slots[slot]
                .as_deref()
                .map_or(0, |process| process.incarnation),
            role: Some(conn.role),
            ..super::ConnCache::default()
        };
        slot
    }

    fn slot_of(&mut self, key: u64) -> usize {
        if let Some(slot) = self.by_key.get(&key) {
            return *slot as usize;
        }
        self.last_incarnation += 1;
        let process = Process::new(key, self.last_incarnation, &self.limits);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[slot as usize] = Some(Box::new(process));
        self.by_key.insert(key, slot);
        slot as usize
    }

    /// The process of that key, made if there is none.
    pub fn process(&mut self, key: u64) -> &mut Process {
        let slot = self.slot_of(key);
        let process = self.slots[slot].as_deref_mut();
        process.unwrap_or_else(|| unreachable!("a slot in use"))
    }

    /// The process of that key, which ended.
    pub fn find(&mut self, key: u64) -> Option<&mut Process> {
        self.any_gone = true;
        let slot = *self.by_key.get(&key)? as usize;
        self.slots[slot].as_deref_mut()
    }

    /// The process of that key, if there is one.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut Process> {
        let slot = *self.by_key.get(&key)? as usize;
        self.slots[slot].as_deref_mut()
    }

    pub fn remove(&mut self, key: u64) -> Option<Box<Process>> {
        let slot = self.by_key.remove(&key)?;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.slots.iter_mut().filter_map(|slot| slot.as_deref_mut())
    }

    /// From the slot `first` round to the one before it, with their places.
    pub fn iter_mut_from(&mut self, first: usize) -> impl Iterator<Item = (usize, &mut Process)> {
        let first = first.min(self.slots.len());
        let (before, after) = self.slots.split_at_mut(first);
        let after = after
            .iter_mut()
            .enumerate()
            .map(move |(i, slot)| (first + i, slot));
        after
            .chain(before.iter_mut().enumerate())
            .filter_map(|(i, slot)| Some((i, slot.as_deref_mut()?)))
    }

    /// Lets go of ended processes of which nothing is left to hand out, and notes their keys.
    pub fn reap(&mut self, exits: &mut Vec<u64>) {
        if !self.any_gone {
            return;
        }
        let gone = self.iter().filter(|process| process.gone);
        let (done, waiting): (Vec<_>, Vec<_>) =
            gone.partition(|process| process.read_to_the_end && process.queue.is_empty());
        let any_gone = !waiting.is_empty();
        let done: Vec<u64> = done.into_iter().map(|process| process.key).collect();
        self.any_gone = any_gone;
        for key in done {
            if let Some(process) = self.remove(key) {
                self.past.add(&process.counts);
                exits.push(key);
            }
        }
    }
}
