"""Metrics as the Collector gets them: exponential histograms, both temporalities, series that end."""

import itertools
import os
import time

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import Point

SERVED, ASKED = "http.server.request.duration", "http.client.request.duration"
DELTA, CUMULATIVE = 1, 2


@pytest.fixture
def web(serve: Serve) -> Server:
    """A server of one process."""
    return serve("go")


def bounds(point: Point) -> tuple[float, float]:
    """Between which seconds all of an exponential histogram's values lie."""
    base = 2**2**-point.scale
    return base**point.offset, base ** (point.offset + len(point.buckets))


def test_exponential_histograms(run_agent: RunAgent, web: Server, tag: str) -> None:
    env = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}
    with run_agent("--port", str(web.port), env=env) as agent:
        plan = [Ask("GET", f"/sleep/{ms}?t={tag}") for ms in (1, 20, 60) for _ in range(10)]
        done = clients.curl(web, [*plan, Ask("GET", f"/bytes/1000?t={tag}")])
        assert agent.end() == 0
        points = agent.points(SERVED, web.pids)
        assert {(point.kind, point.temporality) for point in points} == {("exponentialHistogram", CUMULATIVE)}
        assert sum(point.count for point in points) == len(plan) + 1
        for point in points:
            assert sum(point.buckets) + point.zero_count == point.count
            assert len(point.buckets) <= 160
        [slept] = [point for point in points if point.attributes["http.route"].startswith("/sleep")]
        low, high = bounds(slept)
        assert low * 1.02 >= 0.001
        assert 0.06 < high < 1
        # One bucket more is 1.1 % of a value or so: what slept for 20 ms can't be where 60 ms are.
        spans = sorted(span.duration_s for span in agent.spans(web.pids, tag=tag) if span.path.startswith("/sleep"))
        assert low < spans[0] < spans[-1] <= high
        assert sum(point.count for point in agent.points(ASKED, [done.pid])) == len(plan) + 1
        sizes = agent.points("http.server.response.body.size", web.pids)
        assert any(bounds(p)[0] < 1000 <= bounds(p)[1] for p in sizes if p.buckets)


def settle(agent: Agent) -> None:
    """As `settle_metrics`, where series that have nothing new are not sent: levels always are."""
    agent.settle()
    now_ns = time.time_ns()

    def read() -> bool:
        points = agent.points("http.server.active_requests", [os.getpid()])
        return any(point.time_ns > now_ns for point in points)

    eventually(read, "newer levels arrive", 20)


def rounds(agent: Agent, web: Server, tag: str) -> tuple[int, set[int]]:
    """Requests in more than one interval, by processes that end; how many in all, and the processes."""
    pids = set()
    for count in (3, 5, 2):
        pids.add(clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * count).pid)
        settle(agent)
    return 10, pids


@pytest.mark.parametrize("preference", ["delta", "lowmemory"])
@pytest.mark.parametrize("histograms", ["explicit_bucket_histogram", "base2_exponential_bucket_histogram"])
def test_deltas_add_up_and_leave_no_gap(
    run_agent: RunAgent, web: Server, tag: str, preference: str, histograms: str
) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": preference,
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": histograms,
    }
    with run_agent(env=env) as agent:
        requests, askers = rounds(agent, web, tag)
        assert agent.end() == 0
        points = agent.telemetry.history(SERVED, web.pids)
        assert {point.temporality for point in points} == {DELTA}
        assert sum(point.count for point in points) == requests
        assert all(point.count == sum(point.buckets) + point.zero_count > 0 for point in points), "only what is new"
        assert len(points) >= 3
        for earlier, later in itertools.pairwise(points):
            assert earlier.start_ns < earlier.time_ns == later.start_ns < later.time_ns
        asked = agent.telemetry.history(ASKED, askers)
        assert sum(point.count for point in asked) == requests
        active = agent.telemetry.history("http.server.active_requests", web.pids)
        assert {point.temporality for point in active} == {CUMULATIVE}
        assert [point.value for point in active][-1] == 0


def test_series_end_with_their_process_and_others_go_on(run_agent: RunAgent, web: Server, tag: str) -> None:
    with run_agent() as agent:
        done = clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 4)
        agent.settle_metrics()

        def others_went_on() -> bool:
            agent.telemetry.refresh()
            last_ns = agent.telemetry.history(ASKED, [done.pid])[-1].time_ns
            times = {point.time_ns for point in agent.telemetry.history(SERVED, web.pids)}
            return sum(when > last_ns for when in times) >= 6

        eventually(others_went_on, "the server's series are sent six times more", 20)
        assert agent.telemetry.history(ASKED, [done.pid])[-1].count == 4
        # A cumulative series has one start for as long as it lives.
        assert len({point.start_ns for point in agent.telemetry.history(SERVED, web.pids)}) == 1


def test_a_new_run_begins_new_series(run_agent: RunAgent, web: Server, tag: str) -> None:
    starts = []
    for _ in range(2):
        before_ns = time.time_ns()
        with run_agent("--port", str(web.port)) as agent:
            clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 3)
            assert agent.end() == 0
            [point] = agent.points(SERVED, web.pids)
            assert point.count == 3
            assert before_ns < point.start_ns < point.time_ns
            starts.append(point.start_ns)
    assert starts[0] < starts[1]


@pytest.mark.parametrize("histograms", ["explicit_bucket_histogram", "base2_exponential_bucket_histogram"])
def test_exemplars_are_spans_that_arrived(run_agent: RunAgent, web: Server, tag: str, histograms: str) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": histograms,
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.5",
    }
    with run_agent("--port", str(web.port), env=env) as agent:
        clients.curl(web, [Ask("GET", f"/sleep/{ms}?t={tag}") for ms in (1, 20, 60) for _ in range(20)])
        assert agent.end() == 0
        spans = {(span.trace_id, span.span_id): span for span in agent.spans(web.pids, tag=tag)}
        assert 10 < len(spans) < 50
        points = agent.telemetry.history(SERVED, web.pids)
        exemplars = [one for point in points for one in point.exemplars]
        assert len({value > 0.02 for value, _, _ in exemplars}) == 2, "of more than one bucket"
        for value, trace_id, span_id in exemplars:
            assert spans[trace_id, span_id].duration_s == pytest.approx(value)
        assert all(len(point.exemplars) <= 15 for point in points)
        assert len(exemplars) == len(set(exemplars)), "none is sent twice"
