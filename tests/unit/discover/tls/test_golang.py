"""Go programs, in all the ways in which they are built."""

import re
from pathlib import Path

import pytest
from tests.testbed import cache, tls, toolchains

from otel_ebpf.discover.tls.findings import Attachment
from otel_ebpf.discover.tls.inspect import examine

READ, WRITE, CLOSE, HANDSHAKE = (
    f"crypto/tls.(*Conn).{name}" for name in ("Read", "Write", "Close", "handshakeContext")
)


def found(path: Path) -> Attachment:
    with path.open("rb") as file:
        (finding,) = examine(file.fileno())
    assert isinstance(finding, Attachment), finding
    return finding


@pytest.mark.parametrize("build", tls.GO_BUILDS)
def test_functions_are_found_however_it_was_built(build: str) -> None:
    attachment = found(tls.go_tls(build))
    assert attachment.implementation == "go"
    assert attachment.version.removeprefix("go") == ".".join(map(str, toolchains.go_version(toolchains.go())))
    assert {probe.function for probe in attachment.probes} == {READ, WRITE, CLOSE, HANDSHAKE}
    assert "return" not in {probe.place for probe in attachment.probes}  # Go's stacks move
    for function in (READ, WRITE):
        ends = [probe for probe in attachment.probes if (probe.function, probe.place) == (function, "exit")]
        cheap = [probe for probe in ends if probe.emulated]
        assert len(cheap) == 1
        assert cheap[0].result_at
        assert {probe.instruction for probe in ends if not probe.emulated} <= {"ret"}
    # Once a connection, so its RETs may be stepped over; each of them ends a handshake.
    handshake = [probe for probe in attachment.probes if probe.function == HANDSHAKE]
    assert [probe.place for probe in handshake].count("enter") == 1
    ends = [probe for probe in handshake if probe.place == "exit"]
    assert ends
    assert {probe.instruction for probe in ends} == {"ret"}
    assert {probe.result_at for probe in handshake} == {None}


def test_entries_are_those_of_the_symbol_table() -> None:
    """`go tool nm` has the functions' addresses; each probe lies in the function that it is for."""
    app = tls.go_tls("normal")
    symbols = {}
    for line in cache.command([toolchains.go(), "tool", "nm", "-size", str(app)]).splitlines():
        if row := re.match(
            r"\s*([0-9a-f]+)\s+(\d+) [Tt] (crypto/tls\.\(\*Conn\)\.(?:Read|Write|Close|handshakeContext))$", line
        ):
            symbols[row[3]] = (int(row[1], 16), int(row[2]))
    for probe in found(app).probes:
        start, size = symbols[probe.function]
        if probe.result_at is None:
            # Go lays its code out at 0x400000 for offset 0 of the file.
            assert 0 <= probe.offset + 0x400000 - start < size


def test_a_go_program_without_tls_has_none(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module plain\n\ngo 1.19\n")
    (tmp_path / "main.go").write_text('package main\n\nfunc main() { println("hello") }\n')
    env = {"GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    cache.command([toolchains.go(), "build", "-o", "app", "."], cwd=tmp_path, env=env)
    with (tmp_path / "app").open("rb") as file:
        assert examine(file.fileno()) == ()
