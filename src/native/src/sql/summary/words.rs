//! What the words of a statement mean for its summary.

use sqlparser::keywords::Keyword;

use super::Mode;
use crate::sql::Dialect;

/// What follows a statement's first word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    With,
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    /// The kind of a thing, and its name.
    Create,
    /// Likewise, and maybe more names.
    Drop,
    /// Another statement.
    Prefix,
    /// Maybe the word TRANSACTION, or a statement.
    Begin,
    /// Maybe the word TRANSACTION.
    End,
    /// A name.
    Named,
    /// Maybe the word TABLE, and a name.
    Table,
    /// Nothing that the summary says.
    Alone,
}

const OPERATIONS: &[(&str, Operation)] = &[
    ("SELECT", Operation::Select),
    ("INSERT", Operation::Insert),
    ("UPDATE", Operation::Update),
    ("DELETE", Operation::Delete),
    ("WITH", Operation::With),
    ("MERGE", Operation::Merge),
    ("REPLACE", Operation::Insert),
    ("UPSERT", Operation::Insert),
    ("CREATE", Operation::Create),
    ("ALTER", Operation::Create),
    ("DROP", Operation::Drop),
    ("COMMENT", Operation::Create),
    ("REFRESH", Operation::Create),
    ("CALL", Operation::Named),
    ("EXEC", Operation::Named),
    ("EXECUTE", Operation::Named),
    ("USE", Operation::Named),
    ("COPY", Operation::Named),
    ("TRUNCATE", Operation::Table),
    ("LOCK", Operation::Table),
    ("RENAME", Operation::Table),
    ("OPTIMIZE", Operation::Table),
    ("EXPLAIN", Operation::Prefix),
    ("DESCRIBE", Operation::Prefix),
    ("DESC", Operation::Prefix),
    ("ANALYZE", Operation::Prefix),
    ("ANALYSE", Operation::Prefix),
    ("PREPARE", Operation::Prefix),
    ("DECLARE", Operation::Prefix),
    ("IF", Operation::Prefix),
    ("BEGIN", Operation::Begin),
    ("START", Operation::End),
    ("COMMIT", Operation::End),
    ("ROLLBACK", Operation::End),
    ("END", Operation::End),
    ("ABORT", Operation::End),
    ("APPLY", Operation::End),
    ("SET", Operation::Alone),
    ("RESET", Operation::Alone),
    ("SHOW", Operation::Alone),
    ("VALUES", Operation::Alone),
    ("TABLE", Operation::Named),
    ("SAVEPOINT", Operation::Alone),
    ("RELEASE", Operation::Alone),
    ("SAVE", Operation::Alone),
    ("GRANT", Operation::Alone),
    ("REVOKE", Operation::Alone),
    ("DENY", Operation::Alone),
    ("FETCH", Operation::Alone),
    ("MOVE", Operation::Alone),
    ("OPEN", Operation::Alone),
    ("CLOSE", Operation::Alone),
    ("DEALLOCATE", Operation::Alone),
    ("DISCARD", Operation::Alone),
    ("LISTEN", Operation::Alone),
    ("UNLISTEN", Operation::Alone),
    ("NOTIFY", Operation::Alone),
    ("VACUUM", Operation::Alone),
    ("REINDEX", Operation::Alone),
    ("CLUSTER", Operation::Alone),
    ("CHECKPOINT", Operation::Alone),
    ("DO", Operation::Alone),
    ("PRAGMA", Operation::Alone),
    ("ATTACH", Operation::Alone),
    ("DETACH", Operation::Alone),
    ("KILL", Operation::Alone),
    ("FLUSH", Operation::Alone),
    ("PURGE", Operation::Alone),
    ("HANDLER", Operation::Alone),
    ("LOAD", Operation::Alone),
    ("UNLOCK", Operation::Alone),
    ("CHECK", Operation::Alone),
    ("REPAIR", Operation::Alone),
    ("XA", Operation::Alone),
    ("EXISTS", Operation::Alone),
    ("SYSTEM", Operation::Alone),
    ("LIST", Operation::Alone),
    ("PRINT", Operation::Alone),
    ("WAITFOR", Operation::Alone),
    ("BACKUP", Operation::Alone),
    ("RESTORE", Operation::Alone),
    ("DBCC", Operation::Alone),
    ("RETURN", Operation::Alone),
    ("SIGNAL", Operation::Alone),
    ("REASSIGN", Operation::Alone),
    ("SECURITY", Operation::Alone),
    ("IMPORT", Operation::Alone),
    ("INSTALL", Operation::Alone),
    ("UNINSTALL", Operation::Alone),
    ("SHUTDOWN", Operation::Alone),
    ("BULK", Operation::Insert),
];

impl Operation {
    /// None: no statement that we know starts with it.
    pub(super) fn of(word: &str, dialect: Dialect) -> Option<Self> {
        // Transact-SQL needs no semicolon: `SET NOCOUNT ON INSERT …`
        if dialect == Dialect::SqlServer && word.eq_ignore_ascii_case("SET") {
            return Some(Self::Prefix);
        }
        let mut operations = OPERATIONS.iter();
        let found = operations.find(|(name, _)| name.eq_ignore_ascii_case(word))?;
        Some(found.1)
    }
}

/// What can be created.
pub(super) const OBJECTS: [&str; 36] = [
    "TABLE",
    "INDEX",
    "VIEW",
    "DATABASE",
    "SCHEMA",
    "SEQUENCE",
    "FUNCTION",
    "PROCEDURE",
    "PROC",
    "TRIGGER",
    "TYPE",
    "USER",
    "ROLE",
    "KEYSPACE",
    "COLUMNFAMILY",
    "EXTENSION",
    "DOMAIN",
    "DICTIONARY",
    "AGGREGATE",
    "POLICY",
    "LOGIN",
    "EVENT",
    "TABLESPACE",
    "COLLATION",
    "SERVER",
    "PUBLICATION",
    "SUBSCRIPTION",
    "SYNONYM",
    "PACKAGE",
    "STATISTICS",
    "COLUMN",
    "CONSTRAINT",
    "RULE",
    "CAST",
    "OPERATOR",
    "GROUP",
];

/// Starts a query, or what changes data, behind another word.
pub(super) fn is_query(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT
            | Keyword::INSERT
            | Keyword::UPDATE
            | Keyword::DELETE
            | Keyword::MERGE
            | Keyword::REPLACE
            | Keyword::WITH
    )
}

/// Stands between two queries.
pub(super) fn joins_queries(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::MINUS
            | Keyword::ALL
            | Keyword::DISTINCT
    )
}

/// Ends the list of tables behind FROM.
pub(super) fn ends_tables(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::WHERE
            | Keyword::PREWHERE
            | Keyword::GROUP
            | Keyword::ORDER
            | Keyword::HAVING
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::FETCH
            | Keyword::FOR
            | Keyword::WINDOW
            | Keyword::QUALIFY
            | Keyword::UNION
            | Keyword::EXCEPT
            | Keyword::INTERSECT
            | Keyword::SET
            | Keyword::SETTINGS
            | Keyword::RETURNING
            | Keyword::OUTPUT
            | Keyword::VALUES
            | Keyword::OPTION
    )
}

/// Between an operation and the name of its target.
pub(super) fn is_modifier(mode: Mode, keyword: Keyword) -> bool {
    match mode {
        Mode::Select | Mode::Delete => matches!(keyword, Keyword::ONLY | Keyword::LATERAL),
        Mode::Insert | Mode::Update | Mode::Merge => matches!(
            keyword,
            Keyword::INTO
                | Keyword::INSERT
                | Keyword::IGNORE
                | Keyword::LOW_PRIORITY
                | Keyword::HIGH_PRIORITY
                | Keyword::DELAYED
                | Keyword::OVERWRITE
                | Keyword::FUNCTION
                | Keyword::ONLY
                | Keyword::OR
                | Keyword::ROLLBACK
                | Keyword::ABORT
                | Keyword::FAIL
                | Keyword::REPLACE
                | Keyword::TOP
        ),
        Mode::Create => matches!(
            keyword,
            Keyword::IF
                | Keyword::NOT
                | Keyword::EXISTS
                | Keyword::CONCURRENTLY
                | Keyword::ONLY
                | Keyword::ON
        ),
        Mode::Inert => matches!(keyword, Keyword::ONLY),
        Mode::Start | Mode::StartOrTarget | Mode::With | Mode::Prefix => false,
    }
}

/// Follows the name of a table that something is inserted into.
pub(super) fn follows_table(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::VALUES | Keyword::VALUE | Keyword::SELECT | Keyword::SET | Keyword::DEFAULT
    )
}

/// Part of `BEGIN TRANSACTION` and the like.
pub(super) fn is_transaction(word: &str) -> bool {
    ["TRANSACTION", "TRAN", "WORK", "BATCH"]
        .iter()
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// TABLE or TABLES.
pub(super) fn is_table(word: &str) -> bool {
    ["TABLE", "TABLES"]
        .iter()
        .any(|part| part.eq_ignore_ascii_case(word))
}
