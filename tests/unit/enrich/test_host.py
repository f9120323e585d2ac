"""The machine, as its own tools name it."""

import subprocess
from pathlib import Path

from otel_ebpf.enrich.host import host_attributes, machine_id


def test_name_and_kind() -> None:
    attributes = host_attributes()
    assert attributes["host.name"] == subprocess.check_output(["uname", "-n"], text=True).strip()
    assert attributes["os.type"] == "linux"
    machine = subprocess.check_output(["uname", "-m"], text=True).strip()
    assert attributes["host.arch"] == {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def test_id_is_the_machines_or_left_out() -> None:
    file = Path("/etc/machine-id")
    if file.exists() and file.read_text().strip():
        assert machine_id()
    assert host_attributes().get("host.id", "") == machine_id()
