"""Implementations that are recognised only to say why they are left alone."""

import re
from dataclasses import dataclass
from typing import Final

from otel_ebpf.discover.tls.elf import Elf
from otel_ebpf.discover.tls.findings import Refusal


@dataclass(frozen=True, slots=True)
class _Kind:
    implementation: str
    functions: tuple[str, ...]  # any of them, defined in the file, gives it away
    reason: str


_KINDS: Final = (
    _Kind("nss", ("SSL_ImportFD",), "NSS hides its sockets behind NSPR layers; not supported"),
    _Kind("mbedtls", ("mbedtls_ssl_read",), "Mbed TLS is not supported"),
    _Kind("wolfssl", ("wolfSSL_read",), "wolfSSL is not supported"),
    _Kind("s2n", ("s2n_recv",), "s2n-tls is not supported"),
    _Kind(
        "jsse",
        ("JNI_CreateJavaVM",),
        "Java's own TLS (JSSE) is Java code: there is nothing native to probe; netty-tcnative would be listed apart",
    ),
)
FUNCTIONS: Final = tuple(name for kind in _KINDS for name in kind.functions)

# Names of source files, which error messages and panics keep in programs that were stripped.
_BORING_SOURCE: Final = b"ssl/ssl_lib.cc"
_OPENSSL_SOURCE: Final = b"ssl/ssl_lib.c"
_RUSTLS_SOURCE: Final = re.compile(rb"rustls-(\d+\.\d+\.\d+)/src/")
_RUSTLS_SYMBOLS: Final = re.compile(rb"(?:buffer_plaintext|take_received_plaintext|decrypt_incoming)")


def examine(elf: Elf, defined: set[str]) -> Refusal | None:
    """None if the file has nothing of theirs. `defined`: those of FUNCTIONS that the file defines."""
    for kind in _KINDS:
        if any(name in defined for name in kind.functions):
            return Refusal(kind.implementation, kind.reason)
    if elf.find_constant(_BORING_SOURCE):
        implementation = "aws-lc" if elf.find_constant(b"AWS-LC") else "boringssl"
        return Refusal(implementation, "linked into the file, and the names of its functions were stripped")
    if elf.find_constant(_OPENSSL_SOURCE):
        return Refusal("openssl", "linked into the file, and the names of its functions were stripped")
    if found := elf.find_constant(b"rustls-", _RUSTLS_SOURCE):
        names = sorted({name.decode() for name in elf.all_names(_RUSTLS_SYMBOLS)})
        has = f"; its symbols are there ({', '.join(names)})" if names else ", and the file has no symbols of it"
        return Refusal("rustls", f"rustls has no stable functions and is not supported yet{has}", found[1].decode())
    return None
