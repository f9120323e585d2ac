//! Invariant: whatever the statement, wherever it is cut, no literal and no comment of it is in what is said of it;
//! and read as [`Dialect::Generic`], no literal of any dialect is.
//!
//! Random, and the same each time: a failure names the statement.

use super::common::random::Random;
use super::{cases, DIALECTS};
use _native::sql::{describe, Dialect, MAX_BYTES, MAX_SUMMARY_CHARS};

/// In every literal, and in nothing else.
const CANARIES: [&str; 2] = ["qz", "73"];
/// In every comment; what is one in a dialect may be code in another.
const COMMENT: &str = "qy";

const STATEMENTS: usize = 20;
const MUTATIONS: usize = 20_000;

/// What may be inside of a string in any dialect.
const INSIDE: &[&str] = &[
    "qzj",
    " qzj ",
    "7319",
    " ",
    "\n",
    ";",
    "--",
    "-- qzj\n",
    "/*",
    "*/",
    "#",
    "//",
    "é",
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    " FROM qzj ",
    "$$",
    "$a$",
    "@qzj",
    ":qzj",
    "%",
    "\r",
    "{",
    "}",
    "€qzj",
    "qzj.qzj",
];

/// Code that no dialect minds, up to where a literal may stand.
const BEFORE_LITERAL: &[&str] = &[
    "SELECT a FROM t WHERE b =",
    "SELECT a FROM t, u x JOIN v ON x.a = v.a AND b >",
    "AND c <>",
    "OR d BETWEEN",
    "AND",
    "INSERT INTO t (a, b) VALUES (",
    "UPDATE t SET a =",
    "; DELETE FROM t WHERE b LIKE",
    "SELECT a, (SELECT b FROM u WHERE c =",
    "WITH c AS (SELECT",
    "CALL p(",
    "CASE WHEN a THEN",
    "HAVING f(b) <",
    "LIMIT",
    "+",
    "||",
];

const BEHIND_LITERAL: &[&str] = &[
    "",
    "",
    "",
    ")",
    ") FROM w",
    "END",
    "x",
    "AS y",
    ";",
    "GROUP BY z",
    "IS NULL",
];

fn spaces(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgresql | Dialect::SqlServer => &[
            " ",
            "\n",
            " /* qyj' */ ",
            " -- it's qyj\n",
            "/* /* qyj */ ' */",
            "\r\n",
        ],
        Dialect::Mysql => &[" ", "\t", " /* qyj' */ ", " -- it's qyj\n", " # it's qyj\n"],
        Dialect::Cassandra => &[" ", " /* qyj' */ ", " -- it's qyj\n", " // it's qyj\n"],
        Dialect::Clickhouse => &[
            " ",
            " /* qyj' */ ",
            " -- it's qyj\n",
            " # it's qyj\n",
            " #! qyj'\n",
        ],
        Dialect::Sqlite => &[" ", " /* qyj' /* */ ", " -- it's qyj\n", " --it's qyj\n"],
        Dialect::Generic => &[" ", "\n", " /* qyj' */ ", " -- it's qyj\n"],
    }
}

/// Names that look like the beginning of a literal.
fn names(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Mysql => &["`a'b`", "`a\"`", "`a``'`", "@v"],
        Dialect::SqlServer => &["[a'b]", "[a]]']", "\"s\".\"a'b\"", "@v", "#t"],
        Dialect::Sqlite => &["[a'b]", "`a'b`", "\"s\".\"a'\"\"b\""],
        Dialect::Clickhouse => &["`a'b`", "\"a'b\""],
        Dialect::Postgresql => &["\"a'b\"", "\"a\"\"'\"", "a$b", "$1"],
        Dialect::Cassandra => &["\"a'b\"", "?"],
        Dialect::Generic => &["`a'b`", "?", ":name", "%s", "@v"],
    }
}

fn one_of<'a>(random: &mut Random, forms: &[&'a str]) -> &'a str {
    forms[random.below(forms.len())]
}

fn inside(random: &mut Random, escapes: &[&str], never: &[&str]) -> String {
    let mut inside = String::new();
    for _ in 0..1 + random.below(5) {
        if !escapes.is_empty() && random.below(3) == 0 {
            inside.push_str(one_of(random, escapes));
        }
        let part = one_of(random, INSIDE);
        if !never.iter().any(|never| part.contains(never)) {
            inside.push_str(part);
        }
    }
    inside
}

fn number(random: &mut Random) -> String {
    let forms = [
        "7319",
        "-7319",
        "+7319",
        "73.19",
        ".7319",
        "-73.19e73",
        "7319E-73",
        "0x7319fEEd",
        "0X7319dead",
        "73_19",
    ];
    one_of(random, &forms).to_owned()
}

fn literal(dialect: Dialect, random: &mut Random) -> String {
    let quoted = |random: &mut Random| format!("'{}'", inside(random, &["''"], &[]));
    let escaped = |random: &mut Random, quote: &str| {
        let escapes = ["\\'", "\\\\", "\\n", "\\\"", &quote.repeat(2)];
        format!("{quote}{}{quote}", inside(random, &escapes, &[quote]))
    };
    let dollars = |random: &mut Random, tags: &[&str]| {
        let tag = one_of(random, tags);
        format!("${tag}${}${tag}$", inside(random, &["'", "\""], &["$"]))
    };
    let uuids = [
        "73197319-7319-7319-7319-731973197319",
        "dead7319-73e9-7319-a731-dead73197319",
    ];
    match (random.below(7), dialect) {
        (0 | 1, _) => number(random),
        (2, Dialect::Postgresql) => format!("E{}", escaped(random, "'")),
        (3, Dialect::Postgresql) => dollars(random, &["", "a", "q_1", "é"]),
        (4, Dialect::Postgresql) => format!("E'a'\n{}", escaped(random, "'")),
        (5, Dialect::Postgresql) => one_of(random, &["X'7319'", "b'7319'", "U&'qzj'"]).to_owned(),
        (2 | 3, Dialect::Mysql) => escaped(random, "'"),
        (4 | 5, Dialect::Mysql) => escaped(random, "\""),
        (6, Dialect::Mysql) => {
            one_of(random, &["_utf8'qzj'", "x'7319'", "N'qz\\'j'", "b'7319'"]).to_owned()
        }
        (2..=4, Dialect::Clickhouse) => escaped(random, "'"),
        (5, Dialect::Clickhouse) => dollars(random, &["", "a"]),
        (2 | 3, Dialect::Cassandra) => one_of(random, &uuids).to_owned(),
        (4, Dialect::Cassandra) => dollars(random, &[""]),
        (2, Dialect::SqlServer) => format!("N{}", quoted(random)),
        (3, Dialect::SqlServer) => one_of(random, &["$73.19", "-$73.19", "€7319"]).to_owned(),
        (4, Dialect::SqlServer | Dialect::Sqlite | Dialect::Generic) => {
            format!("\"{}\"", inside(random, &["\"\""], &["\""]))
        }
        (5, Dialect::Generic) => {
            one_of(random, &["q'[qzj's]'", "E'qz\\'j'", "$$qzj'$$"]).to_owned()
        }
        _ => quoted(random),
    }
}

fn statement(dialect: Dialect, random: &mut Random) -> String {
    let mut sql = String::new();
    for _ in 0..1 + random.below(4) {
        sql.push_str(one_of(random, BEFORE_LITERAL));
        sql.push_str(one_of(random, spaces(dialect)));
        if random.below(3) == 0 {
            sql.push_str(one_of(random, names(dialect)));
            sql.push_str(one_of(random, spaces(dialect)));
            sql.push('=');
            sql.push_str(one_of(random, &["", " "]));
        }
        if random.below(3) == 0 {
            sql.push_str("d IN (");
            for _ in 0..random.below(4) {
                sql.push_str(&literal(dialect, random));
                sql.push_str(one_of(random, &[",", ", ", " ,\n"]));
            }
            sql.push_str(&literal(dialect, random));
            sql.push(')');
        } else {
            sql.push_str(&literal(dialect, random));
        }
        sql.push_str(one_of(random, spaces(dialect)));
        sql.push_str(one_of(random, BEHIND_LITERAL));
        sql.push_str(one_of(random, spaces(dialect)));
    }
    sql
}

fn check(dialect: Dialect, sql: &[u8], whole: &str, canaries: &[&str]) {
    let said = describe(dialect, sql, false);
    let parameterised = describe(dialect, sql, true);
    for canary in canaries {
        for shown in [&said.text, &said.summary, &parameterised.summary] {
            assert!(
                !shown.contains(*canary),
                "{dialect:?} shows {canary:?}\n{}\n{shown}\nof {whole}",
                String::from_utf8_lossy(sql)
            );
        }
    }
}

#[test]
fn no_literal_gets_out() {
    for (number, (_, dialect)) in DIALECTS.iter().enumerate() {
        let mut random = Random(0x9e37_79b9 + number as u64);
        for _ in 0..STATEMENTS {
            let sql = statement(*dialect, &mut random);
            for end in 0..=sql.len() {
                check(
                    *dialect,
                    &sql.as_bytes()[..end],
                    &sql,
                    &[COMMENT, "qz", "73"],
                );
                // `$73` is money in Transact-SQL only, and a parameter elsewhere.
                if !sql.contains("$73") {
                    check(Dialect::Generic, &sql.as_bytes()[..end], &sql, &CANARIES);
                }
            }
        }
    }
}

/// A shape says of itself what each of its statements says; most statements with values have one.
#[test]
fn a_shape_is_as_good_as_its_statement() {
    let mut shape = Vec::new();
    let mut shaped = 0;
    let mut same = |dialect: Dialect, sql: &[u8]| {
        if !_native::sql::shape(sql, &mut shape) || shape == sql {
            return;
        }
        shaped += 1;
        assert_eq!(
            describe(dialect, sql, false),
            describe(dialect, &shape, false),
            "{dialect:?}: {}",
            String::from_utf8_lossy(sql)
        );
    };
    let published: Vec<super::Published> =
        serde_norway::from_str(include_str!("db-sql-test-cases.json")).unwrap();
    let texts = published.into_iter().map(|case| case.input.query);
    let texts: Vec<String> = texts
        .chain(cases().into_iter().map(|case| case.sql))
        .collect();
    let mut random = Random(13);
    for (_, dialect) in DIALECTS {
        for sql in &texts {
            same(dialect, sql.as_bytes());
        }
        for _ in 0..400 * STATEMENTS {
            let mut sql = statement(dialect, &mut random);
            if random.below(2) == 0 {
                sql = sql.replace(|c: char| "\"`[{/#\\$@:?".contains(c) || !c.is_ascii(), " ");
            }
            same(dialect, sql.as_bytes());
            let end = random.below(sql.len() + 1);
            same(dialect, &sql.as_bytes()[..end]);
        }
    }
    assert!(shaped > 500, "only {shaped}");
}

/// What is said has something in it: a text that is nothing but `?` would pass, too.
#[test]
fn what_is_no_literal_is_shown() {
    let mut shown = 0;
    let mut all = 0;
    let mut random = Random(7);
    for (_, dialect) in DIALECTS {
        for _ in 0..STATEMENTS {
            let sql = statement(dialect, &mut random);
            let said = describe(dialect, sql.as_bytes(), false);
            all += 1;
            shown += usize::from(said.text.chars().filter(|c| c.is_alphabetic()).count() > 8);
        }
    }
    assert!(shown * 10 > all * 8, "{shown} of {all}");
}

#[test]
fn holds_whatever_comes() {
    let seeds: Vec<String> = cases().into_iter().map(|case| case.sql).collect();
    let mut random = Random(11);
    for _ in 0..MUTATIONS {
        let mut sql = random.pick(&seeds).clone().into_bytes();
        for _ in 0..1 + random.below(6) {
            let at = random.below(sql.len() + 1);
            match random.below(4) {
                0 if at < sql.len() => sql[at] = random.next() as u8,
                1 => {
                    let end = (at + random.below(12)).min(sql.len());
                    sql.drain(at..end);
                }
                2 => {
                    let other = random.pick(&seeds).as_bytes();
                    sql.splice(at..at, other.iter().copied());
                }
                _ => {
                    sql.splice(at..at, one_of(&mut random, INSIDE).bytes());
                }
            }
        }
        for (_, dialect) in DIALECTS {
            let said = describe(dialect, &sql, false);
            assert!(said.text.len() <= MAX_BYTES);
            assert!(said.summary.chars().count() <= MAX_SUMMARY_CHARS);
        }
    }
}
