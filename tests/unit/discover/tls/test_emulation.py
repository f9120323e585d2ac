"""Which instructions are cheap to probe."""

import pytest

from otel_ebpf.discover.tls.emulation import emulated


@pytest.mark.parametrize(
    "code",
    ["55", "50", "57", "4150", "4157", "90", "0f1f440000", "7810", "eb00", "e900000000", "e800000000", "0f8400000000"],
)
def test_emulated(code: str) -> None:
    assert emulated(bytes.fromhex(code))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("f30f1efa", "endbr64"),
        ("4883ec18", "sub rsp"),
        ("c3", "ret"),
        ("5d", "pop"),
        ("85d2", "test"),
        ("4889e5", "mov"),
        ("ff7508", "push from memory"),
        ("6a01", "push of a number"),
        ("6655", "16-bit push"),
        ("4055", "push with another REX"),
        ("ffe0", "indirect jump"),
        ("ffd0", "indirect call"),
        ("f390", "pause"),
        ("6690", "refused before Linux 6.2"),
        ("0f1f00", "short nopl"),
        ("e300", "jrcxz"),
        ("66e90000", "16-bit jump"),
    ],
)
def test_stepped_over(code: str, why: str) -> None:
    assert not emulated(bytes.fromhex(code)), why
