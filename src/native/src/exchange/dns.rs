//! A question to a resolver and its answer (RFC 1035, 4.1); semantic conventions 1.44, docs/dns/dns-metrics.md.

/// A lookup.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    /// dns.question.name: in text, without the last dot.
    pub question: &'a [u8],
    /// QTYPE.
    pub question_type: u16,
    /// RCODE; `None` where no answer came.
    pub response_code: Option<u16>,
    /// The answers' addresses and names in text, in order: dns.answers.
    pub answers: &'a [String],
    /// The question was asked so many times before its answer came.
    pub retries: u32,
}
