"""Whether a process is watched where Kubernetes' annotations have a say, and by which rule.

    administrator's exclusions > pod's annotation > namespace's annotation > configuration's rules > off

So in a cluster nothing is watched that nobody asked for; without one, everything that no rule leaves out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from otel_ebpf.config.settings import INJECT_ANNOTATION, Selection
from otel_ebpf.discover.selection import Selector
from otel_ebpf.model import ProcessInfo, Verdict, Workload

ENABLED: Final = "enabled"
CONTAINERS: Final = "containers"


@dataclass(frozen=True, slots=True)
class Step:
    """What one rule had to say: `decides` for the first that had anything."""

    rule: str
    said: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Invalid:
    """An annotation that counts as unset, and why."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """A pod's or a namespace's annotations as they are meant; None: not set, or not valid."""

    enabled: bool | None = None
    key: str = ""  # the annotation that `enabled` comes from
    containers: tuple[str, ...] | None = None
    invalid: tuple[Invalid, ...] = ()


def wishes(annotations: Mapping[str, str], prefix: str) -> Wishes:
    """What annotations with our prefix, or the alias, ask for."""
    enabled: bool | None = None
    from_key = ""
    containers: tuple[str, ...] | None = None
    invalid: list[Invalid] = []
    for key in (prefix + ENABLED, INJECT_ANNOTATION):
        if (text := annotations.get(key)) is None:
            continue
        value = {"true": True, "false": False}.get(text.strip().lower())
        if value is None:
            invalid.append(Invalid(key, text, 'neither "true" nor "false"'))
        elif enabled is None:
            enabled, from_key = value, key
    for key, text in annotations.items():
        name = key.removeprefix(prefix)
        if name in {key, ENABLED}:
            continue
        if name != CONTAINERS:
            invalid.append(Invalid(key, text, f"no such key; known are {ENABLED} and {CONTAINERS}"))
        elif globs := tuple(part.strip() for part in text.split(",") if part.strip()):
            containers = globs
        else:
            invalid.append(Invalid(key, text, "not a list of containers' names, such as web,sidecar-*"))
    return Wishes(enabled, from_key, containers, tuple(invalid))


class Enablement:
    """Gives verdicts; holds no state but the rules. `prefix` None: there is no cluster, and rules alone decide."""

    def __init__(self, selection: Selection, prefix: str | None = None) -> None:
        self._selector = Selector(selection)
        self._prefix = prefix

    def verdict(self, process: ProcessInfo) -> Verdict:
        """Whether the process is watched, on which ports, and why."""
        return self._selector.verdict(process) if self._prefix is None else self.decide(process)[0]

    def decide(self, process: ProcessInfo) -> tuple[Verdict, tuple[Step, ...]]:
        """The verdict, and what each rule said on the way to it."""
        steps: list[Step] = []
        denied, exclude_ports = self._selector.exclusion(process)
        steps.append(Step("configuration: exclude", denied or "no rule holds", denied is not None))
        if denied is not None:
            return Verdict(False, denied), tuple(steps)
        for step, selected in self._annotations(process.workload):
            steps.append(step)
            if selected is not None:
                return Verdict(selected, f"{step.rule}: {step.said}", None, exclude_ports), tuple(steps)
        included = self._selector.inclusion(process, exclude_ports)
        if included is None:
            steps.append(Step("configuration: include", "there are no rules"))
        else:
            steps.append(Step("configuration: include", included.why, included.selected))
            if included.selected:
                return included, tuple(steps)
        steps.append(Step("default", "off: nobody asked for it", decides=True))
        return Verdict(False, "nobody asked for it"), tuple(steps)

    def invalid(self, workload: Workload) -> Iterator[tuple[str, Invalid]]:
        """Annotations that are not valid, each with the object that has it ("pod shop/cart", "namespace shop")."""
        pod = workload.pod
        for what, annotations in (
            (f"pod {pod.namespace}/{pod.name}", pod.annotations),
            (f"namespace {pod.namespace}", workload.namespace_annotations or {}),
        ):
            for one in wishes(annotations, self._prefix or "").invalid if self._prefix else ():
                yield what, one

    def _annotations(self, workload: Workload | None) -> Iterator[tuple[Step, bool | None]]:
        """Steps of pod and namespace; with each what it decides."""
        if workload is None or self._prefix is None:
            yield Step("pod", "in none, or the API server has not told of it"), None
            return
        pod = wishes(workload.pod.annotations, self._prefix)
        namespace = wishes(workload.namespace_annotations or {}, self._prefix)
        containers = pod.containers or namespace.containers
        for rule, wish in (("pod", pod), ("namespace", namespace)):
            said = "".join(f"; {one.key}={one.value!r} counts as unset: {one.why}" for one in wish.invalid)
            if rule == "namespace" and workload.namespace_annotations is None:
                yield Step(rule, "the API server has not told of it"), None
            elif wish.enabled is None:
                yield Step(rule, f"no annotation says whether{said}"), None
            elif not wish.enabled:
                yield Step(rule, f"{wish.key}=false{said}", decides=True), False
            else:
                chosen, why = _chosen(workload, containers)
                yield Step(rule, f"{wish.key}=true{why}{said}", decides=True), chosen


def _chosen(workload: Workload, containers: tuple[str, ...] | None) -> tuple[bool, str]:
    """Whether the container is one of those that are asked for."""
    if containers is None:
        return True, ""
    name = workload.container.name if workload.container else ""
    glob = next((glob for glob in containers if name and fnmatchcase(name, glob)), None)
    if glob is None:
        return False, f", but container {name or '(not known yet)'} is none of {','.join(containers)}"
    return True, f", container {name} is one of {','.join(containers)}"
