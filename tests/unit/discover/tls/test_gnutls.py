"""GnuTLS as Debian builds it."""

from tests.testbed import tls

from otel_ebpf.discover.tls.findings import Attachment
from otel_ebpf.discover.tls.inspect import examine


def test_debians_library() -> None:
    with tls.debian_library("libgnutls.so.30", "libgnutls30").open("rb") as file:
        (attachment,) = examine(file.fileno())
    assert isinstance(attachment, Attachment)
    assert attachment.implementation == "gnutls"
    assert attachment.version.startswith("3.")
    places = [(probe.function, probe.place) for probe in attachment.probes]
    assert {("gnutls_record_recv", "enter"), ("gnutls_record_send2", "enter"), ("gnutls_deinit", "enter")} <= set(
        places
    )
    # It goes on to send2: a probe on both would see everything twice.
    assert not [function for function, _ in places if function == "gnutls_record_send"]
    assert all(probe.emulated for probe in attachment.probes if probe.place == "enter")
