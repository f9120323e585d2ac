"""Wires the rooms together: what the core captures is described, selected, shown and shipped.

    core ── processes ──► enrich ──► discover ── verdict ──► core
         ── lines ─────► terminal
         ── spans ─────► OTLP       when a batch is full or old enough
         ── series ────► OTLP, summary   each interval

One thread ticks ten times a second, or four with metrics alone; the core drains its ring on its own, and each signal
is sent on its own.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

from otel_ebpf import __version__, semconv
from otel_ebpf.agent.costs import costs
from otel_ebpf.agent.health import Health
from otel_ebpf.agent.kubernetes import Kubernetes
from otel_ebpf.agent.profile import Profiler
from otel_ebpf.agent.reload import Reload
from otel_ebpf.agent.scrapes import Scrapes
from otel_ebpf.agent.strategies import Strategies
from otel_ebpf.agent.tls import TlsProbes
from otel_ebpf.agent.watch import Watch, selects
from otel_ebpf.capture.session import Core, export_delays, reconfigure
from otel_ebpf.config.catalogue import value_of
from otel_ebpf.config.settings import Settings
from otel_ebpf.enrich.process import Enricher
from otel_ebpf.errors import OutputError
from otel_ebpf.export.body import Body
from otel_ebpf.export.branches import Branches
from otel_ebpf.export.latency import Latency, Timed
from otel_ebpf.export.metrics import MetricsEncoder, add_own
from otel_ebpf.export.otlp import OtlpClient
from otel_ebpf.export.output import Output
from otel_ebpf.export.own import Own, SpanQueue, exporter_counters, exporter_levels, own_counters, own_levels
from otel_ebpf.export.prometheus.endpoint import Endpoint
from otel_ebpf.export.queued import QueuedSender
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.sdk import Exporter, Signal
from otel_ebpf.export.sender import Client, Delivery, Parcel, Sender
from otel_ebpf.export.serving import Route, Served
from otel_ebpf.export.summary import Summary, Totals
from otel_ebpf.export.terminal import Formatter, LineBudget
from otel_ebpf.export.transport import METRICS, TRACES
from otel_ebpf.model import Accounting, ActiveSeries, CallSeries, Encoded, HttpSeries, Line

log = logging.getLogger(__name__)

_TICK_S: Final = 0.1
# Where nobody waits for a line or a span: processes are met at once in any case.
_SLOW_TICK_S: Final = 0.25
# Backends refuse requests beyond 4 to 20 MB; this is some 6,000 spans.
_SPANS_BYTES: Final = 2 << 20
# A full batch waits so long at most to become a full request: each request costs as much as 1,000 spans.
_GATHER_S: Final = 0.5
# The part of a tick in which a backend that keeps up can be given more than one request.
_MOVE_S: Final = _TICK_S / 2
# With a queue on disk spans don't stay in memory for longer: a kill loses what is there.
_TO_DISK_S: Final = 0.5
_SERIES_PER_REQUEST: Final = 2000
# Without a backend the core's series of ended processes still want to be fetched now and then.
_READ_EVERY_S: Final = 10.0
_END_TRACES_S: Final = 8.0
_END_METRICS_S: Final = 4.0


Pages = Literal["health", "profile"]
"""What one of the agent's addresses shows."""


class EncodeTraces(Protocol):
    """`_native.encode_traces`."""

    def __call__(
        self, batches: Sequence[tuple[bytes, Encoded]], scope_name: str, scope_version: str, schema_url: str
    ) -> tuple[Sequence[Encoded], int]: ...


@dataclass(slots=True)
class Control:
    """What signal handlers and flags want of a running agent."""

    stop: bool = False
    reload: bool = False
    end_at_s: float = float("inf")  # on the monotonic clock


class _Lines:
    """Shows requests as they come, as many as people (and terminals) can take."""

    def __init__(self, core: Core, watch: Watch, output: Output, format_line: Formatter) -> None:
        self.shown = 0
        self._core = core
        self._watch = watch
        self._output = output
        self._format = format_line
        self._budget = LineBudget(time.monotonic())
        self._refused = self._told = 0
        self._note_due_s = 0.0

    def show(self) -> None:
        """Shows what is there, within the budget; the core drops what waits too long."""
        allowed = self._budget.take(time.monotonic())
        lines: Sequence[Line] = self._core.take_lines(allowed) if allowed else ()
        if not lines:
            return
        if any(line.process_key not in self._watch.infos for line in lines):
            self._watch.meet()
        text = "".join(self._format(line, self._watch.infos.get(line.process_key)) for line in lines)
        if self._output.write(text):
            self.shown += len(lines)
            self._budget.spend(len(lines))
        else:
            self._refused += len(lines)

    def tell_hidden(self, dropped: int) -> None:
        """Once a second, if requests came too fast to be shown: how many were not. `dropped`: by the core."""
        now_s = time.monotonic()
        hidden = dropped + self._refused
        if now_s >= self._note_due_s and hidden > self._told:
            self._note_due_s = now_s + 1.0
            log.info("%s requests more, not shown", f"{hidden - self._told:,}")
            self._told = hidden


class _Traces:
    """Moves spans from the core to their backend."""

    def __init__(
        self,
        core: Core,
        watch: Watch,
        sender: Sender | QueuedSender,
        settings: Settings,
        *,
        encode: EncodeTraces,
        branches: Branches,
    ) -> None:
        self.sender = sender
        self.branches = branches
        self._core = core
        self._watch = watch
        self._encode = encode
        # A core that may hold little is not left to fill up.
        self._full_bytes = min(_SPANS_BYTES, settings.traces.queue_bytes // 2)
        self._due_s = math.inf
        self.set(settings)
        self._gathered_s = 0.0
        self._fill = 0.0  # of the queue on disk, as the core was told
        self.emptied_s = 0.0  # when the core was last seen to hold none

    def set(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self._settings = settings.traces
        delay_s = self._settings.schedule_delay_s
        self._delay_s = min(delay_s, _TO_DISK_S) if isinstance(self.sender, QueuedSender) else delay_s
        self._due_s = min(self._due_s, time.monotonic() + self._delay_s)

    def move(self, spans: int, left_bytes: int) -> None:
        """Sends what the core holds if it has waited long enough, or is enough for a batch and has waited a little."""
        now_s = time.monotonic()
        if isinstance(self.sender, QueuedSender):
            self.sender.note_waiting(spans)
            # The core looks at its own queue by itself.
            if (fill := round(self.sender.fill, 2)) != self._fill:
                self._core.set_queue_fill(fill)
                self._fill = fill
        if not spans:
            self.emptied_s = now_s
        old = now_s >= self._due_s
        full = spans >= self._settings.batch_spans and (left_bytes >= self._full_bytes or now_s >= self._gathered_s)
        if not (old or full):
            return
        self._due_s, self._gathered_s = now_s + self._delay_s, now_s + _GATHER_S
        has_room = self.sender.has_room
        while has_room and (moved_bytes := self._move_some()):
            left_bytes -= moved_bytes
            if not old and left_bytes < self._full_bytes:
                return
            has_room = self.sender.await_room(now_s + _MOVE_S - time.monotonic())
        if has_room:
            self.emptied_s = now_s

    def move_all(self) -> None:
        """Sends everything that the core holds."""
        while self._move_some():
            pass

    def _move_some(self) -> int:
        """Sends a request, if there is anything to send; returns the bytes of its spans."""
        batches = self._core.take_spans(_SPANS_BYTES)
        if batches:
            pairs = [(self._watch.resource(batch.process_key), batch.spans) for batch in batches]
            parcel = Parcel(sum(batch.count for batch in batches), self._encoder(pairs))
            self.sender.submit(self.branches.share(parcel))
        return sum(len(batch.spans) for batch in batches)

    def _encoder(self, pairs: Sequence[tuple[bytes, Encoded]]) -> Callable[[], Body]:
        return lambda: Body(*self._encode(pairs, semconv.SCOPE_NAME, __version__, semconv.SCHEMA_URL))


class _Metrics:
    """Reads the core's series each interval, for the summary and for the backend if there is one."""

    def __init__(
        self,
        core: Core,
        watch: Watch,
        sender: Sender | QueuedSender | None,
        settings: Settings,
        *,
        own: bytes,
        branches: Branches,
        endpoint: Endpoint | None,
    ) -> None:
        self.sender = sender
        self.branches = branches
        self.totals = Totals()
        self._core = core
        self._watch = watch
        self._own = own
        self._start_unix_ns = time.time_ns()
        self._encoder = MetricsEncoder(
            delta=settings.metrics.temporality != "cumulative",
            start_unix_ns=self._start_unix_ns,
            exponential=settings.metrics.exponential,
        )
        self._due_s = math.inf
        self.set(settings)
        self._ended: list[int] = []
        self.scrapes = Scrapes(endpoint, core, watch, own, self._start_unix_ns) if endpoint else None

    def set(self, settings: Settings) -> None:
        """Goes by these settings from now on."""
        self._interval_s = settings.metrics.interval_s if self.sender else _READ_EVERY_S
        self._due_s = min(self._due_s, time.monotonic() + self._interval_s)

    def due(self) -> bool:
        """Whether an interval is over. While the backend lags, the core keeps counting: nothing is lost."""
        now_s = time.monotonic()
        if now_s < self._due_s or (self.sender and not self.sender.has_room):
            return False
        self._due_s = max(now_s, self._due_s + self._interval_s)
        return True

    def ended(self, key: int) -> None:
        """A process ended and its last series have been read."""
        info = self._watch.infos.get(key)
        if self.scrapes:
            self.scrapes.ended(key, *self.totals.last(key))
        self.totals.ended(key, info.service_name if info else "?")
        self._ended.append(key)

    def read(self) -> None:
        """Takes all series and queues them for the backend."""
        (series, calls), active = self._core.read_series(), self._core.read_active()
        self.totals.update(series, calls)
        if self.sender is None:
            return
        ended, self._ended = self._ended, []
        for part in _parts(series, calls, active):
            resources = {key: self._watch.resource(key) for key in part.process_keys}
            parcel = Parcel(len(part), self._series_encoder(resources, part, ended))
            self.sender.submit(self.branches.share(parcel))
            ended = []

    def tell(self, told: Own) -> None:
        """Queues what the agent says of itself."""
        if self.sender:
            self.sender.submit(self.branches.share(Parcel(1, self._own_encoder(told))))

    def _series_encoder(self, resources: dict[int, bytes], part: "_Part", ended: Sequence[int]) -> Callable[[], Body]:
        now_unix_ns = time.time_ns()

        def encode() -> Body:
            # Here, on the sender's thread, after all earlier requests were built.
            for key in ended:
                self._encoder.forget(key)
            request = self._encoder.request(resources, part.series, part.active, now_unix_ns, part.calls)
            return Body.of(request.SerializeToString())

        return encode

    def _own_encoder(self, told: Own) -> Callable[[], Body]:
        now_unix_ns = time.time_ns()

        def encode() -> Body:
            request = self._encoder.request({}, (), (), now_unix_ns)
            add_own(request, self._own, told, self._start_unix_ns, now_unix_ns)
            return Body.of(request.SerializeToString())

        return encode


@dataclass(frozen=True, slots=True)
class _Part:
    """What goes into one request for metrics."""

    series: Sequence[HttpSeries] = ()
    calls: Sequence[CallSeries] = ()
    active: Sequence[ActiveSeries] = ()

    def __len__(self) -> int:
        return len(self.series) + len(self.calls) + len(self.active)

    @property
    def process_keys(self) -> set[int]:
        return {one.process_key for some in (self.series, self.calls, self.active) for one in some}


def _parts(
    series: Sequence[HttpSeries], calls: Sequence[CallSeries], active: Sequence[ActiveSeries]
) -> Iterator[_Part]:
    """Portions that fit a request; the last one has the gauges, which are few."""
    for start in range(0, len(calls), _SERIES_PER_REQUEST):
        yield _Part(calls=calls[start : start + _SERIES_PER_REQUEST])
    full = max(0, len(series) - 1) // _SERIES_PER_REQUEST * _SERIES_PER_REQUEST
    for start in range(0, full, _SERIES_PER_REQUEST):
        yield _Part(series[start : start + _SERIES_PER_REQUEST])
    if series or active:
        yield _Part(series[full:], active=active)


class Agent:
    """One run. The caller opens the core; the agent closes it."""

    def __init__(
        self,
        settings: Settings,
        core: Core,
        output: Output,
        *,
        encode_traces: EncodeTraces,
        format_line: Formatter,
        reload: Reload | None = None,
        queues: Queues | None = None,
        kubernetes: Kubernetes | None = None,
        endpoint: Endpoint | None = None,
        served: Sequence[tuple[Served, Pages]] = (),
        exporters: Mapping[Signal, Sequence[Exporter]] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._exporters = exporters
        self._served = served
        self._health = Health(core)
        self._queues = queues
        self._kubernetes = kubernetes
        self._core = core
        self._output = output
        self._reload = reload
        self._started_s = time.monotonic()
        base = {**(kubernetes.base if kubernetes else {}), **dict(settings.resource)}
        enricher = Enricher(base, command_args=settings.command_args)
        own = enricher.agent_resource(os.getpid())
        selected = selects(settings.selection, kubernetes.prefix if kubernetes else None)
        self._tls = TlsProbes(core, selected) if settings.capture.tls else None
        self._watch = Watch(core, enricher, settings.selection, self._tls, kubernetes)
        self._lines = _Lines(core, self._watch, output, format_line) if settings.shows_lines else None
        self._latency, self._spans_go_to = Latency(export_delays), ""
        self._clients: list[tuple[str, OtlpClient]] = []
        self._traces = self._open_traces(encode_traces)
        is_remote = self._traces is not None and settings.traces.sampler.endswith("jaeger_remote")
        self._strategies = Strategies(settings.traces.sampling.remote, core) if is_remote else None
        self._metrics = self._open_metrics(own.encoded, endpoint)
        self._tick_s = _TICK_S if self._lines or self._traces else _SLOW_TICK_S

    def _open_traces(self, encode: EncodeTraces) -> _Traces | None:
        target, hurry = self._settings.traces.target, threading.Event()
        otlp = self._otlp("traces", OtlpClient(target, TRACES, hurry)) if target else []
        exporters = [*otlp, *self._exporters.get("traces", ())]
        if not exporters:
            return None
        self._spans_go_to = exporters[0].name
        sender = self._sender("traces", "spans", Timed(exporters[0].client, self._latency), hurry)
        branches = Branches("traces", "spans", exporters[1:])
        return _Traces(self._core, self._watch, sender, self._settings, encode=encode, branches=branches)

    def _open_metrics(self, own: bytes, endpoint: Endpoint | None) -> _Metrics:
        target, hurry = self._settings.metrics.target, threading.Event()
        otlp = self._otlp("metrics", OtlpClient(target, METRICS, hurry)) if target else []
        exporters = [*otlp, *self._exporters.get("metrics", ())]
        sender = self._sender("metrics", "series", exporters[0].client, hurry) if exporters else None
        branches = Branches("metrics", "series", exporters[1:])
        return _Metrics(self._core, self._watch, sender, self._settings, own=own, branches=branches, endpoint=endpoint)

    def _otlp(self, signal: str, client: OtlpClient) -> list[Exporter]:
        """The client, remembered for when its target changes."""
        self._clients.append((signal, client))
        return [Exporter("otlp", client)]

    def _sender(self, signal: str, items: str, client: Client, hurry: threading.Event) -> Sender | QueuedSender:
        queue = self._queues.get(signal) if self._queues else None
        return QueuedSender(items, client, hurry, queue) if queue else Sender(items, client, hurry)

    def run(self, control: Control) -> Summary:
        """Works until `control` says stop. Raises OutputError after everything else has been brought to its end."""
        try:
            broken: OutputError | None = None
            if self._kubernetes:
                self._kubernetes.start()
            self._serve()
            try:
                while not control.stop and time.monotonic() < control.end_at_s:
                    self._tick(control)
            except OutputError as error:
                broken = error
            summary = self._finish()
        finally:
            for server, _ in self._served:
                server.close()
            if self._kubernetes:
                self._kubernetes.close()
            if self._tls:
                self._tls.close()
            if self._strategies:
                self._strategies.close()
            self._core.close()
        if broken:
            raise broken
        return summary

    def _serve(self) -> None:
        pages: dict[Pages, Mapping[str, Route]] = {"health": self._health.routes(), "profile": Profiler().routes()}
        for server, which in self._served:
            server.start(pages[which])

    def _tick(self, control: Control) -> None:
        began_s = time.monotonic()
        if self._reload and (control.reload or self._reload.changed()):
            control.reload = False  # before: whoever asks meanwhile asks for more
            self._settings = self._reload.read(self._settings, self._set)
        self._take_all()
        self._health.ticked(self._kubernetes.waits_for if self._kubernetes else "")
        self._output.check()
        # What a new process does is captured and held until its verdict: the sooner the better.
        while (left_s := began_s + self._tick_s - time.monotonic()) > 0 and self._core.wait(left_s):
            self._watch.meet()

    def _take_all(self) -> None:
        now_s = time.monotonic()
        self._watch.meet()
        if self._strategies:
            self._strategies.follow(self._watch.services())
        spans, spans_bytes, lines_dropped = self._core.backlog()
        if self._lines:
            self._lines.show()
            self._lines.tell_hidden(lines_dropped)
        if self._traces:
            self._traces.move(spans, spans_bytes)
        if self._metrics.due():
            self._metrics.read()
            self._metrics.tell(self._own())
        if self._metrics.scrapes:
            self._metrics.scrapes.answer(self._own)
        for key in self._core.take_exits():
            self._metrics.ended(key)
            self._watch.ended(key, now_s)
        self._watch.forget(now_s, self._traces.emptied_s if self._traces else now_s)

    def _set(self, settings: Settings) -> None:
        """Goes by these settings from now on. Raises ConfigError before anything is changed."""
        targets = [(client, value_of(settings, f"{signal}.target")) for signal, client in self._clients]
        turns = [client.turn_to(target) for client, target in targets]
        reconfigure(self._core, settings)
        for turn in turns:
            turn()
        if self._traces:
            self._traces.set(settings)
        self._metrics.set(settings)
        if settings.selection != self._settings.selection:
            self._watch.reselect(settings.selection)
        logging.getLogger("otel_ebpf").setLevel(settings.log_level.upper())

    def _finish(self) -> Summary:
        """Takes what is left, detaches, then sees it off: nothing stays attached while a slow backend is waited for."""
        duration_s = time.monotonic() - self._started_s
        self._health.ending()
        core, traces, metrics = self._core, self._traces, self._metrics
        core.flush()
        self._watch.meet()
        if metrics.scrapes:
            metrics.scrapes.close()
        if self._lines:
            self._lines.show()
        if traces:
            traces.move_all()
        metrics.read()
        counters = core.counters()
        programs = core.program_stats() if self._settings.output.stats else None
        cost = costs(core)
        core.close()

        if traces:
            traces.sender.close(_END_TRACES_S)
            traces.branches.close(_END_TRACES_S)
        accounting, delivery = self._accounting(counters, ended=True)
        metrics.tell(self._told(cost, counters, accounting, delivery))
        if metrics.sender:
            metrics.sender.close(_END_METRICS_S)
            metrics.branches.close(_END_METRICS_S)
        if self._queues:
            self._queues.close()
        return Summary(
            totals=metrics.totals.by_route({key: info.service_name for key, info in self._watch.infos.items()}),
            accounting=accounting,
            duration_s=duration_s,
            backend=traces is not None,
            lines_shown=self._lines.shown if self._lines else None,
            programs=programs,
            series=metrics.sender.delivery() if metrics.sender else None,
        )

    def _own(self) -> Own:
        """What the agent says of itself now."""
        counters = self._core.counters()
        return self._told(costs(self._core), counters, *self._accounting(counters))

    def _told(self, cost: Own, counters: dict[str, int], accounting: Accounting, spans: Delivery | None) -> Own:
        """What the agent says of itself. `cost`: taken before the core was closed."""
        points = self._metrics.sender.delivery() if self._metrics.sender else Delivery()
        sources = (self._metrics.branches, self._kubernetes, self._reload)
        more = [value for source in sources if source for value in source.counters()]
        books = Own(
            (*own_counters(accounting, spans, points), *cost.counters, *more),
            (*own_levels(spans, points), *cost.levels),
        )
        if spans is None or self._traces is None:
            return books
        in_memory = SpanQueue(counters.get("spans.queued_bytes", 0), self._settings.traces.queue_bytes)
        queue = SpanQueue(spans.kept_bytes, self._settings.queue.max_bytes) if spans.on_disk else in_memory
        return Own(
            (
                *books.counters,
                *exporter_counters(accounting, self._spans_go_to),
                *self._traces.branches.counters(),
            ),
            (*books.levels, *exporter_levels(queue, self._spans_go_to)),
            (self._latency.read(),),
        )

    def _accounting(self, counters: dict[str, int], *, ended: bool = False) -> tuple[Accounting, Delivery | None]:
        """The core's books and the sender's, put together; and the sender's alone."""
        sent = self._traces.sender.delivery() if self._traces else None
        delivery = sent or Delivery()
        dropped = {
            name.removeprefix("spans.dropped."): count
            for name, count in counters.items()
            if name.startswith("spans.dropped.")
        }
        for reason, count in delivery.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
        if ended and (left := counters.get("spans.queued", 0)):
            # Finished between the last look into the core's queue and the end of capture.
            dropped["shutdown"] = dropped.get("shutdown", 0) + left
        accounting = Accounting(
            seen=counters.get("requests.seen", 0),
            exported=delivery.exported,
            dropped=dropped,
            recovered=delivery.recovered,
            kept=delivery.kept,
            records={
                **{name.removeprefix("records."): n for name, n in counters.items() if name.startswith("records.")},
                # Of exchanges that not even the overflow map had room for; nothing else can know of them.
                "lost.exchanges_uncounted": counters.get("exchanges.lost_uncounted", 0),
                # Reads and writes of TLS libraries of which nobody knows to what socket they belong.
                "tls.unbound": counters.get("tls.unbound", 0),
            },
        )
        return accounting, sent
