//! A statement's bytes become what a span may say of it: a text without literals and a summary.
//!
//! Sources: "Sanitization of `db.query.text`" and "Generating a summary of the query" in database-spans.md of the
//! semantic conventions 1.44, and their test cases (tests/sql/db-sql-test-cases.json).
//!
//! The rule that goes before all others: no literal gets out. A lexer knows where literals begin and end only as
//! long as it and the server read the same language, so whatever they may read differently (an escape that is one
//! only in some modes, a comment that nests only in some servers, bytes of another character set) ends the text:
//! what is left of it becomes one `?`, and says nothing to the summary.
//!
//! Cost: a statement is cut to [`MAX_BYTES`] before anything looks at it, and then read once.

mod cache;
mod lex;
mod shape;
mod summary;
mod text;

pub use cache::Statements;
pub use shape::shape;

/// Statements are read up to here, and no text is longer.
pub const MAX_BYTES: usize = 16 * 1024;
/// What the conventions allow a summary, in characters.
pub const MAX_SUMMARY_CHARS: usize = 255;

/// Whose SQL it is: what quotes, escapes and comments mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Not known: where dialects differ, the reading that shows less.
    Generic,
    /// PostgreSQL and its kin, with `standard_conforming_strings` on (the default since 9.1).
    Postgresql,
    /// MySQL and MariaDB in their default `sql_mode`: double quotes are strings, backslashes escape.
    Mysql,
    /// CQL.
    Cassandra,
    /// ClickHouse.
    Clickhouse,
    /// Transact-SQL; `QUOTED_IDENTIFIER` may be on or off.
    SqlServer,
    /// SQLite, which takes double quotes for strings where no column has that name.
    Sqlite,
}

/// What a span says of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// `db.query.text`: at most [`MAX_BYTES`] bytes.
    pub text: Box<str>,
    /// `db.query.summary`: at most [`MAX_SUMMARY_CHARS`] characters, empty where there is nothing to say.
    pub summary: Box<str>,
}

/// The text and the summary of a statement that may have been cut anywhere.
///
/// `parameterised`: its values came apart from it, so its text stays as it is, as the conventions ask.
pub fn describe(dialect: Dialect, statement: &[u8], parameterised: bool) -> Statement {
    let (statement, cut) = bounded(statement);
    describe_bounded(dialect, statement, cut, parameterised)
}

/// What of a statement is read, and whether that is less than all.
fn bounded(statement: &[u8]) -> (&[u8], bool) {
    match statement.get(..MAX_BYTES) {
        Some(head) => (head, head.len() < statement.len()),
        None => (statement, false),
    }
}

fn describe_bounded(dialect: Dialect, bytes: &[u8], cut: bool, parameterised: bool) -> Statement {
    let source = lex::decode(bytes);
    let mut lexed = lex::lex(dialect, &source, cut);
    let summary = summary::summarise(dialect, &source.text, &mut lexed.pieces);
    let text = if parameterised {
        cut_to(String::from_utf8_lossy(bytes).into_owned(), MAX_BYTES)
    } else {
        text::sanitise(&source.text, &lexed)
    };
    Statement {
        text: text.into_boxed_str(),
        summary: summary.into_boxed_str(),
    }
}

/// Without the characters that begin before `max` and end behind it.
fn cut_to(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}
