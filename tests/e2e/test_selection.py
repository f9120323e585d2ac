"""Which processes and connections are watched. The agent is ended before it is judged: then all has arrived."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import clients, servers
from tests.testbed.agent import configuration
from tests.testbed.cgroups import cgroup
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server
from tests.testbed.telemetry import CLIENT, SERVER


@pytest.fixture
def two(serve: Serve) -> tuple[Server, Server]:
    """A server to watch and one to leave alone."""
    return serve("go"), serve("nginx")


def ask_both(two: tuple[Server, Server], tag: str) -> list[int]:
    """Three requests to each; the clients' pids."""
    return [clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 3).pid for server in two]


def flags(kind: str, server: Server) -> list[str]:
    """Options that pick this server (or its connections) and not the other."""
    values = {
        "port": str(server.port),
        "pid": str(server.program.pid),
        "exe": str(Path(f"/proc/{server.program.pid}/exe").readlink()),
        "service": "app",
    }
    return [values[kind]]


@pytest.mark.parametrize("kind", ["port", "pid", "exe", "service"])
def test_include(run_agent: RunAgent, two: tuple[Server, Server], tag: str, kind: str) -> None:
    wanted, other = two
    with run_agent(f"--{kind}", *flags(kind, wanted)) as agent:
        asked_wanted, asked_other = ask_both(two, tag)
        assert agent.end() == 0
        assert len(agent.spans(wanted.pids, SERVER, tag)) == 3
        assert agent.spans(other.pids) == []
        assert agent.spans([asked_other]) == []
        # A port belongs to connections, and these have two ends.
        both = kind == "port"
        assert len(agent.spans([asked_wanted], CLIENT, tag)) == (3 if both else 0)
        assert agent.summary()["requests_seen"] == (6 if both else 3)
        assert agent.telemetry.count("http.server.request.duration") == 3


@pytest.mark.parametrize("kind", ["port", "pid", "exe", "service"])
def test_exclude(run_agent: RunAgent, two: tuple[Server, Server], tag: str, kind: str) -> None:
    unwanted, other = two
    with run_agent(f"--exclude-{kind}", *flags(kind, unwanted)) as agent:
        asked_unwanted, asked_other = ask_both(two, tag)
        assert agent.end() == 0
        assert agent.spans(unwanted.pids) == []
        assert len(agent.spans(other.pids, SERVER, tag)) == 3
        assert len(agent.spans([asked_other], CLIENT, tag)) == 3
        assert len(agent.spans([asked_unwanted], CLIENT, tag)) == (0 if kind == "port" else 3)


def test_exclude_wins_over_include(run_agent: RunAgent, two: tuple[Server, Server], tag: str) -> None:
    ports = f"{two[0].port},{two[1].port}"
    with run_agent("--port", ports, "--exclude-exe", "curl", "--exclude-port", str(two[1].port)) as agent:
        ask_both(two, tag)
        assert agent.end() == 0
        assert {span.pid for span in agent.telemetry.spans} == {two[0].program.pid}
        assert agent.summary()["requests_seen"] == 3


def test_include_by_cgroup(run_agent: RunAgent, two: tuple[Server, Server], tag: str) -> None:
    wanted, _ = two
    with (
        cgroup(f"otel-ebpf-test-{os.getpid()}", wanted.program.pid) as path,
        run_agent("--cgroup", path) as agent,
    ):
        ask_both(two, tag)
        assert agent.end() == 0
        assert len(agent.spans(wanted.pids, SERVER, tag)) == 3
        assert {span.pid for span in agent.telemetry.spans} == {wanted.program.pid}


def test_short_lived_clients_are_not_missed(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    """Each curl lives for milliseconds, and is selected by what is only known once it runs."""
    server = serve("go")
    with run_agent("--exe", "curl") as agent:
        pids = [clients.curl(server, [Ask("GET", f"/items/{n}?t={tag}")]).pid for n in range(30)]
        assert agent.end() == 0
        asked = agent.spans(pids, CLIENT, tag)
        assert sorted(span.path for span in asked) == sorted(f"/items/{n}" for n in range(30))
        assert {span.resource["service.name"] for span in asked} == {"curl"}
        assert agent.summary()["requests_seen"] == 30


def test_a_server_that_starts_later_is_picked_up_at_once(run_agent: RunAgent, tag: str) -> None:
    with run_agent("--exe", "app") as agent:
        for _ in range(3):
            with servers.go() as server:
                clients.curl(server, [Ask("GET", f"/hello?t={tag}")] * 2)
                eventually(lambda: len(agent.spans(server.pids, SERVER, tag)) == 2, "its spans arrive", 3)
        assert agent.end() == 0
        assert agent.summary()["requests_seen"] == 6


def rules(port: int) -> str:
    """A configuration file that watches the server at this port, and none of its clients."""
    include = [{"port": port, "executable": "app"}]
    return configuration(selection={"include": include, "exclude": [{"executable": ["curl*"]}]})


def test_rules_of_a_file_and_sighup(
    run_agent: RunAgent, serve: Serve, two: tuple[Server, Server], tag: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    wanted = two[0]
    with servers.go() as other:
        file.write_text(rules(wanted.port))
        with run_agent("--config", str(file)) as agent:
            ask_both((wanted, other), f"{tag}-1")
            eventually(lambda: len(agent.spans(wanted.pids, SERVER, f"{tag}-1")) == 3, "the spans arrive")
            time.sleep(0.5)  # the other server has its verdict by then, too
            file.write_text(rules(other.port))
            agent.program.popen.send_signal(signal.SIGHUP)
            eventually(lambda: "read anew" in agent.program.stderr, "the rules are read anew")
            time.sleep(0.3)
            ask_both((wanted, other), f"{tag}-2")
            file.write_text("file_format: nonsense\n")
            agent.program.popen.send_signal(signal.SIGHUP)
            eventually(lambda: "all stays as it was" in agent.program.stderr, "the bad file is refused")
            ask_both((wanted, other), f"{tag}-3")
            assert agent.end() == 0
            assert {span.tag for span in agent.spans(wanted.pids)} == {f"{tag}-1"}
            assert sorted(span.tag for span in agent.spans(other.pids)) == [f"{tag}-2"] * 3 + [f"{tag}-3"] * 3
            assert agent.summary()["requests_seen"] == 9
