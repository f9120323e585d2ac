//! A request target, taken apart (RFC 9112, 3.2).

use memchr::memchr2;

use super::series::Method;
use crate::redact::authority_end;
use crate::words;

/// The parts of a request target; slices of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// Absolute and authority form.
    pub authority: Option<&'a [u8]>,
    /// Absolute form: whether its scheme is https.
    pub https: Option<bool>,
    /// "" for CONNECT, "*" for the asterisk form.
    pub path: &'a [u8],
    /// Without '?'; "" where there is none.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Never fails: what has no known form is a path.
    #[inline]
    pub fn of(method: Method, target: &'a [u8]) -> Self {
        if target.first() == Some(&b'/') {
            return Self::default().with_path(target);
        }
        Self::of_unusual(method, target)
    }

    fn of_unusual(method: Method, target: &'a [u8]) -> Self {
        if method.as_str() == "CONNECT" {
            return Self {
                authority: Some(target),
                ..Self::default()
            };
        }
        let Some((start, end)) = authority_end(target) else {
            return Self::default().with_path(target);
        };
        let absolute = Self {
            authority: Some(&target[start..end]),
            https: Some(target[..start].eq_ignore_ascii_case(b"https://")),
            ..Self::default()
        };
        let parts = absolute.with_path(&target[end..]);
        if parts.path.is_empty() {
            Self {
                path: b"/",
                ..parts
            }
        } else {
            parts
        }
    }

    #[inline(always)]
    fn with_path(self, text: &'a [u8]) -> Self {
        match cut(text) {
            None => Self { path: text, ..self },
            Some(cut) if text[cut] == b'#' => Self {
                path: &text[..cut],
                ..self
            },
            Some(cut) => {
                let query = &text[cut + 1..];
                let end = memchr::memchr(b'#', query).unwrap_or(query.len());
                Self {
                    path: &text[..cut],
                    query: &query[..end],
                    ..self
                }
            }
        }
    }
}

/// Where a path ends: nearly always where the target does, which shows fastest eight bytes at a time.
#[inline(always)]
fn cut(text: &[u8]) -> Option<usize> {
    if let (Some(last), ..=31) = (text.last_chunk(), text.len()) {
        let mut words = text.chunks_exact(8);
        if !words.any(|word| word.try_into().is_ok_and(has_cut)) && !has_cut(last) {
            return None;
        }
    }
    memchr2(b'?', b'#', text)
}

#[inline(always)]
fn has_cut(word: &[u8; 8]) -> bool {
    let word = u64::from_ne_bytes(*word);
    words::any_is(word, b'?') | words::any_is(word, b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_forms() {
        let shown = |method: &str, target: &'static str| {
            let t = Target::of(Method::of(method.as_bytes()), target.as_bytes());
            let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
            (t.authority.map(text), t.https, text(t.path), text(t.query))
        };
        let plain = |path: &str, query: &str| (None, None, path.to_owned(), query.to_owned());
        assert_eq!(shown("GET", "/a/b?c=d?e#f"), plain("/a/b", "c=d?e"));
        assert_eq!(shown("GET", "/a#f?x"), plain("/a", ""));
        for len in 0..70 {
            let path = format!("/{}", "x".repeat(len));
            let query = Box::leak(format!("{path}?y").into_boxed_str());
            assert_eq!(shown("GET", query), plain(&path, "y"));
            assert_eq!(shown("GET", &query[..len + 1]), plain(&path, ""));
        }
        assert_eq!(shown("OPTIONS", "*"), plain("*", ""));
        assert_eq!(shown("GET", ""), plain("", ""));
        assert_eq!(shown("GET", "nonsense?x"), plain("nonsense", "x"));
        assert_eq!(
            shown("GET", "http://u@h:1?q"),
            (Some("u@h:1".into()), Some(false), "/".into(), "q".into())
        );
        assert_eq!(
            shown("GET", "HTTPS://h/p"),
            (Some("h".into()), Some(true), "/p".into(), String::new())
        );
        assert_eq!(
            shown("CONNECT", "h:443"),
            (Some("h:443".into()), None, String::new(), String::new())
        );
    }
}
