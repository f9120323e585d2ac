"""TLS in a container: another root file system, with libraries of its own, and other pids than the host's."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.expect import asks, assert_asked, await_log
from tests.testbed import container
from tests.testbed.agent import COMMAND, Agent
from tests.testbed.process import eventually
from tests.testbed.telemetry import CLIENT


@pytest.mark.parametrize("how", container.ROOTS)
def test_a_client_with_a_root_file_system_of_its_own(
    agent: Agent, secure: Serve, tag: str, tmp_path: Path, how: str
) -> None:
    server = secure("nginx")
    curl = container.tree(tmp_path, "curl")
    (library,) = tmp_path.rglob("libssl.so.3")

    def ask(tag: str) -> tuple[int, list[str]]:
        """Its pid, and the files that `check --pid` names. It waits, its libraries mapped, for what it is told."""
        urls = "".join(f'url = "{server.url}{each.target}"\n' for each in asks(tag, only_get=True))
        with container.running(how, tmp_path, [curl, "--http1.1", "-sSg", "-K", "-"]) as (popen, pid):
            eventually(lambda: library.name in Path(f"/proc/{pid}/maps").read_text(), "its libraries are mapped")
            named = names(pid)
            _, err = popen.communicate(urls, 30)
            assert popen.returncode == 0, err
        return pid, named

    def seen() -> bool:
        pid, _ = ask("meet")
        agent.settle()
        return bool(agent.spans([pid], CLIENT, "meet"))

    eventually(seen, "curl is seen", 30)  # its library is probed from then on
    pid, named = ask(tag)
    log = await_log(server, tag, len(asks(tag, only_get=True)))
    agent.settle()
    asked = agent.spans([pid], CLIENT, tag)
    assert_asked(asked, server, log)
    # The kernel shows a path from the mount's root: a chroot has none of its own.
    within = library.relative_to(tmp_path / "tree")
    assert str(library if how == "chroot" else f"/{within}") in named
    executable = str(tmp_path / "tree" / curl[1:]) if how == "chroot" else curl
    assert {span.resource["process.executable.path"] for span in asked} == {executable}


def names(pid: int) -> list[str]:
    """Files with TLS that `check --pid` says can be watched."""
    done = subprocess.run([COMMAND, "check", "-o", "json", "--pid", str(pid)], capture_output=True, check=True)
    return [file["name"] for file in json.loads(done.stdout)["tls"]["files"] if file["result"] == "attachable"]
