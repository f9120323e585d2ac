"""_native.pyi is what Python code and mypy believe of the native core; here it is held against the core itself."""

import subprocess
import sys
from pathlib import Path


def test_stub_matches_the_built_module(tmp_path: Path) -> None:
    # Before Python 3.12 (PEP 688) the buffer protocol shows only in C.
    allowed = tmp_path / "allowed"
    allowed.write_text(r"otel_ebpf\._native\.Spans\.__buffer__" + "\n")
    command = [sys.executable, "-m", "mypy.stubtest", "otel_ebpf._native", "--mypy-config-file", "pyproject.toml"]
    command += ["--allowlist", str(allowed), "--ignore-unused-allowlist"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
