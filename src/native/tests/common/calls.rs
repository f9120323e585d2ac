//! What is compared of a call that is not HTTP's.

use super::Seen;
use _native::exchange::{Db, Detail, Dns, Exchange, Messaging, Query};
use std::collections::BTreeMap;

/// Fields by name, as tests/protocols/*.yaml have them under `call`. What is not there has none.
pub type Facts = BTreeMap<String, String>;

/// These are compared where they are given; all others must be as expected, absent included.
const WHERE_GIVEN: [&str; 2] = ["request_bytes", "response_bytes"];

/// An exchange that outlives its parser.
pub fn seen(exchange: &Exchange<'_>) -> Seen {
    let mut facts = Facts::new();
    match &exchange.detail {
        Detail::Http(_) => unreachable!("not a call"),
        Detail::Db(db) => of_db(db, &mut facts),
        Detail::Messaging(messaging) => of_messaging(messaging, &mut facts),
        Detail::Dns(dns) => of_dns(dns, &mut facts),
    }
    facts.retain(|_, value| !value.is_empty());
    Seen {
        start_ns: exchange.start_ns,
        end_ns: exchange.end_ns,
        error: exchange.error.map(|error| error.as_str()),
        call: facts,
        ..Seen::default()
    }
}

fn put(facts: &mut Facts, name: &str, bytes: &[u8]) {
    facts.insert(name.into(), String::from_utf8_lossy(bytes).into_owned());
}

fn count(facts: &mut Facts, name: &str, number: Option<u64>) {
    if let Some(number) = number {
        facts.insert(name.into(), number.to_string());
    }
}

fn flag(facts: &mut Facts, name: &str, set: bool) {
    facts.insert(name.into(), if set { "yes" } else { "" }.into());
}

fn of_db(db: &Db<'_>, facts: &mut Facts) {
    put(facts, "system", db.system.as_str().as_bytes());
    put(facts, "namespace", db.namespace);
    put(facts, "operation", db.operation);
    put(facts, "collection", db.collection);
    match db.query {
        Query::None => {}
        Query::Statement {
            text,
            parameterised,
        } => {
            put(facts, "statement", text);
            flag(facts, "parameterised", parameterised);
        }
        Query::Command(text) => put(facts, "command", text),
    }
    put(facts, "status", db.status);
    flag(facts, "failed", db.failed);
    let batch = Some(db.batch_size).filter(|size| *size > 0);
    count(facts, "batch_size", batch.map(u64::from));
    count(facts, "rows", db.returned_rows);
    count(facts, "request_bytes", Some(db.request_bytes));
    count(facts, "response_bytes", Some(db.response_bytes));
    put(facts, "traceparent", db.traceparent.unwrap_or_default());
    put(facts, "tracestate", db.tracestate.unwrap_or_default());
}

fn of_messaging(m: &Messaging<'_>, facts: &mut Facts) {
    put(facts, "system", m.system.as_str().as_bytes());
    put(facts, "type", m.operation_type.as_str().as_bytes());
    put(facts, "operation", m.operation.as_bytes());
    put(facts, "destination", m.destination);
    flag(facts, "temporary", m.temporary);
    count(facts, "partition", m.partition.map(u64::from));
    put(facts, "consumer_group", m.consumer_group);
    put(facts, "client_id", m.client_id);
    put(facts, "message_id", m.message_id);
    put(facts, "conversation_id", m.conversation_id);
    count(facts, "offset", m.offset);
    put(facts, "routing_key", m.routing_key);
    count(facts, "messages", Some(m.messages).filter(|n| *n != 1));
    flag(facts, "batch", m.batch);
    count(facts, "body_bytes", m.body_bytes);
    put(facts, "failure", m.failure);
    let contexts: Vec<String> = m
        .contexts
        .iter()
        .map(|c| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            let state = text(c.tracestate);
            let separator = if state.is_empty() { "" } else { ";" };
            format!("{}{separator}{state}", text(c.traceparent))
        })
        .collect();
    put(facts, "contexts", contexts.join(" ").as_bytes());
}

fn of_dns(dns: &Dns<'_>, facts: &mut Facts) {
    put(facts, "question", dns.question);
    count(facts, "question_type", Some(dns.question_type.into()));
    count(facts, "response_code", dns.response_code.map(u64::from));
    put(facts, "answers", dns.answers.join(" ").as_bytes());
    let retries = Some(dns.retries).filter(|n| *n > 0);
    count(facts, "retries", retries.map(u64::from));
}

/// Panics where `seen` is not what was expected.
pub fn check(expected: Facts, seen: &Facts, context: &str) {
    let mut seen = seen.clone();
    for name in WHERE_GIVEN {
        if !expected.contains_key(name) {
            seen.remove(name);
        }
    }
    assert_eq!(seen, expected, "{context}");
}

/// What is known of a call is what is true of it: fewer fields, a shorter statement, fewer rows, messages and contexts.
pub fn is_part_of(part: &Facts, whole: &Facts) -> bool {
    let one = String::from("1");
    part.iter().all(|(name, value)| {
        let full = match whole.get(name) {
            Some(full) => full,
            None if name == "messages" => &one, // see of_messaging
            None => return false,
        };
        match name.as_str() {
            "statement" | "command" | "answers" => full.starts_with(value.as_str()),
            // fewer messages', and of a message's one without its tracestate
            "contexts" => value.split(' ').all(|one| {
                let known = |of: &str| of == one || of.starts_with(&format!("{one};"));
                full.split(' ').any(known)
            }),
            "rows" | "messages" | "body_bytes" | "request_bytes" | "response_bytes" => {
                let number = |text: &str| text.parse::<u64>().expect("a number");
                number(value) <= number(full)
            }
            // RabbitMQ's, of a consumer whose queue is not known
            "destination" => value == full || full.starts_with(&format!("{value}:")),
            _ => value == full,
        }
    })
}
