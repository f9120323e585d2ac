"""`otel-ebpf run`: the main job."""

import logging
import os
import shutil
import signal
import time
from types import FrameType
from typing import Any

import click
from rich.color import ColorSystem
from rich.console import Console

from otel_ebpf.agent import Agent, Control
from otel_ebpf.agent.agent import Pages
from otel_ebpf.agent.kubernetes import Kubernetes, access
from otel_ebpf.agent.reload import Reload
from otel_ebpf.capture.session import encode_traces, open_session
from otel_ebpf.commands.flags import load_all, log_to_stderr, selecting
from otel_ebpf.config import values
from otel_ebpf.config.load import config_path
from otel_ebpf.config.settings import Health, Settings
from otel_ebpf.discover.selection import only_ports
from otel_ebpf.export.output import Output
from otel_ebpf.export.prometheus.endpoint import Endpoint
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.sdk import Exporter, Signal
from otel_ebpf.export.sdk import load as load_exporters
from otel_ebpf.export.serving import Served
from otel_ebpf.export.terminal import Formatter, TextLines, json_line

log = logging.getLogger("otel_ebpf")

# A signal may come twice at once: `timeout` and a terminal's shell send it to the group as well.
_SAME_SIGNAL_S = 0.5


@click.command("run")
@selecting
@click.option(
    "--config",
    metavar="FILE",
    help="Declarative configuration (OTEL_CONFIG_FILE). It is read anew when it changes, and on SIGHUP.",
)
@click.option("--metrics-only", is_flag=True, help="Make no spans.")
@click.option(
    "--spans-per-second",
    type=click.IntRange(min=0),
    metavar="N",
    help="Budget for spans, 0 for no limit: beyond it fewer are made, and say for how many they stand. [1000]",
)
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="End after so many seconds.")
@click.option(
    "--lines/--no-lines",
    " /-q",
    " /--quiet",
    default=None,
    help="Show each request as it ends. [shown if nothing goes to a backend]",
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["text", "json"]),
    help="Lines and summary as text or as JSON, one object a line. [text]",
)
@click.option("--stats", is_flag=True, help="At the end, say what each BPF program cost.")
def command(**options: Any) -> None:
    """Watch every HTTP request of every process, from the outside.

    Each request is shown as it ends, and a summary by service and route when you press Ctrl-C. With an
    OpenTelemetry backend set in the environment, spans and metrics go there instead. Needs root, or the
    capabilities that `otel-ebpf check` names. Nothing is changed in the processes watched.

    \b
    Examples:
      sudo otel-ebpf run                                everything
      sudo otel-ebpf run --port 8080,9000-9010          servers on these ports, and their clients
      sudo otel-ebpf run --exe nginx --exe 'gunicorn*'  programs by name
      sudo otel-ebpf run --service shop --exclude-port 9090
      sudo otel-ebpf run -o json | jq 'select(.status >= 500)'
      sudo OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 otel-ebpf run
      sudo otel-ebpf run --config /etc/otel-ebpf/config.yaml

    \b
    Selection: values of one option are alternatives, different options must all hold; any --exclude- option
    that holds leaves the process (or the port) out. All variables of OpenTelemetry's zero-code SDKs count:
      OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _COMPRESSION, _TIMEOUT, _CERTIFICATE, also by signal (_TRACES_, _METRICS_)
      OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_METRIC_EXPORT_INTERVAL, OTEL_BSP_SCHEDULE_DELAY
      OTEL_METRICS_EXPORTER=prometheus: they are fetched from http://localhost:9464/metrics
      OTEL_RESOURCE_ATTRIBUTES go on everything sent; OTEL_SERVICE_NAME is the agent's own name. Services
      are named by their own OTEL_SERVICE_NAME, else by their program.
      OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER: otlp, none, or any exporter of the SDK that is installed, as a list
      OTEL_EBPF_HEALTH_ENDPOINT (:13133, say) has /livez and /readyz, OTEL_EBPF_PROFILE_ENDPOINT the agent's own profile
      OTEL_EBPF_QUEUE_DIRECTORY keeps what waits for the backend on disk, within OTEL_EBPF_QUEUE_MAX_BYTES
      and OTEL_EBPF_QUEUE_MAX_AGE_SECONDS: an outage, a restart or a kill then loses nothing of it.
    Samplers: always_on, always_off, traceidratio, jaeger_remote, each also with parentbased_ before it. Spans say
    for how many requests they stand (tracestate ot=th); rules by service and route are the file's (docs/sampling.md).

    \b
    Signals: INT and TERM end it well, a second one at once; HUP reads the configuration's file anew.
    Exit codes: 0 ended well, 2 invalid configuration, 3 not permitted, 4 the kernel can't, 5 output failed.
    """
    log_to_stderr()
    settings = load_all(options, os.environ).settings
    log.setLevel(settings.log_level.upper())
    path = config_path(options["config"], os.environ)
    reload = Reload(lambda: load_all(options, os.environ).settings, path) if path else None
    _run(settings, options["duration"], reload)


def _run(settings: Settings, duration_s: float | None, reload: Reload | None) -> None:
    colours, width = _terminal()
    as_json = settings.output.format == "json"
    format_line: Formatter = json_line if as_json else TextLines(colours=colours, width=width)
    control = Control()
    _handle_signals(control, reloads=reload is not None)
    # The ports in the kernel can't change later, so they are for runs whose rules can't either.
    cluster = access(settings.kubernetes)
    kubernetes = Kubernetes.of(settings.kubernetes, cluster) if cluster else None
    ports = only_ports(settings.selection) if reload is None and kubernetes is None else None
    rules = bool(reload or kubernetes or settings.selection.include or settings.selection.exclude)
    traces = settings.traces
    # Whose a request is has to be known before it is decided on.
    by_service = traces.sampling.rules or traces.sampling.spans_per_second_per_service or "remote" in traces.sampler
    signals = [name for name, one in (("traces", settings.traces), ("metrics", settings.metrics)) if one.leave]
    # Before anything is attached: what is wrong with these refuses to start.
    exporters: dict[Signal, tuple[Exporter, ...]] = {
        "traces": load_exporters("traces", settings.traces.exporters),
        "metrics": load_exporters("metrics", settings.metrics.exporters),
    }
    queues = Queues(settings.queue, signals) if settings.queue.directory and signals else None
    endpoint = Endpoint(settings.metrics.prometheus) if settings.metrics.prometheus else None
    served = _listening(settings.health)
    core = open_session(settings, lines=settings.shows_lines, ports=ports, await_verdict=rules or bool(by_service))
    output = Output(1)
    log.info("%s", _announcement(settings, core.hooks, cluster.node if cluster else ""))
    if duration_s is not None:
        control.end_at_s = time.monotonic() + duration_s
    agent = Agent(
        settings,
        core,
        output,
        encode_traces=encode_traces,
        format_line=format_line,
        reload=reload,
        queues=queues,
        kubernetes=kubernetes,
        endpoint=endpoint,
        served=served,
        exporters=exporters,
    )
    summary = agent.run(control)
    output.write(summary.as_json() if as_json else summary.as_text(colours=colours is not None, width=width))
    output.close()


def _listening(health: Health) -> list[tuple[Served, Pages]]:
    """Servers that answer once the agent starts them."""
    wanted: list[tuple[Pages, str]] = [("health", health.endpoint), ("profile", health.profile_endpoint)]
    return [(Served(pages, values.parse_listen(address)), pages) for pages, address in wanted if address]


def _terminal() -> tuple[ColorSystem | None, int]:
    """Colours (NO_COLOR and TERM=dumb honoured) and width of standard output; None and 0 if it is no terminal."""
    if not os.isatty(1):
        return None, 0
    console = Console()
    colours = None if console.no_color or console.color_system is None else ColorSystem.STANDARD
    return colours, shutil.get_terminal_size().columns


def _announcement(settings: Settings, hooks: str, node: str) -> str:
    targets = [
        f"{name} to {target.shown_url}"
        for name, target in (("spans", settings.traces.target), ("metrics", settings.metrics.target))
        if target
    ] + [
        f"{name} to {exporter}"
        for name, exporters in (("spans", settings.traces.exporters), ("metrics", settings.metrics.exporters))
        for exporter in exporters
    ]
    if prometheus := settings.metrics.prometheus:
        targets.append(f"metrics at http://{prometheus.host}:{prometheus.port}/metrics")
    watched = "selected processes" if settings.selection.include or settings.selection.exclude else "every process"
    if node:
        also = "" if watched == "every process" else f" and {watched}"
        watched = f"pods of node {node} that are annotated{also}"
    where = f"; {', '.join(targets)}" if targets else ""
    return f"watching {watched} (hooks: {hooks}){where}; Ctrl-C ends"


def _handle_signals(control: Control, *, reloads: bool) -> None:
    first_s: list[float] = []

    def end(number: int, _frame: FrameType | None) -> None:
        control.stop = True
        if first_s and time.monotonic() - first_s[0] > _SAME_SIGNAL_S:
            # The kernel detaches everything: nothing is pinned.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        first_s.append(time.monotonic())

    def reload(_number: int, _frame: FrameType | None) -> None:
        control.reload = True

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    # Without a file there is nothing to read anew; HUP then means what it always did: the terminal is gone.
    signal.signal(signal.SIGHUP, reload if reloads else end)
