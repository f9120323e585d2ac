//! Raw path to route, remembered: one hash and one comparison instead of a walk.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::{RouteId, Router};
use crate::redact::is_plain_path;

/// Two ways per set; together at most about 1.5 MB, whatever is asked for.
const SLOTS: usize = 8192;
const MAX_PATH: usize = 128;

#[derive(Clone, Default)]
struct Slot {
    hash: u64,
    owner: u32,
    route: RouteId,
    plain: bool,
    path: Vec<u8>,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// What `Router::route` gives.
    pub route: RouteId,
    /// `redact::is_plain_path`, where it is known.
    pub plain: Option<bool>,
}

/// One cache for all routers: a busy service may have all of it. A path that is not in it costs a walk and
/// takes the place of another, so that it never grows.
#[derive(Default)]
pub struct PathCache {
    slots: Vec<Slot>,
    turn: usize,
}

impl PathCache {
    /// What `router.route(path, learn)` gives. `owner` stands for the router and is never used for another.
    #[inline]
    pub fn route(&mut self, owner: u32, router: &mut Router, path: &[u8], learn: bool) -> Routed {
        if path.len() > MAX_PATH {
            return Routed {
                route: router.route(path, learn),
                plain: None,
            };
        }
        let mut hasher = FxHasher::default();
        hasher.write_u32(owner);
        hasher.write(path);
        let hash = hasher.finish();
        let at = hash as usize % SLOTS;
        let is_it = |slot: &&Slot| slot.hash == hash && slot.owner == owner && slot.path == path;
        let found = self.slots.get(at).filter(is_it);
        if let Some(slot) = found.or_else(|| self.slots.get(at ^ 1).filter(is_it)) {
            let unproven = slot.route == RouteId::OVERFLOW && !learn;
            let route = if unproven { RouteId::UNSET } else { slot.route };
            return Routed {
                route,
                plain: Some(slot.plain),
            };
        }
        let route = router.route(path, learn);
        if route != RouteId::UNSET {
            self.remember(at, hash, owner, path, route);
        }
        Routed { route, plain: None }
    }

    #[cold]
    fn remember(&mut self, at: usize, hash: u64, owner: u32, path: &[u8], route: RouteId) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Slot::default);
        }
        self.turn = self.turn.wrapping_add(1);
        let free = [at, at ^ 1]
            .into_iter()
            .find(|i| self.slots[*i].route == RouteId::UNSET);
        let slot = &mut self.slots[free.unwrap_or(at ^ (self.turn & 1))];
        slot.hash = hash;
        slot.owner = owner;
        slot.route = route;
        slot.plain = is_plain_path(path);
        slot.path.clear();
        slot.path.extend_from_slice(path);
    }
}
