//! What headers and payloads say that matters here.
//!
//! ```text
//! NATS/1.0 [status [description]]␍␊name: value␍␊...␍␊payload
//! ```

use memchr::memmem;

use super::line::Announced;
use crate::protocols::message::{Message, Word};

/// A message's headers, and the beginning of its payload.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    headers: &'a [u8],
    text: &'a [u8],
    /// Something is missing of what would have been kept.
    pub holed: bool,
}

impl<'a> Payload<'a> {
    /// `kept` may end early.
    pub fn new(kept: &'a [u8], announced: Announced<'_>) -> Self {
        let at = usize::try_from(announced.header_bytes)
            .unwrap_or(usize::MAX)
            .min(kept.len());
        let (headers, text) = kept.split_at(at);
        let holed = kept.len() < announced.kept();
        Self {
            headers,
            text,
            holed,
        }
    }

    /// The payload's beginning.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The server's own word in place of a message: "503", say.
    pub fn status(&self) -> Option<&'a [u8]> {
        let line = self.headers.split(|byte| *byte == b'\n').next()?;
        let words = line.strip_prefix(b"NATS/1.0")?.trim_ascii();
        let status = words.split(|byte| *byte == b' ').next()?;
        (status.len() == 3).then_some(status)
    }

    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let lines = self.headers.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(|line| {
            let at = memchr::memchr(b':', line)?;
            // a value that was cut off means nothing
            let value = line[at + 1..].strip_suffix(b"\r")?;
            Some((&line[..at], value.trim_ascii()))
        })
    }

    /// Takes what the headers say about the message.
    pub fn read(&self, message: &mut Message) {
        for (name, value) in self.fields() {
            let word = if name.eq_ignore_ascii_case(b"traceparent") {
                Word::Traceparent
            } else if name.eq_ignore_ascii_case(b"tracestate") {
                Word::Tracestate
            } else if name.eq_ignore_ascii_case(b"Nats-Msg-Id") {
                Word::MessageId
            } else {
                continue;
            };
            message.put_whole(word, value);
        }
    }

    /// Why a request was not done, by its answer: nobody is there (503), a stream's or a service's error.
    pub fn failure(&self) -> &'a [u8] {
        if let Some(status) = self.status() {
            return status;
        }
        let service =
            |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"Nats-Service-Error-Code");
        if let Some((_, code)) = self.fields().find(service) {
            return code;
        }
        self.stream_error().unwrap_or_default()
    }

    /// `{"error":{"code":400,"err_code":10071,...`, of JetStream.
    fn stream_error(&self) -> Option<&'a [u8]> {
        let error = memmem::find(self.text, b"\"error\":{\"code\":")?;
        let types: &[u8] = &self.text[..error];
        let is_first = types == b"{" || types.starts_with(b"{\"type\":\"io.nats.jetstream.");
        let at = memmem::find(self.text, b"\"err_code\":").filter(|_| is_first)?;
        let digits = &self.text[at + b"\"err_code\":".len()..];
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        Some(&digits[..end])
    }
}

/// The value of one of CONNECT's options.
fn option<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::find(json, name)?;
    let value = json[at + name.len()..]
        .trim_ascii_start()
        .strip_prefix(b":")?;
    Some(value.trim_ascii_start())
}

/// Whether the server answers everything.
pub fn is_verbose(connect: &[u8]) -> bool {
    option(connect, b"\"verbose\"").is_some_and(|value| value.starts_with(b"true"))
}

/// The name that the client gives itself.
pub fn client_name(connect: &[u8]) -> &[u8] {
    let text = option(connect, b"\"name\"").and_then(|value| value.strip_prefix(b"\""));
    let text = text.unwrap_or_default();
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    match end {
        Some(end) if text[end] == b'"' && end <= 128 => &text[..end],
        _ => b"",
    }
}
