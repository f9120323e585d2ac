"""The preflight: can this machine, and this process on it, capture? If not, why not, and what would help.

Each check looks at one thing and gives one `Finding`. A check never changes anything: what `--fix` may do is
named in the finding (`mount`) and done by the command. `fail` means that `otel-ebpf run` will not work here,
`warn` that it will, with less than it could have.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from otel_ebpf.capture.host import Capability, Host
from otel_ebpf.config.settings import Capture

Status = Literal["pass", "warn", "fail"]

RING_BYTES = Capture().ring_bytes  # what the agent asks for unless told otherwise
WANTED_BYTES = 192 << 20  # the agent with its ring, with room to breathe
INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO, include/linux/proc_ns.h
SLOW_CLOCKSOURCES = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies"})
STEP_NS = 1_000_000
MORE_MEMLOCK = "ulimit -l unlimited (LimitMEMLOCK=infinity in a unit)"

# Programs whose agents attach BPF programs to every process, by executable name.
OTHER_AGENTS = {
    "beyla": "Grafana Beyla",
    "cilium-agent": "Cilium",
    "coroot-node-agent": "Coroot",
    "deepflow-agent": "DeepFlow",
    "ebpf-instrument": "OpenTelemetry eBPF Instrumentation (OBI)",
    "ebpf-profiler": "OpenTelemetry eBPF Profiler",
    "falco": "Falco",
    "ig": "Inspektor Gadget",
    "kepler": "Kepler",
    "obi": "OpenTelemetry eBPF Instrumentation (OBI)",
    "odiglet": "Odigos",
    "otel-ebpf": "another otel-ebpf",
    "parca-agent": "Parca",
    "pem": "Pixie",
    "sysdig": "Sysdig",
    "system-probe": "Datadog",
    "tetragon": "Tetragon",
    "tracee": "Tracee",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    id: str
    title: str
    status: Status
    why: str
    fix: str = ""  # what a person can do about it; empty where there is nothing to do
    mount: tuple[str, str] | None = None  # (file system, path) that `--fix` may mount


Check = Callable[[Host], Finding]
CHECKS: list[Check] = []


def check(id_: str, title: str) -> Callable[[Callable[[Host], tuple[Status, str, str]]], Check]:
    """Registers a check that answers (status, why, fix). What it cannot read is a warning, never a crash."""

    def register(look: Callable[[Host], tuple[Status, str, str]]) -> Check:
        def looked(host: Host) -> Finding:
            try:
                return Finding(id_, title, *look(host))
            except OSError as error:
                return Finding(id_, title, "warn", f"could not find out: {error}")

        CHECKS.append(looked)
        return looked

    return register


def preflight(host: Host) -> list[Finding]:
    """All findings, in the order in which things would go wrong."""
    return [look(host) for look in CHECKS]


@check("kernel", "Kernel")
def kernel(host: Host) -> tuple[Status, str, str]:
    release = host.text("proc/sys/kernel/osrelease") or "unknown"
    if host.machine == "x86_64":
        return "pass", f"Linux {release} on {host.machine}", ""
    if host.machine == "aarch64":
        return "warn", f"Linux {release} on {host.machine}: built for it, tested on x86_64 only", "tell us how it goes"
    return "fail", f"Linux {release} on {host.machine}: the programs know other registers", "use x86_64 (or aarch64)"


def _ask_native(host: Host) -> str | Exception:
    try:
        return host.hooks()
    except Exception as error:  # ImportError and NativeError alike: the answer is in the message
        return error


@check("native", "Native core")
def native(host: Host) -> tuple[Status, str, str]:
    answer = _ask_native(host)
    if isinstance(answer, ImportError):
        return "fail", f"cannot be loaded: {answer}", "make setup; the system libraries are libelf1 and zlib1g"
    return "pass", "loads", ""


@check("btf", "BTF")
def btf(host: Host) -> tuple[Status, str, str]:
    path = "sys/kernel/btf/vmlinux"
    try:
        with host.path(path).open("rb") as file:
            magic = file.read(2)
    except FileNotFoundError:
        return (
            "fail",
            f"no /{path}: the kernel does not describe its own types, which the programs are fitted to at load time",
            "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian has it from bullseye on)",
        )
    except PermissionError:
        return "fail", f"/{path} may not be read", f"run as root, or give read access to /{path}"
    if magic not in {b"\x9f\xeb", b"\xeb\x9f"}:
        return "fail", f"/{path} is not BTF", "boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
    return "pass", f"/{path}", ""


@check("hooks", "Hooks")
def hooks(host: Host) -> tuple[Status, str, str]:
    found = _ask_native(host)
    if isinstance(found, Exception):
        return "fail", f"cannot be probed: {found}", "see the findings above"
    if found == "sock_length":
        return "pass", "tp_btf sock_send_length and sock_recv_length, once per socket operation", ""
    if found == "fexit":
        return (
            "pass",
            "fexit on the functions that send and receive (this kernel lacks the sock_*_length tracepoints)",
            "",
        )
    return (
        "fail",
        "neither the sock_send_length/sock_recv_length tracepoints nor fentry/fexit trampolines",
        "boot Linux 6.3 or newer, or one with CONFIG_FUNCTION_TRACER=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
    )


def _capability(capability: Capability, lack: Status, purpose: str, *, or_admin: bool) -> None:
    name = f"CAP_{capability.name}"

    @check(name.lower(), name)
    def look(host: Host) -> tuple[Status, str, str]:
        if host.has(capability):
            return "pass", purpose, ""
        if or_admin and host.has(Capability.SYS_ADMIN):
            return "pass", f"{purpose}; not held, but CAP_SYS_ADMIN stands in for it", ""
        return lack, f"not held: {purpose}", f"run as root, or grant {name} (deploy/systemd has a unit that does)"


_capability(Capability.BPF, "fail", "loads programs and maps", or_admin=True)
_capability(Capability.PERFMON, "fail", "lets programs trace and read kernel memory", or_admin=True)
_capability(
    Capability.SYS_PTRACE,
    "warn",
    "reads other users' /proc/PID (executable, environment); without it their services are known by short name only",
    or_admin=False,
)
_capability(
    Capability.DAC_READ_SEARCH,
    "warn",
    "opens other users' /proc/PID/environ, for OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES",
    or_admin=False,
)


@check("namespaces", "Namespaces")
def namespaces(host: Host) -> tuple[Status, str, str]:
    if " ".join((host.text("proc/self/uid_map") or "").split()) != "0 0 4294967295":
        return (
            "fail",
            "in a user namespace: the kernel does not count capabilities held only there",
            "run in the initial user namespace (container: no user remapping)",
        )
    try:
        pid_namespace = str(host.path("proc/self/ns/pid").readlink())
    except PermissionError:
        return "pass", "initial user namespace; the pid namespace cannot be read", ""
    if pid_namespace != INITIAL_PID_NAMESPACE:
        return (
            "warn",
            "in a pid namespace of its own: processes of the host are captured but cannot be named",
            "run in the host's (docker run --pid=host; hostPID: true)",
        )
    return "pass", "initial user and pid namespaces: every process can be named", ""


@check("unprivileged_bpf", "Unprivileged BPF")
def unprivileged_bpf(host: Host) -> tuple[Status, str, str]:
    value = host.text("proc/sys/kernel/unprivileged_bpf_disabled")
    if value == "0":
        return (
            "warn",
            "open to every user: not needed here, and a way to attack the kernel",
            "sysctl kernel.unprivileged_bpf_disabled=2",
        )
    return "pass", f"kernel.unprivileged_bpf_disabled is {value or 'not there'}: programs are loaded by capability", ""


@check("lockdown", "Lockdown")
def lockdown(host: Host) -> tuple[Status, str, str]:
    text = host.text("sys/kernel/security/lockdown")
    if text is None:
        return "pass", "not in force, or not shown (securityfs is not mounted)", ""
    if "[confidentiality]" in text:
        return (
            "fail",
            "confidentiality: the kernel lets no program read its memory, so none of a request's bytes either",
            "boot with lockdown=integrity",
        )
    mode = "integrity: reading is allowed" if "[integrity]" in text else "none"
    return "pass", mode, ""


@check("ring", "Ring buffer")
def ring(host: Host) -> tuple[Status, str, str]:
    mib = RING_BYTES >> 20
    try:
        host.try_ring(RING_BYTES)
    except OSError as error:
        if error.errno == errno.EPERM and host.has(Capability.BPF):
            fix = (
                "ulimit -l unlimited (LimitMEMLOCK=infinity in a unit); a container's seccomp profile must allow bpf(2)"
            )
        elif error.errno == errno.EPERM:
            fix = "run as root, or grant CAP_BPF"
        elif error.errno == errno.EINVAL:
            fix = "boot Linux 5.8 or newer: this one has no BPF ring buffer"
        else:
            fix = "free some memory, or ask for a smaller ring"
        return "fail", f"the kernel refuses one of {mib} MiB: {error.strerror}", fix
    return "pass", f"one of {mib} MiB was created and let go", ""


@check("memlock", "Locked memory")
def memlock(host: Host) -> tuple[Status, str, str]:
    limit = host.memlock()
    if limit is None or limit > 2 * RING_BYTES:
        return "pass", "RLIMIT_MEMLOCK is " + ("unlimited" if limit is None else f"{limit >> 10} KiB"), ""
    why = f"RLIMIT_MEMLOCK is {limit >> 10} KiB"
    try:
        # A ring beyond the limit that is created all the same was charged to the memory cgroup (Linux 5.11).
        host.try_ring(max(RING_BYTES, 1 << limit.bit_length()))
    except OSError:
        return (
            "warn",
            f"{why}, and BPF memory may count against it",
            "ulimit -l unlimited (LimitMEMLOCK=infinity in a unit)",
        )
    return "pass", f"{why}, but BPF memory is charged to the memory cgroup", ""


@check("jit", "BPF JIT")
def jit(host: Host) -> tuple[Status, str, str]:
    enabled = host.text("proc/sys/net/core/bpf_jit_enable")
    if enabled == "0":
        return "warn", "off: programs are interpreted, several times slower", "sysctl net.core.bpf_jit_enable=1"
    if host.text("proc/sys/net/core/bpf_jit_harden") == "2":
        return (
            "warn",
            "hardened for privileged programs too, which makes them slower",
            "sysctl net.core.bpf_jit_harden=1 hardens those of unprivileged users only",
        )
    return "pass", "on" if enabled else "not shown in this network namespace", ""


@check("bpf_stats", "BPF statistics")
def bpf_stats(host: Host) -> tuple[Status, str, str]:
    if host.text("proc/sys/kernel/bpf_stats_enabled") == "1":
        return (
            "warn",
            "kernel.bpf_stats_enabled is 1: every run of every program reads the clock twice",
            "sysctl kernel.bpf_stats_enabled=0",
        )
    return "pass", "off: no clock is read around each program", ""


@check("clock", "Clock")
def clock(host: Host) -> tuple[Status, str, str]:
    seen = host.clock()
    if abs(seen.step_ns) >= STEP_NS:
        return (
            "warn",
            f"the wall clock moved by {seen.step_ns / 1e6:+.1f} ms while it was watched: spans' start times jump with "
            "it (durations do not: they come from CLOCK_BOOTTIME)",
            "let chrony or systemd-timesyncd slew it",
        )
    source = host.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in SLOW_CLOCKSOURCES:
        return "warn", f"clock source {source} costs about a microsecond a reading", "boot with a usable tsc"
    if not seen.synchronised:
        return (
            "warn",
            "not synchronised: spans of this machine may not line up with those of others",
            "run chrony or systemd-timesyncd (a container host may do it without telling this kernel)",
        )
    return "pass", f"synchronised (±{seen.max_error_us / 1000:.0f} ms), clock source {source or 'unknown'}", ""


@check("cgroups", "Control groups")
def cgroups(host: Host) -> tuple[Status, str, str]:
    kinds = {mount.fstype: mount.path for mount in reversed(host.mounts()) if mount.fstype in {"cgroup", "cgroup2"}}
    match kinds:
        case {"cgroup": _, "cgroup2": path}:
            return "pass", f"hybrid: version 2 at {path}, controllers in version 1", ""
        case {"cgroup2": path}:
            return "pass", f"version 2 at {path}", ""
        case {"cgroup": _}:
            return "warn", "version 1 only: --cgroup cannot select", "boot with systemd.unified_cgroup_hierarchy=1"
    return "warn", "none mounted: containers cannot be told apart", "mount -t cgroup2 none /sys/fs/cgroup"


def _file_system(name: str, fstype: str, path: str, whom: str) -> None:
    def look(host: Host) -> Finding:
        for mount in host.mounts():
            if mount.fstype == fstype:
                return Finding(name, name, "pass", f"mounted at {mount.path}; not needed here")
        return Finding(name, name, "pass", f"not mounted; not needed here, only by {whom}", mount=(fstype, path))

    CHECKS.append(look)


_file_system("tracefs", "tracefs", "/sys/kernel/tracing", "tools such as perf and trace-cmd")
_file_system("debugfs", "debugfs", "/sys/kernel/debug", "tools for old kernels")
_file_system("bpffs", "bpf", "/sys/fs/bpf", "programs that pin what they load")


@check("memory", "Memory")
def memory(host: Host) -> tuple[Status, str, str]:
    available = host.meminfo_bytes("MemAvailable")
    if available is None:
        return "warn", "could not find out: no MemAvailable in /proc/meminfo", ""
    if available < WANTED_BYTES:
        return (
            "warn",
            f"{available >> 20} MiB available, {WANTED_BYTES >> 20} MiB would be comfortable",
            "free some, or ask for a smaller ring and span queue",
        )
    return "pass", f"{available >> 20} MiB available", ""


@check("other_agents", "Other BPF agents")
def other_agents(host: Host) -> tuple[Status, str, str]:
    agents = sorted({f"{OTHER_AGENTS[name]} (pid {pid})" for pid, name in _agents(host)})
    try:
        programs = host.tracing_programs()
    except PermissionError:
        programs = []  # needs CAP_SYS_ADMIN, which capture itself does not
    if not agents and not programs:
        return "pass", "none found", ""
    parts = []
    if agents:
        parts.append("running: " + ", ".join(agents))
    if programs:
        names = ", ".join(sorted(set(programs))[:6])
        parts.append(f"{len(programs)} tracing programs are loaded ({names})")
    return (
        "warn",
        "; ".join(parts) + ". They do not disturb capture, but each adds its own cost to every request",
        "where two agents make spans of the same requests, turn one of them off",
    )


def _agents(host: Host) -> list[tuple[int, str]]:
    return [(pid, name) for pid, name in host.processes() if name in OTHER_AGENTS and pid != host.own_pid]
