//! What an operator keeps back is in no span and in no line, whatever else the span has stays as it was.

use _native::aggregate::{Aggregator, Live, Settings};
use _native::exchange::{Http, Role};
use _native::privacy::Lists;

use crate::world::{aggregator, attributes, conn, get, send, spans};

fn live() -> Live {
    let settings = Settings::default();
    Live {
        sampler: settings.sampler,
        sampler_arg: settings.sampler_arg,
        spans_per_second: 0,
        infer_routes: true,
        privacy: Lists::default(),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with(change: impl FnOnce(&mut Lists)) -> Aggregator {
    let mut aggregator = aggregator(|settings| settings.lines = true);
    let mut live = live();
    change(&mut live.privacy);
    aggregator.reconfigure(&live).unwrap();
    aggregator
}

fn ask(aggregator: &mut Aggregator, role: Role, target: &str) {
    let http = Http {
        user_agent: Some(b"curl/8"),
        host: Some(b"shop:8080"),
        ..get(target)
    };
    send(aggregator, &mut conn(1, role), http);
}

#[test]
fn dropped_attributes_are_gone_and_the_rest_is_untouched() {
    let mut plain = with(|_| ());
    let mut without = with(|lists| {
        lists.drop_attributes = names(&["client.address", "user_agent.*", "URL.query"]);
    });
    for each in [&mut plain, &mut without] {
        ask(each, Role::Server, "/orders/17?email=a@b.c");
    }
    let (whole, cut) = (spans(&mut plain).remove(0), spans(&mut without).remove(0));
    let mut expected = attributes(&whole);
    for name in ["client.address", "user_agent.original", "url.query"] {
        assert!(expected.remove(name).is_some(), "{name}");
    }
    assert_eq!(attributes(&cut), expected);
    assert_eq!((cut.name, cut.kind), (whole.name, whole.kind));
    assert_eq!(cut.start_time_unix_nano, whole.start_time_unix_nano);
    assert_eq!(without.take_lines(9)[0].target, "/orders/17");
}

#[test]
fn whoever_drops_the_query_drops_it_from_whole_urls_too() {
    let mut aggregator = with(|lists| lists.drop_attributes = names(&["url.query"]));
    ask(&mut aggregator, Role::Client, "/search?q=canary");
    let span = spans(&mut aggregator).remove(0);
    assert_eq!(attributes(&span)["url.full"], "http://shop:8080/search");
    assert_eq!(aggregator.take_lines(9)[0].target, "/search");
}

#[test]
fn only_kept_attributes_are_there() {
    let mut aggregator = with(|lists| lists.keep_attributes = names(&["http.*", "error.type"]));
    ask(&mut aggregator, Role::Server, "/a?q=canary");
    let span = spans(&mut aggregator).remove(0);
    let attributes = attributes(&span);
    assert!(attributes.keys().all(|name| name.starts_with("http.")));
    assert!(attributes.contains_key("http.request.method"));
    assert_eq!(aggregator.take_lines(9)[0].target, "/a");
}

#[test]
fn parameters_by_name_in_queries_urls_and_lines() {
    for role in [Role::Server, Role::Client] {
        let mut aggregator = with(|lists| {
            lists.redact_parameters = names(&["email"]);
        });
        ask(&mut aggregator, role, "/a?page=2&email=canary&token=canary");
        let span = spans(&mut aggregator).remove(0);
        let attributes = attributes(&span);
        let said = match role {
            Role::Server => &attributes["url.query"],
            Role::Client => &attributes["url.full"],
        };
        assert!(
            said.ends_with("page=2&email=REDACTED&token=REDACTED"),
            "{said}"
        );
        let line = &aggregator.take_lines(9)[0];
        assert_eq!(line.target, "/a?page=2&email=REDACTED&token=REDACTED");
    }
}

#[test]
fn settings_change_while_it_works_and_no_request_is_lost() {
    let mut aggregator = aggregator(|_| ());
    ask(&mut aggregator, Role::Server, "/a");
    let mut changed = live();
    changed.sampler = "always_off".to_owned();
    aggregator.reconfigure(&changed).unwrap();
    ask(&mut aggregator, Role::Server, "/a");
    changed.sampler = "nonsense".to_owned();
    changed.privacy.drop_attributes = names(&["*"]);
    assert!(aggregator.reconfigure(&changed).is_err());
    aggregator.reconfigure(&live()).unwrap();
    ask(&mut aggregator, Role::Server, "/a");
    assert_eq!(spans(&mut aggregator).len(), 2);
    let counters: std::collections::HashMap<_, _> = aggregator.counters().into_iter().collect();
    assert_eq!(counters["requests.seen"], 3);
    assert_eq!(counters["spans.dropped.unsampled"], 1);
}
