"""Disk images for the test VMs: a root with other people's programs, and the project at its own path.

The root (busybox, the virtual environment's interpreter, nginx, wrk, curl, bpftool) is cached by the content
of what goes into it. The project's image is rebuilt whenever a file in it changed; both are copies of what is
installed on this machine, at the same paths, so that shebangs, pyvenv.cfg and editable installs hold.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.kernels.kernels import Unavailable, testbed

PROJECT = Path(__file__).resolve().parents[2]

_PROGRAMS = ("bash", "bpftool", "curl", "h2load", "nginx", "setpriv", "wrk")
# What is opened by name, and what extensions built elsewhere want, though glibc has long had it all in one.
_LIBRARIES = ("libnss_files.so.2", "libnss_dns.so.2", "librt.so.1", "libpthread.so.0", "libdl.so.2")
_STDLIB_WITHOUT = {
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "ensurepip",
    "site-packages",
    "dist-packages",
}
# Megabytes in the virtual environment that nothing in a VM runs: development tools, the Kubernetes client.
_VENV_WITHOUT = {
    "coverage", "dmypy", "grimp", "hypothesis", "importlinter", "kubernetes", "lint-imports", "maturin", "mypy",
    "mypyc", "pip", "pkg_resources", "ruff", "setuptools", "stubgen", "stubtest",
}  # fmt: skip
_PROJECT_PARTS = ("src/otel_ebpf", "tests", "config", "pyproject.toml")

_PASSWD = """root:x:0:0:root:/root:/bin/sh
www-data:x:33:33::/:/bin/sh
nobody:x:65534:65534::/:/bin/sh
"""
_GROUP = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"


def root_image() -> Path:
    """The ext4 root with everything that is not the project."""
    files = sorted(set(_root_files()))
    key = _digest(files, Path(__file__))
    return _cached(f"root-{key}.ext4", lambda tree: _lay_root(tree, files))


def project_image() -> Path:
    """An ext4 of the virtual environment and the tests, to be mounted at the project's own path."""
    files = sorted(set(_project_files()))
    key = _digest(files, Path(__file__))
    return _cached(f"project-{key}.ext4", lambda tree: _lay(tree, files, PROJECT))


def _cached(name: str, lay: Callable[[Path], None]) -> Path:
    image = testbed() / "images" / name
    if image.exists():
        os.utime(image)
        return image
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="image-") as work:
        tree, new = Path(work, "tree"), Path(work, "new.ext4")
        tree.mkdir()
        lay(tree)
        used = int(subprocess.run(["du", "-sm", tree], capture_output=True, text=True, check=True).stdout.split()[0])
        with new.open("wb") as handle:
            handle.truncate((used + used // 4 + 200) << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, new], check=True)
        # Sparse, and in place at once or not at all: two test runs may share the cache.
        part = image.with_suffix(f".{os.getpid()}")
        subprocess.run(["cp", "--sparse=always", new, part], check=True)
        part.rename(image)
    _forget_old(image)
    return image


def _forget_old(image: Path) -> None:
    """Keeps the three last used images of a kind: each change of the project makes a new one."""
    kind = image.name.split("-")[0]
    known = sorted(image.parent.glob(f"{kind}-*.ext4"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in known[3:]:
        old.unlink(missing_ok=True)


def _digest(files: Iterable[Path], *more: Path) -> str:
    digest = hashlib.sha256()
    for path in (*files, *more):
        stat = path.lstat()
        # Installed files are told by size and time; reading hundreds of megabytes at each run would cost more
        # than the image.
        digest.update(f"{path}\0{stat.st_mode}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _root_files() -> Iterator[Path]:
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        raise Unavailable("/bin/busybox is missing (package busybox-static)")
    yield busybox
    for name in _PROGRAMS:
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if found is None:
            raise Unavailable(f"{name} is not installed (tests/kernels/apt.txt lists what is needed)")
        yield from _with_libraries(Path(found))
    for name in _LIBRARIES:
        for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"):
            if Path(folder, name).exists():
                yield from _with_libraries(Path(folder, name))
                break
    yield from _interpreter()


def _interpreter() -> Iterator[Path]:
    """The interpreter of the virtual environment these tests run in, wherever it came from."""
    home = Path(sys.base_prefix)
    real = Path(sys.executable).resolve()
    yield from _with_libraries(real)
    link = Path(sys.executable)
    while link.is_symlink():
        target = Path(os.path.normpath(link.parent / link.readlink()))
        if not target.is_relative_to(PROJECT):
            yield from _with_libraries(target)
        link = target
    stdlib = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(home), "base": str(home)}))
    for path in _walk(stdlib, _STDLIB_WITHOUT | {p.name for p in stdlib.glob("config-*")}):
        yield path
        if path.suffix == ".so":
            yield from _with_libraries(path)


def _project_files() -> Iterator[Path]:
    for part in _PROJECT_PARTS:
        path = PROJECT / part
        if path.is_dir():
            yield from _walk(path, {".pytest_cache"})
        elif path.exists():
            yield path
    venv = PROJECT / ".venv"
    if not venv.is_dir():
        raise Unavailable(f"{venv} is missing: run `make setup`")
    yield from _walk(venv, _VENV_WITHOUT)


def _walk(top: Path, without: set[str]) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = sorted(name for name in subfolders if name not in without)
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        for name in (*sorted(names), *links):
            if name not in without and "__mypyc" not in name:
                yield Path(folder, name)


def _with_libraries(path: Path) -> Iterator[Path]:
    """A file, what it links to by symlink, and every shared library it needs."""
    yield path
    if path.is_symlink():
        yield path.resolve()
    out = subprocess.run(["ldd", path], capture_output=True, text=True)
    for library in re.findall(r"(?:=> )?(/\S+)", out.stdout):
        yield Path(library)
        if Path(library).is_symlink():
            yield Path(library).resolve()


def _lay_root(tree: Path, files: list[Path]) -> None:
    # Debian's merged /usr: a library may be named by either path.
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "tmp", "run", "root", "var/log/nginx", "var/lib/nginx", "etc", "job"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    _lay(tree, files, Path("/"))
    (tree / "etc/passwd").write_text(_PASSWD)
    (tree / "etc/group").write_text(_GROUP)
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (tree / "etc/nsswitch.conf").write_text("hosts: files\n")
    (tree / "etc/machine-id").write_text("0" * 31 + "1\n")
    shutil.copyfile("/etc/ld.so.conf", tree / "etc/ld.so.conf")
    shutil.copytree("/etc/ld.so.conf.d", tree / "etc/ld.so.conf.d")
    if Path("/usr/share/zoneinfo/UTC").exists():
        (tree / "usr/share/zoneinfo").mkdir(parents=True)
        shutil.copyfile("/usr/share/zoneinfo/UTC", tree / "usr/share/zoneinfo/UTC")
    subprocess.run(["ldconfig", "-r", tree], check=True)


def _lay(tree: Path, files: list[Path], top: Path) -> None:
    for path in files:
        to = tree / path.relative_to(top)
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.is_symlink() or to.exists():
            continue
        # copy2 keeps the times: a .pyc is only as good as its source's.
        shutil.copy2(path, to, follow_symlinks=False)
