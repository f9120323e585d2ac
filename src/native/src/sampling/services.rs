//! What is kept for each service: its budget, and what a Jaeger server says of its operations.
//!
//! A process's service is Python's to say. Until it has, the process belongs to the service without a name.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::threshold::Threshold;
use super::throttle::Throttle;

/// So many services have something of their own; those beyond share the nameless one's.
const MAX_SERVICES: usize = 4096;
/// Place of the service without a name.
pub const NAMELESS: u32 = 0;

/// A strategy of Jaeger's remote sampling (jaeger-idl, proto-gen api_v2/sampling.proto), as far as it decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// Of operations that are not named.
    pub probability: f64,
    /// rateLimitingSampling.maxTracesPerSecond; 0: no limit.
    pub per_second: f64,
    /// operationSampling.defaultLowerBoundTracesPerSecond: so many are sampled of each operation, if there are; 0: none.
    pub floor_per_second: f64,
    /// Operations (spans' names) and their probabilities.
    pub operations: Vec<(String, f64)>,
}

/// What decides on an operation.
#[derive(Debug)]
struct Operation {
    threshold: Threshold,
    limit: Throttle,
    /// What passes thanks to it alone is charged to it.
    floor: Option<Throttle>,
}

impl Operation {
    fn new(probability: f64, strategy: &Strategy) -> Self {
        let floor = strategy.floor_per_second;
        Self {
            threshold: Threshold::of(probability),
            limit: Throttle::new(strategy.per_second),
            floor: (floor > 0.0).then(|| Throttle::new(floor)),
        }
    }

    fn threshold(&mut self, now_ns: u64) -> Threshold {
        let usual = self.threshold.max(self.limit.threshold(now_ns));
        let floor = self.floor.as_mut();
        floor.map_or(usual, |floor| usual.min(floor.threshold(now_ns)))
    }

    fn charge(&mut self, randomness: u64) {
        self.limit.charge();
        if let Some(floor) = &mut self.floor {
            if !self.threshold.keeps(randomness) {
                floor.charge();
            }
        }
    }
}

/// A service.
#[derive(Debug)]
pub struct Service {
    /// service.name.
    pub name: Arc<str>,
    /// Its share of the budget.
    pub throttle: Throttle,
    /// The first is for all that are not named.
    operations: Vec<Operation>,
    by_name: FxHashMap<String, u32>,
}

impl Service {
    fn new(name: &str, per_second: f64) -> Self {
        Self {
            name: name.into(),
            throttle: Throttle::new(per_second),
            operations: Vec::new(),
            by_name: FxHashMap::default(),
        }
    }

    /// Place of what decides on an operation; None: no server has said.
    pub fn operation(&self, name: &str) -> Option<u32> {
        let known = self.by_name.get(name).copied();
        known.or((!self.operations.is_empty()).then_some(0))
    }

    /// The threshold in force for an operation.
    pub fn threshold(&mut self, operation: u32, now_ns: u64) -> Threshold {
        let operation = self.operations.get_mut(operation as usize);
        operation.map_or(Threshold::NOTHING, |known| known.threshold(now_ns))
    }

    /// One of an operation was sampled.
    pub fn charge(&mut self, operation: u32, randomness: u64) {
        if let Some(operation) = self.operations.get_mut(operation as usize) {
            operation.charge(randomness);
        }
    }

    fn follow(&mut self, strategy: &Strategy) {
        let named = strategy.operations.iter();
        let default = Operation::new(strategy.probability, strategy);
        let rest = named
            .clone()
            .map(|(_, probability)| Operation::new(*probability, strategy));
        self.operations = std::iter::once(default).chain(rest).collect();
        self.by_name = (1..)
            .zip(named)
            .map(|(place, (name, _))| (name.clone(), place))
            .collect();
    }
}

/// All of them, and whose processes are whose.
#[derive(Debug)]
pub struct Services {
    per_second: f64,
    all: Vec<Service>,
    by_name: FxHashMap<Arc<str>, u32>,
    of_process: FxHashMap<u64, u32>,
}

impl Services {
    /// `per_second`: each service's budget, 0 for no limit.
    pub fn new(per_second: f64) -> Self {
        Self {
            per_second,
            all: vec![Service::new("", per_second)],
            by_name: FxHashMap::default(),
            of_process: FxHashMap::default(),
        }
    }

    /// A process is of this service.
    pub fn name(&mut self, process_key: u64, service: &str) -> u32 {
        let place = self.place(service);
        self.of_process.insert(process_key, place);
        place
    }

    /// The process's service, as far as it is known.
    pub fn of(&self, process_key: u64) -> Option<u32> {
        self.of_process.get(&process_key).copied()
    }

    /// The process is gone.
    pub fn forget(&mut self, process_key: u64) {
        self.of_process.remove(&process_key);
    }

    /// A service from now on follows this strategy, having spent nothing of it yet.
    pub fn follow(&mut self, service: &str, strategy: &Strategy) {
        let place = self.place(service);
        if place != NAMELESS || service.is_empty() {
            self.all[place as usize].follow(strategy);
        }
    }

    /// A service by its place.
    pub fn get(&mut self, place: u32) -> &mut Service {
        &mut self.all[place as usize]
    }

    fn place(&mut self, service: &str) -> u32 {
        if service.is_empty() {
            return NAMELESS;
        }
        if let Some(place) = self.by_name.get(service) {
            return *place;
        }
        if self.all.len() >= MAX_SERVICES {
            return NAMELESS;
        }
        let made = Service::new(service, self.per_second);
        let place = self.all.len() as u32;
        self.by_name.insert(Arc::clone(&made.name), place);
        self.all.push(made);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy(probability: f64) -> Strategy {
        Strategy {
            probability,
            per_second: 0.0,
            floor_per_second: 0.0,
            operations: vec![("GET /a".into(), 1.0), ("GET /b".into(), 0.0)],
        }
    }

    #[test]
    fn operations_by_name() {
        let mut services = Services::new(0.0);
        assert_eq!(services.of(7), None);
        let place = services.name(7, "shop");
        assert_eq!(
            (services.of(7), services.name(8, "shop")),
            (Some(place), place)
        );
        assert_eq!(services.get(place).operation("GET /a"), None);
        services.follow("shop", &strategy(0.5));
        let shop = services.get(place);
        for (name, expected) in [("GET /a", 1.0), ("GET /b", 0.0), ("GET /c", 0.5)] {
            let operation = shop.operation(name).unwrap();
            assert_eq!(
                shop.threshold(operation, 1),
                Threshold::of(expected),
                "{name}"
            );
        }
        assert_eq!(services.get(NAMELESS).operation("GET /a"), None);
        services.forget(7);
        assert_eq!(services.of(7), None);
    }

    #[test]
    fn a_floor_for_each_operation_and_a_limit() {
        let mut services = Services::new(0.0);
        let place = services.name(1, "shop");
        let floors = Strategy {
            floor_per_second: 10.0,
            ..strategy(0.0)
        };
        services.follow("shop", &floors);
        let shop = services.get(place);
        let rare = shop.operation("GET /b").unwrap();
        assert_eq!(shop.threshold(rare, 1), Threshold::ALL, "few of it: all");
        for _ in 0..20 {
            shop.charge(rare, 0);
        }
        assert!(shop.threshold(rare, 1) > Threshold::of(0.01));
        let other = shop.operation("else").unwrap();
        assert_eq!(shop.threshold(other, 1), Threshold::ALL);

        services.follow(
            "shop",
            &Strategy {
                per_second: 10.0,
                ..strategy(1.0)
            },
        );
        let shop = services.get(place);
        let common = shop.operation("else").unwrap();
        for _ in 0..20 {
            shop.charge(common, 0);
        }
        assert!(shop.threshold(common, 1) > Threshold::of(0.01));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut services = Services::new(1.0);
        for i in 0..2 * MAX_SERVICES as u64 {
            services.name(i, &format!("service-{i}"));
        }
        assert_eq!(services.all.len(), MAX_SERVICES);
        assert_eq!(services.of(2 * MAX_SERVICES as u64 - 1), Some(NAMELESS));
        services.follow("one-more", &strategy(0.0));
        assert_eq!(
            services.get(NAMELESS).operation("x"),
            None,
            "it is not only theirs"
        );
    }
}
