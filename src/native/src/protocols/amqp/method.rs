//! Methods: their numbers, who sends them, and what their arguments are made of (amqp0-9-1.xml; confirm, basic.nack
//! and connection.blocked are RabbitMQ's).

use crate::exchange::Side;

/// Class and method in one number.
pub const fn id(class: u16, method: u16) -> u32 {
    (class as u32) << 16 | method as u32
}

pub const CONNECTION_OPEN: u32 = id(10, 40);
pub const CONNECTION_CLOSE: u32 = id(10, 50);
pub const CHANNEL_OPEN: u32 = id(20, 10);
pub const CHANNEL_CLOSE: u32 = id(20, 40);
pub const QUEUE_DECLARE: u32 = id(50, 10);
pub const QUEUE_DECLARE_OK: u32 = id(50, 11);
pub const CONSUME: u32 = id(60, 20);
pub const CONSUME_OK: u32 = id(60, 21);
pub const CANCEL: u32 = id(60, 30);
pub const CANCEL_OK: u32 = id(60, 31);
pub const PUBLISH: u32 = id(60, 40);
pub const RETURN: u32 = id(60, 50);
pub const DELIVER: u32 = id(60, 60);
pub const GET: u32 = id(60, 70);
pub const GET_OK: u32 = id(60, 71);
pub const GET_EMPTY: u32 = id(60, 72);
pub const ACK: u32 = id(60, 80);
pub const REJECT: u32 = id(60, 90);
pub const RECOVER_ASYNC: u32 = id(60, 100);
pub const RECOVER: u32 = id(60, 110);
pub const NACK: u32 = id(60, 120);
pub const CONFIRM_SELECT: u32 = id(85, 10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Client,
    Server,
    Either,
}

/// Arguments: o (octet, or bits), s (16 bits), l (32), L (64), S (short string), T (long string or table).
const METHODS: &[(u16, u16, By, &str)] = &[
    (10, 10, By::Server, "ooTTT"), // connection.start
    (10, 11, By::Client, "TSTS"),
    (10, 20, By::Server, "T"), // secure
    (10, 21, By::Client, "T"),
    (10, 30, By::Server, "sls"), // tune
    (10, 31, By::Client, "sls"),
    (10, 40, By::Client, "SSo"), // open
    (10, 41, By::Server, "S"),
    (10, 50, By::Either, "sSss"), // close
    (10, 51, By::Either, ""),
    (10, 60, By::Server, "S"), // blocked
    (10, 61, By::Server, ""),
    (10, 70, By::Client, "TS"), // update-secret
    (10, 71, By::Server, ""),
    (20, 10, By::Client, "S"), // channel.open
    (20, 11, By::Server, "T"),
    (20, 20, By::Either, "o"), // flow
    (20, 21, By::Either, "o"),
    (20, 40, By::Either, "sSss"), // close
    (20, 41, By::Either, ""),
    (40, 10, By::Client, "sSSoT"), // exchange.declare
    (40, 11, By::Server, ""),
    (40, 20, By::Client, "sSo"), // delete
    (40, 21, By::Server, ""),
    (40, 30, By::Client, "sSSSoT"), // bind
    (40, 31, By::Server, ""),
    (40, 40, By::Client, "sSSSoT"), // unbind
    (40, 51, By::Server, ""),
    (50, 10, By::Client, "sSoT"), // queue.declare
    (50, 11, By::Server, "Sll"),
    (50, 20, By::Client, "sSSSoT"), // bind
    (50, 21, By::Server, ""),
    (50, 30, By::Client, "sSo"), // purge
    (50, 31, By::Server, "l"),
    (50, 40, By::Client, "sSo"), // delete
    (50, 41, By::Server, "l"),
    (50, 50, By::Client, "sSSST"), // unbind
    (50, 51, By::Server, ""),
    (60, 10, By::Client, "lso"), // basic.qos
    (60, 11, By::Server, ""),
    (60, 20, By::Client, "sSSoT"), // consume
    (60, 21, By::Server, "S"),
    (60, 30, By::Either, "So"), // cancel
    (60, 31, By::Either, "S"),
    (60, 40, By::Client, "sSSo"),  // publish
    (60, 50, By::Server, "sSSS"),  // return
    (60, 60, By::Server, "SLoSS"), // deliver
    (60, 70, By::Client, "sSo"),   // get
    (60, 71, By::Server, "LoSSl"),
    (60, 72, By::Server, "S"),
    (60, 80, By::Either, "Lo"), // ack
    (60, 90, By::Client, "Lo"), // reject
    (60, 100, By::Client, "o"), // recover-async
    (60, 110, By::Client, "o"), // recover
    (60, 111, By::Server, ""),
    (60, 120, By::Either, "Lo"), // nack
    (85, 10, By::Client, "o"),   // confirm.select
    (85, 11, By::Server, ""),
    (90, 10, By::Client, ""), // tx.select
    (90, 11, By::Server, ""),
    (90, 20, By::Client, ""), // commit
    (90, 21, By::Server, ""),
    (90, 30, By::Client, ""), // rollback
    (90, 31, By::Server, ""),
];

/// Arguments, one after the other. Where one is cut off there are none behind it.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a>(pub &'a [u8]);

impl<'a> Arguments<'a> {
    /// A method's class and number, and its arguments.
    pub fn of(payload: &'a [u8]) -> Option<(u32, Self)> {
        let mut arguments = Self(payload);
        Some((arguments.long()?, arguments))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn octet(&mut self) -> Option<u8> {
        self.take().map(|[octet]| octet)
    }

    pub fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub fn long(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub fn long_long(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.0.get(..count)?;
        self.0 = &self.0[count..];
        Some(taken)
    }

    pub fn short_string(&mut self) -> Option<&'a [u8]> {
        let length = self.octet()?;
        self.bytes(length.into())
    }

    /// A long string's bytes, or a table's.
    pub fn long_string(&mut self) -> Option<&'a [u8]> {
        let length = self.long()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    /// Whether they are what this says, and nothing besides.
    fn are(mut self, shape: &str) -> bool {
        let fit = shape.bytes().all(|kind| match kind {
            b'o' => self.octet().is_some(),
            b's' => self.short().is_some(),
            b'l' => self.long().is_some(),
            b'L' => self.long_long().is_some(),
            b'S' => self.short_string().is_some(),
            _ => self.long_string().is_some(),
        });
        fit && self.0.is_empty()
    }
}

/// Who sends such a method; `None`: it is none.
fn sender(payload: &[u8]) -> Option<By> {
    let (called, arguments) = Arguments::of(payload)?;
    let of_this = |method: &&(u16, u16, By, &str)| id(method.0, method.1) == called;
    let (_, _, by, shape) = METHODS.iter().find(of_this)?;
    arguments.are(shape).then_some(*by)
}

/// Whether it is a method that this side may send.
pub fn is_of(side: Side, payload: &[u8]) -> bool {
    matches!(
        (sender(payload), side),
        (Some(By::Either), _)
            | (Some(By::Client), Side::Request)
            | (Some(By::Server), Side::Response)
    )
}

/// The only side that sends such a method.
pub fn side(payload: &[u8]) -> Option<Side> {
    match sender(payload)? {
        By::Client => Some(Side::Request),
        By::Server => Some(Side::Response),
        By::Either => None,
    }
}

/// A reply code's name (amqp0-9-1.xml, constants); "" for those that are no errors.
pub fn failure(code: u16) -> &'static str {
    match code {
        200 => "",
        311 => "content-too-large",
        312 => "no-route",
        313 => "no-consumers",
        320 => "connection-forced",
        402 => "invalid-path",
        403 => "access-refused",
        404 => "not-found",
        405 => "resource-locked",
        406 => "precondition-failed",
        501 => "frame-error",
        502 => "syntax-error",
        503 => "command-invalid",
        504 => "channel-error",
        505 => "unexpected-frame",
        506 => "resource-error",
        530 => "not-allowed",
        540 => "not-implemented",
        541 => "internal-error",
        _ => "_OTHER",
    }
}

/// Whether it is channel.open.
pub fn is_open(payload: &[u8]) -> bool {
    Arguments::of(payload).is_some_and(|(called, _)| called == CHANNEL_OPEN)
}
