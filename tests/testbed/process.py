"""Programs that the tests start: output in files, waiting with a deadline, an end by their own pid."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class NotReadyError(AssertionError):
    """Something did not happen in time; the message says what was waited for and what was there instead."""


def eventually(look: Callable[[], T], what: str, seconds: float = 10.0, every: float = 0.02) -> T:
    """The first truthy value of `look()`; NotReadyError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise NotReadyError(f"{what}: not within {seconds:g} s (last: {value!r})")
        time.sleep(every)


def waiting_at(port: int) -> bool:
    """Whether some socket of this port has bytes that its program has not read."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    mine = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return any(int(row[4].partition(":")[2], 16) for row in mine)


_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on or has been given before, outside the range that the kernel hands to clients."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(100):
        port = random.choice([port for port in range(18000, 32000) if port not in _given])
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            _given.add(port)
            return port
    raise NotReadyError(f"no free port on {host}")


def descendants(pid: int) -> set[int]:
    """`pid` and every process below it, as of now."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found |= descendants(int(child))
    return found


class Program:
    """A running program, with its own session: what it starts is ended with it."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        folder: Path,
        name: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.stdout_path = folder / f"{name}.out"
        self.stderr_path = folder / f"{name}.err"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self.popen = subprocess.Popen(
                # Where the tests themselves are killed, nothing of theirs runs on.
                ["setpriv", "--pdeathsig", "KILL", *map(str, argv)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(errors="replace")

    def running(self) -> bool:
        return self.popen.poll() is None

    def must_run(self) -> None:
        """Raises with the program's own words if it has ended."""
        if not self.running():
            raise NotReadyError(
                f"{self.name} ended with {self.popen.returncode}:\n{self.stderr[-3000:]}{self.stdout[-1000:]}"
            )

    def wait_until(self, look: Callable[[], T], what: str, seconds: float = 20.0) -> T:
        """`eventually`, but gives up at once if the program ends."""

        def looking() -> T:
            self.must_run()
            return look()

        try:
            return eventually(looking, f"{self.name}: {what}", seconds)
        except NotReadyError as late:
            raise NotReadyError(f"{late}\n{self.stderr[-2000:]}") from None

    def end(self, how: signal.Signals = signal.SIGTERM, seconds: float = 10.0) -> int:
        """Signals the program, waits for its end, and returns its exit status (negative: a signal's number)."""
        if self.running():
            self.popen.send_signal(how)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise NotReadyError(f"{self.name} (pid {self.pid}) still runs {seconds:g} s after {how.name}") from None
        finally:
            # The session's id is the pid of its first process, whose number cannot be given anew while a
            # process of the session lives.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def answers(host: str, port: int) -> bool:
    """True if something accepts connections there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def answers_unix(path: Path) -> bool:
    """True if something accepts connections on the socket at `path`."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0
