"""What is the same for every process: the machine."""

import platform
import socket
from pathlib import Path
from typing import Final

from otel_ebpf import semconv

# Of platform.machine(); other names are the conventions' already.
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm32", "i686": "x86", "ppc64le": "ppc64"}
# In a pod that shares the host's pid namespace, pid 1's root is the host's.
_MACHINE_IDS: Final = ("/proc/1/root/etc/machine-id", "/etc/machine-id", "/var/lib/dbus/machine-id")


def host_attributes() -> dict[str, str]:
    """host.name, host.id (where the machine has one), host.arch, os.type."""
    machine = platform.machine()
    attributes = {
        semconv.HOST_NAME: socket.gethostname(),
        semconv.HOST_ARCH: _ARCHITECTURES.get(machine, machine),
        semconv.OS_TYPE: "linux",
    }
    if identifier := machine_id():
        attributes[semconv.HOST_ID] = identifier
    return attributes


def machine_id() -> str:
    """The machine's id, "" where it has none (or "uninitialized", as images for first boot do)."""
    for name in _MACHINE_IDS:
        try:
            identifier = Path(name).read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            continue
        if identifier and identifier != "uninitialized":
            return identifier
    return ""
