"""What flags mean: the settings of a command line, with who decided on each."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from otel_ebpf.config import values
from otel_ebpf.config.catalogue import with_value
from otel_ebpf.config.load import Loaded, config_path, load_with_origins
from otel_ebpf.config.origin import Origin
from otel_ebpf.config.settings import Rule, Selection
from otel_ebpf.model import PortRange

_KINDS = ("exe", "port", "pid", "cgroup", "service")


class _Ports(click.ParamType[tuple[PortRange, ...]]):
    name = "N[,N-M]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[PortRange, ...]:
        try:
            return values.parse_ports(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """--exe, --port, --pid, --cgroup and --service, each with its --exclude- counterpart."""
    kinds: list[tuple[str, Any, str]] = [
        ("service", str, "GLOB"),
        ("cgroup", str, "GLOB"),
        ("pid", click.IntRange(min=1), "N"),
        ("port", _Ports(), "N[,N-M]"),
        ("exe", str, "GLOB"),
    ]
    helps = {
        "exe": "Executable: its name, or its path if the glob has a slash.",
        "port": "Port of the server's end of the connection, or ranges of them.",
        "pid": "Process id.",
        "cgroup": "Path of the cgroup, as in /proc/PID/cgroup.",
        "service": "Service name, as it will be reported.",
    }
    for prefix in ("exclude-", ""):
        for kind, kind_type, metavar in kinds:
            text = f"Leave out, even if selected: {kind}." if prefix else helps[kind]
            command = click.option(f"--{prefix}{kind}", type=kind_type, multiple=True, metavar=metavar, help=text)(
                command
            )
    return command


def load_all(options: Mapping[str, Any], variables: Mapping[str, str]) -> Loaded:
    """What file, environment and the flags of `otel-ebpf run` come to. Raises ConfigError."""
    loaded = load_with_origins(config_path(options["config"], variables), variables)
    settings, origins = loaded.settings, dict(loaded.origins)

    def by_flag(name: str, value: Any, flag: str) -> None:
        nonlocal settings
        settings = with_value(settings, name, value)
        origins[name] = Origin("flag", flag)

    given = {
        kind: [f"--{part}{name}" for name in _KINDS if options[f"{part}{name}".replace("-", "_")]]
        for kind, part in (("include", ""), ("exclude", "exclude-"))
    }
    selection = _with_flags(settings.selection, options)
    for kind, flags in given.items():
        if flags:
            by_flag(f"selection.{kind}", getattr(selection, kind), ", ".join(flags))
    if options["metrics_only"]:
        by_flag("traces.target", None, "--metrics-only")
        by_flag("traces.exporters", (), "--metrics-only")
    if options["spans_per_second"] is not None:
        by_flag("traces.spans_per_second", options["spans_per_second"], "--spans-per-second")
    form, lines = options["form"], options["lines"]
    if lines is not None:
        by_flag("output.lines", lines, "--lines" if lines else "--quiet")
    elif form:
        by_flag("output.lines", True, "--output")
    if form:
        by_flag("output.format", form, "--output")
    if options["stats"]:
        by_flag("output.stats", True, "--stats")
    return Loaded(settings, origins)


def _with_flags(selection: Selection, flags: Mapping[str, Any]) -> Selection:
    """Flags as rules: one that includes, in place of the file's; and one for each exclusion, beside the file's."""

    def rule(prefix: str, *kinds: str) -> Rule:
        def given(kind: str) -> Any:
            return flags[prefix + kind] if kind in kinds else ()

        return Rule(
            executables=given("exe"),
            ports=tuple(part for ports in given("port") for part in ports),
            pids=given("pid"),
            cgroups=given("cgroup"),
            services=given("service"),
        )

    include = rule("", *_KINDS)
    exclude = tuple(one for kind in _KINDS if (one := rule("exclude_", kind)) != Rule())
    return Selection((include,) if include != Rule() else selection.include, selection.exclude + exclude)


def log_to_stderr() -> None:
    """Messages go to standard error; where that is full or gone there is nobody left to tell."""
    logging.raiseExceptions = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("otel-ebpf: %(message)s"))
    logging.getLogger("otel_ebpf").handlers = [handler]
    logging.getLogger("otel_ebpf").propagate = False
