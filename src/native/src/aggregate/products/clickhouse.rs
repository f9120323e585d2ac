//! ClickHouse's HTTP interface: the statement stands in the query, or in the body, which is not looked at.

use super::Called;
use crate::sql::Dialect;

pub const DIALECT: Dialect = Dialect::Clickhouse;

/// Longest statement that is taken out of a query, in bytes.
const MAX_STATEMENT: usize = 16 << 10;

/// Of a request with this query (without '?').
pub fn called(query: &[u8]) -> Called {
    let parameter = |name: &str| {
        query.split(|byte| *byte == b'&').find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(decoded(&value[..value.len().min(3 * MAX_STATEMENT)]))
        })
    };
    let namespace = parameter("database").unwrap_or_default();
    Called {
        namespace: String::from_utf8_lossy(&namespace).into_owned(),
        statement: parameter("query").filter(|statement| !statement.is_empty()),
        ..Called::default()
    }
}

/// Of application/x-www-form-urlencoded (WHATWG URL, 5.1).
fn decoded(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let hex = |digit: &u8| char::from(*digit).to_digit(16);
        match (byte, after) {
            (b'%', [high, low, later @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                let byte = hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0);
                out.push(byte as u8);
                rest = later;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_queries() {
        let found = called(b"database=shop&query=SELECT+count%28%29%20FROM+carts&x=1");
        assert_eq!(found.namespace, "shop");
        assert_eq!(
            found.statement.as_deref(),
            Some(&b"SELECT count() FROM carts"[..])
        );
        assert_eq!(called(b"user=a").statement, None);
        assert_eq!(called(b"query=").statement, None);
        assert_eq!(decoded(b"%4%zz%"), b"%4%zz%");
    }
}
