//! Runs of encoded spans: cut where a span ends, and put between the other parts of an export request.

use super::wire::{append_bytes, append_varint, varint_len};

/// Shorter runs of spans are copied: a part of its own costs a call to send it.
const MIN_RUN_BYTES: usize = 16 << 10;

/// A piece of an encoded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes of its own.
    Bytes(Vec<u8>),
    /// The spans of the batch at this place, as they are.
    Run(usize),
}

/// An ExportTraceServiceRequest in parts, of (encoded Resource message, `SpanBatch::spans`) pairs. Neighbours
/// with the same resource share a ResourceSpans. None of the parts is empty.
pub fn encode_traces(
    batches: &[(&[u8], &[u8])],
    scope_name: &str,
    scope_version: &str,
    schema_url: &str,
) -> Vec<Part> {
    let mut scope = Vec::new();
    append_bytes(&mut scope, 1, scope_name.as_bytes());
    append_bytes(&mut scope, 2, scope_version.as_bytes());
    let mut url = Vec::new();
    if !schema_url.is_empty() {
        append_bytes(&mut url, 3, schema_url.as_bytes());
    }

    let mut parts = Vec::new();
    let mut bytes = Vec::new();
    let mut place = 0;
    for same in batches.chunk_by(|a, b| a.0 == b.0) {
        let resource = same[0].0;
        let spans: usize = same.iter().map(|(_, spans)| spans.len()).sum();
        let scope_spans = field_len(scope.len()) + spans + url.len();
        let resource_spans = field_len(resource.len()) + field_len(scope_spans) + url.len();
        append_head(&mut bytes, 1, resource_spans);
        append_bytes(&mut bytes, 1, resource);
        append_head(&mut bytes, 2, scope_spans);
        append_bytes(&mut bytes, 1, &scope);
        for (_, spans) in same {
            if spans.len() < MIN_RUN_BYTES {
                bytes.extend_from_slice(spans);
            } else {
                parts.push(Part::Bytes(std::mem::take(&mut bytes)));
                parts.push(Part::Run(place));
            }
            place += 1;
        }
        bytes.extend_from_slice(&url);
        bytes.extend_from_slice(&url);
    }
    parts.push(Part::Bytes(bytes));
    parts.retain(|part| *part != Part::Bytes(Vec::new()));
    parts
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

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    /// `count` spans with names of `len` bytes.
    fn run(count: usize, len: usize) -> Vec<u8> {
        let mut span = Vec::new();
        append_bytes(&mut span, 5, &vec![b'x'; len]);
        let mut out = Vec::new();
        for _ in 0..count {
            append_bytes(&mut out, 2, &span);
        }
        out
    }

    #[test]
    fn parts_add_up_to_a_request() {
        let (long, short) = (run(100, 300), run(3, 300));
        for schema_url in ["", "https://s/1"] {
            for places in [
                &[][..],
                &[&long[..]],
                &[&short[..]],
                &[&long[..], &short, &long, &long],
                &[&short[..], &long, &short, &short],
            ] {
                for resources in [["", "", ""], ["", "\x10\x01", "\x10\x02"]] {
                    let batches: Vec<(&[u8], &[u8])> = places
                        .iter()
                        .enumerate()
                        .map(|(i, spans)| (resources[i / 2].as_bytes(), *spans))
                        .collect();
                    let parts = encode_traces(&batches, "scope", "1", schema_url);
                    let mut whole = Vec::new();
                    for part in &parts {
                        let bytes = match part {
                            Part::Bytes(bytes) => bytes,
                            Part::Run(place) => batches[*place].1,
                        };
                        assert!(!bytes.is_empty());
                        whole.extend_from_slice(bytes);
                    }
                    let runs = parts.iter().filter(|p| matches!(p, Part::Run(_))).count();
                    assert_eq!(
                        runs,
                        places.iter().filter(|p| p.len() == long.len()).count()
                    );

                    let request = ExportTraceServiceRequest::decode(&whole[..]).unwrap();
                    let spans: usize = request
                        .resource_spans
                        .iter()
                        .map(|resource| {
                            assert_eq!(resource.scope_spans.len(), 1);
                            assert_eq!(resource.schema_url, schema_url);
                            resource.scope_spans[0].spans.len()
                        })
                        .sum();
                    let expected = places
                        .iter()
                        .map(|p| if p.len() == long.len() { 100 } else { 3 });
                    assert_eq!(spans, expected.sum::<usize>());
                    assert_eq!(request.encode_to_vec().len(), whole.len());
                }
            }
        }
    }
}
