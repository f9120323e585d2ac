"""What holds: every value with who decided on it; as a table, as JSON, or as a file that would say the same.

Secrets are masked in all of them: values of headers, credentials and parameters of URLs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from otel_ebpf.config.catalogue import OURS, SETTINGS, Setting, value_of
from otel_ebpf.config.kinds import written
from otel_ebpf.config.load import Loaded
from otel_ebpf.config.origin import Origin
from otel_ebpf.config.settings import MASK, OtlpTarget, Rule, Settings, mask_url

_DEFAULT: Final = Origin()
_LEVELS: Final = {"warning": "warn"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting, its value without secrets, and who decided on it."""

    setting: Setting
    value: Any
    origin: Origin


def effective(loaded: Loaded) -> list[Shown]:
    """All settings, in the catalogue's order. Of a signal that goes nowhere only that: its target is None."""
    shown = []
    for setting in SETTINGS:
        around, _, last = setting.name.rpartition(".")
        if around.endswith(".target") and value_of(loaded.settings, around) is None:
            if last == "url":
                shown.append(Shown(setting, None, loaded.origins.get(around, _DEFAULT)))
            continue
        value = _masked(setting, value_of(loaded.settings, setting.name))
        shown.append(Shown(setting, value, loaded.origins.get(setting.name, _DEFAULT)))
    return shown


def _masked(setting: Setting, value: Any) -> Any:
    last = setting.name.rpartition(".")[2]
    if last == "headers":
        return tuple((name, MASK) for name, _ in value)
    return mask_url(value) if last == "url" else value


def as_text(shown: list[Shown]) -> str:
    """A table for people."""
    rows = [(one.setting.name, _words(_named(one)), str(one.origin)) for one in shown]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {value:<{min(widths[1], 48)}}  {origin}" for name, value, origin in rows)


def _named(one: Shown) -> Any:
    """None by its word, where it has one."""
    return written(one.setting.kind, one.value) if one.value is None else one.value


def as_json(shown: list[Shown]) -> str:
    """A list of objects, for programs."""
    return json.dumps(
        [
            {
                "name": one.setting.name,
                "value": plain(one.value),
                "origin": {"kind": one.origin.kind, "where": one.origin.where, "through": list(one.origin.through)},
                "key": one.setting.key,
                "environment": list(one.setting.env),
                "flag": one.setting.flag,
                "live": one.setting.live,
            }
            for one in shown
        ],
        indent=2,
    )


def plain(value: Any) -> Any:
    """A value of `Settings` in JSON's types."""
    if isinstance(value, Rule):
        return {field.name: plain(held) for field in fields(value) if (held := getattr(value, field.name))}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _words(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        pairs = all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in value)
        parts = (f"{item[0]}={item[1]}" for item in value) if pairs else (json.dumps(plain(item)) for item in value)
        return ", ".join(parts) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value) or "-"


def as_yaml(loaded: Loaded) -> str:
    """A configuration file that says what holds, each value with its origin behind it."""
    lines = ["file_format: '1.0'"]
    lines += _emit(_document(loaded.settings, {one.setting.name: one for one in effective(loaded)}), 0)
    return "\n".join(lines)


def _document(settings: Settings, shown: Mapping[str, Shown]) -> dict[str, Any]:
    """The file's structure; leaves are (value, origin)."""

    def leaf(name: str) -> tuple[Any, Origin]:
        one = shown[name]
        return written(one.setting.kind, plain(one.value)), one.origin

    level, origin = leaf("log_level")
    document: dict[str, Any] = {
        "log_level": (_LEVELS.get(level, level), origin),
        "resource": {"attributes": _pairs(settings.resource, shown["resource"].origin)},
        "tracer_provider": {"sampler": _sampler(settings, shown)},
        "distribution": {},
    }
    if target := settings.traces.target:
        batch = {
            "schedule_delay": leaf("traces.schedule_delay_s"),
            "max_export_batch_size": leaf("traces.batch_spans"),
            "exporter": _exporter("traces", target, shown),
        }
        document["tracer_provider"]["processors"] = [{"batch": batch}]
    if target := settings.metrics.target:
        exporter = _exporter("metrics", target, shown)
        temporality, origin = leaf("metrics.temporality")
        next(iter(exporter.values()))["temporality_preference"] = (
            temporality.replace("lowmemory", "low_memory"),
            origin,
        )
        document["meter_provider"] = {
            "readers": [{"periodic": {"interval": leaf("metrics.interval_s"), "exporter": exporter}}]
        }
    for one in shown.values():
        if one.setting.by_hand:
            continue
        *around, last = one.setting.key.split(".")
        branch = document
        for part in around:
            branch = branch.setdefault(part, {})
        branch[last] = leaf(one.setting.name)
    branch = document["distribution"][OURS.split(".")[1]].setdefault("selection", {})
    for kind in ("include", "exclude"):
        rules = [_rule(rule) for rule in getattr(settings.selection, kind)]
        branch[kind] = (rules, shown[f"selection.{kind}"].origin)
    return document


def _rule(rule: Rule) -> dict[str, Any]:
    keys = {"executables": "executable", "ports": "port", "pids": "pid", "cgroups": "cgroup", "services": "service",
            "namespaces": "namespace"}  # fmt: skip
    said = {key: list(getattr(rule, name)) for name, key in keys.items() if getattr(rule, name)}
    if "port" in said:
        said["port"] = [f"{low}-{high}" for low, high in said["port"]]
    return said


def _pairs(pairs: tuple[tuple[str, str], ...], origin: Origin) -> tuple[list[dict[str, str]], Origin]:
    return [{"name": name, "value": value} for name, value in pairs], origin


def _sampler(settings: Settings, shown: Mapping[str, Shown]) -> dict[str, Any]:
    origin = shown["traces.sampler"].origin
    name = settings.traces.sampler
    root_name = name.removeprefix("parentbased_")
    root: dict[str, Any] = {root_name: ({}, origin)}
    if root_name == "traceidratio":
        root = {"trace_id_ratio_based": {"ratio": (settings.traces.sampler_arg, shown["traces.sampler_arg"].origin)}}
    return {"parent_based": {"root": root}} if name.startswith("parentbased_") else root


def _exporter(signal: str, target: OtlpTarget, shown: Mapping[str, Shown]) -> dict[str, Any]:
    def leaf(name: str) -> tuple[Any, Origin]:
        one = shown[f"{signal}.target.{name}"]
        return written(one.setting.kind, one.value), one.origin

    said: dict[str, Any] = {
        "endpoint": leaf("url"),
        "headers": _pairs(shown[f"{signal}.target.headers"].value, leaf("headers")[1]),
        "compression": leaf("compression"),
        "timeout": leaf("timeout_s"),
    }
    tls = {"ca_file": "ca_file", "client_certificate_file": "cert_file", "client_key_file": "key_file"}
    files = {key: leaf(name) for name, key in tls.items() if getattr(target, name)}
    if files:
        said["tls"] = files
    if target.protocol == "grpc":
        return {"otlp_grpc": said}
    return {"otlp_http": {**said, "encoding": (target.protocol.removeprefix("http/"), leaf("protocol")[1])}}


def _emit(node: Any, depth: int) -> Iterator[str]:
    """Lines of a mapping whose leaves are (value, origin). JSON's values are YAML's, too."""
    indent = "  " * depth
    for key, value in node.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _emit(value, depth + 1)
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for item in value:
                first, *rest = _emit(item, depth + 2)
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        else:
            said, origin = value
            text = "" if said is None or said == "" else f" {json.dumps(said, ensure_ascii=False)}"
            yield f"{indent}{key}:{text} # {origin}"
