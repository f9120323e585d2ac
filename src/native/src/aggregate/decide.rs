//! Whether an exchange becomes a span, and for how many it then stands.
//!
//! ```text
//! bound     what the parent's sampler did, if the sampler follows parents
//! base      the sampler's or a rule's probability; of a strategy, its limit and floor
//! pressure  the queue is filling up: fewer, so that it does not run over
//! budget    the node's, the service's
//! usual     the strictest of these; who reaches it is sampled
//! kept      errors and what was slow: at most `bound` and what the budget of the kept allows
//! ```
//!
//! Each is a threshold, and all compare with the same randomness, so one number says all of it: the strictest. Errors and
//! slow ones are a population of their own: of them, whether one was sampled is said by the milder of usual and kept,
//! whichever let it pass. So what each span says is the probability of its own kind, and the sum over spans of what each
//! stands for is, but for chance, the number of exchanges.

use rustc_hash::FxHashMap;

use super::process::{Drop, Process};
use super::Settings;
use crate::exchange::Role;
use crate::sampling::{
    at_step, ot, randomness, Parent, Root, Rule, Sampler, Services, Strategy, Threshold, Throttle,
    NAMELESS,
};

/// The part of a queue that may fill up without anything being held back.
const CALM: f64 = 0.75;
/// A queue that is full lets one in a million pass.
const FULL_STEP: f64 = 160.0;

/// What a decision is about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub parent: Option<Parent>,
    /// The parent's, "" if there is none.
    pub tracestate: &'a str,
    pub trace_id: [u8; 16],
    pub now_ns: u64,
    pub duration_ns: u64,
    /// A number that says which series of its process it is of; None: an overflow series.
    pub series: Option<u64>,
}

/// What is looked at only where something depends on it.
pub trait Told {
    fn role(&self) -> Role;
    /// The span's status is an error.
    fn is_error(&self) -> bool;
    /// What a rule's route is compared with: http.route, rpc.method, else the span's name.
    fn route(&self, process: &Process) -> String;
    /// The span's name.
    fn operation(&self, process: &Process) -> String;
}

/// What has been found to decide on a process's exchanges.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Of the rules and strategies that the rest was found with.
    generation: u32,
    service: u32,
    by_series: FxHashMap<u64, Decision>,
}

#[derive(Clone, Copy, Debug)]
enum Decision {
    /// A rule's: what a parent sampled it narrows too.
    Rule(Root),
    /// The sampler's.
    Sampler,
    /// The operation of the service's strategy.
    Strategy(u32),
}

/// What errors and slow exchanges have of their own.
struct Keep {
    errors: bool,
    slower_than_ns: u64,
    /// Of the node's budget.
    share: f64,
    throttle: Throttle,
}

impl Keep {
    #[inline]
    fn is_about(&self, duration_ns: u64, is_error: impl FnOnce() -> bool) -> bool {
        duration_ns >= self.slower_than_ns || (self.errors && is_error())
    }
}

/// All that decides.
pub struct Sampling {
    sampler: Sampler,
    rules: Vec<Rule>,
    services: Services,
    keep: Keep,
    node: Throttle,
    /// How full the queue behind the core is, 0 to 1.
    fill: f64,
    /// Of rules and strategies; 1 from the start on, so that nothing is of it without having been found.
    generation: u32,
    has_service_budgets: bool,
    /// All that comes without a parent is decided by the node's budget.
    is_plain: bool,
}

impl Sampling {
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let mut made = Self {
            sampler: Sampler::new(&settings.sampler, settings.sampler_arg)?,
            rules: settings.sampling_rules.clone(),
            services: Services::new(settings.spans_per_second_per_service as f64),
            keep: Keep {
                errors: settings.keep_errors,
                slower_than_ns: match settings.keep_slower_than_ns {
                    0 => u64::MAX,
                    some => some,
                },
                share: settings.keep_share,
                throttle: Throttle::new(0.0),
            },
            node: Throttle::new(0.0),
            fill: 0.0,
            generation: 0,
            has_service_budgets: settings.spans_per_second_per_service > 0,
            is_plain: false,
        };
        let per_second = settings.spans_per_second;
        made.reconfigure(&settings.sampler, settings.sampler_arg, per_second)?;
        Ok(made)
    }

    /// Another sampler and budget from now on. Err: what is wrong, for people; then all stays as it was.
    pub fn reconfigure(&mut self, sampler: &str, arg: f64, per_second: u64) -> Result<(), String> {
        self.sampler = Sampler::new(sampler, arg)?;
        self.node = Throttle::new(per_second as f64);
        self.keep.throttle = Throttle::new(per_second as f64 * self.keep.share);
        self.generation += 1;
        self.is_plain = self.sampler.root == Root::Share(Threshold::ALL)
            && self.rules.is_empty()
            && !self.has_service_budgets;
        Ok(())
    }

    /// From how many bytes of the core's queue on there is something to weigh.
    pub fn calm_bytes(&self, max_queued_bytes: usize) -> usize {
        if self.fill > CALM {
            return 0;
        }
        (max_queued_bytes as f64 * CALM) as usize
    }

    pub fn set_fill(&mut self, fill: f64) {
        self.fill = fill;
    }

    /// A process's service; what had been decided of it is to be forgotten.
    pub fn name(&mut self, process_key: u64, service: &str) {
        self.services.name(process_key, service);
    }

    pub fn follow(&mut self, service: &str, strategy: &Strategy) {
        self.services.follow(service, strategy);
        self.generation += 1;
    }

    pub fn forget(&mut self, process_key: u64) {
        self.services.forget(process_key);
    }

    /// The common cases of what has no parent, where nobody has a say but the node's budget: it lets all pass, or not
    /// this one, and nothing else keeps it. None: there is more to weigh.
    #[inline]
    pub fn plainly(
        &mut self,
        trace_id: &[u8; 16],
        (now_ns, duration_ns): (u64, u64),
        told: &impl Told,
    ) -> Option<Result<Threshold, Drop>> {
        if !self.is_plain {
            return None;
        }
        let threshold = self.node.threshold(now_ns);
        if threshold == Threshold::ALL {
            self.node.charge();
            return Some(Ok(threshold));
        }
        let is_left_out = !threshold.keeps(randomness(trace_id))
            && !self.keep.is_about(duration_ns, || told.is_error());
        is_left_out.then_some(Err(Drop::Budget))
    }

    /// The threshold that it passed, or why it did not. `queue`: how full the core's queue is, 0 to 1.
    #[inline(never)]
    pub fn weigh(
        &mut self,
        process: &mut Process,
        asked: &Asked<'_>,
        told: &dyn Told,
        queue: f64,
    ) -> Result<Threshold, Drop> {
        let said = match asked.tracestate {
            "" => ot::Said::default(),
            some => ot::read(some),
        };
        let randomness = said
            .randomness
            .unwrap_or_else(|| randomness(&asked.trace_id));
        let now_ns = asked.now_ns;
        let parent = asked.parent.filter(|_| self.sampler.parent_based);
        let mut bound = Threshold::ALL;
        let mut is_known = true;
        if let Some(parent) = parent {
            if !parent.sampled() {
                return Err(Drop::Unsampled);
            }
            // one that contradicts the flag says nothing
            let consistent = said.threshold.filter(|th| th.keeps(randomness));
            is_known = consistent.is_some();
            bound = consistent.unwrap_or(Threshold::ALL);
        }
        let decision = self.decision(process, asked.series, told);
        let service = self.services.get(process.sampling.service);
        let base = match (decision, self.sampler.root) {
            (Decision::Rule(Root::Off), _) => return Err(Drop::Unsampled),
            (Decision::Rule(Root::Share(threshold) | Root::Remote(threshold)), _) => threshold,
            _ if parent.is_some() => Threshold::ALL,
            (Decision::Strategy(operation), _) => service.threshold(operation, now_ns),
            (_, Root::Off) => return Err(Drop::Unsampled),
            (_, Root::Share(threshold) | Root::Remote(threshold)) => threshold,
        }
        .max(bound);
        let pressure = pressure(queue.max(self.fill));
        let budget = self
            .node
            .threshold(now_ns)
            .max(service.throttle.threshold(now_ns));
        let usual = base.max(pressure).max(budget);

        let keep = &mut self.keep;
        let is_kept = usual > bound && keep.is_about(asked.duration_ns, || told.is_error());
        let passed = if is_kept {
            usual.min(keep.throttle.threshold(now_ns)).max(bound)
        } else {
            usual
        };
        if !passed.keeps(randomness) {
            return Err(match () {
                () if !base.keeps(randomness) => Drop::Unsampled,
                () if !pressure.keeps(randomness) => Drop::BackPressure,
                () => Drop::Budget,
            });
        }
        if !usual.keeps(randomness) {
            keep.throttle.charge();
        }
        self.node.charge();
        service.throttle.charge();
        if let (Decision::Strategy(operation), None, true) =
            (decision, parent, base.keeps(randomness))
        {
            service.charge(operation, randomness);
        }
        Ok(if is_known { passed } else { Threshold::UNKNOWN })
    }

    /// What decides on a series: found once.
    fn decision(
        &mut self,
        process: &mut Process,
        series: Option<u64>,
        told: &dyn Told,
    ) -> Decision {
        if process.sampling.generation != self.generation {
            process.sampling = Decisions {
                generation: self.generation,
                service: self.services.of(process.key).unwrap_or(NAMELESS),
                by_series: FxHashMap::default(),
            };
        }
        let is_remote = matches!(self.sampler.root, Root::Remote(_));
        if self.rules.is_empty() && !is_remote {
            return Decision::Sampler;
        }
        if let Some(known) = series.and_then(|it| process.sampling.by_series.get(&it)) {
            return *known;
        }
        let service = self.services.get(process.sampling.service);
        let route = told.route(process);
        let mut rules = self.rules.iter();
        let decision = match rules.find_map(|rule| rule.decides(&service.name, &route)) {
            Some(root) => Decision::Rule(root),
            None if is_remote => service
                .operation(&told.operation(process))
                .map_or(Decision::Sampler, Decision::Strategy),
            None => Decision::Sampler,
        };
        if let Some(series) = series {
            process.sampling.by_series.insert(series, decision);
        }
        decision
    }
}

/// What a queue that is so full lets pass.
fn pressure(fill: f64) -> Threshold {
    if fill <= CALM {
        return Threshold::ALL;
    }
    let beyond = ((fill - CALM) / (1.0 - CALM)).min(1.0);
    at_step((beyond * FULL_STEP).ceil() as u64)
}
