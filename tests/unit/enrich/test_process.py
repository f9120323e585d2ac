"""What is said of real processes, started here."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from tests.unit.backend import text_attributes
from tests.unit.fakes import Process

from otel_ebpf.enrich import proc
from otel_ebpf.enrich.process import Enricher, encode_resource
from otel_ebpf.model import Attributes

TICKS = os.sysconf("SC_CLK_TCK")


def start_boottime_ns(pid: int) -> int:
    """As the kernel has it, to the tick."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) * 1_000_000_000 // TICKS


@contextmanager
def started(*args: str | Path, **variables: str) -> Iterator[Process]:
    """A process that waits, as the core would report it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    child = subprocess.Popen([*map(str, args)], env={**clean, **variables}, stdin=subprocess.PIPE)
    try:
        while b"\0" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        yield Process(7, child.pid, os.getpid(), start_boottime_ns=start_boottime_ns(child.pid), comm="cat", args=())
    finally:
        child.kill()
        child.communicate()


def attributes_of(process: Process, *, command_args: bool = False) -> Attributes:
    base = {"deployment.environment.name": "test", "service.name": "the-agent"}
    info = Enricher(base, command_args=command_args).describe(process)
    sent = text_attributes(ResourceMessage.FromString(info.resource.encoded))
    assert {**sent, "process.command_args": ()} == {**info.resource.attributes, "process.command_args": ()}
    assert info.service_name == sent["service.name"]
    return info.resource.attributes


def test_a_program_is_named_by_its_executable() -> None:
    with started("cat") as process:
        attributes = attributes_of(process)
    assert attributes["service.name"] == "cat"
    assert attributes["process.pid"] == process.tgid
    assert attributes["process.parent_pid"] == os.getpid()
    assert attributes["process.executable.name"] == "cat"
    assert attributes["process.executable.path"] == os.path.realpath(shutil.which("cat") or "")
    assert attributes["deployment.environment.name"] == "test"
    assert {"host.name", "host.arch", "os.type"} <= attributes.keys()
    assert "process.command_args" not in attributes


def test_its_own_name_goes_first() -> None:
    named = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,service.version=1.2%2B3"}
    with started("cat", **named) as process:
        attributes = attributes_of(process)
    assert (attributes["service.name"], attributes["service.version"]) == ("shop", "1.2+3")


def test_its_own_resource_attributes_name_it_too() -> None:
    with started("cat", OTEL_RESOURCE_ATTRIBUTES="service.name=shop,deployment.environment.name=prod") as process:
        attributes = attributes_of(process)
    assert attributes["service.name"] == "shop"
    assert attributes["deployment.environment.name"] == "prod"


def test_attributes_that_cant_be_understood_do_no_harm() -> None:
    with started("cat", OTEL_RESOURCE_ATTRIBUTES="a=1,what") as process:
        assert attributes_of(process)["service.name"] == "cat"


def test_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text("import sys; sys.stdin.read()")
    with started(sys.executable, script, "--password=x") as process:
        attributes = attributes_of(process, command_args=True)
    assert attributes["service.name"] == "shop"
    assert attributes["process.runtime.name"] == "cpython"
    assert attributes["telemetry.sdk.language"] == "python"
    assert attributes["process.command_args"] == (sys.executable, str(script), "--password=x")


def test_an_executable_that_was_deleted_keeps_its_name(tmp_path: Path) -> None:
    copy = tmp_path / "shop"
    shutil.copy(shutil.which("cat") or "", copy)
    with started(copy) as process:
        copy.unlink()
        assert attributes_of(process)["process.executable.path"] == str(copy)


def test_one_that_has_ended_is_named_by_what_the_kernel_saw() -> None:
    with started("cat") as process:
        pass
    gone = process._replace(comm="curl", args=("/usr/bin/curl", "http://x/"))
    attributes = attributes_of(gone)
    assert (attributes["service.name"], attributes["process.executable.name"]) == ("curl", "curl")
    assert "process.executable.path" not in attributes


@pytest.mark.parametrize(
    ("comm", "args", "name"),
    [
        ("a-rather-long-n", ("/bin/a-rather-long-name",), "a-rather-long-name"),
        ("nginx", ("nginx: worker process",), "nginx"),
        ("python3", ("python3", "-m", "http.server"), "http.server"),
        ("gunicorn", ("/usr/bin/python3", "/usr/bin/gunicorn"), "gunicorn"),
        ("shop", (), "shop"),
        ("", (), "pid-0"),
    ],
)
def test_names_without_any_file_to_look_at(comm: str, args: tuple[str, ...], name: str) -> None:
    assert Enricher({}).describe(Process(1, 0, comm=comm, args=args)).service_name == name


def test_whoever_got_the_pid_later_is_not_taken_for_it() -> None:
    with started("cat", OTEL_SERVICE_NAME="the-newcomer") as newcomer:
        ended = newcomer._replace(start_boottime_ns=newcomer.start_boottime_ns - 60_000_000_000, comm="curl")
        assert attributes_of(ended)["service.name"] == "curl"
        # Nor if the core can't say when it started.
        assert attributes_of(newcomer._replace(start_boottime_ns=0, comm="curl"))["service.name"] == "curl"


def test_a_process_that_ends_while_it_is_read_is_never_mixed_with_another() -> None:
    with started("cat") as process, proc._directory(f"/proc/{process.tgid}") as directory:
        os.kill(process.tgid, 9)
        os.waitpid(process.tgid, 0)
        assert proc._strings(directory, "environ") == ()


def test_names_with_parentheses_and_blanks_do_not_confuse(tmp_path: Path) -> None:
    copy = tmp_path / "a) S 1 2"
    shutil.copy(shutil.which("cat") or "", copy)
    with started(copy) as process:
        assert attributes_of(process)["service.name"] == "a) S 1 2"


def test_instances_differ_by_process_and_last_over_restarts_of_the_agent() -> None:
    with started("cat") as one, started("cat") as other:
        first, second, again = (attributes_of(process)["service.instance.id"] for process in (one, other, one))
    assert first != second
    assert first == again


def test_a_big_environment_is_read_whole() -> None:
    padding = {f"PADDING_{index}": "x" * 1000 for index in range(100)}
    with started("cat", **padding, OTEL_SERVICE_NAME="behind-it-all") as process:
        assert attributes_of(process)["service.name"] == "behind-it-all"


def test_the_agent_itself() -> None:
    attributes = Enricher({"service.name": "node-agent"}).agent_resource(17).attributes
    assert (attributes["service.name"], attributes["process.pid"]) == ("node-agent", 17)
    assert Enricher({}).agent_resource(17).attributes["service.name"] == "otel-ebpf"


def test_every_kind_of_value_is_encoded() -> None:
    values: Attributes = {"s": "x", "b": True, "i": 3, "f": 0.5, "a": ["x", "y"]}
    message = ResourceMessage.FromString(encode_resource(values).encoded)
    plain = text_attributes(message)
    assert [item.string_value for item in plain.pop("a").values] == ["x", "y"]
    assert plain == {"s": "x", "b": True, "i": 3, "f": 0.5}
