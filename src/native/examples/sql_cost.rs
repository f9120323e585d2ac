//! Describes a statement so many times and nothing else, to be run under a tool that counts instructions:
//!
//! ```text
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/sql_cost orm 1000
//! ```
//!
//! The difference of two runs by the difference of their counts is the cost of one. `known` asks the cache.

use _native::sql::{describe, Dialect, Statements};

const POINT: &str = "SELECT c FROM sbtest1 WHERE id=5017";
const ORM: &str = "SELECT \"shop_order\".\"id\", \"shop_order\".\"created\", \"shop_order\".\"total\", \
    \"auth_user\".\"email\" FROM \"shop_order\" INNER JOIN \"auth_user\" ON (\"shop_order\".\"user_id\" = \
    \"auth_user\".\"id\") WHERE (\"shop_order\".\"state\" IN ('open', 'paid', 'sent') AND \
    \"auth_user\".\"id\" = 4711) ORDER BY \"shop_order\".\"created\" DESC LIMIT 21";

fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let count = args
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1000);
    let long = format!("SELECT a FROM t WHERE b IN ({}1)", "12, ".repeat(50_000));
    let sql = match kind.as_str() {
        "point" => POINT,
        "orm" | "known" => ORM,
        "long" => &long,
        _ => {
            eprintln!("sql_cost point|orm|long|known COUNT");
            std::process::exit(2);
        }
    };
    let mut statements = Statements::new();
    let mut bytes = 0;
    let start = std::time::Instant::now();
    for _ in 0..count {
        bytes += if kind == "known" {
            let known = statements.get(Dialect::Postgresql, sql.as_bytes(), false);
            known.text.len()
        } else {
            describe(Dialect::Postgresql, sql.as_bytes(), false)
                .text
                .len()
        };
    }
    println!(
        "{} ns each, {} bytes to {}",
        start.elapsed().as_nanos() / u128::from(count),
        sql.len(),
        bytes as u64 / count
    );
}
