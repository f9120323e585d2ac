"""How the agent starts and ends, well or not: nothing stays attached, and what is wrong is said clearly."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import agent as agents
from tests.testbed import clients
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.telemetry import SERVER

COMMAND = str(agents.COMMAND)
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_well(run_agent: RunAgent, serve: Serve, tag: str, how: signal.Signals) -> None:
    server = serve("go")
    with run_agent() as agent:
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3)
        begin = time.monotonic()
        assert agent.end(how) == 0
        assert time.monotonic() - begin < 5
        # What was seen until then arrived, and is told.
        assert len(agent.spans(server.pids, SERVER, tag)) == 3
        assert agent.summary()["requests_seen"] >= 6


def test_ends_well_under_load(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    server = serve("nginx")
    argv = ["wrk", "-t1", "-c16", "-d4s", f"{server.url}/hello?t={tag}"]
    with run_agent(spans_per_second=5000) as agent, subprocess.Popen(argv, stdout=subprocess.DEVNULL) as wrk:
        time.sleep(1)
        assert agent.end() == 0
        assert wrk.wait() == 0
        assert agent.summary()["unaccounted"] == 0


def test_killed_it_leaves_nothing(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    server = serve("go")
    with run_agent() as agent:
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")])
        assert agent.programs <= agents.programs_loaded()
        assert agent.end(signal.SIGKILL) == -signal.SIGKILL
        # end() has seen that its programs are gone.


def test_two_agents_do_not_disturb_each_other(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    server = serve("go")
    with run_agent() as first, run_agent() as second:
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 5)
        for agent in (first, second):
            agent.settle()
            assert len(agent.spans(server.pids, SERVER, tag)) == 5
            # Neither sees itself, its twin's export aside.
            assert not agent.spans([agent.program.pid])
        assert second.end() == 0
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 5)
        first.settle()
        assert len(first.spans(server.pids, SERVER, tag)) == 10


def test_the_agent_never_sees_itself(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    with run_agent() as agent:
        for _ in range(5):
            agent.settle_metrics()
        assert agent.end() == 0
        assert agent.spans([agent.program.pid]) == []


def started(
    *options: str, stdout: int, env: dict[str, str] | None = None, before: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """An agent without a backend: it writes lines."""
    return subprocess.Popen(
        [*before, COMMAND, "run", *options],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **agents.environment(None), **(env or {})},
    )


def await_attached(popen: subprocess.Popen[bytes]) -> None:
    """Reads standard error up to the line that says so."""
    assert popen.stderr is not None
    said = b""
    while not agents.ATTACHED.search(said.decode()):
        line = popen.stderr.readline()
        assert line, f"the agent ended: {said.decode()}"
        said += line
    agents.programs_seen.update(agents.programs_of(popen.pid))


def test_lines_on_the_terminal(serve: Serve, tag: str) -> None:
    server = serve("go")
    with started("--port", str(server.port), "-o", "json", stdout=subprocess.PIPE) as popen:
        await_attached(popen)
        clients.curl(server, [Ask("GET", f"/items/{number}?t={tag}") for number in range(5)])
        time.sleep(0.5)
        popen.send_signal(signal.SIGINT)
        out, err = popen.communicate(timeout=15)
    assert popen.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    lines = [row for row in rows if row.get("kind") != "summary"]
    assert len(lines) == 10
    assert rows[-1]["kind"] == "summary"
    assert rows[-1]["requests_seen"] == 10
    text = out.decode()
    for number in range(5):
        assert text.count(f"/items/{number}?t={tag}") == 2


def test_lines_as_text(serve: Serve, tag: str) -> None:
    server = serve("go")
    with started("--exe", "app", stdout=subprocess.PIPE) as popen:
        await_attached(popen)
        clients.curl(server, [Ask("GET", f"/items/{number}?t={tag}") for number in range(5)])
        time.sleep(0.5)
        popen.send_signal(signal.SIGTERM)
        out, err = popen.communicate(timeout=15)
    assert popen.returncode == 0, err
    shown = [line for line in out.decode().splitlines() if tag in line]
    assert len(shown) == 5
    for line in shown:
        assert "GET" in line
        assert "200" in line
    assert "5 requests seen" in out.decode()


def test_closed_pipe_on_standard_output(serve: Serve, tag: str) -> None:
    """As in `otel-ebpf run | head -1`."""
    server = serve("go")
    with started(stdout=subprocess.PIPE) as popen:
        await_attached(popen)
        assert popen.stdout is not None
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")])
        popen.stdout.readline()
        popen.stdout.close()
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 10)
        assert popen.wait(15) == 0
        assert popen.stderr is not None
        assert b"Traceback" not in popen.stderr.read()


def test_full_disk_on_standard_output(serve: Serve, tag: str) -> None:
    server = serve("go")
    with Path("/dev/full").open("wb") as full, started(stdout=full.fileno()) as popen:
        await_attached(popen)
        clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3)
        assert popen.wait(15) == 5
        assert popen.stderr is not None
        said = popen.stderr.read()
        assert b"No space left" in said
        assert b"Traceback" not in said


def test_without_privileges() -> None:
    loaded = agents.programs_loaded()
    with started(stdout=subprocess.PIPE, before=WITHOUT_CAPABILITIES) as popen:
        _, err = popen.communicate(timeout=30)
    said = err.decode()
    assert popen.returncode == 3, said
    assert "Traceback" not in said
    assert "root" in said or "CAP_" in said.upper(), said
    assert len(said.splitlines()) < 10
    assert agents.programs_loaded() <= loaded | agents.programs_loaded()


def test_check_says_what_is_missing() -> None:
    whole = subprocess.run([COMMAND, "check", "-o", "json"], capture_output=True, timeout=60)
    findings = json.loads(whole.stdout)
    assert whole.returncode == 0, findings
    assert {row["status"] for row in findings["checks"]} <= {"pass", "warn"}
    argv = [*WITHOUT_CAPABILITIES, COMMAND, "check", "-o", "json"]
    poor = subprocess.run(argv, capture_output=True, timeout=60)
    findings = json.loads(poor.stdout)
    assert poor.returncode == 1
    failed = [row for row in findings["checks"] if row["status"] == "fail"]
    assert failed
    assert all(row["why"] and row["fix"] for row in failed)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('file_format: "1.0"\ndistribution:\n  otel_ebpf:\n    spans_per_secnod: 5\n', "spans_per_secnod"),
        ('file_format: "1.0"\ndistribution:\n  otel_ebpf:\n    capture: {ring_bytes: 5000}\n', "ring_bytes"),
        ("file_format: [\n", "config.yaml"),
    ],
)
def test_invalid_configuration_is_refused(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    done = subprocess.run([COMMAND, "run", "--config", str(file)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert named in done.stderr
    assert "config.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_configuration_file_is_refused() -> None:
    done = subprocess.run([COMMAND, "run", "--config", "/nonexistent.yaml"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "/nonexistent.yaml" in done.stderr


def test_duration_ends_it(tmp_path: Path) -> None:
    begin = time.monotonic()
    with started("--duration", "1", stdout=subprocess.DEVNULL) as popen:
        assert popen.wait(15) == 0
    assert 1 <= time.monotonic() - begin < 6


def test_a_second_signal_ends_it_at_once(serve: Serve) -> None:
    with started(stdout=subprocess.DEVNULL) as popen:
        await_attached(popen)
        held = agents.programs_of(popen.pid)
        popen.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(10) in (0, -signal.SIGTERM)
        eventually(lambda: not held & agents.programs_loaded(), "its programs are gone", 5)
