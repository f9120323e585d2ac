"""One file: whose TLS it has. It costs memory (a disassembler) and trusts nobody's file: see `worker`."""

from typing import Final

from otel_ebpf.discover.tls import gnutls, golang, openssl, others
from otel_ebpf.discover.tls.elf import EM_X86_64, Elf, MalformedElf
from otel_ebpf.discover.tls.findings import UNKNOWN, Finding, Refusal

_NAMES: Final = (*openssl.NAMES, *gnutls.NAMES, *others.FUNCTIONS)


def examine(descriptor: int) -> tuple[Finding, ...]:
    """Findings without the file's name. Whatever the file holds, this gives an answer."""
    try:
        return _examine(Elf(descriptor))
    except MalformedElf as error:
        return (Refusal(UNKNOWN, f"not an ELF file that we can read: {error}"),)


def _examine(elf: Elf) -> tuple[Finding, ...]:
    if elf.machine != EM_X86_64:
        return (Refusal(UNKNOWN, f"its code is for another machine (ELF {elf.machine}) than x86-64"),)
    if go := golang.examine(elf):
        return (go,)
    symbols = elf.functions(_NAMES)
    found: list[Finding | None] = [openssl.examine(elf, symbols), gnutls.examine(elf, symbols)]
    if not any(found):
        found = [others.examine(elf, set(symbols))]
    return tuple(each for each in found if each)
