//! How long spans took from their end to their backend: read from the encoded request once it has arrived, as the
//! request may have been on disk since, and nothing is kept beside it.

/// Upper bounds are inclusive, as those of OTLP's histograms; `buckets` has one more than there are bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Spans with an end.
    pub count: u64,
    /// Nanoseconds, of all together.
    pub sum_ns: u64,
    /// Spans by delay.
    pub buckets: Vec<u64>,
}

/// Fields, by the messages they stand in: ExportTraceServiceRequest.resource_spans, ResourceSpans.scope_spans,
/// ScopeSpans.spans.
const WAY: [u64; 3] = [1, 2, 2];
/// Span.end_time_unix_nano.
const END: u64 = 8;

/// The delays of all spans of an ExportTraceServiceRequest that comes in `parts`, cut anywhere. What is not one is read
/// as far as it goes.
pub fn delays(parts: &[&[u8]], now_unix_ns: u64, bounds_ns: &[u64]) -> Delays {
    let mut found = Delays {
        buckets: vec![0; bounds_ns.len() + 1],
        ..Delays::default()
    };
    let mut bytes = Parts {
        here: &[],
        later: parts,
        read: 0,
    };
    let _ = walk(&mut bytes, |end_unix_ns| {
        let delay_ns = now_unix_ns.saturating_sub(end_unix_ns);
        found.count += 1;
        found.sum_ns = found.sum_ns.saturating_add(delay_ns);
        found.buckets[bounds_ns.partition_point(|bound| *bound < delay_ns)] += 1;
    });
    found
}

/// Calls `on_end` with each span's end. None: that is no request, or it is cut.
fn walk(bytes: &mut Parts<'_>, mut on_end: impl FnMut(u64)) -> Option<()> {
    // Where the messages that we are in end, from the outside in.
    let mut ends = Vec::with_capacity(WAY.len());
    loop {
        while ends.last().is_some_and(|end| bytes.read >= *end) {
            ends.pop();
        }
        if ends.is_empty() && bytes.is_over() {
            return Some(());
        }
        let tag = bytes.varint()?;
        let (field, kind) = (tag >> 3, tag & 7);
        match kind {
            0 => {
                bytes.varint()?;
            }
            1 if field == END && ends.len() == WAY.len() => on_end(bytes.fixed64()?),
            1 => bytes.skip(8)?,
            2 => {
                let len = bytes.varint()?;
                if WAY.get(ends.len()) == Some(&field) {
                    ends.push(bytes.read.checked_add(len)?);
                } else {
                    bytes.skip(len)?;
                }
            }
            5 => bytes.skip(4)?,
            _ => return None,
        }
    }
}

/// A place in bytes that come in parts.
struct Parts<'a> {
    /// What is left of the part that is being read.
    here: &'a [u8],
    later: &'a [&'a [u8]],
    /// Bytes before this place.
    read: u64,
}

impl Parts<'_> {
    /// Whether there is nothing more; goes on to the next part where one is read.
    #[inline]
    fn is_over(&mut self) -> bool {
        while self.here.is_empty() {
            let Some((next, later)) = self.later.split_first() else {
                return true;
            };
            (self.here, self.later) = (next, later);
        }
        false
    }

    #[inline]
    fn byte(&mut self) -> Option<u8> {
        if self.is_over() {
            return None;
        }
        let (byte, here) = self.here.split_first()?;
        self.here = here;
        self.read += 1;
        Some(*byte)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn fixed64(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Some(u64::from_le_bytes(bytes))
    }

    #[inline]
    fn skip(&mut self, len: u64) -> Option<()> {
        let mut left = len;
        while left > 0 {
            if self.is_over() {
                return None;
            }
            let step = left.min(self.here.len() as u64);
            self.here = self.here.get(step as usize..)?;
            self.read += step;
            left -= step;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    const NOW: u64 = 1_800_000_000_000_000_000;
    const BOUNDS: [u64; 3] = [1_000, 1_000_000, 1_000_000_000];

    fn request(ages_ns: &[u64]) -> Vec<u8> {
        let spans = ages_ns.iter().map(|age| Span {
            trace_id: vec![8; 16],
            name: "GET /orders/{id}".into(),
            start_time_unix_nano: NOW - age - 7,
            end_time_unix_nano: NOW - age,
            ..Span::default()
        });
        let of = |spans: Vec<Span>| ResourceSpans {
            resource: Some(Resource::default()),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: "otel-ebpf".into(),
                    ..InstrumentationScope::default()
                }),
                spans,
                ..ScopeSpans::default()
            }],
            schema_url: "https://example.test".into(),
        };
        let resource_spans = spans.map(|span| of(vec![span.clone(), span])).collect();
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    #[test]
    fn every_span_falls_into_its_bucket() {
        let found = delays(&[&request(&[0, 1_000, 1_001, 5_000_000_000])], NOW, &BOUNDS);
        assert_eq!(found.count, 8);
        assert_eq!(found.buckets, [4, 2, 0, 2]);
        assert_eq!(found.sum_ns, 2 * 5_000_002_001);
    }

    #[test]
    fn a_request_may_be_cut_anywhere() {
        let bytes = request(&[10, 20_000, 30_000_000]);
        let whole = delays(&[&bytes], NOW, &BOUNDS);
        assert_eq!(whole.count, 6);
        for cut in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(delays(&[head, &[], tail], NOW, &BOUNDS), whole);
        }
    }

    #[test]
    fn what_is_no_request_ends_the_reading() {
        let bytes = request(&[10]);
        for cut in 0..bytes.len() {
            assert!(delays(&[&bytes[..cut]], NOW, &BOUNDS).count <= 2);
        }
        for bad in [
            &[0xff; 30][..],
            &[10, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x0b],
        ] {
            assert_eq!(delays(&[bad], NOW, &BOUNDS).count, 0);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_delay() {
        assert_eq!(delays(&[&request(&[0])], NOW - 99, &BOUNDS).sum_ns, 0);
    }
}
