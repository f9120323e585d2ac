//! Runs of encoded spans: cut where a span ends, and put into an export request.

use super::wire::{append_bytes, append_varint, varint_len};

/// An ExportTraceServiceRequest from (encoded Resource message, `SpanBatch::spans`) pairs. Neighbours with the
/// same resource share a ResourceSpans.
pub fn encode_traces(
    batches: &[(&[u8], &[u8])],
    scope_name: &str,
    scope_version: &str,
    schema_url: &str,
) -> Vec<u8> {
    let mut scope = Vec::new();
    append_bytes(&mut scope, 1, scope_name.as_bytes());
    append_bytes(&mut scope, 2, scope_version.as_bytes());
    let mut url = Vec::new();
    if !schema_url.is_empty() {
        append_bytes(&mut url, 3, schema_url.as_bytes());
    }
    let size: usize = batches
        .iter()
        .map(|(resource, spans)| resource.len() + spans.len())
        .sum();
    let each = scope.len() + 2 * url.len() + 64;
    let mut out = Vec::with_capacity(size + batches.len() * each);
    for same in batches.chunk_by(|a, b| a.0 == b.0) {
        let resource = same[0].0;
        let spans_len: usize = same.iter().map(|(_, spans)| spans.len()).sum();
        let scope_spans_len = field_len(scope.len()) + spans_len + url.len();
        let resource_spans_len = field_len(resource.len()) + field_len(scope_spans_len) + url.len();
        append_head(&mut out, 1, resource_spans_len);
        append_bytes(&mut out, 1, resource);
        append_head(&mut out, 2, scope_spans_len);
        append_bytes(&mut out, 1, &scope);
        for (_, spans) in same {
            out.extend_from_slice(spans);
        }
        out.extend_from_slice(&url);
        out.extend_from_slice(&url);
    }
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
