"""The directory that holds the queues on disk: one agent's at a time, nobody else's to read.

DIRECTORY/lock                      held as long as an agent runs; has its pid
DIRECTORY/{traces,metrics}/state
DIRECTORY/{traces,metrics}/00000000000000000001.queue ...
"""

import fcntl
import os
from pathlib import Path

from otel_ebpf.config.settings import Queue
from otel_ebpf.errors import ConfigError
from otel_ebpf.export.diskqueue import DiskQueue


class Queues:
    """Those of one run, by signal: opened before anything is attached, so that what is wrong is told at once."""

    def __init__(self, settings: Queue, signals: list[str]) -> None:
        """Raises ConfigError where the directory can't be used."""
        directory = Path(settings.directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take_lock(directory)
            self._by_signal = {
                signal: DiskQueue(directory / signal, signal, settings.max_bytes, settings.max_age_s)
                for signal in signals
            }
        except OSError as error:
            raise ConfigError(f"queue directory {directory}: {error.strerror}", "it must be writable") from error

    def get(self, signal: str) -> DiskQueue | None:
        """A signal's."""
        return self._by_signal.get(signal)

    def _take_lock(self, directory: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            raise ConfigError(
                f"queue directory {directory} is in use by another otel-ebpf (pid {holder or 'unknown'})",
                "each agent needs a directory of its own",
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Lets another agent have the directory. Each queue is closed by who uses it."""
        os.close(self._lock)
