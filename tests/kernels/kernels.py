"""Debian kernels for the test VMs: the newest package of a series, unpacked (never installed), cached by its name."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# What an ext4 root on a virtio disk needs where the kernel has it as a module; those built in are skipped.
_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")


class Unavailable(Exception):
    """This machine cannot provide what a test VM needs; the text says what."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: `modules` in the order in which they go in."""

    package: str
    vmlinuz: Path
    modules: tuple[Path, ...]


def testbed() -> Path:
    """Where downloads and images are cached: $TESTBED, by default ~/.cache/otel-ebpf-testbed."""
    default = Path.home() / ".cache" / "otel-ebpf-testbed"
    return Path(os.environ.get("TESTBED") or default)


def find(series: str) -> Kernel:
    """The newest Debian cloud kernel of a series such as "6.12" that can be had. Raises Unavailable."""
    cache = testbed() / "kernels"
    packages = _packages(series)
    if not packages:
        raise Unavailable(f"apt knows no linux-image-{series}*-cloud-amd64 (has `apt-get update` run?)")
    for package in packages:
        home = cache / package
        if (home / "modules.order").exists() or _unpack(package, home):
            order = (home / "modules.order").read_text().split()
            return Kernel(package, home / "vmlinuz", tuple(home / name for name in order))
    raise Unavailable(f"none of {', '.join(packages)} could be downloaded")


def _packages(series: str) -> list[str]:
    pattern = rf"^linux-image-{re.escape(series)}\.[0-9].*-cloud-amd64$"
    if shutil.which("apt-cache") is None:
        raise Unavailable("the test kernels come from Debian's packages and this machine has no apt-cache")
    out = subprocess.run(["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=True)
    names = {line.split()[0] for line in out.stdout.splitlines() if line.strip()}
    return sorted(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], reverse=True)


def _unpack(package: str, home: Path) -> bool:
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kernel-")))
        work.chmod(0o755)  # apt downloads as its own user
        if subprocess.run(["apt-get", "download", "-q", package], cwd=work, capture_output=True).returncode != 0:
            return False
        (deb,) = work.glob("*.deb")
        tree = work / "x"
        subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
        if not (tree / "lib/modules").is_dir():
            (tree / "lib").mkdir(exist_ok=True)
            (tree / "lib/modules").symlink_to("../usr/lib/modules")
        (release,) = (path.name for path in (tree / "lib/modules").iterdir())
        subprocess.run(["depmod", "-b", tree, release], check=True)

        home.mkdir(parents=True, exist_ok=True)
        (vmlinuz,) = (tree / "boot").glob("vmlinuz-*")
        shutil.copyfile(vmlinuz, home / "vmlinuz")
        order: list[str] = []
        for module in _needed(tree, release):
            name = module.name.removesuffix(".xz")
            if name in order:
                continue
            data = module.read_bytes()
            if module.suffix == ".xz":
                data = subprocess.run(["xz", "-dc"], input=data, capture_output=True, check=True).stdout
            (home / name).write_bytes(data)
            order.append(name)
        (home / "modules.order").write_text("\n".join(order))
    return True


def _needed(tree: Path, release: str) -> list[Path]:
    found: list[Path] = []
    for name in _MODULES:
        out = subprocess.run(
            ["modprobe", "-d", tree, "-S", release, "--show-depends", name], capture_output=True, text=True
        )
        found += [Path(line.split()[1]) for line in out.stdout.splitlines() if line.startswith("insmod ")]
    return found
