//! Statements that differ only in values written into them have one shape, and are described once.
//!
//! A shape is a statement itself: each plain number is `0` in it, each plain string `''`. Only what every dialect reads
//! alike is looked at, so that a shape says of itself what the statement would say: a test holds both to it.

/// Before a plain literal; a minus counts with what is before it.
fn may_precede(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | b'(' | b',' | b'=' | b'<' | b'>' | b'+' | b'*' | b'%'
    )
}

/// Behind a plain literal.
fn may_follow(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | b')' | b',' | b';' | b'=' | b'<' | b'>'
    )
}

/// What begins a comment, a quoted name, an escape or a placeholder somewhere: then a statement is its own shape.
fn is_doubtful(byte: u8) -> bool {
    !byte.is_ascii()
        || matches!(
            byte,
            b'"' | b'`'
                | b'['
                | b'{'
                | b'/'
                | b'#'
                | b'\\'
                | b'$'
                | b'@'
                | b':'
                | b'?'
                | 0x0b
                | 0x0c
                | 0
        )
}

/// Writes the shape of a statement into `shape`. False: it is its own, and nothing of worth was written.
pub fn shape(statement: &[u8], shape: &mut Vec<u8>) -> bool {
    shape.clear();
    let mut at = 0;
    // two bytes back, and one
    let (mut before, mut last) = (b' ', b' ');
    while let Some(&byte) = statement.get(at) {
        let starts = may_precede(last) || last == b'-' && may_precede(before);
        let end = match byte {
            b'-' if last == b'-' => return false,
            b'\'' => match string_end(statement, at).filter(|_| starts) {
                Some(end) => {
                    shape.extend_from_slice(b"''");
                    Some(end)
                }
                None => return false,
            },
            b'0'..=b'9' if starts => {
                let end = number_end(statement, at);
                if end.is_some() {
                    shape.push(b'0');
                }
                end
            }
            _ if is_doubtful(byte) => return false,
            _ => None,
        };
        let next = end.unwrap_or_else(|| {
            shape.push(byte);
            at + 1
        });
        before = if next == at + 1 { last } else { b'0' };
        last = statement[next - 1];
        at = next;
    }
    true
}

fn ends_at(statement: &[u8], end: usize) -> bool {
    statement.get(end).is_none_or(|byte| may_follow(*byte))
}

/// Behind the string that begins at `at`, if it is a plain one.
fn string_end(statement: &[u8], at: usize) -> Option<usize> {
    let inside = statement.get(at + 1..)?;
    let len = memchr::memchr(b'\'', inside)?;
    let plain = |byte: &u8| byte.is_ascii() && !matches!(byte, b'\\' | 0);
    let end = at + len + 2;
    (inside[..len].iter().all(plain) && ends_at(statement, end)).then_some(end)
}

/// Behind the number that begins at `at`, if it is a plain one: digits, and perhaps a point and digits.
fn number_end(statement: &[u8], at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let rest = statement.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut end = digits(at);
    if statement.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    ends_at(statement, end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statement: &str) -> Option<String> {
        let mut out = Vec::new();
        shape(statement.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn plain_literals_are_alike() {
        for (statement, expected) in [
            (
                "SELECT a FROM t1 WHERE b = 4711;",
                "SELECT a FROM t1 WHERE b = 0;",
            ),
            (
                "UPDATE t SET a = a + -12 WHERE b='x y'",
                "UPDATE t SET a = a + -0 WHERE b=''",
            ),
            (
                "INSERT INTO t VALUES (1, 2.50, 'a', '')",
                "INSERT INTO t VALUES (0, 0, '', '')",
            ),
            ("SELECT 1", "SELECT 0"),
            ("SELECT 1.e, 2e5, 0x1f, 3h", "SELECT 1.e, 2e5, 0x1f, 3h"),
            (
                "x 12345678-1234-1234-1234-123456789012",
                "x 12345678-1234-1234-1234-123456789012",
            ),
        ] {
            assert_eq!(of(statement).as_deref(), Some(expected), "{statement}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_left_as_it_is() {
        for statement in [
            "SELECT 'it''s'",
            "SELECT E'a'",
            "SELECT 'a' 'b'x'",
            "SELECT 'a",
            r"SELECT 'a\'b'",
            "SELECT \"a 1 b\" FROM t",
            "SELECT 1 -- 2",
            "SELECT 1 /* 2 */",
            "SELECT $1, 2",
            "SELECT 'é'",
            "SELECT 5 # 6",
        ] {
            assert_eq!(of(statement), None, "{statement}");
        }
    }
}
