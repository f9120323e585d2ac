//! Calls of databases, brokers and resolvers as spans and series. Names and rules: OpenTelemetry's conventions, 1.44.

use _native::aggregate::{Aggregator, CallSeries, Owned};
use _native::conn::ConnInfo;
use _native::exchange::{
    Carried, Db, DbSystem, Detail, Dns, ErrorKind, Exchange, Http, Messaging, MessagingSystem,
    OperationType, Product, Query, Role, Which,
};
use opentelemetry_proto::tonic::trace::v1::{status::StatusCode, Span};

use crate::world::*;

fn send_detail(
    a: &mut Aggregator,
    conn: &mut ConnInfo,
    detail: Detail<'_>,
    error: Option<ErrorKind>,
) {
    a.exchange(
        conn,
        &Exchange {
            start_ns: 5_000_000_000,
            end_ns: 5_020_000_000,
            error,
            detail,
        },
    );
}

fn get_key() -> Db<'static> {
    Db {
        namespace: b"3",
        operation: b"GET",
        query: Query::Command(b"GET shop:42"),
        request_bytes: 30,
        response_bytes: 9,
        ..Db::new(DbSystem::Redis)
    }
}

fn published() -> Messaging<'static> {
    Messaging {
        destination: b"orders",
        ..Messaging::new(MessagingSystem::Kafka, OperationType::Send, "send")
    }
}

/// The span of a call, and its series.
fn of(detail: Detail<'_>, role: Role, error: Option<ErrorKind>) -> (Span, CallSeries) {
    let mut a = aggregator(|_| {});
    send_detail(&mut a, &mut conn(7, role), detail, error);
    balanced(&a);
    let span = spans(&mut a).remove(0);
    (span, a.read_series().1.remove(0))
}

fn text(series: &CallSeries, name: &str) -> Option<String> {
    let found = series.attributes.iter().find(|(key, _)| *key == name);
    found.map(|(_, value)| match value {
        Owned::Text(text) => text.to_string(),
        Owned::Int(number) => number.to_string(),
    })
}

#[test]
fn a_clients_span_and_series_in_full() {
    let (span, series) = of(Detail::Db(get_key()), Role::Client, None);
    assert_eq!((&*span.name, span.kind), ("GET", 3));
    assert_eq!(
        span.end_time_unix_nano - span.start_time_unix_nano,
        20_000_000
    );
    assert!(span.status.is_none());
    expect(
        &span,
        &[
            ("db.system.name", "redis"),
            ("db.namespace", "3"),
            ("db.operation.name", "GET"),
            ("db.query.text", "GET shop:42"),
            ("server.address", "10.0.0.1"),
            ("server.port", "8080"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "8080"),
        ],
    );
    assert_eq!(
        (series.area, series.system, &*series.name),
        ("db", "redis", "GET")
    );
    assert_eq!(text(&series, "db.operation.name").as_deref(), Some("GET"));
    assert_eq!(text(&series, "server.port").as_deref(), Some("8080"));
    assert_eq!(text(&series, "db.query.text"), None);
    assert_eq!(series.duration.count, 1);
    // 20 ms, by the bounds of databases: .001 .005 .01 .05 .1 .5 1 5 10
    assert_eq!(series.duration.buckets, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_servers_metrics_do_not_say_who_it_is() {
    let (span, series) = of(Detail::Db(get_key()), Role::Server, None);
    assert_eq!(span.kind, 2);
    assert_eq!(attributes(&span)["client.address"], "10.0.0.2");
    assert_eq!(text(&series, "server.address"), None);
}

#[test]
fn a_failure_is_the_systems_word_and_else_the_connections() {
    let failed = Db {
        status: b"WRONGTYPE",
        failed: true,
        ..get_key()
    };
    let (span, series) = of(Detail::Db(failed), Role::Client, None);
    assert_eq!(attributes(&span)["error.type"], "WRONGTYPE");
    assert_eq!(attributes(&span)["db.response.status_code"], "WRONGTYPE");
    assert_eq!(span.status.unwrap().code, StatusCode::Error as i32);
    assert_eq!(&*series.error_type, "WRONGTYPE");
    let reset = Some(ErrorKind::ConnectionReset);
    let (span, _) = of(Detail::Db(get_key()), Role::Client, reset);
    assert_eq!(attributes(&span)["error.type"], "connection_reset");
    let warned = Db {
        status: b"01000",
        ..get_key()
    };
    let (span, _) = of(Detail::Db(warned), Role::Client, None);
    assert!(!attributes(&span).contains_key("error.type"));
}

#[test]
fn names_say_what_is_done_to_what() {
    let named = |db: Db<'_>| of(Detail::Db(db), Role::Client, None).0.name;
    let find = Db {
        operation: b"find",
        namespace: b"shop",
        ..Db::new(DbSystem::Mongodb)
    };
    let carts = Db {
        collection: b"carts",
        ..find
    };
    assert_eq!(named(find), "find shop");
    assert_eq!(named(carts), "find carts");
    assert_eq!(named(Db::new(DbSystem::Postgresql)), "postgresql");
}

#[test]
fn what_is_sent_is_its_senders_child_and_what_comes_is_linked() {
    let contexts = [
        Carried {
            traceparent: PARENT,
            tracestate: b"a=1",
        },
        Carried {
            traceparent: b"nonsense",
            tracestate: b"",
        },
    ];
    let sent = Messaging {
        contexts: &contexts[..1],
        ..published()
    };
    let (span, series) = of(Detail::Messaging(sent), Role::Client, None);
    assert_eq!((&*span.name, span.kind), ("send orders", 4));
    assert_eq!((span.parent_span_id[0], &*span.trace_state), (0xb7, "a=1"));
    assert!(span.links.is_empty());
    assert_eq!((series.area, series.messages), ("messaging", 1));

    let polled = Messaging {
        contexts: &contexts,
        messages: 12,
        batch: true,
        offset: Some(0),
        partition: Some(0),
        operation: "poll",
        operation_type: OperationType::Receive,
        ..published()
    };
    let (span, series) = of(Detail::Messaging(polled), Role::Client, None);
    assert_eq!((&*span.name, span.kind), ("poll orders", 3));
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.links.len(), 1, "who is no context is no link");
    assert_eq!(span.links[0].span_id[0], 0xb7);
    assert_eq!(span.links[0].trace_state, "a=1");
    let attributes = attributes(&span);
    assert_eq!(attributes["messaging.batch.message_count"], "12");
    assert_eq!(attributes["messaging.kafka.offset"], "0");
    assert_eq!(attributes["messaging.destination.partition.id"], "0");
    assert_eq!(series.messages, 12);

    let settled = Messaging {
        operation_type: OperationType::Settle,
        operation: "ack",
        ..published()
    };
    assert_eq!(
        of(Detail::Messaging(settled), Role::Client, None)
            .1
            .messages,
        0
    );
    let delivered = Messaging {
        operation_type: OperationType::Process,
        ..published()
    };
    assert_eq!(
        of(Detail::Messaging(delivered), Role::Client, None).0.kind,
        5
    );
    assert_eq!(
        of(Detail::Messaging(delivered), Role::Server, None).0.kind,
        2
    );
}

#[test]
fn names_made_up_as_needed_are_in_no_metric() {
    let reply = Messaging {
        destination: b"_INBOX.x7Jq",
        temporary: true,
        ..published()
    };
    let (span, series) = of(Detail::Messaging(reply), Role::Client, None);
    assert_eq!(span.name, "send (temporary)");
    assert_eq!(text(&series, "messaging.destination.name"), None);
    assert_eq!(
        text(&series, "messaging.destination.temporary").as_deref(),
        Some("true")
    );
}

#[test]
fn a_lookup() {
    let answers = ["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
    let found = Dns {
        question: b"shop.example.org",
        question_type: 28,
        response_code: Some(0),
        answers: &answers,
        retries: 0,
    };
    let mut a = aggregator(|_| {});
    send_detail(&mut a, &mut conn(7, Role::Client), Detail::Dns(found), None);
    let span = spans(&mut a).remove(0);
    assert_eq!(span.name, "DNS AAAA");
    let attribute = span.attributes.iter().find(|a| a.key == "dns.answers");
    let value = format!("{:?}", attribute.unwrap().value);
    assert!(
        value.contains("10.0.0.1") && value.contains("10.0.0.2"),
        "{value}"
    );
    let unknown = Dns {
        response_code: Some(3),
        answers: &[],
        ..found
    };
    let (span, series) = of(Detail::Dns(unknown), Role::Client, None);
    assert_eq!(attributes(&span)["error.type"], "NXDOMAIN");
    assert_eq!(
        text(&series, "dns.question.name").as_deref(),
        Some("shop.example.org")
    );
}

#[test]
fn series_are_bounded_and_what_is_beyond_is_counted() {
    let mut a = aggregator(|settings| {
        settings.max_series = 10;
        settings.spans = false;
    });
    let mut conn = conn(7, Role::Client);
    for number in 0..1000 {
        let name = format!("collection{number}");
        let db = Db {
            collection: name.as_bytes(),
            ..get_key()
        };
        send_detail(&mut a, &mut conn, Detail::Db(db), None);
    }
    let series = a.read_series().1;
    assert_eq!(series.len(), 11);
    let overflow: Vec<_> = series.iter().filter(|s| s.overflow).collect();
    assert_eq!((overflow.len(), overflow[0].duration.count), (1, 990));
    assert!(overflow[0].attributes.is_empty());
    balanced(&a);
}

#[test]
fn an_ended_processs_calls_are_read_once_more() {
    let mut a = aggregator(|settings| settings.spans = false);
    send_detail(
        &mut a,
        &mut conn(7, Role::Client),
        Detail::Db(get_key()),
        None,
    );
    a.process_gone(7);
    assert!(a.take_exits().is_empty());
    assert_eq!(a.read_series().1.len(), 1);
    assert_eq!(a.take_exits(), [7]);
    assert!(a.read_series().1.is_empty());
}

#[test]
fn what_is_given_up_is_seen_and_dropped() {
    let mut a = aggregator(|_| {});
    a.abandoned(&mut conn(7, Role::Client), Which::Untold);
    assert_eq!(count(&a, "spans.dropped.lost"), 1);
    balanced(&a);
}

/// A request to a product, as its client's span and series of calls, with what HTTP's metrics have of it.
fn on_http(http: Http<'_>) -> (Span, CallSeries, u64) {
    let mut a = aggregator(|_| {});
    send(&mut a, &mut conn(7, Role::Client), http);
    balanced(&a);
    assert_eq!(count(&a, "requests.seen"), 1);
    let mut spans = spans(&mut a);
    assert_eq!(spans.len(), 1);
    let (http, mut calls) = a.read_series();
    (spans.remove(0), calls.remove(0), http[0].duration.count)
}

#[test]
fn elasticsearch_is_a_database_on_http() {
    let (span, series, requests) = on_http(Http {
        method: b"POST",
        host: Some(b"es:9200"),
        status: Some(404),
        product: Some(Product::Elasticsearch),
        ..get("/shop/_doc/42?token=secret")
    });
    assert_eq!((&*span.name, span.kind, requests), ("index shop", 3, 1));
    expect(
        &span,
        &[
            ("db.system.name", "elasticsearch"),
            ("db.operation.name", "index"),
            ("db.collection.name", "shop"),
            ("db.operation.parameter.index", "shop"),
            ("db.operation.parameter.id", "42"),
            ("db.response.status_code", "404"),
            ("error.type", "404"),
            ("http.request.method", "POST"),
            ("url.full", "http://es:9200/shop/_doc/42?token=REDACTED"),
            ("server.address", "es"),
            ("server.port", "9200"),
            ("network.peer.address", "10.0.0.1"),
            ("network.peer.port", "8080"),
        ],
    );
    assert_eq!((series.area, series.system), ("db", "elasticsearch"));
    assert_eq!(text(&series, "db.operation.parameter.id"), None);
}

#[test]
fn s3_is_a_call_of_the_sdk() {
    let (span, series, requests) = on_http(Http {
        method: b"PUT",
        host: Some(b"shop.s3.eu-west-1.amazonaws.com"),
        product: Some(Product::S3),
        ..get("/a/b.png")
    });
    assert_eq!((&*span.name, requests), ("S3.PutObject", 1));
    let attributes = attributes(&span);
    for (name, value) in [
        ("rpc.system", "aws-api"),
        ("rpc.service", "S3"),
        ("rpc.method", "PutObject"),
        ("aws.s3.bucket", "shop"),
        ("aws.s3.key", "a/b.png"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert_eq!(series.area, "object_store");
}

#[test]
fn a_server_that_is_a_product_serves_http() {
    let mut a = aggregator(|_| {});
    let http = Http {
        product: Some(Product::Elasticsearch),
        ..get("/shop/_search")
    };
    send(&mut a, &mut conn(7, Role::Server), http);
    assert_eq!(spans(&mut a)[0].name, "GET /shop/_search");
    assert!(a.read_series().1.is_empty());
}
