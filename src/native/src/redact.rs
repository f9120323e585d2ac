//! Secrets in URLs never leave the process: credentials before the host, values of telling query keys.
//!
//! Source: the url.* attributes of the semantic conventions (credentials, and the signatures and keys of
//! object stores), and the names that web frameworks commonly give to secrets. Keys are compared without
//! case, '-', '_' and percent-encoding. What has no secret is passed through without a copy.

use std::borrow::Cow;

use memchr::memchr;

/// What stands in a secret's place.
pub const REDACTED: &str = "REDACTED";

/// Keys, normalised, whose values are secrets.
const EXACT: [&[u8]; 14] = [
    b"auth",
    b"authkey",
    b"authorization",
    b"bearer",
    b"creds",
    b"jwt",
    b"key",
    b"otp",
    b"pass",
    b"pin",
    b"pwd",
    b"sid",
    b"sig",
    b"xauth",
];

/// Parts of normalised keys that give a secret away: X-Amz-Signature, user[password], client_secret...
const PARTS: [&[u8]; 11] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"secret",
    b"token",
    b"apikey",
    b"accesskey",
    b"privatekey",
    b"credential",
    b"signature",
    b"sess",
];

/// No key longer than this can be normalised; its value is kept unless the start says it is a secret.
const MAX_KEY_BYTES: usize = 64;

/// The query (without '?') with secrets' values replaced.
pub fn query(query: &[u8]) -> Cow<'_, [u8]> {
    pairs(query, |b| b == b'&' || b == b';')
}

/// Nothing in this path can be a secret or needs repair to be text.
pub fn is_plain_path(path: &[u8]) -> bool {
    path.is_ascii() && memchr(b';', path).is_none()
}

/// The path with secrets in its parameters (`;jsessionid=…`) replaced.
pub fn path(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b';', path).is_none() {
        return Cow::Borrowed(path);
    }
    pairs(path, |b| b == b';' || b == b'/')
}

/// `user:password@host` with the credentials replaced.
pub fn authority(authority: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memrchr(b'@', authority) {
        None => Cow::Borrowed(authority),
        Some(at) => {
            let mut out = Vec::with_capacity(authority.len() + 2 * REDACTED.len());
            out.extend_from_slice(b"REDACTED:REDACTED@");
            out.extend_from_slice(&authority[at + 1..]);
            Cow::Owned(out)
        }
    }
}

/// A request target in any form, as sent, with all of the above replaced.
pub fn target(target: &[u8]) -> Cow<'_, [u8]> {
    let (prefix, rest) = match authority_end(target) {
        Some((start, end)) => match authority(&target[start..end]) {
            Cow::Borrowed(_) => (Cow::Borrowed(&target[..end]), &target[end..]),
            Cow::Owned(clean) => {
                let mut out = target[..start].to_vec();
                out.extend_from_slice(&clean);
                (Cow::Owned(out), &target[end..])
            }
        },
        None => (Cow::Borrowed(&target[..0]), target),
    };
    let cut = memchr::memchr2(b'?', b'#', rest).unwrap_or(rest.len());
    let clean_path = path(&rest[..cut]);
    let tail = &rest[cut..];
    let clean_query = if tail.is_empty() {
        Cow::Borrowed(tail)
    } else {
        query(&tail[1..])
    };
    if let (Cow::Borrowed(_), Cow::Borrowed(_), Cow::Borrowed(_)) =
        (&prefix, &clean_path, &clean_query)
    {
        return Cow::Borrowed(target);
    }
    let mut out = prefix.into_owned();
    out.extend_from_slice(&clean_path);
    out.extend_from_slice(&tail[..tail.len().min(1)]);
    out.extend_from_slice(&clean_query);
    Cow::Owned(out)
}

/// Whether a header field of this name, in lower case, is known to hold a secret.
pub fn is_secret_header(name: &str) -> bool {
    name.contains("authorization")
        || name.contains("cookie")
        || is_secret_key(name.as_bytes())
        || name.split('-').any(|part| is_secret_key(part.as_bytes()))
}

/// Where the authority of an absolute-form target (`scheme://authority/…`) begins and ends.
pub fn authority_end(target: &[u8]) -> Option<(usize, usize)> {
    if target.first().is_none_or(|b| *b == b'/') {
        return None;
    }
    let colon = memchr(b':', &target[..target.len().min(16)])?;
    let start = colon + 3;
    if target.get(colon..start)? != b"://" {
        return None;
    }
    let len = target[start..]
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'));
    Some((start, start + len.unwrap_or(target.len() - start)))
}

fn pairs(text: &[u8], separates: impl Fn(u8) -> bool) -> Cow<'_, [u8]> {
    let mut out: Vec<u8> = Vec::new();
    let mut copied = 0;
    let mut key_start = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if separates(byte) {
            key_start = at;
        } else if byte == b'=' {
            let end = text[at..]
                .iter()
                .position(|b| separates(*b))
                .map_or(text.len(), |n| at + n);
            if end > at && is_secret(&text[key_start..at - 1]) {
                out.extend_from_slice(&text[copied..at]);
                out.extend_from_slice(REDACTED.as_bytes());
                copied = end;
            }
            at = end;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// Sets of letters of which every secret key has one: a bit each.
const TELLING: [u32; 14] = [
    letters(b"auth"),
    letters(b"bear"),
    letters(b"cred"),
    letters(b"jwt"),
    letters(b"key"),
    letters(b"otp"),
    letters(b"pas"),
    letters(b"pin"),
    letters(b"pwd"),
    letters(b"secrt"),
    letters(b"ses"),
    letters(b"sid"),
    letters(b"sig"),
    letters(b"token"),
];

const fn letters(key: &[u8]) -> u32 {
    let mut set = 0;
    let mut i = 0;
    while i < key.len() {
        // Of letters of either case these are the last five bits, from 1.
        set |= 1 << (key[i] & 0x1f);
        i += 1;
    }
    set
}

#[inline]
fn is_secret(key: &[u8]) -> bool {
    let set = letters(key);
    let may_be = TELLING.iter().any(|telling| set & telling == *telling);
    (may_be || key.contains(&b'%')) && is_secret_key(key)
}

fn is_secret_key(key: &[u8]) -> bool {
    let mut normal = [0u8; MAX_KEY_BYTES];
    let mut len = 0;
    let mut at = 0;
    while at < key.len() && len < MAX_KEY_BYTES {
        let mut byte = key[at];
        at += 1;
        if byte == b'%' && at + 1 < key.len() {
            if let (Some(high), Some(low)) = (hex(key[at]), hex(key[at + 1])) {
                byte = high << 4 | low;
                at += 2;
            }
        }
        if byte != b'-' && byte != b'_' {
            normal[len] = byte.to_ascii_lowercase();
            len += 1;
        }
    }
    let normal = &normal[..len];
    if len < 3 {
        return false;
    }
    if len <= 13 && EXACT.contains(&normal) {
        return true;
    }
    // One pass over the key, looking closer only where a part can begin: keys are seldom secrets.
    (0..len).any(|i| {
        matches!(normal[i], b'a' | b'c' | b'p' | b's' | b't')
            && PARTS.iter().any(|part| normal[i..].starts_with(part))
    })
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: Cow<'_, [u8]>) -> String {
        String::from_utf8(text.into_owned()).unwrap()
    }

    #[test]
    fn nothing_secret_is_not_copied() {
        for text in [
            "",
            "a=1&b=2",
            "page=2;sort=name",
            "author=x&passage=3&keyword=z&tag=",
            "password=",
            "token",
        ] {
            assert!(
                matches!(query(text.as_bytes()), Cow::Borrowed(t) if t == text.as_bytes()),
                "{text}"
            );
        }
        for text in [
            "/a/b?c=d",
            "*",
            "example.org:443",
            "http://example.org/x?y=z",
            "/;v=1/x",
        ] {
            assert!(
                matches!(target(text.as_bytes()), Cow::Borrowed(_)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_conventions_keys() {
        for key in [
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "AWSAccessKeyId",
            "Signature",
            "sig",
            "X-Goog-Signature",
            "token",
            "password",
            "session",
            "PASSWORD",
            "passwd",
            "secret",
            "api_key",
            "apikey",
            "api-key",
            "access_token",
            "auth",
            "user[password]",
            "user%5Bpass%77ord%5D",
            "client_secret",
            "PHPSESSID",
            "refresh_token",
            "key",
            "jwt",
        ] {
            let text = format!("a=1&{key}=s3cr%26t=&b=2");
            assert_eq!(
                show(query(text.as_bytes())),
                format!("a=1&{key}=REDACTED&b=2")
            );
        }
    }

    #[test]
    fn several_in_one() {
        assert_eq!(
            show(query(b"token=a;sig=b&x=1&token=c")),
            "token=REDACTED;sig=REDACTED&x=1&token=REDACTED"
        );
    }

    #[test]
    fn targets() {
        for (raw, clean) in [
            (
                "http://u:p@h:80/x?token=1&y=2",
                "http://REDACTED:REDACTED@h:80/x?token=REDACTED&y=2",
            ),
            ("https://u@h", "https://REDACTED:REDACTED@h"),
            ("http://a:b@c@d/", "http://REDACTED:REDACTED@d/"),
            ("/p;jsessionid=1/q?z=1", "/p;jsessionid=REDACTED/q?z=1"),
            ("/p@q:r?sig=1", "/p@q:r?sig=REDACTED"),
            ("/p#token=1", "/p#token=REDACTED"),
        ] {
            assert_eq!(show(target(raw.as_bytes())), clean);
        }
    }

    #[test]
    fn any_bytes() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let mut text = Vec::new();
            for _ in 0..state % 40 {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                text.push(b"=&;%?#:/@-_aSiGtoken\xff\x005"[(state >> 33) as usize % 23]);
            }
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407)
                | 1;
            let _ = (query(&text), path(&text), authority(&text), target(&text));
        }
    }
}
