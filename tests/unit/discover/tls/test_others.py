"""What is recognised only to say why it is left alone."""

from pathlib import Path

import pytest
from tests.testbed import tls

from otel_ebpf.discover.tls.findings import Finding, Refusal
from otel_ebpf.discover.tls.inspect import examine


def found(source: str, folder: Path) -> tuple[Finding, ...]:
    with tls.shared_object(source, folder).open("rb") as file:
        return examine(file.fileno())


def text(value: str) -> str:
    return f'const char *text(void) {{ return "{value}"; }}'


@pytest.mark.parametrize(
    ("source", "implementation", "version", "reason"),
    [
        ("int SSL_ImportFD(void) { return 1; }", "nss", "", "NSPR"),
        ("int mbedtls_ssl_read(void) { return 1; }", "mbedtls", "", "not supported"),
        ("int wolfSSL_read(void) { return 1; }", "wolfssl", "", "not supported"),
        ("int s2n_recv(void) { return 1; }", "s2n", "", "not supported"),
        ("int JNI_CreateJavaVM(void) { return 1; }", "jsse", "", "nothing native"),
        (text("third_party/boringssl/src/ssl/ssl_lib.cc"), "boringssl", "", "stripped"),
        (text("../deps/openssl/ssl/ssl_lib.c"), "openssl", "", "stripped"),
        (text("/registry/src/index/rustls-0.23.10/src/conn.rs"), "rustls", "0.23.10", "no symbols"),
    ],
)
def test_refused_with_a_reason(source: str, implementation: str, version: str, reason: str, tmp_path: Path) -> None:
    (refusal,) = found(source, tmp_path)
    assert isinstance(refusal, Refusal)
    assert (refusal.implementation, refusal.version) == (implementation, version)
    assert reason in refusal.reason


@pytest.mark.parametrize(
    ("says", "implementation", "version"),
    [
        ("OpenSSL 3.2.1 30 Jan 2024", "openssl", "3.2.1"),
        ("OpenSSL 1.1.1w-fips  11 Sep 2023", "openssl", "1.1.1w-fips"),
        ("LibreSSL 3.8.2", "libressl", "3.8.2"),
        ("OpenSSL 1.1.1 (compatible; BoringSSL)", "boringssl", ""),
        ("OpenSSL 1.1.1 (compatible; AWS-LC 1.36.0)", "aws-lc", "1.36.0"),
    ],
)
def test_relatives_of_openssl_are_told_apart(says: str, implementation: str, version: str, tmp_path: Path) -> None:
    functions = """
    extern int elsewhere(void *);
    int SSL_read(void *s, void *b, int n) { return elsewhere(b) > n ? 1 : -1; }
    int SSL_write(void *s, void *b, int n) { return elsewhere(b) < n ? 1 : -1; }
    """
    (finding,) = found(functions + text(says), tmp_path)
    assert (finding.implementation, finding.version) == (implementation, version)


def test_what_gnutls_does_under_openssls_names_is_seen_in_gnutls(tmp_path: Path) -> None:
    source = """
    extern long gnutls_record_recv(void *, void *, unsigned long), gnutls_record_send(void *, void *, unsigned long);
    int SSL_read(void *s, void *b, int n) { return gnutls_record_recv(*(void **) s, b, n) + 1; }
    int SSL_write(void *s, void *b, int n) { return gnutls_record_send(*(void **) s, b, n) + 1; }
    """
    assert found(source, tmp_path) == ()


def test_importing_the_functions_is_not_having_them(tmp_path: Path) -> None:
    source = """
    extern int SSL_read(void *), SSL_write(void *);
    int f(void *s) { return SSL_read(s) + SSL_write(s); }
    """
    assert found(source, tmp_path) == ()
