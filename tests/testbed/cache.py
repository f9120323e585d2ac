"""Builds kept outside the tree, by content: the same sources and toolchain are built once, even by parallel runs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class BuildError(Exception):
    """A program of the testbed could not be built; the message has the tool's own words."""


def root() -> Path:
    """Where builds are kept: `$TESTBED`, or `~/.cache/otel-ebpf-testbed`."""
    path = Path(os.environ.get("TESTBED") or Path.home() / ".cache" / "otel-ebpf-testbed")
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove(folder: Path) -> None:
    """Removes what a build left behind."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the lock `name` among all processes that share the cache."""
    with (root() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def files_below(folder: Path) -> list[Path]:
    """The sources in a folder, without what a build leaves there."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and "target" not in p.parts)


def built(name: str, sources: Iterable[Path], toolchain: str, build: Callable[[Path], None]) -> Path:
    """The folder with the build of `sources`; calls `build(empty folder)` where there is none yet."""
    digest = hashlib.sha256(toolchain.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    folder = root() / f"{name}-{digest.hexdigest()[:16]}"
    if folder.exists():
        return folder
    with locked(name):
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root()))
            try:
                build(unfinished)
                unfinished.chmod(0o755)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def command(
    argv: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True
) -> str:
    """Runs a build tool at low priority and returns what it printed."""
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *argv],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except FileNotFoundError as missing:
        raise BuildError(f"{argv[0]} is not there: {missing}") from missing
    if check and done.returncode:
        raise BuildError(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def tool(name: str, package: str) -> str:
    """The path of a program, or an error that names the Debian package it comes from."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise BuildError(f"{name} is not installed: apt-get install {package}")
    return found
