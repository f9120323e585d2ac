//! Invariant: whatever the statement, in whatever dialect, describing it does not panic, and what is said of it stays
//! within its bounds.
#![no_main]

use _native::sql::{describe, Dialect, MAX_BYTES, MAX_SUMMARY_CHARS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|statement: &[u8]| {
    for dialect in [
        Dialect::Generic,
        Dialect::Postgresql,
        Dialect::Mysql,
        Dialect::Cassandra,
        Dialect::Clickhouse,
        Dialect::SqlServer,
        Dialect::Sqlite,
    ] {
        let said = describe(dialect, statement, false);
        assert!(said.text.len() <= MAX_BYTES);
        assert!(said.summary.chars().count() <= MAX_SUMMARY_CHARS);
    }
});
