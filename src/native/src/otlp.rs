//! Spans as OTLP bytes, the cheap way: a concatenation of encoded fields is an encoded message.
//!
//! ```text
//! ScopeSpans.spans  = tag 2, length, Span
//! Span              = template | connection | own
//!   template          what a series' spans share; encoded once by the official proto crate
//!   connection        what a connection's spans share: peer, server, client; written once per connection
//!   own               ids, times, flags, url.*, sizes: written for each span, here
//! ```
//!
//! Field numbers are those of opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto; the tests
//! decode with the official types and compare every field.

mod call;
mod ends;
mod request;
mod wire;

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{any_value, AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{status::StatusCode, Span as ProtoSpan, Status};
use prost::Message;

pub use call::{append_call, CallOwn, Value};
pub use ends::{delays, Delays};
pub use request::{encode_traces, split_spans, Part};
pub(crate) use wire::append_bytes;
pub use wire::{append_int, append_string};

use crate::redact;
use crate::sampling::{self, ot, Threshold};

/// Longest url.path and url.query, each; the rest is cut.
pub const MAX_URL_PART_BYTES: usize = 16 << 10;
/// Longest url.full, its scheme and authority not counted.
pub const MAX_URL_FULL_BYTES: usize = 32 << 10;
/// Longest user_agent.original.
pub const MAX_USER_AGENT_BYTES: usize = 1 << 10;
/// Longest http.request.method_original.
pub const MAX_METHOD_BYTES: usize = 64;
/// Longest rpc.method_original.
pub const MAX_RPC_METHOD_BYTES: usize = 256;

/// Span.flags: whether the parent is remote is known (bit 8), and it is (bit 9).
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
const FLAG_IS_REMOTE: u32 = 0x200;

/// SpanKind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SPAN_KIND_SERVER
    Server = 2,
    /// SPAN_KIND_CLIENT
    Client = 3,
    /// SPAN_KIND_PRODUCER
    Producer = 4,
    /// SPAN_KIND_CONSUMER
    Consumer = 5,
}

/// What the spans of a series share.
#[derive(Debug)]
pub struct Template<'a> {
    /// Span.name
    pub name: &'a str,
    /// Span.kind
    pub kind: Kind,
    /// What was asked and answered.
    pub call: Call<'a>,
    /// error.type, and an error it is; "" is unset
    pub error_type: &'a str,
}

/// What the spans of a series say of the request and its answer.
#[derive(Debug)]
pub enum Call<'a> {
    /// HTTP.
    Http {
        /// http.request.method
        method: &'static str,
        /// url.scheme
        scheme: &'static str,
        /// http.route; "" is unset
        route: &'a str,
        /// http.response.status_code; 0 is unset
        status: u16,
        /// network.protocol.version; "" is unset
        protocol_version: &'static str,
    },
    /// Remote procedure calls.
    Rpc {
        /// rpc.system.name
        system: &'static str,
        /// rpc.method
        method: &'a str,
        /// rpc.response.status_code
        status: &'a str,
    },
    /// Of databases, brokers and resolvers.
    Other {
        /// Attributes.
        shared: &'a [(&'static str, Value<'a>)],
    },
}

impl Template<'_> {
    /// The fields of a Span that this stands for.
    pub fn encode(&self) -> Vec<u8> {
        let mut pairs = Vec::new();
        let mut text = |key: &str, value: &str| {
            if !value.is_empty() {
                let value = any_value::Value::StringValue(value.to_owned());
                pairs.push((key.to_owned(), value));
            }
        };
        let mut http_status = 0;
        match self.call {
            Call::Http {
                method,
                scheme,
                route,
                status,
                protocol_version,
            } => {
                text("http.request.method", method);
                text("url.scheme", scheme);
                text("http.route", route);
                text("network.protocol.version", protocol_version);
                http_status = status;
            }
            Call::Rpc {
                system,
                method,
                status,
            } => {
                text("rpc.system.name", system);
                text("rpc.method", method);
                text("rpc.response.status_code", status);
            }
            Call::Other { shared } => {
                pairs.extend(
                    shared
                        .iter()
                        .filter_map(|(name, value)| Some(((*name).to_owned(), value.as_proto()?))),
                );
            }
        }
        if !self.error_type.is_empty() {
            let value = any_value::Value::StringValue(self.error_type.to_owned());
            pairs.push(("error.type".to_owned(), value));
        }
        if http_status != 0 {
            let value = any_value::Value::IntValue(http_status.into());
            pairs.push(("http.response.status_code".to_owned(), value));
        }
        let attributes = pairs
            .into_iter()
            .map(|(key, value)| KeyValue {
                key,
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            })
            .collect();
        let status = (!self.error_type.is_empty()).then(|| Status {
            code: StatusCode::Error.into(),
            ..Status::default()
        });
        ProtoSpan {
            name: self.name.to_owned(),
            kind: self.kind as i32,
            attributes,
            status,
            ..ProtoSpan::default()
        }
        .encode_to_vec()
    }
}

/// Who a span is, and whose child.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Not zero.
    pub trace_id: [u8; 16],
    /// Not zero.
    pub span_id: [u8; 8],
    /// None: a root.
    pub parent_span_id: Option<[u8; 8]>,
    /// The parent is another process's.
    pub parent_is_remote: bool,
    /// W3C trace flags of this span.
    pub trace_flags: u8,
    /// W3C tracestate of the parent; "" is unset.
    pub trace_state: &'a str,
    /// With which probability it was sampled: goes into its tracestate.
    pub threshold: Threshold,
}

/// Span.trace_state of a span without a parent of which all are sampled: by far the most.
const ALL_SAMPLED: &[u8; 9] = b"\x1a\x07ot=th:0";

impl Context<'_> {
    #[inline]
    fn has_usual_state(&self) -> bool {
        self.threshold == Threshold::ALL && self.trace_state.is_empty()
    }

    #[inline]
    fn has_rare_state(&self) -> bool {
        !self.has_usual_state()
    }

    #[cold]
    fn append_rare_state(&self, out: &mut Vec<u8>) {
        let mut state = Vec::with_capacity(sampling::MAX_TRACESTATE_BYTES);
        ot::write(&mut state, self.trace_state, self.threshold);
        if !state.is_empty() {
            wire::append_bytes(out, 3, &state);
        }
    }
}

/// What is a span's own. Bytes are as sent; they are redacted, cut and made UTF-8 here.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// Ids.
    pub context: Context<'a>,
    /// Nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Nanoseconds since 1970.
    pub end_unix_ns: u64,
    /// Where the request went.
    pub url: Url<'a>,
    /// client.address where a proxy told of it.
    pub forwarded_client: Option<&'a str>,
    /// http.request.method_original
    pub method_original: Option<&'a [u8]>,
    /// http.request.body.size
    pub request_body_bytes: u64,
    /// http.response.body.size
    pub response_body_bytes: u64,
}

impl Own<'_> {
    #[inline]
    fn has_rare(&self) -> bool {
        self.context.has_rare_state()
            || self.forwarded_client.is_some()
            || self.method_original.is_some()
    }
}

/// A server knows the path and the query, a client the whole URL.
#[derive(Clone, Copy, Debug)]
pub enum Url<'a> {
    /// For servers.
    Parts {
        /// url.path
        path: &'a [u8],
        /// url.query, without '?'; "" is unset
        query: &'a [u8],
        /// The path is ASCII without ';'.
        plain: bool,
    },
    /// url.full, for clients.
    Full {
        /// Scheme and authority, redacted; "" where the target has them.
        origin: &'a str,
        /// As sent.
        target: &'a [u8],
        /// The target is a path, ASCII without ';', and no more.
        plain: bool,
    },
    /// Neither (`OPTIONS *`, CONNECT, on the server's side).
    None,
    /// A remote procedure call has a method instead, and no body sizes.
    Rpc {
        /// rpc.method_original, a path without its first '/'; "" is unset
        method_original: &'a [u8],
    },
}

/// Appends one `ScopeSpans.spans` field. `shared`: encoded fields of a Span that this one has too.
#[inline]
pub fn append_span(out: &mut Vec<u8>, shared: [&[u8]; 2], own: &Own<'_>) {
    let start = wire::begin_message(out, 2);
    for fields in shared {
        out.extend_from_slice(fields);
    }
    let mut head = wire::Head::new();
    put_fixed_fields(&mut head, &own.context, own.start_unix_ns, own.end_unix_ns);
    if !matches!(own.url, Url::Rpc { .. }) {
        head.body_sizes(own.request_body_bytes, own.response_body_bytes);
    }
    match own.url {
        Url::Parts { path, query, plain } => {
            let path = cut(path, MAX_URL_PART_BYTES);
            if plain {
                head.url_path(path.len());
                out.extend_from_slice(head.bytes());
                out.extend_from_slice(path);
            } else {
                out.extend_from_slice(head.bytes());
                append_string(out, "url.path", &redact::path(path));
            }
            if !query.is_empty() {
                let query = redact::query(cut(query, MAX_URL_PART_BYTES));
                append_string(out, "url.query", &query);
            }
        }
        Url::Full {
            origin,
            target,
            plain,
        } => {
            out.extend_from_slice(head.bytes());
            append_url_full(out, origin, target, plain);
        }
        Url::None => out.extend_from_slice(head.bytes()),
        Url::Rpc { method_original } => {
            out.extend_from_slice(head.bytes());
            if !method_original.is_empty() {
                let method = redact::path(cut(method_original, MAX_RPC_METHOD_BYTES));
                append_string(out, "rpc.method_original", &method);
            }
        }
    }
    if own.has_rare() {
        append_rare(out, own);
    }
    wire::end_message(out, start);
}

#[cold]
fn append_rare(out: &mut Vec<u8>, own: &Own<'_>) {
    if own.context.has_rare_state() {
        own.context.append_rare_state(out);
    }
    if let Some(client) = own.forwarded_client {
        append_string(out, "client.address", client.as_bytes());
    }
    if let Some(method) = own.method_original {
        append_string(
            out,
            "http.request.method_original",
            cut(method, MAX_METHOD_BYTES),
        );
    }
}

/// The fields of fixed size, put together on the stack with what follows: one copy instead of ten.
#[inline(always)]
fn put_fixed_fields(
    head: &mut wire::Head,
    context: &Context<'_>,
    start_unix_ns: u64,
    end_unix_ns: u64,
) {
    let mut flags = u32::from(context.trace_flags) | FLAG_HAS_IS_REMOTE;
    if context.parent_is_remote {
        flags |= FLAG_IS_REMOTE;
    }
    let mut fields = [0u8; 52 + ALL_SAMPLED.len()];
    fields[0..2].copy_from_slice(&[0x0a, 16]);
    fields[2..18].copy_from_slice(&context.trace_id);
    fields[18..20].copy_from_slice(&[0x12, 8]);
    fields[20..28].copy_from_slice(&context.span_id);
    fields[28] = 0x39;
    fields[29..37].copy_from_slice(&start_unix_ns.to_le_bytes());
    fields[37] = 0x41;
    fields[38..46].copy_from_slice(&end_unix_ns.to_le_bytes());
    fields[46..48].copy_from_slice(&[0x85, 0x01]);
    fields[48..52].copy_from_slice(&flags.to_le_bytes());
    if context.has_usual_state() {
        fields[52..].copy_from_slice(ALL_SAMPLED);
        head.fixed(&fields);
    } else {
        head.fixed::<52>(fields.first_chunk().unwrap_or(&[0; 52]));
    }
    if let Some(parent) = context.parent_span_id {
        let mut field = [0x22, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        field[2..].copy_from_slice(&parent);
        head.fixed(&field);
    }
}

/// Appends the attribute user_agent.original.
pub fn append_user_agent(out: &mut Vec<u8>, user_agent: &[u8]) {
    append_string(
        out,
        "user_agent.original",
        cut(user_agent, MAX_USER_AGENT_BYTES),
    );
}

/// `plain`: the target is a path without anything to redact or repair.
#[inline]
fn append_url_full(out: &mut Vec<u8>, origin: &str, target: &[u8], plain: bool) {
    let target = cut(target, MAX_URL_FULL_BYTES);
    if plain {
        wire::append_string_of(out, "url.full", [origin.as_bytes(), target]);
    } else {
        let target = redact::target(target);
        wire::append_string_of(out, "url.full", [origin.as_bytes(), &lossy(&target)]);
    }
}

/// At most `max` bytes, not ending within a character.
fn cut(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while end > max - 3 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// Protobuf strings are UTF-8, whatever was sent.
#[inline]
fn lossy(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() || std::str::from_utf8(text).is_ok() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(text).into_owned().into_bytes())
}
