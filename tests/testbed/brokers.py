"""Brokers that nobody here wrote: RabbitMQ, nats-server, mosquitto; and clients of them that say what they did.

Each broker keeps its files in a folder of its own and is alone in what it is called: others of its kind may run.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.testbed import cache, clients, toolchains
from tests.testbed.process import Program, answers, eventually, free_port
from tests.testbed.servers import APPS, PYTHON_APPS, Server, serving

RABBITMQ = Path("/usr/lib/rabbitmq/lib")


def _rabbitmq_script(name: str) -> Path:
    """Debian's own wrappers in /usr/sbin start another user's shell first."""
    found = sorted(RABBITMQ.glob(f"rabbitmq_server-*/sbin/{name}"))
    if not found:
        raise cache.BuildError("RabbitMQ is not installed: apt-get install rabbitmq-server")
    return found[-1]


class RabbitMQ(Server):
    """A node that runs; `ctl` asks it."""

    __slots__ = ("env",)
    env: dict[str, str]

    def ctl(self, *command: str) -> Any:
        """What rabbitmqctl says to that."""
        argv = [str(_rabbitmq_script("rabbitmqctl")), "--formatter", "json", "--quiet", *command]
        return json.loads(cache.command(argv, env=self.env))

    def queues(self) -> dict[str, int]:
        """Messages in each queue, those that are not acknowledged included."""
        return {row["name"]: row["messages"] for row in self.ctl("list_queues", "name", "messages")}


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """RabbitMQ with a port mapper of its own: the one that Erlang starts by itself would outlive it."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-rabbitmq-") as temporary:
        folder = Path(temporary)
        mapper, node, port = free_port(), free_port(), free_port()
        (folder / "plugins").write_text("[].\n")
        env = {
            "HOME": temporary,
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"otel{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(node),
            "RABBITMQ_MNESIA_BASE": f"{folder}/db",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        epmd = cache.tool("epmd", "erlang-base")
        with (
            Program([epmd, "-port", str(mapper)], folder, "epmd", env=env),
            Program([_rabbitmq_script("rabbitmq-server")], folder, "rabbitmq", env=env) as program,
        ):
            program.wait_until(lambda: "Starting broker... completed" in program.stdout, "has started", 60)
            server = RabbitMQ("rabbitmq", program, "127.0.0.1", port, program.stdout_path)
            server.env = env
            yield server


class Nats(Server):
    """A nats-server that runs; `monitor` asks it."""

    __slots__ = ("monitor_port",)
    monitor_port: int

    def monitor(self, what: str = "varz") -> dict[str, Any]:
        """What it says of itself: /varz, /connz, /jsz."""
        with urlopen(f"http://127.0.0.1:{self.monitor_port}/{what}", timeout=5) as answer:
            return dict(json.load(answer))


@contextmanager
def nats() -> Iterator[Nats]:
    """nats-server with JetStream."""
    program_path = cache.tool("nats-server", "nats-server")
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-nats-") as temporary:
        port, monitor = free_port(), free_port()
        argv = [program_path, "-a", "127.0.0.1", "-p", str(port), "-m", str(monitor), "-js", "-sd", temporary]
        with Program(argv, Path(temporary), "nats") as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers")
            server = Nats("nats", program, "127.0.0.1", port, program.stdout_path)
            server.monitor_port = monitor
            yield server


@contextmanager
def mosquitto() -> Iterator[Server]:
    """mosquitto, which logs every packet to its standard output."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-mosquitto-conf-") as temporary:
        conf = Path(temporary) / "mosquitto.conf"

        def argv(host: str, port: int) -> list[str | Path]:
            conf.write_text(
                f"listener {port} {host}\nallow_anonymous true\nlog_type all\nlog_dest stdout\n"
                f"max_queued_messages 0\nmax_inflight_messages 0\nuser root\n"
            )
            return [cache.tool("mosquitto", "mosquitto"), "-c", conf]

        with serving("mosquitto", argv) as server:
            yield server


def mosquitto_log(server: Server, client_id: str) -> dict[str, list[str]]:
    """Topics of the messages that came from the client ("Received") and went to it ("Sending"), in their order."""
    found: dict[str, list[str]] = {"Received": [], "Sending": []}
    pattern = rf"(Received|Sending) PUBLISH (?:from|to) {re.escape(client_id)} \(.*?'(.*?)'"
    for verb, topic in re.findall(pattern, server.log.read_text()):
        found[verb].append(topic)
    return found


def go_app() -> Path:
    """Clients in Go: amqp091-go and nats.go."""
    folder = APPS / "go-brokers"
    go = toolchains.recent_go()

    def make(into: Path) -> None:
        env = toolchains.go_environment(go)
        cache.command([go, "build", "-o", str(into / "app"), "."], cwd=folder, env=env)

    return cache.built("app-go-brokers", cache.files_below(folder), cache.command([go, "version"]), make) / "app"


def go(what: str, url: str, name: str, messages: int) -> tuple[int, dict[str, int]]:
    """Runs the Go client `what`, "amqp" or "nats"; gives its pid and what it did."""
    pid, out = clients.run([go_app(), what, url, name, str(messages)], seconds=90)
    return pid, json.loads(out)


def python(script: str, *arguments: str | int) -> tuple[int, dict[str, Any]]:
    """Runs a client of apps/python; gives its pid and what it did."""
    pid, out = clients.run([sys.executable, PYTHON_APPS / script, *map(str, arguments)], seconds=90)
    return pid, json.loads(out)


@contextmanager
def running_python(script: str, *arguments: str | int) -> Iterator[Program]:
    """The same for one that runs on: it has written "ready" by then."""
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-client-") as temporary:
        argv: list[str | Path] = [sys.executable, PYTHON_APPS / script, *map(str, arguments)]
        with Program(argv, Path(temporary), "client", env=dict(os.environ)) as program:
            program.wait_until(lambda: "ready" in program.stdout, "is ready")
            yield program
            eventually(lambda: not program.running(), "the client ends by itself", 60)
