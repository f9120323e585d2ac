"""Who is watched in a cluster: annotations of pod and namespace between exclusions and rules."""

from collections.abc import Mapping

import pytest

from otel_ebpf.config.settings import Rule, Selection
from otel_ebpf.discover.enablement import Enablement, Wishes, wishes
from otel_ebpf.model import Pod, PodContainer, ProcessInfo, Resource, Workload

PREFIX = "otel-ebpf.io/"
ALIAS = "instrumentation.opentelemetry.io/inject-ebpf"
ON, OFF, BAD = ({PREFIX + "enabled": value} for value in ("true", "false", "yes"))
RULES = Selection((Rule(executables=("nginx",)),))
DENIED = Selection(exclude=(Rule(namespaces=("sh*",)),))


def process(
    pod: Mapping[str, str] | None = None,
    namespace: Mapping[str, str] | None = None,
    container: str = "web",
    executable: str = "nginx",
) -> ProcessInfo:
    workload = Workload(
        Pod("u", "shop", "cart", annotations=pod or {}),
        PodContainer(container, "") if container else None,
        {} if namespace is None else namespace,
    )
    return ProcessInfo(1, 1, f"/bin/{executable}", executable, (), "s", Resource({}, b""), workload=workload)


@pytest.mark.parametrize(
    ("selection", "pod", "namespace", "selected", "why"),
    [
        (Selection(), {}, {}, False, "nobody asked for it"),
        (Selection(), ON, {}, True, "pod: otel-ebpf.io/enabled=true"),
        (Selection(), {}, ON, True, "namespace: otel-ebpf.io/enabled=true"),
        (Selection(), OFF, ON, False, "pod: otel-ebpf.io/enabled=false"),
        (Selection(), ON, OFF, True, "pod: otel-ebpf.io/enabled=true"),
        (Selection(), {}, OFF, False, "namespace: otel-ebpf.io/enabled=false"),
        # not valid is not set
        (Selection(), BAD, ON, True, "namespace: otel-ebpf.io/enabled=true"),
        (Selection(), BAD, BAD, False, "nobody asked for it"),
        # annotations before rules
        (RULES, {}, {}, True, "included: executable nginx"),
        (RULES, OFF, {}, False, "pod: otel-ebpf.io/enabled=false"),
        (RULES, {}, OFF, False, "namespace: otel-ebpf.io/enabled=false"),
        (RULES, BAD, {}, True, "included: executable nginx"),
        (Selection((Rule(executables=("java",)),)), {}, {}, False, "nobody asked for it"),
        (Selection((Rule(namespaces=("shop",)),)), {}, {}, True, "included: namespace shop"),
        # what the administrator leaves out stays out
        (DENIED, ON, ON, False, "excluded: namespace sh*"),
        (Selection((), (Rule(namespaces=("prod",)),)), ON, {}, True, "pod: otel-ebpf.io/enabled=true"),
        # the operator's annotation
        (Selection(), {ALIAS: "true"}, {}, True, f"pod: {ALIAS}=true"),
        (Selection(), {ALIAS: "true", **OFF}, {}, False, "pod: otel-ebpf.io/enabled=false"),
        (Selection(), {ALIAS: "true", **BAD}, {}, True, f"pod: {ALIAS}=true"),
    ],
)
def test_who_has_the_say(
    selection: Selection, pod: dict[str, str], namespace: dict[str, str], selected: bool, why: str
) -> None:
    verdict, steps = Enablement(selection, PREFIX).decide(process(pod, namespace))
    assert verdict.selected == selected
    assert verdict.why.startswith(why)
    assert [step.decides for step in steps] == [False] * (len(steps) - 1) + [True]


@pytest.mark.parametrize(
    ("pod", "namespace", "container", "selected"),
    [
        ("web,proxy-*", None, "web", True),
        ("web,proxy-*", None, "proxy-1", True),
        ("web", None, "proxy", False),
        ("web", None, "", False),  # nobody knows yet
        (None, "web", "web", True),
        (None, "web", "proxy", False),
        ("proxy", "web", "proxy", True),
        (" , ", "web", "web", True),
        (None, None, "", True),
    ],
)
def test_containers(pod: str | None, namespace: str | None, container: str, selected: bool) -> None:
    own, whole = ({PREFIX + "containers": text} if text is not None else {} for text in (pod, namespace))
    info = process(own, {**ON, **whole}, container)
    assert Enablement(Selection(), PREFIX).verdict(info).selected == selected


def test_ports_that_are_left_out_are_left_out_of_annotated_pods_too() -> None:
    selection = Selection(exclude=(Rule(ports=((9090, 9090),)),))
    verdict = Enablement(selection, PREFIX).verdict(process(ON))
    assert (verdict.selected, verdict.exclude_ports) == (True, ((9090, 9090),))


def test_outside_of_pods_rules_decide_and_without_a_cluster_rules_alone() -> None:
    info = ProcessInfo(1, 1, "/bin/nginx", "nginx", (), "s", Resource({}, b""))
    assert not Enablement(Selection(), PREFIX).verdict(info).selected
    assert Enablement(RULES, PREFIX).verdict(info).selected
    assert Enablement(Selection()).verdict(info).selected
    assert Enablement(Selection()).verdict(process(OFF)).selected


@pytest.mark.parametrize(
    ("annotations", "meant", "invalid"),
    [
        ({"a/enabled": "TRUE"}, Wishes(True, "a/enabled"), []),
        ({"a/enabled": " false "}, Wishes(False, "a/enabled"), []),
        ({"a/enabled": "1"}, Wishes(), ["a/enabled"]),
        ({"a/enabled": ""}, Wishes(), ["a/enabled"]),
        ({"a/containers": "x, y*"}, Wishes(containers=("x", "y*")), []),
        ({"a/containers": ""}, Wishes(), ["a/containers"]),
        ({"a/enbaled": "true"}, Wishes(), ["a/enbaled"]),
        ({"b/enabled": "true", "resource.opentelemetry.io/x": "y"}, Wishes(), []),
        ({ALIAS: "auto"}, Wishes(), [ALIAS]),
    ],
)
def test_what_annotations_mean(annotations: dict[str, str], meant: Wishes, invalid: list[str]) -> None:
    found = wishes(annotations, "a/")
    assert (found.enabled, found.key, found.containers) == (meant.enabled, meant.key, meant.containers)
    assert [one.key for one in found.invalid] == invalid
    assert all(one.why for one in found.invalid)
