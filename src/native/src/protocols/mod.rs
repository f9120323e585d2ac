//! One parser per protocol, each a state machine over bytes behind `exchange::Parser`. None of them knows
//! where the bytes come from.

mod amqp;
pub mod cassandra;
mod dns;
mod few;
mod forwarded;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod memcached;
mod message;
mod mongodb;
mod mqtt;
pub mod mysql;
mod nats;
mod postgresql;
mod queue;
pub mod redis;
mod sqlcommenter;
mod tagged;
mod turns;

use crate::capture_mode::Capture;
use crate::exchange::Parser;

/// What starts here, going one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// A client's bytes.
    Request,
    /// A server's.
    Response,
    /// Neither is excluded yet.
    More,
    /// Neither.
    No,
}

/// The first bytes of a burst: of a connection's first one, or of any one where the beginning was not seen.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// What has come so far; what is behind it may not have been captured.
    pub bytes: &'a [u8],
    /// Port of the end that the bytes come from; 0 where there is none.
    pub from_port: u16,
    /// Port of the end that they go to.
    pub to_port: u16,
    /// Nothing was said on the connection before, either way.
    pub first: bool,
    /// Each piece of the connection is a datagram.
    pub datagram: bool,
}

impl Opening<'_> {
    /// One of the ends has this port: a hint, never a proof.
    pub fn has_port(&self, port: u16) -> bool {
        self.from_port == port || self.to_port == port
    }
}

/// A protocol other than HTTP: how it is recognised, and who understands it.
pub struct Protocol {
    /// As in src/otel_ebpf/protocols/registry.py.
    pub name: &'static str,
    /// Says what starts here. It must be certain: where one message can't prove it, the parser says nothing of what
    /// it finds until it has seen more, and `NotMine` if that is something else. `More` keeps the bytes, up to 16 KB.
    pub detect: fn(&Opening<'_>) -> Detect,
    /// Which of its bytes the kernel side passes on, once it is recognised.
    pub capture: Capture,
    /// A parser for one connection. `old`: it may have had traffic before.
    pub parser: fn(old: bool) -> Box<dyn Parser + Send>,
}

/// All of them, those that are recognised most surely first.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "postgresql",
        detect: postgresql::detect,
        capture: postgresql::CAPTURE,
        parser: postgresql::parser,
    },
    mysql::MYSQL,
    Protocol {
        name: "mongodb",
        detect: mongodb::detect,
        capture: mongodb::CAPTURE,
        parser: mongodb::parser,
    },
    Protocol {
        name: "cassandra",
        detect: cassandra::detect,
        capture: cassandra::CAPTURE,
        parser: cassandra::parser,
    },
    Protocol {
        name: "kafka",
        detect: kafka::detect,
        capture: kafka::CAPTURE,
        parser: kafka::parser,
    },
    Protocol {
        name: "amqp",
        detect: amqp::detect,
        capture: amqp::CAPTURE,
        parser: amqp::parser,
    },
    Protocol {
        name: "nats",
        detect: nats::detect,
        capture: Capture::Plain,
        parser: nats::parser,
    },
    Protocol {
        name: "mqtt",
        detect: mqtt::detect,
        capture: Capture::Plain,
        parser: mqtt::parser,
    },
    Protocol {
        name: "redis",
        detect: redis::detect,
        capture: Capture::Plain,
        parser: |old| Box::new(redis::Connection::new(old)),
    },
    Protocol {
        name: "memcached",
        detect: memcached::detect,
        capture: Capture::Plain,
        parser: |old| Box::new(memcached::Connection::new(old)),
    },
    Protocol {
        name: "dns",
        detect: dns::detect,
        capture: Capture::Plain,
        parser: dns::parser,
    },
];
