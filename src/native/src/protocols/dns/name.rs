//! Domain names (RFC 1035, 3.1 and 4.1.4) and how they are written (5.1).
//!
//! ```text
//! 3 w w w 7 e x a m p l e 3 c o m 0          labels, each behind its length
//! 3 w w w 0xc0 0x10                          the rest of it stands 16 bytes from the message's beginning
//! ```
//!
//! A pointer may only go back behind where the name or the last pointer began, so that no name is without end.

/// RFC 1035, 2.3.4: length bytes included.
const MAX_NAME: usize = 255;
/// As long a text is kept. Only bytes that have to be escaped can make one longer.
pub(super) const MAX_TEXT: usize = 255;

/// Why there is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The message goes on where its bytes end.
    Cut,
    /// This is none.
    Bad,
}

/// Shows each label of the name at `at`, and gives where what is behind it begins.
pub(super) fn labels(
    message: &[u8],
    at: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<usize, Trouble> {
    let (mut at, mut limit, mut after, mut len) = (at, at, None, 0);
    loop {
        let first = usize::from(*message.get(at).ok_or(Trouble::Cut)?);
        match first >> 6 {
            0 if first == 0 => return Ok(after.unwrap_or(at + 1)),
            0 => {
                let label = message.get(at + 1..at + 1 + first).ok_or(Trouble::Cut)?;
                len += 1 + first;
                if len >= MAX_NAME {
                    return Err(Trouble::Bad);
                }
                each(label);
                at += 1 + first;
            }
            3 => {
                let second = usize::from(*message.get(at + 1).ok_or(Trouble::Cut)?);
                after = after.or(Some(at + 2));
                at = (first & 0x3f) << 8 | second;
                if at >= limit {
                    return Err(Trouble::Bad);
                }
                limit = at;
            }
            _ => return Err(Trouble::Bad),
        }
    }
}

/// Where what is behind the name at `at` begins; pointers are not followed.
pub(super) fn skip(message: &[u8], mut at: usize) -> Result<usize, Trouble> {
    loop {
        let first = usize::from(*message.get(at).ok_or(Trouble::Cut)?);
        match first >> 6 {
            0 if first == 0 => return Ok(at + 1),
            0 => at += 1 + first,
            3 => return Ok(at + 2),
            _ => return Err(Trouble::Bad),
        }
    }
}

/// Adds a label to a name in text: printable, its case as it was sent.
pub(super) fn write(label: &[u8], text: &mut Vec<u8>) {
    if !text.is_empty() {
        text.push(b'.');
    }
    for byte in label {
        match byte {
            b'.' | b'\\' | b'"' => text.extend_from_slice(&[b'\\', *byte]),
            0x21..=0x7e => text.push(*byte),
            _ => text.extend_from_slice(format!("\\{byte:03}").as_bytes()),
        }
    }
}

/// The name at `at` in text, without the last dot; the root is ".". And where what is behind it begins.
pub(super) fn text(message: &[u8], at: usize, text: &mut Vec<u8>) -> Result<usize, Trouble> {
    text.clear();
    let after = labels(message, at, |label| write(label, text))?;
    finish(text);
    Ok(after)
}

/// What is left to do with a text once all its labels are in it.
pub(super) fn finish(text: &mut Vec<u8>) {
    text.truncate(MAX_TEXT);
    if text.is_empty() {
        text.push(b'.');
    }
}
