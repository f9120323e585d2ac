"""The systemd unit asks for what the preflight asks for, and runs a command that exists."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_ebpf.capture.host import Capability
from otel_ebpf.commands.main import cli

UNIT = Path(__file__).parents[3] / "deploy/systemd/otel-ebpf.service"
# CAP_SYS_ADMIN stands in for others and is never needed itself.
NEEDED = {f"CAP_{capability.name}" for capability in Capability} - {"CAP_SYS_ADMIN"}


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if line and line[0] not in "#["]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize("key", ["AmbientCapabilities", "CapabilityBoundingSet"])
def test_capabilities_are_those_of_the_preflight(settings: dict[str, str], key: str) -> None:
    assert set(settings[key].split()) == NEEDED


def test_the_command_exists(settings: dict[str, str]) -> None:
    program, *arguments = shlex.split(settings["ExecStart"])
    assert program.endswith("/.venv/bin/otel-ebpf")
    assert CliRunner().invoke(cli, [*arguments, "--help"]).exit_code == 0
