"""OpenSSL 1.1 and 3, as a library or inside an executable, and its relatives that kept the functions' signatures.

    int SSL_read(SSL *, void *, int)                                bytes, or <= 0
    int SSL_read_ex(SSL *, void *, size_t, size_t *read)            1, or <= 0
    int SSL_write(SSL *, const void *, int)
    int SSL_write_ex(SSL *, const void *, size_t, size_t *written)
    int SSL_write_ex2(SSL *, const void *, size_t, uint64_t flags, size_t *written)     since 3.3
    ssize_t SSL_sendfile(SSL *, int fd, off_t, size_t, int flags)   since 3.0, with kernel TLS

All versions so far have one function behind both SSL_read and SSL_read_ex, and one behind the SSL_writes, with the
arguments of the widest of them and a result above zero for success. Where it is not inlined, it begins with a push,
and one probe on it each way serves all; it is named as the widest one, whose arguments it has.

SSL_peek is left alone: what it shows will be read. SSL_free, SSL_set_bio and SSL_set_fd end what is known of an
object's socket. SSL_clear does not: each handshake begins with one, on the BIOs that are already set.
"""

import re
from collections.abc import Mapping
from typing import Final

from otel_ebpf.discover.tls.code import Function
from otel_ebpf.discover.tls.elf import Elf, MalformedElf, Symbol
from otel_ebpf.discover.tls.findings import Attachment, Probe, Refusal
from otel_ebpf.discover.tls.layout import random_path, server_offset
from otel_ebpf.discover.tls.probes import ARGUMENTS, end, enter, goes_to, load, whole, wrapped

_READS: Final = ("SSL_read", "SSL_read_ex")
_WRITES: Final = ("SSL_write", "SSL_write_ex", "SSL_write_ex2")
_PEEKS: Final = ("SSL_peek", "SSL_peek_ex")
_CALLS: Final = {
    "SSL_read": 3,
    "SSL_read_ex": 4,
    "SSL_write": 3,
    "SSL_write_ex": 4,
    "SSL_write_ex2": 5,
    "SSL_sendfile": 4,
    "SSL_do_handshake": 1,
}
_OTHERS: Final = ("SSL_sendfile", "SSL_do_handshake")
_GNUTLS: Final = "gnutls_record_recv"
_ENDS: Final = ("SSL_free", "SSL_set_bio", "SSL_set_fd")
_RANDOM: Final = "SSL_get_client_random"
_SERVER: Final = "SSL_is_server"
NAMES: Final = (*_CALLS, *_ENDS, *_PEEKS, _RANDOM, _SERVER)

# Its relatives say "OpenSSL 1.1.1 (compatible; ...)", without a date; a program may have several of them.
_MARKERS: Final = (
    ("openssl", b"OpenSSL ", re.compile(rb"OpenSSL (\d+\.\d+\.\d+[!-~]{0,24}) +\d\d? [A-Z][a-z][a-z] \d{4}")),
    ("libressl", b"LibreSSL ", re.compile(rb"LibreSSL (\d+\.\d+\.\d+)")),
    ("aws-lc", b"AWS-LC ", re.compile(rb"AWS-LC (?:FIPS )?(\d+\.\d+\.\d+)")),
    ("boringssl", b"BoringSSL", None),
)
_SYMBOL_VERSION: Final = re.compile(rb"OPENSSL_\d+[._]\d+[._]\d+[a-z]?")


def examine(elf: Elf, symbols: Mapping[str, Symbol]) -> Attachment | Refusal | None:
    """None if the file has no SSL_read and SSL_write of its own."""
    if not all(any(name in symbols for name in names) for names in (_READS, _WRITES)):
        return None
    implementation, version = _identity(elf)
    functions = {}
    notes = []
    for name in NAMES:
        if symbol := symbols.get(name):
            try:
                functions[name] = load(elf, name, symbol.address, symbol.size)
            except MalformedElf as error:
                notes.append(f"{name}: {error}")
    try:
        if any(_GNUTLS in goes_to(functions[name]) for name in _READS if name in functions):
            return None  # libgnutls-openssl: what it does is seen in GnuTLS
        reads, writes = _family(functions, _READS), _family(functions, _WRITES)
    except MalformedElf as error:
        return Refusal(implementation, f"its code can't be followed: {error}", version)
    if not reads or not writes:
        return Refusal(implementation, "; ".join(notes), version)
    rest: list[Probe] = []
    try:
        for name in _OTHERS:
            if function := functions.get(name):
                rest += enter(function, ARGUMENTS[: _CALLS[name]]), *end(function)
        for function in innermost([functions[name] for name in _ENDS if name in functions]):
            rest.append(enter(function, ARGUMENTS[:1]))
    except MalformedElf as error:
        notes.append(str(error))
    path = random_path(functions[_RANDOM]) if _RANDOM in functions else ()
    is_server = server_offset(functions[_SERVER]) if _SERVER in functions else 0
    if not path:
        notes.append("unknown layout: where an SSL object keeps its client random, so no memory BIO finds its socket")
    return Attachment(implementation, version, (*reads, *writes, *rest), path, is_server, tuple(notes))


def _family(functions: Mapping[str, Function], names: tuple[str, ...]) -> list[Probe]:
    """Probes for the functions of one direction: on the one behind all of them, else on each."""
    defined = [functions[name] for name in names if name in functions]
    if shared := _shared(defined, [functions[name] for name in _PEEKS if name in functions]):
        probes = whole(shared, ARGUMENTS[: _CALLS[shared.name]])
        if all(probe.emulated for probe in probes):
            return list(probes)
    probes_of: list[Probe] = []
    for function in innermost(defined):
        probes_of += enter(function, ARGUMENTS[: _CALLS[function.name]]), *end(function)
    return probes_of


def innermost(functions: list[Function]) -> list[Function]:
    """Those that call none of the others: their calls are seen there."""
    starts: dict[int | str, Function] = {function.start: function for function in functions}
    starts |= {function.name: function for function in functions}
    return [
        function
        for function in functions
        if not any(starts.get(target, function) is not function for target in goes_to(function))
    ]


def _shared(functions: list[Function], others: list[Function]) -> Function | None:
    if len(functions) < 2 or (shared := wrapped(functions[-1])) is None:
        return None

    def reaches(function: Function) -> bool:
        return shared.start in goes_to(function)

    return shared if all(map(reaches, functions)) and not any(map(reaches, others)) else None


def _identity(elf: Elf) -> tuple[str, str]:
    """(implementation, version); libssl.so.3 has only its symbols' versions to tell."""
    for implementation, marker, pattern in _MARKERS:
        if found := elf.find_constant(marker, pattern):
            return implementation, found[1].decode() if found.re.groups else ""
    versions = [re.findall(r"\d+[a-z]?", name) for name in elf.names(_SYMBOL_VERSION)]
    return "openssl", f"{'.'.join(max(versions))} or newer" if versions else ""
