"""What the agent says of itself, held against what the kernel says of it."""

import json
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.conftest import RunAgent, Serve
from tests.testbed import cache, clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually, free_port


def by_attribute(agent: Agent, name: str, key: str) -> dict[str, float]:
    """Newest values of one of the agent's own metrics."""
    return {str(point.attributes[key]): point.value for point in agent.points(name)}


def test_costs_of_programs_and_maps(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    web = serve("nginx")
    with run_agent("--port", str(web.port), "--stats") as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 50)
        eventually(lambda: agent.points("otel_ebpf.bpf.map.memory"), "the agent tells of itself")
        listed = subprocess.run([cache.tool("bpftool", "bpftool"), "-j", "prog", "list"], capture_output=True)
        ids = {row["id"]: row for row in json.loads(listed.stdout) if row["id"] in agent.programs}
        memory = by_attribute(agent, "otel_ebpf.bpf.map.memory", "bpf.map.name")
        held = kernel_maps(agent.program.pid)
        assert agent.end() == 0
    runs = by_attribute(agent, "otel_ebpf.bpf.program.runs", "bpf.program.name")
    seconds = by_attribute(agent, "otel_ebpf.bpf.program.run_time", "bpf.program.name")
    missed = by_attribute(agent, "otel_ebpf.bpf.program.missed", "bpf.program.name")
    # 50 requests, each sent and received on both sides. The kernel cuts names to 15 characters.
    assert sum(runs.values()) > 200
    assert {name[:15] for name in missed} == {row["name"][:15] for row in ids.values()}
    assert all(0 < seconds[name] < 1 for name in runs)
    # Maps that allocate as they fill may have grown in between.
    assert sum(memory.values()) == pytest.approx(sum(held), rel=0.01)
    assert memory["ring"] > 4 << 20


def kernel_maps(pid: int) -> list[int]:
    """Bytes of each map that a process holds, each once."""
    found: dict[str, int] = {}
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in info.read_text().splitlines() if ":\t" in line)
        if "map_id" in fields:
            found[fields["map_id"]] = int(fields["memlock"])
    return list(found.values())


def test_without_stats_no_program_is_timed(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    web = serve("nginx")
    with run_agent("--port", str(web.port)) as agent:
        clients.curl(web, [Ask("GET", f"/hello?t={tag}")] * 10)
        assert agent.end() == 0
        assert not agent.points("otel_ebpf.bpf.program.runs")
        [memory] = agent.points("process.memory.usage")
        assert 20e6 < memory.value < 120e6
        [latency] = agent.points("otel_ebpf.export.latency")
        assert latency.count == len(agent.telemetry.spans)


def test_health_and_profile_of_an_agent_at_work(run_agent: RunAgent, serve: Serve, tag: str) -> None:
    web, health, debug = serve("nginx"), free_port(), free_port()
    asked = {"OTEL_EBPF_HEALTH_ENDPOINT": f":{health}", "OTEL_EBPF_PROFILE_ENDPOINT": str(debug)}
    with run_agent("--port", str(web.port), env=asked) as agent:
        for page in ("livez", "readyz"):
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/{page}", timeout=10) as answer:
                assert (answer.status, answer.read()) == (200, b"ok\n")
        load = threading.Thread(target=clients.wrk, args=(f"{web.url}/hello?t={tag}",), kwargs={"seconds": 3})
        load.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{debug}/debug/profile?seconds=2", timeout=30) as answer:
            profile = answer.read().decode()
        load.join()
        # Under load it is the core that works.
        assert profile.splitlines()[0].startswith("native;otel-ebpf-drain ")
        assert agent.end() == 0
