//! Messages (RFC 1035, 4.1).
//!
//! ```text
//!  0      2      4       6       8       10      12
//! | id   | flags| QDCOUNT ANCOUNT NSCOUNT ARCOUNT| question | answers | authorities | additional |
//!
//! flags   QR Opcode(4) AA TC RD | RA Z AD CD RCODE(4)
//! record  name, TYPE(2), CLASS(2), TTL(4), RDLENGTH(2), RDATA
//! ```

use super::name::{self, Trouble};
use crate::protocols::Detect;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) const HEADER: usize = 12;
/// The shortest message with a question: that for the root.
const SHORTEST: usize = HEADER + 5;
/// More answers than this are not told.
const MAX_ANSWERS: usize = 32;
/// More records than this are not looked at.
const MAX_RECORDS: usize = 512;
/// Records behind a query's question: its version of EDNS, its signature, what a transfer starts from.
const MAX_EXTRA: u16 = 4;

const QR: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
/// AA, TC, RA, Z and RCODE say nothing in a query.
const ANSWERS_ONLY: u16 = 0x06cf;

/// TYPE and QTYPE (RFC 1035, 3.2.2; 3596; 2782; 6891; 9460).
mod rr {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const DNAME: u16 = 39;
    pub const OPT: u16 = 41;
    pub const SVCB: u16 = 64;
    pub const HTTPS: u16 = 65;
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub id: u16,
    flags: u16,
    pub questions: u16,
    answers: u16,
    authorities: u16,
    additional: u16,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

impl Header {
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        Some(Self {
            id: u16_at(message, 0)?,
            flags: u16_at(message, 2)?,
            questions: u16_at(message, 4)?,
            answers: u16_at(message, 6)?,
            authorities: u16_at(message, 8)?,
            additional: u16_at(message, 10)?,
        })
    }

    /// Of any kind.
    pub(super) fn is_answer(&self) -> bool {
        self.flags & QR != 0
    }

    /// Of the QUERY kind, asked, with nothing in it that only answers have. NOTIFY, UPDATE and the like are no lookups.
    pub(super) fn asks(&self) -> bool {
        self.flags & (QR | OPCODE | ANSWERS_ONLY) == 0
            && self.questions == 1
            && self.answers == 0
            && self.authorities <= 1
            && self.additional <= MAX_EXTRA
    }

    /// Of the QUERY kind, answered.
    pub(super) fn answers(&self) -> bool {
        self.flags & (QR | OPCODE) == QR
    }

    /// RCODE as far as the header has it.
    pub(super) fn rcode(&self) -> u16 {
        self.flags & 0xf
    }

    /// Whose message begins with this, if it is one at all.
    fn looks_like(&self) -> Detect {
        if self.asks() {
            return Detect::Request;
        }
        if self.answers() && self.questions == 1 {
            return Detect::Response;
        }
        Detect::No
    }
}

/// What is asked for. Its name is in the text that `question` was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Of id, name (whatever its case), type and class: what an answer repeats.
    pub key: u64,
    pub qtype: u16,
    /// Where what is behind it begins.
    pub after: usize,
}

pub(super) fn question(message: &[u8], id: u16, text: &mut Vec<u8>) -> Result<Question, Trouble> {
    let mut hasher = FxHasher::default();
    hasher.write_u16(id);
    text.clear();
    let end = name::labels(message, HEADER, |label| {
        hasher.write_usize(label.len());
        for byte in label {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        name::write(label, text);
    })?;
    name::finish(text);
    let qtype = u16_at(message, end).ok_or(Trouble::Cut)?;
    let qclass = u16_at(message, end + 2).ok_or(Trouble::Cut)?;
    // the internet, CHAOS, Hesiod, any: nobody asks for another class
    if qtype == 0 || !matches!(qclass, 1 | 3 | 4 | 255) {
        return Err(Trouble::Bad);
    }
    hasher.write_u16(qtype);
    hasher.write_u16(qclass);
    Ok(Question {
        key: hasher.finish(),
        qtype,
        after: end + 4,
    })
}

/// Says whose message of `len` bytes starts here. A query must be there in full, and be nothing but that; an answer
/// up to the end of its question.
pub(super) fn detect(message: &[u8], len: usize) -> Detect {
    if len < SHORTEST {
        return Detect::No;
    }
    let message = message.get(..len).unwrap_or(message);
    let more = if message.len() < len {
        Detect::More
    } else {
        Detect::No
    };
    let Some(header) = Header::of(message) else {
        return more;
    };
    let looks = header.looks_like();
    if looks == Detect::No {
        return looks;
    }
    let question = match question(message, header.id, &mut Vec::new()) {
        Ok(question) => question,
        Err(Trouble::Cut) => return more,
        Err(Trouble::Bad) => return Detect::No,
    };
    if looks == Detect::Response {
        return looks;
    }
    let mut at = question.after;
    for _ in 0..header.authorities + header.additional {
        match record(message, at) {
            Ok(record) => at = record.after,
            Err(Trouble::Cut) => return more,
            Err(Trouble::Bad) => return Detect::No,
        }
    }
    match at == len {
        true => looks,
        false if at < message.len() => Detect::No,
        false => more,
    }
}

struct Record<'a> {
    rtype: u16,
    /// Of OPT: extended RCODE (8 bits), version, flags.
    ttl: [u8; 4],
    /// Where its data begins in the message, in which the data's names may point.
    at: usize,
    data: &'a [u8],
    after: usize,
}

fn record(message: &[u8], at: usize) -> Result<Record<'_>, Trouble> {
    let fixed = name::skip(message, at)?;
    let rtype = u16_at(message, fixed).ok_or(Trouble::Cut)?;
    let ttl = message.get(fixed + 4..fixed + 8).ok_or(Trouble::Cut)?;
    let len = usize::from(u16_at(message, fixed + 8).ok_or(Trouble::Cut)?);
    let at = fixed + 10;
    Ok(Record {
        rtype,
        ttl: ttl.try_into().unwrap_or_default(),
        at,
        data: message.get(at..at + len).ok_or(Trouble::Cut)?,
        after: at + len,
    })
}

/// Tells the addresses and names among the answers, in order, as far as there are bytes; returns the whole RCODE, of
/// which EDNS puts the upper bits behind everything else (RFC 6891, 6.1.3). `None`: they may make it an error, and were
/// not captured.
pub(super) fn answers(
    message: &[u8],
    header: &Header,
    mut at: usize,
    told: &mut Vec<String>,
) -> Option<u16> {
    told.clear();
    let answers = usize::from(header.answers);
    let others = usize::from(header.authorities) + usize::from(header.additional);
    for number in 0..(answers + others).min(MAX_RECORDS) {
        let Ok(record) = record(message, at) else {
            let unknown = header.rcode() == 0 && answers == 0 && header.additional > 0;
            return (!unknown).then_some(header.rcode());
        };
        at = record.after;
        if number < answers && told.len() < MAX_ANSWERS {
            told.extend(value(message, &record));
        } else if record.rtype == rr::OPT && number >= answers {
            return Some(u16::from(record.ttl[0]) << 4 | header.rcode());
        }
    }
    Some(header.rcode())
}

/// An address, or the name that a record leads to. Texts, keys and signatures are nobody's business.
fn value(message: &[u8], record: &Record<'_>) -> Option<String> {
    let before_name = match record.rtype {
        rr::A => return Some(Ipv4Addr::from(<[u8; 4]>::try_from(record.data).ok()?).to_string()),
        rr::AAAA => {
            return Some(Ipv6Addr::from(<[u8; 16]>::try_from(record.data).ok()?).to_string())
        }
        rr::NS | rr::CNAME | rr::PTR | rr::DNAME => 0,
        rr::MX | rr::SVCB | rr::HTTPS => 2,
        rr::SRV => 6,
        _ => return None,
    };
    let within = message.get(..record.after)?;
    let mut text = Vec::new();
    name::text(within, record.at + before_name, &mut text).ok()?;
    String::from_utf8(text).ok()
}
