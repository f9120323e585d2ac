//! Statements that a connection has prepared, by their ids.

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Statements of one connection,
const MAX_STATEMENTS: usize = 1000;
/// bytes of them,
const MAX_BYTES: usize = 256 << 10;
/// bytes of an id, which is a checksum.
const MAX_ID: usize = 32;

/// A statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub text: Box<[u8]>,
    /// It has markers in place of values.
    pub has_markers: bool,
}

#[derive(Debug)]
struct Known {
    statement: Arc<Statement>,
    /// When it was asked for last, in lookups.
    used: u64,
}

/// Those that are known. Where there are too many, the one that was not used for longest is forgotten.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    by_id: FxHashMap<Box<[u8]>, Known>,
    bytes: usize,
    lookups: u64,
}

impl Prepared {
    pub fn insert(&mut self, id: &[u8], statement: Statement) {
        if id.is_empty() || id.len() > MAX_ID {
            return;
        }
        self.remove(id);
        self.bytes += statement.text.len() + id.len();
        self.lookups += 1;
        let known = Known {
            statement: Arc::new(statement),
            used: self.lookups,
        };
        self.by_id.insert(id.into(), known);
        while self.by_id.len() > MAX_STATEMENTS || self.bytes > MAX_BYTES {
            let oldest = self.by_id.iter().min_by_key(|(_, known)| known.used);
            let Some(id) = oldest.map(|(id, _)| id.clone()) else {
                return;
            };
            self.remove(&id);
        }
    }

    fn remove(&mut self, id: &[u8]) {
        if let Some(gone) = self.by_id.remove(id) {
            self.bytes -= gone.statement.text.len() + id.len();
        }
    }

    pub fn get(&mut self, id: &[u8]) -> Option<Arc<Statement>> {
        self.lookups += 1;
        let known = self.by_id.get_mut(id)?;
        known.used = self.lookups;
        Some(Arc::clone(&known.statement))
    }
}

#[cfg(test)]
mod tests {
    use super::{Prepared, Statement, MAX_STATEMENTS};

    fn statement(text: &[u8]) -> Statement {
        Statement {
            text: text.into(),
            has_markers: true,
        }
    }

    #[test]
    fn the_least_used_are_forgotten() {
        let mut prepared = Prepared::default();
        for n in 0..MAX_STATEMENTS as u32 {
            prepared.insert(&n.to_be_bytes(), statement(b"SELECT"));
        }
        assert!(prepared.get(&0_u32.to_be_bytes()).is_some());
        prepared.insert(b"one more", statement(b"SELECT"));
        assert!(prepared.get(&0_u32.to_be_bytes()).is_some());
        assert!(prepared.get(&1_u32.to_be_bytes()).is_none());
        for n in 0..40_u8 {
            prepared.insert(&[n], statement(&[b' '; 16 << 10]));
        }
        assert!(prepared.bytes <= super::MAX_BYTES);
        assert!(prepared.get(&[39]).is_some());
        assert!(prepared.get(&[0]).is_none());
    }
}
