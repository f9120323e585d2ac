//! The context that a statement carries in a comment at its end or beginning, as sqlcommenter puts it there
//! (https://google.github.io/sqlcommenter/spec/): `/*traceparent='00-...-01',tracestate='a%3D1'*/`.
//!
//! Elsewhere in a statement the same text may stand in a literal: it is not looked for there.

use memchr::memmem;
use std::borrow::Cow;

/// Members of tracestate may be as long together (W3C Trace Context, 3.3.1.5).
const MAX_STATE: usize = 512;

/// A comment's context, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context<'a> {
    pub traceparent: &'a [u8],
    pub tracestate: Option<Cow<'a, [u8]>>,
}

/// The context in a statement's comment, if there is one.
#[inline]
pub(super) fn context(text: &[u8]) -> Option<Context<'_>> {
    let end = text
        .iter()
        .rposition(|byte| *byte != b';' && !byte.is_ascii_whitespace())?;
    if !text[..=end].ends_with(b"*/") && !text.starts_with(b"/*") {
        return None;
    }
    of_last(&text[..=end]).or_else(|| of_first(text))
}

fn of_last(text: &[u8]) -> Option<Context<'_>> {
    let text = text.strip_suffix(b"*/")?;
    let start = memmem::rfind(text, b"/*")?;
    of_comment(&text[start + 2..])
}

fn of_first(text: &[u8]) -> Option<Context<'_>> {
    let text = text.strip_prefix(b"/*")?;
    let end = memmem::find(text, b"*/")?;
    of_comment(&text[..end])
}

fn of_comment(comment: &[u8]) -> Option<Context<'_>> {
    let tracestate = value(comment, b"tracestate='").filter(|value| value.len() <= 3 * MAX_STATE);
    Some(Context {
        traceparent: value(comment, b"traceparent='")?,
        tracestate: tracestate.map(decoded),
    })
}

fn value<'a>(comment: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::find(comment, key)?;
    let before = at.checked_sub(1).and_then(|at| comment.get(at));
    if before.is_some_and(|byte| *byte != b',' && !byte.is_ascii_whitespace()) {
        return None; // the end of another key
    }
    let value = comment.get(at + key.len()..)?;
    value.get(..memchr::memchr(b'\'', value)?)
}

/// Values are URL-encoded.
fn decoded(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.first_chunk::<2>().filter(|_| byte == b'%');
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(number) => {
                bytes.push(number);
                rest = &after[2..];
            }
            None => bytes.push(byte),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01";

    fn parent(text: &str) -> Option<String> {
        let text = text.replace('@', PARENT);
        let context = context(text.as_bytes())?;
        Some(String::from_utf8_lossy(context.traceparent).into_owned())
    }

    #[test]
    fn the_comment_stands_at_the_end_or_at_the_beginning() {
        for text in [
            "SELECT 1 /*traceparent='@'*/",
            "SELECT 1 /*action='a',traceparent='@',tracestate='a%3D1'*/;\n",
            "/* traceparent='@' */ SELECT 1",
            "/*traceparent='@'*/ SELECT 1 /* other */",
            "SELECT 1 /* other */ /*db_driver='x',traceparent='@'*/ ; ",
        ] {
            assert_eq!(parent(text).as_deref(), Some(PARENT), "{text}");
        }
    }

    #[test]
    fn elsewhere_it_is_no_context() {
        for text in [
            "SELECT '/*traceparent=''@''*/'",
            "SELECT 1 /*traceparent='@'*/ FROM t",
            "SELECT 1 /*xtraceparent='@'*/",
            "SELECT 1 /*traceparent='@*/",
            "SELECT 1 -- traceparent='@'",
            "traceparent='@'*/",
            "/*",
            "*/",
            "",
            ";",
        ] {
            assert_eq!(parent(text), None, "{text}");
        }
    }

    #[test]
    fn the_state_is_decoded() {
        let text = format!("SELECT 1 /*traceparent='{PARENT}',tracestate='a%3D1%2cb%3D%zz'*/");
        let context = context(text.as_bytes()).expect("a context");
        assert_eq!(context.tracestate.as_deref(), Some(&b"a=1,b=%zz"[..]));
    }
}
