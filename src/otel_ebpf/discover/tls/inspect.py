"""One file: whose TLS it has. What was found is kept, since hundreds of processes map the same libraries."""

import os
from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import Final

from otel_ebpf.discover.tls import gnutls, golang, openssl, others
from otel_ebpf.discover.tls.elf import EM_X86_64, Elf, MalformedElf
from otel_ebpf.discover.tls.findings import Attachment, Finding, Refusal
from otel_ebpf.discover.tls.mappings import MappedFile

_MAX_KEPT: Final = 1024
UNKNOWN: Final = "unknown"
_NAMES: Final = (*openssl.NAMES, *gnutls.NAMES, *others.FUNCTIONS)

_Key = tuple[int, int, int, int]


class Inspector:
    """Looks at each file once, as long as it does not change. May be used from several threads."""

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._kept: OrderedDict[_Key, tuple[Finding, ...]] = OrderedDict()
        self._lock = Lock()

    def findings(self, file: MappedFile) -> tuple[Finding, ...]:
        """What TLS the file has, mostly none. OSError if it can't be opened, or is another one by now."""
        # O_NONBLOCK: whoever made the name may have put a FIFO there since.
        descriptor = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != (file.device, file.inode):
                raise FileNotFoundError(2, "another file has its name by now", file.path)
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            with self._lock:
                found = self._kept.get(key)
                if found is not None:
                    self._kept.move_to_end(key)
            if found is None:
                found = examine(descriptor)
                with self._lock:
                    self._kept[key] = found
                    while len(self._kept) > self._max_kept:
                        self._kept.popitem(last=False)
        finally:
            os.close(descriptor)
        return tuple(_of(file, each) for each in found)


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


def _of(file: MappedFile, finding: Finding) -> Finding:
    if isinstance(finding, Attachment):
        return replace(finding, path=file.path, name=file.name, device=file.device, inode=file.inode)
    return replace(finding, path=file.path, name=file.name)
