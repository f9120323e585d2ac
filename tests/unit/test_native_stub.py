"""_native.pyi is what Python code and mypy believe of the native core; here it is held against the core itself."""

import subprocess
import sys


def test_stub_matches_the_built_module() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "otel_ebpf._native", "--mypy-config-file", "pyproject.toml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
