//! What the user may choose, and what of it while the agent works.

use super::ExemplarFilter;
use crate::privacy::Lists;
use crate::sampling::Rule;

/// What the user may choose; mirrors `Session.__init__`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Make spans.
    pub spans: bool,
    /// Spans made per second at most, as sampling/throttle.rs bounds them; 0: no limit.
    pub spans_per_second: u64,
    /// Of each service's, in place of all: 0: no limit but the above.
    pub spans_per_second_per_service: u64,
    /// Errors are kept where others are not.
    pub keep_errors: bool,
    /// What took as long as this is kept too; 0: nothing is kept for its duration.
    pub keep_slower_than_ns: u64,
    /// The part of `spans_per_second` that is for those which only these two keep.
    pub keep_share: f64,
    /// What goes before the sampler, the first that matches.
    pub sampling_rules: Vec<Rule>,
    /// Encoded spans that wait for `take_spans` at most, in bytes.
    pub span_queue_bytes: usize,
    /// Make lines.
    pub lines: bool,
    /// Lines that wait for `take_lines` at most.
    pub line_queue: usize,
    /// Infer `http.route`.
    pub infer_routes: bool,
    /// Distinct routes of one process, `/**` included.
    pub max_routes_per_service: usize,
    /// Series of one process, the overflow series not included.
    pub max_series: usize,
    /// Histograms are kept in exponential buckets too.
    pub exponential: bool,
    /// Of which exchanges there are exemplars.
    pub exemplars: ExemplarFilter,
    /// OTEL_TRACES_SAMPLER's names.
    pub sampler: String,
    /// The sampler's ratio, 0 to 1.
    pub sampler_arg: f64,
    /// Put server.address and server.port on server metrics too: opt-in in the conventions, as clients choose
    /// what they send for Host.
    pub server_address_on_server_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spans: true,
            spans_per_second: 1000,
            spans_per_second_per_service: 0,
            keep_errors: true,
            keep_slower_than_ns: 0,
            keep_share: 0.25,
            sampling_rules: Vec::new(),
            span_queue_bytes: 16 << 20,
            lines: false,
            line_queue: 4096,
            infer_routes: true,
            max_routes_per_service: 200,
            max_series: 2000,
            exponential: false,
            exemplars: ExemplarFilter::default(),
            sampler: "parentbased_always_on".into(),
            sampler_arg: 1.0,
            server_address_on_server_metrics: false,
        }
    }
}

/// What can change while it works; fields as those of `Settings`.
#[derive(Clone, Debug)]
pub struct Live {
    /// See `Settings`.
    pub sampler: String,
    /// See `Settings`.
    pub sampler_arg: f64,
    /// 0: no limit.
    pub spans_per_second: u64,
    /// Infer `http.route`.
    pub infer_routes: bool,
    /// What spans and lines may not say.
    pub privacy: Lists,
}
