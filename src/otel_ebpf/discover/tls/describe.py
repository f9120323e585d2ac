"""Everything that is to be known of one process's TLS."""

import platform
from pathlib import Path
from typing import Final

from otel_ebpf.discover.tls.findings import UNKNOWN, Finding, Refusal, TlsReport
from otel_ebpf.discover.tls.inspector import Inspector
from otel_ebpf.discover.tls.mappings import executable_mappings
from otel_ebpf.errors import AgentError, PermissionDenied

_MACHINE: Final = "x86_64"
_SUSPECTS: Final = ("ssl", "tls", "crypto")


def describe(pid: int, inspector: Inspector | None = None, proc: str = "/proc") -> TlsReport:
    """What TLS the process uses, and where probes go. AgentError if there is no such process."""
    if inspector:
        return _describe(pid, inspector, proc)
    own = Inspector()
    try:
        return _describe(pid, own, proc)
    finally:
        own.rest()


def _describe(pid: int, inspector: Inspector, proc: str) -> TlsReport:
    executable = ""
    try:
        mapped = executable_mappings(pid, proc)
        executable = str(Path(f"{proc}/{pid}/exe").readlink())
    except PermissionError as error:
        raise PermissionDenied(f"process {pid} may not be looked at", "run as root, or grant CAP_SYS_PTRACE") from error
    except (FileNotFoundError, ProcessLookupError) as error:
        if not Path(f"{proc}/{pid}/stat").exists():
            raise AgentError(f"there is no process {pid}") from error
        return TlsReport(pid, "", ())  # a kernel thread, or one that has ended and waits for its parent
    if platform.machine() != _MACHINE:
        reason = f"this machine is {platform.machine()}: TLS is captured on {_MACHINE} only"
        return TlsReport(pid, executable, (Refusal(UNKNOWN, reason, path=executable),))
    findings: list[Finding] = []
    unreadable = list(mapped.unreadable)
    for file in mapped.files:
        try:
            findings += [each for each in inspector.findings(file) if _matters(each, executable)]
        except OSError as error:
            unreadable.append(f"{file.name}: {error.strerror}")
    return TlsReport(pid, executable, tuple(findings), tuple(unreadable))


def _matters(finding: Finding, executable: str) -> bool:
    """Files of which we can say nothing are told of only if TLS may be in them: a JIT maps many that are no ELF."""
    if finding.implementation != UNKNOWN or finding.name == executable:
        return True
    return any(suspect in Path(finding.name).name for suspect in _SUSPECTS)
