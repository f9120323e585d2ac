//! What is said of a lookup (semantic conventions 1.44, docs/dns/dns-metrics.md).

use super::calls::{Area, Said, Slots};
use super::origin::Origin;
use crate::exchange::{Dns, ErrorKind, Role};
use crate::otlp::{Kind, Value};

/// QTYPEs by number (IANA's registry of DNS parameters), those that applications ask for.
const TYPES: [(u16, &str); 15] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (48, "DNSKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
];

/// RCODEs by number (RFC 1035, 4.1.1; RFC 2136, 2.2).
const RESPONSE_CODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// The name of a QTYPE.
pub fn type_name(question_type: u16) -> &'static str {
    TYPES
        .iter()
        .find(|(number, _)| *number == question_type)
        .map_or("OTHER", |(_, name)| name)
}

/// The name of an RCODE; "" where there was none.
pub fn response_code(code: Option<u16>) -> &'static str {
    match code {
        None => "",
        Some(code) => RESPONSE_CODES.get(usize::from(code)).unwrap_or(&"OTHER"),
    }
}

pub fn said<'a>(
    dns: &Dns<'a>,
    error: Option<ErrorKind>,
    role: Role,
    server: Option<&'a Origin>,
) -> Said<'a> {
    let kind = type_name(dns.question_type);
    let mut slots = Slots::new();
    slots
        .text("dns.question.name", dns.question)
        .text("otel_ebpf.dns.question.type", kind.as_bytes());
    super::calling::put_server(&mut slots, server);
    Said {
        area: Area::Dns,
        role,
        kind: match role {
            Role::Server => Kind::Server,
            Role::Client => Kind::Client,
        },
        system: "dns",
        // names of hosts are too many for a span's
        name: [b"DNS", kind.as_bytes()],
        slots,
        error_type: match (error, dns.response_code) {
            (_, Some(1..)) => response_code(dns.response_code).as_bytes(),
            (Some(error), _) => error.as_str().as_bytes(),
            (None, _) => b"",
        },
        messages: 0,
    }
}

/// Attributes of the span alone.
pub fn own<'a>(dns: &Dns<'a>) -> Slots<'a> {
    let mut own = Slots::new();
    let retries = Some(dns.retries).filter(|retries| *retries > 0);
    own.put("dns.answers", Value::Texts(dns.answers))
        .int("otel_ebpf.dns.retries", retries.map(u64::from));
    own
}
