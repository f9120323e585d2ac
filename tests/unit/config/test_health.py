"""Where the agent is asked whether it is well: by variable and by file."""

from pathlib import Path

import pytest

from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.file import load_file
from otel_ebpf.config.settings import Health
from otel_ebpf.errors import ConfigError


def test_by_variable(caplog: pytest.LogCaptureFixture) -> None:
    assert from_environment({}).health == Health("", "")
    asked = {"OTEL_EBPF_HEALTH_ENDPOINT": ":13133", "OTEL_EBPF_PROFILE_ENDPOINT": "1777"}
    assert from_environment(asked).health == Health(":13133", "1777")
    assert from_environment({"OTEL_EBPF_HEALTH_ENDPOINT": "yes"}).health == Health("", "")
    assert "OTEL_EBPF_HEALTH_ENDPOINT=yes: 'yes' is not an address to listen on" in caplog.text


def test_by_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = 'file_format: "1.0"\ndistribution:\n  otel_ebpf:\n    health:\n      endpoint: "{}"\n'
    file.write_text(text.format("[::1]:8080"))
    settings, _ = load_file(file, {})
    assert settings.health == Health("[::1]:8080", "")
    file.write_text(text.format("8080x"))
    with pytest.raises(ConfigError, match=r"config.yaml:5: distribution.otel_ebpf.health.endpoint: '8080x' is not an"):
        load_file(file, {})
