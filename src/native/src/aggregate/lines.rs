//! A finished exchange as people read it.

use std::sync::Arc;

use super::connection::ends;
use super::records::Line;
use super::rpc;
use super::series::SeriesFields;
use crate::conn::ConnInfo;
use crate::exchange::Http;
use crate::otlp::Context;
use crate::redact;
use crate::routes::Router;

/// Longest target of a line, in characters.
const MAX_LINE_TARGET: usize = 2048;
/// Longest method of a line, in bytes.
const MAX_LINE_METHOD: usize = 64;

#[cold]
pub fn line(
    conn: &mut ConnInfo,
    http: &Http<'_>,
    fields: &SeriesFields,
    router: &Router,
    start_unix_ns: u64,
    duration_ns: u64,
    context: Option<Context<'_>>,
) -> Line {
    let (client, server) = ends(conn);
    let none = || Arc::from("");
    let (route, rpc_method) = match &http.grpc {
        None => (router.name(fields.route).clone(), none()),
        Some(_) => (none(), rpc::name(router, fields.route)),
    };
    let method = &http.method[..http.method.len().min(MAX_LINE_METHOD)];
    // No character is longer than four bytes.
    let target = &http.target[..http.target.len().min(4 * MAX_LINE_TARGET)];
    Line {
        process_key: conn.process_key,
        role: conn.role,
        start_unix_ns,
        duration_ns,
        client,
        server,
        method: String::from_utf8_lossy(method).into_owned(),
        target: String::from_utf8_lossy(&redact::target(target))
            .chars()
            .take(MAX_LINE_TARGET)
            .collect(),
        route,
        status: http.status.unwrap_or(0),
        rpc_method,
        rpc_status: match &http.grpc {
            None => "".into(),
            Some(_) => fields.status_text(),
        },
        request_messages: http.grpc.and_then(|grpc| grpc.request_messages),
        response_messages: http.grpc.and_then(|grpc| grpc.response_messages),
        error_type: fields.error_type().into(),
        request_body_bytes: http.request_body_bytes,
        response_body_bytes: http.response_body_bytes,
        ..Line::without_call(context)
    }
}
