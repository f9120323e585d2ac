"""GnuTLS 3: `ssize_t gnutls_record_recv(session, void *, size_t)`, its send, and send2, which send jumps to."""

import re
from collections.abc import Mapping
from typing import Final

from otel_ebpf.discover.tls.elf import Elf, MalformedElf, Symbol
from otel_ebpf.discover.tls.findings import Attachment, Probe, Refusal
from otel_ebpf.discover.tls.openssl import innermost
from otel_ebpf.discover.tls.probes import ARGUMENTS, end, enter, load

_RECEIVE: Final = "gnutls_record_recv"
_SENDS: Final = ("gnutls_record_send", "gnutls_record_send2")
_END: Final = "gnutls_deinit"
NAMES: Final = (_RECEIVE, *_SENDS, _END)

_VERSION: Final = re.compile(rb"\0(3\.\d+\.\d+)\0")


def examine(elf: Elf, symbols: Mapping[str, Symbol]) -> Attachment | Refusal | None:
    """None if the file does not define GnuTLS's functions."""
    if _RECEIVE not in symbols or _SENDS[0] not in symbols:
        return None
    found = elf.find_constant(b"\x003.", _VERSION)
    version = found[1].decode() if found else ""
    try:
        functions = [load(elf, name, symbols[name].address, symbols[name].size) for name in NAMES if name in symbols]
        probes: list[Probe] = []
        for function in innermost(functions):
            probes.append(enter(function, ARGUMENTS[:1] if function.name == _END else ARGUMENTS[:3]))
            probes += () if function.name == _END else end(function)
    except MalformedElf as error:
        return Refusal("gnutls", f"its code can't be followed: {error}", version)
    return Attachment("gnutls", version, tuple(probes))
