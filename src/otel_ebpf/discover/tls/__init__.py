"""Which TLS a process uses, in which files, and where in them probes go; nothing here attaches anything."""

from otel_ebpf.discover.tls.describe import describe
from otel_ebpf.discover.tls.findings import Attachment, Finding, Place, Probe, Refusal, TlsReport
from otel_ebpf.discover.tls.inspector import Inspector
from otel_ebpf.discover.tls.system import system_libraries

__all__ = [
    "Attachment",
    "Finding",
    "Inspector",
    "Place",
    "Probe",
    "Refusal",
    "TlsReport",
    "describe",
    "system_libraries",
]
