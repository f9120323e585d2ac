"""TLS that begins late, on a socket used in the clear or in a process without a library; and libraries elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import assert_both_sides, assert_same, await_log
from tests.testbed import clients, servers, tls, wire
from tests.testbed.agent import Agent
from tests.testbed.clients import Ask
from tests.testbed.telemetry import CLIENT, SERVER


@pytest.mark.parametrize("greetings", [1, 4])
@pytest.mark.parametrize("how", ["own", "memory"])
def test_a_protocol_that_changes_to_tls(agent: Agent, tag: str, how: str, greetings: int) -> None:
    """As with STARTTLS: what was said before makes neither a request nor a stranger of the connection."""
    with servers.upgrade(how) as server:
        for run in range(2):
            done = clients.upgrade(server, how, 40, f"/hello?t={tag}-{run}", greetings)
            assert done.answers == [(200, 6)] * 40
            assert_both_sides(agent, server, done.pid, f"{tag}-{run}", 40)
        assert {span.attributes["url.scheme"] for span in agent.spans(server.pids)} == {"https"}


def test_through_a_proxy(agent: Agent, secure: Serve, tag: str) -> None:
    """CONNECT in the clear, and then TLS on the same connection: both are told."""
    server = secure("nginx")
    for name in ("curl", "aiohttp"):
        with wire.tunnel() as (host, port):
            done = clients.through(name, f"http://{host}:{port}", server, [Ask("GET", f"/hello?t={tag}-{name}")] * 3)
        assert_both_sides(agent, server, done.pid, f"{tag}-{name}", 3)


LATE = """
import http.client, sys, time
port, tag = sys.argv[1:]
plain = __import__("socket").create_connection(("127.0.0.1", int(port)))  # met, and no TLS in it yet
time.sleep(1)
import ssl
context = ssl.create_default_context()
for number in range(20):
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context)
    for _ in range(5):
        connection.request("GET", f"/hello?t={tag}&n={number}")
        assert connection.getresponse().read() == b"hello\\n"
    time.sleep(0.05)
"""


def test_a_library_that_is_loaded_late_and_stands_elsewhere(
    agent: Agent, secure: Serve, tag: str, tmp_path: Path
) -> None:
    """Another file than the machine's own, as in a container's image; found when its first socket shows TLS."""
    server = secure("nginx")
    for name in ("libssl.so.3", "libcrypto.so.3"):
        shutil.copy(tls.debian_library(name, "libssl3"), tmp_path / name)
    env = {**os.environ, **tls.certificate().trust, "LD_LIBRARY_PATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", LATE, str(server.port), tag], env=env) as client:
        assert client.wait(60) == 0
    log = await_log(server, tag, 100)
    agent.settle()
    assert_same(agent.spans(server.pids, SERVER, tag), log)
    asked = agent.spans([client.pid], CLIENT, tag)
    first = min(int(span.query.rpartition("n=")[2]) for span in asked)
    assert first < 5
    assert len(asked) >= 5 * (20 - first) - 4
    assert {span.status_code for span in asked} == {200}


def test_in_a_mount_namespace_of_its_own(agent: Agent, secure: Serve, tag: str, tmp_path: Path) -> None:
    """The library that curl maps has the machine's own name, and is another file."""
    server = secure("nginx")
    library = tls.debian_library("libssl.so.3", "libssl3")
    shutil.copy(library, tmp_path / "copy")
    urls = " ".join(f"-s --http1.1 -o /dev/null '{server.url}/sleep/20?t={tag}&n={n}' --next" for n in range(30))
    script = f"mount --bind {tmp_path}/copy {library} && exec curl {urls.removesuffix(' --next')}"
    pid, _ = clients.run(["unshare", "--mount", "sh", "-c", script])
    log = await_log(server, tag, 30)
    agent.settle()
    assert_same(agent.spans(server.pids, SERVER, tag), log)
    asked = agent.spans([pid], CLIENT, tag)
    assert len(asked) >= 20
    assert {span.status_code for span in asked} == {200}
