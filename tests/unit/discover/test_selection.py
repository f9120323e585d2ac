"""Who is watched, as users would put it in rules."""

import pytest

from otel_ebpf.config.settings import Rule, Selection
from otel_ebpf.discover.selection import Selector, only_ports
from otel_ebpf.model import ProcessInfo, Resource


def process(
    pid: int = 100,
    path: str = "/usr/sbin/nginx",
    service: str = "web",
    cgroups: tuple[str, ...] = ("/system.slice/nginx.service", "/"),
) -> ProcessInfo:
    return ProcessInfo(pid, pid, path, path.rpartition("/")[2], cgroups, service, Resource({}, b""))


def verdict(selection: Selection, **fields: object) -> tuple[bool, object, object]:
    given = Selector(selection).verdict(process(**fields))  # type: ignore[arg-type]
    assert given.why
    return given.selected, given.include_ports, given.exclude_ports


def test_without_rules_everything_is_watched() -> None:
    assert verdict(Selection()) == (True, None, ())


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        (Rule(executables=("nginx",)), True),
        (Rule(executables=("ngin?",)), True),
        (Rule(executables=("/usr/*/nginx",)), True),
        (Rule(executables=("/opt/*",)), False),
        (Rule(executables=("usr*",)), False),
        (Rule(executables=("envoy", "nginx")), True),
        (Rule(executables=("NGINX",)), False),
        (Rule(pids=(1, 100)), True),
        (Rule(pids=(1,)), False),
        (Rule(cgroups=("/system.slice/*",)), True),
        (Rule(cgroups=("/kubepods*",)), False),
        (Rule(services=("w*",)), True),
        (Rule(services=("shop",)), False),
        (Rule(executables=("nginx",), services=("shop",)), False),
        (Rule(executables=("nginx",), services=("web",), pids=(100,)), True),
    ],
)
def test_all_fields_of_a_rule_must_hold_and_one_value_of_each_is_enough(rule: Rule, holds: bool) -> None:
    assert verdict(Selection(include=(rule,)))[0] == holds
    assert verdict(Selection(exclude=(rule,)))[0] != holds


def test_any_include_rule_is_enough_and_any_exclude_rule_too_many() -> None:
    include = (Rule(executables=("envoy",)), Rule(services=("web",)))
    assert verdict(Selection(include))[0]
    assert not verdict(Selection(include, (Rule(pids=(100,)),)))[0]
    assert verdict(Selection(include, (Rule(pids=(101,)),)))[0]


def test_ports_narrow_what_is_watched_of_a_process() -> None:
    include = (Rule(executables=("nginx",), ports=((80, 80),)), Rule(ports=((8000, 8100),)))
    assert verdict(Selection(include)) == (True, ((80, 80), (8000, 8100)), ())
    assert verdict(Selection(include), path="/bin/envoy") == (True, ((8000, 8100),), ())


def test_a_rule_without_ports_opens_them_all() -> None:
    include = (Rule(ports=((80, 80),)), Rule(executables=("nginx",)))
    assert verdict(Selection(include)) == (True, None, ())


def test_excluded_ports_leave_out_connections_not_processes() -> None:
    exclude = (Rule(ports=((9090, 9090),)), Rule(executables=("envoy",), ports=((1, 1024),)))
    assert verdict(Selection((), exclude)) == (True, None, ((9090, 9090),))


def test_an_unknown_executable_matches_nothing_not_even_a_star() -> None:
    assert not verdict(Selection((Rule(executables=("*",)),)), path="")[0]


def test_the_reason_names_what_held() -> None:
    selection = Selection((Rule(executables=("ngin*",), ports=((80, 80), (8000, 8100))),))
    assert Selector(selection).verdict(process()).why == "included: executable ngin*, ports 80,8000-8100"
    assert Selector(selection).verdict(process(path="/bin/curl")).why == "no include rule holds"
    excluding = Selection((), (Rule(services=("web",)),))
    assert Selector(excluding).verdict(process()).why == "excluded: service web"


def test_the_kernel_filters_by_port_only_where_nothing_else_can_be_selected() -> None:
    assert only_ports(Selection()) is None
    assert only_ports(Selection((Rule(ports=((80, 81),)), Rule(executables=("a",), ports=((81, 81),))))) == [80, 81]
    assert only_ports(Selection((Rule(ports=((80, 80),)), Rule(executables=("a",))))) is None
    assert only_ports(Selection((Rule(ports=((1, 65535),)),))) is None
