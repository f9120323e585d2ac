"""A broker of Kafka (one node, KRaft), and two clients of it: Kafka's own in Java, and librdkafka."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.testbed import cache, maven
from tests.testbed.process import Program, answers, free_port
from tests.testbed.servers import APPS, PYTHON_APPS

_JARS = "org.apache.kafka:kafka_2.13:4.3.1"
# Small and quick to start rather than fast.
_JVM = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
"""


def _java() -> str:
    return cache.tool("java", "default-jdk-headless")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as a client accounts for it."""

    topic: str
    partition: int
    offset: int
    traceparent: str = ""


@dataclass(slots=True)
class Broker:
    """A broker that runs and answers."""

    program: Program
    port: int

    @property
    def address(self) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": f"127.0.0.1:{self.port}"}

    def create(self, topic: str, partitions: int = 1, **config: str) -> str:
        """Makes a topic and returns its name."""
        admin = AdminClient(self.address)
        new = NewTopic(topic, partitions, 1, config={name.replace("_", "."): value for name, value in config.items()})
        admin.create_topics([new])[topic].result(30)
        return topic

    def messages(self, topic: str, partitions: int = 1) -> int:
        """How many messages the topic's log has: where it ends, as nothing was deleted."""
        asking = Consumer({**self.address, "group.id": "oracle"})
        try:
            ends = [asking.get_watermark_offsets(TopicPartition(topic, n), 10) for n in range(partitions)]
        finally:
            asking.close()
        return sum(high for _, high in ends)

    def committed(self, group: str, topic: str, partitions: int = 1) -> int:
        """How many messages of the topic the group says to be done with."""
        asking = Consumer({**self.address, "group.id": group})
        try:
            places = asking.committed([TopicPartition(topic, n) for n in range(partitions)], 10)
        finally:
            asking.close()
        return sum(max(place.offset, 0) for place in places)


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker with nothing in it."""
    lib = maven.jars(_JARS)
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-kafka-") as temporary:
        folder, port, controller = Path(temporary), free_port(), free_port()
        properties = folder / "server.properties"
        properties.write_text(_PROPERTIES.format(port=port, controller=controller, data=folder / "data"))
        jvm = [_java(), *_JVM, "-cp", f"{lib}/*"]
        form = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(properties)]
        cache.command([*jvm, *form], cwd=folder)
        with Program([*jvm, "kafka.Kafka", properties], folder, "kafka", cwd=folder) as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers", 60)
            yield Broker(program, port)


def _java_client() -> list[str | Path]:
    folder, lib = APPS / "java-kafka", maven.jars(_JARS)

    def build(into: Path) -> None:
        javac = cache.tool("javac", "default-jdk-headless")
        cache.command([javac, "-cp", f"{lib}/*", "-d", str(into), str(folder / "Client.java")])

    built = cache.built("app-java-kafka", cache.files_below(folder), _JARS, build)
    return [_java(), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{lib}/*:{built}", "Client"]


CLIENTS: dict[str, Callable[[], list[str | Path]]] = {
    "java": _java_client,
    "librdkafka": lambda: [sys.executable, PYTHON_APPS / "kafka_client.py"],
}


class Client:
    """A client that runs, with the connections that it likes to have."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _do(self, line: str, seconds: float) -> list[list[str]]:
        assert self._popen.stdin
        assert self._popen.stdout
        too_late = threading.Timer(seconds, self._popen.kill)
        too_late.start()
        try:
            self._popen.stdin.write(line + "\n")
            self._popen.stdin.flush()
            said: list[list[str]] = []
            for answer in self._popen.stdout:
                if answer == "done\n":
                    return said
                said.append(answer.rstrip("\n").split(" "))
        finally:
            too_late.cancel()
        raise AssertionError(f"the client ended within {seconds:g} s of {line!r}; it said {said[-3:]}")

    def send(self, topic: str, count: int, size: int = 100, *, traced: bool = False) -> list[Message | str]:
        """Sends messages and says what became of each: where it is, or the error's name."""
        said = self._do(f"send {topic} {count} {size}{' traced' if traced else ''}", 60)
        return [Message(words[1], int(words[2]), int(words[3])) if words[0] == "sent" else words[1] for words in said]

    def poll(self, count: int) -> list[Message]:
        """Receives so many messages, and commits."""
        return [
            Message(topic, int(part), int(at), context) for _, topic, part, at, context in self._do(f"poll {count}", 60)
        ]


@contextmanager
def client(name: str, *arguments: str) -> Iterator[Client]:
    """A client by name, a key of CLIENTS."""
    argv = [str(part) for part in CLIENTS[name]()]
    with subprocess.Popen(
        [*argv, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as popen:
        try:
            yield Client(popen)
            assert popen.stdin
            popen.stdin.close()
            popen.wait(20)
        finally:
            popen.kill()


@contextmanager
def producer(name: str, on: Broker, **settings: str) -> Iterator[Client]:
    """A client that sends; `settings`: its configuration, with `_` for dots."""
    with client(name, "produce", str(on.port), *_pairs(settings)) as started:
        yield started


@contextmanager
def consumer(name: str, on: Broker, topic: str, group: str, **settings: str) -> Iterator[Client]:
    """A client that is the group's member."""
    with client(name, "consume", str(on.port), topic, group, *_pairs(settings)) as started:
        yield started


def _pairs(settings: dict[str, str]) -> list[str]:
    return [f"{name.replace('_', '.')}={value}" for name, value in settings.items()]
