"""The closing summary."""

import json

import pytest
from tests.unit.fakes import Calls, Histogram, Series, call_series

from otel_ebpf.export.summary import Summary, Total, Totals
from otel_ebpf.model import Accounting
from otel_ebpf.protocols.registry import HTTP

BOUNDS = HTTP.metrics["server"].duration.bounds


def of(count: int, bucket: int, low: float, high: float) -> Histogram:
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[bucket] = count
    return Histogram(count, count * (low + high) / 2, low, high, tuple(buckets))


def summary(totals: Totals, **fields: object) -> Summary:
    values: dict[str, object] = {
        "totals": totals.by_route({1: "shop", 2: "web"}),
        "accounting": Accounting(seen=10, exported=7, dropped={"budget": 2, "export_failed": 1}),
        "duration_s": 2.0,
        "backend": True,
        **fields,
    }
    return Summary(**values)  # type: ignore[arg-type]


def test_totals_are_by_service_and_route_over_all_statuses() -> None:
    totals = Totals()
    body = Histogram(3, 600.0, 100, 300, (3,))
    totals.update(
        [
            Series(1, duration=of(3, 2, 0.011, 0.02), response_body=body),
            Series(1, status=500, error_type="500", duration=of(1, 2, 0.012, 0.012)),
            Series(2, route="/", duration=of(9, 0, 0.001, 0.004)),
        ]
    )
    by_route = totals.by_route({1: "shop", 2: "web"})
    assert list(by_route) == [("web", "server", "GET", "/"), ("shop", "server", "GET", "/orders/{id}")]
    shop = by_route["shop", "server", "GET", "/orders/{id}"]
    assert (shop.count, shop.errors, shop.bytes) == (4, 1, 600)


def test_processes_that_ended_are_kept_in_the_totals_once() -> None:
    totals = Totals()
    for count in (1, 2, 3):
        totals.update([Series(1, duration=of(count, 2, 0.02, 0.02))])
    totals.ended(1, "shop")
    totals.update([Series(2, duration=of(4, 2, 0.02, 0.02))])
    for _ in range(2):
        by_route = totals.by_route({2: "shop"})
        assert by_route["shop", "server", "GET", "/orders/{id}"].count == 7


@pytest.mark.parametrize(
    ("histogram", "fraction", "low", "high"),
    [
        (of(100, 2, 0.011, 0.024), 0.5, 0.011, 0.024),
        (of(100, 0, 0.0002, 0.003), 0.99, 0.0002, 0.003),
        (of(1, 2, 0.02, 0.02), 0.99, 0.02, 0.02),
        (of(5, len(BOUNDS), 11, 20), 0.99, 11, 20),
    ],
)
def test_quantiles_lie_within_what_was_measured(histogram: Histogram, fraction: float, low: float, high: float) -> None:
    total = Total()
    total.add(Series(duration=histogram))
    assert low <= total.quantile(fraction) <= high * 1.000001


def test_quantiles_of_a_known_mixture() -> None:
    total = Total()
    total.add(Series(duration=of(98, 0, 0.001, 0.004)))
    total.add(Series(duration=of(2, 8, 0.51, 0.7)))
    assert total.quantile(0.5) < 0.005
    assert 0.5 < total.quantile(0.99) <= 0.7


def test_the_text_adds_up_before_the_readers_eyes() -> None:
    totals = Totals()
    totals.update([Series(1, duration=of(10, 2, 0.011, 0.02))])
    text = summary(totals, lines_shown=6).as_text(colours=False, width=0)
    assert "10 requests seen in 2.0 s (5 a second); 6 shown, 4 not" in text
    assert "spans: seen 10 = exported 7 + dropped 3 (budget 2, export_failed 1)" in text
    assert "shop" in text
    assert "/orders/{id}" in text
    assert "\x1b" not in text
    assert "unaccounted" not in text


def test_what_does_not_add_up_is_said() -> None:
    text = summary(Totals(), accounting=Accounting(seen=5, exported=3)).as_text(colours=False, width=0)
    assert "seen 5 = exported 3 + dropped 0 + unaccounted 2" in text


def test_names_are_no_markup() -> None:
    totals = Totals()
    totals.update([Series(1, route="/[red]x[/red]\x1b[2J")])
    text = summary(totals).as_text(colours=False, width=0)
    assert "/[red]x[/red]" in text
    assert "\x1b" not in text


def test_long_lists_are_cut_and_the_rest_counted() -> None:
    totals = Totals()
    totals.update([Series(1, route=f"/{index}") for index in range(100)])
    text = summary(totals).as_text(colours=False, width=0)
    assert "… and 60 more" in text


def test_json_is_one_object_on_a_line() -> None:
    totals = Totals()
    totals.update([Series(1, duration=of(10, 2, 0.011, 0.02)), Series(2, overflow=True, method="")])
    text = summary(totals).as_json()
    assert text.count("\n") == 1
    record = json.loads(text)
    assert record["kind"] == "summary"
    assert record["requests_seen"] == record["spans_exported"] + sum(record["spans_dropped"].values())
    assert record["unaccounted"] == 0
    assert record["routes"][0]["requests"] == 10
    assert (record["routes"][1]["method"], record["routes"][1]["route"]) == (None, "(other)")


def test_calls_are_told_by_their_method() -> None:
    totals = Totals()
    totals.update(
        [call_series(duration=of(3, 2, 0.02, 0.02)), call_series(status="NOT_FOUND"), call_series(overflow=True)]
    )
    text = summary(totals).as_text(colours=False, width=0)
    assert "shop      server   gRPC     shop.v1.Cart/Add" in text
    routes = json.loads(summary(totals).as_json())["routes"]
    shown = [(one["method"], one["route"], one["rpc_method"], one["requests"], one["body_bytes"]) for one in routes]
    assert shown == [(None, None, "shop.v1.Cart/Add", 4, 20), (None, None, "(other)", 1, 10)]


def test_a_databases_calls_are_told_by_what_they_ask() -> None:
    totals = Totals()
    totals.update([Series()], [Calls(), Calls(name="SET", error_type="OOM"), Calls(overflow=True, name="")])
    text = summary(totals).as_text(colours=False, width=0)
    assert "shop      client   redis    SET" in text
    routes = json.loads(summary(totals).as_json())["routes"]
    shown = {(one["system"], one["method"], one["route"], one["summary"], one["errors"]) for one in routes}
    assert shown == {
        (None, "GET", "/orders/{id}", None, 0),
        ("redis", None, None, "GET", 0),
        ("redis", None, None, "SET", 1),
        ("redis", None, None, "(other)", 0),
    }


def test_the_mean_tells_what_a_wide_bucket_hides() -> None:
    total = Total()
    buckets = (10_000, *(0,) * len(BOUNDS))
    total.add(Series(duration=Histogram(10_000, 10_000 * 0.000_015, 0.000_005, 0.004_9, buckets)))
    assert total.mean_s == pytest.approx(0.000_015)
    assert 0.000_005 < total.quantile(0.5) < 0.000_025
    assert total.quantile(0.99) < 0.001_1
