//! Runs of encoded spans: cut where a span ends, and put into an export request.

use prost::bytes::BufMut;

use super::wire::{append_bytes, append_varint, varint_len};

/// An ExportTraceServiceRequest from (encoded Resource message, `SpanBatch::spans`) pairs. Neighbours with the
/// same resource share a ResourceSpans.
pub struct TracesRequest<'a> {
    batches: &'a [(&'a [u8], &'a [u8])],
    scope: Vec<u8>,
    url: Vec<u8>,
}

impl<'a> TracesRequest<'a> {
    /// Nothing is encoded yet but what all spans share.
    pub fn new(
        batches: &'a [(&'a [u8], &'a [u8])],
        scope_name: &str,
        scope_version: &str,
        schema_url: &str,
    ) -> Self {
        let mut scope = Vec::new();
        append_bytes(&mut scope, 1, scope_name.as_bytes());
        append_bytes(&mut scope, 2, scope_version.as_bytes());
        let mut url = Vec::new();
        if !schema_url.is_empty() {
            append_bytes(&mut url, 3, schema_url.as_bytes());
        }
        Self {
            batches,
            scope,
            url,
        }
    }

    /// Bytes that `write` writes.
    pub fn encoded_len(&self) -> usize {
        self.resources()
            .map(|same| field_len(self.lens(same).1))
            .sum()
    }

    /// Writes it, the spans copied once. `out` has room for `encoded_len` bytes.
    pub fn write(&self, out: &mut impl BufMut) {
        let mut head = Vec::new();
        for same in self.resources() {
            let (scope_spans_len, resource_spans_len) = self.lens(same);
            head.clear();
            append_head(&mut head, 1, resource_spans_len);
            append_bytes(&mut head, 1, same[0].0);
            append_head(&mut head, 2, scope_spans_len);
            append_bytes(&mut head, 1, &self.scope);
            out.put_slice(&head);
            for (_, spans) in same {
                out.put_slice(spans);
            }
            out.put_slice(&self.url);
            out.put_slice(&self.url);
        }
    }

    fn resources(&self) -> impl Iterator<Item = &[(&'a [u8], &'a [u8])]> {
        self.batches.chunk_by(|a, b| a.0 == b.0)
    }

    /// Of one ResourceSpans: its ScopeSpans and itself, in bytes without tag and length.
    fn lens(&self, same: &[(&[u8], &[u8])]) -> (usize, usize) {
        let spans: usize = same.iter().map(|(_, spans)| spans.len()).sum();
        let scope_spans = field_len(self.scope.len()) + spans + self.url.len();
        let resource_spans = field_len(same[0].0.len()) + field_len(scope_spans) + self.url.len();
        (scope_spans, resource_spans)
    }
}

/// A `TracesRequest` as bytes of its own.
pub fn encode_traces(
    batches: &[(&[u8], &[u8])],
    scope_name: &str,
    scope_version: &str,
    schema_url: &str,
) -> Vec<u8> {
    let request = TracesRequest::new(batches, scope_name, scope_version, schema_url);
    let mut out = Vec::with_capacity(request.encoded_len());
    request.write(&mut out);
    out
}

/// Tag, length and content.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn append_head(out: &mut Vec<u8>, field: u8, len: usize) {
    out.push(field << 3 | 2);
    append_varint(out, len as u64);
}

/// How much of a run of spans fits `max_bytes`: bytes and spans, at least one span (if there is one).
pub fn split_spans(run: &[u8], max_bytes: usize) -> (usize, u64) {
    let (mut end, mut count) = (0, 0);
    while end < run.len() {
        let mut len = 0;
        let mut at = end + 1;
        for shift in (0..).step_by(7) {
            let byte = run[at];
            at += 1;
            len |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        if count > 0 && at + len > max_bytes {
            break;
        }
        end = at + len;
        count += 1;
    }
    (end, count)
}
