"""The preflight on made-up machines: a folder of files stands for the machine, callables for its kernel."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.capture.host import Clock, Host
from otel_ebpf.capture.preflight import CHECKS, INITIAL_PID_NAMESPACE, RING_BYTES, Finding, preflight

ALL_CAPABILITIES = "000001ffffffffff"
MOUNTS = """\
proc /proc proc rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
tracefs /sys/kernel/tracing tracefs rw 0 0
"""
HEALTHY = {
    "proc/sys/kernel/osrelease": "6.12.1\n",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
    "proc/sys/kernel/bpf_stats_enabled": "0\n",
    "proc/sys/net/core/bpf_jit_enable": "1\n",
    "proc/sys/net/core/bpf_jit_harden": "0\n",
    "proc/self/status": f"Name:\tx\nCapEff:\t{ALL_CAPABILITIES}\n",
    "proc/self/uid_map": "         0          0 4294967295\n",
    "proc/self/mounts": MOUNTS,
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable: 4000000 kB\n",
    "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
}

Machine = Callable[..., Host]


def refuse(code: int) -> Callable[[int], None]:
    def ring(size_bytes: int) -> None:
        raise OSError(code, os.strerror(code))

    return ring


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A healthy machine, with some files replaced (None: removed) and some of the kernel's answers."""

    def make(files: dict[str, str | None] | None = None, **answers: Any) -> Host:
        for path, text in {**HEALTHY, **(files or {})}.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if text is not None:
                file.write_text(text)
        btf = tmp_path / "sys/kernel/btf/vmlinux"
        btf.parent.mkdir(parents=True)
        btf.write_bytes(b"\x9f\xeb\x01\x00")
        pid_namespace = tmp_path / "proc/self/ns/pid"
        pid_namespace.parent.mkdir()
        pid_namespace.symlink_to(INITIAL_PID_NAMESPACE)
        healthy = Host(
            root=tmp_path,
            machine="x86_64",
            hooks=lambda: "sock_length",
            try_ring=lambda size_bytes: None,
            tracing_programs=list,
            memlock=lambda: RING_BYTES,
            clock=lambda: Clock(synchronised=True, max_error_us=12_000, step_ns=300),
        )
        return replace(healthy, **answers)

    return make


def find(host: Host, id_: str) -> Finding:
    return next(finding for finding in preflight(host) if finding.id == id_)


def capabilities(*numbers: int) -> dict[str, str | None]:
    return {"proc/self/status": f"CapEff:\t{sum(1 << number for number in numbers):016x}\n"}


def test_a_healthy_machine_passes_everything(machine: Machine) -> None:
    findings = preflight(machine())
    assert [finding for finding in findings if finding.status != "pass"] == []
    assert len({finding.id for finding in findings}) == len(CHECKS)


def test_what_does_not_pass_says_how_to_fix_it(machine: Machine) -> None:
    def broken() -> str:
        raise ImportError("libelf.so.1: cannot open shared object file")

    host = machine(
        capabilities()
        | {
            "proc/sys/kernel/unprivileged_bpf_disabled": "0",
            "proc/sys/kernel/bpf_stats_enabled": "1",
            "proc/sys/net/core/bpf_jit_enable": "0",
            "proc/self/uid_map": "0 1000 1",
            "proc/self/mounts": "",
            "proc/meminfo": "MemAvailable: 1000 kB",
            "sys/kernel/security/lockdown": "none integrity [confidentiality]",
        },
        machine="s390x",
        hooks=broken,
        try_ring=refuse(errno.EPERM),
        memlock=lambda: 65536,
        clock=lambda: Clock(synchronised=False, max_error_us=16_000_000, step_ns=0),
        tracing_programs=lambda: ["sys_enter"],
    )
    shutil.rmtree(host.path("sys/kernel/btf"))
    findings = preflight(host)
    assert {finding.id for finding in findings if finding.status == "pass"} == {"tracefs", "debugfs", "bpffs"}
    assert [finding.id for finding in findings if finding.status != "pass" and not finding.fix] == []


def test_no_btf(machine: Machine) -> None:
    host = machine()
    shutil.rmtree(host.path("sys/kernel/btf"))
    finding = find(host, "btf")
    assert finding.status == "fail"
    assert "CONFIG_DEBUG_INFO_BTF" in finding.fix


def test_something_else_where_btf_should_be(machine: Machine) -> None:
    host = machine()
    host.path("sys/kernel/btf/vmlinux").write_bytes(b"ELF?")
    assert find(host, "btf").status == "fail"


@pytest.mark.parametrize(("answer", "status"), [("sock_length", "pass"), ("fexit", "pass"), ("none", "fail")])
def test_hooks(machine: Machine, answer: str, status: str) -> None:
    assert find(machine(hooks=lambda: answer), "hooks").status == status


def test_a_native_core_that_does_not_load_is_a_finding(machine: Machine) -> None:
    def broken() -> str:
        raise ImportError("libelf.so.1: cannot open shared object file")

    host = machine(hooks=broken)
    assert find(host, "native").status == "fail"
    assert "libelf1" in find(host, "native").fix
    assert find(host, "hooks").status == "fail"


def test_a_native_core_that_cannot_tell_is_no_broken_core(machine: Machine) -> None:
    def puzzled() -> str:
        raise RuntimeError("no BTF")

    host = machine(hooks=puzzled)
    assert find(host, "native").status == "pass"
    assert find(host, "hooks").status == "fail"


@pytest.mark.parametrize(
    ("held", "statuses"),
    [
        ((39, 38, 19, 2), ("pass", "pass", "pass", "pass")),
        ((39, 38), ("pass", "pass", "warn", "warn")),
        ((38,), ("fail", "pass", "warn", "warn")),
        ((21,), ("pass", "pass", "warn", "warn")),
        ((), ("fail", "fail", "warn", "warn")),
    ],
)
def test_capabilities(machine: Machine, held: tuple[int, ...], statuses: tuple[str, ...]) -> None:
    findings = {finding.id: finding.status for finding in preflight(machine(capabilities(*held)))}
    names = ("cap_bpf", "cap_perfmon", "cap_sys_ptrace", "cap_dac_read_search")
    assert tuple(findings[name] for name in names) == statuses


def test_a_missing_capability_is_named(machine: Machine) -> None:
    assert "CAP_PERFMON" in find(machine(capabilities(39)), "cap_perfmon").fix


@pytest.mark.parametrize(
    ("code", "held", "hint"),
    [
        (errno.EPERM, (39,), "seccomp"),
        (errno.EPERM, (), "root"),
        (errno.EINVAL, (39,), "5.8"),
        (errno.ENOMEM, (39,), "memory"),
    ],
)
def test_a_refused_ring_says_why(machine: Machine, code: int, held: tuple[int, ...], hint: str) -> None:
    finding = find(machine(capabilities(*held), try_ring=refuse(code)), "ring")
    assert finding.status == "fail"
    assert hint in finding.fix


@pytest.mark.parametrize(
    ("limit", "ring", "status"),
    [
        (None, refuse(errno.EPERM), "pass"),
        (1 << 30, refuse(errno.EPERM), "pass"),
        (65536, lambda size_bytes: None, "pass"),
        (65536, refuse(errno.EPERM), "warn"),
    ],
)
def test_locked_memory(machine: Machine, limit: int | None, ring: Callable[[int], None], status: str) -> None:
    assert find(machine(memlock=lambda: limit, try_ring=ring), "memlock").status == status


def test_the_memlock_probe_is_larger_than_the_limit(machine: Machine) -> None:
    asked: list[int] = []
    find(machine(memlock=lambda: RING_BYTES * 3 // 2, try_ring=asked.append), "memlock")
    assert asked[-1] == RING_BYTES * 2  # and a power of two, as the kernel wants


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (None, "pass"),
        ("[none] integrity confidentiality", "pass"),
        ("none [integrity] confidentiality", "pass"),
        ("none integrity [confidentiality]", "fail"),
    ],
)
def test_lockdown(machine: Machine, text: str | None, status: str) -> None:
    assert find(machine({"sys/kernel/security/lockdown": text}), "lockdown").status == status


def test_user_namespace(machine: Machine) -> None:
    assert find(machine({"proc/self/uid_map": "0 100000 65536"}), "namespaces").status == "fail"


def test_pid_namespace(machine: Machine) -> None:
    host = machine()
    link = host.path("proc/self/ns/pid")
    link.unlink()
    link.symlink_to("pid:[4026532200]")
    finding = find(host, "namespaces")
    assert finding.status == "warn"
    assert "hostPID" in finding.fix


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"proc/sys/net/core/bpf_jit_enable": "0"}, "warn"),
        ({"proc/sys/net/core/bpf_jit_harden": "2"}, "warn"),
        ({"proc/sys/net/core/bpf_jit_harden": "1"}, "pass"),
        ({"proc/sys/net/core/bpf_jit_enable": None, "proc/sys/net/core/bpf_jit_harden": None}, "pass"),
    ],
)
def test_jit(machine: Machine, files: dict[str, str | None], status: str) -> None:
    assert find(machine(files), "jit").status == status


@pytest.mark.parametrize(
    ("clock", "word"),
    [
        (Clock(synchronised=True, max_error_us=1000, step_ns=0), "synchronised"),
        (Clock(synchronised=False, max_error_us=1000, step_ns=0), "not synchronised"),
        (Clock(synchronised=True, max_error_us=1000, step_ns=-5_000_000), "-5.0 ms"),
    ],
)
def test_clock(machine: Machine, clock: Clock, word: str) -> None:
    assert word in find(machine(clock=lambda: clock), "clock").why


def test_a_slow_clock_source(machine: Machine) -> None:
    files: dict[str, str | None] = {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}
    assert find(machine(files), "clock").status == "warn"


@pytest.mark.parametrize(
    ("mounts", "word"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", "version 2 at /sys/fs/cgroup"),
        ("cgroup /c/cpu cgroup rw 0 0\ncgroup2 /c/unified cgroup2 rw 0 0", "hybrid: version 2 at /c/unified"),
        ("cgroup /c/cpu cgroup rw 0 0", "version 1 only"),
        ("", "none mounted"),
    ],
)
def test_control_groups(machine: Machine, mounts: str, word: str) -> None:
    assert word in find(machine({"proc/self/mounts": mounts}), "cgroups").why


def test_file_systems_that_are_not_needed_may_be_missing(machine: Machine) -> None:
    host = machine()
    assert find(host, "tracefs").mount is None
    assert find(host, "bpffs").mount == ("bpf", "/sys/fs/bpf")
    assert {find(host, name).status for name in ("tracefs", "debugfs", "bpffs")} == {"pass"}


def test_another_agent_is_named_and_the_preflight_is_not(machine: Machine) -> None:
    host = machine(
        {
            "proc/100/cmdline": "/usr/bin/beyla\0--config\0x\0",
            "proc/200/cmdline": "/usr/bin/python3\0/opt/.venv/bin/otel-ebpf\0run\0",
            "proc/300/cmdline": "python3\0/opt/.venv/bin/otel-ebpf\0check\0",
            "proc/400/cmdline": "vim\0beyla\0",
            "proc/500/cmdline": "",
        },
        own_pid=300,
    )
    finding = find(host, "other_agents")
    assert finding.status == "warn"
    assert "Grafana Beyla (pid 100), another otel-ebpf (pid 200)" in finding.why
    assert "300" not in finding.why
    assert "400" not in finding.why


def test_loaded_programs_are_counted(machine: Machine) -> None:
    finding = find(machine(tracing_programs=lambda: ["a", "b", "a"]), "other_agents")
    assert "3 tracing programs" in finding.why


def test_programs_that_may_not_be_listed_are_no_trouble(machine: Machine) -> None:
    def denied() -> list[str]:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    assert find(machine(tracing_programs=denied), "other_agents").status == "pass"


def test_what_cannot_be_read_is_a_warning(machine: Machine) -> None:
    def broken() -> Clock:
        raise OSError(errno.EPERM, "adjtimex")

    finding = find(machine(clock=broken), "clock")
    assert (finding.status, "adjtimex" in finding.why) == ("warn", True)
