"""The core's refusals, as users meet them. What capture does when all is well is tests/e2e's."""

import os
import subprocess
import sys

import pytest

from otel_ebpf import _native
from otel_ebpf.capture.session import _explain, open_session
from otel_ebpf.config.settings import Capture, Settings
from otel_ebpf.errors import CaptureError, PermissionDenied


@pytest.mark.parametrize(
    ("kind", "error", "exit_code", "advice"),
    [
        ("permission", PermissionDenied, 3, "sudo otel-ebpf run"),
        ("no_btf", CaptureError, 4, "CONFIG_DEBUG_INFO_BTF"),
        ("load", CaptureError, 4, "otel-ebpf check"),
        ("attach", CaptureError, 4, "otel-ebpf check"),
        ("argument", CaptureError, 4, ""),
    ],
)
def test_each_kind_of_refusal_has_its_exit_code_and_advice(
    kind: str, error: type[CaptureError], exit_code: int, advice: str
) -> None:
    refusal = _native.NativeError("the reason")
    refusal.kind = kind  # type: ignore[assignment]
    explained = _explain(refusal)
    assert type(explained) is error
    assert explained.exit_code == exit_code
    assert "the reason" in str(explained)
    assert advice in explained.hint


def test_a_ring_size_that_the_kernel_refuses_is_named() -> None:
    settings = Settings(capture=Capture(ring_bytes=5000))
    with pytest.raises(CaptureError, match="ring"):
        open_session(settings, lines=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives capabilities away, which only root has")
def test_without_capabilities_it_says_what_to_do() -> None:
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "otel_ebpf", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "sudo otel-ebpf run" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
