"""Opens the native core for the agent, and turns its errors into ours.

`Core` is the core as the agent drives it. It exists so that the agent can be tried without a kernel; mypy
proves that `_native.Session` fits it.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from otel_ebpf import _native
from otel_ebpf.config.settings import Privacy, Settings
from otel_ebpf.errors import AgentError, CaptureError, PermissionDenied
from otel_ebpf.model import (
    ActiveSeries,
    CallSeries,
    HttpSeries,
    Line,
    MapCost,
    PortRange,
    Process,
    ProgramStats,
    SpanBatch,
)

encode_traces = _native.encode_traces
export_delays = _native.export_delays
NativeError = _native.NativeError

Place = Literal["enter", "exit", "free"]

# The core drops lines beyond this many; the terminal shows no more than that in a second anyway.
_LINE_QUEUE = 2000


class Core(Protocol):
    """See `_native.Session` for what each of these means."""

    @property
    def hooks(self) -> str: ...
    def set_verdict(
        self,
        process_key: int,
        selected: bool,
        include_ports: list[PortRange] | None = None,
        exclude_ports: list[PortRange] | None = None,
    ) -> None: ...
    def reconfigure(
        self,
        *,
        sampler: str,
        sampler_arg: float,
        spans_per_second: int,
        routes: Literal["infer", "unset"],
        privacy: Privacy,
    ) -> None: ...
    def set_service(self, process_key: int, service: str) -> None: ...
    def set_strategy(
        self,
        service: str,
        *,
        probability: float,
        per_second: float = ...,
        floor_per_second: float = ...,
        operations: Sequence[tuple[str, float]] = ...,
    ) -> None: ...
    def set_queue_fill(self, fill: float) -> None: ...
    def add_probes(
        self,
        path: str,
        probes: Sequence[tuple[Place, int, str, int | None, bool]],
        *,
        client_random: Sequence[int] = ...,
        is_server: int = ...,
    ) -> int: ...
    def remove_probes(self, number: int) -> bool: ...
    def take_execs(self) -> Sequence[int]: ...
    def take_tls_users(self) -> Sequence[int]: ...
    def wait(self, timeout_s: float) -> bool: ...
    def take_processes(self) -> Sequence[Process]: ...
    def take_exits(self) -> Sequence[int]: ...
    def take_spans(self, max_bytes: int = ...) -> Sequence[SpanBatch]: ...
    def take_lines(self, limit: int = ...) -> Sequence[Line]: ...
    def read_series(self) -> tuple[Sequence[HttpSeries], Sequence[CallSeries]]: ...
    def peek_series(self) -> tuple[Sequence[HttpSeries], Sequence[CallSeries]]: ...
    def read_active(self) -> Sequence[ActiveSeries]: ...
    def backlog(self) -> tuple[int, int, int]: ...
    def counters(self) -> dict[str, int]: ...
    def program_stats(self) -> Sequence[ProgramStats]: ...
    def map_costs(self) -> Sequence[MapCost]: ...
    def rounds(self) -> int: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def open_session(
    settings: Settings, *, lines: bool, ports: Sequence[int] | None = None, await_verdict: bool = False
) -> Core:
    """Loads and attaches the BPF programs.

    `lines`: make a `Line` of each request. `ports`: the only ports that any rule can select, if there are few.
    `await_verdict`: there are rules, so what a process does is held until it is known whether they select it.
    Raises PermissionDenied or CaptureError.
    """
    traces, http = settings.traces, settings.http
    try:
        session: Core = _native.Session(
            ring_bytes=settings.capture.ring_bytes,
            spans=traces.leave,
            spans_per_second=traces.spans_per_second,
            span_queue_bytes=traces.queue_bytes,
            lines=lines,
            line_queue=_LINE_QUEUE,
            routes=http.routes,
            max_routes_per_service=http.max_routes_per_service,
            max_series=settings.metrics.max_series,
            exemplars=settings.metrics.exemplars,
            # native histograms are made of them, for a Prometheus that asks for these
            exponential=settings.metrics.exponential or settings.metrics.prometheus is not None,
            sampler=traces.sampler,
            sampler_arg=traces.sampler_arg,
            spans_per_second_per_service=traces.sampling.spans_per_second_per_service,
            keep_errors=traces.sampling.keep_errors,
            keep_slower_than_ns=round(traces.sampling.keep_slower_than_s * 1e9),
            keep_share=traces.sampling.keep_share,
            sampling_rules=[(rule.service, rule.route, rule.probability) for rule in traces.sampling.rules],
            privacy=settings.privacy,
            stats=settings.output.stats,
            ports=None if ports is None else list(ports),
            await_verdict=await_verdict,
            tell_execs=settings.capture.tls,
        )
    except _native.NativeError as error:
        raise _explain(error) from error
    return session


def reconfigure(core: Core, settings: Settings) -> None:
    """Gives the core what may change while it works."""
    core.reconfigure(
        sampler=settings.traces.sampler,
        sampler_arg=settings.traces.sampler_arg,
        spans_per_second=settings.traces.spans_per_second,
        routes=settings.http.routes,
        privacy=settings.privacy,
    )


def _explain(error: _native.NativeError) -> AgentError:
    message = str(error.args[0]) if error.args else "the native core failed"
    match error.kind:
        case "permission":
            return PermissionDenied(
                f"not allowed to watch this machine: {message}",
                "run it as root (sudo otel-ebpf run), or with the capabilities BPF, PERFMON, NET_ADMIN, "
                "SYS_PTRACE and DAC_READ_SEARCH; `otel-ebpf check` names the missing ones",
            )
        case "no_btf":
            return CaptureError(
                f"this kernel does not describe its types: {message}",
                "a kernel built with CONFIG_DEBUG_INFO_BTF is needed (/sys/kernel/btf/vmlinux); "
                "all distributions' kernels since 2021 are",
            )
        case "load" | "attach":
            return CaptureError(
                f"the kernel refused the BPF programs ({error.kind}): {message}",
                "`otel-ebpf check` says what this kernel has and lacks",
            )
        case _:
            return CaptureError(message)
