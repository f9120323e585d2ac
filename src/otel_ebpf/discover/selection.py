"""Which processes are watched: the configuration's rules against what is known of a process.

A rule's fields must all hold; any rule of `include` is enough, none of `exclude` may hold, and without
`include` everything is in. Ports belong to connections, not to processes: a rule with ports that holds
otherwise selects (or leaves out) only the process's connections whose server has one of them.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from otel_ebpf.config.settings import Rule, Selection
from otel_ebpf.model import PortRange, ProcessInfo, Verdict

_FEW_PORTS: Final = 64


class Selector:
    """Gives verdicts; holds no state but the rules."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def verdict(self, process: ProcessInfo) -> Verdict:
        """Whether the process is watched, on which ports, and why."""
        denied, exclude_ports = self.exclusion(process)
        if denied is not None:
            return Verdict(False, denied)
        included = self.inclusion(process, exclude_ports)
        return included or Verdict(True, "everything is watched", None, exclude_ports)

    def exclusion(self, process: ProcessInfo) -> tuple[str | None, tuple[PortRange, ...]]:
        """Why the process is left out, None if it is not; and the ports that are."""
        left_out: list[PortRange] = []
        for rule in self._selection.exclude:
            if (reason := _holds(rule, process)) is None:
                continue
            if not rule.ports:
                return f"excluded: {reason}", ()
            left_out.extend(rule.ports)
        return None, tuple(left_out)

    def inclusion(self, process: ProcessInfo, exclude_ports: tuple[PortRange, ...]) -> Verdict | None:
        """What the rules of `include` say; None if there are none."""
        if not self._selection.include:
            return None
        ports: list[PortRange] = []
        reasons: list[str] = []
        for rule in self._selection.include:
            if (reason := _holds(rule, process)) is None:
                continue
            if not rule.ports:
                return Verdict(True, f"included: {reason}", None, exclude_ports)
            ports.extend(rule.ports)
            reasons.append(reason)
        if not ports:
            return Verdict(False, "no include rule holds")
        return Verdict(True, f"included: {'; '.join(reasons)}", tuple(ports), exclude_ports)


def only_ports(selection: Selection) -> list[int] | None:
    """The ports without one of which nothing can be selected, if they are few; else None.

    The core then leaves all other connections alone from their first byte.
    """
    if not selection.include or not all(rule.ports for rule in selection.include):
        return None
    ranges = [ports for rule in selection.include for ports in rule.ports]
    if sum(last - first + 1 for first, last in ranges) > _FEW_PORTS:
        return None
    return sorted({port for first, last in ranges for port in range(first, last + 1)})


def _holds(rule: Rule, process: ProcessInfo) -> str | None:
    """Why the rule holds, ports aside; None if it does not."""
    reasons: list[str] = []
    if rule.pids:
        if process.pid not in rule.pids:
            return None
        reasons.append(f"pid {process.pid}")
    for field, patterns, candidates in (
        ("cgroup", rule.cgroups, process.cgroups),
        ("service", rule.services, (process.service_name,)),
        ("namespace", rule.namespaces, (process.workload.pod.namespace,) if process.workload else ()),
    ):
        if patterns:
            if (pattern := _match(patterns, candidates)) is None:
                return None
            reasons.append(f"{field} {pattern}")
    if rule.executables:
        if (pattern := _match_executable(rule.executables, process)) is None:
            return None
        reasons.append(f"executable {pattern}")
    if rule.ports:
        reasons.append("ports " + ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in rule.ports))
    return ", ".join(reasons)


def _match(patterns: Sequence[str], candidates: Sequence[str]) -> str | None:
    return next((p for p in patterns if any(fnmatchcase(candidate, p) for candidate in candidates)), None)


def _match_executable(patterns: Sequence[str], process: ProcessInfo) -> str | None:
    for pattern in patterns:
        candidate = process.executable_path if "/" in pattern else process.executable_name
        if candidate and fnmatchcase(candidate, pattern):
            return pattern
    return None
