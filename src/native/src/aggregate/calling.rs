//! A call's way: what is said of it, series, sampler, span, line. HTTP's is `Aggregator::exchange`.

use super::calls::{Said, Slots};
use super::connection::{ends, OriginCache};
use super::origin::{Origin, Scheme};
use super::records::Line;
use super::{db, dns, messaging, Aggregator};
use crate::conn::ConnInfo;
use crate::exchange::{Carried, Detail, Exchange, OperationType, Query, Role};
use crate::otlp::{CallOwn, Context};
use std::sync::Arc;

/// Longest query of a line, in characters.
const MAX_LINE_QUERY: usize = 2048;

/// server.address and server.port, as slots.
pub fn put_server<'a>(slots: &mut Slots<'a>, server: Option<&'a Origin>) {
    let address = server.map_or(&b""[..], |server| server.address.as_bytes());
    let port = server.map_or(0, |server| server.port);
    slots
        .text("server.address", address)
        .int("server.port", (port != 0).then_some(port.into()));
}

/// What is said of a call besides what metric and span share.
pub struct Besides<'a> {
    /// Attributes of the span alone.
    pub own: Slots<'a>,
    pub parent: Carried<'a>,
    pub links: &'a [Carried<'a>],
    /// For lines: what was asked, how it was answered, bytes each way.
    pub query: &'a [u8],
    pub code: &'a [u8],
    pub bytes: [u64; 2],
}

impl Aggregator {
    /// A call that is not HTTP's is finished.
    pub(super) fn call(&mut self, conn: &mut ConnInfo, exchange: &Exchange<'_>) {
        self.table.bind(conn); // before anything is remembered of the connection
        let origin = match conn.cache.origin.take() {
            Some(known) if known.is_of(b"", Scheme::None) => known,
            _ => OriginCache::new(conn, b"", Scheme::None),
        };
        let (role, error) = (conn.role, exchange.error);
        // metrics of servers do not say who they are, as it is in their resource
        let server = (role == Role::Client).then_some(&origin.origin);
        match &exchange.detail {
            Detail::Http(_) => {}
            Detail::Db(call) => {
                let statement = match call.query {
                    Query::Statement {
                        text,
                        parameterised,
                    } => {
                        let dialect = db::dialect(call.system);
                        Some(Arc::clone(self.statements.get(
                            dialect,
                            text,
                            parameterised,
                        )))
                    }
                    _ => None,
                };
                let said = db::said(call, statement.as_deref(), error, role, server);
                let query = db::query_text(call, statement.as_deref());
                let besides = Besides {
                    own: db::own(call, query),
                    parent: Carried {
                        traceparent: call.traceparent.unwrap_or_default(),
                        tracestate: call.tracestate.unwrap_or_default(),
                    },
                    links: &[],
                    query,
                    code: call.status,
                    bytes: [call.request_bytes, call.response_bytes],
                };
                self.count(conn, exchange, &origin, &said, &besides);
            }
            Detail::Messaging(call) => {
                let partition = call.partition.map(|id| id.to_string());
                let partition = partition.as_deref().unwrap_or_default();
                let said = messaging::said(call, partition, error, role, server);
                // of what is sent the first context is the sender's
                let (parent, links) = match (call.operation_type, call.contexts) {
                    (OperationType::Send, [first, rest @ ..]) => (*first, rest),
                    (_, all) => (Carried::default(), all),
                };
                let besides = Besides {
                    own: messaging::own(call),
                    parent,
                    links,
                    query: call.destination,
                    code: call.failure,
                    bytes: [0, call.body_bytes.unwrap_or(0)],
                };
                self.count(conn, exchange, &origin, &said, &besides);
            }
            Detail::Dns(call) => {
                let said = dns::said(call, error, role, server);
                let besides = Besides {
                    own: dns::own(call),
                    parent: Carried::default(),
                    links: &[],
                    query: call.question,
                    code: dns::response_code(call.response_code).as_bytes(),
                    bytes: [0, 0],
                };
                self.count(conn, exchange, &origin, &said, &besides);
            }
        }
        conn.cache.origin = Some(origin);
    }

    /// Counts it, and makes its span and its line.
    pub(super) fn count(
        &mut self,
        conn: &mut ConnInfo,
        exchange: &Exchange<'_>,
        origin: &OriginCache,
        said: &Said<'_>,
        besides: &Besides<'_>,
    ) {
        let process = self.table.bind(conn);
        self.last_end_ns = self.last_end_ns.max(exchange.end_ns);
        let start_ns = exchange.start_ns;
        let duration_ns = exchange.end_ns.saturating_sub(start_ns);
        let number = process
            .calls
            .record(said, &mut self.call_key, start_ns, duration_ns);
        let start_unix_ns = start_ns.saturating_add_signed(self.boot_to_unix_ns);
        process.counts.seen += 1;
        let Carried {
            traceparent,
            tracestate,
        } = besides.parent;
        let decided = self.spans.decide(
            Some(traceparent).filter(|text| !text.is_empty()),
            Some(tracestate).filter(|text| !text.is_empty()),
            said.role,
            exchange.end_ns,
        );
        let context = match decided {
            Err(why) => {
                process.counts.drop(why);
                None
            }
            Ok(context) => {
                let own = CallOwn {
                    context,
                    start_unix_ns,
                    end_unix_ns: start_unix_ns.saturating_add(duration_ns),
                    links: besides.links,
                };
                let connection = origin.attributes(true);
                let attributes = besides.own.present();
                self.spans
                    .append_call(process, number, said, connection, &own, attributes)
                    .then_some(context)
            }
        };
        if self.settings.lines {
            if self.lines.len() >= self.settings.line_queue {
                self.lines_dropped += 1;
                return;
            }
            let times = (start_unix_ns, duration_ns);
            let mut line = line(conn, said, besides, times, context);
            if let Some(policy) = &self.spans.policy {
                policy.lay_over_line(&mut line);
            }
            self.lines.push_back(line);
        }
    }
}

#[cold]
fn line(
    conn: &mut ConnInfo,
    said: &Said<'_>,
    besides: &Besides<'_>,
    (start_unix_ns, duration_ns): (u64, u64),
    context: Option<Context<'_>>,
) -> Line {
    let (client, server) = ends(conn);
    let text = |bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(4 * MAX_LINE_QUERY)];
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(MAX_LINE_QUERY).collect::<String>()
    };
    Line {
        process_key: conn.process_key,
        role: conn.role,
        start_unix_ns,
        duration_ns,
        client,
        server,
        system: said.system,
        summary: said.span_name(),
        query: text(besides.query),
        code: text(besides.code),
        error_type: String::from_utf8_lossy(said.error_type).into(),
        request_body_bytes: besides.bytes[0],
        response_body_bytes: besides.bytes[1],
        ..Line::without_call(context)
    }
}
