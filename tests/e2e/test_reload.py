"""A configuration that changes while requests are served: no request is lost, and nothing is attached anew."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.books import SERVED, balance, counted, own, settled
from tests.e2e.conftest import RunAgent
from tests.testbed import agent as agents
from tests.testbed import clients
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.process import eventually
from tests.testbed.servers import Server

RELOADS = "otel_ebpf.config.reloads"


class ConfigMap:
    """A file as Kubernetes mounts it: a link to ..data, which is another link from one moment to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.path = folder / "config.yaml"
        self.path.symlink_to("..data/config.yaml")

    def put(self, text: str) -> None:
        self._version += 1
        version = self._folder / f"..{self._version}"
        version.mkdir()
        (version / "config.yaml").write_text(text)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._folder / "..data")


def text(web: Server, change: Callable[[dict[str, Any]], None] = lambda _: None, **ours: Any) -> str:
    """The configuration that watches nginx alone; `change` does what it likes with all of it."""
    rule = {"executable": "nginx", "port": web.port}
    ours = {"selection": {"include": [rule]}, "spans_per_second": 200, **ours}
    document = yaml.safe_load(agents.configuration(**ours))
    change(document)
    return yaml.safe_dump(document)


def said(agent: Agent) -> int:
    """How often the agent has said that it has read its configuration anew, with whatever outcome."""
    return agent.program.stderr.count("read anew: ") + agent.program.stderr.count("all stays as it was")


def read(agent: Agent, times: int) -> None:
    """Waits until it has read its configuration anew so often."""
    eventually(lambda: said(agent) >= times, f"reload {times}", 10)


def variants(web: Server) -> list[str]:
    """Configurations that count the same requests and differ in all else that can change while they are counted."""

    def exporter(document: dict[str, Any]) -> None:
        for target in (
            document["tracer_provider"]["processors"][0]["batch"]["exporter"]["otlp_http"],
            document["meter_provider"]["readers"][0]["periodic"]["exporter"]["otlp_http"],
        ):
            target.update(compression="gzip", headers=[{"name": "tenant", "value": "b"}], timeout=5000)

    def pace(document: dict[str, Any]) -> None:
        document["log_level"] = "debug"
        document["meter_provider"]["readers"][0]["periodic"]["interval"] = 200
        document["tracer_provider"]["processors"][0]["batch"]["max_export_batch_size"] = 100
        document["tracer_provider"]["sampler"] = {"trace_id_ratio_based": {"ratio": 0.5}}

    privacy = {"attributes": {"drop": ["url.query"]}, "query_parameters": {"redact": ["t"]}}
    return [
        text(web, exporter),
        text(web, http={"routes": "unset"}, spans_per_second=100),
        text(web, pace, selection={"include": [{"port": web.port, "service": "nginx*"}]}),
        text(web, privacy=privacy),
        text(web).replace("spans_per_second", "spans_per_secnd"),
    ]


def test_twenty_reloads_under_load_and_every_request_is_counted(
    run_agent: RunAgent, web: Server, tmp_path: Path, tag: str
) -> None:
    file = ConfigMap(tmp_path)
    file.put(text(web))
    with run_agent("--config", str(file.path)) as agent:
        before = counted(web)
        load = threading.Thread(
            target=clients.wrk, args=(f"{web.url}/quiet?t={tag}",), kwargs={"seconds": 25, "connections": 8}
        )
        load.start()
        for number in range(20):
            file.put(variants(web)[number % 5])
            if number % 4:  # else the agent sees by itself that the file is another
                os.kill(agent.program.pid, signal.SIGHUP)
            read(agent, number + 1)
        assert load.is_alive(), "all of it happened under load"
        assert agents.programs_of(agent.program.pid) == agent.programs
        load.join()
        served = settled(web) - before
        assert agent.end() == 0
        # `before`'s own request is the one more.
        assert agent.telemetry.count(SERVED) == served + 1
        assert set(balance(agent)) <= {"budget", "unsampled", "ring_full"}
        outcomes = {point.attributes["outcome"]: int(point.value) for point in agent.points(RELOADS)}
        assert outcomes == {"changed": 16, "unchanged": 0, "invalid": 4}
        assert own(agent, RELOADS) == 20
        assert "did you mean spans_per_second?" in agent.program.stderr


def test_rules_of_a_changed_file_hold_from_then_on(run_agent: RunAgent, web: Server, tmp_path: Path, tag: str) -> None:
    file = ConfigMap(tmp_path)
    file.put(text(web))
    ask: Mapping[str, Ask] = {name: Ask("GET", f"/hello?t={tag}-{name}") for name in ("watched", "not", "again")}
    with run_agent("--config", str(file.path)) as agent:

        def spans(name: str) -> int:
            return len([span for span in agent.telemetry.refresh().spans if span.tag == f"{tag}-{name}"])

        clients.curl(web, [ask["watched"]] * 5)
        eventually(lambda: spans("watched") == 5, "they are seen")
        file.put(text(web, selection={"include": [{"executable": "nobody"}]}))
        read(agent, 1)
        clients.curl(web, [ask["not"]] * 5)
        file.put(text(web))
        read(agent, 2)
        clients.curl(web, [ask["again"]] * 5)
        eventually(lambda: spans("again") == 5, "they are seen again")
        assert spans("not") == 0
