"""Which files are probed, and for how long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.testbed.process import eventually
from tests.unit.fakes import FakeCore

from otel_ebpf.agent import tls
from otel_ebpf.capture.session import NativeError
from otel_ebpf.discover.tls import Attachment, Finding, Probe, Refusal, TlsReport
from otel_ebpf.errors import AgentError

READ = Probe("SSL_read", "enter", 16, "push rbp", emulated=True)


def library(path: Path | str, inode: int) -> Attachment:
    return Attachment("openssl", "3.0", (READ,), (352,), 56, path=str(path), name=str(path), device=1, inode=inode)


class World:
    """Processes and what they map."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, proc: Path) -> None:
        self.core = FakeCore()
        self.maps: dict[int, tuple[Finding, ...]] = {}
        self.looks: list[int] = []
        self.proc = proc
        monkeypatch.setattr(tls, "describe", self.describe)
        monkeypatch.setattr(tls, "system_libraries", lambda: ())

    def describe(self, pid: int, _: object) -> TlsReport:
        self.looks.append(pid)
        if pid not in self.maps:
            raise AgentError(f"there is no process {pid}")
        return TlsReport(pid, "/bin/it", self.maps[pid])

    @contextmanager
    def probes(self, wanted: Callable[[int], bool] = lambda pid: pid != 66) -> Iterator[tls.TlsProbes]:
        probes = tls.TlsProbes(self.core, wanted, proc=self.proc)
        try:
            yield probes
        finally:
            probes.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(monkeypatch, tmp_path)


def test_a_file_is_probed_once_and_as_long_as_somebody_maps_it(world: World) -> None:
    world.maps = {10: (library("/a", 1),), 11: (library("/a", 1), library("/b", 2))}
    with world.probes() as probes:
        probes.look(100, 10)
        probes.look(101, 11)
        eventually(lambda: len(world.core.probed) == 2, "both files are probed")
        probes.forget(100)
        probes.forget(101)
        eventually(lambda: world.core.probed == ["", ""], "nobody maps them any longer")
        probes.look(102, 10)
        eventually(lambda: world.core.probed == ["", "", "/a"], "somebody comes again")


def test_what_runs_already_is_looked_at_where_the_rules_want_it(world: World) -> None:
    for pid in (10, 66, 67):
        (world.proc / str(pid)).mkdir()
    (world.proc / "version").touch()
    world.maps = {10: (library("/a", 1),), 66: (library("/b", 2),)}
    with world.probes():
        eventually(lambda: world.core.probed == ["/a"], "the wanted one is probed")
        eventually(lambda: 67 in world.looks, "one that ended meanwhile is passed over")
        assert 66 not in world.looks


def test_who_was_there_before_is_met_and_ends(world: World) -> None:
    (world.proc / "10").mkdir()
    world.maps = {10: (library("/a", 1),)}
    with world.probes() as probes:
        eventually(lambda: world.core.probed == ["/a"], "it is probed")
        probes.look(100, 10)
        probes.forget(100)
        eventually(lambda: world.core.probed == [""], "it was the only one")


def test_users_that_end_without_having_been_met_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_PRUNE_S", 0.05)
    (world.proc / "10").mkdir()
    world.maps = {10: (library("/a", 1),)}
    with world.probes():
        eventually(lambda: world.core.probed == ["/a"], "it is probed")
        (world.proc / "10").rmdir()
        eventually(lambda: world.core.probed == [""], "it ended")


def test_rules_read_anew_hold_for_who_runs_and_has_not_been_met(world: World) -> None:
    for pid in (10, 66):
        (world.proc / str(pid)).mkdir()
    world.maps = {10: (library("/a", 1),), 11: (library("/met", 2),), 66: (library("/b", 3),)}
    with world.probes() as probes:
        eventually(lambda: world.core.probed == ["/a"], "the wanted one is probed")
        probes.look(100, 11)
        probes.reselect(lambda pid: pid == 66)
        eventually(lambda: world.core.probed == ["", "/met", "/b"], "the other one is wanted now")


def test_a_new_program_is_looked_at_until_its_libraries_are_there(world: World) -> None:
    world.maps = {10: ()}
    with world.probes() as probes:
        probes.started(10)
        probes.started(66)
        eventually(lambda: 10 in world.looks, "a first look")
        world.maps[10] = (library("/late", 1),)
        eventually(lambda: world.core.probed == ["/late"], "a later look finds it")
        eventually(lambda: world.looks.count(10) == len(tls._LOOKS_S), "the last look")
        assert 66 not in world.looks


def test_a_process_is_not_looked_at_all_the_time(world: World) -> None:
    world.maps = {10: ()}
    with world.probes() as probes:
        for _ in range(50):
            probes.look(100, 10)
        eventually(lambda: world.looks, "it is looked at")
    assert world.looks == [10]


def test_a_kernel_that_refuses_is_told_of_once(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def refuse(path: str, *_: object, **__: object) -> int:
        asked.append(path)
        raise NativeError("no uprobes here")

    monkeypatch.setattr(world.core, "add_probes", refuse)
    there = tmp_path / "lib.so"
    there.touch()
    world.maps = {10: (library(there, 1), Refusal("rustls", "not supported", name="/app")), 11: (library(there, 1),)}
    with world.probes() as probes, caplog.at_level("INFO"):
        probes.look(100, 10)
        probes.look(101, 11)
        eventually(lambda: world.looks == [10, 11], "both are looked at")
    assert asked == [str(there)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "no uprobes here" in caplog.text
    assert "not supported" in caplog.text


def test_a_path_that_went_with_its_process_is_tried_again_with_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone, there = tmp_path / "gone", tmp_path / "there"
    there.touch()
    asked = []

    def attach(path: str, *_: object, **__: object) -> int:
        asked.append(path)
        if path == str(gone):
            raise NativeError("no such file")
        return 1

    monkeypatch.setattr(world.core, "add_probes", attach)
    world.maps = {10: (library(gone, 1),), 11: (library(there, 1),)}
    with world.probes() as probes:
        probes.look(100, 10)
        probes.look(101, 11)
        eventually(lambda: asked == [str(gone), str(there)], "the next one's path leads there")


def test_calls_as_the_core_wants_them() -> None:
    def words(function: str, place: str, result_at: int | None = None) -> list[tuple[object, ...]]:
        return [*tls._as_core_wants(Probe(function, place, 8, "nop", True, result_at))]  # type: ignore[arg-type]

    assert words("SSL_write_ex2", "return") == [("exit", 8, "send count5", None, True)]
    assert words("SSL_free", "enter") == [("free", 8, "", None, False)]
    assert words("crypto/tls.(*Conn).Read", "exit", 40) == [("exit", 8, "receive go", 40, False)]
    assert words("SSL_sendfile", "enter") == []
