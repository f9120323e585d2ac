//! The samplers of OTEL_TRACES_SAMPLER, and the rules that go before them.

use super::glob;
use super::threshold::Threshold;

/// What decides on a request that no parent has decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Never, whatever else is asked for.
    Off,
    /// With a probability.
    Share(Threshold),
    /// As the service's strategy says; with this probability until there is one.
    Remote(Threshold),
}

/// A head sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// A parent's decision is followed.
    pub parent_based: bool,
    /// For who has none, or for all.
    pub root: Root,
}

impl Sampler {
    /// By OTEL_TRACES_SAMPLER's name and argument: a ratio, 0 to 1; jaeger_remote's holds until it has been answered.
    pub fn new(name: &str, ratio: f64) -> Result<Self, String> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let takes_ratio = matches!(root, "traceidratio" | "jaeger_remote");
        if takes_ratio && !(0.0..=1.0).contains(&ratio) {
            return Err(format!("sampler_arg {ratio} is not a ratio from 0 to 1"));
        }
        let root = match root {
            "always_on" => Root::Share(Threshold::ALL),
            "always_off" => Root::Off,
            "traceidratio" => Root::Share(Threshold::of(ratio)),
            "jaeger_remote" => Root::Remote(Threshold::of(ratio)),
            _ => {
                return Err(format!(
                    "unknown sampler {name:?}: one of always_on, always_off, traceidratio, jaeger_remote, or \
                     parentbased_ and one of these"
                ))
            }
        };
        Ok(Self { parent_based, root })
    }
}

/// For some services' requests to some routes. Globs; what is not said is "*".
#[derive(Clone, Debug)]
pub struct Rule {
    /// service.name.
    pub service: String,
    /// http.route, rpc.method, else the span's name.
    pub route: String,
    /// None: never.
    pub probability: Option<f64>,
}

impl Rule {
    /// What it says of a request, if it is about it.
    pub fn decides(&self, service: &str, route: &str) -> Option<Root> {
        let is_about = glob::matches(&self.service, service) && glob::matches(&self.route, route);
        is_about.then(|| match self.probability {
            None => Root::Off,
            Some(probability) => Root::Share(Threshold::of(probability)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_by_name() {
        let half = Threshold::of(0.5);
        for (name, root) in [
            ("always_on", Root::Share(Threshold::ALL)),
            ("always_off", Root::Off),
            ("traceidratio", Root::Share(half)),
            ("jaeger_remote", Root::Remote(half)),
        ] {
            for (prefix, parent_based) in [("", false), ("parentbased_", true)] {
                let sampler = Sampler::new(&format!("{prefix}{name}"), 0.5);
                assert_eq!(sampler, Ok(Sampler { parent_based, root }), "{name}");
            }
        }
        for (name, arg) in [
            ("", 1.0),
            ("xray", 1.0),
            ("parentbased_", 1.0),
            ("parentbased_parentbased_always_on", 1.0),
            ("traceidratio", 1.1),
            ("jaeger_remote", -0.1),
            ("traceidratio", f64::NAN),
        ] {
            assert!(Sampler::new(name, arg).is_err(), "{name}");
        }
        let nothing = Sampler::new("traceidratio", 0.0).unwrap().root;
        assert_eq!(nothing, Root::Share(Threshold::NOTHING));
    }

    #[test]
    fn a_rule_is_about_who_matches_both() {
        let rule = Rule {
            service: "shop*".into(),
            route: "/health*".into(),
            probability: None,
        };
        assert_eq!(rule.decides("shop-a", "/healthz"), Some(Root::Off));
        assert_eq!(rule.decides("shop-a", "/cart"), None);
        assert_eq!(rule.decides("cart", "/healthz"), None);
    }
}
