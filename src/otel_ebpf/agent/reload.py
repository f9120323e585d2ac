"""New settings for a running agent: on SIGHUP, and when the configuration's file is another.

Looking at the file once a second costs one system call and sees every way in which a file can change: written in place,
renamed over by an editor, or behind the symbolic link that Kubernetes turns when a ConfigMap changes. A file that is
being written is left until it has been the same for a second.

What can be changed while requests are under way is; what can't is named, and stays. Settings that are not valid change
nothing at all.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from otel_ebpf.config.catalogue import SETTINGS, value_of, with_value
from otel_ebpf.config.settings import Settings
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.own import Value
from otel_ebpf.protocols.registry import Metric

log = logging.getLogger(__name__)

RELOADS: Final = Metric(
    "otel_ebpf.config.reloads", "{reload}", "Times that the configuration was read anew, by outcome."
)

_LOOK_EVERY_S: Final = 1.0
_TARGETS: Final = ("traces.target", "metrics.target")

_Signature = tuple[int, ...] | None


@dataclass(slots=True)
class Reload:
    """`load` reads the settings as they are asked for now; `path` is the file they are in, if it is to be watched."""

    load: Callable[[], Settings]
    path: Path | None = None
    outcomes: dict[str, int] = field(default_factory=lambda: {"changed": 0, "unchanged": 0, "invalid": 0})
    _due_s: float = 0.0
    _known: _Signature = None
    _seen: _Signature = None

    def __post_init__(self) -> None:
        self._known = self._seen = self._signature()

    def changed(self) -> bool:
        """Whether the file is another than the last one that was read, and has been for a while."""
        now_s = time.monotonic()
        if self.path is None or now_s < self._due_s:
            return False
        self._due_s = now_s + _LOOK_EVERY_S
        before, self._seen = self._seen, self._signature()
        return self._seen is not None and self._seen == before and self._seen != self._known

    def read(self, held: Settings, take: Callable[[Settings], None]) -> Settings:
        """Reads the settings anew and gives `take` those that hold from now on; returns what then holds.

        `take` may raise ConfigError, and must have changed nothing then.
        """
        self._known = self._seen = self._signature()
        try:
            wanted = self.load()
            settings, changed, kept = merged(held, wanted)
            if changed:
                take(settings)
        except ConfigError as error:
            self.outcomes["invalid"] += 1
            log.error("%s; all stays as it was", error)  # noqa: TRY400 - theirs, not ours: no traceback
            return held
        self.outcomes["changed" if changed else "unchanged"] += 1
        if kept:
            log.warning("these need a restart, and stay as they were: %s", ", ".join(kept))
        log.info("configuration read anew: %s", ", ".join(changed) if changed else "nothing to change")
        return settings

    def counters(self) -> Iterator[Value]:
        """For the agent's own metrics."""
        for outcome, count in self.outcomes.items():
            yield RELOADS, {"outcome": outcome}, count

    def _signature(self) -> _Signature:
        """Of the file behind all links; None where there is none, as there is for a moment when one is replaced."""
        try:
            status = self.path.stat() if self.path else None
        except OSError:
            return None
        if status is None:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def merged(held: Settings, wanted: Settings) -> tuple[Settings, Sequence[str], Sequence[str]]:
    """What can hold from now on; names of what is new in it, and of what stays though it was to change."""
    settings, changed, kept = held, [], []
    for name in _TARGETS:
        old, new = value_of(held, name), value_of(wanted, name)
        if (old is None) != (new is None):
            kept.append(f"{name} ({'is asked for' if new else 'is asked for no more'})")
    for setting in SETTINGS:
        around = setting.name.rpartition(".")[0]
        if around in _TARGETS and None in (value_of(held, around), value_of(wanted, around)):
            continue
        value = value_of(wanted, setting.name)
        if value == value_of(held, setting.name):
            continue
        if setting.live:
            settings = with_value(settings, setting.name, value)
            changed.append(setting.name)
        else:
            kept.append(setting.name)
    return settings, changed, kept
