//! Spans of calls that are not HTTP's: attributes by name, links to the messages' senders.

use opentelemetry_proto::tonic::common::v1::any_value;

use super::{append_int, append_string, put_fixed_fields, wire, Context};
use crate::exchange::Carried;
use crate::sampling;

/// An attribute's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// There is none.
    Absent,
    /// As sent; "" is absent. Made UTF-8 where it is not.
    Text(&'a [u8]),
    /// A number.
    Int(u64),
    /// An array; absent where it is empty.
    Texts(&'a [String]),
}

impl Value<'_> {
    /// There is none.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => text.is_empty(),
            Self::Int(_) => false,
            Self::Texts(texts) => texts.is_empty(),
        }
    }

    /// As the official proto crate has it.
    pub(super) fn as_proto(&self) -> Option<any_value::Value> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(any_value::Value::StringValue(
                String::from_utf8_lossy(text).into_owned(),
            )),
            Self::Int(number) => Some(any_value::Value::IntValue(*number as i64)),
            _ => None,
        }
    }
}

/// What is a span's own besides its attributes.
#[derive(Clone, Copy, Debug)]
pub struct CallOwn<'a> {
    /// Ids.
    pub context: Context<'a>,
    /// Nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// Whose messages they are; those whose context is none are left out.
    pub links: &'a [Carried<'a>],
}

/// Appends one `ScopeSpans.spans` field. `shared`: encoded fields of a Span that this one has too.
pub fn append_call<'a>(
    out: &mut Vec<u8>,
    shared: [&[u8]; 2],
    own: &CallOwn<'_>,
    attributes: impl Iterator<Item = &'a (&'static str, Value<'a>)>,
) {
    let start = wire::begin_message(out, 2);
    for fields in shared {
        out.extend_from_slice(fields);
    }
    let mut head = wire::Head::new();
    put_fixed_fields(&mut head, &own.context, own.start_unix_ns, own.end_unix_ns);
    out.extend_from_slice(head.bytes());
    for (name, value) in attributes {
        match value {
            Value::Absent => {}
            Value::Text(text) => append_string(out, name, text),
            Value::Int(number) => append_int(out, name, *number),
            Value::Texts(texts) => append_texts(out, name, texts),
        }
    }
    for link in own.links {
        append_link(out, link);
    }
    if own.context.has_rare_state() {
        own.context.append_rare_state(out);
    }
    wire::end_message(out, start);
}

/// An attribute with an ArrayValue (AnyValue's field 5) of strings.
fn append_texts(out: &mut Vec<u8>, name: &str, texts: &[String]) {
    let attribute = wire::begin_message(out, 9);
    wire::append_bytes(out, 1, name.as_bytes());
    let value = wire::begin_message(out, 2);
    let array = wire::begin_message(out, 5);
    for text in texts {
        let item = wire::begin_message(out, 1);
        wire::append_bytes(out, 1, text.as_bytes());
        wire::end_message(out, item);
    }
    wire::end_message(out, array);
    wire::end_message(out, value);
    wire::end_message(out, attribute);
}

/// Span.links: trace_id, span_id, trace_state, flags (fixed32).
fn append_link(out: &mut Vec<u8>, carried: &Carried<'_>) {
    let Some(parent) = sampling::parse_traceparent(carried.traceparent) else {
        return;
    };
    let link = wire::begin_message(out, 13);
    wire::append_bytes(out, 1, &parent.trace_id);
    wire::append_bytes(out, 2, &parent.span_id);
    let state = sampling::tracestate(carried.tracestate);
    if !state.is_empty() {
        wire::append_bytes(out, 3, state.as_bytes());
    }
    out.push(6 << 3 | 5);
    let flags = u32::from(parent.flags) | super::FLAG_HAS_IS_REMOTE | super::FLAG_IS_REMOTE;
    out.extend_from_slice(&flags.to_le_bytes());
    wire::end_message(out, link);
}
