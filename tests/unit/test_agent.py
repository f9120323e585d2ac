"""The agent as a whole, over a core that hands out what it is given, and real backends."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.testbed.process import eventually
from tests.unit.backend import Answer, Backend, running_backend, text_attributes
from tests.unit.fakes import Active, FakeCore, Line, Process, Series, spans_of

from otel_ebpf.agent import Agent, Control
from otel_ebpf.agent.agent import Pages
from otel_ebpf.agent.reload import Reload
from otel_ebpf.capture.session import encode_traces
from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.settings import Queue, Rule, Selection, Settings
from otel_ebpf.discover.tls import TlsReport
from otel_ebpf.errors import ConfigError, OutputClosed
from otel_ebpf.export.output import Output
from otel_ebpf.export.prometheus.endpoint import Endpoint
from otel_ebpf.export.queues import Queues
from otel_ebpf.export.serving import Served
from otel_ebpf.export.summary import Summary
from otel_ebpf.export.terminal import TextLines


def sending_to(backend: Backend, **variables: str) -> Settings:
    return from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "150",
            **variables,
        }
    )


class Run:
    """An agent that runs until the block ends; its output and its summary afterwards."""

    def __init__(
        self,
        core: FakeCore,
        settings: Settings,
        reload: Reload | None = None,
        queues: Queues | None = None,
        endpoint: Endpoint | None = None,
        served: Sequence[tuple[Served, Pages]] = (),
    ) -> None:
        self.core = core
        self.control = Control()
        self.reading, self.writing = os.pipe()
        self.output = Output(self.writing)
        self.error: BaseException | None = None
        self.agent = Agent(
            settings,
            core,
            self.output,
            encode_traces=encode_traces,
            format_line=TextLines(colours=None, width=0),
            reload=reload,
            queues=queues,
            endpoint=endpoint,
            served=served,
        )
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.summary: Summary = self.agent.run(self.control)
        except OutputClosed as error:
            self.error = error

    def end(self) -> None:
        self.control.stop = True
        self.thread.join(15)
        assert not self.thread.is_alive()

    def text(self) -> str:
        self.output.close()
        os.close(self.writing)
        with os.fdopen(self.reading, encoding="utf-8") as file:
            return file.read()


@contextmanager
def running(
    core: FakeCore,
    settings: Settings,
    reload: Reload | None = None,
    queues: Queues | None = None,
    endpoint: Endpoint | None = None,
) -> Iterator[Run]:
    run = Run(core, settings, reload, queues, endpoint)
    run.thread.start()
    try:
        yield run
    finally:
        run.end()
        assert core.closed


def test_without_a_backend_requests_are_shown_and_summed_up() -> None:
    core = FakeCore(
        processes=[Process(1, 0, comm="shop")],
        lines=[Line(), Line(role="client", status=503)],
        series=[Series(), Series(role="client", status=503, error_type="503", route="")],
        dropped={"disabled": 2},
    )
    with running(core, Settings()) as run:
        eventually(lambda: not core.lines, "the lines are taken")
    lines = run.text().splitlines()
    assert len(lines) == 2
    assert all("shop" in line for line in lines)
    assert run.summary.lines_shown == 2
    assert run.summary.accounting.pending == 0
    assert {key[:2] for key in run.summary.totals} == {("shop", "server"), ("shop", "client")}


def test_a_new_process_has_its_verdict_before_the_tick_is_over() -> None:
    class Core(FakeCore):
        ticks = 0

        def backlog(self) -> tuple[int, int, int]:
            self.ticks += 1
            return super().backlog()

        def wait(self, timeout_s: float) -> bool:
            if self.ticks == 3 and not self.verdicts:
                self.processes.append(Process(1, 0, comm="shop"))
            elif self.verdicts:
                self.met_in = min(self.met_in, self.ticks)
            return super().wait(timeout_s)

        met_in = 1000

    core = Core()
    with running(core, Settings()):
        eventually(lambda: core.ticks > 5, "some ticks")
    assert core.met_in == 3


def test_spans_and_metrics_arrive_with_their_resources() -> None:
    with running_backend() as backend:
        core = FakeCore(
            processes=[Process(1, 0, comm="shop"), Process(2, 0, comm="web")],
            spans=[spans_of(1, "GET /a", "GET /b"), spans_of(2, "GET")],
            series=[Series(1)],
            active=[Active(1)],
        )
        with running(core, sending_to(backend)) as run:
            eventually(lambda: len(backend.span_names()) == 3, "the spans arrive")
            core.spans.append(spans_of(1, "GET /late"))
        assert backend.span_names() == ["GET /a", "GET /b", "GET", "GET /late"]
        services = [
            text_attributes(resource.resource)["service.name"] for resource in backend.traces()[0].resource_spans
        ]
        assert services == ["shop", "web"]
        scope = backend.traces()[0].resource_spans[0].scope_spans[0].scope
        assert scope.name == "otel-ebpf"
        metrics = backend.metrics()
        assert ("shop", "http.server.request.duration") in metrics
        assert ("shop", "http.server.active_requests") in metrics
        # The last word is the whole truth.
        for name, value in (("otel_ebpf.requests.seen", 4), ("otel_ebpf.spans.exported", 4)):
            assert metrics["otel-ebpf", name].sum.data_points[0].as_int == value
    assert (run.summary.accounting.seen, run.summary.accounting.exported) == (4, 4)
    assert run.summary.accounting.pending == 0


def test_who_is_met_only_after_the_last_look_has_a_name_all_the_same() -> None:
    class Core(FakeCore):
        came = False

        def backlog(self) -> tuple[int, int, int]:  # asked for after the tick's look at new processes
            if not self.came:
                self.came = True
                self.processes = [Process(1, 0, comm="shop")]
                self.spans = [spans_of(1, *["GET"] * 1000)]  # a full batch: it does not wait for the next tick
            return super().backlog()

    with running_backend() as backend:
        with running(Core(), sending_to(backend)):
            eventually(lambda: len(backend.span_names()) == 1000, "the spans arrive")
        (resource,) = backend.traces()[0].resource_spans
        assert text_attributes(resource.resource)["service.name"] == "shop"


def test_who_ended_has_a_name_for_as_long_as_its_spans_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.watch._LINGER_S", 0.1)
    with running_backend(*[Answer(delay_s=0.5)] * 3) as backend:
        core = FakeCore(processes=[Process(1, 0, comm="curl")])
        with running(core, sending_to(backend, OTEL_METRICS_EXPORTER="none")) as run:
            eventually(lambda: core.verdicts, "it is met")
            while run.agent._traces and run.agent._traces.sender.has_room:
                core.spans.append(spans_of(1, "early"))
                time.sleep(0.02)
            core.spans.append(spans_of(1, "late"))
            core.exits = [1]
            eventually(lambda: "late" in backend.span_names(), "the last span arrives")
            eventually(lambda: not run.agent._watch.infos, "it is forgotten")
        resources = [resource for request in backend.traces() for resource in request.resource_spans]
        assert {text_attributes(one.resource)["service.name"] for one in resources} == {"curl"}


def test_books_balance_with_a_backend_that_refuses() -> None:
    with running_backend(*[Answer(400)] * 50) as backend:
        core = FakeCore(spans=[spans_of(1, "a", "b")], dropped={"budget": 5})
        with running(core, sending_to(backend, OTEL_METRICS_EXPORTER="none")) as run:
            eventually(lambda: backend.requests, "a request comes")
            core.spans.append(spans_of(1, "c"))
        books = run.summary.accounting
        assert (books.seen, books.exported, books.pending) == (8, 0, 0)
        assert books.dropped == {"budget": 5, "export_failed": 3}


def test_books_balance_with_a_backend_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.agent._END_TRACES_S", 0.3)
    with running_backend(Answer(delay_s=3)) as backend:
        core = FakeCore(spans=[spans_of(1, "a", "b")])
        began = time.monotonic()
        with running(core, sending_to(backend, OTEL_METRICS_EXPORTER="none")) as run:
            backend.wait_for(1)
        assert time.monotonic() - began < 2
        books = run.summary.accounting
        assert (books.seen, books.exported, books.dropped, books.pending) == (2, 0, {"shutdown": 2}, 0)


def test_with_a_queue_on_disk_the_next_run_delivers_what_this_one_could_not(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path))

    def run(backend: Backend, name: str, *, arrives: bool) -> Summary:
        core = FakeCore(processes=[Process(1, os.getpid())], spans=[spans_of(1, name, name)], series=[Series()])
        # An ordinary delay: what goes to disk does not wait so long.
        settings = sending_to(backend, OTEL_BSP_SCHEDULE_DELAY="60000")
        with running(core, settings, queues=Queues(queue, ["traces", "metrics"])) as started:
            eventually(lambda: core.counters()["spans.queued"] == 0, "the core is empty", 5)
            if arrives:
                eventually(lambda: len(backend.span_names()) == 4, "all arrives", 5)
        return started.summary

    with running_backend(*[Answer(503)] * 1000) as backend:
        away = run(backend, "first", arrives=False)
    assert (away.accounting.kept, away.accounting.exported, away.accounting.pending) == (2, 0, 0)
    assert away.series
    assert away.series.kept > 0
    said = away.as_text(colours=False, width=0)
    assert "spans: seen 2 = exported 0 + dropped 0 + kept on disk 2\n" in said
    assert f"metrics, in readings of series: exported 0 + dropped 0 + kept on disk {away.series.kept}\n" in said
    with running_backend() as backend:
        back = run(backend, "second", arrives=True)
        assert backend.span_names() == ["first", "first", "second", "second"]
        series = backend.metrics()["otel-ebpf", "otel_ebpf.queue.recovered"].sum.data_points
        assert {text_attributes(point)["signal"]: point.as_int for point in series}["traces"] == 2
        assert backend.metrics()["shop", "http.server.request.duration"].histogram.data_points
    assert back.series
    assert (back.series.recovered, back.series.kept, back.series.dropped) == (away.series.kept, 0, {})
    assert (back.accounting.recovered, back.accounting.exported, back.accounting.pending) == (2, 4, 0)
    assert "seen 2 + left by earlier runs 2 = exported 4 + dropped 0\n" in back.as_text(colours=False, width=0)


def test_spans_stay_in_the_core_while_the_backend_is_slow() -> None:
    with running_backend(*[Answer(delay_s=0.3)] * 3) as backend:
        core = FakeCore()
        with running(core, sending_to(backend, OTEL_METRICS_EXPORTER="none")) as run:
            for number in range(8):
                core.spans.append(spans_of(1, str(number)))
                time.sleep(0.12)
            assert run.agent._traces is not None
            assert run.agent._traces.sender.delivery().pending <= 6
        assert run.summary.accounting.exported == 8


def test_a_few_spans_wait_for_others_and_many_do_not() -> None:
    with running_backend() as backend:
        core = FakeCore(spans=[spans_of(1, "a")])
        settings = sending_to(backend, OTEL_BSP_SCHEDULE_DELAY="60000", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="3")
        with running(core, settings):
            time.sleep(0.3)
            assert backend.span_names() == []
            core.spans.append(spans_of(1, "b", "c"))
            eventually(lambda: backend.span_names() == ["a", "b", "c"], "the batch is full")


def test_batches_gather_for_a_while_to_become_fewer_requests() -> None:
    with running_backend() as backend:
        core = FakeCore()
        settings = sending_to(
            backend,
            OTEL_BSP_SCHEDULE_DELAY="60000",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1",
            OTEL_METRICS_EXPORTER="none",
        )
        with running(core, settings):
            for number in range(20):
                core.spans.append(spans_of(1, str(number)))
                time.sleep(0.05)
        assert backend.span_names() == [str(number) for number in range(20)]
        assert len(backend.requests) <= 4


def test_a_backend_that_keeps_up_gets_several_requests_in_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.agent._SPANS_BYTES", 10)
    with running_backend() as backend:
        core = FakeCore()
        settings = sending_to(backend, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="1", OTEL_METRICS_EXPORTER="none")
        with running(core, settings):
            core.spans += [spans_of(1, f"span {number}") for number in range(40)]
            eventually(lambda: not core.spans, "all are taken", seconds=3)
        assert len(backend.requests) == 40


def test_new_processes_get_a_verdict_within_a_tick() -> None:
    selection = Selection((Rule(services=("shop",), ports=((80, 80),)),), (Rule(ports=((81, 81),)),))
    core = FakeCore(processes=[Process(1, 0, comm="shop"), Process(2, 0, comm="web")])
    with running(core, replace(Settings(), selection=selection)):
        eventually(lambda: len(core.verdicts) == 2, "both are judged", 1)
        core.processes = [Process(3, 0, comm="shop")]
        eventually(lambda: 3 in core.verdicts, "the new one is judged", 0.5)
    assert core.verdicts[1] == (True, [(80, 80)], [(81, 81)])
    assert core.verdicts[2] == (False, None, None)


def test_rules_are_read_anew_for_processes_that_are_there(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Selection | ConfigError] = [Selection((Rule(services=("web",)),)), ConfigError("line 3: no")]

    def load() -> Settings:
        answer = answers.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return replace(Settings(), selection=answer)

    core = FakeCore(processes=[Process(1, 0, comm="shop"), Process(2, 0, comm="web")])
    with running(core, Settings(), Reload(load)) as run:
        eventually(lambda: [core.verdicts.get(pid, (False,))[0] for pid in (1, 2)] == [True, True], "both are watched")
        run.control.reload = True
        eventually(lambda: not core.verdicts[1][0], "the new rules hold")
        eventually(lambda: core.verdicts[2][0], "and leave the other as it was")
        run.control.reload = True
        eventually(lambda: "line 3: no; all stays as it was" in caplog.text, "the bad file was read")
    assert core.verdicts[2][0]


def test_rules_read_anew_hold_for_tls_of_new_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = 2**22 + 1, 2**22 + 2  # beyond any pid: nobody has met them
    looks: list[int] = []

    def describe(pid: int, _: object) -> TlsReport:
        looks.append(pid)
        return TlsReport(pid, "/bin/it", ())

    monkeypatch.setattr("otel_ebpf.agent.tls.describe", describe)
    core = FakeCore(execs=[new, old])
    settings = replace(Settings(), selection=Selection((Rule(pids=(old,)),)))
    anew = replace(Settings(), selection=Selection((Rule(pids=(new,)),)))
    with running(core, settings, Reload(lambda: anew)) as run:
        eventually(lambda: looks, "new programs are looked at")
        assert set(looks) == {old}
        run.control.reload = True
        eventually(lambda: not run.control.reload, "the rules are read")
        core.execs = [new]
        eventually(lambda: new in looks, "by the new rules it is looked at as well")


def test_a_reader_that_goes_away_ends_it_quietly_with_all_sent() -> None:
    with running_backend() as backend:
        core = FakeCore(spans=[spans_of(1, "a")])
        settings = sending_to(backend, OTEL_BSP_SCHEDULE_DELAY="60000")
        run = Run(core, settings)
        run.thread.start()
        os.close(run.reading)
        run.thread.join(5)
        assert isinstance(run.error, OutputClosed)
        assert core.closed
        assert backend.span_names() == ["a"]
        os.close(run.writing)


def test_the_end_comes_by_itself_after_the_duration() -> None:
    run = Run(FakeCore(), Settings())
    run.control.end_at_s = time.monotonic() + 0.3
    run.thread.start()
    run.thread.join(3)
    assert run.core.closed
    assert 0.2 < run.summary.duration_s < 1.5


def test_a_core_that_fails_is_closed_all_the_same() -> None:
    class Broken(FakeCore):
        def take_processes(self) -> list[Process]:
            raise RuntimeError("broken")

    run = Run(Broken(), Settings())
    with pytest.raises(RuntimeError, match="broken"):
        run.agent.run(run.control)
    assert run.core.closed


def test_processes_that_ended_are_forgotten_but_not_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_ebpf.agent.agent._READ_EVERY_S", 0.05)
    monkeypatch.setattr("otel_ebpf.agent.watch._LINGER_S", 0.1)
    core = FakeCore(processes=[Process(1, 0, comm="curl")], series=[Series(1)])
    with running(core, Settings()) as run:
        eventually(lambda: run.agent._metrics.totals._live, "its series are read")
        core.series = []
        core.exits = [1]
        eventually(lambda: not run.agent._watch.infos, "it is forgotten")
    assert run.summary.totals["curl", "server", "GET", "/orders/{id}"].count == 1


def test_at_most_some_two_thousand_lines_a_second(caplog: pytest.LogCaptureFixture) -> None:
    core = FakeCore(processes=[Process(1, 0)], lines=[Line()] * 20_000)
    caplog.set_level("INFO", "otel_ebpf")
    core.lines_dropped = 1234
    run = Run(core, Settings())
    run.thread.start()
    drained: list[bytes] = []
    reader = threading.Thread(target=lambda: drained.extend(iter(lambda: os.read(run.reading, 65536), b"")))
    reader.start()
    time.sleep(1)
    run.end()
    run.output.close()
    os.close(run.writing)
    reader.join(5)
    os.close(run.reading)
    shown = b"".join(drained).count(b"\n")
    assert shown == run.summary.lines_shown
    assert 2000 <= shown <= 4600
    assert "1,234 requests more, not shown" in caplog.text
