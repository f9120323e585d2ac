//! Prepared statements: what COM_STMT_EXECUTE means, which has only a number.

use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Statements kept of a connection, and bytes of their texts. Beyond it those are forgotten that were not executed
/// for longest.
const MAX_STATEMENTS: usize = 1000;
const MAX_BYTES: usize = 256 << 10;

/// A text with a number.
#[derive(Debug)]
pub(super) struct Statement {
    pub text: Vec<u8>,
    /// Its parameters' count.
    pub parameters: u16,
}

#[derive(Debug)]
struct Kept {
    statement: Arc<Statement>,
    /// When it was used last, counted in uses.
    used: u64,
    executed: bool,
}

/// Those of one connection.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_id: FxHashMap<u32, Kept>,
    bytes: usize,
    uses: u64,
}

impl Statements {
    pub(super) fn insert(&mut self, id: u32, statement: Arc<Statement>) {
        self.remove(id);
        self.uses += 1;
        self.bytes += statement.text.len();
        while self.bytes > MAX_BYTES || self.by_id.len() >= MAX_STATEMENTS {
            let oldest = self.by_id.iter().min_by_key(|(_, kept)| kept.used);
            let Some(oldest) = oldest.map(|(id, _)| *id) else {
                break;
            };
            self.remove(oldest);
        }
        let kept = Kept {
            statement,
            used: self.uses,
            executed: false,
        };
        self.by_id.insert(id, kept);
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Some(kept) = self.by_id.remove(&id) {
            self.bytes -= kept.statement.text.len();
        }
    }

    /// The statement to be executed, and whether that is for the first time.
    pub(super) fn execute(&mut self, id: u32) -> Option<(Arc<Statement>, bool)> {
        self.uses += 1;
        let kept = self.by_id.get_mut(&id)?;
        kept.used = self.uses;
        let first = !std::mem::replace(&mut kept.executed, true);
        Some((kept.statement.clone(), first))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(len: usize) -> Arc<Statement> {
        let text = vec![b'x'; len];
        let parameters = 0;
        Arc::new(Statement { text, parameters })
    }

    #[test]
    fn those_in_use_stay() {
        let mut statements = Statements::default();
        for id in 0..5000 {
            statements.insert(id, statement(100));
            assert!(statements.execute(0).is_some(), "{id}");
            assert!(statements.by_id.len() <= MAX_STATEMENTS);
        }
        assert!(statements.execute(1).is_none());
    }

    #[test]
    fn their_texts_are_bounded() {
        let mut statements = Statements::default();
        for id in 0..100 {
            statements.insert(id, statement(16 << 10));
            assert!(statements.bytes <= MAX_BYTES);
            assert!(statements.execute(id).is_some());
        }
        statements.remove(99);
        statements.remove(99);
        statements.insert(98, statement(1));
        let kept = statements.by_id.values();
        assert_eq!(
            kept.map(|kept| kept.statement.text.len()).sum::<usize>(),
            statements.bytes
        );
    }
}
