"""The choice of instructions, on functions of a few instructions each."""

import pytest

from otel_ebpf.discover.tls.code import Function
from otel_ebpf.discover.tls.elf import MalformedElf
from otel_ebpf.discover.tls.probes import ARGUMENTS, end, enter

START = 0x1000
IMPORTED = 0x9000


class Memory:
    """An ELF file whose code stands at START; what jumps through IMPORTED goes to __stack_chk_fail."""

    def __init__(self, code: bytes) -> None:
        self.bytes = code

    def code(self, address: int, size: int) -> bytes:
        if not START <= address < START + len(self.bytes):
            raise MalformedElf("nothing there")
        return self.bytes[address - START : address - START + size]

    def file_offset(self, address: int) -> int:
        return address - START

    def imported_by(self, pointer: int) -> str:
        return "__stack_chk_fail" if pointer == IMPORTED else "send2"


def function(code: str) -> Function:
    data = bytes.fromhex(code)
    return Function(Memory(data), "f", START, len(data))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "offset", "emulated"),
    [
        ("0f1f440000 4883ec18 c3", 0, True),  # a place for ftrace
        ("55 4889e5 c3", 0, True),  # push rbp
        ("f30f1efa 4157 c3", 4, True),  # endbr64; push r15
        ("4883ec18 85d2 7801 90 c3", 6, True),  # sub; test; js
        ("4883ec08 e800000000 c3", 4, True),  # sub; call
        ("89d1 55 c3", 0, False),  # mov ecx, edx; push rbp: the fourth argument is gone
        ("4883ec18 ffd0 90 c3", 0, False),  # an indirect call first
        ("4885ff 90 eb fd c3", 0, False),  # the nop is within a loop
    ],
)
def test_enter(code: str, offset: int, emulated: bool) -> None:
    chosen = enter(function(code), ARGUMENTS[:4])
    assert (chosen.offset, chosen.emulated) == (offset, emulated)


def test_arguments_that_the_function_has_not_may_be_written() -> None:
    assert enter(function("89d1 55 c3"), ARGUMENTS[:3]).offset == 2


def ends(code: str) -> list[tuple[str, int, bool]]:
    return [(probe.place, probe.offset, probe.emulated) for probe in end(function(code))]


def test_the_check_of_the_canary_is_an_exit() -> None:
    # mov eax, [rsp]; sub rdx, fs:[0x28]; jne fail; add rsp, 8; ret; fail: call [__stack_chk_fail]
    code = "8b0424 64482b142528000000 7505 4883c408 c3 ff15" + (IMPORTED - START - 25).to_bytes(4, "little").hex()
    assert ends(code + "90") == [("exit", 12, True)]


def test_rax_written_behind_it_makes_it_none() -> None:
    # test edi, edi; je +2; xor eax, eax; ret, where both ways lead to the write
    assert ends("85ff 7400 31c0 c3") == [("return", 2, True)]


def test_each_way_out_needs_an_exit() -> None:
    # cmp; je second; mov eax, 1; nop; ret; second: mov eax, 2; ret
    covered_once = "83ff00 7407 b801000000 90 c3 b802000000 c3"
    assert ends(covered_once)[0][0] == "return"
    both = "83ff00 7407 b801000000 90 c3 b802000000 90 c3"
    assert ends(both) == [("exit", 10, True), ("exit", 17, True)]


def test_no_more_exits_than_needed() -> None:
    # mov eax, 1; test edi, edi; je end; jmp end; end: nop; ret: the jumps come before the nop on every way
    assert ends("b801000000 85ff 7402 eb00 90 c3") == [("exit", 7, True)]


def test_what_goes_on_elsewhere_is_no_exit() -> None:
    assert ends("55 5d ff25 00000000 90") == [("return", 0, True)]  # jmp [another function]
    assert ends("4885ff ffe0") == [("return", 0, False)]  # jmp rax


def test_a_return_goes_where_rsp_still_points_at_the_address() -> None:
    assert ends("f30f1efa 55 31c0 5d c3") == [("return", 4, True)]  # endbr64; push rbp
    assert ends("4883ec08 7400 4883c408 31c0 c3") == [("return", 0, False)]  # sub rsp comes before the jump
