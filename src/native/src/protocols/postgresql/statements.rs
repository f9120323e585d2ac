//! Prepared statements and portals: what a name stands for.
//!
//! Bound: a generation of statements has `MAX_NAMED` names and `MAX_BYTES` bytes. When it is full it becomes the
//! last one, the last one is forgotten, and what is used of the last one moves to the new one. Of portals there are
//! `MAX_PORTALS`.

use super::message::MAX_NAME;
use rustc_hash::FxHashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

const MAX_NAMED: usize = 512;
const MAX_BYTES: usize = 128 << 10;
const MAX_PORTALS: usize = 64;

/// A statement that was prepared.
#[derive(Debug)]
pub(super) struct Statement {
    pub text: Box<[u8]>,
    /// It was not prepared after all.
    refused: AtomicBool,
    bound: AtomicBool,
}

impl Statement {
    fn new(text: &[u8]) -> Self {
        Self {
            text: text.into(),
            refused: AtomicBool::new(false),
            bound: AtomicBool::new(false),
        }
    }

    /// The server did not accept it.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Nobody had bound it since it was prepared: what its text says of who asks is true of who asks now.
    fn bind(&self) -> bool {
        !self.bound.swap(true, Ordering::Relaxed)
    }
}

/// What is executed. A statement that was prepared before anybody listened has no text.
#[derive(Clone, Debug, Default)]
pub(super) struct Portal {
    pub statement: Option<Arc<Statement>>,
    /// It has parameters.
    pub parameterised: bool,
    /// It is the first of its statement.
    pub first: bool,
}

/// The names of a connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    unnamed: Option<Arc<Statement>>,
    named: FxHashMap<Box<[u8]>, Arc<Statement>>,
    bytes: usize,
    last: FxHashMap<Box<[u8]>, Arc<Statement>>,
    unnamed_portal: Portal,
    portals: Vec<(Box<[u8]>, Portal)>,
}

impl Statements {
    /// Parse.
    pub fn prepare(&mut self, name: &[u8], text: &[u8]) -> Arc<Statement> {
        if name.is_empty() {
            let same = self.unnamed.take().filter(|same| *same.text == *text);
            let statement = match same {
                // the same again need not be copied again
                Some(mut same) => match Arc::get_mut(&mut same) {
                    Some(only) => {
                        (only.refused, only.bound) = Default::default();
                        same
                    }
                    None => Arc::new(Statement::new(text)),
                },
                None => Arc::new(Statement::new(text)),
            };
            self.unnamed = Some(Arc::clone(&statement));
            return statement;
        }
        let statement = Arc::new(Statement::new(text));
        self.keep(name, Arc::clone(&statement));
        statement
    }

    fn keep(&mut self, name: &[u8], statement: Arc<Statement>) {
        let bytes = name.len() + statement.text.len();
        if name.len() > MAX_NAME || bytes > MAX_BYTES {
            return;
        }
        if self.named.len() >= MAX_NAMED || self.bytes + bytes > MAX_BYTES {
            self.last = std::mem::take(&mut self.named);
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some(old) = self.named.insert(name.into(), statement) {
            self.bytes -= name.len() + old.text.len();
        }
    }

    /// What a name stands for, if that is known.
    pub fn get(&mut self, name: &[u8]) -> Option<Arc<Statement>> {
        let found = if name.is_empty() {
            self.unnamed.clone()
        } else if let Some(found) = self.named.get(name) {
            Some(Arc::clone(found))
        } else {
            let moved = self.last.remove(name)?;
            self.keep(name, Arc::clone(&moved));
            Some(moved)
        };
        found.filter(|statement| !statement.refused.load(Ordering::Relaxed))
    }

    /// Close of a statement.
    pub fn close(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
            return;
        }
        self.last.remove(name);
        if let Some(old) = self.named.remove(name) {
            self.bytes -= name.len() + old.text.len();
        }
    }

    /// Bind. Names that were not captured are `None`. Gives the statement, if it is known.
    pub fn bind(
        &mut self,
        portal: Option<&[u8]>,
        statement: Option<&[u8]>,
        parameterised: bool,
    ) -> Option<Arc<Statement>> {
        let statement = statement.and_then(|name| self.get(name));
        let bound = Portal {
            first: statement.as_ref().is_some_and(|found| found.bind()),
            statement: statement.clone(),
            parameterised,
        };
        match portal {
            None => self.close_portals(), // it may have any name
            Some(b"") => self.unnamed_portal = bound,
            Some(name) => {
                self.close_portal(name);
                if self.portals.len() >= MAX_PORTALS {
                    self.portals.remove(0);
                }
                if name.len() <= MAX_NAME {
                    self.portals.push((name.into(), bound));
                }
            }
        }
        statement
    }

    /// What a portal's name stands for.
    pub fn portal(&self, name: &[u8]) -> Portal {
        if name.is_empty() {
            return self.unnamed_portal.clone();
        }
        let mut found = self.portals.iter().filter(|(known, _)| **known == *name);
        found
            .next()
            .map(|(_, portal)| portal.clone())
            .unwrap_or_default()
    }

    /// Close of a portal.
    pub fn close_portal(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed_portal = Portal::default();
        } else {
            self.portals.retain(|(known, _)| **known != *name);
        }
    }

    /// A transaction is over, and its portals with it.
    #[inline]
    pub fn close_portals(&mut self) {
        self.portals.clear();
        self.unnamed_portal = Portal::default();
    }

    /// A simple query replaces what has no name.
    pub fn close_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_portal = Portal::default();
    }

    /// What names stand for is not known any longer.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_used_last_are_remembered() {
        let mut statements = Statements::default();
        let name = |n: usize| format!("s{n}").into_bytes();
        for n in 0..10_000 {
            statements.prepare(&name(n), b"select 1");
            assert!(statements.get(b"s0").is_some(), "used all the time, at {n}");
        }
        assert!(statements.get(&name(9_999)).is_some());
        assert!(statements.get(&name(9_999 - MAX_NAMED / 2)).is_some());
        assert!(statements.get(&name(5)).is_none());
        assert!(statements.named.len() + statements.last.len() <= 2 * MAX_NAMED);
    }

    #[test]
    fn long_statements_are_remembered_by_their_bytes() {
        let mut statements = Statements::default();
        for n in 0..1000 {
            statements.prepare(format!("s{n}").as_bytes(), &[b'x'; 16 << 10]);
        }
        assert!(statements.named.len() + statements.last.len() <= 16);
        assert!(statements.get(b"s999").is_some());
    }

    #[test]
    fn what_was_refused_has_no_text() {
        let mut statements = Statements::default();
        statements.prepare(b"s", b"selec 1").refuse();
        assert!(statements.get(b"s").is_none());
        statements.prepare(b"s", b"select 1");
        assert!(statements.get(b"s").is_some());
    }
}
