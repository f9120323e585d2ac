"""Lines as they look, and as programs read them."""

import json

import pytest
from rich.color import ColorSystem
from tests.unit.fakes import Line

from otel_ebpf.export.terminal import (
    LINES_PER_SECOND,
    LineBudget,
    TextLines,
    bytes_text,
    duration_text,
    json_line,
    printable,
)
from otel_ebpf.model import ProcessInfo, Resource

SHOP = ProcessInfo(1, 4711, "/bin/shop", "shop", (), "shop", Resource({}, b""))
PLAIN = TextLines(colours=None, width=0)


def test_a_line_has_it_all_in_order() -> None:
    words = TextLines(colours=None, width=0)(Line(), SHOP).split()
    assert " ".join(words[1:]) == "shop 10.0.0.5:51234 → 10.0.0.9:80 GET /orders/{id} 200 1.25 ms 612 B /orders/17"
    assert len(words[0]) == len("12:34:56.789")


def test_columns_stay_in_line() -> None:
    lines = TextLines(colours=None, width=0)
    wide = Line(client="[2001:db8::1]:51234", route="/a/rather/longer/route/{id}/of/things", error_type="x", status=0)
    lines(wide, SHOP)
    one, other = lines(Line(), SHOP), lines(wide, SHOP)
    assert one.index("GET") == other.index("GET")
    assert one.index(" B") == other.index(" B")


def test_what_has_no_route_shows_its_path_and_what_has_no_status_its_error() -> None:
    text = PLAIN(Line(route="", target="/a?b=c", status=0, error_type="connection_reset"), SHOP)
    assert "/a?b=c" in text
    assert "connection_reset" in text


CALL = Line(method="POST", target="/shop.v1.Cart/Add", route="", rpc_method="shop.v1.Cart/Add", rpc_status="NOT_FOUND")


def test_a_call_shows_its_method_and_its_own_status() -> None:
    words = TextLines(colours=None, width=0)(CALL, SHOP).split()
    assert " ".join(words[4:]) == "10.0.0.9:80 gRPC shop.v1.Cart/Add NOT_FOUND 1.25 ms 612 B"
    unknown = PLAIN(CALL._replace(target="/a.B/Evil", rpc_method="_OTHER", rpc_status="UNIMPLEMENTED"), SHOP).split()
    assert unknown[5:8] == ["gRPC", "/a.B/Evil", "UNIMPLEMENTED"]
    assert unknown[-1] == "B"
    nameless = PLAIN(CALL._replace(target="", rpc_method="_OTHER"), SHOP).split()
    assert nameless[5:8] == ["gRPC", "-", "NOT_FOUND"]
    record = json.loads(json_line(CALL._replace(request_messages=1), SHOP))
    assert (record["method"], record["status"], record["route"]) == ("POST", 200, None)
    assert (record["rpc_method"], record["rpc_status"]) == ("shop.v1.Cart/Add", "NOT_FOUND")
    assert (record["request_messages"], record["response_messages"]) == (1, None)


def test_a_calls_colour_tells_whose_error_it_is() -> None:
    coloured = TextLines(colours=ColorSystem.STANDARD, width=0)
    for status, error_type, code in (("OK", "", "32m"), ("NOT_FOUND", "", "33m"), ("INTERNAL", "INTERNAL", "1;31m")):
        text = coloured(CALL._replace(rpc_status=status, error_type=error_type), SHOP)
        assert text[: text.index(status)].rpartition("\x1b[")[2] == code


def test_a_database_call_shows_its_query_and_the_databases_word_for_its_end() -> None:
    call = Line(
        role="client", system="postgresql", summary="SELECT carts", query="SELECT * FROM carts WHERE id = ?",
        method="", target="", route="", status=0,
    )  # fmt: skip
    text = PLAIN(call, SHOP)
    assert "postgresql  SELECT carts" in text
    assert text.endswith("SELECT * FROM carts WHERE id = ?\n")
    assert " OK " in text
    failed = PLAIN(call._replace(code="42P01", error_type="42P01"), SHOP)
    assert " 42P01 " in failed
    record = json.loads(json_line(call, SHOP))
    assert (record["system"], record["summary"], record["query"]) == ("postgresql", call.summary, call.query)
    assert (record["method"], record["target"], record["status"]) == (None, None, None)


def test_colours_only_if_asked_for_and_by_kind_of_status() -> None:
    assert "\x1b" not in PLAIN(Line(status=500), SHOP)
    coloured = TextLines(colours=ColorSystem.STANDARD, width=0)
    texts = {status: coloured(Line(status=status), SHOP) for status in (200, 302, 404, 503)}
    codes = {status: text[: text.index(str(status))].rpartition("\x1b[")[2] for status, text in texts.items()}
    assert codes == {200: "32m", 302: "36m", 404: "33m", 503: "1;31m"}


def test_on_a_terminal_a_line_stays_one_line() -> None:
    lines = TextLines(colours=None, width=130)
    for length in (5, 50, 500):
        line = Line(route="/" + "x" * length, target="/" + "y" * length)
        assert len(lines(line, SHOP).rstrip("\n")) <= 130
    wide = TextLines(colours=None, width=170)(Line(target="/orders/17?" + "z" * 100), SHOP)
    assert len(wide) == 171
    assert "/orders/17?z" in wide
    assert wide.endswith("…\n")


def test_a_path_that_is_its_route_is_not_said_twice() -> None:
    for route in ("", "/orders"):
        assert PLAIN(Line(route=route, target="/orders"), SHOP).count("/orders") == 1


@pytest.mark.parametrize("sent", ["\x1b[2J", "\r\n", "\x00", "\x9b31m", "\u202e", "\ud800", "\x7f"])
def test_nothing_that_a_client_sends_moves_the_cursor(sent: str) -> None:
    text = PLAIN(Line(route="", target=f"/a{sent}b", method=f"G{sent}"), SHOP)
    assert sent not in text.rstrip("\n")
    assert text.count("\n") == 1
    text.encode()
    assert printable("/straße/日本") == "/straße/日本"


def test_json_has_every_field_and_nulls() -> None:
    record = json.loads(json_line(Line(status=0, error_type="timeout", route=""), SHOP))
    assert record == {
        "kind": "request",
        "time": "2023-11-14T22:13:20.123456789Z",
        "service": "shop",
        "pid": 4711,
        "role": "server",
        "system": None,
        "summary": None,
        "query": None,
        "response_code": None,
        "client": "10.0.0.5:51234",
        "server": "10.0.0.9:80",
        "method": "GET",
        "target": "/orders/17",
        "route": None,
        "status": None,
        "rpc_method": None,
        "rpc_status": None,
        "request_messages": None,
        "response_messages": None,
        "error_type": "timeout",
        "duration_ns": 1_250_000,
        "request_body_bytes": 0,
        "response_body_bytes": 612,
        "trace_id": None,
        "span_id": None,
    }
    assert json_line(Line(target="/\x1b\ud800"), None).isascii()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 µs"), (0.000_812, "812 µs"), (0.00125, "1.25 ms"), (0.9996, "1.00 s"), (30, "30.0 s"), (4000, "4000 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (2_500_000, "2.50 MB"), (7e13, "70.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert bytes_text(count) == text


def test_the_budget_is_some_two_thousand_lines_a_second() -> None:
    budget, now, shown = LineBudget(0.0), 0.0, 0
    for _ in range(100):
        now += 0.1
        lines = budget.take(now)
        budget.spend(lines)
        shown += lines
    assert shown == pytest.approx(LINES_PER_SECOND * 10, rel=0.11)
