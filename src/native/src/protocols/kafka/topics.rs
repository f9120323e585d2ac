//! Names of topics by their ids, for all connections of a thread: newer clients ask one connection for a topic's id and
//! use it on another. An id is a random UUID, so that two clusters never mean different topics by one.
//!
//! Memory: MAX_TOPICS names of up to LONGEST_NAME bytes. Where there are more, all are forgotten, and come back with
//! the answers to the next METADATA requests, which clients send every five minutes at least.

use rustc_hash::FxHashMap;
use std::cell::RefCell;

const MAX_TOPICS: usize = 8192;
/// Kafka allows no longer ones.
const LONGEST_NAME: usize = 249;

thread_local! {
    static NAMES: RefCell<FxHashMap<u128, Box<[u8]>>> = RefCell::default();
}

/// The topic with this id has this name.
pub(super) fn learn(id: u128, name: &[u8]) {
    if id == 0 || name.is_empty() || name.len() > LONGEST_NAME {
        return;
    }
    let _ = NAMES.try_with(|names| {
        let mut names = names.borrow_mut();
        if names.get(&id).is_some_and(|known| **known == *name) {
            return;
        }
        if names.len() >= MAX_TOPICS {
            names.clear();
        }
        names.insert(id, name.into());
    });
}

/// Appends the name of the topic with this id to `to`, where it is known.
pub(super) fn name(id: u128, to: &mut Vec<u8>) {
    let _ = NAMES.try_with(|names| {
        if let Some(name) = names.borrow().get(&id) {
            to.extend_from_slice(name);
        }
    });
}
