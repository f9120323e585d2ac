"""`otel-ebpf check` on this very machine, as a person or a script would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_ebpf.capture.preflight import Finding
from otel_ebpf.commands import check

OTEL_EBPF = Path(sys.executable).with_name("otel-ebpf")


def run(*args: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, str(OTEL_EBPF), "check", *args], capture_output=True, text=True, timeout=60, check=False
    )


def test_this_machine_can_capture() -> None:
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 in the way" in done.stdout
    assert "\x1b" not in done.stdout  # colours are for terminals


def test_json_says_the_same() -> None:
    done = run("-o", "json")
    report = json.loads(done.stdout)
    assert report["status"] in {"pass", "warn"}
    assert all(set(each) == {"id", "title", "status", "why", "fix"} for each in report["checks"])
    by_id = {each["id"]: each for each in report["checks"]}
    assert by_id["btf"]["status"] == by_id["hooks"]["status"] == by_id["ring"]["status"] == "pass"


def test_without_privileges_it_fails_and_names_the_capabilities() -> None:
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    done = run("-o", "json", prefix=prefix)
    report = json.loads(done.stdout)
    failing = {each["id"] for each in report["checks"] if each["status"] == "fail"}
    assert done.returncode == 1
    assert {"cap_bpf", "cap_perfmon", "ring"} <= failing


def test_it_mounts_nothing_unless_asked() -> None:
    """In a mount namespace of its own, so that nothing stays mounted here."""

    def mounted(*args: str) -> str:
        script = f"umount -a -t bpf,tracefs; {OTEL_EBPF} check {' '.join(args)} >&2; cat /proc/self/mounts"
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    before, after = mounted(), mounted("--fix")
    for line in (" /sys/fs/bpf bpf ", " /sys/kernel/tracing tracefs "):
        assert line not in before
        assert line in after


@pytest.mark.parametrize(("status", "code"), [("pass", 0), ("warn", 0), ("fail", 1)])
def test_exit_code(monkeypatch: pytest.MonkeyPatch, status: str, code: int) -> None:
    finding = Finding("x", "X", status, "because", "do this")  # type: ignore[arg-type]
    monkeypatch.setattr(check, "preflight", lambda host: [finding])
    result = CliRunner().invoke(check.command)
    assert result.exit_code == code
    assert "because" in result.output
    assert "fix: do this" in result.output


def test_a_process_and_its_tls() -> None:
    code = "import ssl, sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as python:
        assert python.stdin
        assert python.stdout
        python.stdout.readline()
        text, done = run("--pid", str(python.pid)), run("--pid", str(python.pid), "-o", "json")
        python.stdin.close()
    assert f"TLS of process {python.pid}" in text.stdout
    assert "SSL_read_ex" in text.stdout
    report = json.loads(done.stdout)["tls"]
    assert report["pid"] == python.pid
    (file,) = [each for each in report["files"] if each["implementation"] == "openssl"]
    assert file["result"] == "attachable"
    assert {"function", "place", "offset", "instruction", "emulated"} <= set(file["probes"][0])


def test_a_process_that_is_not_there() -> None:
    done = run("--pid", str(2**22 + 1))
    assert done.returncode == 1
    assert "there is no process" in done.stderr
    assert not done.stdout


def test_a_process_that_may_not_be_looked_at() -> None:
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")
    done = run("--pid", str(os.getpid()), prefix=prefix)
    assert done.returncode == 3
    assert "may not be looked at" in done.stderr
