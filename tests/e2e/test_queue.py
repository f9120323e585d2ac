"""The queue on disk: a Collector that is away, an agent that is killed, damaged files; every span arrives once."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.books import own
from tests.e2e.conftest import Serve
from tests.testbed import agent as agents
from tests.testbed import clients, nginx, postgresql, wire
from tests.testbed import collector as collectors
from tests.testbed.clients import Ask
from tests.testbed.collector import Collector
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER, Span


@pytest.fixture(scope="module")
def web() -> Iterator[Server]:
    """An nginx of one worker."""
    with nginx.nginx(workers=1, proxy=False) as started:
        yield started


class Backend:
    """A Collector that can be away, and comes back to the same ports; `spans` are all that any of them was given."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.collector = self._stack.enter_context(collectors.collector())
        self._all = [self.collector.telemetry()]

    def kill(self) -> None:
        assert self.collector.program.end(signal.SIGKILL) == -signal.SIGKILL
        self._all[-1].refresh()  # its folder goes with it
        self._stack.close()

    def back(self) -> Collector:
        self.collector = self._stack.enter_context(collectors.collector(earlier=self.collector))
        self._all.append(self.collector.telemetry())
        return self.collector

    def spans(self, tag: str) -> list[Span]:
        self._all[-1].refresh()
        return [span for each in self._all for span in each.spans if span.tag == tag]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def backend() -> Iterator[Backend]:
    """A Collector that runs."""
    standing = Backend()
    try:
        yield standing
    finally:
        standing.close()


def queue(folder: Path, **more: str) -> dict[str, str]:
    """The environment of an agent with a queue there."""
    return {"OTEL_EBPF_QUEUE_DIRECTORY": str(folder), **more}


def segments(folder: Path, under: str = "traces") -> list[Path]:
    return sorted((folder / under).glob("*.queue"))


def on_disk(folder: Path, text: str) -> int:
    """How often a text is in the queue's files."""
    return sum(file.read_bytes().count(text.encode()) for file in folder.rglob("*.queue"))


def await_on_disk(program: agents.Agent, folder: Path, text: str, times: int) -> None:
    def written() -> bool:
        program.program.must_run()
        return on_disk(folder, text) >= times

    eventually(written, f"{times} spans are on disk", 10, every=0.05)


class Steady:
    """A thousand requests a second, over one connection, until told to end."""

    def __init__(self, web: Server, target: str) -> None:
        self.done = 0
        self._web, self._request = web, wire.request("GET", target)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        began_s = time.monotonic()
        with wire.Connection(self._web) as conn:
            while not self._stop.is_set():
                conn.send(self._request)
                assert conn.answer().status in {200, 503}
                self.done += 1
                time.sleep(max(0.0, began_s + self.done / 1000 - time.monotonic()))

    def end(self) -> int:
        self._stop.set()
        self._thread.join(10)
        return self.done


def resident_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


def test_a_collector_that_is_killed_and_comes_back_misses_nothing(
    backend: Backend, fence: agents.Fence, web: Server, tag: str, tmp_path: Path
) -> None:
    folder = tmp_path / "queue"
    with agents.running(backend.collector, fence, "--port", str(web.port), env=queue(folder)) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 5)
        eventually(lambda: len(backend.spans(tag)) == 10, "the first spans arrive")
        backend.kill()
        before = resident_kb(agent.program.pid)
        load = Steady(web, f"/quiet?t={tag}")
        time.sleep(20)
        away = load.done
        grown = resident_kb(agent.program.pid) - before
        agent.telemetry = backend.back().telemetry()
        eventually(lambda: len(backend.spans(tag)) > 2 * away, "what was queued arrives", 45)
        asked = load.end()
        eventually(lambda: len(backend.spans(tag)) == 2 * (asked + 5), "all arrives", 15)
        assert away > 10_000, "that was no load"
        assert grown < 12 << 10, f"{grown} kB more"
        eventually(lambda: own(agent, "otel_ebpf.series.exported") > 0, "metrics tell of metrics that arrived", 20)
        assert agent.end() == 0
        spans = backend.spans(tag)
        assert Counter(span.kind for span in spans) == {SERVER: asked + 5, CLIENT: asked + 5}
        assert len({(span.trace_id, span.span_id) for span in spans}) == len(spans)
        books = agent.summary()
        assert books["requests_seen"] == books["spans_exported"] == len(spans)
        assert (books["spans_kept"], books["unaccounted"]) == (0, 0)
        assert not segments(folder)
        # Metrics waited as well: the last of them say it all.
        assert agent.telemetry.count("http.server.request.duration", web.pids) == asked + 5
        assert (books["series"]["dropped"], books["series"]["kept"]) == ({}, 0)
        assert 0 < own(agent, "otel_ebpf.series.exported") <= books["series"]["exported"]


def test_what_was_on_disk_when_the_agent_was_killed_arrives_once_and_holds_no_secret(
    backend: Backend, fence: agents.Fence, serve: Serve, tag: str, tmp_path: Path
) -> None:
    server, folder, canary = serve("go"), tmp_path / "queue", "canary-4711"
    with postgresql.postgresql() as database, postgresql.session(database.dsn("session")) as session:
        backend.kill()
        with agents.running(backend.collector, fence, env=queue(folder)) as agent:
            asks = [Ask("GET", f"/items/{number}?t={tag}&token={canary}") for number in range(30)]
            clients.curl(server, asks)
            assert session.execute(f"SELECT '{canary}' AS beak") == "ok"
            await_on_disk(agent, folder, tag, 60)
            await_on_disk(agent, folder, "SELECT ? AS beak", 1)
            assert on_disk(folder, canary) == 0
            assert on_disk(folder, "REDACTED") >= 60
            assert canary not in agent.program.stderr
            assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    with agents.running(backend.back(), fence, "--pid", "1", env=queue(folder)) as agent:
        eventually(lambda: len(backend.spans(tag)) == 60, "what was on disk arrives")
        assert agent.end() == 0
        books = agent.summary()
    spans = backend.spans(tag)
    assert sorted(span.path for span in spans) == sorted(f"/items/{number}" for number in range(30) for _ in "ab")
    assert len({span.span_id for span in spans}) == 60
    assert books["spans_recovered"] >= 60
    assert books["unaccounted"] == books["spans_kept"] == 0
    dropped = sum(books["spans_dropped"].values())
    assert books["spans_recovered"] + books["requests_seen"] == books["spans_exported"] + dropped


def test_a_kill_under_load_costs_less_than_a_second_and_the_next_run_knows(
    backend: Backend, fence: agents.Fence, web: Server, tag: str, tmp_path: Path
) -> None:
    folder, only = tmp_path / "queue", ("--port", str(web.port))
    backend.kill()
    with agents.running(backend.collector, fence, *only, env=queue(folder)) as agent:
        load = Steady(web, f"/quiet?t={tag}")
        eventually(lambda: load.done > 3000, "some requests", 30)
        done = load.done
        assert agent.end(signal.SIGKILL) == -signal.SIGKILL
        load.end()
    with agents.running(backend.back(), fence, *only, env=queue(folder)) as agent:
        eventually(lambda: backend.spans(tag), "what was on disk arrives")
        assert agent.end() == 0
        books = agent.summary()
    spans = backend.spans(tag)
    assert len({span.span_id for span in spans}) == len(spans) == books["spans_exported"]
    assert books["spans_recovered"] == len(spans) + books["spans_dropped"].get("killed", 0)
    # A thousand requests, two spans each, in the last second.
    assert 2 * done - len(spans) < 2000
    # In no book are those that came after the last note of it, a tenth of a second at most where nobody is in the way.
    assert 2 * done - books["spans_recovered"] < 1000


def test_damaged_files_cost_what_is_damaged_and_that_is_counted(
    backend: Backend, fence: agents.Fence, web: Server, tag: str, tmp_path: Path
) -> None:
    folder, only = tmp_path / "queue", ("--port", str(web.port))
    backend.kill()
    with agents.running(backend.collector, fence, *only, env=queue(folder)) as agent:
        for part in ("a", "b", "c"):
            clients.curl(web, [Ask("GET", f"/hello?t={tag}{part}")] * 5)
            await_on_disk(agent, folder, f"{tag}{part}", 10)
        assert agent.end() == 0
        assert agent.summary()["spans_kept"] == 30
    [file] = segments(folder)
    damaged = bytearray(file.read_bytes())
    damaged[damaged.index(f"{tag}a".encode())] ^= 4
    file.write_bytes(damaged[:-1])
    with agents.running(backend.back(), fence, *only, env=queue(folder)) as agent:
        eventually(lambda: backend.spans(f"{tag}b"), "what is whole arrives")
        assert agent.end() == 0
        books = agent.summary()
    assert books["spans_recovered"] == 30
    assert books["spans_exported"] + books["spans_dropped"]["corrupt"] == 30
    assert books["unaccounted"] == 0
    assert len(backend.spans(f"{tag}b")) == 10
    arrived = [span for part in "abc" for span in backend.spans(tag + part)]
    assert len(arrived) == books["spans_exported"]


def test_at_its_bound_the_oldest_go_and_the_books_balance(
    backend: Backend, fence: agents.Fence, web: Server, tag: str, tmp_path: Path
) -> None:
    """Of errors: of others there are fewer and fewer before it comes to that."""
    folder = tmp_path / "queue"
    env = queue(folder, OTEL_EBPF_QUEUE_MAX_BYTES=str(1 << 20))
    backend.kill()
    with agents.running(backend.collector, fence, "--port", str(web.port), env=env) as agent:
        load = Steady(web, f"/status/503?t={tag}")
        eventually(lambda: load.done > 4000, "some requests", 30)
        load.end()
        newest = f"{tag}-newest"
        clients.curl(web, [Ask("GET", f"/status/503?t={newest}")] * 5)
        await_on_disk(agent, folder, newest, 10)
        assert sum(file.stat().st_size for file in segments(folder)) <= 1 << 20
        assert agent.end() == 0
        books = agent.summary()
        assert {reason for reason, count in books["spans_dropped"].items() if count} == {"queue_size"}
        assert books["unaccounted"] == 0
        assert books["requests_seen"] == books["spans_dropped"]["queue_size"] + books["spans_kept"]
    with agents.running(backend.back(), fence, "--port", str(web.port), env=env) as agent:
        eventually(lambda: len(backend.spans(newest)) == 10, "the newest arrive")
        assert agent.end() == 0
        assert agent.summary()["spans_exported"] == books["spans_kept"]


def test_a_second_agent_on_the_same_directory_is_refused(backend: Backend, fence: agents.Fence, tmp_path: Path) -> None:
    with agents.running(backend.collector, fence, "--pid", "1", env=queue(tmp_path)) as agent:
        second = subprocess.run(
            [agents.COMMAND, "run"],
            env={**os.environ, **agents.environment(backend.collector.http_endpoint), **queue(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 2
        assert f"in use by another otel-ebpf (pid {agent.program.pid})" in second.stderr
        assert "Traceback" not in second.stderr
