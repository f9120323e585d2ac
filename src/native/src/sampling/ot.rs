//! OpenTelemetry's member of a tracestate: `ot=th:…;rv:…`, among those of others.
//!
//! Source: OpenTelemetry specification, "TraceState Handling"; W3C Trace Context, 3.3 (members, commas and optional
//! whitespace between them; what is changed moves to the front).

use super::threshold::{hex, Threshold};
use super::MAX_TRACESTATE_BYTES;

/// Longest value of the member.
const MAX_VALUE_BYTES: usize = 256;
/// Digits of `rv`'s value: all 56 bits.
const RV_DIGITS: usize = 14;

/// What a tracestate says of sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `th`.
    pub threshold: Option<Threshold>,
    /// `rv`.
    pub randomness: Option<u64>,
}

/// Reads it. What is no valid value says nothing.
pub fn read(tracestate: &str) -> Said {
    let mut said = Said::default();
    let value = members(tracestate).find_map(value_of_ours);
    for (key, value) in value.into_iter().flat_map(subkeys) {
        match key {
            "th" => said.threshold = Threshold::parse(value),
            "rv" if value.len() == RV_DIGITS => said.randomness = hex(value),
            _ => {}
        }
    }
    said
}

/// Writes a span's tracestate: what came, with this threshold in place of the one that came.
pub fn write(out: &mut Vec<u8>, tracestate: &str, threshold: Threshold) {
    let start = out.len();
    let room = |out: &Vec<u8>, more: usize| out.len() - start + more <= MAX_TRACESTATE_BYTES;
    if threshold.is_known() {
        out.extend_from_slice(b"ot=th:");
        threshold.append_to(out);
    }
    let value = members(tracestate).find_map(value_of_ours);
    for (key, value) in value.into_iter().flat_map(subkeys) {
        if key != "th" {
            out.extend_from_slice(if out.len() == start { b"ot=" } else { b";" });
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
    }
    for member in members(tracestate).filter(|member| value_of_ours(member).is_none()) {
        if !room(out, 1 + member.len()) {
            return;
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(member.as_bytes());
    }
}

fn members(tracestate: &str) -> impl Iterator<Item = &str> {
    let members = tracestate.split(',');
    members
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

fn value_of_ours(member: &str) -> Option<&str> {
    member.strip_prefix("ot=")
}

/// Keys and values; none of a value that is longer than it may be.
fn subkeys(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let value = if value.len() <= MAX_VALUE_BYTES {
        value
    } else {
        ""
    };
    value.split(';').filter_map(|pair| pair.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tracestate: &str, threshold: Threshold) -> String {
        let mut out = b"x".to_vec();
        write(&mut out, tracestate, threshold);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    #[test]
    fn what_it_says() {
        let half = Some(Threshold::of(0.5));
        for (tracestate, threshold, randomness) in [
            ("", None, None),
            ("ot=th:8", half, None),
            ("a=1, \tot=p:3;th:8;rv:0000000000000f ,b=2", half, Some(15)),
            ("ot=rv:0f", None, None),
            ("ot=rv:0000000000000F", None, None),
            ("ot=th:;rv:ffffffffffffff", None, Some((1 << 56) - 1)),
            ("ot=th:123456789012345", None, None),
            ("ot=th:8x", None, None),
            ("xot=th:8,ot-=th:8", None, None),
            ("ot=th", None, None),
        ] {
            let expected = Said {
                threshold,
                randomness,
            };
            assert_eq!(read(tracestate), expected, "{tracestate}");
        }
        assert_eq!(
            read(&format!("ot=th:8;x:{}", "y".repeat(256))),
            Said::default()
        );
    }

    #[test]
    fn what_a_span_has() {
        let half = Threshold::of(0.5);
        for (tracestate, threshold, expected) in [
            ("", Threshold::ALL, "ot=th:0"),
            ("", Threshold::UNKNOWN, ""),
            ("a=1, b=2", half, "ot=th:8,a=1,b=2"),
            ("a=1,b=2", Threshold::UNKNOWN, "a=1,b=2"),
            (
                "a=1,ot=th:0;rv:0000000000000f;p:3,b=2",
                half,
                "ot=th:8;rv:0000000000000f;p:3,a=1,b=2",
            ),
            (
                "ot=th:4;rv:0000000000000f",
                Threshold::UNKNOWN,
                "ot=rv:0000000000000f",
            ),
            ("ot=th:4", Threshold::UNKNOWN, ""),
            (",, a=1 ,", half, "ot=th:8,a=1"),
        ] {
            assert_eq!(written(tracestate, threshold), expected, "{tracestate}");
        }
        let member = "k=".to_owned() + &"v".repeat(98);
        let long = vec![member.clone(); 5].join(",");
        let tenth = Threshold::of(0.1);
        let cut = format!("ot=th:e666,{}", vec![member; 4].join(","));
        assert_eq!(written(&long, tenth), cut);
    }
}
