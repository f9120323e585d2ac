//! Databases and stores that are spoken to by HTTP: what a client's request is in their own words.
//!
//! A request to one of them is an HTTP request in the metrics of HTTP, and besides a call in those of its area; its span
//! is the call's.

mod clickhouse;
mod elasticsearch;
mod s3;

use super::calling::Besides;
use super::calls::{Area, Said, Slots};
use super::origin::Origin;
use super::target::Target;
use super::Aggregator;
use crate::conn::ConnInfo;
use crate::exchange::{Carried, Exchange, Http, Product, Role};
use crate::otlp::{Kind, Value};
use crate::redact;
use std::sync::Arc;

/// What is called, as far as method, path and query tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// Name of the operation.
    pub operation: String,
    /// Index, table, bucket; "" where there is none, or more than one.
    pub target: String,
    /// Database.
    pub namespace: String,
    /// Identifier of what is asked for within the target.
    pub item: String,
    /// A statement, as sent.
    pub statement: Option<Vec<u8>>,
}

fn called(product: Product, method: &[u8], target: &Target<'_>, host: &[u8]) -> Called {
    match product {
        Product::Elasticsearch | Product::Opensearch => elasticsearch::called(method, target.path),
        Product::Clickhouse => clickhouse::called(target.query),
        Product::S3 => s3::called(method, target.path, target.query, host),
    }
}

impl Aggregator {
    /// A client's request to a product, which is in HTTP's metrics already.
    pub(super) fn on_top(
        &mut self,
        conn: &mut ConnInfo,
        exchange: &Exchange<'_>,
        http: &Http<'_>,
        target: &Target<'_>,
        product: Product,
    ) {
        let Some(origin) = conn.cache.origin.take() else {
            return;
        };
        let host = target.authority.or(http.host).unwrap_or_default();
        let called = called(product, http.method, target, host);
        let status = http.status.map(|status| status.to_string());
        let status = status.as_deref().unwrap_or_default();
        let failed = http.status.is_some_and(|status| status >= 400);
        let error_type: &[u8] = match exchange.error {
            _ if failed => status.as_bytes(),
            Some(error) => error.as_str().as_bytes(),
            None => b"",
        };
        let statement = called.statement.as_deref().map(|statement| {
            Arc::clone(self.statements.get(clickhouse::DIALECT, statement, false))
        });
        let (summary, text) = statement.as_deref().map_or(("", ""), |statement| {
            (&*statement.summary, &*statement.text)
        });
        let full = [origin.url.as_bytes(), &redact::target(http.target)].concat();
        let mut own = Slots::new();
        own.put("url.full", Value::Text(&full))
            .text("db.query.text", text.as_bytes());
        let said = match product {
            Product::S3 => said_of_s3(&called, &mut own, error_type, &origin.origin),
            _ => {
                let said = said_of_db(
                    product,
                    &called,
                    summary,
                    status,
                    error_type,
                    &origin.origin,
                );
                own.text("http.request.method", http.method)
                    .text("db.operation.parameter.index", called.target.as_bytes())
                    .text("db.operation.parameter.id", called.item.as_bytes());
                said
            }
        };
        let besides = Besides {
            own,
            parent: Carried {
                traceparent: http.traceparent.unwrap_or_default(),
                tracestate: http.tracestate.unwrap_or_default(),
            },
            links: &[],
            query: if text.is_empty() {
                &full
            } else {
                text.as_bytes()
            },
            code: status.as_bytes(),
            bytes: [http.request_body_bytes, http.response_body_bytes],
        };
        self.count(conn, exchange, &origin, &said, &besides);
        conn.cache.origin = Some(origin);
    }
}

fn said_of_db<'a>(
    product: Product,
    called: &'a Called,
    summary: &'a str,
    status: &'a str,
    error_type: &'a [u8],
    server: &'a Origin,
) -> Said<'a> {
    let system = match product {
        Product::Opensearch => "opensearch",
        Product::Clickhouse => "clickhouse",
        _ => "elasticsearch",
    };
    let mut slots = Slots::new();
    slots
        .text("db.system.name", system.as_bytes())
        .text("db.namespace", called.namespace.as_bytes())
        .text("db.operation.name", called.operation.as_bytes())
        .text("db.collection.name", called.target.as_bytes())
        .text("db.query.summary", summary.as_bytes())
        .text("db.response.status_code", status.as_bytes());
    super::calling::put_server(&mut slots, Some(server));
    Said {
        area: Area::Db,
        role: Role::Client,
        kind: Kind::Client,
        system,
        name: if summary.is_empty() {
            [called.operation.as_bytes(), called.target.as_bytes()]
        } else {
            [summary.as_bytes(), b""]
        },
        slots,
        error_type,
        messages: 0,
    }
}

/// Semantic conventions 1.44, docs/object-stores/s3.md and docs/cloud-providers/aws-sdk.md.
fn said_of_s3<'a>(
    called: &'a Called,
    own: &mut Slots<'a>,
    error_type: &'a [u8],
    server: &'a Origin,
) -> Said<'a> {
    own.text("aws.s3.key", called.item.as_bytes());
    let operation = called.operation.as_bytes();
    let mut slots = Slots::new();
    slots
        .text("rpc.system", b"aws-api")
        .text("rpc.service", b"S3")
        .text(
            "rpc.method",
            operation.strip_prefix(b"S3.").unwrap_or(operation),
        )
        .text("aws.s3.bucket", called.target.as_bytes());
    super::calling::put_server(&mut slots, Some(server));
    Said {
        area: Area::ObjectStore,
        role: Role::Client,
        kind: Kind::Client,
        system: "s3",
        name: [operation, b""],
        slots,
        error_type,
        messages: 0,
    }
}
