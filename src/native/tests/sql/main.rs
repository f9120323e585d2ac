//! What spans say of SQL: the conventions' own cases, ours, and that no literal gets out.

mod canaries;
#[path = "../common/mod.rs"]
mod common;

use _native::sql::{describe, Dialect, MAX_BYTES, MAX_SUMMARY_CHARS};
use serde::Deserialize;

const DIALECTS: [(&str, Dialect); 7] = [
    ("generic", Dialect::Generic),
    ("postgresql", Dialect::Postgresql),
    ("mysql", Dialect::Mysql),
    ("cassandra", Dialect::Cassandra),
    ("clickhouse", Dialect::Clickhouse),
    ("sqlserver", Dialect::SqlServer),
    ("sqlite", Dialect::Sqlite),
];

#[derive(Deserialize)]
struct Published {
    name: String,
    input: Input,
    expected: Expected,
}

#[derive(Deserialize)]
struct Input {
    query: String,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(rename = "db.query.text")]
    texts: Vec<String>,
    #[serde(rename = "db.query.summary")]
    summary: String,
}

/// In every dialect: they are plain SQL.
#[test]
fn published_by_the_conventions() {
    let cases: Vec<Published> =
        serde_norway::from_str(include_str!("db-sql-test-cases.json")).unwrap();
    assert!(cases.len() >= 24);
    for case in cases {
        for (name, dialect) in DIALECTS {
            let said = describe(dialect, case.input.query.as_bytes(), false);
            let context = format!("{} in {name}", case.name);
            assert!(
                case.expected.texts.iter().any(|text| **text == *said.text),
                "{context}: {}",
                said.text
            );
            assert_eq!(&*said.summary, case.expected.summary, "{context}");
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    r#in: OneOrMore,
    sql: String,
    text: Option<String>,
    summary: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Case {
    fn dialects(&self) -> Vec<Dialect> {
        let named = |name: &str| DIALECTS.iter().find(|(n, _)| *n == name).unwrap().1;
        match &self.r#in {
            OneOrMore::One(name) if name == "all" => DIALECTS.iter().map(|(_, d)| *d).collect(),
            OneOrMore::One(name) => vec![named(name)],
            OneOrMore::More(names) => names.iter().map(|name| named(name)).collect(),
        }
    }
}

fn cases() -> Vec<Case> {
    serde_norway::from_str(include_str!("cases.yaml")).unwrap()
}

#[test]
fn ours() {
    let mut wrong = Vec::new();
    for case in cases() {
        for dialect in case.dialects() {
            let said = describe(dialect, case.sql.as_bytes(), false);
            let text = case.text.as_ref().unwrap_or(&case.sql);
            if (&*said.text, &*said.summary) != (text.as_str(), case.summary.as_str()) {
                wrong.push(format!(
                    "{dialect:?}: {}\n  {}\n  {}",
                    case.sql, said.text, said.summary
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn parameterised_text_stays_as_it_is() {
    let sql = " SELECT a /* b */ FROM t WHERE c = 'd' AND e = $1 ";
    let said = describe(Dialect::Postgresql, sql.as_bytes(), true);
    assert_eq!((&*said.text, &*said.summary), (sql, "SELECT t"));
    let long = format!("SELECT {}", "é".repeat(MAX_BYTES));
    let said = describe(Dialect::Postgresql, long.as_bytes(), true);
    assert!(
        said.text.len() > MAX_BYTES - 4 && long.starts_with(said.text.trim_end_matches('\u{fffd}'))
    );
}

#[test]
fn summaries_end_with_a_whole_word() {
    let tables: Vec<String> = (0..100).map(|i| format!("tablé_{i}")).collect();
    let sql = format!("SELECT a FROM {}", tables.join(", "));
    let said = describe(Dialect::Generic, sql.as_bytes(), false);
    let chars = said.summary.chars().count();
    assert!(chars <= MAX_SUMMARY_CHARS && chars > MAX_SUMMARY_CHARS - 10);
    let mut words = said.summary.split(' ').skip(1);
    assert!(words.all(|word| tables.iter().any(|table| table == word)));
    let long = format!("SELECT a FROM {}, b", "x".repeat(300));
    let said = describe(Dialect::Generic, long.as_bytes(), false);
    assert_eq!(&*said.summary, "SELECT");
}

#[test]
fn long_and_deep() {
    let deep = format!("SELECT {} FROM t", "(".repeat(100_000));
    let wide = format!("SELECT a FROM t WHERE b IN ({}1)", "1, ".repeat(400_000));
    let joined = "SELECT a FROM t JOIN ".repeat(50_000);
    let dotted = format!("DELETE {}a", "a.".repeat(500_000));
    let dollars = "$a".repeat(500_000);
    let blank = format!("SELECT{}a", " ".repeat(1_000_000));
    for (name, dialect) in DIALECTS {
        for sql in [&deep, &wide, &joined, &dotted, &dollars, &blank] {
            let start = std::time::Instant::now();
            let said = describe(dialect, sql.as_bytes(), false);
            assert!(said.text.len() <= MAX_BYTES);
            assert!(said.summary.chars().count() <= MAX_SUMMARY_CHARS);
            assert!(start.elapsed().as_millis() < 500, "{name}: {}", &sql[..20]);
        }
    }
    let said = describe(Dialect::Generic, wide.as_bytes(), false);
    assert!(said.text.ends_with('?') && said.text.starts_with("SELECT a FROM t WHERE b IN (?"));
}

#[test]
fn bytes_that_are_no_utf8() {
    let latin1 = b"SELECT a FROM t WHERE b = 'caf\xe9' AND c = 1";
    let said = describe(Dialect::Mysql, latin1, false);
    assert_eq!(&*said.text, "SELECT a FROM t WHERE b = ? AND c = ?");
    // In GBK the backslash is half a character, and the string ends here.
    let gbk = b"SELECT a FROM t WHERE b = '\xbf\\' OR c = 'secret'";
    let said = describe(Dialect::Mysql, gbk, false);
    assert_eq!(&*said.text, "SELECT a FROM t WHERE b = ?");
}
