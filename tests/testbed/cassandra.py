"""Cassandra, which logs each statement in its audit log, and a client: its Python driver."""

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed import cache, maven
from tests.testbed.process import Program, answers, free_port
from tests.testbed.servers import PYTHON_APPS

_JARS = "org.apache.cassandra:cassandra-all:5.0.9"
_CONFIGURATION = """cluster_name: testbed
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 10000ms
commitlog_directory: {folder}/commitlog
saved_caches_directory: {folder}/saved_caches
hints_directory: {folder}/hints
cdc_raw_directory: {folder}/cdc
data_file_directories: [{folder}/data]
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage}"}}]
listen_address: 127.0.0.1
storage_port: {storage}
rpc_address: 127.0.0.1
start_native_transport: true
native_transport_port: {port}
auto_bootstrap: false
memtable_allocation_type: heap_buffers
audit_logging_options:
  enabled: true
  logger: [{{class_name: FileAuditLogger}}]
"""
_LOGGING = """<configuration>
  <appender name="audit" class="ch.qos.logback.core.FileAppender">
    <file>{folder}/audit.log</file><encoder><pattern>%msg%n</pattern></encoder>
  </appender>
  <appender name="all" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%msg%n</pattern></encoder>
  </appender>
  <logger name="org.apache.cassandra.audit.FileAuditLogger" level="INFO" additivity="false">
    <appender-ref ref="audit"/>
  </logger>
  <root level="WARN"><appender-ref ref="all"/></root>
</configuration>
"""
_JVM = ["-Xms256m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djdk.attach.allowAttachSelf=true"]
# What Cassandra reaches for within JDK 17 (its conf/jvm17-server.options).
_EXPORTS = [
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file",
]
_OPENS = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/java.nio",
]


def _java() -> str:
    """JDK 17, the newest that Cassandra 5 runs on."""
    candidates = [Path(f"/usr/lib/jvm/java-17-openjdk-{arch}/bin/java") for arch in ("amd64", "arm64")]
    return next((str(java) for java in candidates if java.exists()), None) or cache.tool(
        "java", "openjdk-17-jre-headless"
    )


@dataclass(frozen=True, slots=True)
class LogLine:
    """One statement as the server itself logged it."""

    port: int  # the client's
    kind: str  # SELECT, UPDATE, BATCH, PREPARE_STATEMENT, REQUEST_FAILURE...
    text: str
    keyspace: str


@dataclass(slots=True)
class Server:
    """A server that runs and answers."""

    program: Program
    port: int
    log: Path

    def audit(self) -> list[LogLine]:
        """What the server logged, in its order."""
        lines = []
        for row in self.log.read_text().splitlines():
            said = dict(part.partition(":")[::2] for part in row.split("|"))
            if "port" in said and "type" in said:
                text = row.partition("|operation:")[2]
                lines.append(LogLine(int(said["port"]), said["type"], text, said.get("ks", "")))
        return lines


@contextmanager
def server() -> Iterator[Server]:
    """A server with nothing in it."""
    lib = maven.jars(_JARS)
    with tempfile.TemporaryDirectory(prefix="otel-ebpf-cassandra-") as temporary:
        folder, port = Path(temporary), free_port()
        (folder / "cassandra.yaml").write_text(_CONFIGURATION.format(folder=folder, port=port, storage=free_port()))
        (folder / "logback.xml").write_text(_LOGGING.format(folder=folder))
        options = [f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS]
        options += [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS]
        settings = {
            "cassandra.config": f"file://{folder}/cassandra.yaml",
            "cassandra.storagedir": folder,
            "cassandra.skip_wait_for_gossip_to_settle": 0,
            "cassandra.ring_delay_ms": 1,
            "cassandra-foreground": "yes",
            "logback.configurationFile": folder / "logback.xml",
        }
        argv = [_java(), *_JVM, *options, *(f"-D{name}={value}" for name, value in settings.items())]
        argv += ["-cp", f"{lib}/*", "org.apache.cassandra.service.CassandraDaemon"]
        with Program(argv, folder, "cassandra", cwd=folder) as program:
            program.wait_until(lambda: answers("127.0.0.1", port), "answers", 120)
            yield Server(program, port, folder / "audit.log")


class Client:
    """A client that runs, with a session."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _ask(self, ask: dict[str, Any]) -> int | str:
        assert self._popen.stdin
        assert self._popen.stdout
        too_late = threading.Timer(60, self._popen.kill)
        too_late.start()
        try:
            self._popen.stdin.write(json.dumps(ask) + "\n")
            self._popen.stdin.flush()
            answer = self._popen.stdout.readline().strip()
        finally:
            too_late.cancel()
        assert re.fullmatch(r"\d+|failed \w+", answer), f"the client ended within a minute of {ask}"
        return int(answer) if answer.isdigit() else answer.removeprefix("failed ")

    def run(self, text: str, *values: object, prepared: bool = False, times: int = 1, page: int = 0) -> int | str:
        """Runs a statement, so many times at once; gives how many rows came in all, or the error's name."""
        ask = {"text": text, "values": values or None, "prepared": prepared, "times": times, "page": page}
        return self._ask(ask)

    def batch(self, *parts: tuple[str, list[object]]) -> int | str:
        """Runs statements as a batch: those with values are prepared."""
        return self._ask(
            {"batch": [{"text": text, "values": values or None, "prepared": bool(values)} for text, values in parts]}
        )


@contextmanager
def client(on: Server, *keyspace: str, version: int = 5, compression: str = "none") -> Iterator[Client]:
    """A client of a server."""
    argv = [sys.executable, PYTHON_APPS / "cassandra_client.py", str(on.port), str(version), compression, *keyspace]
    with subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as popen:
        try:
            yield Client(popen)
            assert popen.stdin
            popen.stdin.close()
            popen.wait(20)
        finally:
            popen.kill()
