//! Statements that were described before: applications say few different ones, over and over.
//!
//! Two generations: what is asked for moves to the young one; once that is full it becomes the old one, and the old
//! one goes. So a flood of statements that never come again (values written into them) takes no more memory than
//! what stands here, and statements that do come again outlive it.

use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::{bounded, describe_bounded, Dialect, Statement};

/// Statements of one generation.
const MAX_STATEMENTS: usize = 512;
/// What they and what is said of them may take, in bytes.
const MAX_GENERATION_BYTES: usize = 512 * 1024;
/// A statement's share of the table and of the allocator's bookkeeping.
const OVERHEAD_BYTES: usize = 160;

/// A cache of what was said of statements: 1,024 of them and 1 MiB at most.
#[derive(Debug, Default)]
pub struct Statements {
    young: FxHashMap<u64, Known>,
    old: FxHashMap<u64, Known>,
    young_bytes: usize,
    old_bytes: usize,
    /// Room to write shapes into.
    shape: Vec<u8>,
}

#[derive(Debug)]
struct Known {
    key: Key,
    source: Box<[u8]>,
    statement: Arc<Statement>,
}

/// What says, beside its bytes, how a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    dialect: Dialect,
    parameterised: bool,
    cut: bool,
}

impl Statements {
    /// Knows none.
    pub fn new() -> Self {
        Self::default()
    }

    /// What [`super::describe`] says, without asking it again where it was asked lately of a statement that differs
    /// from this one in values alone.
    pub fn get(
        &mut self,
        dialect: Dialect,
        statement: &[u8],
        parameterised: bool,
    ) -> &Arc<Statement> {
        let (mut source, cut) = bounded(statement);
        let Self {
            young,
            old,
            young_bytes,
            old_bytes,
            shape,
        } = self;
        if !parameterised && !cut && super::shape(source, shape) {
            source = shape;
        }
        let key = Key {
            dialect,
            parameterised,
            cut,
        };
        if young.len() >= MAX_STATEMENTS || *young_bytes >= MAX_GENERATION_BYTES {
            *old = std::mem::take(young);
            *old_bytes = std::mem::take(young_bytes);
        }
        let mut hasher = FxHasher::default();
        (key, source).hash(&mut hasher);
        let hash = hasher.finish();
        match young.entry(hash) {
            Entry::Occupied(mut known) => {
                if !known.get().is(key, source) {
                    let new = Known::describe(key, source);
                    *young_bytes += new.bytes();
                    *young_bytes -= known.insert(new).bytes();
                }
                &known.into_mut().statement
            }
            Entry::Vacant(free) => {
                let known = match old.remove(&hash) {
                    Some(known) => {
                        *old_bytes -= known.bytes();
                        Some(known).filter(|known| known.is(key, source))
                    }
                    None => None,
                };
                let known = known.unwrap_or_else(|| Known::describe(key, source));
                *young_bytes += known.bytes();
                &free.insert(known).statement
            }
        }
    }

    /// What is kept, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }
}

impl Known {
    fn describe(key: Key, source: &[u8]) -> Self {
        let statement = describe_bounded(key.dialect, source, key.cut, key.parameterised);
        Self {
            key,
            source: source.into(),
            statement: Arc::new(statement),
        }
    }

    fn is(&self, key: Key, source: &[u8]) -> bool {
        self.key == key && *self.source == *source
    }

    fn bytes(&self) -> usize {
        let said = self.statement.text.len() + self.statement.summary.len();
        self.source.len() + said + OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A generation is left once it is full, so by one statement more than full.
    const MAX_BYTES: usize = 2 * (MAX_GENERATION_BYTES + 3 * super::super::MAX_BYTES);

    #[test]
    fn says_the_same_again() {
        let mut statements = Statements::new();
        let sql = b"SELECT a FROM t WHERE b = 'x'";
        let first = Arc::clone(statements.get(Dialect::Generic, sql, false));
        assert_eq!(&*first.text, "SELECT a FROM t WHERE b = ?");
        let again = statements.get(Dialect::Generic, sql, false);
        assert!(Arc::ptr_eq(&first, again));
        let parameterised = statements.get(Dialect::Generic, sql, true);
        assert_eq!(&*parameterised.text, "SELECT a FROM t WHERE b = 'x'");
        let mysql = statements.get(Dialect::Mysql, b"SELECT \"x\"", false);
        assert_eq!(&*mysql.text, "SELECT ?");
        let postgresql = statements.get(Dialect::Postgresql, b"SELECT \"x\"", false);
        assert_eq!(&*postgresql.text, "SELECT \"x\"");
    }

    #[test]
    fn values_make_no_other_statement() {
        let mut statements = Statements::new();
        let mut ask = |id: u32| {
            let sql = format!("SELECT a FROM t WHERE b = {id} AND c = 'n{id}'");
            Arc::clone(statements.get(Dialect::Mysql, sql.as_bytes(), false))
        };
        let first = ask(1);
        assert_eq!(&*first.text, "SELECT a FROM t WHERE b = ? AND c = ?");
        assert!(Arc::ptr_eq(&first, &ask(2_000_000)));
    }

    #[test]
    fn what_comes_again_outlives_a_flood() {
        let mut statements = Statements::new();
        let kept = b"SELECT a FROM kept";
        let first = Arc::clone(statements.get(Dialect::Generic, kept, false));
        for round in 0..5_000 {
            let flood = format!(
                "SELECT a{round} FROM t WHERE b = {}",
                "x".repeat(round % 999)
            );
            statements.get(Dialect::Generic, flood.as_bytes(), false);
            assert!(statements.heap_bytes() <= MAX_BYTES);
            assert!(statements.young.len() + statements.old.len() <= 2 * MAX_STATEMENTS);
            if round % 200 == 0 {
                assert!(Arc::ptr_eq(
                    &first,
                    statements.get(Dialect::Generic, kept, false)
                ));
            }
        }
    }

    #[test]
    fn long_ones_are_few() {
        let mut statements = Statements::new();
        for round in 0..500 {
            let long = format!("SELECT a{round}, {}", "a, ".repeat(100_000));
            let statement = statements.get(Dialect::Generic, long.as_bytes(), false);
            assert!(statement.text.len() <= super::super::MAX_BYTES);
            assert!(statements.heap_bytes() <= MAX_BYTES);
        }
        assert!(statements.young.len() < 20);
        let kept: usize = (statements.young.values())
            .chain(statements.old.values())
            .map(Known::bytes)
            .sum();
        assert_eq!(kept, statements.heap_bytes());
    }
}
