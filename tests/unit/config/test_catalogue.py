"""The catalogue has every setting, and what it says of one is so in the file and in the environment."""

from pathlib import Path
from typing import Any

import pytest

from otel_ebpf.config.catalogue import OURS, SETTINGS, Setting, listen_address, places, value_of
from otel_ebpf.config.environment import from_environment
from otel_ebpf.config.kinds import Choice, Flag, Number, Text, Words, written
from otel_ebpf.config.load import load
from otel_ebpf.config.settings import OtlpTarget, Prometheus, Settings

CATALOGUED = [setting for setting in SETTINGS if not setting.by_hand]


def test_every_setting_is_in_it_once() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len(names)
    here = set(places(Settings())) - {"traces.target", "metrics.target", "metrics.prometheus"}
    targets = {f"{signal}.target.{name}" for signal in ("traces", "metrics") for name in places(OtlpTarget(""))}
    prometheus = {f"metrics.prometheus.{name}" for name in places(Prometheus())}
    assert set(names) == here | targets | prometheus


def test_no_two_settings_share_a_key_or_a_variable() -> None:
    for used in ([one.key for one in CATALOGUED], [one.env[0] for one in CATALOGUED]):
        assert len(set(used)) == len(used)


def another(setting: Setting) -> tuple[Any, Any]:
    """A value that is not the default: as written, and as the settings have it."""
    match setting.kind:
        case Flag():
            return (False, False) if setting.default() else (True, True)
        case Number():
            value = setting.default() * 2 or 1
            return written(setting.kind, value), value
        case Choice(words=words):
            word = next(word for word in words if word != setting.default())
            return word, word
        case Words():
            return ["abc"], ("abc",)
        case Text(check=check) if check is listen_address:
            return "localhost:7070", "localhost:7070"
        case Text():
            return "abc.example/", "abc.example/"
    raise AssertionError(setting)


@pytest.mark.parametrize("setting", CATALOGUED, ids=lambda setting: setting.name)
def test_a_setting_of_ours_is_read_from_file_and_environment(tmp_path: Path, setting: Setting) -> None:
    text, value = another(setting)
    assert value_of(Settings(), setting.name) != value
    word = ",".join(text) if isinstance(text, list) else str(text).lower() if isinstance(text, bool) else str(text)
    assert value_of(from_environment({setting.env[0]: word}), setting.name) == value

    lines, indent = ['file_format: "1.0"', "distribution:", "  otel_ebpf:"], 4
    for part in setting.key.removeprefix(OURS).split("."):
        lines.append(" " * indent + part + ":")
        indent += 2
    lines[-1] += f" {word if not isinstance(text, list) else text}"
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines))
    assert value_of(load(path, {}), setting.name) == value


@pytest.mark.parametrize("setting", CATALOGUED, ids=lambda setting: setting.name)
def test_an_empty_variable_is_unset(setting: Setting) -> None:
    assert from_environment({setting.env[0]: ""}) == Settings()
