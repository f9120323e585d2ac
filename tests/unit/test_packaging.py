"""What is in the wheel and the sdist, and that the wheel works away from this tree."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EM_BPF = 247  # include/uapi/linux/elf-em.h


def maturin(*args: str) -> None:
    command = [str(Path(sys.executable).with_name("maturin")), *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    maturin("build", "--release", "--out", str(folder))
    return next(folder.glob("*.whl"))


def embedded_bpf_objects(binary: bytes) -> Iterator[int]:
    """Offsets of the ELF files for BPF within another one."""
    at = binary.find(b"\x7fELF", 1)
    while at >= 0:
        if int.from_bytes(binary[at + 18 : at + 20], "little") == EM_BPF:
            yield at
        at = binary.find(b"\x7fELF", at + 1)


@pytest.mark.timeout(1200)
def test_wheel_has_all_and_only_what_runs(wheel: Path) -> None:
    assert "-cp311-abi3-linux_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        core = archive.read("otel_ebpf/_native.abi3.so")
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    assert list(embedded_bpf_objects(core)), "no BPF object in the extension"
    assert {
        "otel_ebpf/_native.pyi",
        "otel_ebpf/py.typed",
        "otel_ebpf/commands/main.py",
        "otel_ebpf/config/schema.json",
    } <= set(names)
    assert {name.rpartition("licenses/")[2] for name in names if "licenses/" in name} == {
        "LICENSE",
        "bpf/LICENSE",
        "bpf/COPYING",
    }
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"otel_ebpf"}
    assert "otel-ebpf=otel_ebpf.commands.main:main" in entry_points.replace(" ", "")


@pytest.mark.timeout(1200)
def test_wheel_works_away_from_the_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import sys, otel_ebpf._native as n; print(n.__file__, n.probe_hooks())"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        command, cwd="/", env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_sdist_has_what_a_build_needs(tmp_path: Path) -> None:
    maturin("sdist", "--out", str(tmp_path))
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    bpf = {str(path.relative_to(ROOT)) for path in (ROOT / "bpf").rglob("*") if path.is_file()}
    rust = {str(path.relative_to(ROOT)) for path in (ROOT / "src/native/src").rglob("*.rs")}
    assert bpf | rust | {"src/native/build.rs", "src/native/Cargo.lock", "pyproject.toml", "LICENSE"} <= names
    assert not [name for name in names if name.startswith("src/native/target")]
