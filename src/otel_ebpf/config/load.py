"""Where settings come from: a file if there is one, else the environment. Flags are the command's to add."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from otel_ebpf.config.environment import read_environment
from otel_ebpf.config.origin import Origin
from otel_ebpf.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and who decided on those that are not as by default."""

    settings: Settings
    origins: Mapping[str, Origin] = field(default_factory=dict)


def config_path(flag: str | None, variables: Mapping[str, str]) -> Path | None:
    """The file that --config or OTEL_CONFIG_FILE names; the flag goes first."""
    name = flag or variables.get("OTEL_CONFIG_FILE", "").strip()
    return Path(name) if name else None


def load(path: Path | None, variables: Mapping[str, str]) -> Settings:
    """With a file, variables count only where the file refers to them (declarative configuration, 1.0).

    Raises ConfigError.
    """
    return load_with_origins(path, variables).settings


def load_with_origins(path: Path | None, variables: Mapping[str, str]) -> Loaded:
    """The same, with the origin of each value."""
    if path is None:
        return Loaded(*read_environment(variables))
    # pydantic and PyYAML cost 9 MB and 100 ms: only who has a file pays for them.
    from otel_ebpf.config.file import load_file  # noqa: PLC0415

    return Loaded(*load_file(path, variables))
