//! Captured cases (tests/protocols/*.yaml, whose first lines tell the format), and a sink that remembers.

#![allow(dead_code)] // each test binary uses its part

use _native::exchange::{Detail, End, Exchange, Input, Parser, Side, Sink, Verdict, Which};
use serde::Deserialize;
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
    expect: Vec<Expected>,
    #[serde(default = "go_on")]
    verdict: String,
    #[serde(default)]
    in_flight: usize,
    #[serde(default)]
    abandoned: usize,
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

/// Text whose characters are bytes.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Times { x: String, times: usize },
    Joined(Vec<Text>),
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        let latin1 = |text: &str| -> Vec<u8> {
            text.chars()
                .map(|char| u8::try_from(u32::from(char)).expect("a character that is a byte"))
                .collect()
        };
        match self {
            Self::Plain(text) => latin1(text),
            Self::Times { x, times } => latin1(x).repeat(*times),
            Self::Joined(parts) => parts.iter().flat_map(Self::bytes).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    method: Text,
    target: Text,
    status: Option<u16>,
    error: Option<String>,
    #[serde(default)]
    request_body_bytes: u64,
    #[serde(default)]
    response_body_bytes: u64,
    version: Option<String>,
    host: Option<Text>,
    user_agent: Option<Text>,
    forwarded_for: Option<Text>,
    forwarded_proto: Option<Text>,
    traceparent: Option<Text>,
    tracestate: Option<Text>,
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
        let pieces = |side, texts: &[Text]| -> Vec<Step> {
            texts
                .iter()
                .map(|text| Step::Data(side, text.bytes()))
                .collect()
        };
        let mut steps = pieces(Side::Request, &raw.client);
        steps.extend(pieces(Side::Response, &raw.server));
        steps.extend(raw.flow.iter().map(RawStep::step));
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
        }
    }
}

impl RawStep {
    fn step(&self) -> Step {
        match self {
            Self { c: Some(text), .. } => Step::Data(Side::Request, text.bytes()),
            Self { s: Some(text), .. } => Step::Data(Side::Response, text.bytes()),
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Remembers exchanges and checks the sink's contract: first begun, first finished.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub exchanges: Vec<Seen>,
    pub begun: usize,
    pub abandoned: usize,
    in_flight: std::collections::VecDeque<Vec<u8>>,
}

impl Sink for Record {
    fn begin(&mut self, method: &[u8]) {
        self.begun += 1;
        self.in_flight.push_back(method.to_vec());
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) {
        #[allow(clippy::infallible_destructuring_match)] // more protocols will come
        let http = match &exchange.detail {
            Detail::Http(http) => http,
            #[allow(unreachable_patterns)]
            other => panic!("not HTTP: {other:?}"),
        };
        let begun = self
            .in_flight
            .pop_front()
            .expect("an exchange that was begun");
        assert_eq!(
            begun, http.method,
            "exchanges end in the order in which they began"
        );
        assert!(exchange.start_ns <= exchange.end_ns);
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
        });
    }

    fn abandoned(&mut self, _: Which<'_>) {
        self.abandoned += 1;
        self.in_flight
            .pop_front()
            .expect("something begun to abandon");
    }
}

/// When the case's step of this index happened.
pub fn time_of(index: usize) -> u64 {
    (index as u64 + 1) * 1000
}

/// Runs steps through a parser.
pub fn run(parser: &mut impl Parser, steps: &[Timed], record: &mut Record) -> Verdict {
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
        assert_eq!(
            record.begun,
            record.exchanges.len() + record.abandoned + parser.in_flight()
        );
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
            text(&self.method.bytes()),
            "method, {context}"
        );
        assert_eq!(
            text(&seen.target),
            text(&self.target.bytes()),
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
                let expected = expected.bytes();
                let seen = seen.as_deref().map(text);
                assert_eq!(
                    seen,
                    (!expected.is_empty()).then(|| text(&expected)),
                    "{name}, {context}"
                );
            }
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
