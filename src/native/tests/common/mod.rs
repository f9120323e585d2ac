//! Captured cases (tests/protocols/*.yaml, whose first lines tell the format), and a sink that remembers.

#![allow(dead_code)] // each test binary uses its part

pub mod calls;
mod frames;
pub mod random;

use _native::exchange::{
    Detail, End, Exchange, Grpc, HttpVersion, Input, Parser, Product, Side, Sink, Verdict, Which,
};
use _native::protocols::{http1, http2};
use frames::{Deflater, Frame};
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    #[serde(default, rename = "why")]
    _why: Option<String>,
    #[serde(default)]
    client: Vec<Text>,
    #[serde(default)]
    server: Vec<Text>,
    #[serde(default)]
    flow: Vec<RawStep>,
    #[serde(default)]
    old: bool,
    #[serde(default)]
    borders: bool,
    #[serde(default = "yes")]
    trailing: bool,
    expect: Vec<Expected>,
    #[serde(default = "go_on")]
    verdict: String,
    #[serde(default)]
    in_flight: usize,
    #[serde(default)]
    abandoned: usize,
}

fn yes() -> bool {
    true
}

fn go_on() -> String {
    "continue".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    c: Option<Text>,
    s: Option<Text>,
    gap_c: Option<u64>,
    gap_s: Option<u64>,
    end: Option<String>,
}

/// Text whose characters are bytes, or what becomes bytes in other ways.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Number(u64),
    Times { x: Box<Text>, times: usize },
    Hex { hex: String },
    Frame(Box<Frame>),
    Joined(Vec<Text>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

/// What a side's text depends on besides itself: what it said before.
#[derive(Default)]
pub struct Writer {
    deflater: Option<Deflater>,
}

impl Text {
    fn bytes(&self, writer: &mut Writer) -> Vec<u8> {
        match self {
            Self::Plain(text) => text
                .chars()
                .map(|char| u8::try_from(u32::from(char)).expect("a character that is a byte"))
                .collect(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Times { x, times } => x.bytes(writer).repeat(*times),
            Self::Hex { hex } => from_hex(hex),
            Self::Frame(frame) => frame.bytes(writer),
            Self::Joined(parts) => parts.iter().flat_map(|part| part.bytes(writer)).collect(),
        }
    }

    /// Of a text that depends on nothing.
    fn alone(&self) -> Vec<u8> {
        self.bytes(&mut Writer::default())
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .filter(|char| !char.is_whitespace())
        .map(|char| char.to_digit(16).expect("hex digits"))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// Of `exchange::Grpc`; what is not given must not be known.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedGrpc {
    status: Option<u8>,
    request_messages: Option<u64>,
    response_messages: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    #[serde(default)]
    method: Text,
    #[serde(default)]
    target: Text,
    status: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    request_body_bytes: u64,
    #[serde(default)]
    response_body_bytes: u64,
    version: Option<String>,
    product: Option<String>,
    host: Option<Text>,
    user_agent: Option<Text>,
    forwarded_for: Option<Text>,
    forwarded_proto: Option<Text>,
    traceparent: Option<Text>,
    tracestate: Option<Text>,
    grpc: Option<ExpectedGrpc>,
    /// Of protocols that are not HTTP: see `calls`.
    call: Option<BTreeMap<String, Text>>,
    start: Option<usize>,
    end: Option<usize>,
}

/// One thing that happens on a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Data(Side, Vec<u8>),
    Gap(Side, u64),
    End(End),
}

/// A step, and the index of the case's step that it is (a part of): that is its time.
pub type Timed = (usize, Step);

pub struct Case {
    pub name: String,
    pub steps: Vec<Timed>,
    pub expect: Vec<Expected>,
    pub verdict: Verdict,
    pub in_flight: usize,
    pub abandoned: usize,
    /// The connection is older than its capture.
    pub old: bool,
    /// Where its pieces begin means something.
    pub borders: bool,
    /// More may follow it.
    pub trailing: bool,
}

/// The cases of one protocol.
pub fn cases(protocol: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/protocols");
    let text =
        std::fs::read_to_string(folder.join(format!("{protocol}.yaml"))).expect("the cases' file");
    let cases: Vec<RawCase> = serde_norway::from_str(&text).expect("cases in their format");
    cases.into_iter().map(Case::from).collect()
}

impl From<RawCase> for Case {
    fn from(raw: RawCase) -> Self {
        let mut writers = [Writer::default(), Writer::default()];
        let mut pieces = |side: Side, texts: &[Text]| -> Vec<Step> {
            texts
                .iter()
                .map(|text| Step::Data(side, text.bytes(&mut writers[side as usize])))
                .collect()
        };
        let mut steps = pieces(Side::Request, &raw.client);
        steps.extend(pieces(Side::Response, &raw.server));
        steps.extend(raw.flow.iter().map(|step| step.step(&mut writers)));
        Self {
            name: raw.name,
            steps: steps.into_iter().enumerate().collect(),
            expect: raw.expect,
            verdict: match raw.verdict.as_str() {
                "continue" => Verdict::Continue,
                "not_mine" => Verdict::NotMine,
                "ended" => Verdict::Ended,
                other => panic!("no such verdict: {other}"),
            },
            in_flight: raw.in_flight,
            abandoned: raw.abandoned,
            old: raw.old,
            borders: raw.borders,
            trailing: raw.trailing,
        }
    }
}

impl RawStep {
    fn step(&self, writers: &mut [Writer; 2]) -> Step {
        let [client, server] = writers;
        match self {
            Self { c: Some(text), .. } => Step::Data(Side::Request, text.bytes(client)),
            Self { s: Some(text), .. } => Step::Data(Side::Response, text.bytes(server)),
            Self {
                gap_c: Some(count), ..
            } => Step::Gap(Side::Request, *count),
            Self {
                gap_s: Some(count), ..
            } => Step::Gap(Side::Response, *count),
            Self { end: Some(end), .. } => Step::End(match end.as_str() {
                "fin_c" => End::Fin(Side::Request),
                "fin_s" => End::Fin(Side::Response),
                "closed" => End::Closed,
                "reset" => End::Broken(104),
                "timeout" => End::Broken(110),
                "exit" => End::ProcessExit,
                "lost" => End::Lost,
                other => panic!("no such end: {other}"),
            }),
            _ => panic!("a step with nothing in it"),
        }
    }
}

/// An exchange that outlives its parser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub start_ns: u64,
    pub end_ns: u64,
    pub error: Option<&'static str>,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub version: &'static str,
    pub status: Option<u16>,
    pub host: Option<Vec<u8>>,
    pub user_agent: Option<Vec<u8>>,
    pub forwarded_for: Option<Vec<u8>>,
    pub forwarded_proto: Option<Vec<u8>>,
    pub traceparent: Option<Vec<u8>>,
    pub tracestate: Option<Vec<u8>>,
    pub request_body_bytes: u64,
    pub response_body_bytes: u64,
    pub grpc: Option<Grpc>,
    pub product: Option<Product>,
    /// Of protocols that are not HTTP; then the rest is empty.
    pub call: calls::Facts,
}

/// Remembers exchanges and checks the sink's contract: each request that was begun ends once, HTTP/1's in the order
/// in which they began.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub exchanges: Vec<Seen>,
    pub begun: usize,
    pub abandoned: usize,
    in_flight: VecDeque<Vec<u8>>,
}

impl Record {
    /// Requests that were begun and have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn ends(&mut self, method: &[u8]) {
        let at = self.in_flight.iter().position(|begun| begun == method);
        self.in_flight
            .remove(at.expect("a request that was begun with this method"));
    }
}

impl Sink for Record {
    fn begin(&mut self, method: &[u8]) {
        self.begun += 1;
        self.in_flight.push_back(method.to_vec());
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) {
        assert!(exchange.start_ns <= exchange.end_ns);
        let Detail::Http(http) = &exchange.detail else {
            self.begun += 1; // of which nobody is told
            self.exchanges.push(calls::seen(exchange));
            return;
        };
        if http.version != HttpVersion::Http2 {
            let oldest = self.in_flight.front().map(Vec::as_slice);
            assert_eq!(
                oldest,
                Some(http.method),
                "exchanges end in the order in which they began"
            );
        }
        if http.grpc.is_none() {
            self.ends(http.method);
        }
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        self.exchanges.push(Seen {
            start_ns: exchange.start_ns,
            end_ns: exchange.end_ns,
            error: exchange.error.map(|error| error.as_str()),
            method: http.method.to_vec(),
            target: http.target.to_vec(),
            version: http.version.as_str(),
            status: http.status,
            host: owned(http.host),
            user_agent: owned(http.user_agent),
            forwarded_for: owned(http.forwarded_for),
            forwarded_proto: owned(http.forwarded_proto),
            traceparent: owned(http.traceparent),
            tracestate: owned(http.tracestate),
            request_body_bytes: http.request_body_bytes,
            response_body_bytes: http.response_body_bytes,
            grpc: http.grpc,
            product: http.product,
            call: calls::Facts::new(),
        });
    }

    fn abandoned(&mut self, which: Which<'_>) {
        self.abandoned += 1;
        match which {
            Which::Oldest => drop(self.in_flight.pop_front().expect("one to abandon")),
            Which::Method(method) => self.ends(method),
            Which::Untold => {}
        }
    }
}

/// When the case's step of this index happened.
pub fn time_of(index: usize) -> u64 {
    (index as u64 + 1) * 1000
}

impl Case {
    pub fn has_end(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, step)| matches!(step, Step::End(end) if *end != End::Lost))
    }

    /// Positions within its data, as (step, offset): between two bytes of one piece. `most` of them at most.
    pub fn places(&self, most: usize) -> Vec<(usize, usize)> {
        let all: Vec<_> = self
            .steps
            .iter()
            .filter_map(|(index, step)| match step {
                Step::Data(_, bytes) => Some((1..bytes.len()).map(|at| (*index, at))),
                _ => None,
            })
            .flatten()
            .collect();
        let stride = all.len() / most + 1;
        all.into_iter().step_by(stride).collect()
    }

    /// Its steps, the piece of this one cut in two there.
    pub fn cut_in_two(&self, step: usize, at: usize) -> Vec<Timed> {
        cut(&self.steps, |index, from| {
            if (index, from) == (step, 0) {
                at
            } else {
                usize::MAX
            }
        })
    }

    /// Its steps up to there, and an end.
    pub fn cut_short(&self, step: usize, at: usize, end: End) -> Vec<Timed> {
        let mut steps = self.steps[..=step].to_vec();
        if let Step::Data(_, bytes) = &mut steps[step].1 {
            bytes.truncate(at);
        }
        steps.push((step + 1, Step::End(end)));
        steps
    }

    /// Its steps with so many bytes missing there, and an end.
    pub fn with_gap(&self, step: usize, at: usize, lost: usize) -> Vec<Timed> {
        let mut steps = Vec::new();
        for (index, original) in &self.steps {
            match original {
                Step::Data(side, bytes) if *index == step => {
                    let resume = at.saturating_add(lost).min(bytes.len());
                    steps.push((step, Step::Data(*side, bytes[..at].to_vec())));
                    steps.push((step, Step::Gap(*side, (resume - at) as u64)));
                    steps.push((step, Step::Data(*side, bytes[resume..].to_vec())));
                }
                _ => steps.push((*index, original.clone())),
            }
        }
        steps.push((steps.len(), Step::End(End::Closed)));
        steps
    }
}

/// A parser that has cases.
pub trait Tested: Parser {
    /// The sink is told of all requests when they begin.
    const BEGINS_ALL: bool;
    /// A request with target /trailing that may follow everything, and its answer.
    const TRAILING: [&'static [u8]; 2];
    /// `old`: of a connection that is older than its capture.
    fn begin(old: bool) -> Self;
}

impl Tested for http1::Connection {
    const BEGINS_ALL: bool = true;
    const TRAILING: [&'static [u8]; 2] = [
        b"GET /trailing HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ];

    fn begin(old: bool) -> Self {
        assert!(!old, "HTTP/1's beginning is each request's");
        Self::new()
    }
}

impl Tested for http2::Connection {
    const BEGINS_ALL: bool = false;
    const TRAILING: [&'static [u8]; 2] = [
        b"\0\0\x0d\x01\x05\x7f\xff\xff\xff\x82\x86\x04\x09/trailing",
        b"\0\0\x01\x01\x05\x7f\xff\xff\xff\x89",
    ];

    fn begin(old: bool) -> Self {
        if old {
            Self::old()
        } else {
            Self::new()
        }
    }
}

/// Runs steps through a parser.
pub fn run<P: Tested>(parser: &mut P, steps: &[Timed], record: &mut Record) -> Verdict {
    run_any(parser, P::BEGINS_ALL, steps, record)
}

/// `begins_all`: see `Tested`.
pub fn run_any(
    parser: &mut dyn Parser,
    begins_all: bool,
    steps: &[Timed],
    record: &mut Record,
) -> Verdict {
    let mut verdict = Verdict::Continue;
    for (index, step) in steps {
        let ts_ns = time_of(*index);
        let now = match step {
            Step::Data(side, bytes) => parser.feed(*side, ts_ns, Input::Data(bytes), record),
            Step::Gap(side, count) => parser.feed(*side, ts_ns, Input::Gap(*count), record),
            Step::End(end) => parser.end(ts_ns, *end, record),
        };
        assert!(
            verdict == Verdict::Continue || verdict == now,
            "a verdict is final"
        );
        verdict = now;
        if begins_all {
            assert_eq!(record.in_flight(), parser.in_flight());
        } else {
            assert!(record.in_flight() <= parser.in_flight());
        }
    }
    verdict
}

/// Cuts the data of steps into pieces: `size(step, offset)` says how long the piece there is.
pub fn cut(steps: &[Timed], mut size: impl FnMut(usize, usize) -> usize) -> Vec<Timed> {
    let mut pieces = Vec::new();
    for (index, step) in steps {
        let Step::Data(side, bytes) = step else {
            pieces.push((*index, step.clone()));
            continue;
        };
        let mut at = 0;
        while at < bytes.len() {
            let end = at + size(*index, at).clamp(1, bytes.len() - at);
            pieces.push((*index, Step::Data(*side, bytes[at..end].to_vec())));
            at = end;
        }
    }
    pieces
}

impl Expected {
    /// Panics where `seen` is not what was expected.
    pub fn check(&self, seen: &Seen, context: &str) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            text(&seen.method),
            text(&self.method.alone()),
            "method, {context}"
        );
        assert_eq!(
            text(&seen.target),
            text(&self.target.alone()),
            "target, {context}"
        );
        assert_eq!(seen.status, self.status, "status, {context}");
        assert_eq!(seen.error, self.error.as_deref(), "error, {context}");
        assert_eq!(
            seen.request_body_bytes, self.request_body_bytes,
            "request's body, {context}"
        );
        assert_eq!(
            seen.response_body_bytes, self.response_body_bytes,
            "response's body, {context}"
        );
        let fields = [
            ("host", &self.host, &seen.host),
            ("user_agent", &self.user_agent, &seen.user_agent),
            ("forwarded_for", &self.forwarded_for, &seen.forwarded_for),
            (
                "forwarded_proto",
                &self.forwarded_proto,
                &seen.forwarded_proto,
            ),
            ("traceparent", &self.traceparent, &seen.traceparent),
            ("tracestate", &self.tracestate, &seen.tracestate),
        ];
        for (name, expected, seen) in fields {
            if let Some(expected) = expected {
                let expected = expected.alone();
                let seen = seen.as_deref().map(text);
                assert_eq!(
                    seen,
                    (!expected.is_empty()).then(|| text(&expected)),
                    "{name}, {context}"
                );
            }
        }
        let grpc = self.grpc.map(|grpc| Grpc {
            status: grpc.status,
            request_messages: grpc.request_messages,
            response_messages: grpc.response_messages,
        });
        assert_eq!(seen.grpc, grpc, "gRPC, {context}");
        let call = self.call.as_ref();
        let call = call.map(|facts| facts.iter().map(|(k, v)| (k.clone(), text(&v.alone()))));
        calls::check(call.into_iter().flatten().collect(), &seen.call, context);
        if let Some(product) = &self.product {
            let seen = seen.product.map(|product| format!("{product:?}"));
            assert_eq!(seen.as_ref(), Some(product), "product, {context}");
        }
        if let Some(version) = &self.version {
            assert_eq!(seen.version, version, "version, {context}");
        }
        if let Some(start) = self.start {
            assert_eq!(seen.start_ns, time_of(start), "start, {context}");
        }
        if let Some(end) = self.end {
            assert_eq!(seen.end_ns, time_of(end), "end, {context}");
        }
    }
}
