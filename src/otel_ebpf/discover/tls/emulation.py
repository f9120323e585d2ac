"""Which instructions the kernel emulates under a uprobe, rather than stepping over them.

A step out of line costs two more traps and, with the interrupt that ends it, 11 µs where emulation costs 0.3 to 0.6
(measured). From arch/x86/kernel/uprobes.c:

- branch_setup_xol_ops: jmp rel8 and rel32, call rel32, all sixteen jcc in both lengths, `nop` (0x90). The prefix
  0x66 makes it refuse the probe (before Linux 6.2 even on 66 90), so only plain forms count here.
- push_setup_xol_ops: push of a 64-bit register, with no prefix but REX 41 (r8 to r15).
- 0f 1f 44 00 00 (nop5), since Linux 6.18 (d0f58869266e), where such a probe also becomes a call without any trap
  (5221e0a29ab4); before, it was stepped over. Longer and shorter 0f 1f are emulated only since "Unify insn_is_nop"
  (6.18 too), so they are not counted: they gain nothing over what stands around them.
- Everything else is stepped over: ret, pop, sub, mov, test, cmp, endbr64, and indirect jumps and calls.
"""

from typing import Final

_NOP5: Final = bytes.fromhex("0f1f440000")


def emulated(raw: bytes) -> bool:
    """Whether the kernel emulates this instruction."""
    match raw[0], len(raw):
        case (0xE8 | 0xE9, 5) | (0xEB, 2) | (0x90, 1):
            return True
        case (byte, 1) if 0x50 <= byte <= 0x57:
            return True
        case 0x41, 2:
            return 0x50 <= raw[1] <= 0x57
        case (byte, 2) if 0x70 <= byte <= 0x7F:
            return True
        case 0x0F, 6:
            return 0x80 <= raw[1] <= 0x8F
    return raw == _NOP5
